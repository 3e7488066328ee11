/*
 * What spends a ticket and what leaves it, what it is good for, and how long. Many instances are in backplane/redis/tickets.test.ts.
 */
import { once } from 'node:events'
import { inspect } from 'node:util'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { memoryBackplane } from '../../lib/backplane/memory'
import { prepare, SECRET, sign, until } from '../helpers/app'
import { RawClient, upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'
import { addChat, ANN, ask, backplaneWith, bearer, dryRun, handshake, nobody, startChat, startTimedChat } from '../helpers/ticket-chat'
import type { Chat, Options } from '../helpers/ticket-chat'
import { statsOf } from '../helpers/stats'

const MALFORMED: Record<string, RequestSettings> = {
  'a short key': { headers: { 'sec-websocket-key': 'c2hvcnQ=' } },
  'no key': { headers: { 'sec-websocket-key': undefined } },
  'another version': { headers: { 'sec-websocket-version': '8' } },
  'no version': { headers: { 'sec-websocket-version': undefined } },
  'HTTP/1.0': { version: '1.0' },
  'no Host': { headers: { host: undefined } },
  'two Hosts': { headers: { host: ['localhost', 'elsewhere'] } },
  'a body': { headers: { 'content-length': '3' }, body: 'abc' },
  'an empty subprotocol': { headers: { 'sec-websocket-protocol': 'a,,b' } },
  'a subprotocol twice': { headers: { 'sec-websocket-protocol': 'a, a' } },
  'two protocols': { headers: { upgrade: 'websocket, h2c' } }
}

t.test('exactly one of ten handshakes at once with one ticket is accepted', async (t) => {
  const { app, port, opened, ticket } = await startChat(t)
  const path = `/chat?ticket=${await ticket()}`
  const outcomes = await Promise.all(Array.from({ length: 10 }, async () => await handshake(t, port, path)))
  t.same(outcomes.sort(), ['101', ...Array.from({ length: 9 }, () => '401 WS_AUTH_TICKET_INVALID')])
  t.equal(opened.length, 1)
  t.equal(statsOf(app).accepted, 1)
})

t.test('a dry run does not spend a ticket, also during the handshake that spends it', async (t) => {
  const { app, port, ticket } = await startChat(t)
  const path = `/chat?ticket=${await ticket()}`
  for (let i = 0; i < 5; i++) t.equal(await dryRun(app, path), '426')
  const [accepted, ...answers] = await Promise.all([handshake(t, port, path), ...Array.from({ length: 20 }, async () => await dryRun(app, path))])
  t.equal(accepted, '101')
  t.ok(answers.every((answer) => answer === '426' || answer === '401 WS_AUTH_TICKET_INVALID'))
  t.equal(await dryRun(app, path), '401 WS_AUTH_TICKET_INVALID')
  t.equal(app.wsAuth.connections.size, 1)
})

t.test('a malformed handshake does not spend a ticket', async (t) => {
  const { port, ticket } = await startChat(t)
  for (const [what, settings] of Object.entries(MALFORMED)) {
    const path = `/chat?ticket=${await ticket()}`
    const { answer } = await upgrade(t, port, { ...settings, path })
    t.equal(answer.status, 400, what)
    t.equal(await handshake(t, port, path), '101', `${what}: it is good still`)
  }
  const path = `/chat?ticket=${await ticket()}`
  t.equal(await handshake(t, port, path, { method: 'POST' }), '404 undefined', 'POST')
  t.equal(await handshake(t, port, `/nowhere?${path.split('?')[1]}`), '404 undefined', 'no such route')
  t.equal(await handshake(t, port, `/plain?${path.split('?')[1]}`), '404 WS_AUTH_ROUTE_NOT_WEBSOCKET', 'no websocket')
  t.equal(await handshake(t, port, `/public?${path.split('?')[1]}`), '101', 'a public route, where it is nothing')
  t.equal(await handshake(t, port, path), '101', 'it is good still')
})

t.test('a bound ticket admits its own path and origin, and another path or origin spends it', async (t) => {
  const { app, port, ticket } = await startChat(t)
  const origin = 'https://example.com'
  const bindings: Array<[fastifyWsAuth.TicketBinding, string, Record<string, string>, string]> = [
    [{ path: '/chat' }, '/chat', {}, '101'],
    [{ path: '/chat' }, '/other', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{ path: '/chat' }, '/CHAT', {}, '404 undefined'],
    [{ path: '/chat/' }, '/chat', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{ path: '/ch%61t' }, '/chat', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{ path: '/chat' }, '/ch%61t', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{ origin }, '/chat', { origin }, '101'],
    [{ origin }, '/chat', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{ origin }, '/chat', { origin: 'https://example.com:8443' }, '401 WS_AUTH_TICKET_INVALID'],
    [{ origin }, '/chat', { origin: 'http://example.com' }, '401 WS_AUTH_TICKET_INVALID'],
    [{ origin }, '/chat', { origin: 'https://example.com.' }, '401 WS_AUTH_TICKET_INVALID'],
    [{ origin }, '/chat', { origin: 'null' }, '401 WS_AUTH_TICKET_INVALID'],
    [{ path: '/chat', origin }, '/chat', { origin }, '101'],
    [{ path: '/chat', origin }, '/other', { origin }, '401 WS_AUTH_TICKET_INVALID'],
    [{ path: '/chat', origin }, '/chat', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{}, '/chat', { origin }, '101']
  ]
  for (const [binding, path, headers, expected] of bindings) {
    const one = await ticket(ANN, binding)
    const what = inspect([binding, path, headers])
    if (expected.startsWith('404')) t.equal(await handshake(t, port, `${path}?ticket=${one}`, { headers }), expected, what)
    else {
      t.equal(await dryRun(app, `${path}?ticket=${one}`, headers), expected.replace('101', '426'), `${what}: dry run`)
      t.equal(await handshake(t, port, `${path}?a=b&ticket=${one}`, { headers }), expected, what)
      const right = { path: binding.path ?? '/chat', headers: { origin: binding.origin } }
      t.equal(await handshake(t, port, `${right.path.replace('%61', 'a').replace(/\/$/, '')}?ticket=${one}`, right), '401 WS_AUTH_TICKET_INVALID', `${what}: spent`)
    }
  }
  const both = await ticket(ANN, { origin })
  t.equal(await handshake(t, port, `/chat?ticket=${both}`, { headers: { origin: [origin, origin] } }), '401 WS_AUTH_TICKET_INVALID', 'an Origin twice')
  t.equal(await handshake(t, port, `/chat#a&ticket=${await ticket(ANN, { path: '/chat' })}`), '101', 'what looks like a fragment is not of the path')
  t.equal(await handshake(t, port, `/chat#/other&ticket=${await ticket(ANN, { path: '/other' })}`), '401 WS_AUTH_TICKET_INVALID')
})

t.test('a handshake that is refused before its ticket is read does not spend it', async (t) => {
  const { port, ticket } = await startChat(t, { origin: ['https://example.com'] })
  const path = `/chat?ticket=${await ticket()}`
  t.equal(await handshake(t, port, path, { headers: { origin: 'https://evil.example' } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
  t.equal(await handshake(t, port, path, { headers: bearer() }), '400 WS_AUTH_TOKEN_AMBIGUOUS')
  t.equal(await handshake(t, port, path, { headers: { origin: 'https://example.com' } }), '101')
})

t.test('a text that is no ticket is refused', async (t) => {
  const { app, port, ticket } = await startChat(t)
  const good = await ticket()
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const twins = [...alphabet].map((character) => good.slice(0, -1) + character).filter((twin) => twin !== good)
  t.ok(twins.some((twin) => Buffer.from(twin, 'base64url').equals(Buffer.from(good, 'base64url'))), 'some are of the same bytes')
  const wrong = [...twins, `${good}=`, `${good}A`, good.slice(1), `%20${good}`, `${good}%0A`, `${good}%00`, 'a'.repeat(10_000), '..%2F', sign(ANN), '%FF', '__proto__']
  for (const one of wrong) t.equal(await dryRun(app, `/chat?ticket=${one}`), '401 WS_AUTH_TICKET_INVALID', one.slice(0, 60))
  for (const one of wrong.slice(-10)) t.equal(await handshake(t, port, `/chat?ticket=${one}`), '401 WS_AUTH_TICKET_INVALID', one.slice(0, 60))
  t.equal(await handshake(t, port, '/chat?ticket='), '401 WS_AUTH_TOKEN_MISSING', 'an empty one is none')
  t.equal(await handshake(t, port, '/chat?ticket'), '401 WS_AUTH_TOKEN_MISSING')
  t.equal(await handshake(t, port, `/chat?ticket=${good}&ticket=${good}`), '400 WS_AUTH_TOKEN_AMBIGUOUS')
  t.equal(await handshake(t, port, `/chat?ticket=&ticket=${good}`), '400 WS_AUTH_TOKEN_AMBIGUOUS')
  t.equal(await handshake(t, port, `/chat?Ticket=${good}`), '401 WS_AUTH_TOKEN_MISSING', 'another name')
  t.equal(await handshake(t, port, `/chat?ticket=${good}`, { headers: { authorization: undefined } }), '101', 'and the ticket is good still')
})

t.test('a ticket is good until its ttl, and not after', async (t) => {
  const { port, app, ticket, clock } = await startTimedChat(t, { tickets: { ttl: 5000 } })
  const [early, late] = [await ticket(), await ticket()]
  clock.advance(4900)
  t.equal(await handshake(t, port, `/chat?ticket=${early}`), '101')
  clock.advance(100)
  t.equal(await handshake(t, port, `/chat?ticket=${late}`), '401 WS_AUTH_TICKET_INVALID')
  clock.set(-3_600_000)
  t.equal(await handshake(t, port, `/chat?ticket=${late}`), '401 WS_AUTH_TICKET_INVALID', 'also where the wall clock is set back')
  t.equal(statsOf(app).accepted, 1)
})

t.test('a ticket beside an explicit token is ambiguous, and is not spent', async (t) => {
  const { port, ticket } = await startChat(t, {}, { routes: (app) => { app.get('/device/:token', { websocket: true, wsAuth: { token: { param: true } } }, () => {}) } })
  const token = sign(ANN)
  const one = await ticket()
  const sources: Array<[string, RequestSettings]> = [
    [`/chat?ticket=${one}`, { headers: bearer() }],
    [`/chat?ticket=${one}`, { headers: { authorization: 'Bearer not-a-token' } }],
    [`/chat?ticket=${one}&token=${token}`, {}],
    [`/chat?ticket=${one}`, { headers: { 'sec-websocket-protocol': `bearer, ${token}` } }],
    [`/chat?ticket=${one}`, { headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${Buffer.from(token).toString('base64url')}` } }],
    [`/device/${token}?ticket=${one}`, {}]
  ]
  for (const [path, settings] of sources) t.equal(await handshake(t, port, path, settings), '400 WS_AUTH_TOKEN_AMBIGUOUS', inspect([path.slice(0, 30), settings]))
  t.equal(await handshake(t, port, `/chat?ticket=${one}`), '101')
})

t.test('a ticket counts, and a cookie beside it does not', async (t) => {
  const { port, opened, ticket } = await startChat(t, { cookie: { secret: SECRET }, token: { cookie: { name: 'token', signed: true } } })
  for (const cookie of [`token=${sign({ sub: 'bea' })}`, 'token=x', 'token=x; token=y', 'token=']) {
    const one = await ticket()
    t.equal(await handshake(t, port, `/chat?ticket=${one}`, { headers: { cookie, origin: 'https://elsewhere.example' } }), '101', cookie.slice(0, 20))
    t.equal(opened.at(-1)?.wsAuth?.sub, 'ann')
    t.equal(opened.at(-1)?.wsAuth?.source, 'ticket')
    t.equal(await handshake(t, port, `/chat?ticket=${one}`, { headers: { cookie } }), '401 WS_AUTH_TICKET_INVALID', 'no way back to the cookie')
  }
})

t.test('an optional route admits a ticket as its user and no ticket as anonymous, and refuses a bad ticket', async (t) => {
  const { port, opened, ticket } = await startChat(t)
  const one = await ticket()
  t.equal(await handshake(t, port, `/optional?ticket=${one}`), '101')
  t.match(opened.at(-1)?.user, { sub: 'ann' })
  t.equal(await handshake(t, port, '/optional'), '101')
  t.equal(opened.at(-1)?.user, null)
  t.equal(opened.at(-1)?.wsAuth?.source, null)
  t.equal(await handshake(t, port, `/optional?ticket=${one}`), '401 WS_AUTH_TICKET_INVALID')
})

t.test('an app without tickets owns the query parameter, has no ticket route and issues no ticket', async (t) => {
  const { app, port, opened } = await startChat(t, { tickets: false })
  t.equal(await handshake(t, port, '/chat?ticket=mine', { headers: bearer() }), '101')
  t.same(opened[0]?.query, { ticket: 'mine' })
  t.equal((await app.inject({ method: 'POST', url: '/ws-ticket', headers: bearer() })).statusCode, 404)
  await t.rejects(app.wsAuth.issueTicket(ANN), { message: '"tickets" option must be on for issueTicket' })
})

t.test('a dry run hides the ticket from later hooks', async (t) => {
  const seen: string[] = []
  const { app, ticket } = await startChat(t, {}, {
    routes: (app) => app.addHook('preHandler', async (request) => { seen.push(inspect([request.query, request.headers, request.body])) })
  })
  const one = await ticket()
  t.equal(await dryRun(app, `/chat?ticket=${one}&a=b`), '426')
  t.match(seen, [/a: 'b'/])
  t.notOk(seen.join().includes(one))
})

t.test('the tickets.query option names the query parameter of a ticket', async (t) => {
  await t.test('a ticket is read from the parameter that tickets.query names', async (t) => {
    const { port, opened, ticket } = await startChat(t, { tickets: { query: 'key' } })
    const one = await ticket()
    t.equal(await handshake(t, port, `/chat?ticket=${one}`), '401 WS_AUTH_TOKEN_MISSING')
    t.equal(await handshake(t, port, `/chat?key=${one}&ticket=mine`), '101')
    t.same(opened[0]?.query, { ticket: 'mine' })
  })
  for (const [what, plugin, wsAuth] of [
    ['the plugin\'s', { tickets: { query: 'token' } }, true],
    ['the plugin\'s renamed', { tickets: true, token: { query: 'ticket' } }, true],
    ['a route\'s', { tickets: true }, { token: { query: 'ticket' } }]
  ] as Array<[string, Options, fastifyWsAuth.RouteWsAuth]>) {
    await t.test(`tickets.query cannot be ${what} token.query`, async (t) => {
      await t.rejects(startChat(t, plugin, { wsAuth }), { name: 'TypeError', message: /token\.query" option must be another name than tickets\.query/ })
    })
  }
  await t.test('tickets.query can be the name of token.query if no token is read from the query', async (t) => {
    const { port, ticket } = await startChat(t, { tickets: { query: 'token' }, token: { query: false } })
    t.equal(await handshake(t, port, `/chat?token=${await ticket()}`), '101')
  })
})

t.test('injectWS takes a ticket', async (t) => {
  const opened: FastifyRequest[] = []
  const { app } = await prepare(t, { plugin: { tickets: true }, routes: (app) => addChat(app, opened) })
  const { ticket } = await ask(app)
  const socket = await app.injectWS(`/chat?ticket=${ticket}`)
  t.equal(opened[0]?.wsAuth?.source, 'ticket')
  t.equal(opened[0]?.url, '/chat')
  const closed = once(socket, 'close')
  await app.wsAuth.disconnect({ sub: 'ann' })
  const [code, reason] = await closed as [number, Buffer]
  t.equal(`${code} ${reason}`, '3003 disconnected')
  await t.rejects(app.injectWS(`/chat?ticket=${ticket}`), { message: /401/ })
})

t.test('limits.perUser counts connections by ticket, and a refusal by the limit spends the ticket', async (t) => {
  const { app, port, ticket } = await startChat(t, { limits: { perUser: 1 } })
  const [one, two, three] = [await ticket(), await ticket(), await ticket()]
  t.equal(await dryRun(app, `/chat?ticket=${two}`), '426')
  t.equal(await handshake(t, port, `/chat?ticket=${one}`), '101')
  t.equal(await dryRun(app, `/chat?ticket=${two}`), '429 WS_AUTH_LIMIT')
  t.equal(await handshake(t, port, `/chat?ticket=${two}`), '429 WS_AUTH_LIMIT')
  await app.wsAuth.disconnect({ sub: 'ann' })
  t.equal(await handshake(t, port, `/chat?ticket=${two}`), '401 WS_AUTH_TICKET_INVALID')
  t.equal(await handshake(t, port, `/chat?ticket=${three}`), '101')
})

t.test('a client that leaves while its ticket is read keeps no slot', async (t) => {
  const memory = memoryBackplane().join(nobody())
  let release = (): void => {}
  const released = new Promise<void>((resolve) => { release = resolve })
  const { app, port, ticket, opened } = await startChat(t, {
    limits: { perUser: 1 },
    backplane: backplaneWith({ put: memory.put, take: async (name) => { await released; return await memory.take(name) } })
  })
  const client = await RawClient.open(t, port)
  client.upgrade({ path: `/chat?ticket=${await ticket()}` })
  await until(() => statsOf(app).pending === 1, 'it is pending')
  client.socket.destroy()
  await until(() => statsOf(app).pending === 0, 'it is gone')
  release()
  t.equal(await handshake(t, port, `/chat?ticket=${await ticket()}`), '101', 'the slot is free')
  t.equal(opened.length, 1)
})

t.test('apps on one memory backplane share their tickets, and exactly one handshake with a ticket is accepted', async (t) => {
  const backplane = memoryBackplane()
  const apps = await Promise.all([1, 2, 3].map(async () => await startChat(t, { backplane })))
  const path = `/chat?ticket=${await (apps[0] as Chat).ticket()}`
  const outcomes = await Promise.all(Array.from({ length: 30 }, async (_, i) => await handshake(t, (apps[i % 3] as Chat).port, path)))
  t.equal(outcomes.filter((outcome) => outcome === '101').length, 1)
})
