/*
 * The clock of this process, set forward: `Date.now()`, `new Date()` and `performance.now()`, for this package, fast-jwt, jose and
 * everything else. Timers of Node.js are not moved. Nothing is replaced while the clock is not moved.
 */

interface Replaced {
  readonly Date: DateConstructor
  readonly now: () => number
  /** The own property of `performance`; Node.js has it on the prototype. */
  readonly performanceNow: PropertyDescriptor | undefined
  readonly moved: DateConstructor
}

let replaced: Replaced | null = null
let offset = 0

/** How far the clock is set forward, in milliseconds. */
export function clockOffset (): number {
  return offset
}

/** Sets the clock so far before the real one, in milliseconds. 0 puts back what was replaced. */
export function setClockOffset (ms: number): void {
  offset = ms
  if (ms !== 0) replaced ??= replaceClock()
  else if (replaced !== null) restore(replaced)
}

/** Moves the clock that is there now, which may be that of a test runner. */
function replaceClock (): Replaced {
  const { Date, performance } = globalThis
  const { now } = Date
  const performanceNow = Object.getOwnPropertyDescriptor(performance, 'now')
  const readPerformance = performance.now.bind(performance)
  const moved = new Proxy(Date, {
    construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [target.now()] : args, newTarget),
    apply: () => new Date(Date.now()).toString()
  })
  Date.now = () => now.call(Date) + offset
  Object.defineProperty(performance, 'now', { value: () => readPerformance() + offset, configurable: true, writable: true })
  globalThis.Date = moved
  return { Date, now, performanceNow, moved }
}

function restore ({ Date, now, performanceNow, moved }: Replaced): void {
  replaced = null
  Date.now = now
  if (globalThis.Date === moved) globalThis.Date = Date
  if (performanceNow === undefined) delete (performance as { now?: unknown }).now
  else Object.defineProperty(performance, 'now', performanceNow)
}
