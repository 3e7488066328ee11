/*
 * Says of most values that are not in a set that they are not, without a look at the set. A large map is not in the caches of the processor,
 * and a look at it waits for the memory several times. With 300,000 revocations of all kinds, the question whether a token was revoked took
 * 5.2 us of a busy machine by the maps alone, and takes 1.9 us by this (`node test/bench/revocations.mjs`).
 *
 * It is a Bloom filter that has all bits of a value in one word, so that a question waits for the memory once at most.
 */
import { inSlices } from '../base/slices'

/** How many words there are at least: 1 KiB. */
const MIN_WORDS = 256
/** How many values a word has at most, on average, before there are more words. About one in thirty other values seems to be there then, and one in a hundred with half as many. */
const MOST_PER_WORD = 3
const PRIME = 0x01000193

/** A value, and the number of its kind: values of two kinds are different. */
export type KindedValue = readonly [kind: number, value: string]

/** A set of values that may seem to have others too. */
export class ValueFilter {
  #words = new Uint32Array(MIN_WORDS)
  /** How many values were added since the words are these. */
  #added = 0
  /** More words, which are being filled. */
  #next: Uint32Array | null = null
  readonly #size: () => number
  readonly #values: () => Iterator<KindedValue>

  /** @param size how many values there are @param values all of them. Values that were removed are gone when there are more words */
  constructor (size: () => number, values: () => Iterator<KindedValue>) {
    this.#size = size
    this.#values = values
  }

  /** Called with each value that is added, when it is among the values. */
  add (kind: number, value: string): void {
    const hash = hashOf(kind, value)
    insert(this.#words, hash)
    if (this.#next !== null) insert(this.#next, hash)
    this.#added++
    this.#renewIfFull()
  }

  /** Never false for a value that was added, and was not removed. */
  mayHave (kind: number, value: string): boolean {
    const hash = hashOf(kind, value)
    const bits = bitsOf(hash)
    return ((this.#words[hash & (this.#words.length - 1)] as number) & bits) === bits
  }

  /** The values that are added meanwhile are put into both. */
  #renewIfFull (): void {
    if (this.#next !== null || this.#added <= MOST_PER_WORD * this.#words.length) return
    const next = this.#next = new Uint32Array(Math.max(MIN_WORDS, 2 ** Math.ceil(Math.log2(this.#size() / 2))))
    inSlices(this.#values(), ([kind, value]) => insert(next, hashOf(kind, value)), () => {
      this.#words = next
      this.#next = null
      this.#added = this.#size()
      // Very many may have been added meanwhile.
      this.#renewIfFull()
    })
  }
}

function insert (words: Uint32Array, hash: number): void {
  const index = hash & (words.length - 1)
  words[index] = (words[index] as number) | bitsOf(hash)
}

/** Three bits of a word. The lowest bits of a hash choose the word. */
function bitsOf (hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b)
  return (1 << (mixed >>> 27)) | (1 << ((mixed >>> 22) & 31)) | (1 << ((mixed >>> 17) & 31))
}

/** FNV-1a by characters, in four parts at a time, because each step waits for the one before it. Then a mix of the four. */
function hashOf (kind: number, value: string): number {
  const { length } = value
  const part = length >>> 2
  let a = Math.imul(kind ^ length ^ 0x811c9dc5, PRIME)
  let b = a ^ 0x9e3779b9
  let c = a ^ 0x5bd1e995
  let d = a ^ 0x27d4eb2f
  for (let i = 0; i < part; i++) {
    a = Math.imul(a ^ value.charCodeAt(i), PRIME)
    b = Math.imul(b ^ value.charCodeAt(part + i), PRIME)
    c = Math.imul(c ^ value.charCodeAt(2 * part + i), PRIME)
    d = Math.imul(d ^ value.charCodeAt(3 * part + i), PRIME)
  }
  for (let i = 4 * part; i < length; i++) a = Math.imul(a ^ value.charCodeAt(i), PRIME)
  const hash = a ^ Math.imul(b ^ (b >>> 15), 0x85ebca6b) ^ Math.imul(c ^ (c >>> 13), 0xc2b2ae35) ^ Math.imul(d ^ (d >>> 16), 0x27d4eb2d)
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  return mixed ^ (mixed >>> 13)
}
