/*
 * The limits on pending handshakes, and on connections in all and per user. A handshake takes a slot before the 101 and keeps it
 * until the connection is open, so that a hundred simultaneous handshakes cannot all use the last slot.
 */
import type { Authenticated } from '../authentication/authentication'
import type { ConnectionRegistry } from './registry'
import { WsAuthError } from '../base/errors'
import type { CompleteOptions } from '../options/complete-options'
import type { OpenConnection } from './open-connection'
import type { UserSlots } from './user-slots'

/** Counts what waits: upgrades, first messages, dry runs and requests for tickets each add one and take it away again. */
export class Pending {
  count = 0
}

/** The limits of one app. */
export class Limits {
  /** Whether the instance admits no connection any more, because it is drained. */
  isDraining = false
  readonly #limits: CompleteOptions['limits']
  readonly #connections: ConnectionRegistry
  readonly #pending: Pending
  /** How many connections a user may have. */
  readonly #most: number
  /** Counts the connections of users on all instances; `null` if each instance counts its own. */
  readonly users: UserSlots | null
  /** How many slots handshakes have taken, by user and in all. */
  readonly #taken = new Map<string, number>()
  #takenInAll = 0

  constructor (limits: CompleteOptions['limits'], connections: ConnectionRegistry, pending: Pending, users: UserSlots | null) {
    this.#limits = limits
    this.#connections = connections
    this.#pending = pending
    this.users = users
    this.#most = typeof limits.perUser === 'number' ? limits.perUser : limits.perUser.max
  }

  /**
   * Returns `WS_AUTH_BUSY` if too much is pending, or if the instance is drained, or `null`.
   *
   * @param more how many would be pending in addition
   */
  refusalOfPending (more: number): WsAuthError | null {
    if (this.isDraining) return draining()
    return this.#pending.count + more > this.#limits.pending ? new WsAuthError('WS_AUTH_BUSY', { cause: 'limits.pending' }) : null
  }

  /** Returns `WS_AUTH_BUSY` if there may be no further connection, or `null`. */
  refusalOfConnections (): WsAuthError | null {
    const count = this.#connections.size + this.#takenInAll
    return count >= this.#limits.connections ? new WsAuthError('WS_AUTH_BUSY', { cause: 'limits.connections' }) : null
  }

  /** Returns `WS_AUTH_LIMIT` if a user may have no further connection, `WS_AUTH_BUSY` if no user may or a drain has begun meanwhile, or `null`. */
  refusalOfSlot (sub: string | null): WsAuthError | null {
    const refusal = this.isDraining ? draining() : this.refusalOfConnections()
    if (refusal !== null || sub === null || !this.#isCounted) return refusal
    const count = this.#connections.countBySub(sub) + (this.#taken.get(sub) ?? 0)
    return count >= this.#most ? new WsAuthError('WS_AUTH_LIMIT', { cause: 'limits.perUser' }) : null
  }

  /** Takes a slot for a handshake. @returns gives it back, to be called once; `null` if slots are not counted */
  takeSlot ({ sub, slot }: Authenticated): (() => void) | null {
    const user = this.#isCounted ? sub : null
    if (slot === null && user === null && this.#limits.connections === Infinity) return null
    this.#takenInAll++
    if (user !== null) this.#taken.set(user, (this.#taken.get(user) ?? 0) + 1)
    return () => {
      this.#takenInAll--
      if (user !== null) this.#giveBack(user)
      slot?.giveBack()
    }
  }

  /** The oldest connection of a user with too many connections, or `undefined`. */
  surplusOf (sub: string | null): OpenConnection | undefined {
    if (sub === null || this.#limits.onLimit !== 'close-oldest' || this.#connections.countBySub(sub) <= this.#most) return undefined
    return this.#connections.oldestOf(sub)
  }

  /** With `close-oldest`, there is always a slot. */
  get #isCounted (): boolean {
    return this.#limits.onLimit === 'reject' && this.users === null && this.#most !== Infinity
  }

  #giveBack (sub: string): void {
    const left = (this.#taken.get(sub) as number) - 1
    if (left === 0) this.#taken.delete(sub)
    else this.#taken.set(sub, left)
  }
}

/** The refusal of an instance that is drained. */
export function draining (): WsAuthError {
  return new WsAuthError('WS_AUTH_BUSY', { cause: 'the instance is draining' })
}
