/*
 * `request.user` may be an accessor that the app made before: one that can be set is used, one that cannot is an error at
 * registration, and neither ends the process when somebody connects.
 */
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign, start, until } from '../helpers/app'
import { RawClient, upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const kUser = Symbol('user')
type WithUser = FastifyRequest & { [kUser]?: unknown }

const TOKEN = sign({ sub: 'ann' })
const AUTHORIZED = { authorization: `Bearer ${TOKEN}` }
const UNPROTECTED = 'WS_AUTH_ROUTE_UNPROTECTED'
const verify = async (token: string): Promise<object | null> => token === 'good' ? { sub: 'ann' } : null

function decorate (app: FastifyInstance, accessor: { getter?: (this: WithUser) => unknown, setter?: (this: WithUser, user: unknown) => void }, name = 'user'): void {
  app.decorateRequest(name, accessor as never)
}

/** An accessor as libraries of sessions have it, and all that was set. */
function decorateSettable (app: FastifyInstance): unknown[] {
  const set: unknown[] = []
  decorate(app, {
    getter () { return this[kUser] ?? null },
    setter (user) { set.push(user); this[kUser] = user }
  })
  return set
}

t.test('a request.user that has a getter alone is a TypeError at registration', async (t) => {
  const plugins: fastifyWsAuth.WsAuthOptions[] = [{ verify }, { verify, tickets: true }, { jwt: { secret: SECRET, decoratorName: 'identity' } }]
  for (const plugin of plugins) {
    const app = Fastify()
    t.teardown(() => app.close())
    decorate(app, { getter () { return this[kUser] ?? null } })
    await t.rejects(async () => { await app.register(fastifyWsAuth, plugin) }, { name: 'TypeError', message: /user/ }, Object.keys(plugin).join())
  }
})

t.test('a request.user that has a getter alone is a TypeError also in a scope and behind a parent\'s decorator', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  decorate(app, { getter: () => null })
  await app.register(async (scope) => {
    await t.rejects(async () => { await scope.register(fastifyWsAuth, { verify }) }, { name: 'TypeError', message: /user/ })
  }).then(() => {}, () => {})
})

t.test('an app whose registration fails for its request.user can be closed, and another app works', async (t) => {
  const app = Fastify()
  decorate(app, { getter: () => null })
  await t.rejects(async () => { await app.register(fastifyWsAuth, { verify }) }, { name: 'TypeError' })
  await app.close()
  const { port } = await start(t, { plugin: { verify }, routes: (app) => app.get('/ws', { websocket: true }, (socket, request) => { socket.send(JSON.stringify(request.user)) }) })
  const client = await upgrade(t, port, { path: '/ws?token=good' })
  t.equal(String((await client.frame()).payload), '{"sub":"ann"}')
})

t.test('a request.user that has a getter and a setter is set and read by the handler', async (t) => {
  for (const plugin of [{ verify }, { jwt: { secret: SECRET, decoratorName: 'identity' } }]) {
    let set: unknown[] = []
    const { app, port } = await start(t, {
      plugin,
      before: (app) => { set = decorateSettable(app) },
      routes: (app) => {
        app.get('/ws', { websocket: true }, (socket, request) => { socket.send(JSON.stringify(request.user)) })
        app.get('/optional', { websocket: true, wsAuth: 'optional' }, (socket, request) => { socket.send(JSON.stringify(request.user)) })
        app.get('/public', { websocket: true, wsAuth: false }, (socket, request) => { socket.send(JSON.stringify(request.user)) })
        app.get('/plain', async (request) => JSON.stringify(request.user))
      }
    })
    const token = 'verify' in plugin ? 'good' : TOKEN
    const greeting = async (path: string): Promise<string> => String((await (await upgrade(t, port, { path })).frame()).payload)
    t.equal(await greeting(`/ws?token=${token}`), '{"sub":"ann"}')
    t.ok(Object.isFrozen(set.at(-1)), 'what is set is frozen')
    t.equal(await greeting(`/optional?token=${token}`), '{"sub":"ann"}')
    t.equal(await greeting('/optional'), 'null', 'an anonymous user of an optional route is null')
    t.equal(await greeting('/public'), 'null')
    t.equal((await app.inject('/plain')).body, 'null')
    t.equal((await upgrade(t, port, { path: '/ws?token=bad' })).answer.status, 401)
    t.equal((await upgrade(t, port, { path: '/ws' })).answer.status, 401)
    t.equal((await app.inject(`/ws?token=${token}`)).statusCode, 426)
    t.equal((await app.inject('/ws?token=bad')).statusCode, 401)
  }
})

