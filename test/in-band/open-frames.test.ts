/*
 * The `auth.ok` of an open connection: with which clients, what it says, and that nothing comes before it.
 */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { RouteWsAuth, WsAuthOptions } from '../../lib/index'
import { moveClock, restoreClock } from '../../lib/testing/index'
import { prepare, sign, start, until } from '../helpers/app'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'
import { closeOf, openSocket } from '../helpers/sockets'

const OFFER = { 'sec-websocket-protocol': 'ws-auth' }
const NOW = Math.floor(Date.now() / 1000)
const MINUTE = 60_000
const DAY = 1440 * MINUTE

/** A handler that sends at once, and the ids of its connections. */
function greeter (wsAuth: RouteWsAuth = true): { routes: (app: FastifyInstance) => void, ids: string[] } {
  const ids: string[] = []
  return {
    ids,
    routes: (app) => {
      app.get('/ws', { websocket: true, wsAuth }, (socket, request) => {
        ids.push((request.wsAuth as { id: string }).id)
        socket.send('hello')
        socket.on('message', (data) => socket.send(`got ${String(data)}`))
      })
    }
  }
}

/** What a client gets at open, through `injectWS`. */
async function openingOf (t: Test, plugin: WsAuthOptions, headers: Record<string, string>, claims: Record<string, unknown> | null = { sub: 'ann' }, wsAuth: RouteWsAuth = true): Promise<{ texts: string[], id: string }> {
  const { routes, ids } = greeter(wsAuth)
  const { app } = await prepare(t, { plugin, routes })
  const { socket, messages } = await openSocket(app, '/ws', claims === null ? null : sign(claims), headers)
  await until(() => messages.includes('hello'), 'the greeting of the handler')
  socket.terminate()
  return { texts: messages, id: ids[0] as string }
}

/** A time that is at most so many milliseconds in the past by now. */
function isNear (value: unknown, expected: number, slack = 20_000): boolean {
  return Number.isInteger(value) && (value as number) <= expected && (value as number) > expected - slack
}

t.test('auth.ok comes before all that the handler sends, to clients that speak frames', async (t) => {
  for (const [plugin, headers] of [[{}, OFFER], [{}, { 'sec-websocket-protocol': 'chat, ws-auth' }], [{ renewal: true }, {}]] as const) {
    const { texts: [first, second, ...more], id } = await openingOf(t, plugin, headers, { sub: 'ann', exp: NOW + 600 })
    const { expiresIn, endsIn, ...rest } = JSON.parse(first as string)
    t.strictSame(rest, { type: 'auth.ok', connection: id, expiresAt: (NOW + 600) * 1000 })
    t.ok(isNear(expiresIn, 600_000), String(expiresIn))
    t.ok(isNear(endsIn, 600_000), String(endsIn))
    t.strictSame([second, ...more], ['hello'])
  }
})

t.test('auth.ok does not come to clients that do not speak frames', async (t) => {
  for (const [plugin, headers] of [[{}, {}], [{}, { 'sec-websocket-protocol': 'chat' }], [{ renewal: false }, OFFER]] as const) {
    t.strictSame((await openingOf(t, plugin, headers)).texts, ['hello'])
  }
})

t.test('the times of auth.ok are null if there is no end, and tell the grace and maxLifetime apart from the expiry', async (t) => {
  const timesOf = async (plugin: WsAuthOptions, claims: Record<string, unknown> | null, wsAuth: RouteWsAuth = true): Promise<Record<string, number | null>> => {
    const { texts: [text] } = await openingOf(t, plugin, OFFER, claims, wsAuth)
    const { expiresAt, expiresIn, endsIn } = JSON.parse(text as string)
    return { expiresAt, expiresIn, endsIn }
  }
  t.strictSame(await timesOf({ maxLifetime: Infinity }, { sub: 'ann' }), { expiresAt: null, expiresIn: null, endsIn: null })
  const endless = await timesOf({}, { sub: 'ann' })
  t.strictSame([endless.expiresAt, endless.expiresIn], [null, null])
  t.ok(isNear(endless.endsIn, DAY))
  const graced = await timesOf({ expiryGrace: MINUTE }, { sub: 'ann', exp: NOW + 600 })
  t.ok(isNear(graced.expiresIn, 600_000) && isNear(graced.endsIn, 660_000), JSON.stringify(graced))
  const short = await timesOf({ maxLifetime: MINUTE }, { sub: 'ann', exp: NOW + 600 })
  t.ok(isNear(short.expiresIn, 600_000) && isNear(short.endsIn, MINUTE), JSON.stringify(short))
  const anonymous = await timesOf({ maxLifetime: MINUTE }, null, 'optional')
  t.strictSame([anonymous.expiresAt, anonymous.expiresIn], [null, null], 'an anonymous connection has no token')
  t.ok(isNear(anonymous.endsIn, MINUTE))
})

