/*
 * The verifier of @fastify/jwt, and the only file that asks it. It has three ways of being asked, which differ tenfold in cost.
 *
 * Whichever is taken, the claims are what the verifier answered for this token, or are compared with it: never the text beside
 * an answer that may be about another token.
 */
import { parse } from '@lukeed/ms'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { FastifyJWTOptions, JWT } from '@fastify/jwt'
import { assertClaims } from './claims'
import type { ClaimRules, Claims } from './claims'
import { setStackTraceLimit, WsAuthError } from '../base/errors'
import { copyData, freezeData, frozenCopy, isSameData } from './frozen-data'
import { assertFormat, assertUtf8, readClaims } from './jwt-format'
import { isStatic, payloadOf } from './jwt-secret'
import { isThenable } from '../base/thenable'
import { asking } from './verifier'
import type { Verified, Verifier, VerifyToken } from './verifier'
import { FormatFailure, TokenView } from './token-view'

/** Verifies a token; its errors are those of @fastify/jwt and of the app's own functions. */
type Ask = (token: string, request: FastifyRequest) => Verified | PromiseLike<Verified>

/**
 * The verifier of @fastify/jwt.
 *
 * @param jwt the decorator of the @fastify/jwt to use
 * @param method the name of its request decorator, such as `jwtVerify`
 * @param own its options, where this plugin registered it
 */
export function createJwtVerifier (app: FastifyInstance, jwt: JWT, method: string, own: FastifyJWTOptions | undefined): Verifier {
  const rules = rulesOf(jwt)
  const ask = own !== undefined && isStatic(own) ? askDirectly(jwt, own) : askByRequest(app, jwt, method, own)
  const verify: VerifyToken = (token, request) => {
    assertFormat(token)
    return asking(token, () => ask(token, request), (verified) => {
      assertClaims(verified.claims, rules, Date.now())
      return verified
    })
  }
  return { verify, rules }
}

/** 9 us less than by request: the token is decoded once, and `trusted` and `formatUser` are called from here. */
function askDirectly (jwt: JWT, { trusted, formatUser }: FastifyJWTOptions): Ask {
  const isShown = trusted !== undefined || formatUser !== undefined
  const claimsOf = claimsReader(jwt, isShown)
  return (token, request) => {
    const answer = verifyWithoutStack(jwt, token)
    const claims = claimsOf(payloadOf(answer, jwt.options), token)
    if (!isShown) return { claims, user: claims }
    // What the app's functions are given is theirs to change.
    const shown = copyData(answer) as never
    const finish = (isTrusted: unknown): Verified => {
      if (!isTrusted) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is not trusted' })
      return { claims, user: formatUser === undefined ? userOf(shown, claims, jwt) : frozenCopy(formatUser(shown)) }
    }
    const isTrusted = trusted === undefined ? true : trusted(request, shown)
    return isThenable(isTrusted) ? Promise.resolve(isTrusted).then(finish) : finish(isTrusted)
  }
}

/** What it throws is an answer about the token, not a fault at a line of it: a stack would cost a refusal 10 us. */
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
 * As the app's own `request.jwtVerify()`, which is the only way to its secret function, `trusted` and `formatUser`. It is
 * called on a {@link TokenView} of the request. With options it would build a verifier for each call (RS256: 150 us instead of 27).
 */
