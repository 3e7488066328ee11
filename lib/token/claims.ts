/*
 * The claims of a token (RFC 7519, 4): the checks that the verifier does not make, and the only place where seconds become milliseconds.
 */
import { WsAuthError } from '../base/errors'

/** The claims of a verified token. They are deep-frozen, and each connection has its own copy. */
export interface Claims {
  /** The user (RFC 7519, 4.1.2). */
  readonly sub?: string
  /** The issuer (4.1.1). */
  readonly iss?: string
  /** The audience (4.1.3). */
  readonly aud?: string | readonly string[]
  /** When the token expires, in seconds since the epoch (4.1.4). */
  readonly exp?: number
  /** When the token becomes valid, in seconds since the epoch (4.1.5). */
  readonly nbf?: number
  /** When the token was issued, in seconds since the epoch (4.1.6). */
  readonly iat?: number
  /** The identifier of the token (4.1.7). */
  readonly jti?: string
  readonly [claim: string]: unknown
}

/** The rules for the claims of a token whose signature is right. */
export interface ClaimRules {
  /** Claims that a token must have, because a setting of the verifier is about them. */
  readonly required: readonly string[]
  /** How many milliseconds the issuer's clock may differ, for `exp` and `nbf`. */
  readonly clockTolerance: number
  /** False if the verifier ignores `exp`. */
  readonly checkExpiry: boolean
  /** False if the verifier ignores `nbf`. */
  readonly checkNotBefore: boolean
  /** The highest age by `iat`, in milliseconds; `null` for any age. `clockTolerance` is not added. */
  readonly maxAge: number | null
}

/** How many milliseconds an issuer's clock may always be ahead for `iat`, whatever `clockTolerance` is. */
const MIN_ISSUED_AT_TOLERANCE = 60_000

const NUMERIC_DATES = ['exp', 'nbf', 'iat'] as const

/** The claims by which a token or its login is revoked. */
const NAMES = ['jti', 'sid'] as const

/**
 * Refuses claims that break the rules.
 *
 * @param now in milliseconds since the epoch
 * @throws WsAuthError `WS_AUTH_TOKEN_INVALID` or `WS_AUTH_TOKEN_EXPIRED`
 */
export function assertClaims (claims: Claims, rules: ClaimRules, now: number): void {
  assertRequired(claims, rules)
  for (const name of NUMERIC_DATES) {
    if (claims[name] !== undefined && !Number.isFinite(claims[name])) throw refusal(`its ${name} is not a finite number`)
  }
  for (const name of NAMES) {
    if (!isName(claims[name])) throw refusal(`its ${name} is neither a string nor a safe integer, so it cannot be revoked`)
  }

  const { exp, nbf, iat } = claims
  if (iat !== undefined && iat * 1000 > now + issuedAtTolerance(rules)) throw refusal(`it was issued in the future${aheadOf(iat, now)}`)
  if (rules.checkNotBefore && nbf !== undefined && nbf * 1000 > now + rules.clockTolerance) {
    throw refusal(`it is not valid yet${aheadOf(nbf, now)}`)
  }
  if (rules.checkExpiry && exp !== undefined && exp * 1000 <= now - rules.clockTolerance) {
    throw new WsAuthError('WS_AUTH_TOKEN_EXPIRED', { cause: `its exp has passed, ${Math.round(now / 1000 - exp)} s ago` })
  }
  if (now > endByAge(claims, rules)) {
    throw new WsAuthError('WS_AUTH_TOKEN_EXPIRED', { cause: 'it is older than maxAge' })
  }
}

/** How many milliseconds the `iat` of a token may be ahead. */
export function issuedAtTolerance ({ clockTolerance }: Pick<ClaimRules, 'clockTolerance'>): number {
  return Math.max(clockTolerance, MIN_ISSUED_AT_TOLERANCE)
}

