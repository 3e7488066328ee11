import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import type { WsAuthOptions } from '../../lib/options/public-options'
import type { RouteWsAuth } from '../../lib/options/public-route-options'
import { mint, secret } from '../helpers/keys'
import { statsOf } from '../helpers/stats'

const noop = (): void => {}
const ann = mint({ sub: 'ann', roles: ['member'], scope: 'chat:read chat:write' })

interface Answer {
  status: number
  code: string | undefined
  challenge: string | undefined
}

async function build (t: Test, options: WsAuthOptions = {}, wsAuth: RouteWsAuth = true): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret }, ...options })
  app.get('/chat', { websocket: true, wsAuth }, noop)
  return app
}

async function ask (app: FastifyInstance, request: { url?: string, headers?: Record<string, string> } = { headers: { authorization: `Bearer ${ann}` } }): Promise<Answer> {
  const { statusCode: status, headers, ...response } = await app.inject({ url: '/chat', ...request })
  return { status, code: response.json().code, challenge: headers['www-authenticate'] as string | undefined }
}

const accepted = { status: 426, code: undefined, challenge: undefined }
const missing = { status: 401, code: 'WS_AUTH_TOKEN_MISSING', challenge: 'Bearer realm="websocket"' }
const invalid = { status: 401, code: 'WS_AUTH_TOKEN_INVALID', challenge: 'Bearer error="invalid_token"' }
const ambiguous = { status: 400, code: 'WS_AUTH_TOKEN_AMBIGUOUS', challenge: 'Bearer error="invalid_request"' }
const forbidden = { status: 403, code: 'WS_AUTH_FORBIDDEN', challenge: 'Bearer error="insufficient_scope"' }
const wrongOrigin = { status: 403, code: 'WS_AUTH_ORIGIN_FORBIDDEN', challenge: undefined }
const unavailable = { status: 503, code: 'WS_AUTH_UNAVAILABLE', challenge: undefined }

