/*
 * Each decision is told once: in an event, in a line of the log, and in a count.
 */
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { Audit } from '../../lib/audit/audit'
import { Stats } from '../../lib/audit/stats'
import { WsAuthError } from '../../lib/base/errors'
import fastifyWsAuth from '../../lib/index'
import { prepare, sign } from '../helpers/app'
import { BEARER, decisionsOf, listen, NOW } from '../helpers/audited-chat'
import type { Event, Line } from '../helpers/audited-chat'
import { clientFrame, plainText, RawClient, upgrade } from '../helpers/raw-client'
import { eventually, moveClock, startChat, turn } from '../helpers/renewal-app'
import type { ChatSettings } from '../helpers/renewal-app'
import { statsOf, withoutZeros } from '../helpers/stats'

const KEYS = ['address', 'by', 'code', 'connectionId', 'dryRun', 'duration', 'event', 'match', 'reason', 'route', 'source', 'sub', 'why']

/** An event without what differs from run to run, which is checked here. */
function shapeOf (t: Test, event: Event): Omit<Event, 'duration'> {
  t.strictSame(Object.keys(event).sort(), KEYS)
  t.ok(Number.isFinite(event.duration) && event.duration >= 0 && event.duration < 1e6, `duration ${event.duration}`)
  const { duration, ...rest } = event
  return rest
}

const NOTHING = { code: null, reason: null, match: null, by: null, why: null, route: '/chat', source: null, sub: null, address: '127.0.0.1', connectionId: null, dryRun: false }

t.test('each decision is one event, one line and one count', async (t) => {
  const events = listen(t)
  const { app, log, connect } = await startChat(t, { plugin: { renewal: true }, wsAuth: { roles: ['member'] } })
  const claims = { sub: 'ann', exp: NOW + 600, roles: ['member'] }
  const chat = await connect(sign(claims))
  const { id } = chat.connection
  const known = { ...NOTHING, source: 'header', sub: 'ann', connectionId: id }
  const expected: Array<Omit<Event, 'duration'>> = [{ ...known, event: 'accepted' } as Event]
  await chat.connection.renew(sign({ ...claims, exp: NOW + 700 }))
  expected.push({ ...known, event: 'renewed' } as Event)
  await t.rejects(chat.connection.renew(sign({ ...claims, sub: 'bob', exp: NOW + 800 })))
  expected.push({ ...known, event: 'renewal_refused', code: 'WS_AUTH_TOKEN_INVALID' } as Event)
  await chat.renewByFrame(sign({ ...claims, exp: NOW + 800, roles: [] }))
  expected.push({ ...known, event: 'renewal_refused', code: 'WS_AUTH_FORBIDDEN' } as Event)
  await chat.renewByFrame(1)
  expected.push({ ...known, event: 'renewal_refused', code: 'WS_AUTH_TOKEN_INVALID' } as Event)
  chat.client.close(4000, 'bye')
  await eventually(() => app.wsAuth.connections.size === 0, 'it is closed')
  expected.push({ ...known, event: 'closed', reason: 'client' } as Event)
  await eventually(() => chat.socket.readyState === WebSocket.CLOSED, 'the socket is gone')
  await turn()
  t.strictSame(events.map((event) => shapeOf(t, event)), expected)

  const lines = decisionsOf(log)
  t.strictSame(lines.map(({ event, connectionId, sub, source, route, address, dryRun, code, reason }) => ({ event, connectionId, sub, source, route, address, dryRun, code, reason })), expected.map(({ match, by, why, ...rest }) => rest))
  t.ok(lines.every(({ level, reqId }) => level === 30 && typeof reqId === 'string'), 'all at level info, of their request')
  t.strictSame(lines.map(({ msg }) => msg), [
    'websocket handshake accepted', 'websocket connection renewed', 'websocket renewal refused', 'websocket renewal refused', 'websocket renewal refused', 'websocket connection closed'
  ])
  t.strictSame(lines.map(({ why }) => why), [null, null, 'it is about another subject', 'roles: the route needs one of member, and the user has no roles at all (the "roles" option says in which claim they are)', 'the auth frame has no token', null])
  t.strictSame(statsOf(app), {
    connections: 0, pending: 0, accepted: 1, renewed: 1, refused: { WS_AUTH_TOKEN_INVALID: 2, WS_AUTH_FORBIDDEN: 1 }, closed: { client: 1 }
  })
})

