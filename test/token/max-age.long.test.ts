/*
 * `maxAge` of `jwt.verify` ends what a token has opened as `exp` does: in handshakes, for open connections, in the `tokenCache`
 * and behind tickets. The option is in seconds, or a text such as '2m', and no `clockTolerance` lengthens it.
 */
import fastifyJwt from '@fastify/jwt'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import type { WsAuthOptions } from '../../lib/options/public-options'
import { prepare, SECRET, sign, start } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { secondsFromNow } from '../helpers/forged'
import { moveClock, setClock } from '../helpers/moved-clock'
import type { MovedClock } from '../helpers/moved-clock'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'

type Verify = NonNullable<NonNullable<WsAuthOptions['jwt']>['verify']>

const TEXT = 1
const CLOSE = 8
/** How far the clock of the issuer is ahead, in seconds: however slow this machine is, no token is too old at once. */
const AHEAD = 20
const EXPIRED = { status: 401, code: 'WS_AUTH_TOKEN_EXPIRED' }
const INVALID = { status: 401, code: 'WS_AUTH_TOKEN_INVALID' }
const ACCEPTED = { status: 426, code: undefined }
const TOKEN_EXPIRED = { code: 3000, reason: 'token_expired' }

interface Verifier {
  readonly before?: (app: FastifyInstance) => unknown
  readonly jwt: WsAuthOptions['jwt']
}

const VERIFIERS: Record<string, (verify: Verify) => Verifier> = {
  'a static secret': (verify) => ({ jwt: { secret: SECRET, verify } }),
  'a static secret and a cache': (verify) => ({ jwt: { secret: SECRET, verify: { cache: true, ...verify } } }),
  'an async secret function': (verify) => ({ jwt: { secret: async () => SECRET, verify } }),
  "the app's own @fastify/jwt": (verify) => ({ before: (app) => app.register(fastifyJwt, { secret: SECRET, verify }), jwt: undefined }),
  "the app's own @fastify/jwt in a namespace": (verify) => ({ before: (app) => app.register(fastifyJwt, { secret: SECRET, verify, namespace: 'sockets' }), jwt: undefined })
}

function pluginOf (name: string, { jwt }: Verifier, more: WsAuthOptions = {}): WsAuthOptions {
  return { jwt, ...name.endsWith('namespace') ? { jwtNamespace: 'sockets' } : {}, ...more }
}

async function ask (app: FastifyInstance, token: string, url = '/chat', method: 'GET' | 'POST' = 'GET'): Promise<{ status: number, code: string | undefined }> {
  const { statusCode: status, ...response } = await app.inject({ method, url, headers: { authorization: `Bearer ${token}` } })
  return { status, code: response.json().code }
}

/** When the connection of a token expires, as its handler sees it. */
async function expiryOf (app: FastifyInstance, token: string): Promise<number | null> {
  const socket = await app.injectWS('/chat', { headers: { authorization: `Bearer ${token}` } })
  const [connection] = [...app.wsAuth.connections]
  const { expiresAt } = connection as fastifyWsAuth.Connection
  socket.terminate()
  connection?.close()
  return expiresAt
}

const FORMS: Array<[maxAge: Verify['maxAge'], ms: number]> = [
  [90, 90_000], [1.5, 1500], [2_000_000_000, 2_000_000_000_000], ['90s', 90_000], ['2m', 120_000], ['1h', 3_600_000], ['1 day', 86_400_000], ['90000', 90_000], ['2500ms', 2500], ['1.5h', 5_400_000]
]

