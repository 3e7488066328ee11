/*
 * The option `recheck` with many connections: how they are spread over the interval, in which async context they are asked about, and what
 * that leaves behind.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import t from 'tap'
import { Rotation } from '../../lib/in-band/rotation'
import { sign } from '../helpers/app'
import { eventually, moveClock } from '../helpers/moved-clock'
import { hold, startChat } from '../helpers/renewal-app'
import { statsOf } from '../helpers/stats'

const CLAIMS = { sub: 'ann', iat: Math.floor(Date.now() / 1000) - 60 }

t.test('turns are spread evenly over the interval, and no item waits longer than that', async (t) => {
  const EVERY = 60_000
  const TICK = 100
  const rotation = new Rotation<number, { id: number, turnAt: number }>(EVERY)
  const lastAt = new Map<number, number>()
  const add = (id: number, now: number): void => { rotation.add(id, { id, turnAt: now }); lastAt.set(id, now) }
  const leave = (id: number): void => { if (rotation.remove(id)?.id !== id) t.fail(`item ${id} is not there`); lastAt.delete(id) }
  for (let id = 0; id < 10_000; id++) add(id, 0)
  let most = 0
  let longest = 0
  const run = (from: number, to: number): number => {
    let turns = 0
    for (let now = from + TICK; now <= to; now += TICK) {
      let inTick = 0
      for (let item = rotation.take(now); item !== null; item = rotation.take(now)) {
        longest = Math.max(longest, now - (lastAt.get(item.id) as number))
        lastAt.set(item.id, now)
        inTick++
      }
      turns += inTick
      most = Math.max(most, inTick)
    }
    return turns
  }
  t.equal(run(0, EVERY), 10_000, 'all of them that came in one instant have one turn in the first interval')
  t.ok(most <= 17, `at most the even rate, 16.7 in a tick: ${most}`)
  t.equal(run(EVERY, 2 * EVERY), 10_000)
  for (let id = 0; id < 10_000; id += 2) leave(id)
  t.ok(Math.abs(run(2 * EVERY, 3 * EVERY) - 5000) <= 200, 'half as many when half of them have left')
  for (let id = 10_000; id < 20_000; id++) add(id, 3 * EVERY)
  const later = run(3 * EVERY, 4 * EVERY)
  t.ok(later >= 15_000 && later <= 15_200, `and those that are new: ${later}`)
  t.ok(most <= 50, `never a crowd: ${most}`)
  t.ok(longest <= EVERY + TICK, `no one waits longer: ${longest}`)
  most = 0
  rotation.take(4 * EVERY + 30_000)
  run(4 * EVERY + 30_000, 5 * EVERY + 30_000)
  t.ok(most < 8000, 'after a blocked event loop those that are late come at once, and no more')
  for (const id of [...lastAt.keys()]) leave(id)
  t.equal(rotation.take(10 * EVERY), null)
  t.equal(rotation.size, 0)
})

t.test('at most 50 checks are under way, each in the context of its request, and the rest follows', async (t) => {
  const als = new AsyncLocalStorage<string>()
  const held = hold()
  const contexts: Array<[string | null, string | undefined]> = []
  let underWay = 0
  let most = 0
  const { app, connect } = await startChat(t, {
    before: (app) => app.addHook('onRequest', (request, _reply, done) => als.run(String(request.headers['x-user']), done)),
    plugin: {
      handshakeTimeout: 120_000,
      recheck: {
        every: 10_000,
        check: async ({ sub, claims }) => {
          contexts.push([sub, als.getStore()])
          most = Math.max(most, ++underWay)
          await held.wait()
          contexts.push([sub, als.getStore()])
          underWay--
          return claims
        }
      },
      user: (claims) => { contexts.push([claims.sub as string, als.getStore()]); return claims as never }
    }
  })
  const clock = moveClock(t)
  const chats = await Promise.all(Array.from({ length: 120 }, async (_, i) => await connect(sign({ ...CLAIMS, sub: `user ${i}` }), { headers: { 'x-user': `user ${i}` } })))
  await clock.pass(10_200)
  await eventually(clock, () => underWay === 50, 'fifty are asked about')
  held.release()
  await eventually(clock, () => contexts.length >= 120 + 120 * 3, 'all are asked about')
  t.equal(most, 50)
  t.ok(contexts.every(([sub, context]) => sub === context), 'check and user see the AsyncLocalStorage of the request')
  t.equal(new Set(contexts.map(([sub]) => sub)).size, 120)
  const waiting = (): number => clock.timers.filter(({ _onTimeout }) => String(_onTimeout).includes('rotation')).length
  t.equal(waiting(), 1, 'one timer for all')
  for (const { client } of chats) client.terminate()
  await eventually(clock, () => statsOf(app).connections === 0, 'all have left')
  await clock.pass(200)
  t.equal(waiting(), 0, 'no timer is left')
})

t.test('without recheck nothing is kept or called, and the option can be turned off', async (t) => {
  const { app, connect } = await startChat(t, { plugin: { recheck: false } })
  const clock = moveClock(t)
  const chat = await connect(sign(CLAIMS))
  await clock.pass(60_000)
  t.ok(await chat.isHeard())
  t.equal(statsOf(app).connections, 1)
})
