/*
 * The counts of each websocket route, and how long handshakes took and connections lived.
 */
import t from 'tap'
import fastifyHttpProxy from '@fastify/http-proxy'
import { CLOSE_REASONS } from '../../lib/base/close-codes'
import { wsAuthErrors } from '../../lib/base/errors'
import { prepare, sign, until } from '../helpers/app'
import { eventually, moveClock, passUntil } from '../helpers/moved-clock'
import { openSocket, statusOf } from '../helpers/sockets'
import { statsOf, withoutZeros } from '../helpers/stats'

const ANN = sign({ sub: 'ann', roles: ['member'] })

t.test('each websocket route has its counts from zero, and no other route has', async (t) => {
  const { app } = await prepare(t, {
    plugin: { tickets: true, routes: { '/api': true, '/api/*': true } },
    routes: async (app) => {
      app.get('/plain', async () => 'plain')
      await app.register(async (scope) => {
        scope.get('/rooms/:id', { websocket: true }, () => {})
        scope.route({ method: 'GET', url: '/both', handler: async () => 'both', wsHandler: () => {} })
      }, { prefix: '/v1' })
      app.get('/open', { websocket: true, wsAuth: false }, () => {})
      await app.register(fastifyHttpProxy, { upstream: 'http://127.0.0.1:1', prefix: '/api', websocket: true })
    }
  })
  const { routes, ...total } = app.wsAuth.stats()
  t.strictSame(Object.keys(routes).sort(), ['/api', '/api/*', '/open', '/v1/both', '/v1/rooms/:id'])
  for (const counts of Object.values(routes)) {
    t.strictSame(Object.keys(counts.refused), Object.keys(wsAuthErrors))
    t.strictSame(Object.keys(counts.closed), [...CLOSE_REASONS])
    t.match(counts, { connections: 0, accepted: 0, renewed: 0, durations: { accepted: { count: 0, sum: 0 }, refused: { count: 0 }, closed: { count: 0 } } })
  }
  t.strictSame(Object.keys(routes['/open'] ?? {}).filter((key) => !(key in total)), [], 'the app has each count of a route')
})

t.test('a decision counts for the app and for its route', async (t) => {
  const { app } = await prepare(t, {
    plugin: { tickets: true },
    routes: (app) => {
      app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, () => {})
      app.get('/feed', { websocket: true }, () => {})
      app.get('/plain', async () => 'plain')
    }
  })
  const [chat, other, feed] = [await openSocket(app, '/chat', ANN), await openSocket(app, '/chat', ANN), await openSocket(app, '/feed', ANN)]
  await t.rejects(openSocket(app, '/chat', null))
  await t.rejects(openSocket(app, '/feed', 'x.y.z'))
  await t.rejects(openSocket(app, '/plain', ANN), 'a route without a websocket')
  t.equal(await statusOf(app, '/feed', null), 401, 'a dry run does not count')
  t.equal((await app.inject({ method: 'POST', url: '/ws-ticket' })).statusCode, 401)
  const [connection] = app.wsAuth.connections
  await connection?.renew(ANN)
  await t.rejects(async () => { await connection?.renew('x.y.z') })
  other.socket.close()
  await until(() => app.wsAuth.connections.size === 2, 'one has left')
  const { routes, ...total } = app.wsAuth.stats()
  const briefly = ({ connections, accepted, renewed, refused, closed }: typeof total): object => ({ connections, accepted, renewed, refused: withoutZeros(refused), closed: withoutZeros(closed) })
  t.strictSame(Object.entries(routes).map(([path, counts]) => [path, briefly(counts as typeof total)]), [
    ['/chat', { connections: 1, accepted: 2, renewed: 1, refused: { WS_AUTH_TOKEN_MISSING: 1, WS_AUTH_TOKEN_INVALID: 1 }, closed: { client: 1 } }],
    ['/feed', { connections: 1, accepted: 1, renewed: 0, refused: { WS_AUTH_TOKEN_INVALID: 1 }, closed: {} }]
  ])
  t.strictSame(briefly(total), {
    connections: 2, accepted: 3, renewed: 1, refused: { WS_AUTH_TOKEN_MISSING: 2, WS_AUTH_TOKEN_INVALID: 2, WS_AUTH_ROUTE_NOT_WEBSOCKET: 1 }, closed: { client: 1 }
  })
  const counts = Object.values(total.durations).map(({ count }) => count)
  t.strictSame(counts, [3, 3, 1], 'the ticket request and the renewals are in no histogram')
  for (const each of [chat, feed]) each.socket.terminate()
  await until(() => app.wsAuth.connections.size === 0, 'all have left')
  t.strictSame(Object.values(app.wsAuth.stats().routes).map(({ connections }) => connections), [0, 0])
})

