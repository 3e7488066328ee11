/*
 * Slots of users, counted over all instances: the part of a backplane that `limits.perUser` with the scope `'cluster'` needs. memory.ts
 * has it for the apps of a process, redis/leases/ for many processes. Every implementation must pass test/contracts/leases.ts.
 */
/** How slots are given. */
export interface LeaseRules {
  /** How many slots a user may have, on all instances together. */
  readonly max: number
  /** Whether a slot past `max` is taken from the user's oldest connection. If not, it is refused. */
  readonly replaces: boolean
}

/**
 * Why a slot was lost. `'replaced'`: the user has opened a newer connection. `'surplus'`: the slot was given to another connection while
 * this instance counted as gone, or it was held while the store did not answer, and there is no room for it.
 */
export type LeaseLoss = 'replaced' | 'surplus'

/** Called if a slot is lost, once. The connection must be closed, and the slot be given back. */
export type OnLeaseLost = (why: LeaseLoss) => void

/** Gives a slot back. Further calls do nothing. */
export type ReleaseLease = () => void

/**
 * The slots of one instance. If the instance dies, its slots are free within 15 s. After `leave` of the link no slot is taken, and each is
 * given back as its connection ends.
 */
export interface Leases {
  /**
   * Takes a slot. It is taken at one moment: of several callers, on any instances, no more than `max` have one.
   *
   * @returns gives the slot back; `null` if no slot is free
   * @throws Error if the store does not answer, within 5 s
   */
  take (user: string, onLost: OnLeaseLost): ReleaseLease | null | PromiseLike<ReleaseLease | null>
  /** Takes a slot that no other instance knows yet, because the store does not answer. It is told to the store later, or lost then. Never throws. */
  hold (user: string, onLost: OnLeaseLost): ReleaseLease
  /** Whether a slot could be taken now. @throws as `take` */
  isFree (user: string): boolean | PromiseLike<boolean>
}
