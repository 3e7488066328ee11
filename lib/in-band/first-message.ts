/*
 * Authentication by the first message: the socket is open, and nobody sees it until that message has come and its token
 * was accepted. One text frame, an absolute deadline, a small limit. What the client sends behind it is kept in order and
 * handed to the handler.
 */
import { AsyncResource } from 'node:async_hooks'
import type { FastifyRequest } from 'fastify'
import { WebSocket } from 'ws'
import type { RawData } from 'ws'
import type { Audit } from '../audit/audit'
import { Authentication } from '../authentication/authentication'
import { authorize } from '../authentication/authorization'
import { checkClaims, checkRevoked, checkTicketUser, readUser, verifyToken } from '../authentication/checks'
import type { AuthenticationContext } from '../authentication/authentication'
import { Backlog } from './backlog'
import type { Message } from './backlog'
import type { Claims } from '../token/claims'
import { WsAuthError } from '../base/errors'
import { authOk, readAuthFrame } from '../connection/auth-frames'
import { closeFrameOf, GOING_AWAY } from '../base/close-codes'
import type { CloseFrame } from '../base/close-codes'
import type { ConnectionLifecycle } from '../connection/lifecycle'
import type { Limits } from '../connection/limits'
import type { CompleteRouteOptions, MessageSource } from '../options/complete-options'
import type { SetUser } from '../authentication/identity'
import type { OpenConnection } from '../connection/open-connection'
import { closeSafely, sendSafely, terminateSafely } from '../connection/safe-calls'
import { guard } from '../connection/socket-guard'
import type { Closer, GuardedSocket, SocketGuard } from '../connection/socket-guard'
import { isReadingMore, limitMessages } from '../connection/ws-internals'
import { runSteps } from '../authentication/steps'
import type { Step } from '../authentication/steps'
import { isThenable } from '../base/thenable'

const STEPS: ReadonlyArray<Step<Authentication, AuthenticationContext>> = [verifyToken, checkTicketUser, checkClaims, checkRevoked, readUser, authorize]

/** How many messages are kept behind the first, while its token is verified. Nothing more is read from the socket then. */
const MAX_KEPT = 1024
/** How many bytes. Only what is inflated can be more than the chunk that it came in. */
const MAX_KEPT_BYTES = 2 ** 20

/** What first messages work with. */
export interface FirstMessageDependencies {
  readonly context: AuthenticationContext
  readonly limits: Limits
  readonly audit: Audit
  readonly lifecycle: ConnectionLifecycle
  readonly setUser: SetUser
}

/** A socket that waits for its first message. */
export interface Waiting {
  readonly socket: GuardedSocket
  readonly request: FastifyRequest
  readonly route: CompleteRouteOptions
  readonly source: MessageSource
  /** Of the ticket that it came with, where one was needed. */
  readonly ticketClaims: Claims | null
  /** When its upgrade was asked for. */
  readonly startedAt: number
}

/** What the waiting room does at the end of a wait. */
export interface WaitingEvents {
  /** The connection is open: the app may see it, and its handler is called. Returns what the handler returns, and throws what it throws. */
  readonly onOpen: (connection: OpenConnection) => unknown
  /** The wait is over: the message was accepted or refused, or the socket is closing. */
  readonly onSettled: () => void
  /** The socket has closed, or its connection is open. */
  readonly onGone: () => void
}

