/*
 * What the connections of a route share: its settings, and the parts of the app that follow what happens to a connection.
 */
import type { CloseOrder, CloseReason } from '../base/close-codes'
import type { CompleteRouteOptions } from '../options/complete-options'
import type { Claims } from '../token/claims'
import type { ConnectionRenewals } from './connection-renewals'
import type { KeptRequest } from './kept-request'
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
  /** Lets a request go, unless a renewal may need it. @param hasFrames whether the client may renew by a message */
  letGo (request: KeptRequest, hasFrames: boolean): void
  /** The longest auth frame, in bytes. */
  readonly maxFrameBytes: number
  /** Watches what the client sends, if a limit on it is on. */
  watch (connection: C, socket: GuardedSocket): Traffic | null
  /** A renewal has changed the claims. */
  onChanged (connection: C, before: Claims | null): void
  /** The connection has ended. @param order the command that ended it, `null` for none */
  onEnd (connection: C, request: KeptRequest, reason: CloseReason, order: CloseOrder | null): void
}
