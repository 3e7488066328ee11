/*
 * The frames of a client are counted before anything else happens to them, and past a limit its connection is closed.
 */
import t from 'tap'
import type { WebSocket } from 'ws'
import type { OpenConnection } from '../../lib/connection/open-connection'
import { sign } from '../helpers/app'
import { anyFrame, compressedFrame, KINDS, startMetered } from '../helpers/metered-chat'
import { clientFrame } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const LIMITED = { code: 4429, reason: 'message_limit' }
const TEXT = 1
const CLOSE = 8

for (const [kind, frame] of Object.entries(KINDS)) {
  t.test(`${kind} are counted, and the first past the burst closes the connection`, async (t) => {
    const { app, clock, connect, ends, heard, settle, until } = await startMetered(t, { messages: { perSecond: 2, burst: 5 } }, { renewal: true })
    const client = await connect()
    for (let i = 0; i < 5; i++) client.send(frame(i))
    await settle()
    t.strictSame(ends, [], 'the burst')
    clock.advance(499)
    await settle()
    t.strictSame(ends, [])
    clock.advance(1)
    client.send(frame(5))
    await settle()
    t.strictSame(ends, [], 'half a second later there is room for one')
    if (kind === 'compressed texts') await until(() => heard.length === 6, 'all of them are decompressed')
    const before = heard.length
    client.send(Buffer.concat([frame(6), clientFrame(TEXT, 'behind it')]))
    await until(() => ends.length > 0, 'the end')
    t.strictSame(ends, ['message_limit'])
    t.equal(heard.length, before, 'neither it nor what follows reaches the app')
    t.equal(statsOf(app).closed.message_limit, 1)
    t.equal(app.wsAuth.connections.size, 0)
  })
}

t.test('the close frame of a limit has the code of the kind limit', async (t) => {
  const { connect, settle } = await startMetered(t, { messages: { perSecond: 1 } })
  const client = await connect()
  client.send(Buffer.concat([clientFrame(TEXT, 'one'), clientFrame(TEXT, 'two')]))
  await settle()
  t.strictSame(await client.close(), LIMITED)
  client.send(clientFrame(CLOSE, Buffer.from([0x11, 0x4D])))
  await client.ended
  t.pass('the closing handshake is complete')

  const other = await startMetered(t, { messages: { perSecond: 1 } }, { closeCodes: { limit: 4008 } })
  const limited = await other.connect()
  limited.send(Buffer.concat([clientFrame(TEXT, 'one'), clientFrame(TEXT, 'two')]))
  t.strictSame(await limited.close(), { code: 4008, reason: 'message_limit' })
})

t.test('bytes are counted as they are sent, with the header of each frame', async (t) => {
  const long = (length: number): Buffer => {
    const head = Buffer.alloc(14)
    head.writeUInt16BE(0x82FF)
    head.writeBigUInt64BE(BigInt(length), 2)
    return Buffer.concat([head, Buffer.alloc(length)])
  }
  const cases: Record<string, [frames: Buffer, bytes: number]> = {
    'a short text': [clientFrame(TEXT, 'hello'), 11],
    'an empty text': [clientFrame(TEXT, ''), 6],
    'a text with a length of two bytes': [clientFrame(TEXT, 'x'.repeat(200)), 208],
    'a message with a length of eight bytes': [long(70_000), 70_014],
    'a short message with a length of eight bytes': [long(1), 15],
    'a compressed text': [compressedFrame('x'.repeat(10_000)), compressedFrame('x'.repeat(10_000)).length],
    fragments: [Buffer.concat([anyFrame(0x01, 'a'), anyFrame(0x00, 'b'), anyFrame(0x80, 'c')]), 21],
    'a ping': [clientFrame(9, 'hello'), 11]
  }
  for (const [what, [frames, bytes]] of Object.entries(cases)) {
    t.equal(frames.length, bytes, what)
    for (const [burst, end] of [[bytes, []], [bytes - 1, ['message_limit']]] as const) {
      t.test(`${what} with a burst of ${burst} bytes ends ${end.length} connections`, async (t) => {
        const { connect, ends, settle, heard, until } = await startMetered(t, { bytes: { perSecond: 1, burst } })
        const client = await connect()
        client.send(frames)
        await until(() => ends.length > 0 || heard.length > 0, `${what} has come`)
        await settle()
        t.strictSame(ends, end)
      })
    }
  }
})

