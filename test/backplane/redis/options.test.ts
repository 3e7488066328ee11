/*
 * The options of redisBackplane.
 */
import { Cluster, Redis } from 'ioredis'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import t from 'tap'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../../lib/backplane/redis/index'

type Options = Record<string, unknown>

/** What no JavaScript user is kept from giving. */
function backplaneOf (options: unknown): unknown {
  return redisBackplane(options as RedisBackplaneOptions)
}

t.test('the options of redisBackplane are checked', async (t) => {
  const client = new Redis({ lazyConnect: true })
  const wrong: Array<[unknown, string]> = [
    [undefined, '"options" option must be an object'],
    [null, '"options" option must be an object'],
    ['redis://127.0.0.1', '"options" option must be an object'],
    [[client], '"options" option must be an object'],
    [{ client, Prefix: 'a' }, '"Prefix" option must be left out: there is no such option'],
    [{ client, prefix: '' }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: 'a}' }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: '{a' }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: 5 }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: null }, '"prefix" option must be a non-empty string without braces'],
    [{ client, onOutage: 'open' }, '"onOutage" option must be \'close\' or \'keep\''],
    [{ client, onOutage: null }, '"onOutage" option must be \'close\' or \'keep\''],
    ...[99, 100.5, 0, -1, NaN, Infinity, 2 ** 31, '1000', null].map((staleAfter): [unknown, string] =>
      [{ client, staleAfter }, '"staleAfter" option must be an integer from 100 to 2147483647'])
  ]
  for (const [options, message] of wrong) t.throws(() => backplaneOf(options), { name: 'TypeError', message })
  const right: Options[] = [{}, { prefix: 'my app' }, { staleAfter: 100 }, { staleAfter: 2 ** 31 - 1 }, { onOutage: 'keep' }, { onOutage: 'close' }, { prefix: undefined, staleAfter: undefined, onOutage: undefined }]
  for (const options of right) t.type((backplaneOf({ client, ...options }) as { join: unknown }).join, 'function')
  t.equal(client.status, 'wait', 'nothing is connected before an app joins')

  t.test('a value that is no client is a TypeError at once, also if it looks like node-redis', async (t) => {
    const url = 'redis://127.0.0.1:1'
    const clients: unknown[] = [
      undefined, null, 'redis://127.0.0.1', 5, {}, [], Redis, () => client, { call: () => {}, multi: () => {} }, { sendCommand: () => {}, multi: () => {}, duplicate: () => {} },
      createCluster({ rootNodes: [{ url }] }), createSentinel({ name: 'a', sentinelRootNodes: [{ host: '127.0.0.1', port: 1 }] }), createClientPool({ url })
    ]
    for (const client of clients) {
      t.throws(() => backplaneOf({ client }), { name: 'TypeError', message: '"client" option must be a client of ioredis, iovalkey or node-redis' })
    }
    t.type(backplaneOf({ client: createClient({ url }) }), 'object')
    t.type(backplaneOf({ client: new Cluster([], { lazyConnect: true }) }), 'object')
  })
})
