/*
 * A policy is either in force or an error: whatever looks like the policy of a websocket route and is not read as one is a
 * TypeError when the route is declared. What belongs to somebody else is left alone.
 */
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions, RouteOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fc from 'fast-check'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign } from '../helpers/app'
import { holds } from '../helpers/arbitraries'

type Keys = Record<string, unknown>
/** Declares a route with these options beside its method, path and handler. */
type Declare = (app: FastifyInstance, options: Keys, path?: string) => unknown

const POLICY = { roles: ['admin'] }
const MEMBER = { authorization: `Bearer ${sign({ sub: 'ann', roles: ['member'] })}` }
const ADMIN = { authorization: `Bearer ${sign({ sub: 'ada', roles: ['admin'] })}` }

const noop = (): void => {}
const http = async (): Promise<string> => 'http'

async function build (t: Test, server: FastifyServerOptions = {}): Promise<FastifyInstance> {
  const app = Fastify(server)
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
  return app
}

const shorthand: Declare = (app, options, path = '/admin') => app.get(path, options, noop)
const route: Declare = (app, options, path = '/admin') => app.route({ method: 'GET', url: path, handler: noop, ...options })
const bothMethods: Declare = (app, options, path = '/admin') => app.route({ method: ['GET', 'HEAD'], url: path, handler: noop, ...options })

const WAYS: Record<string, Declare> = {
  'app.get': shorthand,
  'app.get with the handler among the options': (app, options, path = '/admin') => app.get(path, { ...options, handler: noop }),
  'app.route': route,
  'app.route of GET and HEAD': bothMethods,
  'app.route without a HEAD route': (app, options, path) => route(app, { ...options, exposeHeadRoute: false }, path)
}

/** How `wsAuth` is written by someone who did not look it up. */
const SPELLINGS = [
  'wsauth', 'WsAuth', 'WSAuth', 'WSAUTH', 'wsAUTH', 'wSaUtH', 'Wsauth',
  'ws_auth', 'ws_Auth', 'WS_AUTH', 'Ws_Auth', 'ws-auth', 'WS-AUTH', 'ws-Auth', 'ws__auth', '_wsAuth', 'wsAuth_', '-wsAuth', 'wsAuth-'
]
/** The keys of a policy, where they belong to none. */
const PARTS: Keys = {
  roles: ['admin'],
  role: 'admin',
  Roles: ['admin'],
  ROLES: ['admin'],
  scopes: ['chat:write'],
  scope: 'chat:write',
  Scopes: ['chat:write'],
  Scope: 'chat:write',
  authorize: () => false,
  authorise: () => false,
  Authorize: () => false,
  AUTHORIZE: () => false,
  Authorise: () => false
}
const WEBSOCKETS = ['webSocket', 'WebSocket', 'Websocket', 'WEBSOCKET', 'web_socket', 'web-socket', 'websockets', 'webSockets', 'web_sockets']
const VALUES = [POLICY, true, false, 'optional', { authorize: () => false }]

/** The route cannot be declared, and the error says which key of which route it is. */
function misplaced (t: Test, declare: () => unknown, key: string, path = '/admin', what = key): void {
  t.throws(declare, { name: 'TypeError', message: new RegExp(`"[^"]*${key}[^"]*"`) }, `${what} is a TypeError that names the key`)
  t.throws(declare, { message: path }, `${what} is a TypeError that names the path`)
}

for (const [way, declare] of Object.entries(WAYS)) {
  t.test(`a policy of a websocket route under another name than wsAuth throws a TypeError of ${way}`, async (t) => {
    const app = await build(t)
    for (const key of SPELLINGS) misplaced(t, () => declare(app, { websocket: true, [key]: POLICY }), key)
  })

  t.test(`a policy of a websocket route in its config throws a TypeError of ${way}`, async (t) => {
    const app = await build(t)
    for (const key of ['wsAuth', ...SPELLINGS]) misplaced(t, () => declare(app, { websocket: true, config: { [key]: POLICY } }), key)
  })

  t.test(`roles, scopes and authorize beside websocket: true throw a TypeError of ${way}`, async (t) => {
    const app = await build(t)
    for (const [key, value] of Object.entries(PARTS)) misplaced(t, () => declare(app, { websocket: true, [key]: value }), key)
  })

  t.test(`websocket: true under another name throws a TypeError of ${way}`, async (t) => {
    const app = await build(t)
    for (const key of WEBSOCKETS) misplaced(t, () => declare(app, { [key]: true }), key)
  })
}

