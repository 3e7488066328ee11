import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import Fastify from 'fastify'
import fastifyJwt from '@fastify/jwt'
import fastifyWebsocket from '@fastify/websocket'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { readPluginOptions } from '../../lib/options/read-plugin-options'
import { readRouteOptions } from '../../lib/options/read-route-options'
import { secret } from '../helpers/keys'

const noop = (): void => {}

const wrong: Array<[options: unknown, message: string]> = [
  [{ tokens: {} }, '"tokens" option must be left out: there is no such option; did you mean "token"?'],
  [{ jwt: 'secret' }, '"jwt" option must be an object'],
  [{ jwt: { secret }, jwtNamespace: 'a' }, '"jwtNamespace" option must be left out if "jwt" is given: it names an @fastify/jwt that the app registered'],
  [{ jwtNamespace: '' }, '"jwtNamespace" option must be a non-empty string'],
  [{ cookie: [] }, '"cookie" option must be an object'],
  [{ websocket: { options: 'x' } }, '"websocket.options" option must be an object'],
  [{ websocket: 1 }, '"websocket" option must be an object'],
  [{ token: 'bearer' }, '"token" option must be an object'],
  [{ token: { body: true } }, '"token.body" option must be left out: there is no such option'],
  [{ token: { header: 'x token' } }, '"token.header" option must be a boolean or the name of a header'],
  [{ token: { header: 1 } }, '"token.header" option must be a boolean or the name of a header'],
  [{ token: { subprotocol: 'a,b' } }, '"token.subprotocol" option must be a boolean or the name of a subprotocol'],
  [{ token: { query: '' } }, '"token.query" option must be a boolean or a string'],
  [{ token: { cookie: 'a=b' } }, '"token.cookie" option must be a boolean or the name of a cookie, or { name, signed }'],
  [{ token: { cookie: { name: '' } } }, '"token.cookie" option must be a boolean, the name of a cookie, or { name, signed }'],
  [{ token: { cookie: { name: 'a', signed: 'yes' } } }, '"token.cookie.signed" option must be a boolean'],
  [{ token: { cookie: { name: 'a', secure: true } } }, '"token.cookie.secure" option must be left out: there is no such option'],
  [{ token: { param: '/:a' } }, '"token.param" option must be a boolean or the name of a route parameter'],
  [{ token: { message: 'auth' } }, '"token.message" option must be a boolean, or { timeout, maxBytes, read, deliver }'],
  [{ token: { message: { timeout: 0 } } }, '"token.message.timeout" option must be an integer from 1 to 2147483647'],
  [{ token: { message: { maxBytes: 1.5 } } }, '"token.message.maxBytes" option must be an integer from 1 to 1073741824'],
  [{ token: { message: { type: 'auth' } } }, '"token.message.type" option must be left out: there is no such option'],
  [{ websocket: { options: { closeTimeout: 5001 } } }, '"websocket.options.closeTimeout" option must be an integer from 1 to 5000'],
  [{ websocket: { options: { clientTracking: false } } }, '"websocket.options.clientTracking" option must be left out: app.close() needs the list of all sockets'],
  [{ websocket: { maxPayload: 4096 } }, '"websocket.maxPayload" option must be left out: there is no such option; it belongs in websocket.options.maxPayload'],
  [{ websocket: { option: {} } }, '"websocket.option" option must be left out: there is no such option; did you mean "options"?'],
  [{ websocket: { options: { maxPayLoad: 4096 } } }, '"websocket.options.maxPayLoad" option must be left out: there is no such option; did you mean "maxPayload"?'],
  [{ renewal: 'yes' }, '"renewal" option must be a boolean or \'offered\''],
  [{ jwt: { secret: undefined } }, '"jwt.secret" option must be given, and it is undefined: is an environment variable missing?'],
  [{ secret: 'x' }, '"secret" option must be left out: there is no such option; it belongs in jwt.secret'],
  [{ maxPayload: 1 }, '"maxPayload" option must be left out: there is no such option; it belongs in websocket.options.maxPayload'],
  [{ orgin: 'any' }, '"orgin" option must be left out: there is no such option; did you mean "origin"?'],
  [{ confirm: true }, '"confirm" option must be a function'],
  [{ subject: 'sub' }, '"subject" option must be a function'],
  [{ groups: [] }, '"groups" option must be a function'],
  [{ upgrades: '/ws' }, '"upgrades" option must be a function'],
  [{ routes: ['/ws'] }, '"routes" option must be an object with paths for its keys'],
  [{ heartbeat: 0 }, '"heartbeat" option must be an integer from 1 to 2147483647'],
  [{ expiryGrace: -1 }, `"expiryGrace" option must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}`],
  [{ expiryGrace: Infinity }, `"expiryGrace" option must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}`],
  ...[0, -1, 1.5, NaN, '24h', null].map((maxLifetime): [unknown, string] => [{ maxLifetime }, '"maxLifetime" option must be a positive integer, or Infinity']),
  [{ limits: 5 }, '"limits" option must be an object'],
  [{ limits: { connections: 0 } }, '"limits.connections" option must be a positive integer, or Infinity'],
  [{ limits: { idle: 0.5 } }, '"limits.idle" option must be a positive integer, or Infinity'],
  [{ limits: { messages: true } }, '"limits.messages" option must be false or { perSecond, burst, perUser, onLimit }'],
  [{ limits: { messages: {} } }, '"limits.messages.perSecond" option must be an integer from 1 to 1099511627776'],
  [{ limits: { bytes: { perSecond: 0.5 } } }, '"limits.bytes.perSecond" option must be an integer from 1 to 1099511627776'],
  [{ limits: { bytes: { perSecond: 1, burst: 0 } } }, '"limits.bytes.burst" option must be an integer from 1 to 1099511627776'],
  [{ limits: { bytes: { perSecond: 1, perUser: 1 } } }, '"limits.bytes.perUser" option must be a boolean'],
  [{ limits: { messages: { perSecond: 1, onLimit: 'reject' } } }, '"limits.messages.onLimit" option must be \'close\' or \'pause\''],
  [{ limits: { messages: { perSecond: 1, bursts: 5 } } }, '"limits.messages.bursts" option must be left out: there is no such option; did you mean "burst"?'],
  [{ messages: { perSecond: 1 } }, '"messages" option must be left out: there is no such option; it belongs in limits.messages'],
  [{ limits: { perSub: 5 } }, '"limits.perSub" option must be left out: there is no such option'],
  [{ limits: { perUser: 0 } }, '"limits.perUser" option must be a positive integer, or Infinity'],
  ...[{}, { max: 0 }, { max: 1.5 }, { max: '5' }, { max: 10_001 }, { max: Infinity }].map((perUser): [unknown, string] => [
    { limits: { perUser: { scope: 'cluster', ...perUser } } }, '"limits.perUser.max" option must be an integer from 1 to 10000'
  ]),
  ...[{}, { scope: 'instance' }, { scope: true }].map((perUser): [unknown, string] => [
    { limits: { perUser: { max: 5, ...perUser } } }, '"limits.perUser.scope" option must be \'cluster\': a plain number as limits.perUser counts on each instance'
  ]),
  [{ limits: { perUser: { max: 5, scope: 'cluster', whenDown: 'close' } } }, '"limits.perUser.whenDown" option must be \'local\' or \'reject\''],
  [{ limits: { perUser: { max: 5, scope: 'cluster', whendown: 'local' } } }, '"limits.perUser.whendown" option must be left out: there is no such option; did you mean "whenDown"?'],
  [{ limits: { perUser: [5] } }, '"limits.perUser" option must be a positive integer, or Infinity'],
  [{ limits: { pending: '10' } }, '"limits.pending" option must be a positive integer, or Infinity'],
  [{ limits: { onLimit: 'close-newest' } }, '"limits.onLimit" option must be \'reject\' or \'close-oldest\''],
  [{ heartbeat: true }, '"heartbeat" option must be false, a number of milliseconds, or { interval }'],
  [{ heartbeat: {} }, '"heartbeat.interval" option must be an integer from 1 to 2147483647'],
  [{ heartbeat: { interval: 1, timeout: 1 } }, '"heartbeat.timeout" option must be left out: there is no such option'],
  [{ drain: true }, '"drain" option must be false or { within, code, reason }'],
  [{ drain: {} }, '"drain.within" option must be an integer of milliseconds from 0 to 2147483647'],
  [{ drain: { within: 1.5 } }, '"drain.within" option must be an integer of milliseconds from 0 to 2147483647'],
  [{ drain: { within: 5, code: 1005 } }, '"drain.code" option must be a close code that may be sent'],
  [{ drain: { within: 5, reason: 7 } }, '"drain.reason" option must be a string of at most 123 bytes'],
  [{ drain: { within: 5, after: 7 } }, '"drain.after" option must be left out: there is no such option'],
  [{ drain: { whithin: 5 } }, '"drain.whithin" option must be left out: there is no such option; did you mean "within"?'],
  [{ recheck: true }, '"recheck" option must be false or { every, check, onFailure }'],
  [{ recheck: { check: noop } }, '"recheck.every" option must be an integer from 1 to 2147483647'],
  [{ recheck: { every: 0, check: noop } }, '"recheck.every" option must be an integer from 1 to 2147483647'],
  [{ recheck: { every: 1000 } }, '"recheck.check" option must be a function'],
  [{ recheck: { every: 1000, check: noop, onFailure: 'log' } }, '"recheck.onFailure" option must be \'keep\' or \'close\''],
  [{ recheck: { every: 1000, check: noop, timeout: 1 } }, '"recheck.timeout" option must be left out: there is no such option'],
  [{ verify: true }, '"verify" option must be a function'],
  [{ claims: true }, '"claims" option must be an object'],
  [{ user: 'sub' }, '"user" option must be a function'],
  [{ roles: ['admin'] }, '"roles" option must be a function'],
  [{ scopes: 'a b' }, '"scopes" option must be a function'],
  [{ origin: 'https://example.com' }, '"origin" option must be \'same-host\', \'any\', an array of origins, or a function'],
  ...['https://example.com/', 'https://Example.com', 'example.com', 'https://example.com:443', 'null', 'https://a.com/b', 7]
    .map((origin): [unknown, string] => [{ origin: [origin] }, '"origin" option must be an array of exact origins, such as \'https://example.com\' (no path, no slash at the end, lower case)']),
  [{ requireTls: 'yes' }, '"requireTls" option must be a boolean'],
  [{ requireTLS: true }, '"requireTLS" option must be left out: there is no such option; did you mean "requireTls"?'],
  [{ rejectWith: 'status' }, '"rejectWith" option must be \'http\', \'close\' or \'auto\''],
  [{ closeCodes: { unauthorised: 4401 } }, '"closeCodes.unauthorised" option must be left out: there is no such option; did you mean "unauthorized"?'],
  ...[1000, 1006, 1012, 1013, 2999, 5000, 3000.5, '4401', null]
    .map((code): [unknown, string] => [{ closeCodes: { unauthorized: code } }, '"closeCodes.unauthorized" option must be an integer from 3000 to 4999, or 1008']),
  [{ tokenCache: true }, '"tokenCache" option must be false or { max, ttl }'],
  [{ tokenCache: { max: 10 } }, '"tokenCache.ttl" option must be an integer from 1 to 60000'],
  [{ tokenCache: { max: 0, ttl: 1 } }, '"tokenCache.max" option must be an integer from 1 to 16777216'],
  [{ tokenCache: { max: 10, ttl: 60_001 } }, '"tokenCache.ttl" option must be an integer from 1 to 60000'],
  [{ tokenCache: { max: 10, ttl: 1, size: 1 } }, '"tokenCache.size" option must be left out: there is no such option'],
  [{ handshakeTimeout: 0 }, '"handshakeTimeout" option must be an integer from 1 to 2147483647'],
  [{ handshakeTimeout: 2 ** 31 }, '"handshakeTimeout" option must be an integer from 1 to 2147483647'],
  [{ maxTokenBytes: '8k' }, `"maxTokenBytes" option must be an integer from 1 to ${Number.MAX_SAFE_INTEGER}`],
  [{ tickets: 'yes' }, '"tickets" option must be a boolean, or { path, query, ttl, require }'],
  [{ tickets: { name: 'ticket' } }, '"tickets.name" option must be left out: there is no such option'],
  [{ tickets: { path: 'ws-ticket' } }, '"tickets.path" option must be a path that begins with a slash'],
  [{ tickets: { query: '' } }, '"tickets.query" option must be a non-empty string'],
  [{ tickets: { ttl: 0 } }, '"tickets.ttl" option must be an integer from 1 to 2147483647'],
  [{ tickets: { require: 1 } }, '"tickets.require" option must be a boolean'],
  [{ tickets: { query: 'token' } }, '"token.query" option must be another name than tickets.query'],
  [{ revocationTtl: Infinity }, `"revocationTtl" option must be an integer from 1 to ${Number.MAX_SAFE_INTEGER}`],
  [{ backplane: true }, '"backplane" option must be a backplane, such as memoryBackplane() or redisBackplane({ client })'],
  [{ backplane: {} }, '"backplane" option must be a backplane, such as memoryBackplane() or redisBackplane({ client })'],
  [{ signals: true }, '"signals" option must be false or { path, issuer, audience, subject }'],
  [{ signals: { path: 'events', issuer: 'i', audience: 'a' } }, '"signals.path" option must be a path that begins with a slash'],
  [{ signals: { path: '/events', audience: 'a' } }, '"signals.issuer" option must be a non-empty string'],
  [{ signals: { path: '/events', issuer: 'i' } }, '"signals.audience" option must be a non-empty string'],
  [{ signals: { path: '/events', issuer: 'i', audience: ['a'] } }, '"signals.audience" option must be a non-empty string'],
  [{ signals: { path: '/events', issuer: 'i', audience: 'a', subject: 'sub' } }, '"signals.subject" option must be a function'],
  [{ signals: { path: '/events', issuer: 'i', audience: 'a', events: [] } }, '"signals.events" option must be left out: there is no such option'],
  [{ backChannelLogout: true }, '"backChannelLogout" option must be false or { path, issuer, audience, match }'],
  [{ backChannelLogout: { path: 'logout', issuer: 'i' } }, '"backChannelLogout.path" option must be a path that begins with a slash'],
  [{ backChannelLogout: { path: '/logout' } }, '"backChannelLogout.issuer" option must be a non-empty string'],
  [{ backChannelLogout: { path: '/logout', issuer: 'i', audience: 1 } }, '"backChannelLogout.audience" option must be a non-empty string'],
  [{ backChannelLogout: { path: '/logout', issuer: 'i', match: 'jti' } }, '"backChannelLogout.match" option must be \'sid\' or \'sub\''],
  [{ backChannelLogout: { path: '/logout', issuer: 'i', client: 'c' } }, '"backChannelLogout.client" option must be left out: there is no such option']
]

