/*
 * The list of checks between an upgrade request and an authenticated connection, in the order in which they are made.
 */
import type { FastifyRequest } from 'fastify'
import { Authentication, authorize, checkClaims, readUser, verifyToken } from './authentication'
import type { AuthenticationServices } from './authentication'
import { readCredential, takeHeaders } from './credentials'
import type { TakenCredentials, TakenHeaders } from './credentials'
import { WsAuthError } from './errors'
import type { Limits } from './limits'
import { assertOpening } from './opening-handshake'
import type { CompleteRouteOptions } from './options'
import { isSameHost } from './origin'
import { answer, runSteps } from './steps'
import type { Step } from './steps'

/** What all handshakes of an app share. */
export interface HandshakeServices extends AuthenticationServices {
  readonly limits: Limits
}

/** One handshake on a guarded route, or a dry run of one, and what it has found out so far. */
export class Handshake extends Authentication {
  readonly taken: TakenCredentials
  readonly headers: TakenHeaders
  readonly isDryRun: boolean

  constructor (request: FastifyRequest, route: CompleteRouteOptions, taken: TakenCredentials, isDryRun: boolean) {
    super(request, route, null)
    this.taken = taken
    this.headers = takeHeaders(request, route.token)
    this.isDryRun = isDryRun
  }

  /** Whether the token is to come with the first message. On an optional route, who brings none is anonymous. */
  get awaitsMessage (): boolean {
    return this.credential === null && this.route.token.message !== null && this.route.access === 'required'
  }
}

const STEPS: ReadonlyArray<Step<Handshake, HandshakeServices>> = [
  checkOpening, checkPending, readToken, checkOrigin, requireToken, verifyToken, checkClaims, readUser, authorize
]

/** Makes all checks and answers with the first refusal, or with `null`. */
export function runHandshake (handshake: Handshake, services: HandshakeServices): WsAuthError | null | Promise<WsAuthError | null> {
  return runSteps(handshake, services, STEPS)
}

/** Nothing is read, verified or spent for a request that cannot become a connection. */
function checkOpening ({ request, taken, isDryRun }: Handshake): void {
  if (!isDryRun) assertOpening(request.raw, taken.hasValidProtocols)
}

/** A dry run is not one of those that are pending, and asks whether there was room for one more. */
function checkPending ({ isDryRun }: Handshake, { limits }: HandshakeServices): void {
  const refusal = limits.refusalOfPending(isDryRun ? 1 : 0)
  if (refusal !== null) throw refusal
}

function readToken (handshake: Handshake): void {
  const { request, route, taken, headers } = handshake
  handshake.credential = readCredential(request, route.token, taken, headers)
}

function checkOrigin ({ request, route, credential, awaitsMessage }: Handshake): void | PromiseLike<void> {
  const { origin } = request.raw.headers
  const allowed = route.origin
  if (origin === undefined || allowed === 'any') return
  // What a page cannot send by itself cannot be sent by another page either: only a cookie is ambient. A page that is to
  // send a token later may have got it from its user's browser in ways that are not seen here.
  if (allowed === 'same-host') {
    return credential?.source === 'cookie' || awaitsMessage ? assertOrigin(isSameHost(origin, request.host)) : undefined
  }
  return answer(typeof allowed === 'function' ? allowed(origin, request) : allowed.includes(origin), assertOrigin)
}

function assertOrigin (isAllowed: boolean): void {
  if (isAllowed !== true) throw new WsAuthError('WS_AUTH_ORIGIN_FORBIDDEN')
}

function requireToken ({ credential, route, awaitsMessage }: Handshake): void {
  if (credential === null && route.access === 'required' && !awaitsMessage) throw new WsAuthError('WS_AUTH_TOKEN_MISSING')
}