/** How far a time is ahead: whether a clock is wrong, or the time is in milliseconds (RFC 7519, 2: it is in seconds). */
function aheadOf (seconds: number, now: number): string {
  return isInMilliseconds(seconds) ? ': its time is in milliseconds, and must be in seconds' : `, ${Math.round(seconds - now / 1000)} s ahead of the clock of the server`
}

/** Whether a time must be in milliseconds by mistake, because in seconds it would be in the year 5138 or later. */
export function isInMilliseconds (time: number): boolean {
  return time >= 1e11
}

/** Refuses claims without one that the rules require. @throws WsAuthError `WS_AUTH_TOKEN_INVALID` */
export function assertRequired (claims: Claims, { required }: ClaimRules): void {
  for (const name of required) {
    if (!Object.hasOwn(claims, name)) throw refusal(`it has no ${name}`)
  }
}

/** Refuses an issuer that is not a string (RFC 7519, 4.1.1) or not an allowed one, if the rules require one. @throws WsAuthError `WS_AUTH_TOKEN_INVALID` */
export function assertIssuer ({ iss }: Claims, { required }: ClaimRules, isAllowed: (iss: string) => boolean): void {
  if (!required.includes('iss')) return
  if (typeof iss !== 'string') throw refusal('its iss is not a string')
  if (!isAllowed(iss)) throw refusal('its iss claim is none of allowedIss')
}

/** Whether a `jti` or `sid` is unique as it was read: JSON.parse loses digits of a number past 2^53. */
function isName (value: unknown): boolean {
  return value == null || typeof value === 'string' || (Number.isSafeInteger(value) && !Object.is(value, -0))
}

/**
 * The text of a claim that names a token, a login or a user; `null` if there is none. RFC 7519 says that a `jti` is a string, but some
 * issuers count their tokens: then it is the number in decimal.
 */
export function claimText (claims: Claims, claim: 'jti' | 'sid' | 'sub'): string | null {
  const value = claims[claim]
  return typeof value === 'string' || typeof value === 'number' ? String(value) : null
}

/** OpenID Connect Back-Channel Logout 1.0, 2.4. */
const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout'

/** The logout event in the claims of a token; `undefined` if there is none. */
export function logoutEventOf ({ events }: Claims): unknown {
  if (typeof events !== 'object' || events === null || !Object.hasOwn(events, LOGOUT_EVENT)) return undefined
  return (events as Record<string, unknown>)[LOGOUT_EVENT]
}

/** Whether the token is a logout token, well-formed or not. A logout token is no credential. */
export function isLogoutToken (claims: Claims): boolean {
  return logoutEventOf(claims) !== undefined
}

/** RFC 8417, 2.2: the names of events are URIs, their values are objects. */
const EVENT_NAME = /^(?:https?:\/\/|urn:)/i

/** Whether the token is a security event token (RFC 8417, 2.2). It tells what has happened, and is no credential. */
export function isEventToken ({ events }: Claims): boolean {
  if (typeof events !== 'object' || events === null || Array.isArray(events)) return false
  return Object.entries(events).some(([name, value]) => EVENT_NAME.test(name) && typeof value === 'object' && value !== null)
}

/** When the token of these claims expires, in milliseconds since the epoch; `null` for never. */
export function expiryOf (claims: Claims, rules: ClaimRules): number | null {
  const byExp = claims.exp === undefined || !rules.checkExpiry ? Infinity : claims.exp * 1000
  const expiresAt = Math.min(byExp, endByAge(claims, rules))
  return expiresAt === Infinity ? null : Math.min(expiresAt, Number.MAX_SAFE_INTEGER)
}

/** When a token reaches `maxAge`, in milliseconds since the epoch; `Infinity` for never. */
export function endByAge ({ iat }: Claims, { maxAge }: ClaimRules): number {
  return iat === undefined || maxAge === null ? Infinity : iat * 1000 + maxAge
}

function refusal (why: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: why })
}
