/*
 * The check of the settings of Redis: by real ones with each policy, that lose connections, or that may not be asked.
 */
import t from 'tap'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { until } from '../../helpers/app'
import { connectAll, startMember } from '../../helpers/cluster-of-apps'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import { Listener, TIMEOUT } from '../../helpers/redis-parts'

const skip = reasonToSkip()

t.test('an app asks for the settings of its Redis', { skip }, async (t) => {
  const memoryWarning = (policy: string): string => `the maxmemory-policy of Redis is ${policy}, which may evict revocations: set it to noeviction`

  for (const policy of ['allkeys-lru', 'allkeys-random', 'volatile-lru', 'volatile-ttl', 'noeviction']) {
    t.test(`an app on a Redis whose maxmemory-policy is ${policy} is ${policy.startsWith('allkeys') ? '' : 'not '}warned`, async (t) => {
      const server = await startRedis(t, { settings: ['--maxmemory', '100mb', '--maxmemory-policy', policy] })
      const member = await startMember(t, server)
      await connectAll([member], { sub: 'ann' })
      t.same(member.told(), policy.startsWith('allkeys') ? [memoryWarning(policy)] : [])
    })
  }

  t.test('the settings of Redis are asked for once, and not again after each loss of the connection', async (t) => {
    const server = await startRedis(t, { settings: ['--maxmemory-policy', 'allkeys-lru'] })
    const member = new Listener()
    const link = redisBackplane({ client: server.client() }).join(member)
    t.teardown(async () => await link.leave())
    await link.ready
    for (let i = 0; i < 2; i++) {
      await server.client().call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'no').catch(() => {})
      await until(() => member.told.filter((message) => message === 'the log in Redis is followed again').length === i + 1, 'it is followed again', TIMEOUT)
    }
    t.equal(member.told.filter((message) => message === memoryWarning('allkeys-lru')).length, 1)
  })

  t.test('an app that may not ask for the settings of Redis admits connections all the same', async (t) => {
    const server = await startRedis(t, { settings: ['--maxmemory-policy', 'allkeys-lru'] })
    await server.client().call('ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '&*', '+@all', '-info')
    await t.rejects(server.client({ username: 'app', password: 'secret' }).info(), /NOPERM/)
    const member = await startMember(t, server, { client: server.client({ username: 'app', password: 'secret' }) })
    await connectAll([member], { sub: 'ann' })
    t.same(member.told(), [])
  })
})
