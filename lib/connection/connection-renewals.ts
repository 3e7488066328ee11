/*
 * The renewals of connections, as a connection sees them. They are made in a folder above this one.
 */
import type { FastifyRequest } from 'fastify'
import type { Credential } from '../credentials/found'
import type { CompleteRouteOptions } from '../options/complete-options'
import type { AuthFrame } from './auth-frames'
import type { KeptRequest } from './kept-request'
import type { GuardedSocket } from './socket-guard'

/** Renews connections; see `in-band/renewal.ts`. */
export interface ConnectionRenewals<C> {
  /** @throws WsAuthError if the token is refused */
  renew (connection: C, request: KeptRequest, route: CompleteRouteOptions, credential: Credential): Promise<FastifyRequest['user']>
  /** Auth frames of this connection are handled here, in the async context of its request. */
  attach (connection: C): void
  /** The connection has ended: its renewals are aborted. */
  abort (connection: C): void
  /** The client has sent an auth frame. */
  onFrame (connection: C, socket: GuardedSocket, request: KeptRequest, route: CompleteRouteOptions, frame: AuthFrame): void
}
