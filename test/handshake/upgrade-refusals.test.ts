/*
 * What a refusal looks like: a status, or an accepted connection that is closed with a code; and what the steps of the app may
 * answer or throw.
 */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import { prepare, sign, start, until, within } from '../helpers/app'
import type { AppSettings } from '../helpers/app'
import { addChat, AUTHORIZED, serverSockets, TOKEN, turns, UNAVAILABLE } from '../helpers/chat'
import { eventually, moveClock } from '../helpers/moved-clock'
import { clientFrame, upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

t.test('rejectWith decides between a status and a close code', async (t) => {
  const expired = sign({ sub: 'x', exp: 1 })
  const refusals: Array<[string, RequestSettings['headers'], number, string, number]> = [
    ['/chat', {}, 3000, 'token_missing', 401],
    ['/chat', { authorization: 'Bearer x' }, 3000, 'token_invalid', 401],
    ['/chat', { authorization: `Bearer ${expired}` }, 3000, 'token_expired', 401],
    [`/chat?token=${TOKEN}`, AUTHORIZED, 3000, 'token_ambiguous', 400],
    ['/admin', AUTHORIZED, 3003, 'forbidden', 403],
    ['/origin', { ...AUTHORIZED, origin: 'https://evil.example' }, 3003, 'origin_forbidden', 403],
    ['/failing', AUTHORIZED, 4503, 'auth_unavailable', 503]
  ]
  const routes = (app: FastifyInstance): void => {
    addChat(app)
    addChat(app, '/admin', { roles: ['admin'] })
    addChat(app, '/origin', { origin: ['https://example.com'] })
    addChat(app, '/failing', { authorize: () => { throw new Error('thrown by a test') } })
    addChat(app, '/http', { rejectWith: 'http' })
  }
  t.test('rejectWith \'close\' accepts and closes with a code', async (t) => {
    const ran: string[] = []
    const { app, port } = await start(t, {
      plugin: { rejectWith: 'close' },
      before: (app) => {
        for (const hook of ['preHandler', 'onError', 'onSend', 'onResponse'] as const) app.addHook(hook, async () => { ran.push(hook) })
        app.setErrorHandler(async () => { ran.push('error handler') })
      },
      routes
    })
    for (const [path, headers, code, reason] of refusals) {
      const client = await upgrade(t, port, { path, headers })
      t.equal(client.answer.status, 101)
      t.equal(client.answer.headers['sec-websocket-protocol'], undefined)
      t.same(await client.close(), { code, reason })
      client.send(clientFrame(8, Buffer.from([code >> 8, code & 255])))
      await client.ended
      client.socket.end()
      t.equal(client.rest.length, 0, 'nothing but the close frame comes')
    }
    t.same(ran, [], 'no hook runs for them')
    t.equal(statsOf(app).accepted, 0)
    t.equal(statsOf(app).connections, 0)
    t.equal(statsOf(app).pending, 0)
    t.same(statsOf(app).refused, {
      WS_AUTH_TOKEN_MISSING: 1,
      WS_AUTH_TOKEN_INVALID: 1,
      WS_AUTH_TOKEN_EXPIRED: 1,
      WS_AUTH_TOKEN_AMBIGUOUS: 1,
      WS_AUTH_FORBIDDEN: 1,
      WS_AUTH_ORIGIN_FORBIDDEN: 1,
      WS_AUTH_UNAVAILABLE: 1
    })
    await until(() => app.websocketServer.clients.size === 0, 'ws has forgotten them')
  })
  t.test('rejectWith \'close\' echoes a subprotocol if some were offered', async (t) => {
    const { port } = await start(t, { plugin: { rejectWith: 'close' }, routes })
    for (const [offered, echoed] of [['chat, superchat', 'chat'], [`bearer, ${expired}`, 'bearer'], [`bearer, ${expired}, chat`, 'chat'], [`${expired}x`, `${expired}x`]] as const) {
      const client = await upgrade(t, port, { path: '/chat', headers: { 'sec-websocket-protocol': offered } })
      t.equal(client.answer.headers['sec-websocket-protocol'], echoed)
      t.equal((await client.close()).code, 3000)
    }
  })
  t.test('rejectWith \'close\' closes with the codes of closeCodes', async (t) => {
    const closeCodes = { unauthorized: 4401, forbidden: 4403 }
    const { port } = await start(t, {
      plugin: { rejectWith: 'close', closeCodes },
      routes: (app) => { addChat(app); addChat(app, '/admin', { roles: ['admin'] }); addChat(app, '/own', { roles: ['admin'], closeCodes: { forbidden: 1008 } }) }
    })
    t.same(await (await upgrade(t, port, { path: '/chat' })).close(), { code: 4401, reason: 'token_missing' })
    t.same(await (await upgrade(t, port, { path: '/admin', headers: AUTHORIZED })).close(), { code: 4403, reason: 'forbidden' })
    t.same(await (await upgrade(t, port, { path: '/own', headers: AUTHORIZED })).close(), { code: 1008, reason: 'forbidden' })
    t.same(await (await upgrade(t, port, { path: '/own' })).close(), { code: 4401, reason: 'token_missing' })
  })
  t.test('rejectWith \'auto\' closes if there is an Origin, and else answers with the status', async (t) => {
    const { port } = await start(t, { plugin: { rejectWith: 'auto' }, routes })
    for (const [path, headers, code, reason, status] of refusals) {
      const client = await upgrade(t, port, { path, headers: { origin: 'https://example.com', ...headers } })
      t.equal(client.answer.status, 101)
      t.same(await client.close(), { code, reason })
      if (path === '/origin') continue
      t.equal((await upgrade(t, port, { path, headers })).answer.status, status)
    }
    t.equal((await upgrade(t, port, { path: '/http', headers: { origin: 'https://example.com' } })).answer.status, 401)
  })
  t.test('rejectWith \'close\' leaves a dry run its status', async (t) => {
    const { app } = await prepare(t, { plugin: { rejectWith: 'close' }, routes })
    t.equal((await app.inject('/chat')).statusCode, 401)
    t.equal((await app.inject({ url: '/admin', headers: AUTHORIZED })).statusCode, 403)
  })
  t.test('the socket of a refused client that does not answer the close frame is gone within 6 s', async (t) => {
    const { app, port } = await start(t, { plugin: { rejectWith: 'close' }, routes })
    const sockets = serverSockets(app)
    const clock = moveClock(t)
    const client = await upgrade(t, port, { path: '/chat' })
    t.same(await client.close(), { code: 3000, reason: 'token_missing' })
    const timer = setInterval(() => client.socket.destroyed || client.send(clientFrame(9, 'alive')), 200)
    t.teardown(() => clearInterval(timer))
    await clock.pass(6000)
    await eventually(clock, () => sockets[0]?.destroyed === true, 'the socket is destroyed')
    t.equal(statsOf(app).pending, 0)
  })
  // A client that was refused may go on sending for 5 s, and ws would collect each message up to maxPayload (100 MiB).
  t.test('the server reads no more than a close frame from a refused client', async (t) => {
    const { app, port } = await start(t, { plugin: { rejectWith: 'close' }, routes })
    const sockets = serverSockets(app)
    const client = await upgrade(t, port, { path: '/chat' })
    await client.close()
    const SIZE = 32 * 2 ** 20
    const head = Buffer.from([0x82, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0])
    head.writeUInt32BE(2 ** 26, 6)
    client.send(head)
    const isSent = new Promise<void>((resolve) => client.socket.write(Buffer.alloc(SIZE), () => resolve()))
    await within(3000, 'all is sent, or the server closes', Promise.race([isSent, client.closed]))
    await until(() => sockets[0]?.destroyed === true || (sockets[0]?.bytesRead ?? 0) > SIZE, 'all is read, or the server closes', 3000)
    t.ok((sockets[0]?.bytesRead ?? 0) < SIZE / 2, `${sockets[0]?.bytesRead} bytes were read`)
  })
})

// What `then` returns is nobody's business: `await` would wait for these, and so must a step of the handshake.
t.test('the plugin waits for a thenable that is not a promise', async (t) => {
  // What is thrown into it is lost, so that one case does not end all others.
  const later = (answer: unknown): never => ({
    then: (resolve: (answer: unknown) => void) => { setImmediate(() => { try { resolve(answer) } catch {} }) }
  }) as never
  const cases: Record<string, [AppSettings['plugin'], fastifyWsAuth.RouteWsAuth, number]> = {
    'authorize that says no': [{}, { authorize: () => later(false) }, 403],
    'authorize that says yes': [{}, { authorize: () => later(true) }, 101],
    'origin that says no': [{ origin: () => later(false) }, true, 403],
    'user that returns no user': [{ user: () => later(null) }, true, 401],
    'verify that says no': [{ verify: () => later(null) }, true, 401],
    'trusted that says no': [{ jwt: { secret: 'thirty-two bytes of test secret!', trusted: () => later(false) } }, true, 401]
  }
  for (const [what, [plugin, wsAuth, status]] of Object.entries(cases)) {
    t.test(`the plugin waits for a thenable: ${what}`, async (t) => {
      const { port } = await start(t, { plugin, routes: (app) => { addChat(app, '/chat', wsAuth) } })
      const { answer } = await upgrade(t, port, { path: '/chat', headers: { ...AUTHORIZED, origin: 'https://example.com' } })
      await turns()
      t.equal(answer.status, status)
    })
  }
  t.test('the first answer of a thenable counts if it answers twice', async (t) => {
    const twice = { then: (resolve: (answer: unknown) => void) => { resolve(false); resolve(true) } } as never
    const { port } = await start(t, { routes: (app) => { addChat(app, '/chat', { authorize: () => twice }) } })
    t.equal((await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })).answer.status, 403)
  })
})

