/*
 * Plain requests, each kind over each protocol: dry runs of every access, tickets and logout tokens. They are answered alike
 * by all of them, and nothing that a client sends is an error that nobody catches.
 */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { prepare, sign, start, until } from '../helpers/app'
import { seconds } from '../helpers/keys'
import { ask, PROTOCOLS, request } from '../helpers/protocols'
import type { PlainAnswer, PlainRequest, Protocol } from '../helpers/protocols'
import { uncaughtErrors } from '../helpers/uncaught'
import { statsOf } from '../helpers/stats'

t.jobs = PROTOCOLS.length

const ISSUER = 'https://issuer.example'
const CLIENT = 'client'
const FORM = 'application/x-www-form-urlencoded'
const EVENT = 'http://schemas.openid.net/event/backchannel-logout'

const ann = sign({ sub: 'ann', roles: ['member'], scope: 'chat:read' })
const expired = sign({ sub: 'ann', exp: seconds(-600) })
const revoked = sign({ sub: 'ann', jti: 'revoked' })
const full = sign({ sub: 'full' })
const forged = `${ann.slice(0, ann.lastIndexOf('.'))}.${'A'.repeat(43)}`

const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` })
const cookie = (token: string): Record<string, string> => ({ cookie: `token=${token}` })

interface Outcome {
  status: number
  code?: string | undefined
  challenge?: string | undefined
}

const MESSAGE = { message: 'This route speaks WebSocket: the handshake would be accepted' }
const ACCEPTED: Outcome = { status: 426 }
const MISSING: Outcome = { status: 401, code: 'WS_AUTH_TOKEN_MISSING', challenge: 'Bearer realm="websocket"' }
const INVALID: Outcome = { status: 401, code: 'WS_AUTH_TOKEN_INVALID', challenge: 'Bearer error="invalid_token"' }
const EXPIRED: Outcome = { ...INVALID, code: 'WS_AUTH_TOKEN_EXPIRED' }
const REVOKED: Outcome = { ...INVALID, code: 'WS_AUTH_TOKEN_REVOKED' }
const NO_TICKET: Outcome = { ...INVALID, code: 'WS_AUTH_TICKET_INVALID' }
const AMBIGUOUS: Outcome = { status: 400, code: 'WS_AUTH_TOKEN_AMBIGUOUS', challenge: 'Bearer error="invalid_request"' }
const FORBIDDEN: Outcome = { status: 403, code: 'WS_AUTH_FORBIDDEN', challenge: 'Bearer error="insufficient_scope"' }
const WRONG_ORIGIN: Outcome = { status: 403, code: 'WS_AUTH_ORIGIN_FORBIDDEN' }
const LIMIT: Outcome = { status: 429, code: 'WS_AUTH_LIMIT' }
const UNAVAILABLE: Outcome = { status: 503, code: 'WS_AUTH_UNAVAILABLE' }

const noop = (): void => {}

const PLUGIN: fastifyWsAuth.WsAuthOptions = {
  tickets: true,
  limits: { perUser: 1 },
  backChannelLogout: { path: '/logout', issuer: ISSUER, audience: CLIENT }
}

function declareRoutes (app: FastifyInstance): void {
  app.get('/plain', async () => 'plain')
  app.get('/ws', { websocket: true }, noop)
  app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] } }, noop)
  app.get('/write', { websocket: true, wsAuth: { scopes: ['chat:write'] } }, noop)
  app.get('/public', { websocket: true, wsAuth: false }, noop)
  app.get('/optional', { websocket: true, wsAuth: 'optional' }, noop)
  app.get('/first', { websocket: true, wsAuth: { renewal: true, token: { message: true } } }, noop)
  app.get('/no-header', { websocket: true, wsAuth: { token: { header: false } } }, noop)
  app.get('/named-header', { websocket: true, wsAuth: { token: { header: 'x-token' } } }, noop)
  app.get('/ticket', { websocket: true, wsAuth: { tickets: { require: true } } }, noop)
  app.get('/origin', { websocket: true, wsAuth: { origin: ['https://good.example'] } }, noop)
  app.get('/throws', { websocket: true, wsAuth: { authorize: () => { throw new Error('the database is down') } } }, noop)
  app.route({ method: 'GET', url: '/both', handler: async () => 'page', wsHandler: noop })
}

/** What a handshake would be answered, by the request that asks. `SELF` is the origin of the server. */
const DRY_RUNS: Array<[what: string, request: PlainRequest, outcome: Outcome]> = [
  ['without a token', { path: '/ws' }, MISSING],
  ['with a token in the header', { path: '/ws', headers: bearer(ann) }, ACCEPTED],
  ['with a token in the cookie', { path: '/ws', headers: cookie(ann) }, ACCEPTED],
  ['with a token among other cookies', { path: '/ws', headers: { cookie: `a=b; token=${ann}; c=d` } }, ACCEPTED],
  ['with a token in the query', { path: `/ws?token=${ann}` }, ACCEPTED],
  ['with a token in the subprotocol', { path: '/ws', headers: { 'sec-websocket-protocol': `chat, bearer, ${ann}` } }, ACCEPTED],
  ['with all headers of a handshake but Upgrade', { path: '/ws', headers: { ...bearer(ann), 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' } }, ACCEPTED],
  ['with a forged token in the header', { path: '/ws', headers: bearer(forged) }, INVALID],
  ['with a forged token in the cookie', { path: '/ws', headers: cookie(forged) }, INVALID],
  ['with a forged token in the query', { path: `/ws?token=${forged}` }, INVALID],
  ['with a forged token in the subprotocol', { path: '/ws', headers: { 'sec-websocket-protocol': `bearer, ${forged}` } }, INVALID],
  ['with a token that has expired', { path: '/ws', headers: bearer(expired) }, EXPIRED],
  ['with a token that was revoked', { path: '/ws', headers: bearer(revoked) }, REVOKED],
  ['with a token in header and query', { path: `/ws?token=${ann}`, headers: bearer(ann) }, AMBIGUOUS],
  ['with two tokens in the query', { path: `/ws?token=${ann}&token=${ann}` }, AMBIGUOUS],
  ['with two cookies', { path: '/ws', headers: { cookie: `token=${ann}; token=${ann}` } }, AMBIGUOUS],
  ['with an unknown ticket', { path: '/ws?ticket=unknown' }, NO_TICKET],
  ['of a user who has a connection too many', { path: '/ws', headers: bearer(full) }, LIMIT],
  ['of a route for other roles', { path: '/admin', headers: bearer(ann) }, FORBIDDEN],
  ['of a route for other scopes', { path: '/write', headers: bearer(ann) }, { ...FORBIDDEN, challenge: `${FORBIDDEN.challenge}, scope="chat:write"` }],
  ['of a route whose authorize throws', { path: '/throws', headers: bearer(ann) }, UNAVAILABLE],
  ['with a cookie from another origin', { path: '/ws', headers: { ...cookie(ann), origin: 'https://evil.example' } }, WRONG_ORIGIN],
  ['with a cookie from the origin of the server', { path: '/ws', headers: { ...cookie(ann), origin: 'SELF' } }, ACCEPTED],
  ['with a header from another origin', { path: '/ws', headers: { ...bearer(ann), origin: 'https://evil.example' } }, ACCEPTED],
  ['from an origin of the list', { path: '/origin', headers: { ...bearer(ann), origin: 'https://good.example' } }, ACCEPTED],
  ['from an origin beside the list', { path: '/origin', headers: { ...bearer(ann), origin: 'https://evil.example' } }, WRONG_ORIGIN],
  ['of a public route', { path: '/public' }, ACCEPTED],
  ['of a public route, with a token in the header', { path: '/public', headers: bearer(ann) }, ACCEPTED],
  ['of a public route, with a forged token in cookie and query', { path: `/public?token=${forged}`, headers: cookie(forged) }, ACCEPTED],
  ['of an optional route, without a token', { path: '/optional' }, ACCEPTED],
  ['of an optional route, with a token in the cookie', { path: '/optional', headers: cookie(ann) }, ACCEPTED],
  ['of an optional route, with a forged token', { path: '/optional', headers: bearer(forged) }, INVALID],
  ['of a route for first messages, without a token', { path: '/first' }, ACCEPTED],
  ['of a route for first messages, with a token in the header', { path: '/first', headers: bearer(ann) }, ACCEPTED],
  ['of a route for first messages, with a forged token', { path: '/first', headers: bearer(forged) }, INVALID],
  ['of a route that needs a ticket, without one', { path: '/ticket', headers: bearer(ann) }, NO_TICKET],
  ['of a route whose token is in no header, with one in the header', { path: '/no-header', headers: bearer(ann) }, ACCEPTED],
  ['of a route whose token is in no header, with a forged one in the header', { path: '/no-header', headers: bearer(forged) }, INVALID],
  ['of a route whose token is in another header, with one in that', { path: '/named-header', headers: { 'x-token': ann } }, ACCEPTED],
  ['of a route whose token is in another header, with one in Authorization', { path: '/named-header', headers: bearer(ann) }, ACCEPTED],
  ['of a route whose token is in another header, with a forged one in Authorization', { path: '/named-header', headers: bearer(forged) }, INVALID]
]

const form = (token: string): Pick<PlainRequest, 'method' | 'path' | 'headers' | 'body'> =>
  ({ method: 'POST', path: '/logout', headers: { 'content-type': FORM }, body: `logout_token=${token}` })

function logoutToken (sub: string, secret?: string): string {
  return sign({ iss: ISSUER, aud: CLIENT, iat: seconds(), exp: seconds(120), jti: `logout of ${sub}`, sub, events: { [EVENT]: {} } }, secret)
}

async function serve (t: Test, { server }: Protocol): Promise<{ app: FastifyInstance, port: number, log: string[] }> {
  const started = await start(t, { server, plugin: PLUGIN, routes: declareRoutes })
  await started.app.wsAuth.revoke({ jti: 'revoked' })
  const socket = await started.app.injectWS('/ws', { headers: bearer(full) })
  t.teardown(() => socket.terminate())
  return started
}

function self ({ scheme }: Protocol, port: number, plain: PlainRequest): PlainRequest {
  return plain.headers?.origin === 'SELF' ? { ...plain, headers: { ...plain.headers, origin: `${scheme}://127.0.0.1:${port}` } } : plain
}

