/*
 * The log lines of an overload, and others that clients can cause at will: one or a few a second, because there may be thousands.
 */

/** How long the lines are counted together, in milliseconds. */
const INTERVAL = 1000

/** Decides which lines are written, and counts the others. */
export class SampledLines {
  /** By a clock that is never set. */
  #nextAt = -Infinity
  #skipped = 0
  #written = 0
  readonly #most: number

  /** @param most how many lines are written in a second */
  constructor (most = 1) {
    this.#most = most
  }

  /** Returns how many had no line since the last line; `null` if this one gets none either. */
  next (): number | null {
    const now = performance.now()
    if (now >= this.#nextAt) {
      this.#nextAt = now + INTERVAL
      this.#written = 0
    }
    if (this.#written === this.#most) {
      this.#skipped++
      return null
    }
    const skipped = this.#skipped
    this.#written++
    this.#skipped = 0
    return skipped
  }

  /** Has a line written, unless it is left out. @param line is given what belongs to the line: `skipped`, if any were left out before */
  write (line: (more: { readonly skipped?: number }) => void): void {
    const skipped = this.next()
    if (skipped !== null) line(skipped === 0 ? {} : { skipped })
  }
}
