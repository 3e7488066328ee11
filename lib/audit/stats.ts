/*
 * What happened since the start, in numbers: for dashboards, and for noticing that somebody tries tokens.
 */
import type { CloseReason } from '../base/close-codes'
import type { WsAuthErrorCode } from '../base/errors'

/** A snapshot of {@link Stats}. */
export interface StatsSnapshot {
  /** Connections that are open now, on this instance. */
  readonly connections: number
  /** Handshakes under way, first messages waited for, and plain requests (dry runs, for tickets) that wait, now. */
  readonly pending: number
  /** Connections that were opened on guarded routes. */
  readonly accepted: number
  /** Renewals that were accepted. */
  readonly renewed: number
  /** Refused handshakes, first messages and renewals by code, dry runs not counted. */
  readonly refused: Readonly<Partial<Record<WsAuthErrorCode, number>>>
  /** Connections that ended, by reason. */
  readonly closed: Readonly<Partial<Record<CloseReason, number>>>
}

/** Counts; see {@link StatsSnapshot}. */
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
