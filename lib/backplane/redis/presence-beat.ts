/*
 * Announces this instance to the others every few seconds, and removes expired revocations from Redis.
 */
import type { QuietLog } from '../../base/quiet-log'
import type { RedisConnection } from './client/connection'
import type { Keys } from './keys'
import { pruneCommand } from './log/revoked-set'
import { BEAT_INTERVAL } from './presence'
import type { Presence } from './presence'

/** How much longer than in force a revocation is kept, in milliseconds, because the clock of Redis may be ahead of the instances' clocks. */
const CLOCK_TOLERANCE = 86_400_000

/** The regular announcement of one instance. */
export class PresenceBeat {
  readonly #keys: Keys
  readonly #presence: Presence
  readonly #log: QuietLog
  #timer: NodeJS.Timeout | undefined
  #isStopped = false
  /** Whether the last announcement failed, which is logged once. */
  #hasFailed = false

  constructor (keys: Keys, presence: Presence, log: QuietLog) {
    this.#keys = keys
    this.#presence = presence
    this.#log = log
  }

  /** Begins. @param isReachable false while Redis fails: the commands would only wait in the queue of the app's client */
  start (connection: RedisConnection, isReachable: () => boolean): void {
    this.#timer = setInterval(() => { if (isReachable()) void this.beat(connection) }, BEAT_INTERVAL).unref()
  }

  stop (): void {
    this.#isStopped = true
    clearInterval(this.#timer)
  }

  /** Never rejects. The commands are not one transaction, because a Redis that is out of memory accepts none. */
  async beat (connection: RedisConnection): Promise<void> {
    try {
      await this.#presence.beat(connection)
      this.#hasFailed = false
    } catch (error) {
      if (!this.#hasFailed && !this.#isStopped) this.#log.warn({ err: error }, 'cannot announce this instance in Redis: other instances may not wait for its answers')
      this.#hasFailed = true
    }
    await connection.send(pruneCommand(this.#keys, this.#presence.now - CLOCK_TOLERANCE)).catch(() => {})
  }
}
