/*
 * From a token to claims that can be trusted. The only file that asks @fastify/jwt: its settings are read here and its
 * errors become ours here. It has three ways of being asked, which differ tenfold in cost; see `createJwtVerifier`.
 */
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify'
import type { FastifyJWTOptions, JWT } from '@fastify/jwt'
import { assertClaims } from './claims'
import type { ClaimRules, Claims } from './claims'
import { WsAuthError } from './errors'
import { freezeData, frozenCopy, isSameData } from './frozen'
import { assertFormat, assertUtf8, readClaims } from './jwt-format'
import { isThenable } from './thenable'
import type { CompleteOptions } from './options'
import { errorWithoutToken, textWithoutToken } from './redaction'

/** What a verified token says. Both are frozen and nobody else's; they are one object unless `formatUser` made another. */
export interface Verified {
  readonly claims: Claims
  readonly user: unknown
}

/** Whoever waits for an answer. */
export interface Asker {
  /** Aborts when nobody waits any more. */
  readonly signal: AbortSignal
}

/** Answers at once where it can. Throws or rejects with a {@link WsAuthError}, whatever went wrong. */
export type VerifyToken = (token: string, request: FastifyRequest, asker: Asker) => Verified | Promise<Verified>

/** Asks the verifier of the app, before its errors are ours; the answer is what it makes of the claims. */
type Ask = (token: string, request: FastifyRequest, asker: Asker) => unknown

/** A verifier, and what the claims it lets through must hold beyond. */
export interface Verifier {
  readonly verify: VerifyToken
  readonly rules: ClaimRules
}

const NO_RULES: ClaimRules = { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true }

const EXPIRED_CODES = new Set(['FAST_JWT_EXPIRED', 'FST_JWT_AUTHORIZATION_TOKEN_EXPIRED', 'ERR_JWT_EXPIRED'])
/** fast-jwt, @fastify/jwt, and what jose says of tokens (its other errors are about keys that could not be had). */
const TOKEN_CODES = /^(?:FAST_JWT_|FST_JWT_|ERR_JW[ST]_|ERR_JOSE_(?:ALG_NOT_ALLOWED|NOT_SUPPORTED)$|ERR_JWKS_(?:NO|MULTIPLE)_MATCHING_KEYS?$)/
/** jsonwebtoken's errors have names and no codes. */
const TOKEN_NAMES = new Set(['JsonWebTokenError', 'NotBeforeError', 'TokenExpiredError'])

/**
 * The verifier of @fastify/jwt.
 *
 * @param jwt the decorator of the @fastify/jwt to use
 * @param method the name of its request decorator, such as `jwtVerify`
 * @param own its options, where this plugin registered it
 */
export function createJwtVerifier (app: FastifyInstance, jwt: JWT, method: string, own: FastifyJWTOptions | undefined): Verifier {
  const rules = rulesOf(jwt)
  const ask = own !== undefined && isStatic(own) ? askDirectly(jwt, own) : askByRequest(app, jwt, method)
  const read = own !== undefined && isStatic(own) && isFresh(jwt, own) ? takeAnswer : compareAnswer
  const verify: VerifyToken = (token, request, asker) => {
    assertFormat(token)
    return asking(token, () => ask(token, request, asker), (answer) => {
      const verified = read(answer, token, jwt)
      assertClaims(verified.claims, rules, Date.now())
      return verified
    })
  }
  return { verify, rules }
}

/** Whether nobody else has what the verifier answers: it keeps no cache, and shows it to no function of the app. */
function isFresh ({ options }: JWT, { trusted, formatUser }: FastifyJWTOptions): boolean {
  const { cache, complete } = options.verify
  return trusted === undefined && formatUser === undefined && complete !== true && (cache === undefined || cache === false)
}

/** 4 us less than reading the claims a second time. */
function takeAnswer (answer: unknown, token: string): Verified {
  assertUtf8(token)
  const claims = freezeData(answer as Claims)
  return { claims, user: claims }
}

/** `answer` may be one object for all who have this token (the verifier's cache), so it is compared and copied. */
function compareAnswer (answer: unknown, token: string, jwt: JWT): Verified {
  const claims = freezeData(readClaims(token))
  const isClaims = jwt.options.verify.complete === true || isSameData(answer, claims)
  return { claims, user: isClaims ? claims : frozenCopy(answer) }
}

