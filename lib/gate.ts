/*
 * Where Fastify's hooks meet the handshake: which requests it is run for, and what becomes of its answer.
 */
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { WebSocket } from 'ws'
import type { WebSocketServer } from 'ws'
import type { Audit } from './audit'
import type { Authentication } from './authentication'
import { hideAssigned, hideParsed, takeCredentials, takeHeaders } from './credentials'
import type { KnownNames } from './credentials'
import { WsAuthError } from './errors'
import type { Waiting } from './first-message'
import type { FirstMessages } from './first-messages'
import { Handshake, NOTHING_SENT, runHandshake } from './handshake'
import type { HandshakeServices } from './handshake'
import type { Life } from './life'
import { assertOpening, OTHER_VERSION } from './opening-handshake'
import { mayCompress } from './options'
import type { CompleteRouteOptions } from './options'
import { challengeOf, closeOf } from './refusal'
import type { Refuser } from './refusal'
import type { SetUser } from './request-user'
import { seenRouteOf } from './routes'
import { isThenable } from './thenable'
import { DRY_RUN, reasonOf, upgradeOf } from './upgrade'
import type { Upgrade, UpgradeEnd } from './upgrade'
import { hide, show } from './visibility'

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
  readonly names: KnownNames
  readonly audit: Audit
  readonly life: Life
  readonly firstMessages: FirstMessages
  readonly setUser: SetUser
  /** The server of the sockets, once there is one. */
  readonly server: () => WebSocketServer
}

/** The hooks of an app. */
export class Gate {
  readonly #parts: GateParts
  /** How to end each dry run that has to wait. */
  readonly #dryRuns = new Set<(why: UpgradeEnd) => void>()
  /** Who has been authenticated and is to get a ticket, by request. */
  readonly #askers = new WeakMap<object, Authentication>()

  constructor (parts: GateParts) {
    this.#parts = parts
  }

  /** The `preValidation` hook of all routes. Any request that is no handshake pays one look at a property. */
  readonly onRequest = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void => {
    const upgrade = upgradeOf(request.raw)
    if (upgrade === undefined) return done()
    if (upgrade === DRY_RUN) this.#onDryRun({ request, reply, done, upgrade: null })
    else this.#onUpgrade({ request, reply, done, upgrade }, upgrade)
  }

  #onUpgrade (call: Call, upgrade: Upgrade): void {
    upgrade.isRouted = true
    // A hook before this one took longer than there was time, or than the client would wait.
    if (upgrade.isOver) return

    const { request, done } = call
    const seen = request.is404 ? undefined : seenRouteOf(request.routeOptions)
    if (seen?.kind === 'websocket' && seen.options.access !== 'public') {
      return this.#run(call, new Handshake(request, seen.options, upgrade.taken, 'connection'))
    }
    if (seen?.kind === 'websocket') return this.#admit(call, upgrade, seen.options)
    for (const sources of this.#parts.names.sources) takeHeaders(request, sources)
    if (request.is404) return done()
    this.#refuse(call, new WsAuthError(seen === undefined ? 'WS_AUTH_ROUTE_UNPROTECTED' : 'WS_AUTH_ROUTE_NOT_WEBSOCKET'), null, null)
  }

  #onDryRun (call: Call): void {
    const { request, done } = call
    const seen = seenRouteOf(request.routeOptions)
    if (seen === undefined || seen.kind === 'http' || seen.options.access === 'public') return done()
    const taken = takeCredentials(request.raw, this.#parts.names)
    hideParsed(request, taken)
    this.#run(call, new Handshake(request, seen.options, taken, seen.kind === 'ticket' ? 'ticket' : 'dry run'))
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
    if (upgrade === undefined || upgrade === DRY_RUN) return run()
    const { accepted, startedAt } = upgrade
    upgrade.adopt()
    if (accepted === null) return run()
    // A schema for headers is asked after the hooks, and what it answers is assigned.
    hideAssigned(request, accepted.route.token)
    const { message: source } = accepted.route.token
    if (accepted.awaitsMessage && source !== null) {
      const { route, ticketClaims } = accepted
      return this.#await({ socket, request, route, source, ticketClaims, startedAt }, run)
    }
    const connection = this.#parts.life.open(socket, request, accepted, accepted.route, startedAt)
    return connection.isEnded ? undefined : run()
  }

