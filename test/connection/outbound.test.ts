/*
 * Nothing is sent to a client past the deadline of its connection, by whatever way the app sends, even if no timer has run since.
 */
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { createWebSocketStream, WebSocket } from 'ws'
import { sign, start } from '../helpers/app'
import type { AppSettings } from '../helpers/app'
import { startChat } from '../helpers/listening-chat'
import type { Chat } from '../helpers/listening-chat'
import { setClock, turn } from '../helpers/moved-clock'
import { clientFrame, upgrade } from '../helpers/raw-client'
import type { RawClient } from '../helpers/raw-client'

const EXPIRED = { code: 3000, reason: 'token_expired' }
const LATE = 'a secret of the time after'

/** What the callback of `send` got. */
type Answer = Error | null

/** The ways in which an app sends; each resolves to the error that it was told of. */
const WAYS: Record<string, (chat: Chat, socket: WebSocket) => Promise<Answer> | Answer> = {
  'socket.send': (_chat, socket) => sent((done) => socket.send(LATE, done)),
  'socket.send with options': (_chat, socket) => sent((done) => socket.send(Buffer.from(LATE), { binary: true }, done)),
  'socket.ping': (_chat, socket) => sent((done) => socket.ping(LATE, false, done)),
  'socket.ping with a callback in the second place': (_chat, socket) => sent((done) => socket.ping(LATE, done as unknown as boolean)),
  'socket.pong': (_chat, socket) => sent((done) => socket.pong(LATE, false, done)),
  'the send of the connection': ({ connections: [connection] }) => connection?.send(LATE) === false ? new Error('false') : null,
  'the socket of the connection': ({ connections: [connection] }) => sent((done) => connection?.socket?.send(LATE, done)),
  createWebSocketStream: async (_chat, socket) => {
    const stream = createWebSocketStream(socket)
    const failed = once(stream, 'error')
    stream.write(LATE)
    return (await failed)[0] as Error
  },
  'a broadcast to all clients of the server': ({ app }) => sent((done) => { for (const client of app.websocketServer.clients) client.send(LATE, done) }),
  'a broadcast to all connections': ({ app }) => [...app.wsAuth.connections].some((connection) => connection.send(LATE)) ? null : new Error('false')
}

async function sent (send: (done: (error?: Error) => void) => void): Promise<Answer> {
  return await new Promise((resolve) => send((error) => resolve(error ?? null)))
}

/** A chat with one client, which is past its deadline if `late` says so. No timer has run since. */
async function startLate (t: Test, late: boolean, settings: AppSettings = {}): Promise<{ chat: Chat, socket: WebSocket, client: RawClient }> {
  const chat = await startChat(t, settings)
  const client = await chat.connect({ exp: Math.floor(Date.now() / 1000) + 1000 })
  await turn(3)
  if (late) setClock(t, 1000 * 1000 + 1)
  return { chat, socket: chat.sockets[0] as WebSocket, client }
}

for (const [way, send] of Object.entries(WAYS)) {
  t.test(`past the deadline nothing is sent by ${way}`, async (t) => {
    const { chat, socket, client } = await startLate(t, true)
    t.type(await send(chat, socket), Error)
    t.strictSame(await client.close(), EXPIRED)
    t.notMatch(client.text, LATE)
    t.strictSame(chat.ends, ['token_expired'])
    t.equal(chat.app.wsAuth.connections.size, 0)
  })
}

for (const way of Object.keys(WAYS).filter((way) => way !== 'createWebSocketStream')) {
  t.test(`before the deadline a message is sent by ${way}`, async (t) => {
    const { chat, socket, client } = await startLate(t, false)
    t.equal(await WAYS[way]?.(chat, socket), null)
    t.match((await client.frame()).payload.toString(), LATE)
    t.strictSame(chat.ends, [])
  })
}

t.test('a send past the deadline without a callback throws nothing', async (t) => {
  const { socket, client } = await startLate(t, true)
  t.doesNotThrow(() => { socket.send(LATE); socket.ping(LATE); socket.pong(LATE) })
  t.strictSame(await client.close(), EXPIRED)
  t.doesNotThrow(() => socket.send(LATE))
  t.notMatch(client.text, LATE)
})

t.test('a late timer that broadcasts after a blocked loop sends nothing', async (t) => {
  const chat = await startChat(t)
  const exp = Date.now() / 1000 + 2.5
  const clients = [await chat.connect({ exp }), await chat.connect({ exp }), await chat.connect({})]
  await turn(3)
  // Due before the sweep is, and late because of the block: it runs first.
  setTimeout(() => { for (const socket of chat.sockets) socket.send(LATE) }, 1)
  while (Date.now() <= exp * 1000) { /* busy */ }
  for (const client of clients.slice(0, 2)) {
    t.strictSame(await client.close(), EXPIRED)
    t.notMatch(client.text, LATE)
  }
  t.equal((await clients[2]?.frame())?.payload.toString(), LATE, 'the client whose token lasts has it')
})