t.test('auth.ok comes in order over a network, with an own subprotocol, whatever the client has sent behind its handshake', async (t) => {
  const { routes, ids } = greeter()
  const { port } = await start(t, { routes })
  const client = await RawClient.open(t, port)
  client.upgrade({ path: '/ws', headers: { authorization: `Bearer ${sign({ sub: 'ann' })}`, 'sec-websocket-protocol': 'chat, ws-auth' } })
  client.send(Buffer.concat([clientFrame(1, 'one'), clientFrame(1, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann' }), id: 'x' }))]))
  const { status, headers } = await client.response()
  t.strictSame([status, headers['sec-websocket-protocol']], [101, 'chat'])
  const texts: string[] = []
  for (let i = 0; i < 4; i++) texts.push(String((await client.frame()).payload))
  t.match(JSON.parse(texts[0] as string), { type: 'auth.ok', connection: ids[0] })
  t.strictSame(texts.filter((text) => !text.startsWith('{')), ['hello', 'got one'])
  t.match(JSON.parse(texts.slice(1).find((text) => text.startsWith('{')) as string), { type: 'auth.ok', id: 'x', connection: ids[0] })
})

t.test('auth.ok comes in one packet with the 101, and what an asynchronous handler sends comes later', async (t) => {
  let goOn = (): void => {}
  const later = new Promise<void>((resolve) => { goOn = resolve })
  const { port } = await start(t, {
    routes: (app) => app.get('/ws', { websocket: true }, async (socket) => { await later; socket.send('hello') })
  })
  const client = await RawClient.open(t, port)
  const chunks: string[] = []
  client.socket.on('data', (chunk) => { chunks.push(String(chunk)) })
  client.upgrade({ path: '/ws', headers: { authorization: `Bearer ${sign({ sub: 'ann' })}`, ...OFFER } })
  await until(() => chunks.length === 1, 'the first packet')
  goOn()
  await until(() => chunks.length === 2, 'two packets')
  t.match(chunks[0], /^HTTP\/1\.1 101 [^]*"auth\.ok"/)
  t.match(chunks[1], 'hello')
})

t.test('auth.ok answers a first message with its id, and comes only once', async (t) => {
  for (const plugin of [{}, { renewal: true }, { renewal: false }] satisfies WsAuthOptions[]) {
    const { routes, ids } = greeter()
    const { port } = await start(t, { routes, plugin: { ...plugin, token: { message: true } } })
    const client = await upgrade(t, port, { path: '/ws', headers: OFFER })
    client.send(clientFrame(1, JSON.stringify({ type: 'auth', token: sign({ sub: 'ann' }), id: 7 })))
    t.match(JSON.parse(String((await client.frame()).payload)), { type: 'auth.ok', id: 7, connection: String(ids[0]), expiresAt: null, expiresIn: null })
    t.equal(String((await client.frame()).payload), 'hello')
    client.send(clientFrame(1, 'one'))
    t.equal(String((await client.frame()).payload), 'got one')
  }
})

t.test('auth.ok comes after a first message of another protocol, to clients that offer ws-auth', async (t) => {
  const { routes } = greeter()
  const { port } = await start(t, { routes, plugin: { token: { message: { read: (text) => text } } } })
  const [plain, speaking] = [await upgrade(t, port, { path: '/ws' }), await upgrade(t, port, { path: '/ws', headers: OFFER })]
  for (const client of [plain, speaking]) client.send(clientFrame(1, sign({ sub: 'ann' })))
  t.equal(String((await plain.frame()).payload), 'hello')
  t.match(JSON.parse(String((await speaking.frame()).payload)), { type: 'auth.ok', id: undefined })
  t.equal(String((await speaking.frame()).payload), 'hello')
})

t.test('auth.ok does not come if the connection ends at once', async (t) => {
  const { routes, ids } = greeter()
  const { app } = await prepare(t, {
    routes,
    plugin: {
      user: async (claims) => {
        if (claims.exp !== undefined) await moveClock(60_000)
        return { sub: 'ann' }
      }
    }
  })
  t.teardown(restoreClock)
  const late = await openSocket(app, '/ws', sign({ sub: 'ann', exp: Math.floor(Date.now() / 1000) + 60 }), OFFER)
  t.strictSame(await closeOf(late), { code: 3000, reason: 'token_expired' })
  t.strictSame([late.messages, ids], [[], []])
  app.websocketServer.once('connection', (socket) => socket.close(4000))
  const closed = await openSocket(app, '/ws', sign({ sub: 'ann' }), OFFER)
  t.equal((await closeOf(closed)).code, 4000)
  t.strictSame([closed.messages, ids], [[], []])
})

t.test('a handshake that is refused by a close frame gets no auth.ok', async (t) => {
  const { routes } = greeter()
  const { app } = await prepare(t, { routes, plugin: { rejectWith: 'close' } })
  const refused = await openSocket(app, '/ws', 'no token', OFFER)
  t.strictSame(await closeOf(refused), { code: 3000, reason: 'token_invalid' })
  t.strictSame(refused.messages, [])
})
