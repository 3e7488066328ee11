/*
 * The messages of this package itself, among those of the app: text, JSON. A client's auth frame is whatever text JSON reads as
 * an object with `type` `'auth'`: with spaces, in any order, escaped. Every other message is the app's.
 */
import type { WsAuthErrorCode } from '../base/errors'

/** How what is no JSON, or is too long to be read, begins if it was meant as an auth frame: its token is nobody else's to see. */
const BEGINNING = /^\uFEFF?[\t\n\r ]*\{[\t\n\r ]*"type"[\t\n\r ]*:[\t\n\r ]*"auth"[\t\n\r ]*[,}]/
/** How much of it is looked at, in bytes. */
const BEGINNING_BYTES = 64

const BRACE = 0x7b
/** RFC 8259, 8.1: none is to be sent, and some libraries do. */
const BYTE_ORDER_MARK = '\uFEFF'
const BYTE_ORDER_MARK_BYTES = Buffer.from(BYTE_ORDER_MARK)
/** RFC 8259, 2: tab, line feed, carriage return, space. */
const WHITE_SPACE = new Set([0x09, 0x0a, 0x0d, 0x20])
/** Without one of these no text can have the type: it is written out, or with an escape. */
const TYPE = Buffer.from('auth')
const ESCAPE = Buffer.from('\\u')

/** Tells the client that it should renew: the token expires soon. */
export const AUTH_RENEW = '{"type":"auth.renew"}'

/** A client's auth frame, `{"type":"auth","token":"..."}`. */
export interface AuthFrame {
  /** `null` where it has none that is a string. */
  readonly token: string | null
}

/**
 * Reads a text message as an auth frame; `null` where it is the app's.
 *
 * Most messages are told by their first byte, the others by a search for four: 0.1 us for 64 bytes.
 *
 * @param maxBytes what is longer is not read. If it begins like an auth frame it is one without a token, else it is the app's
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
