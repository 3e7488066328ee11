/*
 * Where Fastify's hooks meet the handshake: which requests it is run for, and what becomes of its answer.
 */
import { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { WebSocket } from 'ws'
import type { Audit } from '../audit/audit'
import type { Authentication } from '../authentication/authentication'
import type { TakenCredentials } from '../credentials/found'
import { hideAssigned, takeHeaders } from '../credentials/headers'
import { hideParsed } from '../credentials/url'
import { WsAuthError } from '../base/errors'
import type { WsAuthErrorCode } from '../base/errors'
import type { WaitingRoom } from '../in-band/waiting-room'
import { Handshake, NOTHING_SENT, runHandshake } from './handshake'
import type { HandshakePurpose, HandshakeServices } from './handshake'
import type { Life } from '../connection/lifecycle'
import type { Pending } from '../connection/limits'
import { isHttp2 } from '../base/http-headers'
import { assertOpening, OTHER_VERSION } from './opening'
import { mayCompress } from '../options/complete-options'
import type { CompleteRouteOptions } from '../options/complete-options'
import { challengeOf, closeOf } from './refusal'
import { quietLog } from '../base/quiet-log'
import type { Refuser } from './refusal'
import type { SetUser } from '../authentication/identity'
import { logDropped, seenRouteOf } from './routes'
import { closeSafely, markFailed, terminateSafely } from '../connection/socket'
import type { SocketConnection } from '../connection/open-connection'
import { isThenable } from '../base/thenable'
import { DryRun, reasonOf, Upgrade, upgradeOf } from './upgrade'
import type { UpgradeEnd } from './upgrade'

/** What a hook is called with, and the upgrade where it is not a plain request. */
interface Call {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly done: HookHandlerDoneFunction
  readonly upgrade: Upgrade | null
}

/** What the gate works with. */
export interface GateParts {
  readonly refuser: Refuser
  readonly services: HandshakeServices
  readonly audit: Audit
  readonly life: Life
  readonly waitingRoom: WaitingRoom
  readonly pending: Pending
  readonly setUser: SetUser
}

/** RFC 6455, 7.4.1: the server has met what it did not expect. */
const INTERNAL_ERROR = 1011

/** The hooks of an app. */
export class Gate {
  readonly #parts: GateParts
  /** How to end each dry run that has to wait. */
  readonly #dryRuns = new Set<(why: UpgradeEnd) => void>()
  readonly #queued = new Queued()
  /** Who has been authenticated and is to get a ticket, by request. */
  readonly #askers = new WeakMap<object, Authentication>()

  constructor (parts: GateParts) {
    this.#parts = parts
  }

  /** The `preValidation` hook of all routes. Any request that is no handshake pays one look at a property. */
  readonly onRequest = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void => {
    const upgrade = upgradeOf(request.raw)
    if (upgrade === undefined) return done()
    if (upgrade instanceof Upgrade) this.#onUpgrade({ request, reply, done, upgrade }, upgrade)
    else this.#onDryRun({ request, reply, done, upgrade: null }, upgrade)
  }

  /**
   * The `onRequest` hook of all scopes, if the plugin was registered in one of them: an upgrade of a route that none of its
   * other hooks is called for is refused before anything of that route runs.
   */
  readonly onForeignRequest = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void => {
    const upgrade = upgradeOf(request.raw)
    if (!(upgrade instanceof Upgrade) || request.is404 || seenRouteOf(request.routeOptions) !== undefined) return done()
    this.#refuseUnseen({ request, reply, done, upgrade })
  }

  /**
   * The first `onResponse` hook. Somebody else may have answered while a verification was waited for: Fastify does after
   * `handlerTimeout`. That is a refusal for want of an answer, which no other line tells.
   */
  readonly onResponse = (request: FastifyRequest, _reply: FastifyReply, done: HookHandlerDoneFunction): void => {
    const upgrade = upgradeOf(request.raw)
    if (!(upgrade instanceof Upgrade)) return done()
    this.#onAnswered(request, upgrade)
    // @fastify/websocket destroys the socket of an answered upgrade in its own hook, which would be called while the socket is still
    // being told that all was written. Node makes an error with its stack of that, of which nobody hears: 15 us of each refusal.
    process.nextTick(done)
  }

  #onAnswered (request: FastifyRequest, upgrade: Upgrade): void {
    const { onEnd } = upgrade
    if (onEnd === null) return
    upgrade.onEnd = null
    onEnd('gone')
    this.#parts.audit.refused(request, answeredEarly(), null, upgrade.startedAt, false)
  }

  #onUpgrade (call: Call, upgrade: Upgrade): void {
    upgrade.isRouted = true
    // A hook before this one took longer than there was time, or than the client would wait.
    if (upgrade.isOver) return

    const { request, done } = call
    const seen = request.is404 ? undefined : seenRouteOf(request.routeOptions)
    if (seen?.kind === 'websocket' && seen.options.access === 'public') return this.#admit(call, upgrade, seen.options)
    if (seen?.kind === 'websocket') return this.#run(call, seen.options, upgrade.taken, 'connection')
    if (!request.is404) return this.#refuseUnseen(call, seen === undefined ? 'WS_AUTH_ROUTE_UNPROTECTED' : 'WS_AUTH_ROUTE_NOT_WEBSOCKET')
    this.#hideAll(request)
    done()
  }

  #refuseUnseen (call: Call, code: WsAuthErrorCode = 'WS_AUTH_ROUTE_UNPROTECTED'): void {
    this.#hideAll(call.request)
    this.#refuse(call, new WsAuthError(code, { cause: code === 'WS_AUTH_ROUTE_NOT_WEBSOCKET' ? 'the route has no websocket' : undefined }), null, null)
  }

  /** Nobody knows which of the names in use the client meant: no later hook sees a token by any of them. */
  #hideAll (request: FastifyRequest): void {
    for (const sources of this.#parts.services.names.sources) takeHeaders(request, sources)
  }

  #onDryRun (call: Call, { taken, wasHandshake }: DryRun): void {
    const { request, reply, done } = call
    const seen = seenRouteOf(request.routeOptions)
    // A plain request of a route with a handler for these is that handler's.
    if (seen === undefined || seen.kind === 'http' || (seen.kind === 'websocket' && !seen.hasDryRun)) return done()
    if (wasHandshake) logDropped(quietLog(request.log))
    hideParsed(request, taken)
    if (seen.options.access === 'public') return done()
    if (seen.kind !== 'ticket') reply.header('cache-control', 'no-store')
    this.#run(call, seen.options, taken, seen.kind === 'ticket' ? 'ticket' : 'dry run')
  }

  /** Who asks for a ticket: once, by the handler of that route. */
  readonly takeAsker = (request: object): Authentication => {
    const asker = this.#askers.get(request) as Authentication
    this.#askers.delete(request)
    return asker
  }

  /**
   * Called with each open socket of a websocket route in place of the route's handler.
   *
   * @param run calls the handler
   */
  readonly open = (socket: WebSocket, request: FastifyRequest, run: () => unknown): unknown => {
    const upgrade = upgradeOf(request.raw)
    // Somebody else has had it routed, past our listener: a socket of another server, or of another @fastify/websocket.
    if (!(upgrade instanceof Upgrade) || !upgrade.isAdmitted) return this.#refuseSocket(socket, request)
    const { accepted, startedAt } = upgrade
    upgrade.adopt()
    if (accepted === null) return this.#handle(socket, null, run)
    // A schema for headers is asked after the hooks, and what it answers is assigned.
    hideAssigned(request, accepted.route.token)
    const { message: source } = accepted.route.token
    if (accepted.awaitsMessage && source !== null) {
      const { route, ticketClaims } = accepted
      return this.#parts.waitingRoom.wait({ socket, request, route, source, ticketClaims, startedAt }, (connection) => this.#handle(socket, connection, run))
    }
    const connection = this.#parts.life.open(socket, request, accepted, accepted.route, startedAt)
    return connection.isEnded ? undefined : this.#handle(socket, connection, run)
  }

  #refuseSocket (socket: WebSocket, request: FastifyRequest): void {
    terminateSafely(socket)
    quietLog(request.log).error('a websocket was opened that fastify-ws-auth has not checked: no handler is run for it')
  }

  /**
   * Runs the handler. What it throws, now or later, @fastify/websocket tells the error handler. A handler that has failed is in no
   * state to go on, and unless the app's own error handler does better, the client is told so (RFC 6455, 7.4.1).
   */
  #handle (socket: WebSocket, connection: Pick<SocketConnection, 'closeFor'> | null, run: () => unknown): unknown {
    const onFailure = (): void => markFailed(socket, () => {
      if (connection === null) closeSafely(socket, INTERNAL_ERROR, 'internal_error')
      else connection.closeFor('internal_error', INTERNAL_ERROR)
    })
    try {
      const result = run()
      if (isThenable(result)) result.then(undefined, onFailure)
      return result
    } catch (error) {
      onFailure()
      throw error
    }
  }

  /** Refuses the dry runs that are waited for. */
  close (): void {
    for (const end of this.#dryRuns) end('shutdown')
  }

  /** A public route: nobody is asked who they are, but it has to be a handshake. */
  #admit (call: Call, upgrade: Upgrade, route: CompleteRouteOptions): void {
    const { request, done } = call
    try {
      assertOpening(request.raw, upgrade.taken.hasValidProtocols, mayCompress(this.#parts.services.options))
    } catch (error) {
      return this.#refuse(call, error as WsAuthError, route, null)
    }
    const refusal = this.#parts.services.limits.refusalOfPending(0)
    if (refusal !== null) return this.#refuse(call, refusal, route, null)
    upgrade.isAdmitted = true
    done()
  }

  #run (call: Call, route: CompleteRouteOptions, taken: TakenCredentials, purpose: HandshakePurpose): void {
    let handshake: Handshake
    try {
      handshake = new Handshake(call.request, route, taken, purpose)
    } catch (error) {
      // A decorator or a parser of the app fails at what a client sent.
      const cause = new Error(`the headers could not be read: ${error instanceof Error ? error.name : typeof error}`)
      return this.#refuse(call, new WsAuthError('WS_AUTH_UNAVAILABLE', { cause }), route, null, purpose)
    }
    const outcome = runHandshake(handshake, this.#parts.services)
    if (isThenable(outcome)) this.#wait(call, handshake, outcome)
    else this.#settle(call, handshake, outcome)
  }

  #wait (call: Call, handshake: Handshake, outcome: PromiseLike<WsAuthError | null>): void {
    let isSettled = false
    const settle = (refusal: WsAuthError | null): void => {
      if (isSettled) return
      isSettled = true
      stopWaiting()
      this.#settle(call, handshake, refusal)
    }
    const end = (why: UpgradeEnd): void => {
      handshake.abort()
      if (why === 'gone') {
        isSettled = true
        stopWaiting()
      } else settle(new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new DeadlineError(why) }))
    }
    const stopWaiting = call.upgrade === null ? this.#waitForDryRun(call, handshake.purpose, end) : waitForUpgrade(call.upgrade, end)
    void outcome.then(settle)
  }

  #settle (call: Call, handshake: Handshake, refusal: WsAuthError | null): void {
    const { limits } = this.#parts.services
    const verdict = refusal ?? (handshake.purpose === 'ticket' ? null : limits.refusalOfSlot(handshake.sub))
    if (verdict !== null) return this.#refuse(call, verdict, handshake.route, handshake)
    // In one turn with what makes it sure that the slot is given back.
    if (call.upgrade !== null) call.upgrade.giveBack = limits.takeSlot(handshake.sub)
    this.#accept(call, handshake)
  }

  /** A dry run has the deadline of an upgrade, which has one already, and ends as it does when the client leaves. */
  #waitForDryRun ({ request, reply: { raw: response, elapsedTime } }: Call, purpose: HandshakePurpose, end: (why: UpgradeEnd) => void): () => void {
    const timer = setTimeout(end, this.#parts.services.options.handshakeTimeout, 'timeout').unref()
    const startedAt = Date.now() - elapsedTime
    const onClose = (): void => {
      if (response.headersSent) this.#parts.audit.refused(request, answeredEarly(), null, startedAt, purpose === 'dry run')
      end('gone')
    }
    response.once('close', onClose)
    const stopQueuing = response.socket === null ? this.#queued.add(request.raw.socket, onClose) : () => {}
    this.#dryRuns.add(end)
    this.#parts.pending.count++
    return () => {
      clearTimeout(timer)
      stopQueuing()
      response.removeListener('close', onClose)
      if (this.#dryRuns.delete(end)) this.#parts.pending.count--
    }
  }

  #accept (call: Call, handshake: Handshake): void {
    const { request, upgrade, done } = call
    const fault = this.#parts.setUser(request, handshake.user)
    if (fault !== null) return this.#refuse(call, fault, handshake.route, handshake)
    if (upgrade !== null) {
      upgrade.isAdmitted = true
      upgrade.accepted = handshake
    }
    if (handshake.purpose === 'ticket') this.#askers.set(request, handshake)
    done()
  }

  #refuse (call: Call, refusal: WsAuthError, route: CompleteRouteOptions | null, handshake: Handshake | null, purpose = handshake?.purpose): void {
    const { request, reply, upgrade, done } = call
    this.#parts.setUser(request, null)
    const startedAt = upgrade?.startedAt ?? Date.now() - reply.elapsedTime
    this.#parts.audit.refused(request, refusal, handshake, startedAt, purpose === 'dry run')
    if (upgrade !== null) upgrade.isRefused = true

    const close = route === null || refusal.cause instanceof DeadlineError ? null : closeOf(refusal, route, request.raw)
    if (upgrade !== null && close !== null && this.#parts.refuser.hasRoom(this.#parts.services.options.limits.pending)) {
      reply.hijack()
      return this.#parts.refuser.refuse(request.raw, upgrade, close.code, close.reason)
    }
    const challenge = challengeOf(refusal.cause === NOTHING_SENT ? 'WS_AUTH_TOKEN_MISSING' : refusal.code, route?.scopes ?? null)
    if (challenge !== undefined) reply.header('www-authenticate', challenge)
    if (refusal.cause === OTHER_VERSION) reply.header('sec-websocket-version', '13')
    if (upgrade !== null || (refusal.cause instanceof DeadlineError && !isHttp2(request.raw))) reply.header('connection', 'close')
    done(refusal)
  }
}

