/*
 * The socket that a handler gets: a WebSocket of ws that asks its guard before it hands on what the other side sent. It
 * has to be asked in `emit`, where all listeners are served (`on`, `once`, `onmessage`, streams): after a close frame was
 * sent, a client that ignores it can still deliver what it likes, and a timer that is to end a connection runs after the
 * messages that came in the same turn of the event loop.
 *
 * The only file that knows what ws keeps to itself.
 */
import type { Writable } from 'node:stream'
import { WebSocket } from 'ws'
import type { RawData } from 'ws'

/** Who began to close a socket: the app, the other side with a close frame or without, or ws, over what the other side sent. */
export type Closer = 'app' | 'client' | 'lost' | 'error'

/** What decides over the events of a socket. */
export interface SocketGuard {
  /** Whether a message may reach the app. */
  admitMessage (data: RawData, isBinary: boolean): boolean
  /** Whether a ping or pong may. */
  admitControl (): boolean
  /** Whether an error may. */
  admitError (error: Error): boolean
  /** The closing handshake has begun. */
  onClosing (by: Closer): void
  /** The socket is gone. */
  onClosed (): void
}

const kGuard = Symbol('fastify-ws-auth.guard')

interface Internals {
  readonly _closeFrameReceived: boolean
  readonly _closeTimeout: number
  _closeTimer: NodeJS.Timeout | null
  readonly _pendingAutoPongs: number
  readonly _maxPendingAutoPongs: number
  readonly _extensions: { readonly 'permessage-deflate'?: { _maxPayload: number } }
  readonly _receiver: Receiver
  readonly _socket: Endable
}

/** A stream that can be ended. */
type Endable = Pick<Writable, 'writableEnded' | 'destroyed' | 'end'>

interface Receiver extends Endable {
  readonly _writableState: { readonly errorEmitted: boolean }
  _maxPayload: number
  readonly _totalPayloadLength: number
}

/** A socket, and who decides over it: nobody, until it is guarded. */
export interface GuardedSocket extends WebSocket {
  [kGuard]?: SocketGuard | null
}

/** Puts a guard before a socket, or another in its place. */
export function guard (socket: GuardedSocket, by: SocketGuard): void {
  socket[kGuard] = by
  endOnce((socket as unknown as Internals)._receiver)
}

/** Has both streams of a socket that is about to be closed ended once; of one that is guarded, the first is already. */
export function closeQuietly (socket: WebSocket): void {
  const { _receiver: receiver, _socket: stream } = socket as unknown as Internals
  endOnce(receiver)
  endOnce(stream)
}

/**
 * ws ends its receiver when the other side has, and again when the socket is gone; the socket below when the close frames are
 * exchanged, and again when the other side has. For the second time Node makes an error with its stack, of which nobody
 * hears: 900 bytes and up to 10 us each.
 */
function endOnce (stream: Endable): void {
  if (!Object.hasOwn(stream, 'end')) stream.end = endUnlessEnded
}

function endUnlessEnded (this: Endable, ...args: unknown[]): Writable {
  const isOver = this.writableEnded || this.destroyed
  if (!isOver || args.length > 0) Reflect.apply((Object.getPrototypeOf(this) as Writable).end, this, args)
  return this as Writable
}

/**
 * The class of the sockets of a server.
 *
 * @param Base the class that the app would have, if it has one of its own
 */
export function guardedSocketClass (Base: typeof WebSocket = WebSocket): typeof WebSocket {
  return class extends Base {
    [kGuard]: SocketGuard | null = null

    override emit (event: string | symbol, ...args: unknown[]): boolean {
      // Not set yet where a class of the app emits in its constructor.
      const by = this[kGuard] ?? null
      // The way of every message: no array for its arguments, 20 of the 65 ns that all of this costs it.
      if (event === 'message') {
        return (by === null || by.admitMessage(args[0] as RawData, args[1] === true)) && super.emit(event, args[0], args[1])
      }
      if (by !== null && event === 'close') {
        // Listeners are told even where the app's own logger throws: ws forgets the socket in one.
        try {
          by.onClosed()
        } finally {
          super.emit(event, ...args)
        }
        return true
      }
      if (by !== null && !admits(by, event, args)) return false
      return super.emit(event, ...args)
    }

    override close (code?: number, reason?: string | Buffer): void {
      const isOpen = this.readyState === WebSocket.OPEN
      if (isOpen) closeQuietly(this)
      super.close(code, reason)
      if (isOpen) this[kGuard]?.onClosing(closerOf(this))
      else if (this[kGuard] !== null) limitFarewell(this, this[kGuard])
    }

    override terminate (): void {
      try {
        if (this.readyState === WebSocket.OPEN) this[kGuard]?.onClosing(isFlooded(this) ? 'error' : 'app')
      } finally {
        super.terminate()
      }
    }
  }
}

