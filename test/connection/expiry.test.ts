/*
 * A connection is closed when its token expires or its lifetime is over: within a second, never early, under a clock that is moved.
 */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { sign, start } from '../helpers/app'
import type { AppSettings } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { eventually, moveClock, MovedClock, setClock, turn } from '../helpers/moved-clock'
import { upgrade } from '../helpers/raw-client'
import type { RawClient } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const SECOND = 1000
const HOUR = 3_600_000
const DAY = 24 * HOUR
const YEAR = 365 * DAY

interface Ended {
  readonly at: number
  readonly reason: string | null
  readonly id: string | null
}

/** What was decided over connections, and when by the clock of the moment. */
function watchEnds (t: Test): Ended[] {
  const ends: Ended[] = []
  onDecision(t, ({ event, reason, connectionId }) => {
    if (event === 'expired' || event === 'closed') ends.push({ at: Date.now(), reason, id: connectionId })
  })
  return ends
}

function addChat (app: FastifyInstance, url = '/chat', wsAuth: fastifyWsAuth.RouteWsAuth = true): void {
  app.get(url, { websocket: true, wsAuth }, (socket) => { socket.send('hello') })
}

interface Timed {
  readonly app: FastifyInstance
  readonly clock: MovedClock
  readonly ends: Ended[]
  connect (claims: Record<string, unknown>, path?: string): Promise<RawClient>
}

/** A server whose clock is moved, and its clients. */
async function startTimed (t: Test, settings: AppSettings = {}): Promise<Timed> {
  let clock: MovedClock | null = null
  const { app, port } = await start(t, { routes: addChat, ...settings, before: () => { clock = moveClock(t) } })
  return {
    app,
    clock: clock as unknown as MovedClock,
    ends: watchEnds(t),
    connect: async (claims, path = '/chat') => {
      const client = await upgrade(t, port, { path, headers: { authorization: `Bearer ${sign({ sub: 'somebody', ...claims })}` } })
      t.equal(client.answer.status, 101)
      if (settings.plugin?.renewal === true) t.match((await client.frame()).payload.toString(), 'auth.ok')
      t.equal((await client.frame()).payload.toString(), 'hello')
      return client
    }
  }
}

const EXPIRED = { code: 3000, reason: 'token_expired' }
const TOO_OLD = { code: 3000, reason: 'lifetime_exceeded' }

/** Claims of which the token lives so many milliseconds from now. */
function living (ms: number): { exp: number } {
  return { exp: (Date.now() + ms) / 1000 }
}