function askByRequest (app: FastifyInstance, jwt: JWT, method: string, own: FastifyJWTOptions | undefined): Ask {
  const { decoratorName } = jwt.options as unknown as { decoratorName: string }
  const needsOptions = buildsEachTime(jwt, own)
  if (needsOptions) app.log.warn('@fastify/jwt is registered with extractToken, onlyCookie or cacheKeyBuilder: it will build a verifier for every handshake')
  const read = own === undefined ? foreignReader(jwt) : ownReader(jwt, own)
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
 * Whether the verifier of all requests cannot be used: it would look for the token elsewhere, or a cache that is keyed by less
 * than the token would answer with the claims of another (only our own options let the answer be compared with the token).
 */
function buildsEachTime ({ options }: JWT, own: FastifyJWTOptions | undefined): boolean {
  const { extractToken, onlyCookie, cache, cacheKeyBuilder } = options.verify as Record<string, unknown>
  return extractToken !== undefined || Boolean(onlyCookie) || (own === undefined && isOn(cache) && cacheKeyBuilder !== undefined)
}

/** Reads what `request.jwtVerify()` answered: the user that `formatUser` made of the claims, or the claims. */
type ReadAnswer = (answer: unknown, token: string, view: TokenView) => Verified

/** Where the plugin registered @fastify/jwt, what was verified is recorded on the way: see `jwt-secret.ts`. */
function ownReader (jwt: JWT, { formatUser }: FastifyJWTOptions): ReadAnswer {
  const claimsOf = claimsReader(jwt, true)
  return (answer, token, { verified }) => {
    if (answer instanceof FormatFailure) throw answer.error
    if (verified === null) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it was not verified' })
    const claims = claimsOf(verified, token)
    return { claims, user: formatUser === undefined ? userOf(answer, claims, jwt) : frozenCopy(answer) }
  }
}

/**
 * Where the app registered it, the answer alone is seen. The view had no other token than this, so an answer that is not its claims
 * is what a `formatUser` made of them; if the key is fixed, the verifier is asked once more, and says whose they are.
 */
function foreignReader (jwt: JWT): ReadAnswer {
  const canAskAgain = hasStaticKey(jwt) && !isOn(jwt.options.verify.cache)
  return (answer, token) => {
    const claims = freezeData(readClaims(token))
    if (isSameData(payloadOf(answer, jwt.options), claims)) return { claims, user: claims }
    if (canAskAgain) assertSame(payloadOf(verifyWithoutStack(jwt, token), jwt.options), claims)
    return { claims, user: frozenCopy(answer) }
  }
}

/** Whether `jwt.verify` can be asked. What is no token is refused before a key is asked for: at once, or by a promise where keys are fetched. */
function hasStaticKey (jwt: JWT): boolean {
  try {
    const answer: unknown = jwt.verify('no token')
    if (isThenable(answer)) answer.then(undefined, () => {})
    return false
  } catch {
    return true
  }
}

/**
 * Reads the claims in what the verifier itself answered for a token.
 *
 * @param isShared whether anybody else gets that object
 */
function claimsReader ({ options }: JWT, isShared: boolean): (payload: Claims, token: string) => Claims {
  const { cache, cacheKeyBuilder } = options.verify as Record<string, unknown>
  if (!isOn(cache)) {
    return (payload, token) => {
      assertUtf8(token)
      return isShared ? frozenCopy(payload) : freezeData(payload)
    }
  }
  // The cache has one object for all that have this token, which any of them may have changed. It is keyed by the hash of the
  // whole token, so the token's text is what was verified, unless the app keys it by less.
  return (payload, token) => {
    const claims = freezeData(readClaims(token))
    if (cacheKeyBuilder !== undefined) assertSame(payload, claims)
    return claims
  }
}

/** An answer about another token is none about this one. */
function assertSame (payload: Claims, claims: Claims): void {
  if (!isSameData(payload, claims)) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'the verifier answered with the claims of another token' })
}

/** The user without a `formatUser`: the claims, or what a `trusted` of the app has changed in its copy of them. */
function userOf (answer: unknown, claims: Claims, jwt: JWT): unknown {
  const payload = payloadOf(answer, jwt.options)
  return isSameData(payload, claims) ? claims : frozenCopy(payload)
}

function isOn (cache: unknown): boolean {
  return cache !== undefined && cache !== false
}

/** What a function gives its callback: as a value where it calls back before it returns, else as a promise. */
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

/** As @fastify/jwt reads it, which has refused what cannot be read: a number of seconds, or a text such as `'10 minutes'`. */
function milliseconds (time: number | string): number {
  return typeof time === 'number' ? time * 1000 : Number(parse(time))
}

/** A setting of the verifier that speaks of a claim makes the claim required; the verifier checks it only if it is there. */
function rulesOf (jwt: JWT): ClaimRules {
  const { allowedIss, allowedAud, allowedSub, allowedJti, allowedNonce, maxAge, ...verify } = jwt.options.verify
  const settings = { iss: allowedIss, aud: allowedAud, sub: allowedSub, jti: allowedJti, nonce: allowedNonce, iat: maxAge }
  return {
    required: Object.entries(settings).filter(([, setting]) => setting != null).map(([claim]) => claim),
    clockTolerance: verify.clockTolerance ?? 0,
    checkExpiry: verify.ignoreExpiration !== true,
    checkNotBefore: verify.ignoreNotBefore !== true,
    maxAge: maxAge == null ? null : milliseconds(maxAge)
  }
}
