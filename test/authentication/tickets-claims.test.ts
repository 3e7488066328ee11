/*
 * The claims behind a ticket: what is asked of them when it is used, what is revoked or expires, and whose user they make.
 */
import { inspect } from 'node:util'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import type { Claims } from '../../lib/token/claims'
import type fastifyWsAuth from '../../lib/index'
import { SECRET, sign } from '../helpers/app'
import { eventually } from '../helpers/moved-clock'
import { upgrade } from '../helpers/raw-client'
import { ANN, ask, bearer, closeOf, dryRun, handshake, seconds, startChat, startTimedChat } from '../helpers/ticket-chat'
import { statsOf } from '../helpers/stats'

t.test('a ticket whose claims are revoked is refused with WS_AUTH_TOKEN_REVOKED, and its connection is closed', async (t) => {
  const { app, port, ticket } = await startChat(t)
  const matches: Array<[fastifyWsAuth.RevokeMatch, object]> = [
    [{ jti: 'one' }, { sub: 'a', jti: 'one' }],
    [{ sid: 'two' }, { sub: 'b', sid: 'two' }],
    [{ sub: 'c' }, { sub: 'c' }]
  ]
  for (const [match, claims] of matches) {
    const path = `/chat?ticket=${await ticket(claims)}`
    const open = await upgrade(t, port, { path: `/chat?ticket=${await ticket(claims)}` })
    t.equal(open.answer.status, 101)
    t.match(await app.wsAuth.revoke(match), { closed: 1 })
    t.equal(await closeOf(open), '3000 token_revoked', 'and closes who came in by one')
    t.equal(await dryRun(app, path), '401 WS_AUTH_TOKEN_REVOKED', inspect(match))
    t.equal(await handshake(t, port, path), '401 WS_AUTH_TOKEN_REVOKED', inspect(match))
  }
})

t.test('a ticket from before a logout is refused, and a ticket from after it is admitted', async (t) => {
  const { app, port, ticket } = await startChat(t)
  const before = await ticket({ ...ANN, iat: seconds(-10) })
  await app.wsAuth.revoke({ sub: 'ann', beforeAt: Date.now() - 5000 })
  t.equal(await handshake(t, port, `/chat?ticket=${before}`), '401 WS_AUTH_TOKEN_REVOKED')
  t.equal(await handshake(t, port, `/chat?ticket=${await ticket()}`), '101', 'without an iat it was issued now')
})

t.test('a ticket whose claims expire is refused with WS_AUTH_TOKEN_EXPIRED, and its connection is closed', async (t) => {
  const { app, port, ticket, clock } = await startTimedChat(t)
  const short = { ...ANN, exp: seconds(5) }
  const [early, late] = [await ticket(short), (await ask(app, bearer(short))).ticket]
  const open = await upgrade(t, port, { path: `/chat?ticket=${early}` })
  t.equal(open.answer.status, 101)
  t.equal([...app.wsAuth.connections][0]?.expiresAt, short.exp * 1000)
  await clock.pass(7000)
  await eventually(clock, () => app.wsAuth.connections.size === 0, 'the connection ends')
  t.equal(await closeOf(open), '3000 token_expired', 'closes who came in by it')
  t.equal(await handshake(t, port, `/chat?ticket=${late}`), '401 WS_AUTH_TOKEN_EXPIRED', 'is refused by its own code')
  t.same(statsOf(app).closed.token_expired, 1)
})

t.test('the clock tolerance of the verifier applies to tickets', async (t) => {
  const { port, ticket } = await startChat(t, { jwt: { secret: SECRET, verify: { clockTolerance: 60_000 } } })
  t.equal(await handshake(t, port, `/chat?ticket=${await ticket({ ...ANN, exp: seconds(-30) })}`), '101')
  await t.rejects(ticket({ ...ANN, exp: seconds(-90) }), { code: 'WS_AUTH_TOKEN_EXPIRED' })
})

