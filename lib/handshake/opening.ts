/*
 * The requirements on the opening handshake of a client (RFC 6455, 4.2.1). ws checks most of them, but only after all hooks have
 * run. Here they are checked before the token is.
 */
import type { IncomingMessage } from 'node:http'
import { WsAuthError } from '../base/errors'
import { listing } from '../base/header-list'
import { HTTP_TOKEN } from '../base/grammar'
import { countHeader } from '../base/http-headers'

/** The cause of a refusal whose answer names the supported version (RFC 6455, 4.2.2). */
export const OTHER_VERSION = 'its Sec-WebSocket-Version is not 13'

const listsUpgrade = listing('upgrade')

/** RFC 6455, 4.1: 16 bytes in base64. */
const KEY = /^[+/0-9A-Za-z]{22}==$/

/** RFC 6455, 9.1, as ws parses it: extensions with parameters, whose values may be quoted. No part can match in two ways, so there is no backtracking. */
const EXTENSIONS = extensions(HTTP_TOKEN.source.slice(1, -1))

function extensions (token: string): RegExp {
  const parameter = `[ \\t]*;[ \\t]*${token}(?:=(?:${token}|"(?:\\\\?${token.slice(0, -1)})+"))?`
  const extension = `[ \\t]*${token}(?:${parameter})*[ \\t]*`
  return new RegExp(`^${extension}(?:,${extension})*$`)
}

/**
 * Checks the request line and the headers.
 *
 * @param hasValidProtocols whether the list of subprotocols is valid
 * @param readsExtensions whether ws will read the extensions: it does if it may compress, and answers 400 to a wrong list
 * @throws WsAuthError `WS_AUTH_HANDSHAKE_INVALID`; its cause is {@link OTHER_VERSION} for another version
 */
export function assertOpening (request: IncomingMessage, hasValidProtocols: boolean, readsExtensions: boolean): void {
  const { headers } = request
  if (request.method !== 'GET' || request.httpVersion !== '1.1') throw refusal('it is not GET with HTTP/1.1')
  if (headers.upgrade?.toLowerCase() !== 'websocket') throw refusal('it has no Upgrade: websocket')
  if (!listsUpgrade(headers.connection)) throw refusal('it has no Connection: Upgrade')
  if (hasBody(request)) throw refusal('it has a body')
  if (!hasOneHost(request)) throw refusal('it has no Host, or more than one')
  if (String(headers['sec-websocket-version']) !== '13') throw refusal(OTHER_VERSION)
  if (!KEY.test(headers['sec-websocket-key'] ?? '')) throw refusal('its Sec-WebSocket-Key is not 16 bytes in base64')
  if (readsExtensions && !EXTENSIONS.test(headers['sec-websocket-extensions'] ?? 'none')) throw refusal('its Sec-WebSocket-Extensions is no list of extensions')
  if (!hasValidProtocols) throw refusal('its Sec-WebSocket-Protocol is no list with a protocol to choose')
}

function refusal (why: string): WsAuthError {
  return new WsAuthError('WS_AUTH_HANDSHAKE_INVALID', { cause: why })
}

function hasBody ({ headers }: IncomingMessage): boolean {
  const length = headers['content-length']
  return headers['transfer-encoding'] !== undefined || (length !== undefined && Number(length) !== 0)
}

/** RFC 9112, 3.2: there must be exactly one. `injectWS` sends none, and has no socket either. */
function hasOneHost ({ headers, rawHeaders, socket }: IncomingMessage): boolean {
  if (socket === undefined) return true
  return headers.host !== undefined && countHeader(rawHeaders, 'host') === 1
}
