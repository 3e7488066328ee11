/*
 * Revocation: whom it closes, whom it keeps out, for how long, and whom it leaves in peace.
 */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { WebSocket } from 'ws'
import fastifyWsAuth, { memoryBackplane } from '../../lib/index'
import { sign, start, within } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { keys, mint, seconds } from '../helpers/keys'
import { setClock } from '../helpers/moved-clock'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { eventually, hold, startChat } from '../helpers/renewal-app'
import type { Chat, ChatApp } from '../helpers/renewal-app'

type Claims = Record<string, unknown>
type Line = Record<string, unknown> & { level: number, msg: string }

const REVOKED = { code: 3000, reason: 'token_revoked' }
const HOUR = 3_600_000
const NOW = seconds()

async function closeOf ({ closed }: Chat): Promise<Chat['closed']> {
  await eventually(() => closed.code !== null, 'it is closed')
  return { ...closed }
}

function authFrame (token: string): Buffer {
  return clientFrame(1, JSON.stringify({ type: 'auth', token }))
}

function bearer (token: string): { headers: Record<string, string> } {
  return { headers: { authorization: `Bearer ${token}` } }
}

/** The status and the code of a handshake's answer. */
async function answerTo (t: Test, port: number, token: string, path = '/chat'): Promise<string> {
  const { answer } = await upgrade(t, port, { path, ...bearer(token) })
  return answer.status === 101 ? '101' : `${answer.status} ${(JSON.parse(answer.body) as { code: string }).code}`
}

/** Ann with two logins, of which one has two tokens, and Bob. */
function people (): Record<string, Claims> {
  const iat = NOW - 10
  return {
    'ann, first': { sub: 'ann', sid: 's1', jti: 'j1', iat },
    'ann, first again': { sub: 'ann', sid: 's1', jti: 'j2', iat },
    'ann, second': { sub: 'ann', sid: 's2', jti: 'j3', iat: iat + 5 },
    bob: { sub: 'bob', sid: 's3', jti: 'j4', iat },
    'nobody with a jti': { jti: 'j5', iat },
    'without anything': {}
  }
}

const CASES: Array<[match: fastifyWsAuth.RevokeMatch, whom: string[]]> = [
  [{ jti: 'j1' }, ['ann, first']],
  [{ jti: 'j5' }, ['nobody with a jti']],
  [{ jti: 's1' }, []],
  [{ sid: 's1' }, ['ann, first', 'ann, first again']],
  [{ sid: 'j1' }, []],
  [{ sub: 'ann' }, ['ann, first', 'ann, first again', 'ann, second']],
  [{ sub: 'ann', beforeAt: (NOW - 8) * 1000 }, ['ann, first', 'ann, first again']],
  [{ sub: 'ann', beforeAt: 0 }, []],
  [{ sub: 'ann', beforeAt: -1e15 }, []],
  [{ sub: 'ann', beforeAt: 1e15 }, ['ann, first', 'ann, first again', 'ann, second']],
  [{ sub: 'Ann' }, []],
  [{ sub: 'eve' }, []]
]

for (const [match, whom] of CASES) {
  t.test(`revoking ${JSON.stringify(match)} closes ${whom.join(' and ') || 'nobody'}, and keeps them out`, async (t) => {
    const events: fastifyWsAuth.WsAuthEvent[] = []
    const { app, port, log, connect } = await startChat(t)
    const chats = new Map<string, Chat>()
    for (const [name, claims] of Object.entries(people())) chats.set(name, await connect(sign(claims)))
    onDecision(t, (event) => events.push(event))

    const promise = app.wsAuth.revoke(match)
    const others = [...chats].filter(([name]) => !whom.includes(name))
    t.equal(app.wsAuth.connections.size, others.length, 'it is done before the call returns')
    const result = await promise
    t.strictSame(Object.keys(result).sort(), ['closed', 'instances'])
    t.equal(result.closed, whom.length)
    t.strictSame(result.instances.map(({ answered, closed }) => ({ answered, closed })), [{ answered: true, closed: whom.length }])
    t.match(result.instances[0]?.id, /^.+:\d+:[\w-]{8}$/)
    for (const name of whom) t.strictSame(await closeOf(chats.get(name) as Chat), REVOKED, name)
    for (const [name, chat] of others) t.ok(await chat.isHeard(), name)

    const ids = whom.map((name) => chats.get(name)?.connection.id).sort()
    t.strictSame(events.map(({ event, reason, code, connectionId }) => ({ event, reason, code, connectionId })).sort((a, b) => String(a.connectionId) < String(b.connectionId) ? -1 : 1),
      ids.map((connectionId) => ({ event: 'closed', reason: 'token_revoked', code: null, connectionId })), 'each is told once')
    const lines = log.map((line) => JSON.parse(line) as Line)
    t.strictSame(lines.filter(({ reason }) => reason === 'token_revoked').map(({ connectionId }) => connectionId).sort(), ids)
    const [[kind, value] = []] = Object.entries(match)
    const told = lines.filter(({ command }) => command !== undefined)
    t.strictSame(told.map(({ command, by, value, closed, instances, level }) => ({ command, by, value, closed, instances, level })),
      [{ command: 'revoke', by: kind, value, closed: whom.length, instances: 1, level: 30 }])
    t.strictSame(app.wsAuth.stats().closed, whom.length === 0 ? {} : { token_revoked: whom.length })

    events.length = 0
    for (const [name, claims] of Object.entries(people())) {
      t.equal(await answerTo(t, port, sign({ ...claims })), whom.includes(name) ? '401 WS_AUTH_TOKEN_REVOKED' : '101', name)
    }
    t.equal(events.filter(({ event, code }) => event === 'refused' && code === 'WS_AUTH_TOKEN_REVOKED').length, whom.length)
    t.strictSame(app.wsAuth.stats().refused, whom.length === 0 ? {} : { WS_AUTH_TOKEN_REVOKED: whom.length })
    t.equal((await app.wsAuth.revoke(match)).closed, 0, 'a second time there is nobody')
  })
}

