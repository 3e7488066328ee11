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

  /** @param before when the connection was to end, in milliseconds since the epoch; `null` for never */
  watch (connection: OpenConnection, before: number | null): void {
    const { endsAt } = connection
    if (endsAt !== null && (before === null || endsAt < before)) new EarlyEnd(connection, endsAt, this.#sweep).sleep()
  }

  stop (): void {
    this.#sweep.stop()
  }
}

class EarlyEnd implements Sleeper {
  [kNext]: Sleeper | null = null
  readonly isGone = false
  readonly #connection: OpenConnection
  readonly #endsAt: number
  readonly #sweep: Sweep

  constructor (connection: OpenConnection, endsAt: number, sweep: Sweep) {
    this.#connection = connection
    this.#endsAt = endsAt
    this.#sweep = sweep
  }

  sleep (): void {
    this.#sweep.add(this, this.#sweep.tickAt(this.#endsAt))
  }

  /** The system clock may have been set back. After a renewal, the connection wakes by itself. */
  wake (): void {
    if (!this.#connection.endIfDue() && this.#connection.endsAt === this.#endsAt) this.sleep()
  }
}