t.test('a connection is closed at its time, within a second and never early', async (t) => {
  const cases: Record<string, { settings?: AppSettings, claims: () => Record<string, unknown>, path?: string, in: number, as: typeof EXPIRED }> = {
    'the token expires': { claims: () => living(10 * SECOND), in: 10 * SECOND, as: EXPIRED },
    'at a fraction of a second': { claims: () => living(10_333.25), in: 10_333.25, as: EXPIRED },
    'just after the handshake': { claims: () => living(1), in: 1, as: EXPIRED },
    'expiryGrace later': { settings: { plugin: { expiryGrace: 5000 } }, claims: () => living(10 * SECOND), in: 15 * SECOND, as: EXPIRED },
    'a fraction of a second later': { settings: { plugin: { expiryGrace: 1 } }, claims: () => living(10 * SECOND), in: 10_001, as: EXPIRED },
    'clockTolerance later': {
      settings: { plugin: { jwt: { secret: 'thirty-two bytes of test secret!', verify: { clockTolerance: 2000 } } } },
      claims: () => living(10 * SECOND),
      in: 12 * SECOND,
      as: EXPIRED
    },
    'maxLifetime is reached first': { settings: { plugin: { maxLifetime: 7000 } }, claims: () => living(10 * SECOND), in: 7000, as: TOO_OLD },
    'maxLifetime is reached within the grace': {
      settings: { plugin: { maxLifetime: 12_000, expiryGrace: 5000 } }, claims: () => living(10 * SECOND), in: 12_000, as: TOO_OLD
    },
    'maxLifetime is reached and the token never expires': { settings: { plugin: { maxLifetime: 7000 } }, claims: () => ({}), in: 7000, as: TOO_OLD },
    'the maxLifetime of the route is reached': {
      settings: { plugin: { maxLifetime: 60_000 }, routes: (app) => { addChat(app, '/own', { maxLifetime: 3000 }) } },
      claims: () => living(10 * SECOND),
      path: '/own',
      in: 3000,
      as: TOO_OLD
    },
    'the maxLifetime of the route is longer': {
      settings: { plugin: { maxLifetime: 3000 }, routes: (app) => { addChat(app, '/own', { maxLifetime: 60_000 }) } },
      claims: () => living(10 * SECOND),
      path: '/own',
      in: 10 * SECOND,
      as: EXPIRED
    },
    'the default of maxLifetime is reached': { claims: () => ({}), in: DAY, as: TOO_OLD },
    'after 30 days': { settings: { plugin: { maxLifetime: Infinity } }, claims: () => living(30 * DAY), in: 30 * DAY, as: EXPIRED },
    'after 300 years': { settings: { plugin: { maxLifetime: Infinity } }, claims: () => living(300 * YEAR), in: 300 * YEAR, as: EXPIRED },
    'after a maxLifetime of 30 days': { settings: { plugin: { maxLifetime: 30 * DAY } }, claims: () => ({}), in: 30 * DAY, as: TOO_OLD }
  }
  for (const [what, { settings, claims, path, in: life, as }] of Object.entries(cases)) {
    t.test(`a connection is closed at its time: ${what}`, async (t) => {
      const { app, clock, ends, connect } = await startTimed(t, settings)
      const begun = Date.now()
      const client = await connect(claims(), path)
      const due = begun + life
      // A few stops on the way to a far one: each wakes the sweep.
      const far = (life - 2 * SECOND) / 20
      if (far > 0) await clock.pass(20 * far, far)
      await clock.pass(due - Date.now() - 2, 10)
      t.same(ends, [], 'not early')
      t.equal(app.wsAuth.connections.size, 1)
      await clock.pass(SECOND + 2, 10)
      t.equal(ends.length, 1)
      const [{ at, reason } = { at: 0, reason: '' }] = ends
      t.ok(at >= due && at <= due + SECOND, `after ${at - due} ms`)
      t.equal(reason, as.reason)
      t.equal(app.wsAuth.connections.size, 0)
      t.same(statsOf(app).closed, { [as.reason]: 1 })
      t.same(await client.close(), as)
    })
  }

  t.test('a connection is never closed if there is neither an expiry nor a maxLifetime', async (t) => {
    const { app, clock, ends, connect } = await startTimed(t, { plugin: { maxLifetime: Infinity } })
    await connect({})
    await clock.pass(400 * YEAR, YEAR)
    t.same(ends, [])
    t.equal(app.wsAuth.connections.size, 1)
    t.equal(clock.timers.filter(({ reffed }) => reffed).length, 0)
  })

  t.test('each of many connections with different times is closed at its own time', async (t) => {
    const { clock, ends, connect, app } = await startTimed(t)
    const dues = new Map<string, number>()
    for (let i = 0; i < 60; i++) {
      const { exp } = living(20 * SECOND + ((i * 7919) % 15_000))
      const known = new Set([...app.wsAuth.connections].map(({ id }) => id))
      await connect({ exp })
      for (const { id } of app.wsAuth.connections) if (!known.has(id)) dues.set(id, exp * 1000)
    }
    await clock.pass(40 * SECOND)
    t.equal(ends.length, 60)
    t.equal(new Set(ends.map(({ id }) => id)).size, 60)
    for (const { id, at } of ends) {
      const late = at - (dues.get(id ?? '') ?? 0)
      t.ok(late >= 0 && late <= SECOND, `after ${late} ms`)
    }
  })
})

