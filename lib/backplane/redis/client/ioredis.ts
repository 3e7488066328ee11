/* A client of ioredis or iovalkey, also for a cluster or by sentinels. Only its shape is known here. */
import { hasMethods } from './connection'
import type { AppConnection, OwnConnection, RedisConnection } from './connection'

/** A client as of ioredis or iovalkey, also for a cluster. */
export interface IoredisLike {
  call (...args: never[]): Promise<unknown>
  multi (...args: never[]): unknown
  duplicate (...args: never[]): unknown
}

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
  on (event: 'error', listener: (error: unknown) => void): void
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

/** The connection of a client, or `null` where it is of another kind. */
export function ioredisConnection (client: unknown): AppConnection | null {
  return isIoredis(client) ? { ...asksIoredis(client), duplicate: () => duplicateIoredis(client) } : null
}

function isIoredis (client: unknown): client is Ioredis {
  return hasMethods(client, ['call', 'multi', 'duplicate'])
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
  // That it could not be opened says less than what came before.
  let why: unknown
  own.on('error', (error) => { why = error })
  const open = async (): Promise<void> => await own.connect().catch((error: unknown) => { throw why ?? error })
  return { ...asksIoredis(own), open, close: () => own.disconnect() }
}
