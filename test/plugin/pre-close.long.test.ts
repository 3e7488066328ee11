/*
 * `websocket.preClose` of the app: it is called before anybody is closed, and waited for. Whatever it does, `app.close()` is
 * done within its time, and everybody who is left is told 1001.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign, start, until, within } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { clientFrame, plainText, RawClient, upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

type Websocket = NonNullable<fastifyWsAuth.WsAuthOptions['websocket']>
type PreClose = (this: FastifyInstance, done: (error?: Error) => void) => unknown

const AUTHORIZED = { authorization: `Bearer ${sign()}` }
/** 5 s for the other sides, whatever they do, and a second for a machine that is busy. */
const CLOSE_TIMEOUT = 6000
/** 2 s for `preClose`, and the same. */
const PRE_CLOSE_TIMEOUT = 3000
const SHUTDOWN = { code: 1001, reason: 'shutdown' }

function addRoutes (app: FastifyInstance): void {
  app.get('/chat', { websocket: true }, () => {})
  app.get('/public', { websocket: true, wsAuth: false }, () => {})
}

async function startWith (t: Test, preClose: PreClose): Promise<StartedApp> {
  return await start(t, { plugin: { websocket: { preClose } as Websocket }, routes: addRoutes })
}

/** Two clients, one of a guarded and one of a public route, and how each ended. */
async function openTwo (t: Test, { app, port }: StartedApp): Promise<Array<{ messages: string[], closed: Promise<{ code: number, reason: string }> }>> {
  const clients = ['/chat', '/public'].map((path) => {
    const client = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers: AUTHORIZED })
    t.teardown(() => client.terminate())
    const messages: string[] = []
    client.on('message', (data) => messages.push(String(data)))
    client.on('error', () => {})
    const closed = new Promise<{ code: number, reason: string }>((resolve) => {
      client.on('close', (code, reason) => resolve({ code, reason: reason.toString() }))
    })
    return { messages, closed }
  })
  await until(() => app.websocketServer.clients.size === 2, 'both are open')
  return clients
}

t.test('preClose of the app runs before the plugin closes a client', async (t) => {
  let called = 0
  const started = await startWith(t, function (done) {
    called++
    t.equal(this.websocketServer, started.app.websocketServer, 'it is called with the app')
    const states = [...this.websocketServer.clients].map(({ readyState }) => readyState)
    t.same(states, [WebSocket.OPEN, WebSocket.OPEN], 'nobody has been closed yet')
    t.equal(started.app.wsAuth.connections.size, 1, 'the guarded connection is registered')
    for (const client of this.websocketServer.clients) {
      client.send('restarting')
      client.close(1012)
    }
    this.websocketServer.close(() => done())
  })
  const clients = await openTwo(t, started)
  await within(CLOSE_TIMEOUT, 'app.close()', started.app.close())
  t.equal(called, 1)
  for (const { messages, closed } of clients) {
    t.same(await closed, { code: 1012, reason: '' })
    t.same(messages, ['restarting'])
  }
  t.equal(started.app.wsAuth.connections.size, 0)
})

t.test('the plugin waits for an asynchronous preClose before it closes a client', async (t) => {
  const steps: string[] = []
  const started = await startWith(t, async function (this: FastifyInstance) {
    const { clients } = this.websocketServer
    await new Promise((resolve) => setTimeout(resolve, 300))
    steps.push(`still open: ${[...clients].filter(({ readyState }) => readyState === WebSocket.OPEN).length}`)
    for (const client of clients) client.send('bye')
  })
  const clients = await openTwo(t, started)
  for (const { closed } of clients) void closed.then(() => steps.push('closed'))
  await within(CLOSE_TIMEOUT, 'app.close()', started.app.close())
  for (const { messages, closed } of clients) {
    t.same(await closed, SHUTDOWN, 'whoever is left is told')
    t.same(messages, ['bye'])
  }
  t.same(steps, ['still open: 2', 'closed', 'closed'])
})