t.test('a renewal sets the user anew by the setter', async (t) => {
  const renewed: string[] = []
  const { port } = await start(t, {
    before: (app) => { decorateSettable(app) },
    plugin: { verify: async (token) => JSON.parse(Buffer.from(token, 'base64url').toString()) as object },
    routes: (app) => app.get('/ws', { websocket: true }, (socket, request) => {
      socket.on('message', (data) => {
        void request.wsAuth?.renew(String(data)).then(() => { renewed.push(JSON.stringify(request.user)) })
      })
    })
  })
  const token = (level: number): string => Buffer.from(JSON.stringify({ sub: 'ann', level })).toString('base64url')
  const client = await upgrade(t, port, { path: `/ws?token=${token(1)}` })
  t.equal(client.answer.status, 101)
  const payload = Buffer.from(token(2))
  client.send(Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), payload]))
  await until(() => renewed.length === 1, 'it is renewed')
  t.same(renewed, ['{"sub":"ann","level":2}'])
})

t.test('a first message sets the user by the setter', async (t) => {
  const { port } = await start(t, {
    before: (app) => { decorateSettable(app) },
    plugin: { verify, renewal: true, token: { message: true } },
    routes: (app) => app.get('/ws', { websocket: true }, (socket, request) => { socket.send(`user: ${JSON.stringify(request.user)}`) })
  })
  const client = await upgrade(t, port, { path: '/ws' })
  const payload = Buffer.from('{"type":"auth","token":"good"}')
  client.send(Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), payload]))
  await until(() => client.text.includes('user: {"sub":"ann"}'), 'the handler has the user')
  t.pass('the handler has the user')
})

t.test('a route whose scope has a request.user with a getter alone is refused, and the server goes on', async (t) => {
  const { app, port } = await start(t, {
    before: async (app) => {
      await app.register(async (scope) => {
        decorate(scope, { getter: () => ({ sub: 'of the scope' }) })
        scope.get('/earlier', { websocket: true } as never, () => { throw new Error('the handler ran') })
        scope.get('/http', async (request) => JSON.stringify(request.user))
      })
    },
    routes: (app) => app.get('/ws', { websocket: true }, (socket, request) => { socket.send(JSON.stringify(request.user)) })
  })
  for (const headers of [{}, AUTHORIZED]) {
    for (const path of ['/earlier', '/http']) {
      const { answer } = await upgrade(t, port, { path, headers })
      t.equal(answer.status, 500, path)
      t.match(answer.body, UNPROTECTED, path)
    }
  }
  t.equal((await app.inject('/http')).body, '{"sub":"of the scope"}', 'plain requests of it are as they were')
  const client = await upgrade(t, port, { path: '/ws', headers: AUTHORIZED })
  t.equal(String((await client.frame()).payload), '{"sub":"ann"}')
})

t.test('a setter that throws admits no client and does not end the process', async (t) => {
  let isBroken = true
  const entered: string[] = []
  const { app, port } = await start(t, {
    plugin: { verify },
    before: (app) => decorate(app, {
      getter () { return this[kUser] ?? null },
      setter (user) {
        if (isBroken) throw new Error('of the setter')
        this[kUser] = user
      }
    }),
    routes: (app) => app.get('/ws', { websocket: true }, () => { entered.push('ws') })
  })
  for (const path of ['/ws?token=good', '/ws?token=bad', '/ws']) {
    const client = await RawClient.open(t, port)
    const { status, body } = await client.upgrade({ path }).response()
    t.match(String(status), /^(401|500|503)$/, path)
    t.notMatch(body, /of the setter/, 'the client is not told why')
    await client.ended
    const { statusCode } = await app.inject(path)
    t.match(String(statusCode), /^(401|500|503)$/, `dry run of ${path}`)
  }
  t.same(entered, [])
  await until(() => statsOf(app).pending === 0, 'nothing is pending')
  isBroken = false
  t.equal((await upgrade(t, port, { path: '/ws?token=good' })).answer.status, 101)
  await until(() => entered.length === 1, 'whoever comes later gets in')
})