t.test('a connection whose token expires before the socket is open is closed before the handler runs', async (t) => {
  for (const [what, { plugin, as }] of Object.entries({
    'expires before the socket is open': { plugin: {}, as: EXPIRED },
    'expires before the socket is open, with renewal': { plugin: { renewal: true }, as: EXPIRED }
  })) {
    t.test(`the handler does not run if the token ${what}`, async (t) => {
      const ran: string[] = []
      const { app, port } = await start(t, {
        plugin,
        routes: (app) => {
          app.addHook('preHandler', async () => { setClock(t, HOUR) })
          app.get('/chat', { websocket: true }, (socket) => { ran.push('handler'); socket.send('hello') })
        }
      })
      const ends = watchEnds(t)
      const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign({ sub: 'somebody', ...living(60 * SECOND) })}` } })
      t.equal(client.answer.status, 101)
      t.same(await client.close(), as)
      await turn(5)
      t.same(ran, [])
      t.same(ends.map(({ reason }) => reason), [as.reason])
      t.match(statsOf(app), { connections: 0, pending: 0, accepted: 1, closed: { token_expired: 1 } })
    })
  }

  t.test('the handler runs if the token has expired and has its grace', async (t) => {
    const { app, port } = await start(t, {
      plugin: { expiryGrace: 2 * HOUR },
      routes: (app) => {
        app.addHook('preHandler', async () => { setClock(t, HOUR) })
        addChat(app)
      }
    })
    const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign({ sub: 'somebody', ...living(60 * SECOND) })}` } })
    t.equal((await client.frame()).payload.toString(), 'hello')
    t.equal(statsOf(app).connections, 1)
  })
})

t.test('a connection expires by the clock after the clock is set', async (t) => {
  t.test('a connection that has expired by a clock that is set an hour forwards is closed within a second', async (t) => {
    const { clock, ends, connect, app } = await startTimed(t)
    const clients = [await connect(living(30 * 60 * SECOND)), await connect(living(2 * HOUR))]
    await clock.pass(5 * SECOND, 100)
    clock.set(HOUR)
    await clock.pass(SECOND)
    t.same(ends.map(({ reason }) => reason), ['token_expired'])
    t.same(await clients[0]?.close(), EXPIRED)
    t.equal(app.wsAuth.connections.size, 1)
    await clock.pass(HOUR, SECOND)
    t.same(await clients[1]?.close(), EXPIRED)
  })

  t.test('a connection opened after the clock is set 10 years forwards lives as long as its token', async (t) => {
    const { clock, ends, connect } = await startTimed(t)
    const before = [await connect(living(HOUR)), await connect({})]
    clock.set(10 * YEAR)
    await clock.pass(SECOND)
    t.same(ends.map(({ reason }) => reason).sort(), ['lifetime_exceeded', 'token_expired'])
    for (const client of before) t.equal((await client.close()).code, 3000)
    const due = Date.now() + 5 * SECOND
    const after = await connect(living(5 * SECOND))
    await clock.pass(due - Date.now() - 2, 10)
    t.equal(ends.length, 2)
    await clock.pass(SECOND)
    t.equal(ends.length, 3)
    t.ok((ends[2]?.at ?? 0) >= due)
    t.same(await after.close(), EXPIRED)
  })

  t.test('a connection is closed at the time of its token after the clock is set an hour back', async (t) => {
    const { clock, ends, connect, app } = await startTimed(t)
    const before = await connect(living(10 * SECOND))
    clock.set(-HOUR)
    const due = Date.now() + 5 * SECOND
    const after = await connect({ ...living(5 * SECOND), iat: Date.now() / 1000 })
    await clock.pass(due - Date.now() - 2, 10)
    t.same(ends, [])
    await clock.pass(SECOND)
    t.equal(ends.length, 1)
    t.ok((ends[0]?.at ?? 0) >= due)
    t.same(await after.close(), EXPIRED)
    await clock.pass(HOUR - 10 * SECOND, 250)
    t.equal(app.wsAuth.connections.size, 1)
    await clock.pass(15 * SECOND)
    t.same(await before.close(), EXPIRED)
  })
})

t.test('no timer is left when the app has closed', async (t) => {
  const { app, clock, connect, ends } = await startTimed(t, { plugin: { heartbeat: { interval: 30_000 }, renewal: true } })
  const clients = [await connect(living(HOUR)), await connect({})]
  t.ok(clock.timers.length > 0)
  for (const { socket } of clients) socket.on('end', () => socket.end())
  const closed = app.close()
  for (const client of clients) t.equal((await client.close()).code, 1001)
  for (const { socket } of clients) socket.end()
  // Those of the closing handshakes and of `app.close()` itself, which hold nothing up.
  await eventually(clock, () => ends.length === 2 && clients.every(({ socket }) => socket.destroyed), 'all have gone')
  await clock.pass(10 * SECOND)
  await closed
  t.same(clock.timers, [])
})