  /** Nobody sees it until it has authenticated. */
  #await (waiting: Omit<Waiting, 'onOpen'>, run: () => unknown): Promise<unknown> {
    const { socket, request } = waiting
    const { server: serverOf, firstMessages } = this.#parts
    const server = serverOf()
    hide(server, socket)
    // As @fastify/websocket would have it of the handler: whatever that throws is its to handle.
    return new Promise((resolve, reject) => {
      const onOpen = (): void => {
        try {
          show(server, socket, request.raw)
          resolve(socket.readyState === WebSocket.OPEN ? run() : undefined)
        } catch (error) {
          reject(error)
        }
      }
      firstMessages.wait({ ...waiting, onOpen })
    })
  }

  /** Refuses the dry runs that are waited for. */
  close (): void {
    for (const end of this.#dryRuns) end('shutdown')
  }

  /** A public route: nobody is asked who they are, but it has to be a handshake. */
  #admit (call: Call, { taken }: Upgrade, route: CompleteRouteOptions): void {
    const { request, done } = call
    try {
      assertOpening(request.raw, taken.hasValidProtocols, mayCompress(this.#parts.services.options))
    } catch (error) {
      return this.#refuse(call, error as WsAuthError, route, null)
    }
    const refusal = this.#parts.services.limits.refusalOfPending(0)
    if (refusal !== null) return this.#refuse(call, refusal, route, null)
    done()
  }

  #run (call: Call, handshake: Handshake): void {
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
      if (why === 'gone') isSettled = true
      else settle(new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new DeadlineError(why) }))
    }
    const stopWaiting = call.upgrade === null ? this.#waitForDryRun(end) : waitForUpgrade(call.upgrade, end)
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

  /** A dry run has the deadline of an upgrade, which has one already. */
  #waitForDryRun (end: (why: UpgradeEnd) => void): () => void {
    const timer = setTimeout(end, this.#parts.services.options.handshakeTimeout, 'timeout').unref()
    this.#dryRuns.add(end)
    return () => {
      clearTimeout(timer)
      this.#dryRuns.delete(end)
    }
  }

  #accept ({ request, upgrade, done }: Call, handshake: Handshake): void {
    this.#parts.setUser(request, handshake.user)
    if (upgrade !== null) upgrade.accepted = handshake
    if (handshake.purpose === 'ticket') this.#askers.set(request, handshake)
    done()
  }

  #refuse (call: Call, refusal: WsAuthError, route: CompleteRouteOptions | null, handshake: Handshake | null): void {
    const { request, reply, upgrade, done } = call
    this.#parts.setUser(request, null)
    const startedAt = upgrade?.startedAt ?? Date.now() - reply.elapsedTime
    this.#parts.audit.refused(request, refusal, handshake, startedAt, handshake?.purpose === 'dry run')
    if (upgrade !== null) upgrade.isRefused = true

    const close = route === null || refusal.cause instanceof DeadlineError ? null : closeOf(refusal, route, request.raw)
    if (upgrade !== null && close !== null) {
      reply.hijack()
      return this.#parts.refuser.refuse(request.raw, upgrade, close.code, close.reason)
    }
    const challenge = challengeOf(refusal.cause === NOTHING_SENT ? 'WS_AUTH_TOKEN_MISSING' : refusal.code, route?.scopes ?? null)
    if (challenge !== undefined) reply.header('www-authenticate', challenge)
    if (refusal.cause === OTHER_VERSION) reply.header('sec-websocket-version', '13')
    if (upgrade !== null || refusal.cause instanceof DeadlineError) reply.header('connection', 'close')
    done(refusal)
  }
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
