/*
 * A sweep over sleepers that a moved clock wakes.
 */
import type { Test } from 'tap'
import { kNext, Sweep } from '../../lib/connection/sweep'
import type { Sleeper } from '../../lib/connection/sweep'
import { moveClock, MovedClock } from './moved-clock'

/** What a test puts into a sweep. */
export class TestSleeper implements Sleeper {
  [kNext]: Sleeper | null = null
  isEnded = false
  /** When it was woken. */
  readonly wokenAt: number[] = []
  readonly #onWake: (self: TestSleeper) => void

  constructor (onWake: (self: TestSleeper) => void = () => {}) {
    this.#onWake = onWake
  }

  wake (): void {
    this.wokenAt.push(Date.now())
    this.#onWake(this)
  }
}

export interface TestSweep {
  readonly clock: MovedClock
  readonly sweep: Sweep
  /** Has somebody woken in so many milliseconds. */
  sleep (ms: number, onWake?: (self: TestSleeper) => void): TestSleeper
  end (sleeper: TestSleeper): void
}

export function createSweep (t: Test): TestSweep {
  const clock = moveClock(t)
  const sweep = new Sweep()
  return {
    clock,
    sweep,
    sleep: (ms, onWake) => {
      const sleeper = new TestSleeper(onWake)
      sweep.add(sleeper, sweep.tickAt(Date.now() + ms))
      return sleeper
    },
    end: (sleeper) => { sleeper.isEnded = true; sweep.forget() }
  }
}
