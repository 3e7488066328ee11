/*
 * Counts the frames of a client before their payload is read, and before any listener is called. Past a limit the connection is closed,
 * or the client has to wait.
 */
import type { RawData, WebSocket } from 'ws'
import type { CloseReason } from '../base/close-codes'
import type { CloseKind } from '../base/errors'
import { HeldMessages } from './held-messages'
import type { TokenBucket } from './token-bucket'
import { isTooLong, watchFrames } from './ws-internals'
import type { FrameVerdict } from './ws-internals'

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
export class MessageMeter {
  readonly #connection: Metered
  readonly #socket: WebSocket
  readonly #messages: Meter | null
  readonly #bytes: Meter | null
  readonly #held: HeldMessages
  #afterEnd = MAX_AFTER_END

  constructor (connection: Metered, socket: WebSocket, messages: Meter | null, bytes: Meter | null) {
    this.#connection = connection
    this.#socket = socket
    this.#messages = messages
    this.#bytes = bytes
    const resume = watchFrames(socket, (opcode, length) => this.#onFrame(opcode, length), () => connection.onClosing('lost'))
    this.#held = new HeldMessages(socket, resume)
  }

  /** Whether the bytes of the client are read. */
  get isReading (): boolean {
    return this.#held.isReading
  }

  /** Whether all that was read has reached the app. */
  get hasCaughtUp (): boolean {
    return this.#held.isEmpty && this.#held.isReading
  }

  /** Counts a message that was read before the connection was open. */
  countEarlier (length: number): void {
    if (this.#connection.isGone) return
    const now = Date.now()
    const wait = this.#count(length + HEADER, now)
    if (wait === Infinity) this.#connection.closeFor('message_limit', 'limit')
    else if (wait > 0 || !this.#held.isEmpty) this.#held.addRead(now + wait, length)
  }

  /** Keeps a message for which there is no room yet. @returns whether it has to wait */
  keeps (data: RawData, isBinary: boolean): boolean {
    return !this.#held.isEmpty && this.#held.keep(data, isBinary, lengthOf(data))
  }

  /** The connection has ended. */
  stop (): void {
    this.#held.drop()
  }

  #onFrame (opcode: number, length: number): FrameVerdict {
    if (this.#connection.isGone) return this.#verdictAfterEnd(opcode, length)
    if (opcode === CLOSE) return this.#verdictOnClose()
    // A frame that never comes must not take the room of the other connections of the user.
    if (isTooLong(this.#socket)) return 'read'
    const now = Date.now()
    const wait = this.#count(length, now)
    if (wait === 0 && this.#held.isEmpty) return 'read'
    if (wait !== Infinity) return this.#held.add(now + wait, length) ? 'read' : 'hold'
    this.#connection.closeFor('message_limit', 'limit')
    return this.#verdictAfterEnd(opcode, length)
  }

  #verdictOnClose (): FrameVerdict {
    if (this.#held.isEmpty) return 'read'
    this.#held.holdClose()
    return 'hold'
  }

  #verdictAfterEnd (opcode: number, length: number): FrameVerdict {
    if (opcode === CLOSE) return 'read'
    this.#afterEnd -= length
    return this.#afterEnd < 0 ? 'discard' : 'skip'
  }

  /** In how many milliseconds there is room; `Infinity` if the connection is to be closed. */
  #count (bytes: number, now: number): number {
    return Math.max(waitFor(this.#messages, 1, now), waitFor(this.#bytes, bytes, now))
  }
}

function waitFor (meter: Meter | null, count: number, now: number): number {
  if (meter === null) return 0
  if (meter.isPausing) return meter.bucket.owe(count, now)
  return meter.bucket.take(count, now) ? 0 : Infinity
}

/** How many bytes a message has. */
export function lengthOf (data: RawData): number {
  return Array.isArray(data) ? data.reduce((sum, { length }) => sum + length, 0) : data.byteLength
}
