/*
 * Revocations of this instance that may be in force here alone: they could not be written, or what was written may have been
 * lost by a failover. Each is kept until it was written whole and read in the log; else it is written again.
 */
import type { LoggedCommand } from './log/entry'

interface UnsureRevocation {
  readonly logged: LoggedCommand
  isWritten: boolean
  isRead: boolean
  /** When the last attempt to write it was over, on the monotonic clock: what was read before says nothing of it. */
  triedAt: number
}

/** How many are kept. */
const MAX_KEPT = 10_000

/** The revocations of an instance of which it is not sure. */
export class UnsureRevocations {
  readonly #kept = new Map<string, UnsureRevocation>()

  /** A command is about to be written. False where it should be kept, and cannot be: there are too many. */
  onWriting (logged: LoggedCommand): boolean {
    if (logged.command?.type !== 'revoke') return true
    if (this.#kept.size >= MAX_KEPT && !this.#kept.has(logged.uid)) return false
    this.#kept.set(logged.uid, { logged, isWritten: false, isRead: false, triedAt: Infinity })
    return true
  }

  /** The attempt is over. */
  onTried (uid: string, isWritten: boolean): void {
    const unsure = this.#kept.get(uid)
    if (unsure === undefined) return
    unsure.triedAt = performance.now()
    unsure.isWritten = isWritten
    if (isWritten && unsure.isRead) this.#kept.delete(uid)
  }

  /** It was read in the log. */
  onRead (uid: string): void {
    const unsure = this.#kept.get(uid)
    if (unsure === undefined) return
    unsure.isRead = true
    if (unsure.isWritten) this.#kept.delete(uid)
  }

  /** Those that ought to have been read by now. @param readAt up to when all has been read, on the monotonic clock */
  missingAt (readAt: number): LoggedCommand[] {
    return [...this.#kept.values()].filter(({ triedAt }) => triedAt < readAt).map(({ logged }) => logged)
  }
}
