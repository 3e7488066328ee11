/*
 * The use of a ticket by a client: in the query of a handshake, or in an auth frame of its connection.
 */
import { WsAuthError } from '../base/errors'
import { thenRead } from '../base/thenable'
import type { Eventually } from '../backplane/contract'
import type { TicketContents } from './tickets'
import type { Authentication, AuthenticationContext } from './authentication'

/**
 * Reads a ticket for the path and the Origin of a request. During an outage of the backplane the ticket is not spent, because it would be
 * lost, and because a store that hangs would queue all requests.
 *
 * @param isSpent false for a dry run
 * @throws the errors of `Tickets#read`; WsAuthError `WS_AUTH_UNAVAILABLE` during an outage
 */
export function readTicketOf ({ request, route }: Authentication, ticket: string, isSpent: boolean, context: AuthenticationContext): Eventually<TicketContents> {
  const { tickets, checks, revocation, names } = context
  const outage = revocation.refusalOf(null, null)
  if (outage !== null) throw outage
  if (tickets === null) throw invalid('the "tickets" option is off')
  const [path = ''] = request.originalUrl.split(names.queryStart, 1)
  const needsBinding = checks.hasOwnVerifier(route)
  return tickets.read(ticket, { path, origin: request.raw.headers.origin, isSpent, needsBinding })
}

/** Authenticates by the ticket of an auth frame, and spends it. A check of first messages and of renewals. */
export function useFrameTicket (attempt: Authentication, context: AuthenticationContext): void | PromiseLike<void> {
  const { credential, route } = attempt
  if (credential?.source !== 'ticket') return
  if (route.tickets.require) throw invalid('the route authenticates by a token, and needs a ticket only in the handshake')
  const { rules } = context.checks.of(route).verifier
  return thenRead(readTicketOf(attempt, credential.token, true, context), (verified) => attempt.become(verified, rules, verified.kid))
}

function invalid (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TICKET_INVALID', { cause })
}
