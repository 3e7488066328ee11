/*
 * redis/ is the public module `fastify-ws-auth/redis`: the backplane for many instances. It may import base/ and contract.ts. Start
 * with `redisBackplane` here, then link.ts, which connects one instance; client/ adapts Redis clients, log/ is the stream of commands.
 */
import type { Backplane } from '../contract'
import { checkKeys, invalid, readInteger, readObject } from '../../base/checks'
import { connectionOf, neededClient } from './client/detect'
import type { RedisClient } from './client/detect'
import { keysOf } from './keys'
import { RedisLink } from './link'

export type { RedisClient } from './client/detect'
export type { IoredisLike } from './client/ioredis'
export type { NodeRedisLike } from './client/node-redis'

/** Options of {@link redisBackplane}. */
export interface RedisBackplaneOptions {
  /**
   * A client of ioredis, iovalkey or node-redis, connected to Redis 7, Valkey 8 or later, also to a cluster or through sentinels. The
   * app connects and closes it. The backplane duplicates it for reading. A pool of node-redis has no duplicate.
   */
  client: RedisClient
  /** The beginning of all keys, which is put in braces. Each app that shares the Redis needs its own. Default `'fastify-ws-auth'`. */
  prefix?: string
  /** After how long without a reply of Redis an outage begins, in milliseconds, from 100 to 2147483647. Default 30 000. */
  staleAfter?: number
  /**
   * What happens during an outage. `'close'` (default): handshakes are refused with 503, and open connections are closed with
   * `closeCodes.unavailable`. `'keep'`: handshakes are accepted and connections stay open, although revocations of other instances
   * may be missing. Tickets need Redis in both cases.
   */
  onOutage?: 'close' | 'keep'
  /**
   * Over how many milliseconds an instance spreads the closes of an outage, at an even rate, from 0 to 2147483647. If Redis answers before
   * that, the connections that are left stay open. Default 0: all are closed at once.
   */
  closeWithin?: number
}

const OPTIONS = '{ client }, with a client of ioredis, iovalkey or node-redis'
const MIN_STALE_AFTER = 100
/** The longest timer, in milliseconds. */
const MAX_TIMER = 2 ** 31 - 1

/**
 * Creates a backplane that connects many instances through Redis.
 *
 * @throws TypeError if an option is not valid: `"<option>" option must be ...`
 */
export function redisBackplane (options: RedisBackplaneOptions): Backplane {
  const given = readObject('options', options, OPTIONS)
  if (connectionOf(given) !== null) invalid('options', `${OPTIONS}, and not the client itself`)
  checkKeys(given, '', ['client', 'prefix', 'staleAfter', 'onOutage', 'closeWithin'])
  const connection = connectionOf(given.client) ?? invalid('client', neededClient(given.client))
  const { prefix = 'fastify-ws-auth', onOutage = 'close' } = given
  if (typeof prefix !== 'string' || !/^[^{}]+$/.test(prefix)) invalid('prefix', 'a non-empty string without braces')
  if (onOutage !== 'close' && onOutage !== 'keep') invalid('onOutage', '\'close\' or \'keep\'')
  const staleAfter = readInteger('staleAfter', given.staleAfter, MIN_STALE_AFTER, MAX_TIMER, 30_000)
  const closeWithin = readInteger('closeWithin', given.closeWithin, 0, MAX_TIMER, 0)
  const keys = keysOf(prefix)
  return { join: (member) => new RedisLink({ connection, keys, member, staleAfter, onOutage, closeWithin }) }
}
