/* Corners of the parsers that no client can reach through Node, or only with an app of a certain kind. What clients can do is in handshake.test.ts and no-trace.test.ts. */
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import fastifyCookie from '@fastify/cookie'
import fastifyJwt from '@fastify/jwt'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { chooseProtocol } from '../../lib/credentials/subprotocol'
import { takeCredentials } from '../../lib/credentials/take'
import { KnownNames } from '../../lib/credentials/known-names'
import { SocketOpener } from '../../lib/handshake/open-socket'
import { assertOpening } from '../../lib/handshake/opening'
import type { WsAuthOptions } from '../../lib/options/public-options'
import { findParam, parseRoutePath } from '../../lib/credentials/route-path'
import { mint, secret } from '../helpers/keys'
import { upgrade } from '../helpers/raw-client'

const ann = mint({ sub: 'ann' })

async function build (t: Test, server: FastifyServerOptions, options: WsAuthOptions, prepare?: (app: FastifyInstance) => PromiseLike<unknown>): Promise<FastifyInstance> {
  const app = Fastify(server)
  t.teardown(() => app.close())
  await prepare?.(app)
  await app.register(fastifyWsAuth, options)
  app.get('/chat', { websocket: true }, () => {})
  return app
}

t.test('a request without a URL has no token in it', async (t) => {
  const names = new KnownNames()
  names.addRoute({ method: 'GET', url: '/:token' }, 'token')
  t.match(takeCredentials({ headers: {} } as never, names), { query: [], param: null, subprotocol: [] })
})

t.test('chooseProtocol chooses an offered subprotocol, and none if none is offered', async (t) => {
  const markers = new Set(['bearer', 'jwt'])
  t.equal(chooseProtocol(new Set(['bearer', 'a', 'b']), markers, undefined), 'a')
  t.equal(chooseProtocol(new Set(['bearer', 'a', 'b']), markers, 'b'), 'b')
  t.equal(chooseProtocol(new Set(['jwt', 'bearer']), markers, false), 'jwt')
  t.equal(chooseProtocol(new Set(), markers, undefined), false)
})

t.test('a socket that no hook has admitted is ended, and its handler does not run', async (t) => {
  const lines: string[] = []
  const request = { raw: {}, wsAuth: null, log: { error: (_more: unknown, line: string) => lines.push(line) } }
  const done: string[] = []
  new SocketOpener({} as never, {} as never, {} as never, false).open({ terminate: () => done.push('terminated') } as never, request as never, () => done.push('handled'))
  t.strictSame(done, ['terminated'])
  t.match(lines, [/has not checked/])
  t.equal(request.wsAuth, null)
})

