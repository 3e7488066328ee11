/*
 * What was decided, told once and in three places: as an event for whoever subscribes, as a line of the log, as a count.
 * The other side learns that something was refused; here stands why. No token, and nothing of a token that was not
 * verified, is ever part of it.
 */
import { channel } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { CloseReason } from '../base/close-codes'
import type { Identity } from '../authentication/identity'
import type { TokenSource } from '../credentials/credentials'
import { WsAuthError } from '../base/errors'
import type { WsAuthErrorCode } from '../base/errors'
import { quietLog } from '../base/quiet-log'
import type { Stats } from './stats'

/** The name of the `node:diagnostics_channel` on which events are published. It is part of the public face: see the README. */
const CHANNEL = 'fastify-ws-auth'

/** A decision. Every accepted connection has exactly one `accepted` and ends with exactly one `expired` or `closed`. */
export interface WsAuthEvent {
  readonly event: 'accepted' | 'refused' | 'renewed' | 'renewal_refused' | 'expired' | 'closed' | 'ticket_issued'
  /** Why it was refused. */
  readonly code: WsAuthErrorCode | null
  /** Why the connection ended. */
  readonly reason: CloseReason | null
  /** The path of the route as it was declared. */
  readonly route: string | null
  /** Where the token of the connection was found: that of the handshake or the first message. */
  readonly source: TokenSource | null
  /** Who it is about, once that was verified. */
  readonly sub: string | null
  /** The address of the other side, by the app's `trustProxy`. */
  readonly address: string | null
  readonly connectionId: string | null
  /** How long the handshake, the renewal or the connection took, in milliseconds. */
  readonly duration: number
  /** Whether it was a plain request that asked what a handshake would be answered. Not counted. */
  readonly dryRun: boolean
}

/** What is known of whoever was refused. */
type Refused = Pick<Identity, 'source'> & { readonly sub: string | null }

/** What is told of a connection. */
type Connected = Refused & { readonly id: string, readonly openedAt: number }

const NOBODY: Refused = { source: null, sub: null }

const NOTHING = { code: null, reason: null, route: null, source: null, sub: null, address: null, connectionId: null, dryRun: false }

const MESSAGES: Record<WsAuthEvent['event'], string> = {
  accepted: 'websocket handshake accepted',
  refused: 'websocket handshake refused',
  renewed: 'websocket connection renewed',
  renewal_refused: 'websocket renewal refused',
  expired: 'websocket connection expired',
  closed: 'websocket connection closed',
  ticket_issued: 'websocket ticket issued'
}

const events = channel(CHANNEL)

/** Tells what is decided. */
export class Audit {
  readonly #stats: Stats

  constructor (stats: Stats) {
    this.#stats = stats
  }

  /** @param startedAt when the upgrade was asked for, in milliseconds since the epoch, as all below */
  accepted (request: FastifyRequest, connection: Connected, startedAt: number): void {
    this.#stats.accepted++
    tell('accepted', request, connection, startedAt, { connectionId: connection.id })
  }

  renewed (request: FastifyRequest, connection: Connected, startedAt: number): void {
    this.#stats.renewed++
    tell('renewed', request, connection, startedAt, { connectionId: connection.id })
  }

  ended (request: FastifyRequest, connection: Connected, reason: CloseReason): void {
    this.#stats.countClosed(reason)
    const event = reason === 'token_expired' || reason === 'lifetime_exceeded' ? 'expired' : 'closed'
    tell(event, request, connection, connection.openedAt, { connectionId: connection.id, reason })
  }

  ticketIssued (request: FastifyRequest, asker: Refused, startedAt: number): void {
    tell('ticket_issued', request, asker, startedAt, {})
  }

  refused (request: FastifyRequest, refusal: WsAuthError, who: Refused | null, startedAt: number, dryRun: boolean): void {
    if (!dryRun) this.#stats.countRefused(refusal.code)
    tell('refused', request, who ?? NOBODY, startedAt, { code: refusal.code, dryRun }, refusal)
  }

