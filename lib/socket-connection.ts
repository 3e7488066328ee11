/*
 * One authenticated socket: who is behind it, since when, and until when. It ends once, whoever ends it, and from that
 * moment on nothing that the other side sends reaches the app.
 */
import { randomFillSync } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { RawData } from 'ws'
import type { Claims } from './claims'
import type { CloseReason, Connection, Identity } from './connection'
import type { TokenSource } from './credentials'
import type { CloseKind } from './errors'
import { kNext, TICK } from './expiry'
import type { Sleeper, Sweep } from './expiry'
import { AUTH_RENEW, isAuthFrame } from './frames'
import type { CompleteRouteOptions } from './options'
import { guard } from './socket'
import type { Closer, GuardedSocket, SocketGuard } from './socket'

/** What the connections of a route have in common. */
export interface ConnectionKeeper {
  readonly route: CompleteRouteOptions
  readonly sweep: Sweep
  /** How long a connection outlives its token, in milliseconds. */
  readonly grace: number
  /** Whether auth frames are ours. */
  readonly hasFrames: boolean
  /** It has ended, and is to be told goodbye. */
  onEnd (connection: SocketConnection, request: FastifyRequest, reason: CloseReason): void
  /** The other side sent an auth frame. */
  onAuthFrame (connection: SocketConnection, socket: GuardedSocket, request: FastifyRequest, frame: Buffer): void
  renew (connection: SocketConnection, request: FastifyRequest | null, token: string): Promise<FastifyRequest['user']>
}

/** The connection of a socket. */
export class SocketConnection implements Connection, SocketGuard, Sleeper {
  readonly id: string = createId()
  readonly openedAt: number = Date.now()
  user: FastifyRequest['user'] | null
  claims: Claims | null
  readonly source: TokenSource | null
  expiresAt: number | null;
  [kNext]: Sleeper | null = null
  readonly #keeper: ConnectionKeeper
  #socket: GuardedSocket | null
  #request: FastifyRequest | null
  /** When it ends by the clock, in milliseconds since the epoch; in the past once it has ended. */
  #deadline = Infinity
  /** When the sweep wakes it, and when the other side is told to renew, in ticks of the sweep. */
  #wakeTick: number | null = null
  #hintTick: number | null = null
  #bytesRead = -1

  constructor (socket: GuardedSocket, request: FastifyRequest, { user, claims, source, expiresAt }: Identity, keeper: ConnectionKeeper) {
    this.user = user
    this.claims = claims
    this.source = source
    this.expiresAt = expiresAt
    this.#keeper = keeper
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
    this.#setTimes()
    this.#sleep()
  }

  async renew (token: string): Promise<FastifyRequest['user']> {
    if (typeof token !== 'string') throw new TypeError('"token" must be a string')
    return await this.#keeper.renew(this, this.#request, token)
  }

  /** What a renewal changes. It does not have to be woken earlier for it: its token is not older. */
  assume ({ user, claims, expiresAt }: Identity): void {
    this.user = user
    this.claims = claims
    this.expiresAt = expiresAt
    this.#setTimes()
  }

  close (code = 1000, reason = ''): void {
    this.#socket?.close(code, reason)
  }

  /** Closes it for a reason of ours, which the other side learns, with the code that the route has for it or with another. */
  closeFor (reason: CloseReason, kind: CloseKind | number): void {
    const code = typeof kind === 'number' ? kind : this.#keeper.route.closeCodes[kind]
    this.#end(reason, () => this.#socket?.close(code, reason))
  }

  /** Ends it without a closing handshake: there is nobody to shake hands with. */
  terminateFor (reason: CloseReason): void {
    this.#end(reason, () => this.#socket?.terminate())
  }

