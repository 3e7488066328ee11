/*
 * Attacks on the life of a connection: by clients, by calls of the app at a moment that is easily forgotten, by functions of the
 * app that fail.
 */
import { once } from 'node:events'
import type { EventEmitter } from 'node:events'
import { createInflateRaw } from 'node:zlib'
import type { FastifyInstance } from 'fastify'
import Fastify from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth, { WsAuthError } from '../../lib/index'
import { SECRET, sign, start, until } from '../helpers/app'
import { eventually, moveClock } from '../helpers/moved-clock'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'
import { AUTHORIZED, CLAIMS, DEFLATE, MIB, NOW, NO_TOKEN, TEXT, authFrame, catchCrashes, deflatedFrame, openFlooded, startChat, turns } from '../helpers/attacked-app'
import { plain } from '../helpers/plain-frames'
import { statsOf } from '../helpers/stats'

const PING = 9
const OK = '{"type":"auth.ok","expiresAt":null}'

t.test('a first message that inflates beyond the limit closes with 1009 and is inflated no further', async (t) => {
  const inflated: number[] = []
  const { app, port, sockets } = await startChat(t, { renewal: true, token: { message: true }, websocket: { options: { perMessageDeflate: true } } })
  const client = await upgrade(t, port, { path: '/chat', headers: DEFLATE })
  // What is inflated is told by nobody else.
  const prototype = Object.getPrototypeOf(createInflateRaw()) as EventEmitter
  const { emit } = prototype
  prototype.emit = function (event: string, ...args: unknown[]) {
    if (event === 'data') inflated.push((args[0] as Buffer).length)
    return Reflect.apply(emit, this, [event, ...args])
  }
  t.teardown(() => { prototype.emit = emit })
  client.send(deflatedFrame('x'.repeat(7 * MIB)))
  t.equal((await client.close()).code, 1009)
  await until(() => statsOf(app).pending === 0, 'it is waited for no more')
  t.equal(statsOf(app).refused.WS_AUTH_TOKEN_INVALID, 1)
  const total = inflated.reduce((sum, length) => sum + length, 0)
  t.ok(total < MIB, `${total} bytes were inflated`)
  t.same(sockets, [])
})

t.test('an authenticated client may send deflated messages up to the limit of the app', async (t) => {
  const { port, heard } = await startChat(t, { renewal: true, token: { message: true }, websocket: { options: { perMessageDeflate: true } } })
  const client = await upgrade(t, port, { path: '/chat', headers: DEFLATE })
  client.send(authFrame())
  t.equal((await client.frame()).opcode, TEXT)
  client.send(deflatedFrame('x'.repeat(MIB)))
  await until(() => heard.length === 2, 'it arrives')
  t.equal(heard[1]?.length, MIB)
})

t.test('a frame that cannot be inflated ends its connection with an error', async (t) => {
  const { app, port } = await startChat(t, { renewal: true, token: { message: true }, websocket: { options: { perMessageDeflate: true } } })
  const broken = clientFrame(TEXT, Buffer.alloc(20, 0xff))
  broken[0] = (broken[0] ?? 0) | 0x40
  const known = await upgrade(t, port, { path: '/chat', headers: { ...DEFLATE, ...AUTHORIZED } })
  known.send(broken)
  await until(() => app.wsAuth.connections.size === 0, 'it has ended')
  t.same(statsOf(app).closed, { error: 1 })
  const unknown = await upgrade(t, port, { path: '/chat', headers: DEFLATE })
  unknown.send(broken)
  t.equal((await unknown.close()).code, 1007)
  await until(() => statsOf(app).pending === 0, 'it is waited for no more')
  t.same(statsOf(app).refused, { WS_AUTH_TOKEN_INVALID: 1 })
})

t.test('a socket that a connection listener closes never becomes an open connection', async (t) => {
  for (const message of [false, true]) {
    for (const way of ['close', 'terminate'] as const) {
      t.test(`a socket that a connection listener ends with ${way} ${message ? 'after a first message' : 'at once'} counts as closed by the app`, async (t) => {
        const { app, port, heard } = await startChat(t, { token: { message }, limits: { perUser: 1 } })
        app.websocketServer.on('connection', (socket: WebSocket) => { socket[way]() })
        const client = await upgrade(t, port, { path: '/chat', headers: message ? {} : AUTHORIZED })
        if (message) client.send(authFrame())
        await until(() => statsOf(app).accepted === 1, 'it is accepted')
        client.send(clientFrame(TEXT, 'after the close'))
        await turns()
        t.same(heard, [], 'nothing reaches the app, and the handler has not run')
        t.equal(app.wsAuth.connections.size, 0)
        t.same(statsOf(app).closed, { app: 1 })
      })
    }
  }
})

