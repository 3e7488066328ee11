/*
 * Many connections are closed over a time: at an even rate, in random order, in slices, and each once.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { Connection } from '../../lib/connection/connection'
import { ConnectionRegistry } from '../../lib/connection/registry'
import { Spread } from '../../lib/connection/spread'
import { prepare, sign, until } from '../helpers/app'
import { moveClock } from '../helpers/moved-clock'
import { clientFrame } from '../helpers/raw-client'
import { openMany } from '../helpers/memory-crowd'
import { randomFrom } from '../helpers/random'
import { closeOf, openSocket } from '../helpers/sockets'
import { statsOf } from '../helpers/stats'

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** Math.random is determined by a seed until the test ends. */
function seed (t: Test, number: number): void {
  const { random } = Math
  Math.random = randomFrom(number)
  t.teardown(() => { Math.random = random })
}

/** The sum of squares of the distances from an even distribution. */
function chiSquare (counts: readonly number[]): number {
  const even = counts.reduce((sum, count) => sum + count, 0) / counts.length
  return counts.reduce((sum, count) => sum + (count - even) ** 2 / even, 0)
}

t.test('10,000 closes are evenly distributed over the window, and their order is random', async (t) => {
  const BINS = 20
  /** For 19 degrees of freedom, one of ten thousand samples is above. */
  const LIMIT = 50.8
  for (const number of [1, 2, 3]) {
    await t.test(`with the seed ${number}`, async (t) => {
      seed(t, number)
      const clock = moveClock(t)
      const closedAt: number[] = []
      const startedAt = performance.now()
      const spread = new Spread(range(10_000), { within: 60_000, isOpen: () => true, close: (item) => { closedAt[item] = performance.now() - startedAt } })
      await clock.pass(30_000)
      t.ok(Math.abs(spread.left - 5000) < 20, `${spread.left} are left after half of the time`)
      await clock.pass(30_000)
      await spread.done
      t.equal(spread.left, 0)
      t.equal(closedAt.filter((at) => at >= 0 && at <= 60_000).length, 10_000, 'each is closed within the window')
      const bins = range(BINS).map((bin) => closedAt.filter((at) => Math.min(Math.floor(at / 60_000 * BINS), BINS - 1) === bin).length)
      t.ok(chiSquare(bins) < LIMIT, `over the time: ${chiSquare(bins)}`)
      // The first half of the list has as many in each part of the time as the second.
      const first = range(BINS).map((bin) => closedAt.slice(0, 5000).filter((at) => Math.min(Math.floor(at / 60_000 * BINS), BINS - 1) === bin).length)
      t.ok(chiSquare(first) < LIMIT, `of the first half: ${chiSquare(first)}`)
      t.ok(chiSquare(first) > 1, 'the order is not a regular one')
    })
  }
})

t.test('the instant of a single close is evenly distributed over the window', async (t) => {
  seed(t, 7)
  const clock = moveClock(t)
  const startedAt = performance.now()
  const instants: number[] = []
  for (let i = 0; i < 2000; i++) void new Spread([i], { within: 10_000, isOpen: () => true, close: () => instants.push(performance.now() - startedAt) })
  await clock.pass(10_025)
  t.equal(instants.length, 2000)
  const bins = range(10).map((bin) => instants.filter((at) => Math.min(Math.floor(at / 1000), 9) === bin).length)
  // For 9 degrees of freedom, one of ten thousand samples is above.
  t.ok(chiSquare(bins) < 33.7, `${chiSquare(bins)}`)
})

t.test('a spread skips what has ended, and hurry() closes what is left once', async (t) => {
  const clock = moveClock(t)
  const ended = new Set<number>()
  const closed: number[] = []
  const spread = new Spread(range(100), { within: 10_000, isOpen: (item) => !ended.has(item), close: (item) => { closed.push(item) } })
  await clock.pass(2000)
  for (const item of range(100)) if (item % 2 === 0) ended.add(item)
  const before = closed.length
  t.ok(before >= 18 && before <= 21, `${before} are closed in a fifth of the time`)
  t.ok(spread.left > 30 && spread.left <= 50)
  spread.hurry()
  spread.hurry()
  await spread.done
  t.equal(spread.left, 0)
  t.ok(closed.slice(before).every((item) => item % 2 === 1), 'none that had ended')
  t.equal(new Set(closed).size, closed.length, 'each once')
  t.ok(range(100).every((item) => item % 2 === 0 || closed.includes(item)))
  await clock.pass(20_000)
  t.equal(new Set(closed).size, closed.length, 'the timer closes no more')
})

