import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { memoryBackplane } from '../../lib/backplane/memory'
import { sign, start, until } from '../helpers/app'

const CONNECTIONS = 40
const WITHIN = 10_000

t.test('an instance spreads the closes of an outage, and keeps the connections that are left when the outage is over', async (t) => {
  const memory = memoryBackplane()
  const state = { isOut: false }
  let member: fastifyWsAuth.BackplaneMember | undefined
  const backplane: fastifyWsAuth.Backplane = {
    join: (one) => {
      member = one
      return Object.defineProperty(Object.create(memory.join(one)), 'isCurrent', { get: () => !state.isOut })
    }
  }
  const { app, port } = await start(t, { plugin: { backplane }, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  const codes: number[] = []
  const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`, { headers: { authorization: `Bearer ${sign({ sub: 'ann' })}` } })
    t.teardown(() => { socket.terminate() })
    socket.on('close', (code) => { codes.push(code) })
    await once(socket, 'open')
    return socket
  }))
  await until(() => app.wsAuth.connections.size === CONNECTIONS, 'all are open')

  state.isOut = true
  member?.onOutage(WITHIN)
  t.ok(app.wsAuth.connections.size >= CONNECTIONS - 1, 'at most the first one is closed at once')
  await until(() => codes.length >= 2, 'some are closed')
  state.isOut = false
  const { size } = app.wsAuth.connections
  t.ok(size > 0, 'the others are open')
  await new Promise((resolve) => setTimeout(resolve, 2000))
  t.equal(app.wsAuth.connections.size, size, 'the others stay open: eight would have closed')
  t.equal(sockets.filter(({ readyState }) => readyState === WebSocket.OPEN).length, size)
  t.strictSame(new Set(codes), new Set([4503]))

  state.isOut = true
  member?.onOutage(200)
  await until(() => codes.length === CONNECTIONS, 'without an end of the outage all are closed')
  t.equal(app.wsAuth.connections.size, 0)
})
