/*
 * What an attacker, or a bad day, makes of tickets, revocations and backplanes: secrets in the log, clocks that differ, and
 * backplanes of others that do not keep the contract. Nobody gets in for that, nobody is lost, and the app can be closed.
 */
import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { Backplane, BackplaneLink, BackplaneMember } from '../../lib/backplane/contract'
import fastifyWsAuth from '../../lib/index'
import { memoryBackplane } from '../../lib/backplane/memory'
import { redisBackplane } from '../../lib/backplane/redis/index'
import { SECRET, sign, start, until, within } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { RawClient, upgrade } from '../helpers/raw-client'
import { reasonToSkip, startRedis } from '../helpers/redis'
import { statsOf } from '../helpers/stats'

type Options = fastifyWsAuth.WsAuthOptions

const HOUR = 3_600_000
const never = async (): Promise<never> => await new Promise(() => {})

const unhandled: unknown[] = []
process.on('unhandledRejection', (error) => { unhandled.push(error) })

/** Until what was rejected by now and handled by nobody has been told of. */
async function untilTold (): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** An app with one route. */
async function startChat (t: Test, plugin: Options = {}, server: object = {}): Promise<StartedApp> {
  return await start(t, { plugin, server, routes: addChat })
}

function addChat (app: StartedApp['app']): void {
  app.get('/chat', { websocket: true }, (socket) => { socket.on('message', () => { socket.send('heard') }) })
}

function bearer (claims: Record<string, unknown>): { authorization: string } {
  return { authorization: `Bearer ${sign({ exp: Math.floor(Date.now() / 1000) + 3600, ...claims })}` }
}

/** A backplane that keeps its contract but for this; a getter stays one. */
function backplaneWith (over: object, onJoin: (member: BackplaneMember) => void = () => {}): Backplane {
  const memory = memoryBackplane()
  return {
    join: (member) => {
      onJoin(member)
      return Object.create(memory.join(member), Object.getOwnPropertyDescriptors(over)) as BackplaneLink
    }
  }
}

/** A client that answers a close frame, and with what code it was closed. */
async function connect (t: Test, port: number, path: string, headers = {}): Promise<{ socket: WebSocket, closed: Promise<number> }> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers })
  t.teardown(() => { socket.terminate() })
  socket.on('error', () => {})
  const closed = new Promise<number>((resolve) => { socket.on('close', resolve) })
  await within(5000, 'it is open', new Promise((resolve, reject) => { socket.on('open', resolve).on('unexpected-response', reject) }))
  return { socket, closed }
}

async function statusOf (t: Test, port: number, claims: Record<string, unknown>): Promise<number> {
  return (await upgrade(t, port, { path: '/chat', headers: bearer(claims) })).answer.status
}

t.test('the log has no secrets of Redis or of a user', { skip: reasonToSkip() }, async (t) => {
  await t.test('the log does not have the password of Redis if Redis refuses it', async (t) => {
    const password = randomBytes(16).toString('hex')
    const redis = await startRedis(t, { settings: ['--requirepass', 'another'] })
    const client = redis.client({ password })
    const { app, log } = await startChat(t, { backplane: redisBackplane({ client }), tickets: true })
    await t.rejects(app.wsAuth.revoke({ sub: 'ann' }), { code: 'WS_AUTH_UNAVAILABLE' })
    await t.rejects(app.wsAuth.issueTicket({ sub: 'ann' }), { code: 'WS_AUTH_UNAVAILABLE' })
    await app.inject({ method: 'POST', url: '/ws-ticket', headers: bearer({ sub: 'ann' }) })
    t.ok(log.some((line) => line.includes('WRONGPASS')), 'why it failed is told')
    t.same(log.filter((line) => line.includes(password)), [])
  })

  await t.test('the log does not have the password of Redis if Redis has no room for another connection', async (t) => {
    const password = randomBytes(16).toString('hex')
    const redis = await startRedis(t, { settings: ['--requirepass', password, '--maxclients', '1'] })
    const holder = redis.client({ password })
    await holder.ping()
    const { app, log } = await startChat(t, { backplane: redisBackplane({ client: redis.client({ password, maxRetriesPerRequest: 0 }) }) })
    await t.rejects(app.wsAuth.revoke({ sub: 'ann' }), { code: 'WS_AUTH_UNAVAILABLE' })
    t.same(log.filter((line) => line.includes(password)), [])
  })

  await t.test('the log does not have the claims behind a ticket if Redis refuses to store it', async (t) => {
    const redis = await startRedis(t)
    const client = redis.client()
    const { app, log } = await startChat(t, { backplane: redisBackplane({ client }), tickets: true })
    await client.config('SET', 'min-replicas-to-write', '1')
    const { statusCode, body } = await app.inject({ method: 'POST', url: '/ws-ticket', headers: bearer({ sub: 'ann', email: 'ann@example.com' }) })
    t.equal(statusCode, 503)
    t.notMatch(body, /NOREPLICAS|example/, 'nor does the client learn of either')
    t.ok(log.some((line) => line.includes('NOREPLICAS')), 'why it failed is told')
    t.same(log.filter((line) => line.includes('ann@example.com')), [])
  })
})

