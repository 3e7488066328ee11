/*
 * What an event holds: the address of the client and the duration. The counts are a snapshot.
 */
import Fastify from 'fastify'
import type { FastifyServerOptions } from 'fastify'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { CLOSE_REASONS } from '../../lib/base/close-codes'
import { wsAuthErrors } from '../../lib/base/errors'
import { prepare, SECRET, sign } from '../helpers/app'
import { BEARER, listen } from '../helpers/audited-chat'
import { RawClient, upgrade } from '../helpers/raw-client'
import { eventually, hold, moveClock, startChat, turn } from '../helpers/renewal-app'
import { statsOf } from '../helpers/stats'

t.test('the address of an event follows the trustProxy option of the app', async (t) => {
  const forwarded = { 'x-forwarded-for': '203.0.113.7, 198.51.100.9' }
  const cases: Array<[FastifyServerOptions['trustProxy'], string]> = [[undefined, '127.0.0.1'], [false, '127.0.0.1'], [true, '203.0.113.7'], ['127.0.0.1', '198.51.100.9'], ['10.0.0.1', '127.0.0.1']]
  for (const [trustProxy, address] of cases) {
    await t.test(`the address of an event is ${address} with trustProxy ${trustProxy}`, async (t) => {
      const events = listen(t)
      const { app, connect } = await startChat(t, { server: trustProxy === undefined ? {} : { trustProxy } })
      const chat = await connect(sign(), { headers: forwarded })
      chat.client.terminate()
      await eventually(() => app.wsAuth.connections.size === 0, 'it is gone')
      t.strictSame(events.map(({ event, address }) => [event, address]), [['accepted', address], ['closed', address]])
    })
  }

  await t.test('the address of an event is null if there is none (injectWS)', async (t) => {
    for (const trustProxy of [false, true]) {
      const events = listen(t)
      const { app } = await prepare(t, { server: { trustProxy, logger: false }, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
      const socket = await app.injectWS('/chat', { headers: { ...BEARER, ...forwarded } })
      socket.terminate()
      await eventually(() => app.wsAuth.connections.size === 0, 'it is gone')
      t.strictSame(events.map(({ event, address }) => [event, address]), [['accepted', null], ['closed', null]], `trustProxy ${trustProxy}`)
      await t.rejects(app.injectWS('/chat'), { message: /401/ })
      t.strictSame(events.slice(2).map(({ event, address }) => [event, address]), [['refused', null]])
      events.length = 0
    }
  })

  await t.test('the address of an event is null if the trustProxy of the app throws', async (t) => {
    const events = listen(t)
    let isStrict = false
    const trustProxy = (address: string): boolean => { if (isStrict && address === 'garbage') throw new Error('thrown by a test'); return true }
    const { app, connect } = await startChat(t, { server: { logger: false, trustProxy } })
    isStrict = true
    const chat = await connect(sign(), { headers: { 'x-forwarded-for': '203.0.113.7, garbage' } })
    chat.client.close()
    await eventually(() => app.wsAuth.connections.size === 0, 'it is gone')
    t.strictSame(events.map(({ event, address }) => [event, address]), [['accepted', null], ['closed', null]])
  })
})

t.test('the duration of an event is that of the handshake, the renewal or the connection', async (t) => {
  const events = listen(t)
  let gate = hold()
  const { app, port, connect } = await startChat(t, { plugin: { renewal: true }, wsAuth: { authorize: async (user) => { await gate.wait(); return (user as { role?: string }).role !== 'none' } } })
  const clock = moveClock(t)
  const advance = async (ms: number): Promise<void> => {
    await eventually(() => statsOf(app).pending > 0, 'it is pending')
    await turn()
    await turn()
    clock.advance(ms)
    gate.release()
  }
  const refused = RawClient.open(t, port).then(async (client) => await client.upgrade({ path: '/chat', headers: { authorization: `Bearer ${sign({ sub: 'ann', role: 'none' })}` } }).response().then(() => client))
  await advance(700)
  await refused
  t.strictSame(events.splice(0).map(({ event, duration }) => [event, duration]), [['refused', 700]])
  gate = hold()
  const connecting = connect(sign({ sub: 'ann' }))
  await advance(900)
  const chat = await connecting
  gate = hold()
  const renewing = chat.connection.renew(sign({ sub: 'ann' }))
  clock.advance(300)
  gate.release()
  await renewing
  gate = hold()
  const renewingAgain = chat.connection.renew(sign({ sub: 'ann', role: 'none' }))
  clock.advance(50)
  gate.release()
  await t.rejects(renewingAgain)
  clock.travel(Date.now() - 10_000)
  gate = hold()
  const renewingBack = chat.connection.renew(sign({ sub: 'ann' }))
  clock.travel(Date.now() - 5000)
  gate.release()
  await renewingBack
  clock.advance(20_000)
  chat.connection.close()
  t.strictSame(events.map(({ event, duration }) => [event, duration]), [
    ['accepted', 900], ['renewed', 300], ['renewal_refused', 50], ['renewed', 0], ['closed', 5350]
  ])
  clock.exit()
})

t.test('stats() lists each code and each reason, and counts from 0', async (t) => {
  const { app, port } = await startChat(t)
  const { refused, closed } = app.wsAuth.stats()
  t.strictSame(Object.keys(refused), Object.keys(wsAuthErrors))
  t.strictSame(Object.keys(closed), CLOSE_REASONS)
  t.strictSame([...new Set([...Object.values(refused), ...Object.values(closed)])], [0])
  await upgrade(t, port, { path: '/chat' })
  t.strictSame(app.wsAuth.stats().refused, { ...refused, WS_AUTH_TOKEN_MISSING: 1 })
})

t.test('stats() returns a snapshot, and later events do not change it', async (t) => {
  const { app, port, connect } = await startChat(t, { plugin: { renewal: true } })
  const empty = statsOf(app)
  t.strictSame(empty, { connections: 0, pending: 0, accepted: 0, renewed: 0, refused: {}, closed: {} })
  const chat = await connect(sign())
  await upgrade(t, port, { path: '/chat' })
  const before = statsOf(app)
  const copy = structuredClone(before)
  t.strictSame(copy, { connections: 1, pending: 0, accepted: 1, renewed: 0, refused: { WS_AUTH_TOKEN_MISSING: 1 }, closed: {} })
  await chat.connection.renew(sign())
  await upgrade(t, port, { path: '/chat' })
  chat.connection.close()
  t.strictSame(before, copy)
  t.strictSame(empty, { connections: 0, pending: 0, accepted: 0, renewed: 0, refused: {}, closed: {} })
  Object.assign(before.refused, { WS_AUTH_TOKEN_MISSING: 99 })
  Object.assign(before.closed, { app: 99 })
  t.strictSame(statsOf(app), { connections: 0, pending: 0, accepted: 1, renewed: 1, refused: { WS_AUTH_TOKEN_MISSING: 2 }, closed: { app: 1 } })

  const other = Fastify()
  t.teardown(() => other.close())
  await other.register(fastifyWsAuth, { jwt: { secret: SECRET } })
  t.strictSame(statsOf(other), empty, 'of each app its own')
})
