/*
 * Checks the form of a JWT before its signature is verified, and reads its claims after. The library is more lenient than RFC 7515 and
 * RFC 7519, and with some headers it never answers.
 */
import { isUtf8 } from 'node:buffer'
import type { Claims } from './claims'
import { WsAuthError } from '../base/errors'
import { reasonOfFormat } from './format-mistakes'

/** RFC 7515, 7.1: three base64url segments. The last may be empty. */
const COMPACT_JWS = /^[\w-]+\.[\w-]+\.[\w-]*$/

/** Three segments of any characters: a `verify` of the app may read base64 with padding, which RFC 7515 forbids. */
const THREE_SEGMENTS = /^[^.]+\.[^.]*\.[^.]*$/

/** The same as {@link COMPACT_JWS}, perhaps with `Bearer` in front; captures the header. */
const LOOKALIKE = /^(?:bearer[ \t]+)?([\w-]+)\.[\w-]+\.[\w-]*$/i

/** Leaves a byte order mark out, and replaces what is not UTF-8. */
const LENIENT = new TextDecoder()

/** The last header that passed. Tokens of one issuer have the same header, so most need no check. */
let lastHeader = ''

/** The last header that was asked for its `kid`, and the `kid`. */
let lastNamed = ''
let lastKid: string | null = null

/**
 * Refuses a token with a wrong form or header.
 *
 * @throws WsAuthError `WS_AUTH_TOKEN_INVALID`
 */
export function assertFormat (token: string): void {
  if (!COMPACT_JWS.test(token)) throw refusal(reasonOfFormat(token))
  const header = token.slice(0, token.indexOf('.'))
  if (header === lastHeader) return
  assertHeader(readSegment(header, 'header'))
  lastHeader = header
}

/**
 * The `kid` in the header of a token that was verified (RFC 7515, 4.1.4). `null` if it has none, or if the token is no compact JWS, as
 * `verify` may accept it. It is read as leniently as any library does: the holder of a leaked key chooses how the header is spelt, and
 * would escape a revocation by `kid`.
 */
export function kidOf (token: string): string | null {
  if (!THREE_SEGMENTS.test(token)) return null
  const header = token.slice(0, token.indexOf('.'))
  if (header !== lastNamed) {
    lastKid = readKid(header)
    lastNamed = header
  }
  return lastKid
}

function readKid (header: string): string | null {
  try {
    const { kid } = Object(JSON.parse(LENIENT.decode(Buffer.from(header, 'base64url')))) as Record<string, unknown>
    return typeof kid === 'string' && kid !== '' ? kid : null
  } catch {
    return null
  }
}

/**
 * Parses the claims of a verified token. The caller gets its own object.
 *
 * @throws WsAuthError `WS_AUTH_TOKEN_INVALID` if they are not a JSON object in valid UTF-8 (RFC 7519, 7.2)
 */
export function readClaims (token: string): Claims {
  return readSegment(payloadOf(token), 'payload')
}

/** Parses the header of a token. @throws WsAuthError `WS_AUTH_TOKEN_INVALID` if it is not a JSON object in valid UTF-8 */
export function readHeader (token: string): Record<string, unknown> {
  return readSegment(token.slice(0, token.indexOf('.')), 'header')
}

/**
 * Refuses a token whose claims are not valid UTF-8 (RFC 7519, 7.2), because the library reads them anyway.
 *
 * @throws WsAuthError `WS_AUTH_TOKEN_INVALID`
 */
export function assertUtf8 (token: string): void {
  if (!isUtf8(Buffer.from(payloadOf(token), 'base64url'))) throw refusal('its payload is not valid UTF-8')
}

/** Whether a text looks like a JWT, or like the value of an Authorization header with one. */
export function looksLikeJwt (text: string): boolean {
  // Fast path: most texts have no dot.
  if (!text.includes('.')) return false
  const [, header] = LOOKALIKE.exec(text) ?? []
  if (header === undefined) return false
  try {
    readSegment(header, 'header')
    return true
  } catch {
    return false
  }
}

function payloadOf (token: string): string {
  const start = token.indexOf('.') + 1
  return token.slice(start, token.indexOf('.', start))
}

function assertHeader (header: Record<string, unknown>): void {
  const { alg, crit, kid } = header
  // RFC 7515, 4.1.1. fastify-jwt-jwks throws a TypeError without it, as if its keys could not be fetched.
  if (!isHeaderName(alg)) throw refusal('alg is not the name of an algorithm')
  // RFC 7515, 4.1.11. The library reads an empty string as "no crit".
  if (crit !== undefined && !(Array.isArray(crit) && crit.length > 0)) throw refusal('crit is not a non-empty array')
  // RFC 7515, 4.1.4.
  if (kid !== undefined && !isHeaderName(kid)) throw refusal('kid is not the name of a key')
}

/**
 * Whether a value can name a key or an algorithm: a string (get-jwks encodes it for a URL, which half a character prevents), and not the
 * name of a property of every object. `keys[kid]` would be a function: @fastify/jwt would call it as a key fetcher, and it would never answer.
 */
function isHeaderName (value: unknown): boolean {
  return typeof value === 'string' && value.isWellFormed() && !(value in Object.prototype)
}

function readSegment (segment: string, what: string): Record<string, unknown> {
  const bytes = Buffer.from(segment, 'base64url')
  if (!isUtf8(bytes)) throw refusal(`its ${what} is not valid UTF-8`)
  let value: unknown
  try {
    value = JSON.parse(bytes.toString())
  } catch {
    throw refusal(`its ${what} is not JSON`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refusal(`its ${what} is not an object`)
  return value as Record<string, unknown>
}

function refusal (why: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: why })
}
