/*
 * Routes with a verifier, a schema or a user of their own: nothing of the plugin's admits a token there, and nothing of theirs anywhere else.
 */
import fastifyJwt from '@fastify/jwt'
import t from 'tap'
import type { Connection, RouteWsAuth } from '../../lib/index'
import { prepare, SECRET, sign } from '../helpers/app'
import { openSocket, statusOf } from '../helpers/sockets'

const OTHER = 'another thirty-two bytes of key!'
const websocket = { websocket: true } as const

const verify = async (token: string): Promise<object | null> => token.startsWith('opaque-') ? { sub: token.slice(7), roles: ['partner'] } : null

async function build (t: Parameters<typeof prepare>[0], policy: RouteWsAuth, seen: Connection[] = []): ReturnType<typeof prepare> {
  return await prepare(t, {
    plugin: { tickets: true, tokenCache: { max: 10, ttl: 60_000 } },
    routes: (app) => {
      app.get('/ws', websocket, () => {})
      app.get('/own', { ...websocket, wsAuth: policy }, (_socket, request) => { seen.push(request.wsAuth as Connection) })
    }
  })
}

t.test('the verifier of a route verifies only the tokens of that route, also from the cache', async (t) => {
  const { app } = await build(t, { verify, roles: ['partner'] })
  for (let i = 0; i < 2; i++) {
    t.equal(await statusOf(app, '/own', 'opaque-ann'), 426)
    t.equal(await statusOf(app, '/own', sign()), 401)
    t.equal(await statusOf(app, '/ws', sign()), 426)
    t.equal(await statusOf(app, '/ws', 'opaque-ann'), 401)
  }
})

t.test('a renewal is verified by the verifier of its route', async (t) => {
  const seen: Connection[] = []
  const { app } = await build(t, { verify }, seen)
  await openSocket(app, '/own', 'opaque-ann')
  await seen[0]?.renew('opaque-ann')
  await t.rejects(seen[0]?.renew(sign({ sub: 'ann' })) as Promise<unknown>, { code: 'WS_AUTH_TOKEN_INVALID' })
})

t.test('a route with its own verifier accepts a ticket only if the app has bound it to the path', async (t) => {
  const { app, log } = await build(t, { verify })
  const bought = async (body: object): Promise<string> =>
    (await app.inject({ method: 'POST', url: '/ws-ticket', headers: { authorization: `Bearer ${sign()}` }, payload: body })).json<{ ticket: string }>().ticket
  const issued = async (binding: object): Promise<string> => (await app.wsAuth.issueTicket({ sub: 'ann' }, binding)).ticket
  t.equal(await statusOf(app, `/own?ticket=${await bought({})}`, null), 401)
  t.equal(await statusOf(app, `/own?ticket=${await bought({ path: '/own' })}`, null), 401, 'a client could choose the path')
  t.ok(log.some((line) => line.includes('the route has a verifier of its own')))
  t.equal(await statusOf(app, `/own?ticket=${await issued({})}`, null), 401)
  t.equal(await statusOf(app, `/own?ticket=${await issued({ path: '/ws' })}`, null), 401)
  t.equal(await statusOf(app, `/own?ticket=${await issued({ path: '/own' })}`, null), 426)
  t.equal(await statusOf(app, `/ws?ticket=${await bought({})}`, null), 426, 'any other route is as before')
})

t.test('a route may verify with another @fastify/jwt of the app', async (t) => {
  const { app } = await prepare(t, {
    before: async (app) => {
      await app.register(fastifyJwt, { secret: SECRET, namespace: 'first' })
      await app.register(fastifyJwt, { secret: OTHER, namespace: 'second' })
    },
    plugin: { jwt: undefined, jwtNamespace: 'first' } as never,
    routes: (app) => {
      app.get('/ws', websocket, () => {})
      app.get('/own', { ...websocket, wsAuth: { jwtNamespace: 'second' } }, () => {})
      t.throws(() => app.get('/none', { ...websocket, wsAuth: { jwtNamespace: 'third' } }, () => {}), { message: /"jwtNamespace" option must be a namespace/ })
      t.throws(() => app.get('/both', { ...websocket, wsAuth: { jwtNamespace: 'second', verify } }, () => {}), { message: '"wsAuth.jwtNamespace" option must be left out if "verify" is given' })
    }
  })
  t.equal(await statusOf(app, '/ws', sign()), 426)
  t.equal(await statusOf(app, '/own', sign()), 401)
  t.equal(await statusOf(app, '/own', sign({ sub: 'ann' }, OTHER)), 426)
  t.equal(await statusOf(app, '/ws', sign({ sub: 'ann' }, OTHER)), 401)
})

t.test('the jwtNamespace option of a route needs an @fastify/jwt', async (t) => {
  await prepare(t, {
    plugin: { verify },
    routes: (app) => {
      t.throws(() => app.get('/own', { ...websocket, wsAuth: { jwtNamespace: 'first' } }, () => {}), { message: '"wsAuth.jwtNamespace" option must be left out: no @fastify/jwt is registered' })
    }
  })
})

t.test('a route may have its own claims, user, subject, expiryGrace and optional', async (t) => {
  const seen: Connection[] = []
  const { app } = await build(t, {
    optional: true,
    claims: { type: 'object', required: ['tenant'] },
    user: ({ tenant }) => ({ sub: `of ${String(tenant)}` }) as never,
    subject: ({ tenant }) => String(tenant),
    expiryGrace: 5000
  }, seen)
  t.equal(await statusOf(app, '/own', sign()), 401, 'the schema of the route')
  t.equal(await statusOf(app, '/ws', sign()), 426)
  t.equal(await statusOf(app, '/own', null), 426, 'optional')
  const exp = Math.floor(Date.now() / 1000) + 60
  await openSocket(app, '/own', sign({ tenant: 'acme', exp }))
  const [connection] = seen
  t.match(connection, { sub: 'acme', user: { sub: 'of acme' }, expiresAt: exp * 1000, endsAt: exp * 1000 + 5000 })
  t.equal(app.wsAuth.connections.bySub('acme').length, 1)
})

t.test('a schema of a route that cannot be compiled fails the start', async (t) => {
  await t.rejects(build(t, { claims: { type: 'nonsense' } }), { message: /"claims" option must be a schema/ })
})

t.test('endsAt is the earlier of the expiry and maxLifetime, and null for never', async (t) => {
  const seen: Connection[] = []
  const { app } = await build(t, { maxLifetime: Infinity }, seen)
  await openSocket(app, '/own', sign())
  t.equal(seen[0]?.endsAt, null)
  seen[0]?.close()
  t.equal(seen[0]?.endsAt, null, 'ended')
  const bounded = await build(t, { maxLifetime: 1000 }, seen)
  await openSocket(bounded.app, '/own', sign({ sub: 'ann', exp: Math.floor(Date.now() / 1000) + 60 }))
  t.equal(seen[1]?.endsAt, (seen[1]?.openedAt ?? 0) + 1000)
})

t.test('a ticket beside a token must be bound by the app on a route with its own verifier', async (t) => {
  const { app } = await build(t, { verify, tickets: { require: true } })
  const { ticket: bought } = (await app.inject({ method: 'POST', url: '/ws-ticket', headers: { authorization: `Bearer ${sign({ sub: 'ann' })}` } })).json<{ ticket: string }>()
  t.equal(await statusOf(app, `/own?ticket=${bought}`, 'opaque-ann'), 401)
  const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann' }, { path: '/own' })
  t.equal(await statusOf(app, `/own?ticket=${ticket}`, 'opaque-ann'), 426)
})
