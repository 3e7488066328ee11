/*
 * What a connection keeps of the traffic of its client, if a limit is on: the meters of its frames, and when it sent its last message.
 */
import type { RawData, WebSocket } from 'ws'
import type { RateLimit, RouteLimits } from '../options/complete-options'
import { MessageMeter } from './message-meter'
import type { Meter, Metered } from './message-meter'
import type { Sweep } from './sweep'
import { TokenBucket } from './token-bucket'
import { UserBucket, UserBuckets } from './user-buckets'
import { bytesReadFrom, isReadingMore } from './ws-internals'

/** The traffic of one connection. */
export class Traffic {
  readonly #socket: WebSocket
  readonly #idle: number
  readonly #meter: MessageMeter | null
  readonly #shared: readonly UserBucket[]
  #activeAt = Date.now()
  #bytesRead: number | undefined

  constructor (socket: WebSocket, idle: number, meter: MessageMeter | null, shared: readonly UserBucket[]) {
    this.#socket = socket
    this.#idle = idle
    this.#meter = meter
    this.#shared = shared
  }

  /** Whether the bytes of the client are read. */
  get isReading (): boolean {
    return this.#meter === null || this.#meter.isReading
  }

  /** When the connection is idle if nothing comes, in milliseconds since the epoch, or `Infinity`. */
  get idleAt (): number {
    return this.#activeAt + this.#idle
  }

  /** Reads the clock for a message, unless its frame was counted just now. */
  takeClock (): number {
    return this.#meter === null ? Date.now() : this.#meter.takeClock()
  }

  /** Whether a message may reach the app now. */
  admit (data: RawData, isBinary: boolean, now: number): boolean {
    this.#activeAt = now
    return this.#meter === null || !this.#meter.keeps(data, isBinary)
  }

  /** Counts a message that was read before the connection was open. */
  countEarlier (length: number): void {
    this.#meter?.countEarlier(length)
  }

  /** Whether nothing came for too long. A client that has to wait is not idle, nor is one whose message is on its way. */
  isIdle (): boolean {
    const now = Date.now()
    if (now < this.idleAt) return false
    const before = this.#bytesRead
    this.#bytesRead = bytesReadFrom(this.#socket)
    const isOnItsWay = isReadingMore(this.#socket, 0) && this.#bytesRead !== before
    if (!isOnItsWay && !this.#socket.isPaused && this.#meter?.hasCaughtUp !== false) return true
    this.#activeAt = now
    return false
  }

  /** The connection has ended. */
  stop (): void {
    this.#meter?.stop()
    for (const bucket of this.#shared) bucket.leave()
  }
}

/** What the traffic of a connection needs of it. */
interface Watched extends Metered {
  readonly sub: string | null
}

/** Watches the traffic of connections. */
export class TrafficWatch {
  readonly #sweep: Sweep
  readonly #shared = new Map<RateLimit, UserBuckets>()

  constructor (sweep: Sweep) {
    this.#sweep = sweep
  }

  /** Returns `null` if no limit is on. */
  start (connection: Watched, socket: WebSocket, { messages, bytes, idle }: RouteLimits): Traffic | null {
    if (messages === null && bytes === null && idle === Infinity) return null
    const meters = [this.#meterOf(messages, connection.sub), this.#meterOf(bytes, connection.sub)] as const
    const meter = messages === null && bytes === null ? null : new MessageMeter(connection, socket, ...meters)
    const shared = meters.flatMap((one) => one?.bucket instanceof UserBucket ? [one.bucket] : [])
    return new Traffic(socket, idle, meter, shared)
  }

  /** A connection without a subject has a bucket of its own. */
  #meterOf (limit: RateLimit | null, sub: string | null): Meter | null {
    if (limit === null) return null
    const bucket = limit.perUser && sub !== null ? this.#bucketsOf(limit).join(sub) : new TokenBucket(limit, Date.now())
    return { bucket, isPausing: limit.onLimit === 'pause' }
  }

  /** Routes that have no limit of their own share those of the plugin. */
  #bucketsOf (limit: RateLimit): UserBuckets {
    let buckets = this.#shared.get(limit)
    if (buckets === undefined) this.#shared.set(limit, buckets = new UserBuckets(limit, this.#sweep))
    return buckets
  }
}
