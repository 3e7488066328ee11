/*
 * The subject of a token: the user that limits, renewals, tickets, revocations and disconnects by `sub` are about.
 */
import { WsAuthError } from '../base/errors'
import { ignoreRejection } from '../base/thenable'
import { claimText } from './claims'
import type { Claims } from './claims'

/** Reads the subject of claims; `undefined` for none. */
export type ReadSubject = (claims: Claims) => string | undefined

/**
 * Reads the subject. `null` if the token has none.
 *
 * @param read the `subject` option. Default: `claims.sub`, which must be a string then (RFC 7519, 4.1.2)
 * @throws WsAuthError `WS_AUTH_TOKEN_INVALID` if the subject is neither a text nor left out. What the option throws
 */
export function subjectOf (claims: Claims, read: ReadSubject | undefined): string | null {
  if (read === undefined) {
    if (claims.sub !== undefined && typeof claims.sub !== 'string') throw invalid('its sub is not a string (the "subject" option reads another one)')
    return claims.sub ?? null
  }
  const subject: unknown = read(claims)
  if (subject === undefined) return null
  ignoreRejection(subject)
  if (typeof subject !== 'string' || subject === '') throw invalid('the "subject" option returned neither a non-empty string nor undefined')
  return subject
}

/** The subject of claims that were verified elsewhere; a `sub` that is a number counts by its digits. */
export function looseSubjectOf (claims: Claims, read: ReadSubject | undefined): string | null {
  return read === undefined ? claimText(claims, 'sub') : subjectOf(claims, read)
}

function invalid (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause })
}
