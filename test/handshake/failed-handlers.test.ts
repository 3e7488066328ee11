/*
 * A handler that fails: it throws, or its promise rejects. The connection ends with 1011 `internal_error`, the same word stands in
 * the event, the log and the count, and nothing that the client sent reaches a listener of the handler any more.
 */
import { once } from 'node:events'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { sign, start, until } from '../helpers/app'
import type { AppSettings, StartedApp } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { clientFrame, RawClient } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

type Handler = (socket: WebSocket, request: FastifyRequest) => unknown

const TOKEN = sign({ sub: 'ann', exp: Math.floor(Date.now() / 1000) + 600 })
const FRAMES = ['one', 'two', 'three', 'four', 'five']
const ERROR = 'no such room'

/** Lets all that is due in this turn of the event loop and the next few happen. */
async function turns (): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise<void>((resolve) => setImmediate(resolve))
}

/** How a handler fails: each is called with what listens to its socket. */
const FAILURES: Record<string, () => unknown> = {
  'throws an error': () => { throw new Error(ERROR) },
  'throws null': () => { throw null }, // eslint-disable-line no-throw-literal
  'throws a frozen error': () => { throw Object.freeze(new Error(ERROR)) },
  'throws an object whose message cannot be read': () => {
    throw Object.defineProperty(new Error(ERROR), 'message', { get () { throw new Error('unreadable') } })
  },
  'throws a TypeError whose message can be read once': () => {
    let reads = 0
    throw Object.defineProperty(new TypeError(ERROR), 'message', { get () { if (reads++ > 0) throw new Error('unreadable'); return ERROR } })
  },
  'returns a promise that is rejected already': async () => { throw new Error(ERROR) },
  'returns a promise that is rejected already with undefined': () => Promise.reject(undefined) // eslint-disable-line prefer-promise-reject-errors
}

interface Place {
  readonly plugin: fastifyWsAuth.WsAuthOptions
  /** Where the token is sent, and the frames behind it, in one piece. */
  readonly send: (client: RawClient, frames: readonly string[]) => Promise<void>
}

function bytesOf (frames: readonly string[]): Buffer {
  return Buffer.concat(frames.map((frame) => clientFrame(1, frame)))
}

async function sendBehindHeader (client: RawClient, frames: readonly string[]): Promise<void> {
  client.upgrade({ path: '/chat', headers: { authorization: `Bearer ${TOKEN}` } })
  await client.response()
  client.send(bytesOf(frames))
}

async function sendBehindFirstMessage (client: RawClient, frames: readonly string[]): Promise<void> {
  client.upgrade({ path: '/chat' })
  await client.response()
  client.send(bytesOf([JSON.stringify({ type: 'auth', token: TOKEN }), ...frames]))
}

const claims = { sub: 'ann', exp: Math.floor(Date.now() / 1000) + 600 }

const PLACES: Record<string, Place> = {
  'token in the header': { plugin: {}, send: sendBehindHeader },
  'token in the first message': { plugin: { renewal: true, token: { message: true } }, send: sendBehindFirstMessage },
  'token in the first message, a verifier that takes a moment': {
    plugin: { renewal: true, token: { message: true }, verify: async () => { await turns(); return claims } },
    send: sendBehindFirstMessage
  }
}

/** The first close frame; what comes before it is skipped. */
async function closeOf (client: RawClient): Promise<{ code: number, reason: string }> {
  for (;;) {
    const { opcode, payload } = await client.frame()
    if (opcode === 8) return { code: payload.length < 2 ? 1005 : payload.readUInt16BE(0), reason: payload.subarray(2).toString() }
  }
}

/** How a connection ended: what the client was told, or that it was told nothing. */
async function endOf (client: RawClient): Promise<{ code: number, reason: string }> {
  return await closeOf(client).catch(() => ({ code: 1006, reason: '' }))
}

interface Failing extends StartedApp {
  /** What the handler's listeners heard. */
  readonly heard: string[]
  readonly ends: fastifyWsAuth.WsAuthEvent[]
}

