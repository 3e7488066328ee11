/*
 * The mistakes that developers make most often, in their app or in its client. Each has a message that names the mistake: an error at
 * the start, or a line in the log.
 */
import { createHmac, generateKeyPairSync } from 'node:crypto'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { redisBackplane } from '../../lib/backplane/redis/index'
import { SECRET, sign, until } from '../helpers/app'
import { base64url, seconds } from '../helpers/keys'

type Route = Record<string, unknown>

const jwt = { secret: SECRET }
const handler = (): void => {}
const publicKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' })

/** Declares a route that TypeScript would refuse. */
function declare (route: Route): (app: FastifyInstance) => void {
  return (app) => { app.route({ method: 'GET', url: '/ws', handler, ...route } as never) }
}

/** What is wrong, the options of the plugin, the error, and what else the app declares. */
const AT_START: Array<[mistake: string, options: object, message: RegExp, more?: (app: FastifyInstance) => unknown]> = [
  ['the secret is beside jwt', { secret: SECRET }, /"secret" option .* it belongs in jwt\.secret/],
  ['the environment variable of the secret is not set', { jwt: { secret: undefined } }, /"jwt\.secret" option .* is an environment variable missing\?/],
  ['nothing verifies', {}, /"jwt" option must be given/],
  ['jwt is the secret itself', { jwt: SECRET }, /"jwt" option must be an object/],
  ['a public key is the secret', { jwt: { secret: publicKey } }, /"jwt\.secret" option must be \{ public: <the key> \}/],
  ['the issuer has the name of jsonwebtoken', { jwt: { secret: SECRET, verify: { issuer: 'https://issuer.example' } } }, /"verify\.issuer" .* would check nothing; did you mean "allowedIss"\?/],
  ['the audience has the name of jsonwebtoken', { jwt: { secret: SECRET, verify: { audience: 'app' } } }, /did you mean "allowedAud"\?/],
  ['the algorithm is one', { jwt: { secret: SECRET, verify: { algorithm: 'HS256' } } }, /did you mean "algorithms"\?/],
  ['the namespace is of no @fastify/jwt', { jwtNamespace: 'login' }, /"jwtNamespace" option .* no @fastify\/jwt/],
  ['an option is misspelt', { jwt, tokens: {} }, /"tokens" option .* did you mean "token"\?/],
  ['token is a name', { jwt, token: 'query' }, /"token" option must be an object/],
  ['an origin has a wildcard', { jwt, origin: ['https://*.example.com'] }, /"origin" option must be a function for a pattern/],
  ['an origin has a slash at its end', { jwt, origin: ['https://example.com/'] }, /"origin" option .* no slash at the end/],
  ['origin is a text', { jwt, origin: 'https://example.com' }, /"origin" option must be .* an array of origins/],
  ['a duration is a text', { jwt, heartbeat: '30s' }, /"heartbeat" option must be false, a number of milliseconds/],
  ['a lifetime is a text', { jwt, tickets: { ttl: '30s' } }, /"tickets\.ttl" option must be an integer/],
  ['roles are a list in the plugin', { jwt, roles: ['admin'] }, /"roles" option must be a function/],
  ['the close code is a status', { jwt, closeCodes: { unauthorized: 401 } }, /"closeCodes\.unauthorized" option must be an integer from 3000/],
  ['the backplane is a URL', { jwt, backplane: 'redis://127.0.0.1' }, /"backplane" option must be a backplane, such as .*redisBackplane\(\{ client \}\)/],
  ['the schema of claims cannot be compiled', { jwt, claims: { type: 'strin' } }, /"claims" option must be a schema/],
  ['the plugin is registered twice', { jwt }, /registered already/, (app) => app.register(fastifyWsAuth, { jwt })],
  ['wsAuth is on a plain route', { jwt }, /add websocket: true/, declare({ wsAuth: true })],
  ['wsAuth is misspelt', { jwt }, /"wsauth" option must be spelt "wsAuth"/, declare({ websocket: true, wsauth: true })],
  ['roles are beside wsAuth', { jwt }, /"roles" option must stand in "wsAuth"/, declare({ websocket: true, roles: ['admin'] })],
  ['wsAuth is in config', { jwt }, /"config\.wsAuth" option must stand beside "config"/, declare({ websocket: true, config: { wsAuth: true } })],
  ['wsAuth has a role', { jwt }, /did you mean "roles"\?/, declare({ websocket: true, wsAuth: { role: 'admin' } })],
  ['roles are a text', { jwt }, /"wsAuth\.roles" option must be a non-empty array/, declare({ websocket: true, wsAuth: { roles: 'admin' } })],
  ['wsAuth is another word', { jwt }, /"wsAuth" option must be a boolean, 'optional' or an object/, declare({ websocket: true, wsAuth: 'required' })],
  ['websocket is misspelt', { jwt }, /"webSocket" option must be spelt "websocket"/, declare({ webSocket: true })],
  ['a websocket is declared by POST', { jwt }, /GET method/, declare({ method: 'POST', websocket: true })],
  ['a policy is for a path that no route has', { jwt, routes: { '/graphql': true } }, /"routes\.\/graphql" option must be the path of a websocket route/],
  ['a schema requires the header of the token', { jwt }, /"schema\.headers" option must not require "authorization"/, declare({ websocket: true, schema: { headers: { type: 'object', required: ['authorization'] } } })],
  ['a schema requires the parameter of the token', { jwt }, /"schema\.querystring" option must not require "token"/, declare({ websocket: true, schema: { querystring: { type: 'object', required: ['token'] } } })]
]