t.test('what was due while the process stood still does not come at once: the rest is spread over the rest of the window', async (t) => {
  const clock = moveClock(t)
  const startedAt = performance.now()
  const closedAt: number[] = []
  const spread = new Spread(range(1000), { within: 10_000, isOpen: () => true, close: () => { closedAt.push(performance.now() - startedAt) } })
  const closedBetween = (from: number, to: number): number => closedAt.filter((at) => at > from && at <= to).length
  await clock.pass(2000)
  t.ok(Math.abs(closedAt.length - 200) <= 3, `${closedAt.length} in 2 s`)
  // 3 s in which no timer runs: 300 are due.
  clock.advance(3000, 3000)
  await clock.pass(1000)
  const rate = 800 / 5.25
  t.ok(closedBetween(4990, 6000) <= 1.3 * rate, `${closedBetween(4990, 6000)} in the second after it`)
  await clock.pass(4000)
  await spread.done
  t.ok(closedBetween(6000, 7000) <= 1.05 * rate + 3, `${closedBetween(6000, 7000)} in the next one`)
  t.equal(closedAt.length, 1000)
  t.ok(Math.max(...closedAt) <= 10_000, 'all within the window')
})

t.test('a process that stands still again and again closes all within the window, and its end', async (t) => {
  const clock = moveClock(t)
  const closed = new Set<number>()
  const spread = new Spread(range(1000), { within: 10_000, isOpen: () => true, close: (item) => { closed.add(item) } })
  for (let i = 0; i < 9; i++) {
    const before = closed.size
    clock.advance(1000, 1000)
    await clock.pass(25)
    t.ok(closed.size - before >= 20, `${closed.size - before} after a second`)
  }
  await clock.pass(1500)
  await spread.done
  t.equal(closed.size, 1000)
})

t.test('a spread without items is done at once', async (t) => {
  await new Spread([], { within: 60_000, isOpen: () => true, close: () => {} }).done
  t.pass('it is')
})

t.test('a disconnect with within returns how many it will close, and closes them within that time', async (t) => {
  const { app } = await prepare(t, { routes: (app) => app.get('/ws', { websocket: true }, () => {}) })
  const clients = await openMany(app, '/ws', 100, () => ({ authorization: `Bearer ${sign({ sub: 'ann', jti: 'x' })}` }))
  await until(() => app.wsAuth.connections.size === 100, 'all are open')
  const clock = moveClock(t)
  const { closed } = await app.wsAuth.disconnect({ sub: 'ann' }, { within: 10_000, code: 4000, reason: 'moved' })
  t.equal(closed, 100)
  t.ok(app.wsAuth.connections.size >= 99)
  await clock.pass(5000)
  const left = app.wsAuth.connections.size
  t.ok(left > 40 && left < 60, `${left} are left after half of the time`)
  const now = await app.wsAuth.revoke({ jti: 'x' })
  t.equal(now.closed, left, 'a revocation does not wait')
  t.equal(app.wsAuth.connections.size, 0)
  await clock.pass(6000)
  t.match(statsOf(app).closed, { disconnected: 100 - left, token_revoked: left })
  t.equal(clients.filter(({ close }) => close === '4000 moved').length, 100 - left)
})