const wrongOnRoute: Array<[options: unknown, message: string]> = [
  ['yes', '"wsAuth" option must be a boolean, \'optional\' or an object'],
  [null, '"wsAuth" option must be a boolean, \'optional\' or an object'],
  [{ role: ['admin'] }, '"wsAuth.role" option must be left out: there is no such option; did you mean "roles"?'],
  [{ roles: 'admin' }, '"wsAuth.roles" option must be a non-empty array of strings'],
  [{ optional: 'yes' }, '"wsAuth.optional" option must be a boolean'],
  [{ expiryGrace: -1 }, `"wsAuth.expiryGrace" option must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}`],
  [{ roles: [] }, '"wsAuth.roles" option must be a non-empty array of strings'],
  [{ roles: [1] }, '"wsAuth.roles" option must be a non-empty array of strings'],
  [{ scopes: ['a b'] }, '"wsAuth.scopes" option must be a non-empty array of scope tokens (RFC 6749, 3.3)'],
  [{ scopes: ['a"b'] }, '"wsAuth.scopes" option must be a non-empty array of scope tokens (RFC 6749, 3.3)'],
  [{ authorize: true }, '"wsAuth.authorize" option must be a function'],
  [{ token: { query: 1 } }, '"wsAuth.token.query" option must be a boolean or a string'],
  [{ token: { message: { timeout: 'long' } } }, '"wsAuth.token.message.timeout" option must be an integer from 1 to 2147483647'],
  [{ origin: 'none' }, '"wsAuth.origin" option must be \'same-host\', \'any\', an array of origins, or a function'],
  [{ requireTls: 1 }, '"wsAuth.requireTls" option must be a boolean'],
  [{ rejectWith: true }, '"wsAuth.rejectWith" option must be \'http\', \'close\' or \'auto\''],
  [{ closeCodes: { limit: 1 } }, '"wsAuth.closeCodes.limit" option must be an integer from 3000 to 4999, or 1008'],
  [{ maxLifetime: 0 }, '"wsAuth.maxLifetime" option must be a positive integer, or Infinity'],
  [{ limits: 5 }, '"wsAuth.limits" option must be { messages, bytes, idle }'],
  [{ limits: { perUser: 5 } }, '"wsAuth.limits.perUser" option must be left out: there is no such option; it belongs in the "limits" option of the plugin'],
  [{ limits: { messages: { perSecond: '1' } } }, '"wsAuth.limits.messages.perSecond" option must be an integer from 1 to 1099511627776'],
  [{ limits: { idle: -1 } }, '"wsAuth.limits.idle" option must be a positive integer, or Infinity'],
  [{ idle: 5 }, '"wsAuth.idle" option must be left out: there is no such option; it belongs in wsAuth.limits.idle'],
  [{ cookie: 'a' }, '"wsAuth.cookie" option must be left out: there is no such option; it belongs in wsAuth.token.cookie'],
  [{ heartbeat: 5 }, '"wsAuth.heartbeat" option must be left out: there is no such option; it belongs in the options of the plugin, as "heartbeat"'],
  [{ tickets: {} }, '"wsAuth.tickets" option must be left out, because the plugin\'s "tickets" option is off'],
  [{ tickets: true }, '"wsAuth.tickets" option must be { require }'],
  [{ tickets: { ttl: 1 } }, '"wsAuth.tickets.ttl" option must be left out: there is no such option']
]

