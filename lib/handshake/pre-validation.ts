/*
 * The hooks in which Fastify runs the handshake: which requests it is run for, and how each is accepted or refused.
 */
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { Audit } from '../audit/audit'
import type { SetUser } from '../authentication/identity'
import { WsAuthError } from '../base/errors'
import type { WsAuthErrorCode } from '../base/errors'
import { quietLog } from '../base/quiet-log'
import { SampledLines } from '../base/sampled-lines'
import { isThenable } from '../base/thenable'
import { takeHeaders } from '../credentials/headers'
import { hideParsed } from '../credentials/url'
import { mayCompress } from '../options/complete-options'
import type { CompleteRouteOptions } from '../options/complete-options'
import type { AcceptAndClose } from './accept-and-close'
import { closeOf, setHeaders } from './answer'
import { candidateOf } from './candidate'
import { runHandshake } from './checks'
import type { HandshakeContext } from './checks'
import { DryRun } from './dry-run'
import type { PlainRequest, WaitingDryRuns } from './dry-run'
import { EarlierHooks } from './earlier-hooks'
import { Handshake } from './handshake'
import { answeredEarly, HandshakeEnded } from './handshake-end'
import type { HandshakeEnd } from './handshake-end'
import { assertOpening } from './opening'
import { logDropped, knownRouteOf } from './routes'
import { assertTls } from './tls'
import { Upgrade } from './upgrade'

/** One call of a hook. */
interface Call {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly done: HookHandlerDoneFunction
  readonly candidate: Upgrade | DryRun
}

/** What the hooks work with. */
export interface PreValidationDependencies {
  readonly context: HandshakeContext
  readonly audit: Audit
  readonly dryRuns: WaitingDryRuns
  readonly setUser: SetUser
  readonly acceptAndClose: AcceptAndClose
}

/** The hooks of an app. */
export class PreValidation {
  readonly #dependencies: PreValidationDependencies
  /** The lines about plain requests that were sent as handshakes. */
  readonly #dropped = new SampledLines()
  readonly #earlierHooks = new EarlierHooks()

  constructor (dependencies: PreValidationDependencies) {
    this.#dependencies = dependencies
  }

  /** The `preValidation` hook of all routes. A request without a handshake pays one look at a property. */
  readonly onRequest = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void => {
    const candidate = candidateOf(request.raw)
    if (candidate === undefined) return done()
    if (candidate instanceof Upgrade) this.#onUpgrade({ request, reply, done, candidate }, candidate)
    else this.#onPlain(request, reply, done, candidate)
  }

  /**
   * The `onRequest` hook of all scopes, if the plugin is registered in one of them. It refuses an upgrade of a route that the
   * other hooks do not cover, before anything of that route runs.
   */
  readonly onForeignRequest = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void => {
    const candidate = candidateOf(request.raw)
    if (!(candidate instanceof Upgrade) || request.is404 || knownRouteOf(request.routeOptions) !== undefined) return done()
    this.#refuseUnknown({ request, reply, done, candidate }, 'WS_AUTH_ROUTE_UNPROTECTED')
  }

  /**
   * The first `onResponse` hook. Other code may have answered during a verification: Fastify does after `handlerTimeout`. No
   * other line reports that refusal.
   */
  readonly onResponse = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void => {
    const upgrade = candidateOf(request.raw)
    if (!(upgrade instanceof Upgrade)) return done()
    if (!upgrade.isRouted && reply.statusCode === 401) this.#earlierHooks.onRefused(request, upgrade.taken)
    if (upgrade.stopChecks()) {
      const known = knownRouteOf(request.routeOptions)
      const route = known?.kind === 'websocket' ? known.options : null
      this.#dependencies.audit.refused(request, answeredEarly(), null, { purpose: 'connection', route, startedAt: upgrade.startedAt })
    }
    // @fastify/websocket destroys the socket of an answered upgrade in its own hook. If that ran at once, while the socket still
    // reports its last write, Node.js would make an unused error with its stack: 15 us of each refusal.
    process.nextTick(done)
  }

  #onUpgrade (call: Call, upgrade: Upgrade): void {
    upgrade.route()
    // The deadline passed, or the client left, while an earlier hook was running.
    if (upgrade.isOver) return

