/*
 * The messages behind the first, until the handler has read them. A handler may pause its socket in the middle of a chunk, while ws
 * goes on to emit the messages of the chunk: they are kept until the handler resumes the socket.
 */
import type { RawData } from 'ws'
import { lengthOf } from '../connection/message-meter'
import { guard } from '../connection/socket-guard'
import type { Closer, GuardedSocket, SocketGuard } from '../connection/socket-guard'
import type { OpenConnection } from '../connection/open-connection'

/** The arguments of a `message` event. */
export type Message = [data: RawData, isBinary: boolean]

/** Delivers each message once, in order. */
export class Backlog implements SocketGuard {
  readonly #socket: GuardedSocket
  readonly #connection: OpenConnection
  readonly #kept: Message[]
  /** How many of them were read before the connection was open, and are not counted for its limits yet. */
  #uncounted: number
  /** Whether it is not known yet if the handler has failed: for one microtask. */
  #isNew = true
  /** Why the socket began to close meanwhile. The kept messages are delivered first. */
  #closing: Closer | null = null

  constructor (socket: GuardedSocket, connection: OpenConnection, kept: Message[]) {
    this.#socket = socket
    this.#connection = connection
    this.#kept = kept
    this.#uncounted = kept.length
  }

  /** Emits the messages, and pauses as long as the app has paused the socket. */
  deliver (): void {
    const socket = this.#socket
    this.#isNew = false
    guard(socket, this.#connection)
    for (let next = this.#next(); next !== undefined; next = this.#next()) socket.emit('message', ...next)
    this.#reportClosing()
    if (socket.isPaused && !this.#connection.isEnded) this.#waitForResume()
  }

  /** Keeps all messages until they are delivered. */
  hold (): void {
    guard(this.#socket, this)
  }

  /** Drops the kept messages: the handler has failed. The connection guards the socket from now on. */
  drop (): void {
    this.#isNew = false
    this.#kept.length = 0
    guard(this.#socket, this.#connection)
    this.#reportClosing()
  }

  admitMessage (...message: Message): boolean {
    this.#kept.push(message)
    return false
  }

  admitSend (): boolean {
    return this.#connection.admitSend()
  }

  admitControl (): boolean {
    return this.#connection.admitControl()
  }

  admitError (): boolean {
    return this.#connection.admitError()
  }

  onClosing (by: Closer): void {
    if (this.#isNew && by !== 'app') this.#closing = by
    else this.#connection.onClosing(by)
  }

  onClosed (): void {
    this.#connection.onClosed()
  }

  #reportClosing (): void {
    if (this.#closing !== null) this.#connection.onClosing(this.#closing)
    this.#closing = null
  }

  #next (): Message | undefined {
    const message = this.#socket.isPaused ? undefined : this.#kept.shift()
    if (message !== undefined && this.#uncounted > 0) {
      this.#uncounted--
      this.#connection.countEarlier(lengthOf(message[0]))
    }
    return message
  }

  /** Delivers in the next tick, after the app has finished the turn in which it resumes. */
  #waitForResume (): void {
    const socket = this.#socket
    this.hold()
    const { resume } = socket
    socket.resume = () => {
      socket.resume = resume
      socket.resume()
      process.nextTick(() => this.deliver())
    }
  }
}