async function startFailing (t: Test, fail: Handler, { plugin, ...settings }: AppSettings = {}): Promise<Failing> {
  const heard: string[] = []
  const ends: fastifyWsAuth.WsAuthEvent[] = []
  onDecision(t, (event) => { if (event.event === 'closed') ends.push(event) })
  const started = await start(t, {
    ...settings,
    plugin,
    routes: (app) => app.get('/chat', { websocket: true }, (socket, request) => {
      for (const event of ['message', 'ping', 'pong']) socket.on(event, (data) => heard.push(String(data)))
      return fail(socket, request) as undefined
    })
  })
  return { ...started, heard, ends }
}

function closedCounts ({ app }: StartedApp): Record<string, number | undefined> {
  return Object.fromEntries(Object.entries(statsOf(app).closed).filter(([, count]) => count !== 0))
}

for (const [place, { plugin, send }] of Object.entries(PLACES)) {
  for (const [how, fail] of Object.entries(FAILURES)) {
    t.test(`a handler that ${how} closes its connection with 1011 internal_error and gets no more messages (${place})`, async (t) => {
      const failing = await startFailing(t, fail, { plugin: { ...plugin, limits: { perUser: 1 } } })
      for (const attempt of ['first', 'second']) {
        const client = await RawClient.open(t, failing.port)
        await send(client, FRAMES)
        t.strictSame(await endOf(client), { code: 1011, reason: 'internal_error' }, `${attempt} connection`)
        client.send(bytesOf(['late']))
        client.socket.end()
        await client.closed
      }
      await until(() => failing.ends.length === 2, 'both ends are told')
      t.strictSame(failing.heard, [], 'no listener of the handler heard anything')
      t.strictSame(failing.ends.map(({ reason, sub }) => ({ reason, sub })), Array(2).fill({ reason: 'internal_error', sub: 'ann' }), 'event')
      const lines = failing.log.map((line) => JSON.parse(line) as Record<string, unknown>)
      t.strictSame(lines.filter(({ event }) => event === 'closed').map(({ reason }) => reason), ['internal_error', 'internal_error'], 'line of the log')
      t.strictSame(closedCounts(failing), { internal_error: 2 }, 'count')
      t.ok(lines.some(({ level }) => level === 50), 'the failure is logged at error')
      t.equal(failing.app.wsAuth.connections.size, 0)
      t.equal(statsOf(failing.app).pending, 0)
    })
  }
}

t.test('a handler whose promise rejects later closes its connection with 1011 internal_error', async (t) => {
  let reject = (): void => {}
  const failing = await startFailing(t, async () => await new Promise<void>((_resolve, _reject) => { reject = () => _reject(new Error(ERROR)) }))
  const client = await RawClient.open(t, failing.port)
  await sendBehindHeader(client, FRAMES)
  await until(() => failing.heard.length === FRAMES.length, 'the frames are heard until it fails')
  reject()
  t.strictSame(await endOf(client), { code: 1011, reason: 'internal_error' })
  client.send(bytesOf(['late']))
  client.socket.end()
  await client.closed
  t.strictSame(failing.heard, FRAMES, 'nothing is heard after it failed')
  t.strictSame(closedCounts(failing), { internal_error: 1 })
})

t.test('the log has the error of a handler, and the client does not get it', async (t) => {
  const failing = await startFailing(t, () => { throw new Error(ERROR) })
  const client = await RawClient.open(t, failing.port)
  await sendBehindHeader(client, [])
  await endOf(client)
  client.socket.end()
  await client.closed
  t.notMatch(client.text, ERROR)
  t.ok(failing.log.some((line) => (JSON.parse(line) as { level: number }).level === 50 && line.includes(ERROR)))
})

t.test('a handler that fails on a public route or without a user closes its connection with 1011 internal_error', async (t) => {
  const fail = (): never => { throw new Error(ERROR) }
  const { port, app } = await start(t, {
    routes: (app) => app
      .get('/public', { websocket: true, wsAuth: false }, fail)
      .get('/optional', { websocket: true, wsAuth: 'optional' }, fail)
  })
  for (const path of ['/public', '/optional']) {
    const client = await RawClient.open(t, port)
    await client.upgrade({ path }).response()
    t.strictSame(await endOf(client), { code: 1011, reason: 'internal_error' }, path)
    client.socket.end()
    await client.closed
  }
  t.equal(app.websocketServer.clients.size, 0)
})