t.test('the plugin closes the clients that preClose leaves open with 1001, and the others keep the code of preClose', async (t) => {
  const started = await startWith(t, function (done) {
    for (const connection of this.wsAuth.connections) connection.close(4000, 'moved')
    done()
  })
  const [guarded, open] = await openTwo(t, started)
  await within(CLOSE_TIMEOUT, 'app.close()', started.app.close())
  t.same(await guarded?.closed, { code: 4000, reason: 'moved' })
  t.same(await open?.closed, SHUTDOWN)
})

t.test('a preClose that disconnects clients closes them with its own code', async (t) => {
  const started = await startWith(t, async function () {
    await this.wsAuth.disconnect({ sub: 'somebody' }, { code: 4001, reason: 'deploy' })
  })
  const [guarded, open] = await openTwo(t, started)
  await within(CLOSE_TIMEOUT + PRE_CLOSE_TIMEOUT, 'app.close()', started.app.close())
  t.same(await guarded?.closed, { code: 4001, reason: 'deploy' })
  t.same(await open?.closed, SHUTDOWN)
})

const never = new Promise<void>(() => {})

/** What a preClose does that should not be. */
const WRONG: Record<string, { preClose: PreClose, isLogged?: boolean, isWaitedFor?: boolean }> = {
  throws: { preClose: () => { throw new Error('of preClose') }, isLogged: true },
  'calls done with an error': { preClose: (done) => done(new Error('of preClose')), isLogged: true },
  'calls done twice': { preClose: (done) => { done(); done() } },
  'calls done once more later': { preClose: (done) => { done(); setTimeout(done, 50) } },
  'calls done and throws': { preClose: (done) => { done(); throw new Error('of preClose') } },
  'calls done with an error twice': { preClose: (done) => { done(new Error('of preClose')); done(new Error('of preClose')) }, isLogged: true },
  'never calls done': { preClose: (_done) => {}, isWaitedFor: true },
  rejects: { preClose: async () => { throw new Error('of preClose') }, isLogged: true },
  'rejects later': { preClose: (async () => { await new Promise((resolve) => setTimeout(resolve, 50)); throw new Error('of preClose') }) as PreClose, isLogged: true },
  'never resolves': { preClose: (async () => await never) as PreClose, isWaitedFor: true },
  'rejects after app.close() has stopped waiting': {
    preClose: (async () => { await new Promise((resolve) => setTimeout(resolve, 2500)); throw new Error('of preClose') }) as PreClose,
    isWaitedFor: true
  },
  'closes the WebSocket server twice': {
    preClose: function (done) { this.websocketServer.close(); this.websocketServer.close(() => done()) },
    isWaitedFor: true
  },
  'calls app.close()': { preClose: async function () { await this.close() }, isWaitedFor: true }
}

// Those that take seconds are run at once.
t.jobs = 8

for (const [what, { preClose, isLogged = false, isWaitedFor = false }] of Object.entries(WRONG)) {
  t.test(`app.close() resolves and each client is closed with 1001 if preClose ${what}`, { buffered: isWaitedFor }, async (t) => {
    const started = await startWith(t, preClose)
    const clients = await openTwo(t, started)
    const closing = started.app.close()
    for (const { closed } of clients) {
      t.same(await within(isWaitedFor ? PRE_CLOSE_TIMEOUT : 1500, 'the client is told', closed), SHUTDOWN)
    }
    await within(CLOSE_TIMEOUT, 'app.close()', closing)
    if (isLogged) t.ok(started.log.some((line) => line.includes('of preClose') && /"level":(50|40)/.test(line)), 'the error is logged')
    t.equal(started.app.wsAuth.connections.size, 0)
    // What comes late is seen by nobody, and ends nothing.
    await new Promise((resolve) => setTimeout(resolve, isWaitedFor ? 1000 : 100))
  })
}