function admits (by: SocketGuard, event: string | symbol, args: readonly unknown[]): boolean {
  switch (event) {
    case 'ping':
    case 'pong': return by.admitControl()
    case 'error': return by.admitError(args[0] as Error)
  }
  return true
}

/** ws calls `close` itself, to answer a close frame or what is no frame. */
function closerOf (socket: WebSocket): Closer {
  const { _closeFrameReceived: isAnswer, _receiver: receiver } = socket as unknown as Internals
  if (isAnswer) return 'client'
  // Emitted, and not only found: the app may close a socket before ws is told of what is no frame.
  return receiver._writableState.errorEmitted ? 'error' : 'app'
}

/** Whether ws terminates a socket itself: of one that pings and does not read the pongs. */
function isFlooded (socket: WebSocket): boolean {
  const { _pendingAutoPongs: pending, _maxPendingAutoPongs: most } = socket as unknown as Internals
  return most > 0 && pending >= most
}

/**
 * The other side has closed its half without a close frame: ws sends what is left to be sent, and has no deadline for one
 * that does not read it.
 */
function limitFarewell (socket: WebSocket, by: SocketGuard): void {
  const internals = socket as unknown as Internals
  if (socket.readyState !== WebSocket.CLOSING || internals._closeTimer !== null) return
  internals._closeTimer = setTimeout(() => socket.terminate(), internals._closeTimeout).unref()
  by.onClosing('lost')
}

/**
 * Limits the messages that are read from a socket from now on.
 *
 * @param bytes the longest; 0 is without limit
 * @param inflated the longest of those that are compressed
 * @returns the limit until now
 */
export function limitMessages (socket: WebSocket, bytes: number, inflated = bytes): number {
  const { _receiver: receiver, _extensions: { 'permessage-deflate': deflate } } = socket as unknown as Internals
  const { _maxPayload: before } = receiver
  receiver._maxPayload = bytes
  // It stops by a limit of its own: the receiver learns only at the end what a message has become.
  if (deflate !== undefined) deflate._maxPayload = inflated
  return before
}

/** Whether a message is being read from a socket that is longer than so many bytes. */
export function isReadingMore (socket: WebSocket, bytes: number): boolean {
  return (socket as unknown as Internals)._receiver._totalPayloadLength > bytes
}

const kFailed = Symbol('fastify-ws-auth.failed')

type FailedSocket = WebSocket & { [kFailed]?: () => void }

/** Remembers that the handler of a socket has failed, and how the client is told so. */
export function markFailed (socket: WebSocket, close: () => void): void {
  (socket as FailedSocket)[kFailed] = close
}

/** Ends a socket over an error: its client is told if it was the handler's, and ws has told it of any other. */
export function endOverError (socket: WebSocket): void {
  const close = (socket as FailedSocket)[kFailed] ?? (() => terminateSafely(socket))
  close()
}

/*
 * What this package does by itself to a socket, in a timer or for another user: a class of the app (`websocket.options.WebSocket`)
 * may throw at it, and nobody is there to catch that.
 */

/** Sends a text. @param done called once it has left, or will not */
export function sendSafely (socket: WebSocket, text: string, done: () => void = () => {}): void {
  try {
    socket.send(text, done)
  } catch {
    done()
  }
}

/** Pings. @returns whether that was possible */
export function pingSafely (socket: WebSocket): boolean {
  try {
    socket.ping()
    return true
  } catch {
    return false
  }
}

/** Closes a socket; where its class fails to, ends it. */
export function closeSafely (socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, reason)
  } catch {
    terminateSafely(socket)
  }
}

/** Ends a socket; where its class fails to, as ws itself would. */
export function terminateSafely (socket: WebSocket): void {
  try {
    socket.terminate()
  } catch {
    WebSocket.prototype.terminate.call(socket)
  }
}
