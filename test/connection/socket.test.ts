/*
 * The socket that a handler gets is one of ws, with one difference: once the connection has ended, for whatever reason, no
 * message of the other side reaches the app.
 */
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { sign, until } from '../helpers/app'
import { startChat, startWays, WAYS } from '../helpers/listening-chat'
import type { Chat } from '../helpers/listening-chat'
import { moveClock, passUntil, setClock, turn } from '../helpers/moved-clock'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const HOUR = 3_600_000
const TEXT = 1
const CLOSE = 8
const PING = 9
const PONG = 10

t.test('messages reach the app in each way of ws until the token expires', async (t) => {
  const { clients, heardBy, app } = await startWays(t, () => ({ exp: (Date.now() + HOUR) / 1000 }))
  for (const client of clients.values()) client.send(clientFrame(TEXT, 'before'))
  await until(() => heardBy.length === clients.size, 'all are heard')
  t.same(heardBy.sort(), Object.keys(WAYS).map((way) => `${way}: before`).sort())
  t.equal(statsOf(app).connections, clients.size)
})

t.test('a message that arrives when the token has expired reaches the app in no way', async (t) => {
  const { clients, heardBy, app } = await startWays(t, () => ({ exp: (Date.now() + HOUR / 2) / 1000 }))
  // In one turn of the event loop: no timer can have run.
  setClock(t, HOUR)
  for (const client of clients.values()) client.send(Buffer.concat([clientFrame(TEXT, 'late'), clientFrame(TEXT, 'later')]))
  for (const client of clients.values()) t.same(await client.close(), { code: 3000, reason: 'token_expired' })
  await turn(10)
  t.same(heardBy, [])
  t.match(statsOf(app), { connections: 0, closed: { token_expired: clients.size } })
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
    t.test(`a connection that ends by ${what} has the reason ${reason}, and no other`, async (t) => {
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
      t.match(statsOf(chat.app), { connections: 0, accepted: 1 })
      t.strictSame(statsOf(chat.app).closed, { [reason]: 1 })
      t.notOk(heard.includes('late'))
    })
  }

  t.test('a code or reason that may not be sent ends no connection', async (t) => {
    const { app, sockets, connections, connect, heard, ends } = await startChat(t)
    const client = await connect()
    for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, NaN, '1000' as never]) {
      t.throws(() => sockets[0]?.close(code), TypeError)
      t.throws(() => connections[0]?.close(code), TypeError)
    }
    t.throws(() => sockets[0]?.close(1000, 'é'.repeat(62)), RangeError)
    t.throws(() => connections[0]?.close(1000, 'é'.repeat(62)), RangeError)
    t.equal(app.wsAuth.connections.size, 1)
    t.same(statsOf(app).closed, {})
    client.send(clientFrame(TEXT, 'still here'))
    await until(() => heard.length === 1, 'it is heard')
    t.same(ends, [])
    connections[0]?.close(1000, 'é'.repeat(61))
    t.same(await client.close(), { code: 1000, reason: 'é'.repeat(61) })
    t.same(ends, ['app'])
  })

  t.test('a connection that the app closes leaves the registry at once', async (t) => {
    const { app, sockets, connections, connect } = await startChat(t)
    await connect()
    const [{ id } = { id: '' }] = connections
    t.equal(app.wsAuth.connections.get(id), connections[0])
    sockets[0]?.close()
    t.equal(app.wsAuth.connections.get(id), undefined)
    t.same(app.wsAuth.connections.bySub('somebody'), [])
    t.equal(statsOf(app).connections, 0)
    t.same(statsOf(app).closed, { app: 1 })
  })
})

t.test('the socket of a handler is a socket of ws in all other respects', async (t) => {
  t.test('a socket of a class of the app may emit while it is made', async (t) => {
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

  t.test('events that the app emits reach its listeners, with all that they carry', async (t) => {
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
    // ws terminates a socket with too many answers under way.
    await until(() => (sockets[0] as unknown as { _pendingAutoPongs: number })._pendingAutoPongs === 0, 'the answer is no longer under way')
  })

  t.test('a connection is not compressed unless the app turns compression on, even if the client offers it', async (t) => {
    const { port, sockets } = await startChat(t)
    const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign()}`, 'sec-websocket-extensions': 'permessage-deflate' } })
    t.notMatch(client.text, /extensions/i)
    t.equal(sockets[0]?.extensions, '')
  })

  t.test('a socket closes with the code and the reason of either side', async (t) => {
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

  t.test('the socket of a public route never expires, and its messages reach the app after a close', async (t) => {
    const { app, sockets, heard, connect, ends } = await startChat(t)
    const client = await connect({}, '/public')
    setClock(t, 100 * 365 * 24 * HOUR)
    client.send(clientFrame(TEXT, 'years later'))
    await until(() => heard.length === 1, 'it is heard')
    sockets[0]?.close(4000)
    client.send(clientFrame(TEXT, 'after the close frame'))
    await until(() => heard.length === 2, 'it is heard')
    t.same(heard, ['message years later', 'message after the close frame'])
    t.same(statsOf(app).closed, {})
    t.same(ends, [])
  })
})

t.test('the socket of a client that sends after the close is gone within 6 s, and no message reaches the app', async (t) => {
  const { app, sockets, heard, connect } = await startChat(t)
  const client = await connect()
  const clock = moveClock(t)
  const isGone = new Promise<void>((resolve) => sockets[0]?.once('close', () => resolve()))
  sockets[0]?.close(4000, 'bye')
  t.same(await client.close(), { code: 4000, reason: 'bye' })
  const timer = setInterval(() => { if (!client.socket.destroyed) client.send(clientFrame(TEXT, 'after')) }, 50)
  t.teardown(() => clearInterval(timer))
  await passUntil(clock, 6000, 'the socket is gone', isGone)
  t.strictSame(heard, [])
  t.equal(app.websocketServer.clients.size, 0)
})
