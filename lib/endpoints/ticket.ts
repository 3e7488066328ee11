/*
 * The route that issues tickets: a plain request with a token is answered with a ticket.
 */
import type { FastifyInstance } from 'fastify'
import type { Audit } from '../audit/audit'
import type { Authentication } from '../authentication/authentication'
import type { KnownNames } from '../credentials/known-names'
import { WsAuthError } from '../base/errors'
import type { CompleteOptions } from '../options/complete-options'
import { addAdvice } from '../handshake/answer'
import { takeAuthenticated } from '../handshake/candidate'
import { declareTicketRoute } from '../handshake/routes'
import { readBinding } from '../authentication/ticket-binding'
import type { TicketBinding } from '../authentication/ticket-binding'
import type { Tickets } from '../authentication/tickets'

/** The longest body, in bytes: it has room for a path and an origin. */
const BODY_LIMIT = 16_384

/** The objects that the route works with. */
export interface TicketRouteDependencies {
  readonly options: CompleteOptions
  readonly tickets: Tickets
  readonly audit: Audit
  readonly names: KnownNames
}

/** Adds the route. The body of a request may bind the ticket to a path and an origin: `{ path, origin }`, as for `issueTicket`. */
export function addTicketRoute (app: FastifyInstance, path: string, { options, tickets, audit, names }: TicketRouteDependencies): void {
  app.post(path, { ...declareTicketRoute(options, names), bodyLimit: BODY_LIMIT }, async (request, reply) => {
    const asker = takeAuthenticated(request.raw) as Authentication
    const startedAt = Date.now() - reply.elapsedTime
    const claims = asker.claims as NonNullable<typeof asker.claims>
    // The ticket keeps the claims alone if the `user` option can compute the user again.
    const user = options.user === undefined ? asker.user : claims
    const binding = readBody(request.body)
    const issued = await tickets.issue({ claims, user, kid: asker.kid }, binding).catch((error: unknown) => {
      const refusal = asRefusal(error)
      audit.refused(request, refusal, asker, { purpose: 'ticket', route: null, startedAt })
      addAdvice(reply, refusal.code, null)
      throw refusal
    })
    audit.ticketIssued(request, asker, startedAt)
    return reply.header('cache-control', 'no-store').send(issued)
  })
}

function readBody (body: unknown): TicketBinding {
  try {
    return readBinding(body ?? {})
  } catch (error) {
    throw Object.assign(error as TypeError, { statusCode: 400 })
  }
}

/** Claims that cannot be stored are a fault of the verifier, not of the client. */
function asRefusal (error: unknown): WsAuthError {
  return error instanceof WsAuthError ? error : new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error })
}
