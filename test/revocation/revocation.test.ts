/*
 * Revocation: which connections it closes, which tokens it refuses, for how long, and which it leaves alone.
 */
import t from 'tap'
import type { WebSocket } from 'ws'
import fastifyWsAuth, { memoryBackplane } from '../../lib/index'
import { sign, start } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { keys, mint, seconds } from '../helpers/keys'
import { setClock } from '../helpers/moved-clock'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { startChat } from '../helpers/renewal-app'
import type { Chat, ChatApp } from '../helpers/renewal-app'
import { REVOKED, answerTo, authFrame, closeOf } from '../helpers/revoked'
import type { Claims } from '../helpers/revoked'
import { statsOf } from '../helpers/stats'

type Line = Record<string, unknown> & { level: number, msg: string }
const HOUR = 3_600_000
const NOW = seconds()

/** Ann with two logins, of which one has two tokens, and Bob. */
function people (): Record<string, Claims> {
  const iat = NOW - 10
  return {
    'ann, first': { sub: 'ann', sid: 's1', jti: 'j1', iat, teams: ['red', 'blue'], iss: 'https://a.example' },
    'ann, first again': { sub: 'ann', sid: 's1', jti: 'j2', iat, teams: ['red'] },
    'ann, second': { sub: 'ann', sid: 's2', jti: 'j3', iat: iat + 5, teams: ['red'], iss: 'https://a.example' },
    bob: { sub: 'bob', sid: 's3', jti: 'j4', iat, teams: ['blue'], iss: 'https://b.example' },
    'a user without a sub': { jti: 'j5', iat },
    'without anything': {}
  }
}

/** The key of each of their tokens. */
const KIDS: Record<string, string> = { 'ann, first': 'k1', 'ann, second': 'k2', bob: 'k1' }

function tokenOf (name: string, claims: Claims): string {
  const kid = KIDS[name]
  return sign(claims, undefined, kid === undefined ? {} : { kid })
}

const GROUPS: fastifyWsAuth.WsAuthOptions = { groups: ({ teams = [] }) => teams }
const ALL = ['ann, first', 'ann, first again', 'ann, second', 'bob', 'a user without a sub', 'without anything']

const CASES: Array<[match: fastifyWsAuth.RevokeMatch, whom: string[]]> = [
  [{ jti: 'j1' }, ['ann, first']],
  [{ jti: 'j5' }, ['a user without a sub']],
  [{ jti: 's1' }, []],
  [{ sid: 's1' }, ['ann, first', 'ann, first again']],
  [{ sid: 'j1' }, []],
  [{ sub: 'ann' }, ['ann, first', 'ann, first again', 'ann, second']],
  [{ sub: 'ann', beforeAt: (NOW - 8) * 1000 }, ['ann, first', 'ann, first again']],
  [{ sub: 'ann', beforeAt: 0 }, []],
  [{ sub: 'ann', beforeAt: -1e15 }, []],
  [{ sub: 'ann', beforeAt: 1e15 }, ['ann, first', 'ann, first again', 'ann, second']],
  [{ sub: 'Ann' }, []],
  [{ sub: 'eve' }, []],
  [{ group: 'red' }, ['ann, first', 'ann, first again', 'ann, second']],
  [{ group: 'red', beforeAt: (NOW - 8) * 1000 }, ['ann, first', 'ann, first again']],
  [{ group: 'blue' }, ['ann, first', 'bob']],
  [{ group: 'ann' }, []],
  [{ kid: 'k1' }, ['ann, first', 'bob']],
  [{ kid: 'k2' }, ['ann, second']],
  [{ kid: 'k2', beforeAt: (NOW - 8) * 1000 }, []],
  [{ kid: 'red' }, []],
  [{ iss: 'https://a.example' }, ['ann, first', 'ann, second']],
  [{ iss: 'https://a.example', beforeAt: (NOW - 8) * 1000 }, ['ann, first']],
  [{ iss: 'https://a.example/' }, []],
  [{ all: true }, ALL],
  [{ all: true, beforeAt: (NOW - 8) * 1000 }, ALL.filter((name) => name !== 'ann, second')],
  [{ all: true, beforeAt: 0 }, ['without anything']]
]

