/*
 * `app.close()` while handshakes are under way and while more of them arrive: it resolves, and no client gets in.
 */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { prepare, sign, start, until, within } from '../helpers/app'
import type { AppSettings } from '../helpers/app'
import { clientFrame, plainText, RawClient, requestText, upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const COUNT = 10
const AUTHORIZED = { authorization: `Bearer ${sign()}` }
const UNAVAILABLE = '{"statusCode":503,"code":"WS_AUTH_UNAVAILABLE","error":"Service Unavailable","message":"Authentication is unavailable"}'
/** That of Fastify itself, for all requests that arrive while it closes. */
const CLOSING = '{"error":"Service Unavailable","code":"FST_ERR_REOPENED_CLOSE_SERVER","message":"Service Unavailable","statusCode":503}'

const never = async (): Promise<never> => await new Promise(() => {})

/** Something to wait for that a test releases. */
function gate (): { wait: () => Promise<void>, reached: Promise<void>, release: () => void } {
  let release = (): void => {}
  let reach = (): void => {}
  const released = new Promise<void>((resolve) => { release = resolve })
  const reached = new Promise<void>((resolve) => { reach = resolve })
  return { wait: async () => { reach(); await released }, reached, release }
}

function addChat (app: FastifyInstance): void {
  app.get('/chat', { websocket: true }, (socket) => { socket.send('hello') })
}

async function openAll (t: Parameters<typeof RawClient.open>[0], port: number, count = COUNT): Promise<RawClient[]> {
  return await Promise.all(Array.from({ length: count }, async () => await RawClient.open(t, port)))
}

const PLACES: Record<string, AppSettings> = {
  'the verifier': { plugin: { verify: never } },
  'a user function': { plugin: { user: never } },
  'a hook before the handshake': { before: (app) => app.addHook('onRequest', never) },
  'a hook after the handshake': { before: (app) => app.addHook('preHandler', never) },
  'an error handler': { plugin: { verify: () => null }, before: (app) => app.setErrorHandler(never) },
  'a hook that sends': { plugin: { verify: () => null }, before: (app) => app.addHook('onSend', never) }
}

t.test('handshakes that hang do not delay app.close()', async (t) => {
  for (const [place, { plugin, ...settings }] of Object.entries(PLACES)) {
    for (const rejectWith of ['http', 'close'] as const) {
      if (rejectWith === 'close' && plugin?.verify !== undefined && plugin.verify !== never) continue
      t.test(`handshakes that hang in ${place} do not delay app.close(), with rejectWith '${rejectWith}'`, async (t) => {
        const { app, port } = await start(t, { ...settings, plugin: { ...plugin, rejectWith }, routes: addChat })
        const clients = await openAll(t, port)
        for (const client of clients) client.upgrade({ path: '/chat', headers: AUTHORIZED })
        await until(() => statsOf(app).pending === COUNT, 'all are pending')
        await new Promise((resolve) => setImmediate(resolve))

        await within(2000, 'app.close()', app.close())
        for (const client of clients) {
          const { status, body } = await client.response()
          t.equal(status, 503)
          t.equal(body, UNAVAILABLE)
          await within(1000, 'the socket is destroyed', client.ended)
          t.equal(client.rest.length, 0, 'nothing comes after the answer')
        }
        t.equal(statsOf(app).pending, 0)
        t.equal(statsOf(app).accepted, 0)
      })
    }
  }
})

t.test('the signal of a verifier is aborted by app.close(), and its late answer admits no client', async (t) => {
  const signals: AbortSignal[] = []
  const { wait, release } = gate()
  const ran: string[] = []
  const { app, port } = await start(t, {
    plugin: { verify: async (_token, _request, { signal }) => { signals.push(signal); await wait(); return { sub: 'x' } } },
    routes: (app) => {
      app.addHook('preHandler', async () => { ran.push('preHandler') })
      app.get('/chat', { websocket: true }, () => { ran.push('handler') })
    }
  })
  const client = await RawClient.open(t, port)
  client.upgrade({ path: '/chat', headers: AUTHORIZED })
  await until(() => signals.length === 1, 'the verifier is asked')
  const closed = app.close()
  await until(() => signals[0]?.aborted === true, 'the verifier is told')
  release()
  await within(2000, 'app.close()', closed)
  t.equal((await client.response()).body, UNAVAILABLE)
  t.same(ran, [])
  t.equal(statsOf(app).accepted, 0)
})

t.test('the log says that a handshake is refused because the server closes', async (t) => {
  const { app, port, log } = await start(t, { plugin: { verify: never }, routes: addChat })
  const client = await RawClient.open(t, port)
  client.upgrade({ path: '/chat', headers: AUTHORIZED })
  await until(() => statsOf(app).pending === 1, 'it is pending')
  await app.close()
  t.ok(log.some((line) => line.includes('the server is closing')))
})

t.test('a client that neither reads nor leaves does not delay app.close()', async (t) => {
  const { app, port } = await start(t, {
    plugin: { verify: never },
    before: (app) => app.setErrorHandler((_error, _request, reply) => reply.code(503).send('x'.repeat(2 ** 23))),
    routes: addChat
  })
  const client = await RawClient.open(t, port)
  client.socket.pause()
  client.upgrade({ path: '/chat', headers: AUTHORIZED })
  await until(() => statsOf(app).pending === 1, 'it is pending')
  await within(2500, 'app.close()', app.close())
})

t.test('a refused client that never answers the close frame delays app.close() by 5 s at most', async (t) => {
  const { app, port } = await start(t, { plugin: { rejectWith: 'close' }, routes: addChat })
  const client = await upgrade(t, port, { path: '/chat' })
  t.same(await client.close(), { code: 3000, reason: 'token_missing' })
  const timer = setInterval(() => client.socket.destroyed || client.send(clientFrame(9, 'alive')), 100)
  t.teardown(() => clearInterval(timer))
  await within(5500, 'app.close()', app.close())
})

// It has no upgrade, and would hold app.close() up until its own deadline, 10 s by default.
t.test('a dry run that hangs does not delay app.close()', async (t) => {
  const { wait, reached } = gate()
  const { app, port } = await start(t, { plugin: { verify: wait, handshakeTimeout: 5000 }, routes: addChat })
  const client = await RawClient.open(t, port)
  client.send(plainText({ path: '/chat', headers: AUTHORIZED }))
  await reached
  await within(2000, 'app.close()', app.close()).catch((error: Error) => t.fail(error.message))
  t.equal((await client.response()).body, UNAVAILABLE)
})

t.test('handshakes that arrive while the app closes are refused', async (t) => {
  const waysToClose: Record<string, { settings: AppSettings, answers: string[] }> = {
    'before anything was closed': { settings: {}, answers: [UNAVAILABLE, CLOSING] },
    'without Fastify\'s own 503': { settings: { server: { return503OnClosing: false } }, answers: [UNAVAILABLE] },
    'with a preClose that leaves the listener of @fastify/websocket': {
      settings: { plugin: { websocket: { preClose: (done) => { done() } } } },
      answers: [UNAVAILABLE]
    },
    'with that and without Fastify\'s own 503': {
      settings: { server: { return503OnClosing: false }, plugin: { websocket: { preClose: (done) => { done() } } } },
      answers: [UNAVAILABLE]
    }
  }
  for (const [way, { settings, answers }] of Object.entries(waysToClose)) {
    t.test(`handshakes that arrive while the app closes get 503, ${way}`, async (t) => {
      const { wait, reached, release } = gate()
      const ran: string[] = []
      const { app, port } = await start(t, {
        ...settings,
        plugin: { ...settings.plugin, jwt: undefined, verify: () => { ran.push('verify'); return { sub: 'x' } } },
        routes: (app) => { addChat(app); app.addHook('preClose', wait) }
      })
      // On connections that were open before, new ones, and one that had a request before.
      const clients = await openAll(t, port, 10)
      const used = await RawClient.open(t, port)
      used.send(plainText({ path: '/nowhere' }))
      t.equal((await used.response()).status, 404)

      const closed = app.close()
      await reached
      clients.push(used, ...await openAll(t, port, 10))
      for (const client of clients) client.upgrade({ path: '/chat', headers: AUTHORIZED })
      for (const client of clients) {
        const { status, body } = await within(1000, 'an answer', client.response())
        t.equal(status, 503)
        t.ok(answers.includes(body), body)
        await within(1000, 'the socket is destroyed', client.ended)
        t.equal(client.rest.length, 0, 'one answer and no other')
      }
      t.equal(statsOf(app).pending, 0)
      release()
      await within(2000, 'app.close()', closed)
      t.same(ran, [])
      t.equal(statsOf(app).accepted, 0)
    })
  }

  t.test('no handshake is accepted after app.close() is called, whenever it comes', async (t) => {
    const { app, port } = await start(t, { plugin: { verify: async () => ({ sub: 'x' }) }, routes: addChat })
    const clients = await openAll(t, port, 200)
    let closed: Promise<undefined> | undefined
    for (const [i, client] of clients.entries()) {
      client.upgrade({ path: '/chat', headers: AUTHORIZED })
      if (i === 100) closed = app.close()
      if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
      // Those that were accepted are good clients: they answer the close frame.
      client.socket.on('data', () => { if (client.text.includes('101')) client.socket.end(clientFrame(8, '')) })
    }
    await within(5000, 'app.close()', closed ?? Promise.reject(new Error('was not closed')))
    t.equal(app.wsAuth.connections.size, 0)
    t.equal(statsOf(app).pending, 0)
    await Promise.all(clients.map(async (client) => await within(1000, 'the socket is gone', client.ended)))
    for (const client of clients.slice(110)) t.notMatch(client.text, '101 Switching Protocols')
  })

  // @fastify/websocket has taken its listeners away, and Node its own: a socket that breaks while the 503 is written
  // would emit an 'error' that nobody listens to, and the process would die.
  t.test('the plugin listens to errors of sockets that arrive while the app closes', async (t) => {
    const { wait, reached, release } = gate()
    const { app, port } = await start(t, { routes: (app) => { addChat(app); app.addHook('preClose', wait) } })
    const listeners: number[] = []
    const closed = app.close()
    await reached
    app.server.on('upgrade', (_request, socket) => {
      listeners.push(socket.listenerCount('error'))
      socket.on('error', () => {})
      socket.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))
    })
    const client = await RawClient.open(t, port)
    client.upgrade({ path: '/chat', headers: AUTHORIZED })
    await client.ended
    release()
    await within(2000, 'app.close()', closed)
    t.equal(listeners.length, 1)
    t.ok((listeners[0] ?? 0) > 0)
  })

  t.test('handshakes that are reset while the app closes leave app.close() to succeed', async (t) => {
    const { wait, reached, release } = gate()
    const { app, port } = await start(t, { routes: (app) => { addChat(app); app.addHook('preClose', wait) } })
    const clients = await openAll(t, port, 100)
    const closed = app.close()
    await reached
    for (const { socket } of clients) socket.write(requestText({ path: '/chat', headers: AUTHORIZED }), () => socket.resetAndDestroy())
    await Promise.all(clients.map(async (client) => await client.closed))
    release()
    await within(2000, 'app.close()', closed)
    t.equal(statsOf(app).pending, 0)
  })
})

