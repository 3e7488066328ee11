/*
 * Authentication by the first message: one text frame, with an absolute deadline and a small limit. The app does not see the
 * socket before the token was accepted. Later messages are kept in order for the handler.
 */
import { AsyncResource } from 'node:async_hooks'
import { WebSocket } from 'ws'
import type { RawData } from 'ws'
import type { Audit } from '../audit/audit'
import { Authentication } from '../authentication/authentication'
import { authorize } from '../authentication/authorization'
import { checkTicketUser, TOKEN_STEPS, USER_STEPS } from '../authentication/checks'
import { useFrameTicket } from '../authentication/ticket-use'
import type { AuthenticationContext } from '../authentication/authentication'
import { Backlog } from './backlog'
import type { Message } from './backlog'
import { WsAuthError } from '../base/errors'
import type { AuthFrame } from '../connection/auth-frames'
import { closeFrameOf, GOING_AWAY } from '../base/close-codes'
import type { CloseFrame } from '../base/close-codes'
import type { ConnectionLifecycle } from '../connection/lifecycle'
import type { Limits } from '../connection/limits'
import { takeUserSlot } from '../connection/user-slots'
import type { UserSlotsContext } from '../connection/user-slots'
import type { SetUser } from '../authentication/identity'
import { closeSafely, terminateSafely } from '../connection/safe-calls'
import { lengthOf } from '../connection/message-meter'
import { guard } from '../connection/socket-guard'
import type { Closer, SocketGuard } from '../connection/socket-guard'
import { isReadingMore, limitMessages } from '../connection/ws-internals'
import { runSteps } from '../authentication/steps'
import type { Step } from '../authentication/steps'
import { isThenable } from '../base/thenable'
import { callHandler } from './call-handler'
import { readFirstToken } from './first-token'
import type { Waiting, WaitingEvents } from './waiting'

const STEPS: ReadonlyArray<Step<Authentication, AuthenticationContext & UserSlotsContext>> = [useFrameTicket, ...TOKEN_STEPS, checkTicketUser, ...USER_STEPS, authorize, takeUserSlot]

/**
 * How many messages, and bytes, are kept behind the first while its token is verified. The socket is paused meanwhile. Only
 * decompressed messages can be longer than the chunk that they came in.
 */
const MAX_KEPT = 1024
const MAX_KEPT_BYTES = 2 ** 20

/** The objects that first messages work with. */
export interface FirstMessageDependencies {
  readonly context: AuthenticationContext & UserSlotsContext
  readonly limits: Limits
  readonly audit: Audit
  readonly lifecycle: ConnectionLifecycle
  readonly setUser: SetUser
}

/** Guards a socket until its first message has been accepted. */
export class FirstMessage implements SocketGuard {
  readonly #waiting: Waiting
  readonly #dependencies: FirstMessageDependencies
  readonly #events: WaitingEvents
  /** The longest message of the app, and the longest first message. */
  readonly #maxPayload: number
  readonly #maxBytes: number
  readonly #timer: NodeJS.Timeout
  /** The message arrives in the async context of the socket, but `verify` and the handler may read the AsyncLocalStorage of the request. */
  readonly #context = new AsyncResource('fastify-ws-auth.first-message', { requireManualDestroy: true })
  #state: 'waiting' | 'verifying' | 'settled' = 'waiting'
  #attempt: Authentication | null = null
  /** The auth frame that the client has sent; `null` for a message of another protocol. */
  #frame: AuthFrame | null = null
  #kept: Message[] = []
  #keptBytes = 0

