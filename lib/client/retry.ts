/*
 * When to come back.
 */
import type { ConnectOptions } from './types'
import type { Outcome } from './verdict'

export type Retry = Required<NonNullable<ConnectOptions['retry']>>

/** How much longer than the base a client waits if it has too many connections: a lost one holds its place until the heartbeat. */
const LIMIT_FACTOR = 10

/**
 * The delay before the next attempt, in milliseconds: random, because all other clients come back too.
 *
 * @param attempt how many have failed in a row before
 */
export function delayBefore ({ action, least = 0, most = null }: Outcome, attempt: number, { base, max, crowd }: Retry): number {
  const backOff = Math.random() * Math.min(max, base * 2 ** attempt)
  if (action === 'ask' || action === 'anew') return Math.random() * base
  if (action === 'limit') return Math.max(least, LIMIT_FACTOR * base) + backOff
  if (most !== null) return Math.random() * most
  return least + (action === 'crowd' && attempt === 0 ? Math.random() * crowd : backOff)
}
