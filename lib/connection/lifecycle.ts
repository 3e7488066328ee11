/*
 * Opens connections once their users are authenticated, and does what follows from their end. When a connection ends is decided
 * in `open-connection.ts`.
 */
import type { FastifyRequest } from 'fastify'
import { WebSocket } from 'ws'
import { addressOf } from '../audit/audit'
import type { Audit } from '../audit/audit'
import { refusalOfRevoked } from '../authentication/checks'
import type { Authenticated } from '../authentication/authentication'
import { GOING_AWAY } from '../base/close-codes'
import { endByAge } from '../token/claims'
import type { ClaimRules, Claims } from '../token/claims'
import type { CloseOrder, CloseReason } from '../base/close-codes'
import { authOk } from './auth-frames'
import type { AuthFrame } from './auth-frames'
import { remember } from './connection-of'
import type { ConnectionRegistry } from './registry'
import { Sweep } from './sweep'
import type { RevocationCheck } from '../revocation/revocation-check'
import type { Limits } from './limits'
import { offersFrames } from '../credentials/subprotocol'
import type { TokenChecksByRoute } from '../authentication/token-checks'
import type { CompleteOptions, CompleteRouteOptions } from '../options/complete-options'
import type { GuardedSocket } from './socket-guard'
import { OpenConnection } from './open-connection'
import type { ConnectionRechecks } from './connection-rechecks'
import type { ConnectionRenewals } from './connection-renewals'
import type { ConnectionHost } from './connection-host'
import type { KeptRequest } from './kept-request'
import { sendSafely } from './safe-calls'
import { TrafficWatch } from './traffic'
import type { Traffic } from './traffic'

/** The objects that connections are opened with. */
export interface LifecycleDependencies {
  readonly options: CompleteOptions
  /** The verifier of each route: its clock tolerance extends `exp`, and its `maxAge` limits the age of a token. */
  readonly checks: TokenChecksByRoute
  readonly connections: ConnectionRegistry
  readonly limits: Limits
  readonly audit: Audit
  readonly renewals: ConnectionRenewals<OpenConnection>
  /** `null` if the `recheck` option is off. */
  readonly rechecks: ConnectionRechecks<OpenConnection> | null
  readonly revocation: RevocationCheck
  /** Whether the address of a client may be in its headers. */
  readonly trustsProxy: boolean
}

/** Opens the connections of an app. */
export class ConnectionLifecycle {
  /** Wakes the connections when they are due. */
  readonly sweep = new Sweep()
  readonly #traffic = new TrafficWatch(this.sweep)
  readonly #dependencies: LifecycleDependencies
  readonly #hosts = new Map<CompleteRouteOptions, RouteHost>()

  constructor (dependencies: LifecycleDependencies) {
    this.#dependencies = dependencies
  }

  /**
   * Opens the connection of a socket, and tells the client so if it speaks frames, before the handler can send anything. The connection
   * may have ended when this returns, because the token may have expired meanwhile.
   *
   * @param startedAt when the upgrade was requested, in milliseconds since the epoch
   * @param frame the auth frame that was the first message, and is answered; `null` if there was none
   */
  open (socket: GuardedSocket, request: FastifyRequest, identity: Authenticated, route: CompleteRouteOptions, startedAt: number, frame: AuthFrame | null = null): OpenConnection {
    const { connections, limits, audit, rechecks, revocation } = this.#dependencies
    const host = this.#hostOf(route)
    const connection = new OpenConnection(socket, request, identity, host)
    connections.add(connection)
    identity.slot?.attach(connection)
    request.wsAuth = connection
    remember(connection, socket, request.raw)
    connection.start(host.hasFrames(request, frame !== null))
    rechecks?.add(connection, route)
    audit.accepted(request, connection, route, startedAt)
    connection.endIfDue()
    // Check again after registering: an earlier revocation is seen here, a later one finds the connection in the registry.
    const refusal = refusalOfRevoked(identity, revocation)
    if (refusal?.code === 'WS_AUTH_TOKEN_REVOKED') connection.closeFor('token_revoked', 'unauthorized')
    else if (refusal !== null) connection.closeFor('auth_unavailable', 'unavailable')
    // Its handshake was accepted before the drain, and took its time.
    if (limits.isDraining) connection.closeFor('drain', GOING_AWAY)
    // A `connection` listener of the app may have closed the socket before it had a guard.
    if (socket.readyState !== WebSocket.OPEN) connection.onClosing('app')
    identity.slot?.closeIfLost()
    for (let oldest = limits.surplusOf(connection.sub); oldest !== undefined; oldest = limits.surplusOf(connection.sub)) {
      oldest.closeFor('connection_replaced', 'forbidden')
    }
    if (!connection.isEnded && (frame !== null || connection.hasFrames)) sendSafely(socket, authOk(connection, frame === null ? null : frame.id))
    return connection
  }

