/*
 * The list of checks between an upgrade request and an authenticated connection, in the order in which they are made.
 */
import type { FastifyRequest } from 'fastify'
import { Authentication } from '../authentication/authentication'
import { authorize } from '../authentication/authorization'
import { checkClaims, checkRevoked, checkTicketUser, readUser, verifyToken } from '../authentication/checks'
import type { AuthenticationContext } from '../authentication/authentication'
import { readCredential, readTicket } from '../credentials/choose'
import { takeHeaders, takePlainHeaders } from '../credentials/headers'
import type { Credential, TakenCredentials, TakenHeaders } from '../credentials/found'
import type { KnownNames } from '../credentials/known-names'
import { WsAuthError } from '../base/errors'
import type { Limits } from '../connection/limits'
import { reasonOfMissing } from '../credentials/near-misses'
import { assertOpening } from './opening'
import { mayCompress } from '../options/complete-options'
import type { CompleteRouteOptions } from '../options/complete-options'
import { isSameHost } from './origin'
import { namesOf } from '../base/sent-names'
import { textWithoutToken } from '../base/redaction'
import { runSteps } from '../authentication/steps'
import type { Step } from '../authentication/steps'
import { thenRead } from '../base/thenable'
import type { Tickets } from '../authentication/tickets'

/** The cause of a refusal for want of a ticket where there is no token either: nothing was sent that could be wrong. */
export const NOTHING_SENT = 'there is none, and no token'

/** How much of an Origin that was refused the log has, in characters. */
const MAX_LOGGED = 200

/** What all handshakes of an app share. */
export interface HandshakeServices extends AuthenticationContext {
  readonly limits: Limits
  /** `null` where there are none. */
  readonly tickets: Tickets | null
  readonly names: KnownNames
}

/** What is asked for: a connection, what a connection would be answered, or a ticket. */
export type HandshakePurpose = 'connection' | 'dry run' | 'ticket'

/** One handshake on a guarded route, or a dry run of one, and what it has found out so far. */
export class Handshake extends Authentication {
  readonly taken: TakenCredentials
  readonly headers: TakenHeaders
  readonly purpose: HandshakePurpose
  /** The ticket that is needed beside the token. */
  ticket: Credential | null = null

  constructor (request: FastifyRequest, route: CompleteRouteOptions, taken: TakenCredentials, purpose: HandshakePurpose) {
    super(request, route, null)
    this.taken = taken
    this.headers = purpose === 'dry run' ? takePlainHeaders(request, route.token) : takeHeaders(request, route.token)
    this.purpose = purpose
  }

  /** Whether the token is to come with the first message. On an optional route, who brings none is anonymous. */
  get awaitsMessage (): boolean {
    return this.credential === null && this.route.token.message !== null && this.route.access === 'required'
  }
}

const STEPS: ReadonlyArray<Step<Handshake, HandshakeServices>> = [
  checkOpening, checkPending, readToken, checkOrigin, requireTicket, requireToken, useTicket, verifyToken, checkTicketUser, checkClaims,
  checkRevoked, readUser, authorize
]

/** Makes all checks and answers with the first refusal, or with `null`. */
export function runHandshake (handshake: Handshake, services: HandshakeServices): WsAuthError | null | Promise<WsAuthError | null> {
  return runSteps(handshake, services, STEPS)
}

/** Nothing is read, verified or spent for a request that cannot become a connection. */
function checkOpening ({ request, taken, purpose }: Handshake, { options }: HandshakeServices): void {
  if (purpose === 'connection') assertOpening(request.raw, taken.hasValidProtocols, mayCompress(options))
}

/** An upgrade is counted already. A plain request is counted only once it has to wait, so it asks for room for one more. */
function checkPending ({ purpose }: Handshake, { limits }: HandshakeServices): void {
  const refusal = limits.refusalOfPending(purpose === 'connection' ? 0 : 1)
  if (refusal !== null) throw refusal
}

function readToken (handshake: Handshake): void {
  const { request, route, taken, headers, purpose } = handshake
  const ticket = purpose === 'ticket' ? null : readTicket(taken, route.tickets.query)
  handshake.ticket = route.tickets.require ? ticket : null
  handshake.credential = readCredential(request, route.token, taken, headers, route.tickets.require ? null : ticket)
}

function checkOrigin (handshake: Handshake): void | PromiseLike<void> {
  const { request, route, credential, awaitsMessage } = handshake
  const { origin } = request.raw.headers
  const allowed = route.origin
  if (origin === undefined || allowed === 'any') return
  // What a page cannot send by itself cannot be sent by another page either: only a cookie is ambient. A page that is to
  // send a token later may have got it from its user's browser in ways that are not seen here.
  if (allowed === 'same-host') {
    if (credential?.source !== 'cookie' && !awaitsMessage) return
    const { host, protocol } = request
    const isSecure = protocol === 'https'
    return assertOrigin(isSameHost(origin, host, isSecure), handshake, `the request came to ${isSecure ? 'https://' : ''}${host}`)
  }
  if (typeof allowed !== 'function') return assertOrigin(allowed.includes(origin), handshake, `the "origin" option has ${namesOf(allowed)}`)
  return thenRead(allowed(origin, request), (isAllowed) => assertOrigin(isAllowed, handshake, 'the "origin" function did not return true'))
}

/** The log says which it was and what it was compared with: the operator of the list of origins has to know. */
function assertOrigin (isAllowed: boolean, { request, credential }: Handshake, other: string): void {
  if (isAllowed === true) return
  // Only a browser is bound to send an origin alone: it may be a whole URL, and of any length.
  const shown = (text = ''): string => textWithoutToken(text, credential?.token ?? '').slice(0, MAX_LOGGED)
  throw new WsAuthError('WS_AUTH_ORIGIN_FORBIDDEN', { cause: `its Origin is ${shown(request.raw.headers.origin)}, and ${shown(other)}` })
}

/** An anonymous user needs none. */
function requireTicket ({ ticket, credential, route, purpose }: Handshake): void {
  if (!route.tickets.require || ticket !== null || purpose === 'ticket') return
  if (credential !== null) throw new WsAuthError('WS_AUTH_TICKET_INVALID', { cause: 'there is none' })
  if (route.access === 'required') throw new WsAuthError('WS_AUTH_TICKET_INVALID', { cause: NOTHING_SENT })
}

function requireToken ({ credential, request, route, taken, awaitsMessage }: Handshake): void {
  if (credential !== null || route.access !== 'required' || awaitsMessage) return
  throw new WsAuthError('WS_AUTH_TOKEN_MISSING', { cause: reasonOfMissing(request, route.token, taken) })
}

/**
 * From here on it is spent. It authenticates, or admits who authenticates by a token. Where nobody can say what was revoked it
 * would be spent for nothing, and a store that hangs would have all that ask in its queue.
 */
function useTicket (handshake: Handshake, { tickets, verifier, revocation, names }: HandshakeServices): void | PromiseLike<void> {
  const { ticket, credential, request, purpose } = handshake
  const used = credential?.source === 'ticket' ? credential : ticket
  if (used === null || tickets === null) return
  const outage = revocation.refusalOf(null)
  if (outage !== null) throw outage
  const [path = ''] = request.originalUrl.split(names.queryStart, 1)
  const use = { path, origin: request.raw.headers.origin, isSpent: purpose === 'connection' }
  return thenRead(tickets.read(used.token, use), (verified) => {
    if (used === ticket) handshake.ticketClaims = verified.claims
    else handshake.become(verified, verifier.rules)
  })
}
