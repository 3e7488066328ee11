/*
 * An instance is taken out of service: nothing new is admitted, and its connections are closed over a time.
 */
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { prepare, sign, until, within } from '../helpers/app'
import { AUTHORIZED, authFrame, openAll, startChat } from '../helpers/closing-app'
import { openMany } from '../helpers/memory-crowd'
import { moveClock, passUntil } from '../helpers/moved-clock'
import { RawClient, upgrade } from '../helpers/raw-client'
import { closeOf, openSocket } from '../helpers/sockets'
import { statsOf } from '../helpers/stats'

const DRAIN = { code: 1001, reason: 'drain' }

async function connect (t: Test, port: number, path = '/chat'): Promise<WebSocket> {
  const client = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers: AUTHORIZED })
  t.teardown(() => client.terminate())
  await once(client, 'open')
  return client
}

t.test('drain() closes connections of all kinds with 1001 drain over the time, and tells those that speak frames when to come back', async (t) => {
  const { app } = await prepare(t, {
    plugin: { renewal: true },
    routes: (app) => {
      app.get('/chat', { websocket: true }, () => {})
      app.get('/public', { websocket: true, wsAuth: false }, () => {})
    }
  })
  const guarded = await openMany(app, '/chat', 300, () => AUTHORIZED)
  const open = await openMany(app, '/public', 100, () => ({}))
  await until(() => app.wsAuth.connections.size === 300 && app.websocketServer.clients.size === 400, 'all are open')
  const clock = moveClock(t)
  const draining = app.wsAuth.drain({ within: 20_000 })
  t.ok(app.wsAuth.stats().draining >= 399)
  t.throws(() => app.wsAuth.isRevoked({ sub: 'ann' }), { code: 'WS_AUTH_BUSY' }, 'readiness says no at once')
  await clock.pass(10_000)
  const left = app.wsAuth.stats().draining
  t.ok(left > 180 && left < 220, `${left} of 400 are left after half of the time`)
  t.same(await passUntil(clock, 10_000, 'drain', draining), { closed: 400 })
  t.equal(app.wsAuth.stats().draining, 0)
  t.strictSame([...new Set([...guarded, ...open].map(({ close }) => close))], ['1001 drain'])
  t.ok(guarded.every(({ texts }) => texts.at(-1) === '{"type":"auth.retry","within":1000}'))
  t.ok(open.every(({ texts }) => texts.length === 0))
  t.match(statsOf(app), { connections: 0, closed: { drain: 300 } })
})

t.test('handshakes, dry runs, tickets and first messages are refused with WS_AUTH_BUSY and Retry-After while an instance is drained', async (t) => {
  const chat = await startChat(t, { tickets: true })
  const clients = await openAll(t, chat.port)
  const waiting = clients['that waits for a first message'] as RawClient
  const draining = chat.app.wsAuth.drain({ within: 60_000 })
  for (const path of ['/chat', '/public', '/optional']) {
    const client = await RawClient.open(t, chat.port)
    const { status, headers, body } = await client.upgrade({ path, headers: AUTHORIZED }).response()
    t.equal(status, 503, path)
    t.match(JSON.parse(String(body)), { code: 'WS_AUTH_BUSY' })
    t.match(headers['retry-after'], /^[1-5]$/)
  }
  for (const request of [{ url: '/chat', headers: AUTHORIZED }, { url: '/ws-ticket', method: 'POST' as const, headers: AUTHORIZED }]) {
    const response = await chat.app.inject(request)
    t.equal(response.statusCode, 503, request.url)
    t.equal(response.json().code, 'WS_AUTH_BUSY')
    t.match(response.headers['retry-after'], /^[1-5]$/)
  }
  waiting.send(authFrame(sign()))
  t.same(await waiting.close(), { code: 4503, reason: 'server_busy' })
  const size = chat.app.wsAuth.connections.size
  t.ok(size >= 2, 'the others go on')
  void draining
})

t.test('a handshake that was accepted before a drain, and opens in it, is closed at once', async (t) => {
  let go: (() => void) | undefined
  const { app } = await prepare(t, {
    routes: (app) => app.get('/ws', { websocket: true, preHandler: async () => await new Promise<void>((resolve) => { go = resolve }) }, () => {})
  })
  const [client] = await openMany(app, '/ws', 1, () => AUTHORIZED)
  await until(() => go !== undefined, 'the hook')
  t.same(await app.wsAuth.drain({ within: 0 }), { closed: 0 })
  go?.()
  await until(() => client?.close === '1001 drain', 'its close')
  t.match(statsOf(app), { accepted: 1, closed: { drain: 1 } })
})

