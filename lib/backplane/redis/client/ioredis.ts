/*
 * Adapts a client of ioredis or iovalkey, also for a cluster or through sentinels. The library is not imported: the app has it.
 */
import { hasMethods, UnusableClientError } from './connection'
import type { AppConnection, OwnConnection, RedisConnection } from './connection'

/** The shape of a client of ioredis or iovalkey, also for a cluster. */
export interface IoredisLike {
  call (...args: never[]): Promise<unknown>
  multi (...args: never[]): unknown
  duplicate (...args: never[]): unknown
}

/** The methods and options of an {@link IoredisLike} that are used here. */
interface Ioredis {
  readonly isCluster?: boolean
  readonly options?: { readonly keyPrefix?: string, readonly redisOptions?: object }
  call (command: string, ...args: string[]): Promise<unknown>
  multi (commands: string[][]): unknown
  duplicate (...args: unknown[]): OwnIoredis
}

interface OwnIoredis extends Ioredis {
  connect (): Promise<void>
  disconnect (): void
  on (event: 'error', listener: (error: unknown) => void): void
}

/**
 * Options of the connection for blocking reads. It has no time-outs, because a blocking read lasts longer than most of them, and
 * no retries, because a client that repeats commands on its own would hide that an entry was lost.
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

/** Reads from masters only, because a replica lags and its log would look trimmed. */
const CLUSTER = { clusterRetryStrategy: () => null, lazyConnect: true, enableOfflineQueue: true, enableAutoPipelining: false, scaleReads: 'master' }

/** XINFO as a script, whose key every version of the client finds. */
const XINFO_STREAM = 'return redis.call("XINFO", "STREAM", KEYS[1])'

/** The connection of a client, or `null` if it is of another library. */
export function ioredisConnection (client: unknown): AppConnection | null {
  return isIoredis(client) ? { ...requestsOf(client), duplicate: () => duplicateIoredis(client) } : null
}

function isIoredis (client: unknown): client is Ioredis {
  return hasMethods(client, ['call', 'multi', 'duplicate'])
}

function requestsOf (client: Ioredis): RedisConnection {
  const hasPrefix = (client.options?.keyPrefix ?? '') !== ''
  const written = (command: readonly string[]): [string, ...string[]] => {
    const [name = '', ...args] = hasPrefix ? withKnownKey(command) : command
    return [name.toLowerCase(), ...args]
  }
  return {
    send: async (command) => await client.call(...written(command)),
    transact: async (commands) => {
      const transaction: unknown = client.multi(commands.map(written))
      if (!isTransaction(transaction)) throw new UnusableClientError('a client of ioredis or iovalkey, and the result of its method "multi" has no method "exec"')
      const replies = await transaction.exec()
      if (replies === null) throw new Error('the transaction was aborted')
      if (!isPairs(replies)) throw new UnusableClientError('a client of ioredis or iovalkey, and its transactions do not reply with pairs of an error and a reply')
      return replies.map(([error, reply]) => error ?? reply)
    }
  }
}

function isTransaction (transaction: unknown): transaction is { exec (): Promise<unknown> } {
  return hasMethods(transaction, ['exec'])
}

function isPairs (replies: unknown): replies is ReadonlyArray<readonly [error: unknown, reply?: unknown]> {
  return Array.isArray(replies) && replies.every((pair) => Array.isArray(pair) && pair.length <= 2)
}

/** ioredis adds `keyPrefix` to the keys that it finds. Not all versions find the key of XINFO, or a key of a command in capitals. */
function withKnownKey (command: readonly string[]): readonly string[] {
  const [name, , key = ''] = command
  return name === 'XINFO' ? ['EVAL', XINFO_STREAM, '1', key] : command
}

function duplicateIoredis (client: Ioredis): OwnConnection {
  // Before ioredis 6, `duplicate` replaces the `redisOptions` of a cluster, including the password.
  const own = client.isCluster === true
    ? client.duplicate([], { ...CLUSTER, redisOptions: { ...client.options?.redisOptions, ...IOREDIS, lazyConnect: undefined } })
    : client.duplicate(IOREDIS)
  if (!hasMethods(own, ['call', 'multi', 'connect', 'disconnect', 'on'])) throw new UnusableClientError('a client of ioredis or iovalkey, and its method "duplicate" does not return another one')
  // The last error event says more than the rejection of `connect`, which is only "connection is closed".
  let lastError: unknown
  own.on('error', (error) => { lastError = error })
  let isClosed = false
  // Once: a second `disconnect` sets a timer of 2 s that nothing clears, and the process ends as much later.
  const close = (): void => {
    if (isClosed) return
    isClosed = true
    own.disconnect()
  }
  const open = async (): Promise<void> => {
    await own.connect().catch((error: unknown) => { throw lastError ?? error })
    // A cluster that is closed while it connects may go on connecting, and a command opens it anew.
    if (!isClosed) return
    own.disconnect()
    throw new Error('the connection was closed while it opened')
  }
  return { ...requestsOf(own), open, close }
}
