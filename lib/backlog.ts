/*
 * The messages behind the first. A handler that pauses its socket until it is ready may do so in the middle of what came
 * in one chunk, where ws would go on: then they are kept in the connection's place until it resumes, with what follows.
 */
import type { RawData } from 'ws'
import { guard } from './socket'
import type { Closer, GuardedSocket, SocketGuard } from './socket'
import type { SocketConnection } from './socket-connection'

/** What `message` is emitted with. */
export type Message = [data: RawData, isBinary: boolean]

/** Hands them on, in order and once each. */
export class Backlog implements SocketGuard {
  readonly #socket: GuardedSocket
  readonly #connection: SocketConnection
  readonly #kept: Message[]

  constructor (socket: GuardedSocket, connection: SocketConnection, kept: Message[]) {
    this.#socket = socket
    this.#connection = connection
    this.#kept = kept
  }

  /** Emits them while the app reads, and goes on once it reads again. */
  handOn (): void {
    const socket = this.#socket
    guard(socket, this.#connection)
    for (let next = this.#next(); next !== undefined; next = this.#next()) socket.emit('message', ...next)
    if (socket.isPaused && !this.#connection.isEnded) this.#waitForResume()
  }

  /** Keeps what comes, until it is handed on. */
  hold (): void {
    guard(this.#socket, this)
  }

  /** Drops the kept messages: the handler has failed. The connection decides over all later ones. */
  drop (): void {
    this.#kept.length = 0
    guard(this.#socket, this.#connection)
  }

  admitMessage (...message: Message): boolean {
    this.#kept.push(message)
    return false
  }

  admitControl (): boolean {
    return this.#connection.admitControl()
  }

  admitError (): boolean {
    return this.#connection.admitError()
  }

  onClosing (by: Closer): void {
    this.#connection.onClosing(by)
  }

  onClosed (): void {
    this.#connection.onClosed()
  }

  #next (): Message | undefined {
    return this.#socket.isPaused ? undefined : this.#kept.shift()
  }

  /** What the app does after it has resumed, in the same turn, is done before. */
  #waitForResume (): void {
    const socket = this.#socket
    this.hold()
    const { resume } = socket
    socket.resume = () => {
      socket.resume = resume
      socket.resume()
      process.nextTick(() => this.handOn())
    }
  }
}