t.test('an instance that starts late knows the revocations, also if the clock of Redis is ahead', { skip: reasonToSkip() }, async (t) => {
  // Redis has the clock of this machine: here it is the instances that are behind.
  const { now } = Date
  Date.now = () => now() - HOUR
  t.teardown(() => { Date.now = now })
  const redis = await startRedis(t)
  const bad = { sub: 'mallory', jti: 'stolen' }
  const early = await startChat(t, { backplane: redisBackplane({ client: redis.client() }) })
  await early.app.wsAuth.revoke({ jti: bad.jti }, { untilAt: Date.now() + HOUR / 2 })
  t.equal(await statusOf(t, early.port, bad), 401)
  const late = await startChat(t, { backplane: redisBackplane({ client: redis.client() }) })
  t.equal(await statusOf(t, late.port, bad), 401)
  Date.now = now
})

t.test('a client that cannot be duplicated causes no unhandled rejection', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const client = redis.client()
  let tries = 0
  client.duplicate = () => { tries++; throw new Error('no more than one, says the app') }
  const before = unhandled.length
  const { app, port } = await startChat(t, { backplane: redisBackplane({ client }) })
  t.equal(await statusOf(t, port, { sub: 'ann' }), 503)
  await until(() => tries > 1, 'it is tried again')
  await app.close()
  await untilTold()
  t.same(unhandled.slice(before), [])
})

t.test('an outage of the backplane stops tickets and closes connections', async (t) => {
  await t.test('the backplane is not asked for a ticket during an outage', async (t) => {
    const memory = memoryBackplane().join({ id: 'store', log: Fastify().log, apply: () => 0, revocations: () => [], onOutage: () => {} })
    const link = { isCurrent: true, put: memory.put, get: memory.get, take: memory.take }
    const { app, port } = await startChat(t, {
      tickets: true,
      backplane: backplaneWith({
        get isCurrent () { return link.isCurrent },
        put: memory.put,
        take: (name: string) => { asked.push(name); return memory.take(name) },
        get: (name: string) => { asked.push(name); return memory.get(name) }
      })
    })
    const asked: string[] = []
    const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann' })
    link.isCurrent = false
    for (const path of [`/chat?ticket=${ticket}`, `/chat?ticket=${'a'.repeat(43)}`]) {
      t.equal((await upgrade(t, port, { path })).answer.status, 503)
      t.equal((await app.inject({ url: path })).statusCode, 503)
    }
    t.same(asked, [])
    link.isCurrent = true
    t.equal((await upgrade(t, port, { path: `/chat?ticket=${ticket}` })).answer.status, 101, 'who tries again gets in')
  })

  await t.test('an outage closes all open connections, and no connection that opens after it', async (t) => {
    const members: BackplaneMember[] = []
    const link = { isCurrent: true }
    let admit = (): void => {}
    const admitted = new Promise<boolean>((resolve) => { admit = () => resolve(true) })
    const { app } = await start(t, {
      server: { logger: false },
      plugin: { backplane: backplaneWith({ get isCurrent () { return link.isCurrent } }, (member) => members.push(member)) },
      routes: (app) => {
        addChat(app)
        app.get('/late', { websocket: true, wsAuth: { authorize: async () => await admitted } }, () => {})
      }
    })
    const headers = bearer({ sub: 'ann' })
    // More than are closed in one turn.
    await Promise.all(Array.from({ length: 1025 }, async () => await app.injectWS('/chat', { headers })))
    const late = app.injectWS('/late', { headers: bearer({ sub: 'bea' }) })
    await until(() => statsOf(app).pending === 1, 'she is pending')
    link.isCurrent = false
    members[0]?.onOutage()
    const { size } = app.wsAuth.connections
    t.ok(size > 1 && size < 1025, `the first slice is closed, and ${size} are open`)
    link.isCurrent = true
    admit()
    const socket = await late
    await until(() => app.wsAuth.connections.bySub('ann').length === 0, 'the others are closed')
    t.equal(app.wsAuth.connections.bySub('bea').length, 1)
    t.equal(socket.readyState, socket.OPEN)
  })
})

