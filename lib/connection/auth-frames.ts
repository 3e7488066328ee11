/*
 * The messages of this package, among those of the app: JSON in text messages. The auth frame of a client is any text that JSON
 * parses to an object with `type` `'auth'`. Every other message is the app's.
 */
import type { WsAuthErrorCode } from '../base/errors'

/** The beginning of an auth frame that is invalid JSON, or is too long. The app must not get it, because it has a token. */
const BEGINNING = /^\uFEFF?[\t\n\r ]*\{[\t\n\r ]*"type"[\t\n\r ]*:[\t\n\r ]*"auth"[\t\n\r ]*[,}]/
/** How many bytes of it are searched. */
const BEGINNING_BYTES = 64

const BRACE = 0x7b
/** RFC 8259, 8.1 forbids to send it, but some libraries do. */
const BYTE_ORDER_MARK = '\uFEFF'
const BYTE_ORDER_MARK_BYTES = Buffer.from(BYTE_ORDER_MARK)
/** RFC 8259, 2: tab, line feed, carriage return, space. */
const WHITE_SPACE = new Set([0x09, 0x0a, 0x0d, 0x20])
/** A text without both of these cannot have the type `auth`: it is spelt out, or escaped. */
const TYPE = Buffer.from('auth')
const ESCAPE = Buffer.from('\\u')

/** The hint to the client that its token expires soon. */
export const AUTH_RENEW = '{"type":"auth.renew"}'

/** A client's auth frame, `{"type":"auth","token":"..."}`. */
export interface AuthFrame {
  /** `null` if there is no token that is a string. */
  readonly token: string | null
}

/**
 * Reads a text message as an auth frame. Returns `null` if the message is the app's.
 *
 * Most messages are recognized by their first byte, the others by a search for four bytes: 0.1 us for 64 bytes.
 *
 * @param maxBytes a longer message is not parsed: if it begins like an auth frame, it is one without a token, else it is the app's
 */
export function readAuthFrame (text: Buffer, maxBytes: number): AuthFrame | null {
  if (text.length > maxBytes) return beginsLikeAuthFrame(text)
  if (!mayBeAuthFrame(text)) return null
  try {
    const json = text.toString()
    const message = JSON.parse(json.startsWith(BYTE_ORDER_MARK) ? json.slice(1) : json) as { type?: unknown, token?: unknown }
    if (message.type !== 'auth') return null
    return { token: typeof message.token === 'string' ? message.token : null }
  } catch {
    return beginsLikeAuthFrame(text)
  }
}

function beginsLikeAuthFrame (text: Buffer): AuthFrame | null {
  return BEGINNING.test(text.toString('utf8', 0, BEGINNING_BYTES)) ? { token: null } : null
}

function mayBeAuthFrame (text: Buffer): boolean {
  let start = text[0] === BYTE_ORDER_MARK_BYTES[0] && text.subarray(0, 3).equals(BYTE_ORDER_MARK_BYTES) ? 3 : 0
  while (WHITE_SPACE.has(text[start] as number)) start++
  return text[start] === BRACE && (text.includes(TYPE) || text.includes(ESCAPE))
}

/**
 * The answer to a token that was accepted.
 *
 * @param expiresAt when it expires, in milliseconds since the epoch, or `null`
 */
export function authOk (expiresAt: number | null): string {
  return JSON.stringify({ type: 'auth.ok', expiresAt })
}

/** The answer to a renewal that was refused. */
export function authError (code: WsAuthErrorCode): string {
  return JSON.stringify({ type: 'auth.error', code })
}
