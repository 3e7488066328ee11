/*
 * The only caller of @fastify/jwt. It can be called directly, by request, or by request with options, and the cost differs tenfold.
 * In each case the claims are those that @fastify/jwt answered for this token, or are compared with them.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { FastifyJWTOptions, JWT } from '@fastify/jwt'
import { setStackTraceLimit, WsAuthError } from '../base/errors'
import { isThenable } from '../base/thenable'
import { copyData, frozenCopy } from './frozen-data'
import { claimsReader, foreignReader, isOn, ownReader, userOf } from './jwt-answer'
import { isStatic, payloadOf } from './jwt-secret'
import { TokenView } from './token-view'
import type { Verified } from './verifier'

/** Verifies a token. Throws the errors of @fastify/jwt and of the app's own functions. */
export type AskJwt = (token: string, request: FastifyRequest) => Verified | PromiseLike<Verified>

/** Calls `jwt.verify`, and `trusted` and `formatUser` itself. 9 us faster than by request, because the token is decoded once. */
export function verifyDirectly (jwt: JWT, { trusted, formatUser }: FastifyJWTOptions): AskJwt {
  const isShown = trusted !== undefined || formatUser !== undefined
  const claimsOf = claimsReader(jwt, isShown)
  return (token, request) => {
    const answer = verifyWithoutStack(jwt, token)
    const claims = claimsOf(payloadOf(answer, jwt.options), token)
    if (!isShown) return { claims, user: claims }
    // The app's functions get a copy, because they may change it.
    const shown = copyData(answer) as never
    const finish = (isTrusted: unknown): Verified => {
      assertTrusted(isTrusted)
      return { claims, user: formatUser === undefined ? userOf(shown, claims, jwt) : frozenCopy(formatUser(shown)) }
    }
    const isTrusted = trusted === undefined ? true : trusted(request, shown)
    return isThenable(isTrusted) ? Promise.resolve(isTrusted).then(finish) : finish(isTrusted)
  }
}

/** Verifies without stack traces: an error is an answer about the token, and its stack would cost 10 us. */
function verifyWithoutStack (jwt: JWT, token: string): unknown {
  const before = setStackTraceLimit(0)
  try {
    return jwt.verify(token)
  } finally {
    setStackTraceLimit(before)
  }
}

type JwtVerify = (options: object | undefined, callback: (error: unknown, user: unknown) => void) => void

/**
 * Calls `request.jwtVerify()` as the app would: no other way reaches its secret function, `trusted` and `formatUser`. The call is made on
 * a {@link TokenView} of the request. With options, @fastify/jwt builds a verifier for each call (RS256: 150 us instead of 27).
 */
export function verifyByRequest (app: FastifyInstance, jwt: JWT, method: string, own: FastifyJWTOptions | undefined): AskJwt {
  const { decoratorName } = jwt.options as unknown as { decoratorName: string }
  const needsOptions = buildsEachTime(jwt, own)
  if (needsOptions) app.log.warn('@fastify/jwt is registered with extractToken, onlyCookie or cacheKeyBuilder: it will build a verifier for every handshake')
  const read = own === undefined ? foreignReader(jwt, verifyAgain(jwt)) : ownReader(jwt, own)
  return (token, request) => {
    const view = new TokenView(request, token, decoratorName)
    const seen = new Proxy(request, view) as unknown as Record<string, JwtVerify>
    const answer = answerOf((callback) => {
      seen[method]!(needsOptions ? { verify: { extractToken: () => token, cache: false } } : undefined, callback)
    })
    const finish = (user: unknown): Verified => read(user, token, view)
    return isThenable(answer) ? answer.then(finish) : finish(answer)
  }
}

/**
 * Verifies a token of another kind than access tokens, with some settings of its own. It resolves if the token is good; the answer itself
 * says nothing, because `formatUser` may have made another. A verifier is built for each call.
 *
 * @param settings of the verification, in place of those of the app
 */
export function verifyOnce (jwt: JWT, method: string, own: FastifyJWTOptions | undefined, settings: object): (token: string, request: FastifyRequest) => unknown {
  const { decoratorName } = jwt.options as unknown as { decoratorName: string }
  if (own !== undefined && isStatic(own)) {
    return (token, request) => {
      const answer = jwt.verify(token, { ...settings, cache: false } as object)
      const isTrusted: unknown = own.trusted === undefined ? true : own.trusted(request, copyData(answer) as never)
      return isThenable(isTrusted) ? isTrusted.then(assertTrusted) : assertTrusted(isTrusted)
    }
  }
  return (token, request) => {
    const seen = new Proxy(request, new TokenView(request, token, decoratorName)) as unknown as Record<string, JwtVerify>
    return answerOf((callback) => seen[method]!({ verify: { ...settings, extractToken: () => token, cache: false } }, callback))
  }
}

function assertTrusted (isTrusted: unknown): void {
  if (!isTrusted) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is not trusted' })
}

/**
 * Whether the shared verifier of @fastify/jwt cannot be used: it would look for the token in another place, or its cache is keyed by less
 * than the token and could answer with the claims of another. Only with our own options can the answer be compared with the token.
 */
function buildsEachTime ({ options }: JWT, own: FastifyJWTOptions | undefined): boolean {
  const { extractToken, onlyCookie, cache, cacheKeyBuilder } = options.verify as Record<string, unknown>
  return extractToken !== undefined || Boolean(onlyCookie) || (own === undefined && isOn(cache) && cacheKeyBuilder !== undefined)
}

/** How to verify a token once more, or `null` if the key is fetched or a cache would answer. */
function verifyAgain (jwt: JWT): ((token: string) => unknown) | null {
  return hasStaticKey(jwt) && !isOn(jwt.options.verify.cache) ? (token) => verifyWithoutStack(jwt, token) : null
}

/** Whether `jwt.verify` needs no request. It refuses a text that is no token before it fetches a key: at once, or by a promise. */
function hasStaticKey (jwt: JWT): boolean {
  try {
    const answer: unknown = jwt.verify('no token')
    if (isThenable(answer)) answer.then(undefined, () => {})
    return false
  } catch {
    return true
  }
}

/** Returns the result of a callback: as a value if the callback is called before `run` returns, else as a promise. */
function answerOf (run: (callback: (error: unknown, answer: unknown) => void) => void): unknown {
  let settled: { error: unknown, answer: unknown } | undefined
  let settle: (() => void) | undefined
  run((error, answer) => {
    settled ??= { error, answer }
    settle?.()
  })
  const result = (): unknown => {
    if (settled?.error != null) throw settled.error
    return settled?.answer
  }
  if (settled !== undefined) return result()
  return new Promise<void>((resolve) => { settle = resolve }).then(result)
}
