/*
 * What registering the plugin adds to Fastify's types. The `wsAuth` option of routes stands in `index.ts`, where the
 * role names are that it narrows to.
 */
import type { Connection, ConnectionList } from '../connection/connection'
import type { CommandResult } from '../revocation/instance'
import type { DisconnectMatch, DisconnectOptions, RevokeMatch, RevokeOptions } from '../revocation/command-arguments'
import type { StatsSnapshot } from '../audit/stats'
import type { IssuedTicket, TicketBinding } from '../authentication/tickets'

/** The `app.wsAuth` decorator. */
export interface WsAuth {
  /** The open connections of this instance. */
  readonly connections: ConnectionList
  /** What happened since the start. */
  stats (): StatsSnapshot
  /**
   * A ticket for whoever these claims are about: good for one handshake, within `tickets.ttl`. Its user is what the `user` option or
   * the `formatUser` of the `jwt` option make of them; a `formatUser` of an @fastify/jwt that the app registered is not known here.
   *
   * @param claims as those of a token; without an `iat`, it is now
   * @param options what it is bound to. Default: nothing
   * @throws TypeError for wrong arguments. Also where `tickets` is off. WsAuthError `WS_AUTH_TOKEN_INVALID` or
   *   `WS_AUTH_TOKEN_EXPIRED` for claims that no token may have, `WS_AUTH_UNAVAILABLE` where the backplane cannot be reached
   */
  issueTicket (claims: object, options?: TicketBinding): Promise<IssuedTicket>
  /**
   * Whether a token of these claims was revoked, for plain requests, which the plugin does not guard. It costs no round trip.
   *
   * @throws WsAuthError `WS_AUTH_UNAVAILABLE` where the backplane cannot say. TypeError where they are no object
   */
  isRevoked (claims: object): boolean
  /**
   * Refuses tokens from now on and closes their connections, on all instances: by `jti`, by `sid`, or by `sub` those that were
   * issued at `beforeAt` (milliseconds since the epoch, default now) or before. It is kept for `revocationTtl`.
   *
   * @returns once every live instance has answered, or 5 s have passed
   * @throws TypeError for wrong arguments. WsAuthError `WS_AUTH_UNAVAILABLE` where the other instances may not get it: on this
   *   one it is in force all the same, and they may still get it later
   */
  revoke (match: RevokeMatch, options?: RevokeOptions): Promise<CommandResult>
  /**
   * Closes connections on all instances: by `id`, `jti`, `sid` or `sub`. Their tokens stay good, and clients may come back.
   *
   * @returns as `revoke`
   * @throws as `revoke`
   */
  disconnect (match: DisconnectMatch, options?: DisconnectOptions): Promise<CommandResult>
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Connections, tickets, revocation and counts of fastify-ws-auth. */
    wsAuth: WsAuth
  }

  interface FastifyRequest {
    /** The connection, in the handler of a guarded websocket route; `null` anywhere else. */
    wsAuth: Connection | null
  }
}