t.test('a frame that is too long closes the connection before its payload comes', async (t) => {
  const { connect } = await startMetered(t, { bytes: { perSecond: 1000 } })
  const client = await connect()
  client.send(Buffer.from('82ff0000000005f5e10000000000', 'hex'))
  t.strictSame(await client.close(), LIMITED)
  await client.ended
  t.pass('and our half, because nothing of the client is read any more')
  client.socket.end()
  await client.closed
})

t.test('what a client sends after the limit is not even parsed for long', async (t) => {
  const { app, connect, heard, sockets, until } = await startMetered(t, { messages: { perSecond: 5 } })
  const client = await connect()
  const flood = Buffer.concat(Array.from({ length: 20_000 }, () => clientFrame(9, '')))
  let pongs = 0
  sockets[0]?.on('ping', () => { pongs++ })
  client.send(flood)
  let frame = await client.frame()
  while (frame.opcode === 10) frame = await client.frame()
  t.equal(frame.payload.readUInt16BE(0), LIMITED.code)
  await client.ended
  for (let i = 0; i < 10; i++) client.send(flood)
  client.socket.end()
  await until(() => app.websocketServer.clients.size === 0, 'the server forgets it')
  t.equal(pongs, 5)
  t.strictSame(heard, ['ping', 'ping', 'ping', 'ping', 'ping'])
})

/** How many payloads were decompressed of a socket from now on. */
function countInflated (socket: WebSocket | undefined): () => number {
  const { _extensions: { 'permessage-deflate': deflate } } = socket as unknown as { _extensions: { 'permessage-deflate': { decompress: (...args: unknown[]) => void } } }
  const { decompress } = deflate
  let count = 0
  deflate.decompress = (...args) => {
    count++
    decompress.apply(deflate, args)
  }
  return () => count
}

/** A compressed text in three fragments. */
function compressedFragments (text: string): Buffer[] {
  const frame = compressedFrame(text)
  const payload = frame.subarray(frame[1] === 0xFE ? 8 : 6)
  const third = Math.ceil(payload.length / 3)
  return [0x41, 0x00, 0x80].map((head, i) => anyFrame(head, payload.subarray(i * third, (i + 1) * third)))
}

const LONG = 'abcdefghij'.repeat(6000)
const FLOODS: Record<string, Buffer[]> = {
  messages: Array.from({ length: 500 }, () => compressedFrame(LONG)),
  'fragments, with the end in the middle of a message': Array.from({ length: 100 }, () => compressedFragments(LONG)).flat(),
  'messages and texts': Array.from({ length: 100 }, () => [compressedFrame(LONG), clientFrame(TEXT, 'x')]).flat()
}

for (const [what, frames] of Object.entries(FLOODS)) {
  t.test(`nothing past the limit is decompressed of a flood of ${what}, and the close frame behind it is found`, async (t) => {
    const { app, connect, ends, settle, sockets, until } = await startMetered(t, { messages: { perSecond: 5 } })
    const client = await connect()
    const inflated = countInflated(sockets[0])
    const errors: Error[] = []
    sockets[0]?.on('error', (error) => errors.push(error))
    client.send(Buffer.concat([...frames, clientFrame(CLOSE, Buffer.from([0x11, 0x4D]))]))
    t.strictSame(await client.close(), LIMITED)
    await client.ended
    await settle()
    t.ok(inflated() <= 5, `${inflated()} payloads were decompressed`)
    t.strictSame(ends, ['message_limit'])
    t.strictSame(errors, [])
    client.socket.end()
    await until(() => app.websocketServer.clients.size === 0, 'the server forgets it')
  })
}

