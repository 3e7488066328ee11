/*
 * The client of Redis that an app has made and owns, whichever it is: what is asked of it, and how each kind is asked. Only
 * the shapes of clients are known here, no package. One that blocks is a duplicate, which is ours to open and to close.
 */

/** Asks Redis. */
export interface RedisConnection {
  /** One command. @throws what the client or Redis throws */
  send (command: readonly string[]): Promise<unknown>
  /** Some commands in one transaction (MULTI). Each reply is a value, or the Error that Redis answered with. */
  transact (commands: ReadonlyArray<readonly string[]>): Promise<unknown[]>
}

/** A connection of our own. */
export interface OwnConnection extends RedisConnection {
  /** @throws where it cannot be opened; it does not try again */
  open (): Promise<void>
  close (): void
}

/** The connection of the app. */
export interface AppConnection extends RedisConnection {
  /** Another to the same Redis, which is not open yet. */
  duplicate (): OwnConnection
}

/** A client as of ioredis or iovalkey, also for a cluster. */
export interface IoredisLike {
  call (...args: never[]): Promise<unknown>
  multi (...args: never[]): unknown
  duplicate (...args: never[]): unknown
}

/** A client as of node-redis. */
export interface NodeRedisLike {
  readonly isOpen: boolean
  sendCommand (...args: never[]): Promise<unknown>
  multi (...args: never[]): unknown
  duplicate (...args: never[]): unknown
  /** Of one connection: neither a cluster nor a sentinel has it, whose `sendCommand` is another. */
  watch (...args: never[]): unknown
}

/** A client that {@link connectionOf} understands. */
export type RedisClient = IoredisLike | NodeRedisLike

/** What is called of an {@link IoredisLike}. */
interface Ioredis {
  readonly isCluster?: boolean
  readonly options?: { readonly keyPrefix?: string, readonly redisOptions?: object }
  call (command: string, ...args: string[]): Promise<unknown>
  multi (commands: string[][]): { exec (): Promise<Array<[unknown, unknown]> | null> }
  duplicate (...args: unknown[]): OwnIoredis
}

interface OwnIoredis extends Ioredis {
  connect (): Promise<void>
  disconnect (): void
  on (event: 'error', listener: () => void): void
}

/** What is called of a {@link NodeRedisLike}. */
interface NodeRedis {
  readonly isOpen: boolean
  readonly options?: { readonly socket?: object }
  sendCommand (command: readonly string[]): Promise<unknown>
  multi (): NodeRedisTransaction
  duplicate (options: object): OwnNodeRedis
  withTypeMapping? (types: object): NodeRedis
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

/**
 * A blocking read lasts longer than most time-outs allow, and what has failed is opened anew from here: a client that sends
 * commands again by itself would hide that something was lost.
 */
const IOREDIS = {
  lazyConnect: true,
  maxRetriesPerRequest: 0,
  retryStrategy: () => null,
  sentinelRetryStrategy: () => null,
  reconnectOnError: null,
  commandTimeout: undefined,
  socketTimeout: undefined,
  blockingTimeout: undefined,
  enableOfflineQueue: true,
  enableAutoPipelining: false
}

/** Replicas lag: to who reads from one, the log looks trimmed. */
const CLUSTER = { clusterRetryStrategy: () => null, lazyConnect: true, enableOfflineQueue: true, enableAutoPipelining: false, scaleReads: 'master' }

/** XINFO in a form in which every version knows where the key is. */
const XINFO_STREAM = 'return redis.call("XINFO", "STREAM", KEYS[1])'

/** The connection of a client, or `null` where it is of no kind that is known. */
export function connectionOf (client: unknown): AppConnection | null {
  if (isNodeRedis(client)) return { ...asksNodeRedis(withTexts(client)), duplicate: () => duplicateNodeRedis(client) }
  if (isIoredis(client)) return { ...asksIoredis(client), duplicate: () => duplicateIoredis(client) }
  return null
}

function isIoredis (client: unknown): client is Ioredis {
  return hasMethods(client, ['call', 'multi', 'duplicate'])
}

function isNodeRedis (client: unknown): client is NodeRedis {
  return hasMethods(client, ['sendCommand', 'multi', 'duplicate', 'watch']) && typeof (client as { isOpen?: unknown }).isOpen === 'boolean'
}

function hasMethods (client: unknown, names: readonly string[]): boolean {
  return typeof client === 'object' && client !== null && names.every((name) => typeof (client as Record<string, unknown>)[name] === 'function')
}

function asksIoredis (client: Ioredis): RedisConnection {
  const hasPrefix = (client.options?.keyPrefix ?? '') !== ''
  const written = (command: readonly string[]): [string, ...string[]] => {
    const [name = '', ...args] = hasPrefix ? withKnownKey(command) : command
    return [name.toLowerCase(), ...args]
  }
  return {
    send: async (command) => await client.call(...written(command)),
    transact: async (commands) => {
      const replies = await client.multi(commands.map(written)).exec()
      if (replies === null) throw new Error('the transaction was aborted')
      return replies.map(([error, reply]) => error ?? reply)
    }
  }
}

/** A `keyPrefix` goes before the keys that a client finds: not all versions find that of XINFO, or any in capital letters. */
function withKnownKey (command: readonly string[]): readonly string[] {
  const [name, , key = ''] = command
  return name === 'XINFO' ? ['EVAL', XINFO_STREAM, '1', key] : command
}

function duplicateIoredis (client: Ioredis): OwnConnection {
  // Before ioredis 6 a cluster's `redisOptions` are replaced, the password among them.
  const own = client.isCluster === true
    ? client.duplicate([], { ...CLUSTER, redisOptions: { ...client.options?.redisOptions, ...IOREDIS, lazyConnect: undefined } })
    : client.duplicate(IOREDIS)
  // Whatever it is, the command that is waited for fails too.
  own.on('error', () => {})
  return { ...asksIoredis(own), open: async () => await own.connect(), close: () => own.disconnect() }
}

/** The same client, also where the app has it reply with buffers. */
function withTexts (client: NodeRedis): NodeRedis {
  return client.withTypeMapping?.({}) ?? client
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
