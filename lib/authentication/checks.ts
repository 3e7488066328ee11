/*
 * The checks of an attempt, from the token to the user. Each returns, or throws a refusal.
 */
import type { FastifyRequest } from 'fastify'
import { WsAuthError } from '../base/errors'
import { thenRead } from '../base/thenable'
import type { RevocationCheck } from '../revocation/revocation-check'
import { isLogoutToken } from '../token/claims'
import { frozenCopy } from '../token/frozen-data'
import type { Authenticated, Authentication, AuthenticationContext } from './authentication'

export function verifyToken (attempt: Authentication, { options, verifier }: AuthenticationContext): void | PromiseLike<void> {
  const { credential, request } = attempt
  if (credential === null || credential.source === 'ticket') return
  const { token } = credential
  if (Buffer.byteLength(token) > options.maxTokenBytes) {
    throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is longer than maxTokenBytes' })
  }
  return thenRead(verifier.verify(token, request, attempt), (verified) => attempt.become(verified, verifier.rules))
}

/** A required ticket must belong to the user of the token. Without a `sub`, two sets of claims cannot be compared. */
export function checkTicketUser ({ ticketClaims, claims }: Authentication): void {
  if (ticketClaims === null || claims === null || (claims.sub !== undefined && claims.sub === ticketClaims.sub)) return
  throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'its sub is not that of the ticket' })
}

/** Checked again once the connection is open (see `lifecycle.open`), because a revocation may arrive in between. */
export function checkRevoked (attempt: Authentication, { revocation }: AuthenticationContext): void {
  const refusal = refusalOfRevoked(attempt, revocation)
  if (refusal !== null) throw refusal
  revocation.warnOfLongLife(attempt)
}

/** The refusal if the token or the ticket is revoked, else `null`. */
export function refusalOfRevoked ({ claims, ticketClaims }: Authenticated, revocation: RevocationCheck): WsAuthError | null {
  return revocation.refusalOf(claims) ?? (ticketClaims === null ? null : revocation.refusalOf(ticketClaims))
}

export function checkClaims ({ claims }: Authentication, { claimsSchema }: AuthenticationContext): void | PromiseLike<void> {
  if (claims === null) return
  if (isLogoutToken(claims)) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is a logout token' })
  return claimsSchema.assert(claims)
}

export function readUser (attempt: Authentication, { options }: AuthenticationContext): void | PromiseLike<void> {
  const { claims, request } = attempt
  if (claims === null) return
  if (options.user === undefined) return assertUser(attempt.user)
  return thenRead(options.user(claims, request) as unknown, (user) => {
    assertUser(user)
    attempt.user = frozenCopy(user) as FastifyRequest['user']
  })
}

/** Refuses claims without a user: `null` from `user` or `formatUser` must not become an anonymous connection. */
function assertUser (user: unknown): void {
  if (user == null) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'there is no such user' })
}