t.test('a wrong option throws a TypeError at registration that names it', async (t) => {
  for (const [options, message] of wrong) {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(async () => { await app.register(fastifyWsAuth, options as never) }, { name: 'TypeError', message }, message)
  }
})

t.test('each option of ws is known, and one that is like no other passes, because a newer ws may have it', async (t) => {
  const names = [...readFileSync(join(process.cwd(), 'node_modules/ws/lib/websocket-server.js'), 'utf8').matchAll(/\[options\.(\w+)/g)].map(([, name = '']) => name)
  t.ok(names.length > 15)
  for (const name of names) t.doesNotThrow(() => readPluginOptions({ websocket: { options: { [name]: undefined } } }), name)
  t.strictSame(readPluginOptions({ websocket: { options: { maxPayload: 4096, shinyNewLimit: 1 } } }).websocket, { options: { maxPayload: 4096, shinyNewLimit: 1 } })
})

/** Objects of options that are accepted, by where they stand. */
const complete: Record<string, Record<string, unknown>> = {
  '': Object.fromEntries(Object.keys(readPluginOptions({})).map((name) => [name, undefined])),
  token: { header: true, subprotocol: true, query: true, cookie: true, param: false, message: true },
  'token.message': { timeout: 1, maxBytes: 1, read: noop, deliver: true },
  websocket: { options: {}, errorHandler: noop, preClose: noop },
  'websocket.options': { closeTimeout: 1, clientTracking: true },
  limits: { perUser: 1, onLimit: 'reject', pending: 1, connections: 1, messages: false, bytes: false, idle: 1 },
  'limits.perUser': { max: 1, scope: 'cluster', whenDown: 'local' },
  'limits.messages': { perSecond: 1, burst: 1, perUser: true, onLimit: 'pause' },
  heartbeat: { interval: 1 },
  drain: { within: 1, code: 1001, reason: '' },
  recheck: { every: 1, check: noop, onFailure: 'keep' },
  tokenCache: { max: 1, ttl: 1 },
  tickets: { path: '/a', query: 'a', ttl: 1, require: true },
  backChannelLogout: { path: '/a', issuer: 'a', audience: 'a', match: 'sid' },
  signals: { path: '/a', issuer: 'a', audience: 'a', subject: noop },
  closeCodes: { unauthorized: 3000, forbidden: 3000, timeout: 3000, limit: 3000, unavailable: 3000 }
}

/** An option at its place. */
function placed (place: string, value: unknown): Record<string, unknown> {
  return place.split('.').reduceRight<unknown>((inner, name) => name === '' ? inner : { [name]: inner }, value) as Record<string, unknown>
}

t.test('null is a wrong option in each place, and what is left out is not', async (t) => {
  for (const [place, values] of Object.entries(complete)) {
    t.ok(readPluginOptions(placed(place, values)), place)
    for (const name of Object.keys(values)) {
      const option = place === '' ? name : `${place}.${name}`
      t.throws(() => readPluginOptions(placed(place, { ...values, [name]: null })), { name: 'TypeError', message: new RegExp(`^"${option}[.\\w]*" option must be `) }, option)
    }
  }
  const plugin = readPluginOptions({ tickets: true })
  for (const name of [...Object.keys(readRouteOptions({}, plugin)).filter((name) => name !== 'access'), 'optional']) {
    t.throws(() => readRouteOptions({ [name]: null }, plugin), { name: 'TypeError', message: new RegExp(`^"wsAuth.${name}" option must be `) }, `wsAuth.${name}`)
    t.ok(readRouteOptions({ [name]: undefined }, plugin))
  }
  t.throws(() => readPluginOptions(null), { name: 'TypeError', message: '"options" option must be an object' })
})

t.test('options that are not an object throw a TypeError', async (t) => {
  t.throws(() => readPluginOptions('secret'), { name: 'TypeError', message: '"options" option must be an object' })
  t.equal(readPluginOptions(undefined).handshakeTimeout, 10_000)
})

t.test('a wrong option of a route throws a TypeError when the route is declared', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  for (const [wsAuth, message] of wrongOnRoute) {
    t.throws(() => app.get('/', { websocket: true, wsAuth: wsAuth as never }, noop), { name: 'TypeError', message }, message)
  }
})

