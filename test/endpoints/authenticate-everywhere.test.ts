/*
 * `app.wsAuth.authenticate` as a hook of a whole app, and the hint for an app whose own hook refuses handshakes.
 */
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign, start } from '../helpers/app'
import { RawClient } from '../helpers/raw-client'

const TOKEN = sign({ sub: 'ann' })
const BEARER = { authorization: `Bearer ${TOKEN}` }
const SUBPROTOCOL = { 'sec-websocket-protocol': `bearer, ${TOKEN}` }

/** An app whose hook guards each of its routes. */
async function startGuarded (t: Parameters<typeof start>[0]): ReturnType<typeof start> {
  return await start(t, {
    plugin: { tickets: true },
    routes: (app) => {
      app.addHook('onRequest', app.wsAuth.authenticate)
      app.get('/plain', async (request) => request.user)
      app.get('/chat', { websocket: true }, (socket, request) => { socket.send(JSON.stringify(request.user)) })
      app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] } }, () => {})
      app.get('/public', { websocket: true, wsAuth: false }, (socket, request) => { socket.send(JSON.stringify(request.user)) })
      app.get('/optional', { websocket: true, wsAuth: 'optional' }, () => {})
      app.route({ method: 'GET', url: '/both', handler: async (request) => request.user, wsHandler: (socket, request) => { socket.send(JSON.stringify(request.user)) } })
    }
  })
}

t.test('an app may add app.wsAuth.authenticate as a hook of all of its routes', async (t) => {
  const { app, port } = await startGuarded(t)
  const handshakes: Array<[path: string, headers: Record<string, string>, status: number]> = [
    ['/chat', SUBPROTOCOL, 101],
    [`/chat?token=${TOKEN}`, {}, 101],
    ['/chat', BEARER, 101],
    ['/chat', {}, 401],
    ['/admin', BEARER, 403],
    ['/both', SUBPROTOCOL, 101],
    ['/both', {}, 401],
    ['/public', {}, 401],
    ['/public', BEARER, 101],
    ['/optional', {}, 401],
    ['/optional', BEARER, 101],
    ['/plain', {}, 401],
    ['/plain', SUBPROTOCOL, 401],
    ['/plain', BEARER, 404],
    ['/nowhere', {}, 401]
  ]
  for (const [path, headers, status] of handshakes) {
    const client = await RawClient.open(t, port)
    const { status: answered } = await client.upgrade({ path, headers }).response()
    t.equal(answered, status, `a handshake of ${path.split('?')[0]} with ${Object.keys(headers).join() || 'no header'} is answered ${status}`)
    client.socket.destroy()
  }
  const requests: Array<[method: 'GET' | 'POST', url: string, headers: Record<string, string>, status: number]> = [
    ['GET', '/plain', {}, 401],
    ['GET', '/plain', BEARER, 200],
    ['GET', `/plain?token=${TOKEN}`, {}, 401],
    ['GET', '/both', {}, 401],
    ['GET', '/both', BEARER, 200],
    ['GET', `/chat?token=${TOKEN}`, {}, 426],
    ['GET', '/chat', {}, 401],
    ['GET', '/public', {}, 401],
    ['GET', '/public', BEARER, 426],
    ['POST', `/ws-ticket?token=${TOKEN}`, {}, 200],
    ['POST', '/ws-ticket', {}, 401]
  ]
  for (const [method, url, headers, status] of requests) {
    const answer = await app.inject({ method, url, headers })
    t.equal(answer.statusCode, status, `${method} ${url.split('?')[0]} with ${Object.keys(headers).join() || 'no header'} is answered ${status}`)
  }
})

t.test('a route that copies the config of a websocket route is guarded too', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let config: object = {}
  app.addHook('onRoute', (route) => { if (route.url === '/chat') config = { ...route.config } })
  await app.register(async (scope) => {
    await scope.register(fastifyWsAuth, { jwt: { secret: SECRET } })
    scope.get('/chat', { websocket: true }, () => {})
    scope.get('/copy-inside', { config, onRequest: scope.wsAuth.authenticate }, async () => 'in')
    app.get('/copy-outside', { config, onRequest: scope.wsAuth.authenticate }, async () => 'in')
  })
  for (const url of ['/copy-inside', '/copy-outside']) {
    t.equal((await app.inject(url)).statusCode, 401, url)
    t.equal((await app.inject({ url, headers: BEARER })).statusCode, 200, url)
  }
})

interface Line { readonly level: number, readonly msg: string, readonly route?: string }

function hintsIn (log: readonly string[]): Line[] {
  return log.map((line) => JSON.parse(line) as Line).filter(({ msg }) => msg.includes('before fastify-ws-auth checked it'))
}

for (const [place, path, headers] of [['subprotocol', '/chat', SUBPROTOCOL], ['query', `/chat?token=${TOKEN}`, {}], ['path', `/room/${TOKEN}`, {}]] as const) {
  t.test(`an app-wide request.jwtVerify() that refuses a token in the ${place} is named in the log once`, async (t) => {
    const { port, log } = await start(t, {
      plugin: { token: { param: 'token' } },
      routes: (app: FastifyInstance) => {
        app.addHook('onRequest', async (request: FastifyRequest) => { await request.jwtVerify() })
        app.get('/chat', { websocket: true }, () => {})
        app.get('/room/:token', { websocket: true }, () => {})
      }
    })
    for (let i = 0; i < 2; i++) {
      const client = await RawClient.open(t, port)
      t.equal((await client.upgrade({ path, headers }).response()).status, 401)
      client.socket.destroy()
    }
    t.match(hintsIn(log), [{ level: 40, msg: new RegExp(`with a token in its ${place}, .*app\\.wsAuth\\.authenticate`) }])
    t.equal(hintsIn(log).length, 1)
    t.notOk(log.some((line) => line.includes(TOKEN)), 'the log has no token')
  })
}

t.test('a refusal by this plugin, or of a handshake without a token, causes no hint in the log', async (t) => {
  const { port, log } = await start(t, {
    routes: (app: FastifyInstance) => {
      app.addHook('onRequest', async (request, reply) => { if (request.headers['x-refuse'] !== undefined) return await reply.code(401).send() })
      app.get('/chat', { websocket: true }, () => {})
    }
  })
  for (const headers of [{ 'sec-websocket-protocol': `bearer, ${TOKEN}x` }, { 'x-refuse': '1' }] as Array<Record<string, string>>) {
    const client = await RawClient.open(t, port)
    t.equal((await client.upgrade({ path: '/chat', headers }).response()).status, 401)
    client.socket.destroy()
  }
  t.same(hintsIn(log), [])
})
