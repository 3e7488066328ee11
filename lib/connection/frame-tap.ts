/*
 * A tap at the receiver of ws: each frame of a client is looked at once its length is known, and before its payload is read. This file
 * and `ws-internals.ts` are the only ones that use private properties of ws.
 */
import type { EventEmitter } from 'node:events'
import type { WebSocket } from 'ws'
import type { Endable } from './ws-internals'

/** The callback of a stream that has taken a chunk. */
type Written = (error?: Error) => void

const kTap = Symbol('fastify-ws-auth.frames')

interface Receiver {
  readonly _allowSynchronousEvents: boolean
  readonly _fin: boolean
  readonly _maxPayload: number
  readonly _totalPayloadLength: number
  readonly _payloadLength: number
  readonly _errored: boolean
  _opcode: number
  _compressed: boolean
  _state: number
  _loop: boolean
  _buffers: Buffer[]
  _bufferedBytes: number
  _fragments: Buffer[]
  _write: (chunk: Buffer, encoding: string, done: Written) => void
  haveLength: (done: Written) => void
  startLoop (done: Written): void
  [kTap]?: FrameTap
}

interface Tapped {
  readonly _receiver: Receiver
  readonly _socket: Endable & EventEmitter
}

/** The states of a receiver: it waits for a frame; the length of a frame was in 2 bytes more, or in 8; it waits for something to happen. */
const GET_INFO = 0
const LENGTH_16 = 1
const DEFER_EVENT = 6
/** RFC 6455, 11.8. */
const BINARY = 2
const FIRST_CONTROL = 8
/** The last part of the header of a frame, which has not been read when the length is known (RFC 6455, 5.2). */
const MASK_BYTES = 4

/** What becomes of a frame: its payload is read, or is passed over without decompression, or waits; or it and all that follows is thrown away. */
export type FrameVerdict = 'read' | 'skip' | 'hold' | 'discard'

/** Decides what becomes of the frames of a client. */
export interface FrameWatch {
  /**
   * Called for each frame, once its length is known.
   *
   * @param bytes with the header
   * @param missing how many of these bytes have not come yet
   */
  onFrame (opcode: number, bytes: number, missing: number): FrameVerdict
  /** Called for each part of a frame of which bytes were missing, before it is read. @param count the bytes of the part @param missing how many are missing still */
  onRest (count: number, missing: number): Exclude<FrameVerdict, 'hold'>
  /** The client has gone while a frame was held back. */
  onGone (): void
}

/** Watches the frames of a socket. */
export class FrameTap {
  readonly #receiver: Receiver
  readonly #stream: Tapped['_socket']
  readonly #watch: FrameWatch
  readonly #haveLength: Receiver['haveLength']
  readonly #write: Receiver['_write']
  readonly #onGone: () => void
  /** The frame that is held back. */
  #held: { readonly done: Written, readonly bytes: number } | null = null
  #missing = 0

  constructor (socket: WebSocket, watch: FrameWatch) {
    const { _receiver: receiver, _socket: stream } = socket as unknown as Tapped
    this.#receiver = receiver
    this.#stream = stream
    this.#watch = watch
    this.#haveLength = receiver.haveLength
    this.#write = receiver._write
    this.#onGone = () => watch.onGone()
    receiver[kTap] = this
    receiver.haveLength = onLength
    receiver._write = this.#write
  }

  /** Whether ws refuses the frame whose length is known now, because its message is longer than `maxPayload`. */
  get isTooLong (): boolean {
    const { _maxPayload: most, _opcode: opcode, _totalPayloadLength: before, _payloadLength: length } = this.#receiver
    return most > 0 && before + length > most && opcode < FIRST_CONTROL
  }

  /** Whether the message of the present frame, which has come as a whole, is emitted before anything else runs. */
  get isEmittedAtOnce (): boolean {
    const { _fin: isLast, _compressed: isCompressed, _allowSynchronousEvents: isSynchronous, _opcode: opcode } = this.#receiver
    return isLast && !isCompressed && isSynchronous && opcode < FIRST_CONTROL
  }

  /** Goes on with the frame that is held back: asks again what becomes of it, or reads it. */
  readonly resume = (asksAgain: boolean): void => {
    if (this.#held === null) return
    const { done, bytes } = this.#held
    this.#held = null
    this.#stream.off('close', this.#onGone)
    this.#take(asksAgain ? this.#watch.onFrame(this.#receiver._opcode, bytes, this.#missing) : 'read', done, bytes)
    if (!this.#receiver._errored) this.#receiver.startLoop(done)
  }

  /** To be called in place of the `haveLength` of the receiver. */
  onLength (done: Written): void {
    const receiver = this.#receiver
    const { _payloadLength: length, _state: state } = receiver
    const bytes = length + (state === GET_INFO ? 6 : state === LENGTH_16 ? 8 : 14)
    const missing = length + MASK_BYTES - receiver._bufferedBytes
    this.#missing = missing > 0 ? missing : 0
    const verdict = this.#watch.onFrame(receiver._opcode, bytes, this.#missing)
    if (verdict === 'read' && this.#missing === 0) this.#haveLength.call(receiver, done)
    else this.#take(verdict, done, bytes)
  }

  #take (verdict: FrameVerdict, done: Written, bytes: number): void {
    const receiver = this.#receiver
    if (verdict === 'discard') return this.#discard()
    if (this.#missing > 0) receiver._write = writeRest
    if (verdict === 'hold') {
      this.#held = { done, bytes }
      receiver._state = DEFER_EVENT
      this.#stream.once('close', this.#onGone)
      return
    }
    if (verdict === 'skip') this.#skip()
    this.#haveLength.call(receiver, done)
  }

  /** To be called in place of the `_write` of the receiver, until the frame has come as a whole. */
  onRest (chunk: Buffer, encoding: string, done: Written): void {
    const receiver = this.#receiver
    const count = Math.min(chunk.length, this.#missing)
    this.#missing -= count
    if (this.#missing === 0) receiver._write = this.#write
    const verdict = this.#watch.onRest(count, this.#missing)
    if (verdict === 'discard') {
      this.#discard()
      return done()
    }
    if (verdict === 'skip') this.#skip()
    this.#write.call(receiver, chunk, encoding, done)
  }

  /** Has a frame of data taken for a binary message, which needs neither decompression nor a check of its text. The guard keeps it from the app. */
  #skip (): void {
    const receiver = this.#receiver
    if (receiver._opcode >= FIRST_CONTROL) return
    receiver._opcode = BINARY
    receiver._compressed = false
    receiver._fragments = []
  }

  /** Throws away what a client sends, and closes our half after what was sent: it has got a close frame. */
  #discard (): void {
    const receiver = this.#receiver
    receiver._write = (_chunk, _encoding, done) => done()
    receiver._buffers = []
    receiver._bufferedBytes = 0
    receiver._fragments = []
    receiver._state = GET_INFO
    receiver._loop = false
    this.#stream.end()
  }
}

/** One function for all receivers: a function for each would keep V8 from inlining it. */
function onLength (this: Receiver, done: Written): void {
  (this[kTap] as FrameTap).onLength(done)
}

function writeRest (this: Receiver, chunk: Buffer, encoding: string, done: Written): void {
  (this[kTap] as FrameTap).onRest(chunk, encoding, done)
}
