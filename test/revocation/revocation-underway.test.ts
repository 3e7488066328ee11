/*
 * Revocation in the middle of something else: a handshake, a first message, a handler, an event, the end of the app.
 */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { sign, start, within } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { seconds } from '../helpers/keys'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { eventually, hold, startChat } from '../helpers/renewal-app'
import type { Chat } from '../helpers/renewal-app'
import { REVOKED, answerTo, authFrame, bearer, closeOf } from '../helpers/revoked'
import type { Claims } from '../helpers/revoked'
import { statsOf } from '../helpers/stats'

type Line = Record<string, unknown> & { level: number, msg: string }

t.test('a revocation reaches a first message that waits or is being verified', async (t) => {
  const held = hold()
  let isAsked = false
  const { app, port, log } = await start(t, {
    plugin: { renewal: true, token: { message: true } },
    routes: (app) => {
      app.get('/chat', { websocket: true, wsAuth: { authorize: async () => { isAsked = true; await held.wait(); return true } } }, (socket) => {
        socket.send('the handler was run')
      })
    }
  })
  const [late, early] = [await upgrade(t, port, { path: '/chat' }), await upgrade(t, port, { path: '/chat' })]
  const token = sign({ sub: 'ann', jti: 'j1' })
  early.send(authFrame(token)).send(clientFrame(1, 'behind'))
  await eventually(() => isAsked, 'it is being verified')
  t.equal((await app.wsAuth.revoke({ jti: 'j1' })).closed, 0, 'it is no connection yet')
  held.release()
  t.strictSame(await early.close(), REVOKED)
  t.strictSame(await late.send(authFrame(token)).close(), REVOKED)
  t.equal(app.wsAuth.connections.size, 0)
  t.strictSame(statsOf(app).closed, { token_revoked: 1 })
  t.strictSame(statsOf(app).refused, { WS_AUTH_TOKEN_REVOKED: 1 })
  t.equal(log.filter((line) => (JSON.parse(line) as Line).event === 'accepted').length, 1, 'one was told of, and its end')
})

t.test('a message after the one that revokes does not reach the handler', async (t) => {
  const heard: string[] = []
  const { app, port } = await start(t, {
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket) => {
        socket.on('message', (data) => {
          heard.push(String(data))
          if (String(data) === 'log me out') void app.wsAuth.revoke({ sub: 'ann' })
        })
        for (const event of ['ping', 'pong'] as const) socket.on(event, () => heard.push(event))
      })
    }
  })
  const client = await upgrade(t, port, { path: '/chat', ...bearer(sign({ sub: 'ann', iat: seconds(-10) })) })
  client.send(Buffer.concat([clientFrame(1, 'one'), clientFrame(1, 'log me out'), clientFrame(1, 'two'), clientFrame(9, ''), clientFrame(2, 'three'), clientFrame(10, '')]))
  t.strictSame(await client.close(), REVOKED)
  for (let i = 0; i < 20; i++) client.send(clientFrame(1, `late ${i}`))
  client.send(clientFrame(8, Buffer.from([0x0b, 0xb8])))
  await within(5000, 'the connection is gone', client.ended)
  t.strictSame(heard, ['one', 'log me out'])
  t.equal(statsOf(app).closed.token_revoked, 1)
})