t.test('a compressed frame that waits when the connection ends is not decompressed, and the close frame behind it is found', async (t) => {
  const { connect, connections, ends, settle, sockets } = await startMetered(t, { messages: { perSecond: 1, onLimit: 'pause' } })
  const client = await connect()
  const inflated = countInflated(sockets[0])
  client.send(Buffer.concat([...Array.from({ length: 3 }, () => clientFrame(2, Buffer.alloc(40_000))), compressedFrame(LONG)]))
  await settle()
  connections[0]?.close(4000, 'enough')
  t.strictSame(await client.close(), { code: 4000, reason: 'enough' })
  client.send(clientFrame(CLOSE, Buffer.from([0x0F, 0xA0])))
  await settle()
  await client.ended
  t.equal(inflated(), 0)
  t.strictSame(ends, ['app'])
})

t.test('the header of a frame that is too long for maxPayload takes no room from the other connections of the user', async (t) => {
  const { connect, ends, heard, settle, clock } = await startMetered(t, { bytes: { perSecond: 1000, perUser: true, onLimit: 'pause' } }, { websocket: { options: { maxPayload: 100_000 } } })
  const [broken, good] = [await connect(), await connect()]
  broken.send(Buffer.from('82ff000fffffffffffff00000000', 'hex'))
  t.strictSame(await broken.close(), { code: 1009, reason: '' })
  good.send(clientFrame(TEXT, 'hello'))
  await settle()
  await clock.pass(1000)
  t.strictSame(heard, ['hello'])
  t.strictSame(ends, ['error'])
})

t.test('a connection whose end was decided has that code, also if a limit ends it before its turn', async (t) => {
  const { connect, connections, ends } = await startMetered(t, { messages: { perSecond: 1 } })
  const client = await connect();
  (connections[0] as OpenConnection).decide({ reason: 'token_revoked', code: 'unauthorized' })
  client.send(Buffer.concat([clientFrame(TEXT, 'one'), clientFrame(TEXT, 'two')]))
  t.strictSame(await client.close(), { code: 3000, reason: 'token_revoked' })
  t.strictSame(ends, ['token_revoked'])
})

t.test('a limit per user counts the frames of all connections of a subject, and no other', async (t) => {
  const { connect, ends, heard, settle, connections } = await startMetered(t, { messages: { perSecond: 1, burst: 4, perUser: true } }, {}, { '/optional': 'optional' })
  const [phone, laptop] = [await connect(), await connect()]
  const bob = await connect({ sub: 'bob' })
  const anonymous = [await connect({ sub: null }, '/optional'), await connect({ sub: null }, '/optional')]
  for (const client of [phone, laptop, bob, ...anonymous]) client.send(Buffer.concat([clientFrame(TEXT, 'one'), clientFrame(TEXT, 'two')]))
  await settle()
  t.equal(heard.length, 10)
  t.strictSame(ends, [])
  bob.send(clientFrame(TEXT, 'three'))
  for (const client of anonymous) client.send(Buffer.concat([clientFrame(TEXT, 'three'), clientFrame(TEXT, 'four')]))
  await settle()
  t.strictSame(ends, [], 'each connection without a subject has a bucket of its own')
  phone.send(clientFrame(TEXT, 'three'))
  t.strictSame(await phone.close(), LIMITED)
  await settle()
  t.strictSame(ends, ['message_limit'])
  t.equal(connections.filter(({ endsAt }) => endsAt !== null).length, 4, 'the other connection of the user stays')
})

