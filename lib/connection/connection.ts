/*
 * What the app sees of a connection.
 */
import type { FastifyRequest } from 'fastify'
import type { Identity } from '../authentication/identity'

/** An open connection of an authenticated user, or of an anonymous one on an `'optional'` route. */
export interface Connection extends Identity {
  /** Unique among all connections of all instances. */
  readonly id: string
  /** When it was opened, in milliseconds since the epoch. */
  readonly openedAt: number
  /** The `sub` of its claims (RFC 7519, 4.1.2), or `null`. */
  readonly sub: string | null
  /**
   * Goes on with another token of the same user: verified as in a handshake, of the same `sub` and `iss`, not older than
   * the present one, and authorized for the route. Then `user`, `claims` and `expiresAt` are those of the new one.
   *
   * @returns the user
   * @throws WsAuthError where it is refused, nothing has changed then: also `WS_AUTH_UNAVAILABLE` after `handshakeTimeout`, and
   *   `WS_AUTH_TOKEN_INVALID` where the connection is or was closed meanwhile. TypeError where it is no string
   */
  renew (token: string): Promise<FastifyRequest['user']>
  /**
   * Closes the connection. Nothing that was or will be sent by the other side reaches a handler any more.
   *
   * @param code a close code (RFC 6455, 7.4) that may be sent. Default 1000
   * @param reason at most 123 bytes. Default none
   * @throws TypeError for a code that may not be sent, RangeError for a reason that is too long
   */
  close (code?: number, reason?: string): void
}

/** Open connections, as the app sees them. */
export interface ConnectionList extends Iterable<Connection> {
  /** How many connections are open on this instance. */
  readonly size: number
  /** The connection with this id, on this instance. */
  get (id: string): Connection | undefined
  /** The connections whose claims have this `sub`, on this instance. */
  bySub (sub: string): Connection[]
}
