/*
 * Work on all connections, a slice for each turn of the event loop: closing 50,000 in one turn would keep everybody else
 * waiting for two seconds.
 */

/** Small enough for 10 ms of closing. */
const SLICE = 256

/** Calls `each` with all items, and `done` after the last. */
export function inSlices<T> (items: Iterator<T>, each: (item: T) => void, done: () => void): void {
  for (let i = 0; i < SLICE; i++) {
    const next = items.next()
    if (next.done === true) return done()
    each(next.value)
  }
  setImmediate(() => inSlices(items, each, done))
}