t.test('app.close() resolves in time if preClose hangs and no client answers', { buffered: true }, async (t) => {
  const { app, port } = await startWith(t, (_done) => {})
  const clients = await Promise.all(['/chat', '/public'].map(async (path) => await upgrade(t, port, { path, headers: AUTHORIZED })))
  const timer = setInterval(() => { for (const client of clients) if (!client.socket.destroyed) client.send(clientFrame(9, 'alive')) }, 100)
  t.teardown(() => clearInterval(timer))
  await within(CLOSE_TIMEOUT, 'app.close()', app.close())
  for (const client of clients) await within(1000, 'the socket is gone', client.ended)
})

t.test('a handshake during preClose is refused with 503', async (t) => {
  const entered: string[] = []
  let release = (): void => {}
  let isCalled = false
  const { app, port } = await start(t, {
    plugin: { websocket: { preClose: (async () => { isCalled = true; await new Promise<void>((resolve) => { release = resolve }) }) as PreClose } as Websocket },
    routes: (app) => {
      app.get('/chat', { websocket: true }, () => { entered.push('chat') })
      app.get('/public', { websocket: true, wsAuth: false }, () => { entered.push('public') })
    }
  })
  const clients = await Promise.all(['/chat', '/public', '/nowhere'].map(async (path) => ({ path, client: await RawClient.open(t, port) })))
  // Requests before, so that the server has taken the connections.
  for (const { client } of clients) await client.send(plainText({ path: '/x' })).response()
  const closing = app.close()
  await until(() => isCalled, 'preClose is called')
  for (const { path, client } of clients) {
    t.equal((await client.upgrade({ path, headers: AUTHORIZED }).response()).status, 503, path)
    await within(5000, 'the socket is closed', client.ended)
  }
  release()
  await within(CLOSE_TIMEOUT, 'app.close()', closing)
  t.same(entered, [])
  t.equal(statsOf(app).pending, 0)
})

t.test('a handshake that is pending when preClose begins is not accepted', async (t) => {
  let answer = (): void => {}
  let isCalled = false
  const { app, port } = await start(t, {
    plugin: {
      verify: async () => { await new Promise<void>((resolve) => { answer = resolve }); return { sub: 'ann' } },
      websocket: { preClose: (async () => { isCalled = true; answer(); await new Promise((resolve) => setTimeout(resolve, 200)) }) as PreClose } as Websocket
    },
    routes: addRoutes
  })
  const client = await RawClient.open(t, port)
  client.upgrade({ path: '/chat', headers: AUTHORIZED })
  await until(() => statsOf(app).pending === 1, 'it is pending')
  await within(CLOSE_TIMEOUT, 'app.close()', app.close())
  t.ok(isCalled)
  t.equal((await client.response()).status, 503)
  t.equal(statsOf(app).accepted, 0)
})

t.test('a preClose that hangs without clients delays app.close() by 2 s at most', { buffered: true }, async (t) => {
  const { app } = await startWith(t, (_done) => {})
  await within(PRE_CLOSE_TIMEOUT, 'app.close()', app.close())
})

t.test('preClose runs once, also if app.close() is called twice', async (t) => {
  let called = 0
  const { app } = await startWith(t, (done) => { called++; done() })
  await Promise.all([app.close(), app.close()])
  await app.close()
  t.equal(called, 1)
})

t.test('a preClose leaves nothing on a borrowed server', async (t) => {
  for (const preClose of [(done: () => void): void => done(), (): void => { throw new Error('of preClose') }]) {
    const server = createServer()
    await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
    t.teardown(() => server.close())
    const listeners = server.rawListeners('upgrade')
    const app = Fastify()
    await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, websocket: { preClose, options: { server } } as Websocket })
    addRoutes(app)
    await app.ready()
    const { answer } = await upgrade(t, (server.address() as AddressInfo).port, { path: '/chat', headers: AUTHORIZED })
    t.equal(answer.status, 101)
    await within(CLOSE_TIMEOUT, 'app.close()', app.close())
    t.strictSame(server.rawListeners('upgrade'), listeners)
  }
})

t.test('a preClose that is not a function fails the registration', async (t) => {
  for (const preClose of ['close', 1, true, {}, []]) {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(async () => { await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, websocket: { preClose } as never }) }, /preClose/)
  }
})
