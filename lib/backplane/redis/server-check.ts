/*
 * Checks at the start whether the Redis server evicts keys or is too old, so that the first failure is not a logout.
 */
import type { QuietLog } from '../../base/quiet-log'
import type { RedisConnection } from './client/connection'

/** The first version with `XADD <epoch>-*`, which continues the ids of a stream within an epoch. */
const MIN_VERSION = 7

/** Logs settings of the server that are wrong. Logs nothing if the server does not permit `INFO`. */
export async function checkServer ({ send }: RedisConnection, log: QuietLog): Promise<void> {
  const info = await send(['INFO']).then(String, () => '')
  const version = /^redis_version:(\d+)\./m.exec(info)?.[1]
  const policy = /^maxmemory_policy:(allkeys-\w+)/m.exec(info)?.[1]
  if (version !== undefined && Number(version) < MIN_VERSION) log.error(`Redis ${version} is too old: fastify-ws-auth/redis needs version ${MIN_VERSION} or later`)
  if (policy !== undefined) log.warn(`the maxmemory-policy of Redis is ${policy}, which may evict revocations: set it to noeviction`)
}