t.test('a handshake is 503 if a function of the app throws, whatever the value', async (t) => {
  const thrown: Record<string, unknown> = {
    undefined,
    null: null,
    string: 'a string',
    symbol: Symbol('x'),
    bigint: 1n,
    'without a prototype': Object.create(null),
    'a code without a prototype': { code: Object.create(null) },
    'a message that is a symbol': Object.assign(new Error('x'), { message: Symbol('x') }),
    'a message without a prototype': Object.assign(new Error('x'), { message: Object.create(null) }),
    'a getter that throws': Object.defineProperty(new Error('x'), 'cause', { get: () => { throw new Error('y') } }),
    'a cause that is itself': (() => { const error = new Error('x'); error.cause = error; return error })()
  }
  for (const [what, error] of Object.entries(thrown)) {
    for (const isAsync of [false, true]) {
      for (const where of ['verify', 'authorize'] as const) {
        t.test(`a handshake is 503 if ${where} ${isAsync ? 'rejects with' : 'throws'} ${what}`, async (t) => {
          const fail = isAsync ? async (): Promise<never> => await Promise.reject(error) : (): never => { throw error }
          const { app, port } = await start(t, {
            plugin: { handshakeTimeout: 500, ...where === 'verify' ? { verify: fail } : {} },
            routes: (app) => { addChat(app, '/chat', where === 'authorize' ? { authorize: fail } : true) }
          })
          // Reading such an error throws again: that must not be a 500, an unhandled rejection or a wait for the deadline.
          const { answer } = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
          t.equal(answer.body, UNAVAILABLE)
          t.same(statsOf(app).refused, { WS_AUTH_UNAVAILABLE: 1 })
        })
      }
    }
  }
})
