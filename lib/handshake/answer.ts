/*
 * How a refusal is answered: the headers of a response, or the close frame in place of one.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyReply } from 'fastify'
import { closeFrameOf } from '../base/close-codes'
import type { CloseFrame } from '../base/close-codes'
import { wsAuthErrors } from '../base/errors'
import type { WsAuthError, WsAuthErrorCode } from '../base/errors'
import type { CompleteRouteOptions, HandshakeOptions } from '../options/complete-options'
import { NOTHING_SENT } from './checks'
import { OTHER_VERSION } from './opening'

/** RFC 6750, 3: no error if there was no token, but the scheme may not stand alone either. */
const CHALLENGES: Partial<Record<WsAuthErrorCode, string>> = {
  WS_AUTH_TOKEN_MISSING: 'Bearer realm="websocket"',
  WS_AUTH_TOKEN_INVALID: 'Bearer error="invalid_token"',
  WS_AUTH_TOKEN_EXPIRED: 'Bearer error="invalid_token"',
  WS_AUTH_TOKEN_REVOKED: 'Bearer error="invalid_token"',
  WS_AUTH_TICKET_INVALID: 'Bearer error="invalid_token"',
  WS_AUTH_TOKEN_AMBIGUOUS: 'Bearer error="invalid_request"',
  WS_AUTH_FORBIDDEN: 'Bearer error="insufficient_scope"'
}

/** The longest time in `Retry-After`, in seconds. */
const MAX_RETRY_AFTER = 5

/** The `Retry-After` of a refusal that passes by itself (RFC 9110, 10.2.3), or `undefined`: whole seconds at random, so that clients which obey to the letter do not come back together. */
export function retryAfterOf (code: WsAuthErrorCode): string | undefined {
  const { statusCode } = wsAuthErrors[code]
  return statusCode === 503 || statusCode === 429 ? String(1 + Math.floor(Math.random() * MAX_RETRY_AFTER)) : undefined
}

/** Adds the headers that tell a client what it may do about a refusal. @param scopes those that the route asks for */
export function addAdvice (reply: FastifyReply, code: WsAuthErrorCode, scopes: readonly string[] | null): void {
  const challenge = challengeOf(code, scopes)
  if (challenge !== undefined) reply.header('www-authenticate', challenge)
  const retryAfter = retryAfterOf(code)
  if (retryAfter !== undefined) reply.header('retry-after', retryAfter)
}

/** The `WWW-Authenticate` of a refusal (RFC 6750, 3), or `undefined`. */
export function challengeOf (code: WsAuthErrorCode, scopes: readonly string[] | null): string | undefined {
  const challenge = CHALLENGES[code]
  if (code !== 'WS_AUTH_FORBIDDEN' || scopes === null) return challenge
  return `${challenge}, scope="${scopes.join(' ')}"`
}

/** The close code and reason of a refusal; `null` if this handshake is answered with a status. */
export function closeOf ({ code }: WsAuthError, { rejectWith, closeCodes }: HandshakeOptions, { headers }: IncomingMessage): CloseFrame | null {
  const closes = rejectWith === 'close' || (rejectWith === 'auto' && headers.origin !== undefined)
  return closes ? closeFrameOf(code, closeCodes) : null
}

/**
 * Sets the headers of a response to a refusal.
 *
 * @param route `null` if it is not known which route was meant
 * @param endsSocket whether the socket ends with the response
 */
export function setHeaders (reply: FastifyReply, { code, cause }: WsAuthError, route: CompleteRouteOptions | null, endsSocket: boolean): void {
  addAdvice(reply, cause === NOTHING_SENT ? 'WS_AUTH_TOKEN_MISSING' : code, route?.scopes ?? null)
  if (cause === OTHER_VERSION) reply.header('sec-websocket-version', '13')
  if (endsSocket) reply.header('connection', 'close')
}