t.test('a revoked token is refused wherever it comes from', async (t) => {
  const { app, port, connect } = await startChat(t, {
    server: { routerOptions: { maxParamLength: 1000 } },
    plugin: { token: { param: true, message: true }, tickets: true, closeCodes: { unauthorized: 4401 } },
    routes: (app) => {
      const handler = (socket: WebSocket): void => { socket.send('the handler was run') }
      app.get('/param/:token', { websocket: true, wsAuth: { token: { message: false } } }, handler)
      app.get('/optional', { websocket: true, wsAuth: 'optional' }, handler)
      app.get('/closing', { websocket: true, wsAuth: { rejectWith: 'close' } }, handler)
      app.get('/ticketed', { websocket: true, wsAuth: { tickets: { require: true } } }, handler)
    }
  })
  const claims = { sub: 'ann', jti: 'j1', iat: seconds(-10) }
  const token = sign(claims)
  const headers = { authorization: `Bearer ${token}` }
  const tickets: string[] = []
  for (let i = 0; i < 2; i++) tickets.push((await app.inject({ method: 'POST', url: '/ws-ticket', headers })).json<{ ticket: string }>().ticket)
  tickets.push((await app.wsAuth.issueTicket(claims)).ticket)
  const other = sign({ ...claims, jti: 'j2' })
  const chat = await connect(other)

  t.equal((await app.wsAuth.revoke({ jti: 'j1' })).closed, 0)
  const before = app.wsAuth.stats().accepted
  const encoded = Buffer.from(token).toString('base64url')
  const ways: Record<string, { path: string, headers?: Record<string, string> }> = {
    header: { path: '/chat', headers },
    subprotocol: { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${token}` } },
    'one-entry subprotocol': { path: '/chat', headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${encoded}` } },
    query: { path: `/chat?token=${token}` },
    cookie: { path: '/chat', headers: { cookie: `token=${token}` } },
    param: { path: `/param/${token}` },
    ticket: { path: `/chat?ticket=${tickets[0]}` },
    'ticket of issueTicket': { path: `/chat?ticket=${tickets[2]}` },
    'ticket that is needed beside a good token': { path: `/ticketed?ticket=${tickets[1]}`, headers: { authorization: `Bearer ${other}` } },
    'optional route': { path: '/optional', headers }
  }
  for (const [name, settings] of Object.entries(ways)) {
    const { answer } = await upgrade(t, port, settings)
    t.equal(answer.status, 401, name)
    t.equal((JSON.parse(answer.body) as { code: string }).code, 'WS_AUTH_TOKEN_REVOKED', name)
    t.match(answer.headers['www-authenticate'], 'error="invalid_token"', name)
  }
  const closing = await upgrade(t, port, { path: '/closing', headers })
  t.equal(closing.answer.status, 101)
  t.strictSame(await closing.close(), { code: 4401, reason: 'token_revoked' })
  const first = await upgrade(t, port, { path: '/chat' })
  t.strictSame(await first.send(authFrame(token)).send(clientFrame(1, 'more')).close(), { code: 4401, reason: 'token_revoked' })
  for (const url of ['/chat', '/optional']) {
    const dry = await app.inject({ url, headers })
    t.equal(dry.statusCode, 401)
    t.equal(dry.json().code, 'WS_AUTH_TOKEN_REVOKED', `a dry run of ${url}`)
  }
  const asked = await app.inject({ method: 'POST', url: '/ws-ticket', headers })
  t.equal(`${asked.statusCode} ${asked.json<{ code: string }>().code}`, '401 WS_AUTH_TOKEN_REVOKED', 'nor is there another ticket')
  await t.rejects(app.injectWS('/chat', { headers }), { message: 'Unexpected server response: 401' })

  t.equal((await chat.renewByFrame(token)).code, 'WS_AUTH_TOKEN_REVOKED', 'a renewal by frame')
  await t.rejects(chat.connection.renew(token), { code: 'WS_AUTH_TOKEN_REVOKED' })
  t.equal(chat.connection.claims?.jti, 'j2', 'a refused renewal changes nothing')
  t.ok(await chat.isHeard(), 'nor does it close what has a good token')
  t.equal(app.wsAuth.stats().accepted, before, 'nothing was accepted')
})

t.test('a revocation reaches a first message that waits, and one that is being verified', async (t) => {
  const held = hold()
  let isAsked = false
  const { app, port, log } = await start(t, {
    plugin: { token: { message: true } },
    routes: (app) => {
      app.get('/chat', { websocket: true, wsAuth: { authorize: async () => { isAsked = true; await held.wait(); return true } } }, (socket) => {
        socket.send('the handler was run')
      })
    }
  })
  const [late, early] = [await upgrade(t, port, { path: '/chat' }), await upgrade(t, port, { path: '/chat' })]
  const token = sign({ sub: 'ann', jti: 'j1' })
  early.send(authFrame(token)).send(clientFrame(1, 'behind'))
  await eventually(() => isAsked, 'it is being verified')
  t.equal((await app.wsAuth.revoke({ jti: 'j1' })).closed, 0, 'it is no connection yet')
  held.release()
  t.strictSame(await early.close(), REVOKED)
  t.strictSame(await late.send(authFrame(token)).close(), REVOKED)
  t.equal(app.wsAuth.connections.size, 0)
  t.strictSame(app.wsAuth.stats().closed, { token_revoked: 1 })
  t.strictSame(app.wsAuth.stats().refused, { WS_AUTH_TOKEN_REVOKED: 1 })
  t.equal(log.filter((line) => (JSON.parse(line) as Line).event === 'accepted').length, 1, 'one was told of, and its end')
})