for (const [place, { plugin, send }] of Object.entries(PLACES)) {
  t.test(`an errorHandler of the app decides how the connection of a failed handler ends (${place})`, async (t) => {
    const told: unknown[] = []
    const errorHandler = (error: Error, socket: WebSocket, request: FastifyRequest): void => {
      told.push([error.message, request.user])
      socket.close(4000, 'mine')
    }
    const failing = await startFailing(t, () => { throw new Error(ERROR) }, { plugin: { ...plugin, websocket: { errorHandler } } })
    const client = await RawClient.open(t, failing.port)
    await send(client, FRAMES)
    t.strictSame(await endOf(client), { code: 4000, reason: 'mine' })
    client.socket.end()
    await client.closed
    t.match(told, [[ERROR, { sub: 'ann' }]], 'it is called once')
    t.strictSame(failing.heard, [], 'nothing that the client sent is delivered')
    t.strictSame(closedCounts(failing), { app: 1 }, 'the reason is that of a close by the app')
  })

  t.test(`an errorHandler of the app that throws closes with 1011 and does not end the process (${place})`, async (t) => {
    const uncaught: unknown[] = []
    const onUncaught = (error: unknown): void => { uncaught.push(error) }
    process.on('uncaughtException', onUncaught).on('unhandledRejection', onUncaught)
    t.teardown(() => process.removeListener('uncaughtException', onUncaught).removeListener('unhandledRejection', onUncaught))
    const errorHandler = (): never => { throw new Error('worse') }
    const failing = await startFailing(t, async () => { throw new Error(ERROR) }, { plugin: { ...plugin, websocket: { errorHandler } } })
    const client = await RawClient.open(t, failing.port)
    await send(client, FRAMES)
    t.strictSame(await endOf(client), { code: 1011, reason: 'internal_error' })
    client.socket.end()
    await client.closed
    await turns()
    t.strictSame(uncaught, [])
    t.strictSame(failing.heard, [])
  })
}

t.test('a handler that closes its socket and then fails keeps its own close code', async (t) => {
  const failing = await startFailing(t, (socket) => { socket.close(4001, 'full'); throw new Error(ERROR) })
  const client = await RawClient.open(t, failing.port)
  await sendBehindHeader(client, FRAMES)
  t.strictSame(await endOf(client), { code: 4001, reason: 'full' })
  client.socket.end()
  await client.closed
  t.strictSame(closedCounts(failing), { app: 1 })
})

for (const [place, { plugin, send }] of Object.entries(PLACES)) {
  t.test(`a handler that returns gets all frames in their order (${place})`, async (t) => {
    const order: string[] = []
    const good = await startFailing(t, (socket) => {
      socket.on('message', (data) => order.push(String(data)))
      order.push('returned')
    }, { plugin })
    const client = await RawClient.open(t, good.port)
    await send(client, FRAMES)
    await until(() => order.length > FRAMES.length, 'all frames are heard')
    t.strictSame(order, ['returned', ...FRAMES])
    t.strictSame(good.heard, FRAMES)
  })

  t.test(`an async handler that returns at once gets all frames in their order (${place})`, async (t) => {
    const good = await startFailing(t, async () => {}, { plugin })
    const client = await RawClient.open(t, good.port)
    await send(client, FRAMES)
    await until(() => good.heard.length >= FRAMES.length, 'all frames are heard')
    t.strictSame(good.heard, FRAMES)
  })
}

t.test('a client library sees 1011 and the reason internal_error', async (t) => {
  const { port } = await startFailing(t, () => { throw new Error(ERROR) })
  const client = new WebSocket(`ws://127.0.0.1:${port}/chat`, ['bearer', TOKEN])
  t.teardown(() => client.terminate())
  const [code, reason] = await once(client, 'close') as [number, Buffer]
  t.equal(code, 1011)
  t.equal(String(reason), 'internal_error')
})
