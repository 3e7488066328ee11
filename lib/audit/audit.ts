/*
 * audit/ reports every decision in three places: an event for subscribers, a line in the log, a count for `stats()`. It may
 * import authentication/ and the folders below it. Start with the class `Audit` here; `event.ts` has the fields of an event.
 *
 * A client learns only that it was refused; the reason is in the event and in the log. Neither ever holds a token, or a claim
 * that was not verified.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { Identity } from '../authentication/identity'
import type { CloseOrder, CloseReason } from '../base/close-codes'
import { WsAuthError } from '../base/errors'
import { SampledLines } from '../base/sampled-lines'
import { isObserved, publish } from './event'
import type { RefusalLine, WsAuthEvent } from './event'
import type { CountedRoute, Stats } from './stats'

/** The token that an event is about, as far as it is known. */
type TokenSummary = Pick<Identity, 'source'> & { readonly sub: string | null }

/** The connection that an event is about. */
type ConnectionSummary = TokenSummary & { readonly id: string, readonly openedAt: number }

/** The request that an event is about, or what is left of it. */
export type AuditedRequest = Pick<FastifyRequest, 'log' | 'routeOptions'> & { readonly ip: string | null | undefined }

const NO_TOKEN: TokenSummary = { source: null, sub: null }

const NOTHING = { code: null, reason: null, match: null, by: null, why: null, route: null, source: null, sub: null, address: null, connectionId: null, dryRun: false }

/** What was refused. */
export interface Refused {
  /** Only the refusal of a connection counts as a handshake, and that of a dry run does not count at all. */
  readonly purpose: 'connection' | 'dry run' | 'ticket'
  /** `null` if it is not known, or has no websocket. */
  readonly route: CountedRoute
  /** In milliseconds since the epoch. */
  readonly startedAt: number
}

/** Reports decisions. No method throws. Each `startedAt` is in milliseconds since the epoch. */
export class Audit {
  readonly #stats: Stats
  readonly #busyLines = new SampledLines()
  readonly #unansweredLines = new SampledLines()

  constructor (stats: Stats) {
    this.#stats = stats
  }

  /** @param startedAt when the upgrade request arrived */
  accepted (request: FastifyRequest, connection: ConnectionSummary, route: CountedRoute, startedAt: number): void {
    const duration = elapsedSince(startedAt)
    this.#stats.countAccepted(route, duration)
    report('accepted', request, connection, duration, { connectionId: connection.id })
  }

  renewed (request: AuditedRequest, connection: ConnectionSummary, route: CountedRoute, startedAt: number): void {
    this.#stats.countRenewed(route)
    report('renewed', request, connection, elapsedSince(startedAt), { connectionId: connection.id })
  }

  /** @param order the command that ended it, `null` for none */
  ended (request: AuditedRequest, connection: ConnectionSummary, route: CountedRoute, reason: CloseReason, order: CloseOrder | null = null): void {
    const duration = elapsedSince(connection.openedAt)
    this.#stats.countClosed(route, reason, duration)
    const event = reason === 'token_expired' || reason === 'lifetime_exceeded' ? 'expired' : 'closed'
    report(event, request, connection, duration, { connectionId: connection.id, reason, ...order })
  }

  ticketIssued (request: FastifyRequest, token: TokenSummary, startedAt: number): void {
    report('ticket_issued', request, token, elapsedSince(startedAt), {})
  }

  refused (request: FastifyRequest, refusal: WsAuthError, token: TokenSummary | null, { purpose, route, startedAt }: Refused): void {
    const { code } = refusal
    const duration = elapsedSince(startedAt)
    if (purpose !== 'dry run') this.#stats.countRefused(route, code, purpose === 'connection' ? duration : null)
    const skipped = code === 'WS_AUTH_BUSY' ? this.#busyLines.next() : 0
    report('refused', request, token ?? NO_TOKEN, duration, { code, dryRun: purpose === 'dry run' }, purpose === 'ticket' ? { refusal, skipped, message: 'request for a websocket ticket refused' } : { refusal, skipped })
  }

  /** An upgrade request that no hook of ours received, or that a hook of the app held for too long. There is no Fastify request. */
  unanswered (request: IncomingMessage, log: FastifyBaseLogger, why: string, startedAt: number): void {
    const refusal = new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new Error(why) })
    const { code } = refusal
    const duration = elapsedSince(startedAt)
    this.#stats.countRefused(null, code, duration)
    try {
      publish(log, { ...NOTHING, event: 'refused', code, address: request.socket?.remoteAddress ?? null, duration }, { refusal, skipped: this.#unansweredLines.next() })
    } catch {
      // The app's logger threw, as in `report`.
    }
  }

  renewalRefused (request: AuditedRequest, connection: ConnectionSummary, route: CountedRoute, line: RefusalLine, startedAt: number): void {
    const { code } = line.refusal
    this.#stats.countRefused(route, code, null)
    report('renewal_refused', request, connection, elapsedSince(startedAt), { code, connectionId: connection.id }, line)
  }
}

/** Skips building the event if nothing observes it, because reading the address is a system call. */
function report (event: WsAuthEvent['event'], request: AuditedRequest, { source, sub }: TokenSummary, duration: number, more: Partial<WsAuthEvent>, refused?: RefusalLine): void {
  try {
    if (!isObserved(request.log, refused)) return
    const route = request.routeOptions.url ?? null
    publish(request.log, { ...NOTHING, event, route, source, sub, address: addressOf(request), duration, ...more }, refused)
  } catch {
    // The app's logger threw. The decision stands, and there is no other place to report it.
  }
}

/** At least 0, because the wall clock may be set back meanwhile. */
function elapsedSince (instant: number): number {
  return Math.max(Date.now() - instant, 0)
}

/** `null` if there is no socket (`injectWS`), or if the app's `trustProxy` throws at a header of the client. */
export function addressOf (request: Pick<AuditedRequest, 'ip'>): string | null {
  try {
    return request.ip ?? null
  } catch {
    return null
  }
}
