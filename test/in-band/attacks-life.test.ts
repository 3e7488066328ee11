/*
 * What was tried against the life of a connection: by clients, by what the app does at a moment nobody thinks of, by
 * functions of the app that fail.
 */
import { once } from 'node:events'
import type { EventEmitter } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { constants, createInflateRaw, deflateRawSync } from 'node:zlib'
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth, { WsAuthError } from '../../lib/index'
import { SECRET, sign, start, until, within } from '../helpers/app'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'

const TEXT = 1
const PING = 9
const MIB = 2 ** 20
const AUTHORIZED = { authorization: `Bearer ${sign()}` }
const OK = '{"type":"auth.ok","expiresAt":null}'
const DEFLATE = { 'sec-websocket-extensions': 'permessage-deflate; client_no_context_takeover' }

function authFrame (token = sign()): Buffer {
  return clientFrame(TEXT, JSON.stringify({ type: 'auth', token }))
}

/** A text frame as a client sends it with permessage-deflate (RFC 7692): the bytes a megabyte of one letter takes are a thousand. */
function deflatedFrame (text: string): Buffer {
  const deflated = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH })
  const frame = clientFrame(TEXT, deflated.subarray(0, deflated.length - 4))
  frame[0] = (frame[0] ?? 0) | 0x40
  return frame
}

interface Chat {
  readonly app: FastifyInstance
  readonly port: number
  readonly heard: string[]
  readonly sockets: WebSocket[]
  readonly requests: FastifyRequest[]
}

/** A route that remembers what reaches its handler. */
async function startChat (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}): Promise<Chat> {
  const heard: string[] = []
  const sockets: WebSocket[] = []
  const requests: FastifyRequest[] = []
  const { app, port } = await start(t, {
    plugin,
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket, request) => {
        heard.push('handler')
        sockets.push(socket)
        requests.push(request)
        socket.on('message', (data) => heard.push(String(data)))
      })
    }
  })
  return { app, port, heard, sockets, requests }
}

setFlagsFromString('--expose-gc')
/** What was inflated and thrown away is not what is kept. */
const collectGarbage = runInNewContext('gc') as () => void

async function turns (count = 50): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** Crashes of the process that would have been, for as long as a test runs. */
function catchCrashes (t: Test): unknown[] {
  const crashes: unknown[] = []
  const onCrash = (error: unknown): void => { crashes.push(error) }
  const events = ['uncaughtException', 'unhandledRejection'] as const
  const before = events.map((event) => process.rawListeners(event))
  for (const event of events) process.removeAllListeners(event).on(event, onCrash)
  t.teardown(() => {
    events.forEach((event, i) => {
      process.removeAllListeners(event)
      for (const listener of before[i] ?? []) process.on(event, listener as () => void)
    })
  })
  return crashes
}

t.test('who has not authenticated cannot have a thousand times of what was sent kept', async (t) => {
  t.test('by messages behind the first that are inflated while it is verified', async (t) => {
    const never = async (): Promise<never> => await new Promise(() => {})
    const { app, port } = await startChat(t, { verify: never, token: { message: true }, websocket: { options: { perMessageDeflate: true } } })
    const client = await upgrade(t, port, { path: '/chat', headers: DEFLATE })
    t.match(client.answer.headers, { 'sec-websocket-extensions': /^permessage-deflate/ })
    const before = process.memoryUsage().arrayBuffers
    client.send(Buffer.concat([authFrame(), ...Array.from({ length: 40 }, () => deflatedFrame('x'.repeat(MIB)))]))
    let kept = 0
    await until(() => {
      collectGarbage()
      kept = process.memoryUsage().arrayBuffers - before
      return app.wsAuth.stats().pending === 0 || kept > 30 * MIB
    }, 'it has been read', 20_000)
    t.ok(kept < 16 * MIB, `${Math.round(kept / MIB)} MiB`)
    t.equal(app.wsAuth.stats().refused.WS_AUTH_LIMIT, 1)
  })

  t.test('by a first message that is inflated', async (t) => {
    const inflated: number[] = []
    const { app, port, sockets } = await startChat(t, { token: { message: true }, websocket: { options: { perMessageDeflate: true } } })
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
    await until(() => app.wsAuth.stats().pending === 0, 'it is waited for no more')
    t.equal(app.wsAuth.stats().refused.WS_AUTH_TOKEN_INVALID, 1)
    const total = inflated.reduce((sum, length) => sum + length, 0)
    t.ok(total < MIB, `${total} bytes were inflated`)
    t.same(sockets, [])
  })
})

