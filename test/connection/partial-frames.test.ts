/*
 * A frame whose payload comes in parts is counted as it comes: what a client only announces takes no room from the other connections of
 * its user. And what waits, waits no longer if the clock is set meanwhile.
 */
import t from 'tap'
import type { Test } from 'tap'
import { sign } from '../helpers/app'
import { anyFrame, compressedFrame, startMetered } from '../helpers/metered-chat'
import type { MeteredChat } from '../helpers/metered-chat'
import { setClock } from '../helpers/moved-clock'
import { clientFrame } from '../helpers/raw-client'

const TEXT = 1
const BINARY = 2
const CLOSE = 8
const HOUR = 3_600_000
const FAREWELL = clientFrame(CLOSE, Buffer.from([0x03, 0xE8]))
const PAUSE = { bytes: { perSecond: 1000, burst: 1000, perUser: true, onLimit: 'pause' } } as const

/** The header of a binary frame that announces so many bytes. */
function announce (length: number): Buffer {
  const head = Buffer.alloc(14)
  head.writeUInt16BE(0x82FF)
  head.writeBigUInt64BE(BigInt(length), 2)
  return head
}

t.test('a frame of 90 MB that is only announced takes the room of its header', async (t) => {
  for (const onLimit of ['pause', 'close'] as const) {
    t.test(`a frame that is only announced takes the room of its header, with onLimit: ${onLimit}`, async (t) => {
      const burst = 100_000_000
      const { connect, ends, heard, settle } = await startMetered(t, { bytes: { perSecond: 1, burst: onLimit === 'close' ? burst : 1000, perUser: true, onLimit } })
      const [phone, laptop] = [await connect(), await connect()]
      phone.send(announce(90_000_000))
      await settle()
      const length = onLimit === 'close' ? 60_000 : 900
      for (let i = 0; i < 3; i++) laptop.send(clientFrame(TEXT, 'x'.repeat(length / 3)))
      await settle()
      t.equal(heard.length, 3)
      t.strictSame(ends, [])
      phone.socket.destroy()
      await settle()
      laptop.send(clientFrame(TEXT, ''))
      await settle()
      t.equal(heard.length, 4)
    })
  }
})

t.test('each part of a frame takes room when it comes, and the message waits for all of them', async (t) => {
  const { clock, connect, ends, heard, settle } = await startMetered(t, PAUSE)
  const [phone, laptop] = [await connect(), await connect()]
  const frame = Buffer.concat([announce(2986), Buffer.alloc(2986, 'x')])
  for (const [from, to] of [[0, 3], [3, 12], [12, 500], [500, 1500]] as const) {
    phone.send(frame.subarray(from, to))
    await settle()
  }
  laptop.send(clientFrame(TEXT, 'next'))
  await settle()
  t.strictSame(heard, [])
  await clock.pass(509, 1)
  t.strictSame(heard, [], 'the 1500 bytes that came, and the 10 of the other message')
  await clock.pass(1, 1)
  t.strictSame(heard, ['next'])
  phone.send(frame.subarray(1500))
  await settle()
  await clock.pass(1499, 1)
  t.equal(heard.length, 1)
  await clock.pass(1, 1)
  t.equal(heard[1]?.length, 2986)
  t.strictSame(ends, [])
})

