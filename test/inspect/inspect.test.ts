/*
 * `app.wsAuth.inspect()`: each websocket route with its policy, as data and as a table.
 */
import fastifyHttpProxy from '@fastify/http-proxy'
import fastifyJwt from '@fastify/jwt'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { prepare, SECRET } from '../helpers/app'

const handler = (): void => {}

async function inspectionOf (t: Test, routes: (app: FastifyInstance) => unknown, plugin: fastifyWsAuth.WsAuthOptions = {}): Promise<fastifyWsAuth.Inspection> {
  return (await prepare(t, { plugin, routes })).app.wsAuth.inspect()
}

/** The route of a path that is there once. */
function routeOf ({ routes }: fastifyWsAuth.Inspection, path: string): fastifyWsAuth.InspectedRoute {
  const [route, ...more] = routes.filter((each) => each.path === path)
  if (route === undefined || more.length > 0) throw new Error(`${more.length} routes more of ${path}`)
  return route
}

t.test('a route is described with the policy that is in force', async (t) => {
  const inspection = await inspectionOf(t, (app) => {
    app.get('/rooms/:id/:token', {
      websocket: true,
      wsAuth: { roles: ['admin', 'member'], scopes: ['chat:write'], authorize: () => true, maxLifetime: Infinity, expiryGrace: 5000, renewal: false, rejectWith: 'auto', origin: ['https://chat.example'] }
    }, handler)
  }, {
    jwt: { secret: SECRET, verify: { algorithms: ['HS256'], allowedIss: ['a', /^b/], allowedAud: 'chat' } },
    token: { header: 'x-token', query: false, cookie: { name: 'login', signed: false }, param: true, message: { timeout: 5000 } },
    tickets: { require: true, query: 't' },
    limits: { perUser: 5 }
  })
  const { limits, ...route } = routeOf(inspection, '/rooms/:id/:token')
  t.strictSame(route, {
    path: '/rooms/:id/:token',
    constraints: null,
    access: 'required',
    sources: {
      header: { name: 'x-token', bearer: false },
      subprotocol: 'bearer',
      cookie: { name: 'login', signed: false },
      param: 'token',
      message: { timeout: 5000, maxBytes: 8192, frames: true },
      ticket: { query: 't', require: true }
    },
    tokens: { verifier: '@fastify/jwt', algorithms: ['HS256'], issuers: ['a', '/^b/'], audiences: ['chat'] },
    origin: ['https://chat.example'],
    roles: ['admin', 'member'],
    scopes: ['chat:write'],
    authorize: true,
    maxLifetime: null,
    expiryGrace: 5000,
    renewal: false,
    requireTls: false,
    rejectWith: 'auto',
    warnings: route.warnings
  })
  t.match(limits, { perUser: 5, onLimit: 'reject', pending: 1000 })
})

t.test('all websocket routes are described, by path, and no other route is', async (t) => {
  const { routes } = await inspectionOf(t, async (app) => {
    app.get('/z', { websocket: true, wsAuth: 'optional' }, handler)
    app.get('/plain', async () => 'plain')
    app.post('/post', async () => 'plain')
    await app.register(async (scope) => {
      scope.route({ method: 'GET', url: '/both', handler: async () => 'both', wsHandler: handler })
      await scope.register(async (inner) => { inner.get('/deep/:id', { websocket: true, wsAuth: false }, handler) }, { prefix: '/v1' })
    }, { prefix: '/a' })
    await app.register(async (scope) => { scope.get('/graphql', { websocket: true }, handler) })
    await app.register(fastifyHttpProxy, { upstream: 'http://127.0.0.1:1', prefix: '/api', websocket: true })
    for (const host of ['b.example', 'a.example']) app.get('/hosts', { websocket: true, constraints: { host } }, handler)
  }, { routes: { '/graphql': { roles: ['member'] }, '/api': { roles: ['staff'] }, '/api/*': { roles: ['staff'] } } })
  t.strictSame(routes.map(({ path, access, roles, constraints }) => [path, access, roles, constraints]), [
    ['/a/both', 'required', null, null],
    ['/a/v1/deep/:id', 'public', null, null],
    ['/api', 'required', ['staff'], null],
    ['/api/*', 'required', ['staff'], null],
    ['/graphql', 'required', ['member'], null],
    ['/hosts', 'required', null, { host: 'b.example' }],
    ['/hosts', 'required', null, { host: 'a.example' }],
    ['/z', 'optional', null, null]
  ])
  t.match(routes[1], { sources: {}, tokens: null, origin: null, authorize: false, limits: { pending: 1000 }, warnings: ['public_route'] })
  t.strictSame(Object.keys(routes[1]?.limits ?? {}), ['pending'], 'no other limit is for a public route')
})

