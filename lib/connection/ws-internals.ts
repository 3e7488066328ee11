/*
 * The private properties of ws. No other file uses them.
 */
import type { EventEmitter } from 'node:events'
import type { Writable } from 'node:stream'
import { WebSocket } from 'ws'

interface Internals {
  readonly _closeFrameReceived: boolean
  readonly _closeTimeout: number
  readonly _closeCode: number
  readonly _closeMessage: Buffer
  _closeTimer: NodeJS.Timeout | null
  readonly _pendingAutoPongs: number
  readonly _maxPendingAutoPongs: number
  readonly _extensions: { readonly 'permessage-deflate'?: { _maxPayload: number } }
  readonly _receiver: Receiver
  readonly _socket: Endable & EventEmitter & { readonly bytesRead?: number }
}

/** A stream that can be ended. */
type Endable = Pick<Writable, 'writableEnded' | 'destroyed' | 'end'>

interface Receiver extends Endable {
  readonly _writableState: { readonly errorEmitted: boolean }
  _maxPayload: number
  readonly _totalPayloadLength: number
  _opcode: number
  _compressed: boolean
  readonly _payloadLength: number
  readonly _errored: boolean
  _state: number
  _loop: boolean
  _buffers: Buffer[]
  _bufferedBytes: number
  _fragments: Buffer[]
  _write: (chunk: Buffer, encoding: string, done: Written) => void
  haveLength: (done: Written) => void
  startLoop (done: Written): void
}

/** The callback of a stream that has taken a chunk. */
type Written = (error?: Error) => void

/** The states of a receiver: it waits for a frame, or for something to happen. */
const GET_INFO = 0
const DEFER_EVENT = 6
/** RFC 6455, 11.8. */
const BINARY = 2
const FIRST_CONTROL = 8
/** How long the header of a masked frame is, by the state in which its length is known (RFC 6455, 5.2). */
const HEADER_BYTES = [6, 8, 14]

/** What becomes of a frame: its payload is read, or is passed over without decompression, or waits; or it and all that follows is thrown away. */
export type FrameVerdict = 'read' | 'skip' | 'hold' | 'discard'

/** Prepares a socket that is about to close: both of its streams are ended only once. */
export function closeQuietly (socket: WebSocket): void {
  const { _receiver: receiver, _socket: stream } = socket as unknown as Internals
  endOnce(receiver)
  endOnce(stream)
}

/** Prepares a socket that gets a guard: its receiver is ended only once. */
export function endReceiverOnce (socket: WebSocket): void {
  endOnce((socket as unknown as Internals)._receiver)
}

/**
 * ws ends its receiver when the client ends, and again when the socket has closed; it ends the socket below when the close frames
 * are exchanged, and again when the client ends. The second time, Node.js makes an unused error with its stack: 900 bytes and up
 * to 10 us each.
 */
function endOnce (stream: Endable): void {
  if (!Object.hasOwn(stream, 'end')) stream.end = endUnlessEnded
}

function endUnlessEnded (this: Endable, ...args: unknown[]): Writable {
  const isOver = this.writableEnded || this.destroyed
  if (!isOver || args.length > 0) Reflect.apply((Object.getPrototypeOf(this) as Writable).end, this, args)
  return this as Writable
}

/** Why ws, or the app, calls `close`: ws calls it itself, to answer a close frame or an invalid frame. */
export function closeCauseOf (socket: WebSocket): 'app' | 'client' | 'error' {
  const { _closeFrameReceived: isAnswer, _receiver: receiver } = socket as unknown as Internals
  if (isAnswer) return 'client'
  // Emitted, not only found: the app may close a socket before the error of an invalid frame is emitted.
  return receiver._writableState.errorEmitted ? 'error' : 'app'
}

/** The code and the reason that a closed socket of any copy of ws keeps; `null` for a socket of another class. */
export function closeKeptBy (socket: object): { code: number, reason: string } | null {
  const { _closeCode: code, _closeMessage: message } = socket as Partial<Internals>
  return code === undefined || message === undefined ? null : { code, reason: message.toString() }
}

/** Whether ws terminates the socket itself: the client sends pings and does not read the pongs. */
export function isFlooded (socket: WebSocket): boolean {
  const { _pendingAutoPongs: pending, _maxPendingAutoPongs: most } = socket as unknown as Internals
  return most > 0 && pending >= most
}

