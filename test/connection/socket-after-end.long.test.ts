/*
 * Once a connection has ended, for whatever reason, no message of the other side reaches the app, and the socket is gone soon, by
 * the real clock.
 */
import type { Socket } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { until } from '../helpers/app'
import { startChat, startWays } from '../helpers/listening-chat'
import type { Chat } from '../helpers/listening-chat'
import { turn } from '../helpers/moved-clock'
import { clientFrame, RawClient } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const TEXT = 1
const CLOSE = 8
const PING = 9
const PONG = 10

/** The server's side of the connection of a socket. */
function rawOf (socket: WebSocket | undefined): Socket {
  return (socket as unknown as { _socket: Socket })._socket
}

// Sockets that have become readable deliver what they have before any timer runs.
t.test('a loop that is blocked across the expiry lets no message through', async (t) => {
  for (const place of ['another socket', 'an immediate', 'a timer', 'a microtask'] as const) {
    t.test(`a loop that is blocked by ${place} across the expiry lets no message through`, async (t) => {
      const exp = Date.now() / 1000 + 6
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
      t.equal(statsOf(app).connections, clients.size)
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
      t.same(statsOf(app).closed, { token_expired: clients.size })
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

t.test('no message reaches the app after the end of a connection, and the socket is gone within 6 s', async (t) => {
  const ENDS: Record<string, { claims?: () => Record<string, unknown>, end: (chat: Chat, t: Test) => void, code: number, reason: string, counted: string }> = {
    'the token expires': {
      claims: () => ({ exp: (Date.now() + 5000) / 1000 }), end: () => {}, code: 3000, reason: 'token_expired', counted: 'token_expired'
    },
    'the app closes the socket': { end: ({ sockets }) => { sockets[0]?.close(4000, 'bye') }, code: 4000, reason: 'bye', counted: 'app' },
    'the app closes the connection': { end: ({ connections }) => { connections[0]?.close(4001, 'bye') }, code: 4001, reason: 'bye', counted: 'app' },
    'the client sent what is no frame': {
      end: () => {}, code: 1002, reason: '', counted: 'error'
    }
  }
  const cases = Object.keys(ENDS).flatMap((what) => [false, true].map((isOwn) => ({ what, isOwn })))
  // At once: each takes 5 s or, if its token expires, 10 s.
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
    t.same(statsOf(chat.app).closed, { [counted]: 1 }, what)
    const heard = chat.heard.length
    if (counted === 'error') goOn(t, client)
    let frame = await client.frame()
    while (frame.opcode !== CLOSE) frame = await client.frame()
    t.equal(frame.payload.readUInt16BE(0), code)
    t.equal(frame.payload.subarray(2).toString(), reason)
    await until(() => raw.destroyed, `${what}: the socket is gone`, 6000)
    t.ok(Date.now() - begun < 60_000, 'it took less than a minute')
    await turn(5)
    t.equal(chat.heard.length, heard, 'nothing more was heard')
    t.notMatch(chat.heard, ['after', 'after'].map((text) => `message ${text}{`), 'no auth frame either')
    t.same(statsOf(chat.app).closed, { [counted]: 1 })
    t.equal(chat.app.websocketServer.clients.size, 0)
    if (socket instanceof OwnWebSocket && counted !== 'error') t.same(socket.closes, [code])
  }))
})

// ws has no deadline for what is left to be sent to a client that has said that it will send nothing more.
t.test('a client that has closed its half and does not read is gone within 6 s', async (t) => {
  const ENDS: Record<string, { claims: () => Record<string, unknown>, end: (chat: Chat) => void, counted: string }> = {
    'the token expires': { claims: () => ({ exp: (Date.now() + 6000) / 1000 }), end: () => {}, counted: 'token_expired' },
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
    t.same(statsOf(chat.app).closed, { [counted]: 1 }, what)
    await until(() => raw.destroyed, `${what}: the socket is gone`, 6000).catch((error: Error) => t.fail(error.message))
    t.same(statsOf(chat.app).closed, { [counted]: 1 })
  }))
})
