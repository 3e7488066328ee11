/*
 * Counts of decisions since the start, for dashboards and for alerts on guessed tokens.
 */
import { CLOSE_REASONS } from '../base/close-codes'
import type { CloseReason } from '../base/close-codes'
import { wsAuthErrors } from '../base/errors'
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
  /** Refused handshakes, first messages and renewals, by code. Each code is present, from 0. Dry runs do not count. */
  readonly refused: Readonly<Record<WsAuthErrorCode, number>>
  /** Connections that have ended, by reason. Each reason is present, from 0. */
  readonly closed: Readonly<Record<CloseReason, number>>
}

/** The counts of a {@link StatsSnapshot}. */
export class Stats {
  accepted = 0
  renewed = 0
  readonly #refused = zeros(Object.keys(wsAuthErrors) as WsAuthErrorCode[])
  readonly #closed = zeros(CLOSE_REASONS)

  countRefused (code: WsAuthErrorCode): void {
    this.#refused[code]++
  }

  countClosed (reason: CloseReason): void {
    this.#closed[reason]++
  }

  snapshot (connections: number, pending: number): StatsSnapshot {
    return {
      connections,
      pending,
      accepted: this.accepted,
      renewed: this.renewed,
      refused: { ...this.#refused },
      closed: { ...this.#closed }
    }
  }
}

/** A count of 0 for each name: a time series must exist before its first event, or the rate of that event is never seen. */
function zeros<Name extends string> (names: readonly Name[]): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>
}
