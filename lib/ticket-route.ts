/*
 * Where clients get their tickets: a plain request with a token, answered with a ticket.
 */
import type { FastifyInstance } from 'fastify'
import type { Audit } from './audit'
import type { Authentication } from './authentication'
import type { CompleteOptions } from './options'
import { declareTicketRoute } from './routes'
import type { Tickets } from './tickets'
import { WsAuthError } from './errors'

/** The longest body, in bytes: a path and an origin. */
const BODY_LIMIT = 16_384

/** What the route works with. */
export interface TicketRouteParts {
  readonly options: CompleteOptions
  readonly tickets: Tickets
  readonly audit: Audit
  /** Who asks, as the hook before has found out. */
  readonly takeAsker: (request: object) => Authentication
}

/** Adds the route. Its body may bind the ticket: `{ path, origin }`, as the options of `issueTicket`. */
export function addTicketRoute (app: FastifyInstance, path: string, { options, tickets, audit, takeAsker }: TicketRouteParts): void {
  app.post(path, { ...declareTicketRoute(options), bodyLimit: BODY_LIMIT }, async (request, reply) => {
    const asker = takeAsker(request)
    const claims = asker.claims as NonNullable<typeof asker.claims>
    // What the `user` option makes of the claims it makes again.
    const user = options.user === undefined ? asker.user : claims
    const issued = await tickets.issue({ claims, user }, request.body ?? {}).catch((error: unknown) => {
      if (error instanceof WsAuthError) audit.refused(request, error, asker, Date.now() - reply.elapsedTime, false)
      throw error instanceof TypeError ? Object.assign(error, { statusCode: 400 }) : error
    })
    audit.ticketIssued(request, asker, Date.now() - reply.elapsedTime)
    return reply.header('cache-control', 'no-store').send(issued)
  })
}
