/*
 * The whole contract of a backplane, kept by Redis with each client in each of its settings, and by a cluster.
 */
import { Cluster } from 'ioredis'
import { createClient } from 'redis'
import t from 'tap'
import type { Test } from 'tap'
import type { RedisBackplaneOptions } from '../../lib/backplane/redis/index'
import { testBackplane } from '../contracts/backplane'
import { testLeases } from '../contracts/leases'
import { until } from '../helpers/app'
import { freePort } from '../helpers/free-port'
import { reasonToSkip, startRedis } from '../helpers/redis'
import type { RedisServer } from '../helpers/redis'
import { redisPlace } from '../helpers/redis-place'

type Client = RedisBackplaneOptions['client']

t.test('the backplane by Redis keeps the contract', { skip: reasonToSkip(), jobs: 2 }, async (t) => {
  const server = await startRedis(t)
  const resp3 = { keyPrefix: 'app:', protocol: 3, replyMapping: 'resp3', stringNumbers: true, enableAutoPipelining: true } as const
  for (const [name, place] of [
    ['ioredis', redisPlace(async () => server.client())],
    ['ioredis with RESP 3 and a keyPrefix', redisPlace(async () => server.client(resp3))],
    ['node-redis', redisPlace(async () => await server.nodeClient() as Client)],
    ['node-redis with RESP 2', redisPlace(async () => await connectNodeRedis(t, server))]
  ] as const) {
    testBackplane(t, name, place)
    testLeases(t, name, place)
  }
})

t.test('the backplane by a cluster of Redis keeps the contract', { skip: reasonToSkip(), jobs: 2 }, async (t) => {
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
  await until(() => info.includes('cluster_state:ok'), 'the cluster is up').finally(() => clearInterval(asking))
  const place = redisPlace(async () => {
    const cluster = new Cluster([{ host: '127.0.0.1', port }], { keyPrefix: 'app:', redisOptions: { password: 'secret' } })
    cluster.on('error', () => {})
    t.teardown(() => { cluster.disconnect() })
    return cluster
  })
  testBackplane(t, 'a cluster', place)
  testLeases(t, 'a cluster', place)
})

async function connectNodeRedis (t: Test, { path }: RedisServer): Promise<Client> {
  const client = createClient({ RESP: 2, socket: { path, tls: false } })
  client.on('error', () => {})
  t.teardown(() => { client.destroy() })
  await client.connect()
  return client as Client
}
