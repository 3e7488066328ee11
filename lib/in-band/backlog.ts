/*
 * The messages behind the first. A handler that pauses its socket until it is ready may do so in the middle of what came
 * in one chunk, where ws would go on: then they are kept in the connection's place until it resumes, with what follows.
 */
import type { RawData } from 'ws'
import { guard } from '../connection/socket-guard'
import type { Closer, GuardedSocket, SocketGuard } from '../connection/socket-guard'
import type { OpenConnection } from '../connection/open-connection'

/** What `message` is emitted with. */
export type Message = [data: RawData, isBinary: boolean]

/** Hands them on, in order and once each. */
export class Backlog implements SocketGuard {
  readonly #socket: GuardedSocket
  readonly #connection: OpenConnection
  readonly #kept: Message[]
  /** Whether the handler has not been heard to have failed or not: a matter of a microtask. */
  #isNew = true
  /** Who began to close the socket meanwhile: what came before that is handed on first. */
  #closing: Closer | null = null

  constructor (socket: GuardedSocket, connection: OpenConnection, kept: Message[]) {
    this.#socket = socket
    this.#connection = connection
    this.#kept = kept
  }

  /** Emits them while the app reads, and goes on once it reads again. */
  handOn (): void {
    const socket = this.#socket
    this.#isNew = false
    guard(socket, this.#connection)
    for (let next = this.#next(); next !== undefined; next = this.#next()) socket.emit('message', ...next)
    this.#tellClosing()
    if (socket.isPaused && !this.#connection.isEnded) this.#waitForResume()
  }

  /** Keeps what comes, until it is handed on. */
  hold (): void {
    guard(this.#socket, this)
  }

  /** Drops the kept messages: the handler has failed. The connection decides over all later ones. */
  drop (): void {
    this.#isNew = false
    this.#kept.length = 0
    guard(this.#socket, this.#connection)
    this.#tellClosing()
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
    if (this.#isNew && by !== 'app') this.#closing = by
    else this.#connection.onClosing(by)
  }

  onClosed (): void {
    this.#connection.onClosed()
  }

  #tellClosing (): void {
    if (this.#closing !== null) this.#connection.onClosing(this.#closing)
    this.#closing = null
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