t.test('a message in parts is whole, also if it is compressed, in fragments, or waits behind others', async (t) => {
  const { clock, connect, ends, heard, settle } = await startMetered(t, { bytes: { perSecond: 10_000, burst: 50, onLimit: 'pause' }, messages: { perSecond: 1000 } })
  const client = await connect()
  const text = 'abcdefghij'.repeat(50)
  const frames = [clientFrame(TEXT, text), compressedFrame(text), clientFrame(9, 'p'.repeat(100)), anyFrame(0x01, 'one '), anyFrame(0x00, 'two '.repeat(100)), anyFrame(0x80, 'three'), clientFrame(BINARY, '')]
  for (const byte of Buffer.concat(frames).toString('latin1').match(/[^]{1,37}/g) ?? []) {
    client.send(Buffer.from(byte, 'latin1'))
    await settle()
  }
  // What is inflated in another thread may come late, and then what is behind it waits.
  for (let i = 0; i < 100 && heard.length < 5; i++) await clock.pass(1000, 50)
  t.strictSame(heard.filter((what) => what !== 'ping'), [text, text, `one ${'two '.repeat(100)}three`, ''])
  t.ok(heard.includes('ping'), 'a ping has no place among messages')
  t.strictSame(ends, [])
  client.send(FAREWELL.subarray(0, 3))
  await settle()
  client.send(FAREWELL.subarray(3))
  await clock.pass(1000, 50)
  t.equal((await client.frame()).opcode, 10)
  t.strictSame(await client.close(), { code: 1000, reason: '' })
})

t.test('a part for which other connections have left no room closes the connection in the middle of its frame', async (t) => {
  const { app, connect, ends, heard, settle, until } = await startMetered(t, { bytes: { perSecond: 1, burst: 100_000, perUser: true } })
  const [phone, laptop] = [await connect(), await connect()]
  phone.send(announce(90_000))
  await settle()
  laptop.send(clientFrame(BINARY, Buffer.alloc(60_000)))
  await settle()
  t.strictSame([heard.length, ends.length], [1, 0])
  phone.send(Buffer.alloc(50_000))
  t.strictSame(await phone.close(), { code: 4429, reason: 'message_limit' })
  phone.send(Buffer.alloc(40_000))
  phone.socket.end()
  await until(() => app.websocketServer.clients.size === 1, 'the server forgets it')
  t.strictSame(ends, ['message_limit'])
  t.equal(heard.length, 1)
})

t.test('a connection that ends while a frame comes takes no more room', async (t) => {
  const { clock, connect, connections, ends, heard, settle } = await startMetered(t, PAUSE)
  const [phone, laptop] = [await connect(), await connect()]
  phone.send(Buffer.concat([announce(500_000), Buffer.alloc(486)]))
  await settle()
  connections[0]?.close(4000)
  t.equal((await phone.close()).code, 4000)
  phone.send(Buffer.alloc(100_000))
  await settle()
  laptop.send(clientFrame(TEXT, 'x'.repeat(490)))
  await settle()
  t.equal(heard.length, 1)
  await clock.pass(10)
  t.strictSame(ends, ['app'])
})

t.test('a clock that is set back does not make a client wait for longer', async (t) => {
  const { clock, connect, ends, heard, settle } = await startMetered(t, { messages: { perSecond: 1, burst: 1, onLimit: 'pause' } })
  const client = await connect()
  client.send(Buffer.concat(Array.from({ length: 5 }, (_, i) => clientFrame(TEXT, String(i)))))
  await settle()
  t.strictSame(heard, ['0'])
  clock.set(-HOUR)
  await clock.pass(2000)
  t.ok(heard.length >= 2, 'it waits for a second more at most, for which the clock was not read')
  clock.set(-24 * HOUR)
  await clock.pass(4000)
  t.strictSame(heard, ['0', '1', '2', '3', '4'])
  clock.set(48 * HOUR)
  client.send(clientFrame(TEXT, '5'))
  await settle()
  t.equal(heard.length, 6)
  t.strictSame(ends, [])
})

