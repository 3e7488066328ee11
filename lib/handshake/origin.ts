/*
 * Which web page opens the connection (RFC 6455, 10.2). A browser sends cookies with a handshake from any page, and the Origin
 * is the only header that the page cannot choose.
 */
import { WsAuthError } from '../base/errors'
import { textWithoutToken } from '../base/redaction'
import { namesOf } from '../base/sent-names'
import { thenRead } from '../base/thenable'
import type { FastifyRequest } from 'fastify'
import type { Credential } from '../credentials/found'
import type { OriginOption } from '../options/public-handshake-options'
import type { Handshake } from './handshake'
import { cameByTls } from './tls'

/** The longest part of a refused Origin that is logged, in characters. */
const MAX_LOGGED = 200

const DEFAULT_PORTS: ReadonlyMap<string, string> = new Map([['http:', ':80'], ['https:', ':443']])

/** Refuses a page of another origin, as the `origin` option says. */
export function checkOrigin ({ request, route, credential, awaitsMessage }: Handshake): void | PromiseLike<void> {
  return assertOriginOf(request, route.origin, credential, credential?.source === 'cookie' || awaitsMessage)
}

/** @param isAmbient whether the browser may have sent the credential by itself */
export function assertOriginOf (request: FastifyRequest, allowed: OriginOption, credential: Credential | null, isAmbient: boolean): void | PromiseLike<void> {
  const { origin } = request.raw.headers
  if (origin === undefined || allowed === 'any') return
  const handshake = { request, credential }
  // Only a cookie is sent by the browser for any page; other credentials the page must have. If the token comes later, it is
  // not known yet how the page has got it.
  if (allowed === 'same-host') {
    if (!isAmbient) return
    const { host } = request
    const isSecure = cameByTls(request)
    return assertOrigin(isSameHost(origin, host, isSecure), handshake, `the request came to ${isSecure ? 'https://' : ''}${host}${untrustedProxy(request)}`)
  }
  if (typeof allowed !== 'function') return assertOrigin(allowed.includes(origin), handshake, `the "origin" option has ${namesOf(allowed)}`)
  return thenRead(allowed(origin, request), (isAllowed) => assertOrigin(isAllowed, handshake, 'the "origin" function did not return true'))
}

/** A proxy that is not trusted is the most frequent reason why the host of a request is another one than the host of its page. */
function untrustedProxy ({ host, raw: { headers } }: FastifyRequest): string {
  const isForwarded = ['x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-for', 'forwarded'].some((name) => headers[name] !== undefined)
  return isForwarded && host === headers.host ? '; a proxy says for which host it was, and the app does not trust it (the "trustProxy" option of Fastify)' : ''
}

/** The log names the origin and what it was compared with, so that an operator can correct the list. */
function assertOrigin (isAllowed: boolean, { request, credential }: Pick<Handshake, 'request' | 'credential'>, other: string): void {
  if (isAllowed === true) return
  // Only browsers are sure to send a bare origin. Another client may send a whole URL, of any length.
  const shown = (text = ''): string => textWithoutToken(text, credential?.token ?? '').slice(0, MAX_LOGGED)
  throw new WsAuthError('WS_AUTH_ORIGIN_FORBIDDEN', { cause: `its Origin is ${shown(request.raw.headers.origin)}, and ${shown(other)}` })
}

/**
 * Whether an Origin names the host that the request was sent to. They are compared exactly.
 *
 * @param origin the Origin header
 * @param host the Host header, or the host that a trusted proxy names; without a port it stands for the default port of
 *   the Origin's scheme, because TLS may end at a proxy
 * @param isSecure whether the request came by https: then a page that came by http has another origin, because an attacker on
 *   the network can write such a page
 */
export function isSameHost (origin: string, host: string, isSecure: boolean): boolean {
  const scheme = origin.slice(0, origin.indexOf('/'))
  const port = DEFAULT_PORTS.get(scheme)
  if (port === undefined || host === '' || !origin.startsWith('//', scheme.length)) return false
  if (isSecure && scheme !== 'https:') return false
  return withPort(origin.slice(scheme.length + 2), port) === withPort(host.toLowerCase(), port)
}

/** A host with its port written out. A colon inside the brackets of an IPv6 address is not one. */
function withPort (host: string, port: string): string {
  return /:\d*$/.test(host) ? host : host + port
}