function outcomeOf ({ status, headers, body }: PlainAnswer): Outcome {
  const { code } = JSON.parse(body) as { code?: string }
  const challenge = headers['www-authenticate']
  return { status, ...code === undefined ? {} : { code }, ...challenge === undefined ? {} : { challenge } }
}

for (const protocol of PROTOCOLS) {
  void t.test(`the plugin answers plain requests over ${protocol.name}`, { buffered: true }, async (t) => {
    t.test('a dry run gets the answer that the handshake would get', async (t) => {
      const { app, port } = await serve(t, protocol)
      const kept: string[] = []
      for (const [what, plain, outcome] of DRY_RUNS) {
        const answer = await ask(protocol, port, self(protocol, port, plain))
        t.strictSame(outcomeOf(answer), outcome, what)
        if (answer.headers['cache-control'] !== 'no-store') kept.push(what)
      }
      t.strictSame(kept, [], 'no cache may keep an answer')
      t.equal(statsOf(app).pending, 0)
    })

    t.test('the 426 has the headers Upgrade and Connection over HTTP/1.1 only', async (t) => {
      const { port } = await serve(t, protocol)
      for (const [path, headers] of [['/ws', bearer(ann)], ['/public', {}], ['/optional', {}], ['/first', {}]] as const) {
        const answer = await ask(protocol, port, { path, headers })
        t.match({ status: answer.status, ...JSON.parse(answer.body) }, { status: 426, error: 'Upgrade Required', ...MESSAGE }, path)
        t.equal(answer.headers.upgrade, protocol.isHttp2 ? undefined : 'websocket', path)
        t.equal(answer.headers.connection, protocol.isHttp2 ? undefined : 'upgrade', path)
      }
    })

    t.test('the answer to a request with Sec-WebSocket-Key and without Upgrade says that a proxy has dropped Upgrade', async (t) => {
      const { port, log } = await serve(t, protocol)
      for (const path of ['/ws', '/public']) {
        const { status, body } = await ask(protocol, port, { path, headers: { ...bearer(ann), 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' } })
        t.equal(status, 426, path)
        t.match(JSON.parse(body).message, /Sec-WebSocket-Key.*Upgrade.*proxy/s, path)
      }
      t.ok(log.some((line) => /Sec-WebSocket-Key.*Upgrade.*proxy/s.test(JSON.parse(line).msg)), 'the log says it too')
    })

    t.test('later hooks find no token in URL, query, headers or cookies', async (t) => {
      const seen: string[] = []
      const { port } = await start(t, {
        server: protocol.server,
        plugin: PLUGIN,
        routes: (app) => {
          app.addHook('preHandler', async ({ url, originalUrl, query, headers, cookies, raw }) => {
            seen.push(JSON.stringify([url, originalUrl, query, headers, cookies, raw.url, raw.headers, raw.rawHeaders]))
          })
          declareRoutes(app)
        }
      })
      const places: PlainRequest[] = [
        { path: '/ws', headers: bearer(ann) }, { path: '/ws', headers: cookie(ann) }, { path: `/ws?token=${ann}&a=b` },
        { path: '/ws', headers: { 'sec-websocket-protocol': `bearer, ${ann}` } }
      ]
      for (const place of places) t.equal((await ask(protocol, port, place)).status, 426)
      t.equal((await ask(protocol, port, { method: 'POST', path: '/ws-ticket', headers: bearer(ann) })).status, 200)
      t.equal((await ask(protocol, port, { method: 'POST', path: '/ws-ticket', headers: cookie(ann) })).status, 200)
      t.equal(seen.length, places.length + 2)
      for (const text of seen) t.notOk(text.includes(ann), text.replaceAll(ann, '[the token]').slice(0, 200))
    })

    t.test('a token in header, cookie or query gets a ticket, and a dry run does not spend it', async (t) => {
      const { app, port } = await serve(t, protocol)
      const buy = async (plain: Omit<PlainRequest, 'path'>, query = ''): Promise<PlainAnswer> => await ask(protocol, port, { method: 'POST', path: `/ws-ticket${query}`, ...plain })
      const json = { 'content-type': 'application/json' }
      const origin = `${protocol.scheme}://127.0.0.1:${port}`
      for (const bought of [
        await buy({ headers: bearer(ann) }), await buy({ headers: cookie(ann) }), await buy({}, `?token=${ann}`),
        await buy({ headers: { ...cookie(ann), origin } }), await buy({ headers: { ...bearer(ann), ...json }, body: '{"path":"/ws"}' })
      ]) {
        t.equal(bought.status, 200)
        t.equal(bought.headers['cache-control'], 'no-store')
        const { ticket, expiresIn } = JSON.parse(bought.body) as { ticket: string, expiresIn: number }
        t.equal(expiresIn, 30_000)
        for (const time of ['first', 'second']) t.strictSame(outcomeOf(await ask(protocol, port, { path: `/ws?ticket=${ticket}` })), ACCEPTED, `${time} dry run`)
        const socket = await app.injectWS(`/ws?ticket=${ticket}`)
        socket.terminate()
        await until(() => statsOf(app).connections === 1, 'the end of the connection')
        t.strictSame(outcomeOf(await ask(protocol, port, { path: `/ws?ticket=${ticket}` })), NO_TICKET)
      }
      t.strictSame(outcomeOf(await buy({})), MISSING)
      t.strictSame(outcomeOf(await buy({ headers: bearer(forged) })), INVALID)
      t.strictSame(outcomeOf(await buy({ headers: cookie(expired) })), EXPIRED)
      t.strictSame(outcomeOf(await buy({ headers: bearer(revoked) })), REVOKED)
      t.strictSame(outcomeOf(await buy({ headers: bearer(ann) }, `?token=${ann}`)), AMBIGUOUS)
      t.strictSame(outcomeOf(await buy({ headers: { ...cookie(ann), origin: 'https://evil.example' } })), WRONG_ORIGIN)
      t.equal((await buy({ headers: { ...bearer(ann), ...json }, body: '{"path":7}' })).status, 400)
      t.equal((await buy({ headers: { ...bearer(ann), ...json }, body: '{' })).status, 400)
    })

    t.test('a logout token closes the connections of its subject, and a forged one closes none', async (t) => {
      const { app, port } = await serve(t, protocol)
      const refused = await ask(protocol, port, form(logoutToken('full', 'another key of thirty-two bytes!')))
      t.match(refused, { status: 400, body: '{"error":"invalid_request"}', headers: { 'cache-control': 'no-store' } })
      const other = await ask(protocol, port, { ...form(logoutToken('full', 'another key of thirty-two bytes!')), headers: { 'content-type': FORM, ...bearer(ann) } })
      t.equal(other.status, 400, 'with a genuine token in the header')
      t.equal(statsOf(app).connections, 1)
      const { status, body } = await ask(protocol, port, { ...form(logoutToken('full')), headers: { 'content-type': FORM, ...bearer(ann) } })
      t.strictSame({ status, body }, { status: 200, body: '' })
      t.equal(statsOf(app).connections, 0)
      t.strictSame(outcomeOf(await ask(protocol, port, { path: '/ws', headers: bearer(sign({ sub: 'full', iat: seconds(-600) })) })), REVOKED)
    })

    t.test('requests other than dry runs get the answers of Fastify or of the app\'s handlers', async (t) => {
      const { app, port } = await serve(t, protocol)
      const headers = { ...bearer(ann), ...cookie(ann), 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-protocol': `bearer, ${ann}` }
      for (const [method, path, status] of [
        ['GET', '/plain', 200], ['GET', '/both', 200], ['HEAD', '/plain', 200], ['GET', '/nowhere', 404], ['GET', '/ws-ticket', 404], ['GET', '/logout', 404],
        ['POST', '/ws', 404], ['PUT', '/public', 404], ['DELETE', '/optional', 404], ['OPTIONS', '/ws', 404], ['OPTIONS', '/ws-ticket', 404], ['GET', '/%zz', 400]
      ] as const) {
        t.equal((await ask(protocol, port, { method, path, headers })).status, status, `${method} ${path}`)
        t.equal((await ask(protocol, port, { method, path })).status, status, `${method} ${path} without headers`)
      }
      t.equal((await ask(protocol, port, { method: 'POST', path: '/ws', headers: { 'content-type': 'application/json' }, body: '{}' })).status, 404)
      t.equal((await ask(protocol, port, { method: 'POST', path: '/logout', headers: { 'content-type': 'application/json' }, body: '{}' })).status, 415)
      for (const path of ['/ws', '/public', '/optional', '/first', '/both']) {
        const { status } = await ask(protocol, port, { method: 'HEAD', path, headers: bearer(ann) })
        const injected = await app.inject({ method: 'HEAD', url: path, headers: bearer(ann) })
        t.equal(status, injected.statusCode, `HEAD ${path} is answered as without a network`)
        t.ok([200, 404, 426].includes(status), `HEAD ${path}: ${status}`)
      }
    })

    t.test('a dry run or ticket that waits for longer than handshakeTimeout is 503', async (t) => {
      const signals: AbortSignal[] = []
      const verify = async (_token: string, _request: unknown, { signal }: { signal: AbortSignal }): Promise<object> => {
        signals.push(signal)
        return await new Promise(() => {})
      }
      const { app, port } = await start(t, { server: protocol.server, plugin: { verify, tickets: true, handshakeTimeout: 150 }, routes: declareRoutes })
      for (const plain of [{ path: '/ws', headers: bearer('opaque') }, { method: 'POST', path: '/ws-ticket', headers: cookie('opaque') }]) {
        const answer = await ask(protocol, port, plain)
        t.strictSame(outcomeOf(answer), UNAVAILABLE, plain.path)
        t.equal(answer.headers.connection, protocol.isHttp2 ? undefined : 'close', 'the connection is not used again, and HTTP/2 has no such header')
      }
      t.strictSame(signals.map(({ aborted }) => aborted), [true, true])
      t.equal(statsOf(app).pending, 0)
      t.equal((await ask(protocol, port, { path: '/plain' })).status, 200)
    })

    t.test('a client that leaves while its token is verified leaves nothing pending, whenever the verifier finishes', async (t) => {
      const waiting: Array<(outcome: 'good' | 'bad' | 'throw') => void> = []
      const verify = async (): Promise<object | null> => await new Promise((resolve, reject) => {
        waiting.push((outcome) => outcome === 'throw' ? reject(new Error('down')) : resolve(outcome === 'good' ? { sub: 'ann' } : null))
      })
      const { app, port } = await start(t, { server: protocol.server, plugin: { verify, tickets: true }, routes: declareRoutes })
      for (const [method, path] of [['GET', '/ws'], ['GET', '/optional'], ['POST', '/ws-ticket']] as const) {
        for (const outcome of ['good', 'bad', 'throw'] as const) {
          const { answer, abort } = request(protocol, port, { method, path, headers: bearer('opaque') })
          await until(() => waiting.length === 1, 'a verification')
          abort()
          await t.rejects(answer)
          await until(() => statsOf(app).pending === 0, `the end of ${method} ${path}`)
          waiting.pop()?.(outcome)
          t.equal((await ask(protocol, port, { path: '/plain' })).status, 200, `${method} ${path}, ${outcome}`)
        }
      }
    })

    t.test('app.close() succeeds while a dry run and a ticket request wait', async (t) => {
      const { app, port } = await start(t, { server: protocol.server, plugin: { verify: async () => await new Promise(() => {}), tickets: true }, routes: declareRoutes })
      const sent = [request(protocol, port, { path: '/ws', headers: bearer('opaque') }), request(protocol, port, { method: 'POST', path: '/ws-ticket', headers: bearer('opaque') })]
      const answers = sent.map(async ({ answer }) => await answer.then(({ status }) => status, () => 'gone'))
      await until(() => statsOf(app).pending === 2, 'two that wait')
      await app.close()
      for (const answer of await Promise.all(answers)) t.ok(answer === 503 || answer === 'gone', String(answer))
      t.equal(statsOf(app).pending, 0)
    })
  })
}

void t.test('a dry run by inject() gets the answer that one over HTTP/1.1 gets', { buffered: true }, async (t) => {
  const { app } = await prepare(t, { plugin: PLUGIN, routes: declareRoutes })
  await app.wsAuth.revoke({ jti: 'revoked' })
  const socket = await app.injectWS('/ws', { headers: bearer(full) })
  t.teardown(() => socket.terminate())
  const kept: string[] = []
  for (const [what, { path, headers = {} }, outcome] of DRY_RUNS) {
    const { statusCode: status, headers: answered, body } = await app.inject({ url: path, headers: headers.origin === 'SELF' ? { ...headers, origin: 'http://localhost:80' } : headers })
    t.strictSame(outcomeOf({ status, headers: answered as PlainAnswer['headers'], body }), outcome, what)
    if (answered['cache-control'] !== 'no-store') kept.push(what)
  }
  t.strictSame(kept, [], 'no cache may keep an answer')
})

void t.test('a route never takes the token from the query if another token is in the header', { buffered: true }, async (t) => {
  const { app } = await prepare(t, { plugin: PLUGIN, routes: declareRoutes })
  for (const [query, header] of [[ann, forged], [forged, ann]] as const) {
    const { statusCode } = await app.inject({ url: `/no-header?token=${query}`, headers: bearer(header) })
    t.ok([400, 401].includes(statusCode), String(statusCode))
  }
})

void t.test('the server throws no uncaught error for plain requests', { buffered: true }, async (t) => {
  t.strictSame(uncaughtErrors(), [])
})
