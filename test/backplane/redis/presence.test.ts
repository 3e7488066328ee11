/*
 * Which instances live, as Redis has it.
 */
import t from 'tap'
import { keysOf } from '../../../lib/backplane/redis/keys'
import { Presence } from '../../../lib/backplane/redis/presence'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import { connectionTo } from '../../helpers/redis-connection'

t.test('instances are present in Redis while they beat', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const connection = connectionTo(server.client())
  const keys = keysOf('presence')
  const living = async (presence: Presence): Promise<string[]> => presence.othersOf(await connection.send(presence.listCommand))

  t.test('an instance that beats is present for the others until it leaves', async (t) => {
    const [one, other] = [new Presence(keys, 'one'), new Presence(keys, 'other')]
    t.same(await living(one), [])
    await one.beat(connection)
    await other.beat(connection)
    await other.beat(connection)
    t.same(await living(one), ['other'])
    t.same(await living(other), ['one'])
    await connection.send(['XADD', keys.inbox('one'), '*', 'a', 'b'])
    await one.leave(connection)
    t.same(await living(other), [])
    t.equal(Number(await connection.send(['EXISTS', keys.inbox('one')])), 0)
    t.same(one.othersOf(null), [])
    t.same(one.othersOf('OK'), [])
  })

  t.test('an instance that has not beaten for long is absent, and forgotten later', async (t) => {
    const one = new Presence(keys, 'one')
    const now = Date.now()
    await connection.send(['ZADD', keys.alive, String(now - 1000), 'just over', String(now - 60_000), 'long over', String(now + 10_000), 'living'])
    await one.beat(connection)
    t.same((await living(one)).filter((id) => id !== 'other'), ['living'])
    const kept = await connection.send(['ZRANGE', keys.alive, '0', '-1']) as string[]
    t.ok(kept.includes('just over'))
    t.notOk(kept.includes('long over'))
  })

  t.test('an instance is present by the clock of Redis, not by its own', async (t) => {
    const { now } = Date
    t.teardown(() => { Date.now = now })
    Date.now = () => now() + 3_600_000
    const [one, other] = [new Presence(keys, 'fast'), new Presence(keys, 'other')]
    await one.beat(connection)
    Date.now = () => now() - 3_600_000
    await other.beat(connection)
    t.ok((await living(other)).includes('fast'))
    t.ok((await living(one)).includes('other'))
    const until = Number(await connection.send(['ZSCORE', keys.alive, 'fast']))
    t.ok(Math.abs(until - now()) < 60_000)
  })

  t.test('an instance that leaves during a beat is absent', async (t) => {
    const presence = new Presence(keys, 'leaving')
    const beating = presence.beat(connection)
    await presence.leave(connection)
    await beating
    t.equal(await connection.send(['ZSCORE', keys.alive, 'leaving']), null)
  })
})