t.test('a route checks a ticket by the same options as a token', async (t) => {
  const { port, opened, ticket } = await startChat(t, {
    claims: { type: 'object', properties: { level: { type: 'integer', default: 7 } } },
    user: ({ sub, level }) => ({ name: sub, level }) as never
  }, {
    wsAuth: { roles: ['member'], scopes: ['read'], authorize: (user) => (user as { name?: string }).name !== 'eve' }
  })
  const at = async (claims: object): Promise<string> => await handshake(t, port, `/chat?ticket=${await ticket(claims)}`)
  t.equal(await at({ sub: 'ann', roles: ['member'], scope: 'read write', level: 1 }), '101')
  t.same(opened[0]?.user, { name: 'ann', level: 1 })
  t.equal(await at({ sub: 'ann', roles: ['guest'], scope: 'read' }), '403 WS_AUTH_FORBIDDEN')
  t.equal(await at({ sub: 'ann', roles: ['member'], scope: 'write' }), '403 WS_AUTH_FORBIDDEN')
  t.equal(await at({ sub: 'eve', roles: ['member'], scope: 'read' }), '403 WS_AUTH_FORBIDDEN')
  t.equal(await at({ sub: 'ann', roles: ['member'], scope: 'read', level: 'high' }), '401 WS_AUTH_TOKEN_INVALID')
})

t.test('formatUser decides about the user of a ticket', async (t) => {
  const formatUser = (payload: string | object): object => ({ name: (payload as Claims).sub, tags: ['one'] })
  await t.test('formatUser makes the user of a ticket as it makes that of a token', async (t) => {
    const { app, port, opened, ticket } = await startChat(t, { jwt: { secret: SECRET, formatUser } })
    for (const one of [await ticket(), (await ask(app)).ticket]) {
      t.equal(await handshake(t, port, `/chat?ticket=${one}`), '101')
      const { user, wsAuth } = opened.at(-1) as FastifyRequest
      t.same(user, { name: 'ann', tags: ['one'] })
      t.match(wsAuth?.claims, ANN)
      t.ok(Object.isFrozen(user) && Object.isFrozen((user as { tags?: object }).tags))
    }
  })
  for (const none of [null, undefined]) {
    await t.test(`a formatUser function that returns ${none} admits no client`, async (t) => {
      const { app, port, ticket } = await startChat(t, { jwt: { secret: SECRET, formatUser: () => none as never } })
      t.equal(await handshake(t, port, '/chat', { headers: bearer() }), '401 WS_AUTH_TOKEN_INVALID')
      t.match(await ask(app), { status: 401, code: 'WS_AUTH_TOKEN_INVALID' })
      t.equal(await handshake(t, port, `/chat?ticket=${await ticket()}`), '401 WS_AUTH_TOKEN_INVALID')
    })
  }
})

t.test('each connection has its own frozen claims', async (t) => {
  const { port, opened, ticket } = await startChat(t)
  const claims = { sub: 'ann', roles: ['member'], nested: { list: [1] } }
  const [one, other] = [await ticket(claims), await ticket(claims)]
  claims.roles.push('admin')
  for (const each of [one, other]) t.equal(await handshake(t, port, `/chat?ticket=${each}`), '101')
  const [first, second] = opened.map(({ wsAuth }) => wsAuth?.claims) as [Claims, Claims]
  t.same(first.roles, ['member'], 'what becomes of what was given is nobody\'s')
  t.not(first.nested, second.nested)
  t.ok([first, first.roles, first.nested, (first.nested as { list: object }).list].every(Object.isFrozen))
  t.equal(Object.isFrozen(claims), false)
})

t.test('a connection that came by a ticket can be renewed by a token of the same user', async (t) => {
  const { port, opened, ticket } = await startChat(t)
  t.equal(await handshake(t, port, `/chat?ticket=${await ticket({ ...ANN, iat: seconds(-60), exp: seconds(60) })}`), '101')
  const connection = opened[0]?.wsAuth as fastifyWsAuth.Connection
  await t.rejects(connection.renew(sign({ sub: 'bea', iat: seconds(), exp: seconds(600) })), { code: 'WS_AUTH_TOKEN_INVALID' })
  const exp = seconds(600)
  await connection.renew(sign({ sub: 'ann', iat: seconds(), exp }))
  t.equal(connection.expiresAt, exp * 1000)
  t.equal(connection.source, 'ticket')
})
