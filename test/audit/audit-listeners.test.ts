/*
 * Loggers of each level and subscribers get the events that are theirs, and disturb no connection.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { FastifyBaseLogger, FastifyInstance, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { sign } from '../helpers/app'
import { BEARER, decisionsOf, listen } from '../helpers/audited-chat'
import type { Event } from '../helpers/audited-chat'
import { onDecision } from '../helpers/decisions'
import { upgrade } from '../helpers/raw-client'
import { eventually, startChat } from '../helpers/renewal-app'
import { statsOf } from '../helpers/stats'

const CHANNEL = 'fastify-ws-auth'
/** The methods of a logger. */
const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const

function loggerOf (methods: Record<typeof LEVELS[number], (...args: unknown[]) => void>): FastifyBaseLogger {
  return { ...methods, child () { return this } } as unknown as FastifyBaseLogger
}

/** Opens a connection, has one refused by its own fault and one by that of the app, and closes the first. */
async function decideAll (t: Test, server: FastifyServerOptions): Promise<FastifyInstance> {
  const { app, port, connect } = await startChat(t, { server, wsAuth: { authorize: (user) => { if ((user as { fails?: true }).fails) throw new Error('thrown by a test'); return true } } })
  const chat = await connect(sign())
  await upgrade(t, port, { path: '/chat' })
  await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign({ fails: true })}` } })
  chat.client.close()
  await eventually(() => app.wsAuth.connections.size === 0, 'it is closed')
  t.match(statsOf(app), { accepted: 1, refused: { WS_AUTH_TOKEN_MISSING: 1, WS_AUTH_UNAVAILABLE: 1 }, closed: { client: 1 } })
  return app
}

t.test('a logger gets the events of its level', async (t) => {
  const all = ['accepted', 'refused', 'refused', 'closed']
  await t.test('a logger of each level gets the lines of that level and above', async (t) => {
    const wanted: Record<string, string[]> = { trace: all, debug: all, info: all, warn: ['refused'], error: ['refused'], fatal: [], silent: [] }
    for (const [level, events] of Object.entries(wanted)) {
      const log: string[] = []
      await decideAll(t, { logger: { level, stream: { write: (line: string): void => { log.push(line) } } } })
      t.strictSame(decisionsOf(log).map(({ event }) => event), events, level)
    }
  })

  await t.test('a logger that is off does not keep subscribers from their events', async (t) => {
    for (const logger of [false, { level: 'silent' }, { level: 'error', stream: { write: () => {} } }]) {
      const events = listen(t)
      await decideAll(t, { logger })
      t.strictSame(events.splice(0).map(({ event }) => event), all)
    }
  })

  await t.test('no event is made if the logger is off and there is no subscriber', async (t) => {
    for (const logger of [false, { level: 'silent' }]) {
      let asked = 0
      const { app, connect } = await startChat(t, { server: { logger, trustProxy: () => { asked++; return true } }, plugin: { renewal: true } })
      asked = 0
      const chat = await connect(sign(), { headers: { 'x-forwarded-for': '203.0.113.7' } })
      t.ok(asked <= 1, 'the address is read once, when the request is let go')
      asked = 0
      await chat.connection.renew(sign())
      chat.client.close()
      await eventually(() => app.wsAuth.connections.size === 0, 'it is closed')
      t.equal(asked, 0, 'the address is not asked for')
      t.match(statsOf(app), { accepted: 1, renewed: 1, closed: { client: 1 } })
    }
  })

  await t.test('a logger of the app without a level gets all events', async (t) => {
    const lines: Array<[string, unknown]> = []
    const write = (level: string) => (object: unknown): void => { lines.push([level, (object as Partial<Event>).event]) }
    await decideAll(t, { logger: undefined as never, loggerInstance: loggerOf(Object.fromEntries(LEVELS.map((level) => [level, write(level)])) as never) })
    t.strictSame(lines.filter(([, event]) => event !== undefined), [['info', 'accepted'], ['info', 'refused'], ['error', 'refused'], ['info', 'closed']])
  })

  await t.test('a logger of the app with one function for all levels gets all events', async (t) => {
    const lines: unknown[] = []
    const write = (...[object]: unknown[]): void => { lines.push((object as Partial<Event>).event) }
    await decideAll(t, { logger: undefined as never, loggerInstance: loggerOf(Object.fromEntries(LEVELS.map((level) => [level, write])) as never) })
    t.strictSame(lines.filter((event) => event !== undefined), all)
  })

  await t.test('a logger that throws does not keep a connection open', async (t) => {
    const info = (...[, message]: unknown[]): void => { if (message === 'websocket connection closed') throw new Error('the disk is full') }
    const logger = loggerOf({ ...Object.fromEntries(LEVELS.map((level) => [level, () => {}])), info } as never)
    const { app, port, connect } = await startChat(t, {
      plugin: { limits: { perUser: 1, onLimit: 'close-oldest' } },
      server: { logger: undefined as never, loggerInstance: logger }
    })
    const { closed } = await connect(BEARER.authorization.slice(7))
    await upgrade(t, port, { path: '/chat', headers: BEARER })
    await eventually(() => closed.code !== null, 'the oldest is closed')
    t.same(closed, { code: 3003, reason: 'connection_replaced' })
    t.equal(app.wsAuth.connections.size, 1, 'the other one is open')
  })

  await t.test('the logger of a route is used for its connections', async (t) => {
    const log: string[] = []
    const { port } = await startChat(t, {
      server: { logger: { level: 'info', stream: { write: (line: string): void => { log.push(line) } } } },
      routes: (app) => { app.get('/quiet', { websocket: true, logLevel: 'silent' }, (socket) => { socket.close(4000) }) }
    })
    const client = await upgrade(t, port, { path: '/quiet', headers: BEARER })
    await client.close()
    t.strictSame(decisionsOf(log), [])
  })
})

t.test('a subscriber gets events while it is subscribed', async (t) => {
  await t.test('a subscriber closes an accepted connection before its handler runs', async (t) => {
    let opened = 0
    const { app, port } = await startChat(t, { routes: (app) => { app.get('/short', { websocket: true }, () => { opened++ }) } })
    onDecision(t, ({ event, connectionId }) => {
      if (event === 'accepted') app.wsAuth.connections.get(String(connectionId))?.close(4000, 'not today')
    })
    const client = await upgrade(t, port, { path: '/short', headers: BEARER })
    t.same(await client.close(), { code: 4000, reason: 'not today' })
    t.equal(opened, 0)
    t.match(statsOf(app), { connections: 0, accepted: 1, closed: { app: 1 } })
  })

  await t.test('a subscriber gets no event from before it subscribes or after it unsubscribes', async (t) => {
    const { connect } = await startChat(t, { server: { logger: false } })
    const chat = await connect(sign())
    const events: Event[] = []
    const onEvent = (event: unknown): void => { events.push(event as Event) }
    subscribe(CHANNEL, onEvent)
    await chat.connection.renew(sign())
    unsubscribe(CHANNEL, onEvent)
    chat.connection.close()
    t.strictSame(events.map(({ event }) => event), ['renewed'])
  })
})
