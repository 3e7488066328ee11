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
  isGone = false
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

/** Sleepers that come and go, while a hundred stay: the sweep forgets those that have gone. */
export function assertForgets (t: Test, count: number): void {
  const [SECOND, HOUR] = [1000, 3_600_000]
  const { clock, sweep, sleep, end } = createSweep(t)
  const stay = Array.from({ length: 100 }, (_, i) => sleep(120 * HOUR + i * SECOND))
  let largest = 0
  for (let i = 0; i < count; i++) {
    end(sleep((i % 5000) * SECOND + SECOND))
    if (sweep.size > largest) largest = sweep.size
  }
  t.ok(largest <= 300, `${largest} at most`)
  t.equal(clock.timers.length, 1)
  clock.advance(144 * HOUR, HOUR)
  t.ok(stay.every(({ wokenAt }) => wokenAt.length === 1))
  t.equal(sweep.size, 0)
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
    end: (sleeper) => { sleeper.isGone = true; sweep.forget() }
  }
}