t.test('a refusal of the app with a code of its own does not crash the process', async (t) => {
  class Blocked extends WsAuthError {
    constructor () {
      super('WS_AUTH_TOKEN_REVOKED', { cause: 'blocked' })
      Object.assign(this, { code: 'BLOCKED' })
    }
  }
  for (const speed of ['at once', 'later']) {
    t.test(`a refusal with a code of its own, thrown by verify ${speed}, is answered as unavailable`, async (t) => {
      const crashes = catchCrashes(t)
      let isBlocked = false
      const { app, port } = await startChat(t, {
        renewal: true,
        token: { message: true },
        rejectWith: 'auto',
        verify: (): object | Promise<object> => {
          if (!isBlocked) return { sub: 'ann' }
          if (speed === 'at once') throw new Blocked()
          return Promise.reject(new Blocked())
        }
      })
      const present = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
      await present.frame()
      isBlocked = true

      const first = await upgrade(t, port, { path: '/chat' })
      first.send(authFrame())
      t.same(await first.close(), { code: 4503, reason: 'auth_unavailable' })
      t.equal((await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })).answer.status, 503)
      const page = await upgrade(t, port, { path: '/chat', headers: { ...AUTHORIZED, host: 'here', origin: 'http://here' } })
      t.equal((await page.close()).code, 4503)
      present.send(authFrame())
      t.same(JSON.parse(String((await present.frame()).payload)), { type: 'auth.error', code: 'WS_AUTH_UNAVAILABLE' })
      await turns()
      t.same(crashes, [])
      t.equal(statsOf(app).pending, 0)
      t.equal(statsOf(app).connections, 1)
    })
  }
})

t.test('an error whose properties cannot be read does not crash the process', async (t) => {
  const fail = (): never => { throw new Error('do not look') }
  const unreadable = new Proxy(new WsAuthError('WS_AUTH_FORBIDDEN'), { get: fail, has: fail, ownKeys: fail, getPrototypeOf: fail })
  for (const speed of ['at once', 'later']) {
    for (const where of ['verify', 'user'] as const) {
      t.test(`an error that cannot be read, thrown by ${where} ${speed}, is answered as unavailable`, async (t) => {
        const crashes = catchCrashes(t)
        const throwing = (): never | Promise<never> => {
          if (speed === 'at once') throw unreadable
          return Promise.reject(unreadable)
        }
        const { app, port } = await startChat(t, {
          renewal: true,
          token: { message: true },
          verify: () => where === 'verify' ? throwing() : { sub: 'ann' },
          user: (claims) => where === 'user' ? throwing() : claims as never
        })
        const first = await upgrade(t, port, { path: '/chat' })
        first.send(authFrame())
        t.equal((await first.close()).code, 4503)
        t.equal((await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })).answer.status, 503)
        await turns()
        t.same(crashes, [])
        t.equal(statsOf(app).pending, 0)
      })
    }
  }
})

t.test('a logger that throws leaves no open socket outside the registry', async (t) => {
  const crashes = catchCrashes(t)
  let isThrowing = false
  const log = (line: unknown): void => {
    if (isThrowing && typeof line === 'object' && line !== null && 'event' in line) throw new Error('of the logger')
  }
  const logger = { level: 'info', info: log, warn: log, error: log, debug: log, trace: log, fatal: log, silent: log, child: () => logger }
  const app = Fastify({ loggerInstance: logger })
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, renewal: true, token: { message: true } })
  app.get('/chat', { websocket: true }, () => {})
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as { port: number }
  const clients = app.websocketServer.clients

  isThrowing = true
  await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
  const first = await upgrade(t, port, { path: '/chat' })
  first.send(authFrame())
  await turns()
  const open = [...clients].filter(({ readyState }) => readyState === WebSocket.OPEN)
  t.ok(open.length <= app.wsAuth.connections.size, 'each open socket is in the registry')

  isThrowing = false
  const lost = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
  await turns()
  isThrowing = true
  const before = clients.size
  lost.socket.destroy()
  await until(() => clients.size === before - 1, 'it is no client of the server any more')
  isThrowing = false
  t.ok(crashes.every((error) => error instanceof Error && error.message === 'of the logger'))
})

