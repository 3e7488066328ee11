/*
 * The contract of a backplane, kept in memory and, in its quick part, by Redis with each kind of client.
 */
import Fastify from 'fastify'
import t from 'tap'
import { memoryBackplane } from '../../lib/backplane/memory'
import { redisBackplane } from '../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../lib/backplane/redis/index'
import { testBackplane } from '../contracts/backplane'
import type { Place } from '../contracts/backplane'
import { testLeases } from '../contracts/leases'
import { reasonToSkip, startRedis } from '../helpers/redis'
import { redisPlace } from '../helpers/redis-place'

t.test('the backplane in memory keeps the contract', async (t) => {
  const open = async (): Promise<Place> => {
    const backplane = memoryBackplane()
    return { make: async () => backplane }
  }
  testBackplane(t, 'memory', open)
  testLeases(t, 'memory', open)
})

t.test('the backplane by Redis keeps the quick part of the contract', { skip: reasonToSkip(), jobs: 8 }, async (t) => {
  const server = await startRedis(t)
  for (const [name, place] of [
    ['ioredis', redisPlace(async () => server.client())],
    ['node-redis', redisPlace(async () => await server.nodeClient() as RedisBackplaneOptions['client'])]
  ] as const) {
    testBackplane(t, name, place, 'quick')
    testLeases(t, name, place)
  }

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