for (const [name, verifierOf] of Object.entries(VERIFIERS)) {
  t.test(`a connection expires with ${name} at the earlier of exp and iat + maxAge, in each form of the option`, async (t) => {
    for (const [maxAge, ms] of FORMS) {
      const verifier = verifierOf({ maxAge })
      const { app, log } = await prepare(t, { plugin: pluginOf(name, verifier), before: verifier.before, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
      const iat = secondsFromNow(AHEAD)
      t.equal(await expiryOf(app, sign({ sub: 'ann', iat })), iat * 1000 + ms, `${JSON.stringify(maxAge)}: without exp`)
      t.equal(await expiryOf(app, sign({ sub: 'ann', iat, exp: iat + 5_000_000_000 })), iat * 1000 + ms, `${JSON.stringify(maxAge)}: exp is later`)
      t.equal(await expiryOf(app, sign({ sub: 'ann', iat, exp: iat + 1 })), iat * 1000 + Math.min(ms, 1000), `${JSON.stringify(maxAge)}: exp is earlier`)
      if (ms < 1e10) t.notOk(log.some((line) => line.includes('revocationTtl')), `${JSON.stringify(maxAge)}: no warning that the token outlives its revocation`)
      await app.close()
    }
  })

  t.test(`a token older than maxAge is expired with ${name}, whatever its exp and the clockTolerance, and one without iat is invalid`, async (t) => {
    const verifier = verifierOf({ maxAge: '3s', clockTolerance: 60_000 })
    const { app } = await prepare(t, { plugin: pluginOf(name, verifier), before: verifier.before, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
    t.strictSame(await ask(app, sign({ sub: 'ann', iat: secondsFromNow(-5) })), EXPIRED, 'without exp')
    t.strictSame(await ask(app, sign({ sub: 'ann', iat: secondsFromNow(-5), exp: secondsFromNow(600) })), EXPIRED, 'exp is not due')
    t.strictSame(await ask(app, sign({ sub: 'ann', iat: secondsFromNow(AHEAD), exp: secondsFromNow(-5) })), ACCEPTED, 'exp is due, and within the clockTolerance')
    t.strictSame(await ask(app, sign({ sub: 'ann' })), INVALID, 'without iat')
  })

  t.test(`a token is refused with ${name} and a tokenCache once it is older than maxAge`, async (t) => {
    const verifier = verifierOf({ maxAge: '3s' })
    const { app } = await prepare(t, { plugin: pluginOf(name, verifier, { tokenCache: { max: 10, ttl: 60_000 } }), before: verifier.before, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
    const token = sign({ sub: 'ann', iat: secondsFromNow(AHEAD) })
    t.strictSame(await ask(app, token), ACCEPTED, 'before')
    setClock(t, 25_000)
    t.strictSame(await ask(app, token), EXPIRED, 'after')
  })

  t.test(`a ticket is refused with ${name} once the token behind it is older than maxAge`, async (t) => {
    const verifier = verifierOf({ maxAge: 3 })
    const { app } = await prepare(t, { plugin: pluginOf(name, verifier, { tickets: true }), before: verifier.before, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
    const buy = async (): Promise<string> => {
      const response = await app.inject({ method: 'POST', url: '/ws-ticket', headers: { authorization: `Bearer ${sign({ sub: 'ann', iat })}` } })
      return response.json().ticket
    }
    const iat = secondsFromNow(AHEAD)
    const [first, second, third] = [await buy(), await buy(), (await app.wsAuth.issueTicket({ sub: 'ann' })).ticket]
    const socket = await app.injectWS(`/chat?ticket=${first}`)
    t.equal([...app.wsAuth.connections][0]?.expiresAt, iat * 1000 + 3000, 'the connection of a ticket expires with the token')
    socket.terminate()
    setClock(t, 25_000)
    for (const [what, ticket] of Object.entries({ 'of a token': second, 'of issueTicket': third })) {
      const { statusCode: status, ...response } = await app.inject(`/chat?ticket=${ticket}`)
      t.strictSame({ status, code: response.json().code }, EXPIRED, what)
    }
    await t.rejects(app.wsAuth.issueTicket({ sub: 'ann', iat }), { code: 'WS_AUTH_TOKEN_EXPIRED' }, 'issueTicket refuses claims that are too old')
  })
}

t.test('a connection expires at iat + maxAge also with ignoreExpiration', async (t) => {
  const { app } = await prepare(t, { plugin: { jwt: { secret: SECRET, verify: { ignoreExpiration: true, maxAge: '90s' } } }, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  const iat = secondsFromNow(0)
  t.equal(await expiryOf(app, sign({ sub: 'ann', iat, exp: iat - 5 })), iat * 1000 + 90_000, 'and exp is not asked')
})

t.test('a connection ends by exp only without maxAge', async (t) => {
  for (const verify of [undefined, {}, { maxAge: undefined }]) {
    const { app } = await prepare(t, { plugin: { jwt: { secret: SECRET, verify } }, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
    const iat = secondsFromNow(-1000)
    t.equal(await expiryOf(app, sign({ sub: 'ann', iat })), null, 'no exp')
    t.equal(await expiryOf(app, sign({ sub: 'ann', iat, exp: iat + 5000 })), (iat + 5000) * 1000, 'exp')
  }
})

interface Open extends StartedApp {
  readonly clock: MovedClock
  /** What the handler has heard. */
  readonly heard: string[]
}

async function startMoved (t: Test, verify: Verify, plugin: WsAuthOptions = {}): Promise<Open> {
  const heard: string[] = []
  const started = await start(t, {
    server: { logger: false },
    plugin: { jwt: { secret: SECRET, verify }, renewal: true, ...plugin },
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket) => {
        socket.on('message', (data) => { heard.push(String(data)); socket.send('heard') })
        socket.send('hello')
      })
      app.get('/first', { websocket: true, wsAuth: { renewal: true, token: { message: true } } }, (socket) => socket.send('hello'))
    }
  })
  return { ...started, heard, clock: moveClock(t) }
}

/** The next text of the app, past the frames of this package before it. */
async function said (client: RawClient, text: string): Promise<void> {
  let frame = await client.frame()
  while (String(frame.payload) !== text) frame = await client.frame()
}

async function connect (t: Test, port: number, claims: Record<string, unknown>): Promise<RawClient> {
  const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign({ sub: 'ann', ...claims })}` } })
  await said(client, 'hello')
  return client
}

/** Has so much time gone by, in which a connection is to stay open or to be closed. */
async function isClosedAfter ({ clock, app }: Open, ms: number): Promise<boolean> {
  const { size } = app.wsAuth.connections
  await clock.pass(ms)
  return app.wsAuth.connections.size < size
}

t.test('an open connection is closed within a second of iat + maxAge, and not before', async (t) => {
  const open = await startMoved(t, { maxAge: '30s' })
  const client = await connect(t, open.port, { iat: secondsFromNow(0) })
  t.notOk(await isClosedAfter(open, 28_500), 'it is open before')
  if (!await isClosedAfter(open, 2500)) return t.fail('it is not closed after')
  let frame = await client.frame()
  while (frame.opcode !== CLOSE) frame = await client.frame()
  t.strictSame({ code: frame.payload.readUInt16BE(0), reason: frame.payload.subarray(2).toString() }, TOKEN_EXPIRED)
})

t.test('a message after iat + maxAge is not delivered, also if no timer has fired since', async (t) => {
  const { port, clock, heard } = await startMoved(t, { maxAge: '30s' })
  const client = await connect(t, port, { iat: secondsFromNow(0) })
  client.send(clientFrame(TEXT, 'in time'))
  await said(client, 'heard')
  clock.set(32_000)
  client.send(clientFrame(TEXT, 'too late'))
  t.strictSame(await client.close(), TOKEN_EXPIRED)
  t.strictSame(heard, ['in time'])
})

t.test('a connection lives on after iat + maxAge for the expiryGrace', async (t) => {
  const open = await startMoved(t, { maxAge: '30s' }, { expiryGrace: 10_000 })
  await connect(t, open.port, { iat: secondsFromNow(0) })
  t.notOk(await isClosedAfter(open, 38_500), 'it is open within the grace')
  t.ok(await isClosedAfter(open, 2500), 'it is closed after the grace')
})

t.test('a clockTolerance does not lengthen a connection that maxAge ends', async (t) => {
  const open = await startMoved(t, { maxAge: '30s', clockTolerance: 20_000 })
  await connect(t, open.port, { iat: secondsFromNow(0) })
  t.ok(await isClosedAfter(open, 31_500))
})

t.test('a renewal is valid until maxAge after its own iat, and an older one is refused', async (t) => {
  const open = await startMoved(t, { maxAge: '30s' }, { expiryGrace: 60_000 })
  const { port, clock } = open
  const begun = secondsFromNow(0)
  const client = await connect(t, port, { iat: begun })
  const renew = async (iat: number): Promise<Record<string, unknown>> => {
    client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', iat }) })))
    let answer = JSON.parse(String((await client.frame()).payload))
    while (answer.type === 'auth.renew') answer = JSON.parse(String((await client.frame()).payload))
    return answer
  }
  await clock.pass(20_000)
  t.match(await renew(begun + 10), { type: 'auth.ok', expiresAt: (begun + 10) * 1000 + 30_000 }, 'a newer token')
  await clock.pass(25_000)
  t.match(await renew(begun + 12), { type: 'auth.error', code: 'WS_AUTH_TOKEN_EXPIRED' }, 'a token that is older than maxAge')
  t.notOk(await isClosedAfter(open, 50_000), 'it is open within the grace of the renewed token')
  t.ok(await isClosedAfter(open, 10_000), 'it is closed after')
})

t.test('a connection by a first message expires at iat + maxAge', async (t) => {
  const open = await startMoved(t, { maxAge: '30s' })
  const client = await upgrade(t, open.port, { path: '/first' })
  const iat = secondsFromNow(0)
  client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', iat }) })))
  t.match(JSON.parse(String((await client.frame()).payload)), { type: 'auth.ok', expiresAt: iat * 1000 + 30_000 })
  await said(client, 'hello')
  t.ok(await isClosedAfter(open, 31_500))
})
