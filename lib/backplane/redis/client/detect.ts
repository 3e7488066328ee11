/*
 * Chooses the adapter for the app's Redis client, by the shape of the client.
 */
import type { AppConnection } from './connection'
import { redacted } from './redacted'
import { ioredisConnection } from './ioredis'
import type { IoredisLike } from './ioredis'
import { nodeRedisConnection } from './node-redis'
import type { NodeRedisLike } from './node-redis'

/** A client that {@link connectionOf} can adapt. */
export type RedisClient = IoredisLike | NodeRedisLike

/** The connection of a client, or `null` if its library is not supported. */
export function connectionOf (client: unknown): AppConnection | null {
  const connection = nodeRedisConnection(client) ?? ioredisConnection(client)
  return connection === null ? null : redacted(connection)
}