/** The verifier of the `verify` option. */
export function createCustomVerifier (verifyOption: NonNullable<CompleteOptions['verify']>): Verifier {
  const ask: Ask = (token, request, { signal }) => verifyOption(token, request, { signal })
  const verify: VerifyToken = (token, request, asker) => asking(token, () => ask(token, request, asker), (answer) => {
    if (typeof answer !== 'object' || answer === null || Array.isArray(answer)) {
      throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'verify returned no object' })
    }
    // Claims are data, whatever they were an instance of: a class would be shared by all who have the token.
    const claims = frozenCopy({ ...answer } as Claims)
    assertClaims(claims, NO_RULES, Date.now())
    return { claims, user: claims }
  })
  return { verify, rules: NO_RULES }
}

/** Asks, and has the answer read at once where it is there at once: a promise is made only where one must be. */
function asking (token: string, ask: () => unknown, read: (answer: unknown) => Verified): Verified | Promise<Verified> {
  const fail = (error: unknown): never => { throw refusalOf(error, token) }
  try {
    const answer = ask()
    return isThenable(answer) ? Promise.resolve(answer).then(read).catch(fail) : read(answer)
  } catch (error) {
    return fail(error)
  }
}

/** 9 us less than by request: the token is decoded once, and `trusted` and `formatUser` are called from here. */
function askDirectly (jwt: JWT, { trusted, formatUser }: FastifyJWTOptions): Ask {
  const format = (payload: never): unknown => formatUser === undefined ? payload : formatUser(payload)
  const assertTrusted = (isTrusted: boolean): void => {
    if (!isTrusted) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it is not trusted' })
  }
  return (token, request) => {
    const payload = verifyWithoutStack(jwt, token) as never
    if (trusted === undefined) return format(payload)
    const isTrusted = trusted(request, payload)
    if (isThenable(isTrusted)) return Promise.resolve(isTrusted).then((answer) => { assertTrusted(answer); return format(payload) })
    assertTrusted(isTrusted as boolean)
    return format(payload)
  }
}

/** What it throws is an answer about the token, not a fault at a line of it: a stack would cost a refusal 10 us. */
function verifyWithoutStack (jwt: JWT, token: string): unknown {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return jwt.verify(token)
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

type JwtVerify = (options: object | undefined, callback: (error: unknown, user: unknown) => void) => void

/**
 * As the app's own `request.jwtVerify()`, which is the only way to its secret function, `trusted` and `formatUser`.
 * Called with options it would build a verifier for each call (RS256: 150 us instead of 27), so the token is handed to
 * it where it looks by itself: in the Authorization header, for as long as it takes to look.
 */
function askByRequest (app: FastifyInstance, jwt: JWT, method: string): Ask {
  const { decoratorName } = jwt.options as unknown as { decoratorName: string }
  const { extractToken, onlyCookie } = jwt.options.verify as { extractToken?: unknown, onlyCookie?: boolean }
  const call = (request: FastifyRequest, options: object | undefined): unknown => answerOf((callback) => {
    const decorated = request as unknown as Record<string, unknown>
    const restore = restorer(request, decorated[decoratorName]);
    (request as unknown as Record<string, JwtVerify>)[method]?.(options, (error, user) => {
      decorated[decoratorName] = restore()
      callback(error, user)
    })
  })
  if (extractToken !== undefined || onlyCookie === true) {
    app.log.warn('@fastify/jwt is registered with extractToken or onlyCookie: it will build a verifier for every handshake')
    return (token, request) => call(request, { verify: { extractToken: () => token } })
  }
  return (token, request) => {
    const { headers } = request.raw
    const { authorization } = headers
    headers.authorization = `Bearer ${token}`
    try {
      return call(request, undefined)
    } finally {
      if (authorization === undefined) delete headers.authorization
      else headers.authorization = authorization
    }
  }
}

/**
 * @fastify/jwt sets the user, of whom nobody knows yet whether they may connect, or renew. Answers with who is to be put
 * back: whoever it was, also where the app had set that, or the user of another renewal that was accepted meanwhile.
 */
function restorer (request: FastifyRequest, before: unknown): () => unknown {
  const present = request.wsAuth?.user
  return () => {
    const user = request.wsAuth?.user
    return user !== undefined && user === present ? before : user ?? null
  }
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

/**
 * The options for @fastify/jwt with a secret function made safe: a key that does not exist is the token's fault (401),
 * where @fastify/jwt would take `undefined` for a bug (500) and a function for a key fetcher (it never answers).
 */
export function withSafeSecret (own: FastifyJWTOptions): FastifyJWTOptions {
  const { secret } = own
  const key = hasPublic(secret) ? secret.public : secret
  if (typeof key !== 'function') return own
  const safe = safeSecret(key as SecretFunction) as FastifyJWTOptions['secret']
  return { ...own, secret: hasPublic(secret) ? { ...secret, public: safe } as typeof secret : safe }
}

type KeyCallback = (error: unknown, key?: unknown) => void
type SecretFunction = (request: FastifyRequest, token: unknown, callback: KeyCallback) => unknown

function safeSecret (secret: SecretFunction): SecretFunction {
  return (request, token, callback) => {
    const answer = secret(request, token, (error, key) => {
      if (error != null) callback(error)
      else answerWith(callback, key)
    })
    return isThenable(answer) ? answer.then(usableKey) : answer
  }
}

function answerWith (callback: KeyCallback, key: unknown): void {
  let usable: unknown
  try {
    usable = usableKey(key)
  } catch (error) {
    callback(error)
    return
  }
  callback(null, usable)
}

function usableKey (key: unknown): string | Buffer {
  if (key == null || typeof key === 'function') throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'there is no such key' })
  if (typeof key === 'string') return key
  if (!Buffer.isBuffer(key)) throw new TypeError('the secret function of @fastify/jwt must give a string (PEM) or a Buffer')
  // A verifier is kept for a key that is a string, and built again each time for one that is not.
  return key.includes('-----BEGIN ') ? key.toString() : key
}

