/*
 * The checks between an upgrade request and an authenticated connection, in the order in which they are made.
 */
import type { AuthenticationContext } from '../authentication/authentication'
import { authorize } from '../authentication/authorization'
import { checkTicketUser, TOKEN_STEPS, USER_STEPS } from '../authentication/checks'
import { runSteps } from '../authentication/steps'
import type { Step } from '../authentication/steps'
import { readTicketOf } from '../authentication/ticket-use'
import { WsAuthError } from '../base/errors'
import { thenRead } from '../base/thenable'
import type { Limits } from '../connection/limits'
import { takeUserSlot } from '../connection/user-slots'
import { readCredential, readTicket } from '../credentials/choose'
import { reasonOfMissing } from '../credentials/near-misses'
import { mayCompress } from '../options/complete-options'
import { groupsOf } from '../token/groups'
import { subjectOf } from '../token/subject'
import type { Handshake } from './handshake'
import { assertOpening } from './opening'
import { checkOrigin } from './origin'
import { assertTls } from './tls'

/** The cause of a refusal if a ticket is required, and there is neither a ticket nor a token: the client sent nothing wrong. */
export const NOTHING_SENT = 'there is none, and no token'

/** What all handshakes of an app share. */
export interface HandshakeContext extends AuthenticationContext {
  readonly limits: Limits
}

const STEPS: ReadonlyArray<Step<Handshake, HandshakeContext>> = [
  checkOpening, checkTls, checkRoom, readToken, checkOrigin, requireTicket, requireToken, useTicket,
  ...TOKEN_STEPS, checkTicketUser, ...USER_STEPS, authorize, takeSlot
]

/** Makes all checks. Returns the first refusal, or `null`; a promise only if a check has to wait. */
export function runHandshake (handshake: Handshake, context: HandshakeContext): WsAuthError | null | Promise<WsAuthError | null> {
  return runSteps(handshake, context, STEPS)
}

/** Nothing is read, verified or spent for a request that cannot become a connection. */
function checkOpening ({ request, taken, purpose }: Handshake, { options }: HandshakeContext): void {
  if (purpose === 'connection') assertOpening(request.raw, taken.hasValidProtocols, mayCompress(options))
}

/** A token that was sent in the clear is not looked at. */
function checkTls ({ request, route }: Handshake): void {
  assertTls(request, route)
}

/**
 * An upgrade is counted already. A plain request is counted only if it has to wait, so there must be room for one more. A full server
 * verifies no token; whether it is full is checked again with the slot.
 */
function checkRoom ({ purpose }: Handshake, { limits }: HandshakeContext): void {
  const refusal = limits.refusalOfPending(purpose === 'connection' ? 0 : 1) ?? (purpose === 'ticket' ? null : limits.refusalOfConnections())
  if (refusal !== null) throw refusal
}

function readToken (handshake: Handshake): void {
  const { request, route, taken, headers, purpose } = handshake
  const ticket = purpose === 'ticket' ? null : readTicket(taken, route.tickets.query)
  handshake.ticket = route.tickets.require ? ticket : null
  handshake.credential = readCredential(request, route.token, taken, headers, route.tickets.require ? null : ticket)
}

/** An anonymous user needs no ticket. */
function requireTicket ({ ticket, credential, route, purpose }: Handshake): void {
  if (!route.tickets.require || ticket !== null || purpose === 'ticket') return
  if (credential !== null) throw new WsAuthError('WS_AUTH_TICKET_INVALID', { cause: 'there is none' })
  if (route.access === 'required') throw new WsAuthError('WS_AUTH_TICKET_INVALID', { cause: NOTHING_SENT })
}

function requireToken ({ credential, request, route, taken, awaitsMessage }: Handshake): void {
  if (credential !== null || route.access !== 'required' || awaitsMessage) return
  throw new WsAuthError('WS_AUTH_TOKEN_MISSING', { cause: reasonOfMissing(request, route.token, taken) })
}

/** Spends the ticket. It authenticates by itself, or admits a client that has a token too. */
function useTicket (handshake: Handshake, context: HandshakeContext): void | PromiseLike<void> {
  const { ticket, credential, route, purpose } = handshake
  const used = credential?.source === 'ticket' ? credential : ticket
  if (used === null || context.tickets === null) return
  return thenRead(readTicketOf(handshake, used.token, purpose === 'connection', context), (verified) => {
    if (used === ticket) {
      handshake.ticketClaims = verified.claims
      handshake.ticketSub = subjectOf(verified.claims, route.subject)
      handshake.ticketGroups = groupsOf(verified.claims, context.options.groups)
      handshake.ticketKid = verified.kid ?? null
    } else handshake.become(verified, context.checks.of(route).verifier.rules, verified.kid)
  })
}

/** A dry run takes no slot, and a ticket request needs none. */
function takeSlot (handshake: Handshake, context: HandshakeContext): void | PromiseLike<void> {
  if (context.limits.users === null || handshake.purpose === 'ticket') return
  return handshake.purpose === 'connection' ? takeUserSlot(handshake, context) : context.limits.users.check(handshake)
}
