/*
 * Notices that nothing was heard of Redis for too long. A blocked event loop is no outage: whether Redis can be read is known
 * once it was asked for after that.
 */
import type { BackplaneMember } from '../contract'
import { withDeadline } from '../../base/deadline'
import { COMMAND_TIMEOUT } from './client/asking'
import type { RedisConnection } from './client/connection'
import type { LogReader } from './log/reader'

/** What is watched. */
export interface OutageWatchParts {
  readonly connection: RedisConnection
  readonly reader: LogReader
  readonly member: BackplaneMember
  /** How old what was read of the log may be, in milliseconds. */
  readonly staleAfter: number
  readonly onOutage: 'close' | 'keep'
}

/** How often is looked at the most, in milliseconds. */
const MAX_INTERVAL = 1000

/** Watches one instance. */
export class OutageWatch {
  readonly #parts: OutageWatchParts
  readonly #timer: NodeJS.Timeout
  #isOut = false
  #isProbing = false
  #isStopped = false

  constructor (parts: OutageWatchParts) {
    this.#parts = parts
    this.#timer = setInterval(() => { void this.#look() }, Math.min(parts.staleAfter / 4, MAX_INTERVAL)).unref()
  }

  /** Whether the log has been read, and not too long ago where that matters. */
  get isCurrent (): boolean {
    return this.#parts.reader.hasBegun && (this.#parts.onOutage === 'keep' || this.#isFresh)
  }

  stop (): void {
    this.#isStopped = true
    clearInterval(this.#timer)
  }

  get #isFresh (): boolean {
    return performance.now() - this.#parts.reader.readAt <= this.#parts.staleAfter
  }

  async #look (): Promise<void> {
    const { connection, reader, staleAfter } = this.#parts
    if (this.#isFresh) this.#isOut = false
    if (!reader.hasBegun || this.#isFresh || this.#isOut || this.#isProbing) return
    this.#isProbing = true
    try {
      await withDeadline(reader.check(connection), Math.min(staleAfter, COMMAND_TIMEOUT), 'reading the log of Redis')
    } catch (error) {
      if (!this.#isStopped && !this.#isFresh) this.#onOutage(error)
    } finally {
      this.#isProbing = false
    }
  }

  #onOutage (error: unknown): void {
    const { member, onOutage, staleAfter } = this.#parts
    this.#isOut = true
    const what = onOutage === 'close'
      ? 'handshakes are refused and connections closed'
      : 'what is revoked elsewhere is not known, and connections are kept'
    member.log.error({ err: error }, `nothing was heard of Redis for ${staleAfter} ms: ${what}`)
    if (onOutage === 'close') member.onOutage()
  }
}
