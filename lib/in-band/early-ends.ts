/*
 * Connections that end earlier than they were to: a recheck, unlike a renewal, may bring an earlier expiry. The sweep of connections wakes
 * each at the time that it knew before, so these have a sweep of their own.
 */
import type { OpenConnection } from '../connection/open-connection'
import { kNext, Sweep } from '../connection/sweep'
import type { Sleeper } from '../connection/sweep'

/** Ends connections at their new time. */
export class EarlyEnds {
  readonly #sweep = new Sweep()
  readonly #byConnection = new Map<OpenConnection, EarlyEnd>()

  /** @param before when the connection was to end, in milliseconds since the epoch; `null` for never */
  watch (connection: OpenConnection, before: number | null): void {
    const { endsAt } = connection
    if (endsAt === null || (before !== null && endsAt >= before)) return
    const known = this.#byConnection.get(connection)
    if (known !== undefined && known.at <= endsAt) return
    this.forget(connection)
    this.#sleep(connection, endsAt)
  }

  /** The connection has ended. */
  forget (connection: OpenConnection): void {
    const end = this.#byConnection.get(connection)
    if (end === undefined) return
    this.#byConnection.delete(connection)
    end.isGone = true
    this.#sweep.forget()
  }

  stop (): void {
    this.#sweep.stop()
  }

  #sleep (connection: OpenConnection, at: number): void {
    const end = new EarlyEnd(at, () => this.#wake(connection))
    this.#byConnection.set(connection, end)
    this.#sweep.add(end, this.#sweep.tickAt(at))
  }

  /** A later recheck or a renewal may have moved the end again, and the system clock may have been set back. */
  #wake (connection: OpenConnection): void {
    this.#byConnection.delete(connection)
    if (!connection.endIfDue() && connection.endsAt !== null) this.#sleep(connection, connection.endsAt)
  }
}

/** When a connection is looked at. */
class EarlyEnd implements Sleeper {
  [kNext]: Sleeper | null = null
  isGone = false
  /** In milliseconds since the epoch. */
  readonly at: number
  readonly wake: () => void

  constructor (at: number, wake: () => void) {
    this.at = at
    this.wake = wake
  }
}