t.test('a message of the client past the deadline is not answered by a pong', async (t) => {
  const { client } = await startLate(t, true)
  client.send(clientFrame(9, 'ping'))
  t.strictSame(await client.close(), EXPIRED)
})

t.test('nothing is sent if the close of a class of the app does nothing', async (t) => {
  class Stubborn extends WebSocket {
    override close (): void {}
  }
  const { socket, chat, client } = await startLate(t, true, { plugin: { websocket: { options: { WebSocket: Stubborn } } } })
  for (const send of [(done: (error?: Error) => void) => socket.send(LATE, done), (done: (error?: Error) => void) => socket.ping(LATE, done as unknown as boolean), (done: (error?: Error) => void) => socket.pong(LATE, true, done)]) {
    t.match(await sent(send), { message: /ended/ })
  }
  t.equal(socket.readyState, WebSocket.OPEN)
  t.equal(chat.connections[0]?.send(LATE), false)
  t.doesNotThrow(() => socket.send(LATE))
  await turn(3)
  t.notMatch(client.text, LATE)
  client.socket.destroy()
})

t.test('an accepted renewal is answered on a connection whose old deadline has passed meanwhile', async (t) => {
  const { app, port } = await start(t, { plugin: { renewal: true }, routes: (app) => { app.get('/', { websocket: true }, () => {}) } })
  const now = Math.floor(Date.now() / 1000)
  const client = await upgrade(t, port, { headers: { authorization: `Bearer ${sign({ sub: 'ann', exp: now + 60 })}` } })
  t.match((await client.frame()).payload.toString(), 'auth.ok')
  client.send(clientFrame(1, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', exp: now + 5000 }) })))
  t.match((await client.frame()).payload.toString(), 'auth.ok')
  setClock(t, 100_000)
  const [connection] = app.wsAuth.connections
  t.equal(connection?.send('still here'), true)
  t.equal((await client.frame()).payload.toString(), 'still here')
})

t.test('the send of a connection behind a first message is guarded too, also while its messages wait for the handler', async (t) => {
  let paused: WebSocket | undefined
  const { app, port } = await start(t, {
    plugin: { token: { message: true } },
    routes: (app) => { app.get('/', { websocket: true }, (socket) => { socket.pause(); paused = socket }) }
  })
  const client = await upgrade(t, port)
  client.send(Buffer.concat([clientFrame(1, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', exp: Math.floor(Date.now() / 1000) + 60 }) })), clientFrame(1, 'kept')]))
  t.match((await client.frame()).payload.toString(), 'auth.ok')
  const [connection] = app.wsAuth.connections
  t.equal(connection?.send('in time'), true)
  t.equal((await client.frame()).payload.toString(), 'in time')
  setClock(t, 61_000)
  t.type(await sent((done) => paused?.send(LATE, done)), Error)
  t.strictSame(await client.close(), EXPIRED)
  t.notMatch(client.text, LATE)
})

t.test('a connection has its socket until that has closed, and its send says whether it was sent', async (t) => {
  const { chat: { connections: [connection], sockets: [socket] }, client } = await startLate(t, false)
  t.equal(connection?.socket, socket)
  t.equal(connection?.send('hello'), true)
  t.equal((await client.frame()).payload.toString(), 'hello')
  t.equal(connection?.send(Buffer.from([1, 2])), true)
  t.strictSame(await client.frame(), { opcode: 2, payload: Buffer.from([1, 2]) })
  t.throws(() => connection?.send({} as unknown as string), TypeError)
  connection?.close(4000, 'enough')
  t.equal(connection?.socket, socket, 'while it closes')
  t.equal(connection?.send('late'), false)
  t.strictSame(await client.close(), { code: 4000, reason: 'enough' })
  client.send(clientFrame(8, Buffer.from([0x03, 0xE8])))
  await client.ended
  client.socket.end()
  await client.closed
  await turn(5)
  t.equal(connection?.socket, null, 'after it has closed')
  t.equal(connection?.send('later'), false)
  t.notMatch(client.text, /late/)
})

t.test('the send of a connection says false once the client has left its half', async (t) => {
  const { chat: { connections: [connection] }, client } = await startLate(t, false)
  client.socket.end()
  await client.ended
  t.equal(connection?.send('hello'), false)
})
