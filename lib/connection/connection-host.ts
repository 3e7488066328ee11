/*
 * What the connections of a route share: its settings, and the parts of the app that follow what happens to a connection.
 */
import type { FastifyRequest } from 'fastify'
import type { CloseOrder, CloseReason } from '../base/close-codes'
import type { CompleteRouteOptions } from '../options/complete-options'
import type { Claims } from '../token/claims'
import type { ConnectionRenewals } from './connection-renewals'
import type { GuardedSocket } from './socket-guard'
import type { Sweep } from './sweep'
import type { Traffic } from './traffic'

/** The settings and the events that the connections of a route share. */
export interface ConnectionHost<C> {
  readonly route: CompleteRouteOptions
  readonly sweep: Sweep
  readonly renewals: ConnectionRenewals<C>
  /** How long a connection outlives the `exp` of its token, in milliseconds. */
  readonly grace: number
  /** When a connection with these claims ends because of their age, in milliseconds since the epoch. */
  endByAge (claims: Claims): number
  /** Whether this package speaks with a client in messages. @param hasBegun whether the client has sent an auth frame first */
  hasFrames (request: FastifyRequest, hasBegun: boolean): boolean
  /** The longest auth frame, in bytes. */
  readonly maxFrameBytes: number
  /** Watches what the client sends, if a limit on it is on. */
  watch (connection: C, socket: GuardedSocket): Traffic | null
  /** A renewal has changed the claims. */
  onChanged (connection: C, before: Claims | null): void
  /** The connection has ended. @param order the command that ended it, `null` for none */
  onEnd (connection: C, request: FastifyRequest, reason: CloseReason, order: CloseOrder | null): void
}