t.test('a handshake is refused if its Connection header does not have upgrade', async (t) => {
  const headers = { upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' }
  const open = (connection: string | undefined): void => assertOpening({ method: 'GET', httpVersion: '1.1', headers: { ...headers, connection } } as never, true, false)
  for (const connection of ['upgrade', 'Upgrade', 'keep-alive, Upgrade', 'upgrade,keep-alive', 'a, \tUPGRADE ,b']) t.doesNotThrow(() => open(connection), connection)
  for (const connection of [undefined, '', 'keep-alive', 'upgrades', 'not-upgrade', 'up grade']) t.throws(() => open(connection), { code: 'WS_AUTH_HANDSHAKE_INVALID' }, String(connection))
})

t.test('a route\'s path is read as the router reads it', async (t) => {
  const find = (url: string, ...routes: Array<[url: string, name: string | null]>): string | undefined => {
    const found = findParam(url, routes.map(([path, name]) => parseRoutePath(path, name)), /[?#]/)
    return found === null ? undefined : url.slice(found.start, found.end)
  }
  t.equal(find('/rooms/7/secret?a=b', ['/rooms/:room/:token', 'token']), 'secret')
  t.equal(find('/rooms/7/secret', ['/rooms/:room/:token?', 'token']), 'secret')
  t.equal(find('/ROOMS//7/secret/', ['/rooms/:room/:token', 'token']), 'secret', 'more than the router would')
  t.equal(find('/r%6foms/7/secret', ['/rooms/:room/:token', 'token']), 'secret')
  t.equal(find('/rooms/%zz/secret', ['/rooms/:room/:token', 'token']), 'secret')
  t.equal(find('http://host/rooms/7/secret', ['/rooms/:room/:token', 'token']), 'secret')
  t.equal(find('/rooms/secret', ['/rooms/:room/:token', 'token']), undefined)
  t.equal(find('/rooms/secret/a/b', ['/rooms/:token/*', 'token']), 'secret')
  t.equal(find('/other/secret/a/b', ['/rooms/:token/*', 'token'], ['*', null]), undefined)
  t.equal(find('/rooms/lobby', ['/rooms/:token', 'token'], ['/rooms/lobby', null]), undefined, 'a text before a parameter')
  t.equal(find('/rooms/lobby', ['/rooms/:token', 'token'], ['/rooms/*', null]), 'lobby', 'a parameter before the rest')
  t.equal(find('/rooms/7', ['/rooms/:token', 'token'], ['/rooms/:id(^\\d+$)', null]), undefined, 'a pattern before a parameter')
  t.equal(find('/rooms/secret', ['/rooms/:token', 'token'], ['/rooms/:id(^\\d+$)', null]), 'secret')
  t.equal(find('/rooms/a.json', ['/rooms/:token', 'token'], ['/rooms/:name.json', null]), undefined)
  t.equal(find('/rooms/secret', ['/rooms/:id', null], ['/rooms/:token', 'token']), 'secret', 'of two alike the one with a token')
  t.equal(find('/rooms/7', ['/rooms/:token', 'token'], ['/rooms/:id([)', null]), '7', 'a pattern that is none is a parameter; of two alike the first counts')
  t.equal(find('/en/secret', ['/:lang(^(?:en|de)$)/:token?', 'token']), 'secret', 'a question mark in a pattern makes nothing optional')
  t.equal(find('/-x/secret', ['/:a-:b/:token', 'token']), 'secret', 'of several parameters in a segment one may be empty')
})

t.test('the search for a token in a path with costly patterns takes little time', async (t) => {
  // As many steps as its length cubed, were these patterns asked without end: the runner would give up.
  const rooms = parseRoutePath('/rooms/:token', 'token')
  const hostile: Array<[route: string, path: string]> = [
    ['/:y-:m-:d', `${'-'.repeat(15_000)}%0A`], ['/:a.:b', `${'.'.repeat(15_000)}%0A`], ['/:y-:m.png', `${'-'.repeat(15_000)}.pn`], ['/:id(^\\w+\\d+$)', `${'1'.repeat(15_000)}-`]
  ]
  for (const [route, path] of hostile) t.equal(findParam(`/${path}`, [rooms, parseRoutePath(route, null)], /[?#]/), null, route)
})

t.test('the search for a token in a path of slashes takes time that grows with its length', async (t) => {
  const ROUTES: Array<[string, string | null]> = [['/rooms/:token', 'token'], ['/:a/:b/:token', 'token'], ['/*', null], ['/:a-:b/:c', null]]
  const paths = ROUTES.map(([url, name]) => parseRoutePath(url, name))
  const rooms = paths.slice(0, 1)
  const token = 'a.b.c'
  for (const ignores of [false, true]) {
    const slashes = { ignoreTrailingSlash: ignores, ignoreDuplicateSlashes: ignores }
    const find = (url: string, of = paths): string | null => {
      const found = findParam(url, of, /[?#]/, slashes)
      return found === null ? null : url.slice(found.start, found.end)
    }
    const many = '/'.repeat(16_000)
    // Twenty of them: time that grows with the square of the length would be minutes.
    for (let i = 0; i < 20; i++) {
      const found = [find(many), find(`/rooms${many}`), find(`/rooms/${token}${many}`, rooms), find(`${many}rooms/${token}`, rooms), find(`${many}?token=${token}`)]
      // Slashes that are too many are left out where nothing else is found.
      if (i === 0) t.strictSame(found, [null, null, token, token, null])
    }
  }
})

t.test('a token in a path is removed also if the router ignores slashes or a wildcard route exists', async (t) => {
  const cases: Array<[server: FastifyServerOptions, declare: (app: FastifyInstance) => void, path: (token: string) => string]> = [
    [{ routerOptions: { ignoreTrailingSlash: true } }, (app) => { app.get('/rooms/:token', { websocket: true }, () => {}) }, (token) => `/rooms/${token}/`],
    [{}, (app) => { void app.register(async (scope) => { scope.get('/', { websocket: true }, () => {}) }, { prefix: '/rooms/:token' }) }, (token) => `/rooms/${token}/`],
    [{ routerOptions: { ignoreTrailingSlash: true } }, (app) => {
      app.get('/rooms/:token', { websocket: true }, () => {})
      app.get('/rooms/:id/:sub', () => 'another')
    }, (token) => `/rooms/${token}/`],
    [{ routerOptions: { ignoreDuplicateSlashes: true } }, (app) => { app.get('/rooms/:token', { websocket: true }, () => {}) }, (token) => `//rooms/${token}`],
    [{}, (app) => { app.get('/rooms/:token/', { websocket: true }, () => {}) }, (token) => `/rooms/${token}/`]
  ]
  for (const [i, [server, declare, path]] of cases.entries()) {
    const lines: string[] = []
    const app = Fastify({ ...server, logger: { stream: { write: (line: string) => { lines.push(line) } } } })
    t.teardown(() => app.close())
    await app.register(fastifyWsAuth, { jwt: { secret }, token: { param: true } })
    declare(app)
    app.get('/*', () => 'everything else')
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { answer } = await upgrade(t, (app.server.address() as AddressInfo).port, { path: path(ann) })
    t.equal(answer.status, 101, String(i))
    t.notMatch(lines.join(''), ann.slice(0, 20), `${i}: no log has it`)
  }
})

t.test('a query begins with a semicolon if useSemicolonDelimiter is set', async (t) => {
  for (const server of [{ routerOptions: { useSemicolonDelimiter: true } } as FastifyServerOptions, {}]) {
    const app = await build(t, server, { jwt: { secret } })
    const isDelimiter = 'routerOptions' in server
    const { statusCode } = await app.inject(`/chat;token=${ann}`)
    t.equal(statusCode, isDelimiter ? 426 : 404)
  }
})

t.test('a cookie is read if the app has not parsed it, and is not read if the app has removed it', async (t) => {
  const cookie = { headers: { cookie: `a=b; token=${ann}` }, url: '/chat' }
  const unparsed = await build(t, {}, { jwt: { secret }, cookie: { hook: false } })
  t.equal((await unparsed.inject(cookie)).statusCode, 426)
  const taken = await build(t, {}, { jwt: { secret } })
  taken.addHook('onRequest', async (request) => { request.cookies = {} })
  t.equal((await taken.inject(cookie)).json().code, 'WS_AUTH_TOKEN_MISSING')
  const named = await build(t, {}, { jwt: { secret }, token: { cookie: { name: 'token' } } })
  t.equal((await named.inject(cookie)).statusCode, 426)
})

t.test('the cookie of the app\'s own @fastify/jwt is the default', async (t) => {
  const app = await build(t, {}, {}, async (app) => {
    await app.register(fastifyCookie, { secret: 'cookie secret' })
    await app.register(fastifyJwt, { secret, cookie: { cookieName: 'session', signed: true } })
  })
  await app.ready()
  t.equal((await app.inject({ url: '/chat', headers: { cookie: `session=${encodeURIComponent(app.signCookie(ann))}` } })).statusCode, 426)
  t.equal((await app.inject({ url: '/chat', headers: { cookie: `session=${ann}` } })).json().code, 'WS_AUTH_TOKEN_INVALID')
  t.equal((await app.inject({ url: '/chat', headers: { cookie: `token=${ann}` } })).json().code, 'WS_AUTH_TOKEN_MISSING')
})

t.test('the log reports an option that is not used', async (t) => {
  const lines: string[] = []
  await build(t, { logger: { stream: { write: (line: string) => lines.push(line) } } }, { jwt: { secret }, cookie: { secret: 'a' } }, (app) => app.register(fastifyCookie))
  t.match(lines.join(''), 'the \\"cookie\\" option of fastify-ws-auth is not used: @fastify/cookie is registered already')
})

t.test('the log reports a short HMAC secret', async (t) => {
  const cases: Array<[jwt: object, expected: RegExp | null]> = [
    [{ secret: 'short' }, /has 5 bytes: less than the 32 of its hash/],
    [{ secret: Buffer.alloc(31) }, /has 31 bytes: less than the 32/],
    [{ secret: { public: 'short', private: 'short' } }, /has 5 bytes/],
    [{ secret, verify: { algorithms: ['HS512'] } }, /less than the 64/],
    [{ secret, verify: { algorithms: ['HS384', 'RS256'] } }, /less than the 48/],
    [{ secret, sign: { algorithm: 'HS512' } }, /less than the 64/],
    [{ secret }, null],
    [{ secret: async () => 'short' }, null]
  ]
  for (const [jwt, expected] of cases) {
    const lines: string[] = []
    await build(t, { logger: { stream: { write: (line: string) => lines.push(line) } } }, { jwt: jwt as never })
    if (expected === null) t.strictSame(lines, [])
    else t.match(lines.join(''), expected)
  }
})

t.test('an Authorization header of another scheme beside a token stays unchanged', async (t) => {
  const seen: unknown[] = []
  const app = await build(t, {}, {}, (app) => app.register(fastifyJwt, { secret }))
  app.addHook('preHandler', async ({ headers }) => { seen.push(headers.authorization) })
  t.equal((await app.inject({ url: `/chat?token=${ann}`, headers: { authorization: 'Basic YTpi' } })).statusCode, 426)
  t.strictSame(seen, ['Basic YTpi'])
})

t.test('a wsHandler must be a function', async (t) => {
  const app = await build(t, {}, { jwt: { secret } })
  t.throws(() => app.route({ method: 'GET', url: '/both', handler: async () => 'hi', wsHandler: 'no' as never }), { message: 'invalid wsHandler function' })
})
