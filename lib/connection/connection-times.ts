/*
 * The times of a connection, as its token and the settings of its route say: when it ends, and when its client is told to renew.
 */
import type { Claims } from '../token/claims'
import { pickHint } from './renewal-hint'
import { TICK } from './sweep'
import type { Sweep } from './sweep'

/** How often a connection wakes in its grace period, in milliseconds, because a renewal in it may need an early hint. */
const GRACE_STEP = 1000

/** What the times of a connection depend on; see {@link OpenConnection}. */
interface Timed {
  readonly openedAt: number
  readonly expiresAt: number | null
  readonly claims: Claims | null
  readonly hasFrames: boolean
}

/** The settings that the times depend on; see {@link ConnectionHost}. */
interface Settings {
  readonly route: { readonly maxLifetime: number }
  readonly grace: number
  readonly sweep: Sweep
  endByAge (claims: Claims): number
}

/** When a connection ends by the clock, in milliseconds since the epoch, or `Infinity`. */
export function endOf (connection: Timed, host: Settings): number {
  return Math.min(expiryEndOf(connection, host), lifetimeEndOf(connection, host))
}

/** Whether a connection is over because of `maxLifetime`, and not because of its token. */
export function isTooOld (connection: Timed, host: Settings, now: number): boolean {
  const lifetimeEnd = lifetimeEndOf(connection, host)
  return lifetimeEnd <= now && lifetimeEnd < expiryEndOf(connection, host)
}

/** When a renewal may need a hint that is not planned yet, in milliseconds since the epoch, or `Infinity`. */
export function nextRenewalOf ({ hasFrames, expiresAt }: Timed): number {
  if (!hasFrames || expiresAt === null) return Infinity
  return Math.max(expiresAt, Date.now() + GRACE_STEP)
}

/**
 * The tick of the hint to renew; `null` if a renewal would gain nothing.
 *
 * @param wakeTick when the connection wakes next: the hint is never before
 */
export function hintTickOf (connection: Timed, host: Settings, wakeTick: number | null): number | null {
  const { expiresAt, claims, hasFrames } = connection
  const { sweep } = host
  if (!hasFrames || expiresAt === null || lifetimeEndOf(connection, host) <= expiryEndOf(connection, host)) return null
  const now = Date.now()
  const issuedAt = claims?.iat === undefined || claims.iat * 1000 >= expiresAt ? now : claims.iat * 1000
  const notBefore = wakeTick === null ? now : Math.max(sweep.instantOf(wakeTick), now)
  return sweep.tickAt(pickHint({ issuedAt, expiresAt, notBefore, delay: TICK }))
}

function expiryEndOf ({ expiresAt, claims }: Timed, host: Settings): number {
  if (expiresAt === null || claims === null) return Infinity
  return Math.min(expiresAt + host.grace, host.endByAge(claims))
}

function lifetimeEndOf ({ openedAt }: Timed, { route }: Settings): number {
  return openedAt + route.maxLifetime
}
