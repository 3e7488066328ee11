/*
 * The private properties of ws. Only `frame-tap.ts` uses them too.
 */
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { WebSocket } from 'ws'

interface Internals {
  readonly _closeFrameReceived: boolean
  readonly _closeTimeout: number
  readonly _closeCode: number
  readonly _closeMessage: Buffer
  _closeTimer: NodeJS.Timeout | null
  _pendingAutoPongs: number
  readonly _maxPendingAutoPongs: number
  _extensions: Extensions
  _events: Record<string | symbol, unknown>
  readonly _receiver: Receiver
  readonly _sender: { _extensions: Extensions }
  readonly _socket: Endable & { readonly bytesRead?: number }
}

type Extensions = { readonly 'permessage-deflate'?: { _maxPayload: number } }

/** A stream that can be ended. */
export type Endable = Pick<Writable, 'writableEnded' | 'destroyed' | 'end'>

interface Receiver extends Endable {
  readonly _writableState: { readonly errorEmitted: boolean }
  _maxPayload: number
  _extensions: Extensions
  readonly _totalPayloadLength: number
}

/** Prepares a socket that is about to close: both of its streams are ended only once. */
export function closeQuietly (socket: WebSocket): void {
  const { _receiver: receiver, _socket: stream } = socket as unknown as Internals
  endOnce(receiver)
  endOnce(stream)
}

/** Prepares an open socket for the end of its client: its receiver is ended only once, and the socket below by one system call. */
export function prepareEnd (socket: WebSocket): void {
  const { _receiver: receiver, _socket: stream } = socket as unknown as Internals
  endOnce(receiver)
  if (stream instanceof Socket && !(stream instanceof TLSSocket) && stream._final === Socket.prototype._final) stream._final = shutDownUnlessOver
}

/**
 * Sends the FIN, as Node.js does. If the client has sent its own before, Node.js closes the socket right after, and the kernel sends
 * the FIN then: without the `shutdown`, 6 % of what a connection costs are saved. TLS has an end of its own to send.
 */
function shutDownUnlessOver (this: Socket, done: (error?: Error | null) => void): void {
  if (this.readableEnded) done()
  else Socket.prototype._final.call(this, done)
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

/** How many bytes have come from a client; `undefined` if the socket below does not count them (`injectWS`). */
export function bytesReadFrom (socket: WebSocket): number | undefined {
  return (socket as unknown as Internals)._socket.bytesRead
}

const NO_EXTENSIONS: Extensions = Object.freeze({})

/**
 * Makes what ws and Node.js keep of a socket smaller, once its first listeners are there: 0.2 KiB. Without extensions, all sockets share one object.
 * Listeners are in an object of the kind that V8 keeps for a few properties; Node.js makes a hash table.
 */
export function shrink (socket: WebSocket): void {
  const internals = socket as unknown as Internals
  if (internals._extensions['permessage-deflate'] === undefined) {
    internals._extensions = internals._receiver._extensions = internals._sender._extensions = NO_EXTENSIONS
  }
  internals._events = Object.setPrototypeOf({ ...internals._events }, null) as Internals['_events']
}

/** What ws calls when it has answered a ping; it would make one for each socket in advance. */
export function pongCounter (socket: WebSocket): () => void {
  return () => { (socket as unknown as Internals)._pendingAutoPongs-- }
}
