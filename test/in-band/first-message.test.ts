/*
 * Authentication by a first message: how long it is waited for, which users it makes, and what sees it.
 */
import { once } from 'node:events'
import type { EventEmitter } from 'node:events'
import { plugin as clockPlugin } from '@tapjs/clock'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import tap from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { moveClock, restoreClock } from '../../lib/testing/index'
import { prepare, sign, start, until, within } from '../helpers/app'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'
import { CLOSE, OK, PING, TEXT, TOKEN_INVALID, VERIFIERS, assertNobody, authFrame, connect, fragment, never, soon, startChat, text, turns } from '../helpers/first-message-app'
import { plain } from '../helpers/plain-frames'
import type { ChatSettings } from '../helpers/first-message-app'
import { statsOf } from '../helpers/stats'

const t = tap.applyPlugin(clockPlugin)
type Test = Parameters<typeof RawClient.open>[0]

t.test('a first message is answered with auth.ok, and then the handler runs as the user of the token', async (t) => {
  const users: unknown[] = []
  const seen: FastifyRequest[] = []
  const { app, port } = await start(t, {
    plugin: { renewal: true, token: { message: true } },
    routes: (app) => {
      app.addHook('preHandler', async (request) => { users.push(request.user, request.wsAuth) })
      app.get('/chat', { websocket: true }, (socket, request) => {
        seen.push(request)
        socket.send('hello')
      })
    }
  })
  const exp = Math.floor(Date.now() / 1000) + 60
  const client = await connect(t, { app, port })
  t.same(users, [null, null], 'hooks before it see nobody')
  await turns()
  t.equal(client.rest.length, 0, 'nothing is sent to who has not authenticated')
  client.send(authFrame(sign({ sub: 'ann', exp })))
  t.equal(await text(client), `{"type":"auth.ok","expiresAt":${exp * 1000}}`)
  t.equal(await text(client), 'hello')
  const [{ user, wsAuth } = { user: null, wsAuth: null }] = seen
  t.match(user, { sub: 'ann' })
  t.match(wsAuth, { source: 'message', expiresAt: exp * 1000, user, sub: 'ann' })
  t.equal(app.wsAuth.connections.get(wsAuth?.id ?? ''), wsAuth)
  t.match(statsOf(app), { connections: 1, pending: 0, accepted: 1 })
})

t.test('the deadline for a first message does not move, whatever the client sends', async (t) => {
  const activities: Record<string, (client: RawClient, step: number) => void> = {
    'that is silent': () => {},
    'that sends pings': (client) => client.send(clientFrame(PING, 'alive')),
    'that sends a frame byte by byte': (client, step) => client.send(authFrame().subarray(step, step + 1)),
    'that sends fragments': (client, step) => client.send(fragment(step === 0 ? TEXT : 0, '{"type":"auth"'.charAt(step)))
  }
  for (const [who, act] of Object.entries(activities)) {
    t.test(`the deadline for a first message holds for a client ${who}`, async (t) => {
      const chat = await startChat(t)
      t.clock.travel(Date.now())
      t.clock.enter()
      t.teardown(() => t.clock.exit())
      const client = await connect(t, chat)
      for (let step = 0; step < 9; step++) {
        act(client, step)
        await turns()
        t.clock.advance(1110)
      }
      await turns()
      t.notOk(client.isEnded)
      t.equal(statsOf(chat.app).pending, 1, 'it is waited for 9,990 ms')
      t.clock.advance(20)
      let frame = await client.frame()
      while (frame.opcode === 10) frame = await client.frame()
      t.equal(frame.payload.readUInt16BE(0), 3008)
      t.equal(frame.payload.subarray(2).toString(), 'auth_timeout')
      client.send(authFrame())
      await turns()
      assertNobody(t, chat)
      t.same(statsOf(chat.app).refused, { WS_AUTH_TIMEOUT: 1 })
      t.clock.exit()
    })
  }

  t.test('each app has its own deadline for first messages', async (t) => {
    const chat = await startChat(t, { plugin: { token: { message: { timeout: 30 } } } })
    const client = await upgrade(t, chat.port, { path: '/chat' })
    t.same(await client.close(), { code: 3008, reason: 'auth_timeout' })
    assertNobody(t, chat)
  })

  t.test('the deadline of a first message ends its verification too', async (t) => {
    const signals: AbortSignal[] = []
    const chat = await startChat(t, { plugin: { verify: async (_token, _request, { signal }) => { signals.push(signal); return await never() } } })
    t.clock.travel(Date.now())
    t.clock.enter()
    t.teardown(() => t.clock.exit())
    const client = await connect(t, chat)
    t.clock.advance(9000)
    client.send(authFrame())
    for (let count = 0; signals.length === 0 && count < 100_000; count++) await turns(1)
    t.equal(signals[0]?.aborted, false)
    t.clock.advance(1000)
    t.same(await client.close(), { code: 4503, reason: 'auth_unavailable' })
    t.equal(signals[0]?.aborted, true, 'the verifier is told')
    assertNobody(t, chat)
    t.same(statsOf(chat.app).refused, { WS_AUTH_UNAVAILABLE: 1 })
    t.clock.exit()
  })
})

