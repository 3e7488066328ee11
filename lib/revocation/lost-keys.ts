/*
 * Remembers which keys an issuer has published, and finds those that it has given up. A key counts as given up only if each answer in the
 * grace lacks it, and if a key that was published beside it still is: an issuer that answers with other keys altogether may be another.
 */

/** How many answers must lack a key. */
const MIN_MISSES = 3

/** A key that was published. All instants are in milliseconds on the monotonic clock. */
interface PublishedKey {
  /** When the first answer lacked it; `null` while it is published. */
  lostAt: number | null
  /** How many answers have lacked it since. */
  misses: number
}

/** What an answer means. */
export interface Findings {
  /** Keys that the answer is the first to lack. */
  readonly missing: readonly string[]
  /** Keys that were given up: they have been missing for the grace. */
  readonly lost: readonly string[]
  /** Whether the answer has no key of the one before, and is not believed. */
  readonly isReplaced: boolean
}

/** The keys of one issuer. */
export class LostKeys {
  readonly #grace: number
  #keys = new Map<string, PublishedKey>()
  /** The last answer that was believed. */
  #current: ReadonlySet<string> | null = null
  /** When the first of the answers came that were not believed; `null` if the last answer was believed. */
  #replacedAt: number | null = null

  /** @param grace how long a key must be missing, in milliseconds */
  constructor (grace: number) {
    this.#grace = grace
  }

  /** Takes an answer. @param kids the names of all keys in it @param now on the monotonic clock */
  take (kids: ReadonlySet<string>, now: number): Findings {
    if (this.#current !== null && !overlaps(kids, this.#current)) return this.#takeReplaced(kids, now)
    this.#replacedAt = null
    this.#current = kids
    for (const kid of kids) this.#keys.set(kid, { lostAt: null, misses: 0 })
    const [missing, lost]: [string[], string[]] = [[], []]
    for (const [kid, key] of this.#keys) {
      if (kids.has(kid)) continue
      if (key.lostAt === null) missing.push(kid)
      key.lostAt ??= now
      key.misses++
      if (key.misses >= MIN_MISSES && now - key.lostAt >= this.#grace) lost.push(kid)
    }
    return { missing, lost, isReplaced: false }
  }

  /** How long a key has been missing, in milliseconds. */
  missingFor (kid: string, now: number): number {
    const lostAt = this.#keys.get(kid)?.lostAt ?? null
    return lostAt === null ? 0 : now - lostAt
  }

  /** Forgets a key that was revoked. */
  forget (kid: string): void {
    this.#keys.delete(kid)
  }

  /** After the grace, other keys are those of the issuer. The keys before them are forgotten, and not revoked. */
  #takeReplaced (kids: ReadonlySet<string>, now: number): Findings {
    this.#replacedAt ??= now
    if (now - this.#replacedAt < this.#grace) return { missing: [], lost: [], isReplaced: true }
    this.#keys = new Map()
    this.#current = null
    return { ...this.take(kids, now), isReplaced: true }
  }
}

function overlaps (kids: ReadonlySet<string>, others: ReadonlySet<string>): boolean {
  for (const kid of kids) if (others.has(kid)) return true
  return false
}