t.test('without beforeAt it is now: all tokens of this second, and none of the next', async (t) => {
  const { app, port } = await startChat(t)
  t.equal(await answerTo(t, port, sign({ sub: 'ann', iat: seconds() })), '101')
  const before = seconds()
  await app.wsAuth.revoke({ sub: 'ann' })
  const after = seconds()
  t.equal(await answerTo(t, port, sign({ sub: 'ann', iat: before })), '401 WS_AUTH_TOKEN_REVOKED')
  t.equal(await answerTo(t, port, sign({ sub: 'ann', iat: before + 0.999 })), '401 WS_AUTH_TOKEN_REVOKED')
  t.equal(await answerTo(t, port, sign({ sub: 'ann' })), '401 WS_AUTH_TOKEN_REVOKED', 'one that does not say when')
  t.equal(await answerTo(t, port, sign({ sub: 'ann', iat: after + 1 })), '101')
  t.equal(await answerTo(t, port, sign({ sub: 'bob', iat: before })), '101')
})

t.test('an earlier beforeAt never undoes a later one, on whatever instance and in whatever order', async (t) => {
  const backplane = memoryBackplane()
  const [one, two] = [await startChat(t, { plugin: { backplane } }), await startChat(t, { plugin: { backplane } })]
  const now = seconds()
  for (const [app, ago] of [[one, 30], [two, 60], [two, 20], [one, 1000], [one, 40], [two, 1e6]] as Array<[ChatApp, number]>) {
    await app.app.wsAuth.revoke({ sub: 'ann', beforeAt: (now - ago) * 1000 })
  }
  for (const { port } of [one, two]) {
    t.equal(await answerTo(t, port, sign({ sub: 'ann', iat: now - 20 })), '401 WS_AUTH_TOKEN_REVOKED')
    t.equal(await answerTo(t, port, sign({ sub: 'ann', iat: now - 19 })), '101')
  }
})

t.test('a revocation that ends in the past only closes', async (t) => {
  const { app, connect, port } = await startChat(t)
  for (const match of [{ jti: 'j1' }, { sid: 's1' }, { sub: 'ann' }]) {
    for (const untilAt of [Date.now() - 1, 0, -5]) {
      const chat = await connect(sign({ sub: 'ann', jti: 'j1', sid: 's1', iat: seconds(-10) }))
      t.equal((await app.wsAuth.revoke(match, { untilAt })).closed, 1)
      t.strictSame(await closeOf(chat), REVOKED)
      t.equal(await answerTo(t, port, sign({ sub: 'ann', jti: 'j1', sid: 's1', iat: seconds(-10) })), '101')
      t.equal((await app.wsAuth.disconnect(match as fastifyWsAuth.DisconnectMatch)).closed, 1)
    }
  }
})

t.test('a revocation ends at untilAt, by default after revocationTtl', async (t) => {
  const { app, port } = await startChat(t, { plugin: { revocationTtl: HOUR } })
  const iat = seconds(-10)
  const tokens = { jti: sign({ jti: 'j1', iat }), sid: sign({ sid: 's1', iat }), sub: sign({ sub: 'ann', iat }), long: sign({ jti: 'j2', iat }) }
  await app.wsAuth.revoke({ jti: 'j1' }, { untilAt: Date.now() + HOUR / 2 })
  await app.wsAuth.revoke({ jti: 'j1' }, { untilAt: Date.now() + HOUR / 4 })
  await app.wsAuth.revoke({ sid: 's1' })
  await app.wsAuth.revoke({ sub: 'ann' })
  await app.wsAuth.revoke({ jti: 'j2' }, { untilAt: Date.now() + 100 * HOUR })
  const answers = async (): Promise<string[]> => {
    const all: string[] = []
    for (const [name, token] of Object.entries(tokens)) if (await answerTo(t, port, token) !== '101') all.push(name)
    return all
  }
  t.strictSame(await answers(), ['jti', 'sid', 'sub', 'long'])
  setClock(t, HOUR / 2 - 60_000)
  t.strictSame(await answers(), ['jti', 'sid', 'sub', 'long'])
  setClock(t, 60_000)
  t.strictSame(await answers(), ['sid', 'sub', 'long'])
  setClock(t, HOUR / 2)
  t.strictSame(await answers(), ['long'])
  setClock(t, 100 * HOUR)
  t.strictSame(await answers(), [])
})

t.test('anonymous connections and public routes are nobody\'s: no claim closes them', async (t) => {
  const { app, port } = await start(t, {
    routes: (app) => {
      app.get('/optional', { websocket: true, wsAuth: 'optional' }, (socket) => { socket.on('message', (data) => socket.send(data)) })
      app.get('/public', { websocket: true, wsAuth: false }, (socket) => { socket.on('message', (data) => socket.send(data)) })
    }
  })
  const clients = [await upgrade(t, port, { path: '/optional' }), await upgrade(t, port, { path: '/public' })]
  for (const value of ['null', 'undefined', 'anonymous', ' ', '__proto__']) {
    for (const kind of ['jti', 'sid', 'sub']) t.equal((await app.wsAuth.revoke({ [kind]: value } as never)).closed, 0)
    t.equal((await app.wsAuth.revoke({ sub: value, beforeAt: 1e15 })).closed, 0)
  }
  for (const client of clients) t.equal(String((await client.send(clientFrame(1, 'still here')).frame()).payload), 'still here')
  t.equal((await upgrade(t, port, { path: '/optional' })).answer.status, 101)
})