t.test('who comes in may send inflated what the app allows', async (t) => {
  const { port, heard } = await startChat(t, { token: { message: true }, websocket: { options: { perMessageDeflate: true } } })
  const client = await upgrade(t, port, { path: '/chat', headers: DEFLATE })
  client.send(authFrame())
  t.equal((await client.frame()).opcode, TEXT)
  client.send(deflatedFrame('x'.repeat(MIB)))
  await until(() => heard.length === 2, 'it arrives')
  t.equal(heard[1]?.length, MIB)
})

t.test('what cannot be inflated ends a connection as any other error', async (t) => {
  const { app, port } = await startChat(t, { token: { message: true }, websocket: { options: { perMessageDeflate: true } } })
  const broken = clientFrame(TEXT, Buffer.alloc(20, 0xff))
  broken[0] = (broken[0] ?? 0) | 0x40
  const known = await upgrade(t, port, { path: '/chat', headers: { ...DEFLATE, ...AUTHORIZED } })
  known.send(broken)
  await until(() => app.wsAuth.connections.size === 0, 'it has ended')
  t.same(app.wsAuth.stats().closed, { error: 1 })
  const unknown = await upgrade(t, port, { path: '/chat', headers: DEFLATE })
  unknown.send(broken)
  t.equal((await unknown.close()).code, 1007)
  await until(() => app.wsAuth.stats().pending === 0, 'it is waited for no more')
  t.same(app.wsAuth.stats().refused, { WS_AUTH_TOKEN_INVALID: 1 })
})

t.test('a socket that a listener for connections closes is no open connection', async (t) => {
  for (const message of [false, true]) {
    for (const way of ['close', 'terminate'] as const) {
      t.test(`with ${way}, ${message ? 'after a first message' : 'at once'}`, async (t) => {
        const { app, port, heard } = await startChat(t, { token: { message }, limits: { perUser: 1 } })
        app.websocketServer.on('connection', (socket: WebSocket) => { socket[way]() })
        const client = await upgrade(t, port, { path: '/chat', headers: message ? {} : AUTHORIZED })
        if (message) client.send(authFrame())
        await until(() => app.wsAuth.stats().accepted === 1, 'it is accepted')
        client.send(clientFrame(TEXT, 'after the close'))
        await turns()
        t.same(heard, [], 'nothing reaches the app, and the handler has not run')
        t.equal(app.wsAuth.connections.size, 0)
        t.same(app.wsAuth.stats().closed, { app: 1 })
      })
    }
  }
})

t.test('a loop that is blocked for almost an interval of the heartbeat takes nobody for gone', async (t) => {
  const interval = 500
  const { app, port } = await startChat(t, { heartbeat: { interval } })
  // Its timer is due in the same turn as that of the heartbeat, and runs after it.
  let isToBlock = false
  const blocker = setInterval(() => {
    const end = Date.now() + (isToBlock ? interval - 10 : 0)
    isToBlock = false
    while (Date.now() < end) { /* busy */ }
  }, interval)
  t.teardown(() => clearInterval(blocker))
  const client = new WebSocket(`ws://127.0.0.1:${port}/chat`, { headers: AUTHORIZED, autoPong: false })
  t.teardown(() => client.terminate())
  // As far away as a phone is.
  client.on('ping', () => setTimeout(() => client.pong(), 100))
  await once(client, 'open')
  await once(client, 'ping')
  isToBlock = true
  for (let i = 0; i < 3 && client.readyState === WebSocket.OPEN; i++) {
    await within(5 * interval, 'another ping', Promise.race([once(client, 'ping'), once(client, 'close')]))
  }
  t.same(app.wsAuth.stats().closed, {})
  t.equal(app.wsAuth.connections.size, 1)
})

t.test('a refusal of the app with a code of its own crashes nothing', async (t) => {
  class Blocked extends WsAuthError {
    constructor () {
      super('WS_AUTH_TOKEN_REVOKED', { cause: 'blocked' })
      Object.assign(this, { code: 'BLOCKED' })
    }
  }
  for (const speed of ['at once', 'later']) {
    t.test(`thrown ${speed}`, async (t) => {
      const crashes = catchCrashes(t)
      let isBlocked = false
      const { app, port } = await startChat(t, {
        token: { message: true },
        rejectWith: 'auto',
        verify: (): object | Promise<object> => {
          if (!isBlocked) return { sub: 'ann' }
          if (speed === 'at once') throw new Blocked()
          return Promise.reject(new Blocked())
        }
      })
      const present = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
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
      t.equal(app.wsAuth.stats().pending, 0)
      t.equal(app.wsAuth.stats().connections, 1)
    })
  }
})

