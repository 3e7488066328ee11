/*
 * Whose connection it is: the properties that the app sees, and that a renewal changes.
 */
import type { FastifyRequest } from 'fastify'
import type { Identity, VerifiedIdentity } from '../authentication/identity'
import { createId } from '../base/id'
import type { TokenSource } from '../credentials/found'
import type { Claims } from '../token/claims'

/** The identity of a connection; see {@link Connection}. */
export class ConnectionIdentity implements Identity {
  readonly id: string = createId()
  readonly openedAt: number = Date.now()
  user: FastifyRequest['user'] | null
  claims: Claims | null
  readonly sub: string | null
  groups: readonly string[]
  kid: string | null | undefined
  readonly source: TokenSource | null
  expiresAt: number | null

  constructor ({ user, claims, sub, groups, kid, source, expiresAt }: VerifiedIdentity) {
    this.user = user
    this.claims = claims
    this.sub = sub
    this.groups = groups
    this.kid = kid
    this.source = source
    this.expiresAt = expiresAt
  }

  /** Takes over the identity of a renewal, which is about the same subject. */
  become ({ user, claims, groups, kid, expiresAt }: VerifiedIdentity): void {
    this.user = user
    this.claims = claims
    this.groups = groups
    this.kid = kid
    this.expiresAt = expiresAt
  }
}
