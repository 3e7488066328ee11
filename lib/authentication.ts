/*
 * One attempt to authenticate by a token: of a handshake, of a first message, of a renewal. The steps that they share are
 * here. Each either returns or throws a refusal; one that has to wait returns a promise, and only then is there one.
 */
import type { FastifyRequest } from 'fastify'
import { hasRole, hasScopes } from './authorization'
import { expiryOf } from './claims'
import type { Claims } from './claims'
import type { Identity } from './connection'
import type { Credential, TokenSource } from './credentials'
import { WsAuthError } from './errors'
import { copyData, freezeData } from './frozen'
import type { CompleteOptions, CompleteRouteOptions } from './options'
import { errorWithoutToken, textWithoutToken } from './redaction'
import { isThenable } from './thenable'
import type { Verifier } from './token-verifier'

/** What all attempts of an app share. */
export interface AuthenticationServices {
  readonly options: CompleteOptions
  readonly verifier: Verifier
}

/** One attempt, and what it has found out so far. */
export class Authentication implements Identity {
  readonly request: FastifyRequest
  readonly route: CompleteRouteOptions
  credential: Credential | null
  claims: Claims | null = null
  user: FastifyRequest['user'] | null = null
  expiresAt: number | null = null
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

/** How many properties a refusal has to which nobody has added one. */
const OWN_KEYS = Object.keys(new WsAuthError('WS_AUTH_FORBIDDEN')).length

/** One check of an attempt. */
export type Step<A, S> = (attempt: A, services: S) => void | PromiseLike<void>

/**
 * Makes all checks and answers with the first refusal, or with `null`. There is a promise only if a step has to wait, and
 * no step is made any more once nobody waits for the answer.
 */
export function runSteps<A extends Authentication, S> (attempt: A, services: S, steps: ReadonlyArray<Step<A, S>>, from = 0): WsAuthError | null | Promise<WsAuthError | null> {
  try {
    for (let i = from; i < steps.length && !attempt.isOver; i++) {
      const waiting = steps[i]?.(attempt, services)
      if (waiting !== undefined) {
        return Promise.resolve(waiting).then(() => runSteps(attempt, services, steps, i + 1), (error: unknown) => refusalOf(error, attempt))
      }
    }
    // Nobody reads it then, but what was not checked to the end must not look like it.
    return attempt.isOver ? new WsAuthError('WS_AUTH_UNAVAILABLE') : null
  } catch (error) {
    return refusalOf(error, attempt)
  }
}

/** Reads an answer at once where it is there at once. */
export function answer<T> (value: T | PromiseLike<T>, read: (value: T) => void): void | PromiseLike<void> {
  return isThenable(value) ? Promise.resolve(value).then(read) : read(value)
}

export function verifyToken (attempt: Authentication, { options, verifier }: AuthenticationServices): void | PromiseLike<void> {
  const { credential, request } = attempt
  if (credential === null) return
  const { token } = credential
  if (Buffer.byteLength(token) > options.maxTokenBytes) {
    throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is longer than maxTokenBytes' })
  }
  return answer(verifier.verify(token, request, attempt), ({ claims, user }) => {
    attempt.claims = claims
    attempt.user = user as FastifyRequest['user']
    attempt.expiresAt = expiryOf(claims, verifier.rules)
  })
}

/** On a copy: a validator that coerces, removes or fills in does it for itself. */
export function checkClaims ({ request, claims }: Authentication, { options }: AuthenticationServices): void | PromiseLike<void> {
  if (options.claims === undefined || claims === null) return
  return answer(request.validateInput(copyData(claims), options.claims) as unknown, assertValid)
}

/** Validators answer false, or with what is wrong. */
function assertValid (result: unknown): void {
  const isWrong = result === false || (typeof result === 'object' && result !== null && 'error' in result && result.error != null)
  if (isWrong) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'the claims do not match the schema' })
}

export function readUser (attempt: Authentication, { options }: AuthenticationServices): void | PromiseLike<void> {
  const { claims, request } = attempt
  if (claims === null) return
  if (options.user === undefined) return assertUser(attempt.user)
  return answer(options.user(claims, request) as unknown, (user) => {
    assertUser(user)
    attempt.user = freezeData(copyData(user)) as FastifyRequest['user']
  })
}

/** Claims without a user are nobody's: neither `user` nor `formatUser` may let them pass for anonymous. */
function assertUser (user: unknown): void {
  if (user == null) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'there is no such user' })
}

export function authorize ({ request, route, claims, user }: Authentication, { options }: AuthenticationServices): void | PromiseLike<void> {
  // Nobody is known yet, or never will be: an optional route asks for nothing else.
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

/** What the app's own functions throw is not the client's to know, and what they throw it with is not the log's. */
function refusalOf (error: unknown, { credential }: Authentication): WsAuthError {
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
