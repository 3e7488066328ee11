/*
 * The slots that an instance has, by user and by number, and which of them Redis does not know yet.
 */
import type { OnLeaseLost } from '../../leases'

/** One slot of this instance. */
export class Slot {
  /** Unique in this instance. */
  readonly number: number
  /** The hash of the user. */
  readonly user: string
  readonly onLost: OnLeaseLost
  /** By which name Redis knows the slot; `null` while it is asked for, an empty string if it is held without Redis. */
  name: string | null = null
  /** When it was taken, in microseconds by the clock of Redis; an empty string if it is not known. */
  score = ''
  isLost = false
  /** Whether a call has told Redis of a held slot, even if no reply came. */
  isTold = false

  constructor (number: number, user: string, onLost: OnLeaseLost) {
    this.number = number
    this.user = user
    this.onLost = onLost
  }
}

/** The slots of one user. */
export interface SlotsOfUser {
  readonly user: string
  readonly slots: readonly Slot[]
}

/** All slots of an instance. */
export class SlotBook {
  readonly #byNumber = new Map<number, Slot>()
  readonly #byUser = new Map<string, Slot[]>()
  /** The users with slots that Redis may not know. */
  readonly #stale = new Set<string>()
  #count = 0
  #confirming: Iterator<string> | null = null

  get users (): number {
    return this.#byUser.size
  }

  /** Whether Redis may not know all slots. */
  get hasStale (): boolean {
    return this.#stale.size > 0
  }

  add (user: string, onLost: OnLeaseLost): Slot {
    const slot = new Slot(++this.#count, user, onLost)
    this.#byNumber.set(slot.number, slot)
    const slots = this.#byUser.get(user)
    if (slots === undefined) this.#byUser.set(user, [slot])
    else slots.push(slot)
    return slot
  }

  /** @returns false if it was removed before */
  remove (slot: Slot): boolean {
    if (!this.#byNumber.delete(slot.number)) return false
    const slots = (this.#byUser.get(slot.user) as Slot[]).filter((other) => other !== slot)
    if (slots.length > 0) this.#byUser.set(slot.user, slots)
    else {
      this.#byUser.delete(slot.user)
      this.#stale.delete(slot.user)
    }
    return true
  }

  find (number: number): Slot | undefined {
    return this.#byNumber.get(number)
  }

  markStale (user: string): void {
    this.#stale.add(user)
  }

  markAllStale (): void {
    for (const user of this.#byUser.keys()) this.#stale.add(user)
  }

  /** The slots that are not known by a name, of some users. Ends their marks. @param most about how many slots */
  takeStale (name: string, most: number): SlotsOfUser[] {
    const taken: SlotsOfUser[] = []
    let count = 0
    for (const user of this.#stale) {
      if (count >= most) break
      this.#stale.delete(user)
      const slots = (this.#byUser.get(user) ?? []).filter((slot) => slot.name !== null && slot.name !== name && !slot.isLost)
      for (const slot of slots) slot.isTold = true
      if (slots.length > 0) taken.push({ user, slots })
      count += slots.length
    }
    return taken
  }

  /** The next users, of all in turn, so that each is confirmed before Redis forgets it. */
  nextUsers (count: number): string[] {
    const users: string[] = []
    while (users.length < count && this.#byUser.size > 0) {
      this.#confirming ??= this.#byUser.keys()
      const { done, value } = this.#confirming.next()
      if (done !== true) users.push(value)
      else {
        this.#confirming = null
        break
      }
    }
    return users
  }
}
