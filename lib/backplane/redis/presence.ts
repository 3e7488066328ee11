/*
 * Which instances live: each says so every few seconds, and is believed for some more. By the clock of Redis, since those of
 * machines differ.
 */
import type { RedisConnection } from './client/connection'
import type { Keys } from './keys'
import { valueOf } from './client/replies'

/** How often an instance says that it lives, in milliseconds. */
export const BEAT_INTERVAL = 5000
/** How long it is believed, in milliseconds. */
const LIFETIME = 15_000

/** The presence of one instance, and what it knows of the others. */
export class Presence {
  readonly #keys: Keys
  readonly #id: string
  /** What the monotonic clock lacks to that of Redis, in milliseconds. */
  #offset: number | null = null
  #hasLeft = false

  constructor (keys: Keys, id: string) {
    this.#keys = keys
    this.#id = id
  }

  /** Says that it lives. */
  async beat ({ send, transact }: RedisConnection): Promise<void> {
    this.#offset ??= offsetOf(await send(['TIME']))
    // What waited for Redis meanwhile comes after the farewell.
    if (this.#hasLeft) return
    const { alive } = this.#keys
    const [time] = await transact([
      ['TIME'],
      ['ZADD', alive, String(this.now + LIFETIME), this.#id],
      ['ZREMRANGEBYSCORE', alive, '-inf', String(this.now - LIFETIME)]
    ])
    this.#offset = offsetOf(valueOf(time))
  }

  /** How those are asked for that live, as a command for Redis. */
  get listCommand (): string[] {
    return ['ZRANGEBYSCORE', this.#keys.alive, String(this.now), '+inf']
  }

  /** The others of those that live. */
  othersOf (reply: unknown): string[] {
    return Array.isArray(reply) ? reply.map(String).filter((id) => id !== this.#id) : []
  }

  /** Says that it lives no more. */
  async leave ({ transact }: RedisConnection): Promise<void> {
    this.#hasLeft = true
    await transact([['ZREM', this.#keys.alive, this.#id], ['DEL', this.#keys.inbox(this.#id)]])
  }

  /** What the clock of Redis says, in milliseconds since the epoch; that of this machine where it was not asked yet. */
  get now (): number {
    return Math.round(performance.now() + (this.#offset ?? Date.now() - performance.now()))
  }
}

/** Redis answers with seconds and microseconds. */
function offsetOf (time: unknown): number {
  const [seconds, microseconds] = time as [unknown, unknown]
  return Number(seconds) * 1000 + Number(microseconds) / 1000 - performance.now()
}
