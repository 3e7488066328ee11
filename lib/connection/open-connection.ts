/*
 * One authenticated socket: its user, its deadline, and the one reason of its end. After the end, no event of the client
 * reaches the app.
 */
import type { FastifyRequest } from 'fastify'
import { WebSocket, type RawData } from 'ws'
import { GOING_AWAY, type CloseDecision, type CloseOrder, type CloseReason } from '../base/close-codes'
import type { VerifiedIdentity } from '../authentication/identity'
import type { Connection, Sendable } from './connection'
import type { CloseKind } from '../base/errors'
import { kNext, type Sleeper } from './sweep'
import { authRenew } from './auth-frames'
import { endOf, hintTickOf, isTooOld, nextRenewalOf } from './connection-times'
import type { ConnectionHost } from './connection-host'
import { ConnectionIdentity } from './connection-identity'
import { closeSafely, pingSafely, sendSafely, terminateSafely } from './safe-calls'
import { KeptRequest } from './kept-request'
import { isFar, readClock } from './send-clock'
import { guard, type Closer, type GuardedSocket, type SocketGuard } from './socket-guard'
import { takeFrame } from './take-frame'
import type { Traffic } from './traffic'
import { bytesReadFrom } from './ws-internals'

/** The deadline of a connection whose end was decided, and whose close frame waits for its slice. */
const DECIDED = -1
/** The connection of a socket. */
export class OpenConnection extends ConnectionIdentity implements Connection, SocketGuard, Sleeper {
  /** Whether this package speaks with the client in messages. */
  hasFrames = false;
  [kNext]: Sleeper | null = null
  readonly kept: KeptRequest
  readonly #host: ConnectionHost<OpenConnection>
  #socket: GuardedSocket | null
  /** When the connection ends by the clock, in milliseconds since the epoch; `-Infinity` once it has ended, {@link DECIDED} shortly before. */
  #deadline = Infinity
  /** When the sweep wakes the connection, and when it sends the hint to renew, in ticks of the sweep. */
  #wakeTick: number | null = null
  #hintTick: number | null = null
  #bytesRead = -1
  #decision: CloseDecision | null = null
  #traffic: Traffic | null = null // if a limit on it is on

  constructor (socket: GuardedSocket, request: FastifyRequest, identity: VerifiedIdentity, host: ConnectionHost<OpenConnection>) {
    super(identity)
    this.#host = host
    this.#socket = socket
    this.kept = new KeptRequest(request)
  }

