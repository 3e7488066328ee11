/*
 * Slots of users while clocks are set: that of an instance, which counts nothing, and that of Redis, which is the only one of the leases. The
 * clock of a real Redis cannot be set by a test: the script reads it in one line, and that line is moved.
 */
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { RedisConnection } from '../../../lib/backplane/redis/client/connection'
import { keysOf } from '../../../lib/backplane/redis/keys'
import { RedisLeases } from '../../../lib/backplane/redis/leases/redis-leases'
import { LEASE_SCRIPT } from '../../../lib/backplane/redis/leases/script'
import type { LeaseRules, ReleaseLease } from '../../../lib/backplane/leases'
import { createId } from '../../../lib/base/id'
import { until } from '../../helpers/app'
import { setClock } from '../../helpers/moved-clock'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import type { RedisServer } from '../../helpers/redis'

const HOUR = 3_600_000
const ONE: LeaseRules = { max: 1, replaces: false }
const TIME = 'local time = redis.call(\'TIME\')'

/** The clock of one Redis, which the test sets. */
interface SetClock {
  /** In milliseconds ahead. */
  ahead: number
}

interface Instance {
  readonly lost: string[]
  readonly take: (user: string) => Promise<ReleaseLease | null>
}

function join (t: Test, server: RedisServer, rules: LeaseRules, clock: SetClock = { ahead: 0 }): Instance {
  const client = server.client()
  const connection: RedisConnection = {
    send: async ([name = '', script = '', ...args]) => {
      if (!name.startsWith('EVAL')) return await client.call(name, script, ...args)
      return await client.call('EVAL', LEASE_SCRIPT.replace(TIME, `${TIME}; time[1] = time[1] + ${Math.round(clock.ahead / 1000)}`), ...args)
    },
    transact: async (commands) => await Promise.all(commands.map(async ([name = '', ...args]) => await client.call(name, ...args)))
  }
  const lost: string[] = []
  const member = { id: createId(), log: Fastify().log, apply: () => 0, revocations: () => [], onOutage: () => {} }
  const leases = new RedisLeases({ connection, keys: keysOf('clocks'), member, rules, onFailure: (error) => { lost.push(String(error)) } })
  t.teardown(async () => await leases.leave())
  return { lost, take: async (user) => await leases.take(user, (why) => { lost.push(`${user} ${why}`) }) }
}

async function pause (ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

t.ok(LEASE_SCRIPT.split(TIME).length === 2, 'the script reads the clock in one line')

t.test('slots of users and set clocks', { skip: reasonToSkip(), jobs: 8 }, async (t) => {
  t.test('the clock of an instance may be set by a day, back and forth: no slot is lost, or given twice', async (t) => {
    const server = await startRedis(t)
    const [one, other] = [join(t, server, ONE), join(t, server, ONE)]
    const release = await one.take('ann')
    for (const days of [1, -3]) {
      setClock(t, days * 24 * HOUR)
      t.equal(await other.take('ann'), null)
      t.type(await one.take(`user ${days}`), 'function')
      // Each renews its lease every 2 s.
      await pause(2100)
      t.equal(await other.take(`user ${days}`), null)
    }
    release?.()
    while (await other.take('ann') === null) await pause(10)
    t.same([...one.lost, ...other.lost], [])
  })

  for (const hours of [1, -1, 7, -1000]) {
    t.test(`the clock of Redis may be set by ${hours} h: no slot is lost, or given twice`, async (t) => {
      const server = await startRedis(t)
      const clock = { ahead: 0 }
      const [one, other] = [join(t, server, ONE, clock), join(t, server, ONE, clock)]
      const release = await one.take('ann')
      t.type(await other.take('bob'), 'function')
      clock.ahead = hours * HOUR
      t.equal(await other.take('ann'), null, 'at once')
      t.equal(await one.take('bob'), null)
      await pause(4500)
      t.equal(await other.take('ann'), null, 'and after some beats')
      release?.()
      while (await other.take('ann') === null) await pause(10)
      clock.ahead = 0
      t.equal(await one.take('ann'), null, 'also when it is set right')
      t.same([...one.lost, ...other.lost], [])
    })
  }

  t.test('the clock of Redis may be set back: the oldest slot is still the oldest', async (t) => {
    const server = await startRedis(t)
    const clock = { ahead: 0 }
    const rules = { max: 2, replaces: true }
    const [one, other] = [join(t, server, rules, clock), join(t, server, rules, clock)]
    await one.take('ann')
    clock.ahead = -HOUR
    await other.take('ann')
    await one.take('ann')
    await until(() => one.lost.length > 0, 'the first is lost')
    clock.ahead = HOUR
    await one.take('ann')
    await until(() => other.lost.length > 0 || one.lost.length > 1, 'the second is lost')
    t.same([one.lost, other.lost], [['ann replaced'], ['ann replaced']])
  })

  t.test('the clock of Redis may be set by two days, after which it has removed the keys: each instance restores its slots first', async (t) => {
    const server = await startRedis(t)
    const clock = { ahead: 0 }
    const [one, other] = [join(t, server, ONE, clock), join(t, server, ONE, clock)]
    await one.take('ann')
    clock.ahead = 48 * HOUR
    for (const key of await server.client().keys('*slots:*')) await server.client().del(key)
    t.equal(await other.take('ann'), null)
    t.equal(await one.take('ann'), null)
    t.type(await other.take('bob'), 'function')
    t.same([...one.lost, ...other.lost], [])
  })
})
