/*
 * One authenticated socket: who is behind it, since when, and until when. It ends once, whoever ends it, and from that
 * moment on nothing that the other side sends reaches the app.
 */
import type { FastifyRequest } from 'fastify'
import type { RawData } from 'ws'
import type { Claims } from '../token/claims'
import type { CloseReason } from '../base/close-codes'
import type { Identity } from '../authentication/identity'
import type { Connection } from './connection'
import { createId } from '../base/id'
import type { TokenSource } from '../credentials/found'
import type { CloseKind } from '../base/errors'
import { kNext, TICK } from './sweep'
import type { Sleeper, Sweep } from './sweep'
import { AUTH_RENEW, readAuthFrame } from './auth-frames'
import type { AuthFrame } from './auth-frames'
import { pickHint } from './renewal-hint'
import type { CompleteRouteOptions } from '../options/complete-options'
import { closeSafely, pingSafely, sendSafely, terminateSafely } from './safe-calls'
import { guard } from './socket-guard'
import type { Closer, GuardedSocket, SocketGuard } from './socket-guard'

/** Renews connections; see `renewal.ts`. */
export interface ConnectionRenewals {
  /** @throws WsAuthError where it is refused. The request is `null` once the socket has gone */
  renew (connection: OpenConnection, request: FastifyRequest | null, route: CompleteRouteOptions, token: string): Promise<FastifyRequest['user']>
  /** Auth frames are ours on this connection: what they ask for is done in the context of its request. */
  attach (connection: OpenConnection): void
  /** The connection has ended: a renewal of it that is under way is not waited for. */
  abort (connection: OpenConnection): void
  /** The other side sent an auth frame. */
  onFrame (connection: OpenConnection, socket: GuardedSocket, request: FastifyRequest, route: CompleteRouteOptions, frame: AuthFrame): void
}

/** What the connections of a route have in common. */
export interface ConnectionHost {
  readonly route: CompleteRouteOptions
  readonly sweep: Sweep
  readonly renewals: ConnectionRenewals
  /** How long a connection outlives the `exp` of its token, in milliseconds. */
  readonly grace: number
  /** Until when a connection of these claims may last by their age, in milliseconds since the epoch. */
  endByAge (claims: Claims): number
  /** Whether auth frames are ours. */
  readonly hasFrames: boolean
  /** The longest auth frame, in bytes. */
  readonly maxFrameBytes: number
  /** Its claims are others than before. */
  onChanged (connection: OpenConnection, before: Claims | null): void
  /** It has ended. */
  onEnd (connection: OpenConnection, request: FastifyRequest, reason: CloseReason): void
}

/** How often a connection is looked after in its grace, in milliseconds: what renews it then may want an early hint. */
const GRACE_STEP = 1000

/** The connection of a socket. */
export class OpenConnection implements Connection, SocketGuard, Sleeper {
  readonly id: string = createId()
  readonly openedAt: number = Date.now()
  user: FastifyRequest['user'] | null
  claims: Claims | null
  readonly source: TokenSource | null
  expiresAt: number | null;
  [kNext]: Sleeper | null = null
  readonly #host: ConnectionHost
  #socket: GuardedSocket | null
  #request: FastifyRequest | null
  /** When it ends by the clock, in milliseconds since the epoch; in the past once it has ended. */
  #deadline = Infinity
  /** When the sweep wakes it, and when the other side is told to renew, in ticks of the sweep. */
  #wakeTick: number | null = null
  #hintTick: number | null = null
  #bytesRead = -1

  constructor (socket: GuardedSocket, request: FastifyRequest, { user, claims, source, expiresAt }: Identity, host: ConnectionHost) {
    this.user = user
    this.claims = claims
    this.source = source
    this.expiresAt = expiresAt
    this.#host = host
    this.#socket = socket
    this.#request = request
  }

  get sub (): string | null {
    return this.claims?.sub ?? null
  }

  get isEnded (): boolean {
    return this.#deadline === -Infinity
  }

