/*
 * A clock that the test moves: timers fire when they are due by it, in the order in which they are. Its wall clock can
 * be set beside that, as an administrator does it, and no timer notices. Sockets are real.
 */
import { Clock, Timer } from '@tapjs/clock'
import type { Test } from 'tap'

const { setImmediate: realImmediate } = globalThis
const { bigint: realTime } = process.hrtime

/** How often the clock stops on its way, in milliseconds: a timer that another sets is not passed by far. */
const STEP = 25
/** How long anything that is waited for may take, in milliseconds of the real clock. */
const TIMEOUT = 60_000

// Timers of Node return themselves.
Object.defineProperty(Timer.prototype, 'unref', { value (this: Timer): Timer { this.reffed = false; return this } })

export class MovedClock {
  readonly #clock = new Clock()
  #offset = 0

  constructor () {
    this.#clock.travel(Date.now())
    this.#clock.enter()
    Date.now = () => this.#clock.now() + this.#offset
  }

  /** Timers that wait, by the number of those that are there. */
  get timers (): Timer[] {
    return [...this.#clock.timers.values()].flat().filter((timer) => timer._onTimeout !== null)
  }

  /** Lets time go by, in small steps and without a turn of the event loop. */
  advance (ms: number, step = STEP): void {
    for (let left = ms; left > 0; left -= step) this.#clock.advance(Math.min(left, step))
  }

  /** The same, and what is to be done in later turns is done in between. */
  async pass (ms: number, step = STEP): Promise<void> {
    for (let left = ms; left > 0; left -= step) {
      this.#clock.advance(Math.min(left, step))
      await turn()
    }
  }

  /** Sets the wall clock, forwards or back. No time goes by. */
  set (ms: number): void {
    this.#offset += ms
  }

  /** What is to be done at once in another turn is done. No time goes by. */
  run (): void {
    this.#clock.advance(0)
  }

  exit (): void {
    this.#clock.exit()
  }
}

/** Moves the clock until the test ends. To be called after what has to be closed then. */
export function moveClock (t: Test): MovedClock {
  const clock = new MovedClock()
  t.teardown(() => clock.exit())
  return clock
}

/** Sets the wall clock until the test ends, and leaves the timers alone. */
export function setClock (t: Test, ms: number): void {
  const { now } = Date
  Date.now = () => now() + ms
  t.teardown(() => { Date.now = now })
}

/** Some turns of the real event loop. */
export async function turn (count = 1): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => realImmediate(resolve))
}

/** Resolves when something has become true by the real clock; what is due at once by the moved one is done. */
export async function eventually (clock: MovedClock, isTrue: () => boolean, what: string): Promise<void> {
  const deadline = realTime() + BigInt(TIMEOUT) * 1_000_000n
  while (!isTrue()) {
    if (realTime() > deadline) throw new Error(`not within ${TIMEOUT} ms: ${what}`)
    clock.run()
    await turn()
  }
}

/** Lets so much time go by. Then the promise has to settle though no more goes by: what is left is work. */
export async function passUntil<T> (clock: MovedClock, ms: number, what: string, promise: Promise<T>): Promise<T> {
  let isSettled = false
  const settle = (): void => { isSettled = true }
  promise.then(settle, settle)
  await clock.pass(ms)
  await eventually(clock, () => isSettled, what)
  return await promise
}
