/*
 * What the plugin tells of what it decides, to whoever subscribes.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'

/** Calls back with each event, until the test ends. */
export function onDecision (t: Pick<Test, 'teardown'>, call: (event: fastifyWsAuth.WsAuthEvent) => void): void {
  const onEvent = (event: unknown): void => call(event as fastifyWsAuth.WsAuthEvent)
  subscribe('fastify-ws-auth', onEvent)
  t.teardown(() => unsubscribe('fastify-ws-auth', onEvent))
}
