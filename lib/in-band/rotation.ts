/*
 * The turns of many items: each has one turn in every interval, and the turns are spread evenly over it. One list in the order of the last
 * turns is all that is kept, so that an item costs an entry of a map, and no timer.
 */

/** The last turn of an item, or its addition, by a clock that is never set (`performance.now()`). */
export interface Turn {
  turnAt: number
}

/** The time that counts at most, in milliseconds: after a blocked event loop only those that are late have their turns at once. */
const MAX_STEP = 1000

/** Items that take turns. */
export class Rotation<Key, Item extends Turn> {
  readonly #interval: number
  /** The item that waits longest is the first. */
  readonly #items = new Map<Key, Item>()
  /** How many turns are due by the even rate, and when that was counted. */
  #credit = 0
  #countedAt = 0

  /** @param interval in milliseconds */
  constructor (interval: number) {
    this.#interval = interval
  }

  get size (): number {
    return this.#items.size
  }

  /** Adds an item. Its first turn comes within one interval. */
  add (key: Key, item: Item): void {
    if (this.#items.size === 0) this.#countedAt = item.turnAt
    this.#items.set(key, item)
  }

  /** Removes an item, and returns it. */
  remove (key: Key): Item | undefined {
    const item = this.#items.get(key)
    this.#items.delete(key)
    return item
  }

  /**
   * The next item whose turn it is, or `null`. It goes to the end of the list.
   *
   * An item has its turn earlier than an interval after its last one if others have left, and never later if `take` is called often enough.
   */
  take (now: number): Item | null {
    const { size } = this.#items
    this.#credit = Math.min(this.#credit + size * Math.min(now - this.#countedAt, MAX_STEP) / this.#interval, size)
    this.#countedAt = now
    const [first] = this.#items
    if (first === undefined) return null
    const [key, item] = first
    if (this.#credit < 1 && now - item.turnAt < this.#interval) return null
    this.#credit = Math.max(this.#credit - 1, 0)
    item.turnAt = now
    this.#items.delete(key)
    this.#items.set(key, item)
    return item
  }
}
