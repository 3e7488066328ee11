/*
 * The checks of an attempt, from the token to the user. Each returns nothing, or throws or returns a refusal.
 */
import type { FastifyRequest } from 'fastify'
import { WsAuthError } from '../base/errors'
import { thenRead } from '../base/thenable'
import type { RevocationCheck } from '../revocation/revocation-check'
import { isEventToken, isLogoutToken } from '../token/claims'
import { groupsOf } from '../token/groups'
import { kidOf } from '../token/jwt-format'
import { subjectOf } from '../token/subject'
import { frozenCopy } from '../token/frozen-data'
import type { Authenticated, Authentication, AuthenticationContext } from './authentication'
import type { Step } from './steps'

export function verifyToken (attempt: Authentication, { options, checks }: AuthenticationContext): void | WsAuthError | PromiseLike<void> {
  const { credential, request } = attempt
  if (credential === null || credential.source === 'ticket') return
  const { token } = credential
  if (isLonger(token, options.maxTokenBytes)) {
    throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is longer than maxTokenBytes' })
  }
  const { verifier } = checks.of(attempt.route)
  const answer = verifier.verify(token, request, attempt)
  if (answer instanceof WsAuthError) return answer
  return thenRead(answer, (verified) => attempt.become(verified, verifier.rules, kidOf(token)))
}

/** A character has three bytes of UTF-8 at most, so that most tokens need no count. */
function isLonger (token: string, bytes: number): boolean {
  return token.length * 3 > bytes && Buffer.byteLength(token) > bytes
}

/** Asks the app about the key that a token is bound to (RFC 7800, 3.1). A ticket was confirmed when it was issued. */
export function confirmToken ({ claims, credential, request }: Authentication, { options }: AuthenticationContext): void | PromiseLike<void> {
  if (claims === null || credential === null || credential.source === 'ticket') return
  if (options.confirm === undefined) {
    if (claims.cnf !== undefined) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it has a cnf: it is bound to a key, and there is no "confirm" option to check it' })
    return
  }
  return thenRead(options.confirm(claims, request) as unknown, (isConfirmed) => {
    if (isConfirmed !== true) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'confirm: it did not return true' })
  })
}

/** Reads the subject and the groups. */
export function readSubject (attempt: Authentication, { options, revocation }: AuthenticationContext): void {
  const { claims, route } = attempt
  if (claims === null) return
  attempt.sub = subjectOf(claims, route.subject)
  if (attempt.sub === null) revocation.warnOfNoSubject(options.limits.perUser !== Infinity)
  attempt.groups = groupsOf(claims, options.groups)
}

/** A required ticket must belong to the user of the token. Without a subject, two sets of claims cannot be compared. */
export function checkTicketUser ({ ticketClaims, ticketSub, claims, sub }: Authentication): void {
  if (ticketClaims === null || claims === null || (sub !== null && sub === ticketSub)) return
  throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'its subject is not that of the ticket' })
}

/** Checked again once the connection is open (see `lifecycle.open`), because a revocation may arrive in between. */
export function checkRevoked (attempt: Authentication, { revocation }: AuthenticationContext): void {
  const refusal = refusalOfRevoked(attempt, revocation)
  if (refusal !== null) throw refusal
  revocation.warnOfLongLife(attempt)
}

/** The refusal if the token or the ticket is revoked, else `null`. */
export function refusalOfRevoked ({ claims, sub, groups, kid, ticketClaims, ticketSub, ticketGroups, ticketKid }: Authenticated, revocation: RevocationCheck): WsAuthError | null {
  return revocation.refusalOf(claims, sub, groups, kid) ??
    (ticketClaims === null ? null : revocation.refusalOf(ticketClaims, ticketSub, ticketGroups, ticketKid))
}

export function checkClaims ({ claims, route }: Authentication, { checks }: AuthenticationContext): void | PromiseLike<void> {
  if (claims === null) return
  if (isLogoutToken(claims)) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is a logout token' })
  if (isEventToken(claims)) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is a security event token' })
  return checks.of(route).claimsSchema.assert(claims)
}

export function readUser (attempt: Authentication): void | PromiseLike<void> {
  const { claims, request, route } = attempt
  if (claims === null) return
  if (route.user === undefined) return assertUser(attempt.user)
  return thenRead(route.user(claims, request) as unknown, (user) => {
    assertUser(user)
    attempt.user = frozenCopy(user) as FastifyRequest['user']
  })
}

/**
 * Refuses claims without a user: `null` from `user` or `formatUser` must not become an anonymous connection. An error that they return
 * counts as one that they throw: as a user, it would admit a client that the app has refused.
 */
function assertUser (user: unknown): void {
  if (user instanceof Error) throw user
  if (user == null) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'there is no such user' })
}

/** The checks of a token, from its signature to its subject. */
export const TOKEN_STEPS: ReadonlyArray<Step<Authentication, AuthenticationContext>> = [verifyToken, confirmToken, checkClaims, readSubject]
/** The checks of its user, before `authorize`. */
export const USER_STEPS: ReadonlyArray<Step<Authentication, AuthenticationContext>> = [checkRevoked, readUser]
