/*
 * Takes this instance out of service: it admits no connection any more, and closes those that are open over a time, so that their
 * clients come to the other instances at an even rate.
 */
import type { FastifyInstance } from 'fastify'
import { WebSocket } from 'ws'
import type { WebSocketServer } from 'ws'
import { quietLog } from '../base/quiet-log'
import type { QuietLog } from '../base/quiet-log'
import { retryWithin } from './auth-frames'
import { draining } from './limits'
import type { Limits } from './limits'
import { OpenConnection } from './open-connection'
import type { ConnectionRegistry } from './registry'
import { closeSafely } from './safe-calls'
import { kGuard } from './socket-guard'
import type { GuardedSocket } from './socket-guard'
import { Spread } from './spread'
import type { CompleteDrain } from '../options/read-drain'

/** The time in which a client comes back, in milliseconds: the closes are spread already. */
const RETRY = 1000

/** The result of a drain. */
export interface DrainResult {
  /** How many connections it closed, those of public routes included. Others may have ended meanwhile by themselves. */
  readonly closed: number
}

/** A guarded connection, or the socket of a public route. */
type Leaver = OpenConnection | WebSocket

/** The drain of an app. It is never undone. */
export class Drain {
  readonly #connections: ConnectionRegistry
  readonly #limits: Limits
  readonly #log: QuietLog
  #server: WebSocketServer | null = null
  #spread: Spread<Leaver> | null = null
  #result: Promise<DrainResult> | null = null
  #closed = 0
  #isHurried = false

  constructor (app: FastifyInstance, connections: ConnectionRegistry, limits: Limits) {
    this.#connections = connections
    this.#limits = limits
    this.#log = quietLog(app.log)
  }

  /** @fastify/websocket is registered: from now on there are sockets to close. */
  attach (server: WebSocketServer): void {
    this.#server = server
  }

  /** How many connections are still to be closed; 0 if there is no drain. */
  get left (): number {
    return this.#spread?.left ?? 0
  }

  /** @throws WsAuthError `WS_AUTH_BUSY` from the beginning of a drain on */
  assertNone (): void {
    if (this.#limits.isDraining) throw draining()
  }

  /** Admits no handshake any more. */
  begin (): void {
    this.#limits.isDraining = true
  }

  /** Closes all connections over a time. If a drain is under way, it closes what is left now. */
  async run ({ within, code, reason }: CompleteDrain): Promise<DrainResult> {
    this.begin()
    if (this.#result !== null) this.hurry()
    return await (this.#result ??= this.#close(within, code, reason))
  }

  async #close (within: number, code: number, reason: string): Promise<DrainResult> {
    const leavers: Leaver[] = [...this.#connections]
    for (const socket of this.#server?.clients ?? []) if ((socket as GuardedSocket)[kGuard] == null) leavers.push(socket)
    this.#log.info({ connections: leavers.length, within }, 'the websocket connections are drained')
    this.#spread = new Spread(leavers, { within: this.#isHurried ? 0 : within, isOpen, close: (leaver) => this.#closeOne(leaver, code, reason) })
    await this.#spread.done
    this.#log.info({ closed: this.#closed }, 'the websocket connections were drained')
    return { closed: this.#closed }
  }

  #closeOne (leaver: Leaver, code: number, reason: string): void {
    if (!(leaver instanceof OpenConnection)) {
      this.#closed++
      return closeSafely(leaver, code, reason)
    }
    // It was revoked, and waits for its slice.
    if (leaver.isEnded) return
    this.#closed++
    try {
      leaver.tell(retryWithin(RETRY))
      leaver.closeFor('drain', code, reason)
    } catch (error) {
      this.#log.error({ err: error }, 'closing a websocket connection failed')
    }
  }

  /** Closes what is left of a drain now, or all once it begins. */
  hurry (): void {
    this.#isHurried = true
    this.#spread?.hurry()
  }
}

function isOpen (leaver: Leaver): boolean {
  return leaver instanceof OpenConnection ? !leaver.isGone : leaver.readyState === WebSocket.OPEN
}
