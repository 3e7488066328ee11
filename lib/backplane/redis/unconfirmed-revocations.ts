/*
 * Revocations of this instance that may be missing in Redis, because the write failed or a failover lost it. Each is kept until
 * the write succeeded and the entry was read in the log; otherwise it is written again.
 */
import type { LoggedCommand } from './log/entry'

interface UnconfirmedRevocation {
  readonly logged: LoggedCommand
  isWritten: boolean
  isRead: boolean
  /** When the last write ended, on the monotonic clock. A read before that cannot confirm it. */
  triedAt: number
}

/** How many revocations are kept. */
const MAX_KEPT = 10_000

/** The unconfirmed revocations of an instance. */
export class UnconfirmedRevocations {
  readonly #kept = new Map<string, UnconfirmedRevocation>()

  /** Keeps a revocation before it is written. Other commands are not kept. @returns false if there is no room for the revocation */
  onWriting (logged: LoggedCommand): boolean {
    if (logged.command?.type !== 'revoke') return true
    if (this.#kept.size >= MAX_KEPT && !this.#kept.has(logged.uid)) return false
    this.#kept.set(logged.uid, { logged, isWritten: false, isRead: false, triedAt: Infinity })
    return true
  }

  /** The write has ended. */
  onTried (uid: string, isWritten: boolean): void {
    const revocation = this.#kept.get(uid)
    if (revocation === undefined) return
    revocation.triedAt = performance.now()
    revocation.isWritten = isWritten
    if (isWritten && revocation.isRead) this.#kept.delete(uid)
  }

  /** The entry was read in the log. */
  onRead (uid: string): void {
    const revocation = this.#kept.get(uid)
    if (revocation === undefined) return
    revocation.isRead = true
    if (revocation.isWritten) this.#kept.delete(uid)
  }

  /** The revocations that the log should have had. @param readAt until when the log was read, on the monotonic clock */
  missingAt (readAt: number): LoggedCommand[] {
    return [...this.#kept.values()].filter(({ triedAt }) => triedAt < readAt).map(({ logged }) => logged)
  }
}
