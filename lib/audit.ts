/*
 * What was decided, told once and in three places: as an event for whoever subscribes, as a line of the log, as a count.
 * The other side learns that something was refused; here stands why. No token, and nothing of a token that was not
 * verified, is ever part of it.
 */
import { channel } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { CloseReason, Connection, Identity } from './connection'
import type { TokenSource } from './credentials'
import type { WsAuthError, WsAuthErrorCode } from './errors'
import type { Stats } from './stats'

/** The name of the `node:diagnostics_channel` on which events are published. It is part of the public face: see the README. */
const CHANNEL = 'fastify-ws-auth'

/** A decision. Every accepted connection has exactly one `accepted` and ends with exactly one `expired` or `closed`. */
export interface WsAuthEvent {
  readonly event: 'accepted' | 'refused' | 'renewed' | 'renewal_refused' | 'expired' | 'closed'
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

const NOBODY: Refused = { source: null, sub: null }

const NOTHING = { code: null, reason: null, route: null, source: null, sub: null, address: null, connectionId: null, dryRun: false }

const MESSAGES: Record<WsAuthEvent['event'], string> = {
  accepted: 'websocket handshake accepted',
  refused: 'websocket handshake refused',
  renewed: 'websocket connection renewed',
  renewal_refused: 'websocket renewal refused',
  expired: 'websocket connection expired',
  closed: 'websocket connection closed'
}

const events = channel(CHANNEL)

/** Tells what is decided. */
export class Audit {
  readonly #stats: Stats

  constructor (stats: Stats) {
    this.#stats = stats
  }

  /** @param duration from the upgrade request, in milliseconds */
  accepted (request: FastifyRequest, connection: Connection, duration: number): void {
    this.#stats.accepted++
    if (isHeard(request)) publish(request, eventOf('accepted', request, connection, duration, { connectionId: connection.id }))
  }

  renewed (request: FastifyRequest, connection: Connection, duration: number): void {
    this.#stats.renewed++
    if (isHeard(request)) publish(request, eventOf('renewed', request, connection, duration, { connectionId: connection.id }))
  }

  ended (request: FastifyRequest, connection: Connection, reason: CloseReason): void {
    this.#stats.countClosed(reason)
    if (!isHeard(request)) return
    const event = reason === 'token_expired' || reason === 'lifetime_exceeded' ? 'expired' : 'closed'
    const duration = Math.max(Date.now() - connection.openedAt, 0)
    publish(request, eventOf(event, request, connection, duration, { connectionId: connection.id, reason }))
  }

  refused (request: FastifyRequest, refusal: WsAuthError, who: Refused | null, duration: number, dryRun: boolean): void {
    if (!dryRun) this.#stats.countRefused(refusal.code)
    // Where there is nobody, what would be told is not asked for: the address alone is a system call.
    if (refusal.statusCode < 500 && !isHeard(request)) return
    publish(request, eventOf('refused', request, who ?? NOBODY, duration, { code: refusal.code, dryRun }), refusal)
  }

  /** A request that no hook has, or has not got rid of in time: there is nothing of Fastify's to tell of it with. */
  unanswered (request: IncomingMessage, log: FastifyBaseLogger, why: string, duration: number): void {
    const code = 'WS_AUTH_UNAVAILABLE'
    this.#stats.countRefused(code)
    const event: WsAuthEvent = { ...NOTHING, event: 'refused', code, address: request.socket?.remoteAddress ?? null, duration }
    if (events.hasSubscribers) events.publish(event)
    log.error({ ...event, err: new Error(why) }, MESSAGES.refused)
  }

  renewalRefused (request: FastifyRequest, connection: Connection, refusal: WsAuthError, duration: number): void {
    this.#stats.countRefused(refusal.code)
    publish(request, eventOf('renewal_refused', request, connection, duration, { code: refusal.code, connectionId: connection.id }), refusal)
  }
}

/** Whether there is anybody to tell: a logger that is off, or set to less, has one function of this name for all that it leaves out. */
function isHeard ({ log }: FastifyRequest): boolean {
  return events.hasSubscribers || log.info.name !== 'noop'
}

/** There is none without a socket (`injectWS`), and the app's `trustProxy` may throw at what a client sent. */
function addressOf (request: FastifyRequest): string | null {
  try {
    return request.ip ?? null
  } catch {
    return null
  }
}

function eventOf (event: WsAuthEvent['event'], request: FastifyRequest, { source, sub }: Refused, duration: number, more: Partial<WsAuthEvent>): WsAuthEvent {
  return { ...NOTHING, event, route: request.routeOptions.url ?? null, source, sub, address: addressOf(request), duration, ...more }
}

function publish (request: FastifyRequest, event: WsAuthEvent, refusal?: WsAuthError): void {
  if (events.hasSubscribers) events.publish(event)
  if (refusal === undefined) request.log.info(event, MESSAGES[event.event])
  else logRefusal(request, event, refusal)
}

function logRefusal (request: FastifyRequest, event: WsAuthEvent, refusal: WsAuthError): void {
  const { code, statusCode, cause } = refusal
  const message = MESSAGES[event.event]
  if (statusCode < 500) {
    return request.log.info({ ...event, why: cause instanceof Error ? cause.message : cause }, message)
  }
  const isEarly = code === 'WS_AUTH_ROUTE_UNPROTECTED'
  request.log.error({ ...event, err: cause ?? refusal }, isEarly
    ? `${event.route} was declared before fastify-ws-auth was registered: await app.register(fastifyWsAuth) first`
    : message)
}
