/*
 * `auth.retry`: before the closes that all clients get, those that speak frames learn when to come back.
 */
import t from 'tap'
import type { BackplaneMember } from '../../lib/backplane/contract'
import { memoryBackplane } from '../../lib/backplane/memory'
import { prepare, sign, start, until } from '../helpers/app'
import { upgrade } from '../helpers/raw-client'
import { closeOf, openSocket } from '../helpers/sockets'
import type { Settled } from '../helpers/sockets'

const OFFER = { 'sec-websocket-protocol': 'ws-auth' }
const RETRY = '{"type":"auth.retry","within":5000}'

function routes (app: Parameters<NonNullable<NonNullable<Parameters<typeof prepare>[1]>['routes']>>[0]): void {
  app.get('/ws', { websocket: true }, (socket) => { socket.send('hello') })
}

async function openBoth (app: Parameters<typeof openSocket>[0], first: Record<string, string> = OFFER): Promise<[Settled, Settled]> {
  const both: [Settled, Settled] = [await openSocket(app, '/ws', sign({ sub: 'ann', jti: 'a' }), first), await openSocket(app, '/ws', sign({ sub: 'bob' }))]
  await until(() => both.every(({ messages }) => messages.includes('hello')), 'the handler')
  for (const { messages } of both) messages.length = 0
  return both
}

t.test('auth.retry comes before the close of a shutdown, to clients that speak frames', async (t) => {
  const { app } = await prepare(t, { routes })
  const [speaking, other] = await openBoth(app)
  const closing = app.close()
  t.strictSame([await closeOf(speaking), await closeOf(other)], [{ code: 1001, reason: 'shutdown' }, { code: 1001, reason: 'shutdown' }])
  await closing
  t.strictSame([speaking.messages, other.messages], [[RETRY], []])
})

t.test('auth.retry is the last frame on the wire before the close frame, behind what preClose sends', async (t) => {
  const { app, port } = await start(t, { routes, plugin: { websocket: { preClose (done) { for (const client of this.websocketServer.clients) client.send('bye'); done() } } } })
  const client = await upgrade(t, port, { path: '/ws', headers: { ...OFFER, authorization: `Bearer ${sign({ sub: 'ann' })}` } })
  const next = async (): Promise<string> => String((await client.frame()).payload)
  t.match(await next(), '"auth.ok"')
  t.equal(await next(), 'hello')
  const closing = app.close()
  t.strictSame([await next(), await next()], ['bye', RETRY])
  const { opcode, payload } = await client.frame()
  t.strictSame([opcode, payload.readUInt16BE(0), payload.subarray(2).toString()], [8, 1001, 'shutdown'])
  client.socket.destroy()
  await closing
})

t.test('auth.retry comes before the closes of an outage', async (t) => {
  const plane = memoryBackplane()
  let member: BackplaneMember | undefined
  const { app } = await prepare(t, { routes, plugin: { backplane: { join: (joining) => plane.join(member = joining) } } })
  const [speaking, other] = await openBoth(app)
  member?.onOutage()
  t.strictSame([await closeOf(speaking), await closeOf(other)], [{ code: 4503, reason: 'auth_unavailable' }, { code: 4503, reason: 'auth_unavailable' }])
  t.strictSame([speaking.messages, other.messages], [[RETRY], []])
})

t.test('auth.retry does not come before a close that only some clients get', async (t) => {
  const { app } = await prepare(t, { routes })
  const closes: Array<[() => Promise<unknown>, string]> = [
    [async () => await app.wsAuth.revoke({ jti: 'a' }), 'token_revoked'],
    [async () => await app.wsAuth.disconnect({ sub: 'ann' }), 'disconnected'],
    [async () => { for (const connection of app.wsAuth.connections.bySub('ann')) connection.close(4000, 'app') }, 'app']
  ]
  for (const [close, reason] of closes.reverse()) {
    const [speaking] = await openBoth(app)
    await close()
    t.equal((await closeOf(speaking)).reason, reason)
    t.strictSame(speaking.messages, [])
  }
})

t.test('a client that has not authenticated yet gets no auth.retry', async (t) => {
  const { app, port } = await start(t, { routes, plugin: { token: { message: true } } })
  const client = await upgrade(t, port, { path: '/ws', headers: OFFER })
  const closing = app.close()
  const { opcode, payload } = await client.frame()
  t.strictSame([opcode, payload.readUInt16BE(0)], [8, 1001])
  client.socket.destroy()
  await closing
})
