/*
 * A client past a limit with `onLimit: 'pause'` waits: nothing of it is lost, nothing is read beyond a window, and a renewal among what
 * waits is still in time.
 */
import t from 'tap'
import { createWebSocketStream } from 'ws'
import { sign } from '../helpers/app'
import { anyFrame, startMetered } from '../helpers/metered-chat'
import { turn } from '../helpers/moved-clock'
import { clientFrame } from '../helpers/raw-client'

const TEXT = 1
const CLOSE = 8
const PLAIN = { websocket: {} }
const PAUSE = { messages: { perSecond: 10, burst: 3, onLimit: 'pause' } } as const
const FAREWELL = clientFrame(CLOSE, Buffer.from([0x03, 0xE8]))

function texts (from: number, to: number): Buffer {
  return Buffer.concat(Array.from({ length: to - from }, (_, i) => clientFrame(TEXT, String(from + i))))
}

function numbers (count: number): string[] {
  return Array.from({ length: count }, (_, i) => String(i))
}

t.test('messages past the limit reach the app in order, each when there is room for it', async (t) => {
  const { clock, connect, ends, heard, settle } = await startMetered(t, PAUSE)
  const client = await connect()
  client.send(texts(0, 10))
  await settle()
  t.strictSame(heard, numbers(3), 'the burst at once')
  for (let count = 4; count <= 10; count++) {
    await clock.pass(99, 1)
    t.equal(heard.length, count - 1, `not before its time: ${count}`)
    await clock.pass(1, 1)
    t.equal(heard.length, count)
  }
  t.strictSame(heard, numbers(10))
  client.send(texts(10, 11))
  await settle()
  t.equal(heard.length, 10, 'it comes too soon')
  await clock.pass(100)
  t.equal(heard.length, 11)
  t.strictSame(ends, [])
})

t.test('a limit on bytes lets a message through that is longer than its burst, and makes the next one wait', async (t) => {
  const { clock, connect, heard, settle, ends } = await startMetered(t, { bytes: { perSecond: 1000, burst: 100, onLimit: 'pause' } })
  const client = await connect()
  client.send(Buffer.concat([clientFrame(TEXT, 'x'.repeat(492)), clientFrame(TEXT, 'next')]))
  await settle()
  t.equal(heard.length, 0)
  await clock.pass(400)
  t.equal(heard.length, 1)
  await clock.pass(10)
  t.equal(heard.length, 2)
  t.strictSame(ends, [])
})

t.test('a renewal behind messages that wait is made at once', async (t) => {
  const { clock, app, connect, ends, heard, settle } = await startMetered(t, { messages: { perSecond: 1, onLimit: 'pause' } }, { ...PLAIN, renewal: true })
  const now = Math.floor(Date.now() / 1000)
  const client = await connect({ exp: now + 10 })
  const renewal = JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', exp: now + 1000 }) })
  client.send(Buffer.concat([texts(0, 30), clientFrame(TEXT, renewal), clientFrame(TEXT, 'last')]))
  await settle()
  const [connection] = app.wsAuth.connections
  t.equal(connection?.expiresAt, (now + 1000) * 1000)
  t.match((await client.frame()).payload.toString(), 'auth.ok')
  t.match((await client.frame()).payload.toString(), 'auth.ok')
  await clock.pass(12_000, 250)
  t.strictSame(ends, [], 'it lives past the first token')
  t.equal(heard.length, 13)
  await clock.pass(20_000, 250)
  t.equal(heard.at(-1), 'last')
  t.equal(heard.length, 31)
})