t.test('what an app throws that cannot be looked at crashes nothing', async (t) => {
  const fail = (): never => { throw new Error('do not look') }
  const unreadable = new Proxy(new WsAuthError('WS_AUTH_FORBIDDEN'), { get: fail, has: fail, ownKeys: fail, getPrototypeOf: fail })
  for (const speed of ['at once', 'later']) {
    for (const where of ['verify', 'user'] as const) {
      t.test(`by ${where}, ${speed}`, async (t) => {
        const crashes = catchCrashes(t)
        const throwing = (): never | Promise<never> => {
          if (speed === 'at once') throw unreadable
          return Promise.reject(unreadable)
        }
        const { app, port } = await startChat(t, {
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
        t.equal(app.wsAuth.stats().pending, 0)
      })
    }
  }
})

t.test('a logger that throws leaves no open socket that nobody knows', async (t) => {
  const crashes = catchCrashes(t)
  let isThrowing = false
  const log = (line: unknown): void => {
    if (isThrowing && typeof line === 'object' && line !== null && 'event' in line) throw new Error('of the logger')
  }
  const logger = { level: 'info', info: log, warn: log, error: log, debug: log, trace: log, fatal: log, silent: log, child: () => logger }
  const app = Fastify({ loggerInstance: logger })
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, token: { message: true } })
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

t.test('who pings and does not read is ended, and not by the app', async (t) => {
  const { app, port, sockets } = await startChat(t)
  const client = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
  client.socket.pause()
  sockets[0]?.send(Buffer.alloc(2 ** 24))
  client.send(Buffer.concat(Array.from({ length: 200 }, () => clientFrame(PING, ''))))
  await until(() => app.wsAuth.connections.size === 0, 'it is ended')
  t.same(app.wsAuth.stats().closed, { error: 1 })
})

t.test('a token that was issued after its expiry expires in time, whoever sleeps for a hint', async (t) => {
  const { app, port } = await startChat(t, { renewal: true })
  const seconds = Math.floor(Date.now() / 1000)
  const exp = seconds + 2
  const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign({ sub: 'ann', iat: seconds + 55, exp })}` } })
  t.equal(client.answer.status, 101)
  await until(() => app.wsAuth.connections.size === 0, 'it has ended', 5000)
  t.ok(Date.now() < exp * 1000 + 2500, `${Date.now() - exp * 1000} ms late`)
  t.same(app.wsAuth.stats().closed, { token_expired: 1 })
})

t.test('app.close() comes to its end wherever it is called, and however often', async (t) => {
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
      t.test(`${where}, ${message ? 'with a first message' : 'with a header'}`, async (t) => {
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
        void until(() => client.rest.includes(0x88), 'a close frame').then(() => client.send(clientFrame(8, Buffer.from([3, 233]))), () => {})
        await within(5000, 'the server is closed', closed)
        const { connections, pending, accepted, closed: ends } = app.wsAuth.stats()
        t.same({ connections, pending }, { connections: 0, pending: 0 })
        t.equal(Object.values(ends).reduce((sum, count) => sum + count, 0), accepted, 'each that was accepted has ended once')
      })
    }
  }
})

t.test('two clients of one user that come back whenever they are replaced take one place and leave nothing', async (t) => {
  const { app, port } = await startChat(t, { limits: { perUser: 1, onLimit: 'close-oldest' }, token: { message: true } })
  const clients = new Set<WebSocket>()
  let replaced = 0
  const open = (): void => {
    const client = new WebSocket(`ws://127.0.0.1:${port}/chat`)
    clients.add(client)
    client.on('open', () => client.send(JSON.stringify({ type: 'auth', token: sign() })))
    client.on('message', (data) => { if (String(data) !== OK) t.fail(String(data)) })
    client.on('close', (code) => {
      clients.delete(client)
      if (code !== 3003) t.fail(String(code))
      if (++replaced < 200) open()
    })
  }
  open()
  open()
  await until(() => replaced >= 200, 'they have taken turns', 20_000)
  await until(() => app.wsAuth.stats().pending === 0 && app.websocketServer.clients.size <= 1, 'the rest is gone')
  const { connections, accepted, closed } = app.wsAuth.stats()
  t.ok(connections <= 1)
  t.equal(accepted - connections, closed.connection_replaced)
  for (const client of clients) client.removeAllListeners('close').terminate()
})

