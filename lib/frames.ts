/*
 * The messages of this package itself, among those of the app: text, JSON, told apart by how they begin. A client's
 * auth frame begins with exactly `{"type":"auth"` and then `,` or `}`; every other message is the app's.
 */
import type { WsAuthErrorCode } from './errors'

const PREFIX = Buffer.from('{"type":"auth"')
const COMMA = 0x2c
const BRACE = 0x7d

/** Tells the client that it should renew: the token expires soon. */
export const AUTH_RENEW = '{"type":"auth.renew"}'

/** Whether a text message is the client's auth frame. */
export function isAuthFrame (text: Buffer): boolean {
  const next = text[PREFIX.length]
  return (next === COMMA || next === BRACE) && text.compare(PREFIX, 0, PREFIX.length, 0, PREFIX.length) === 0
}

/** The token of an auth frame `{"type":"auth","token":"..."}`, or `null` where it is none, or not whole. */
export function readAuthFrame (text: Buffer): string | null {
  if (!isAuthFrame(text)) return null
  try {
    const { type, token } = JSON.parse(text.toString()) as Record<string, unknown>
    return type === 'auth' && typeof token === 'string' ? token : null
  } catch {
    return null
  }
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
