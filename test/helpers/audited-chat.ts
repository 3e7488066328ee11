/*
 * The events and the lines of the log of a test.
 */
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { sign } from './app'
import { onDecision } from './decisions'

export type Event = fastifyWsAuth.WsAuthEvent

export const NOW = Math.floor(Date.now() / 1000)
export const BEARER = { authorization: `Bearer ${sign({ sub: 'ann', exp: NOW + 600 })}` }

/** All events, until the test ends. */
export function listen (t: Test): Event[] {
  const events: Event[] = []
  onDecision(t, (event) => events.push(event))
  return events
}

export type Line = Record<string, unknown> & { level: number, msg: string }

/** The lines of a log that tell of decisions. */
export function decisionsOf (log: readonly string[]): Line[] {
  return log.map((line) => JSON.parse(line) as Line).filter(({ event }) => event !== undefined)
}
