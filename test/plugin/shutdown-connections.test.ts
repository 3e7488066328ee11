/*
 * `app.close()` while connections are open: everybody who reads is told, and nobody can hold it up, whatever they do.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { prepare, sign, start, until, within } from '../helpers/app'
import type { AppSettings, StartedApp } from '../helpers/app'
import { clientFrame, RawClient, requestText, upgrade } from '../helpers/raw-client'

type Test = Parameters<typeof RawClient.open>[0]

const AUTHORIZED = { authorization: `Bearer ${sign()}` }
const SHUTDOWN = { code: 1001, reason: 'shutdown' }
const never = async (): Promise<never> => await new Promise(() => {})

function authFrame (token: string): Buffer {
  return clientFrame(1, JSON.stringify({ type: 'auth', token }))
}

interface Chat extends StartedApp {
  readonly heard: string[]
}

async function startChat (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}, settings: AppSettings = {}): Promise<Chat> {
  const heard: string[] = []
  const listen = (socket: WebSocket): void => { socket.on('message', (data) => heard.push(String(data))) }
  const started = await start(t, {
    ...settings,
    plugin: { token: { message: true }, ...plugin },
    routes: (app: FastifyInstance) => {
      app.get('/chat', { websocket: true }, listen)
      app.get('/public', { websocket: true, wsAuth: false }, listen)
      app.get('/optional', { websocket: true, wsAuth: 'optional' }, listen)
      app.get('/refused', { websocket: true, wsAuth: { rejectWith: 'close', token: { message: false } } }, listen)
    }
  })
  return { ...started, heard }
}

/** One client of each kind, open; each answers to nothing by itself. */
async function openAll (t: Test, port: number): Promise<Record<string, RawClient>> {
  const opened = async (path: string, headers = {}): Promise<RawClient> => {
    const client = await upgrade(t, port, { path, headers })
    t.equal(client.answer.status, 101)
    return client
  }
  const first = await opened('/chat')
  first.send(authFrame(sign({ sub: 'by message' })))
  t.match(String((await first.frame()).payload), 'auth.ok')
  return {
    'by header': await opened('/chat', AUTHORIZED),
    'by first message': first,
    anonymous: await opened('/optional'),
    'on a public route': await opened('/public'),
    'that waits for a first message': await opened('/chat')
  }
}

t.test('everybody who reads is told, and may leave at once', async (t) => {
  const chat = await startChat(t)
  const clients = await openAll(t, chat.port)
  const told = Object.entries(clients).map(async ([who, client]) => {
    t.same(await client.close(), SHUTDOWN, who)
    client.send(clientFrame(8, Buffer.from([3, 233])))
    await client.ended
    client.socket.end()
  })
  await within(2500, 'app.close() where everybody answers', chat.app.close())
  await Promise.all(told)
  t.match(chat.app.wsAuth.stats(), { connections: 0, pending: 0, accepted: 3, closed: { shutdown: 3 } })
})

t.test('clients of ws are told', async (t) => {
  const chat = await startChat(t)
  const client = new WebSocket(`ws://127.0.0.1:${chat.port}/chat`, { headers: AUTHORIZED })
  await once(client, 'open')
  const closed = once(client, 'close')
  await within(2500, 'app.close()', chat.app.close())
  const [code, reason] = await closed as [number, Buffer]
  t.same({ code, reason: String(reason) }, SHUTDOWN)
})

t.test('who ignores the close frame is not waited for', async (t) => {
  t.jobs = 5
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
    t.test(way, async (t) => {
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
      const timer = setInterval(() => {
        for (const client of noisy) if (!client.socket.destroyed) client.send(clientFrame(1, 'more'))
      }, 50)
      t.teardown(() => clearInterval(timer))
      await until(() => chat.heard.includes('more'), 'it is heard')
      const closesItself = way.includes('its own code')
      const closing = chat.app.close()
      await Promise.all(Object.entries(clients).map(async ([who, client]) => { t.same(await client.close(), closesItself && client !== waiting ? { code: 4000, reason: '' } : SHUTDOWN, who) }))
      if (waiting !== undefined) noisy.push(waiting)
      await within(5000, 'app.close()', closing)
      clearInterval(timer)
      t.match(chat.app.wsAuth.stats(), { connections: 0, pending: 0, closed: closesItself ? { app: 4 } : { shutdown: 4 } })
      await Promise.all([...Object.values(clients), refused, invalid].map(async (client) => await within(1000, 'its socket is gone', client.ended)))
    })
  }

  t.test('and reaches no handler of a guarded route any more', async (t) => {
    const chat = await startChat(t)
    const client = await upgrade(t, chat.port, { path: '/chat', headers: AUTHORIZED })
    client.send(clientFrame(1, 'before'))
    await until(() => chat.heard.length === 1, 'it is heard')
    const closing = chat.app.close()
    t.same(await client.close(), SHUTDOWN)
    client.send(clientFrame(1, 'after'))
    await within(5000, 'app.close()', closing)
    t.same(chat.heard, ['before'])
  })
})