for (const [match, whom] of CASES) {
  t.test(`revoking ${JSON.stringify(match)} closes the connections and refuses the tokens of ${whom.join(' and ') || 'no user'}`, async (t) => {
    const events: fastifyWsAuth.WsAuthEvent[] = []
    const { app, port, log, connect } = await startChat(t, { plugin: GROUPS })
    const chats = new Map<string, Chat>()
    for (const [name, claims] of Object.entries(people())) chats.set(name, await connect(tokenOf(name, claims)))
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
    const { beforeAt, ...matched } = match as Record<string, unknown>
    const told = lines.filter(({ command }) => command !== undefined)
    t.strictSame(told.map(({ command, match, by, why, closed, instances, level }) => ({ command, match, by, why, closed, instances, level })),
      [{ command: 'revoke', match: matched, by: null, why: null, closed: whom.length, instances: 1, level: 30 }])
    t.strictSame(statsOf(app).closed, whom.length === 0 ? {} : { token_revoked: whom.length })

    events.length = 0
    for (const [name, claims] of Object.entries(people())) {
      t.equal(await answerTo(t, port, tokenOf(name, claims)), whom.includes(name) ? '401 WS_AUTH_TOKEN_REVOKED' : '101', name)
    }
    t.equal(events.filter(({ event, code }) => event === 'refused' && code === 'WS_AUTH_TOKEN_REVOKED').length, whom.length)
    t.strictSame(statsOf(app).refused, whom.length === 0 ? {} : { WS_AUTH_TOKEN_REVOKED: whom.length })
    t.equal((await app.wsAuth.revoke(match)).closed, 0, 'a second time there is nobody')
  })
}

t.test('a revoked token is refused in every place that a token can have', async (t) => {
  const { app, port, connect } = await startChat(t, {
    server: { routerOptions: { maxParamLength: 1000 } },
    plugin: { renewal: true, token: { param: true, message: true }, tickets: true, closeCodes: { unauthorized: 4401 } },
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
  const before = statsOf(app).accepted
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
  t.equal(statsOf(app).accepted, before, 'nothing was accepted')
})

t.test('a revocation without beforeAt refuses all tokens of this second, and no token of the next', async (t) => {
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

t.test('an earlier beforeAt never undoes a later one, in any order and on any instance', async (t) => {
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

t.test('a revocation that ends in the past closes connections and refuses no token', async (t) => {
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

t.test('no claim closes an anonymous connection or one of a public route', async (t) => {
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

t.test('another token with the claims of a revoked one is refused too', async (t) => {
  for (const tokenCache of [false, { max: 100, ttl: 60_000 }] as const) {
    await t.test(tokenCache === false ? 'another token with the claims of a revoked one is refused without a cache' : 'another token with the claims of a revoked one is refused by a cache that knows it', async (t) => {
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

t.test('names of properties of objects, and names of 64 KB, are revoked like any others', async (t) => {
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

t.test('the log warns once of a token that lives longer than its revocation', async (t) => {
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

t.test('a revocation reaches all apps of a process on one backplane', async (t) => {
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

t.test('a logger that throws keeps no revoked connection open, on this instance or another', async (t) => {
  for (const levels of [['info'], ['info', 'error'], ['trace', 'debug', 'info', 'warn', 'error', 'fatal']]) {
    await t.test(`a logger that throws at ${levels.join()} keeps no revoked connection open`, async (t) => {
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
        t.equal(statsOf(app).closed.token_revoked, 10)
        t.equal(await answerTo(t, port, token), '401 WS_AUTH_TOKEN_REVOKED')
      }
    })
  }
})

t.test('revoke rejects a wrong argument with a TypeError, and revokes nothing', async (t) => {
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

t.test('a plain request can ask whether its token was revoked, and fails if that is unknown', async (t) => {
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