t.test('a websocket option that is neither true nor false throws a TypeError, with and without a policy', async (t) => {
  const app = await build(t)
  for (const value of [1, 0, '', 'true', 'yes', {}, [], noop]) {
    for (const [way, declare] of Object.entries(WAYS)) {
      for (const policy of [{}, { wsAuth: POLICY }, { wsAuth: false }]) {
        const declared = (): unknown => declare(app, { websocket: value, ...policy })
        t.throws(declared, { name: 'TypeError', message: /^"websocket" option must be true or false in GET(?:, HEAD)? \/admin$/ }, `${way}: ${typeof value} ${String(value)}`)
      }
    }
  }
  // No value is no websocket, as for @fastify/websocket.
  for (const [path, value] of [['/null', null], ['/undefined', undefined], ['/false', false]] as const) app.get(path, { websocket: value } as object, http)
  for (const path of ['/null', '/undefined', '/false']) {
    t.equal((await app.inject(path)).body, 'http', path)
    await t.rejects(app.injectWS(path), { message: 'Unexpected server response: 404' }, path)
  }
  t.equal((await app.inject('/admin')).statusCode, 404, 'none was declared')
})

t.test('a policy under another name throws a TypeError whatever its value is', async (t) => {
  const app = await build(t)
  for (const value of VALUES) {
    misplaced(t, () => shorthand(app, { websocket: true, wsauth: value }), 'wsauth', '/admin', `wsauth: ${JSON.stringify(value)}`)
    misplaced(t, () => shorthand(app, { websocket: true, config: { wsAuth: value } }), 'wsAuth', '/admin', `config.wsAuth: ${JSON.stringify(value)}`)
  }
  for (const value of [[], '', 'admin', null, false]) {
    misplaced(t, () => shorthand(app, { websocket: true, roles: value }), 'roles', '/admin', `roles: ${JSON.stringify(value)}`)
  }
})

t.test('a policy under another name throws a TypeError also beside a policy in its place', async (t) => {
  const app = await build(t)
  const good = { websocket: true, wsAuth: { roles: ['member'] } }
  misplaced(t, () => shorthand(app, { ...good, ws_auth: POLICY }), 'ws_auth')
  misplaced(t, () => shorthand(app, { ...good, config: { wsAuth: POLICY } }), 'wsAuth')
  misplaced(t, () => shorthand(app, { ...good, roles: ['admin'] }), 'roles')
  misplaced(t, () => shorthand(app, { ...good, wsAuth: false, authorize: () => false }), 'authorize')
})

t.test('a misplaced policy beside a wsHandler throws a TypeError', async (t) => {
  const app = await build(t)
  const beside = (options: Keys): unknown => app.route({ method: 'GET', url: '/admin', handler: http, wsHandler: noop, ...options })
  for (const key of SPELLINGS) misplaced(t, () => beside({ [key]: POLICY }), key)
  for (const key of ['wsAuth', ...SPELLINGS]) misplaced(t, () => beside({ config: { [key]: POLICY } }), key)
  for (const [key, value] of Object.entries(PARTS)) misplaced(t, () => beside({ [key]: value }), key)
})

t.test('wsAuth under another name throws a TypeError on a route without a websocket too', async (t) => {
  const app = await build(t)
  for (const key of SPELLINGS) {
    misplaced(t, () => app.get('/admin', { [key]: POLICY } as object, http), key)
    misplaced(t, () => app.post('/admin', { config: { [key]: POLICY } } as object, http), key)
  }
  misplaced(t, () => app.get('/admin', { config: { wsAuth: POLICY } } as object, http), 'wsAuth')
})

