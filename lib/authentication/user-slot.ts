/*
 * A slot of a user that counts on all instances: a handshake takes it, and its connection keeps it.
 */
import type { LeaseLoss, ReleaseLease } from '../backplane/leases'
import type { CloseReason } from '../base/close-codes'
import type { CloseKind } from '../base/errors'

/** The connection that has a slot. */
export interface SlotHolder {
  readonly isEnded: boolean
  closeFor (reason: CloseReason, kind: CloseKind): void
}

/** How a connection is closed whose slot was lost. */
const LOSSES: Readonly<Record<LeaseLoss, readonly [CloseReason, CloseKind]>> = {
  replaced: ['connection_replaced', 'forbidden'],
  surplus: ['connection_limit', 'limit']
}

/** The slot of a handshake, and later of its connection. */
export class UserSlot {
  readonly sub: string
  readonly #onOpen: (slot: UserSlot, holder: SlotHolder) => void
  readonly #onReleased: (slot: UserSlot) => void
  #release: ReleaseLease | null = null
  #holder: SlotHolder | null = null
  #lost: LeaseLoss | null = null
  #isReleased = false

  /** @param onOpen called when a connection has the slot. @param onReleased called when it was given back */
  constructor (sub: string, onOpen: (slot: UserSlot, holder: SlotHolder) => void, onReleased: (slot: UserSlot) => void) {
    this.sub = sub
    this.#onOpen = onOpen
    this.#onReleased = onReleased
  }

  /** The connection that has the slot; `null` for a handshake. */
  get holder (): SlotHolder | null {
    return this.#holder
  }

  /** The slot was taken. */
  start (release: ReleaseLease): void {
    this.#release = release
  }

  /** The slot was lost. It may be lost before its connection is open. */
  readonly onLost = (why: LeaseLoss): void => {
    this.#lost ??= why
    this.closeIfLost()
  }

  /** A connection has the slot from now on. */
  attach (holder: SlotHolder): void {
    this.#holder = holder
    this.#onOpen(this, holder)
  }

  /** Closes the connection if the slot was lost. */
  closeIfLost (): void {
    if (this.#lost !== null) this.#holder?.closeFor(...LOSSES[this.#lost])
  }

  /** Gives the slot back, once. */
  release (): void {
    if (this.#isReleased) return
    this.#isReleased = true
    this.#onReleased(this)
    this.#release?.()
  }

  /** The handshake is over. If it has become a connection, that has the slot at the end of this turn. */
  readonly giveBack = (): void => {
    queueMicrotask(() => { if (this.#holder === null) this.release() })
  }
}
