/*
 * Renewal: an open connection continues with another token, or with a ticket, of the same user. If that is refused, nothing changes, and
 * the old deadline stays.
 */
import { AsyncResource } from 'node:async_hooks'
import type { FastifyRequest } from 'fastify'
import type { Audit } from '../audit/audit'
import { Authentication } from '../authentication/authentication'
import { authorize } from '../authentication/authorization'
import { checkRevoked, TOKEN_STEPS, USER_STEPS } from '../authentication/checks'
import type { AuthenticationContext } from '../authentication/authentication'
import { WsAuthError } from '../base/errors'
import { SampledLines } from '../base/sampled-lines'
import { useFrameTicket } from '../authentication/ticket-use'
import { AUTH_PONG, authError, authOk } from '../connection/auth-frames'
import type { AuthFrame } from '../connection/auth-frames'
import type { Credential } from '../credentials/found'
import type { CompleteRouteOptions } from '../options/complete-options'
import type { Identity, SetUser } from '../authentication/identity'
import type { GuardedSocket } from '../connection/socket-guard'
import type { ConnectionRenewals } from '../connection/connection-renewals'
import type { KeptRequest } from '../connection/kept-request'
import type { OpenConnection } from '../connection/open-connection'
import { runSteps } from '../authentication/steps'
import type { Step } from '../authentication/steps'
import { isThenable } from '../base/thenable'
import { Answers } from './answers'
import { credentialOf } from './frame-credential'

/** No `destroy` hook is needed for these contexts. */
const MANUAL = { requireManualDestroy: true }

/** How many renewals of one connection may be in progress. */
const MAX_UNDER_WAY = 8

/** How many refusals of one connection have a line in the log, each second. */
const MAX_LINES = 10

/** The cause of a refusal that tells the client to connect anew: the token is good. */
const OTHER_SUBJECT = 'it is about another subject'

/** One attempt to renew a connection. */
class Renewal extends Authentication {
  readonly connection: OpenConnection
  readonly startedAt = Date.now()
  /** Called when the renewal is aborted. */
  onAbort: (() => void) | null = null

  constructor (connection: OpenConnection, request: FastifyRequest, route: CompleteRouteOptions, credential: Credential) {
    super(request, route, credential)
    this.connection = connection
  }

  override abort (): void {
    super.abort()
    this.onAbort?.()
  }
}

const STEPS: ReadonlyArray<Step<Renewal, AuthenticationContext>> = [useFrameTicket, ...TOKEN_STEPS, checkSame, ...USER_STEPS, authorize]

/** The renewals of an app. */
export class Renewals implements ConnectionRenewals<OpenConnection> {
  readonly #context: AuthenticationContext
  readonly #audit: Audit
  readonly #setUser: SetUser
  /** The renewals that wait for a check. */
  readonly #underWay = new Map<OpenConnection, Set<Renewal>>()
  /** The async context of the request of each connection: `verify`, `user` and `authorize` may read the AsyncLocalStorage of the app. */
  readonly #contexts = new Map<OpenConnection, AsyncResource>()
  readonly #answers = new Answers()
  /** Those of the connections that were refused a renewal. */
  readonly #lines = new Map<OpenConnection, SampledLines>()

  constructor (context: AuthenticationContext, audit: Audit, setUser: SetUser) {
    this.#context = context
    this.#audit = audit
    this.#setUser = setUser
  }

  attach (connection: OpenConnection): void {
    this.#contexts.set(connection, new AsyncResource('fastify-ws-auth.renewals', MANUAL))
  }

