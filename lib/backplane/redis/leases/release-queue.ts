/*
 * Slots that are given back, until Redis has answered so. Those of one turn of the event loop are one call.
 */
import type { Keys } from '../keys'
import type { LeaseSession } from './session'
import type { Slot } from './slot-book'

/** How many slots one call gives back. */
const BATCH = 500

interface Release {
  readonly key: string
  readonly member: string
}

/** The releases of an instance. */
export class ReleaseQueue {
  readonly #session: LeaseSession
  readonly #keys: Keys
  readonly #onFailure: (error: unknown) => void
  #waiting: Release[] = []
  #isScheduled = false
  #isPaused = true

  constructor (session: LeaseSession, keys: Keys, onFailure: (error: unknown) => void) {
    this.#session = session
    this.#keys = keys
    this.#onFailure = onFailure
  }

  /** Gives a slot back, by each name that Redis may know it by. In a long outage, those that Redis never knew would fill the memory. */
  add (slot: Slot): void {
    if (slot.name === '' && !slot.isTold) return
    const names = new Set([...this.#session.names, slot.name ?? ''])
    for (const name of names) {
      if (name !== '') this.#waiting.push({ key: this.#keys.slots(slot.user), member: `${name}#${slot.number}` })
    }
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      this.flush()
    })
  }

  /** Redis answers. */
  open (): void {
    this.#isPaused = false
    this.flush()
  }

  /** Redis does not answer: the releases are kept. */
  pause (): void {
    this.#isPaused = true
  }

  /** Sends what waits. */
  flush (): void {
    if (this.#isPaused) return
    for (const waiting = this.#waiting; waiting.length > 0;) void this.#send(waiting.splice(0, BATCH))
  }

  async #send (releases: readonly Release[]): Promise<void> {
    try {
      await this.#session.run('release', { keys: releases.map(({ key }) => key), args: releases.map(({ member }) => member) })
    } catch (error) {
      this.#waiting.push(...releases)
      this.#onFailure(error)
    }
  }
}
