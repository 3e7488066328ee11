/*
 * The clock of Redis, as an instance knows it from the replies of the lease script.
 */
import t from 'tap'
import type { RedisConnection } from '../../../lib/backplane/redis/client/connection'
import { keysOf } from '../../../lib/backplane/redis/keys'
import { LEASE_SCRIPT } from '../../../lib/backplane/redis/leases/script'
import { LeaseSession } from '../../../lib/backplane/redis/leases/session'
import { createId } from '../../../lib/base/id'
import { reasonToSkip, startRedis } from '../../helpers/redis'

const TIME = 'local time = redis.call(\'TIME\')'
/** How long the process is busy while a reply waits, in milliseconds. */
const BUSY = 1000

t.test('an instance that reads a reply late knows the clock of Redis as well as before, and follows it when it is set', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const client = server.client()
  /** How far the clock of Redis is ahead, in seconds. */
  let ahead = 0
  const connection: RedisConnection = {
    send: async ([, , ...args]) => await client.call('EVAL', LEASE_SCRIPT.replace(TIME, `${TIME}; time[1] = time[1] + ${ahead}`), ...args),
    transact: async () => []
  }
  const session = new LeaseSession(connection, keysOf('session'), createId(), { max: 1, replaces: false })
  t.equal(session.now, '', 'before the first reply nothing is known')
  await session.join()

  /** How many milliseconds it is behind: a little less and a little more than it is, whatever takes its time between. */
  const behind = async (): Promise<[least: number, most: number]> => {
    const before = Number(session.now) / 1000
    const [seconds = 0, micros = 0] = (await client.time()).map(Number)
    const time = (seconds + ahead) * 1000 + micros / 1000
    return [time - Number(session.now) / 1000, time - before]
  }
  const assertKnown = async (what: string): Promise<void> => {
    const [least, most] = await behind()
    t.ok(least < BUSY / 2 && most > -20, `${what}: between ${least.toFixed(1)} and ${most.toFixed(1)} ms behind`)
  }
  const beat = async (count: number): Promise<void> => { for (let i = 0; i < count; i++) await session.run('beat') }

  await beat(20)
  await assertKnown('after some calls')
  for (const by of [0, 3600, -3600]) {
    ahead += by
    await beat(20)
    const late = session.run('beat')
    // The call has gone, and the reply has come when the process is free again.
    for (const end = performance.now() + BUSY; performance.now() < end;) { /* busy */ }
    await late
    await assertKnown(`after a late reply, with a clock that was set by ${by} s`)
  }
})