t.test('a public socket that was accepted before a drain, and opens in it, is closed at once', async (t) => {
  let go: (() => void) | undefined
  let calls = 0
  const { app } = await prepare(t, {
    routes: (app) => app.get('/ws', { websocket: true, wsAuth: false, preHandler: async () => await new Promise<void>((resolve) => { go = resolve }) }, () => { calls++ })
  })
  const [client] = await openMany(app, '/ws', 1, () => ({}))
  await until(() => go !== undefined, 'the hook')
  t.same(await app.wsAuth.drain({ within: 0 }), { closed: 0 })
  go?.()
  await until(() => client?.close === '1001 drain', 'its close')
  t.equal(calls, 0)
})

t.test('expiry, revocation, disconnects and messages go on during a drain', async (t) => {
  const heard: string[] = []
  const { app } = await prepare(t, { routes: (app) => app.get('/ws', { websocket: true }, (socket) => { socket.on('message', (data) => heard.push(String(data))) }) })
  const exp = Math.floor(Date.now() / 1000) + 600
  const [brief, revoked, disconnected, talking] = [
    await openSocket(app, '/ws', sign({ sub: 'brief', exp: exp - 596 })), await openSocket(app, '/ws', sign({ sub: 'revoked', jti: 'r', exp })),
    await openSocket(app, '/ws', sign({ sub: 'disconnected', exp })), await openSocket(app, '/ws', sign({ sub: 'talking', exp }))
  ]
  const draining = app.wsAuth.drain({ within: 1_000_000_000 })
  talking.socket.send('still here')
  t.equal((await app.wsAuth.revoke({ jti: 'r' })).closed, 1)
  t.equal((await app.wsAuth.disconnect({ sub: 'disconnected' })).closed, 1)
  await until(() => statsOf(app).closed.token_expired === 1, 'the expiry')
  t.strictSame([(await closeOf(brief)).reason, (await closeOf(revoked)).reason, (await closeOf(disconnected)).reason], ['token_expired', 'token_revoked', 'disconnected'])
  t.strictSame(heard, ['still here'])
  t.equal(app.wsAuth.stats().draining, 1, 'one is left to be closed')
  const second = app.wsAuth.drain({ within: 1_000_000_000 })
  t.same(await closeOf(talking), DRAIN, 'a second call ends it at once')
  t.same([await draining, await second], [{ closed: 1 }, { closed: 1 }])
})

t.test('app.close() with the drain option drains first, with its code and reason, and a second call ends what is left', async (t) => {
  const { app } = await prepare(t, {
    plugin: { drain: { within: 60_000, code: 4001, reason: 'deploy' } },
    routes: (app) => app.get('/ws', { websocket: true }, () => {})
  })
  const clients = await openMany(app, '/ws', 60, () => AUTHORIZED)
  await until(() => app.wsAuth.connections.size === 60, 'all are open')
  const clock = moveClock(t)
  const closing = app.close()
  await clock.pass(30_000)
  const closed = clients.filter(({ close }) => close !== '').length
  t.ok(closed > 25 && closed < 35, `${closed} of 60 are closed after half of the time`)
  t.equal(app.wsAuth.stats().draining, 60 - closed)
  const second = app.close()
  await within(5000, 'app.close()', Promise.all([closing, second]))
  t.strictSame([...new Set(clients.map(({ close }) => close))], ['4001 deploy'])
  t.match(statsOf(app), { connections: 0, closed: { drain: 60 } })
})

t.test('app.close() with the drain option resolves within the time and 5 s, whatever the clients do', async (t) => {
  const chat = await startChat(t, { drain: { within: 2000 }, websocket: { preClose: () => {} } })
  const clients = await openAll(t, chat.port)
  const clock = moveClock(t)
  const closing = chat.app.close()
  await passUntil(clock, 2000 + 5000 + 25, 'app.close()', closing)
  for (const [who, client] of Object.entries(clients)) {
    t.same(await client.close(), who === 'that waits for a first message' ? { code: 1001, reason: 'shutdown' } : DRAIN, who)
  }
})

