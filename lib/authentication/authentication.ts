/*
 * One attempt to authenticate by a token: of a handshake, of a first message, of a renewal. The steps that they share are
 * here.
 */
import type { FastifyRequest } from 'fastify'
import { hasRole, missingScopes } from './authorization'
import { expiryOf, isLogoutToken } from '../token/claims'
import type { Claims } from '../token/claims'
import type { ClaimsSchema } from './claims-schema'
import type { Identity } from './identity'
import type { Credential, TokenSource } from '../credentials/found'
import { WsAuthError } from '../base/errors'
import { frozenCopy } from '../token/frozen-data'
import type { RevocationCheck } from '../revocation/revocation-check'
import type { CompleteOptions, CompleteRouteOptions } from '../options/complete-options'
import { namesOf } from '../base/sent-names'
import { thenRead } from '../base/thenable'
import type { Verified, Verifier } from '../token/verifier'

/** What all attempts of an app share. */
export interface AuthenticationServices {
  readonly options: CompleteOptions
  readonly verifier: Verifier
  readonly claimsSchema: ClaimsSchema
  readonly revocation: RevocationCheck
}

/** Somebody who was authenticated. */
export interface Authenticated extends Identity {
  /** Of a ticket that was needed beside the token, `null` where there was none. */
  readonly ticketClaims: Claims | null
}

/** One attempt, and what it has found out so far. */
export class Authentication implements Authenticated {
  readonly request: FastifyRequest
  readonly route: CompleteRouteOptions
  credential: Credential | null
  claims: Claims | null = null
  user: FastifyRequest['user'] | null = null
  expiresAt: number | null = null
  ticketClaims: Claims | null = null
  /** Whether nobody waits for it any more: the client has gone, or was answered at the deadline. */
  isOver = false
  #aborter: AbortController | null = null

  constructor (request: FastifyRequest, route: CompleteRouteOptions, credential: Credential | null) {
    this.request = request
    this.route = route
    this.credential = credential
  }

  get source (): TokenSource | null {
    return this.credential?.source ?? null
  }

  get sub (): string | null {
    return this.claims?.sub ?? null
  }

  /** Aborts when nobody waits for the answer any more. Made when it is asked for: few verifiers do. */
  get signal (): AbortSignal {
    this.#aborter ??= new AbortController()
    return this.#aborter.signal
  }

  abort (): void {
    this.isOver = true
    this.#aborter?.abort()
  }
}

export function verifyToken (attempt: Authentication, { options, verifier }: AuthenticationServices): void | PromiseLike<void> {
  const { credential, request } = attempt
  if (credential === null || credential.source === 'ticket') return
  const { token } = credential
  if (Buffer.byteLength(token) > options.maxTokenBytes) {
    throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is longer than maxTokenBytes' })
  }
  return thenRead(verifier.verify(token, request, attempt), (verified) => assume(attempt, verified, verifier))
}

/** What was verified is what the attempt is about. */
export function assume (attempt: Authentication, { claims, user }: Verified, { rules }: Verifier): void {
  attempt.claims = claims
  attempt.user = user as FastifyRequest['user']
  attempt.expiresAt = expiryOf(claims, rules)
}

/** Who a ticket was given to is who uses it. Two without a `sub` may be anybody. */
export function checkTicketUser ({ ticketClaims, claims }: Authentication): void {
  if (ticketClaims === null || claims === null || (claims.sub !== undefined && claims.sub === ticketClaims.sub)) return
  throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'its sub is not that of the ticket' })
}

/** Not the last time that it is asked: the connection may be open only later. */
export function checkRevoked (attempt: Authentication, { revocation }: AuthenticationServices): void {
  const refusal = refusalOf(attempt, revocation)
  if (refusal !== null) throw refusal
  revocation.warnOfLongLife(attempt)
}

/** Why somebody is not to be admitted any more, or `null`. */
export function refusalOf ({ claims, ticketClaims }: Authenticated, revocation: RevocationCheck): WsAuthError | null {
  return revocation.refusalOf(claims) ?? (ticketClaims === null ? null : revocation.refusalOf(ticketClaims))
}

export function checkClaims ({ claims }: Authentication, { claimsSchema }: AuthenticationServices): void | PromiseLike<void> {
  if (claims === null) return
  if (isLogoutToken(claims)) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is a logout token' })
  return claimsSchema.assert(claims)
}

export function readUser (attempt: Authentication, { options }: AuthenticationServices): void | PromiseLike<void> {
  const { claims, request } = attempt
  if (claims === null) return
  if (options.user === undefined) return assertUser(attempt.user)
  return thenRead(options.user(claims, request) as unknown, (user) => {
    assertUser(user)
    attempt.user = frozenCopy(user) as FastifyRequest['user']
  })
}

/** Claims without a user are nobody's: neither `user` nor `formatUser` may let them pass for anonymous. */
function assertUser (user: unknown): void {
  if (user == null) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'there is no such user' })
}

export function authorize ({ request, route, claims, user }: Authentication, { options }: AuthenticationServices): void | PromiseLike<void> {
  // Nobody is known yet, or never will be: an optional route asks for nothing else.
  if (claims === null) return
  if (route.roles !== null && !hasRole(route.roles, listOf('roles', options.roles(claims)))) {
    throw forbidden(`roles: the route asks for one of ${namesOf(route.roles)}, and the user has none of them`)
  }
  if (route.scopes !== null) {
    const missing = missingScopes(route.scopes, listOf('scopes', options.scopes(claims)))
    if (missing.length > 0) throw forbidden(`scopes: the route asks for ${namesOf(route.scopes)}, and the user has not ${namesOf(missing)}`)
  }
  if (route.authorize === undefined) return
  return thenRead(route.authorize(user as FastifyRequest['user'], request), (isAuthorized) => {
    if (isAuthorized !== true) throw forbidden('authorize: it did not return true')
  })
}

function forbidden (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_FORBIDDEN', { cause })
}

function listOf (option: string, value: unknown): readonly string[] {
  if (!Array.isArray(value)) throw new TypeError(`"${option}" option must return an array`)
  return value
}