t.test('a client that sends pings and does not read is closed with an error', async (t) => {
  const { app, port, sockets } = await startChat(t)
  const client = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
  client.socket.pause()
  sockets[0]?.send(Buffer.alloc(2 ** 24))
  client.send(Buffer.concat(Array.from({ length: 200 }, () => clientFrame(PING, ''))))
  await until(() => app.wsAuth.connections.size === 0, 'it is ended')
  t.same(statsOf(app).closed, { error: 1 })
})

t.test('a token that was issued after its expiry expires in time, although the hint to renew is due later', async (t) => {
  const { app, port } = await startChat(t, { renewal: true })
  const clock = moveClock(t)
  const seconds = Math.floor(Date.now() / 1000)
  const exp = seconds + 2
  const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign({ sub: 'ann', iat: seconds + 55, exp })}` } })
  t.equal(client.answer.status, 101)
  await eventually(clock, () => app.wsAuth.connections.size === 1, 'it is open')
  await clock.pass(exp * 1000 - Date.now())
  t.equal(app.wsAuth.connections.size, 0)
  t.ok(Date.now() < exp * 1000 + 100, `${Date.now() - exp * 1000} ms late`)
  t.same(statsOf(app).closed, { token_expired: 1 })
})

t.test('app.close() finishes, no matter in which function and how often it is called', async (t) => {
  type Place = (close: () => void) => { verify?: fastifyWsAuth.WsAuthOptions['verify'], onOpen?: (socket: WebSocket) => void }
  const PLACES: Record<string, Place> = {
    'in the handler': (close) => ({ onOpen: close }),
    'in the handler, twice': (close) => ({ onOpen: () => { close(); close() } }),
    'in a listener for messages': (close) => ({ onOpen: (socket) => { socket.on('message', close) } }),
    'in a listener for the close': (close) => ({ onOpen: (socket) => { socket.on('close', close).close() } }),
    'in verify, which answers at once': (close) => ({ verify: () => { close(); return { sub: 'ann' } } }),
    'in verify, which answers later': (close) => ({ verify: async () => { close(); await turns(5); return { sub: 'ann' } } })
  }
  for (const [where, place] of Object.entries(PLACES)) {
    for (const message of [false, true]) {
      t.test(`app.close() ${where} closes the server ${message ? 'if the token is in a first message' : 'if the token is in a header'}`, async (t) => {
        let app: FastifyInstance | null = null
        const { verify, onOpen } = place(() => { void app?.close() })
        const started = await start(t, {
          plugin: { token: { message }, heartbeat: { interval: 1000 }, ...(verify === undefined ? {} : { verify }) },
          routes: (app) => { app.get('/chat', { websocket: true }, (socket) => { onOpen?.(socket) }) }
        })
        app = started.app
        const closed = once(app.server, 'close')
        const client = await RawClient.open(t, started.port)
        client.upgrade({ path: '/chat', headers: message ? {} : AUTHORIZED })
        client.socket.on('end', () => client.socket.end())
        await client.response()
        if (message) client.send(authFrame())
        client.send(clientFrame(TEXT, 'hello'))
        // Its answer to the close frame.
        void until(() => client.rest.includes(0x88) || client.isEnded, 'a close frame').then(() => client.send(clientFrame(8, Buffer.from([3, 233]))), () => {})
        await closed
        const { connections, pending, accepted, closed: ends } = statsOf(app)
        t.same({ connections, pending }, { connections: 0, pending: 0 })
        t.equal(Object.values(ends).reduce((sum, count) => sum + count, 0), accepted, 'each that was accepted has ended once')
      })
    }
  }
})

t.test('two clients of one user that reconnect after each replacement take one slot and leave nothing behind', async (t) => {
  const { app, port } = await startChat(t, { limits: { perUser: 1, onLimit: 'close-oldest' }, renewal: true, token: { message: true } })
  const clients = new Set<WebSocket>()
  let replaced = 0
  const open = (): void => {
    const client = new WebSocket(`ws://127.0.0.1:${port}/chat`)
    clients.add(client)
    client.on('open', () => client.send(JSON.stringify({ type: 'auth', token: sign() })))
    client.on('message', (data) => { if (plain(String(data)) !== OK) t.fail(String(data)) })
    client.on('close', (code) => {
      clients.delete(client)
      if (code !== 3003) t.fail(String(code))
      if (++replaced < 50) open()
    })
  }
  open()
  open()
  await until(() => replaced >= 50, 'they have taken turns')
  await until(() => statsOf(app).pending === 0 && app.websocketServer.clients.size <= 1, 'the rest is gone')
  const { connections, accepted, closed } = statsOf(app)
  t.ok(connections <= 1)
  t.equal(accepted - connections, closed.connection_replaced)
  for (const client of clients) client.removeAllListeners('close').terminate()
})