t.test('the handshake finds a token in each place, and refuses two', async (t) => {
  const header = { authorization: `Bearer ${ann}` }
  const encoded = `base64url.bearer.${Buffer.from(ann).toString('base64url')}`
  const rows: Array<[what: string, request: { url?: string, headers?: Record<string, string> }, answer: Answer]> = [
    ['nowhere', {}, missing],
    ['header', { headers: header }, accepted],
    ['header, scheme in another case', { headers: { authorization: `bEARER ${ann}` } }, accepted],
    ['header, two spaces', { headers: { authorization: `Bearer  ${ann}` } }, accepted],
    ['header, tab', { headers: { authorization: `Bearer\t${ann}` } }, accepted],
    ['header, scheme alone', { headers: { authorization: 'Bearer' } }, missing],
    ['header, two tokens', { headers: { authorization: `Bearer ${ann} ${ann}` } }, invalid],
    ['header, comma', { headers: { authorization: `Bearer ${ann}, Bearer ${ann}` } }, invalid],
    ['header, another scheme', { headers: { authorization: 'Basic YTpi' } }, missing],
    ['query', { url: `/chat?token=${ann}` }, accepted],
    ['query, empty', { url: '/chat?token=' }, missing],
    ['query, no value', { url: '/chat?token' }, missing],
    ['query, encoded name and value', { url: `/chat?%74oken=${encodeURIComponent(ann).replaceAll('.', '%2E')}` }, accepted],
    ['query, malformed value', { url: '/chat?token=%zz' }, invalid],
    ['query, another name', { url: `/chat?tokens=${ann}` }, missing],
    ['query, another case', { url: `/chat?Token=${ann}` }, missing],
    ['query, twice', { url: `/chat?token=${ann}&token=${ann}` }, ambiguous],
    ['query, twice, one empty', { url: `/chat?token=&token=${ann}` }, ambiguous],
    ['subprotocol', { headers: { 'sec-websocket-protocol': `bearer, ${ann}` } }, accepted],
    ['subprotocol, behind another', { headers: { 'sec-websocket-protocol': `chat,bearer,${ann}` } }, accepted],
    ['subprotocol, one entry', { headers: { 'sec-websocket-protocol': `chat, ${encoded}` } }, accepted],
    ['subprotocol, marker alone', { headers: { 'sec-websocket-protocol': 'bearer' } }, missing],
    ['subprotocol, marker last', { headers: { 'sec-websocket-protocol': 'chat, bearer' } }, missing],
    ['subprotocol, token without a marker', { headers: { 'sec-websocket-protocol': ann } }, missing],
    ['subprotocol, another marker', { headers: { 'sec-websocket-protocol': `Bearer, ${ann}` } }, missing],
    ['subprotocol, another marker in one entry', { headers: { 'sec-websocket-protocol': `chat, ${encoded.replace('bearer', 'jwt')}` } }, missing],
    ['subprotocol, both forms', { headers: { 'sec-websocket-protocol': `bearer, ${ann}, ${encoded}` } }, ambiguous],
    ['subprotocol, no base64url', { headers: { 'sec-websocket-protocol': 'chat, base64url.bearer.~~~~' } }, missing],
    ['cookie', { headers: { cookie: `a=b; token=${ann}` } }, accepted],
    ['cookie, twice', { headers: { cookie: `token=${ann}; token=${ann}` } }, ambiguous],
    ['cookie, empty', { headers: { cookie: 'token=' } }, missing],
    ['cookie, another', { headers: { cookie: `xtoken=${ann}; tokens=${ann}` } }, missing],
    ['param, where it is off', { url: `/chat/${ann}` }, { status: 404, code: undefined, challenge: undefined }],
    ['header and query', { url: `/chat?token=${ann}`, headers: header }, ambiguous],
    ['header and subprotocol', { headers: { ...header, 'sec-websocket-protocol': `bearer, ${ann}` } }, ambiguous],
    ['query and subprotocol', { url: `/chat?token=${ann}`, headers: { 'sec-websocket-protocol': `bearer, ${ann}` } }, ambiguous],
    ['a good cookie beside a bad header', { headers: { authorization: 'Bearer bad', cookie: `token=${ann}` } }, invalid],
    ['a good cookie beside a bad query', { url: '/chat?token=bad', headers: { cookie: `token=${ann}` } }, invalid],
    ['two cookies beside a good header', { headers: { ...header, cookie: `token=${ann}; token=x` } }, accepted],
    ['a bad cookie alone', { headers: { cookie: 'token=bad' } }, invalid]
  ]
  const app = await build(t)
  for (const [what, request, answer] of rows) t.strictSame(await ask(app, request), answer, what)
})

t.test('the places of a token can have other names or be off', async (t) => {
  const encoded = `base64url.jwt.${Buffer.from(ann).toString('base64url')}`
  const named = await build(t, { token: { header: 'X-Token', query: 'access_token', subprotocol: 'jwt', cookie: 'sid' } })
  t.strictSame(await ask(named, { headers: { 'x-token': ann } }), accepted)
  t.strictSame(await ask(named, { headers: { 'x-token': `Bearer ${ann}` } }), invalid, 'a header by name is its whole value')
  t.strictSame(await ask(named, { url: `/chat?access_token=${ann}` }), accepted)
  t.strictSame(await ask(named, { headers: { 'sec-websocket-protocol': `jwt, ${ann}` } }), accepted)
  t.strictSame(await ask(named, { headers: { 'sec-websocket-protocol': `chat, ${encoded}` } }), accepted)
  t.strictSame(await ask(named, { headers: { cookie: `sid=${ann}` } }), accepted)
  t.strictSame(await ask(named, { url: `/chat?token=${ann}`, headers: { cookie: `token=${ann}`, 'sec-websocket-protocol': `bearer, ${ann}` } }), missing)
  t.strictSame(await ask(named, { headers: { authorization: `Bearer ${ann}` } }), accepted, 'in a dry run the Authorization header always counts')
  t.strictSame(await ask(named, { headers: { authorization: `Bearer ${ann}`, 'x-token': ann } }), ambiguous)

  const off = await build(t, { token: { header: false, query: false, subprotocol: false, cookie: false } })
  t.strictSame(await ask(off, { url: `/chat?token=${ann}`, headers: { cookie: `token=${ann}`, 'sec-websocket-protocol': `bearer, ${ann}` } }), missing)
  t.strictSame(await ask(off, { headers: { authorization: `Bearer ${ann}` } }), accepted, 'in a dry run the Authorization header always counts')
})

