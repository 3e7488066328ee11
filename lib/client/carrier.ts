/*
 * How a token travels in a handshake: in `Sec-WebSocket-Protocol`, in the URL, in a header, or in the first message.
 */
import { runtime } from './runtime'
import type { AuthOptions } from './types'

/** The arguments of a handshake. */
export interface Handshake {
  readonly url: string
  readonly protocols: string[]
  readonly headers: Record<string, string>
  /** The first message, or `null`. */
  readonly first: string | null
}

/** The subprotocol of a client that understands auth frames. */
export const FRAMES = 'ws-auth'

/** What a subprotocol may consist of (RFC 9110, 5.6.2). */
const HTTP_TOKEN = /^[\w!#$%&'*+.^`|~-]+$/

/** Writes a handshake. A ticket takes the place of the token, except for a token in the first message. */
export function writeHandshake (url: string, own: readonly string[], via: AuthOptions['via'], token: string | null, ticket: string | null): Handshake {
  const protocols = [...own, FRAMES]
  const headers: Record<string, string> = {}
  let [address, first]: [string, string | null] = [url, null]
  if (ticket !== null) address = withQuery(url, 'ticket', ticket)
  if (token !== null && via === 'message') first = JSON.stringify({ type: 'auth', token })
  else if (token !== null && ticket === null) {
    if (via === 'query') address = withQuery(url, 'token', token)
    else if (via === 'header') headers.authorization = `Bearer ${token}`
    // The encoded entry is first, because servers before 0.2 read any entry behind `bearer` as the token itself.
    else protocols.push(...HTTP_TOKEN.test(token) ? ['bearer', token] : [`base64url.bearer.${base64url(token)}`, 'bearer'])
  }
  return { url: address, protocols, headers, first }
}

function withQuery (url: string, name: string, value: string): string {
  return `${url}${url.includes('?') ? '&' : '?'}${name}=${encodeURIComponent(value)}`
}

function base64url (text: string): string {
  const bytes = String.fromCharCode(...new runtime.TextEncoder().encode(text))
  return runtime.btoa(bytes).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '')
}

/** The absolute address of a WebSocket. */
export function addressOf (url: string): string {
  const { location } = runtime
  const absolute = /^\w+:/.test(url) || location === undefined ? url : new runtime.URL(url, location.href).href
  return absolute.replace(/^http/, 'ws').replace(/#.*/, '')
}
