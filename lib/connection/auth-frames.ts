/*
 * The messages of this package, among those of the app: JSON in text messages. An auth frame of a client is any text that JSON
 * parses to an object with `type` `'auth'` or `'auth.ping'`. Every other message is the app's.
 */
import type { WsAuthErrorCode } from '../base/errors'
import type { Connection } from './connection'

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

/** How many characters an `id` may have. A longer one does not come back. */
const MAX_ID_LENGTH = 64

/** The bounds of the time in which all clients come back, in milliseconds: each of them does so at random. */
const MIN_RETRY = 5000
const MAX_RETRY = 30_000

/** The answer to a ping. */
export const AUTH_PONG = '{"type":"auth.pong"}'

/** What a client calls an auth frame, so that it knows the answer to it. */
export type FrameId = string | number

/** A client's auth frame: `{"type":"auth","token":"..."}`, `{"type":"auth","ticket":"..."}` or `{"type":"auth.ping"}`. */
export interface AuthFrame {
  readonly type: 'auth' | 'auth.ping'
  /** `null` if there is no token that is a string. */
  readonly token: string | null
  /** `null` if there is no ticket that is a string. */
  readonly ticket: string | null
  /** `null` if there is no string or number that may come back. */
  readonly id: FrameId | null
}

/** An auth frame that cannot be read. */
const UNREADABLE: AuthFrame = Object.freeze({ type: 'auth', token: null, ticket: null, id: null })

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
    const { type, token, ticket, id } = JSON.parse(json.startsWith(BYTE_ORDER_MARK) ? json.slice(1) : json) as Record<string, unknown>
    if (type !== 'auth' && type !== 'auth.ping') return null
    return { type, token: typeof token === 'string' ? token : null, ticket: typeof ticket === 'string' ? ticket : null, id: isId(id) ? id : null }
  } catch {
    return beginsLikeAuthFrame(text)
  }
}

function beginsLikeAuthFrame (text: Buffer): AuthFrame | null {
  return BEGINNING.test(text.toString('utf8', 0, BEGINNING_BYTES)) ? UNREADABLE : null
}

function isId (id: unknown): id is FrameId {
  return typeof id === 'string' ? id.length <= MAX_ID_LENGTH : Number.isFinite(id)
}

function mayBeAuthFrame (text: Buffer): boolean {
  let start = text[0] === BYTE_ORDER_MARK_BYTES[0] && text.subarray(0, 3).equals(BYTE_ORDER_MARK_BYTES) ? 3 : 0
  while (WHITE_SPACE.has(text[start] as number)) start++
  return text[start] === BRACE && (text.includes(TYPE) || text.includes(ESCAPE))
}

/** The first frame of an open connection, and the answer to a token or ticket that was accepted. Instants stand beside durations, because the clock of a client may be wrong. */
export function authOk ({ id: connection, expiresAt, endsAt }: Pick<Connection, 'id' | 'expiresAt' | 'endsAt'>, id: FrameId | null): string {
  const now = Date.now()
  // Our ids need no escape, and a number is its own JSON: 0.3 us, where JSON.stringify of an object takes 0.9.
  const sent = id === null ? '' : `"id":${JSON.stringify(id)},`
  return `{"type":"auth.ok",${sent}"connection":"${connection}","expiresAt":${JSON.stringify(expiresAt)},"expiresIn":${timeLeft(expiresAt, now)},"endsIn":${timeLeft(endsAt, now)}}`
}

/** The hint to the client that its token expires soon. @param expiresAt in milliseconds since the epoch */
export function authRenew (expiresAt: number): string {
  return JSON.stringify({ type: 'auth.renew', expiresIn: timeLeft(expiresAt, Date.now()) })
}

/** The answer to a renewal that was refused. @param isOtherSubject whether the token is good, and about another subject */
export function authError (code: WsAuthErrorCode, id: FrameId | null, isOtherSubject = false): string {
  return JSON.stringify({ type: 'auth.error', code, reason: isOtherSubject ? 'other_subject' : undefined, id: id ?? undefined })
}

/**
 * The frame before a close that all clients get: when they should come back. One millisecond for each connection, within bounds, so
 * that about a thousand of them come back in a second.
 *
 * @param connections how many connections are closed
 */
export function authRetry (connections: number): string {
  return retryWithin(Math.min(Math.max(connections, MIN_RETRY), MAX_RETRY))
}

/** The same with a time, in milliseconds. */
export function retryWithin (within: number): string {
  return JSON.stringify({ type: 'auth.retry', within })
}

/** Whole milliseconds, never more than there are, and 0 for an instant in the past. */
function timeLeft (instant: number | null, now: number): number | null {
  return instant === null || instant === Infinity ? null : Math.max(Math.floor(instant - now), 0)
}