t.test('after a renewal the old names close nothing and the new ones do', async (t) => {
  const { app, connect } = await startChat(t, { plugin: { renewal: true } })
  for (const kind of ['jti', 'sid'] as const) {
    for (const by of ['frame', 'renew'] as const) {
      const claims = { sub: 'ann', iat: seconds(-10) }
      const renewed = { ...claims, [kind]: `new ${by}` }
      const chat = await connect(sign({ ...claims, [kind]: `old ${by}` }))
      if (by === 'frame') t.equal((await chat.renewByFrame(sign(renewed))).type, 'auth.ok')
      else await chat.connection.renew(sign(renewed))
      t.equal((await app.wsAuth.revoke({ [kind]: `old ${by}` } as never)).closed, 0)
      t.ok(await chat.isHeard())
      t.equal((await chat.renewByFrame(sign({ ...claims, [kind]: `old ${by}` }))).code, 'WS_AUTH_TOKEN_REVOKED', 'and there is no way back')
      t.equal((await app.wsAuth.revoke({ [kind]: `new ${by}` } as never)).closed, 1)
      t.strictSame(await closeOf(chat), REVOKED)
    }
  }
})

t.test('a renewal that takes a name away leaves nothing to be found by, and one that brings one is', async (t) => {
  const { app, connect } = await startChat(t)
  const chat = await connect(sign({ sub: 'ann', jti: 'j1', iat: seconds(-10) }))
  await chat.connection.renew(sign({ sub: 'ann', sid: 's1', iat: seconds(-10) }))
  t.equal((await app.wsAuth.disconnect({ jti: 'j1' })).closed, 0)
  t.equal((await app.wsAuth.disconnect({ sid: 's1' })).closed, 1)
  t.equal((await closeOf(chat)).reason, 'disconnected')
})

t.test('a connection that was renewed after beforeAt is another login', async (t) => {
  const { app, connect } = await startChat(t)
  const [renewed, old] = [await connect(sign({ sub: 'ann', iat: seconds(-60) })), await connect(sign({ sub: 'ann', iat: seconds(-60) }))]
  await renewed.connection.renew(sign({ sub: 'ann', iat: seconds(-10) }))
  t.equal((await app.wsAuth.revoke({ sub: 'ann', beforeAt: seconds(-30) * 1000 })).closed, 1)
  t.strictSame(await closeOf(old), REVOKED)
  t.ok(await renewed.isHeard())
  await t.rejects(renewed.connection.renew(sign({ sub: 'ann', iat: seconds(-60) })))
})

t.test('a refused renewal leaves the connection to be found as it was', async (t) => {
  const { app, connect } = await startChat(t, { wsAuth: { authorize: ({ role }: Claims) => role !== 'none' } as never })
  const claims = { sub: 'ann', jti: 'j1', sid: 's1', iat: seconds(-10) }
  const chat = await connect(sign(claims))
  for (const next of [{ ...claims, jti: 'j2', sid: 's2', role: 'none' }, { ...claims, sub: 'bob', jti: 'j2', sid: 's2' }, { ...claims, jti: 'j2', sid: 's2', iat: seconds(-20) }]) {
    await t.rejects(chat.connection.renew(sign(next)))
    for (const match of [{ jti: 'j2' }, { sid: 's2' }, { sub: 'bob' }]) t.equal((await app.wsAuth.disconnect(match)).closed, 0)
  }
  t.ok(await chat.isHeard())
  t.equal((await app.wsAuth.revoke({ sid: 's1' })).closed, 1)
  t.strictSame(await closeOf(chat), REVOKED)
})

t.test('a renewal under way when its new token is revoked is refused, and when its connection is revoked ends with it', async (t) => {
  const held = hold()
  let count = 0
  const { app, connect } = await startChat(t, { wsAuth: { authorize: async () => { if (++count > 2) await held.wait(); return true } } })
  const claims = { sub: 'ann', iat: seconds(-10) }
  const [stays, goes] = [await connect(sign({ ...claims, jti: 'j1' })), await connect(sign({ ...claims, jti: 'j2' }))]
  const outcomes = [stays, goes].map(async ({ connection }, i) => await connection.renew(sign({ ...claims, jti: `new ${i}` })).then(() => 'renewed', ({ code }) => String(code)))
  await eventually(() => count === 4, 'both are under way')
  t.equal((await app.wsAuth.revoke({ jti: 'new 0' })).closed, 0)
  t.equal((await app.wsAuth.revoke({ jti: 'j2' })).closed, 1)
  held.release()
  t.strictSame(await Promise.all(outcomes), ['WS_AUTH_TOKEN_REVOKED', 'WS_AUTH_TOKEN_INVALID'])
  t.equal(stays.connection.claims?.jti, 'j1')
  t.ok(await stays.isHeard())
  t.strictSame(await closeOf(goes), REVOKED)
  t.equal((await app.wsAuth.disconnect({ jti: 'new 1' })).closed, 0, 'it did not come back')
})

