/*
 * Rechecks: the app is asked again about each open connection, once in every interval. A token that was revoked at its issuer, which this
 * package cannot know, ends its connection at the next recheck.
 */
import { AsyncResource } from 'node:async_hooks'
import type { FastifyBaseLogger } from 'fastify'
import type { AuthenticationContext } from '../authentication/authentication'
import type { SetUser } from '../authentication/identity'
import { withoutSecrets } from '../authentication/steps'
import { withDeadline } from '../base/deadline'
import { WsAuthError } from '../base/errors'
import { quietLog } from '../base/quiet-log'
import type { QuietLog } from '../base/quiet-log'
import { SampledLines } from '../base/sampled-lines'
import { authRetry } from '../connection/auth-frames'
import type { Connection } from '../connection/connection'
import type { ConnectionRechecks } from '../connection/connection-rechecks'
import type { OpenConnection } from '../connection/open-connection'
import { EarlyEnds } from './early-ends'
import type { CompleteRouteOptions, Recheck } from '../options/complete-options'
import { RecheckAttempt, runRecheck } from './recheck-attempt'
import { Rotation } from './rotation'
import type { Turn } from './rotation'

/** How often it is looked whose turn it is, in milliseconds. */
const TICK = 100
/** How many checks may be under way. */
const MAX_UNDER_WAY = 50

/** The objects that rechecks work with. */
export interface RecheckDependencies {
  readonly context: AuthenticationContext
  readonly setUser: SetUser
  readonly log: FastifyBaseLogger
}

/** The token of a connection is not known here. */
const NO_CREDENTIAL = { credential: null }

/** The `check` option, as it is called: `connection` is what `request.wsAuth` is. */
type Check = (connection: Connection, context: { signal: AbortSignal }) => unknown

/** A connection that is asked about, and the async context of its request: `check` may read the AsyncLocalStorage of the app. */
class Entry extends AsyncResource implements Turn {
  readonly connection: OpenConnection
  readonly route: CompleteRouteOptions
  turnAt = performance.now()
  /** Of the check that is under way. */
  aborter: AbortController | null = null

  constructor (connection: OpenConnection, route: CompleteRouteOptions) {
    // No `destroy` hook is needed.
    super('fastify-ws-auth.recheck', { requireManualDestroy: true })
    this.connection = connection
    this.route = route
  }
}

/** The rechecks of an app. */
export class Rechecks implements ConnectionRechecks<OpenConnection> {
  /** The timer is set when one user connects, and asks about the connections of all: it must not run in the async context of that user. */
  readonly #asyncContext = new AsyncResource('fastify-ws-auth.rechecks')
  readonly #context: AuthenticationContext
  readonly #every: number
  readonly #setUser: SetUser
  readonly #log: QuietLog
  readonly #lines = new SampledLines()
  readonly #check: Check
  readonly #closesOnFailure: boolean
  readonly #rotation: Rotation<OpenConnection, Entry>
  readonly #earlyEnds = new EarlyEnds()
  #underWay = 0
  #timer: NodeJS.Timeout | null = null

  constructor ({ every, check, onFailure }: Recheck, { context, setUser, log }: RecheckDependencies) {
    this.#context = context
    this.#setUser = setUser
    this.#log = quietLog(log)
    this.#check = check as Check
    this.#closesOnFailure = onFailure === 'close'
    this.#every = every
    this.#rotation = new Rotation(every)
  }

  /** An anonymous connection has no claims that could have been revoked. */
  add (connection: OpenConnection, route: CompleteRouteOptions): void {
    if (connection.claims === null || connection.isEnded) return
    this.#rotation.add(connection, new Entry(connection, route))
    if (this.#timer === null) this.#schedule()
  }

  remove (connection: OpenConnection): void {
    this.#rotation.remove(connection)?.aborter?.abort()
    this.#earlyEnds.forget(connection)
  }

  stop (): void {
    clearTimeout(this.#timer ?? undefined)
    this.#timer = null
    this.#earlyEnds.stop()
  }

  #schedule (): void {
    this.#timer = this.#asyncContext.runInAsyncScope(() => setTimeout(this.#tick, Math.min(TICK, this.#every)).unref())
  }

  readonly #tick = (): void => {
    this.#timer = null
    if (this.#rotation.size === 0) return
    this.#askNext()
    this.#schedule()
  }

  /** Asks about the connections whose turn it is, as long as there is room. */
  readonly #askNext = (): void => {
    while (this.#underWay < MAX_UNDER_WAY) {
      const entry = this.#rotation.take(performance.now())
      if (entry === null) return
      if (entry.aborter === null) void this.#ask(entry)
    }
  }

