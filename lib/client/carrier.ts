/*
 * How a token travels in a handshake: in `Sec-WebSocket-Protocol`, in the URL, in a header, or in the first message.
 */
import { runtime } from './runtime'
import type { AuthOptions } from './types'

/** The subprotocol of a client that understands auth frames. */
const FRAMES = 'ws-auth'

/** What a subprotocol may consist of (RFC 9110, 5.6.2). */
const HTTP_TOKEN = /^[\w!#$%&'*+.^`|~-]+$/

/** The arguments of a handshake. */
export type Handshake = [url: string, protocols: string[], headers: Record<string, string>]

/** Writes a handshake. A ticket takes the place of the token. */
export function writeHandshake (url: string, own: readonly string[], via: AuthOptions['via'], token: string | undefined, ticket: string | undefined): Handshake {
  const protocols = [...own, FRAMES]
  if (ticket) return [withQuery(url, 'ticket', ticket), protocols, {}]
  if (!token || via === 'message') return [url, protocols, {}]
  if (via === 'query') return [withQuery(url, 'token', token), protocols, {}]
  if (via === 'header') return [url, protocols, bearerOf(token)]
  // The encoded entry is first, because servers before 0.2 read any entry behind `bearer` as the token itself.
  return [url, protocols.concat(HTTP_TOKEN.test(token) ? ['bearer', token] : [`base64url.bearer.${base64url(token)}`, 'bearer']), {}]
}

/** The headers of a token. */
export function bearerOf (token: string | undefined): Record<string, string> {
  return token ? { authorization: `Bearer ${token}` } : {}
}

export function withQuery (url: string, name: string, value: string): string {
  return `${url}${url.includes('?') ? '&' : '?'}${name}=${encodeURIComponent(value)}`
}

function base64url (text: string): string {
  const base64 = runtime.btoa(String.fromCharCode(...new runtime.TextEncoder().encode(text)))
  return base64.replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '')
}

/** The absolute address of a WebSocket. */
export function addressOf (url: string): string {
  const { location } = runtime
  return (location ? new runtime.URL(url, location.href).href : url).replace(/^http/, 'ws').replace(/#.*/, '')
}