t.test('a route can have its own names for the places of a token, and other routes do not have them', async (t) => {
  const app = Fastify({ routerOptions: { maxParamLength: 500 } })
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  app.get('/key', { websocket: true, wsAuth: { token: { query: 'key' } } }, noop)
  app.get('/token', { websocket: true }, noop)
  app.get('/path/:token', { websocket: true, wsAuth: { token: { param: true } } }, noop)
  t.equal((await app.inject(`/key?key=${ann}`)).statusCode, 426)
  t.equal((await app.inject(`/key?token=${ann}`)).statusCode, 401)
  t.equal((await app.inject(`/token?token=${ann}`)).statusCode, 426)
  t.equal((await app.inject(`/token?key=${ann}`)).statusCode, 401)
  t.equal((await app.inject(`/path/${ann}`)).statusCode, 426)
  t.equal((await app.inject(`/path/${ann}?token=${ann}`)).statusCode, 400)
  t.equal((await app.inject('/path/abc')).statusCode, 401)
})

t.test('a cookie with a signature authenticates, and one without it or with a wrong one does not', async (t) => {
  const app = await build(t, { cookie: { secret: 'cookie secret' }, token: { cookie: { name: 'token', signed: true } } })
  await app.ready()
  t.strictSame(await ask(app, { headers: { cookie: `token=${encodeURIComponent(app.signCookie(ann))}` } }), accepted)
  t.strictSame(await ask(app, { headers: { cookie: `token=${ann}` } }), invalid)
  t.strictSame(await ask(app, { headers: { cookie: `token=${encodeURIComponent(app.signCookie(ann).slice(0, -1))}` } }), invalid)
})

t.test('a user needs one of the roles, all of the scopes, and true from authorize', async (t) => {
  const scopes = (wanted: string): Answer => ({ ...forbidden, challenge: `${forbidden.challenge}, scope="${wanted}"` })
  const rows: Array<[wsAuth: RouteWsAuth, answer: Answer]> = [
    [{ roles: ['member'] }, accepted],
    [{ roles: ['admin', 'member'] }, accepted],
    [{ roles: ['admin'] }, forbidden],
    [{ roles: ['Member'] }, forbidden],
    [{ scopes: ['chat:read'] }, accepted],
    [{ scopes: ['chat:read', 'chat:write'] }, accepted],
    [{ scopes: ['chat:read', 'chat:admin'] }, scopes('chat:read chat:admin')],
    [{ roles: ['admin'], scopes: ['chat:read'] }, scopes('chat:read')],
    [{ authorize: () => true }, accepted],
    [{ authorize: async () => true }, accepted],
    [{ authorize: (user) => (user as { sub: string }).sub === 'ann' }, accepted],
    [{ authorize: () => false }, forbidden],
    [{ authorize: async () => false }, forbidden],
    [{ authorize: (() => 'yes') as never }, forbidden],
    [{ authorize: (async () => 1) as never }, forbidden],
    [{ authorize: (() => undefined) as never }, forbidden],
    [{ authorize: () => { throw new Error('inner') } }, unavailable],
    [{ authorize: async () => { throw new Error('inner') } }, unavailable],
    [{ roles: ['admin'], authorize: () => true }, forbidden]
  ]
  for (const [wsAuth, answer] of rows) t.strictSame(await ask(await build(t, {}, wsAuth)), answer, JSON.stringify(wsAuth))
})