t.test('a misplaced policy throws a TypeError in a prefix, in a child scope and in the scope of a scope', async (t) => {
  const rows: Array<[options: Keys, key: string]> = [
    [{ websocket: true, ws_auth: POLICY }, 'ws_auth'],
    [{ websocket: true, config: { wsAuth: POLICY } }, 'wsAuth'],
    [{ websocket: true, roles: ['admin'] }, 'roles'],
    [{ webSocket: true }, 'webSocket']
  ]
  for (const [options, key] of rows) {
    for (const declare of [shorthand, route, bothMethods]) {
      const app = await build(t)
      await app.register(async (scope) => {
        misplaced(t, () => declare(scope, options), key, '/api/admin', `${key} in a scope with a prefix`)
        misplaced(t, () => declare(scope, options, '/'), key, '/api', `${key} at the root of a prefix`)
        await scope.register(async (inner) => {
          misplaced(t, () => declare(inner, options), key, '/api/v1/admin', `${key} in the scope of a scope`)
        }, { prefix: '/v1' })
      }, { prefix: '/api' })
      await app.register(async (scope) => { misplaced(t, () => declare(scope, options), key, '/admin', `${key} in a scope without a prefix`) })
      await app.ready()
    }
  }
})

t.test('an app with a misplaced policy in a scope does not become ready', async (t) => {
  const app = await build(t)
  void app.register(async (scope) => { scope.get('/admin', { websocket: true, config: { wsAuth: POLICY } } as object, noop) }, { prefix: '/api' })
  await t.rejects(async () => { await app.ready() }, { name: 'TypeError', message: '/api/admin' })
})

t.test('a policy that an onRoute hook of the app adds under another name throws a TypeError', async (t) => {
  for (const extra of [{ wsauth: POLICY }, { roles: ['admin'] }, { config: { wsAuth: POLICY } }]) {
    const app = Fastify()
    t.teardown(() => app.close())
    app.addHook('onRoute', (route) => { Object.assign(route, extra) })
    await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
    t.throws(() => app.get('/admin', { websocket: true }, noop), { name: 'TypeError', message: '/admin' }, Object.keys(extra).join())
  }
})

t.test('a key that differs from wsAuth only by case, _ and - throws a TypeError, beside and in config', async (t) => {
  const app = await build(t)
  const letters = fc.tuple(...[...'wsauth'].map((letter) => fc.constantFrom(letter, letter.toUpperCase())))
  const gaps = fc.array(fc.stringMatching(/^[_-]{0,2}$/), { minLength: 7, maxLength: 7 })
  const spelling = fc.tuple(letters, gaps).map(([letters, gaps]) => gaps.map((gap, i) => gap + (letters[i] ?? '')).join(''))
  holds(fc.property(spelling.filter((key) => key !== 'wsAuth'), fc.boolean(), (key, isInConfig) => {
    const extra = isInConfig ? { config: { [key]: POLICY } } : { [key]: POLICY }
    try {
      app.get('/admin', { websocket: true, ...extra } as object, noop)
    } catch (error) {
      return error instanceof TypeError && error.message.includes(key)
    }
    return false
  }), 300)
  t.pass('300 spellings')
})

t.test('a policy in its place is in force beside the HEAD route of its GET route', async (t) => {
  for (const exposeHeadRoutes of [true, false]) {
    for (const [way, declare] of Object.entries(WAYS)) {
      const app = await build(t, { exposeHeadRoutes })
      declare(app, { websocket: true, wsAuth: POLICY })
      await app.register(async (scope) => { declare(scope, { websocket: true, wsAuth: POLICY }, '/') }, { prefix: '/api' })
      for (const url of ['/admin', '/api', '/api/']) {
        t.equal((await app.inject({ url, headers: MEMBER })).statusCode, 403, `${way}: a member is refused at ${url}`)
        t.equal((await app.inject({ url, headers: ADMIN })).statusCode, 426, `${way}: an admin would be accepted at ${url}`)
        t.equal((await app.inject({ url })).statusCode, 401, `${way}: nobody else is accepted at ${url}`)
      }
    }
  }
})

t.test('a wrong key within wsAuth throws a TypeError', async (t) => {
  const app = await build(t)
  for (const key of ['role', 'Roles', 'scope', 'Scopes', 'authorise', 'Authorize', 'auth', 'wsAuth', 'config', 'reject_with', 'rejectwith', 'Token', 'origins']) {
    t.throws(() => shorthand(app, { websocket: true, wsAuth: { [key]: ['admin'] } }), { name: 'TypeError', message: `"wsAuth.${key}"` }, key)
  }
})