  constructor (waiting: Waiting, dependencies: FirstMessageDependencies, events: WaitingEvents) {
    this.#waiting = waiting
    this.#dependencies = dependencies
    this.#events = events
    const { socket, source } = waiting
    this.#maxPayload = limitMessages(socket, source.maxBytes)
    this.#maxBytes = this.#maxPayload === 0 ? source.maxBytes : Math.min(source.maxBytes, this.#maxPayload)
    limitMessages(socket, this.#maxBytes)
    this.#timer = setTimeout(() => this.onDeadline(), source.timeout).unref()
    guard(socket, this)
  }

  /** When the client must have sent its message, in milliseconds since the epoch; `Infinity` once it has, or is gone. */
  get deadline (): number {
    return this.#state === 'waiting' ? this.#waiting.startedAt + this.#waiting.source.timeout : Infinity
  }

  admitMessage (data: RawData, isBinary: boolean): boolean {
    if (this.#state === 'waiting') this.#context.runInAsyncScope(() => this.#read(data, isBinary))
    else if (this.#state === 'verifying') this.#keep(data, isBinary)
    return false
  }

  /** The app has not seen the socket. */
  admitSend (): boolean {
    return true
  }

  admitControl (): boolean {
    return false
  }

  /** ws closes the socket after an error. The app has not seen the socket. */
  admitError (error: Error): boolean {
    this.#refuse(new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: error }))
    return false
  }

  /** An error is emitted after it has closed the socket. */
  onClosing (by: Closer): void {
    if (by !== 'error') this.#abandon()
  }

  onClosed (): void {
    this.#abandon()
    this.#events.onGone()
  }

  /** Closes the socket: the server is closing. */
  shutDown (): void {
    this.#abandon()
    this.#close(GOING_AWAY, 'shutdown')
  }

  /** Ends the socket without a closing handshake. */
  terminate (): void {
    terminateSafely(this.#waiting.socket)
  }

  #read (data: RawData, isBinary: boolean): void {
    const { socket, request, route } = this.#waiting
    this.#state = 'verifying'
    const first = readFirstToken(this.#waiting.source, data as Buffer, isBinary, this.#maxBytes)
    if (first instanceof WsAuthError) return this.#refuse(first)
    this.#frame = first.frame
    if (this.#waiting.source.deliver) this.#kept.push([data, isBinary])
    limitMessages(socket, this.#maxPayload)
    const attempt = this.#attempt = new Authentication(request, route, first.credential)
    attempt.takeTicket(this.#waiting)
    const outcome = runSteps(attempt, this.#dependencies.context, STEPS)
    if (!isThenable(outcome)) return this.#settle(attempt, outcome)
    socket.pause()
    const most = this.#maxPayload === 0 ? MAX_KEPT_BYTES : Math.min(this.#maxPayload, MAX_KEPT_BYTES)
    limitMessages(socket, this.#maxPayload, most)
    void outcome.then((refusal) => this.#settle(attempt, refusal))
  }

  #keep (data: RawData, isBinary: boolean): void {
    this.#keptBytes += lengthOf(data)
    if (this.#kept.length < MAX_KEPT && this.#keptBytes <= MAX_KEPT_BYTES) this.#kept.push([data, isBinary])
    else this.#refuse(new WsAuthError('WS_AUTH_LIMIT', { cause: 'messages behind the first' }))
  }

  onDeadline (): void {
    if (this.#isLeaving) return this.terminate()
    this.#refuse(this.#state === 'waiting'
      ? new WsAuthError('WS_AUTH_TIMEOUT', { cause: 'no first message came within token.message.timeout' })
      : new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new Error('the verification took longer than token.message.timeout') }))
  }

  #settle (attempt: Authentication, refusal: WsAuthError | null): void {
    // The wait was ended after the slot was taken, and before this turn came here.
    if (this.#state === 'settled') return attempt.slot?.release()
    const verdict = refusal ?? this.#dependencies.limits.refusalOfSlot(attempt.sub) ?? this.#dependencies.setUser(this.#waiting.request, attempt.user)
    if (verdict !== null || this.#isLeaving) attempt.slot?.release()
    if (verdict !== null) return this.#refuse(verdict)
    if (this.#isLeaving) return this.terminate()
    this.#stopWaiting()
    this.#accept(attempt)
  }

  /** Whether the client has closed its half. If it does not read, our half would stay open for ever. */
  get #isLeaving (): boolean {
    return this.#waiting.socket.readyState !== WebSocket.OPEN
  }

  #stopWaiting (): void {
    this.#state = 'settled'
    clearTimeout(this.#timer)
    this.#events.onSettled()
  }

  /** Ends the wait without a result, and aborts the verification. */
  #abandon (): void {
    if (this.#state === 'settled') return
    this.#stopWaiting()
    this.#attempt?.abort()
    this.#kept = []
  }

  #refuse (refusal: WsAuthError): void {
    if (this.#state === 'settled') return
    const { request, route, startedAt } = this.#waiting
    this.#abandon()
    // A deadline and an error of the socket come in other async contexts. A subscriber of the event may read the AsyncLocalStorage too.
    this.#context.runInAsyncScope(() => this.#dependencies.audit.refused(request, refusal, this.#attempt, { purpose: 'connection', route, startedAt }))
    this.#dependencies.setUser(request, null)
    // A refusal by `verify` may have no close code.
    const { code, reason } = closeFrameOf(refusal.code, route.closeCodes) ?? closeFrameOf('WS_AUTH_UNAVAILABLE', route.closeCodes) as CloseFrame
    this.#close(code, reason)
  }

  /** Reads the answer to the close frame, but no long message before it, which may have begun under a higher limit. */
  #close (code: number, reason: string): void {
    const { socket } = this.#waiting
    if (!this.#isLeaving && isReadingMore(socket, this.#maxBytes)) return this.terminate()
    limitMessages(socket, this.#maxBytes)
    socket.resume()
    closeSafely(socket, code, reason)
  }

  /** Calls the handler in this turn of the event loop, before more is read from the client. */
  #accept (attempt: Authentication): void {
    const { socket, request, route, startedAt } = this.#waiting
    this.#events.onGone()
    limitMessages(socket, this.#maxPayload)
    const connection = this.#dependencies.lifecycle.open(socket, request, attempt, route, startedAt, this.#frame)
    socket.resume()
    if (connection.isEnded) return
    const backlog = new Backlog(socket, connection, this.#kept)
    backlog.hold()
    const { isAsync, hasFailed } = callHandler(() => this.#events.onOpen(connection))
    const finish = (): void => {
      if (hasFailed()) backlog.drop()
      else backlog.deliver()
    }
    // After a microtask it is known whether an async handler has failed at once. If a handler has thrown, its socket was ended.
    if (isAsync || hasFailed()) queueMicrotask(finish)
    else finish()
  }
}
