/*
 * The contract of a backplane, kept by each that there is, with each client of Redis.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { Cluster } from 'ioredis'
import { createClient } from 'redis'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { createId } from '../../lib/base/id'
import { memoryBackplane } from '../../lib/backplane/memory'
import { redisBackplane } from '../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../lib/backplane/redis/index'
import { testBackplane } from '../contracts/backplane'
import type { Place } from '../contracts/backplane'
import { until } from '../helpers/app'
import { reasonToSkip, startRedis } from '../helpers/redis'
import type { RedisServer } from '../helpers/redis'

t.test('in memory', async (t) => {
  testBackplane(t, 'memory', async () => {
    const backplane = memoryBackplane()
    return { make: async () => backplane }
  })
})

type Client = RedisBackplaneOptions['client']

/** Each test has keys of its own, and each instance a client of its own. */
function place (client: () => Promise<Client>): (t: Test) => Promise<Place> {
  return async () => {
    const prefix = createId()
    return { make: async () => redisBackplane({ client: await client(), prefix }) }
  }
}

t.test('by Redis', { skip: reasonToSkip(), jobs: 2 }, async (t) => {
  const server = await startRedis(t)
  testBackplane(t, 'ioredis', place(async () => server.client()))
  testBackplane(t, 'ioredis with RESP 3 and a keyPrefix', place(async () => server.client({ keyPrefix: 'app:', protocol: 3, replyMapping: 'resp3', stringNumbers: true, enableAutoPipelining: true })))
  testBackplane(t, 'node-redis', place(async () => await server.nodeClient() as Client))
  testBackplane(t, 'node-redis with RESP 2', place(async () => await connectNodeRedis(t, server)))

  t.test('several apps in one Redis do not hear of each other', async (t) => {
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

t.test('by a cluster of Redis', { skip: reasonToSkip(), jobs: 2 }, async (t) => {
  const port = await freePort()
  const server = await startRedis(t, {
    settings: [
      '--port', String(port), '--bind', '127.0.0.1', '--cluster-enabled', 'yes', '--cluster-port', String(await freePort()),
      '--cluster-announce-ip', '127.0.0.1', '--requirepass', 'secret'
    ]
  })
  const client = server.client({ password: 'secret' })
  await client.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
  let info = ''
  const asking = setInterval(() => { void client.call('CLUSTER', 'INFO').then((reply) => { info = String(reply) }) }, 50)
  await until(() => info.includes('cluster_state:ok'), 'the cluster is up', 20_000).finally(() => clearInterval(asking))
  testBackplane(t, 'a cluster', place(async () => {
    const cluster = new Cluster([{ host: '127.0.0.1', port }], { keyPrefix: 'app:', redisOptions: { password: 'secret' } })
    cluster.on('error', () => {})
    t.teardown(() => { cluster.disconnect() })
    return cluster
  }))
})

async function connectNodeRedis (t: Test, { path }: RedisServer): Promise<Client> {
  const client = createClient({ RESP: 2, socket: { path, tls: false } })
  client.on('error', () => {})
  t.teardown(() => { client.destroy() })
  await client.connect()
  return client as Client
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
