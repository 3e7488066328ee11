/*
 * Requests that no hook has had, and a Node.js that does not expose the subscribers of a channel.
 */
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import type { FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { Audit } from '../../lib/audit/audit'
import { publish } from '../../lib/audit/event'
import type { WsAuthEvent } from '../../lib/audit/event'
import { Stats } from '../../lib/audit/stats'
import { withoutZeros } from '../helpers/stats'

const silent = { info: () => {}, error: () => {} } as unknown as FastifyBaseLogger

t.test('a request that reaches no hook is counted, also if the logger throws', async (t) => {
  const stats = new Stats()
  const audit = new Audit(stats)
  const throws = { info: () => {}, error: () => { throw new Error('the disk is full') } } as unknown as FastifyBaseLogger
  for (const log of [silent, throws]) audit.unanswered({} as IncomingMessage, log, 'the app is not ready yet', Date.now())
  t.same(withoutZeros(stats.snapshot(0, 0).refused), { WS_AUTH_UNAVAILABLE: 2 })
})

t.test('if Node.js does not expose the subscribers, the channel publishes the event', async (t) => {
  const events = channel('fastify-ws-auth')
  const onEvent = (): void => {}
  subscribe('fastify-ws-auth', onEvent)
  const published: unknown[] = []
  const names = ['_subscribers', 'publish', 'hasSubscribers'] as const
  const before = names.map((name) => [name, Object.getOwnPropertyDescriptor(events, name)] as const)
  Object.defineProperties(events, {
    _subscribers: { value: undefined, configurable: true },
    publish: { value: (event: unknown) => { published.push(event) }, configurable: true },
    hasSubscribers: { value: true, configurable: true }
  })
  t.teardown(() => {
    for (const [name, descriptor] of before) {
      if (descriptor === undefined) Reflect.deleteProperty(events, name)
      else Object.defineProperty(events, name, descriptor)
    }
    unsubscribe('fastify-ws-auth', onEvent)
  })
  const event = { event: 'accepted' } as WsAuthEvent
  publish(silent, event)
  t.strictSame(published, [event])
})
