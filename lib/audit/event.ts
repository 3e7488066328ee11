/*
 * An audit event: its fields, its line in the app's log, and its publication on `node:diagnostics_channel`.
 */
import { channel } from 'node:diagnostics_channel'
import type { FastifyBaseLogger } from 'fastify'
import type { CloseOrder, CloseReason } from '../base/close-codes'
import type { WsAuthError, WsAuthErrorCode } from '../base/errors'
import { quietLog } from '../base/quiet-log'
import type { TokenSource } from '../credentials/found'

/** The name of the `node:diagnostics_channel` of the events. It is a public name, documented in the README. */
const CHANNEL = 'fastify-ws-auth'

/** A decision about a handshake, a connection or a ticket. Every accepted connection has exactly one `accepted` event, and ends with exactly one `expired` or `closed` event. */
export interface WsAuthEvent {
  /** The decision. */
  readonly event: 'accepted' | 'refused' | 'renewed' | 'renewal_refused' | 'expired' | 'closed' | 'ticket_issued'
  /** The code of the refusal; `null` if nothing was refused. */
  readonly code: WsAuthErrorCode | null
  /** Why the connection ended; `null` if it did not end. */
  readonly reason: CloseReason | null
  /** What the `revoke` or the `disconnect` that ended the connection was about, such as `{ sub: 'ann' }`; `null` if none ended it. */
  readonly match: CloseOrder['match'] | null
  /** The author of that command, and its reason (`why`), as its options say; `null` if they do not, or if this instance read the revocation later. */
  readonly by: string | null
  readonly why: string | null
  /** The path of the route as the app declared it; `null` if the request reached no route. */
  readonly route: string | null
  /** Where the connection's token was found, in the handshake or in the first message; `null` if no token was read. */
  readonly source: TokenSource | null
  /** The `sub` of the token; `null` if the token has none, or was not verified. */
  readonly sub: string | null
  /** The IP address of the client, as the app's `trustProxy` reads it; `null` if it is not known. */
  readonly address: string | null
  /** The id of the connection; `null` if none was opened. */
  readonly connectionId: string | null
  /** How long the handshake, the renewal or the connection took, in milliseconds. */
  readonly duration: number
  /** Whether the request was a dry run: a plain request that asks how a handshake would be answered. `stats()` does not count it. */
  readonly dryRun: boolean
}

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

/** A refusal, as it is logged. */
export interface RefusalLine {
  readonly refusal: WsAuthError
  /** How many refusals before it had no line; `null` if it has none itself. */
  readonly skipped: number | null
  /** What the line says was refused, if it is not what the event says. */
  readonly message?: string
}

/**
 * Whether an event would reach a subscriber or the log. Pino replaces the methods of the levels that it leaves out by one
 * function, whose name is `noop`.
 */
export function isObserved (log: FastifyBaseLogger, refused: RefusalLine | undefined): boolean {
  return events.hasSubscribers || (refused?.skipped !== null && !isNoop(log[levelOf(refused?.refusal)]))
}

/** The last method that did nothing. The name of a function takes a call into V8, 0.3 us each time. */
let lastNoop: unknown

function isNoop (method: FastifyBaseLogger['info']): boolean {
  if (method === lastNoop) return true
  if (method.name !== 'noop') return false
  lastNoop = method
  return true
}

/** Calls the subscribers, and writes the log line. @throws what the app's logger throws */
export function publish (log: FastifyBaseLogger, event: WsAuthEvent, refused?: RefusalLine): void {
  if (events.hasSubscribers) callSubscribers(event, log)
  if (refused === undefined) log.info(event, MESSAGES[event.event])
  else if (refused.skipped !== null) logRefusal(log, event, refused)
}

/**
 * Node.js turns the exception of a subscriber into an uncaught one, which ends the process. Therefore each subscriber is called
 * from here, if Node.js exposes the list.
 */
function callSubscribers (event: WsAuthEvent, log: FastifyBaseLogger): void {
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

function logRefusal (log: FastifyBaseLogger, event: WsAuthEvent, { refusal, skipped, message = MESSAGES[event.event] }: RefusalLine): void {
  const { code, cause } = refusal
  const level = levelOf(refusal)
  const more = (skipped ?? 0) > 0 || level === 'warn' ? { skipped } : {}
  if (level === 'error') {
    const isUncovered = code === 'WS_AUTH_ROUTE_UNPROTECTED'
    return log.error({ ...event, err: cause ?? refusal, ...more }, isUncovered
      ? `${event.route} was declared before fastify-ws-auth was registered, or outside its scope: await app.register(fastifyWsAuth) first, in the scope of all websocket routes`
      : message)
  }
  const why = cause instanceof Error ? cause.message : cause
  if (level === 'warn') log.warn({ ...event, why, ...more }, message)
  else log.info({ ...event, why, ...more }, message)
}

/** `error` if the server, not the client, is the cause of the refusal; `warn` if it has no room. */
function levelOf (refusal: WsAuthError | undefined): 'info' | 'warn' | 'error' {
  if (refusal === undefined || refusal.statusCode < 500) return 'info'
  return refusal.code === 'WS_AUTH_BUSY' ? 'warn' : 'error'
}
