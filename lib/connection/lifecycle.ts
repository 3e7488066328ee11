/*
 * The connections of an app, from the moment in which each is authenticated: where they are opened, and what follows from
 * their end. How long each lives is its own to know (`socket-connection.ts`).
 */
import type { FastifyRequest } from 'fastify'
import { WebSocket } from 'ws'
import type { Audit } from '../audit/audit'
import { refusalOfRevoked } from '../authentication/checks'
import type { Authenticated } from '../authentication/authentication'
import { GOING_AWAY } from '../base/close-codes'
import { endByAge } from '../token/claims'
import type { ClaimRules, Claims } from '../token/claims'
import type { CloseReason } from '../base/close-codes'
import { remember } from './connection-of'
import type { Connections } from './registry'
import { Sweep } from './sweep'
import type { RevocationCheck } from '../revocation/revocation-check'
import type { Limits } from './limits'
import type { CompleteOptions, CompleteRouteOptions } from '../options/complete-options'
import type { GuardedSocket } from './socket'
import { SocketConnection } from './open-connection'
import type { ConnectionKeeper, ConnectionRenewals } from './open-connection'

/** What connections are opened with. */
export interface LifeParts {
  readonly options: CompleteOptions
  /** Those of the verifier: a token is accepted for so long after its `exp`, because clocks differ, and not after its `maxAge`. */
  readonly rules: ClaimRules
  readonly connections: Connections
  readonly limits: Limits
  readonly audit: Audit
  readonly renewals: ConnectionRenewals
  readonly revocation: RevocationCheck
}

/** Opens the connections of an app. */
export class Life {
  readonly #parts: LifeParts
  readonly #sweep = new Sweep()
  readonly #keepers = new Map<CompleteRouteOptions, ConnectionKeeper>()

  constructor (parts: LifeParts) {
    this.#parts = parts
  }

  /**
   * Opens the connection of a socket. It may have ended already: the token may have expired meanwhile.
   *
   * @param startedAt when its upgrade was asked for
   */
  open (socket: GuardedSocket, request: FastifyRequest, identity: Authenticated, route: CompleteRouteOptions, startedAt: number): SocketConnection {
    const { connections, limits, audit, revocation } = this.#parts
    const connection = new SocketConnection(socket, request, identity, this.#keeperOf(route))
    connections.add(connection)
    request.wsAuth = connection
    remember(connection, socket, request.raw)
    connection.start()
    audit.accepted(request, connection, startedAt)
    connection.endIfDue()
    // Asked a second time, now that it would be found: a revocation comes before this line, or closes what stands above.
    const refusal = refusalOfRevoked(identity, revocation)
    if (refusal?.code === 'WS_AUTH_TOKEN_REVOKED') connection.closeFor('token_revoked', 'unauthorized')
    else if (refusal !== null) connection.closeFor('auth_unavailable', 'unavailable')
    // A listener of the app for connections may have closed it, before anybody guarded it.
    if (socket.readyState !== WebSocket.OPEN) connection.onClosing('app')
    for (let oldest = limits.surplusOf(connection.sub); oldest !== undefined; oldest = limits.surplusOf(connection.sub)) {
      oldest.closeFor('connection_replaced', 'forbidden')
    }
    return connection
  }

  /** Closes them all: the server is closing. */
  close (): void {
    for (const connection of this.#parts.connections) connection.closeFor('shutdown', GOING_AWAY)
    this.#sweep.stop()
  }

  #keeperOf (route: CompleteRouteOptions): ConnectionKeeper {
    let keeper = this.#keepers.get(route)
    if (keeper === undefined) this.#keepers.set(route, keeper = new RouteKeeper(this.#parts, this.#sweep, route))
    return keeper
  }
}

/** What an auth frame may have beside the longest token, in bytes. */
const FRAME_OVERHEAD = 1024

/** What the connections of a route have in common. */
class RouteKeeper implements ConnectionKeeper {
  readonly route: CompleteRouteOptions
  readonly sweep: Sweep
  readonly renewals: ConnectionRenewals
  readonly grace: number
  readonly hasFrames: boolean
  readonly maxFrameBytes: number
  readonly #parts: LifeParts

  constructor (parts: LifeParts, sweep: Sweep, route: CompleteRouteOptions) {
    const { options, rules } = parts
    this.route = route
    this.sweep = sweep
    this.renewals = parts.renewals
    this.grace = options.expiryGrace + rules.clockTolerance
    this.hasFrames = options.renewal ?? route.token.message !== null
    this.maxFrameBytes = Math.max(route.token.message?.maxBytes ?? 0, options.maxTokenBytes + FRAME_OVERHEAD)
    this.#parts = parts
  }

  endByAge (claims: Claims): number {
    return endByAge(claims, this.#parts.rules) + this.#parts.options.expiryGrace
  }

  onAssumed (connection: SocketConnection, before: Claims | null): void {
    this.#parts.connections.move(connection, before)
  }

  onEnd (connection: SocketConnection, request: FastifyRequest, reason: CloseReason): void {
    const { connections, renewals, audit } = this.#parts
    connections.remove(connection)
    renewals.abort(connection)
    audit.ended(request, connection, reason)
  }
}
