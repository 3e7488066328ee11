/*
 * Whether a request came by TLS (RFC 6455, 10.6), as the `requireTls` option asks. Fastify says it, so that a header counts only if a
 * proxy that the app trusts has sent it.
 */
import type { FastifyRequest } from 'fastify'
import { WsAuthError } from '../base/errors'
import { isHttp2 } from '../base/http-headers'
import type { CompleteRouteOptions } from '../options/complete-options'

/** The message for the client, in place of that of the table: the handshake is valid, and its way is not. */
const NEEDS_TLS = 'This server needs TLS: connect by wss:// or https://'

/** Traefik names the scheme of a WebSocket in `X-Forwarded-Proto`, where other proxies name that of HTTP. */
const SECURE = /^(?:https|wss)$/i
const SAYS_SECURE = /(?:^|,)\s*(?:https|wss)\s*$/i

/** Whether a request came by TLS, to the app or to a proxy that it trusts. */
export function cameByTls ({ protocol }: Pick<FastifyRequest, 'protocol'>): boolean {
  return SECURE.test(protocol)
}

/**
 * Refuses a request that did not come by TLS. Its token is not looked at.
 *
 * @throws WsAuthError `WS_AUTH_HANDSHAKE_INVALID`
 */
export function assertTls (request: FastifyRequest, { requireTls }: CompleteRouteOptions): void {
  if (!requireTls || cameByTls(request) || cameInProcess(request)) return
  const refusal = new WsAuthError('WS_AUTH_HANDSHAKE_INVALID', { cause: `it came without TLS, and "requireTls" is on${untrustedProxy(request)}` })
  refusal.message = NEEDS_TLS
  throw refusal
}

/** A request of `injectWS` has no socket. One of HTTP/2 has none once its client has left. */
function cameInProcess ({ raw }: FastifyRequest): boolean {
  return raw.socket == null && !isHttp2(raw)
}

function untrustedProxy ({ raw: { headers } }: FastifyRequest): string {
  return SAYS_SECURE.test(String(headers['x-forwarded-proto'])) ? '; a proxy says that it did, and the app does not trust it (the "trustProxy" option of Fastify)' : ''
}