t.test('nothing that was sent behind the message that revokes reaches the handler', async (t) => {
  const heard: string[] = []
  const { app, port } = await start(t, {
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket) => {
        socket.on('message', (data) => {
          heard.push(String(data))
          if (String(data) === 'log me out') void app.wsAuth.revoke({ sub: 'ann' })
        })
        for (const event of ['ping', 'pong'] as const) socket.on(event, () => heard.push(event))
      })
    }
  })
  const client = await upgrade(t, port, { path: '/chat', ...bearer(sign({ sub: 'ann', iat: seconds(-10) })) })
  client.send(Buffer.concat([clientFrame(1, 'one'), clientFrame(1, 'log me out'), clientFrame(1, 'two'), clientFrame(9, ''), clientFrame(2, 'three'), clientFrame(10, '')]))
  t.strictSame(await client.close(), REVOKED)
  for (let i = 0; i < 20; i++) client.send(clientFrame(1, `late ${i}`))
  client.send(clientFrame(8, Buffer.from([0x0b, 0xb8])))
  await within(5000, 'the connection is gone', client.ended)
  t.strictSame(heard, ['one', 'log me out'])
  t.equal(app.wsAuth.stats().closed.token_revoked, 1)
})

t.test('revoked from where the app may be called in the middle of things', async (t) => {
  const claims = { sub: 'ann', jti: 'j1', iat: seconds(-10) }
  const results: number[] = []
  const revoke = (app: FastifyInstance): void => { void app.wsAuth.revoke({ jti: 'j1' }).then(({ closed }) => results.push(closed)) }
  const places: Record<string, [closed: number[], (app: FastifyInstance) => fastifyWsAuth.RouteWsAuth | undefined, (app: FastifyInstance, socket: WebSocket) => void]> = {
    'a handler': [[1], () => true, (app) => revoke(app)],
    authorize: [[0], (app) => ({ authorize: () => { revoke(app); return true } }), () => {}],
    'authorize, later': [[0], (app) => ({ authorize: async () => { await Promise.resolve(); revoke(app); return true } }), () => {}],
    'a listener for its own close': [[1, 0], () => true, (app, socket) => { socket.on('close', () => revoke(app)); revoke(app) }]
  }
  for (const [place, [expected, wsAuth, handle]] of Object.entries(places)) {
    await t.test(place, async (t) => {
      results.length = 0
      let isRun = false
      const { app, port } = await start(t, {
        routes: (app) => { app.get('/chat', { websocket: true, wsAuth: wsAuth(app) }, (socket) => { isRun = true; handle(app, socket) }) }
      })
      const client = await upgrade(t, port, { path: '/chat', ...bearer(sign(claims)) })
      t.equal(client.answer.status, 101)
      t.strictSame(await client.close(), REVOKED)
      client.send(clientFrame(8, Buffer.from([0x0b, 0xb8])))
      await within(5000, 'the connection is gone', client.ended)
      await eventually(() => results.length === expected.length, 'all have been answered')
      t.strictSame(results, expected)
      t.equal(isRun, !place.startsWith('authorize'), 'a handler of who is revoked is not run')
      t.strictSame(app.wsAuth.stats().closed, { token_revoked: 1 }, 'it ends once')
      t.equal(app.wsAuth.connections.size, 0)
      t.equal(await answerTo(t, port, sign(claims)), '401 WS_AUTH_TOKEN_REVOKED')
    })
  }
})

t.test('a listener of the events that revokes the next one, at each that is closed', async (t) => {
  const { app, connect } = await startChat(t)
  const chats: Chat[] = []
  for (let i = 0; i < 5; i++) chats.push(await connect(sign({ sub: 'ann', jti: `j${i}`, iat: seconds(-10) })))
  let next = 0
  const inner: Array<Promise<fastifyWsAuth.CommandResult>> = []
  onDecision(t, ({ event }) => { if (event === 'closed' && ++next < 5) inner.push(app.wsAuth.revoke({ jti: `j${next}` })) })
  const { closed } = await app.wsAuth.revoke({ sub: 'ann' })
  const closedInside = (await Promise.all(inner)).reduce((sum, { closed }) => sum + closed, 0)
  for (const chat of chats) t.strictSame(await closeOf(chat), REVOKED)
  t.strictSame(app.wsAuth.stats().closed, { token_revoked: 5 })
  t.ok(closed + closedInside >= 5 && closedInside >= 1, `${closed} and ${closedInside}`)
})

t.test('while the app closes, and after, it is answered and closes nobody twice', async (t) => {
  const { app, connect } = await startChat(t)
  const chats = [await connect(sign({ sub: 'ann', iat: seconds(-10) })), await connect(sign({ sub: 'ann', iat: seconds(-10) }))]
  const closing = app.close()
  const during = await within(5000, 'an answer', app.wsAuth.revoke({ sub: 'ann' }))
  await within(10_000, 'the end of the app', closing)
  const after = await within(5000, 'an answer', app.wsAuth.disconnect({ sub: 'ann' }))
  const reasons = [(await closeOf(chats[0] as Chat)).reason, (await closeOf(chats[1] as Chat)).reason]
  t.equal(during.closed + after.closed, reasons.filter((reason) => reason === 'token_revoked').length)
  t.equal(Object.values(app.wsAuth.stats().closed).reduce((sum, count) => sum + count, 0), 2, 'each ended once')
})

/** (r, n - s) verifies as (r, s) does. */
function twinOf (token: string): string {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const [head, body, signature] = token.split('.') as [string, string, string]
  const bytes = Buffer.from(signature, 'base64url')
  const s = (order - BigInt(`0x${bytes.subarray(32).toString('hex')}`)).toString(16).padStart(64, '0')
  return [head, body, Buffer.concat([bytes.subarray(0, 32), Buffer.from(s, 'hex')]).toString('base64url')].join('.')
}

/** The last character of 64 bytes in base64url has four bits that nobody reads. */
function withOtherBits (token: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(token.at(-1) as string)
  return token.slice(0, -1) + alphabet[last ^ 1]
}

