/*
 * A forged token is not accepted if the verifier's cache takes it for a genuine one, and no hook behind the plugin sees a token.
 */
import fastifyJwt from '@fastify/jwt'
import type { FastifyJWTOptions } from '@fastify/jwt'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { WsAuthOptions } from '../../lib/options/public-options'
import { SECRET, start, within } from '../helpers/app'
import { forgeWithSignatureOf } from '../helpers/forged'
import { addHook, copy, genuine, INVALID, mine, refusal, schemas, WAYS } from '../helpers/forged-app'
import { upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'

const formatUser: NonNullable<FastifyJWTOptions['formatUser']> = (payload) => ({ ...payload as object, isFormatted: true })

t.test('a forged token is refused also if the cache of the verifier confuses it with a genuine one', async (t) => {
  const verify = { cache: true, cacheKeyBuilder: (token: string) => token.slice(token.lastIndexOf('.') + 1) }
  const twin = forgeWithSignatureOf(mine)
  const rows: Record<string, { plugin: WsAuthOptions, before?: (app: FastifyInstance) => unknown }> = {
    'a static secret': { plugin: { jwt: { secret: SECRET, verify } } },
    'an async secret function': { plugin: { jwt: { secret: async () => SECRET, verify } } },
    "the app's own @fastify/jwt": { plugin: { jwt: undefined }, before: (app) => app.register(fastifyJwt, { secret: SECRET, verify }) },
    "the app's own @fastify/jwt with formatUser": { plugin: { jwt: undefined }, before: (app) => app.register(fastifyJwt, { secret: SECRET, verify, formatUser }) }
  }
  for (const [name, { plugin, before }] of Object.entries(rows)) {
    const { app, port } = await start(t, {
      plugin,
      before,
      routes: (app) => {
        app.get('/chat', { websocket: true }, (socket, request) => { socket.send(String(request.wsAuth?.sub)) })
        app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] } }, (socket) => { socket.send('admin') })
      }
    })
    const client = await upgrade(t, port, { path: `/chat?token=${mine}` })
    t.equal(String((await client.frame()).payload), 'mallory', `${name}: the genuine token is in the cache`)
    client.socket.destroy()
    t.strictSame(await refusal(t, port, { path: `/admin?token=${twin}` }), INVALID, `${name}: the forged one is refused on a route for admins`)
    t.strictSame(await refusal(t, port, { path: `/chat?token=${twin}` }), INVALID, `${name}: and on any other`)
    t.equal(app.wsAuth.connections.bySub('root').length, 0, `${name}: nobody of the forged name is connected`)
  }
})

t.test('a cache that confuses a forged token with a genuine one, with a formatUser, admits only the user of the genuine token', async (t) => {
  const verify = { cache: true, cacheKeyBuilder: (token: string) => token.slice(token.lastIndexOf('.') + 1) }
  const { port } = await start(t, {
    plugin: { jwt: { secret: SECRET, verify, formatUser } },
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket, request) => { socket.send(JSON.stringify([request.wsAuth?.claims?.sub, request.wsAuth?.claims?.roles, request.user])) })
      app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] } }, () => {})
    }
  })
  const client = await upgrade(t, port, { path: `/chat?token=${mine}` })
  await client.frame()
  client.socket.destroy()
  const twin = forgeWithSignatureOf(mine)
  const { status } = await refusal(t, port, { path: `/admin?token=${twin}` })
  t.ok(status === 401 || status === 403, `not admitted as an admin: ${status}`)
  const other = await upgrade(t, port, { path: `/chat?token=${twin}` })
  if (other.answer.status === 101) {
    const [sub, roles, user] = JSON.parse(String((await other.frame()).payload))
    t.strictSame([sub, roles], ['mallory', ['member']])
    t.match(user, { sub: 'mallory', roles: ['member'], isFormatted: true })
  } else {
    t.equal(other.answer.status, 401)
  }
  other.socket.destroy()
})

t.test('no hook and no handler after the plugin gets the token, however the headers are assigned', async (t) => {
  const seen: Array<{ by: string, headers: string }> = []
  const see = (by: string, request: FastifyRequest): void => { seen.push({ by, headers: JSON.stringify([request.headers, request.raw.headers, request.cookies ?? null]) }) }
  for (const [name, way] of Object.entries(WAYS)) {
    const route = (await schemas)[way.schema ?? 'none']
    const { port } = await start(t, {
      server: { logger: false },
      before: (app) => addHook(app, way, 'before'),
      routes: (app) => {
        addHook(app, way, 'after')
        app.addHook('preValidation', async (request) => { see('preValidation', request) })
        app.addHook('preHandler', async (request) => { see('preHandler', request) })
        app.get('/chat', { websocket: true, ...route }, (socket, request) => {
          way.inHandler?.(request)
          see('handler', request)
          socket.send('hello')
        })
        app.get('/cookie', { websocket: true, wsAuth: { token: { header: 'x-token' } }, ...route }, (socket, request) => {
          way.inHandler?.(request)
          see('handler', request)
          socket.send('hello')
        })
      }
    })
    const carriers: Record<string, RequestSettings> = {
      'the Authorization header': { path: '/chat', headers: genuine },
      'a cookie among others': { path: '/chat', headers: { cookie: `theme=dark; token=${mine}; lang=de` } },
      'a header of another name': { path: '/cookie', headers: { 'x-token': mine } }
    }
    for (const [carrier, settings] of Object.entries(carriers)) {
      seen.length = 0
      const client = await upgrade(t, port, settings)
      t.equal(client.answer.status, 101, `${name}: accepted by ${carrier}`)
      await within(5000, 'the handler runs', client.frame())
      client.socket.destroy()
      t.strictSame(seen.map(({ by }) => by), ['preValidation', 'preHandler', 'handler'])
      for (const { by, headers } of seen) t.notOk(headers.includes(mine), `${name}: ${by} does not see the token of ${carrier}`)
      if (carrier === 'a cookie among others') t.match(seen.at(-1)?.headers, 'theme=dark', `${name}: the other cookies stay`)
    }
  }
})

t.test('a cookie header that holds only the token is removed, so that a header schema which refuses an empty cookie admits the request', async (t) => {
  for (const schema of ['none', 'Joi'] as const) {
    const { port } = await start(t, {
      server: { logger: false },
      before: (app) => { app.addHook('onRequest', async (request) => copy(request)) },
      routes: async (app) => {
        app.get('/chat', { websocket: true, ...(await schemas)[schema] }, (socket, { headers }) => { socket.send(JSON.stringify(Object.hasOwn(headers, 'cookie') ? headers.cookie : null)) })
      }
    })
    const client = await upgrade(t, port, { path: '/chat', headers: { cookie: `token=${mine}` } })
    t.equal(client.answer.status, 101, `header schema: ${schema}`)
    if (client.answer.status === 101) t.equal(String((await client.frame()).payload), 'null', 'the handler sees no cookie')
    client.socket.destroy()
  }
})
