/*
 * The contract of a backplane, kept in memory and, in its quick part, by Redis with each kind of client.
 */
import Fastify from 'fastify'
import t from 'tap'
import { memoryBackplane } from '../../lib/backplane/memory'
import { redisBackplane } from '../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../lib/backplane/redis/index'
import { testBackplane } from '../contracts/backplane'
import { reasonToSkip, startRedis } from '../helpers/redis'
import { redisPlace } from '../helpers/redis-place'

t.test('the backplane in memory keeps the contract', async (t) => {
  testBackplane(t, 'memory', async () => {
    const backplane = memoryBackplane()
    return { make: async () => backplane }
  })
})

t.test('the backplane by Redis keeps the quick part of the contract', { skip: reasonToSkip(), jobs: 8 }, async (t) => {
  const server = await startRedis(t)
  testBackplane(t, 'ioredis', redisPlace(async () => server.client()), 'quick')
  testBackplane(t, 'node-redis', redisPlace(async () => await server.nodeClient() as RedisBackplaneOptions['client']), 'quick')

  t.test('apps with different prefixes in one Redis do not hear of each other', async (t) => {
    const client = server.client()
    for (const prefix of ['a', 'ab', 'a:log']) {
      const link = redisBackplane({ client, prefix }).join({ id: prefix, log: Fastify().log, apply: () => { throw new Error('not for it') }, revocations: () => [], onOutage: () => {} })
      t.teardown(async () => await link.leave())
      await link.ready
      t.same(await link.publish({ type: 'revoke', kind: 'jti', value: 'x', issuedBy: null, untilAt: 4e12 }), [])
      t.equal(await link.put('name', prefix, 60_000), true)
      t.equal(await link.get('name'), prefix)
    }
  })
})
