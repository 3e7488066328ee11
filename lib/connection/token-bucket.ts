/*
 * A token bucket: so many a second for ever, and so many at once after a silence. All numbers are whole, so that it is exact: a
 * thousandth of a token comes in each millisecond for each that comes in a second.
 */

/** How many parts a token has. */
const PARTS = 1000

/** How fast a bucket fills, and how much it holds, in tokens. */
export interface BucketSize {
  readonly perSecond: number
  readonly burst: number
}

/** A bucket, full at first. All instants are in milliseconds since the epoch. */
export class TokenBucket {
  readonly #perSecond: number
  readonly #capacity: number
  /** In parts of a token, at {@link #at}; less than 0 if it owes tokens. */
  #level: number
  #at: number

  constructor ({ perSecond, burst }: BucketSize, now: number) {
    this.#perSecond = perSecond
    this.#capacity = burst * PARTS
    this.#level = this.#capacity
    this.#at = now
  }

  /** Takes tokens, if they are there. @param needed so many must be there */
  take (count: number, now: number, needed = count): boolean {
    this.#fill(now)
    if (this.#level < needed * PARTS) return false
    this.#level -= count * PARTS
    return true
  }

  /** Takes tokens that may not be there yet. @returns in how many milliseconds they will have been, 0 if they are there */
  owe (count: number, now: number): number {
    this.#fill(now)
    this.#level -= count * PARTS
    return this.#level >= 0 ? 0 : Math.ceil(-this.#level / this.#perSecond)
  }

  /** When the bucket is full again. */
  fullAt (now: number): number {
    this.#fill(now)
    return now + Math.ceil((this.#capacity - this.#level) / this.#perSecond)
  }

  /** The clock may be set back meanwhile. */
  #fill (now: number): void {
    const passed = now - this.#at
    if (passed === 0) return
    this.#at = now
    if (passed > 0) this.#level = Math.min(this.#level + passed * this.#perSecond, this.#capacity)
  }
}