t.test('an app may revoke a connection inside its own functions', async (t) => {
  const claims = { sub: 'ann', jti: 'j1', iat: seconds(-10) }
  const results: number[] = []
  const revoke = (app: FastifyInstance): void => { void app.wsAuth.revoke({ jti: 'j1' }).then(({ closed }) => results.push(closed)) }
  const places: Record<string, [closed: number[], (app: FastifyInstance) => fastifyWsAuth.RouteWsAuth | undefined, (app: FastifyInstance, socket: WebSocket) => void]> = {
    'a handler': [[1], () => true, (app) => revoke(app)],
    authorize: [[0], (app) => ({ authorize: () => { revoke(app); return true } }), () => {}],
    'authorize, later': [[0], (app) => ({ authorize: async () => { await Promise.resolve(); revoke(app); return true } }), () => {}],
    'a listener for its own close': [[1, 0], () => true, (app, socket) => { socket.on('close', () => revoke(app)); revoke(app) }]
  }
  for (const [place, [expected, wsAuth, handle]] of Object.entries(places)) {
    await t.test(`a revocation inside ${place} closes the connection once`, async (t) => {
      results.length = 0
      let isRun = false
      const { app, port } = await start(t, {
        routes: (app) => { app.get('/chat', { websocket: true, wsAuth: wsAuth(app) }, (socket) => { isRun = true; handle(app, socket) }) }
      })
      const client = await upgrade(t, port, { path: '/chat', ...bearer(sign(claims)) })
      t.equal(client.answer.status, 101)
      t.strictSame(await client.close(), REVOKED)
      client.send(clientFrame(8, Buffer.from([0x0b, 0xb8])))
      await client.ended
      // The close event of the server's socket waits for the other half.
      client.socket.end()
      await eventually(() => results.length === expected.length, 'all have been answered')
      t.strictSame(results, expected)
      t.equal(isRun, !place.startsWith('authorize'), 'a handler of who is revoked is not run')
      t.strictSame(statsOf(app).closed, { token_revoked: 1 }, 'it ends once')
      t.equal(app.wsAuth.connections.size, 0)
      t.equal(await answerTo(t, port, sign(claims)), '401 WS_AUTH_TOKEN_REVOKED')
    })
  }
})

t.test('a subscriber that revokes the next connection at each close closes each once', async (t) => {
  const { app, connect } = await startChat(t)
  const chats: Chat[] = []
  for (let i = 0; i < 5; i++) chats.push(await connect(sign({ sub: 'ann', jti: `j${i}`, iat: seconds(-10) })))
  let next = 0
  const inner: Array<Promise<fastifyWsAuth.CommandResult>> = []
  onDecision(t, ({ event }) => { if (event === 'closed' && ++next < 5) inner.push(app.wsAuth.revoke({ jti: `j${next}` })) })
  const { closed } = await app.wsAuth.revoke({ sub: 'ann' })
  const closedInside = (await Promise.all(inner)).reduce((sum, { closed }) => sum + closed, 0)
  for (const chat of chats) t.strictSame(await closeOf(chat), REVOKED)
  t.strictSame(statsOf(app).closed, { token_revoked: 5 })
  t.equal(inner.length, 4)
  t.strictSame([closed, closedInside], [5, 0], 'the first command has decided about all of them')
})

t.test('a revocation during and after the close of the app is answered and closes no connection twice', async (t) => {
  const { app, connect } = await startChat(t)
  const chats = [await connect(sign({ sub: 'ann', iat: seconds(-10) })), await connect(sign({ sub: 'ann', iat: seconds(-10) }))]
  const closing = app.close()
  const during = await within(5000, 'an answer', app.wsAuth.revoke({ sub: 'ann' }))
  await within(10_000, 'the end of the app', closing)
  const after = await within(5000, 'an answer', app.wsAuth.disconnect({ sub: 'ann' }))
  const reasons = [(await closeOf(chats[0] as Chat)).reason, (await closeOf(chats[1] as Chat)).reason]
  t.equal(during.closed + after.closed, reasons.filter((reason) => reason === 'token_revoked').length)
  t.equal(Object.values(statsOf(app).closed).reduce((sum, count) => sum + count, 0), 2, 'each ended once')
})