/**
 * Sets a deadline if the client has closed its half without a close frame: ws sends the remaining data, and would wait for ever
 * for a client that does not read it.
 *
 * @returns whether that is so, and no deadline was set before
 */
export function limitFarewell (socket: WebSocket): boolean {
  const internals = socket as unknown as Internals
  if (socket.readyState !== WebSocket.CLOSING || internals._closeTimer !== null) return false
  internals._closeTimer = setTimeout(() => socket.terminate(), internals._closeTimeout).unref()
  return true
}

/** Lets a process end before the deadline of a close frame. A socket of `injectWS` is never destroyed before it, so each test would end 5 s later. */
export function unrefCloseTimer (socket: WebSocket): void {
  (socket as unknown as Internals)._closeTimer?.unref()
}

/**
 * Limits the messages that are read from a socket from now on.
 *
 * @param bytes the longest message; 0 is without limit
 * @param inflated the longest compressed message, after decompression
 * @returns the previous limit
 */
export function limitMessages (socket: WebSocket, bytes: number, inflated = bytes): number {
  const { _receiver: receiver, _extensions: { 'permessage-deflate': deflate } } = socket as unknown as Internals
  const { _maxPayload: before } = receiver
  receiver._maxPayload = bytes
  // Decompression has a limit of its own: the receiver learns the decompressed length only at the end.
  if (deflate !== undefined) deflate._maxPayload = inflated
  return before
}

/** Whether the message that is being read from a socket is already longer than this many bytes. */
export function isReadingMore (socket: WebSocket, bytes: number): boolean {
  return (socket as unknown as Internals)._receiver._totalPayloadLength > bytes
}

/** Whether ws refuses the frame whose length is known now, because its message is longer than `maxPayload`. */
export function isTooLong (socket: WebSocket): boolean {
  const { _opcode: opcode, _maxPayload: most, _payloadLength: length, _totalPayloadLength: before } = (socket as unknown as Internals)._receiver
  return opcode < FIRST_CONTROL && most > 0 && before + length > most
}

/** How many bytes have come from a client; `undefined` if the socket below does not count them (`injectWS`). */
export function bytesReadFrom (socket: WebSocket): number | undefined {
  return (socket as unknown as Internals)._socket.bytesRead
}

/**
 * Watches the frames of a client: a function is called for each of them once its length is known, and before its payload is read.
 *
 * @param onFrame gets the length with the header, and decides
 * @param onGone the client has gone while a frame was held back
 * @returns goes on with the frame that is held back: asks again what becomes of it, or reads it
 */
export function watchFrames (socket: WebSocket, onFrame: (opcode: number, bytes: number) => FrameVerdict, onGone: () => void): (asksAgain: boolean) => void {
  const { _receiver: receiver, _socket: stream } = socket as unknown as Internals
  const { haveLength } = receiver
  let held: { readonly done: Written, readonly bytes: number } | null = null
  const take = (verdict: FrameVerdict, done: Written, bytes: number): void => {
    if (verdict === 'discard') return discard(receiver, stream)
    if (verdict === 'hold') {
      held = { done, bytes }
      receiver._state = DEFER_EVENT
      stream.once('close', onGone)
      return
    }
    if (verdict === 'skip') skip(receiver)
    haveLength.call(receiver, done)
  }
  receiver.haveLength = (done) => {
    const bytes = receiver._payloadLength + (HEADER_BYTES[receiver._state] as number)
    take(onFrame(receiver._opcode, bytes), done, bytes)
  }
  return (asksAgain) => {
    if (held === null) return
    const { done, bytes } = held
    held = null
    stream.off('close', onGone)
    take(asksAgain ? onFrame(receiver._opcode, bytes) : 'read', done, bytes)
    if (!receiver._errored) receiver.startLoop(done)
  }
}

/** Has a frame of data taken for a binary message, which needs neither decompression nor a check of its text. The guard keeps it from the app. */
function skip (receiver: Receiver): void {
  if (receiver._opcode >= FIRST_CONTROL) return
  receiver._opcode = BINARY
  receiver._compressed = false
  receiver._fragments = []
}

/** Throws away what a client sends, and closes our half after what was sent: it has got a close frame. */
function discard (receiver: Receiver, stream: Endable): void {
  receiver._write = (_chunk, _encoding, done) => done()
  receiver._buffers = []
  receiver._bufferedBytes = 0
  receiver._fragments = []
  receiver._state = GET_INFO
  receiver._loop = false
  stream.end()
}
