/*
 * The socket that a handler gets is one of ws, with one difference: once the connection has ended, by whomever, nothing
 * that the other side sends reaches the app, and the socket is gone soon.
 */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { createWebSocketStream, WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import type { Connection } from '../../lib/connection/connection'
import { sign, start, until } from '../helpers/app'
import type { AppSettings } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { setClock, turn } from '../helpers/moved-clock'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'

const HOUR = 3_600_000
const TEXT = 1
const CLOSE = 8
const PING = 9
const PONG = 10

interface Chat {
  readonly app: FastifyInstance
  readonly port: number
  /** The sockets and connections of the handler, in order. */
  readonly sockets: WebSocket[]
  readonly connections: Connection[]
  /** What reached the app, of all of them. */
  readonly heard: string[]
  /** How connections ended. */
  readonly ends: Array<string | null>
  connect (claims?: Record<string, unknown>, path?: string): Promise<RawClient>
}

/** Tells `heard` of whatever a socket may tell. */
function listen (socket: WebSocket, heard: string[]): void {
  socket.on('message', (data) => { heard.push(`message ${String(data)}`) })
  socket.on('ping', () => { heard.push('ping') })
  socket.on('pong', () => { heard.push('pong') })
}

/** A server with a guarded route that listens to everything, and a public one. */
async function startChat (t: Test, { routes, ...settings }: AppSettings = {}): Promise<Chat> {
  const sockets: WebSocket[] = []
  const connections: Connection[] = []
  const heard: string[] = []
  const { app, port } = await start(t, {
    ...settings,
    routes: async (app) => {
      for (const [url, wsAuth] of [['/chat', true], ['/public', false]] as const) {
        app.get(url, { websocket: true, wsAuth }, (socket, request) => {
          sockets.push(socket)
          if (request.wsAuth !== null) connections.push(request.wsAuth)
          listen(socket, heard)
        })
      }
      await routes?.(app)
    }
  })
  const ends: Array<string | null> = []
  onDecision(t, ({ event, reason, connectionId }) => {
    const isEnd = event === 'expired' || event === 'closed'
    if (isEnd && connections.some(({ id }) => id === connectionId)) ends.push(reason)
  })
  const connect = async (claims: Record<string, unknown> = {}, path = '/chat'): Promise<RawClient> => {
    const client = await upgrade(t, port, { path, headers: path === '/public' ? {} : { authorization: `Bearer ${sign({ sub: 'somebody', ...claims })}` } })
    t.equal(client.answer.status, 101)
    return client
  }
  return { app, port, sockets, connections, heard, ends, connect }
}

/** The server's side of the connection of a socket. */
function rawOf (socket: WebSocket | undefined): Socket {
  return (socket as unknown as { _socket: Socket })._socket
}

/** All ways in which an app can listen to messages. */
const WAYS: Record<string, (socket: WebSocket, hear: (data: unknown) => void) => void> = {
  on: (socket, hear) => { socket.on('message', hear) },
  once: (socket, hear) => { socket.once('message', hear) },
  onmessage: (socket, hear) => { socket.onmessage = ({ data }) => hear(data) },
  addEventListener: (socket, hear) => { socket.addEventListener('message', ({ data }) => hear(data)) },
  'addEventListener once': (socket, hear) => { socket.addEventListener('message', ({ data }) => hear(data), { once: true }) },
  'the events.once of Node': (socket, hear) => { void once(socket, 'message').then(([data]) => hear(data), () => {}) },
  createWebSocketStream: (socket, hear) => { createWebSocketStream(socket).on('error', () => {}).on('data', hear) }
}

/** A server that listens in each way, and a client for each. */
async function startWays (t: Test, claims: () => Record<string, unknown>, settings: AppSettings = {}): Promise<Chat & { clients: Map<string, RawClient>, heardBy: string[] }> {
  const heardBy: string[] = []
  const chat = await startChat(t, {
    ...settings,
    routes: (app) => {
      for (const [i, listen] of Object.values(WAYS).entries()) {
        app.get(`/${i}`, { websocket: true }, (socket) => { listen(socket, (data) => { heardBy.push(`${Object.keys(WAYS)[i]}: ${String(data)}`) }) })
      }
    }
  })
  const clients = new Map<string, RawClient>()
  const shared = claims()
  for (const [i, way] of Object.keys(WAYS).entries()) clients.set(way, await chat.connect(shared, `/${i}`))
  return { ...chat, clients, heardBy }
}

t.test('messages reach the app in each way that ws has, until the token expires', async (t) => {
  const { clients, heardBy, app } = await startWays(t, () => ({ exp: (Date.now() + HOUR) / 1000 }))
  for (const client of clients.values()) client.send(clientFrame(TEXT, 'before'))
  await until(() => heardBy.length === clients.size, 'all are heard')
  t.same(heardBy.sort(), Object.keys(WAYS).map((way) => `${way}: before`).sort())
  t.equal(app.wsAuth.stats().connections, clients.size)
})

t.test('a message that arrives when the token has expired reaches the app in no way', async (t) => {
  const { clients, heardBy, app } = await startWays(t, () => ({ exp: (Date.now() + HOUR / 2) / 1000 }))
  // In one turn of the event loop: no timer can have run.
  setClock(t, HOUR)
  for (const client of clients.values()) client.send(Buffer.concat([clientFrame(TEXT, 'late'), clientFrame(TEXT, 'later')]))
  for (const client of clients.values()) t.same(await client.close(), { code: 3000, reason: 'token_expired' })
  await turn(10)
  t.same(heardBy, [])
  t.match(app.wsAuth.stats(), { connections: 0, closed: { token_expired: clients.size } })
})

// Sockets that have become readable deliver what they have before any timer runs.
t.test('a loop that is blocked across the expiry lets nothing through', async (t) => {
  for (const place of ['another socket', 'an immediate', 'a timer', 'a microtask'] as const) {
    t.test(`by ${place}`, async (t) => {
      const exp = Date.now() / 1000 + 4
      const order: string[] = []
      const block = (): void => {
        setTimeout(() => { order.push('timer') }, 1)
        while (Date.now() < exp * 1000 + 50) { /* busy */ }
      }
      const { clients, heardBy, heard, app, connect, sockets } = await startWays(t, () => ({ exp }))
      const trigger = await connect({}, '/public')
      sockets[0]?.on('message', () => { if (place === 'another socket') block() })
      const control = await connect({}, '/public')
      sockets[1]?.on('message', () => { order.push('message') })
      await turn(3)
      t.ok(Date.now() < exp * 1000, 'in time')
      t.equal(app.wsAuth.stats().connections, clients.size)
      // All of it is in the buffers of the kernel before the first of it is read.
      const act = (): void => {
        trigger.send(clientFrame(TEXT, 'block'))
        for (const client of clients.values()) {
          client.send(Buffer.concat([clientFrame(PING, ''), clientFrame(TEXT, 'late'), clientFrame(TEXT, '{"type":"auth"}'), clientFrame(TEXT, 'later')]))
        }
        control.send(clientFrame(TEXT, 'control'))
        if (place !== 'another socket') block()
      }
      if (place === 'a timer') setTimeout(act, 0)
      else if (place === 'a microtask') queueMicrotask(act)
      else setImmediate(act)
      for (const client of clients.values()) {
        let frame = await client.frame()
        // ws answers a ping before anybody is asked; it tells nobody anything.
        while (frame.opcode === PONG) frame = await client.frame()
        t.equal(frame.opcode, CLOSE)
        t.equal(frame.payload.subarray(2).toString(), 'token_expired')
      }
      await until(() => heard.length === 2, 'what is public is heard')
      t.same(heardBy, [])
      t.same(app.wsAuth.stats().closed, { token_expired: clients.size })
      if (place === 'another socket') t.equal(order[0], 'message', 'it came before the timers')
    })
  }
})

/** A client that takes no notice of a close frame, and says what it can until it is cut off. */
function goOn (t: Test, client: RawClient): void {
  const frames = Buffer.concat([
    clientFrame(TEXT, 'after'), clientFrame(2, 'after'), clientFrame(PING, ''), clientFrame(PONG, ''),
    clientFrame(TEXT, '{"type":"auth","token":"x"}'), clientFrame(TEXT, '{"type":"auth"}')
  ])
  const timer = setInterval(() => { if (!client.socket.destroyed) client.send(frames) }, 50)
  t.teardown(() => clearInterval(timer))
}

/** A class as an app may have its own. */
class OwnWebSocket extends WebSocket {
  readonly closes: unknown[] = []

  override close (code?: number, reason?: string | Buffer): void {
    this.closes.push(code)
    super.close(code, reason)
  }
}

t.test('after the decision nothing gets through, and the socket is gone within 6 s', async (t) => {
  const ENDS: Record<string, { claims?: () => Record<string, unknown>, end: (chat: Chat, t: Test) => void, code: number, reason: string, counted: string }> = {
    'the token expires': {
      claims: () => ({ exp: (Date.now() + 1000) / 1000 }), end: () => {}, code: 3000, reason: 'token_expired', counted: 'token_expired'
    },
    'the app closes the socket': { end: ({ sockets }) => { sockets[0]?.close(4000, 'bye') }, code: 4000, reason: 'bye', counted: 'app' },
    'the app closes the connection': { end: ({ connections }) => { connections[0]?.close(4001, 'bye') }, code: 4001, reason: 'bye', counted: 'app' },
    'the client sent what is no frame': {
      end: () => {}, code: 1002, reason: '', counted: 'error'
    }
  }
  const cases = Object.keys(ENDS).flatMap((what) => [false, true].map((isOwn) => ({ what, isOwn })))
  // At once: each takes 5 s.
  await Promise.all(cases.map(async ({ what, isOwn }) => {
    const { claims, end, code, reason, counted } = ENDS[what] as NonNullable<(typeof ENDS)[string]>
    const chat = await startChat(t, {
      plugin: {
        renewal: true,
        // By default it would cut off at once who sends what is no frame.
        websocket: { errorHandler: () => {}, ...isOwn ? { options: { WebSocket: OwnWebSocket } } : {} }
      }
    })
    const client = await chat.connect(claims?.())
    const [socket] = chat.sockets
    t.equal(socket instanceof OwnWebSocket, isOwn)
    const raw = rawOf(socket)
    if (counted !== 'error') {
      client.send(clientFrame(TEXT, 'before'))
      await until(() => chat.heard.length === 1, 'it is heard')
    }
    if (counted === 'error') client.send(Buffer.from([0xFF, 0x80, 0, 0, 0, 0]))
    else goOn(t, client)
    end(chat, t)
    await until(() => chat.app.wsAuth.connections.size === 0, 'it has ended')
    const begun = Date.now()
    t.same(chat.app.wsAuth.stats().closed, { [counted]: 1 }, what)
    const heard = chat.heard.length
    if (counted === 'error') goOn(t, client)
    let frame = await client.frame()
    while (frame.opcode !== CLOSE) frame = await client.frame()
    t.equal(frame.payload.readUInt16BE(0), code)
    t.equal(frame.payload.subarray(2).toString(), reason)
    await until(() => raw.destroyed, `${what}: the socket is gone`, 6000)
    t.ok(Date.now() - begun < 6500)
    await turn(5)
    t.equal(chat.heard.length, heard, 'nothing more was heard')
    t.notMatch(chat.heard, ['after', 'after'].map((text) => `message ${text}{`), 'no auth frame either')
    t.same(chat.app.wsAuth.stats().closed, { [counted]: 1 })
    t.equal(chat.app.websocketServer.clients.size, 0)
    if (socket instanceof OwnWebSocket && counted !== 'error') t.same(socket.closes, [code])
  }))
})

// ws has no deadline for what is left to be sent to a client that has said that it will send nothing more.
t.test('a client that has closed its half and does not read is gone within 6 s as well', async (t) => {
  const ENDS: Record<string, { claims: () => Record<string, unknown>, end: (chat: Chat) => void, counted: string }> = {
    'the token expires': { claims: () => ({ exp: (Date.now() + 2000) / 1000 }), end: () => {}, counted: 'token_expired' },
    'the app closes the socket': { claims: () => ({}), end: ({ sockets }) => { sockets[0]?.close(4000) }, counted: 'lost' },
    'the app closes the socket again and again': {
      claims: () => ({}),
      end: ({ sockets }) => {
        const timer = setInterval(() => sockets[0]?.close(4000), 500)
        sockets[0]?.on('close', () => clearInterval(timer))
      },
      counted: 'lost'
    },
    'the app closes the connection': { claims: () => ({}), end: ({ connections }) => { connections[0]?.close() }, counted: 'lost' },
    'the app terminates the socket': { claims: () => ({}), end: ({ sockets }) => { sockets[0]?.terminate() }, counted: 'lost' }
  }
  await Promise.all(Object.entries(ENDS).map(async ([what, { claims, end, counted }]) => {
    const chat = await startChat(t)
    const client = await chat.connect(claims())
    const [socket] = chat.sockets
    const raw = rawOf(socket)
    client.socket.pause()
    socket?.send(Buffer.alloc(2 ** 24))
    await turn(5)
    client.socket.end()
    await until(() => raw.readableEnded, 'the server knows')
    t.ok(raw.writableLength > 0, 'something is left to be sent')
    end(chat)
    await until(() => chat.app.wsAuth.connections.size === 0, `${what}: it has ended`)
    t.same(chat.app.wsAuth.stats().closed, { [counted]: 1 }, what)
    await until(() => raw.destroyed, `${what}: the socket is gone`, 6000).catch((error: Error) => t.fail(error.message))
    t.same(chat.app.wsAuth.stats().closed, { [counted]: 1 })
  }))
})

t.test('each connection ends for exactly one reason', async (t) => {
  const expired = { exp: (Date.now() + HOUR / 2) / 1000 }
  const CASES: Record<string, { act: (chat: Chat, client: RawClient, t: Test) => unknown, reason: string, plugin?: fastifyWsAuth.WsAuthOptions, claims?: Record<string, unknown> }> = {
    'socket.close()': { act: ({ sockets }) => sockets[0]?.close(), reason: 'app' },
    'connection.close()': { act: ({ connections }) => connections[0]?.close(), reason: 'app' },
    'socket.terminate()': { act: ({ sockets }) => sockets[0]?.terminate(), reason: 'app' },
    'close() twice': { act: ({ sockets }) => { sockets[0]?.close(4000); sockets[0]?.close(4001) }, reason: 'app' },
    'close() of both': { act: ({ sockets, connections }) => { connections[0]?.close(); sockets[0]?.close(); connections[0]?.close() }, reason: 'app' },
    'close() and terminate()': { act: ({ sockets }) => { sockets[0]?.close(); sockets[0]?.terminate(); sockets[0]?.terminate() }, reason: 'app' },
    'terminate() and close()': { act: ({ sockets }) => { sockets[0]?.terminate(); sockets[0]?.close() }, reason: 'app' },
    'terminate() in a listener': {
      act: ({ sockets }, client) => { sockets[0]?.on('message', () => sockets[0]?.terminate()); client.send(clientFrame(TEXT, 'x')) }, reason: 'app'
    },
    'terminate() in a listener, with a close frame behind': {
      act: ({ sockets }, client) => {
        sockets[0]?.on('message', () => sockets[0]?.terminate())
        client.send(Buffer.concat([clientFrame(TEXT, 'x'), clientFrame(CLOSE, '')]))
      },
      reason: 'app'
    },
    'close() in a listener, with what is no frame behind': {
      act: ({ sockets }, client) => {
        sockets[0]?.on('message', () => sockets[0]?.close())
        client.send(Buffer.concat([clientFrame(TEXT, 'x'), Buffer.from([0xFF, 0x80, 0, 0, 0, 0])]))
      },
      reason: 'app'
    },
    'close() in a close listener': {
      act: ({ sockets, connections }, client) => {
        sockets[0]?.on('close', () => { sockets[0]?.close(); connections[0]?.close() })
        client.send(clientFrame(CLOSE, ''))
      },
      reason: 'client'
    },
    'a close frame': { act: (_chat, client) => client.send(clientFrame(CLOSE, Buffer.from([0x03, 0xE8]))), reason: 'client' },
    'a close frame without a code': { act: (_chat, client) => client.send(clientFrame(CLOSE, '')), reason: 'client' },
    'a close frame, and a message behind it': {
      act: (_chat, client) => client.send(Buffer.concat([clientFrame(CLOSE, ''), clientFrame(TEXT, 'late')])), reason: 'client'
    },
    'a close frame when the app has closed': {
      act: ({ sockets }, client) => { sockets[0]?.close(); client.send(clientFrame(CLOSE, '')) }, reason: 'app'
    },
    'close() when a close frame is on its way': {
      act: ({ sockets }, client) => { client.send(clientFrame(CLOSE, '')); sockets[0]?.close() }, reason: 'app'
    },
    'close() between a message and what ws is about to find behind it': {
      act: ({ sockets }, client) => {
        sockets[0]?.once('message', () => { process.nextTick(() => sockets[0]?.close(4000, 'enough')) })
        client.send(Buffer.concat([clientFrame(TEXT, 'in time'), clientFrame(3, '')]))
      },
      reason: 'app'
    },
    'an end without a close frame': { act: (_chat, client) => client.socket.end(), reason: 'lost' },
    'a reset': { act: (_chat, client) => client.socket.resetAndDestroy(), reason: 'lost' },
    'half a frame and a reset': { act: (_chat, client) => { client.socket.write(Buffer.from([0x81]), () => client.socket.resetAndDestroy()) }, reason: 'lost' },
    'a frame without a mask': { act: (_chat, client) => client.send(Buffer.from([0x81, 1, 120])), reason: 'error' },
    'a frame with an unknown opcode': { act: (_chat, client) => client.send(clientFrame(3, '')), reason: 'error' },
    'a close frame with a bad code': { act: (_chat, client) => client.send(clientFrame(CLOSE, Buffer.from([0, 1]))), reason: 'error' },
    'text that is no UTF-8': { act: (_chat, client) => client.send(clientFrame(TEXT, Buffer.from([0xFF]))), reason: 'error' },
    'a message that is too long': {
      plugin: { websocket: { options: { maxPayload: 10 } } }, act: (_chat, client) => client.send(clientFrame(TEXT, 'more than ten')), reason: 'error'
    },
    'a message that is too long, of fragments': {
      plugin: { websocket: { options: { maxPayload: 10 } } },
      act: (_chat, client) => {
        const [first, second] = [clientFrame(TEXT, 'nearly'), clientFrame(0, 'nearly')] as const
        first[0] = TEXT
        client.send(Buffer.concat([first, second]))
      },
      reason: 'error'
    },
    'a message when the token has expired': {
      claims: expired, act: (_chat, client, t) => { setClock(t, HOUR); client.send(clientFrame(TEXT, 'late')) }, reason: 'token_expired'
    },
    'a ping when the token has expired': {
      claims: expired, act: (_chat, client, t) => { setClock(t, HOUR); client.send(clientFrame(PING, '')) }, reason: 'token_expired'
    },
    'a message when it has lived too long': {
      plugin: { maxLifetime: HOUR / 2 }, act: (_chat, client, t) => { setClock(t, HOUR); client.send(clientFrame(TEXT, 'late')) }, reason: 'lifetime_exceeded'
    },
    'close() when the token has expired': { claims: expired, act: ({ sockets }, _client, t) => { setClock(t, HOUR); sockets[0]?.close() }, reason: 'app' },
    'close() after a message when the token has expired': {
      claims: expired,
      act: ({ sockets }, client, t) => { setClock(t, HOUR); sockets[0]?.emit('message', Buffer.from('late'), false); sockets[0]?.close(); client.send(clientFrame(CLOSE, '')) },
      reason: 'token_expired'
    },
    'a listener that throws': {
      act: ({ sockets }) => { sockets[0]?.emit('error', new Error('of the app')) }, reason: 'app'
    },
    'app.close()': { act: ({ app }, client) => { void app.close(); client.socket.end() }, reason: 'shutdown' }
  }
  for (const [what, { act, reason, plugin = {}, claims = {} }] of Object.entries(CASES)) {
    t.test(`${what}: ${reason}`, async (t) => {
      const chat = await startChat(t, { plugin })
      const client = await chat.connect(claims)
      const heard: string[] = []
      chat.sockets[0]?.on('message', (data) => heard.push(String(data)))
      const isGone = new Promise((resolve) => chat.sockets[0]?.once('close', resolve))
      act(chat, client, t)
      await until(() => chat.app.wsAuth.connections.size === 0, 'it has ended')
      client.send(clientFrame(CLOSE, ''))
      client.socket.end()
      await isGone
      await turn(5)
      t.same(chat.ends, [reason])
      t.match(chat.app.wsAuth.stats(), { connections: 0, accepted: 1 })
      t.strictSame(chat.app.wsAuth.stats().closed, { [reason]: 1 })
      t.notOk(heard.includes('late'))
    })
  }

  t.test('by what may not be sent: none', async (t) => {
    const { app, sockets, connections, connect, heard, ends } = await startChat(t)
    const client = await connect()
    for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, NaN, '1000' as never]) {
      t.throws(() => sockets[0]?.close(code), TypeError)
      t.throws(() => connections[0]?.close(code), TypeError)
    }
    t.throws(() => sockets[0]?.close(1000, 'é'.repeat(62)), RangeError)
    t.throws(() => connections[0]?.close(1000, 'é'.repeat(62)), RangeError)
    t.equal(app.wsAuth.connections.size, 1)
    t.same(app.wsAuth.stats().closed, {})
    client.send(clientFrame(TEXT, 'still here'))
    await until(() => heard.length === 1, 'it is heard')
    t.same(ends, [])
    connections[0]?.close(1000, 'é'.repeat(61))
    t.same(await client.close(), { code: 1000, reason: 'é'.repeat(61) })
    t.same(ends, ['app'])
  })

  t.test('and the registry knows at once', async (t) => {
    const { app, sockets, connections, connect } = await startChat(t)
    await connect()
    const [{ id } = { id: '' }] = connections
    t.equal(app.wsAuth.connections.get(id), connections[0])
    sockets[0]?.close()
    t.equal(app.wsAuth.connections.get(id), undefined)
    t.same(app.wsAuth.connections.bySub('somebody'), [])
    t.equal(app.wsAuth.stats().connections, 0)
    t.same(app.wsAuth.stats().closed, { app: 1 })
  })
})