  /** A request that no hook has, or has not got rid of in time: there is nothing of Fastify's to tell of it with. */
  unanswered (request: IncomingMessage, log: FastifyBaseLogger, why: string, startedAt: number): void {
    const refusal = new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new Error(why) })
    const { code } = refusal
    this.#stats.countRefused(code)
    try {
      publish(log, { ...NOTHING, event: 'refused', code, address: request.socket?.remoteAddress ?? null, duration: elapsedSince(startedAt) }, refusal)
    } catch {
      // As in `tell`.
    }
  }

  renewalRefused (request: FastifyRequest, connection: Connected, refusal: WsAuthError, startedAt: number): void {
    this.#stats.countRefused(refusal.code)
    tell('renewal_refused', request, connection, startedAt, { code: refusal.code, connectionId: connection.id }, refusal)
  }
}

/** Where nobody hears it, what would be told is not asked for: the address alone is a system call. */
function tell (event: WsAuthEvent['event'], request: FastifyRequest, { source, sub }: Refused, startedAt: number, more: Partial<WsAuthEvent>, refusal?: WsAuthError): void {
  try {
    if (!isHeard(request.log, refusal)) return
    const route = request.routeOptions.url ?? null
    publish(request.log, { ...NOTHING, event, route, source, sub, address: addressOf(request), duration: elapsedSince(startedAt), ...more }, refusal)
  } catch {
    // The logger of the app is a function of the app, and may throw. What was decided stands, and there is nobody else to tell.
  }
}

/** Whether there is anybody to tell: a logger that is off, or set to less, has one function of this name for all that it leaves out. */
function isHeard (log: FastifyBaseLogger, refusal: WsAuthError | undefined): boolean {
  return events.hasSubscribers || (isFault(refusal) ? log.error : log.info).name !== 'noop'
}

/** Whether it was refused by no fault of the client's. */
function isFault (refusal: WsAuthError | undefined): boolean {
  return refusal !== undefined && refusal.statusCode >= 500
}

/** The wall clock may be set back meanwhile, and nothing takes less than no time. */
function elapsedSince (instant: number): number {
  return Math.max(Date.now() - instant, 0)
}

/** There is none without a socket (`injectWS`), and the app's `trustProxy` may throw at what a client sent. */
function addressOf (request: FastifyRequest): string | null {
  try {
    return request.ip ?? null
  } catch {
    return null
  }
}

function publish (log: FastifyBaseLogger, event: WsAuthEvent, refusal?: WsAuthError): void {
  if (events.hasSubscribers) publishSafely(event, log)
  if (refusal === undefined) log.info(event, MESSAGES[event.event])
  else logRefusal(log, event, refusal)
}

/**
 * Calls the subscribers. Node.js makes an uncaught exception of what one of them throws, which would end a process for a line
 * of a dashboard; so they are called one by one where Node.js lets them be seen.
 */
function publishSafely (event: WsAuthEvent, log: FastifyBaseLogger): void {
  const { _subscribers: subscribers } = events as unknown as { _subscribers?: unknown }
  if (!Array.isArray(subscribers)) return events.publish(event)
  for (const subscriber of [...subscribers] as Array<(event: unknown, name: string) => void>) {
    try {
      subscriber(event, CHANNEL)
    } catch (error) {
      quietLog(log).error({ err: error }, `a subscriber of the channel ${CHANNEL} threw`)
    }
  }
}

function logRefusal (log: FastifyBaseLogger, event: WsAuthEvent, refusal: WsAuthError): void {
  const { code, cause } = refusal
  const message = MESSAGES[event.event]
  if (!isFault(refusal)) {
    return log.info({ ...event, why: cause instanceof Error ? cause.message : cause }, message)
  }
  const isUncovered = code === 'WS_AUTH_ROUTE_UNPROTECTED'
  log.error({ ...event, err: cause ?? refusal }, isUncovered
    ? `${event.route} was declared before fastify-ws-auth was registered, or outside its scope: await app.register(fastifyWsAuth) first, in the scope of all websocket routes`
    : message)
}