/** What other packages and Fastify itself have beside a websocket, and the app for its own hooks. */
const OTHERS: Keys[] = [
  { config: { roles: ['admin'], scopes: ['a'], authorize: 'owner', role: 'x', scope: 'y' } },
  { config: { auth: true, ws: true, authorization: 'basic', wsAuthor: 'me', wsAuthentication: 1, websocketAuth: 1, wsAut: 1, wsAuths: 1, 'ws auth': 1, 'ws.auth': 1 } },
  { config: { rateLimit: { max: 10 }, rawBody: true, swagger: {} } },
  { config: {} },
  { config: undefined },
  { schema: { querystring: { type: 'object', properties: { roles: { type: 'string' }, wsAuth: { type: 'string' } } } } },
  { schema: { tags: ['roles'], description: 'wsAuth', security: [{ bearer: [] }] } },
  { constraints: { host: 'a.example' } },
  { constraints: { version: '1.2.0' } },
  { onRequest: async () => {}, preValidation: [async () => {}], preHandler: async () => {}, errorHandler: () => {} },
  { bodyLimit: 10, logLevel: 'warn', attachValidation: true, exposeHeadRoute: false, prefixTrailingSlash: 'both', handlerTimeout: 1000 },
  { auth: 'jwt', ws: true, rolesAllowed: ['a'], authorization: {}, authorizer: () => true, scoped: true, wsAuthor: 'me', telescope: 1, parole: 1 },
  { [Symbol('wsAuth')]: POLICY } as Keys
]

t.test('an option of the app or of another package beside a websocket throws no error', async (t) => {
  for (const [i, options] of OTHERS.entries()) {
    for (const [way, declare] of Object.entries(WAYS)) {
      const app = await build(t)
      t.doesNotThrow(() => declare(app, { websocket: true, wsAuth: POLICY, ...options }), `${way}, ${i}`)
      await app.ready()
    }
    const app = await build(t)
    t.doesNotThrow(() => app.route({ method: 'GET', url: '/admin', handler: http, wsHandler: noop, wsAuth: POLICY, ...options }), `wsHandler, ${i}`)
    await app.ready()
  }
})

t.test('roles, scopes and authorize of a route without a websocket belong to the app', async (t) => {
  const app = await build(t)
  app.get('/admin', { ...PARTS } as object, http)
  app.route({ method: ['POST', 'PUT'], url: '/admin', handler: http, ...PARTS } as RouteOptions)
  app.route({ method: 'GET', url: '/false', handler: http, websocket: false, ...PARTS } as unknown as RouteOptions)
  t.equal((await app.inject('/admin')).body, 'http')
  t.equal((await app.inject({ method: 'POST', url: '/admin' })).body, 'http')
  t.equal((await app.inject('/false')).body, 'http')
})

t.test('a hook of the app can read roles in the config of a websocket route', async (t) => {
  const app = await build(t)
  const seen: unknown[] = []
  app.addHook('preHandler', async (request) => { seen.push((request.routeOptions.config as { roles?: unknown }).roles) })
  app.get('/admin', { websocket: true, wsAuth: POLICY, config: { roles: ['owner'] } as object }, noop)
  t.equal((await app.inject({ url: '/admin', headers: ADMIN })).statusCode, 426)
  t.same(seen, [['owner']])
})

t.test('one options object can declare many routes, and the plugin does not change it', async (t) => {
  const app = await build(t)
  const options = Object.freeze({ websocket: true as const, wsAuth: POLICY, config: Object.freeze({ roles: ['owner'] }) as object })
  app.get('/one', options, noop)
  app.get('/two', options, noop)
  await app.register(async (scope) => { scope.get('/three', options, noop) }, { prefix: '/api' })
  for (const url of ['/one', '/two', '/api/three']) {
    t.equal((await app.inject({ url, headers: MEMBER })).statusCode, 403)
    t.equal((await app.inject({ url, headers: ADMIN })).statusCode, 426)
  }
})