/** Plain requests that were pipelined behind others of their sockets: Node.js does not tell their responses that the client has left. */
class Queued {
  readonly #bySocket = new WeakMap<Socket, Set<() => void>>()

  /** @returns stops waiting for it */
  add (socket: Socket | undefined, onGone: () => void): () => void {
    // `inject` has none that closes.
    if (!(socket instanceof Socket)) return () => {}
    const waiting = this.#bySocket.get(socket) ?? new Set()
    if (!this.#bySocket.has(socket)) {
      this.#bySocket.set(socket, waiting)
      socket.once('close', () => { for (const tell of [...waiting]) tell() })
    }
    waiting.add(onGone)
    return () => waiting.delete(onGone)
  }
}

/** The refusal that is logged if somebody else has answered the handshake. */
function answeredEarly (): WsAuthError {
  return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new Error('the request was answered while its verification was waited for (handlerTimeout?)') })
}

/** Why a handshake could not be waited for any longer. */
class DeadlineError extends Error {
  constructor (why: UpgradeEnd) {
    super(reasonOf(why))
    this.name = 'DeadlineError'
  }
}

function waitForUpgrade (upgrade: Upgrade, end: (why: UpgradeEnd) => void): () => void {
  upgrade.onEnd = end
  return () => { upgrade.onEnd = null }
}