t.test('listeners see a connection only after its authentication', async (t) => {
  for (const [how, verify] of Object.entries(VERIFIERS)) {
    t.test(`listeners see a connection only after its authentication with ${how}`, async (t) => {
      const events: string[] = []
      const chat = await startChat(t, { plugin: { verify } })
      const { app } = chat
      app.websocketServer.on('connection', (socket, request) => {
        events.push(`${app.websocketServer.clients.has(socket)} ${request.url} ${app.wsAuth.connections.size} ${chat.heard.length}`)
      })
      const broadcast = (): number => { for (const each of app.websocketServer.clients) each.send('secret'); return app.websocketServer.clients.size }
      const client = await connect(t, chat)
      const other = await connect(t, chat)
      t.equal(broadcast(), 0)
      t.equal(app.wsAuth.connections.size, 0)
      t.same([...app.wsAuth.connections], [])
      t.same(events, [])
      t.same(chat.heard, [])

      client.send(authFrame())
      t.equal(await text(client), OK)
      t.same(events, ['true /chat 1 0'], 'once, when it is in both lists, before the handler')
      t.same(chat.heard, ['handler'])
      t.equal(broadcast(), 1)
      t.equal(await text(client), 'secret')
      t.equal(app.wsAuth.connections.bySub('x').length, 1)

      other.send(clientFrame(TEXT, 'no'))
      t.same(await other.close(), TOKEN_INVALID)
      t.equal(broadcast(), 1, 'nor who was refused')
      client.socket.destroy()
      await until(() => app.websocketServer.clients.size === 0 && app.wsAuth.connections.size === 0, 'it is forgotten')
      t.equal(events.length, 1)
    })
  }
})

t.test('the handshake decides before the plugin waits for a first message', async (t) => {
  const settings: ChatSettings = { plugin: { token: { cookie: 'token' } } }

  t.test('the Origin of a handshake without a token must match the host', async (t) => {
    const chat = await startChat(t, settings)
    t.equal((await upgrade(t, chat.port, { path: '/chat', headers: { origin: 'https://evil.example' } })).answer.status, 403)
    t.equal((await upgrade(t, chat.port, { path: '/chat', headers: { origin: 'null' } })).answer.status, 403)
    await connect(t, chat, { headers: { origin: 'http://localhost', host: 'localhost' } })
    t.same(statsOf(chat.app).refused, { WS_AUTH_ORIGIN_FORBIDDEN: 2 })
  })

  t.test('a connection that ends while its hint is sent leaves the sweep', async (t) => {
    const chat = await startChat(t, settings)
    for (const headers of [{ authorization: `Bearer ${sign()}` }, { cookie: `token=${sign()}` }]) {
      const client = await upgrade(t, chat.port, { path: '/chat', headers })
      t.equal(client.answer.status, 101)
      t.equal(statsOf(chat.app).pending, 0)
      client.send(clientFrame(TEXT, 'the first is the app\'s'))
    }
    await until(() => chat.heard.length === 4, 'both messages')
    t.equal(chat.app.wsAuth.connections.size, 2)
  })

  t.test('a bad token in the handshake is refused without waiting for a first message', async (t) => {
    const chat = await startChat(t, settings)
    for (const headers of [{ authorization: 'Bearer no' }, { cookie: 'token=no' }]) {
      t.equal((await upgrade(t, chat.port, { path: '/chat', headers })).answer.status, 401)
    }
    assertNobody(t, chat)
  })

  t.test('a client without a token is anonymous at once on an optional route', async (t) => {
    const chat = await startChat(t, { wsAuth: 'optional' })
    const client = await upgrade(t, chat.port, { path: '/chat' })
    t.equal(client.answer.status, 101)
    client.send(clientFrame(TEXT, 'hello'))
    await until(() => chat.heard.length === 2, 'the message')
    t.match(statsOf(chat.app), { connections: 1, pending: 0 })
  })

  t.test('a dry run of a route with first messages is answered with 426', async (t) => {
    const { app } = await startChat(t)
    const answer = await app.inject({ url: '/chat' })
    t.equal(answer.statusCode, 426)
    t.equal((await app.inject({ url: '/chat', headers: { origin: 'https://evil.example', host: 'localhost' } })).statusCode, 403)
    t.equal(statsOf(app).pending, 0)
  })
})