    const { request, done } = call
    const known = request.is404 ? undefined : knownRouteOf(request.routeOptions)
    if (known?.kind === 'websocket' && known.options.access === 'public') return this.#admit(call, upgrade, known.options)
    if (known?.kind === 'websocket') return this.#run(call, known.options)
    if (!request.is404) return this.#refuseUnknown(call, known === undefined ? 'WS_AUTH_ROUTE_UNPROTECTED' : 'WS_AUTH_ROUTE_NOT_WEBSOCKET')
    this.#hideAll(request)
    done()
  }

  #refuseUnknown (call: Call, code: WsAuthErrorCode): void {
    this.#hideAll(call.request)
    this.#refuse(call, new WsAuthError(code, { cause: code === 'WS_AUTH_ROUTE_NOT_WEBSOCKET' ? 'the route has no websocket' : undefined }), null, null)
  }

  /** Hides the tokens by all names in use from later hooks: it is not known which of the names the client meant. */
  #hideAll (request: FastifyRequest): void {
    for (const sources of this.#dependencies.context.names.sources) takeHeaders(request, sources)
  }

  #onPlain (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction, plain: PlainRequest): void {
    const known = knownRouteOf(request.routeOptions)
    // If the route has an HTTP handler too, plain requests are for that handler.
    if (known === undefined || known.kind === 'http' || (known.kind === 'websocket' && !known.hasDryRun)) return done()
    if (plain.wasHandshake) this.#dropped.write((more) => logDropped(quietLog(request.log), more))
    hideParsed(request, plain.taken)
    const isPublic = known.options.access === 'public'
    if (isPublic && !known.options.requireTls) return done()
    if (known.kind !== 'ticket') reply.header('cache-control', 'no-store')
    const candidate = new DryRun(known.kind === 'ticket' ? 'ticket' : 'dry run', request, reply, plain, this.#dependencies.dryRuns)
    const call = { request, reply, done, candidate }
    if (!isPublic) return this.#run(call, known.options)
    if (this.#passes(call, known.options, () => assertTls(request, known.options))) done()
  }

  /** A public route: the client is not authenticated, but the request must be a handshake. */
  #admit (call: Call, upgrade: Upgrade, route: CompleteRouteOptions): void {
    const { request, done } = call
    const { options, limits } = this.#dependencies.context
    const hasPassed = this.#passes(call, route, () => {
      assertOpening(request.raw, upgrade.taken.hasValidProtocols, mayCompress(options))
      assertTls(request, route)
    })
    if (!hasPassed) return
    const refusal = limits.refusalOfPending(0)
    if (refusal !== null) return this.#refuse(call, refusal, route, null)
    upgrade.admit()
    done()
  }

  /** Makes the checks of a public route, and refuses what they refuse. */
  #passes (call: Call, route: CompleteRouteOptions, check: () => void): boolean {
    try {
      check()
      return true
    } catch (error) {
      // A `trustProxy` function of the app may throw.
      this.#refuse(call, error instanceof WsAuthError ? error : new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error }), route, null)
      return false
    }
  }

  #run (call: Call, route: CompleteRouteOptions): void {
    const { taken, purpose } = call.candidate
    let handshake: Handshake
    try {
      handshake = new Handshake(call.request, route, taken, purpose)
    } catch (error) {
      // A decorator or a parser of the app has thrown at the headers of the client.
      const cause = new Error(`the headers could not be read: ${error instanceof Error ? error.name : typeof error}`)
      return this.#refuse(call, new WsAuthError('WS_AUTH_UNAVAILABLE', { cause }), route, null)
    }
    const outcome = runHandshake(handshake, this.#dependencies.context)
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
    const stopWaiting = call.candidate.waitFor((why: HandshakeEnd): void => {
      handshake.abort()
      if (why === 'gone') {
        isSettled = true
        stopWaiting()
      } else settle(new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new HandshakeEnded(why) }))
    })
    void outcome.then(settle)
  }

  #settle (call: Call, handshake: Handshake, refusal: WsAuthError | null): void {
    const { context: { limits }, setUser } = this.#dependencies
    const { request, candidate, done } = call
    const verdict = refusal ??
      (handshake.purpose === 'ticket' ? null : limits.refusalOfSlot(handshake.sub)) ??
      setUser(request, handshake.user)
    if (verdict !== null) return this.#refuse(call, verdict, handshake.route, handshake)
    candidate.accept(handshake, limits)
    done()
  }

  /** @param route `null` if it is not known which route was meant */
  #refuse (call: Call, refusal: WsAuthError, route: CompleteRouteOptions | null, handshake: Handshake | null): void {
    const { request, reply, candidate, done } = call
    const { setUser, audit, acceptAndClose } = this.#dependencies
    setUser(request, null)
    handshake?.slot?.release()
    audit.refused(request, refusal, handshake, { purpose: candidate.purpose, route, startedAt: candidate.startedAt })
    candidate.refuse()
    const isLate = refusal.cause instanceof HandshakeEnded
    const frame = route === null || isLate ? null : closeOf(refusal, route, request.raw)
    if (candidate instanceof Upgrade && frame !== null && acceptAndClose.hasRoom) {
      reply.hijack()
      return acceptAndClose.refuse(request.raw, candidate, frame)
    }
    setHeaders(reply, refusal, route, candidate.endsSocket(isLate))
    done(refusal)
  }
}
