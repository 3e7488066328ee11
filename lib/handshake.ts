/*
 * The list of checks between an upgrade request and an authenticated connection, in the order in which they are made.
 * Each step either returns or throws a refusal; one that has to wait returns a promise, and only then is there one.
 */
import type { FastifyRequest } from 'fastify'
import { hasRole, hasScopes } from './authorization'
import { expiryOf } from './claims'
import type { Claims } from './claims'
import type { Identity } from './connection'
import { readCredential, takeHeaders } from './credentials'
import type { Credential, TakenCredentials, TakenHeaders, TokenSource } from './credentials'
import { WsAuthError } from './errors'
import { copyData, freezeData } from './frozen'
import { assertOpening } from './opening-handshake'
import type { CompleteOptions, CompleteRouteOptions } from './options'
import { isSameHost } from './origin'
import { errorWithoutToken, textWithoutToken } from './redaction'
import { isThenable } from './thenable'
import type { Verifier } from './token-verifier'

/** What all handshakes of an app share. */
export interface HandshakeServices {
  readonly options: CompleteOptions
  readonly verifier: Verifier
}

/** One handshake on a guarded route, or a dry run of one, and what it has found out so far. */
export class Handshake implements Identity {
  readonly request: FastifyRequest
  readonly route: CompleteRouteOptions
  readonly taken: TakenCredentials
  readonly headers: TakenHeaders
  readonly isDryRun: boolean
  credential: Credential | null = null
  claims: Claims | null = null
  user: FastifyRequest['user'] | null = null
  expiresAt: number | null = null
  /** Whether nobody waits for it any more: the client has gone, or was answered at the deadline. */
  isOver = false
  #aborter: AbortController | null = null

  constructor (request: FastifyRequest, route: CompleteRouteOptions, taken: TakenCredentials, isDryRun: boolean) {
    this.request = request
    this.route = route
    this.taken = taken
    this.headers = takeHeaders(request, route.token)
    this.isDryRun = isDryRun
  }

  get source (): TokenSource | null {
    return this.credential?.source ?? null
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

/** How many properties a refusal has to which nobody has added one. */
const OWN_KEYS = Object.keys(new WsAuthError('WS_AUTH_FORBIDDEN')).length

type Step = (handshake: Handshake, services: HandshakeServices) => void | PromiseLike<void>

const STEPS: readonly Step[] = [checkOpening, readToken, checkOrigin, verifyToken, checkClaims, readUser, authorize]

/**
 * Makes all checks and answers with the first refusal, or with `null`. There is a promise only if a step has to wait, and
 * no step is made any more once nobody waits for the answer.
 */
export function runHandshake (handshake: Handshake, services: HandshakeServices, from = 0): WsAuthError | null | Promise<WsAuthError | null> {
  try {
    for (let i = from; i < STEPS.length && !handshake.isOver; i++) {
      const waiting = STEPS[i]?.(handshake, services)
      if (waiting !== undefined) {
        return Promise.resolve(waiting).then(() => runHandshake(handshake, services, i + 1), (error: unknown) => refusalOf(error, handshake))
      }
    }
    // Nobody reads it then, but what was not checked to the end must not look like it.
    return handshake.isOver ? new WsAuthError('WS_AUTH_UNAVAILABLE') : null
  } catch (error) {
    return refusalOf(error, handshake)
  }
}

/** Nothing is read, verified or spent for a request that cannot become a connection. */
function checkOpening ({ request, taken, isDryRun }: Handshake): void {
  if (!isDryRun) assertOpening(request.raw, taken.hasValidProtocols)
}

function readToken (handshake: Handshake): void {
  const { request, route, taken, headers } = handshake
  handshake.credential = readCredential(request, route.token, taken, headers)
}

function checkOrigin ({ request, route, credential }: Handshake): void | PromiseLike<void> {
  const { origin } = request.raw.headers
  const allowed = route.origin
  if (origin === undefined || allowed === 'any') return
  // What a page cannot send by itself cannot be sent by another page either: only a cookie is ambient.
  if (allowed === 'same-host') return credential?.source === 'cookie' ? assertOrigin(isSameHost(origin, request.host)) : undefined
  return answer(typeof allowed === 'function' ? allowed(origin, request) : allowed.includes(origin), assertOrigin)
}

function assertOrigin (isAllowed: boolean): void {
  if (isAllowed !== true) throw new WsAuthError('WS_AUTH_ORIGIN_FORBIDDEN')
}

function verifyToken (handshake: Handshake, { options, verifier }: HandshakeServices): void | PromiseLike<void> {
  const { credential, request, route } = handshake
  if (credential === null) {
    if (route.access === 'optional') return
    throw new WsAuthError('WS_AUTH_TOKEN_MISSING')
  }
  const { token } = credential
  if (Buffer.byteLength(token) > options.maxTokenBytes) {
    throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is longer than maxTokenBytes' })
  }
  return answer(verifier.verify(token, request, handshake), ({ claims, user }) => {
    handshake.claims = claims
    handshake.user = user as FastifyRequest['user']
    handshake.expiresAt = expiryOf(claims, verifier.rules)
  })
}

/** On a copy: a validator that coerces, removes or fills in does it for itself. */
function checkClaims ({ request, claims }: Handshake, { options }: HandshakeServices): void | PromiseLike<void> {
  if (options.claims === undefined || claims === null) return
  return answer(request.validateInput(copyData(claims), options.claims) as unknown, assertValid)
}

/** Validators answer false, or with what is wrong. */
function assertValid (result: unknown): void {
  const isWrong = result === false || (typeof result === 'object' && result !== null && 'error' in result && result.error != null)
  if (isWrong) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'the claims do not match the schema' })
}

