/*
 * Tickets that are required beside a token.
 */
import t from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { sign, until } from '../helpers/app'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { ANN, ask, bearer, closeOf, dryRun, handshake, startChat } from '../helpers/ticket-chat'
import type { Options } from '../helpers/ticket-chat'
import { statsOf } from '../helpers/stats'

function authFrame (token: string): Buffer {
  return clientFrame(1, JSON.stringify({ type: 'auth', token }))
}

t.test('tickets.require makes the ticket admit and the token authenticate', async (t) => {
  for (const [where, plugin, wsAuth] of [
    ['of the plugin', { tickets: { require: true } }, true],
    ['of the route', { tickets: true }, { tickets: { require: true } }]
  ] as Array<[string, Options, fastifyWsAuth.RouteWsAuth]>) {
    await t.test(`tickets.require ${where} makes a handshake need a ticket and a token`, async (t) => {
      const { app, port, opened, ticket } = await startChat(t, plugin, { wsAuth })
      const path = async (claims?: object): Promise<string> => `/chat?ticket=${await ticket(claims)}`
      t.equal(await handshake(t, port, await path(), { headers: bearer() }), '101')
      t.equal(opened.at(-1)?.wsAuth?.source, 'header')
      t.equal(await handshake(t, port, '/chat', { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID', 'no ticket')
      t.equal(await handshake(t, port, '/chat?ticket=', { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID', 'an empty one')
      t.equal(await handshake(t, port, '/chat?ticket=x', { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID', 'a bad one')
      t.equal(await handshake(t, port, '/chat'), '401 WS_AUTH_TICKET_INVALID', 'neither')
      t.equal(await handshake(t, port, await path()), '401 WS_AUTH_TOKEN_MISSING', 'no token')
      t.equal(await handshake(t, port, await path({ sub: 'bea' }), { headers: bearer() }), '401 WS_AUTH_TOKEN_INVALID', 'another sub')
      t.equal(await handshake(t, port, await path({}), { headers: bearer() }), '401 WS_AUTH_TOKEN_INVALID', 'a ticket without a sub')
      t.equal(await handshake(t, port, await path(), { headers: bearer({ roles: [] }) }), '401 WS_AUTH_TOKEN_INVALID', 'a token without a sub')
      t.equal(await handshake(t, port, await path({}), { headers: bearer({ name: 'ann' }) }), '401 WS_AUTH_TOKEN_INVALID', 'both without')
      const spent = await path()
      t.equal(await handshake(t, port, spent, { headers: { authorization: 'Bearer x' } }), '401 WS_AUTH_TOKEN_INVALID', 'a bad token')
      t.equal(await handshake(t, port, spent, { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID', 'which spends it')
      const both = await path()
      t.equal(await dryRun(app, both, bearer()), '426')
      t.equal(await dryRun(app, both, bearer({ sub: 'bea' })), '401 WS_AUTH_TOKEN_INVALID')
      t.equal(await dryRun(app, '/chat', bearer()), '401 WS_AUTH_TICKET_INVALID')
      t.equal(await handshake(t, port, both, { headers: { cookie: `token=${sign(ANN)}` } }), '101', 'by cookie')
      t.equal(await handshake(t, port, await path(), { headers: { cookie: `token=${sign(ANN)}`, origin: 'https://evil.example' } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
      t.equal((await ask(app)).status, 200, 'whoever asks for a ticket has none yet')
    })
  }
})

t.test('a route may turn off the ticket that the plugin requires', async (t) => {
  const { port, ticket } = await startChat(t, { tickets: { require: true } }, { wsAuth: { tickets: { require: false } } })
  t.equal(await handshake(t, port, '/chat', { headers: bearer() }), '101')
  t.equal(await handshake(t, port, `/chat?ticket=${await ticket()}`), '101')
  t.equal(await handshake(t, port, '/other', { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID')
})

t.test('an optional route with tickets.require needs a ticket beside a token only', async (t) => {
  const { port, opened, ticket } = await startChat(t, { tickets: { require: true } })
  t.equal(await handshake(t, port, '/optional'), '101')
  t.equal(opened.at(-1)?.user, null)
  t.equal(await handshake(t, port, '/optional', { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID')
  t.equal(await handshake(t, port, `/optional?ticket=${await ticket()}`, { headers: bearer() }), '101')
  t.match(opened.at(-1)?.user, { sub: 'ann' })
  t.equal(await handshake(t, port, `/optional?ticket=${await ticket()}`), '101')
  t.equal(opened.at(-1)?.user, null, 'a ticket alone admits nobody in particular')
  t.equal(await handshake(t, port, '/optional?ticket=x'), '401 WS_AUTH_TICKET_INVALID')
})

t.test('a first message needs the ticket of its handshake if tickets.require is set', async (t) => {
  const { app, port, opened, ticket } = await startChat(t, { tickets: { require: true }, renewal: true, token: { message: true } })
  const open = async (claims?: object): ReturnType<typeof upgrade> => await upgrade(t, port, { path: `/chat?ticket=${await ticket(claims)}` })

  await t.test('a first message with the sub of the ticket is accepted', async (t) => {
    const client = await open()
    t.equal(client.answer.status, 101)
    t.equal(app.wsAuth.connections.size, 0, 'nobody yet')
    t.match(String((await client.send(authFrame(sign(ANN))).frame()).payload), /auth\.ok/)
    await until(() => opened.length === 1, 'the handler is run')
    t.equal(opened[0]?.wsAuth?.source, 'message')
  })

  for (const [what, claims, token] of [
    ['another sub', ANN, { sub: 'bea' }],
    ['a token without a sub', ANN, {}],
    ['a ticket without a sub', {}, ANN],
    ['a token and a ticket without a sub', {}, { name: 'ann' }]
  ] as Array<[string, object, Record<string, unknown>]>) {
    await t.test(`a first message with ${what} is refused`, async (t) => {
      const before = opened.length
      const client = await open(claims)
      t.equal(client.answer.status, 101)
      t.equal(await closeOf(client.send(authFrame(sign(token)))), '3000 token_invalid')
      t.equal(opened.length, before)
    })
  }

  await t.test('a client without a good ticket is refused at the handshake', async (t) => {
    const { refused } = statsOf(app)
    t.equal(await handshake(t, port, '/chat'), '401 WS_AUTH_TICKET_INVALID')
    t.equal(await handshake(t, port, '/chat?ticket=x'), '401 WS_AUTH_TICKET_INVALID')
    t.equal(statsOf(app).refused.WS_AUTH_TICKET_INVALID, (refused.WS_AUTH_TICKET_INVALID ?? 0) + 2)
  })

  await t.test('a revocation of the ticket before the first message closes the connection', async (t) => {
    const client = await open({ ...ANN, jti: 'of the ticket' })
    t.equal(client.answer.status, 101)
    await app.wsAuth.revoke({ jti: 'of the ticket' })
    const before = opened.length
    t.equal(await closeOf(client.send(authFrame(sign(ANN)))), '3000 token_revoked')
    t.equal(opened.length, before)
  })

  await t.test('a ticket admits one client to wait for its first message, not two', async (t) => {
    const path = `/chat?ticket=${await ticket()}`
    const outcomes = await Promise.all(Array.from({ length: 20 }, async () => await handshake(t, port, path)))
    t.equal(outcomes.filter((outcome) => outcome === '101').length, 1)
  })
})
