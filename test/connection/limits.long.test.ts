/*
 * How many may be here at once: connections of one user, and handshakes and first messages that are waited for. Whatever
 * becomes of who took a place, it comes back.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import fastifyWsAuth from '../../lib/index'
import type { WsAuthErrorCode } from '../../lib/index'
import { prepare, sign, start, until, within } from '../helpers/app'
import type { AppSettings, StartedApp } from '../helpers/app'
import { clientFrame, plainText, RawClient, upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

type Test = Parameters<typeof RawClient.open>[0]
type Options = fastifyWsAuth.WsAuthOptions
type Verify = NonNullable<Options['verify']>

const BUSY_BODY = '{"statusCode":503,"code":"WS_AUTH_BUSY","error":"Service Unavailable","message":"The server is busy"}'
const LIMIT_BODY = '{"statusCode":429,"code":"WS_AUTH_LIMIT","error":"Too Many Requests","message":"Too many connections"}'
const ANN = { authorization: `Bearer ${sign({ sub: 'ann' })}` }
const never = async (): Promise<never> => await new Promise(() => {})
/** Takes its time, and not always the same. */
const slow: Verify = async () => {
  await new Promise((resolve) => setTimeout(resolve, Math.random() * 20))
  return { sub: 'ann' }
}
const atOnce: Verify = () => ({ sub: 'ann' })

function authFrame (token = sign({ sub: 'ann' })): Buffer {
  return clientFrame(1, JSON.stringify({ type: 'auth', token }))
}

function addChat (app: FastifyInstance): void {
  app.get('/chat', { websocket: true }, () => {})
  app.get('/public', { websocket: true, wsAuth: false }, () => {})
  app.get('/optional', { websocket: true, wsAuth: 'optional' }, () => {})
}

async function startChat (t: Test, plugin: Options, settings: AppSettings = {}): Promise<StartedApp> {
  return await start(t, { ...settings, plugin, routes: async (app) => { await settings.routes?.(app); addChat(app) } })
}

/** What a user is told: that the connection is open, or why it is not. */
type Outcome = 'open' | number

/** One attempt, by header or by first message. */
async function attempt (t: Test, port: number, byMessage: boolean): Promise<{ client: RawClient, outcome: Outcome }> {
  const client = await upgrade(t, port, { path: '/chat', headers: byMessage ? {} : ANN })
  if (client.answer.status !== 101) return { client, outcome: client.answer.status }
  if (!byMessage) return { client, outcome: 'open' }
  const { opcode, payload } = await client.send(authFrame()).frame()
  return { client, outcome: opcode === 8 ? payload.readUInt16BE(0) : 'open' }
}

async function attemptMany (t: Test, port: number, count: number, byMessage: (i: number) => boolean): Promise<Array<{ client: RawClient, outcome: Outcome }>> {
  return await Promise.all(Array.from({ length: count }, async (_, i) => await attempt(t, port, byMessage(i))))
}

function count<T> (values: T[], value: T): number {
  return values.filter((each) => each === value).length
}

const MIXES: Record<string, (i: number) => boolean> = {
  'by header': () => false,
  'by first message': () => true,
  'by either': (i) => i % 2 === 0
}