t.test('no more than a window is read of a client that has to wait', async (t) => {
  const { clock, connect, heard, sockets, settle, ends, until } = await startMetered(t, { messages: { perSecond: 1, burst: 1, onLimit: 'pause' } })
  const client = await connect()
  const message = 'x'.repeat(1000)
  const sent = Buffer.concat(Array.from({ length: 8000 }, () => clientFrame(TEXT, message)))
  client.send(sent)
  const { _socket: stream, _receiver: receiver } = sockets[0] as unknown as { _socket: { bytesRead: number }, _receiver: { _bufferedBytes: number } }
  await until(() => stream.bytesRead > 60_000, 'the server reads')
  let read = -1
  while (read !== stream.bytesRead) {
    read = stream.bytesRead
    await settle()
    await turn(100)
  }
  t.equal(heard.length, 1)
  t.ok(read < 1_000_000, `${read} bytes were read of ${sent.length}`)
  t.ok(receiver._bufferedBytes < 300_000)
  t.ok(client.socket.writableLength > 0, 'the client has to wait')
  for (let i = 0; i < 40; i++) await clock.pass(1000, 500)
  t.equal(heard.length, 41)
  t.strictSame(ends, [])
  client.socket.destroy()
})

for (const [kind, flood] of Object.entries({ pings: clientFrame(9, ''), 'empty fragments': anyFrame(0x00, ''), 'auth frames': clientFrame(TEXT, '{"type":"auth.ping"}') })) {
  t.test(`no more than a window is read of a flood of ${kind}`, async (t) => {
    const { connect, sockets, settle, until } = await startMetered(t, { messages: { perSecond: 1, burst: 1, onLimit: 'pause' } }, { ...PLAIN, renewal: true })
    const client = await connect()
    const count = Math.ceil(4_000_000 / flood.length)
    client.send(Buffer.concat([anyFrame(kind === 'empty fragments' ? 0x01 : 0x81, 'x'), Buffer.concat(Array.from({ length: count }, () => flood))]))
    const { _socket: stream } = sockets[0] as unknown as { _socket: { bytesRead: number } }
    await until(() => stream.bytesRead > 60_000, 'the flood has come')
    let read = -1
    while (read !== stream.bytesRead) {
      read = stream.bytesRead
      await settle()
      await turn(100)
    }
    t.ok(read < 1_000_000, `${read} bytes were read`)
    client.socket.destroy()
  })
}

t.test('a client that has to wait, and closes, has its messages delivered before', async (t) => {
  const { clock, connect, ends, heard, settle } = await startMetered(t, PAUSE)
  const client = await connect()
  client.send(Buffer.concat([texts(0, 6), FAREWELL]))
  await settle()
  t.strictSame(ends, [])
  await clock.pass(250)
  t.equal(heard.length, 5)
  t.strictSame(ends, [])
  await clock.pass(100)
  t.strictSame(heard, numbers(6))
  t.strictSame(await client.close(), { code: 1000, reason: '' })
  t.strictSame(ends, ['client'])
})

t.test('a connection ends at its time, and is closed in the usual way, while its client waits', async (t) => {
  for (const [what, end, reason] of [['expiry', 3000, 'token_expired'], ['the app', 4000, 'app']] as const) {
    t.test(`a connection ends by ${what} while its client waits`, async (t) => {
      const { app, clock, connect, connections, ends, heard, settle, until } = await startMetered(t, { messages: { perSecond: 1, onLimit: 'pause' } })
      const client = await connect({ exp: Math.floor(Date.now() / 1000) + 60 })
      client.send(Buffer.concat([clientFrame(TEXT, 'first'), ...Array.from({ length: 300 }, () => clientFrame(TEXT, 'x'.repeat(1000)))]))
      await settle()
      if (what === 'expiry') await clock.pass(62_000, 500)
      else connections[0]?.close(4000)
      const count = heard.length
      t.equal((await client.close()).code, end)
      client.send(FAREWELL)
      await until(() => client.isEnded, 'the end of the server')
      client.socket.end()
      await until(() => app.websocketServer.clients.size === 0, 'the socket is gone')
      await clock.pass(10_000, 500)
      t.equal(heard.length, count, 'nothing reaches the app after the end')
      t.strictSame(ends, [reason])
    })
  }
})