t.test('wsAuth on a route without a websocket throws a TypeError', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  t.throws(() => app.get('/plain', { wsAuth: true }, async () => 'hi'),
    { name: 'TypeError', message: '"wsAuth" option must be left out of GET /plain: it guards websockets, and this route has none (add websocket: true if it should have one)' })
})

t.test('token.param of a route must be a whole segment of its path', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  for (const path of ['/chat', '/chat/:tokens', '/chat/:token.jwt', '/chat/:token(^\\d+$)']) {
    t.throws(() => app.get(path, { websocket: true, wsAuth: { token: { param: 'token' } } }, noop),
      { name: 'TypeError', message: `"wsAuth.token.param" option must be a whole segment of the path, "/:token", in ${path}` }, path)
  }
})

t.test('the defaults are those of the README', async (t) => {
  const { roles, scopes, backplane, ...rest } = readPluginOptions({})
  t.equal(backplane.constructor.name, 'MemoryBackplane')
  t.strictSame(rest, {
    tickets: { path: null, query: null, ttl: 0, require: false },
    revocationTtl: 2_592_000_000,
    backChannelLogout: null,
    signals: null,
    token: { header: { name: 'authorization', bearer: true }, subprotocol: 'bearer', query: 'token', cookie: undefined, param: null, message: null },
    origin: 'same-host',
    requireTls: false,
    rejectWith: 'http',
    closeCodes: { unauthorized: 3000, forbidden: 3003, timeout: 3008, limit: 4429, unavailable: 4503 },
    jwt: undefined,
    jwtNamespace: undefined,
    cookie: undefined,
    websocket: {},
    verify: undefined,
    claims: undefined,
    user: undefined,
    tokenCache: null,
    renewal: 'offered',
    confirm: undefined,
    subject: undefined,
    groups: undefined,
    upgrades: undefined,
    routes: new Map(),
    expiryGrace: 0,
    maxLifetime: 86_400_000,
    limits: { perUser: Infinity, onLimit: 'reject', pending: 1000, connections: Infinity, messages: null, bytes: null, idle: Infinity },
    heartbeat: null,
    recheck: null,
    drain: null,
    handshakeTimeout: 10_000,
    maxTokenBytes: 8192
  })
  t.strictSame(roles({ roles: ['a'], role: 'b' }), ['a'])
  t.strictSame(roles({ role: 'b' }), ['b'])
  t.strictSame(roles({ roles: ['a', 1, null] }), ['a'])
  t.strictSame(roles({ roles: null, role: 'b' }), [], 'the first that is present counts, whatever it is')
  t.strictSame(roles({}), [])
  t.strictSame(scopes({ scope: 'a b', scp: ['c'] }), ['a', 'b'])
  t.strictSame(scopes({ scp: ['c'], permissions: ['d'] }), ['c'])
  t.strictSame(scopes({ scp: 'c d' }), ['c', 'd'])
  t.strictSame(scopes({ permissions: ['d'] }), ['d'])
  t.strictSame(scopes({ permissions: { d: true } }), [])
})

