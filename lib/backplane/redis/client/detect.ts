/*
 * Chooses the adapter for the app's Redis client, by the shape of the client.
 */
import { hasMethods } from './connection'
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

/** Clients that apps have too, and cannot be used, by a method that only they have. */
const OTHERS: ReadonlyArray<readonly [method: string, what: string]> = [
  ['then', 'is a promise: await it'],
  ['customCommand', 'is one of valkey-glide, whose replies have another form'],
  ['getSentinelNode', 'is createSentinel of node-redis 5: version 6 or later is needed for sentinels'],
  ['internal_send_command', 'is one of node-redis 3: version 5 or later is needed'],
  ['sendCommand', 'is one of node-redis 4 or of @valkey/client: version 5 or later of node-redis is needed']
]

/** What the `client` option has to be, and which client it is if that is known. */
export function neededClient (client: unknown): string {
  const needed = 'a client of ioredis, iovalkey or node-redis'
  if (hasMethods(client, ['execute', 'sendCommand', 'withTypeMapping'])) return `${needed}, and is a pool of node-redis, which cannot be duplicated: give what createClient returns`
  const [, other] = OTHERS.find(([method]) => hasMethods(client, [method])) ?? []
  return other === undefined ? needed : `${needed}, and ${other}`
}
