/*
 * The gauges of the backplane in stats(): in memory, and of a backplane of the app's own, whose code may fail.
 */
import t from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { memoryBackplane } from '../../lib/backplane/memory'
import { start } from '../helpers/app'

const HOUR = 3_600_000

/** A backplane of an app, whose health is what a test says. */
function withHealth (health: () => unknown): fastifyWsAuth.Backplane {
  return {
    join: (member) => {
      const { health: _none, ...link } = memoryBackplane().join(member)
      return { ...link, get health () { return health() as never } }
    }
  }
}

t.test('in memory, the gauges count the instances and the revocations', async (t) => {
  const backplane = memoryBackplane()
  const one = await start(t, { plugin: { backplane }, routes: () => {} })
  const alone = one.app.wsAuth.stats().backplane
  t.strictSame(alone, { isCurrent: true, revocations: 0, age: null, instances: 1, lastError: null })
  const other = await start(t, { plugin: { backplane }, routes: () => {} })
  await one.app.wsAuth.revoke({ sub: 'ann' })
  await one.app.wsAuth.revoke({ jti: 'x' })
  for (const { app } of [one, other]) {
    t.strictSame(app.wsAuth.stats().backplane, { isCurrent: true, revocations: 2, age: null, instances: 2, lastError: null })
  }
  t.equal(alone.revocations, 0, 'a snapshot does not change')
  await other.app.close()
  t.equal(one.app.wsAuth.stats().backplane.instances, 1)
})

t.test('revocations that are over leave the gauge without another revocation', async (t) => {
  const { app } = await start(t, { plugin: {}, routes: () => {} })
  await app.wsAuth.revoke({ sub: 'ann' }, { untilAt: Date.now() + HOUR })
  await app.wsAuth.revoke({ sub: 'bob' }, { untilAt: Date.now() + 3 * HOUR })
  t.equal(app.wsAuth.stats().backplane.revocations, 2)
  const { now } = Date
  t.teardown(() => { Date.now = now })
  Date.now = () => now() + 2 * HOUR
  t.equal(app.wsAuth.stats().backplane.revocations, 1)
})

t.test('a backplane of the app without a health has the gauges of the instance', async (t) => {
  const { app } = await start(t, { plugin: { backplane: withHealth(() => undefined) }, routes: () => {} })
  await app.wsAuth.revoke({ sub: 'ann' })
  t.strictSame(app.wsAuth.stats().backplane, { isCurrent: true, revocations: 1, age: null, instances: null, lastError: null })
})

t.test('a backplane of the app with a wrong health, or one that throws, does not disturb stats()', async (t) => {
  let health: () => unknown = () => { throw new Error('no') }
  const { app } = await start(t, { plugin: { backplane: withHealth(() => health()) }, routes: () => {} })
  const unknown = { isCurrent: true, revocations: 0, age: null, instances: null, lastError: null }
  const getter = { get age () { throw new Error('no') } }
  const wrong = [null, 1, 'x', [], getter, { age: -1, instances: NaN, lastError: 'x' }, { age: '5', instances: Infinity, lastError: { at: 'x', message: 'x' } }, { lastError: { at: 1, message: 5 } }]
  t.strictSame(app.wsAuth.stats().backplane, unknown)
  for (const value of wrong) {
    health = () => value
    t.strictSame(app.wsAuth.stats().backplane, unknown)
  }
  health = () => ({ age: 5, instances: 3, lastError: { at: 7, message: 'x'.repeat(1000), secret: 'y' } })
  t.strictSame(app.wsAuth.stats().backplane, { ...unknown, age: 5, instances: 3, lastError: { at: 7, message: 'x'.repeat(200) } })
})
