/*
 * `limits.perUser` with the scope `'cluster'`: the connections of a user are counted over all instances, by the backplane. A handshake takes
 * its slot as its last check, so that nothing is taken for a handshake that is refused anyway.
 */
import type { Authentication } from '../authentication/authentication'
import { UserSlot } from '../authentication/user-slot'
import type { SlotHolder } from '../authentication/user-slot'
import type { BackplaneLink } from '../backplane/contract'
import type { Leases, ReleaseLease } from '../backplane/leases'
import { invalid } from '../base/checks'
import { WsAuthError } from '../base/errors'
import { isThenable } from '../base/thenable'
import type { CompleteOptions } from '../options/complete-options'
import type { ConnectionRegistry } from './registry'

const NEEDED = 'one that counts the slots of users, as memoryBackplane() and redisBackplane() do, for limits.perUser with the scope \'cluster\': the link of this one has no method "leases"'

/** The slots of the users of one app. */
export class UserSlots {
  readonly #limits: CompleteOptions['limits']
  readonly #max: number
  readonly #whenDown: 'local' | 'reject'
  readonly #connections: ConnectionRegistry
  readonly #leases: Leases
  /** How many slots handshakes have, by user. */
  readonly #pending = new Map<string, number>()
  readonly #byHolder = new Map<SlotHolder, UserSlot>()

  constructor (limits: CompleteOptions['limits'], { max, whenDown }: Exclude<CompleteOptions['limits']['perUser'], number>, connections: ConnectionRegistry, leases: Leases) {
    this.#limits = limits
    this.#max = max
    this.#whenDown = whenDown
    this.#connections = connections
    this.#leases = leases
  }

  /**
   * The last check of a handshake or a first message. A promise only if the backplane has to be asked.
   *
   * @throws WsAuthError `WS_AUTH_LIMIT` if no slot is free, `WS_AUTH_UNAVAILABLE` if the backplane does not answer and `whenDown` is `'reject'`
   */
  take (attempt: Authentication): void | PromiseLike<void> {
    if (attempt.sub === null) return
    const slot = this.#begin(attempt.sub)
    const onTaken = (release: ReleaseLease | null): void => this.#onTaken(attempt, slot, release)
    const onFailure = (error: unknown): void => onTaken(this.#withoutAnswer(slot, error))
    let taken: ReturnType<Leases['take']>
    try {
      taken = this.#leases.take(slot.sub, slot.onLost)
    } catch (error) {
      return onFailure(error)
    }
    if (isThenable(taken)) return Promise.resolve(taken).then(onTaken, onFailure)
    onTaken(taken)
  }

  /** The same check for a request that takes no slot: a dry run. */
  check ({ sub }: Authentication): void | PromiseLike<void> {
    if (sub === null) return
    const onAnswer = (isFree: boolean): void => { if (!isFree) throw refusal() }
    const onFailure = (error: unknown): void => {
      if (this.#whenDown === 'reject') throw unavailable(error)
      onAnswer(this.#isFreeHere(sub, 0))
    }
    let isFree: ReturnType<Leases['isFree']>
    try {
      isFree = this.#leases.isFree(sub)
    } catch (error) {
      return onFailure(error)
    }
    if (isThenable(isFree)) return Promise.resolve(isFree).then(onAnswer, onFailure)
    onAnswer(isFree)
  }

  /** A connection has ended. */
  onEnd (holder: SlotHolder): void {
    this.#byHolder.get(holder)?.release()
  }

  #begin (sub: string): UserSlot {
    this.#count(sub, 1)
    const onOpen = (slot: UserSlot, holder: SlotHolder): void => {
      this.#count(sub, -1)
      this.#byHolder.set(holder, slot)
    }
    return new UserSlot(sub, onOpen, ({ holder }) => {
      if (holder === null) this.#count(sub, -1)
      else this.#byHolder.delete(holder)
    })
  }

  #onTaken (attempt: Authentication, slot: UserSlot, release: ReleaseLease | null): void {
    if (release === null) {
      slot.release()
      throw refusal()
    }
    slot.start(release)
    // The client has left, or the deadline has passed.
    if (attempt.isOver) slot.release()
    else attempt.slot = slot
  }

  /** The backplane does not answer. @returns a slot that is held here, or `null`. @throws WsAuthError */
  #withoutAnswer (slot: UserSlot, error: unknown): ReleaseLease | null {
    if (this.#whenDown === 'reject') {
      slot.release()
      throw unavailable(error)
    }
    return this.#isFreeHere(slot.sub, 1) ? this.#leases.hold(slot.sub, slot.onLost) : null
  }

  /** Whether a user has a free slot on this instance alone. @param own how many of its handshakes are the one that asks */
  #isFreeHere (sub: string, own: number): boolean {
    if (this.#limits.onLimit === 'close-oldest') return true
    return this.#connections.countBySub(sub) + (this.#pending.get(sub) ?? 0) - own < this.#max
  }

  #count (sub: string, change: 1 | -1): void {
    const count = (this.#pending.get(sub) ?? 0) + change
    if (count === 0) this.#pending.delete(sub)
    else this.#pending.set(sub, count)
  }
}

/** What an app counts users with. */
export interface UserSlotsContext {
  readonly limits: { readonly users: UserSlots | null }
}

/** The last check of a connection. See {@link UserSlots.take}. */
export function takeUserSlot (attempt: Authentication, { limits: { users } }: UserSlotsContext): void | PromiseLike<void> {
  return users?.take(attempt)
}

/** The slots of an app; `null` if `limits.perUser` counts on each instance. @throws TypeError if the backplane cannot count */
export function createUserSlots ({ limits }: CompleteOptions, connections: ConnectionRegistry, link: BackplaneLink): UserSlots | null {
  const { perUser, onLimit } = limits
  if (typeof perUser === 'number') return null
  if (typeof link.leases !== 'function') invalid('backplane', NEEDED)
  return new UserSlots(limits, perUser, connections, link.leases({ max: perUser.max, replaces: onLimit === 'close-oldest' }))
}

function refusal (): WsAuthError {
  return new WsAuthError('WS_AUTH_LIMIT', { cause: 'limits.perUser' })
}

function unavailable (error: unknown): WsAuthError {
  return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error })
}