  /** Closes all connections, because the server closes. Resolves when all close frames were sent; none rejects it. */
  async close (): Promise<void> {
    this.sweep.stop()
    await this.#dependencies.connections.shutDown()
  }

  #hostOf (route: CompleteRouteOptions): RouteHost {
    let host = this.#hosts.get(route)
    if (host === undefined) this.#hosts.set(route, host = new RouteHost(this.#dependencies, this.sweep, this.#traffic, route))
    return host
  }
}

/** How many bytes an auth frame may have beside the longest token. */
const FRAME_OVERHEAD = 1024

/** The settings and the events that the connections of a route share. */
class RouteHost implements ConnectionHost<OpenConnection> {
  readonly route: CompleteRouteOptions
  readonly sweep: Sweep
  readonly renewals: ConnectionRenewals<OpenConnection>
  readonly grace: number
  readonly maxFrameBytes: number
  readonly #rules: ClaimRules
  readonly #traffic: TrafficWatch
  readonly #dependencies: LifecycleDependencies
  /** Whether a renewal may be about the request too. */
  readonly #needsRequest: boolean
  #routeOptions: FastifyRequest['routeOptions'] | null = null

  constructor (dependencies: LifecycleDependencies, sweep: Sweep, traffic: TrafficWatch, route: CompleteRouteOptions) {
    const { options, checks } = dependencies
    const { rules, needsRequest } = checks.of(route).verifier
    this.#needsRequest = needsRequest || [route.user, route.authorize, options.confirm].some((one) => one !== undefined)
    this.route = route
    this.sweep = sweep
    this.renewals = dependencies.renewals
    this.grace = route.expiryGrace + rules.clockTolerance
    this.#rules = rules
    this.#traffic = traffic
    this.maxFrameBytes = Math.max(route.token.message?.maxBytes ?? 0, options.maxTokenBytes + FRAME_OVERHEAD)
    this.#dependencies = dependencies
  }

  endByAge (claims: Claims): number {
    return endByAge(claims, this.#rules) + this.route.expiryGrace
  }

  hasFrames ({ raw }: FastifyRequest, hasBegun: boolean): boolean {
    const { renewal } = this.route
    return renewal === 'offered' ? hasBegun || offersFrames(raw.headers['sec-websocket-protocol']) : renewal
  }

  watch (connection: OpenConnection, socket: GuardedSocket): Traffic | null {
    return this.#traffic.start(connection, socket, this.route.limits)
  }

  letGo (kept: KeptRequest, hasFrames: boolean): void {
    const { held } = kept
    // A ticket in a message may be bound to the path and the origin of the request.
    if (held === null || this.#needsRequest || (hasFrames && this.#dependencies.options.tickets.query !== null)) return
    this.#routeOptions ??= held.routeOptions
    kept.letGo(this.#routeOptions, this.#dependencies.trustsProxy ? addressOf(held) : held.raw.socket)
  }

  onChanged (connection: OpenConnection, before: Claims | null): void {
    this.#dependencies.connections.move(connection, before)
  }

  onEnd (connection: OpenConnection, request: KeptRequest, reason: CloseReason, order: CloseOrder | null): void {
    const { connections, limits, renewals, rechecks, audit } = this.#dependencies
    connections.remove(connection)
    limits.users?.onEnd(connection)
    renewals.abort(connection)
    rechecks?.remove(connection)
    audit.ended(request, connection, this.route, reason, order)
  }
}
