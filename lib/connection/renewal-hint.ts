/*
 * When a client gets the hint to renew. The times are spread, so that tokens of one second are not renewed in one second, and
 * early enough for a slow client.
 */

/** The times that the hint depends on, in milliseconds since the epoch. */
export interface HintTimes {
  readonly issuedAt: number
  readonly expiresAt: number
  /** The earliest time of the hint. */
  readonly notBefore: number
  /** How much later than its time the hint may be sent, in milliseconds. */
  readonly delay: number
}

/**
 * Picks a random time within the first three quarters of the last fifth of a token's life; if that is over, within the first three
 * quarters of the remaining time.
 */
export function pickHint ({ issuedAt, expiresAt, notBefore, delay }: HintTimes): number {
  const life = expiresAt - issuedAt
  const last = expiresAt - life / 20
  const from = Math.max(expiresAt - life / 5, notBefore)
  const to = from < last ? last : from + (expiresAt - from) * 3 / 4
  return from + Math.random() * Math.max(to - from - delay, 0)
}
