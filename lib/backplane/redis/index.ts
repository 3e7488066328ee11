/*
 * The public face of `fastify-ws-auth/redis`: many instances that agree by Redis.
 */
import type { Backplane } from '../contract'
import { checkKeys, invalid, readInteger, readObject } from '../../base/checks'
import { connectionOf } from './client/detect'
import type { RedisClient } from './client/detect'
import { keysOf } from './keys'
import { RedisLink } from './link'

export type { RedisClient } from './client/detect'
export type { IoredisLike } from './client/ioredis'
export type { NodeRedisLike } from './client/node-redis'

/** Options of {@link redisBackplane}. */
export interface RedisBackplaneOptions {
  /**
   * A client of ioredis (also for a cluster), iovalkey or node-redis, for Redis 7 or what speaks as it does. It stays the app's own:
   * it is neither connected nor closed here. For reading it is duplicated.
   */
  client: RedisClient
  /** What all keys begin with, in braces: one for each app that shares the Redis. Default `'fastify-ws-auth'`. */
  prefix?: string
  /** How old what was read may be, in milliseconds, until nobody can be vouched for. Default 30 000. */
  staleAfter?: number
  /**
   * What happens then. `'close'` (default): handshakes are refused with 503, and open connections are closed with
   * `closeCodes.unavailable`. `'keep'`: handshakes and connections go on, without what is revoked elsewhere; tickets need Redis either way.
   */
  onOutage?: 'close' | 'keep'
}

const MIN_STALE_AFTER = 100
const MAX_STALE_AFTER = 2 ** 31 - 1

/**
 * A backplane for many instances, by Redis.
 *
 * @throws TypeError `"<option>" option must be <what>`
 */
export function redisBackplane (options: RedisBackplaneOptions): Backplane {
  const given = readObject('options', options)
  checkKeys(given, '', ['client', 'prefix', 'staleAfter', 'onOutage'])
  const connection = connectionOf(given.client) ?? invalid('client', 'a client of ioredis, iovalkey or node-redis')
  const { prefix = 'fastify-ws-auth', onOutage = 'close' } = given
  if (typeof prefix !== 'string' || !/^[^{}]+$/.test(prefix)) invalid('prefix', 'a non-empty string without braces')
  if (onOutage !== 'close' && onOutage !== 'keep') invalid('onOutage', '\'close\' or \'keep\'')
  const staleAfter = readInteger('staleAfter', given.staleAfter, MIN_STALE_AFTER, MAX_STALE_AFTER, 30_000)
  const keys = keysOf(prefix)
  return { join: (member) => new RedisLink({ connection, keys, member, staleAfter, onOutage }) }
}