t.test('the signal of a verifier is not aborted after its answer is accepted', async (t) => {
  const signals: AbortSignal[] = []
  for (const wait of [async () => {}, soon]) {
    const chat = await startChat(t, { plugin: { verify: async (_token, _request, { signal }) => { signals.push(signal); await wait(); return { sub: 'x' } } } })
    const client = await connect(t, chat)
    client.send(authFrame())
    t.equal(await text(client), OK)
  }
  t.same(signals.map(({ aborted }) => aborted), [false, false])
})

t.test('a token that expires during its verification is refused with token_expired', async (t) => {
  const heard: string[] = []
  const { app, port } = await start(t, {
    plugin: { renewal: true, token: { message: true }, user: async () => { await moveClock(60_000); return { sub: 'x' } } },
    routes: (app) => app.get('/chat', { websocket: true }, () => { heard.push('handler') })
  })
  t.teardown(restoreClock)
  const client = await connect(t, { app, port })
  client.send(Buffer.concat([authFrame(sign({ sub: 'x', exp: Math.floor(Date.now() / 1000) + 60 })), clientFrame(TEXT, 'one')]))
  t.same(await client.close(), { code: 3000, reason: 'token_expired' })
  client.send(clientFrame(CLOSE, Buffer.from([3, 232])))
  await within(2000, 'the end: its answer is read', client.ended)
  t.same(heard, [])
  t.match(statsOf(app), { connections: 0, pending: 0 })
})

t.test('a first message authenticates over injectWS', async (t) => {
  async function inject (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}, timeout: number | null = null): Promise<{ app: FastifyInstance, client: WebSocket, heard: string[] }> {
    const heard: string[] = []
    const { app } = await prepare(t, {
      plugin: { ...plugin, token: { message: timeout === null || { timeout } } },
      routes: (app) => app.get('/chat', { websocket: true }, (socket, request) => {
        heard.push(`handler ${request.wsAuth?.sub}`)
        socket.on('message', (data) => { heard.push(String(data)); socket.send(`said ${String(data)}`) })
      })
    })
    const client = await app.injectWS('/chat') as unknown as WebSocket
    t.equal(statsOf(app).pending, 1)
    return { app, client, heard }
  }

  for (const [how, verify] of Object.entries(VERIFIERS)) {
    t.test(`the plugin accepts a first message over injectWS, with ${how}`, async (t) => {
      const { app, client, heard } = await inject(t, { verify })
      const said: string[] = []
      client.on('message', (data) => said.push(String(data)))
      client.send(JSON.stringify({ type: 'auth', token: 'token' }))
      client.send('one')
      client.send('two')
      await until(() => said.length === 3, 'the answers')
      t.same(said.map(plain), [OK, 'said one', 'said two'])
      t.same(heard, ['handler x', 'one', 'two'])
      client.terminate()
      await until(() => app.wsAuth.connections.size === 0, 'it is gone')
    })
  }

  t.test('the plugin refuses a bad first message over injectWS', async (t) => {
    const { app, client, heard } = await inject(t)
    const closed = once(client, 'close')
    client.send('hello')
    const [code, reason] = await within(2000, 'the close frame', closed) as [number, Buffer]
    t.same({ code, reason: String(reason) }, TOKEN_INVALID)
    t.same(heard, [])
    t.equal(statsOf(app).pending, 0)
  })

  t.test('the plugin waits for a first message over injectWS no longer than over a network', async (t) => {
    const { app, client } = await inject(t, {}, 500)
    const [code, reason] = await within(8000, 'the close frame', once(client, 'close')) as [number, Buffer]
    t.same({ code, reason: String(reason) }, { code: 3008, reason: 'auth_timeout' })
    t.equal(statsOf(app).pending, 0)
  })
})

t.test('listeners get all arguments of an event that the app emits on its WebSocket server', async (t) => {
  const { app } = await prepare(t)
  await app.ready()
  const heard: unknown[][] = []
  const server: EventEmitter = app.websocketServer
  for (const event of ['connection', 'other']) server.on(event, (...args: unknown[]) => { heard.push([event, ...args]) })
  server.emit('connection', { socket: 1 }, { request: 1 }, 'who')
  server.emit('other', 1, 2, 3)
  t.strictSame(heard, [['connection', { socket: 1 }, { request: 1 }, 'who'], ['other', 1, 2, 3]])
})