  /** @throws WsAuthError if the token or the ticket is refused */
  async renew (connection: OpenConnection, request: KeptRequest, route: CompleteRouteOptions, credential: Credential): Promise<FastifyRequest['user']> {
    const renew = async (): Promise<FastifyRequest['user']> => await this.#renew(connection, request, route, credential)
    return await (this.#contexts.get(connection)?.runInAsyncScope(renew) ?? renew())
  }

  async #renew (connection: OpenConnection, request: KeptRequest, route: CompleteRouteOptions, credential: Credential): Promise<FastifyRequest['user']> {
    if (connection.isEnded) throw closed()
    const renewal = new Renewal(connection, request.forChecks, route, credential)
    const outcome = runSteps(renewal, this.#context, STEPS)
    const refusal = this.#apply(renewal, request, isThenable(outcome) ? await this.#wait(renewal, outcome) : outcome)
    // The connection ended meanwhile; its own audit event covers this.
    if (connection.isEnded) throw closed()
    if (refusal !== null) {
      this.#report(connection, request, route, refusal, renewal.startedAt)
      throw refusal
    }
    this.#audit.renewed(request, connection, route, renewal.startedAt)
    return connection.user as FastifyRequest['user']
  }

  /** Answers an auth frame. */
  onFrame (connection: OpenConnection, socket: GuardedSocket, request: KeptRequest, route: CompleteRouteOptions, frame: AuthFrame): void {
    const answer = (text: string): void => this.#answers.send(connection, socket, text)
    if (frame.type === 'auth.ping') return answer(AUTH_PONG)
    const credential = this.#hasRoom(connection) ? credentialOf(frame) : new WsAuthError('WS_AUTH_LIMIT', { cause: 'renewals under way' })
    if (credential instanceof WsAuthError) {
      this.#report(connection, request, route, credential, Date.now())
      return answer(authError(credential.code, frame.id))
    }
    this.renew(connection, request, route, credential).then(
      () => answer(authOk(connection, frame.id)),
      ({ code, cause }: WsAuthError) => answer(authError(code, frame.id, cause === OTHER_SUBJECT))
    )
  }

  /** A connection may be anonymous, and send auth frames as fast as the network carries them. */
  #report (connection: OpenConnection, request: KeptRequest, route: CompleteRouteOptions, refusal: WsAuthError, startedAt: number): void {
    const lines = this.#lines.get(connection) ?? new SampledLines(MAX_LINES)
    this.#lines.set(connection, lines)
    this.#audit.renewalRefused(request, connection, route, { refusal, skipped: lines.next() }, startedAt)
  }

  #hasRoom (connection: OpenConnection): boolean {
    return (this.#underWay.get(connection)?.size ?? 0) < MAX_UNDER_WAY
  }

  /** Aborts the renewals of a connection that has ended. */
  abort (connection: OpenConnection): void {
    this.#contexts.delete(connection)
    this.#lines.delete(connection)
    for (const renewal of this.#underWay.get(connection) ?? []) renewal.abort()
  }

  /** Waits for the checks, at most until `handshakeTimeout`, or until the connection ends. */
  async #wait (renewal: Renewal, outcome: Promise<WsAuthError | null>): Promise<WsAuthError | null> {
    const others = this.#underWay.get(renewal.connection) ?? new Set()
    this.#underWay.set(renewal.connection, others.add(renewal))
    const { handshakeTimeout } = this.#context.options
    const timer = setTimeout(() => renewal.abort(), handshakeTimeout).unref()
    const aborted = new Promise<WsAuthError>((resolve) => {
      renewal.onAbort = () => resolve(new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new Error('the renewal took longer than handshakeTimeout') }))
    })
    const refusal = await Promise.race([outcome, aborted])
    clearTimeout(timer)
    others.delete(renewal)
    if (others.size === 0) this.#underWay.delete(renewal.connection)
    return refusal
  }

  /** Applies an accepted renewal in one turn, if it is still valid. */
  #apply (renewal: Renewal, { held: request }: KeptRequest, refusal: WsAuthError | null): WsAuthError | null {
    const { connection } = renewal
    if (connection.endIfDue() || refusal !== null) return refusal
    // Meanwhile the token may have been revoked, or another renewal may have applied a newer one.
    const late = refusalOfChange(connection, renewal) ?? this.#context.revocation.refusalOf(renewal.claims, renewal.sub, renewal.groups, renewal.kid)
    if (late !== null) return late
    const fault = request === null ? null : this.#setUser(request, renewal.user)
    if (fault === null) connection.become(renewal)
    return fault
  }
}

function closed (): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: 'the connection is closed' })
}

function checkSame (renewal: Renewal, context: AuthenticationContext): void {
  const refusal = refusalOfChange(renewal.connection, renewal)
  if (refusal === null) return
  // With a good token of another subject, the client may connect anew.
  if (refusal.cause === OTHER_SUBJECT) checkRevoked(renewal, context)
  throw refusal
}

/** What a renewal must not change. */
type Renewed = Pick<Identity, 'claims' | 'sub'>

/** A connection keeps its user, and never returns to an older token, because that could have been stolen. */
function refusalOfChange ({ claims: present, sub }: Renewed, { claims: next, sub: nextSub }: Renewed): WsAuthError | null {
  if (nextSub !== null && sub !== nextSub) return invalid(OTHER_SUBJECT)
  // Two tokens without a subject may be about different users.
  if (present === null || next === null || nextSub === null) return invalid('it has no subject')
  if (present.iss !== next.iss) return invalid('it is of another iss')
  if ((next.iat ?? -Infinity) < (present.iat ?? -Infinity)) return invalid('it was issued before the present one')
  if ((next.exp ?? Infinity) < (present.exp ?? Infinity)) return invalid('it expires before the present one')
  return null
}

function invalid (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TOKEN_INVALID', { cause })
}