  /** From now on it decides over the socket, and ends in time. */
  start (): void {
    guard(this.#socket as GuardedSocket, this)
    if (this.#host.hasFrames) this.#host.renewals.attach(this)
    this.#setTimes()
    this.#sleep()
  }

  async renew (token: string): Promise<FastifyRequest['user']> {
    if (typeof token !== 'string') throw new TypeError('"token" must be a string')
    const { renewals, route } = this.#host
    return await renewals.renew(this, this.#request, route, token)
  }

  /** What a renewal changes. It does not have to be woken earlier for it: its token is not older. */
  become ({ user, claims, expiresAt }: Identity): void {
    const before = this.claims
    this.user = user
    this.claims = claims
    this.expiresAt = expiresAt
    this.#host.onChanged(this, before)
    this.#setTimes()
  }

  close (code = 1000, reason = ''): void {
    this.#socket?.close(code, reason)
  }

  /**
   * Closes it for a reason of ours, with the code that the route has for it or with another.
   *
   * @param text what the other side learns, where that is not the reason
   */
  closeFor (reason: CloseReason, kind: CloseKind | number, text: string = reason): void {
    const code = typeof kind === 'number' ? kind : this.#host.route.closeCodes[kind]
    this.#end(reason, () => { if (this.#socket !== null) closeSafely(this.#socket, code, text) })
  }

  /** Ends it without a closing handshake: there is nobody to shake hands with. */
  terminateFor (reason: CloseReason): void {
    this.#end(reason, () => { if (this.#socket !== null) terminateSafely(this.#socket) })
  }

  /**
   * Ends it if its time is over, and answers whether it has ended. A timer alone could not tell: what came while the loop
   * was blocked is read before it runs.
   */
  endIfDue (): boolean {
    const now = Date.now()
    if (now < this.#deadline) return false
    const isOld = this.#lifetimeEnd <= now && this.#lifetimeEnd < this.#expiryEnd
    this.closeFor(isOld ? 'lifetime_exceeded' : 'token_expired', 'unauthorized')
    return true
  }

  wake (): void {
    this.#wakeTick = null
    if (this.endIfDue()) return
    if (this.#hintTick !== null && this.#host.sweep.isDue(this.#hintTick)) {
      this.#hintTick = null
      if (this.#socket !== null) sendSafely(this.#socket, AUTH_RENEW)
    }
    // A class of the app may do anything in its `send`.
    if (!this.isEnded) this.#sleep()
  }

  /**
   * Pings it. One from which nothing came since the last time has gone, unless the app itself did not read from it: what
   * came meanwhile is only known some time after it reads again.
   */
  beat (): void {
    const bytesRead = this.#socket?.isPaused === false ? this.#request?.raw.socket?.bytesRead : undefined
    if (bytesRead !== undefined && bytesRead === this.#bytesRead) return this.terminateFor('heartbeat')
    this.#bytesRead = bytesRead ?? -1
    if (this.#socket !== null && !pingSafely(this.#socket)) this.terminateFor('error')
  }

  admitMessage (data: RawData, isBinary: boolean): boolean {
    if (this.endIfDue()) return false
    const { hasFrames, maxFrameBytes, renewals, route } = this.#host
    if (!hasFrames || isBinary) return true
    const frame = readAuthFrame(data as Buffer, maxFrameBytes)
    if (frame === null) return true
    if (this.#socket !== null && this.#request !== null) renewals.onFrame(this, this.#socket, this.#request, route, frame)
    return false
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
      this.#request = null
    }
  }

  get #expiryEnd (): number {
    if (this.expiresAt === null) return Infinity
    return Math.min(this.expiresAt + this.#host.grace, this.claims === null ? Infinity : this.#host.endByAge(this.claims))
  }

  get #lifetimeEnd (): number {
    return this.openedAt + this.#host.route.maxLifetime
  }

  /** Ends it, once. The socket is closed even where the app's own logger throws. */
  #end (reason: CloseReason, close: () => void = () => {}): void {
    if (this.isEnded) return
    this.#deadline = -Infinity
    if (this.#wakeTick !== null) this.#host.sweep.forget()
    try {
      if (this.#request !== null) this.#host.onEnd(this, this.#request, reason)
    } finally {
      close()
    }
  }

  #setTimes (): void {
    this.#deadline = Math.min(this.#expiryEnd, this.#lifetimeEnd)
    this.#hintTick = this.#pickHintTick()
  }

  /**
   * One that sleeps for less than it could is put back when it wakes. It wakes when the token expires at the latest, and in
   * its grace every second: until then no renewal can have a hint that is due earlier.
   */
  #sleep (): void {
    if (this.#deadline === Infinity) return
    const { sweep } = this.#host
    const tick = sweep.tickAt(Math.min(this.#deadline, this.#nextRenewal))
    this.#wakeTick = this.#hintTick === null ? tick : Math.min(tick, this.#hintTick)
    sweep.add(this, this.#wakeTick)
  }

  get #nextRenewal (): number {
    if (!this.#host.hasFrames || this.expiresAt === null) return Infinity
    return Math.max(this.expiresAt, Date.now() + GRACE_STEP)
  }

  /** Never where a renewal gains nothing, and not while the sweep lets it sleep. */
  #pickHintTick (): number | null {
    const { expiresAt, claims } = this
    const { sweep, hasFrames } = this.#host
    if (!hasFrames || expiresAt === null || this.#lifetimeEnd <= this.#expiryEnd) return null
    const now = Date.now()
    const issuedAt = claims?.iat === undefined || claims.iat * 1000 >= expiresAt ? now : claims.iat * 1000
    const notBefore = this.#wakeTick === null ? now : Math.max(sweep.instantOf(this.#wakeTick), now)
    return sweep.tickAt(pickHint({ issuedAt, expiresAt, notBefore, delay: TICK }))
  }
}
