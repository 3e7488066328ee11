import type { Backplane } from 'fastify-ws-auth'
import { redisBackplane } from 'fastify-ws-auth/redis'
import { Cluster, Redis } from 'ioredis'
import { createClient } from 'redis'
import { expect, test } from 'tstyche'

test('the clients of ioredis and node-redis are taken as they are', () => {
  expect(redisBackplane).type.toBeCallableWith({ client: new Redis() })
  expect(redisBackplane).type.toBeCallableWith({ client: new Cluster([]) })
  expect(redisBackplane).type.toBeCallableWith({ client: createClient() })
  expect(redisBackplane).type.toBeCallableWith({ client: createClient({ RESP: 2 }), prefix: 'chat', staleAfter: 1000, onOutage: 'keep', closeWithin: 60_000 })
  expect(redisBackplane({ client: new Redis() })).type.toBe<Backplane>()
})

test('anything else is an error', () => {
  expect(redisBackplane).type.not.toBeCallableWith({})
  expect(redisBackplane).type.not.toBeCallableWith({ client: {} })
  expect(redisBackplane).type.not.toBeCallableWith({ client: new Redis(), onOutage: 'ignore' })
  expect(redisBackplane).type.not.toBeCallableWith({ client: new Redis(), stale: 1 })
})
