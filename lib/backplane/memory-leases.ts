/*
 * The slots of users in memory, for the apps of one process that share a backplane.
 */
import type { LeaseRules, Leases, OnLeaseLost, ReleaseLease } from './leases'

interface Slot {
  readonly onLost: OnLeaseLost
}

/** The slots of all users, the oldest first. */
export class MemorySlots {
  readonly #byUser = new Map<string, Set<Slot>>()

  /** Opens the slots of one instance. They are given back one by one, as its connections end. */
  open ({ max, replaces }: LeaseRules): Leases {
    const isFull = (user: string): boolean => !replaces && this.#count(user) >= max
    const add = (user: string, onLost: OnLeaseLost): ReleaseLease => this.#add(user, { onLost }, max)
    return {
      take: (user, onLost) => isFull(user) ? null : add(user, onLost),
      hold: (user, onLost) => {
        if (!isFull(user)) return add(user, onLost)
        queueMicrotask(() => onLost('surplus'))
        return () => {}
      },
      isFree: (user) => !isFull(user)
    }
  }

  #count (user: string): number {
    return this.#byUser.get(user)?.size ?? 0
  }

  /** @returns removes the slot */
  #add (user: string, slot: Slot, max: number): ReleaseLease {
    const slots = this.#byUser.get(user) ?? new Set()
    this.#byUser.set(user, slots.add(slot))
    for (const oldest of slots) {
      if (slots.size <= max) break
      slots.delete(oldest)
      oldest.onLost('replaced')
    }
    return () => {
      if (slots.delete(slot) && slots.size === 0) this.#byUser.delete(user)
    }
  }
}
