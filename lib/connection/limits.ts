/*
 * How many may be here at once. A user's slot is taken before the 101 and handed on to the open connection, so that a
 * hundred handshakes at once cannot all find room for one; whoever took it gives it back.
 */
import type { ConnectionRegistry } from './registry'
import { WsAuthError } from '../base/errors'
import type { CompleteOptions } from '../options/complete-options'
import type { OpenConnection } from './open-connection'

/** Counts what waits: upgrades, first messages, dry runs and requests for tickets each add one and take it away again. */
export class Pending {
  count = 0
}

/** The limits of one app. */
export class Limits {
  readonly #limits: CompleteOptions['limits']
  readonly #connections: ConnectionRegistry
  readonly #pending: Pending
  /** Slots of handshakes that may become connections, by user. */
  readonly #taken = new Map<string, number>()

  constructor (limits: CompleteOptions['limits'], connections: ConnectionRegistry, pending: Pending) {
    this.#limits = limits
    this.#connections = connections
    this.#pending = pending
  }

  /**
   * `WS_AUTH_LIMIT` where too much is pending, or `null`.
   *
   * @param more how many are to come beside those that are pending
   */
  refusalOfPending (more: number): WsAuthError | null {
    return this.#pending.count + more > this.#limits.pending ? refusal('limits.pending') : null
  }

  /** `WS_AUTH_LIMIT` where a user may have no further connection, or `null`. */
  refusalOfSlot (sub: string | null): WsAuthError | null {
    if (sub === null || !this.#isCounted) return null
    const count = this.#connections.countBySub(sub) + (this.#taken.get(sub) ?? 0)
    return count >= this.#limits.perUser ? refusal('limits.perUser') : null
  }

  /** Takes a slot for a handshake, and answers with how to give it back (once), or with `null` where none is counted. */
  takeSlot (sub: string | null): (() => void) | null {
    if (sub === null || !this.#isCounted) return null
    this.#taken.set(sub, (this.#taken.get(sub) ?? 0) + 1)
    return () => this.#giveBack(sub)
  }

  /** The oldest connection that a user has too many, or `undefined`. */
  surplusOf (sub: string | null): OpenConnection | undefined {
    if (sub === null || this.#connections.countBySub(sub) <= this.#limits.perUser) return undefined
    return this.#connections.oldestOf(sub)
  }

  /** Where the oldest makes room there is always a slot. */
  get #isCounted (): boolean {
    return this.#limits.onLimit === 'reject' && this.#limits.perUser !== Infinity
  }

  #giveBack (sub: string): void {
    const left = (this.#taken.get(sub) as number) - 1
    if (left === 0) this.#taken.delete(sub)
    else this.#taken.set(sub, left)
  }
}

function refusal (limit: string): WsAuthError {
  return new WsAuthError('WS_AUTH_LIMIT', { cause: limit })
}
