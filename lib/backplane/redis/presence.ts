/*
 * Which instances are alive. Each instance renews its entry every few seconds; an entry expires by the clock of Redis, because the
 * clocks of machines differ.
 */
import type { RedisConnection } from './client/connection'
import type { Keys } from './keys'
import { valueOf } from './client/replies'

/** How often an instance renews its entry, in milliseconds. */
export const BEAT_INTERVAL = 5000
/** How long an entry lasts, in milliseconds. */
const LIFETIME = 15_000

/** The entry of one instance, and the list of the others. */
export class Presence {
  readonly #keys: Keys
  readonly #id: string
  /** The clock of Redis minus the monotonic clock of this process, in milliseconds; `null` before the first reply. */
  #offset: number | null = null
  #hasLeft = false
  #living: number | null = null

  constructor (keys: Keys, id: string) {
    this.#keys = keys
    this.#id = id
  }

  /** Renews the entry. */
  async beat ({ send, transact }: RedisConnection): Promise<void> {
    this.#offset ??= offsetOf(await send(['TIME']))
    // `leave` was called while this call waited for the time.
    if (this.#hasLeft) return
    const { alive } = this.#keys
    const [time] = await transact([
      ['TIME'],
      ['ZADD', alive, String(this.now + LIFETIME), this.#id],
      ['ZREMRANGEBYSCORE', alive, '-inf', String(this.now - LIFETIME)]
    ])
    this.#offset = offsetOf(valueOf(time))
    // Not in the transaction, because the user in Redis may not have the right to it.
    this.#living = await send(['ZCOUNT', alive, String(this.now), '+inf']).then(Number, () => null)
  }

  /** How many instances were alive at the last beat, this one included; `null` if it is not known. */
  get living (): number | null {
    return this.#living
  }

  /** The command that lists the live instances. */
  get listCommand (): string[] {
    return ['ZRANGEBYSCORE', this.#keys.alive, String(this.now), '+inf']
  }

  /** The ids of the other instances in the reply to {@link listCommand}. */
  othersOf (reply: unknown): string[] {
    return Array.isArray(reply) ? reply.map(String).filter((id) => id !== this.#id) : []
  }

  /** Removes the entry, and the answers to this instance. */
  async leave ({ transact }: RedisConnection): Promise<void> {
    this.#hasLeft = true
    await transact([['ZREM', this.#keys.alive, this.#id], ['DEL', this.#keys.inbox(this.#id)]])
  }

  /** The time by the clock of Redis, in milliseconds since the epoch. Before the first reply it is the time of this machine. */
  get now (): number {
    return Math.round(performance.now() + (this.#offset ?? Date.now() - performance.now()))
  }
}

/** The offset of a reply to TIME, which is in seconds and microseconds. */
function offsetOf (time: unknown): number {
  const [seconds, microseconds] = time as [unknown, unknown]
  return Number(seconds) * 1000 + Number(microseconds) / 1000 - performance.now()
}