t.test('the value true sets the default name of a token place, false turns it off, and a string sets another name', async (t) => {
  t.strictSame(readPluginOptions({ token: { header: true, subprotocol: true, query: true, cookie: true, param: true, message: true } }).token,
    { header: { name: 'authorization', bearer: true }, subprotocol: 'bearer', query: 'token', cookie: { name: 'token', signed: false }, param: 'token', message: { timeout: 10_000, maxBytes: 8192, read: null, deliver: false } })
  t.strictSame(readPluginOptions({ token: { header: false, subprotocol: false, query: false, cookie: false, param: false, message: false } }).token,
    { header: null, subprotocol: null, query: null, cookie: null, param: null, message: null })
  t.strictSame(readPluginOptions({ token: { header: 'X-Token', subprotocol: 'jwt', query: 'access_token', cookie: { name: 'sid', signed: true }, param: 'key', message: { timeout: 5 } } }).token,
    { header: { name: 'x-token', bearer: false }, subprotocol: 'jwt', query: 'access_token', cookie: { name: 'sid', signed: true }, param: 'key', message: { timeout: 5, maxBytes: 8192, read: null, deliver: false } })
})

t.test('the options of a route are merged over those of the plugin', async (t) => {
  const plugin = readPluginOptions({ token: { query: 'key', cookie: false, message: { timeout: 7 } }, maxLifetime: 1000, closeCodes: { forbidden: 4403 }, origin: 'any', rejectWith: 'auto' })
  const route = readRouteOptions({ token: { header: false }, closeCodes: { unauthorized: 1008 }, origin: ['capacitor://localhost'] }, plugin)
  t.strictSame(route.token, { header: null, subprotocol: 'bearer', query: 'key', cookie: null, param: null, message: { timeout: 7, maxBytes: 8192, read: null, deliver: false } })
  t.equal(route.maxLifetime, 1000)
  t.equal(readRouteOptions({ maxLifetime: Infinity }, plugin).maxLifetime, Infinity)
  t.match(route.closeCodes, { unauthorized: 1008, forbidden: 4403, limit: 4429 })
  t.strictSame(route.origin, ['capacitor://localhost'])
  t.equal(route.rejectWith, 'auto')
  t.equal(readRouteOptions(undefined, plugin).access, 'required')
  t.equal(readRouteOptions(true, plugin).access, 'required')
  t.equal(readRouteOptions(false, plugin).access, 'public')
  t.equal(readRouteOptions('optional', plugin).access, 'optional')
})

