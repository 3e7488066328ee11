/*
 * Fastify's `handlerTimeout` answers 503 by itself where a request takes too long. Where that is while a handshake is being
 * verified, it is a refusal as any other: an event, a line of the log and a count, and nobody waits for the verifier any more.
 */
import t from 'tap'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { start, until } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { plainText, RawClient, requestText } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const HANDLER_TIMEOUT = 100
const AUTHORIZATION = { authorization: 'Bearer the-token-that-takes-long' }

interface Slow extends StartedApp {
  readonly events: fastifyWsAuth.WsAuthEvent[]
  /** The signals of the verifications that were asked for. */
  readonly signals: AbortSignal[]
  /** Lets all verifications come to their end. */
  readonly release: () => void
}

/** An app whose verifier waits until it is released. */
async function startSlow (t: Test, where: 'server' | 'route', more: fastifyWsAuth.WsAuthOptions = {}): Promise<Slow> {
  const events: fastifyWsAuth.WsAuthEvent[] = []
  onDecision(t, (event) => events.push(event))
  const signals: AbortSignal[] = []
  const waiting: Array<() => void> = []
  t.teardown(() => waiting.forEach((resolve) => resolve()))
  const started = await start(t, {
    server: where === 'server' ? { handlerTimeout: HANDLER_TIMEOUT } : {},
    plugin: {
      tickets: true,
      limits: { pending: 2 },
      ...more,
      verify: async (token, _request, { signal }) => {
        if (token === 'fast') return { sub: 'ann' }
        signals.push(signal)
        await new Promise<void>((resolve) => waiting.push(resolve))
        return { sub: 'ann' }
      }
    },
    routes: (app) => app.get('/chat', { websocket: true, ...where === 'route' ? { handlerTimeout: HANDLER_TIMEOUT } : {} }, () => {})
  })
  return { ...started, events, signals, release: () => waiting.splice(0).forEach((resolve) => resolve()) }
}

function refusedLines ({ log }: StartedApp): Array<Record<string, unknown>> {
  return log.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ event }) => event === 'refused')
}

async function assertTold (t: Test, slow: Slow, expected: { dryRun: boolean, route: string, sent: number }): Promise<void> {
  const { dryRun, route, sent } = expected
  await until(() => slow.events.length >= sent, 'all are told')
  const told = { event: 'refused', code: 'WS_AUTH_UNAVAILABLE', dryRun, route, address: '127.0.0.1' }
  t.match(slow.events, Array(sent).fill(told), 'events')
  t.equal(slow.events.length, sent, 'one event for each')
  t.match(refusedLines(slow), Array(sent).fill({ level: 50, code: 'WS_AUTH_UNAVAILABLE', dryRun, route }), 'lines of the log')
  t.equal(refusedLines(slow).length, sent, 'one line for each')
  t.equal(statsOf(slow.app).refused.WS_AUTH_UNAVAILABLE ?? 0, dryRun ? 0 : sent, 'count: dry runs are not counted')
  t.ok(slow.events.every(({ duration }) => duration >= HANDLER_TIMEOUT - 5 && duration < 10_000), 'how long it took')
}

/** What came late changes nothing: nothing more is told, and no connection is opened. */
async function assertOver (t: Test, slow: Slow): Promise<void> {
  t.ok(slow.signals.length > 0 && slow.signals.every(({ aborted }) => aborted), 'the verifier is told that nobody waits any more')
  const count = slow.events.length
  slow.release()
  for (let i = 0; i < 20; i++) await new Promise<void>((resolve) => setImmediate(resolve))
  t.equal(slow.events.length, count, 'what the verifier says late is not told')
  t.equal(slow.app.wsAuth.connections.size, 0)
  await until(() => statsOf(slow.app).pending === 0, 'nothing is pending')
}

async function assertFree (t: Test, slow: Slow): Promise<void> {
  const client = await RawClient.open(t, slow.port)
  const { status } = await client.upgrade({ path: '/chat', headers: { authorization: 'Bearer fast' } }).response()
  t.equal(status, 101, 'a good client gets in')
  client.socket.destroy()
}

for (const where of ['server', 'route'] as const) {
  t.test(`a handshake that handlerTimeout of the ${where} answers is reported as WS_AUTH_UNAVAILABLE`, async (t) => {
    const slow = await startSlow(t, where)
    for (let i = 0; i < 4; i++) {
      const client = await RawClient.open(t, slow.port)
      const { status } = await client.upgrade({ path: '/chat', headers: AUTHORIZATION }).response()
      t.equal(status, 503)
      await client.ended
      client.socket.destroy()
    }
    await assertTold(t, slow, { dryRun: false, route: '/chat', sent: 4 })
    await assertOver(t, slow)
    await assertFree(t, slow)
  })

  t.test(`a dry run that handlerTimeout of the ${where} answers is reported as WS_AUTH_UNAVAILABLE`, async (t) => {
    const slow = await startSlow(t, where)
    for (let i = 0; i < 3; i++) {
      const client = await RawClient.open(t, slow.port)
      client.send(plainText({ path: '/chat', headers: AUTHORIZATION }))
      t.equal((await client.response()).status, 503)
      client.socket.destroy()
    }
    await assertTold(t, slow, { dryRun: true, route: '/chat', sent: 3 })
    await assertOver(t, slow)
    await assertFree(t, slow)
  })
}

t.test('a ticket request that handlerTimeout answers is reported as WS_AUTH_UNAVAILABLE', async (t) => {
  const slow = await startSlow(t, 'server')
  const client = await RawClient.open(t, slow.port)
  client.send(plainText({ method: 'POST', path: '/ws-ticket', headers: AUTHORIZATION }))
  t.equal((await client.response()).status, 503)
  await assertTold(t, slow, { dryRun: false, route: '/ws-ticket', sent: 1 })
  await assertOver(t, slow)
})

t.test('a handshake that handlerTimeout answers is answered once, though rejectWith is close', async (t) => {
  const slow = await startSlow(t, 'server', { rejectWith: 'close' })
  const client = await RawClient.open(t, slow.port)
  client.send(requestText({ path: '/chat', headers: AUTHORIZATION }))
  t.equal((await client.response()).status, 503)
  await assertTold(t, slow, { dryRun: false, route: '/chat', sent: 1 })
  slow.release()
  await client.ended
  t.equal(client.rest.length, 0, 'nothing follows the answer')
  await assertOver(t, slow)
})
