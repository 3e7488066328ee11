/*
 * Renewals of a client that reads none of the answers.
 */
import t from 'tap'
import { sign, start } from '../helpers/app'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { eventually } from '../helpers/renewal-app'
import { PRESENT } from '../helpers/renewals'
import { statsOf } from '../helpers/stats'

t.test('a client that sends renewals and reads no answers loses its connection, in bounded memory', async (t) => {
  const { app, port } = await start(t, {
    server: { logger: false },
    plugin: { renewal: true },
    routes: (app) => { app.get('/chat', { websocket: true }, (socket) => { sockets.push(socket) }) }
  })
  const sockets: Array<{ bufferedAmount: number, readyState: number }> = []
  const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign(PRESENT)}` } })
  await eventually(() => sockets.length === 1, 'it is open')
  client.socket.removeAllListeners('data')
  client.socket.pause()
  const frames = Buffer.concat(Array.from({ length: 32 }, () => clientFrame(1, '{"type":"auth"}')))
  const answered = (): number => statsOf(app).refused.WS_AUTH_TOKEN_INVALID ?? 0
  let most = 0
  let sent = 0
  while (app.wsAuth.connections.size > 0) {
    client.socket.write(frames)
    sent += 32
    await eventually(() => answered() === sent || app.wsAuth.connections.size === 0, 'they are answered')
    most = Math.max(most, sockets[0]?.bufferedAmount ?? 0)
  }
  t.comment(`${sent} frames, ${most} bytes unsent at most`)
  t.strictSame(statsOf(app).closed, { error: 1 })
  t.ok(sent > 1000, 'it was not for their number')
  await eventually(() => sockets[0]?.readyState === 3, 'the socket is gone')
  t.ok(most < 100_000, `${most} bytes were unsent at most`)
})