t.test('the app must configure a verifier: jwt, @fastify/jwt or verify', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await t.rejects(async () => { await app.register(fastifyWsAuth, {}) },
    { name: 'TypeError', message: '"jwt" option must be given, unless the app registers @fastify/jwt before or "verify" is given' })
})

t.test('the jwt option is an error if @fastify/jwt is registered already', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyJwt, { secret })
  await t.rejects(async () => { await app.register(fastifyWsAuth, { jwt: { secret } }) },
    { name: 'TypeError', message: '"jwt" option must be left out: @fastify/jwt is registered already' })
})

t.test('the namespace option must name a namespace of @fastify/jwt', async (t) => {
  const register = async (options: object): Promise<unknown> => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(fastifyJwt, { secret, namespace: 'guest', jwtVerify: 'checkGuest' })
    await app.register(fastifyJwt, { secret, namespace: 'member' })
    return app.register(fastifyWsAuth, options)
  }
  await t.rejects(register({}), { name: 'TypeError', message: '"jwtNamespace" option must be a namespace of the @fastify/jwt that is registered' })
  await t.rejects(register({ jwtNamespace: 'admin' }),
    { name: 'TypeError', message: '"jwtNamespace" option must be a namespace of the @fastify/jwt that is registered, not \'admin\'' })
  await t.rejects(register({ jwtNamespace: 'guest' }),
    { name: 'TypeError', message: '"jwtNamespace" option must be a namespace with the default name of its method, guestJwtVerify' })
  await t.resolves(register({ jwtNamespace: 'member' }))
})

