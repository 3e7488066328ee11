/*
 * Which routes can be upgraded: those that speak WebSocket and were declared after the registration, also by injectWS.
 */
import { once } from 'node:events'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { prepare, start } from '../helpers/app'
import { addChat, AUTHORIZED, greeting, NOT_WEBSOCKET, TOKEN } from '../helpers/chat'
import { upgrade } from '../helpers/raw-client'

const UNPROTECTED = '{"statusCode":500,"code":"WS_AUTH_ROUTE_UNPROTECTED","error":"Internal Server Error","message":"This route is not protected by fastify-ws-auth"}'

t.test('an upgrade of a route without a websocket is 404', async (t) => {
  const ran: string[] = []
  const { app, port } = await start(t, {
    plugin: { rejectWith: 'close' },
    routes: (app) => {
      app.get('/http', async () => { ran.push('GET'); return 'http' })
      app.post('/http', async () => { ran.push('POST'); return 'http' })
      app.all('/all', async () => { ran.push('all'); return 'all' })
      app.get('/*', async () => { ran.push('wildcard'); return 'wildcard' })
      addChat(app)
    }
  })
  for (const [method, path] of [['GET', '/http'], ['GET', '/all'], ['GET', '/anything'], ['DELETE', '/all'], ['OPTIONS', '/all'], ['POST', '/http'], ['POST', '/all']] as const) {
    t.test(`an upgrade by ${method} ${path} is 404 before any 101`, async (t) => {
      const client = await upgrade(t, port, { method, path, headers: AUTHORIZED })
      t.equal(client.answer.status, 404)
      t.equal(client.answer.body, NOT_WEBSOCKET)
      await client.ended
      t.same(ran, [])
    })
  }
  for (const [type, body] of [['application/json', '{"a":1}'], ['text/plain', 'hello'], ['application/x-www-form-urlencoded', 'a=1'], [undefined, 'hello']] as const) {
    t.test(`an upgrade by POST with a body (${type}) is 404 before any 101`, async (t) => {
      const client = await upgrade(t, port, { method: 'POST', path: '/http', headers: { ...AUTHORIZED, 'content-type': type, 'content-length': String(body.length) }, body })
      // Fastify would read a body before preValidation, and there is none: Node leaves it in the head of the upgrade.
      t.equal(client.answer.status, 404)
      t.equal(client.answer.body, NOT_WEBSOCKET)
      await client.ended
      t.same(ran, [])
    })
  }
  for (const [path, status] of [['/http', 404], ['/chat', 400]] as const) {
    t.test(`an upgrade by HEAD ${path} is ${status} without a body`, async (t) => {
      const client = await upgrade(t, port, { method: 'HEAD', path, headers: AUTHORIZED })
      t.equal(client.answer.status, status)
      await client.ended
      t.equal(client.rest.length, 0)
      t.same(ran, [])
    })
  }
  t.test('an upgrade of no route is 404', async (t) => {
    const client = await upgrade(t, port, { method: 'POST', path: '/nowhere', headers: AUTHORIZED })
    t.equal(client.answer.status, 404)
    t.equal(client.answer.body, '{"message":"Route POST:/nowhere not found","error":"Not Found","statusCode":404}')
    await client.ended
  })
  t.test('the handler of a route without a websocket answers a plain request', async (t) => {
    t.equal((await app.inject('/http')).body, 'http')
    t.equal((await app.inject({ method: 'POST', url: '/http', payload: { a: 1 } })).body, 'http')
  })
})

