/*
 * What happens in one run of the model: each byte decides one thing, and 0 is always the simplest. When the tape has ended, everything goes
 * well, so that a short tape is a short story.
 */
export class Tape {
  readonly #bytes: Uint8Array
  #at = 0
  #seed: number

  constructor (bytes: Uint8Array) {
    this.#bytes = bytes
    this.#seed = bytes.reduce((seed, byte) => (Math.imul(seed, 31) + byte) | 0, 7)
  }

  get isOver (): boolean {
    return this.#at >= this.#bytes.length
  }

  /** A number from 0 to `count - 1`. */
  draw (count: number): number {
    return (this.#bytes[this.#at++] ?? 0) % count
  }

  /** One of them, the first if the tape has ended. */
  pick<T> (values: readonly T[]): T {
    return values[this.draw(values.length)] as T
  }

  /** For `Math.random`: its bounds too, and without an end. */
  readonly random = (): number => {
    this.#seed = (Math.imul(this.#seed, 1103515245) + 12345) & 0x7fffffff
    const value = this.#seed / 0x80000000
    return value < 0.1 ? 0 : value > 0.9 ? 1 - 2 ** -53 : value
  }
}