t.test('no twin of a revoked token gets in: the same claims are the same token', async (t) => {
  for (const tokenCache of [false, { max: 100, ttl: 60_000 }] as const) {
    await t.test(tokenCache === false ? 'without a cache' : 'with a cache that knows them all', async (t) => {
      const { app, port } = await startChat(t, { plugin: { tokenCache, jwt: { secret: { public: keys.ES256.public, private: keys.ES256.private }, sign: { algorithm: 'ES256' }, verify: { algorithms: ['ES256'] } } as never } })
      for (const match of [{ jti: 'jti' }, { sid: 'sid' }, { sub: 'sub' }] as fastifyWsAuth.RevokeMatch[]) {
        const [name = ''] = Object.keys(match)
        const claims = { [name]: name, iat: seconds(-10) }
        const token = mint(claims, {}, 'ES256')
        const twins = [token, twinOf(token), withOtherBits(token), withOtherBits(twinOf(token)), mint(claims, {}, 'ES256'), mint(claims, { kid: 'x' }, 'ES256'), mint(JSON.stringify(claims, null, 2), {}, 'ES256')]
        t.equal(new Set(twins).size, twins.length, 'each is another text')
        const answers = async (): Promise<string[]> => await Promise.all(twins.map(async (twin) => await answerTo(t, port, twin)))
        const before = await answers()
        t.ok(before.filter((answer) => answer === '101').length >= 5, `twins get in until then: ${before.join()}`)
        t.equal((await app.wsAuth.revoke(match)).closed, before.filter((answer) => answer === '101').length)
        t.strictSame(await answers(), before.map((answer) => answer === '101' ? '401 WS_AUTH_TOKEN_REVOKED' : answer))
      }
    })
  }
})

t.test('names that objects have, and names of 64 KB, are names as any others', async (t) => {
  const names = ['__proto__', 'constructor', 'toString', 'valueOf', 'hasOwnProperty', 'x'.repeat(65_536), `${'x'.repeat(65_535)}y`]
  for (const kind of ['jti', 'sid', 'sub']) {
    const { app, connect, port } = await startChat(t, { plugin: { verify: (token) => ({ [kind]: names[Number(token)], iat: seconds(-10) }) } })
    const chats: Chat[] = []
    for (let i = 0; i < names.length; i++) chats.push(await connect(`${i}`))
    for (let i = 0; i < names.length; i++) {
      t.equal(app.wsAuth.connections.size, names.length - i)
      t.equal((await app.wsAuth.revoke({ [kind]: names[i] } as never)).closed, 1, `${kind} ${names[i]?.slice(0, 20)}`)
      t.strictSame(await closeOf(chats[i] as Chat), REVOKED)
      t.equal(await answerTo(t, port, `${i}`), '401 WS_AUTH_TOKEN_REVOKED')
      if (i + 1 < names.length) t.equal(await answerTo(t, port, `${i + 1}`), '101')
      await app.wsAuth.disconnect({ [kind]: names[i + 1] ?? 'none' } as never)
      if (i + 1 < names.length) chats[i + 1] = await connect(`${i + 1}`)
    }
  }
})

t.test('a jti that verify gives as a number is matched by its digits', async (t) => {
  const { app, connect, port } = await startChat(t, { plugin: { verify: (token) => ({ sub: 'ann', jti: Number(token) }) } })
  const chats = [await connect('41'), await connect('42')]
  t.equal((await app.wsAuth.revoke({ jti: '42' })).closed, 1)
  t.strictSame(await closeOf(chats[1] as Chat), REVOKED)
  t.ok(await chats[0]?.isHeard())
  t.equal(await answerTo(t, port, '42'), '401 WS_AUTH_TOKEN_REVOKED')
  t.equal(await answerTo(t, port, '42.0'), '401 WS_AUTH_TOKEN_REVOKED', 'it is the same number')
  t.equal(await answerTo(t, port, '420'), '101')
})

t.test('the log warns once, of a token that lives longer than its revocation would', async (t) => {
  const exp = (ttl: number): Claims => ({ sub: 'ann', exp: seconds(ttl) })
  const warning = /^a token (lives longer than revocationTtl|has no exp, and never expires): if it is revoked, it becomes valid again after revocationTtl/
  const verify = (token: string): Claims => JSON.parse(Buffer.from(token.split('.')[1] as string, 'base64url').toString()) as Claims
  const cases: Array<[string, fastifyWsAuth.WsAuthOptions, Claims[], number]> = [
    ['an exp beyond', { revocationTtl: HOUR }, [exp(3700), exp(3800), exp(3900)], 1],
    ['no exp', { revocationTtl: HOUR }, [{ sub: 'ann' }, { sub: 'bob' }], 1],
    ['an exp within', { revocationTtl: HOUR }, [exp(3500), exp(3599)], 0],
    ['the default of 30 days, within', {}, [exp(30 * 86_400 - 10)], 0],
    ['the default of 30 days, beyond', {}, [exp(30 * 86_400 + 10)], 1],
    ['no exp, and verify is asked each time', { revocationTtl: HOUR, verify }, [{ sub: 'ann' }], 0],
    ['an exp beyond by verify', { revocationTtl: HOUR, verify }, [{ sub: 'ann' }, exp(3700), exp(3800)], 1]
  ]
  for (const [name, plugin, tokens, expected] of cases) {
    const { log, port } = await startChat(t, { plugin })
    for (const claims of tokens) t.equal(await answerTo(t, port, sign(claims)), '101')
    const lines = log.map((line) => JSON.parse(line) as Line).filter(({ msg }) => warning.test(String(msg)))
    t.strictSame(lines.map(({ level }) => level), Array.from({ length: expected }, () => 40), name)
  }
})

