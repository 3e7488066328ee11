/*
 * One sweep for all connections that end by the clock. A timer for each would cost 200 to 420 bytes and 1 to 3 us, and
 * fire after 1 ms where it is set for more than 2^31-1 ms. Here each stands in a list with those that are due in the
 * same quarter of a second, and costs the 8 bytes of its link to the next.
 *
 * A link is in one list at a time and is never moved: what is due later than it was is put back when its time has come.
 * What ended before is left where it is until there is more of it than of the rest.
 */
import { AsyncResource } from 'node:async_hooks'
import { popKey, pushKey } from './min-heap'
import { inSlices } from '../base/slices'

/** The link of a list; the sweep's own. */
export const kNext = Symbol('fastify-ws-auth.next')

/** What the sweep wakes. */
export interface Sleeper {
  [kNext]: Sleeper | null
  /** Whether it is not to be woken any more. */
  readonly isEnded: boolean
  /** Its time has come. It is in no list now, and may be put into one. */
  wake (): void
}

/** How finely times are told apart, in milliseconds. */
export const TICK = 250
/** How long the clock goes unread, in milliseconds: it may be set, and must be noticed within a second. */
const MAX_DELAY = 1000
/** How many that have ended are kept whatever the rest. */
const MIN_ENDED = 64

/** The sleepers of one app. Ticks count from its start, so that they are small integers. */
export class Sweep {
  /** Its timer is set when some user connects, and wakes the connections of all: it must not run in the context of that user. */
  readonly #context = new AsyncResource('fastify-ws-auth.sweep')
  readonly #startedAt = Math.floor(Date.now() / TICK) * TICK
  readonly #lists = new Map<number, Sleeper>()
  /** The keys of the lists. */
  #ticks: number[] = []
  #size = 0
  #ended = 0
  #timer: NodeJS.Timeout | null = null
  #timerTick = 0

  /** How many are in its lists, those that have ended included. */
  get size (): number {
    return this.#size
  }

  /** The first tick that is not before an instant (ms since the epoch). */
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

  /** Has it woken at a tick. It must be in no list. */
  add (sleeper: Sleeper, tick: number): void {
    const first = this.#lists.get(tick)
    if (first === undefined) pushKey(this.#ticks, tick)
    sleeper[kNext] = first ?? null
    this.#lists.set(tick, sleeper)
    this.#size++
    if (this.#timer === null || tick < this.#timerTick) this.#schedule()
  }

  /** One that is in a list has ended. */
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

  /** Nobody waits for it alone: a timer that held the process would keep it from its end. */
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
    inSlices(this.#takeDue(), wake, () => { if (this.#timer === null) this.#schedule() })
  }

  /** Those whose time has come, each taken out of its list. What is done with one may change the lists. */
  * #takeDue (): Generator<Sleeper> {
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
      if (sleeper.isEnded) this.#ended--
      else yield sleeper
    }
  }

  /** Takes out those that have ended. */
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
    if (sleeper.isEnded) {
      sleeper[kNext] = null
    } else {
      sleeper[kNext] = left
      left = sleeper
    }
    sleeper = next
  }
  return left
}
