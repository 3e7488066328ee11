/*
 * Notices that Redis has not answered for too long. A blocked event loop looks the same at first, so an outage begins only when
 * another read has failed.
 */
import type { BackplaneMember } from '../contract'
import { withDeadline } from '../../base/deadline'
import { COMMAND_TIMEOUT } from './client/connection'
import type { RedisConnection } from './client/connection'
import type { LogReader } from './log/reader'

/** The objects and options that a watch works with. */
export interface OutageWatchDependencies {
  readonly connection: RedisConnection
  readonly reader: LogReader
  readonly member: BackplaneMember
  /** How old the last read of the log may be, in milliseconds. */
  readonly staleAfter: number
  readonly onOutage: 'close' | 'keep'
  /** Over how many milliseconds the closes are spread. */
  readonly closeWithin: number
}

/** How often the watch looks at least, in milliseconds. */
const MAX_INTERVAL = 1000

/** Watches the link of one instance. */
export class OutageWatch {
  readonly #with: OutageWatchDependencies
  readonly #timer: NodeJS.Timeout
  #isOut = false
  #isProbing = false
  #isStopped = false

  constructor (dependencies: OutageWatchDependencies) {
    this.#with = dependencies
    this.#timer = setInterval(() => { void this.#look() }, Math.min(dependencies.staleAfter / 4, MAX_INTERVAL)).unref()
  }

  /** Whether the log has been read: once if `onOutage` is `'keep'`, else recently. */
  get isCurrent (): boolean {
    return this.#with.reader.hasBegun && (this.#with.onOutage === 'keep' || this.#isFresh)
  }

  stop (): void {
    this.#isStopped = true
    clearInterval(this.#timer)
  }

  get #isFresh (): boolean {
    return performance.now() - this.#with.reader.readAt <= this.#with.staleAfter
  }

  async #look (): Promise<void> {
    const { connection, reader, staleAfter } = this.#with
    if (this.#isFresh) this.#isOut = false
    if (!reader.hasBegun || this.#isFresh || this.#isOut || this.#isProbing) return
    this.#isProbing = true
    try {
      await withDeadline(reader.check(connection), Math.min(staleAfter, COMMAND_TIMEOUT), 'reading the log in Redis')
    } catch (error) {
      if (!this.#isStopped && !this.#isFresh) this.#onOutage(error)
    } finally {
      this.#isProbing = false
    }
  }

  #onOutage (error: unknown): void {
    const { member, onOutage, closeWithin, staleAfter } = this.#with
    this.#isOut = true
    const effect = onOutage === 'close'
      ? 'handshakes are refused and connections are closed'
      : 'connections are kept, and revocations of other instances may be missing'
    member.log.error({ err: error }, `Redis has not answered for ${staleAfter} ms: ${effect}`)
    if (onOutage === 'close') member.onOutage(closeWithin)
  }
}