t.test('a user has no more than limits.perUser connections, however many come at once', async (t) => {
  for (const [speed, verify] of Object.entries({ slowly: slow, 'at once': atOnce })) {
    for (const [mix, byMessage] of Object.entries(MIXES)) {
      t.test(`limits.perUser holds for tokens ${mix} with a verifier that answers ${speed}`, async (t) => {
        const { app, port } = await startChat(t, { verify, renewal: true, token: { message: true }, limits: { perUser: 3 } })
        const all = await attemptMany(t, port, 100, byMessage)
        const outcomes = all.map(({ outcome }) => outcome)
        t.equal(count<Outcome>(outcomes, 'open'), 3)
        t.equal(count<Outcome>(outcomes, 429) + count<Outcome>(outcomes, 4429), 97)
        t.equal(app.wsAuth.connections.bySub('ann').length, 3)
        await until(() => statsOf(app).pending === 0, 'nothing is pending')
        t.match(statsOf(app), { connections: 3, accepted: 3, refused: { WS_AUTH_LIMIT: 97 } })

        for (const { client } of all) client.socket.destroy()
        await until(() => app.wsAuth.connections.size === 0, 'all have gone')
        const again = await attemptMany(t, port, 10, byMessage)
        t.equal(count<Outcome>(again.map(({ outcome }) => outcome), 'open'), 3, 'and their places are free again')
      })
    }
  }

  t.test('limits.perUser refuses with the status 429 or the close code of the options', async (t) => {
    const { port } = await startChat(t, { limits: { perUser: 1 }, renewal: true, token: { message: true }, rejectWith: 'auto', origin: 'any', closeCodes: { limit: 4029 } })
    await upgrade(t, port, { path: '/chat', headers: ANN })
    const { answer } = await upgrade(t, port, { path: '/chat', headers: ANN })
    t.equal(answer.status, 429)
    t.equal(answer.body, LIMIT_BODY)
    const closed = await upgrade(t, port, { path: '/chat', headers: { ...ANN, origin: 'https://example.com' } })
    t.same(await closed.close(), { code: 4029, reason: 'connection_limit' })
    const late = await upgrade(t, port, { path: '/chat' })
    t.same(await late.send(authFrame()).close(), { code: 4029, reason: 'connection_limit' })
  })

  t.test('a dry run checks limits.perUser, and takes no place', async (t) => {
    const { app, port } = await startChat(t, { limits: { perUser: 1 } })
    for (let i = 0; i < 5; i++) t.equal((await app.inject({ url: '/chat', headers: ANN })).statusCode, 426)
    const client = await upgrade(t, port, { path: '/chat', headers: ANN })
    t.equal(client.answer.status, 101)
    const answer = await app.inject({ url: '/chat', headers: ANN })
    t.equal(answer.statusCode, 429)
    t.equal(answer.body, LIMIT_BODY)
    t.same(statsOf(app).refused, {}, 'and is not counted')
    client.socket.destroy()
    await until(() => app.wsAuth.connections.size === 0, 'it has gone')
    t.equal((await app.inject({ url: '/chat', headers: ANN })).statusCode, 426)
  })

  t.test('limits.perUser does not count other users, users without a sub, or anonymous clients', async (t) => {
    const { app, port } = await startChat(t, { limits: { perUser: 1 } })
    const nobody = { authorization: `Bearer ${sign({ name: 'x' })}` }
    t.equal((await upgrade(t, port, { path: '/chat', headers: ANN })).answer.status, 101)
    t.equal((await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign({ sub: 'bob' })}` } })).answer.status, 101)
    for (let i = 0; i < 5; i++) t.equal((await upgrade(t, port, { path: '/chat', headers: nobody })).answer.status, 101)
    for (let i = 0; i < 5; i++) t.equal((await upgrade(t, port, { path: '/optional' })).answer.status, 101)
    for (let i = 0; i < 5; i++) t.equal((await upgrade(t, port, { path: '/public', headers: ANN })).answer.status, 101)
    t.equal((await upgrade(t, port, { path: '/optional', headers: ANN })).answer.status, 429)
    t.equal(app.wsAuth.connections.size, 12)
  })

  t.test('limits.perUser is off by default', async (t) => {
    for (const limits of [undefined, { perUser: Infinity }, { perUser: Infinity, onLimit: 'close-oldest' as const }]) {
      const { app, port } = await startChat(t, { verify: slow, ...(limits && { limits }) })
      const all = await attemptMany(t, port, 50, () => false)
      t.equal(count<Outcome>(all.map(({ outcome }) => outcome), 'open'), 50)
      t.equal(app.wsAuth.connections.bySub('ann').length, 50)
    }
  })

  t.test('limits.perUser holds over injectWS', async (t) => {
    const { app } = await prepare(t, { plugin: { limits: { perUser: 2 } }, routes: addChat })
    const clients = [await app.injectWS('/chat', { headers: ANN }), await app.injectWS('/chat', { headers: ANN })]
    await t.rejects(app.injectWS('/chat', { headers: ANN }), { message: 'Unexpected server response: 429' })
    t.equal(statsOf(app).pending, 0, 'one that was refused is not pending')
    clients[0]?.terminate()
    await until(() => app.wsAuth.connections.size === 1, 'one has gone')
    clients.push(await app.injectWS('/chat', { headers: ANN }))
    for (const client of clients) client.terminate()
  })
})

t.test('onLimit \'close-oldest\' keeps the newest connections', async (t) => {
  t.test('onLimit \'close-oldest\' closes the oldest connection with connection_replaced', async (t) => {
    const { app, port } = await startChat(t, { limits: { perUser: 2, onLimit: 'close-oldest' }, renewal: true, token: { message: true } })
    const clients: RawClient[] = []
    for (let i = 0; i < 6; i++) {
      clients.push((await attempt(t, port, i % 2 === 1)).client)
      await until(() => statsOf(app).accepted === i + 1, 'it is accepted')
    }
    for (const client of clients.slice(0, 4)) t.same(await client.close(), { code: 3003, reason: 'connection_replaced' })
    for (const client of clients.slice(4)) t.notOk(client.isEnded)
    t.match(statsOf(app), { connections: 2, accepted: 6, closed: { connection_replaced: 4 } })
    const opened = app.wsAuth.connections.bySub('ann').map(({ openedAt }) => openedAt)
    t.same(opened, [...opened].sort((a, b) => a - b))
  })

  for (const [mix, byMessage] of Object.entries(MIXES)) {
    t.test(`onLimit 'close-oldest' keeps limits.perUser if a hundred clients come at once, ${mix}`, async (t) => {
      const { app, port } = await startChat(t, { verify: slow, limits: { perUser: 3, onLimit: 'close-oldest' }, token: { message: true } })
      let most = 0
      app.websocketServer.on('connection', () => { most = Math.max(most, app.wsAuth.connections.size) })
      const all = await attemptMany(t, port, 100, byMessage)
      t.equal(count<Outcome>(all.map(({ outcome }) => outcome), 'open'), 100, 'everybody is let in')
      t.ok(most <= 4, `there were ${most} at once`)
      t.match(statsOf(app), { connections: 3, accepted: 100, pending: 0, closed: { connection_replaced: 97 } })
      await until(() => all.filter(({ client }) => client.rest.length === 0).length === 3, 'the others are told')
    })
  }

  t.test('a replaced client that ignores its close frame takes no place, and its messages do not reach the app', async (t) => {
    const heard: string[] = []
    const { app, port } = await start(t, {
      plugin: { limits: { perUser: 1, onLimit: 'close-oldest' } },
      routes: (app) => app.get('/chat', { websocket: true }, (socket) => { socket.on('message', (data) => heard.push(String(data))) })
    })
    const old = await upgrade(t, port, { path: '/chat', headers: ANN })
    const fresh = await upgrade(t, port, { path: '/chat', headers: ANN })
    t.same(await old.close(), { code: 3003, reason: 'connection_replaced' })
    old.send(clientFrame(1, 'old'))
    await new Promise((resolve) => setImmediate(resolve))
    fresh.send(clientFrame(1, 'fresh'))
    await until(() => heard.length > 0, 'a message')
    t.same(heard, ['fresh'])
    t.equal(app.wsAuth.connections.size, 1)
  })

  t.test('a dry run with onLimit \'close-oldest\' closes no connection, and always finds a place', async (t) => {
    const { app, port } = await startChat(t, { limits: { perUser: 1, onLimit: 'close-oldest' } })
    const client = await upgrade(t, port, { path: '/chat', headers: ANN })
    t.equal((await app.inject({ url: '/chat', headers: ANN })).statusCode, 426)
    t.notOk(client.isEnded)
    t.equal(app.wsAuth.connections.size, 1)
  })
})

t.test('a place is free again if its handshake does not become a connection', async (t) => {
  const PER_USER = 2

  interface Place {
    settings?: AppSettings
    plugin?: Options
  }
  /** Each holds a handshake up somewhere, until the test is over. */
  const places: Record<string, Place> = {
    'in a hook before': { settings: { before: (app) => app.addHook('onRequest', async (request) => { if (request.headers['x-hold']) await never() }) } },
    'in the verifier': { plugin: { verify: async (_token, request) => request.headers['x-hold'] ? await never() : { sub: 'ann' } } },
    'in the user function': { plugin: { user: async (_claims, request) => request.headers['x-hold'] ? await never() : { sub: 'ann' } } },
    'in a hook after': { settings: { before: (app) => app.addHook('preHandler', async (request) => { if (request.headers['x-hold']) await never() }) } },
    'in a hook of the same name': { settings: { routes: (app) => app.addHook('preValidation', async (request) => { if (request.headers['x-hold']) await never() }) } }
  }
  const ways: Record<string, (client: RawClient) => unknown> = {
    'with a FIN': (client) => client.socket.end(),
    'with a RST': (client) => client.socket.resetAndDestroy()
  }

  /** A user can have all connections, and not one more. */
  async function assertFree (t: Test, { app, port }: StartedApp): Promise<void> {
    await until(() => statsOf(app).pending === 0, 'nothing is pending')
    const all = await attemptMany(t, port, PER_USER + 2, () => false)
    t.equal(count<Outcome>(all.map(({ outcome }) => outcome), 'open'), PER_USER)
  }

  for (const [where, { settings, plugin }] of Object.entries(places)) {
    for (const [way, leave] of Object.entries(ways)) {
      t.test(`a place is free again if the client leaves ${way} ${where}`, async (t) => {
        const started = await startChat(t, { ...plugin, limits: { perUser: PER_USER } }, settings)
        for (let round = 0; round < 3; round++) {
          const clients = await Promise.all(Array.from({ length: PER_USER }, async () => await RawClient.open(t, started.port)))
          for (const client of clients) client.upgrade({ path: '/chat', headers: { ...ANN, 'x-hold': '1' } })
          await until(() => statsOf(started.app).pending === PER_USER, 'all are pending')
          for (const client of clients) leave(client)
          await until(() => statsOf(started.app).pending === 0, 'nothing is pending')
        }
        await assertFree(t, started)
      })
    }

    t.test(`a place is free again after the deadline ${where}`, async (t) => {
      const started = await startChat(t, { ...plugin, limits: { perUser: PER_USER }, handshakeTimeout: 300 }, settings)
      const clients = await Promise.all(Array.from({ length: PER_USER }, async () => await RawClient.open(t, started.port)))
      for (const client of clients) client.upgrade({ path: '/chat', headers: { ...ANN, 'x-hold': '1' } })
      for (const client of clients) t.equal((await client.response()).status, 503)
      await assertFree(t, started)
    })
  }

  t.test('a place is free again if the client leaves in authorize', async (t) => {
    const started = await start(t, {
      plugin: { limits: { perUser: PER_USER } },
      routes: (app) => app.get('/chat', { websocket: true, wsAuth: { authorize: async (_user, request) => request.headers['x-hold'] ? await never() : true } }, () => {})
    })
    for (const leave of Object.values(ways)) {
      const client = await RawClient.open(t, started.port)
      client.upgrade({ path: '/chat', headers: { ...ANN, 'x-hold': '1' } })
      await until(() => statsOf(started.app).pending === 1, 'it is pending')
      leave(client)
      await until(() => statsOf(started.app).pending === 0, 'nothing is pending')
    }
    await assertFree(t, started)
  })

  t.test('a place is taken from the verification on', async (t) => {
    const { app, port } = await startChat(t, { limits: { perUser: 1 } }, places['in a hook after']?.settings)
    const client = await RawClient.open(t, port)
    client.upgrade({ path: '/chat', headers: { ...ANN, 'x-hold': '1' } })
    await until(() => statsOf(app).pending === 1, 'it is pending')
    t.equal((await upgrade(t, port, { path: '/chat', headers: ANN })).answer.status, 429)
    client.socket.destroy()
    await until(() => statsOf(app).pending === 0, 'nothing is pending')
    t.equal((await upgrade(t, port, { path: '/chat', headers: ANN })).answer.status, 101)
  })

  const refusers: Record<string, (app: FastifyInstance) => unknown> = {
    'that throws': (app) => app.addHook('preHandler', async (request) => { if (request.headers['x-refuse']) throw new Error('no') }),
    'that answers': (app) => app.addHook('preHandler', async (request, reply) => { if (request.headers['x-refuse']) return await reply.code(418).send('no') })
  }
  for (const [which, refuse] of Object.entries(refusers)) {
    t.test(`a place is free again if a later hook ${which} refuses the handshake`, async (t) => {
      const started = await startChat(t, { limits: { perUser: PER_USER } }, { before: refuse })
      for (let i = 0; i < 5; i++) {
        const { answer } = await upgrade(t, started.port, { path: '/chat', headers: { ...ANN, 'x-refuse': '1' } })
        t.ok(answer.status === 500 || answer.status === 418)
        await until(() => statsOf(started.app).pending === 0, 'nothing is pending')
      }
      for (let i = 0; i < 5; i++) {
        await t.rejects(started.app.injectWS('/chat', { headers: { ...ANN, 'x-refuse': '1' } }))
        await until(() => statsOf(started.app).pending === 0, 'nothing is pending, over injectWS either')
      }
      await assertFree(t, started)
    })
  }

  t.test('a place is free again if ws refuses the handshake', async (t) => {
    const started = await startChat(t, {
      limits: { perUser: PER_USER },
      websocket: { options: { verifyClient: ({ req }: { req: { headers: Record<string, unknown> } }) => req.headers['x-refuse'] === undefined } }
    })
    for (let i = 0; i < 5; i++) {
      t.equal((await upgrade(t, started.port, { path: '/chat', headers: { ...ANN, 'x-refuse': '1' } })).answer.status, 401)
    }
    await assertFree(t, started)
  })

  t.test('a place is free again if the connection ends before its handler runs, or in it', async (t) => {
    const started = await start(t, {
      plugin: { limits: { perUser: PER_USER } },
      routes: (app) => app.get('/chat', { websocket: true }, (socket, request) => {
        if (request.headers['x-close']) request.wsAuth?.close()
        if (request.headers['x-throw']) throw new Error('of the handler')
        if (request.headers['x-terminate']) socket.terminate()
      })
    })
    for (const header of ['x-close', 'x-throw', 'x-terminate']) {
      for (let i = 0; i < 3; i++) await upgrade(t, started.port, { path: '/chat', headers: { ...ANN, [header]: '1' } })
    }
    await until(() => started.app.wsAuth.connections.size === 0, 'all have gone')
    t.equal(statsOf(started.app).accepted, 9)
    await assertFree(t, started)
  })
})

t.test('no more than limits.pending handshakes and first messages are pending', async (t) => {
  const refused: Partial<Record<WsAuthErrorCode, number>> = { WS_AUTH_BUSY: 1 }

  t.test('limits.pending counts handshakes and first messages together, also on public routes', async (t) => {
    const { app, port } = await startChat(t, {
      limits: { pending: 4 },
      renewal: true,
      token: { message: true },
      verify: async (_token, request) => request.headers['x-hold'] ? await never() : { sub: 'ann' }
    })
    const waiting = [await upgrade(t, port, { path: '/chat' }), await upgrade(t, port, { path: '/chat' })]
    const held = [await RawClient.open(t, port), await RawClient.open(t, port)] as const
    for (const client of held) client.upgrade({ path: '/chat', headers: { ...ANN, 'x-hold': '1' } })
    await until(() => statsOf(app).pending === 4, 'all are pending')

    const { answer } = await upgrade(t, port, { path: '/chat' })
    t.equal(answer.status, 503)
    t.equal(answer.body, BUSY_BODY)
    t.match(answer.headers['retry-after'], /^[1-5]$/)
    t.same(statsOf(app).refused, refused)
    for (const path of ['/chat', '/optional', '/public']) {
      t.equal((await upgrade(t, port, { path, headers: ANN })).answer.status, 503, path)
    }
    const dryRun = await RawClient.open(t, port)
    t.equal((await dryRun.send(plainText({ path: '/chat', headers: ANN })).response()).status, 503)
    t.equal(statsOf(app).pending, 4)

    held[0].socket.destroy()
    await until(() => statsOf(app).pending === 3, 'one has gone')
    t.equal((await upgrade(t, port, { path: '/public' })).answer.status, 101, 'an open one is not pending')
    t.equal((await upgrade(t, port, { path: '/chat', headers: ANN })).answer.status, 101)
    waiting.push(await upgrade(t, port, { path: '/chat' }))
    t.equal(waiting[2]?.answer.status, 101)
    t.equal((await upgrade(t, port, { path: '/chat' })).answer.status, 503)

    waiting[0]?.send(authFrame())
    await until(() => statsOf(app).pending === 3, 'one has authenticated')
    t.equal((await upgrade(t, port, { path: '/chat', headers: ANN })).answer.status, 101)
    waiting[1]?.send(clientFrame(1, 'no'))
    await until(() => statsOf(app).pending === 2, 'one was refused, and is not counted though it has not left')
  })

  t.test('a client that was refused with a close code is not pending', async (t) => {
    const { app, port } = await startChat(t, { limits: { pending: 2 }, rejectWith: 'close' })
    for (let i = 0; i < 2; i++) t.same(await (await upgrade(t, port, { path: '/chat' })).close(), { code: 3000, reason: 'token_missing' })
    t.equal(statsOf(app).pending, 0)
    t.equal((await upgrade(t, port, { path: '/chat' })).answer.status, 401, 'as long as so many have not gone, a status has to do')
  })

  t.test('limits.pending holds over injectWS', async (t) => {
    const { app } = await prepare(t, { plugin: { limits: { pending: 2 }, renewal: true, token: { message: true } }, routes: addChat })
    const clients = [await app.injectWS('/chat'), await app.injectWS('/chat')]
    for (let i = 0; i < 3; i++) await t.rejects(app.injectWS('/chat'), { message: 'Unexpected server response: 503' })
    t.equal(statsOf(app).pending, 2)
    clients[0]?.terminate()
    await until(() => statsOf(app).pending === 1, 'one has gone')
    clients.push(await app.injectWS('/chat'))
    for (const client of clients) client.terminate()
  })

  t.test('limits.pending holds if many clients come at once', async (t) => {
    const { app, port } = await startChat(t, { limits: { pending: 10 }, renewal: true, token: { message: true } })
    const clients = await Promise.all(Array.from({ length: 60 }, async () => await upgrade(t, port, { path: '/chat' })))
    t.equal(count(clients.map(({ answer }) => answer.status), 101), 10)
    t.equal(count(clients.map(({ answer }) => answer.status), 503), 50)
    t.equal(statsOf(app).pending, 10)
    for (const { socket } of clients) socket.destroy()
    await until(() => statsOf(app).pending === 0, 'all have gone')
    t.equal((await upgrade(t, port, { path: '/chat' })).answer.status, 101)
  })
})

t.test('5,000 clients that wait for a first message cost little memory, and one more is refused', async (t) => {
  const COUNT = 5000
  const MAX_HEAP = 16 * 1024
  const server = require.resolve('../helpers/waiting-server')
  const child = spawn(process.execPath, ['--expose-gc', ...process.execArgv, server, String(COUNT)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  t.teardown(() => child.kill('SIGKILL'))
  const ask = async (): Promise<Report> => {
    child.send('report')
    return (await once(child, 'message'))[0] as Report
  }
  const [{ port }] = await within(20_000, 'the server', once(child, 'message')) as [{ port: number }]
  const first = await upgrade(t, port, { path: '/chat' })
  const before = await ask()
  const clients: RawClient[] = [first]
  while (clients.length < COUNT) {
    const more = Math.min(250, COUNT - clients.length)
    clients.push(...await Promise.all(Array.from({ length: more }, async () => await upgrade(t, port, { path: '/chat' }))))
  }
  const after = await ask()
  t.equal(after.pending, COUNT)
  const heap = Math.round((after.heap - before.heap) / COUNT)
  t.comment(`each costs ${heap} bytes of heap and ${Math.round((after.rss - before.rss) / COUNT)} bytes of memory`)
  t.ok(heap < MAX_HEAP, `${heap} bytes of heap`)
  t.ok(after.rss - before.rss < COUNT * 64 * 1024, 'and of memory')

  t.equal((await upgrade(t, port, { path: '/chat' })).answer.status, 503)
  first.socket.destroy()
  while ((await ask()).pending === COUNT) await new Promise((resolve) => setTimeout(resolve, 10))
  t.equal((await upgrade(t, port, { path: '/chat' })).answer.status, 101)

  for (const { socket } of clients) socket.destroy()
  const deadline = Date.now() + 15_000
  while ((await ask()).pending > 1 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50))
  const { pending, heap: left } = await ask()
  t.equal(pending, 1)
  t.ok(left - before.heap < COUNT * 2048, `what they cost comes back: ${left - before.heap} bytes are left`)
})

/** What the server of its own process says of itself. */
interface Report {
  readonly pending: number
  readonly heap: number
  readonly rss: number
}
