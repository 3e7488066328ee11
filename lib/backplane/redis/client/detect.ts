/*
 * The client of Redis that an app has made and owns, whichever it is.
 */
import type { AppConnection } from './connection'
import { discreet } from './redacted'
import { ioredisConnection } from './ioredis'
import type { IoredisLike } from './ioredis'
import { nodeRedisConnection } from './node-redis'
import type { NodeRedisLike } from './node-redis'

/** A client that {@link connectionOf} understands. */
export type RedisClient = IoredisLike | NodeRedisLike

/** The connection of a client, or `null` where it is of no kind that is known. */
export function connectionOf (client: unknown): AppConnection | null {
  const connection = nodeRedisConnection(client) ?? ioredisConnection(client)
  return connection === null ? null : discreet(connection)
}
