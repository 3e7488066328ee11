import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { OpenConnection } from '../../lib/connection/open-connection'
import type { Connection } from '../../lib/connection/connection'
import { ConnectionRegistry } from '../../lib/connection/registry'
import { mint, seconds, secret } from '../helpers/keys'
import { statsOf } from '../helpers/stats'

function connection (sub: string | undefined): OpenConnection {
  const claims = sub === undefined ? {} : { sub }
  return new OpenConnection({} as never, {} as never, { user: claims as never, claims, sub: sub ?? null, groups: [], source: 'header', expiresAt: null }, {} as never)
}

/** A real client of a real server, open. */
async function connect (t: Test, app: FastifyInstance, path: string, token?: string): Promise<WebSocket> {
  if (!app.server.listening) await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const client = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } })
  t.teardown(() => client.terminate())
  await once(client, 'open')
  return client
}

async function build (t: Test): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret } })
  return app
}

t.test('connections are found by id and by sub, and forgotten when they are removed', async (t) => {
  const connections = new ConnectionRegistry()
  const [one, two, three, bob, nobody] = ['ann', 'ann', 'ann', 'bob', undefined].map(connection) as [OpenConnection, OpenConnection, OpenConnection, OpenConnection, OpenConnection]
  for (const each of [one, two, three, bob, nobody]) connections.add(each)
  t.equal(connections.size, 5)
  t.equal(connections.get(two.id), two)
  t.equal(connections.get('no such id'), undefined)
  t.strictSame(connections.bySub('ann'), [one, two, three])
  t.strictSame(connections.bySub('bob'), [bob])
  t.strictSame(connections.bySub('eve'), [])
  t.strictSame([...connections], [one, two, three, bob, nobody])
  t.strictSame(['ann', 'bob', 'eve'].map((sub) => connections.countBySub(sub)), [3, 1, 0])
  t.strictSame(['ann', 'bob', 'eve'].map((sub) => connections.oldestOf(sub)), [one, bob, undefined])

  connections.remove(one)
  connections.remove(one)
  t.strictSame(connections.bySub('ann'), [two, three], 'removing twice is removing once')
  connections.remove(two)
  t.strictSame(connections.bySub('ann'), [three])
  connections.remove(three)
  connections.remove(bob)
  connections.remove(nobody)
  t.strictSame(connections.bySub('ann'), [])
  t.equal(connections.size, 0)
  connections.add(one)
  t.strictSame(connections.bySub('ann'), [one])
})

t.test('the handler gets the connection, and the registry has it while it is open', async (t) => {
  const app = await build(t)
  let seen: FastifyInstance['wsAuth']['connections'] extends Iterable<infer C> ? C | null : never = null
  let before: unknown = 'not called'
  app.get('/chat', { websocket: true, preHandler: async (request) => { before = request.wsAuth } }, (_socket, request) => { seen = request.wsAuth })
  const exp = seconds(60)
  const started = Date.now()
  const client = await connect(t, app, '/chat', mint({ sub: 'ann', exp }))
  const open = seen as unknown as Connection
  t.equal(before, null, 'there is no connection before it is open')
  t.match(open.id, /^[\w-]{22}$/)
  t.strictSame(open.user, { sub: 'ann', exp })
  t.strictSame(open.claims, { sub: 'ann', exp })
  t.equal(open.sub, 'ann')
  t.equal(open.source, 'header')
  t.equal(open.expiresAt, exp * 1000)
  t.ok(open.openedAt >= started && open.openedAt <= Date.now())
  t.equal(app.wsAuth.connections.size, 1)
  t.equal(app.wsAuth.connections.get(open.id), open)
  t.strictSame(app.wsAuth.connections.bySub('ann'), [open])
  t.match(statsOf(app), { connections: 1, pending: 0, accepted: 1, refused: {}, closed: {} })

  const closed = once(client, 'close')
  open.close(4000, 'enough')
  t.strictSame((await closed).map(String), ['4000', 'enough'])
  t.equal(app.wsAuth.connections.size, 0)
  t.strictSame(app.wsAuth.connections.bySub('ann'), [])
  t.match(statsOf(app), { connections: 0, accepted: 1, closed: { app: 1 } })
})

t.test('a connection is closed with 1000 by default, and with no code or reason that may not be sent', async (t) => {
  const app = await build(t)
  let open: Connection | null = null
  app.get('/chat', { websocket: true }, (_socket, request) => { open = request.wsAuth })
  const client = await connect(t, app, '/chat', mint({ sub: 'ann' }))
  const ours = open as unknown as Connection
  t.throws(() => ours.close(1006), TypeError)
  t.throws(() => ours.close(4000, 'é'.repeat(62)), RangeError)
  t.equal(app.wsAuth.connections.size, 1, 'it is still open')
  const closed = once(client, 'close')
  ours.close()
  t.equal((await closed)[0], 1000)
})

t.test('an anonymous connection is registered, and a public one is not', async (t) => {
  const app = await build(t)
  const seen: Array<Connection | null> = []
  app.get('/optional', { websocket: true, wsAuth: 'optional' }, (_socket, request) => { seen.push(request.wsAuth) })
  app.get('/public', { websocket: true, wsAuth: false }, (_socket, request) => { seen.push(request.wsAuth) })
  await connect(t, app, '/optional')
  await connect(t, app, '/public')
  t.match(seen, [{ user: null, claims: null, source: null, sub: null, expiresAt: null }, null])
  t.equal(app.wsAuth.connections.size, 1)
})

t.test('the expiresAt of a token that never expires is null', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret, verify: { ignoreExpiration: true } } })
  const seen: unknown[] = []
  app.get('/chat', { websocket: true }, (_socket, request) => { seen.push(request.wsAuth?.expiresAt) })
  for (const payload of ['{}', `{"exp":${seconds(-5)}}`]) {
    await connect(t, app, '/chat', mint(payload))
  }
  t.strictSame(seen, [null, null])
})