t.test('who is verified meanwhile', async (t) => {
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
  const refused = t.rejects(renewal, { name: 'WsAuthError' }, 'a renewal by the app is refused')
  await until(() => signals.length === 4, 'all are verified')

  // Good clients, that answer and leave.
  for (const client of [renewing, first]) {
    void client.close().then((close) => {
      t.same(close, SHUTDOWN)
      client.socket.end(clientFrame(8, Buffer.from([3, 233])))
    })
  }
  await within(2500, 'app.close(): nobody has to be waited for', chat.app.close())
  await refused
  t.equal((await handshake.response()).status, 503)
  t.same(signals.map(({ aborted }) => aborted), [true, true, true, true], 'all verifiers are told')
  for (const resolve of settle) resolve({ sub: 'x' })
  await new Promise((resolve) => setImmediate(resolve))
  t.same(chat.heard, [])
  t.match(chat.app.wsAuth.stats(), { connections: 0, pending: 0, accepted: 1, renewed: 0, closed: { shutdown: 1 } })
})

t.test('who is verified meanwhile and ignores everything', async (t) => {
  const chat = await startChat(t, { verify: async (token) => token === 'at-once' ? { sub: 'x' } : await never() })
  const renewing = await upgrade(t, chat.port, { path: '/chat', headers: { authorization: 'Bearer at-once' } })
  renewing.send(authFrame('held'))
  const first = await upgrade(t, chat.port, { path: '/chat' })
  first.send(authFrame('held'))
  for (let i = 0; i < 100; i++) first.send(clientFrame(1, 'x'.repeat(60_000)))
  await within(5000, 'app.close()', chat.app.close())
  t.match(chat.app.wsAuth.stats(), { connections: 0, pending: 0, closed: { shutdown: 1 } })
})

t.test('who comes meanwhile gets 503, or nothing', async (t) => {
  const chat = await startChat(t)
  const clients = await openAll(t, chat.port)
  const late = await Promise.all(Array.from({ length: 10 }, async () => await RawClient.open(t, chat.port)))
  const closing = chat.app.close()
  t.same(await clients['by header']?.close(), SHUTDOWN)
  for (const [i, client] of late.entries()) {
    client.send(requestText({ path: ['/chat', '/public', '/optional', '/refused'][i % 4] ?? '', headers: i % 2 === 0 ? AUTHORIZED : {} }))
  }
  for (const client of late) {
    await within(4000, 'an end', client.ended)
    t.notMatch(client.text, ' 101 ')
    if (client.text !== '') t.match(client.text, /^HTTP\/1\.1 503 /)
  }
  await within(5000, 'app.close()', closing)
  t.equal(chat.app.wsAuth.stats().accepted, 3)
})

t.test('a first message that comes meanwhile does not get in', async (t) => {
  const chat = await startChat(t)
  const client = await upgrade(t, chat.port, { path: '/chat' })
  const closing = chat.app.close()
  client.send(authFrame(sign()))
  t.same(await client.close(), SHUTDOWN)
  client.send(authFrame(sign()))
  await within(5000, 'app.close()', closing)
  t.equal(chat.app.wsAuth.stats().accepted, 0)
})

t.test('places are free again', async (t) => {
  const chat = await startChat(t, { limits: { perUser: 2 } })
  for (let i = 0; i < 2; i++) await upgrade(t, chat.port, { path: '/chat', headers: AUTHORIZED })
  await within(5000, 'app.close()', chat.app.close())
  t.same(chat.app.wsAuth.connections.bySub('somebody'), [])
  t.same([...chat.app.wsAuth.connections], [])
})

t.test('connections over injectWS are told', async (t) => {
  const { app } = await prepare(t, {
    plugin: { token: { message: true } },
    routes: (app) => app.get('/chat', { websocket: true }, () => {})
  })
  const clients = [await app.injectWS('/chat', { headers: AUTHORIZED }), await app.injectWS('/chat')]
  const closed = clients.map(async (client) => await once(client, 'close') as [number, Buffer])
  await within(5000, 'app.close()', app.close())
  for (const [code, reason] of await within(5000, 'the close frames', Promise.all(closed))) t.same({ code, reason: String(reason) }, SHUTDOWN)
  t.match(app.wsAuth.stats(), { connections: 0, pending: 0, closed: { shutdown: 1 } })
})

t.test('the process ends by itself', async (t) => {
  const child = spawn(process.execPath, [...process.execArgv, require.resolve('../helpers/closing-server')], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [{ port }] = await within(20_000, 'the server', once(child, 'message')) as [{ port: number }]
  const clients = await openAll(t, port)
  clients['by first message']?.send(authFrame('held'))
  const verifying = await upgrade(t, port, { path: '/chat' })
  verifying.send(authFrame('held'))
  const refused = await upgrade(t, port, { path: '/refused' })
  const pending = await RawClient.open(t, port)
  pending.upgrade({ path: '/chat', headers: { authorization: 'Bearer held' } })

  const exit = once(child, 'exit')
  child.send('close')
  const [{ closed }] = await within(5000, 'app.close()', once(child, 'message')) as [{ closed: object }]
  t.same(closed, { shutdown: 3 })
  child.disconnect()
  const [code, signal] = await within(5000, 'its end', exit) as [number | null, string | null]
  t.same({ code, signal }, { code: 0, signal: null })
  await within(1000, 'the refused one is gone', refused.ended)
})