function readUser (handshake: Handshake, { options }: HandshakeServices): void | PromiseLike<void> {
  const { claims, request } = handshake
  if (claims === null) return
  if (options.user === undefined) return assertUser(handshake.user)
  return answer(options.user(claims, request) as unknown, (user) => {
    assertUser(user)
    handshake.user = freezeData(copyData(user)) as FastifyRequest['user']
  })
}

/** Claims without a user are nobody's: neither `user` nor `formatUser` may let them pass for anonymous. */
function assertUser (user: unknown): void {
  if (user == null) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'there is no such user' })
}

function authorize ({ request, route, claims, user }: Handshake, { options }: HandshakeServices): void | PromiseLike<void> {
  // Anonymous, on an optional route, which asks for nothing else.
  if (claims === null) return
  if (route.roles !== null && !hasRole(route, listOf('roles', options.roles(claims)))) throw new WsAuthError('WS_AUTH_FORBIDDEN')
  if (route.scopes !== null && !hasScopes(route, listOf('scopes', options.scopes(claims)))) throw new WsAuthError('WS_AUTH_FORBIDDEN')
  if (route.authorize === undefined) return
  return answer(route.authorize(user as FastifyRequest['user'], request), (isAuthorized) => {
    if (isAuthorized !== true) throw new WsAuthError('WS_AUTH_FORBIDDEN')
  })
}

function listOf (option: string, value: unknown): readonly string[] {
  if (!Array.isArray(value)) throw new TypeError(`"${option}" option must return an array`)
  return value
}

/** Reads an answer at once where it is there at once. */
function answer<T> (value: T | PromiseLike<T>, read: (value: T) => void): void | PromiseLike<void> {
  return isThenable(value) ? Promise.resolve(value).then(read) : read(value)
}

/** What the app's own functions throw is not the client's to know, and what they throw it with is not the log's. */
function refusalOf (error: unknown, { credential }: Handshake): WsAuthError {
  const token = credential?.token ?? ''
  if (!(error instanceof WsAuthError)) return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: errorWithoutToken(error, token) })
  const cause = causeWithoutToken(error.cause, token)
  if (cause === error.cause && Object.keys(error).length === OWN_KEYS) return error
  return new WsAuthError(error.code, { cause })
}

function causeWithoutToken (cause: unknown, token: string): unknown {
  if (cause === undefined) return undefined
  return typeof cause === 'string' ? textWithoutToken(cause, token) : errorWithoutToken(cause, token)
}
