/*
 * The sign of life that a page can see: `auth.ping` and `auth.pong`.
 */
import t from 'tap'
import { sign, until } from '../helpers/app'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { moveClock, startChat, eventually } from '../helpers/renewal-app'
import { from, PRESENT } from '../helpers/renewals'
import { statsOf } from '../helpers/stats'

const PING = '{"type":"auth.ping"}'
const PONG = '{"type":"auth.pong"}'
const OFFER = { protocols: ['ws-auth'] }

t.test('a ping is answered with a pong, however it is spelt, and does not reach the handler', async (t) => {
  const { app, connect } = await startChat(t)
  const chat = await connect(sign(PRESENT), OFFER)
  for (const ping of [PING, ' {"type" : "auth.ping" }\n', '{"type":"\\u0061uth.ping","id":1}', '{"type":"auth","type":"auth.ping","token":"x"}']) {
    chat.client.send(ping)
    t.equal(await chat.next(), PONG, ping)
  }
  t.strictSame(chat.got, [])
  t.match(statsOf(app), { renewed: 0, refused: {} })
  for (const other of ['{"type":"auth.pong"}', '{"type":"auth.PING"}', '["auth.ping"]', '{"type":"auth.ping"']) {
    chat.client.send(other)
    t.equal(await chat.next(), `got ${other}`)
  }
  chat.client.send(Buffer.from(PING))
  t.equal(await chat.next(), `got ${PING}`, 'a binary message is the app\'s')
})

t.test('the handler gets the pings of a client that does not speak frames', async (t) => {
  const { connect } = await startChat(t)
  const chat = await connect(sign(PRESENT))
  chat.client.send(PING)
  t.equal(await chat.next(), `got ${PING}`)
})

t.test('pings keep their order among messages and renewals, and do not wait for a renewal', async (t) => {
  const { connect } = await startChat(t, { wsAuth: { authorize: async (user) => (user as { wait?: boolean }).wait === undefined || await new Promise<never>(() => {}) } })
  const chat = await connect(sign(PRESENT), OFFER)
  for (const text of ['one', PING, JSON.stringify({ type: 'auth', token: sign({ ...PRESENT, wait: true }) }), 'two', PING]) chat.client.send(text)
  t.strictSame([await chat.next(), await chat.next(), await chat.next(), await chat.next()], ['got one', PONG, 'got two', PONG])
})

t.test('a ping in place of the first message is refused, and one behind it is answered', async (t) => {
  const { port } = await startChat(t, { plugin: { token: { message: true } } })
  const bad = await upgrade(t, port, { path: '/chat' })
  bad.send(clientFrame(1, PING))
  t.strictSame(await bad.close(), { code: 3000, reason: 'token_invalid' })
  const good = await upgrade(t, port, { path: '/chat' })
  good.send(Buffer.concat([clientFrame(1, JSON.stringify({ type: 'auth', token: sign(PRESENT) })), clientFrame(1, PING)]))
  t.match(String((await good.frame()).payload), '"auth.ok"')
  t.equal(String((await good.frame()).payload), PONG)
})

t.test('a ping after the deadline is not answered and does not extend the connection', async (t) => {
  const { connect } = await startChat(t)
  const clock = moveClock(t)
  const at = from(Date.now())
  const chat = await connect(sign({ sub: 'ann', exp: at(60) }), OFFER)
  clock.travel(at(60) * 1000 + 1)
  chat.client.send(PING)
  await eventually(() => chat.closed.code !== null, 'it is closed')
  t.strictSame([chat.closed, chat.received], [{ code: 3000, reason: 'token_expired' }, []])
  clock.exit()
})

t.test('a client that sends pings and reads no pongs is closed, before the pongs pile up', async (t) => {
  const { app, port } = await startChat(t)
  const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign(PRESENT)}`, 'sec-websocket-protocol': 'ws-auth' } })
  client.socket.pause()
  const pings = Buffer.concat(Array.from({ length: 20_000 }, () => clientFrame(1, PING)))
  const before = process.memoryUsage().rss
  const flood = setInterval(() => { if (client.socket.writableLength < 2 ** 20) client.send(pings) }, 1)
  await until(() => statsOf(app).closed.error === 1, 'the end').finally(() => clearInterval(flood))
  t.ok(process.memoryUsage().rss - before < 200 * 2 ** 20)
  t.equal(app.wsAuth.connections.size, 0)
})
