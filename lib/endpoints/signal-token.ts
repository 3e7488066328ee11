/*
 * Reads a security event token (RFC 8417) of OpenID Shared Signals: its events (CAEP 1.0, RISC 1.0), whom they are about, and when they
 * happened.
 */
import { isObject } from '../base/checks'
import { isLogoutToken, isInMilliseconds } from '../token/claims'
import type { Claims } from '../token/claims'
import type { SignalEvent, SubjectIdentifier } from '../options/public-signals-options'
import { isLogoutTime } from '../revocation/command-arguments'
import { SignalRefusal } from './signal-refusal'
import { useName } from './used-tokens'

const SCHEMAS = 'https://schemas.openid.net/secevent'

/** The events that revoke: CAEP 1.0, 3.1 and 3.3; RISC 1.0, 2.2 and 2.3. */
const NAMES: ReadonlyMap<string, SignalEvent['name']> = new Map([
  [`${SCHEMAS}/caep/event-type/session-revoked`, 'session-revoked'],
  [`${SCHEMAS}/caep/event-type/credential-change`, 'credential-change'],
  [`${SCHEMAS}/risc/event-type/account-disabled`, 'account-disabled'],
  [`${SCHEMAS}/risc/event-type/account-purged`, 'account-purged']
])

/** The event by which a transmitter tries the way to its receiver (Shared Signals Framework 1.0, 8.1.4), by its old names too. */
const VERIFICATIONS: ReadonlySet<string> = new Set(['ssf', 'sse', 'risc'].map((family) => `${SCHEMAS}/${family}/event-type/verification`))

/** The members of a subject that are texts, and those that are subjects. */
const TEXTS = ['iss', 'sub', 'email', 'phone_number', 'id', 'uri', 'url'] as const
const SUBJECTS = ['user', 'device', 'session', 'application', 'tenant', 'org_unit', 'group'] as const

/** An event that revokes, and whom it is about. */
export interface Signal {
  readonly subject: SubjectIdentifier | null
  readonly event: SignalEvent
}

/** A security event token that was read. */
export interface SignalToken {
  readonly signals: readonly Signal[]
  /** The URIs of the events that revoke nothing. */
  readonly ignored: readonly string[]
  /** The name of the token in the backplane, by its `iss` and `jti`. */
  readonly name: string
}

/** Reads a verified token. @throws SignalRefusal */
export function readSignalToken (claims: Claims, issuer: string, audience: string): SignalToken {
  const { iss, aud, iat, jti, events } = claims
  assertParties(iss, aud, issuer, audience)
  if (typeof iat !== 'number') throw invalid('it has no iat')
  if (typeof jti !== 'string' || jti === '') throw invalid('it has no jti')
  if (!isObject(events) || Object.keys(events).length === 0) throw invalid('it has no events')
  if (isLogoutToken(claims)) throw invalid('it is a logout token')
  const signals: Signal[] = []
  const ignored: string[] = []
  for (const [type, payload] of Object.entries(events)) {
    if (!isObject(payload)) throw invalid('the value of an event is not an object')
    const name = NAMES.get(type)
    if (name === undefined) ignored.push(type)
    else signals.push({ subject: readSubject(claims, payload), event: { name, type, at: timeOf(claims, iat, payload), payload, claims } })
  }
  return { signals, ignored, name: useName('event', issuer, jti) }
}

/** Whether an event only tries the way to this receiver. */
export function isVerification (type: string): boolean {
  return VERIFICATIONS.has(type)
}

/** @throws SignalRefusal for a token of another issuer, or for another audience */
export function assertParties (iss: unknown, aud: unknown, issuer: string, audience: string): void {
  if (iss !== issuer) throw new SignalRefusal('invalid_issuer', 'it is of another iss')
  if (![aud].flat().includes(audience)) throw new SignalRefusal('invalid_audience', 'it is for another aud')
}

/** The subject: a claim of the token (Shared Signals Framework 1.0, 4.1), or a member of the event, as drafts before it had it. */
function readSubject ({ sub_id: ofToken }: Claims, { sub_id: ofEvent, subject }: Record<string, unknown>): SubjectIdentifier | null {
  const found = ofToken ?? ofEvent ?? subject
  if (found === undefined || found === null) return null
  assertSubject(found, true)
  return found
}

function assertSubject (subject: unknown, mayHaveParts: boolean): asserts subject is SubjectIdentifier {
  if (!isObject(subject) || typeof (subject.format ?? subject.subject_type) !== 'string') throw invalid('its subject has no format')
  if (TEXTS.some((member) => subject[member] !== undefined && typeof subject[member] !== 'string')) throw invalid('a member of its subject is not a string')
  for (const part of SUBJECTS) {
    if (subject[part] === undefined) continue
    if (!mayHaveParts) throw invalid('a part of its subject has parts')
    assertSubject(subject[part], false)
  }
}

/**
 * In milliseconds since the epoch. Drafts of CAEP had an `event_timestamp` in milliseconds. An event that is said to have happened after the
 * token was made would revoke tokens that are not issued yet. One that is no time counts as left out.
 *
 * @throws SignalRefusal for a time before 1973: sent again, it would be no better
 */
function timeOf ({ toe }: Claims, iat: number, { event_timestamp: timestamp }: Record<string, unknown>): number {
  const seconds = [timestamp, toe].find((time): time is number => typeof time === 'number' && Number.isFinite(time) && time > 0) ?? iat
  const at = Math.min(isInMilliseconds(seconds) ? seconds : seconds * 1000, iat * 1000)
  if (!isLogoutTime(at)) throw invalid('its time is before 1973')
  return at
}

function invalid (why: string): SignalRefusal {
  return new SignalRefusal('invalid_request', why)
}