t.test('a message is compared with a clock that was read for it, whatever ran since its frame', async (t) => {
  const near = Math.floor(Date.now() / 1000) + 30
  const limits = { messages: { perSecond: 1000 } }
  const open = async (t: Test, more: object = {}): Promise<MeteredChat> => await startMetered(t, limits, more)
  t.test('a handler that blocks the loop gets no message behind it', async (t) => {
    const { connect, ends, heard, sockets } = await open(t)
    const client = await connect({ exp: near })
    sockets[0]?.once('message', () => setClock(t, 60_000))
    client.send(Buffer.concat(Array.from({ length: 3 }, (_, i) => clientFrame(TEXT, String(i)))))
    t.equal((await client.close()).code, 3000)
    t.strictSame([heard, ends], [['0'], ['token_expired']])
  })
  t.test('a message that the app emits itself, after frames of all kinds, is late', async (t) => {
    for (const frame of [clientFrame(9, ''), anyFrame(0x01, 'x'), compressedFrame('x'), clientFrame(TEXT, 'x'), clientFrame(TEXT, 'x').subarray(0, 6)]) {
      const { connect, ends, heard, sockets, settle } = await open(t)
      const client = await connect({ exp: near })
      client.send(frame)
      await settle()
      const before = heard.length
      setClock(t, 60_000)
      sockets[0]?.emit('message', Buffer.from('late'), false)
      t.equal(heard.length, before)
      t.strictSame(ends, ['token_expired'])
      setClock(t, -60_000)
    }
  })
  t.test('a message that was kept behind a first message is late', async (t) => {
    const { connect, ends, heard, sockets, settle } = await open(t, { token: { message: true }, websocket: {} })
    const client = await connect({ sub: null })
    client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', exp: near }) })))
    await settle()
    sockets[0]?.pause()
    client.send(Buffer.concat([clientFrame(TEXT, '0'), clientFrame(TEXT, '1')]))
    await settle()
    setClock(t, 60_000)
    sockets[0]?.resume()
    t.equal((await client.close()).code, 3000)
    t.strictSame([heard, ends], [[], ['token_expired']])
    setClock(t, -60_000)
  })
})

t.test('a loop that sends reads the clock now and then, and sends nothing to a connection that is near its deadline', async (t) => {
  const now = Math.floor(Date.now() / 1000)
  const { connect, connections, ends } = await startMetered(t, {})
  const clients = [await connect({ exp: now + 50 }), await connect({ exp: now + 1000 })]
  const { now: read } = Date
  let reads = 0
  Date.now = () => { reads++; return read() }
  for (let i = 0; i < 1000; i++) connections[1]?.send('x')
  t.ok(reads < 100, `${reads} reads`)
  Date.now = read
  setClock(t, 55_000)
  t.equal(connections[0]?.send('late'), false)
  t.equal(connections[1]?.send('in time'), true)
  t.equal((await clients[0]?.close())?.code, 3000)
  t.strictSame(ends, ['token_expired'])
  setClock(t, 1_000_000)
  t.equal(connections[1]?.send('late'), false, 'in another turn the clock is read')
  t.strictSame(ends, ['token_expired', 'token_expired'])
})

t.test('a command ends a connection at once whose client waits, or is in the middle of a frame', async (t) => {
  const flood = Buffer.concat(Array.from({ length: 300 }, (_, i) => [clientFrame(TEXT, 'x'.repeat(500)), clientFrame(9, ''), compressedFrame('y'.repeat(2000)), anyFrame(0x01, ''), anyFrame(0x80, String(i))]).flat())
  const sent: Record<string, Buffer> = { 'a flood that waits': flood, 'a part of a frame': Buffer.concat([flood.subarray(0, 508), announce(100_000), Buffer.alloc(10_000)]) }
  for (const [what, bytes] of Object.entries(sent)) {
    for (const [command, end] of [['revoke', 'token_revoked'], ['disconnect', 'disconnected'], ['drain', 'drain']] as const) {
      t.test(`${command} ends a connection with ${what}`, async (t) => {
        const { app, clock, connect, ends, heard, settle, until } = await startMetered(t, { bytes: { perSecond: 100, perUser: true, onLimit: 'pause' } }, { renewal: true })
        const client = await connect()
        client.send(bytes)
        await settle()
        const before = heard.length
        const done = command === 'drain' ? app.wsAuth.drain({ within: 0 }) : app.wsAuth[command]({ sub: 'ann' })
        await until(() => ends.length > 0, 'the end')
        t.strictSame(ends, [end])
        client.socket.end()
        await until(() => app.websocketServer.clients.size === 0, 'the server forgets it')
        await clock.pass(5000, 500)
        await done
        t.equal(heard.length, before, 'nothing reaches the app after it')
      })
    }
  }
})
