/*
 * What happened since the start, in numbers: for dashboards, and for noticing that somebody tries tokens.
 */
import type { WsAuthErrorCode } from './errors'

/** A snapshot of {@link Stats}. */
export interface StatsSnapshot {
  /** Connections that are open now, on this instance. */
  readonly connections: number
  /** Handshakes under way now. */
  readonly pending: number
  /** Handshakes that became connections, dry runs not counted. */
  readonly accepted: number
  /** Refusals by code, dry runs not counted. */
  readonly refused: Readonly<Partial<Record<WsAuthErrorCode, number>>>
  /** Connections that ended, by close code. */
  readonly closed: Readonly<Record<string, number>>
}

/** Counts; see {@link StatsSnapshot}. */
export class Stats {
  accepted = 0
  readonly #refused = new Map<WsAuthErrorCode, number>()
  readonly #closed = new Map<string, number>()

  countRefused (code: WsAuthErrorCode): void {
    this.#refused.set(code, (this.#refused.get(code) ?? 0) + 1)
  }

  countClosed (reason: string): void {
    this.#closed.set(reason, (this.#closed.get(reason) ?? 0) + 1)
  }

  snapshot (connections: number, pending: number): StatsSnapshot {
    return {
      connections,
      pending,
      accepted: this.accepted,
      refused: Object.fromEntries(this.#refused),
      closed: Object.fromEntries(this.#closed)
    }
  }
}