/** A logger each function of which throws, once it is told to. */
function throwingLogger (): { logger: FastifyBaseLogger, arm: () => void, calls: () => number } {
  let isArmed = false
  let calls = 0
  const write = (): void => {
    if (!isArmed) return
    calls++
    throw new Error('the disk is full')
  }
  const logger = { level: 'trace', silent: write, trace: write, debug: write, info: write, warn: write, error: write, fatal: write, child: () => logger } as unknown as FastifyBaseLogger
  return { logger, arm: () => { isArmed = true }, calls: () => calls }
}

t.test('a flood of renewals with a logger that throws on every call', async (t) => {
  const now = Math.floor(Date.now() / 1000)
  const claims = { sub: 'ann', iat: now - 10, exp: now + 600 }
  const NOTHING = clientFrame(TEXT, '{"type":"auth"}')

  /** An app with one open connection, the logger of which throws from now on. */
  const open = async (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}, token = sign(claims)): Promise<{ app: FastifyInstance, client: RawClient, heard: string[], calls: () => number, crashes: unknown[] }> => {
    const crashes = catchCrashes(t)
    const { logger, arm, calls } = throwingLogger()
    const heard: string[] = []
    const { app, port } = await start(t, {
      server: { logger: undefined as never, loggerInstance: logger, disableRequestLogging: true },
      plugin: { renewal: true, ...plugin },
      routes: (app) => { app.get('/chat', { websocket: true }, (socket) => { socket.on('message', (data) => heard.push(String(data))) }) }
    })
    const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${token}` } })
    await until(() => app.wsAuth.connections.size === 1, 'the connection')
    arm()
    return { app, client, heard, calls, crashes }
  }

  t.test('is answered frame by frame, and the connection goes on', async (t) => {
    const { app, client, heard, calls, crashes } = await open(t)
    const KINDS: Array<[frame: Buffer, answer: RegExp]> = [
      [authFrame(sign({ ...claims, jti: 'next' })), /"auth\.ok"/],
      [authFrame(sign({ ...claims, sub: 'bob' })), /"auth\.error","code":"WS_AUTH_TOKEN_INVALID"/],
      [authFrame(sign({ ...claims, exp: now - 10 })), /"auth\.error","code":"WS_AUTH_TOKEN_EXPIRED"/],
      [authFrame('no token'), /"auth\.error","code":"WS_AUTH_TOKEN_INVALID"/],
      [NOTHING, /"auth\.error","code":"WS_AUTH_TOKEN_INVALID"/]
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
    t.match(app.wsAuth.stats(), { connections: 1, renewed: COUNT, refused: { WS_AUTH_TOKEN_INVALID: 3 * COUNT, WS_AUTH_TOKEN_EXPIRED: COUNT }, closed: {} })
    t.ok(calls() >= KINDS.length * COUNT, 'the logger threw each time')
    client.send(clientFrame(TEXT, 'still here'))
    await until(() => heard.length === 1, 'a message')
    t.strictSame(heard, ['still here'])
    client.socket.destroy()
    await until(() => app.wsAuth.connections.size === 0, 'the end')
    await turns()
    t.strictSame(crashes, [])
  })

  t.test('is limited to those that may wait, and the connection goes on until its client leaves', async (t) => {
    const signals: AbortSignal[] = []
    const verify: NonNullable<fastifyWsAuth.WsAuthOptions['verify']> = async (token, _request, { signal }) => {
      if (token === 'first') return claims
      signals.push(signal)
      return await new Promise(() => {})
    }
    const { app, client, heard, crashes } = await open(t, { verify }, 'first')
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
    t.match(app.wsAuth.stats(), { connections: 0, pending: 0, renewed: 0, refused: { WS_AUTH_LIMIT: 200 } })
    t.strictSame(crashes, [])
  })

  t.test('of a client that reads no answer ends the connection', async (t) => {
    const { app, client, crashes } = await open(t)
    client.socket.removeAllListeners('data')
    client.socket.pause()
    const frames = Buffer.concat(Array.from({ length: 32 }, () => NOTHING))
    const answered = (): number => app.wsAuth.stats().refused.WS_AUTH_TOKEN_INVALID ?? 0
    let sent = 0
    while (app.wsAuth.connections.size > 0) {
      client.socket.write(frames)
      sent += 32
      while (answered() < sent && app.wsAuth.connections.size > 0) await turns(1)
    }
    t.strictSame(app.wsAuth.stats().closed, { error: 1 })
    await until(() => app.websocketServer.clients.size === 0, 'the socket is gone')
    await turns()
    t.strictSame(crashes, [])
  })
})
