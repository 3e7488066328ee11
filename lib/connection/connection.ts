/*
 * A connection, as the app sees it. This folder keeps connections from the accepted socket to the one reason of their end. It may
 * import `audit`, `authentication` and the folders below them. Start with `lifecycle.ts`, then read `open-connection.ts`.
 */
import type { FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { Identity } from '../authentication/identity'

/** A message that a WebSocket can send: a string, or bytes. */
export type Sendable = Parameters<WebSocket['send']>[0]

/** An open connection of an authenticated user, or of an anonymous one on an `'optional'` route. */
export interface Connection extends Identity {
  /** Unique among all connections of all instances. */
  readonly id: string
  /** When it was opened, in milliseconds since the epoch. */
  readonly openedAt: number
  /**
   * When it ends if nothing is renewed, in milliseconds since the epoch: when its token expires (with `expiryGrace` and the clock
   * tolerance of the verifier), or at `maxLifetime`, whichever is earlier. `null` for never, and once it has ended.
   */
  readonly endsAt: number | null
  /**
   * The socket that the handler got; `null` once it has closed. It sends nothing after the connection has ended: the callback of
   * `send` gets an error.
   */
  readonly socket: WebSocket | null
  /**
   * Sends a message, if the connection has not ended.
   *
   * @param data a string for a text message, bytes for a binary one
   * @returns whether it was handed to the socket: `false` if the connection has ended, by the clock too
   * @throws TypeError for a value that is no message
   */
  send (data: Sendable): boolean
  /**
   * Continues with another token of the same user. It is verified as in a handshake; it must have the same subject and `iss`, must not
   * be older than the present one, and must be authorized for the route. `user`, `claims` and `expiresAt` become those of the new
   * token.
   *
   * @returns the user of the new token
   * @throws WsAuthError if the token is refused, and nothing changes then: `WS_AUTH_UNAVAILABLE` after `handshakeTimeout`,
   *   `WS_AUTH_TOKEN_INVALID` if the connection has closed. TypeError if the token is no string
   */
  renew (token: string): Promise<FastifyRequest['user']>
  /**
   * Closes the connection. No further message of the client reaches a handler, not even one that has arrived already.
   *
   * @param code a close code that may be sent (RFC 6455, 7.4). Default: 1000
   * @param reason at most 123 bytes. Default: none
   * @throws TypeError for a code that may not be sent, RangeError for a reason that is too long
   */
  close (code?: number, reason?: string): void
}

/** The open connections of an instance. */
export interface ConnectionList extends Iterable<Connection> {
  /** The number of open connections on this instance. */
  readonly size: number
  /** Returns the connection with this id, on this instance. */
  get (id: string): Connection | undefined
  /** Returns the connections of this subject, on this instance. */
  bySub (sub: string): Connection[]
  /**
   * Returns the connections whose user has this role now, as the `roles` option reads it from the claims: after a renewal, from the new
   * ones. One whose roles cannot be read has none. This and the next two walk over all connections, so that an open one costs no index.
   */
  byRole (role: string): Connection[]
  /** Returns the connections of this group, as the `groups` option has read it. */
  byGroup (group: string): Connection[]
  /** Returns the connections of this route, by its path as it was declared, with its prefix: `'/rooms/:id'`. */
  byRoute (path: string): Connection[]
}
