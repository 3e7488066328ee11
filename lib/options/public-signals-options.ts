/*
 * The types of the option `signals`: a receiver of OpenID Shared Signals.
 */
import type { RevokeMatch } from '../revocation/command-arguments'
import type { Claims } from '../token/claims'
import type { Answer } from './public-handshake-options'

/** The receiver of security events; see the option `signals` of the plugin. */
export interface SignalsOptions {
  /** The path of the route to which the transmitter posts its events (RFC 8935). */
  path: string
  /** The exact `iss` of the transmitter. */
  issuer: string
  /** What must be in the `aud` of an event: the audience that the transmitter has for this receiver. */
  audience: string
  /**
   * Says which tokens an event is about. `null` is none. A match without a `beforeAt` gets the time of the event, so that a login after the
   * event is not touched, unless it is by `jti`, `sid` or `kid`. Another result, or a thrown error, is 503: the transmitter sends the event again. Default: the `sub` of a subject
   * of the format `iss_sub` whose `iss` is `issuer`, as the `subject` option of the plugin reads it; none for every other subject.
   */
  subject?: (subject: SubjectIdentifier | null, event: SignalEvent) => Answer<RevokeMatch | null>
}

/** Whom an event is about (RFC 9493; Shared Signals Framework 1.0, 3). Each value is that of the transmitter. */
export interface SubjectIdentifier {
  /** `iss_sub`, `opaque`, `email`, `complex` and others. */
  readonly format: string
  readonly iss?: string
  readonly sub?: string
  readonly email?: string
  readonly phone_number?: string
  readonly id?: string
  readonly uri?: string
  readonly url?: string
  /** The parts of a complex subject. */
  readonly user?: SubjectIdentifier
  readonly device?: SubjectIdentifier
  readonly session?: SubjectIdentifier
  readonly application?: SubjectIdentifier
  readonly tenant?: SubjectIdentifier
  readonly org_unit?: SubjectIdentifier
  readonly group?: SubjectIdentifier
  readonly [member: string]: unknown
}

/** One event of a security event token. */
export interface SignalEvent {
  /** The name of its kind. */
  readonly name: 'session-revoked' | 'credential-change' | 'account-disabled' | 'account-purged'
  /** The URI of its kind. */
  readonly type: string
  /** When it happened, in milliseconds since the epoch: its `event_timestamp`, else the `toe`, else the `iat` of the token; never after the `iat`. */
  readonly at: number
  /** What the event itself says. */
  readonly payload: Readonly<Record<string, unknown>>
  /** The claims of the security event token. */
  readonly claims: Claims
}