/** Whether the key is there from the start. A function is asked for it with the request, by @fastify/jwt alone. */
function isStatic ({ secret }: FastifyJWTOptions): boolean {
  return typeof (hasPublic(secret) ? secret.public : secret) !== 'function'
}

function hasPublic (secret: FastifyJWTOptions['secret']): secret is Extract<FastifyJWTOptions['secret'], { public: unknown }> {
  return typeof secret === 'object' && 'public' in secret
}

/** A setting of the verifier that speaks of a claim makes the claim required; the verifier checks it only if it is there. */
function rulesOf (jwt: JWT): ClaimRules {
  const { allowedIss, allowedAud, allowedSub, allowedJti, allowedNonce, maxAge, ...verify } = jwt.options.verify
  const settings = { iss: allowedIss, aud: allowedAud, sub: allowedSub, jti: allowedJti, nonce: allowedNonce, iat: maxAge }
  return {
    required: Object.entries(settings).filter(([, setting]) => setting != null).map(([claim]) => claim),
    clockTolerance: verify.clockTolerance ?? 0,
    checkExpiry: verify.ignoreExpiration !== true,
    checkNotBefore: verify.ignoreNotBefore !== true
  }
}

/** RFC 7518, 3.2: an HMAC key is at least as long as its hash. A short one can be guessed from any token. */
export function warnOfShortSecret ({ secret, verify, sign }: FastifyJWTOptions, log: FastifyBaseLogger): void {
  const key = hasPublic(secret) ? secret.public : secret
  if ((typeof key !== 'string' && !Buffer.isBuffer(key)) || key.includes('-----BEGIN ')) return
  const algorithms = verify?.algorithms ?? [sign?.algorithm ?? 'HS256']
  const needed = Math.max(...algorithms.map((algorithm) => /^HS(\d+)$/.exec(algorithm)?.[1]).map((bits) => Number(bits ?? 0) / 8))
  const bytes = Buffer.byteLength(key)
  if (bytes < needed) log.warn(`the secret of @fastify/jwt has ${bytes} bytes: less than the ${needed} of its hash, it can be guessed from a token`)
}

/** Makes a refusal of whatever a verifier threw: about the token it is the client's to know, anything else is not. */
function refusalOf (error: unknown, token: string): WsAuthError {
  if (error instanceof WsAuthError) return error
  if (error instanceof RangeError) return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'RangeError' })
  const { code, name, message } = readable(error)
  if (EXPIRED_CODES.has(code) || name === 'TokenExpiredError') return new WsAuthError('WS_AUTH_TOKEN_EXPIRED')
  if (TOKEN_CODES.test(code) || TOKEN_NAMES.has(name)) {
    return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: textWithoutToken(`${name} ${code}: ${message}`, token) })
  }
  return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: errorWithoutToken(error, token) })
}

/** What is thrown may be anything, also something that throws when it is looked at. */
function readable (error: unknown): { code: string, name: string, message: string } {
  try {
    const { code, name, message } = (error ?? {}) as Record<string, unknown>
    return { code: String(code), name: String(name), message: String(message) }
  } catch {
    return { code: '', name: '', message: '' }
  }
}
