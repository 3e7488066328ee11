/*
 * `app.close()` while connections are open: each client that reads is told, and no client can hold it up, whatever it does.
 */
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { prepare, sign, until, within } from '../helpers/app'
import { AUTHORIZED, authFrame, openAll, SHUTDOWN, startChat } from '../helpers/closing-app'
import { moveClock, passUntil } from '../helpers/moved-clock'
import { clientFrame, RawClient, requestText, upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

/** How long `app.close()` may wait for clients, in milliseconds: 2 s for the app's own preClose, and 3 s. */
const CLOSING = 5500
const never = async (): Promise<never> => await new Promise(() => {})

t.test('app.close() sends a close frame to each client that reads, and the client may leave at once', async (t) => {
  const chat = await startChat(t)
  const clients = await openAll(t, chat.port)
  const told = Object.entries(clients).map(async ([who, client]) => {
    t.same(await client.close(), SHUTDOWN, who)
    client.send(clientFrame(8, Buffer.from([3, 233])))
    await client.ended
    client.socket.end()
  })
  await within(2500, 'app.close() if all clients answer', chat.app.close())
  await Promise.all(told)
  t.match(statsOf(chat.app), { connections: 0, pending: 0, accepted: 3, closed: { shutdown: 3 } })
})

t.test('app.close() closes clients of ws with 1001', async (t) => {
  const chat = await startChat(t)
  const client = new WebSocket(`ws://127.0.0.1:${chat.port}/chat`, { headers: AUTHORIZED })
  await once(client, 'open')
  const closed = once(client, 'close')
  await within(2500, 'app.close()', chat.app.close())
  const [code, reason] = await closed as [number, Buffer]
  t.same({ code, reason: String(reason) }, SHUTDOWN)
})

t.test('app.close() ends public sockets of a class whose close and terminate throw', async (t) => {
  class Failing extends WebSocket {
    override close (): void { throw new Error('close fails') }
    override terminate (): void { throw new Error('terminate fails') }
  }
  for (const preClose of [undefined, (done: () => void) => { done() }]) {
    const chat = await startChat(t, { websocket: { options: { WebSocket: Failing as typeof WebSocket }, ...preClose === undefined ? {} : { preClose } } })
    const client = new WebSocket(`ws://127.0.0.1:${chat.port}/public`)
    await once(client, 'open')
    const closed = once(client, 'close')
    await within(2500, 'app.close()', chat.app.close())
    await closed
  }
})

t.test('app.close() waits 5 s at most for clients that ignore the close frame', async (t) => {
  const ways: Record<string, fastifyWsAuth.WsAuthOptions> = {
    'by default': {},
    'with a preClose of the app that does nothing': { websocket: { preClose: (done) => { done() } } },
    'with a preClose of the app that waits for the server': {
      websocket: { preClose (this: FastifyInstance, done: () => void) { this.websocketServer.close(() => done()) } }
    },
    'with a preClose of the app that closes with its own code': {
      websocket: { preClose (this: FastifyInstance, done: () => void) { for (const socket of this.websocketServer.clients) socket.close(4000); done() } }
    }
  }
  for (const [way, plugin] of Object.entries(ways)) {
    await t.test(`app.close() waits 5 s at most for clients that ignore the close frame, ${way}`, async (t) => {
      const chat = await startChat(t, plugin)
      const clients = await openAll(t, chat.port)
      const refused = await upgrade(t, chat.port, { path: '/refused' })
      t.same(await refused.close(), { code: 3000, reason: 'token_missing' })
      const invalid = await upgrade(t, chat.port, { path: '/chat' })
      t.same(await invalid.send(clientFrame(1, 'no')).close(), { code: 3000, reason: 'token_invalid' })
      const deaf = await upgrade(t, chat.port, { path: '/chat', headers: AUTHORIZED })
      deaf.socket.pause()

      const { 'that waits for a first message': waiting, ...talking } = clients
      const noisy = [...Object.values(talking), refused, invalid]
      const say = (): void => { for (const client of noisy) if (!client.socket.destroyed) client.send(clientFrame(1, 'more')) }
      say()
      await until(() => chat.heard.includes('more'), 'it is heard')
      const clock = moveClock(t)
      const timer = setInterval(say, 50)
      const closesItself = way.includes('its own code')
      const closing = passUntil(clock, CLOSING, 'app.close()', chat.app.close())
      await Promise.all(Object.entries(clients).map(async ([who, client]) => { t.same(await client.close(), closesItself && client !== waiting ? { code: 4000, reason: '' } : SHUTDOWN, who) }))
      if (waiting !== undefined) noisy.push(waiting)
      await closing
      clearInterval(timer)
      t.match(statsOf(chat.app), { connections: 0, pending: 0, closed: closesItself ? { app: 4 } : { shutdown: 4 } })
      await Promise.all([...Object.values(clients), refused, invalid].map(async (client) => await client.ended))
    })
  }

  await t.test('a message after the close frame reaches no handler of a guarded route', async (t) => {
    const chat = await startChat(t)
    const client = await upgrade(t, chat.port, { path: '/chat', headers: AUTHORIZED })
    client.send(clientFrame(1, 'before'))
    await until(() => chat.heard.length === 1, 'it is heard')
    const clock = moveClock(t)
    const closing = chat.app.close()
    t.same(await client.close(), SHUTDOWN)
    client.send(clientFrame(1, 'after'))
    await passUntil(clock, CLOSING, 'app.close()', closing)
    t.same(chat.heard, ['before'])
  })
})

t.test('a client that is verified while the app closes gets a close frame, and is not accepted', async (t) => {
  const signals: AbortSignal[] = []
  const settle: Array<(claims: object) => void> = []
  /** Answers at once to the first of a connection, and then not until the test says so. */
  const verify: NonNullable<fastifyWsAuth.WsAuthOptions['verify']> = async (token, _request, { signal }) => {
    if (token === 'at-once') return { sub: 'x' }
    signals.push(signal)
    return await new Promise<object>((resolve) => settle.push(resolve))
  }
  const chat = await startChat(t, { verify })
  const atOnce = { authorization: 'Bearer at-once' }
  const renewing = await upgrade(t, chat.port, { path: '/chat', headers: atOnce })
  renewing.send(authFrame('held'))
  const first = await upgrade(t, chat.port, { path: '/chat' })
  first.send(Buffer.concat([authFrame('held'), clientFrame(1, 'behind it')]))
  const handshake = await RawClient.open(t, chat.port)
  handshake.upgrade({ path: '/chat', headers: { authorization: 'Bearer held' } })
  const [connection] = chat.app.wsAuth.connections
  const renewal = connection?.renew('held-by-the-app') ?? Promise.reject(new Error('there is no connection'))
  const refused = t.rejects(renewal, { name: 'FastifyError' }, 'a renewal by the app is refused')
  await until(() => signals.length === 4, 'all are verified')

  // Good clients, that answer and leave.
  for (const client of [renewing, first]) {
    void client.close().then((close) => {
      t.same(close, SHUTDOWN)
      client.socket.end(clientFrame(8, Buffer.from([3, 233])))
    })
  }
  await within(2500, 'app.close(): no client has to be waited for', chat.app.close())
  await refused
  t.equal((await handshake.response()).status, 503)
  t.same(signals.map(({ aborted }) => aborted), [true, true, true, true], 'all verifiers are told')
  for (const resolve of settle) resolve({ sub: 'x' })
  await new Promise((resolve) => setImmediate(resolve))
  t.same(chat.heard, [])
  t.match(statsOf(chat.app), { connections: 0, pending: 0, accepted: 1, renewed: 0, closed: { shutdown: 1 } })
})

t.test('app.close() waits 5 s at most for a client that is verified and ignores the close frame', async (t) => {
  const chat = await startChat(t, { verify: async (token) => token === 'at-once' ? { sub: 'x' } : await never() })
  const renewing = await upgrade(t, chat.port, { path: '/chat', headers: { authorization: 'Bearer at-once' } })
  renewing.send(authFrame('held'))
  const first = await upgrade(t, chat.port, { path: '/chat' })
  first.send(authFrame('held'))
  for (let i = 0; i < 100; i++) first.send(clientFrame(1, 'x'.repeat(60_000)))
  const clock = moveClock(t)
  await passUntil(clock, CLOSING, 'app.close()', chat.app.close())
  t.match(statsOf(chat.app), { connections: 0, pending: 0, closed: { shutdown: 1 } })
})

t.test('a handshake that comes while the app closes gets 503, or no answer', async (t) => {
  const chat = await startChat(t)
  const clients = await openAll(t, chat.port)
  const late = await Promise.all(Array.from({ length: 10 }, async () => await RawClient.open(t, chat.port)))
  const clock = moveClock(t)
  const closing = chat.app.close()
  t.same(await clients['by header']?.close(), SHUTDOWN)
  for (const [i, client] of late.entries()) {
    client.send(requestText({ path: ['/chat', '/public', '/optional', '/refused'][i % 4] ?? '', headers: i % 2 === 0 ? AUTHORIZED : {} }))
  }
  for (const client of late) {
    await passUntil(clock, CLOSING, 'an end', client.ended)
    t.notMatch(client.text, ' 101 ')
    if (client.text !== '') t.match(client.text, /^HTTP\/1\.1 503 /)
  }
  await passUntil(clock, CLOSING, 'app.close()', closing)
  t.equal(statsOf(chat.app).accepted, 3)
})

t.test('a first message that comes while the app closes is not accepted', async (t) => {
  const chat = await startChat(t)
  const client = await upgrade(t, chat.port, { path: '/chat' })
  const clock = moveClock(t)
  const closing = chat.app.close()
  client.send(authFrame(sign()))
  t.same(await client.close(), SHUTDOWN)
  client.send(authFrame(sign()))
  await passUntil(clock, CLOSING, 'app.close()', closing)
  t.equal(statsOf(chat.app).accepted, 0)
})

t.test('app.close() frees the slots of users', async (t) => {
  const chat = await startChat(t, { limits: { perUser: 2 } })
  for (let i = 0; i < 2; i++) await upgrade(t, chat.port, { path: '/chat', headers: AUTHORIZED })
  const clock = moveClock(t)
  await passUntil(clock, CLOSING, 'app.close()', chat.app.close())
  t.same(chat.app.wsAuth.connections.bySub('somebody'), [])
  t.same([...chat.app.wsAuth.connections], [])
})

t.test('app.close() closes connections over injectWS with 1001', async (t) => {
  const { app } = await prepare(t, {
    plugin: { renewal: true, token: { message: true } },
    routes: (app) => app.get('/chat', { websocket: true }, () => {})
  })
  const clients = [await app.injectWS('/chat', { headers: AUTHORIZED }), await app.injectWS('/chat')]
  const closed = clients.map(async (client) => await once(client, 'close') as [number, Buffer])
  await within(5000, 'app.close()', app.close())
  for (const [code, reason] of await within(5000, 'the close frames', Promise.all(closed))) t.same({ code, reason: String(reason) }, SHUTDOWN)
  t.match(statsOf(app), { connections: 0, pending: 0, closed: { shutdown: 1 } })
})
