/*
 * When a client is told to renew. Spread over some time, so that what was issued in one second is not renewed in one
 * second, and early enough that a slow client is in time.
 */

/** What the time of the hint depends on. All are milliseconds since the epoch. */
export interface HintTimes {
  readonly issuedAt: number
  readonly expiresAt: number
  /** No time before it will do. */
  readonly notBefore: number
  /** How long after a time it may be until the hint is sent, in milliseconds. */
  readonly delay: number
}

/**
 * A time at random within the first three quarters of the last fifth of a token's life; for who comes later than that,
 * within the first three quarters of what is left of it.
 */
export function pickHint ({ issuedAt, expiresAt, notBefore, delay }: HintTimes): number {
  const life = expiresAt - issuedAt
  const last = expiresAt - life / 20
  const from = Math.max(expiresAt - life / 5, notBefore)
  const to = from < last ? last : from + (expiresAt - from) * 3 / 4
  return from + Math.random() * Math.max(to - from - delay, 0)
}
