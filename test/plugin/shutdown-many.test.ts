/*
 * `app.close()` with thousands of connections: the decision is in force on all at once, the closes come in slices, and a logger that throws
 * keeps none open.
 */
import t from 'tap'
import type { Connection } from '../../lib/connection/connection'
import { prepare, sign, until, within } from '../helpers/app'
import { openMany } from '../helpers/memory-crowd'
import { clientFrame } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const COUNT = 2000
const AUTHORIZED = { authorization: `Bearer ${sign({ sub: 'ann' })}` }

t.test('app.close() ends all connections at once, and closes them in slices with auth.retry before 1001 shutdown', async (t) => {
  const heard: string[] = []
  const { app } = await prepare(t, {
    plugin: { renewal: true },
    server: { logger: false },
    routes: (app) => {
      app.get('/ws', { websocket: true }, (socket) => { socket.on('message', (data) => heard.push(String(data))) })
      app.get('/public', { websocket: true, wsAuth: false }, () => {})
    }
  })
  const clients = await openMany(app, '/ws', COUNT, () => AUTHORIZED)
  const open = await openMany(app, '/public', 10, () => ({}))
  await until(() => app.wsAuth.connections.size === COUNT && app.websocketServer.clients.size === COUNT + 10, 'all are open')
  const [first] = app.wsAuth.connections as Iterable<Connection>
  let mostInATurn = 0
  let before = 0
  const watch = (): void => {
    const now = clients.filter(({ close }) => close !== '').length
    mostInATurn = Math.max(mostInATurn, now - before)
    before = now
    if (now < COUNT) setImmediate(watch)
  }
  const closing = app.close()
  await until(() => app.wsAuth.connections.size === 0, 'the decision')
  const waiting = clients.filter(({ close }) => close === '').length
  watch()
  for (const client of clients) client.send(clientFrame(1, 'late'))
  t.equal(first?.send('late'), false)
  await within(5000, 'app.close()', closing)
  t.ok(waiting > 0, `${waiting} wait for their slice`)
  t.ok(mostInATurn < COUNT / 2, `${mostInATurn} in one turn`)
  t.strictSame([...new Set([...clients, ...open].map(({ close }) => close))], ['1001 shutdown'])
  t.ok(clients.every(({ texts }) => texts.at(-1) === '{"type":"auth.retry","within":5000}'), 'each is told when to come back')
  t.strictSame(heard, [])
  t.match(statsOf(app), { connections: 0, closed: { shutdown: COUNT } })
})

t.test('a logger that throws, and a close that throws, keep no connection open at app.close()', async (t) => {
  const { app } = await prepare(t, { routes: (app) => app.get('/ws', { websocket: true }, () => {}) })
  const clients = await openMany(app, '/ws', 100, () => AUTHORIZED)
  await until(() => app.wsAuth.connections.size === 100, 'all are open')
  const all = [...app.wsAuth.connections as Iterable<{ kept: object, closeFor: () => void }>]
  for (const connection of all) {
    Object.defineProperty(connection.kept, 'log', { value: new Proxy({}, { get () { throw new Error('the logger throws') } }) })
    const { closeFor } = connection
    connection.closeFor = (...args: []) => { Reflect.apply(closeFor, connection, args); throw new Error('closing throws') }
  }
  await within(5000, 'app.close()', app.close())
  t.strictSame([...new Set(clients.map(({ close }) => close))], ['1001 shutdown'])
})
