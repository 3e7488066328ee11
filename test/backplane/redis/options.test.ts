/*
 * The options of redisBackplane.
 */
import { GlideClient } from '@valkey/valkey-glide'
import { Cluster, Redis } from 'ioredis'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import t from 'tap'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../../lib/backplane/redis/index'

const url = 'redis://127.0.0.1:1'
const sentinels = { name: 'a', sentinelRootNodes: [{ host: '127.0.0.1', port: 1 }] }

type Options = Record<string, unknown>

/** What no JavaScript user is kept from giving. */
function backplaneOf (options: unknown): unknown {
  return redisBackplane(options as RedisBackplaneOptions)
}

t.test('the options of redisBackplane are checked', async (t) => {
  const client = new Redis({ lazyConnect: true })
  const wrong: Array<[unknown, string]> = [
    ...[undefined, null, 'redis://127.0.0.1', [client]].map((options): [unknown, string] => [options, '"options" option must be { client }, with a client of ioredis, iovalkey or node-redis']),
    ...[client, createClient({ url })].map((options): [unknown, string] => [options, '"options" option must be { client }, with a client of ioredis, iovalkey or node-redis, and not the client itself']),
    [{ client, Prefix: 'a' }, '"Prefix" option must be left out: there is no such option'],
    [{ client, prefix: '' }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: 'a}' }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: '{a' }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: 5 }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: null }, '"prefix" option must be a non-empty string without braces'],
    [{ client, onOutage: 'open' }, '"onOutage" option must be \'close\' or \'keep\''],
    [{ client, closeWithin: -1 }, '"closeWithin" option must be an integer from 0 to 2147483647'],
    [{ client, closeWithin: '1000' }, '"closeWithin" option must be an integer from 0 to 2147483647'],
    [{ client, onOutage: null }, '"onOutage" option must be \'close\' or \'keep\''],
    ...[99, 100.5, 0, -1, NaN, Infinity, 2 ** 31, '1000', null].map((staleAfter): [unknown, string] =>
      [{ client, staleAfter }, '"staleAfter" option must be an integer from 100 to 2147483647'])
  ]
  for (const [options, message] of wrong) t.throws(() => backplaneOf(options), { name: 'TypeError', message })
  const right: Options[] = [{}, { prefix: 'my app' }, { staleAfter: 100 }, { staleAfter: 2 ** 31 - 1 }, { onOutage: 'keep' }, { onOutage: 'close', closeWithin: 60_000 }, { prefix: undefined, staleAfter: undefined, onOutage: undefined }]
  for (const options of right) t.type((backplaneOf({ client, ...options }) as { join: unknown }).join, 'function')
  t.equal(client.status, 'wait', 'nothing is connected before an app joins')

  t.test('a value that is no client is a TypeError at once, and says which client it is if that is known', async (t) => {
    const needed = '"client" option must be a client of ioredis, iovalkey or node-redis'
    for (const client of [undefined, null, 'redis://127.0.0.1', 5, {}, [], Redis, () => client, { call: () => {}, multi: () => {} }]) {
      t.throws(() => backplaneOf({ client }), { name: 'TypeError', message: needed })
    }
    const named: Array<[unknown, string]> = [
      [createClientPool({ url }), ', and is a pool of node-redis, which cannot be duplicated: give what createClient returns'],
      [Promise.resolve(client), ', and is a promise: await it'],
      [GlideClient.prototype, ', and is one of valkey-glide, whose replies have another form'],
      [{ internal_send_command: () => {}, multi: () => {}, duplicate: () => {} }, ', and is one of node-redis 3: version 5 or later is needed'],
      [{ sendCommand: () => {}, multi: () => {}, duplicate: () => {} }, ', and is one of node-redis 4 or of @valkey/client: version 5 or later of node-redis is needed'],
      [Object.assign(Object.create(createSentinel(sentinels)) as object, { duplicate: undefined }), ', and is createSentinel of node-redis 5: version 6 or later is needed for sentinels']
    ]
    for (const [client, words] of named) t.throws(() => backplaneOf({ client }), { name: 'TypeError', message: needed + words })
    for (const client of [createClient({ url }), createCluster({ rootNodes: [{ url }] }), createSentinel(sentinels), new Cluster([], { lazyConnect: true })]) {
      t.type(backplaneOf({ client }), 'object')
    }
  })
})
