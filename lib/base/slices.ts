/*
 * Does work on all connections in slices, one for each turn of the event loop: closing 50,000 connections in one turn would block the
 * process for seconds.
 */

/**
 * Closing this many connections takes about 40 ms. Between slices, the process reads the answers of the closed connections: closing
 * 10,000 connections on a busy machine took 0.9 s with 1024, and 1.6 s with 256.
 */
const SLICE = 1024
/** How many items are handled between two looks at the clock. */
const STRIDE = 16
/**
 * How long a slice of closes may take, in milliseconds. In the same turn the answers of the clients to the close frames of the turn before
 * are read, which takes three times as long.
 */
export const SLICE_TIME = 10

/**
 * Calls `each` with all items, and `done` after the last. An error of `each` is thrown, and the other items follow all the same.
 *
 * @param time how long a slice may take, in milliseconds
 */
export function inSlices<T> (items: Iterator<T>, each: (item: T) => void, done: () => void, time = Infinity): void {
  const endAt = performance.now() + time
  let isDone = false
  try {
    for (let i = 0; i < SLICE && !isDone && (i % STRIDE !== 0 || performance.now() <= endAt); i++) {
      const next = items.next()
      if (next.done === true) isDone = true
      else each(next.value)
    }
  } finally {
    if (isDone) done()
    else setImmediate(() => inSlices(items, each, done, time))
  }
}
