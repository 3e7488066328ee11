/*
 * A socket that waits for its first message, and what follows from the end of the wait.
 */
import type { FastifyRequest } from 'fastify'
import type { RequiredTicket } from '../authentication/authentication'
import type { GuardedSocket } from '../connection/socket-guard'
import type { OpenConnection } from '../connection/open-connection'
import type { CompleteRouteOptions, MessageSource } from '../options/complete-options'

/** A socket that waits for its first message. */
export interface Waiting extends RequiredTicket {
  readonly socket: GuardedSocket
  readonly request: FastifyRequest
  readonly route: CompleteRouteOptions
  readonly source: MessageSource
  /** When the upgrade was requested, in milliseconds since the epoch. */
  readonly startedAt: number
}

/** What the waiting room does at the end of a wait. */
export interface WaitingEvents {
  /** The connection is open: the app may see it, and its handler is called. Returns what the handler returns, and throws what it throws. */
  readonly onOpen: (connection: OpenConnection) => unknown
  /** The wait is over: the message was accepted or refused, or the socket is closing. */
  readonly onSettled: () => void
  /** The socket has closed, or its connection is open. */
  readonly onGone: () => void
}
