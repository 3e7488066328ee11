/*
 * The claims of a token (RFC 7519 section 4): what the verifier lets pass and this package does not, and the one place
 * where a JWT's seconds become milliseconds.
 */
import { WsAuthError } from '../base/errors'

/** The claims of a verified token: deep-frozen, and a connection's own copy. */
export interface Claims {
  /** Who the token is about (RFC 7519, 4.1.2). */
  readonly sub?: string
  /** Who issued it (4.1.1). */
  readonly iss?: string
  /** Whom it is for (4.1.3). */
  readonly aud?: string | readonly string[]
  /** Seconds since the epoch after which it is not valid (4.1.4). */
  readonly exp?: number
  /** Seconds since the epoch before which it is not valid (4.1.5). */
  readonly nbf?: number
  /** Seconds since the epoch when it was issued (4.1.6). */
  readonly iat?: number
  /** Its own identifier (4.1.7). */
  readonly jti?: string
  readonly [claim: string]: unknown
}

/** What claims must hold beyond their signature. */
export interface ClaimRules {
  /** Claims that must be there, because a setting of the verifier speaks of them. */
  readonly required: readonly string[]
  /** How far the issuer's clock may be off for `exp` and `nbf`, in milliseconds. */
  readonly clockTolerance: number
  /** False where the verifier was told to ignore `exp`. */
  readonly checkExpiry: boolean
  /** False where the verifier was told to ignore `nbf`. */
  readonly checkNotBefore: boolean
  /** How old a token may be by its `iat`, in milliseconds; `null` for any age. The tolerance of clocks does not count for it. */
  readonly maxAge: number | null
}

/** The least that an issuer's clock may be ahead of ours before `iat` counts as a lie, in milliseconds. */
const MIN_ISSUED_AT_TOLERANCE = 60_000

const NUMERIC_DATES = ['exp', 'nbf', 'iat'] as const

/** The claims by which a token or its login is revoked. */
const NAMES = ['jti', 'sid'] as const

/**
 * Refuses claims that a signature does not make right.
 *
 * @param now the clock, in milliseconds since the epoch
 * @throws WsAuthError `WS_AUTH_TOKEN_INVALID` or `WS_AUTH_TOKEN_EXPIRED`
 */
export function assertClaims (claims: Claims, rules: ClaimRules, now: number): void {
  for (const name of rules.required) {
    if (!Object.hasOwn(claims, name)) throw refusal(`it has no ${name}`)
  }
  for (const name of NUMERIC_DATES) {
    if (claims[name] !== undefined && !Number.isFinite(claims[name])) throw refusal(`its ${name} is not a finite number`)
  }
  if (claims.sub !== undefined && typeof claims.sub !== 'string') throw refusal('its sub is not a string')
  for (const name of NAMES) {
    if (!isName(claims[name])) throw refusal(`its ${name} is neither a string nor a safe integer: nobody could revoke it`)
  }

  const { exp, nbf, iat } = claims
  const issuedAtTolerance = Math.max(rules.clockTolerance, MIN_ISSUED_AT_TOLERANCE)
  if (iat !== undefined && iat * 1000 > now + issuedAtTolerance) throw refusal('it was issued in the future')
  if (rules.checkNotBefore && nbf !== undefined && nbf * 1000 > now + rules.clockTolerance) {
    throw refusal('it is not valid yet')
  }
  if (rules.checkExpiry && exp !== undefined && exp * 1000 <= now - rules.clockTolerance) {
    throw new WsAuthError('WS_AUTH_TOKEN_EXPIRED', { cause: 'its exp has passed' })
  }
  if (now > endByAge(claims, rules)) {
    throw new WsAuthError('WS_AUTH_TOKEN_EXPIRED', { cause: 'it is older than maxAge' })
  }
}

/** Whether a `jti` or `sid` can be told from all others: a number past 2^53 has lost digits when JSON has been read. */
function isName (value: unknown): boolean {
  return value == null || typeof value === 'string' || (Number.isSafeInteger(value) && !Object.is(value, -0))
}

/**
 * The name that a claim gives to a token, its login or its user; `null` where there is none. RFC 7519 says that a `jti` is a
 * string; where an issuer counts its tokens it is the number in decimal.
 */
export function nameIn (claims: Claims, claim: 'jti' | 'sid' | 'sub'): string | null {
  const name = claims[claim]
  return typeof name === 'string' || typeof name === 'number' ? String(name) : null
}

/** OpenID Connect Back-Channel Logout 1.0, 2.4. */
const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout'

/** What a token says of somebody who has logged out, `undefined` where it says nothing of the kind. */
export function logoutEventOf ({ events }: Claims): unknown {
  if (typeof events !== 'object' || events === null || !Object.hasOwn(events, LOGOUT_EVENT)) return undefined
  return (events as Record<string, unknown>)[LOGOUT_EVENT]
}

/** Whether the token is about a logout, well-formed or not. It is no credential, whoever has signed it. */
export function isLogoutToken (claims: Claims): boolean {
  return logoutEventOf(claims) !== undefined
}

/** When the token of these claims expires, in milliseconds since the epoch; `null` where it never does. */
export function expiryOf (claims: Claims, rules: ClaimRules): number | null {
  const byExp = claims.exp === undefined || !rules.checkExpiry ? Infinity : claims.exp * 1000
  const expiresAt = Math.min(byExp, endByAge(claims, rules))
  return expiresAt === Infinity ? null : Math.min(expiresAt, Number.MAX_SAFE_INTEGER)
}

/** Until when a token is accepted by its age, in milliseconds since the epoch; `Infinity` for one of any age. */
export function endByAge ({ iat }: Claims, { maxAge }: ClaimRules): number {
  return iat === undefined || maxAge === null ? Infinity : iat * 1000 + maxAge
}

function refusal (why: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: why })
}