t.test('a revocation during any step of a handshake ends its connection before the handler runs', async (t) => {
  const claims = { sub: 'ann', jti: 'j1', iat: seconds(-10) }
  let held = hold()
  let isHeld = false
  const wait = async <T>(value: T): Promise<T> => { isHeld = true; await held.wait(); return value }
  const steps: Record<string, [fastifyWsAuth.WsAuthOptions, fastifyWsAuth.RouteWsAuth, afterCheck: boolean]> = {
    verify: [{ verify: async () => await wait(claims) }, true, false],
    user: [{ verify: () => claims, user: async (claims: object) => await wait(claims) } as never, true, true],
    authorize: [{ verify: () => claims }, { authorize: async () => await wait(true) }, true],
    'a later hook': [{ verify: () => claims }, true, true]
  }
  for (const [step, [plugin, wsAuth, isAfterCheck]] of Object.entries(steps)) {
    await t.test(`a revocation during ${step} ends the connection before the handler runs`, async (t) => {
      held = hold()
      isHeld = false
      let isRun = false
      const { app, port } = await start(t, {
        plugin,
        routes: (app) => {
          if (step === 'a later hook') app.addHook('preHandler', async () => { await wait(null) })
          app.get('/chat', { websocket: true, wsAuth }, () => { isRun = true })
        }
      })
      const handshake = upgrade(t, port, { path: '/chat', ...bearer('x') })
      await eventually(() => isHeld, 'it is under way')
      t.equal((await app.wsAuth.revoke({ jti: 'j1' })).closed, 0, 'it is no connection yet')
      held.release()
      const client = await handshake
      if (isAfterCheck) {
        t.equal(client.answer.status, 101)
        t.strictSame(await client.close(), REVOKED)
        t.strictSame(statsOf(app).closed, { token_revoked: 1 })
      } else {
        t.equal((JSON.parse(client.answer.body) as { code: string }).code, 'WS_AUTH_TOKEN_REVOKED')
      }
      t.notOk(isRun)
      t.equal(app.wsAuth.connections.size, 0)
    })
  }
})

t.test('a revocation of the token behind a required ticket reaches the first message beside it', async (t) => {
  const held = hold()
  let isHeld = false
  const { app, port } = await start(t, {
    plugin: { tickets: { require: true }, renewal: true, token: { message: true } },
    routes: (app) => {
      app.get('/chat', { websocket: true, wsAuth: { authorize: async ({ jti }: Claims) => { if (jti === 'slow') { isHeld = true; await held.wait() } return true } } as never }, (socket) => {
        socket.send('the handler was run')
      })
    }
  })
  const open = async (): Promise<Awaited<ReturnType<typeof upgrade>>> => {
    const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann', jti: 'of the ticket', iat: seconds(-10) })
    return await upgrade(t, port, { path: `/chat?ticket=${ticket}` })
  }
  const [before, during, good] = [await open(), await open(), await open()]
  during.send(authFrame(sign({ sub: 'ann', jti: 'slow' })))
  await eventually(() => isHeld, 'its token is verified')
  good.send(authFrame(sign({ sub: 'ann', jti: 'good' })))
  t.match(String((await good.frame()).payload), 'auth.ok')
  t.equal((await app.wsAuth.revoke({ jti: 'of the ticket' })).closed, 0, 'who has a token of their own is that token\'s')
  held.release()
  t.strictSame(await during.close(), REVOKED)
  t.strictSame(await before.send(authFrame(sign({ sub: 'ann', jti: 'good' }))).close(), REVOKED)
  t.equal(app.wsAuth.connections.size, 1)
})

t.test('a connection that a listener for new sockets revokes never reaches its handler', async (t) => {
  let isRun = false
  const { app, port } = await start(t, { routes: (app) => { app.get('/chat', { websocket: true }, () => { isRun = true }) } })
  app.websocketServer.on('connection', () => { void app.wsAuth.revoke({ sub: 'ann' }) })
  const client = await upgrade(t, port, { path: '/chat', ...bearer(sign({ sub: 'ann', iat: seconds(-10) })) })
  t.equal(client.answer.status, 101)
  t.strictSame(await client.close(), REVOKED)
  t.notOk(isRun)
  t.strictSame(statsOf(app).closed, { token_revoked: 1 })
})