for (const [mistake, options, message, more] of AT_START) {
  t.test(`the start fails with an error that names the mistake if ${mistake}`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(async () => {
      await app.register(fastifyWsAuth, options)
      await more?.(app)
      await app.ready()
    }, { message })
  })
}

t.test('the start fails with an error that names the mistake if @fastify/websocket is registered, or the client of Redis is a URL', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register((await import('@fastify/websocket')).default)
  await t.rejects(async () => await app.register(fastifyWsAuth, { jwt }), { message: /register fastify-ws-auth in its place/ })
  t.throws(() => redisBackplane({ client: 'redis://127.0.0.1' as never }), { message: /client/ })
})

const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` })
const ANN = sign({ sub: 'ann', roles: ['member'], scope: 'read', exp: seconds(300) })
const cookie = { cookie: `token=${ANN}` }

function signedBy (alg: string): string {
  const input = `${base64url(JSON.stringify({ alg, typ: 'JWT' }))}.${base64url('{"sub":"ann"}')}`
  return `${input}.${createHmac('sha256', SECRET).update(input).digest('base64url')}`
}

interface Case {
  readonly path?: string
  readonly headers?: Record<string, string>
  readonly plugin?: fastifyWsAuth.WsAuthOptions
  readonly route?: Route
  readonly before?: (app: FastifyInstance) => unknown
}

/** What is wrong, the handshake and its app, the answer, and the line of the log. */
const AT_HANDSHAKE: Array<[mistake: string, app: Case, answer: number | 'open', line: RegExp]> = [
  ['the client sends no token', {}, 401, /no token in header Authorization: Bearer, subprotocol bearer, query token, cookie token/],
  ['the header has no scheme', { headers: { authorization: ANN } }, 401, /an unknown scheme in place of: Bearer <token>/],
  ['the header has another scheme', { headers: { authorization: 'Basic YTpi' } }, 401, /the scheme Basic in place of: Bearer <token>/],
  ['the header says Bearer twice', { headers: bearer(`Bearer ${ANN}`) }, 401, /a second Bearer/],
  ['the client has no token yet', { headers: bearer('undefined') }, 401, /a value that is not a text.*so the client had no token/],
  ['the client sends an object', { path: '/ws?token=[object%20Object]' }, 401, /a value that is not a text/],
  ['the client sends its token in quotes', { path: `/ws?token=%22${ANN}%22` }, 401, /in quotes/],
  ['the client encodes its token twice', { path: `/ws?token=${encodeURIComponent(ANN.replaceAll('.', '%2E'))}` }, 401, /percent-encoded twice/],
  ['the subprotocol has another case', { headers: { 'sec-websocket-protocol': `Bearer, ${ANN}` } }, 401, /the subprotocols Bearer, \(a token\) in place of: bearer, <token>/],
  ['the subprotocol is the token alone', { headers: { 'sec-websocket-protocol': ANN } }, 401, /the subprotocols \(a token\) in place of: bearer, <token>/],
  ['the parameter has another name', { path: `/ws?access_token=${ANN}` }, 401, /a value in the query looks like a JWT: access_token/],
  ['the cookie has another name', { headers: { cookie: `session=${ANN}` } }, 401, /the cookies are session/],
  ['the client sends two tokens', { path: `/ws?token=${ANN}`, headers: bearer(ANN) }, 400, /one in header, another in query/],
  ['the browser has two cookies', { headers: { cookie: `token=${ANN}; token=${ANN}` } }, 400, /more than one in cookie token/],
  ['the secret is another', { headers: bearer(sign({ sub: 'ann' }, 'another secret of thirty-two b.!')) }, 401, /another secret or key has signed it/],
  ['the algorithm is another', { headers: bearer(signedBy('RS256')) }, 401, /its alg is another than "algorithms"/],
  ['the token is not signed', { headers: bearer(`${base64url('{"alg":"none"}')}.${base64url('{"sub":"ann"}')}.`) }, 401, /signature is missing/],
  ['the token is opaque', { headers: bearer('0f8fad5b-d9cb') }, 401, /1 part in place of 3; the "verify" option verifies opaque tokens/],
  ['the token is encrypted', { headers: bearer('a.b.c.d.e') }, 401, /5 parts, so it is encrypted/],
  ['the issuer is another', { headers: bearer(sign({ sub: 'ann', iss: 'https://a.example' })), plugin: { jwt: { ...jwt, verify: { allowedIss: 'https://b.example' } } } }, 401, /iss claim value is not allowed/],
  ['the token has no audience', { headers: bearer(ANN), plugin: { jwt: { ...jwt, verify: { allowedAud: 'app' } } } }, 401, /it has no aud/],
  ['the token has expired', { headers: bearer(sign({ sub: 'ann', exp: seconds(-3600) })) }, 401, /its exp has passed.*, at \d{4}-/],
  ['the clock of the issuer is an hour ahead', { headers: bearer(sign({ sub: 'ann', iat: seconds(3600) })) }, 401, /in the future, 3[56]\d\d s ahead of the clock of the server/],
  ['the token is not valid yet', { headers: bearer(sign({ sub: 'ann', nbf: seconds(3600) })) }, 401, /active at|not valid yet/],
  ['iat is in milliseconds', { headers: bearer(sign({ sub: 'ann', iat: Date.now() })) }, 401, /in milliseconds, and must be in seconds/],
  ['exp is in milliseconds', { headers: bearer(sign({ sub: 'ann', exp: Date.now() })) }, 'open', /exp of a token is in milliseconds/],
  ['the token never expires', { headers: bearer(sign({ sub: 'ann' })) }, 'open', /a token has no exp/],
  ['the secret is short', { headers: bearer(sign({ sub: 'ann' }, 'short')), plugin: { jwt: { secret: 'short' } } }, 'open', /secret of @fastify\/jwt has 5 bytes/],
  ['sub is a number', { headers: bearer(sign({ sub: 7 })) }, 401, /its sub is not a string \(the "subject" option reads another one\)/],
  ['the user id has another name', { headers: bearer(sign({ id: 7 })), plugin: { limits: { perUser: 1 } } }, 'open', /a token has no subject: .*"subject" option/],
  ['the page has another port', { headers: { ...cookie, host: 'localhost:3000', origin: 'http://localhost:5173' } }, 403, /its Origin is http:\/\/localhost:5173, and the request came to localhost:3000/],
  ['the cookie comes from another site', { headers: { ...cookie, host: 'a.example', origin: 'https://evil.example' } }, 403, /its Origin is https:\/\/evil\.example/],
  ['the app does not trust its proxy', { headers: { ...cookie, host: 'internal:8080', origin: 'https://a.example', 'x-forwarded-host': 'a.example' } }, 403, /"trustProxy" option of Fastify/],
  ['the list of origins lacks the page', { headers: { ...bearer(ANN), origin: 'https://www.a.example' }, plugin: { origin: ['https://a.example'] } }, 403, /its Origin is https:\/\/www\.a\.example, and the "origin" option has https:\/\/a\.example/],
  ['the user has other roles', { headers: bearer(ANN), route: { wsAuth: { roles: ['admin'] } } }, 403, /one of admin, and the user has none of them/],
  ['the role has another case', { headers: bearer(ANN), route: { wsAuth: { roles: ['Member'] } } }, 403, /differs in upper and lower case alone/],
  ['the roles are in another claim', { headers: bearer(sign({ sub: 'ann', realm_access: { roles: ['admin'] } })), route: { wsAuth: { roles: ['admin'] } } }, 403, /no roles at all \(the "roles" option says in which claim they are\)/],
  ['the roles option finds none', { headers: bearer(ANN), plugin: { roles: (claims) => claims.app_metadata as never }, route: { wsAuth: { roles: ['admin'] } } }, 503, /"roles" option must return an array/],
  ['the user lacks a scope', { headers: bearer(ANN), route: { wsAuth: { scopes: ['write'] } } }, 403, /needs write, and the user lacks write/],
  ['authorize returns a truthy value', { headers: bearer(ANN), route: { wsAuth: { authorize: () => 1 } } }, 403, /authorize: it did not return true/],
  ['verify returns nothing', { headers: bearer('opaque'), plugin: { verify: () => {} } }, 401, /returned undefined \(is a return or an await missing\?\)/],
  ['verify cannot reach its server', { headers: bearer('opaque'), plugin: { verify: async () => { throw new TypeError('fetch failed') } } }, 503, /fetch failed/],
  ['the claims lack one', { headers: bearer(ANN), plugin: { claims: { type: 'object', required: ['tenant'] } } }, 401, /must have required property 'tenant'/],
  ['the handler has its arguments swapped', { headers: bearer(ANN), route: { handler: (_request: object, socket: { send: Function }) => { socket.send('hello') } } }, 'open', /is called with \(socket, request\)/],
  ['the handler is of an old @fastify/websocket', { headers: bearer(ANN), route: { handler: (connection: { socket: { send: Function } }) => { connection.socket.send('hello') } } }, 'open', /the socket has send\(\), on\(\) and close\(\) itself/],
  ['the route has no websocket', { path: '/plain', headers: bearer(ANN) }, 404, /the route has no websocket/],
  ['the path has a slash too many', { path: '/ws/', headers: bearer(ANN) }, 404, /Route GET:\/ws\/ not found/],
  ['the route was declared before the plugin was registered', { path: '/early', headers: bearer(ANN), before: (app) => { app.get('/early', { websocket: true } as never, handler) } }, 500, /was declared before fastify-ws-auth was registered.*await app\.register/]
]

for (const [mistake, { path = '/ws', headers = {}, plugin = {}, route = {}, before }, answer, line] of AT_HANDSHAKE) {
  t.test(`the log names the mistake if ${mistake}`, async (t) => {
    const log: string[] = []
    const app = Fastify({ logger: { level: 'info', stream: { write: (text: string) => { log.push(text) } } } })
    t.teardown(() => app.close())
    await before?.(app)
    await app.register(fastifyWsAuth, plugin.verify === undefined ? { jwt, ...plugin } : plugin)
    declare({ websocket: true, ...route })(app)
    app.get('/plain', async () => 'plain')
    await app.ready()
    const status = await app.injectWS(path, { headers }).then((socket) => { socket.terminate(); return 'open' }, (error: Error) => Number(/\d+$/.exec(error.message)))
    t.equal(status, answer)
    await until(() => isWritten(log, line), `a line that matches ${line}`, 5000)
    t.notOk(log.some((text) => text.includes(ANN)), 'the log has no token')
  })
}

function isWritten (log: readonly string[], line: RegExp): boolean {
  return log.some((text) => {
    const { why, msg, err } = JSON.parse(text) as { why?: string, msg: string, err?: { message: string } }
    return line.test([msg, why, err?.message].join(' '))
  })
}

t.test('the answer and the log explain a handshake whose Upgrade a proxy drops', async (t) => {
  const log: string[] = []
  const app = Fastify({ logger: { level: 'info', stream: { write: (text: string) => { log.push(text) } } } })
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt })
  app.get('/ws', { websocket: true }, handler)
  const { body } = await app.inject({ url: '/ws', headers: { ...bearer(ANN), 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' } })
  t.match(body, /a proxy drops it/)
  t.ok(isWritten(log, /a proxy drops it/))
})
