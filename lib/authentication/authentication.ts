/*
 * The checks that a handshake, a first message and a renewal share. This folder imports from base, token, backplane, revocation, options
 * and credentials. Start here with an attempt, then read `steps.ts` (runs a list of checks), `checks.ts` and `authorization.ts`.
 */
import type { FastifyRequest } from 'fastify'
import type { Credential, TokenSource } from '../credentials/found'
import type { KnownNames } from '../credentials/known-names'
import type { CompleteOptions, CompleteRouteOptions } from '../options/complete-options'
import type { RevocationCheck } from '../revocation/revocation-check'
import { expiryOf } from '../token/claims'
import type { ClaimRules, Claims } from '../token/claims'
import type { Verified } from '../token/verifier'
import { NO_GROUPS } from '../token/groups'
import type { VerifiedIdentity } from './identity'
import type { Tickets } from './tickets'
import type { TokenChecksByRoute } from './token-checks'
import type { UserSlot } from './user-slot'

/** What all attempts of an app share. */
export interface AuthenticationContext {
  readonly options: CompleteOptions
  readonly checks: TokenChecksByRoute
  readonly revocation: RevocationCheck
  /** `null` if tickets are off. */
  readonly tickets: Tickets | null
  readonly names: KnownNames
}

/** A ticket that a route needs beside the token. */
export interface RequiredTicket {
  /** Its claims; `null` if there was none. */
  readonly ticketClaims: Claims | null
  /** The subject, the groups and the `kid` that {@link Authenticated} has for the token. */
  readonly ticketSub: string | null
  readonly ticketGroups: readonly string[]
  readonly ticketKid: string | null
}

/** The result of an attempt. */
export interface Authenticated extends VerifiedIdentity, RequiredTicket {
  /** The slot of the user on all instances; `null` if slots are counted on each instance. */
  readonly slot: UserSlot | null
}

/** One attempt to authenticate, and its results so far. */
export class Authentication implements Authenticated {
  readonly request: FastifyRequest
  readonly route: CompleteRouteOptions
  credential: Credential | null
  claims: Claims | null = null
  sub: string | null = null
  groups: readonly string[] = NO_GROUPS
  kid: string | null = null
  user: FastifyRequest['user'] | null = null
  expiresAt: number | null = null
  ticketClaims: Claims | null = null
  ticketSub: string | null = null
  ticketGroups: readonly string[] = NO_GROUPS
  ticketKid: string | null = null
  slot: UserSlot | null = null
  /** Whether the attempt has ended before its last check: the client disconnected, or the deadline passed. */
  isOver = false
  #aborter: AbortController | null = null

  constructor (request: FastifyRequest, route: CompleteRouteOptions, credential: Credential | null) {
    this.request = request
    this.route = route
    this.credential = credential
  }

  get source (): TokenSource | null {
    return this.credential?.source ?? null
  }

  /** Aborts when the attempt is over. Made on first use, because few verifiers use it. */
  get signal (): AbortSignal {
    this.#aborter ??= new AbortController()
    return this.#aborter.signal
  }

  abort (): void {
    this.isOver = true
    this.#aborter?.abort()
  }

  /** Takes over the ticket of the handshake, for a token in a message. */
  takeTicket ({ ticketClaims, ticketSub, ticketGroups, ticketKid }: RequiredTicket): void {
    this.ticketClaims = ticketClaims
    this.ticketSub = ticketSub
    this.ticketGroups = ticketGroups
    this.ticketKid = ticketKid
  }

  /** Takes over the claims and the user of a verified token or ticket. */
  become ({ claims, user }: Verified, rules: ClaimRules, kid: string | null = null): void {
    this.claims = claims
    this.kid = kid
    // For the log of a refusal before the subject is read.
    if (this.route.subject === undefined && typeof claims.sub === 'string') this.sub = claims.sub
    this.user = user as FastifyRequest['user']
    this.expiresAt = expiryOf(claims, rules)
  }
}
