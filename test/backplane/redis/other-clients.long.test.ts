/*
 * Clients of other versions and settings: node-redis 5 and 4, and ioredis with a sentinel.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { Redis } from 'ioredis'
import { createClient, createCluster, createSentinel } from 'redis'
import t from 'tap'
import type { OwnConnection } from '../../../lib/backplane/redis/client/connection'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../../lib/backplane/redis/index'
import { until, within } from '../../helpers/app'
import { openClient, reasonToSkip, startProxy, startRedis } from '../../helpers/redis'
import { connectionTo } from '../../helpers/redis-connection'
import { Listener, TIMEOUT } from '../../helpers/redis-parts'

const skip = reasonToSkip()

/** A client of node-redis. */
interface Duplicable {
  duplicate: (options: never) => { readonly isOpen: boolean, destroy: () => void }
}

/** Before node-redis 6 a client that is closed already must not be closed. */
function asBefore (client: Duplicable): RedisBackplaneOptions['client'] {
  const duplicate = client.duplicate.bind(client)
  return Object.assign(client, {
    duplicate: (options: never) => {
      const own = duplicate(options)
      const destroy = own.destroy.bind(own)
      return Object.assign(own, {
        destroy: () => {
          if (!own.isOpen) throw new Error('The client is closed')
          destroy()
        }
      })
    }
  }) as never
}

t.test('an app with node-redis 5, which throws if a closed client is closed, comes back after a loss', { skip }, async (t) => {
  const server = await startRedis(t)
  const proxy = await startProxy(t, server)
  const client = createClient({ socket: { host: '127.0.0.1', port: proxy.port, reconnectStrategy: 20 } })
  client.on('error', () => {})
  t.teardown(() => { client.destroy() })
  await client.connect()
  const before = asBefore(client)
  const own: OwnConnection = connectionTo(before).duplicate()
  t.doesNotThrow(() => own.close())
  const member = new Listener()
  const link = redisBackplane({ client: before }).join(member)
  await link.ready
  proxy.cut()
  await until(() => member.told.includes('cannot follow the log in Redis: trying again'), 'it is noticed', TIMEOUT)
  await new Promise((resolve) => setTimeout(resolve, 300))
  proxy.restore()
  await until(() => member.told.includes('the log in Redis is followed again'), 'it is back', TIMEOUT)
  await within(TIMEOUT, 'it leaves', link.leave())
})

t.test('a client of node-redis 4 is refused at once, because it could not be closed', async (t) => {
  const client = Object.assign(Object.create(createClient()) as object, { withTypeMapping: undefined, destroy: undefined })
  t.throws(() => redisBackplane({ client: client as never }), { name: 'TypeError', message: '"client" option must be a client of ioredis, iovalkey or node-redis, and is one of node-redis 4 or of @valkey/client: version 5 or later of node-redis is needed' })
})

t.test('a duplicate that finds no sentinel fails, and does not ask again', async (t) => {
  const asked: Socket[] = []
  const sentinel = createServer((socket) => {
    asked.push(socket)
    socket.destroy()
  }).listen(0, '127.0.0.1')
  t.teardown(() => { sentinel.close() })
  await once(sentinel, 'listening')
  const { port } = sentinel.address() as AddressInfo
  const client: Redis = openClient(t, { sentinels: [{ host: '127.0.0.1', port }], name: 'main', lazyConnect: true, sentinelRetryStrategy: () => 1 })
  const own = connectionTo(client).duplicate()
  await t.rejects(within(TIMEOUT, 'it fails', own.open()), { message: /sentinel/i })
  const { length } = asked
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(asked.length, length)
  own.close()
})

t.test('a duplicate of a cluster or of sentinels of node-redis fails without a server, and can be closed before and after', async (t) => {
  const socket = { host: '127.0.0.1', port: 1 }
  const clients = [
    createCluster({ rootNodes: [{ socket }] }),
    createCluster({ rootNodes: [{ socket }], defaults: { socket: { reconnectStrategy: 1 } } }),
    createSentinel({ name: 'main', sentinelRootNodes: [socket] })
  ]
  for (const client of clients) {
    const own = connectionTo(client).duplicate()
    await t.rejects(within(TIMEOUT, 'it fails', own.open()))
    await t.rejects(within(TIMEOUT, 'it fails', own.send(['XREAD', 'STREAMS', '{none}', '0-0'])))
    own.close()
    t.doesNotThrow(() => own.close())
    t.doesNotThrow(() => connectionTo(client).duplicate().close())
    await t.rejects(connectionTo(client).send(['PING']), { message: /await client\.connect\(\)/ })
  }
})
