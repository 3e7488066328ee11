/*
 * The settings of @fastify/jwt that the plugin passes on, and the error handler of @fastify/websocket.
 */
import t from 'tap'
import { prepare, SECRET, sign } from '../helpers/app'
import { closeOf, openSocket } from '../helpers/sockets'

const websocket = { websocket: true } as const

t.test('a decorator that @fastify/jwt sets has the user too', async (t) => {
  const seen: unknown[] = []
  const { app } = await prepare(t, {
    plugin: { jwt: { secret: SECRET, decoratorName: 'account' } as never },
    routes: (app) => app.get('/ws', websocket, (_socket, request) => { seen.push((request as unknown as { account: unknown }).account, request.user) })
  })
  await openSocket(app, '/ws', sign({ sub: 'ann' }))
  t.same(seen, [{ sub: 'ann' }, { sub: 'ann' }])
})

t.test('a request decorator that the app has already declared fails the registration', async (t) => {
  await t.rejects(prepare(t, { before: (app) => app.decorateRequest('user', null as never) }), { message: /the request decorator "user" must be left to @fastify\/jwt/ })
})

t.test('formatUser also formats the user of plain routes if a secret function gives the key', async (t) => {
  const seen: unknown[] = []
  const { app } = await prepare(t, {
    plugin: { jwt: { secret: async () => SECRET, formatUser: ({ sub }: { sub: string }) => ({ name: sub }) } as never },
    routes: (app) => {
      app.get('/ws', websocket, (_socket, { user }) => { seen.push(user) })
      app.get('/plain', { onRequest: async (request) => await request.jwtVerify() }, async ({ user }) => user)
    }
  })
  const token = sign({ sub: 'ann' })
  t.same((await app.inject({ url: '/plain', headers: { authorization: `Bearer ${token}` } })).json(), { name: 'ann' })
  await openSocket(app, '/ws', token)
  t.same(seen, [{ name: 'ann' }])
})

t.test('an error handler that fails, at once or later, ends the socket', async (t) => {
  const handlers: Array<() => unknown> = [() => { throw new Error('at once') }, async () => { throw new Error('later') }]
  for (const errorHandler of handlers) {
    const { app, log } = await prepare(t, {
      plugin: { websocket: { errorHandler: errorHandler as never } },
      routes: (app) => app.get('/ws', websocket, () => { throw new Error('no such room') })
    })
    const { code } = await closeOf(await openSocket(app, '/ws', sign()))
    t.ok([1006, 1011].includes(code), String(code))
    t.ok(log.some((line) => line.includes('websocket.errorHandler failed')))
  }
})