/** Guards a socket until its first message has been accepted. */
export class FirstMessage implements SocketGuard {
  readonly #waiting: Waiting
  readonly #dependencies: FirstMessageDependencies
  readonly #events: WaitingEvents
  /** The longest message of the app, and of who has not authenticated; what is behind the first may be the app's. */
  readonly #maxPayload: number
  readonly #maxBytes: number
  readonly #timer: NodeJS.Timeout
  /** The message comes in a context of the socket: `verify`, the handler and others may read the request's AsyncLocalStorage. */
  readonly #context = new AsyncResource('fastify-ws-auth.first-message', { requireManualDestroy: true })
  #state: 'waiting' | 'verifying' | 'settled' = 'waiting'
  #attempt: Authentication | null = null
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
    this.#timer = setTimeout(() => this.#onDeadline(), source.timeout).unref()
    guard(socket, this)
  }

  admitMessage (data: RawData, isBinary: boolean): boolean {
    if (this.#state === 'waiting') this.#context.runInAsyncScope(() => this.#read(data, isBinary))
    else if (this.#state === 'verifying') this.#keep(data, isBinary)
    return false
  }

  admitControl (): boolean {
    return false
  }

  /** ws closes the socket over it; nobody else has seen the socket yet. */
  admitError (error: Error): boolean {
    this.#refuse(new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: error }))
    return false
  }

  /** An error is told of after it has closed the socket. */
  onClosing (by: Closer): void {
    if (by !== 'error') this.#abandon()
  }

  onClosed (): void {
    this.#abandon()
    this.#events.onGone()
  }

  /** Closes it: the server is closing. */
  shutDown (): void {
    this.#abandon()
    this.#close(GOING_AWAY, 'shutdown')
  }

  /** Ends it without a closing handshake. */
  terminate (): void {
    terminateSafely(this.#waiting.socket)
  }

  #read (data: RawData, isBinary: boolean): void {
    const { socket, request, route, ticketClaims } = this.#waiting
    this.#state = 'verifying'
    const token = isBinary ? null : readAuthFrame(data as Buffer, this.#maxBytes)?.token ?? null
    if (token === null) return this.#refuse(new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'the first message is no auth frame with a token' }))
    limitMessages(socket, this.#maxPayload)
    const attempt = this.#attempt = new Authentication(request, route, { token, source: 'message' })
    attempt.ticketClaims = ticketClaims
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

  #onDeadline (): void {
    if (this.#isLeaving) return this.terminate()
    this.#refuse(this.#state === 'waiting'
      ? new WsAuthError('WS_AUTH_TIMEOUT', { cause: 'no first message came within token.message.timeout' })
      : new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new Error('the verification took longer than token.message.timeout') }))
  }

  #settle (attempt: Authentication, refusal: WsAuthError | null): void {
    if (this.#state === 'settled') return
    const verdict = refusal ?? this.#dependencies.limits.refusalOfSlot(attempt.sub) ?? this.#dependencies.setUser(this.#waiting.request, attempt.user)
    if (verdict !== null) return this.#refuse(verdict)
    if (this.#isLeaving) return this.terminate()
    this.#stopWaiting()
    this.#accept(attempt)
  }

  /** Whether the other side has closed its half, and ours is not closed yet: who does not read could keep it for ever. */
  get #isLeaving (): boolean {
    return this.#waiting.socket.readyState !== WebSocket.OPEN
  }

  /** Nothing is waited for any more. */
  #stopWaiting (): void {
    this.#state = 'settled'
    clearTimeout(this.#timer)
    this.#events.onSettled()
  }

  /** Nor is anybody interested in what the verifier may say. */
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
    this.#dependencies.audit.refused(request, refusal, this.#attempt, startedAt, false)
    this.#dependencies.setUser(request, null)
    // A refusal of `verify` that has no close code is none that a client could be told.
    const { code, reason } = closeFrameOf(refusal.code, route.closeCodes) ?? closeFrameOf('WS_AUTH_UNAVAILABLE', route.closeCodes) as CloseFrame
    this.#close(code, reason)
  }

  /** The answer to it has to be read, and nothing long before it: it may have begun while more was allowed. */
  #close (code: number, reason: string): void {
    const { socket } = this.#waiting
    if (!this.#isLeaving && isReadingMore(socket, this.#maxBytes)) return this.terminate()
    limitMessages(socket, this.#maxBytes)
    socket.resume()
    closeSafely(socket, code, reason)
  }

  /** The handler is called within this turn: what the client sends next is not read before. */
  #accept (attempt: Authentication): void {
    const { socket, request, route, startedAt } = this.#waiting
    this.#events.onGone()
    limitMessages(socket, this.#maxPayload)
    const connection = this.#dependencies.lifecycle.open(socket, request, attempt, route, startedAt)
    socket.resume()
    if (connection.isEnded) return
    sendSafely(socket, authOk(attempt.expiresAt))
    const backlog = new Backlog(socket, connection, this.#kept)
    backlog.hold()
    const { isAsync, hasFailed } = watch(() => this.#events.onOpen(connection))
    const finish = (): void => {
      if (hasFailed()) backlog.drop()
      else backlog.handOn()
    }
    // A handler that is async and has failed at once is known to have by then, and one that threw has been ended.
    if (isAsync || hasFailed()) queueMicrotask(finish)
    else finish()
  }
}

/** Calls a handler, and tells whether it has thrown or what it returned has been rejected by now. */
function watch (handler: () => unknown): { isAsync: boolean, hasFailed: () => boolean } {
  let hasFailed = false
  let isAsync = false
  const fail = (): void => { hasFailed = true }
  try {
    const result = handler()
    isAsync = isThenable(result)
    if (isThenable(result)) result.then(undefined, fail)
  } catch {
    fail()
  }
  return { isAsync, hasFailed: () => hasFailed }
}

function lengthOf (data: RawData): number {
  return Array.isArray(data) ? data.reduce((sum, { length }) => sum + length, 0) : data.byteLength
}
