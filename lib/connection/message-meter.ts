/*
 * Counts the frames of a client before their payload is read, and before any listener is called. Past a limit the connection is closed,
 * or the client has to wait.
 */
import type { RawData, WebSocket } from 'ws'
import type { CloseReason } from '../base/close-codes'
import type { CloseKind } from '../base/errors'
import { FrameTap } from './frame-tap'
import type { FrameVerdict, FrameWatch } from './frame-tap'
import { HeldMessages } from './held-messages'
import type { TokenBucket } from './token-bucket'
import { isGuardOf } from './socket-guard'

/** RFC 6455, 5.5.1. A client must be able to close. */
const CLOSE = 8
/** How many bytes of a client are read after its connection has ended, in search of its close frame. Then they are thrown away. Messages among them are not decompressed. */
const MAX_AFTER_END = 65_536
/** The header of a short frame (RFC 6455, 5.2). */
const HEADER = 6

/** A limit, as it applies to a connection. */
export interface Meter {
  readonly bucket: TokenBucket
  readonly isPausing: boolean
}

/** What a meter needs of its connection. */
export interface Metered {
  /** Whether it has ended: its close frame is sent. */
  readonly isGone: boolean
  closeFor (reason: CloseReason, kind: CloseKind): void
  onClosing (by: 'lost'): void
}

/** Counts the frames of one connection. */
export class MessageMeter implements FrameWatch {
  readonly #connection: Metered
  readonly #socket: WebSocket
  readonly #messages: Meter | null
  readonly #bytes: Meter | null
  readonly #tap: FrameTap
  readonly #held: HeldMessages
  #afterEnd = MAX_AFTER_END
  /** Whether the rest of the present frame is to be counted as it comes. */
  #countsRest = false
  /** When the present frame was counted, if its message follows before anything else runs; else 0. In milliseconds since the epoch. */
  #countedAt = 0

  constructor (connection: Metered, socket: WebSocket, messages: Meter | null, bytes: Meter | null) {
    this.#connection = connection
    this.#socket = socket
    this.#messages = messages
    this.#bytes = bytes
    this.#tap = new FrameTap(socket, this)
    this.#held = new HeldMessages(socket, this.#tap.resume)
  }

  /** Whether the bytes of the client are read. */
  get isReading (): boolean {
    return this.#held.isReading
  }

  /** Whether all that was read has reached the app. */
  get hasCaughtUp (): boolean {
    return this.#held.isEmpty && this.#held.isReading
  }

  /** Reads the clock for a message, unless that was done for its frame. */
  takeClock (): number {
    const now = this.#countedAt
    this.#countedAt = 0
    return now === 0 ? Date.now() : now
  }

  /** Counts a message that was read before the connection was open. */
  countEarlier (length: number): void {
    if (this.#connection.isGone) return
    const now = Date.now()
    const wait = this.#count(length + HEADER, 0, now)
    if (wait === Infinity) this.#connection.closeFor('message_limit', 'limit')
    else if (wait > 0 || !this.#held.isEmpty) this.#held.addRead(wait, length, now)
  }

  /** Keeps a message for which there is no room yet. @returns whether it has to wait */
  keeps (data: RawData, isBinary: boolean): boolean {
    return !this.#held.isEmpty && this.#held.keep(data, isBinary, lengthOf(data))
  }

  /** The connection has ended. */
  stop (): void {
    this.#held.drop()
  }

  onFrame (opcode: number, length: number, missing: number): FrameVerdict {
    this.#countsRest = false
    this.#countedAt = 0
    if (this.#connection.isGone) return this.#verdictAfterEnd(opcode, length)
    if (opcode === CLOSE) return this.#verdictOnClose()
    // ws refuses it, and reads nothing of it.
    if (this.#tap.isTooLong) return 'read'
    const now = Date.now()
    const wait = this.#count(length, missing, now)
    if (wait === Infinity) {
      this.#connection.closeFor('message_limit', 'limit')
      return this.#verdictAfterEnd(opcode, length)
    }
    this.#countsRest = missing > 0
    if (wait > 0 || !this.#held.isEmpty) return this.#held.add(wait, length, now) ? 'read' : 'hold'
    if (missing === 0 && this.#tap.isEmittedAtOnce && isGuardOf(this.#socket, this.#connection)) this.#countedAt = now
    return 'read'
  }

  /** A client may announce what it never sends: that must not take the room of the other connections of the user. */
  onRest (count: number, missing: number): 'read' | 'skip' | 'discard' {
    if (!this.#countsRest || this.#connection.isGone) return 'read'
    const now = Date.now()
    const wait = waitFor(this.#bytes, count, 0, now)
    if (wait === Infinity) {
      this.#connection.closeFor('message_limit', 'limit')
      return this.#verdictOnRest(missing)
    }
    if (wait > 0) this.#held.postpone(wait, now)
    return 'read'
  }

  onGone (): void {
    this.#connection.onClosing('lost')
  }

  #verdictOnClose (): FrameVerdict {
    if (this.#held.isEmpty) return 'read'
    this.#held.holdClose()
    return 'hold'
  }

  #verdictAfterEnd (opcode: number, length: number): FrameVerdict {
    return opcode === CLOSE ? 'read' : this.#verdictOnRest(length)
  }

  #verdictOnRest (length: number): 'skip' | 'discard' {
    this.#afterEnd -= length
    return this.#afterEnd < 0 ? 'discard' : 'skip'
  }

  /** In how many milliseconds there is room; `Infinity` if the connection is to be closed. @param missing the bytes that have not come */
  #count (bytes: number, missing: number, now: number): number {
    const wait = waitFor(this.#messages, 1, 0, now)
    return this.#bytes === null ? wait : Math.max(wait, waitFor(this.#bytes, bytes, missing, now))
  }
}

/** @param missing how much of the count is not taken yet, though there must be room for it */
function waitFor (meter: Meter | null, count: number, missing: number, now: number): number {
  if (meter === null) return 0
  if (meter.isPausing) return meter.bucket.owe(count - missing, now)
  return meter.bucket.take(count - missing, now, count) ? 0 : Infinity
}

/** How many bytes a message has. */
export function lengthOf (data: RawData): number {
  return Array.isArray(data) ? data.reduce((sum, { length }) => sum + length, 0) : data.byteLength
}
