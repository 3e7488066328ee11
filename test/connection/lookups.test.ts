import t from 'tap'
import type { Claims, Connection } from '../../lib/index'
import { prepare, sign } from '../helpers/app'

const idsOf = (found: Connection[]): string[] => found.map(({ id }) => id)

t.test('connections are found by the role, the group and the route that they have now', async (t) => {
  const { app } = await prepare(t, {
    plugin: { groups: ({ team }: Claims) => team === undefined ? [] : [String(team)] },
    routes: async (app) => {
      app.get('/chat', { websocket: true, wsAuth: { roles: ['member', 'admin'] } }, () => {})
      app.get('/open', { websocket: true, wsAuth: 'optional' }, () => {})
      await app.register(async (scope) => { scope.get('/rooms/:id', { websocket: true }, () => {}) }, { prefix: '/v1' })
    }
  })
  const iat = Math.floor(Date.now() / 1000)
  const open = async (path: string, claims: Record<string, unknown> | null): Promise<Connection> => {
    const before = new Set(app.wsAuth.connections)
    const socket = await app.injectWS(path, claims === null ? {} : { headers: { authorization: `Bearer ${sign({ iat, ...claims })}` } })
    t.teardown(() => { socket.terminate() })
    return [...app.wsAuth.connections].find((connection) => !before.has(connection)) as Connection
  }
  const ann = await open('/chat', { sub: 'ann', roles: ['member'], team: 'red' })
  const bob = await open('/v1/rooms/7', { sub: 'bob', role: 'admin', team: 'blue' })
  const eve = await open('/v1/rooms/8', { sub: 'eve', roles: { member: true }, team: 'red' })
  const anonymous = await open('/open', null)
  const { connections } = app.wsAuth

  t.strictSame(idsOf(connections.byRole('member')), [ann.id], 'roles that are no list are none')
  t.strictSame(idsOf(connections.byRole('admin')), [bob.id])
  t.strictSame(connections.byRole('guest'), [])
  t.strictSame(idsOf(connections.byGroup('red')), [ann.id, eve.id])
  t.strictSame(idsOf(connections.byGroup('blue')), [bob.id])
  t.strictSame(idsOf(connections.byRoute('/chat')), [ann.id])
  t.strictSame(idsOf(connections.byRoute('/v1/rooms/:id')), [bob.id, eve.id])
  t.strictSame(idsOf(connections.byRoute('/open')), [anonymous.id])
  t.strictSame(connections.byRoute('/v1/rooms/7'), [], 'a route is found by its path, and not by a URL')

  await ann.renew(sign({ iat: iat + 1, sub: 'ann', roles: ['admin'], team: 'blue' }))
  t.strictSame(connections.byRole('member'), [])
  t.strictSame(new Set(idsOf(connections.byRole('admin'))), new Set([ann.id, bob.id]), 'after a renewal the new roles count')
  t.strictSame(idsOf(connections.byGroup('red')), [eve.id], 'and the new groups')

  bob.close()
  t.strictSame(idsOf(connections.byRole('admin')), [ann.id], 'a connection that has ended is not found')
})

t.test('a connection whose roles cannot be read has none', async (t) => {
  const { app } = await prepare(t, {
    plugin: {
      roles: ({ sub }: Claims) => {
        if (sub === 'eve') throw new Error('no roles')
        return sub === 'mal' ? Promise.reject(new Error('no list, and unhandled it would end the process')) : ['member']
      }
    },
    routes: (app) => { app.get('/chat', { websocket: true }, () => {}) }
  })
  for (const sub of ['eve', 'mal', 'ann']) {
    const socket = await app.injectWS('/chat', { headers: { authorization: `Bearer ${sign({ sub })}` } })
    t.teardown(() => { socket.terminate() })
  }
  t.strictSame(app.wsAuth.connections.byRole('member').map(({ sub }) => sub), ['ann'])
})