  get endsAt (): number | null {
    return Number.isFinite(this.#deadline) && !this.isEnded ? this.#deadline : null
  }

  get socket (): WebSocket | null {
    return this.#socket
  }

  get isGone (): boolean {
    return this.#deadline === -Infinity
  }

  /** Also if its end was decided, and follows soon. */
  get isEnded (): boolean {
    return this.#deadline < 0
  }

  /** Guards the socket, and schedules the end. @param hasFrames whether this package speaks with the client in messages */
  start (hasFrames: boolean): void {
    guard(this.#socket as GuardedSocket, this)
    this.hasFrames = hasFrames
    if (this.hasFrames) this.#host.renewals.attach(this)
    this.#traffic = this.#host.watch(this, this.#socket as GuardedSocket)
    this.#setTimes()
    this.#sleep()
  }

  /** The handler has run. */
  letGo (): void {
    this.#host.letGo(this.kept, this.hasFrames)
  }

  async renew (token: string): Promise<FastifyRequest['user']> {
    if (typeof token !== 'string') throw new TypeError('"token" must be a string')
    const { renewals, route } = this.#host
    return await renewals.renew(this, this.kept, route, { token, source: 'message' })
  }

  /** Takes over the identity of a renewal or a recheck. A renewal never shortens a connection; if a recheck does, `in-band/early-ends.ts` ends it. */
  override become (identity: VerifiedIdentity): void {
    const { claims, expiresAt } = this
    super.become(identity)
    this.#host.onChanged(this, claims)
    this.#setTimes(expiresAt !== this.expiresAt || claims?.iat !== this.claims?.iat)
  }

  send (data: Sendable): boolean {
    const socket = this.#socket
    if (socket === null || this.isEnded) return false
    socket.send(data)
    return !this.isEnded && socket.readyState === WebSocket.OPEN
  }

  close (code = 1000, reason = ''): void {
    this.#socket?.close(code, reason)
  }

  /** Sends a frame of this package, if the client speaks them. */
  tell (frame: string): void {
    if (this.hasFrames && !this.isEnded && this.#socket !== null) sendSafely(this.#socket, frame)
  }

  /** Closes the connection. @param kind a code, or a kind of code of the route. @param text the text of the close frame. Default: the reason. @param order the command that ends it. An earlier {@link decide} counts in place of all */
  closeFor (reason: CloseReason, kind: CloseKind | number, text: string = reason, order: CloseOrder | null = null): void {
    const { code = kind, text: words = this.#decision?.reason ?? text } = this.#decision ?? {}
    this.#end(reason, () => { if (this.#socket !== null) closeSafely(this.#socket, typeof code === 'number' ? code : this.#host.route.closeCodes[code], words) }, order)
  }

  /** Decides that the connection ends: from now on no message reaches the app or the client. `closeDecided` is to follow. */
  decide (decision: CloseDecision): void {
    this.#decision = decision
    this.#deadline = DECIDED
  }

  get wasDecided (): boolean {
    return this.#decision !== null
  }

  /** Closes the connection as it was decided. */
  closeDecided (): void {
    if (this.#decision === null || this.isGone) return
    const { reason, code, farewell } = this.#decision
    if (farewell !== undefined) {
      this.#deadline = Infinity
      this.tell(farewell)
      if (!this.isGone) this.#deadline = DECIDED // `send` of a class of the app may have closed it
    }
    this.closeFor(reason, code)
  }

  /** Ends the connection without a closing handshake, because the client does not answer. */
  terminateFor (reason: CloseReason): void {
    this.#end(reason, () => { if (this.#socket !== null) terminateSafely(this.#socket) })
  }

  /** Ends the connection if its deadline has passed, because after a blocked event loop messages are read before timers. @returns whether it has ended */
  endIfDue (now = Date.now()): boolean {
    if (now < this.#deadline) return false
    if (this.isEnded) return true
    this.closeFor(isTooOld(this, this.#host, now) ? 'lifetime_exceeded' : 'token_expired', 'unauthorized')
    return true
  }

  wake (): void {
    this.#wakeTick = null
    if (this.endIfDue()) return
    if (this.#hintTick !== null && this.#host.sweep.isDue(this.#hintTick)) {
      this.#hintTick = null
      this.tell(authRenew(this.expiresAt as number))
    }
    // `send` of a class of the app may have closed the connection.
    if (this.isEnded) return
    // After a blocked event loop, a timer runs before the messages that have arrived are read, and an immediate runs after it.
    if (this.#traffic?.isIdle() === true) setImmediate(() => this.#endIfIdle())
    else this.#sleep()
  }

  /**
   * Sends a ping. If nothing came since the last one, the client is gone, unless the app has paused the socket: then the number of
   * bytes is known only some time after it resumes. The same holds if the client has to wait because of a limit.
   */
  beat (): void {
    const bytesRead = this.#socket?.isPaused === false && this.#traffic?.isReading !== false ? bytesReadFrom(this.#socket) : undefined
    if (bytesRead !== undefined && bytesRead === this.#bytesRead) return this.terminateFor('heartbeat')
    this.#bytesRead = bytesRead ?? -1
    if (this.#socket !== null && !pingSafely(this.#socket)) this.terminateFor('error')
  }

  admitMessage (data: RawData, isBinary: boolean): boolean {
    const now = this.#traffic === null ? Date.now() : this.#traffic.takeClock()
    if (this.endIfDue(now) || (this.hasFrames && !isBinary && takeFrame(data as Buffer, this, this.#socket, this.kept, this.#host))) return false
    return this.#traffic === null || this.#traffic.admit(data, isBinary, now)
  }

  /** Counts a message that was read before the connection was open, for the limits on messages. */
  countEarlier (length: number): void {
    this.#traffic?.countEarlier(length)
  }

  admitSend (): boolean {
    return isFar(this.#deadline) || !this.endIfDue(readClock())
  }

  admitControl (): boolean {
    return !this.endIfDue()
  }

  admitError (): boolean {
    return true
  }

  onClosing (by: Closer): void {
    this.#end(by)
  }

  onClosed (): void {
    try {
      this.#end('lost')
    } finally {
      this.#socket = null
      this.kept.forget()
    }
  }

  #endIfIdle (): void {
    if (this.isEnded) return
    if (this.#traffic?.isIdle() === true) this.closeFor('idle', GOING_AWAY)
    else this.#sleep()
  }

  /** Ends the connection, once. The socket is closed even if the logger of the app throws. */
  #end (reason: CloseReason, close: () => void = () => {}, order: CloseOrder | null = null): void {
    if (this.isGone) return
    this.#deadline = -Infinity
    if (this.#wakeTick !== null) this.#host.sweep.forget()
    this.#traffic?.stop()
    try {
      this.#host.onEnd(this, this.kept, this.#decision?.reason ?? reason, this.#decision?.order ?? order)
    } finally {
      close()
    }
  }

  /** @param isOfNewToken else a recheck has brought claims of the same token again, whose hint is planned or was sent */
  #setTimes (isOfNewToken = true): void {
    this.#deadline = endOf(this, this.#host)
    if (isOfNewToken) this.#hintTick = hintTickOf(this, this.#host, this.#wakeTick)
  }

  /**
   * Sleeps until the deadline, the hint or the expiry, and for a second at most in the grace period, because no renewal can have
   * an earlier hint. A connection that wakes too early sleeps again.
   */
  #sleep (): void {
    const nextAt = Math.min(this.#deadline, nextRenewalOf(this), this.#traffic?.idleAt ?? Infinity)
    if (nextAt === Infinity) return
    const { sweep } = this.#host
    this.#wakeTick = Math.min(sweep.tickAt(nextAt), this.#hintTick ?? Infinity)
    sweep.add(this, this.#wakeTick)
  }
}
