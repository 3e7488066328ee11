/*
 * Where Fastify's hooks meet the handshake: which requests it is run for, and what becomes of its answer.
 */
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { WebSocket } from 'ws'
import { SocketConnection } from './connection'
import type { Connections } from './connections'
import { hideParsed, takeCredentials, takeHeaders } from './credentials'
import type { KnownNames } from './credentials'
import { WsAuthError } from './errors'
import { Handshake, runHandshake } from './handshake'
import type { HandshakeServices } from './handshake'
import { assertOpening, OTHER_VERSION } from './opening-handshake'
import type { CompleteRouteOptions } from './options'
import { challengeOf, closeOf } from './refusal'
import type { Refuser } from './refusal'
import { seenRouteOf } from './routes'
import type { Stats } from './stats'
import { isThenable } from './thenable'
import { DRY_RUN, upgradeOf } from './upgrade'
import type { Upgrade, UpgradeEnd } from './upgrade'

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
  readonly connections: Connections
  readonly stats: Stats
  /** The request decorator that @fastify/jwt sets, where it is not `user`. */
  readonly userDecorator: string | null
}

const kConnection = Symbol('fastify-ws-auth.connection')

type GuardedSocket = WebSocket & { [kConnection]?: SocketConnection }

/** The hooks of an app. */
export class Gate {
  readonly #parts: GateParts
  /** How to end each dry run that has to wait. */
  readonly #dryRuns = new Set<(why: UpgradeEnd) => void>()
  /** One for all sockets: a closure for each would keep 110 bytes more. */
  readonly #onClose: (this: GuardedSocket, code: number) => void

  constructor (parts: GateParts) {
    this.#parts = parts
    this.#onClose = function (code) {
      const connection = this[kConnection]
      if (connection !== undefined) parts.connections.remove(connection)
      parts.stats.countClosed(String(code))
    }
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
      return this.#run(call, new Handshake(request, seen.options, upgrade.taken, false))
    }
    if (seen?.kind === 'websocket') return this.#admit(call, upgrade, seen.options)
    for (const sources of this.#parts.names.sources) takeHeaders(request, sources)
    if (request.is404) return done()
    this.#refuse(call, new WsAuthError(seen === undefined ? 'WS_AUTH_ROUTE_UNPROTECTED' : 'WS_AUTH_ROUTE_NOT_WEBSOCKET'), null)
  }

  #onDryRun (call: Call): void {
    const { request, done } = call
    const seen = seenRouteOf(request.routeOptions)
    if (seen?.kind !== 'websocket' || seen.options.access === 'public') return done()
    const taken = takeCredentials(request.raw, this.#parts.names)
    hideParsed(request, taken)
    this.#run(call, new Handshake(request, seen.options, taken, true))
  }

  /** Called with each open socket of a websocket route, before the route's handler is. */
  readonly open = (socket: WebSocket, request: FastifyRequest): void => {
    const upgrade = upgradeOf(request.raw)
    if (upgrade === undefined || upgrade === DRY_RUN) return
    upgrade.adopt()
    const { identity } = upgrade
    if (identity === null) return
    const { connections, stats } = this.#parts
    const connection = new SocketConnection(socket, identity)
    connections.add(connection)
    stats.accepted++
    const guarded: GuardedSocket = socket
    guarded[kConnection] = connection
    guarded.on('close', this.#onClose)
    request.wsAuth = connection
  }

  /** Refuses the dry runs that are waited for. */
  close (): void {
    for (const end of this.#dryRuns) end('shutdown')
  }

  /** A public route: nobody is asked who they are, but it has to be a handshake. */
  #admit (call: Call, { taken }: Upgrade, route: CompleteRouteOptions): void {
    const { request, done } = call
    try {
      assertOpening(request.raw, taken.hasValidProtocols)
    } catch (error) {
      return this.#refuse(call, error as WsAuthError, route)
    }
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
    if (refusal === null) this.#accept(call, handshake)
    else this.#refuse(call, refusal, handshake.route)
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
    this.#setUser(request, handshake.user)
    if (upgrade !== null) upgrade.identity = handshake
    done()
  }

  #refuse (call: Call, refusal: WsAuthError, route: CompleteRouteOptions | null): void {
    const { request, reply, upgrade, done } = call
    this.#setUser(request, null)
    logRefusal(request, refusal)
    if (upgrade !== null) this.#parts.stats.countRefused(refusal.code)

    const close = route === null || refusal.cause instanceof DeadlineError ? null : closeOf(refusal, route, request.raw)
    if (upgrade !== null && close !== null) {
      reply.hijack()
      return this.#parts.refuser.refuse(request.raw, upgrade, close.code, close.reason)
    }
    const challenge = challengeOf(refusal.code, route?.scopes ?? null)
    if (challenge !== undefined) reply.header('www-authenticate', challenge)
    if (refusal.cause === OTHER_VERSION) reply.header('sec-websocket-version', '13')
    if (upgrade !== null || refusal.cause instanceof DeadlineError) reply.header('connection', 'close')
    done(refusal)
  }

  #setUser (request: FastifyRequest, user: FastifyRequest['user'] | null): void {
    const { userDecorator } = this.#parts
    request.user = user as FastifyRequest['user']
    if (userDecorator !== null && userDecorator !== 'user') (request as unknown as Record<string, unknown>)[userDecorator] = user
  }
}

/** Why a handshake could not be waited for any longer. */
class DeadlineError extends Error {
  constructor (why: UpgradeEnd) {
    super(why === 'timeout' ? 'the handshake took longer than handshakeTimeout' : 'the server is closing')
    this.name = 'DeadlineError'
  }
}

function waitForUpgrade (upgrade: Upgrade, end: (why: UpgradeEnd) => void): () => void {
  upgrade.onEnd = end
  return () => { upgrade.onEnd = null }
}

/** The client learns that, the log learns why. */
function logRefusal (request: FastifyRequest, { code, statusCode, cause }: WsAuthError): void {
  if (statusCode >= 500) {
    const fix = code === 'WS_AUTH_ROUTE_UNPROTECTED' ? `${request.routeOptions.url} was declared before fastify-ws-auth was registered: ` : ''
    request.log.error({ code, err: cause }, fix === '' ? 'websocket handshake refused' : `${fix}await app.register(fastifyWsAuth) first`)
  } else {
    request.log.info({ code, why: cause instanceof Error ? cause.message : cause }, 'websocket handshake refused')
  }
}
