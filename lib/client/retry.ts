/*
 * When to come back.
 */
import type { ConnectOptions } from './types'
import { wordIn } from './verdict'
import type { Outcome } from './verdict'

export type Retry = Required<NonNullable<ConnectOptions['retry']>>

/** How much longer than the base a client waits if it has too many connections: a lost one holds its place until the heartbeat. */
const LIMIT_FACTOR = 10

/** The longest wait that counts if `auth.retry` asks for it, in milliseconds: whatever relays messages to a page can write that frame. */
const MAX_SPREAD = 3_600_000

/**
 * The delay before the next attempt, in milliseconds: random, because all other clients come back too.
 *
 * @param attempt how many have failed in a row before
 */
export function delayBefore ({ end, action, least = 0, most = 0 }: Outcome, attempt: number, { base, max, crowd }: Retry): number {
  const word = wordIn(end)
  const isCrowd = attempt === 0 && (/^(shutdown|drain|auth_unavailable|server_busy)$/.test(word) || /101[23]/.test(`${end.code}`))
  const isLimit = /_limit$/.test(word)
  const isAnew = action === 'ask' || /^(lifetime_exceeded|other_subject)$/.test(word)
  const spread = most > 0 ? Math.min(most, MAX_SPREAD) : (isAnew ? base : isCrowd ? crowd : Math.min(max, base * 2 ** attempt))
  return least + (isLimit ? LIMIT_FACTOR * base : 0) + Math.random() * spread
}