t.test('routes with one path and other constraints count as one', async (t) => {
  const { app } = await prepare(t, {
    routes: (app) => {
      app.get('/chat', { websocket: true, constraints: { host: 'a.example' } }, () => {})
      app.get('/chat', { websocket: true, wsAuth: { roles: ['admin'] }, constraints: { host: 'b.example' } }, () => {})
    }
  })
  t.equal(await statusOf(app, '/chat', ANN, { host: 'a.example' }), 426)
  await openSocket(app, '/chat', ANN, { host: 'a.example' })
  await t.rejects(openSocket(app, '/chat', ANN, { host: 'b.example' }))
  t.match(app.wsAuth.stats().routes, { '/chat': { accepted: 1, refused: { WS_AUTH_FORBIDDEN: 1 } } })
  t.equal(Object.keys(app.wsAuth.stats().routes).length, 1)
})

t.test('durations are in milliseconds: of the handshake from its request, of the connection from its opening', async (t) => {
  const waiting: Array<() => void> = []
  const { app } = await prepare(t, {
    plugin: { maxLifetime: 2 * 3_600_000, verify: async (token) => { await new Promise<void>((resolve) => waiting.push(resolve)); return token === 'good' ? { sub: 'ann' } : null } },
    routes: (app) => app.get('/chat', { websocket: true }, () => {})
  })
  const clock = moveClock(t)
  const verifyAfter = async (token: string, ms: number): Promise<unknown> => {
    const opened = openSocket(app, '/chat', token).catch((error: unknown) => error)
    await eventually(clock, () => waiting.length === 1, 'it verifies')
    clock.advance(ms)
    waiting.shift()?.()
    return await passUntil(clock, 0, 'it is answered', opened)
  }
  await verifyAfter('good', 200)
  await verifyAfter('bad', 30)
  clock.advance(2 * 3_600_000 + 1000)
  await eventually(clock, () => app.wsAuth.connections.size === 0, 'it has ended')
  const { durations, routes } = app.wsAuth.stats()
  const filled = ({ bounds, counts }: typeof durations.closed): unknown => counts.flatMap((count, i) => count === 0 ? [] : [[bounds[i], count]])
  for (const { accepted, refused, closed } of [durations, routes['/chat']?.durations ?? durations]) {
    t.strictSame([accepted, refused, closed].map(filled), [[[250, 1]], [[50, 1]], [[4 * 3_600_000, 1]]])
    t.strictSame([accepted.sum, refused.sum], [200, 30])
    t.ok(closed.sum >= 7_200_000 && closed.sum <= 7_201_000, String(closed.sum))
  }
})

t.test('a snapshot is a copy, and what is done to it changes no count', async (t) => {
  const { app } = await prepare(t, { routes: (app) => app.get('/chat', { websocket: true }, () => {}) })
  const first = app.wsAuth.stats() as unknown as { refused: Record<string, number>, routes: Record<string, unknown>, durations: { accepted: { counts: number[] } } }
  first.refused.WS_AUTH_BUSY = 7
  first.durations.accepted.counts[0] = 7
  delete first.routes['/chat']
  t.strictSame(statsOf(app).refused, {})
  t.equal(app.wsAuth.stats().durations.accepted.count, 0)
  t.strictSame(Object.keys(app.wsAuth.stats().routes), ['/chat'])
})
