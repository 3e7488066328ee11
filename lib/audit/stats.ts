/*
 * Counts of decisions since the start, for dashboards and for alerts on guessed tokens.
 */
import type { CloseReason } from '../base/close-codes'
import type { WsAuthErrorCode } from '../base/errors'

/** A snapshot of {@link Stats}. */
export interface StatsSnapshot {
  /** Connections on this instance that are open now. */
  readonly connections: number
  /** Handshakes that are not answered yet, connections whose first message is awaited, and plain requests (dry runs, ticket requests) that wait, now. */
  readonly pending: number
  /** Connections on guarded routes that were opened. */
  readonly accepted: number
  /** Renewals that were accepted. */
  readonly renewed: number
  /** Refused handshakes, first messages and renewals, by code. Dry runs do not count. */
  readonly refused: Readonly<Partial<Record<WsAuthErrorCode, number>>>
  /** Connections that have ended, by reason. */
  readonly closed: Readonly<Partial<Record<CloseReason, number>>>
}

/** The counts of a {@link StatsSnapshot}. */
export class Stats {
  accepted = 0
  renewed = 0
  readonly #refused = new Map<WsAuthErrorCode, number>()
  readonly #closed = new Map<CloseReason, number>()

  countRefused (code: WsAuthErrorCode): void {
    this.#refused.set(code, (this.#refused.get(code) ?? 0) + 1)
  }

  countClosed (reason: CloseReason): void {
    this.#closed.set(reason, (this.#closed.get(reason) ?? 0) + 1)
  }

  snapshot (connections: number, pending: number): StatsSnapshot {
    return {
      connections,
      pending,
      accepted: this.accepted,
      renewed: this.renewed,
      refused: Object.fromEntries(this.#refused),
      closed: Object.fromEntries(this.#closed)
    }
  }
}