  /** Whether its time is over. A timer alone could not tell: what came while the loop was blocked is read before it runs. */
  hasLapsed (): boolean {
    const now = Date.now()
    if (now < this.#deadline) return false
    const isOld = this.#lifetimeEnd <= now && this.#lifetimeEnd < this.#expiryEnd
    this.closeFor(isOld ? 'lifetime_exceeded' : 'token_expired', 'unauthorized')
    return true
  }

  wake (): void {
    this.#wakeTick = null
    if (this.hasLapsed()) return
    if (this.#hintTick !== null && this.#keeper.sweep.isDue(this.#hintTick)) {
      this.#hintTick = null
      this.#socket?.send(AUTH_RENEW)
    }
    this.#sleep()
  }

  /**
   * Pings it. One from which nothing came since the last time has gone, unless the app itself did not read from it: what
   * came meanwhile is only known some time after it reads again.
   */
  beat (): void {
    const bytesRead = this.#socket?.isPaused === false ? this.#request?.raw.socket?.bytesRead : undefined
    if (bytesRead !== undefined && bytesRead === this.#bytesRead) return this.terminateFor('heartbeat')
    this.#bytesRead = bytesRead ?? -1
    this.#socket?.ping()
  }

  admitMessage (data: RawData, isBinary: boolean): boolean {
    if (this.hasLapsed()) return false
    if (!this.#keeper.hasFrames || isBinary || !isAuthFrame(data as Buffer)) return true
    if (this.#socket !== null && this.#request !== null) this.#keeper.onAuthFrame(this, this.#socket, this.#request, data as Buffer)
    return false
  }

  admitControl (): boolean {
    return !this.hasLapsed()
  }

  admitError (): boolean {
    return true
  }

  onClosing (by: Closer): void {
    this.#end(by)
  }

  onClosed (): void {
    this.#end('lost')
    this.#socket = null
    this.#request = null
  }

  get #expiryEnd (): number {
    return this.expiresAt === null ? Infinity : this.expiresAt + this.#keeper.grace
  }

  get #lifetimeEnd (): number {
    return this.openedAt + this.#keeper.route.maxLifetime
  }

  /** Ends it, once. The socket is closed even where the app's own logger throws. */
  #end (reason: CloseReason, close: () => void = () => {}): void {
    if (this.isEnded) return
    this.#deadline = -Infinity
    if (this.#wakeTick !== null) this.#keeper.sweep.forget()
    try {
      if (this.#request !== null) this.#keeper.onEnd(this, this.#request, reason)
    } finally {
      close()
    }
  }

  #setTimes (): void {
    this.#deadline = Math.min(this.#expiryEnd, this.#lifetimeEnd)
    this.#hintTick = this.#pickHint()
  }

  /** One that sleeps for longer than it should is put back when it wakes. */
  #sleep (): void {
    if (this.#deadline === Infinity) return
    const { sweep } = this.#keeper
    this.#wakeTick = this.#hintTick ?? sweep.tickAt(this.#deadline)
    sweep.add(this, this.#wakeTick)
  }

  /**
   * At random within the first three quarters of the last fifth of the token's life, so that what was issued in one second
   * is not renewed in one second; later for who comes later, or sleeps until then. Never where a renewal gains nothing.
   */
  #pickHint (): number | null {
    const { expiresAt, claims } = this
    if (!this.#keeper.hasFrames || expiresAt === null || this.#lifetimeEnd <= this.#expiryEnd) return null
    const { sweep } = this.#keeper
    const now = Date.now()
    const life = expiresAt - (claims?.iat === undefined ? now : claims.iat * 1000)
    const last = expiresAt - life / 20
    const from = Math.max(expiresAt - life / 5, now, this.#wakeTick === null ? now : sweep.instantOf(this.#wakeTick))
    const to = from < last ? last : from + (expiresAt - from) * 3 / 4
    // A tick is rounded up.
    return sweep.tickAt(from + Math.random() * Math.max(to - from - TICK, 0))
  }
}

const ID_BYTES = 16
const random = Buffer.allocUnsafeSlow(ID_BYTES * 128)
let used = random.length

/** `randomUUID` costs 0.5 us more, and 450 bytes: its string is kept in the 15 pieces that it was made of. */
function createId (): string {
  if (used === random.length) {
    randomFillSync(random)
    used = 0
  }
  used += ID_BYTES
  return random.toString('base64url', used - ID_BYTES, used)
}
