/*
 * The buckets of a limit that all connections of a user share. A bucket outlives the connections until it is full again: else a client
 * would connect anew to empty another.
 */
import { kNext } from './sweep'
import type { Sleeper, Sweep } from './sweep'
import { TokenBucket } from './token-bucket'
import type { BucketSize } from './token-bucket'

/** The bucket of a user. */
export class UserBucket extends TokenBucket implements Sleeper {
  [kNext]: Sleeper | null = null
  readonly isGone = false
  readonly #buckets: UserBuckets
  readonly #sub: string
  #connections = 0
  #isAsleep = false

  constructor (size: BucketSize, buckets: UserBuckets, sub: string) {
    super(size, Date.now())
    this.#buckets = buckets
    this.#sub = sub
  }

  join (): void {
    this.#connections++
  }

  leave (): void {
    this.#connections--
    if (this.#connections === 0 && !this.#isAsleep) this.#forgetOnceFull()
  }

  wake (): void {
    this.#isAsleep = false
    if (this.#connections === 0) this.#forgetOnceFull()
  }

  #forgetOnceFull (): void {
    const now = Date.now()
    const fullAt = this.fullAt(now)
    this.#isAsleep = fullAt > now
    if (this.#isAsleep) this.#buckets.sweep.add(this, this.#buckets.sweep.tickAt(fullAt))
    else this.#buckets.forget(this.#sub)
  }
}

/** The buckets of one limit, by user. */
export class UserBuckets {
  readonly sweep: Sweep
  readonly #size: BucketSize
  readonly #buckets = new Map<string, UserBucket>()

  constructor (size: BucketSize, sweep: Sweep) {
    this.#size = size
    this.sweep = sweep
  }

  /** How many there are. */
  get count (): number {
    return this.#buckets.size
  }

  /** The bucket of a user, for one more connection, which must leave it. */
  join (sub: string): UserBucket {
    let bucket = this.#buckets.get(sub)
    if (bucket === undefined) this.#buckets.set(sub, bucket = new UserBucket(this.#size, this, sub))
    bucket.join()
    return bucket
  }

  forget (sub: string): void {
    this.#buckets.delete(sub)
  }
}
