/*
 * moveClock: what is due by the clock happens without waiting, and nothing else moves.
 */
import { once } from 'node:events'
import { createSigner, createVerifier } from 'fast-jwt'
import t from 'tap'
import type { Test } from 'tap'
import type { WebSocket } from 'ws'
import type { FastifyInstance } from 'fastify'
import fastifyWsAuth from '../../lib/index'
import { expectClose, moveClock, restoreClock, signIn } from '../../lib/testing/index'
import { prepare, SECRET } from '../helpers/app'

const [SECOND, MINUTE, HOUR, DAY] = [1000, 60_000, 3_600_000, 86_400_000]

t.afterEach(() => restoreClock())

async function createApp (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}): Promise<FastifyInstance> {
  const { app } = await prepare(t, { plugin, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  return app
}

/** A socket, and the frames that it gets. */
async function open (app: FastifyInstance, expiresIn: number, headers: Record<string, string> = {}): Promise<{ socket: WebSocket, frames: unknown[] }> {
  const frames: unknown[] = []
  const ann = await signIn(app, { sub: 'ann' }, { expiresIn })
  const socket = await app.injectWS('/chat', { headers: { ...ann.headers, ...headers } }, {
    onInit: (socket) => { socket.on('message', (data) => frames.push(JSON.parse(String(data)))) }
  })
  return { socket, frames }
}

t.test('a connection closes when its token expires, and not before', async (t) => {
  const app = await createApp(t)
  const [one, other] = [await open(app, MINUTE), await open(app, HOUR)]
  await moveClock(50 * SECOND)
  t.strictSame([one.socket.readyState, app.wsAuth.connections.size], [1, 2])
  await moveClock(10 * SECOND)
  t.equal(app.wsAuth.connections.size, 1, 'it has ended when moveClock() resolves')
  await expectClose(one.socket, { code: 3000, reason: 'token_expired' })
  t.equal(other.socket.readyState, 1)
  await moveClock(HOUR)
  await expectClose(other.socket, 'token_expired')
})

t.test('all apps of the process follow, and maxLifetime and expiryGrace with them', async (t) => {
  const [one, other] = [await createApp(t, { maxLifetime: HOUR }), await createApp(t, { expiryGrace: 5 * SECOND })]
  const [old, late] = [await open(one, DAY), await open(other, HOUR)]
  await moveClock(HOUR + SECOND)
  await expectClose(old.socket, 'lifetime_exceeded')
  t.equal(late.socket.readyState, 1)
  await moveClock(5 * SECOND)
  await expectClose(late.socket, 'token_expired')
})

t.test('a client that answers each hint stays connected for an hour with tokens of a minute', async (t) => {
  const app = await createApp(t)
  const { socket, frames } = await open(app, MINUTE, { 'sec-websocket-protocol': 'ws-auth' })
  socket.on('message', async (data) => {
    if (JSON.parse(String(data)).type !== 'auth.renew') return
    await new Promise((resolve) => setTimeout(resolve, 20))
    socket.send(JSON.stringify({ type: 'auth', token: (await signIn(app, { sub: 'ann' }, { expiresIn: MINUTE })).token }))
  })
  await moveClock(10 * MINUTE)
  t.equal(socket.readyState, 1)
  const hints = frames.filter((frame) => (frame as { type: string }).type === 'auth.renew').length
  t.ok(hints >= 10 && hints <= 13, `${hints} hints`)
  await moveClock(2 * MINUTE, { jump: true })
  await expectClose(socket, 'token_expired')
})

t.test('a client that leaves its hint unanswered is waited for, and closed', async (t) => {
  const app = await createApp(t)
  const { socket, frames } = await open(app, MINUTE, { 'sec-websocket-protocol': 'ws-auth' })
  await moveClock(59 * SECOND)
  t.match(frames.at(-1), { type: 'auth.renew' })
  await moveClock(SECOND)
  await expectClose(socket, 'token_expired')
})

t.test('a client that sends no first message is refused, and one that has authenticated stays', async (t) => {
  const app = await createApp(t, { token: { message: { timeout: 20 * SECOND } } })
  const [silent, late, good] = [await app.injectWS('/chat'), await app.injectWS('/chat'), await app.injectWS('/chat')]
  good.send(JSON.stringify({ type: 'auth', token: (await signIn(app, { sub: 'ann' })).token }))
  await once(good, 'message')
  await moveClock(10 * SECOND)
  t.strictSame([silent.readyState, app.wsAuth.stats().pending], [1, 2])
  late.send(JSON.stringify({ type: 'auth', token: (await signIn(app, { sub: 'bob' })).token }))
  await once(late, 'message')
  await moveClock(10 * SECOND)
  await expectClose(silent, { code: 3008, reason: 'auth_timeout' })
  await moveClock(SECOND)
  t.strictSame([good.readyState, late.readyState, app.wsAuth.connections.size, app.wsAuth.stats().pending], [1, 1, 2, 0])
})

t.test('tokens, tickets and revocations end by the moved clock', async (t) => {
  const app = await createApp(t, { tickets: true, revocationTtl: HOUR })
  const ann = await signIn(app, { sub: 'ann', sid: 'one' }, { expiresIn: 3 * HOUR })
  const short = await signIn(app, { sub: 'ann' }, { expiresIn: MINUTE })
  const { ticket, expiresIn } = await app.wsAuth.issueTicket({ sub: 'ann' })
  t.equal((await app.inject(`/chat?ticket=${ticket}`)).statusCode, 426)
  await app.wsAuth.revoke({ sid: 'one' })
  await moveClock(expiresIn)
  t.equal((await app.inject(`/chat?ticket=${ticket}`)).json().code, 'WS_AUTH_TICKET_INVALID')
  await moveClock(MINUTE)
  t.equal((await app.inject({ url: '/chat', ...short })).json().code, 'WS_AUTH_TOKEN_EXPIRED')
  t.equal((await app.inject({ url: '/chat', ...ann })).json().code, 'WS_AUTH_TOKEN_REVOKED')
  await moveClock(HOUR)
  t.equal((await app.inject({ url: '/chat', ...ann })).statusCode, 426, 'the revocation was kept for revocationTtl')
  t.equal((await app.inject({ url: '/chat', ...await signIn(app) })).statusCode, 426, 'a token that is signed now is good now')
})

t.test('a connection that is opened after the clock was moved lives as long as any', async (t) => {
  const app = await createApp(t)
  await moveClock(DAY)
  const { socket } = await open(app, MINUTE)
  await moveClock(50 * SECOND)
  t.equal(socket.readyState, 1)
  await moveClock(10 * SECOND)
  await expectClose(socket, 'token_expired')
})

t.test('the libraries for tokens read the moved clock', async (t) => {
  const { jwtVerify, SignJWT } = await import('jose')
  const token = createSigner({ key: SECRET, expiresIn: MINUTE })({ sub: 'ann' })
  const key = Buffer.from(SECRET)
  const other = await new SignJWT({ sub: 'ann' }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1m').sign(key)
  const verify = createVerifier({ key: SECRET })
  t.match(verify(token), { sub: 'ann' })
  await jwtVerify(other, key)
  await moveClock(MINUTE + SECOND)
  t.throws(() => verify(token), { code: 'FAST_JWT_EXPIRED' })
  await t.rejects(jwtVerify(other, key), { code: 'ERR_JWT_EXPIRED' })
})

t.test('Date and performance agree while the clock is moved, and are those of before afterwards', async (t) => {
  const before = { Date, now: Date.now, keys: Object.getOwnPropertyNames(performance), at: Date.now(), performanceAt: performance.now() }
  const clock = await moveClock(DAY)
  const near = (value: number, wanted: number): boolean => Math.abs(value - wanted) < 5000
  t.ok(near(Date.now(), before.at + DAY))
  t.ok(near(new Date().getTime(), before.at + DAY))
  t.ok(near(new Date(Date()).getTime(), before.at + DAY), 'Date() as a function')
  t.ok(near(performance.now(), before.performanceAt + DAY))
  t.equal(new Date(2020, 1, 2).getFullYear(), 2020)
  t.equal(new Date(0).toISOString(), '1970-01-01T00:00:00.000Z')
  t.ok(new Date() instanceof Date && new before.Date() instanceof Date && new Date().constructor === before.Date)
  class Later extends Date { get isLater (): boolean { return true } }
  t.ok(new Later().isLater && near(new Later().getTime(), before.at + DAY), 'a class that extends Date')
  await moveClock(DAY)
  t.ok(near(Date.now(), before.at + 2 * DAY), 'a second move is added')
  clock.restore()
  t.equal(Date, before.Date)
  t.equal(Date.now, before.now)
  t.strictSame(Object.getOwnPropertyNames(performance), before.keys)
  t.ok(near(performance.now(), before.performanceAt))
  restoreClock()
  {
    using moved = await moveClock(DAY)
    t.ok(moved)
  }
  t.equal(Date, before.Date)
})

t.test('idle connections end by the moved clock, and so do those of a recheck and a drain soon after by the real one', async (t) => {
  const idle = await createApp(t, { limits: { idle: HOUR } })
  const checked = await createApp(t, { recheck: { every: HOUR, check: () => undefined as never } })
  const drained = await createApp(t)
  const [one, other, third] = [await open(idle, DAY), await open(checked, DAY), await open(drained, DAY)]
  const drain = drained.wsAuth.drain({ within: HOUR })
  await moveClock(HOUR + SECOND)
  t.equal(idle.wsAuth.connections.size, 0)
  await expectClose(one.socket, 'idle')
  await expectClose(other.socket, 'token_revoked')
  await expectClose(third.socket, 'drain')
  t.strictSame(await drain, { closed: 1 })
})

t.test('timers do not move', async (t) => {
  let isFired = false
  const timer = setTimeout(() => { isFired = true }, HOUR)
  await moveClock(DAY)
  t.equal(isFired, false)
  clearTimeout(timer)
  const startedAt = process.hrtime.bigint()
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.ok(process.hrtime.bigint() - startedAt >= 19_000_000n)
})

t.test('a time that is negative, or no integer, is a TypeError', async (t) => {
  for (const ms of [-1, 0.5, NaN, Infinity, '1' as never]) {
    await t.rejects(moveClock(ms), new TypeError('"ms" must be a number of milliseconds that is an integer and not negative: restoreClock() sets the clock back'))
  }
  await moveClock(0)
})

t.test('an app that has closed is not woken', async (t) => {
  const app = await createApp(t)
  const { socket } = await open(app, MINUTE)
  const closed = once(socket, 'close')
  await app.close()
  t.strictSame((await closed).map(String), ['1001', 'shutdown'])
  await moveClock(HOUR)
})