t.test('a second app.close() while the preClose of the app runs has the drain close all at once', async (t) => {
  let finish = (): void => {}
  const chat = await startChat(t, { drain: { within: 60_000 }, websocket: { preClose: (done: () => void) => { finish = done } } })
  const client = await connect(t, chat.port)
  const closed = once(client, 'close')
  const closing = chat.app.close()
  void chat.app.close()
  finish()
  const [code, reason] = await within(5000, 'the close', closed)
  t.same({ code, reason: String(reason) }, DRAIN)
  await closing
})

t.test('a handshake that comes while app.close() drains gets WS_AUTH_BUSY with Retry-After', async (t) => {
  const chat = await startChat(t, { drain: { within: 60_000 } })
  await connect(t, chat.port)
  const early = await RawClient.open(t, chat.port)
  const closing = chat.app.close()
  await until(() => chat.app.wsAuth.stats().draining > 0, 'the drain')
  const { status, headers, body } = await early.upgrade({ path: '/chat', headers: AUTHORIZED }).response()
  t.equal(status, 503)
  t.match(JSON.parse(body), { code: 'WS_AUTH_BUSY' })
  t.match(headers['retry-after'], /^[1-5]$/)
  void chat.app.close()
  await closing
})

t.test('drain() before the app is ready, and after its close, closes nothing', async (t) => {
  const { app } = await prepare(t)
  await app.close()
  t.same(await app.wsAuth.drain({ within: 60_000 }), { closed: 0 })
  const other = await prepare(t, { routes: async (app) => { t.same(await app.wsAuth.drain({ within: 60_000 }), { closed: 0 }) } })
  t.equal((await other.app.inject('/')).statusCode, 404)
  t.throws(() => other.app.wsAuth.isRevoked({}), { code: 'WS_AUTH_BUSY' })
})

t.test('app.close() during drain() closes what is left at once, without the option too', async (t) => {
  const chat = await startChat(t)
  const client = await connect(t, chat.port)
  const draining = chat.app.wsAuth.drain({ within: 600_000 })
  const closed = once(client, 'close')
  await within(5000, 'app.close()', chat.app.close())
  t.same((await closed).map(String), ['1001', 'drain'])
  t.same(await draining, { closed: 1 })
})

t.test('app.close() with a callback drains too', async (t) => {
  const chat = await startChat(t, { drain: { within: 0 } })
  const client = await connect(t, chat.port)
  const closed = once(client, 'close')
  await new Promise<void>((resolve) => { void chat.app.close(resolve) })
  t.same((await closed).map(String), ['1001', 'drain'])
})

t.test('a wrong option of drain() is a TypeError that names it, and drains nothing', async (t) => {
  const { app } = await prepare(t)
  const wrong: Array<[unknown, string]> = [
    [undefined, '"options" must be an object'], [null, '"options" must be an object'], [5000, '"options" must be an object'],
    [{}, '"options.within" must be an integer of milliseconds from 0 to 2147483647'], [{ within: -1 }, '"options.within" must be an integer of milliseconds from 0 to 2147483647'],
    [{ within: 2 ** 31 }, '"options.within" must be an integer of milliseconds from 0 to 2147483647'], [{ within: '5' }, '"options.within" must be an integer of milliseconds from 0 to 2147483647'],
    [{ within: 5, code: 1006 }, '"options.code" must be a close code that may be sent'], [{ within: 5, reason: 'x'.repeat(124) }, '"options.reason" must be a string of at most 123 bytes'],
    [{ within: 5, grace: 5 }, '"options.grace" must be left out: there is no such option']
  ]
  for (const [options, message] of wrong) await t.rejects(app.wsAuth.drain(options as never), { name: 'TypeError', message })
  t.equal(app.wsAuth.isRevoked({ sub: 'ann' }), false)
})

t.test('a client that has gone meanwhile is not counted', async (t) => {
  const chat = await startChat(t)
  const [first, second] = [await connect(t, chat.port), await connect(t, chat.port, '/public')]
  const draining = chat.app.wsAuth.drain({ within: 600_000 })
  first.close()
  second.close()
  await until(() => chat.app.wsAuth.stats().draining === 0, 'both have gone')
  void chat.app.wsAuth.drain({ within: 0 })
  t.same(await draining, { closed: 0 })
})

t.test('a drain after upgrade over a raw socket ends with a close frame of 1001 drain', async (t) => {
  const chat = await startChat(t)
  const client = await upgrade(t, chat.port, { path: '/optional' })
  void chat.app.wsAuth.drain({ within: 0 })
  t.same(await client.close(), DRAIN)
})