t.test('a client that leaves while it has to wait holds no place', async (t) => {
  for (const size of [1, 1000]) {
    t.test(`a client that leaves while messages of ${size} bytes wait holds no place`, async (t) => {
      const { app, connect, ends, settle, sockets, until } = await startMetered(t, { messages: { perSecond: 1, onLimit: 'pause' } })
      const client = await connect()
      client.send(Buffer.concat(Array.from({ length: 100 }, () => clientFrame(TEXT, 'x'.repeat(size)))))
      await settle()
      client.socket.resetAndDestroy()
      // The reset is found by the next write, such as a ping of the heartbeat.
      for (let i = 0; i < 3; i++) {
        sockets[0]?.ping()
        await settle()
      }
      await until(() => app.websocketServer.clients.size === 0, 'the socket is gone')
      t.strictSame(ends, ['lost'])
      t.equal(app.wsAuth.connections.size, 0)
    })
  }
})

t.test('a heartbeat does not end a client that has to wait', async (t) => {
  const { clock, connect, ends, settle } = await startMetered(t, { messages: { perSecond: 1, onLimit: 'pause' } }, { heartbeat: 1000 })
  const client = await connect()
  client.send(Buffer.concat(Array.from({ length: 3000 }, () => clientFrame(TEXT, 'x'.repeat(1000)))))
  await settle()
  for (let i = 0; i < 10; i++) {
    await clock.pass(1000, 250)
    await settle()
  }
  t.strictSame(ends, [])
  client.socket.destroy()
})

t.test('an app that has paused its socket gets nothing of what waits until it resumes', async (t) => {
  const { clock, connect, heard, settle, sockets } = await startMetered(t, PAUSE)
  const client = await connect()
  client.send(texts(0, 6))
  await settle()
  sockets[0]?.pause()
  await clock.pass(2000)
  t.equal(heard.length, 3)
  sockets[0]?.resume()
  await clock.pass(200)
  t.strictSame(heard, numbers(6))
})

t.test('a stream over a socket whose client has to wait has all of it', async (t) => {
  const { clock, connect, sockets, settle } = await startMetered(t, PAUSE, PLAIN)
  const client = await connect()
  let text = ''
  createWebSocketStream(sockets[0] as never).on('data', (chunk) => { text += String(chunk) })
  client.send(texts(0, 8))
  await settle()
  await clock.pass(600)
  t.equal(text, '01234567')
})

t.test('a user who has to wait does so with all connections, if the limit is per user', async (t) => {
  const { clock, connect, heard, settle } = await startMetered(t, { messages: { perSecond: 10, burst: 2, perUser: true, onLimit: 'pause' } })
  const [phone, laptop] = [await connect(), await connect()]
  phone.send(texts(0, 3))
  await settle()
  laptop.send(clientFrame(TEXT, 'laptop'))
  await settle()
  t.strictSame(heard, ['0', '1'])
  await clock.pass(100)
  t.strictSame(heard, ['0', '1', '2'])
  await clock.pass(100)
  t.strictSame(heard, ['0', '1', '2', 'laptop'])
})

t.test('messages behind a first message wait too', async (t) => {
  const { clock, connect, heard, settle } = await startMetered(t, PAUSE, { ...PLAIN, token: { message: true } })
  const client = await connect({ sub: null })
  client.send(Buffer.concat([clientFrame(TEXT, JSON.stringify({ type: 'auth', token: sign() })), texts(0, 6)]))
  await settle()
  t.strictSame(heard, numbers(3))
  client.send(texts(6, 7))
  await settle()
  await clock.pass(400)
  t.strictSame(heard, numbers(7))
})

t.test('one limit may close and the other pause', async (t) => {
  const { connect, ends, heard, settle } = await startMetered(t, { messages: { perSecond: 1, burst: 3, onLimit: 'pause' }, bytes: { perSecond: 1000 } })
  const client = await connect()
  client.send(texts(0, 6))
  await settle()
  t.strictSame(ends, [])
  client.send(clientFrame(TEXT, 'x'.repeat(1000)))
  await settle()
  t.strictSame(ends, ['message_limit'])
  t.strictSame(heard, numbers(3))
})
