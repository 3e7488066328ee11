/*
 * Closes many connections over a time, at an even rate, so that their clients do not all come back in the same second. One timer serves
 * all of them, and the work is done in slices: closing 50,000 connections in one turn of the event loop would block it for a second.
 */
import { inSlices, SLICE_TIME } from '../base/slices'

/** The least delay between two closes that the timer makes, in milliseconds. */
const STEP = 20
/** The longest delay of the timer, in milliseconds. */
const MAX_DELAY = 1000
/** By how much closes may be late before the rest is planned anew, in milliseconds, and how much of that time is caught up at once. */
const LATE = 500
const CAUGHT_UP = 250

/** What a {@link Spread} does with its items. */
export interface SpreadTask<Item> {
  /** In milliseconds. With 0 all are closed now, in their order and in slices, the first slice before the constructor returns. */
  readonly within: number
  /** Whether an item has not ended for another reason. */
  isOpen (item: Item): boolean
  /** Must not throw. */
  close (item: Item): void
}

/**
 * Closes the items in random order. The window has an equal part for each item, and the instant of the close is at the same random
 * place in each part: the instant of one item is evenly distributed over the window. If the process stands still, what is left is spread
 * over the rest of the window, because what was due meanwhile would come back in one second.
 */
export class Spread<Item> {
  /** Resolves when each item has been closed, or has ended for another reason. */
  readonly done: Promise<void>
  readonly #items: Item[]
  readonly #task: SpreadTask<Item>
  readonly #startedAt = performance.now()
  readonly #place = Math.random()
  #within: number
  /** The items before this index have had their turn. */
  #next = 0
  /** The items from this index on are spread from this instant on, in milliseconds from the start. */
  #planned = { first: 0, at: 0 }
  #isClosing = false
  #timer: NodeJS.Timeout | undefined
  #finish!: () => void

  /** @param items are taken over, and sorted anew */
  constructor (items: Item[], task: SpreadTask<Item>) {
    this.#items = items
    this.#task = task
    this.#within = task.within
    this.done = new Promise((resolve) => { this.#finish = resolve })
    this.#run()
  }

  /** How many are still to be closed. */
  get left (): number {
    let left = 0
    for (let i = this.#next; i < this.#items.length; i++) if (this.#task.isOpen(this.#items[i] as Item)) left++
    return left
  }

  /** Closes what is left now. */
  hurry (): void {
    this.#within = 0
    clearTimeout(this.#timer)
    this.#run()
  }

  readonly #run = (): void => {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#planAnew()
    inSlices(this.#due(), (item) => { if (this.#task.isOpen(item)) this.#task.close(item) }, () => {
      this.#isClosing = false
      if (this.#next < this.#items.length) this.#timer = setTimeout(this.#run, this.#delay).unref()
      else this.#finish()
    }, SLICE_TIME)
  }

  /** Takes the items whose instant has come. */
  * #due (): Generator<Item> {
    while (this.#next < this.#items.length && this.#instantOf(this.#next) <= this.#elapsed) yield this.#take()
  }

  /** The instant at which the item of a part is closed, in milliseconds from the start. */
  #instantOf (part: number): number {
    const { first, at } = this.#planned
    return at + (part - first + this.#place) / (this.#items.length - first) * (this.#within - at)
  }

  #planAnew (): void {
    if (this.#next < this.#items.length && this.#within > this.#elapsed && this.#instantOf(this.#next) < this.#elapsed - LATE) {
      this.#planned = { first: this.#next, at: this.#elapsed - CAUGHT_UP }
    }
  }

  get #elapsed (): number {
    return performance.now() - this.#startedAt
  }

  get #delay (): number {
    const delay = this.#instantOf(this.#next) - this.#elapsed
    return Math.min(Math.max(delay, STEP), MAX_DELAY)
  }

  /** Takes a random one of the items that are left: one step of the shuffle of Fisher and Yates. */
  #take (): Item {
    const items = this.#items
    const next = this.#next++
    const picked = this.#within === 0 ? next : next + Math.floor(Math.random() * (items.length - next))
    const item = items[picked] as Item
    items[picked] = items[next] as Item
    items[next] = item
    return item
  }
}
