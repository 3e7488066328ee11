/*
 * One timer for all connections that end by the clock. A timer for each would cost 200 to 420 bytes and 1 to 3 us, and would
 * fire after 1 ms if it were set for more than 2^31-1 ms. Here, connections that are due in the same quarter of a second form a
 * linked list, at 8 bytes each.
 *
 * A connection is in one list at a time and is never moved: if it became due later, it is added again when it wakes. An ended
 * connection stays in its list until there are more ended connections than others.
 */
import { AsyncResource } from 'node:async_hooks'
import { popKey, pushKey } from './min-heap'
import { inSlices, SLICE_TIME } from '../base/slices'

/** The link to the next sleeper of a list. Only the sweep uses it. */
export const kNext = Symbol('fastify-ws-auth.next')

/** An object that the sweep wakes. */
export interface Sleeper {
  [kNext]: Sleeper | null
  /** Whether it must not be woken any more. */
  readonly isGone: boolean
  /** The tick has come. The sleeper is in no list now, and may be added again. */
  wake (): void
}

/** The resolution, in milliseconds. */
export const TICK = 250
/** The longest timer, in milliseconds: a change of the system clock must be noticed within a second. */
const MAX_DELAY = 1000
/** Up to this many ended sleepers stay in the lists in any case. */
const MIN_ENDED = 64

/** The sleepers of one app. Ticks count from the start of the app, so that they are small integers. */
export class Sweep {
  /** The timer is set when one user connects, and wakes the connections of all: it must not run in the async context of that user. */
  readonly #context = new AsyncResource('fastify-ws-auth.sweep')
  readonly #startedAt = Math.floor(Date.now() / TICK) * TICK
  readonly #lists = new Map<number, Sleeper>()
  /** The keys of the lists. */
  #ticks: number[] = []
  #size = 0
  #ended = 0
  #timer: NodeJS.Timeout | null = null
  #timerTick = 0

  /** The number of sleepers in the lists, including ended ones. */
  get size (): number {
    return this.#size
  }

  /** When the next sleeper is due (ms since the epoch); `Infinity` if none sleeps. */
  get nextAt (): number {
    const [tick] = this.#ticks
    return tick === undefined ? Infinity : this.instantOf(tick)
  }

  /** The first tick at or after an instant (ms since the epoch). */
  tickAt (instant: number): number {
    return Math.ceil((instant - this.#startedAt) / TICK)
  }

  /** The instant of a tick (ms since the epoch). */
  instantOf (tick: number): number {
    return this.#startedAt + tick * TICK
  }

  /** Whether a tick has come. */
  isDue (tick: number): boolean {
    return this.instantOf(tick) <= Date.now()
  }

  /** Schedules a sleeper, which must be in no list. */
  add (sleeper: Sleeper, tick: number): void {
    const first = this.#lists.get(tick)
    if (first === undefined) pushKey(this.#ticks, tick)
    sleeper[kNext] = first ?? null
    this.#lists.set(tick, sleeper)
    this.#size++
    if (this.#timer === null || tick < this.#timerTick) this.#schedule()
  }

  /** Counts a sleeper in a list that has ended. */
  forget (): void {
    this.#ended++
    if (this.#ended > MIN_ENDED && this.#ended * 2 > this.#size) this.#compact()
  }

  stop (): void {
    clearTimeout(this.#timer ?? undefined)
    this.#timer = null
    this.#lists.clear()
    this.#ticks = []
    this.#size = this.#ended = 0
  }

  /** The timer is unref'd, because it must not keep the process alive. */
  #schedule (): void {
    clearTimeout(this.#timer ?? undefined)
    this.#timer = null
    const [tick] = this.#ticks
    if (tick === undefined) return
    const now = Date.now()
    const delay = Math.min(Math.max(this.instantOf(tick) - now, 1), MAX_DELAY)
    this.#timerTick = this.tickAt(now + delay)
    this.#timer = this.#context.runInAsyncScope(() => setTimeout(this.#sweep, delay).unref())
  }

  readonly #sweep = (): void => {
    this.#timer = null
    inSlices(this.takeDue(), wake, () => { if (this.#timer === null) this.#schedule() }, SLICE_TIME)
  }

  /** Removes each due sleeper from its list, and yields it. The consumer may change the lists. */
  * takeDue (): Generator<Sleeper> {
    for (let [tick] = this.#ticks; tick !== undefined && this.isDue(tick); [tick] = this.#ticks) {
      const sleeper = this.#lists.get(tick) as Sleeper
      const next = sleeper[kNext]
      if (next !== null) {
        this.#lists.set(tick, next)
      } else {
        this.#lists.delete(tick)
        popKey(this.#ticks)
      }
      sleeper[kNext] = null
      this.#size--
      if (sleeper.isGone) this.#ended--
      else yield sleeper
    }
  }

  /** Removes all ended sleepers. */
  #compact (): void {
    for (const [tick, first] of this.#lists) {
      const left = withoutEnded(first)
      if (left === null) this.#lists.delete(tick)
      else this.#lists.set(tick, left)
    }
    this.#ticks = [...this.#lists.keys()].sort((a, b) => a - b)
    this.#size -= this.#ended
    this.#ended = 0
  }
}

function wake (sleeper: Sleeper): void {
  sleeper.wake()
}

function withoutEnded (first: Sleeper): Sleeper | null {
  let left: Sleeper | null = null
  for (let sleeper: Sleeper | null = first; sleeper !== null;) {
    const next: Sleeper | null = sleeper[kNext]
    if (sleeper.isGone) {
      sleeper[kNext] = null
    } else {
      sleeper[kNext] = left
      left = sleeper
    }
    sleeper = next
  }
  return left
}
