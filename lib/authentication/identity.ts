/*
 * The user of a request or a connection, as its token names it.
 */
import type { FastifyRequest } from 'fastify'
import type { TokenSource } from '../credentials/found'
import type { Claims } from '../token/claims'

/** What is known of whoever connects. All of it is `null` for an anonymous connection. */
export interface Identity {
  readonly user: FastifyRequest['user'] | null
  readonly claims: Claims | null
  /** Where the token of the handshake, or the first message, was found. A renewal leaves it as it is. */
  readonly source: TokenSource | null
  /** When the token expires, in milliseconds since the epoch; `null` where it never does. */
  readonly expiresAt: number | null
}