t.test('an upgrade of a route that is declared before registration is 500', async (t) => {
  const ran: string[] = []
  const { app, port, log } = await start(t, {
    plugin: { rejectWith: 'close' },
    before: async (app) => {
      app.get('/early', { websocket: true } as never, () => { ran.push('early') })
      app.get('/early-http', async () => { ran.push('early-http'); return 'http' })
      app.get('/early-public', { websocket: true, wsAuth: false } as never, () => { ran.push('early-public') })
      await app.register(async (child) => { child.get('/child', { websocket: true } as never, () => { ran.push('child') }) }, { prefix: '/nested' })
    },
    routes: addChat
  })
  for (const path of ['/early', '/early-http', '/early-public', '/nested/child']) {
    t.test(`an upgrade of ${path}, declared before registration, is 500, and the log names the remedy`, async (t) => {
      const client = await upgrade(t, port, { path, headers: AUTHORIZED })
      t.equal(client.answer.status, 500)
      t.equal(client.answer.body, UNPROTECTED)
      await client.ended
      t.same(ran, [], 'no handler runs')
      const lines = log.filter((line) => line.includes(`${path} was declared before fastify-ws-auth was registered`))
      t.equal(lines.length, 1)
      t.match(lines[0], '"level":50')
      t.match(lines[0], 'await app.register(fastifyWsAuth) first')
    })
  }
  t.test('injectWS of a route that is declared before registration is 500', async (t) => {
    await t.rejects(app.injectWS('/early', { headers: AUTHORIZED }), { message: 'Unexpected server response: 500' })
    t.same(ran, [])
  })
  t.test('the plugin refuses a route that is declared before registration is awaited', async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    void app.register(fastifyWsAuth, { verify: () => ({}) })
    app.get('/early', { websocket: true } as never, () => { ran.push('early') })
    await app.ready()
    await t.rejects(app.injectWS('/early', { headers: AUTHORIZED }), { message: 'Unexpected server response: 500' })
    t.same(ran, [])
  })
})

t.test('injectWS is authenticated as a handshake is', async (t) => {
  const { app } = await prepare(t, { plugin: { token: { param: true } }, routes: (app) => { addChat(app); addChat(app, '/rooms/:token'); addChat(app, '/public', false) } })
  const open = async (...args: Parameters<FastifyInstance['injectWS']>): Promise<string> => {
    let greeting: Promise<unknown[]> | undefined
    const socket = await app.injectWS(args[0], args[1], { onInit: (socket) => { greeting = once(socket, 'message') } })
    const [message] = await greeting ?? []
    socket.terminate()
    return String(message)
  }
  t.equal(await open('/chat', { headers: AUTHORIZED } as never), 'hello {} header')
  t.equal(await open(`/chat?token=${TOKEN}`), 'hello {} query')
  t.equal(await open('/chat', { headers: { cookie: `token=${TOKEN}` } } as never), 'hello {} cookie')
  t.equal(await open('/chat', { headers: { 'sec-websocket-protocol': `bearer, ${TOKEN}` } } as never), 'hello {} subprotocol')
  t.equal(await open(`/rooms/${TOKEN}`), 'hello {"token":"-"} param')
  t.equal(await open('/public'), 'hello {} nobody')
  await t.rejects(app.injectWS('/chat'), { message: 'Unexpected server response: 401' })
  await t.rejects(app.injectWS('/chat', { headers: { authorization: 'Bearer x' } } as never), { message: 'Unexpected server response: 401' })
  await t.rejects(app.injectWS('/nowhere'), { message: 'Unexpected server response: 404' })
  await t.rejects(app.injectWS('/chat', { headers: { ...AUTHORIZED, 'sec-websocket-protocol': 'a, a' } } as never), { message: 'Unexpected server response: 400' })
})

// A hook of the route would come behind all preValidation hooks of the app.
t.test('a dry run runs the hooks of the app in the order of the handshake', async (t) => {
  const { app, port } = await start(t, {
    routes: (app) => {
      app.addHook('preValidation', async (request) => {
        if ((request.user as { sub?: string } | null)?.sub !== 'somebody') throw Object.assign(new Error('nobody is there'), { statusCode: 418 })
      })
      addChat(app)
    }
  })
  t.equal((await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })).answer.status, 101)
  t.equal((await app.inject({ url: '/chat', headers: AUTHORIZED })).statusCode, 426)
  t.equal((await upgrade(t, port, { path: '/chat' })).answer.status, 401)
  t.equal((await app.inject('/chat')).statusCode, 401)
})

t.test('a route with an HTTP handler beside its wsHandler guards the wsHandler only', async (t) => {
  const { app, port } = await start(t, {
    routes: (app) => {
      app.route({
        method: 'GET',
        url: '/both',
        handler: async () => 'http',
        wsHandler: (socket, request) => { socket.send(`hello ${String((request.user as { sub: string }).sub)}`) }
      })
    }
  })
  t.equal((await app.inject('/both')).body, 'http', 'its HTTP handler is not guarded')
  t.equal((await app.inject({ url: '/both?token=x' })).body, 'http')
  t.equal((await upgrade(t, port, { path: '/both' })).answer.status, 401)
  t.equal(await greeting(await upgrade(t, port, { path: '/both', headers: AUTHORIZED })), 'hello somebody')
})
