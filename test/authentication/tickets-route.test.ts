/*
 * The route that issues tickets.
 */
import { inspect } from 'node:util'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign, until } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { setClock } from '../helpers/moved-clock'
import { upgrade } from '../helpers/raw-client'
import { addChat, ANN, ask, bearer, closeOf, dryRun, handshake, never, seconds, startChat, TICKET, TTL } from '../helpers/ticket-chat'
import type { Options } from '../helpers/ticket-chat'
import { statsOf } from '../helpers/stats'

t.test('POST /ws-ticket issues tickets', async (t) => {
  await t.test('POST /ws-ticket takes a token from each source of a handshake', async (t) => {
    const signed = { cookie: { secret: SECRET }, token: { cookie: { name: 'login', signed: true } } }
    for (const [what, plugin, headersOf, query] of [
      ['header', {}, () => bearer(), ''],
      ['header by name', { token: { header: 'x-token' } }, () => ({ 'x-token': sign(ANN) }), ''],
      ['cookie', {}, () => ({ cookie: `a=b; token=${sign(ANN)}` }), ''],
      ['signed cookie', signed, (app) => ({ cookie: `login=${encodeURIComponent(app.signCookie(sign(ANN)))}` }), ''],
      ['query', {}, () => ({}), `?token=${sign(ANN)}`],
      ['header, where first messages are taken too', { renewal: true, token: { message: true } }, () => bearer(), '']
    ] as Array<[string, Options, (app: FastifyInstance) => Record<string, string>, string]>) {
      const { app, port, opened } = await startChat(t, plugin)
      const answer = await ask(app, headersOf(app), undefined, `/ws-ticket${query}`)
      t.match(answer, { status: 200, expiresIn: TTL, headers: { 'cache-control': 'no-store' } }, what)
      t.match(answer.ticket, TICKET)
      t.equal(await handshake(t, port, `/chat?ticket=${answer.ticket}`), '101', what)
      t.match(opened[0]?.user, ANN)
    }
  })

  await t.test('POST /ws-ticket refuses a request as a handshake is refused', async (t) => {
    const { app, log } = await startChat(t, { origin: 'same-host' })
    const events: string[] = []
    onDecision(t, ({ event, code, route }) => { events.push(`${event} ${code} ${route}`) })
    const cookie = `token=${sign(ANN)}`
    await app.wsAuth.revoke({ jti: 'gone' })
    const refusals: Array<[string, Record<string, string>, number, string, string | undefined]> = [
      ['nothing', {}, 401, 'WS_AUTH_TOKEN_MISSING', 'Bearer realm="websocket"'],
      ['a bad token', { authorization: 'Bearer x' }, 401, 'WS_AUTH_TOKEN_INVALID', 'Bearer error="invalid_token"'],
      ['an old one', bearer({ ...ANN, exp: seconds(-1) }), 401, 'WS_AUTH_TOKEN_EXPIRED', 'Bearer error="invalid_token"'],
      ['a revoked one', bearer({ ...ANN, jti: 'gone' }), 401, 'WS_AUTH_TOKEN_REVOKED', 'Bearer error="invalid_token"'],
      ['a cookie from another site', { cookie, origin: 'https://evil.example' }, 403, 'WS_AUTH_ORIGIN_FORBIDDEN', undefined],
      ['a cookie from a page without an origin', { cookie, origin: 'null' }, 403, 'WS_AUTH_ORIGIN_FORBIDDEN', undefined],
      ['two cookies', { cookie: `${cookie}; ${cookie}` }, 400, 'WS_AUTH_TOKEN_AMBIGUOUS', 'Bearer error="invalid_request"']
    ]
    for (const [what, headers, status, code, challenge] of refusals) {
      events.length = 0
      log.length = 0
      const before = statsOf(app).refused[code as fastifyWsAuth.WsAuthErrorCode] ?? 0
      const answer = await ask(app, headers)
      t.equal(`${answer.status} ${answer.code}`, `${status} ${code}`, what)
      t.equal(answer.headers['www-authenticate'], challenge, what)
      t.equal(answer.ticket, undefined)
      t.same(events, [`refused ${code} /ws-ticket`], `${what}: told once`)
      const lines = log.filter((line) => line.includes('"event":"refused"'))
      t.strictSame(lines.map((line) => JSON.parse(line).msg), ['request for a websocket ticket refused'], `${what}: logged once`)
      t.equal(statsOf(app).refused[code as fastifyWsAuth.WsAuthErrorCode], before + 1, `${what}: counted once`)
    }
    t.match(await ask(app, { cookie, host: 'chat.example', origin: 'https://chat.example' }), { status: 200 }, 'a cookie from the same host')
    t.match(await ask(app, { cookie }), { status: 200 }, 'no browser')
    t.match(await ask(app, { ...bearer(), origin: 'https://evil.example' }), { status: 200 }, 'what a page has to send itself')
    t.match(await ask(app, bearer(), undefined, `/ws-ticket?token=${sign(ANN)}`), { status: 400, code: 'WS_AUTH_TOKEN_AMBIGUOUS' })
    t.equal(statsOf(app).pending, 0)
  })

  await t.test('POST /ws-ticket compares every Origin with a list of origins', async (t) => {
    const { app } = await startChat(t, { origin: ['https://example.com'] })
    t.match(await ask(app, { ...bearer(), origin: 'https://evil.example' }), { status: 403, code: 'WS_AUTH_ORIGIN_FORBIDDEN' })
    t.match(await ask(app, { ...bearer(), origin: 'https://example.com' }), { status: 200 })
  })

  await t.test('POST /ws-ticket refuses through the error handler of the app', async (t) => {
    const { app } = await startChat(t, {}, {
      before: (app) => app.setErrorHandler(async (error: { code?: string, statusCode?: number }, _request, reply) => {
        return await reply.code(error.statusCode ?? 500).send({ code: `mine ${error.code}` })
      })
    })
    t.match(await ask(app, {}), { status: 401, code: 'mine WS_AUTH_TOKEN_MISSING', headers: { 'www-authenticate': 'Bearer realm="websocket"' } })
  })

  await t.test('POST /ws-ticket reports each ticket once, and never its text', async (t) => {
    const { app, log } = await startChat(t)
    const events: fastifyWsAuth.WsAuthEvent[] = []
    onDecision(t, (event) => { events.push(event) })
    const { ticket } = await ask(app)
    t.match(events, [{ event: 'ticket_issued', source: 'header', sub: 'ann', route: '/ws-ticket', code: null, dryRun: false }])
    t.equal(events.length, 1)
    t.equal(log.filter((line) => line.includes('"event":"ticket_issued"')).length, 1)
    t.notOk(log.join('').includes(ticket) || inspect(events).includes(ticket))
    t.match(statsOf(app), { accepted: 0, pending: 0, connections: 0 })
  })

  await t.test('POST /ws-ticket takes a binding in its body, and nothing else', async (t) => {
    const { app, port } = await startChat(t)
    const wrong: Array<object | string> = [
      { path: 'chat' }, { path: '/chat?a=b' }, { path: '/chat#a' }, { path: '' }, { path: 1 }, { path: null }, { path: ['/chat'] },
      { origin: 'example.com' }, { origin: 'https://example.com/' }, { origin: 'https://Example.com' }, { origin: '*' }, { origin: 'null' }, { origin: null }, { origin: 1 },
      { ttl: 1 }, { path: '/chat', sub: 'bea' }, ['/chat'], []
    ]
    for (const body of wrong) t.equal((await ask(app, bearer(), body)).status, 400, inspect(body))
    const json = { ...bearer(), 'content-type': 'application/json' }
    for (const body of ['"/chat"', '1', 'true', '{"path":', '{"__proto__":{"path":"/chat"}}']) t.equal((await ask(app, json, body)).status, 400, body)
    t.equal((await ask(app, { ...bearer(), 'content-type': 'text/plain' }, 'path=/chat')).status, 400, 'a text')
    t.equal((await ask(app, { ...bearer(), 'content-type': 'application/x-www-form-urlencoded' }, 'path=/chat')).status, 415, 'a form')
    t.equal((await ask(app, bearer(), { path: `/${'a'.repeat(20_000)}` })).status, 413, 'a long one')
    t.equal((await ask(app, {}, { path: 'chat' })).status, 401, 'who nobody knows learns nothing')

    const { ticket } = await ask(app, bearer(), { path: '/chat', origin: 'https://example.com' })
    t.equal(await handshake(t, port, `/chat?ticket=${ticket}`), '401 WS_AUTH_TICKET_INVALID')
    const { ticket: other } = await ask(app, bearer(), { path: '/chat' })
    t.equal(await handshake(t, port, `/other?ticket=${other}`), '401 WS_AUTH_TICKET_INVALID')
    const { ticket: good } = await ask(app, bearer(), { path: '/chat', origin: 'https://example.com' })
    t.equal(await handshake(t, port, `/chat?ticket=${good}`, { headers: { origin: 'https://example.com' } }), '101')
    t.equal((await ask(app, bearer(), {})).status, 200, 'an empty one binds to nothing')
  })

  await t.test('POST /ws-ticket answers 503 if the verifier does not answer, with any rejectWith', async (t) => {
    for (const rejectWith of ['http', 'close', 'auto'] as const) {
      const { app } = await startChat(t, { verify: never, handshakeTimeout: 50, rejectWith })
      const answer = await ask(app, { authorization: 'Bearer x', origin: 'https://example.com' })
      t.match(answer, { status: 503, code: 'WS_AUTH_UNAVAILABLE' }, rejectWith)
      t.equal(statsOf(app).refused.WS_AUTH_UNAVAILABLE, 1)
    }
  })

  await t.test('POST /ws-ticket answers with a status if handshakes are refused with a close code', async (t) => {
    const { app, port } = await startChat(t, { rejectWith: 'close' })
    t.match(await ask(app, {}), { status: 401, code: 'WS_AUTH_TOKEN_MISSING' })
    const { ticket } = await ask(app)
    t.equal(await handshake(t, port, `/chat?ticket=${ticket}`), '101')
    const client = await upgrade(t, port, { path: `/chat?ticket=${ticket}` })
    t.equal(await closeOf(client), '3000 ticket_invalid')
  })

  await t.test('POST /ws-ticket has the path of the tickets.path option and the prefix of its scope', async (t) => {
    const elsewhere = await startChat(t, { tickets: { path: '/api/ticket' } })
    t.equal((await ask(elsewhere.app, bearer(), undefined, '/api/ticket')).status, 200)
    t.equal((await ask(elsewhere.app)).status, 404)

    const nowhere = await startChat(t, { tickets: { path: false } })
    t.equal((await ask(nowhere.app)).status, 404)
    t.equal(await handshake(t, nowhere.port, `/chat?ticket=${await nowhere.ticket()}`), '101')

    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(async (scope) => {
      await scope.register(fastifyWsAuth, { jwt: { secret: SECRET }, tickets: true })
      addChat(scope, [])
    }, { prefix: '/api' })
    t.equal((await ask(app)).status, 404)
    const { ticket } = await ask(app, bearer(), undefined, '/api/ws-ticket')
    t.equal(await dryRun(app, `/api/chat?ticket=${ticket}`), '426')
  })

  await t.test('POST /ws-ticket is no websocket route, and has no other method', async (t) => {
    const { app, port } = await startChat(t)
    t.equal(await handshake(t, port, '/ws-ticket', { method: 'POST', headers: bearer() }), '404 WS_AUTH_ROUTE_NOT_WEBSOCKET')
    for (const method of ['GET', 'PUT', 'DELETE', 'HEAD'] as const) t.equal((await app.inject({ method, url: '/ws-ticket', headers: bearer() })).statusCode, 404, method)
  })

  await t.test('POST /ws-ticket answers 503 if there is no room for another pending connection', async (t) => {
    const { app, port } = await startChat(t, { limits: { pending: 1 }, renewal: true, token: { message: true } })
    t.equal((await ask(app)).status, 200)
    t.equal((await upgrade(t, port, { path: '/chat' })).answer.status, 101)
    await until(() => statsOf(app).pending === 1, 'one waits for its first message')
    t.match(await ask(app), { status: 503, code: 'WS_AUTH_BUSY', headers: { 'retry-after': /^[1-5]$/ } })
  })

  await t.test('a ticket keeps the claims, and its user may be a value that JSON cannot hold', async (t) => {
    const { app, port, opened } = await startChat(t, { user: ({ sub }) => ({ sub, id: 1n }) as never })
    t.equal(await handshake(t, port, `/chat?ticket=${(await ask(app)).ticket}`), '101')
    t.same(opened[0]?.user, { sub: 'ann', id: 1n })
  })

  await t.test('POST /ws-ticket refuses a token that expires before the ticket is made', async (t) => {
    const { app } = await startChat(t, {}, { routes: (app) => app.addHook('preHandler', async () => { setClock(t, 60_000) }) })
    const answer = await ask(app, bearer({ ...ANN, exp: seconds(30) }))
    t.match(answer, { status: 401, code: 'WS_AUTH_TOKEN_EXPIRED', headers: { 'www-authenticate': 'Bearer error="invalid_token"' } })
    t.same(statsOf(app).refused, { ...statsOf(app).refused, WS_AUTH_TOKEN_EXPIRED: 1 })
  })

  await t.test('POST /ws-ticket checks the claims and the user, and takes no slot of limits.perUser', async (t) => {
    const claims = { type: 'object', required: ['tenant'] }
    const { app, port } = await startChat(t, { claims, limits: { perUser: 1 }, user: async ({ sub, tenant }) => sub === 'gone' ? null as never : { sub, tenant } as never })
    t.match(await ask(app, bearer(ANN)), { status: 401, code: 'WS_AUTH_TOKEN_INVALID' })
    t.match(await ask(app, bearer({ sub: 'gone', tenant: 1 })), { status: 401, code: 'WS_AUTH_TOKEN_INVALID' })
    const tickets = await Promise.all([1, 2, 3].map(async () => (await ask(app, bearer({ sub: 'ann', tenant: 1 }))).ticket))
    t.ok(tickets.every((ticket) => TICKET.test(ticket)))
    t.equal(await handshake(t, port, `/chat?ticket=${tickets[0]}`), '101')
    t.equal(await handshake(t, port, `/chat?ticket=${tickets[1]}`), '429 WS_AUTH_LIMIT')
    t.match(await ask(app, bearer({ sub: 'ann', tenant: 1 })), { status: 200 })
  })
})