t.test('a connection of which it was decided that it ends gets no message, delivers none, and has no renewal and no other reason', async (t) => {
  const heard: string[] = []
  const { app } = await prepare(t, {
    plugin: { renewal: true },
    routes: (app) => app.get('/ws', { websocket: true }, (socket) => { socket.on('message', (data) => heard.push(String(data))) })
  })
  const token = sign({ sub: 'ann' })
  const COUNT = 3000
  const clients = await openMany(app, '/ws', COUNT, () => ({ authorization: `Bearer ${token}` }))
  await until(() => app.wsAuth.connections.size === COUNT, 'all are open')
  const all = app.wsAuth.connections.bySub('ann')
  const revoked = app.wsAuth.revoke({ sub: 'ann', beforeAt: 0 })
  t.equal((await revoked).closed, COUNT, 'a token without iat is revoked')
  t.equal(app.wsAuth.connections.size, 0)
  t.strictSame([app.wsAuth.connections.bySub('ann'), [...app.wsAuth.connections], all.filter(({ id }) => app.wsAuth.connections.get(id) !== undefined)], [[], [], []], 'none is found any more')
  const waiting = (all as unknown as Array<Connection & { isGone: boolean }>).filter(({ isGone }) => !isGone)
  t.ok(waiting.length > 0, `${waiting.length} wait for their slice`)
  const [first] = waiting
  t.equal(first?.endsAt, null)
  const refused = t.rejects(async () => await first?.renew(sign({ sub: 'ann', iat: 5 })), { code: 'WS_AUTH_TOKEN_INVALID' })
  t.equal((await app.wsAuth.disconnect({ sub: 'ann' })).closed, 0, 'nothing is closed twice')
  t.equal((first as Connection).send('late'), false)
  for (const client of clients) client.send(clientFrame(1, 'late'))
  await refused
  await until(() => clients.every(({ close }) => close !== ''), 'all are closed')
  t.strictSame(heard, [])
  t.strictSame(clients.filter(({ texts }) => texts.includes('late')), [])
  t.strictSame([...new Set(clients.map(({ close }) => close))], ['3000 token_revoked'])
  await until(() => app.wsAuth.connections.size === 0, 'all are gone')
  t.match(statsOf(app), { closed: { token_revoked: COUNT } })
})

t.test('a shutdown closes connections that wait for their slice as it was decided, and a new connection of the user has its slot at once', async (t) => {
  const { app } = await prepare(t, { plugin: { limits: { perUser: 3000 } }, routes: (app) => app.get('/ws', { websocket: true }, () => {}) })
  const token = sign({ sub: 'ann' })
  const clients = await openMany(app, '/ws', 3000, () => ({ authorization: `Bearer ${token}` }))
  await until(() => app.wsAuth.connections.size === 3000, 'all are open')
  const disconnected = app.wsAuth.disconnect({ sub: 'ann' }, { code: 4000, reason: 'moved' })
  const again = await openSocket(app, '/ws', token)
  t.equal(app.wsAuth.connections.size, 1)
  t.equal((await disconnected).closed, 3000)
  await app.close()
  await until(() => clients.every(({ close }) => close !== ''), 'all are closed')
  t.strictSame([...new Set(clients.map(({ close }) => close))], ['4000 moved'])
  t.strictSame(await closeOf(again), { code: 1001, reason: 'shutdown' })
})

t.test('a close that throws causes a line in the log, and does not keep the other connections open', async (t) => {
  const { app, log } = await prepare(t, { routes: (app) => app.get('/ws', { websocket: true }, () => {}) })
  const sockets = [await openSocket(app, '/ws', sign({ sub: 'ann' })), await openSocket(app, '/ws', sign({ sub: 'ann' }))]
  const [first] = app.wsAuth.connections.bySub('ann')
  const { closeFor } = first as never as { closeFor: (...args: unknown[]) => void }
  Object.assign(first as object, { closeFor (...args: unknown[]) { Reflect.apply(closeFor, this, args); throw new Error('no') } })
  t.equal((await app.wsAuth.disconnect({ sub: 'ann' })).closed, 2)
  t.strictSame(await Promise.all(sockets.map(closeOf)), [{ code: 3003, reason: 'disconnected' }, { code: 3003, reason: 'disconnected' }])
  t.equal(log.filter((line) => line.includes('closing a websocket connection failed')).length, 1)
})

t.test('a registry without a log closes all the same', async (t) => {
  const connections = new ConnectionRegistry()
  t.equal(connections.close('sub', 'ann', { reason: 'disconnected', code: 4000 }), 0)
})