t.test('a client cannot empty the bucket of its user twice by a new connection', async (t) => {
  const { clock, connect, ends, settle, until } = await startMetered(t, { messages: { perSecond: 1, burst: 3, perUser: true } })
  const client = await connect()
  for (let i = 0; i < 3; i++) client.send(clientFrame(TEXT, 'x'))
  await settle()
  client.socket.destroy()
  await until(() => ends.length === 1, 'the end of the first')
  const again = await connect()
  again.send(clientFrame(TEXT, 'x'))
  t.strictSame(await again.close(), LIMITED)
  await clock.pass(3500)
  const later = await connect()
  for (let i = 0; i < 3; i++) later.send(clientFrame(TEXT, 'x'))
  await settle()
  t.equal(ends.length, 2)
})

t.test('a frame that was refused takes no room from the other connections of the user', async (t) => {
  const { connect, ends, settle } = await startMetered(t, { bytes: { perSecond: 100, perUser: true } })
  const [greedy, modest] = [await connect(), await connect()]
  greedy.send(clientFrame(2, Buffer.alloc(60_000)))
  t.strictSame(await greedy.close(), LIMITED)
  modest.send(clientFrame(TEXT, 'x'.repeat(94)))
  await settle()
  t.strictSame(ends, ['message_limit'])
})

t.test('a route replaces the limits of the plugin, or turns them off', async (t) => {
  const { connect, ends, settle } = await startMetered(t, { messages: { perSecond: 2 }, bytes: { perSecond: 100 } }, {}, {
    '/free': { limits: { messages: false, bytes: false } }, '/bytes': { limits: { bytes: { perSecond: 10 } } }, '/messages': { limits: { messages: { perSecond: 1 } } }
  })
  const two = Buffer.concat([clientFrame(TEXT, ''), clientFrame(TEXT, '')])
  const free = await connect({}, '/free')
  free.send(Buffer.concat([two, two, clientFrame(TEXT, 'x'.repeat(200))]));
  (await connect({}, '/chat')).send(two)
  await settle()
  t.strictSame(ends, []);
  (await connect({}, '/bytes')).send(two)
  await settle()
  t.strictSame(ends, ['message_limit']);
  (await connect({}, '/messages')).send(two)
  await settle()
  t.strictSame(ends, ['message_limit', 'message_limit'])
})

t.test('messages behind a first message are counted too', async (t) => {
  const { app, connect, ends, heard, settle } = await startMetered(t, { messages: { perSecond: 3 } }, { token: { message: true }, websocket: {} })
  const first = clientFrame(TEXT, JSON.stringify({ type: 'auth', token: sign() }))
  const texts = (count: number): Buffer => Buffer.concat(Array.from({ length: count }, (_, i) => clientFrame(TEXT, String(i))))
  const client = await connect({ sub: null })
  client.send(Buffer.concat([first, texts(3)]))
  await settle()
  t.strictSame(heard, ['0', '1', '2'])
  t.strictSame(ends, [])
  const greedy = await connect({ sub: null })
  greedy.send(Buffer.concat([first, texts(5)]))
  t.strictSame(await greedy.close(), LIMITED)
  t.equal(heard.length, 6)
  t.equal(app.wsAuth.connections.size, 1)
})

t.test('a client past its limit may close its connection', async (t) => {
  const { connect, ends, settle } = await startMetered(t, { messages: { perSecond: 1 } })
  const client = await connect()
  client.send(Buffer.concat([clientFrame(TEXT, 'one'), clientFrame(CLOSE, Buffer.from([0x03, 0xE8]))]))
  t.strictSame(await client.close(), { code: 1000, reason: '' })
  await settle()
  t.strictSame(ends, ['client'])
})

t.test('without limits nothing is installed on a socket', async (t) => {
  const { connect, sockets } = await startMetered(t, {})
  await connect()
  const { _receiver: receiver } = sockets[0] as unknown as { _receiver: object }
  t.strictSame(Object.keys(receiver).filter((key) => typeof (receiver as Record<string, unknown>)[key] === 'function'), ['end'])
})