t.test('the event of a closed connection has the reason of its end', async (t) => {
  const events = listen(t)
  const ends = (): Array<Omit<Event, 'duration'>> => events.splice(0).filter(({ event }) => event !== 'accepted').map((event) => shapeOf(t, event))
  const { app, connect } = await startChat(t, { plugin: { maxLifetime: 100_000, limits: { perUser: 1, onLimit: 'close-oldest' } } })
  const closed: Record<string, number> = {}
  const check = async (event: string, reason: string, end: (chat: Awaited<ReturnType<typeof connect>>) => unknown, exp = 1000): Promise<void> => {
    const chat = await connect(sign({ sub: 'ann', exp: NOW + exp }))
    await end(chat)
    await eventually(() => app.wsAuth.connections.get(chat.connection.id) === undefined && chat.closed.code !== null, reason)
    closed[reason] = (closed[reason] ?? 0) + 1
    t.strictSame(ends(), [{ ...NOTHING, source: 'header', sub: 'ann', connectionId: chat.connection.id, event, reason }])
    t.strictSame(statsOf(app).closed, closed)
  }
  await check('closed', 'app', ({ connection }) => { connection.close() })
  await check('closed', 'app', ({ socket }) => { socket.terminate() })
  await check('closed', 'app', ({ socket }) => { socket.close(); socket.close(); socket.terminate() })
  await check('closed', 'client', ({ client }) => { client.close() })
  await check('closed', 'lost', ({ client }) => { client.terminate() })
  await check('closed', 'error', ({ client }) => { (client as unknown as { _socket: { write: (bytes: Buffer) => void } })._socket.write(Buffer.from([0xff, 0xff])) })
  await check('closed', 'connection_replaced', async () => { await connect(sign({ sub: 'ann', exp: NOW + 1000 })) })
  for (const connection of app.wsAuth.connections) connection.close()
  await eventually(() => ends().length === 1, 'the other is closed')
  closed.app = (closed.app ?? 0) + 1
  const clock = moveClock(t)
  await check('expired', 'token_expired', () => { clock.advance(51_000 + 1000) }, 50)
  await check('expired', 'lifetime_exceeded', () => { clock.advance(101_000) })
  clock.exit()
  await check('closed', 'shutdown', () => { void app.close() })
})