t.test('a logger that throws on every call does not end a flood of renewals', async (t) => {
  t.test('the plugin answers each frame of a flood of renewals, and the connection stays open', async (t) => {
    const { app, client, heard, calls, crashes } = await openFlooded(t)
    const KINDS: Array<[frame: Buffer, answer: RegExp]> = [
      [authFrame(sign({ ...CLAIMS, jti: 'next' })), /"auth\.ok"/],
      [authFrame(sign({ ...CLAIMS, sub: 'bob' })), /"auth\.error","code":"WS_AUTH_TOKEN_INVALID"/],
      [authFrame(sign({ ...CLAIMS, exp: NOW - 10 })), /"auth\.error","code":"WS_AUTH_TOKEN_EXPIRED"/],
      [authFrame('no token'), /"auth\.error","code":"WS_AUTH_TOKEN_INVALID"/],
      [NO_TOKEN, /"auth\.error","code":"WS_AUTH_TOKEN_INVALID"/]
    ]
    const COUNT = 60
    for (let i = 0; i < COUNT; i++) {
      client.send(Buffer.concat(KINDS.map(([frame]) => frame)))
      const answers: string[] = []
      for (let j = 0; j < KINDS.length; j++) answers.push(String((await client.frame()).payload))
      for (const [, answer] of KINDS) {
        const found = answers.findIndex((text) => answer.test(text))
        if (found === -1) t.fail(`no ${String(answer)} among ${answers.join()}`)
        answers.splice(found, 1)
      }
    }
    t.match(statsOf(app), { connections: 1, renewed: COUNT, refused: { WS_AUTH_TOKEN_INVALID: 3 * COUNT, WS_AUTH_TOKEN_EXPIRED: COUNT }, closed: {} })
    // Each renewal has a line, and of the refused ones ten in a second.
    t.ok(calls() >= COUNT + 10, 'the logger threw each time')
    client.send(clientFrame(TEXT, 'still here'))
    await until(() => heard.length === 1, 'a message')
    t.strictSame(heard, ['still here'])
    client.socket.destroy()
    await until(() => app.wsAuth.connections.size === 0, 'the end')
    await turns()
    t.strictSame(crashes, [])
  })

  t.test('the plugin lets eight renewals of a flood wait, and the connection stays open until its client leaves', async (t) => {
    const signals: AbortSignal[] = []
    const verify: NonNullable<fastifyWsAuth.WsAuthOptions['verify']> = async (token, _request, { signal }) => {
      if (token === 'first') return CLAIMS
      signals.push(signal)
      return await new Promise(() => {})
    }
    const { app, client, heard, crashes } = await openFlooded(t, { verify }, 'first')
    client.send(Buffer.concat(Array.from({ length: 8 }, () => authFrame('held'))))
    await until(() => signals.length === 8, 'eight that wait')
    for (let i = 0; i < 10; i++) {
      client.send(Buffer.concat(Array.from({ length: 20 }, () => authFrame('held'))))
      for (let j = 0; j < 20; j++) t.equal(String((await client.frame()).payload), '{"type":"auth.error","code":"WS_AUTH_LIMIT"}')
    }
    t.equal(signals.length, 8)
    client.send(clientFrame(TEXT, 'still here'))
    await until(() => heard.length === 1, 'a message')
    client.socket.destroy()
    await until(() => app.wsAuth.connections.size === 0 && signals.every(({ aborted }) => aborted), 'the end')
    await turns()
    t.match(statsOf(app), { connections: 0, pending: 0, renewed: 0, refused: { WS_AUTH_LIMIT: 200 } })
    t.strictSame(crashes, [])
  })
})
