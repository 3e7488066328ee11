/*
 * Reads a logout token (OpenID Connect Back-Channel Logout 1.0, sections 2.4 to 2.6): what it revokes, and the name under
 * which its single use is remembered.
 */
import { isObject } from '../base/checks'
import { WsAuthError } from '../base/errors'
import type { BackChannelLogoutOptions } from '../options/public-options'
import { isLogoutTime } from '../revocation/command-arguments'
import type { RevokeMatch } from '../revocation/command-arguments'
import { logoutEventOf } from '../token/claims'
import type { Claims } from '../token/claims'
import { subjectOf } from '../token/subject'
import type { ReadSubject } from '../token/subject'
import { MAX_MEMORY, useName } from './used-tokens'

/** How long a logout token without an `exp` is accepted after its `iat`, in milliseconds. */
const MAX_AGE = 300_000
/** How much longer than its token a `jti` is remembered, in milliseconds, because clocks differ. */
const CLOCK_TOLERANCE = 60_000

/** A logout that the provider requests. */
export interface Logout {
  /** Which tokens are revoked. */
  readonly match: RevokeMatch
  /** The name of the logout token in the backplane, by its `iss` and `jti`. */
  readonly name: string
  /** How long the name is kept, in milliseconds. */
  readonly ttl: number
}

/** Takes the logout token out of a form, which has exactly one (2.5). @throws WsAuthError `WS_AUTH_TOKEN_INVALID` */
export function readLogoutToken (body: unknown, maxBytes: number): string {
  const [token, another] = body instanceof URLSearchParams ? body.getAll('logout_token') : []
  if (token === undefined || token === '' || another !== undefined) throw logoutRefusal('the form has no logout_token, or more than one')
  if (Buffer.byteLength(token) > maxBytes) throw logoutRefusal('it is longer than maxTokenBytes')
  return token
}

/** Checks that a verified token is a logout token (2.4 and 2.6), and reads it. @throws WsAuthError `WS_AUTH_TOKEN_INVALID` */
export function readLogout (claims: Claims, { issuer, audience, match }: BackChannelLogoutOptions, subject: ReadSubject | undefined): Logout {
  const { iss, aud, iat, exp, jti } = claims
  if (!isObject(logoutEventOf(claims))) throw logoutRefusal('its events are not those of a logout')
  if (Object.hasOwn(claims, 'nonce')) throw logoutRefusal('it has a nonce')
  if (iss !== issuer) throw logoutRefusal('it is of another iss')
  if (!isFor(aud, audience)) throw logoutRefusal('it is for another aud')
  if (typeof iat !== 'number') throw logoutRefusal('it has no iat')
  if (!isLogoutTime(iat * 1000)) throw logoutRefusal('its iat is before 1973')
  if (!isText(jti)) throw logoutRefusal('it has no jti')
  const now = Date.now()
  const untilAt = exp === undefined ? iat * 1000 + MAX_AGE : exp * 1000
  if (untilAt <= now) throw logoutRefusal('it was issued too long ago')
  const name = useName('logout', iss, jti)
  const ttl = Math.ceil(Math.min(untilAt - now + CLOCK_TOLERANCE, MAX_MEMORY))
  return { match: readMatch(claims, iat, match, subject), name, ttl }
}

/** By `sid`, unless the option prefers `sub` and the token has one. */
function readMatch (claims: Claims, iat: number, preferred: BackChannelLogoutOptions['match'], subject: ReadSubject | undefined): RevokeMatch {
  const { sid } = claims
  const isBySid = isText(sid) && preferred !== 'sub'
  // A function of the app is called only if its answer is needed: a logout token has fewer claims than an access token.
  const sub = isBySid && subject !== undefined ? null : subjectOf(claims, subject)
  if (isText(sid) && (isBySid || !isText(sub))) return { sid }
  if (!isText(sub)) throw logoutRefusal('it has neither a sub nor a sid')
  // Tokens that were issued later belong to another login.
  return { sub, beforeAt: iat * 1000 }
}

/** Without an `audience` the verifier checks for whom the token is; here it must name any audience. */
function isFor (aud: unknown, audience: string | undefined): boolean {
  const names = [aud].flat()
  return audience === undefined ? names.some(isText) : names.includes(audience)
}

function isText (value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

/** The refusal of a logout token. @param why for the log, not for the client */
export function logoutRefusal (why: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: why })
}
