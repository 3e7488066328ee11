/*
 * What verifiers throw, as refusals: an error about the token is a refusal of the client (401), any other error is an outage (503).
 */
import { WsAuthError } from '../base/errors'
import { errorWithoutToken, textWithoutToken } from '../base/redaction'

const EXPIRED_CODES = new Set(['FAST_JWT_EXPIRED', 'FST_JWT_AUTHORIZATION_TOKEN_EXPIRED', 'ERR_JWT_EXPIRED'])
/** The codes of fast-jwt, @fastify/jwt, jose and get-jwks for errors about a token. Their other codes are about keys that cannot be fetched. */
const TOKEN_CODES = /^(?:FAST_JWT_|FST_JWT_|ERR_JW[EST]_|ERR_JOSE_(?:ALG_NOT_ALLOWED|NOT_SUPPORTED)$|ERR_JWKS_(?:NO|MULTIPLE)_MATCHING_KEYS?$|(?:JWK_NOT_FOUND|DOMAIN_NOT_ALLOWED)$)/
const KEY_FETCHING_CODE = 'FAST_JWT_KEY_FETCHING_ERROR'
/** The errors of jsonwebtoken have names and no codes. */
const TOKEN_NAMES = new Set(['JsonWebTokenError', 'NotBeforeError', 'TokenExpiredError'])

/** What a developer has to compare, by the code of fast-jwt. */
const HINTS: ReadonlyMap<string, string> = new Map([
  ['FAST_JWT_INVALID_SIGNATURE', 'another secret or key has signed it'],
  ['FAST_JWT_INVALID_ALGORITHM', 'its alg is another than "algorithms", or the kind of the key, allows'],
  ['FAST_JWT_INVALID_CLAIM_VALUE', '"allowedIss", "allowedAud" and the like have other values']
])

/** Makes a refusal of any error of a verifier. */
export function toRefusal (thrown: unknown, token: string): WsAuthError {
  const error = unwrapped(thrown)
  if (error instanceof WsAuthError) return error
  // A date past the last one, or a text with half a character: only data of a token can be so.
  if (error instanceof RangeError || error instanceof URIError) return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: error instanceof RangeError ? 'RangeError' : 'URIError' })
  const { code, name, message, statusCode } = readError(error)
  if (EXPIRED_CODES.has(code) || name === 'TokenExpiredError') return new WsAuthError('WS_AUTH_TOKEN_EXPIRED', { cause: `its exp has passed, or it is older than maxAge${timeIn(message)}` })
  if (TOKEN_CODES.test(code) || TOKEN_NAMES.has(name)) {
    return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: textWithoutToken(`${name} ${code}: ${message}${hintOf(code)}`, token) })
  }
  // A function of the app may refuse a token by its HTTP status.
  if (statusCode === 401) return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: textWithoutToken(`${name}: ${message}`, token) })
  return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: errorWithoutToken(error, token) })
}

function hintOf (code: string): string {
  const hint = HINTS.get(code)
  return hint === undefined ? '' : ` (${hint})`
}

/** fast-jwt writes the time into its message: it tells a token that is old from a clock that is wrong. */
function timeIn (message: string): string {
  const [time] = /\d{4}-\d\d-\d\dT[\d:.]+Z/.exec(message) ?? []
  return time === undefined ? '' : `, at ${time}`
}

/** Makes a refusal of an error with the status 403: the token is good, and its user may not connect. Returns `null` for other errors. */
export function toForbidden (error: unknown, token: string): WsAuthError | null {
  const { name, message, statusCode } = readError(error)
  if (error instanceof WsAuthError || statusCode !== 403) return null
  return new WsAuthError('WS_AUTH_FORBIDDEN', { cause: textWithoutToken(`${name}: ${message}`, token) })
}

/** fast-jwt wraps whatever a function for keys threw, if `app.jwt.verify()` called it. The error of the function says whose fault it is. */
function unwrapped (error: unknown): unknown {
  const { code, originalError } = readError(error)
  return code === KEY_FETCHING_CODE ? originalError ?? error : error
}

/** Code may throw any value, even one that throws when it is read. */
function readError (error: unknown): { code: string, name: string, message: string, statusCode: unknown, originalError: unknown } {
  try {
    const { code, name, message, statusCode, originalError } = (error ?? {}) as Record<string, unknown>
    return { code: String(code), name: String(name), message: String(message), statusCode, originalError }
  } catch {
    return { code: '', name: '', message: '', statusCode: undefined, originalError: undefined }
  }
}
