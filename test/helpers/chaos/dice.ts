import { randomFrom } from '../random'

/** The seed of a run: that of `CHAOS_SEED`, to draw again what a failure has printed. */
export const SEED = Number(process.env.CHAOS_SEED ?? Date.now() % 2 ** 32)

/** Draws numbers that a seed determines. */
export class Dice {
  readonly next: () => number

  constructor (seed: number) {
    this.next = randomFrom(seed)
  }

  below (end: number): number {
    return Math.floor(this.next() * end)
  }

  chance (probability: number): boolean {
    return this.next() < probability
  }

  one<T> (...values: readonly [T, ...T[]]): T {
    return values[this.below(values.length)] ?? values[0]
  }

  bytes (count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => this.below(256)))
  }
}