t.test('the plugin registers @fastify/websocket, and an earlier registration is an error', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWebsocket)
  await t.rejects(async () => { await app.register(fastifyWsAuth, { jwt: { secret } }) },
    { message: '@fastify/websocket is registered already: register fastify-ws-auth in its place and pass its options as "websocket"' })
})

t.test('an app whose registration failed can be closed', async (t) => {
  const app = Fastify()
  await t.rejects(async () => { await app.register(fastifyWsAuth, { jwt: { secret }, websocket: { errorHandler: 1 as never } }) }, { name: 'TypeError', message: '"websocket.errorHandler" option must be a function' })
  await t.resolves(app.close())
})

t.test('the plugin can be registered once only, also if the first registration is in another scope', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(async (scope) => { await scope.register(fastifyWsAuth, { jwt: { secret } }) })
  await t.rejects(async () => { await app.register(fastifyWsAuth, { jwt: { secret } }) },
    { message: 'fastify-ws-auth is registered already on this server: register it once, for all routes that are declared after it' })
})

t.test('a second registration in one scope is told from one of @fastify/websocket', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  await t.rejects(async () => { await app.register(fastifyWsAuth, { jwt: { secret } }) },
    { message: 'fastify-ws-auth is registered already: register it once, for all routes that are declared after it' })
})

t.test('a signed cookie requires a secret, and a cookie requires @fastify/cookie', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await t.rejects(async () => { await app.register(fastifyWsAuth, { jwt: { secret }, token: { cookie: { name: 'token', signed: true } } }) },
    { name: 'TypeError', message: '"cookie" option must have a secret: the cookie of the token is signed' })

  const without = Fastify()
  t.teardown(() => without.close())
  await without.register(fastifyWsAuth, { jwt: { secret }, token: { cookie: false } })
  t.notOk(without.hasPlugin('@fastify/cookie'), 'it is not loaded where nothing asks for a cookie')
  t.throws(() => without.get('/', { websocket: true, wsAuth: { token: { cookie: true } } }, noop),
    { name: 'TypeError', message: '"cookie" option must be given where a route asks for a cookie and the plugin does not' })
})

t.test('a claims schema that cannot be compiled fails the start if the app has a validator', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret }, claims: { type: 'nonsense' } })
  app.get('/other', { schema: { querystring: { type: 'object' } } }, async () => 'hi')
  await t.rejects(async () => { await app.ready() }, { name: 'TypeError', message: '"claims" option must be a schema that the validator of the app can compile and run' })
})
