/*
 * The number of connections in all is limited. A full server verifies no token.
 */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { sign, start, until } from '../helpers/app'
import type { AppSettings, StartedApp } from '../helpers/app'
import { clientFrame, plainText, RawClient, upgrade } from '../helpers/raw-client'
import type { RawResponse } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const BUSY = 'WS_AUTH_BUSY'

function headersOf (sub: string): Record<string, string> {
  return { authorization: `Bearer ${sign({ sub })}` }
}

function addRoutes (app: FastifyInstance): void {
  app.get('/chat', { websocket: true }, () => {})
  app.get('/public', { websocket: true, wsAuth: false }, () => {})
  app.get('/failing', { websocket: true, preHandler: async () => { throw new Error('a hook of the app') } }, () => {})
  app.get('/optional', { websocket: true, wsAuth: 'optional' }, () => {})
}

async function startFull (t: Test, settings: AppSettings = {}): Promise<StartedApp> {
  return await start(t, { routes: addRoutes, ...settings, plugin: { limits: { connections: 3 }, ...settings.plugin } })
}

function assertBusy (t: Test, { status, body, headers }: RawResponse): void {
  t.equal(status, 503)
  t.equal(JSON.parse(body).code, BUSY)
  t.match(headers['retry-after'], /^[1-5]$/)
}

t.test('connections of any users past the number are refused with 503, until one has ended', async (t) => {
  const { app, port, log } = await startFull(t)
  const clients = [await upgrade(t, port, { path: '/chat', headers: headersOf('ann') }), await upgrade(t, port, { path: '/chat', headers: headersOf('bob') }), await upgrade(t, port, { path: '/optional' })]
  t.strictSame(clients.map(({ answer }) => answer.status), [101, 101, 101])
  assertBusy(t, (await upgrade(t, port, { path: '/chat', headers: headersOf('carl') })).answer)
  assertBusy(t, (await upgrade(t, port, { path: '/optional' })).answer)
  t.ok(log.some((line) => line.includes('limits.connections')), 'the log says why')
  t.equal((await upgrade(t, port, { path: '/public' })).answer.status, 101, 'public connections do not count')
  t.equal(app.wsAuth.connections.size, 3)
  clients[0]?.socket.destroy()
  await until(() => app.wsAuth.connections.size === 2, 'the end of the first')
  t.equal((await upgrade(t, port, { path: '/chat', headers: headersOf('carl') })).answer.status, 101)
  t.strictSame(statsOf(app).refused, { [BUSY]: 2 })
})

t.test('a hundred simultaneous handshakes get the number of places, and no more', async (t) => {
  const { app, port } = await startFull(t, { plugin: { limits: { connections: 3 }, verify: async () => { await new Promise((resolve) => setTimeout(resolve, Math.random() * 20)); return { sub: String(Math.random()) } } } })
  const answers = await Promise.all(Array.from({ length: 100 }, async () => (await upgrade(t, port, { path: '/chat', headers: headersOf('ann') })).answer.status))
  t.equal(answers.filter((status) => status === 101).length, 3)
  t.equal(answers.filter((status) => status === 503).length, 97)
  t.equal(app.wsAuth.connections.size, 3)
})

t.test('a place comes back if its handshake fails, whatever the order of limits', async (t) => {
  const { app, port } = await startFull(t, { plugin: { limits: { connections: 1, perUser: 1 } } })
  for (let i = 0; i < 5; i++) t.equal((await upgrade(t, port, { path: '/failing', headers: headersOf('ann') })).answer.status, 500)
  t.equal((await upgrade(t, port, { path: '/chat', headers: headersOf('ann') })).answer.status, 101)
  t.equal(app.wsAuth.connections.size, 1)
})

t.test('a full server verifies no token, and a dry run has the same answer', async (t) => {
  let verified = 0
  const { port } = await startFull(t, { plugin: { limits: { connections: 1 }, tickets: true, verify: () => { verified++; return { sub: 'ann' } } } })
  await upgrade(t, port, { path: '/chat', headers: headersOf('ann') })
  t.equal(verified, 1)
  assertBusy(t, (await upgrade(t, port, { path: '/chat', headers: headersOf('ann') })).answer)
  const dryRun = await (await RawClient.open(t, port)).send(plainText({ path: '/chat', headers: headersOf('ann') })).response()
  assertBusy(t, dryRun)
  t.equal(verified, 1)
  const ticket = await (await RawClient.open(t, port)).send(plainText({ method: 'POST', path: '/ws-ticket', headers: { ...headersOf('ann'), 'content-length': '0' } })).response()
  t.equal(ticket.status, 200, 'a ticket is no connection')
})

t.test('a first message past the number closes with server_busy', async (t) => {
  const { app, port } = await startFull(t, { plugin: { limits: { connections: 1 }, token: { message: true } } })
  const [first, second] = [await upgrade(t, port, { path: '/chat' }), await upgrade(t, port, { path: '/chat' })]
  t.strictSame([first.answer.status, second.answer.status], [101, 101])
  const frame = clientFrame(1, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann' }) }))
  first.send(frame)
  await until(() => app.wsAuth.connections.size === 1, 'the first')
  second.send(frame)
  t.strictSame(await second.close(), { code: 4503, reason: 'server_busy' })
})

t.test('a user who replaces a connection needs a place for it', async (t) => {
  const { port } = await startFull(t, { plugin: { limits: { connections: 1, perUser: 1, onLimit: 'close-oldest' } } })
  t.equal((await upgrade(t, port, { path: '/chat', headers: headersOf('ann') })).answer.status, 101)
  assertBusy(t, (await upgrade(t, port, { path: '/chat', headers: headersOf('ann') })).answer)
})
