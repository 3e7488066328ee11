/*
 * Attacks on the life of a connection that take long: a flood that is inflated, floods that are not read, a loop that is blocked.
 */
import { once } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { WebSocket } from 'ws'
import { until, within } from '../helpers/app'
import { upgrade } from '../helpers/raw-client'
import { AUTHORIZED, DEFLATE, MIB, NO_TOKEN, authFrame, deflatedFrame, openFlooded, startChat, turns } from '../helpers/attacked-app'
import { statsOf } from '../helpers/stats'

setFlagsFromString('--expose-gc')

/** What was inflated and thrown away is not what is kept. */
const collectGarbage = runInNewContext('gc') as () => void

t.test('the connection keeps no inflated messages beyond the limit while the first message is verified', async (t) => {
  const never = async (): Promise<never> => await new Promise(() => {})
  const { app, port } = await startChat(t, { verify: never, renewal: true, token: { message: true }, websocket: { options: { perMessageDeflate: true } } })
  const client = await upgrade(t, port, { path: '/chat', headers: DEFLATE })
  t.match(client.answer.headers, { 'sec-websocket-extensions': /^permessage-deflate/ })
  const before = process.memoryUsage().arrayBuffers
  client.send(Buffer.concat([authFrame(), ...Array.from({ length: 40 }, () => deflatedFrame('x'.repeat(MIB)))]))
  let kept = 0
  await until(() => {
    collectGarbage()
    kept = process.memoryUsage().arrayBuffers - before
    return statsOf(app).pending === 0 || kept > 30 * MIB
  }, 'it has been read', 20_000)
  t.ok(kept < 16 * MIB, `${Math.round(kept / MIB)} MiB`)
  t.equal(statsOf(app).refused.WS_AUTH_LIMIT, 1)
})

t.test('an event loop that is blocked for almost a heartbeat interval closes no living connection', async (t) => {
  const interval = 500
  const { app, port } = await startChat(t, { heartbeat: { interval } })
  // Its timer is due in the same turn as that of the heartbeat, and runs after it.
  let isToBlock = false
  const blocker = setInterval(() => {
    const end = Date.now() + (isToBlock ? interval - 10 : 0)
    isToBlock = false
    while (Date.now() < end) { /* busy */ }
  }, interval)
  t.teardown(() => clearInterval(blocker))
  const client = new WebSocket(`ws://127.0.0.1:${port}/chat`, { headers: AUTHORIZED, autoPong: false })
  t.teardown(() => client.terminate())
  // As far away as a phone is.
  client.on('ping', () => setTimeout(() => client.pong(), 100))
  await once(client, 'open')
  await once(client, 'ping')
  isToBlock = true
  for (let i = 0; i < 3 && client.readyState === WebSocket.OPEN; i++) {
    await within(5 * interval, 'another ping', Promise.race([once(client, 'ping'), once(client, 'close')]))
  }
  t.same(statsOf(app).closed, {})
  t.equal(app.wsAuth.connections.size, 1)
})

t.test('the plugin closes a client that floods renewals and reads no answer, also if the logger throws on every call', async (t) => {
  const { app, client, crashes } = await openFlooded(t)
  client.socket.removeAllListeners('data')
  client.socket.pause()
  const frames = Buffer.concat(Array.from({ length: 32 }, () => NO_TOKEN))
  const answered = (): number => statsOf(app).refused.WS_AUTH_TOKEN_INVALID ?? 0
  let sent = 0
  while (app.wsAuth.connections.size > 0) {
    client.socket.write(frames)
    sent += 32
    while (answered() < sent && app.wsAuth.connections.size > 0) await turns(1)
  }
  t.strictSame(statsOf(app).closed, { error: 1 })
  await until(() => app.websocketServer.clients.size === 0, 'the socket is gone')
  await turns()
  t.strictSame(crashes, [])
})
