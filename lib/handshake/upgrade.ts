/*
 * An upgrade request from its first byte to the open connection. Node.js drops all its timeouts when a request asks for an
 * upgrade, Fastify and ws have none for it, and a socket without an answer is never freed: so every upgrade has a deadline
 * here, set before Fastify sees the request, and cleared when the connection is open or the socket has closed.
 */
import type { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Limits } from '../connection/limits'
import type { TakenCredentials } from '../credentials/found'
import type { Handshake, HandshakePurpose } from './handshake'
import { reasonOf } from './handshake-end'
import type { HandshakeEnd } from './handshake-end'
import { bytesWritten, onFirstWrite, unwatchEnd, watchEnd, writeUnavailable } from './raw-socket'

/** How long an answer that was begun at the deadline may take, in milliseconds. */
const FLUSH_TIMEOUT = 1000

/**
 * How far an upgrade has come. `routed`: our hooks have it, and free its socket with their answer. `turned away`: refused
 * before they had it, so they do not. `over`: the client has left, or was answered at the deadline; this state is final.
 */
type UpgradeState = 'new' | 'routed' | 'admitted' | 'refused' | 'turned away' | 'over'

/** What an upgrade tells the collection that it is in. */
export interface UpgradeOwner {
  /** Whether the upgrade still waits for its answer. */
  isPending (upgrade: Upgrade): boolean
  /** The upgrade is answered, and its socket is about to close. */
  onEnding (upgrade: Upgrade): void
  /** The upgrade neither waits nor ends any more. */
  onReleased (upgrade: Upgrade): void
  /** 503 was written here, because none of our hooks had the request. */
  onUnanswered (request: IncomingMessage, why: string, startedAt: number): void
}

/** One request for an upgrade that has not become a connection yet. */
export class Upgrade {
  /** The credentials that were taken out of the request. */
  readonly taken: TakenCredentials
  readonly socket: Duplex
  /** What the client sent behind its request. */
  readonly head: Buffer
  readonly startedAt = Date.now()
  readonly #request: IncomingMessage
  readonly #owner: UpgradeOwner
  readonly #bytesBefore: number
  #timer: NodeJS.Timeout
  #state: UpgradeState = 'new'
  #accepted: Handshake | null = null
  /** Gives back the slot of the user. */
  #giveBack: (() => void) | null = null
  #onEnd: ((end: HandshakeEnd) => void) | null = null
  #isWatched = false
  #releasesAtClose = false

  constructor (request: IncomingMessage, socket: Duplex, head: Buffer, taken: TakenCredentials, timeout: number, owner: UpgradeOwner) {
    this.taken = taken
    this.socket = socket
    this.head = head
    this.#request = request
    this.#owner = owner
    this.#bytesBefore = bytesWritten(socket)
    this.#timer = setTimeout(endAtDeadline, timeout, this).unref()
    if (!(socket instanceof Socket)) onFirstWrite(socket, () => this.#onAnswer())
  }

  get purpose (): HandshakePurpose {
    return 'connection'
  }

  /** Whether one of our hooks has let it pass: no other upgrade becomes a connection. */
  get isAdmitted (): boolean {
    return this.#state === 'admitted'
  }

  /** Whether our hooks free the socket with their answer. */
  get isRouted (): boolean {
    return this.#state !== 'new' && this.#state !== 'turned away'
  }

  get isOver (): boolean {
    return this.#state === 'over'
  }

  /** The handshake that was accepted; `null` before, and on a public route. */
  get accepted (): Handshake | null {
    return this.#accepted
  }

  /** Whether an answer has been begun. */
  get isAnswered (): boolean {
    return bytesWritten(this.socket) > this.#bytesBefore
  }

  /** Our hooks have it. */
  route (): void {
    if (this.#state === 'new') this.#state = 'routed'
  }

  /** It was accepted without a handshake: the route is public. */
  admit (): void {
    this.#become('admitted')
  }

  /** It was accepted. Takes the slot of its user, in one turn with the check that there is one. */
  accept (handshake: Handshake, limits: Limits): void {
    this.#giveBack = limits.takeSlot(handshake)
    this.#accepted = handshake
    this.#become('admitted')
  }

  /** It was refused and that was reported, though the error handler of the app may not have answered yet. */
  refuse (): void {
    this.#become(this.#state === 'new' ? 'turned away' : 'refused')
  }

  /** Its socket is not used again: nothing else may be requested on it after an upgrade. */
  endsSocket (): boolean {
    return true
  }

  /** Calls a function, once, if the upgrade ends before its checks do. @returns stops waiting */
  waitFor (onEnd: (end: HandshakeEnd) => void): () => void {
    this.#onEnd = onEnd
    return () => { this.#onEnd = null }
  }

  /** Other code has answered the request. @returns whether that ended the checks early */
  stopChecks (): boolean {
    return this.#end('gone')
  }

  /**
   * Releases everything when the socket closes. To be called in the turn of the event loop in which the request came, unless it
   * was adopted in that turn: most are, and a third listener on the socket would cost each connection 170 bytes.
   */
  releaseAtClose (): void {
    this.#releasesAtClose = true
    this.socket.once('close', this.#onClose)
  }

  /** The connection is open and the socket is ws's: nothing is held any more. */
  adopt (): void {
    if (this.#releasesAtClose) this.socket.removeListener('close', this.#onClose)
    this.#release()
  }

  /** Answers 503: through the checks if they are under way, else at once. The socket is destroyed soon after. */
  end (end: HandshakeEnd): void {
    const wasRefused = this.#state === 'refused' || this.#state === 'turned away'
    this.#state = 'over'
    this.destroyIn(FLUSH_TIMEOUT)
    if (this.#end(end)) return
    if (this.isAnswered) {
      this.socket.destroy()
      return
    }
    writeUnavailable(this.socket)
    if (!wasRefused) this.#owner.onUnanswered(this.#request, reasonOf(end), this.startedAt)
  }

  /** Replaces the deadline: the socket is destroyed after this many milliseconds. */
  destroyIn (timeout: number): void {
    this.#release()
    this.#owner.onEnding(this)
    this.#timer = setTimeout(destroy, timeout, this.socket).unref()
  }

  /** Notices that the client leaves while the answer takes time. The socket is half-open and unread; without this, a FIN goes unnoticed. */
  watch (): void {
    if (!(this.socket instanceof Socket)) return
    this.#isWatched = true
    watchEnd(this.socket)
  }

  #become (state: UpgradeState): void {
    if (this.#state !== 'over') this.#state = state
  }

  #end (end: HandshakeEnd): boolean {
    const onEnd = this.#onEnd
    this.#onEnd = null
    onEnd?.(end)
    return onEnd !== null
  }

  readonly #onClose = (): void => {
    this.#state = 'over'
    this.#release()
    this.#end('gone')
  }

  /** A stream that is not a socket (`injectWS`) is not ended by the code that answers, neither ours nor the app's. */
  #onAnswer (): void {
    if (this.#owner.isPending(this)) this.destroyIn(FLUSH_TIMEOUT)
  }

  #release (): void {
    clearTimeout(this.#timer)
    this.#owner.onReleased(this)
    this.#giveBack?.()
    this.#giveBack = null
    if (!this.#isWatched) return
    this.#isWatched = false
    unwatchEnd(this.socket)
  }
}

function endAtDeadline (upgrade: Upgrade): void {
  upgrade.end('timeout')
}

function destroy (socket: Duplex): void {
  socket.destroy()
}
