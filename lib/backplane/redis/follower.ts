/*
 * Follows the log over a connection of its own, which blocks while it waits for new entries. After any failure it opens another
 * connection and checks the log from the beginning, which shows whether entries were missed.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { withDeadline } from '../../base/deadline'
import type { QuietLog } from '../../base/quiet-log'
import { COMMAND_TIMEOUT, UnusableClientError, withDeadlines } from './client/connection'
import type { AppConnection, OwnConnection, RedisConnection } from './client/connection'
import type { LogReader } from './log/reader'
import { checkServer } from './server-check'

/** How long a read waits for an entry at most, and how often the log is checked at least, in milliseconds. */
const MAX_INTERVAL = 5000
/** How long the follower waits before it tries again, in milliseconds. The pause doubles after each failure. */
const MIN_PAUSE = 50
const MAX_PAUSE = 2000

/** The objects that a follower works with. */
export interface LogFollowerDependencies {
  readonly connection: AppConnection
  readonly reader: LogReader
  readonly log: QuietLog
  /** How old the last read of the log may be, in milliseconds. */
  readonly staleAfter: number
  /** Called with the first connections, until the log has been read once. @throws UnusableClientError ends the follower */
  readonly checkClient: (own: RedisConnection) => Promise<void>
  /** Called with each new connection before the log is read. It must not reject, because a Redis that accepts no writes can still be read. */
  readonly onOpen: (connection: RedisConnection) => Promise<void>
  /** Called after each check of the log. */
  readonly onChecked: () => void
  /** Called with each failure. */
  readonly onFailure: (error: unknown) => void
}

/** Follows the log for one instance. */
export class LogFollower {
  readonly #with: LogFollowerDependencies
  readonly #stopping = new AbortController()
  #own: OwnConnection | null = null
  #failures = 0

  constructor (dependencies: LogFollowerDependencies) {
    this.#with = dependencies
  }

  /** Whether the log could not be followed at the last attempt. */
  get hasFailed (): boolean {
    return this.#failures > 0
  }

  /** Begins. @returns a promise that resolves when the log has been read for the first time. @throws UnusableClientError */
  async start (): Promise<void> {
    await new Promise<void>((resolve, reject) => { void this.#run(resolve, reject) })
  }

  stop (): void {
    this.#stopping.abort()
    this.#own?.close()
  }

  get #isStopped (): boolean {
    return this.#stopping.signal.aborted
  }

  async #run (onReady: () => void, onUnusable: (error: Error) => void): Promise<void> {
    while (!this.#isStopped) {
      await this.#connectAndFollow(onReady).catch((error: unknown) => {
        this.#reportFailure(error)
        if (error instanceof UnusableClientError) this.#end(error, onUnusable)
      })
      const pause = Math.min(MIN_PAUSE * 2 ** this.#failures++, MAX_PAUSE)
      await sleep(pause * (0.5 + Math.random() / 2), undefined, { ref: false, signal: this.#stopping.signal }).catch(() => {})
    }
  }

  /** Nothing is read any more: handshakes are refused. */
  #end (error: UnusableClientError, onUnusable: (error: Error) => void): void {
    this.stop()
    onUnusable(error)
  }

  async #connectAndFollow (onReady: () => void): Promise<void> {
    const own = this.#own = this.#with.connection.duplicate()
    try {
      await withDeadline(own.open(), COMMAND_TIMEOUT, 'connecting to Redis')
      await this.#begin(own)
      await this.#follow(own, onReady)
    } finally {
      own.close()
    }
  }

  async #begin (own: RedisConnection): Promise<void> {
    const { reader, log, checkClient, onOpen } = this.#with
    const bounded = withDeadlines(own)
    if (!reader.hasBegun) await checkClient(bounded)
    await onOpen(bounded)
    if (reader.hasBegun) return
    await checkServer(bounded, log)
    await reader.begin(own)
  }

  async #follow (own: RedisConnection, onReady: () => void): Promise<void> {
    const { reader, staleAfter, onChecked } = this.#with
    const interval = Math.max(Math.min(MAX_INTERVAL, staleAfter / 4), 1)
    for (let checkedAt = -Infinity; !this.#isStopped;) {
      if (performance.now() - checkedAt >= interval) {
        await reader.check(own)
        checkedAt = performance.now()
        this.#reportSuccess()
        onChecked()
        onReady()
      }
      await reader.read(own, Math.ceil(interval))
    }
  }

  #reportSuccess (): void {
    if (this.hasFailed) this.#with.log.info('the log in Redis is followed again')
    this.#failures = 0
  }

  /** Warns once, until the log is followed again. */
  #reportFailure (error: unknown): void {
    if (this.#isStopped) return
    const { log, onFailure } = this.#with
    onFailure(error)
    if (error instanceof UnusableClientError) log.error({ err: error }, 'this client cannot be used for the log in Redis: handshakes are refused')
    else if (this.hasFailed) log.debug({ err: error }, 'cannot follow the log in Redis yet')
    else log.warn({ err: error }, 'cannot follow the log in Redis: trying again')
  }
}
