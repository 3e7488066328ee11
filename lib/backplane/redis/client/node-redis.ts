/* A client of node-redis, of one Redis. Only its shape is known here. */
import { hasMethods } from './connection'
import type { AppConnection, OwnConnection, RedisConnection } from './connection'

/** A client as of node-redis. */
export interface NodeRedisLike {
  readonly isOpen: boolean
  sendCommand (...args: never[]): Promise<unknown>
  multi (...args: never[]): unknown
  duplicate (...args: never[]): unknown
  /** Of one connection: neither a cluster nor a sentinel has it, whose `sendCommand` is another. */
  watch (...args: never[]): unknown
  /** Since node-redis 5. */
  withTypeMapping (...args: never[]): unknown
}

/** What is called of a {@link NodeRedisLike}. */
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

/** The connection of a client, or `null` where it is of another kind. */
export function nodeRedisConnection (client: unknown): AppConnection | null {
  return isNodeRedis(client) ? { ...asksNodeRedis(withTexts(client)), duplicate: () => duplicateNodeRedis(client) } : null
}

function isNodeRedis (client: unknown): client is NodeRedis {
  return hasMethods(client, ['sendCommand', 'multi', 'duplicate', 'watch', 'withTypeMapping']) && typeof (client as { isOpen?: unknown }).isOpen === 'boolean'
}

/** The same client, also where the app has it reply with buffers. */
function withTexts (client: NodeRedis): NodeRedis {
  return client.withTypeMapping({})
}

function asksNodeRedis (client: NodeRedis): RedisConnection {
  return {
    send: async (command) => await client.sendCommand(command),
    transact: async (commands) => {
      const transaction = client.multi()
      for (const command of commands) transaction.addCommand(command)
      try {
        return await transaction.exec()
      } catch (error) {
        // It throws where one of them failed, and has all replies.
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
  return { ...asksNodeRedis(own), open: async () => { await own.connect() }, close: () => closeNodeRedis(own) }
}

/** It throws where it is closed already. */
function closeNodeRedis (own: OwnNodeRedis): void {
  try {
    own.destroy()
  } catch {}
}