t.test('several apps of a process on one backplane are one', async (t) => {
  const backplane = memoryBackplane()
  const apps = [await startChat(t, { plugin: { backplane } }), await startChat(t, { plugin: { backplane } }), await startChat(t, { plugin: { backplane } })]
  const [one, two, three] = apps as [ChatApp, ChatApp, ChatApp]
  const stranger = await startChat(t)
  const claims = { sub: 'ann', jti: 'j1', iat: seconds(-10) }
  const chats = [await two.connect(sign(claims)), await three.connect(sign(claims)), await three.connect(sign({ ...claims, jti: 'j2' }))]
  const bystanders = [await one.connect(sign({ sub: 'bob', iat: seconds(-10) })), await stranger.connect(sign(claims))]

  const { closed, instances } = await one.app.wsAuth.revoke({ sub: 'ann' })
  t.equal(closed, 3)
  t.strictSame(instances.map(({ closed }) => closed), [0, 1, 2], 'this one first')
  t.ok(instances.every(({ answered }) => answered))
  t.equal(new Set(instances.map(({ id }) => id)).size, 3)
  t.equal((await two.app.wsAuth.disconnect({ jti: 'x' })).instances[0]?.id, instances[1]?.id, 'each says of itself who it is')
  for (const chat of chats) t.strictSame(await closeOf(chat), REVOKED)
  for (const chat of bystanders) t.ok(await chat.isHeard())
  for (const { port } of apps) t.equal(await answerTo(t, port, sign(claims)), '401 WS_AUTH_TOKEN_REVOKED')

  const late = await startChat(t, { plugin: { backplane } })
  t.equal(await answerTo(t, late.port, sign(claims)), '401 WS_AUTH_TOKEN_REVOKED', 'who starts later learns of it')
  await three.app.close()
  t.equal((await one.app.wsAuth.revoke({ sub: 'ann' })).instances.length, 3, 'who has left is not waited for')
})

t.test('a logger that throws keeps nobody open, on this instance or another', async (t) => {
  for (const levels of [['info'], ['info', 'error'], ['trace', 'debug', 'info', 'warn', 'error', 'fatal']]) {
    await t.test(levels.join(), async (t) => {
      let isBroken = false
      const backplane = memoryBackplane()
      const breaking = (): never => { throw new Error('the disk is full') }
      const logger = (): object => {
        const line = (level: string) => (): void => { if (isBroken && levels.includes(level)) breaking() }
        const made: Record<string, unknown> = { level: 'trace', silent: () => {}, child: () => logger() }
        for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) made[level] = line(level)
        return made
      }
      const server = { logger: undefined, loggerInstance: logger() as never }
      const [one, two] = [await startChat(t, { server, plugin: { backplane } }), await startChat(t, { server, plugin: { backplane } })]
      const token = sign({ sub: 'ann', jti: 'j1', iat: seconds(-10) })
      const chats: Chat[] = []
      for (let i = 0; i < 20; i++) chats.push(await (i < 10 ? one : two).connect(token))
      const bystander = await one.connect(sign({ sub: 'bob' }))
      isBroken = true
      const result = await one.app.wsAuth.revoke({ sub: 'ann' }).finally(() => { isBroken = false })
      for (const chat of chats) t.strictSame(await closeOf(chat), REVOKED)
      t.equal(result.closed, 20)
      t.strictSame(result.instances.map(({ answered, closed }) => ({ answered, closed })), [{ answered: true, closed: 10 }, { answered: true, closed: 10 }])
      t.ok(await bystander.isHeard())
      for (const { app, port } of [one, two]) {
        t.equal(app.wsAuth.stats().closed.token_revoked, 10)
        t.equal(await answerTo(t, port, token), '401 WS_AUTH_TOKEN_REVOKED')
      }
    })
  }
})

t.test('what is wrong is a TypeError by promise, and nothing happens', async (t) => {
  const { app, log, connect } = await startChat(t)
  const chat = await connect(sign({ sub: 'ann', jti: 'j1' }))
  const { revoke } = app.wsAuth
  const wrong: unknown[][] = [[], [null], ['ann'], [{}], [{ sub: '' }], [{ sub: 'ann', jti: 'j1' }], [{ id: chat.connection.id }], [{ jti: 'j1', beforeAt: 5 }],
    [{ sub: 'ann', beforeAt: NaN }], [{ sub: 'ann' }, null], [{ sub: 'ann' }, { untilAt: Infinity }], [{ sub: 'ann' }, { until: 5 }], [['sub', 'ann']]]
  for (const args of wrong) {
    const promise = (revoke as (...args: unknown[]) => Promise<unknown>)(...args)
    await t.rejects(promise, TypeError, JSON.stringify(args))
  }
  t.ok(await chat.isHeard())
  t.notOk(log.some((line) => line.includes('"command"')), 'nor is it told of')
  t.equal((await app.wsAuth.revoke({ jti: 'j1' })).closed, 1)
})

t.test('a token without a jti or sid is found by its user alone', async (t) => {
  const { app, connect } = await startChat(t)
  const chat = await connect(sign({ sub: 'ann' }))
  for (const match of [{ jti: 'undefined' }, { sid: 'undefined' }, { jti: 'null' }, { jti: 'ann' }, { sid: 'ann' }]) t.equal((await app.wsAuth.revoke(match)).closed, 0)
  t.ok(await chat.isHeard())
  t.equal((await app.wsAuth.revoke({ sub: 'ann', beforeAt: -1e15 })).closed, 1, 'since it does not say when it was issued, at any time')
  t.strictSame(await closeOf(chat), REVOKED)
})