/** Each code that a handshake can be refused with, and how. */
const REFUSALS: Array<{ code: string, name: string, status: number, plugin?: fastifyWsAuth.WsAuthOptions, headers?: Record<string, string | undefined>, path?: string, told?: Partial<Event>, wsAuth?: fastifyWsAuth.RouteWsAuth, why?: string }> = [
  { code: 'WS_AUTH_TOKEN_MISSING', name: 'without a token', status: 401, headers: {} },
  { code: 'WS_AUTH_TOKEN_INVALID', name: 'with a token of another signature', status: 401, headers: { authorization: `Bearer ${sign({ sub: 'eve' }, 'x'.repeat(32))}` }, told: { source: 'header' } },
  { code: 'WS_AUTH_TOKEN_INVALID', name: 'with a token that is too long', status: 401, path: `/chat?token=${'x'.repeat(10_000)}`, headers: {}, told: { source: 'query' }, why: 'it is longer than maxTokenBytes' },
  { code: 'WS_AUTH_TOKEN_INVALID', name: 'with claims of another shape', status: 401, plugin: { claims: { type: 'object', required: ['more'] } }, told: { source: 'header', sub: 'ann' }, why: 'its claims do not match the "claims" schema: they must have required property \'more\'' },
  { code: 'WS_AUTH_TOKEN_EXPIRED', name: 'with an expired token', status: 401, headers: { cookie: `token=${sign({ sub: 'ann', exp: 1 })}` }, told: { source: 'cookie' } },
  { code: 'WS_AUTH_TOKEN_REVOKED', name: 'with a token that verify calls revoked', status: 401, plugin: { verify: () => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_TOKEN_REVOKED') } }, told: { source: 'header' } },
  { code: 'WS_AUTH_TICKET_INVALID', name: 'with a token that verify calls a bad ticket', status: 401, plugin: { verify: () => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_TICKET_INVALID') } }, told: { source: 'header' } },
  { code: 'WS_AUTH_TOKEN_AMBIGUOUS', name: 'with two tokens', status: 400, path: `/chat?token=${sign({ sub: 'ann' })}` },
  { code: 'WS_AUTH_FORBIDDEN', name: 'without the role', status: 403, wsAuth: { roles: ['admin'] }, told: { source: 'header', sub: 'ann' } },
  { code: 'WS_AUTH_ORIGIN_FORBIDDEN', name: 'from another origin', status: 403, plugin: { origin: [] }, headers: { ...BEARER, origin: 'https://evil.example' }, told: { source: 'header' } },
  { code: 'WS_AUTH_LIMIT', name: 'where verify throws WS_AUTH_LIMIT', status: 429, plugin: { verify: () => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_LIMIT') } }, told: { source: 'header' } },
  { code: 'WS_AUTH_BUSY', name: 'where verify throws WS_AUTH_BUSY', status: 503, plugin: { verify: () => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_BUSY') } }, told: { source: 'header' } },
  { code: 'WS_AUTH_UNAVAILABLE', name: 'where authorize throws', status: 503, wsAuth: { authorize: () => { throw new Error('thrown by a test') } }, told: { source: 'header', sub: 'ann' } },
  { code: 'WS_AUTH_UNAVAILABLE', name: 'where verify hangs', status: 503, plugin: { handshakeTimeout: 100, verify: async () => await new Promise(() => {}) }, told: { source: 'header' } },
  { code: 'WS_AUTH_UNAVAILABLE', name: 'where verify throws WS_AUTH_UNAVAILABLE without a cause', status: 503, plugin: { verify: () => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_UNAVAILABLE') } }, told: { source: 'header' } },
  { code: 'WS_AUTH_HANDSHAKE_INVALID', name: 'with a bad key', status: 400, headers: { ...BEARER, 'sec-websocket-key': 'x' } },
  { code: 'WS_AUTH_ROUTE_NOT_WEBSOCKET', name: 'for a plain route', status: 404, path: '/plain', told: { route: '/plain' } },
  { code: 'WS_AUTH_ROUTE_UNPROTECTED', name: 'for a route that was declared too early', status: 500, path: '/early', told: { route: '/early' } }
]

function settingsOf ({ plugin = {}, wsAuth }: Pick<typeof REFUSALS[number], 'plugin' | 'wsAuth'>): ChatSettings {
  return {
    plugin,
    ...(wsAuth === undefined ? {} : { wsAuth }),
    before: (app) => { app.get('/early', async () => 'early') },
    routes: (app) => { app.get('/plain', async () => 'plain') }
  }
}

t.test('each refusal of a handshake is one event, one line and one count', async (t) => {
  for (const refusal of REFUSALS) {
    const { code, name, status, headers = BEARER, path = '/chat', told, why } = refusal
    for (const rejectWith of ['http', 'close'] as const) {
      await t.test(`a handshake ${name} is refused with ${code} if rejectWith is '${rejectWith}'`, async (t) => {
        const events = listen(t)
        const { app, log, port } = await startChat(t, settingsOf({ ...refusal, plugin: { ...refusal.plugin, rejectWith } }))
        const { answer } = await upgrade(t, port, { path, headers })
        const { close } = fastifyWsAuth.wsAuthErrors[code as keyof typeof fastifyWsAuth.wsAuthErrors]
        t.equal(answer.status, rejectWith === 'close' && close !== null && name !== 'where verify hangs' ? 101 : status)
        const event = { ...NOTHING, event: 'refused', code, ...told }
        t.strictSame(events.map((each) => shapeOf(t, each)), [event])
        const lines = decisionsOf(log)
        t.equal(lines.length, 1)
        const { level, err, msg, why: cause, ...line } = lines[0] as Line
        t.match(line, event)
        t.equal(level, status < 500 ? 30 : code === 'WS_AUTH_BUSY' ? 40 : 50)
        if (level === 50) t.match(err, { type: String, message: String, stack: String })
        else t.equal(err, undefined)
        if (why !== undefined) t.equal(cause, why)
        t.match(msg, code === 'WS_AUTH_ROUTE_UNPROTECTED' ? /^\/early was declared before/ : /^websocket handshake refused$/)
        await eventually(() => statsOf(app).pending === 0, 'nothing is pending')
        t.strictSame(statsOf(app), { connections: 0, pending: 0, accepted: 0, renewed: 0, refused: { [code]: 1 }, closed: {} })
      })
    }
  }

  const told = new Set([...REFUSALS.map(({ code }) => code), 'WS_AUTH_TIMEOUT'])
  t.strictSame(Object.keys(fastifyWsAuth.wsAuthErrors).filter((code) => !told.has(code)), [], 'every code has a case')
})

t.test('a handshake past limits.perUser causes one event and one count', async (t) => {
  const events = listen(t)
  const { app, port, connect } = await startChat(t, { plugin: { limits: { perUser: 1 } } })
  await connect(sign({ sub: 'ann' }))
  events.length = 0
  t.equal((await upgrade(t, port, { path: '/chat', headers: BEARER })).answer.status, 429)
  t.strictSame(events.map((event) => shapeOf(t, event)), [{ ...NOTHING, event: 'refused', code: 'WS_AUTH_LIMIT', source: 'header', sub: 'ann' }])
  await eventually(() => statsOf(app).pending === 0, 'nothing is pending')
  t.strictSame(statsOf(app), { connections: 1, pending: 0, accepted: 1, renewed: 0, refused: { WS_AUTH_LIMIT: 1 }, closed: {} })
})

t.test('a first message that is refused is one event, one line and one count', async (t) => {
  const cases: Array<[string, Partial<Event>, string | null]> = [
    ['WS_AUTH_TIMEOUT', {}, null],
    ['WS_AUTH_TOKEN_INVALID', {}, 'hello'],
    ['WS_AUTH_TOKEN_INVALID', { source: 'message' }, JSON.stringify({ type: 'auth', token: 'x' })],
    ['WS_AUTH_TOKEN_EXPIRED', { source: 'message' }, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann', exp: 1 }) })],
    ['WS_AUTH_FORBIDDEN', { source: 'message', sub: 'ann' }, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann' }) })]
  ]
  for (const [code, told, text] of cases) {
    await t.test(`a client that sends ${text?.slice(0, 30) ?? 'nothing'} is refused with ${code}`, async (t) => {
      const events = listen(t)
      const { app, log, port } = await startChat(t, { plugin: { token: { message: text === null ? { timeout: 300 } : true } }, wsAuth: { roles: ['admin'] } })
      const client = await upgrade(t, port, { path: '/chat' })
      t.match(statsOf(app), { connections: 0, pending: 1, accepted: 0 })
      if (text !== null) client.send(clientFrame(1, text))
      await client.close()
      t.strictSame(events.map((each) => shapeOf(t, each)), [{ ...NOTHING, event: 'refused', code, ...told }])
      t.equal(decisionsOf(log).length, 1)
      t.strictSame(statsOf(app), { connections: 0, pending: 0, accepted: 0, renewed: 0, refused: { [code]: 1 }, closed: {} })
    })
  }

  await t.test('a client that leaves before its first message causes no event', async (t) => {
    const events = listen(t)
    const { app, port } = await startChat(t, { plugin: { renewal: true, token: { message: true } } })
    const client = await upgrade(t, port, { path: '/chat' })
    client.socket.destroy()
    await eventually(() => statsOf(app).pending === 0, 'it has gone')
    t.strictSame(events, [])
  })
})

t.test('a handshake that no hook answers causes an event too', async (t) => {
  const events = listen(t)
  const told = { ...NOTHING, route: null, event: 'refused', code: 'WS_AUTH_UNAVAILABLE' }

  await t.test('a handshake that no hook answers causes an event at the deadline', async (t) => {
    const { app, port, log } = await startChat(t, {
      plugin: { handshakeTimeout: 50 },
      routes: (app) => { app.addHook('onRequest', async () => await new Promise(() => {})) }
    })
    const client = await RawClient.open(t, port)
    client.upgrade({ path: '/chat', headers: BEARER })
    t.equal((await client.response()).status, 503)
    t.strictSame(events.splice(0).map((event) => shapeOf(t, event)), [told])
    const [line] = decisionsOf(log)
    t.match(line, { level: 50, msg: 'websocket handshake refused', err: { message: 'the handshake took longer than handshakeTimeout' } })
    t.same(statsOf(app).refused, { WS_AUTH_UNAVAILABLE: 1 })
  })

  await t.test('a handshake that was refused before causes no second event if the error handler of the app does not answer', async (t) => {
    for (const handshakeTimeout of [50, 60_000]) {
      const { app, port, log } = await startChat(t, {
        plugin: { handshakeTimeout },
        before: (app) => { app.setErrorHandler(async () => await new Promise(() => {})) }
      })
      const client = await RawClient.open(t, port)
      client.upgrade({ path: '/chat' })
      await eventually(() => events.length > 0, 'it is refused')
      // At the deadline, or at the shutdown.
      if (handshakeTimeout > 50) void app.close()
      t.equal((await client.response()).status, 503)
      t.strictSame(events.splice(0).map(({ code }) => code), ['WS_AUTH_TOKEN_MISSING'])
      t.equal(decisionsOf(log).length, 1)
      t.same(statsOf(app).refused, { WS_AUTH_TOKEN_MISSING: 1 })
    }
  })

  await t.test('a handshake that no hook answers causes an event at the shutdown, also if it has no address', async (t) => {
    const { app, log } = await prepare(t, {
      routes: (app) => {
        app.addHook('onRequest', async () => await new Promise(() => {}))
        app.get('/chat', { websocket: true }, () => {})
      }
    })
    const answered = app.injectWS('/chat', { headers: BEARER })
    await eventually(() => statsOf(app).pending === 1, 'it is pending')
    void app.close()
    await t.rejects(answered, { message: 'Unexpected server response: 503' })
    t.strictSame(events.splice(0).map((event) => shapeOf(t, event)), [{ ...told, address: null }])
    t.match(decisionsOf(log)[0], { err: { message: 'the server is closing' } })
  })
})

t.test('the event of a request without a route has the route null', async (t) => {
  const events = listen(t)
  const stats = new Stats()
  new Audit(stats).refused({ routeOptions: {}, ip: '127.0.0.1', log: { info: () => {} } } as never, new WsAuthError('WS_AUTH_LIMIT'), null, { purpose: 'connection', route: null, startedAt: Date.now() })
  t.strictSame(events.map((event) => shapeOf(t, event)), [{ ...NOTHING, route: null, event: 'refused', code: 'WS_AUTH_LIMIT' }])
  t.same(withoutZeros(stats.snapshot(0, 0).refused), { WS_AUTH_LIMIT: 1 })
})

t.test('a dry run that is refused causes an event and no count', async (t) => {
  const events = listen(t)
  const { app, log, port } = await startChat(t, { wsAuth: { roles: ['admin'] } })
  const client = await RawClient.open(t, port)
  t.equal((await client.send(plainText({ path: '/chat', headers: BEARER })).response()).status, 403)
  t.strictSame(events.map((event) => shapeOf(t, event)), [{ ...NOTHING, event: 'refused', code: 'WS_AUTH_FORBIDDEN', source: 'header', sub: 'ann', dryRun: true }])
  t.match(decisionsOf(log), [{ dryRun: true, level: 30 }])
  t.strictSame(statsOf(app).refused, {})
  t.equal((await client.send(plainText({ path: '/chat', headers: { authorization: `Bearer ${sign({ sub: 'ann', roles: ['admin'] })}` } })).response()).status, 426)
  t.equal(events.length, 1, 'one that would be accepted is no decision')
})

t.test('a renewal that fails by fault of the app is logged once at level error', async (t) => {
  const fail = (): never => { throw new Error('thrown by a test') }
  for (const [way, plugin] of Object.entries<fastifyWsAuth.WsAuthOptions>({ 'that throws': { user: (claims) => claims.fails === true ? fail() : claims }, 'that hangs': { user: async (claims) => claims.fails === true ? await new Promise(() => {}) : claims } })) {
    await t.test(`a user function ${way} fails the renewal with one line at level error`, async (t) => {
      const events = listen(t)
      const { app, log, connect } = await startChat(t, { plugin: { renewal: true, handshakeTimeout: 500, ...plugin } })
      const chat = await connect(sign({ sub: 'ann' }))
      t.equal((await chat.renewByFrame(sign({ sub: 'ann', fails: true }))).code, 'WS_AUTH_UNAVAILABLE')
      const event = { ...NOTHING, event: 'renewal_refused', code: 'WS_AUTH_UNAVAILABLE', source: 'header', sub: 'ann', connectionId: chat.connection.id }
      t.strictSame(events.slice(1).map((each) => shapeOf(t, each)), [event])
      t.match(decisionsOf(log).slice(1), [{ ...event, level: 50, msg: 'websocket renewal refused', err: { type: 'Error', message: String, stack: String } }])
      t.equal(decisionsOf(log).length, 2)
      t.match(statsOf(app), { connections: 1, refused: { WS_AUTH_UNAVAILABLE: 1 } })
    })
  }
})