  /** Never rejects. */
  async #ask (entry: Entry): Promise<void> {
    const aborter = entry.aborter = new AbortController()
    this.#underWay++
    const { connection } = entry
    const { claims } = connection
    const verdict = await entry.runInAsyncScope(() => this.#verdictOf(entry, aborter))
    try {
      // A renewal wins: the answer was about the token before it.
      if (!connection.endIfDue() && connection.claims === claims) this.#apply(entry, verdict)
    } catch (error) {
      // The logger of the app threw while the connection was closed.
      this.#log.error({ err: error }, 'closing a websocket connection failed')
    }
    entry.aborter = null
    // In another turn, because a check may answer at once.
    if (this.#underWay-- === MAX_UNDER_WAY) setImmediate(this.#askNext)
  }

  /** The claims to take over, the refusal, or `null` if the connection stays as it is. */
  async #verdictOf (entry: Entry, aborter: AbortController): Promise<RecheckAttempt | WsAuthError | null> {
    try {
      const verdict = (async () => await this.#askApp(entry, aborter.signal))()
      return await withDeadline(verdict, this.#context.options.handshakeTimeout, 'the recheck')
    } catch (error) {
      aborter.abort()
      // The error of an HTTP client has its request, and with it the token that was asked about.
      return withoutSecrets(error, NO_CREDENTIAL)
    }
  }

  async #askApp ({ connection, route }: Entry, signal: AbortSignal): Promise<RecheckAttempt | WsAuthError | null> {
    const answer = await this.#check(connection, { signal })
    // The connection has ended, or the time is over: the answer changes nothing.
    if (answer === true || signal.aborted) return null
    // As claims, an error would admit a connection without a subject for ever.
    if (typeof answer !== 'object' || answer === null || Array.isArray(answer) || answer instanceof Error) return new WsAuthError('WS_AUTH_TOKEN_REVOKED', { cause: answer === undefined ? 'check returned undefined (is a return or an await missing?)' : 'check returned neither true nor claims' })
    const attempt = new RecheckAttempt(connection, route, answer)
    signal.addEventListener('abort', () => attempt.abort())
    return await runRecheck(attempt, this.#context) ?? attempt
  }

  #apply (entry: Entry, verdict: RecheckAttempt | WsAuthError | null): void {
    if (verdict === null) return
    const refusal = verdict instanceof WsAuthError ? verdict : this.#become(entry, verdict)
    if (refusal !== null) this.#refuse(entry, refusal)
  }

  #become ({ connection }: Entry, attempt: RecheckAttempt): WsAuthError | null {
    const { kept: { held: request } } = connection
    // The claims may have been revoked while `authorize` was asked.
    const refusal = this.#context.revocation.refusalOf(attempt.claims, attempt.sub, attempt.groups, attempt.kid) ?? (request === null ? null : this.#setUser(request, attempt.user))
    if (refusal !== null) return refusal
    const before = connection.endsAt
    connection.become(attempt)
    this.#earlyEnds.watch(connection, before)
    return null
  }

  #refuse ({ connection }: Entry, { code, statusCode, cause }: WsAuthError): void {
    const { id, sub } = connection
    if (statusCode >= 500) {
      const skipped = this.#lines.next()
      if (skipped !== null) this.#log.warn({ err: cause, connectionId: id, sub, skipped }, 'the recheck of a websocket connection failed')
      if (!this.#closesOnFailure) return
      connection.tell(authRetry(this.#rotation.size))
      connection.closeFor('auth_unavailable', 'unavailable')
      return
    }
    this.#log.info({ code, connectionId: id, sub, why: cause instanceof Error ? cause.message : cause }, 'a recheck ends a websocket connection')
    if (code === 'WS_AUTH_FORBIDDEN') connection.closeFor('forbidden', 'forbidden')
    else connection.closeFor(code === 'WS_AUTH_TOKEN_EXPIRED' ? 'token_expired' : 'token_revoked', 'unauthorized')
  }
}
