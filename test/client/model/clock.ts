/*
 * A clock that stands still until it is moved. The timers of the client and the plans of the test are told apart.
 */

interface Timer {
  readonly at: number
  readonly run: () => void
  readonly isOfClient: boolean
}

/** Above this a timer of every runtime fires at once. */
const MAX_DELAY = 2 ** 31 - 1
/** More timers than this do not fire in one move. */
const MAX_TURNS = 5000
const realImmediate = globalThis.setImmediate

/** Resolves when all microtasks have run. */
export async function flush (): Promise<void> {
  await new Promise((resolve) => realImmediate(resolve))
}

export class VirtualClock {
  /** In milliseconds: `performance.now()`. */
  now = 0
  /** What `Date.now()` is ahead by: the clock was set, or the device has slept. */
  skew = 0
  #timers: Timer[] = []

  /** How many timers of the client are left. */
  get timersOfClient (): number {
    let count = 0
    for (const { isOfClient } of this.#timers) if (isOfClient) count++
    return count
  }

  readonly setTimeout = (run: () => void, delay = 0): Timer => this.#add(run, delay > MAX_DELAY ? 1 : delay, true)

  readonly clearTimeout = (timer: unknown): void => {
    const at = this.#timers.indexOf(timer as Timer)
    if (at >= 0) this.#timers.splice(at, 1)
  }

  /** Plans something of the test. */
  plan (delay: number, run: () => void): void {
    this.#add(run, delay, false)
  }

  /** Moves the clock, and runs what is due, each with all microtasks behind it. */
  async advance (duration: number, onEach: () => void = () => {}): Promise<void> {
    const end = this.now + duration
    await flush()
    onEach()
    let turns = 0
    for (let timer = this.#next(end); timer !== undefined; timer = this.#next(end)) {
      if (++turns > MAX_TURNS) throw new Error('timers without end')
      this.clearTimeout(timer)
      this.now = Math.max(this.now, timer.at)
      timer.run()
      onEach()
      await flush()
      onEach()
    }
    this.now = end
  }

  #add (run: () => void, delay: number, isOfClient: boolean): Timer {
    const timer = { at: this.now + Math.max(0, delay || 0), run, isOfClient }
    this.#timers.push(timer)
    return timer
  }

  /** The first that is due until an instant. */
  #next (end: number): Timer | undefined {
    let first: Timer | undefined
    for (const timer of this.#timers) if (timer.at <= end && (first === undefined || timer.at < first.at)) first = timer
    return first
  }
}
