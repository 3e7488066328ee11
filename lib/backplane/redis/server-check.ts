/*
 * A Redis that forgets what it was told, or does not know the commands, is noticed at the start and not on the day on which a
 * user has to be logged out.
 */
import type { QuietLog } from '../../base/quiet-log'
import type { RedisConnection } from './client/connection'

/** The first version that continues the ids of a stream within a part of our choice (`XADD <epoch>-*`). */
const MIN_VERSION = 7

/** Looks at the settings of the server. What may not be asked for is not known. */
export async function checkServer ({ send }: RedisConnection, log: QuietLog): Promise<void> {
  const info = await send(['INFO']).then(String, () => '')
  const version = /^redis_version:(\d+)\./m.exec(info)?.[1]
  const policy = /^maxmemory_policy:(allkeys-\w+)/m.exec(info)?.[1]
  if (version !== undefined && Number(version) < MIN_VERSION) log.error(`Redis ${version} is too old for fastify-ws-auth/redis: it needs ${MIN_VERSION}`)
  if (policy !== undefined) log.warn(`the maxmemory-policy of Redis is ${policy}: it may throw revocations away; noeviction does not`)
}