t.test('it is a socket of ws otherwise', async (t) => {
  t.test('also one of a class of the app that emits while it is made', async (t) => {
    class Eager extends WebSocket {
      constructor (address: null, protocols?: undefined, options?: object) {
        super(address as never, protocols, options)
        this.emit('ping', Buffer.alloc(0))
      }
    }
    const { connect, connections } = await startChat(t, { plugin: { websocket: { options: { WebSocket: Eager as never } } } })
    await connect()
    t.equal(connections.length, 1)
  })

  t.test('events of the app reach it, with all that they carry', async (t) => {
    const { sockets, connect, connections } = await startChat(t)
    await connect()
    const [socket] = sockets
    const seen: unknown[][] = []
    const symbol = Symbol('event')
    socket?.on('custom', (...args) => seen.push(args))
    socket?.on(symbol, (...args) => seen.push(args))
    t.equal(socket?.emit('custom', 1, 'two', null, undefined, { five: 5 }, [6], 7n, 8), true)
    t.equal(socket?.emit(symbol, 1), true)
    t.equal(socket?.emit('custom'), true)
    t.equal(socket?.emit('nobody listens'), false)
    connections[0]?.close()
    t.equal(socket?.emit('custom', 'after'), true, 'also when it has ended')
    t.strictSame(seen, [[1, 'two', null, undefined, { five: 5 }, [6], 7n, 8], [1], [], ['after']])
  })

  t.test('messages, pings and pongs reach the app as they are', async (t) => {
    const { sockets, connect } = await startChat(t)
    const client = await connect()
    const seen: unknown[][] = []
    for (const event of ['message', 'ping', 'pong'] as const) sockets[0]?.on(event, (...args: unknown[]) => seen.push([event, ...args]))
    client.send(Buffer.concat([
      clientFrame(TEXT, 'text'), clientFrame(2, 'binary'), clientFrame(PING, 'a'), clientFrame(PONG, 'b'), clientFrame(TEXT, ''),
      clientFrame(TEXT, '{"type":"auth","token":"x"}')
    ]))
    await until(() => seen.length === 6, 'all are heard')
    t.strictSame(seen, [
      ['message', Buffer.from('text'), false], ['message', Buffer.from('binary'), true], ['ping', Buffer.from('a')], ['pong', Buffer.from('b')],
      ['message', Buffer.from(''), false], ['message', Buffer.from('{"type":"auth","token":"x"}'), false]
    ])
    t.equal((await client.frame()).opcode, PONG, 'and a ping is answered')
  })

  t.test('it is not compressed unless the app says so, whatever the client offers: that costs 200 KB each', async (t) => {
    const { port, sockets } = await startChat(t)
    const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign()}`, 'sec-websocket-extensions': 'permessage-deflate' } })
    t.notMatch(client.text, /extensions/i)
    t.equal(sockets[0]?.extensions, '')
  })

  t.test('it closes with the code and the reason of either side', async (t) => {
    const { sockets, connect } = await startChat(t)
    const client = await connect()
    const closed = once(sockets[0] as WebSocket, 'close')
    client.send(clientFrame(CLOSE, Buffer.concat([Buffer.from([0x0F, 0xA1]), Buffer.from('enough')])))
    t.same(await client.close(), { code: 4001, reason: 'enough' })
    client.socket.end()
    t.same((await closed).map(String), ['4001', 'enough'])
    t.equal(sockets[0]?.readyState, WebSocket.CLOSED)
    const other = await connect()
    sockets[1]?.close()
    const { opcode, payload } = await other.frame()
    t.same([opcode, payload.length], [CLOSE, 0], 'without a code where none is given')
    t.ok(sockets[1] instanceof WebSocket)
  })

  t.test('that of a public route is left alone', async (t) => {
    const { app, sockets, heard, connect, ends } = await startChat(t)
    const client = await connect({}, '/public')
    setClock(t, 100 * 365 * 24 * HOUR)
    client.send(clientFrame(TEXT, 'years later'))
    await until(() => heard.length === 1, 'it is heard')
    sockets[0]?.close(4000)
    client.send(clientFrame(TEXT, 'after the close frame'))
    await until(() => heard.length === 2, 'it is heard')
    t.same(heard, ['message years later', 'message after the close frame'])
    t.same(app.wsAuth.stats().closed, {})
    t.same(ends, [])
  })
})