t.test('a backplane that breaks its contract admits no client and keeps no app from closing', async (t) => {
  await t.test('a backplane whose isCurrent throws admits no client, keeps no connection open and causes no unhandled rejection', async (t) => {
    const link = { throws: false }
    const isCurrent = (): boolean => { if (link.throws) throw new Error('the wire is cut'); return true }
    const before = unhandled.length
    const { app, port } = await startChat(t, {
      renewal: true,
      token: { message: true },
      backplane: backplaneWith({ get isCurrent () { return isCurrent() } })
    })
    link.throws = true
    t.equal(await statusOf(t, port, { sub: 'ann' }), 503)
    link.throws = false
    const { socket, closed } = await connect(t, port, '/chat')
    link.throws = true
    socket.send(JSON.stringify({ type: 'auth', token: sign({ sub: 'ann' }) }))
    t.equal(await within(5000, 'it is closed', closed), 4503)
    link.throws = false
    t.equal(app.wsAuth.connections.size, 0)
    await untilTold()
    t.same(unhandled.slice(before), [])
  })

  for (const how of ['a token', 'a first message'] as const) {
    await t.test(`a backplane whose isCurrent throws when ${how} has passed all checks leaves no client connected`, async (t) => {
      const link = { throws: false }
      const isCurrent = (): boolean => { if (link.throws) throw new Error('the wire is cut'); return true }
      const before = unhandled.length
      const { app, port } = await start(t, {
        plugin: { renewal: true, token: { message: true }, backplane: backplaneWith({ get isCurrent () { return isCurrent() } }) },
        routes: (app) => {
          app.get('/late', { websocket: true, wsAuth: { authorize: async () => { link.throws = true; return true } } }, () => {})
        }
      })
      const { socket, closed } = await connect(t, port, '/late', how === 'a token' ? bearer({ sub: 'ann' }) : {})
      if (how === 'a first message') socket.send(JSON.stringify({ type: 'auth', token: sign({ sub: 'ann' }) }))
      await within(5000, 'it is closed', closed)
      await until(() => app.wsAuth.connections.size === 0, 'nobody is connected')
      await untilTold()
      t.same(unhandled.slice(before), [])
    })
  }

  for (const [what, isCurrent] of [['a promise', Promise.resolve(false)], ['a function', () => false], ['a text', 'no'], ['left out', undefined]] as const) {
    await t.test(`a backplane whose isCurrent is ${what} admits no client`, async (t) => {
      const { port } = await startChat(t, { backplane: backplaneWith({ isCurrent }) })
      t.equal(await statusOf(t, port, { sub: 'ann' }), 503)
    })
  }

  const leaves: Record<string, () => unknown> = {
    'never resolves': never,
    rejects: async () => { throw new Error('the wire is cut') },
    throws: () => { throw new Error('the wire is cut') },
    'answers nothing': () => undefined
  }
  for (const [what, leave] of Object.entries(leaves)) {
    await t.test(`a backplane whose leave ${what} keeps no app from closing`, async (t) => {
      const before = unhandled.length
      const app = Fastify()
      await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, backplane: backplaneWith({ leave }) })
      addChat(app)
      await app.listen({ port: 0, host: '127.0.0.1' })
      const { port } = app.server.address() as { port: number }
      const { closed } = await connect(t, port, '/chat', bearer({ sub: 'ann' }))
      const closing = app.close()
      t.equal(await within(5000, 'the client is told', closed), 1001)
      await within(5000, 'the app is closed', closing)
      await untilTold()
      t.same(unhandled.slice(before), [])
    })
  }

  await t.test('a backplane whose ready rejects causes no unhandled rejection, and the app starts', async (t) => {
    const before = unhandled.length
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, backplane: backplaneWith({ ready: Promise.reject(new Error('the wire is cut')) }) })
    await new Promise((resolve) => setTimeout(resolve, 20))
    await app.ready()
    t.same(unhandled.slice(before), [])
  })

  await t.test('a backplane whose publish never settles causes an error, and the token is revoked on this instance', async (t) => {
    const { app, port } = await startChat(t, { backplane: backplaneWith({ publish: never }) })
    const revoking = app.wsAuth.revoke({ sub: 'ann' })
    t.equal(await statusOf(t, port, { sub: 'ann' }), 401)
    await t.rejects(within(8000, 'an answer', revoking), { code: 'WS_AUTH_UNAVAILABLE' })
  })

  for (const [what, answer] of [['nothing', undefined], ['a text', 'ok'], ['a number', 5], ['a list of null', [null]]] as const) {
    await t.test(`a backplane whose publish answers ${what} causes an error, and the token is revoked on this instance`, async (t) => {
      const { app, port } = await startChat(t, { backplane: backplaneWith({ publish: async () => answer }) })
      const outcome = await app.wsAuth.revoke({ sub: 'ann' }).then(({ closed, instances }) => ({ closed, length: instances.length }), ({ code }) => code)
      t.equal(outcome, 'WS_AUTH_UNAVAILABLE')
      t.equal(await statusOf(t, port, { sub: 'ann' }), 401)
    })
  }

  for (const [what, kept] of [['nothing', undefined], ['an object', { claims: { sub: 'ann' } }], ['a number', 5], ['true', true], ['a list', '[]']] as const) {
    await t.test(`a backplane whose take answers ${what} admits no client`, async (t) => {
      const { port } = await startChat(t, { tickets: true, backplane: backplaneWith({ take: () => kept, get: () => kept }) })
      t.equal((await upgrade(t, port, { path: `/chat?ticket=${'a'.repeat(43)}` })).answer.status, 401)
    })
  }

  await t.test('a backplane whose join throws fails the start of the app, and the app can be closed', async (t) => {
    const app = Fastify()
    await t.rejects(async () => { await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, backplane: { join: () => { throw new Error('nobody there') } } }) }, { message: 'nobody there' })
    await within(5000, 'it is closed', app.close().catch(() => {}))
  })
})

t.test('an app can be closed while verify hangs for a logout token', async (t) => {
  const verifying: string[] = []
  const { app, port } = await startChat(t, {
    verify: async (token) => { verifying.push(token); return await never() },
    handshakeTimeout: 60_000,
    backChannelLogout: { path: '/logout', issuer: 'https://issuer.example', audience: 'client' }
  })
  const client = await RawClient.open(t, port)
  const body = 'logout_token=a.b.c'
  client.send(`POST /logout HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
  await until(() => verifying.length === 1, 'it is being verified')
  const closing = app.close()
  const isClosed = await within(5000, 'it is closed', closing).then(() => true, () => false)
  t.equal(isClosed, true)
  client.socket.destroy()
  await closing
})