t.test('the verifier of a route is described, not that of the plugin', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyJwt, { secret: SECRET, namespace: 'staff', verify: { allowedAud: 'staff' } } as never)
  await app.register(fastifyJwt, { secret: SECRET, namespace: 'web' } as never)
  await app.register(fastifyWsAuth, { jwtNamespace: 'web' })
  app.get('/web', { websocket: true }, handler)
  app.get('/staff', { websocket: true, wsAuth: { jwtNamespace: 'staff' } }, handler)
  app.get('/opaque', { websocket: true, wsAuth: { verify: () => ({ sub: 'ann' }) } }, handler)
  await app.ready()
  const inspection = app.wsAuth.inspect()
  t.match(routeOf(inspection, '/web').tokens, { verifier: '@fastify/jwt web', audiences: null })
  t.match(routeOf(inspection, '/staff').tokens, { verifier: '@fastify/jwt staff', audiences: ['staff'] })
  t.match(routeOf(inspection, '/opaque').tokens, { verifier: 'verify', audiences: null })
})

t.test('an inspection is frozen data without functions and secrets, and is the same each time', async (t) => {
  const { app } = await prepare(t, {
    plugin: { origin: () => true, verify: () => null, cookie: { secret: 'a cookie secret' }, token: { message: { read: () => null } } },
    routes: (app) => { app.get('/chat', { websocket: true, wsAuth: { authorize: () => true } }, handler) }
  })
  const inspection = app.wsAuth.inspect()
  const text = JSON.stringify(inspection)
  t.strictSame(JSON.parse(text), inspection, 'JSON has all of it')
  t.notMatch(text, /secret/)
  t.match(routeOf(inspection, '/chat'), { origin: 'function', authorize: true, sources: { message: { frames: false } } })
  const assertFrozen = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    t.ok(Object.isFrozen(value))
    Object.values(value).forEach(assertFrozen)
  }
  assertFrozen(inspection)
  t.equal(JSON.stringify(app.wsAuth.inspect()), text)
  await app.close()
  t.equal(JSON.stringify(app.wsAuth.inspect()), text, 'also of an app that has closed')
})

t.test('inspect() throws before the app is ready, because routes may be declared yet', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
  t.throws(() => app.wsAuth.inspect(), { name: 'Error', message: /when the app is ready \(await app\.ready\(\)\)/ })
  let routes = -1
  app.addHook('onReady', async () => { routes = app.wsAuth.inspect().routes.length })
  app.get('/chat', { websocket: true }, handler)
  await app.ready()
  t.equal(routes, 1, 'a later onReady hook sees all routes')
})

t.test('an app without websocket routes has the warnings of the app alone', async (t) => {
  const { routes, warnings } = await inspectionOf(t, () => {})
  t.strictSame(routes, [])
  t.ok('memory_backplane' in warnings)
  t.notOk('token_in_query' in warnings)
})

t.test('toString() is a table in Markdown, and no name of the app breaks out of its cell', async (t) => {
  const inspection = await inspectionOf(t, (app) => {
    app.get('/files/:id(^a|b$)', { websocket: true, wsAuth: { roles: ['a|b', 'tick`|', '<script>'], maxLifetime: 5_400_000 } }, handler)
    app.get('/open', { websocket: true, wsAuth: false }, handler)
  })
  const text = String(inspection)
  t.equal(text, inspection.toString())
  const [head = '', line, ...rows] = text.split('\n\n')[0]?.split('\n') ?? []
  const cellsOf = (row: string): string[] => row.slice(2, -2).split(/(?<!\\) \| /)
  t.strictSame(cellsOf(head), ['path', 'access', 'token in', 'verified by', 'origin', 'roles (one of)', 'scopes (all of)', 'authorize', 'TLS', 'refuses by', 'longest life', 'limits', 'warnings'])
  t.equal(line, `| ${cellsOf(head).map(() => '---').join(' | ')} |`)
  t.strictSame(rows.map((row) => cellsOf(row).length), [13, 13])
  t.strictSame(cellsOf(rows[0] ?? '').slice(0, 6), ['`/files/:id(^a\\|b$)`', 'required', 'header, subprotocol, query, cookie', '@fastify/jwt', 'same-host', '`a\\|b`, tick\\`\\|, `<script>`'])
  t.equal(cellsOf(rows[0] ?? '')[10], '90 min')
  t.strictSame(cellsOf(rows[1] ?? '').slice(0, 5), ['`/open`', 'public', '', '', ''])
  for (const [name, sentence] of Object.entries(inspection.warnings)) t.ok(text.includes(`- \`${name}\`: ${sentence}\n`), name)
})
