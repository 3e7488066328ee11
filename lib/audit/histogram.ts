/*
 * Counts of durations by their size, as Prometheus and OpenTelemetry have them: with fixed bounds, so that the counts of instances can be
 * added up.
 */

/** A snapshot of a {@link Histogram}. */
export interface HistogramSnapshot {
  /** The upper bounds of the buckets, in milliseconds, ascending. A duration that equals a bound is in the bucket of that bound. */
  readonly bounds: readonly number[]
  /** How many durations each bucket has, and no bucket before it; the last one, without a bound, has those that are longer than all bounds. */
  readonly counts: readonly number[]
  /** How many durations there are. */
  readonly count: number
  /** All durations together, in milliseconds. */
  readonly sum: number
}

/** The bounds for handshakes: from one that is verified at once to one that waits for `handshakeTimeout` or for a first message. */
export const HANDSHAKE_BOUNDS: readonly number[] = Object.freeze([1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000])

const [SECOND, MINUTE, HOUR] = [1000, 60_000, 3_600_000]

/** The bounds for the lives of connections: from one that ends at once to one of a week. `maxLifetime` is a day by default. */
export const LIFE_BOUNDS: readonly number[] = Object.freeze([
  SECOND, 10 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR, 8 * HOUR, 24 * HOUR, 168 * HOUR
])

/** A duration, and the index of its bucket. A duration that two histograms count is searched for once. */
export interface Measured {
  readonly duration: number
  readonly bucket: number
}

/** @param duration in milliseconds */
export function measure (duration: number, bounds: readonly number[]): Measured {
  let bucket = 0
  // A search from the start: most durations are in the first buckets.
  while (bucket < bounds.length && duration > (bounds[bucket] as number)) bucket++
  return { duration, bucket }
}

/** Counts durations. */
export class Histogram {
  readonly #bounds: readonly number[]
  readonly #counts: number[]
  #sum = 0

  constructor (bounds: readonly number[]) {
    this.#bounds = bounds
    this.#counts = [...bounds, Infinity].map(() => 0)
  }

  /** @param measured by the bounds of this histogram */
  add ({ duration, bucket }: Measured): void {
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1
    this.#sum += duration
  }

  snapshot (): HistogramSnapshot {
    const counts = this.#counts.slice()
    return { bounds: this.#bounds, counts, count: counts.reduce((sum, count) => sum + count, 0), sum: this.#sum }
  }
}
