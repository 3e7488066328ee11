/*
 * The gauges of the backplane. A backplane of the app may lack some, and its code may throw: a dashboard must not fail then.
 */
import type { BackplaneHealth, BackplaneLink } from '../backplane/contract'
import type { RevocationList } from '../backplane/revocation-list'
import { isObject } from '../base/checks'

/** The state of the backplane, as this instance knows it. */
export interface BackplaneStats extends BackplaneHealth {
  /** Whether handshakes are answered. False in an outage, and before the backplane was read: they are refused with 503 then. */
  readonly isCurrent: boolean
  /** The revocations in the memory of this instance. Expired ones count until they are removed, about once a minute. */
  readonly revocations: number
}

/** How long the message of an error may be, in characters. */
const MAX_LENGTH = 200

const UNKNOWN: BackplaneHealth = { age: null, instances: null, lastError: null }

/** Reads the gauges. Never throws. */
export function readBackplaneStats (link: Pick<BackplaneLink, 'isCurrent' | 'health'>, revocations: RevocationList): BackplaneStats {
  revocations.prune()
  return { isCurrent: isCurrent(link), revocations: revocations.size, ...readHealth(link) }
}

/** Whether a link knows the current revocations. False also if the backplane of the app throws, or returns anything but `true`. */
export function isCurrent (link: Pick<BackplaneLink, 'isCurrent'>): boolean {
  try {
    const isCurrent: unknown = link.isCurrent
    return isCurrent === true
  } catch {
    return false
  }
}

function readHealth (link: Pick<BackplaneLink, 'health'>): BackplaneHealth {
  try {
    const health: unknown = link.health
    if (!isObject(health)) return UNKNOWN
    return { age: readNumber(health.age), instances: readNumber(health.instances), lastError: readError(health.lastError) }
  } catch {
    return UNKNOWN
  }
}

function readNumber (value: unknown): number | null {
  return typeof value === 'number' && value >= 0 && value < Infinity ? value : null
}

function readError (value: unknown): BackplaneHealth['lastError'] {
  if (!isObject(value) || typeof value.message !== 'string' || !Number.isFinite(value.at)) return null
  return { at: value.at as number, message: value.message.slice(0, MAX_LENGTH) }
}