t.test('a revocation during any step of a handshake closes what comes of it, before its handler is run', async (t) => {
  const claims = { sub: 'ann', jti: 'j1', iat: seconds(-10) }
  let held = hold()
  let isHeld = false
  const wait = async <T>(value: T): Promise<T> => { isHeld = true; await held.wait(); return value }
  const steps: Record<string, [fastifyWsAuth.WsAuthOptions, fastifyWsAuth.RouteWsAuth, afterCheck: boolean]> = {
    verify: [{ verify: async () => await wait(claims) }, true, false],
    user: [{ verify: () => claims, user: async (claims: object) => await wait(claims) } as never, true, true],
    authorize: [{ verify: () => claims }, { authorize: async () => await wait(true) }, true],
    'a hook behind ours': [{ verify: () => claims }, true, true]
  }
  for (const [step, [plugin, wsAuth, isAfterCheck]] of Object.entries(steps)) {
    await t.test(step, async (t) => {
      held = hold()
      isHeld = false
      let isRun = false
      const { app, port } = await start(t, {
        plugin,
        routes: (app) => {
          if (step === 'a hook behind ours') app.addHook('preHandler', async () => { await wait(null) })
          app.get('/chat', { websocket: true, wsAuth }, () => { isRun = true })
        }
      })
      const handshake = upgrade(t, port, { path: '/chat', ...bearer('x') })
      await eventually(() => isHeld, 'it is under way')
      t.equal((await app.wsAuth.revoke({ jti: 'j1' })).closed, 0, 'it is no connection yet')
      held.release()
      const client = await handshake
      if (isAfterCheck) {
        t.equal(client.answer.status, 101)
        t.strictSame(await client.close(), REVOKED)
        t.strictSame(app.wsAuth.stats().closed, { token_revoked: 1 })
      } else {
        t.equal((JSON.parse(client.answer.body) as { code: string }).code, 'WS_AUTH_TOKEN_REVOKED')
      }
      t.notOk(isRun)
      t.equal(app.wsAuth.connections.size, 0)
    })
  }
})

t.test('a revocation of the token behind a ticket that is needed reaches the first message beside it', async (t) => {
  const held = hold()
  let isHeld = false
  const { app, port } = await start(t, {
    plugin: { tickets: { require: true }, token: { message: true } },
    routes: (app) => {
      app.get('/chat', { websocket: true, wsAuth: { authorize: async ({ jti }: Claims) => { if (jti === 'slow') { isHeld = true; await held.wait() } return true } } as never }, (socket) => {
        socket.send('the handler was run')
      })
    }
  })
  const open = async (): Promise<Awaited<ReturnType<typeof upgrade>>> => {
    const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann', jti: 'of the ticket', iat: seconds(-10) })
    return await upgrade(t, port, { path: `/chat?ticket=${ticket}` })
  }
  const [before, during, good] = [await open(), await open(), await open()]
  during.send(authFrame(sign({ sub: 'ann', jti: 'slow' })))
  await eventually(() => isHeld, 'its token is verified')
  good.send(authFrame(sign({ sub: 'ann', jti: 'good' })))
  t.match(String((await good.frame()).payload), 'auth.ok')
  t.equal((await app.wsAuth.revoke({ jti: 'of the ticket' })).closed, 0, 'who has a token of their own is that token\'s')
  held.release()
  t.strictSame(await during.close(), REVOKED)
  t.strictSame(await before.send(authFrame(sign({ sub: 'ann', jti: 'good' }))).close(), REVOKED)
  t.equal(app.wsAuth.connections.size, 1)
})

t.test('revoked by a listener of the server for new sockets, nobody sees the connection', async (t) => {
  let isRun = false
  const { app, port } = await start(t, { routes: (app) => { app.get('/chat', { websocket: true }, () => { isRun = true }) } })
  app.websocketServer.on('connection', () => { void app.wsAuth.revoke({ sub: 'ann' }) })
  const client = await upgrade(t, port, { path: '/chat', ...bearer(sign({ sub: 'ann', iat: seconds(-10) })) })
  t.equal(client.answer.status, 101)
  t.strictSame(await client.close(), REVOKED)
  t.notOk(isRun)
  t.strictSame(app.wsAuth.stats().closed, { token_revoked: 1 })
})

t.test('a plain request can ask whether its token was revoked, and is told where nobody knows', async (t) => {
  const others = { isCurrent: true }
  const backplane = memoryBackplane()
  const { app } = await start(t, {
    plugin: {
      backplane: {
        join: (member) => {
          const link = backplane.join(member)
          return { ...link, get isCurrent () { return others.isCurrent } }
        }
      }
    }
  })
  await app.wsAuth.revoke({ sub: 'ann' })
  await app.wsAuth.revoke({ sid: 'login' })
  const { isRevoked } = app.wsAuth
  t.equal(isRevoked({ sub: 'ann', iat: seconds(-10) }), true)
  t.equal(isRevoked({ sub: 'ann', iat: seconds(10) }), false)
  t.equal(isRevoked({ sub: 'bob', sid: 'login' }), true)
  t.equal(isRevoked({}), false)
  for (const wrong of [undefined, null, 'token', ['ann']]) {
    t.throws(() => isRevoked(wrong as never), { name: 'TypeError', message: '"claims" must be an object' })
  }
  others.isCurrent = false
  t.throws(() => isRevoked({ sub: 'bob' }), { code: 'WS_AUTH_UNAVAILABLE', statusCode: 503 })
})
