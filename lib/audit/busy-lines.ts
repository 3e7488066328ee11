/*
 * The log lines of an overload: one a second, because thousands of handshakes may be refused in it.
 */

/** The shortest time between two lines, in milliseconds. */
const INTERVAL = 1000

/** Counts the refusals that get no line. */
export class BusyLines {
  /** By a clock that nobody sets. */
  #nextAt = -Infinity
  #skipped = 0

  /** Returns how many refusals had no line since the last line; `null` if this one gets none either. */
  next (): number | null {
    const now = performance.now()
    if (now < this.#nextAt) {
      this.#skipped++
      return null
    }
    const skipped = this.#skipped
    this.#nextAt = now + INTERVAL
    this.#skipped = 0
    return skipped
  }
}
