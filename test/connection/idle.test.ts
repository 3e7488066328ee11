/*
 * A client that sends no message for so long is closed with 1001. Pings, pongs and auth frames are no messages.
 */
import t from 'tap'
import { sign, start, until } from '../helpers/app'
import { anyFrame, startMetered } from '../helpers/metered-chat'
import { turn } from '../helpers/moved-clock'
import { clientFrame, upgrade } from '../helpers/raw-client'

const IDLE = { code: 1001, reason: 'idle' }
const TEXT = 1
const MINUTE = 60_000

t.test('a client that sends nothing is closed within a second of its time, and never early', async (t) => {
  const { clock, connect, ends, settle } = await startMetered(t, { idle: MINUTE })
  const client = await connect()
  await clock.pass(MINUTE - 1, 250)
  await settle()
  t.strictSame(ends, [])
  await clock.pass(1001, 250)
  await settle()
  t.strictSame(ends, ['idle'])
  t.strictSame(await client.close(), IDLE)
})

const LIVE: Record<string, Buffer> = {
  texts: clientFrame(TEXT, 'hello'), 'empty texts': clientFrame(TEXT, ''), 'binary messages': clientFrame(2, 'x'), 'texts that look like auth frames': clientFrame(TEXT, '{"type":"auth2"}')
}
const DEAD: Record<string, Buffer> = {
  pings: clientFrame(9, 'x'), pongs: clientFrame(10, 'x'), 'signs of life': clientFrame(TEXT, '{"type":"auth.ping"}'), renewals: clientFrame(TEXT, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann' }) }))
}

for (const [kinds, expected] of [[LIVE, []], [DEAD, ['idle']]] as const) {
  for (const [kind, frame] of Object.entries(kinds)) {
    t.test(`a client that sends ${kind} is ${expected.length === 0 ? 'not idle' : 'idle all the same'}`, async (t) => {
      const { clock, connect, ends, settle } = await startMetered(t, { idle: MINUTE }, { renewal: true })
      const client = await connect()
      for (let i = 0; i < 4; i++) {
        client.send(frame)
        await settle()
        await clock.pass(25_000, 500)
      }
      await settle()
      t.strictSame(ends, expected)
    })
  }
}

t.test('a client whose message is on its way is not idle, until nothing more of it comes', async (t) => {
  const { clock, connect, ends, settle } = await startMetered(t, { idle: MINUTE })
  const client = await connect()
  const message = clientFrame(TEXT, 'x'.repeat(1000))
  for (let i = 0; i < 6; i++) {
    client.send(message.subarray(i * 100, i * 100 + 100))
    await settle()
    await clock.pass(30_000, 500)
  }
  await settle()
  t.strictSame(ends, [])
  await clock.pass(3 * MINUTE, 500)
  await settle()
  t.strictSame(ends, ['idle'])
})

t.test('fragments keep a connection alive', async (t) => {
  const { clock, connect, ends, settle } = await startMetered(t, { idle: MINUTE })
  const client = await connect()
  client.send(anyFrame(0x01, 'x'))
  for (let i = 0; i < 5; i++) {
    await settle()
    await clock.pass(40_000, 500)
    client.send(anyFrame(0x00, 'x'))
  }
  await settle()
  t.strictSame(ends, [])
})

// By the real clock: the order of timers and sockets is that of Node.js.
t.test('a message that has arrived before the time is read first, though the loop was blocked', async (t) => {
  const heard: string[] = []
  const { app, port } = await start(t, {
    plugin: { limits: { idle: 1500 } },
    routes: (app) => { app.get('/', { websocket: true }, (socket) => { socket.on('message', (data) => { heard.push(String(data)) }) }) }
  })
  const client = await upgrade(t, port, { headers: { authorization: `Bearer ${sign()}` } })
  await turn(3)
  client.send(clientFrame(TEXT, 'in time'))
  for (const end = Date.now() + 2500; Date.now() < end;) { /* busy */ }
  await until(() => heard.length === 1, 'the message')
  t.equal(app.wsAuth.connections.size, 1)
  t.strictSame(await client.close(), IDLE, 'and then it is idle')
})

t.test('an app that has paused its socket, or a limit that makes the client wait, is no silence of the client', async (t) => {
  const { clock, connect, ends, settle, sockets } = await startMetered(t, { idle: MINUTE, messages: { perSecond: 1, burst: 1, onLimit: 'pause' } })
  await connect()
  sockets[0]?.pause()
  const waiting = await connect()
  waiting.send(Buffer.concat(Array.from({ length: 150 }, () => clientFrame(TEXT, 'x'))))
  await settle()
  await clock.pass(2 * MINUTE, 500)
  await settle()
  t.strictSame(ends, [])
})

t.test('a route has a time of its own, or none', async (t) => {
  const { clock, connect, ends, settle } = await startMetered(t, { idle: MINUTE }, { maxLifetime: Infinity }, { '/listen': { limits: { idle: Infinity } }, '/short': { limits: { idle: 1000 } } })
  await connect({}, '/listen')
  await connect({}, '/short')
  await clock.pass(2500, 250)
  await settle()
  t.strictSame(ends, ['idle'])
  await clock.pass(10 * MINUTE, 1000)
  await settle()
  t.strictSame(ends, ['idle'])
})

t.test('a hundred idle clients need no timer of their own', async (t) => {
  const { app, clock, connect } = await startMetered(t, { idle: MINUTE })
  await connect()
  const before = clock.timers.length
  for (let i = 0; i < 100; i++) await connect()
  t.ok(clock.timers.length <= before + 1, `${clock.timers.length} timers`)
  t.equal(app.wsAuth.connections.size, 101)
})
