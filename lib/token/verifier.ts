/*
 * From a token to claims that can be trusted: what a verifier is, that of the `verify` option, and where the errors of any
 * become ours. That of @fastify/jwt is in `jwt-verifier.ts`.
 */
import type { FastifyRequest } from 'fastify'
import { assertClaims } from './claims'
import type { ClaimRules, Claims } from './claims'
import { WsAuthError } from '../base/errors'
import { frozenCopy } from './frozen-data'
import { isThenable } from '../base/thenable'
import { errorWithoutToken, textWithoutToken } from '../base/redaction'

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

/** A verifier, and what the claims it lets through must hold beyond. */
export interface Verifier {
  readonly verify: VerifyToken
  readonly rules: ClaimRules
}

const NO_RULES: ClaimRules = { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null }

/** RFC 6750, 2.1, allows less. What has other characters could end the line of a protocol that `verify` writes it into. */
const VISIBLE_ASCII = /^[\x21-\x7e]+$/

const EXPIRED_CODES = new Set(['FAST_JWT_EXPIRED', 'FST_JWT_AUTHORIZATION_TOKEN_EXPIRED', 'ERR_JWT_EXPIRED'])
/** fast-jwt, @fastify/jwt, and what jose and get-jwks say of tokens (their other errors are about keys that could not be had). */
const TOKEN_CODES = /^(?:FAST_JWT_|FST_JWT_|ERR_JW[ST]_|ERR_JOSE_(?:ALG_NOT_ALLOWED|NOT_SUPPORTED)$|ERR_JWKS_(?:NO|MULTIPLE)_MATCHING_KEYS?$|(?:JWK_NOT_FOUND|DOMAIN_NOT_ALLOWED)$)/
/** jsonwebtoken's errors have names and no codes. */
const TOKEN_NAMES = new Set(['JsonWebTokenError', 'NotBeforeError', 'TokenExpiredError'])

/** The app's own verification: the claims of a token, or anything that is not an object for none. */
export type VerifyOption = (token: string, request: FastifyRequest, context: { signal: AbortSignal }) => unknown

/** The verifier of the `verify` option. */
export function createCustomVerifier (verifyOption: VerifyOption): Verifier {
  const read = (answer: unknown): Verified => {
    if (typeof answer !== 'object' || answer === null || Array.isArray(answer)) {
      throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'verify returned no object' })
    }
    // Claims are data, whatever they were an instance of: a class would be shared by all who have the token.
    const claims = frozenCopy({ ...answer } as Claims)
    assertClaims(claims, NO_RULES, Date.now())
    return { claims, user: claims }
  }
  const verify: VerifyToken = (token, request, asker) => {
    if (!VISIBLE_ASCII.test(token)) throw new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'it has a character that is not visible ASCII' })
    return asking(token, () => verifyOption(token, request, { signal: asker.signal }), read, forbiddenOf)
  }
  return { verify, rules: NO_RULES }
}

/** Asks, and has the answer read at once where it is there at once: a promise is made only where one must be. */
export function asking<T> (token: string, ask: () => T | PromiseLike<T>, read: (answer: T) => Verified, first?: (error: unknown, token: string) => WsAuthError | null): Verified | Promise<Verified> {
  const fail = (error: unknown): never => { throw first?.(error, token) ?? refusalOf(error, token) }
  try {
    const answer = ask()
    return isThenable(answer) ? Promise.resolve(answer).then(read).catch(fail) : read(answer)
  } catch (error) {
    return fail(error)
  }
}

/** What `verify` alone may say in the words of HTTP: the token is good, and its user may not connect. */
function forbiddenOf (error: unknown, token: string): WsAuthError | null {
  const { name, message, statusCode } = readable(error)
  if (error instanceof WsAuthError || statusCode !== 403) return null
  return new WsAuthError('WS_AUTH_FORBIDDEN', { cause: textWithoutToken(`${name}: ${message}`, token) })
}

/** Makes a refusal of whatever a verifier threw: about the token it is the client's to know, anything else is not. */
function refusalOf (error: unknown, token: string): WsAuthError {
  if (error instanceof WsAuthError) return error
  if (error instanceof RangeError) return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'RangeError' })
  const { code, name, message, statusCode } = readable(error)
  if (EXPIRED_CODES.has(code) || name === 'TokenExpiredError') return new WsAuthError('WS_AUTH_TOKEN_EXPIRED', { cause: 'its exp has passed, or it is older than maxAge' })
  if (TOKEN_CODES.test(code) || TOKEN_NAMES.has(name)) {
    return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: textWithoutToken(`${name} ${code}: ${message}`, token) })
  }
  // What the app's own function says of a token in the words of HTTP.
  if (statusCode === 401) return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: textWithoutToken(`${name}: ${message}`, token) })
  return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: errorWithoutToken(error, token) })
}

/** What is thrown may be anything, also something that throws when it is looked at. */
function readable (error: unknown): { code: string, name: string, message: string, statusCode: unknown } {
  try {
    const { code, name, message, statusCode } = (error ?? {}) as Record<string, unknown>
    return { code: String(code), name: String(name), message: String(message), statusCode }
  } catch {
    return { code: '', name: '', message: '', statusCode: undefined }
  }
}
