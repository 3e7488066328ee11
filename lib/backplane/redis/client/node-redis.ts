/*
 * Adapts a client of node-redis, for one Redis server, a cluster, or a Redis behind sentinels. The library is not imported: the app has it.
 */
import { firstKeyOf } from './command-key'
import { hasMethods, UnusableClientError } from './connection'
import type { AppConnection, OwnConnection, RedisConnection } from './connection'

/** The shape of what `createClient`, `createCluster` or `createSentinel` of node-redis 5 or later returns. */
export interface NodeRedisLike {
  readonly isOpen: boolean
  sendCommand (...args: never[]): Promise<unknown>
  multi (...args: never[]): unknown
  duplicate (...args: never[]): unknown
  /** Since node-redis 5. */
  withTypeMapping (...args: never[]): unknown
}

/** What a client reaches. */
type Kind = 'server' | 'cluster' | 'sentinel'

/** The methods and options of a {@link NodeRedisLike} that are used here. */
interface NodeRedis {
  readonly isOpen: boolean
  /** Of a client for one server. */
  readonly options?: NodeOptions
  /** Of a client for a cluster. */
  readonly _options?: { readonly defaults?: NodeOptions }
  sendCommand (...args: Routed): Promise<unknown>
  multi (): NodeRedisTransaction
  duplicate (options: object): OwnNodeRedis
  withTypeMapping (types: object): NodeRedis
}

/** How long a connection to a node of a cluster may be silent, in milliseconds: longer than a blocking read. It ends one that was closed while it was opened. */
const SILENCE_TIMEOUT = 15_000

interface NodeOptions {
  readonly socket?: object
}

/** A command, behind what its client needs to find the server. */
type Routed = [...route: Array<string | boolean | undefined>, command: readonly string[]]

interface NodeRedisTransaction {
  addCommand (...args: Routed): unknown
  exec (): Promise<unknown[]>
}

interface OwnNodeRedis extends NodeRedis {
  connect (): Promise<unknown>
  destroy (): unknown
  on (event: 'error', listener: () => void): void
}

/** The connection of a client, or `null` if it is of another library. */
export function nodeRedisConnection (client: unknown): AppConnection | null {
  if (!isNodeRedis(client)) return null
  const kind = kindOf(client)
  const { send, transact } = requestsOf(withTexts(client), kind)
  // A client that is not connected fails all commands, or keeps them forever.
  const ifConnected = async <T>(request: () => Promise<T>): Promise<T> => {
    if (!client.isOpen) throw new UnusableClientError('a client of node-redis that is connected: await client.connect() before the app starts')
    return await request()
  }
  return {
    send: async (command) => await ifConnected(async () => await send(command)),
    transact: async (commands) => await ifConnected(async () => await transact(commands)),
    duplicate: () => duplicateNodeRedis(client, kind)
  }
}

function isNodeRedis (client: unknown): client is NodeRedis {
  return hasMethods(client, ['sendCommand', 'multi', 'duplicate', 'withTypeMapping']) && typeof (client as { isOpen?: unknown }).isOpen === 'boolean'
}

function kindOf (client: NodeRedis): Kind {
  if (hasMethods(client, ['getSentinelNode'])) return 'sentinel'
  return hasMethods(client, ['nodeClient']) ? 'cluster' : 'server'
}

/** The same client with strings as replies, even if the app set it to reply with buffers. */
function withTexts (client: NodeRedis): NodeRedis {
  return client.withTypeMapping({})
}

function requestsOf (client: NodeRedis, kind: Kind): RedisConnection {
  // Masters are asked also to read, because a replica lags and its log would look trimmed.
  const routed = (command: readonly string[]): Routed => {
    if (kind === 'server') return [command]
    return kind === 'cluster' ? [firstKeyOf(command), false, command] : [false, command]
  }
  return {
    send: async (command) => await client.sendCommand(...routed(command)),
    transact: async (commands) => {
      const transaction = client.multi()
      for (const command of commands) transaction.addCommand(...routed(command))
      try {
        return await transaction.exec()
      } catch (error) {
        // If one command failed, node-redis throws an error that has all replies.
        const { replies } = error as { replies?: unknown }
        if (Array.isArray(replies)) return replies
        throw error
      }
    }
  }
}

function duplicateNodeRedis (client: NodeRedis, kind: Kind): OwnConnection {
  const own = client.duplicate(ownOptions(client, kind))
  own.on('error', () => {})
  let opening: Promise<unknown> | undefined
  const close = (): void => {
    destroy(own)
    // A cluster that is closed while it connects goes on connecting.
    opening?.catch(() => {}).finally(() => destroy(own))
  }
  return { ...requestsOf(own, kind), open: async () => { await (opening = own.connect()) }, close }
}

/** Options of the connection for blocking reads: it has no time-outs and no retries, as that of ioredis. */
function ownOptions (client: NodeRedis, kind: Kind): object {
  const withSocket = (options: NodeOptions | undefined, socketTimeout?: number): object => {
    return { ...options, socket: { ...options?.socket, reconnectStrategy: false, socketTimeout }, commandOptions: undefined, disableOfflineQueue: false }
  }
  if (kind === 'server') return withSocket({ socket: { ...client.options?.socket } })
  // Only the node that has the keys is connected.
  if (kind === 'cluster') return { defaults: withSocket(client._options?.defaults, SILENCE_TIMEOUT), commandOptions: undefined, minimizeConnections: true, useReplicas: false }
  // The options of its nodes cannot be read, and are left as they are: a lost node fails the command, and the next connection asks the sentinels.
  return { commandOptions: undefined, maxCommandRediscovers: 0, masterPoolSize: 1, replicaPoolSize: 0, scanInterval: 0, reserveClient: false }
}

/** Ignores the error of a client that is closed already, which is thrown or, behind sentinels, a rejection. */
function destroy (own: OwnNodeRedis): void {
  try {
    Promise.resolve(own.destroy()).catch(() => {})
  } catch {}
}