t.test('a connection by injectWS after app.close() is refused', async (t) => {
  const { app } = await prepare(t, { routes: addChat })
  await app.close()
  await t.rejects(within(1000, 'an answer', app.injectWS('/chat', { headers: AUTHORIZED })), { message: 'Unexpected server response: 503' })
})

for (const [what, before] of [
  ['without a hook', undefined],
  ['with an async onSend hook that takes 20 ms', (app: FastifyInstance) => app.addHook('onSend', async () => { await new Promise((resolve) => setTimeout(resolve, 20)) })]
] as const) {
  for (const rejectWith of ['http', 'close'] as const) {
    t.test(`app.close() answers 503 to each client whose verifier never settles, ${what} and with rejectWith '${rejectWith}'`, async (t) => {
      const signals: AbortSignal[] = []
      const verify = async (_token: string, _request: unknown, { signal }: { signal: AbortSignal }): Promise<never> => { signals.push(signal); return await never() }
      const { app, port } = await start(t, { before, plugin: { verify, rejectWith, tickets: true }, routes: addChat })
      const upgrades = await openAll(t, port, 10)
      for (const client of upgrades) client.upgrade({ path: '/chat', headers: AUTHORIZED })
      const plain = await openAll(t, port, 4)
      for (const [i, client] of plain.entries()) client.send(plainText({ ...i % 2 === 0 ? { path: '/chat' } : { method: 'POST', path: '/ws-ticket' }, headers: AUTHORIZED }))
      await until(() => signals.length === 14, 'all are verified')
      t.equal(statsOf(app).pending, 14)

      await within(5000, 'app.close()', app.close())
      for (const client of [...upgrades, ...plain]) {
        const { status, headers, body } = await client.response()
        t.equal(`${status} ${body}`, `503 ${UNAVAILABLE}`)
        t.equal(headers.connection, 'close')
        await within(5000, 'the socket is ended', client.ended)
        t.equal(client.rest.length, 0, 'nothing follows the answer')
      }
      t.ok(signals.every(({ aborted }) => aborted), 'each verification is told')
      t.equal(statsOf(app).refused.WS_AUTH_UNAVAILABLE, 12, 'dry runs are not counted')
      t.match(statsOf(app), { pending: 0, connections: 0, accepted: 0 })
    })
  }
}
