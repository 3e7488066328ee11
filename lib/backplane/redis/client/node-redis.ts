/*
 * Adapts a client of node-redis for one Redis server. The library is not imported: the app has it.
 */
import { hasMethods } from './connection'
import type { AppConnection, OwnConnection, RedisConnection } from './connection'

/** The shape of a client of node-redis 5 or later. */
export interface NodeRedisLike {
  readonly isOpen: boolean
  sendCommand (...args: never[]): Promise<unknown>
  multi (...args: never[]): unknown
  duplicate (...args: never[]): unknown
  /** Only a client of one server has it. The `sendCommand` of a cluster or of sentinels has other parameters. */
  watch (...args: never[]): unknown
  /** Since node-redis 5. */
  withTypeMapping (...args: never[]): unknown
}

/** The methods and options of a {@link NodeRedisLike} that are used here. */
interface NodeRedis {
  readonly isOpen: boolean
  readonly options?: { readonly socket?: object }
  sendCommand (command: readonly string[]): Promise<unknown>
  multi (): NodeRedisTransaction
  duplicate (options: object): OwnNodeRedis
  withTypeMapping (types: object): NodeRedis
}

interface NodeRedisTransaction {
  addCommand (command: readonly string[]): unknown
  exec (): Promise<unknown[]>
}

interface OwnNodeRedis extends NodeRedis {
  connect (): Promise<unknown>
  destroy (): void
  on (event: 'error', listener: () => void): void
}

/** The connection of a client, or `null` if it is of another library. */
export function nodeRedisConnection (client: unknown): AppConnection | null {
  return isNodeRedis(client) ? { ...requestsOf(withTexts(client)), duplicate: () => duplicateNodeRedis(client) } : null
}

function isNodeRedis (client: unknown): client is NodeRedis {
  return hasMethods(client, ['sendCommand', 'multi', 'duplicate', 'watch', 'withTypeMapping']) && typeof (client as { isOpen?: unknown }).isOpen === 'boolean'
}

/** The same client with strings as replies, even if the app set it to reply with buffers. */
function withTexts (client: NodeRedis): NodeRedis {
  return client.withTypeMapping({})
}

function requestsOf (client: NodeRedis): RedisConnection {
  return {
    send: async (command) => await client.sendCommand(command),
    transact: async (commands) => {
      const transaction = client.multi()
      for (const command of commands) transaction.addCommand(command)
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

function duplicateNodeRedis (client: NodeRedis): OwnConnection {
  const socket = { ...client.options?.socket, reconnectStrategy: false, socketTimeout: undefined }
  const own = client.duplicate({ socket, commandOptions: undefined, disableOfflineQueue: false })
  own.on('error', () => {})
  return { ...requestsOf(own), open: async () => { await own.connect() }, close: () => closeNodeRedis(own) }
}

/** Ignores the error that `destroy` throws if the client is closed already. */
function closeNodeRedis (own: OwnNodeRedis): void {
  try {
    own.destroy()
  } catch {}
}