t.test('the roles and scopes options say where the claims have the roles and scopes', async (t) => {
  const wsAuth = { roles: ['a'], scopes: ['b'] }
  const own = { roles: () => ['a'], scopes: () => ['b'] }
  t.strictSame(await ask(await build(t, own, wsAuth)), accepted)
  t.match(await ask(await build(t, { ...own, roles: () => [] }, wsAuth)), { status: 403 })
  for (const wrong of [() => { throw new Error('inner') }, () => 'a', () => undefined]) {
    t.strictSame(await ask(await build(t, { ...own, roles: wrong as never }, wsAuth)), unavailable)
    t.strictSame(await ask(await build(t, { ...own, scopes: wrong as never }, wsAuth)), unavailable)
  }
})

t.test('a role that the token puts into a prototype is ignored', async (t) => {
  const app = await build(t, {}, { roles: ['admin'] })
  const token = mint('{"sub":"eve","__proto__":{"roles":["admin"],"role":"admin"}}')
  t.strictSame(await ask(app, { headers: { authorization: `Bearer ${token}` } }), forbidden)
})

t.test('a user option that returns no user is 401, and one that throws is 503', async (t) => {
  t.strictSame(await ask(await build(t, { user: () => null })), invalid)
  t.strictSame(await ask(await build(t, { user: async () => undefined })), invalid)
  t.strictSame(await ask(await build(t, { user: () => { throw new Error('inner') } })), unavailable)
  t.strictSame(await ask(await build(t, { user: async () => { throw new Error('inner') } })), unavailable)
  t.strictSame(await ask(await build(t, { user: () => new Error('inner') as never })), unavailable, 'an error that is returned counts as thrown')
  t.strictSame(await ask(await build(t, { user: async () => new fastifyWsAuth.WsAuthError('WS_AUTH_FORBIDDEN') as never })), forbidden)
  t.strictSame(await ask(await build(t, { user: () => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_FORBIDDEN') } })), forbidden, 'a refusal is taken as it is')
})

t.test('a formatUser that returns no user refuses the client, also on a route with roles', async (t) => {
  for (const user of [null, undefined]) {
    for (const secretOf of [secret, async () => secret]) {
      const jwt = { secret: secretOf, formatUser: () => user } as never
      t.strictSame(await ask(await build(t, { jwt })), invalid)
      t.strictSame(await ask(await build(t, { jwt }, { roles: ['admin'], authorize: () => false })), invalid)
    }
  }
  for (const secretOf of [secret, async () => secret]) {
    const jwt = { secret: secretOf, formatUser: () => new Error('inner') } as never
    t.strictSame(await ask(await build(t, { jwt })), unavailable, 'an error that is returned counts as thrown')
  }
})

t.test('the plugin reads claims as plain data, also if they are an instance of a class', async (t) => {
  class Row { role = 'member' }
  const row = new Row()
  for (const tokenCache of [false, { max: 10, ttl: 60_000 }] as const) {
    const app = await build(t, { jwt: undefined, verify: () => row, tokenCache }, { roles: ['admin'] })
    t.strictSame(await ask(app), forbidden)
    const open = await build(t, { jwt: undefined, verify: () => row, tokenCache })
    let user: unknown
    open.addHook('preHandler', async (request) => { user = request.user })
    t.strictSame(await ask(open), accepted)
    t.ok(Object.isFrozen(user) && user !== row)
  }
})

t.test('an onRoute hook that is added after the plugin can read wsAuth', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  const seen: unknown[] = []
  app.addHook('onRoute', ({ method, wsAuth }) => { if (method === 'GET') seen.push(wsAuth) })
  app.get('/a', { websocket: true, wsAuth: { roles: ['admin'] } }, noop)
  app.get('/b', { websocket: true }, noop)
  t.strictSame(seen, [{ roles: ['admin'] }, undefined])
})

t.test('an onRoute hook that sets wsAuth too late throws a TypeError', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  await t.rejects(async () => {
    await app.register(async (scope) => {
      scope.addHook('onRoute', (route) => { route.wsAuth = { roles: ['admin'] } })
      scope.get('/admin', { websocket: true }, noop)
    })
  }, { name: 'TypeError', message: '"wsAuth" option must be given where /admin is declared: an onRoute hook of a scope comes too late' })
})

t.test('the schema validates a copy of the claims', async (t) => {
  const claims = {
    type: 'object',
    required: ['sub', 'level'],
    additionalProperties: false,
    properties: { sub: { type: 'string' }, level: { type: 'integer' }, extra: { type: 'string', default: 'filled in' } }
  }
  const users: unknown[] = []
  const app = await build(t, { claims })
  app.addHook('preHandler', async (request) => { users.push(request.user) })
  const withClaims = (payload: object): Promise<Answer> => ask(app, { headers: { authorization: `Bearer ${mint(payload)}` } })
  t.strictSame(await withClaims({ sub: 'ann', level: 3 }), accepted)
  t.strictSame(await withClaims({ sub: 'ann', level: '3', more: true }), accepted)
  t.strictSame(users, [{ sub: 'ann', level: 3 }, { sub: 'ann', level: '3', more: true }], 'nothing was coerced, filled in or taken out')
  t.strictSame(await withClaims({ sub: 'ann' }), invalid)
  t.strictSame(await withClaims({ sub: 'ann', level: 'three' }), invalid)
})

t.test('the plugin understands the results of other validators', async (t) => {
  const rows: Array<[result: () => unknown, answer: Answer]> = [
    [() => true, accepted],
    [() => ({ value: {} }), accepted],
    [() => ({ error: null, value: {} }), accepted],
    [() => ({ error: new Error('wrong') }), invalid],
    [() => false, invalid],
    [async () => true, accepted],
    [async () => false, invalid],
    [() => { throw new Error('inner') }, unavailable]
  ]
  for (const [result, answer] of rows) {
    const app = Fastify()
    t.teardown(() => app.close())
    app.setValidatorCompiler(() => result as never)
    await app.register(fastifyWsAuth, { jwt: { secret }, claims: { any: true } })
    app.get('/chat', { websocket: true }, noop)
    t.strictSame(await ask(app), answer, String(result))
  }
})

t.test('a schema that cannot be compiled or run fails the start', async (t) => {
  const app = await build(t, { claims: { type: 'nonsense' } })
  await t.rejects(async () => { await app.ready() }, { name: 'TypeError', message: /^"claims" option must be a schema/ })
  const other = Fastify()
  t.teardown(() => other.close())
  other.setValidatorCompiler(({ schema }) => (data: unknown) => (schema as { safeParse: (data: unknown) => object }).safeParse(data))
  await other.register(fastifyWsAuth, { jwt: { secret }, claims: { type: 'object' } })
  await t.rejects(async () => { await other.ready() }, { name: 'TypeError', message: /^"claims" option must be a schema/ })
})

t.test('the handshake compares an Origin exactly', async (t) => {
  const from = (origin: string, host: string, more: Record<string, string> = {}): { headers: Record<string, string> } =>
    ({ headers: { cookie: `token=${ann}`, host, origin, ...more } })
  const rows: Array<[origin: string, host: string, answer: Answer]> = [
    ['http://chat.example', 'chat.example', accepted],
    ['https://chat.example', 'chat.example', accepted],
    ['http://chat.example', 'chat.example:80', accepted],
    ['https://chat.example', 'chat.example:443', accepted],
    ['https://chat.example', 'CHAT.example', accepted],
    ['http://chat.example:8080', 'chat.example:8080', accepted],
    ['http://[::1]:8080', '[::1]:8080', accepted],
    ['http://[::1]', '[::1]', accepted],
    ['https://chat.example', 'chat.example:80', wrongOrigin],
    ['http://chat.example', 'chat.example:443', wrongOrigin],
    ['http://chat.example:8080', 'chat.example', wrongOrigin],
    ['http://chat.example', 'chat.example:8080', wrongOrigin],
    ['http://evil.example', 'chat.example', wrongOrigin],
    ['http://chat.example.evil.example', 'chat.example', wrongOrigin],
    ['http://xchat.example', 'chat.example', wrongOrigin],
    ['http://chat.example.', 'chat.example', wrongOrigin],
    ['http://chat.example', 'chat.example.', wrongOrigin],
    ['http://CHAT.example', 'chat.example', wrongOrigin],
    ['http://chat.example/', 'chat.example', wrongOrigin],
    ['http://evil.example@chat.example', 'chat.example', wrongOrigin],
    ['http://chat.example, http://chat.example', 'chat.example', wrongOrigin],
    ['ftp://chat.example', 'chat.example', wrongOrigin],
    ['chat.example', 'chat.example', wrongOrigin],
    ['http:/chat.example', 'chat.example', wrongOrigin],
    ['null', 'chat.example', wrongOrigin],
    ['', 'chat.example', wrongOrigin],
    ['http://', 'chat.example', wrongOrigin]
  ]
  const app = await build(t)
  for (const [origin, host, answer] of rows) t.strictSame(await ask(app, from(origin, host)), answer, `${origin} to ${host}`)
  t.strictSame(await ask(app, { headers: { cookie: `token=${ann}`, host: 'chat.example' } }), accepted, 'no Origin: not a browser')
  t.strictSame(await ask(app, { headers: { authorization: `Bearer ${ann}`, origin: 'http://evil.example' } }), accepted, 'what a page cannot send is not asked')
  t.strictSame(await ask(app, { headers: { origin: 'http://evil.example', host: 'chat.example' } }), missing)

  const proxied = await build(t)
  t.strictSame(await ask(proxied, from('https://chat.example', 'inner:3000', { 'x-forwarded-host': 'chat.example' })), wrongOrigin, 'a proxy nobody trusts')
})

t.test('the Origin is compared with the host that a trusted proxy reports', async (t) => {
  const app = Fastify({ trustProxy: '127.0.0.1' })
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  app.get('/chat', { websocket: true }, noop)
  const from = (origin: string): Promise<Answer> => ask(app, { headers: { cookie: `token=${ann}`, host: 'inner:3000', 'x-forwarded-host': 'chat.example', 'x-forwarded-proto': 'https', origin } })
  t.strictSame(await from('https://chat.example'), accepted)
  t.strictSame(await from('http://inner:3000'), wrongOrigin)
})

t.test('a list or a function of origins applies to every handshake with an Origin', async (t) => {
  const from = (origin: string): { headers: Record<string, string> } => ({ headers: { authorization: `Bearer ${ann}`, origin } })
  const list = await build(t, { origin: ['https://chat.example', 'capacitor://localhost'] })
  t.strictSame(await ask(list, from('https://chat.example')), accepted)
  t.strictSame(await ask(list, from('capacitor://localhost')), accepted)
  t.strictSame(await ask(list, from('https://chat.example:443')), wrongOrigin)
  t.strictSame(await ask(list, from('null')), wrongOrigin)
  t.strictSame(await ask(list), accepted)
  t.strictSame(await ask(list, { headers: { origin: 'https://evil.example' } }), wrongOrigin, 'the origin is asked before the token')

  const functions: Array<[allowed: unknown, answer: Answer]> = [
    [() => true, accepted],
    [async () => true, accepted],
    [(origin: string) => origin === 'https://chat.example', accepted],
    [() => false, wrongOrigin],
    [() => 'yes', wrongOrigin],
    [async () => 1, wrongOrigin],
    [() => { throw new Error('inner') }, unavailable],
    [async () => { throw new Error('inner') }, unavailable]
  ]
  for (const [origin, answer] of functions) {
    t.strictSame(await ask(await build(t, { origin: origin as never }), from('https://chat.example')), answer, String(origin))
  }
  const any = await build(t, { origin: 'any' })
  t.strictSame(await ask(any, { headers: { cookie: `token=${ann}`, origin: 'https://evil.example' } }), accepted)
  const own = await build(t, { origin: 'any' }, { origin: ['https://chat.example'] })
  t.strictSame(await ask(own, from('https://evil.example')), wrongOrigin, 'a route has its own')
})

t.test('an optional route admits anonymous users, and refuses bad tokens', async (t) => {
  const app = await build(t, {}, 'optional')
  const users: unknown[] = []
  app.addHook('preHandler', async (request) => { users.push(request.user) })
  t.strictSame(await ask(app, {}), accepted)
  t.strictSame(await ask(app), accepted)
  t.match(users, [null, { sub: 'ann' }])
  t.strictSame(await ask(app, { headers: { authorization: 'Bearer bad' } }), invalid)
  t.strictSame(await ask(app, { url: '/chat?token=a&token=b' }), ambiguous)
})

t.test('a public route admits clients without checking tokens', async (t) => {
  const app = await build(t, {}, false)
  t.strictSame(await ask(app, {}), accepted)
  t.strictSame(await ask(app, { headers: { authorization: 'Bearer bad' } }), accepted)
})

t.test('a dry run is answered after all hooks of the route, and takes no place', async (t) => {
  const app = await build(t)
  const order: string[] = []
  for (const hook of ['preValidation', 'preHandler'] as const) app.addHook(hook, async () => { order.push(hook) })
  const response = await app.inject({ url: '/chat', headers: { authorization: `Bearer ${ann}` } })
  t.equal(response.statusCode, 426)
  t.equal(response.headers.upgrade, 'websocket')
  t.equal(response.headers.connection, 'upgrade')
  t.strictSame(response.json(), { statusCode: 426, error: 'Upgrade Required', message: 'This route speaks WebSocket: the handshake would be accepted' })
  t.strictSame(order, ['preValidation', 'preHandler'])
  t.match(statsOf(app), { connections: 0, pending: 0, accepted: 0, refused: {} })
  t.equal((await app.inject({ method: 'HEAD', url: '/chat' })).statusCode, 401)
})

t.test('a hook of the route can refuse a handshake after authentication', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  app.get('/chat', { websocket: true, preValidation: async (_request, reply) => reply.code(402).send({ code: 'PAY' }) }, noop)
  t.equal((await ask(app)).status, 402)
  t.strictSame(await ask(app, {}), missing, 'but not before the token was looked at')
})

t.test('an HTTP handler beside a wsHandler answers plain requests without the policy', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  app.route({ method: 'GET', url: '/both', handler: async () => ({ code: 'plain' }), wsHandler: noop, wsAuth: { roles: ['admin'] } })
  t.strictSame(await ask(app, { url: '/both' }), { status: 200, code: 'plain', challenge: undefined })
  await t.rejects(app.injectWS('/both'), { message: 'Unexpected server response: 401' })
})

t.test('the error handler of the app finds no user on a refused request', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let seen: unknown = 'not called'
  app.setErrorHandler((error, request, reply) => {
    seen = request.user
    return reply.code((error as { statusCode: number }).statusCode).send({ code: (error as { code: string }).code })
  })
  await app.register(fastifyWsAuth, { jwt: { secret } })
  app.get('/chat', { websocket: true, wsAuth: { roles: ['admin'] } }, noop)
  t.strictSame(await ask(app), forbidden, 'the challenge does not depend on the error handler')
  t.equal(seen, null)
})

t.test('the prefix of a plugin is part of the path of a route', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  await app.register(async (scope) => {
    scope.get('/', { websocket: true, wsAuth: { roles: ['admin'] } }, noop)
  }, { prefix: '/rooms' })
  for (const url of ['/rooms', '/rooms/']) {
    t.strictSame(await ask(app, { url }), missing, url)
    t.strictSame(await ask(app, { url, headers: { authorization: `Bearer ${ann}` } }), forbidden, url)
  }
})
