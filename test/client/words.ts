/*
 * What the client does after each end, as lib/client/README.md says it. The tests compare the client with this table, and the document too.
 */

/**
 * - `ask`: asks for another credential at once; the second refusal in a row is for good.
 * - `anew`: connects again with the same credential.
 * - `crowd`: waits for a random time, because all other clients come back too.
 * - `limit`: waits long.
 * - `retry`: waits for a random time that grows.
 * - `idle`: comes back if there is something to send.
 * - `refuse`: stops.
 */
export type Does = 'ask' | 'anew' | 'crowd' | 'limit' | 'retry' | 'idle' | 'refuse'

/** Each word of the server. */
export const WORDS: Readonly<Record<string, Does>> = {
  token_expired: 'ask',
  token_invalid: 'ask',
  token_missing: 'ask',
  token_ambiguous: 'ask',
  token_revoked: 'ask',
  ticket_invalid: 'ask',
  lifetime_exceeded: 'anew',
  shutdown: 'crowd',
  drain: 'crowd',
  auth_unavailable: 'crowd',
  server_busy: 'crowd',
  connection_limit: 'limit',
  message_limit: 'limit',
  idle: 'idle',
  forbidden: 'refuse',
  origin_forbidden: 'refuse',
  disconnected: 'refuse',
  connection_replaced: 'refuse',
  auth_timeout: 'retry',
  internal_error: 'retry'
}

/** Words that have no close frame. */
const BY_STATUS: Readonly<Record<string, Does>> = { handshake_invalid: 'refuse', route_not_websocket: 'refuse' }

/** Each close code that has no word. */
export const CODES: Readonly<Record<number, Does>> = {
  1000: 'retry',
  1005: 'retry',
  1006: 'retry',
  1008: 'refuse',
  1009: 'refuse',
  1011: 'retry',
  1012: 'crowd',
  1013: 'crowd',
  4000: 'retry'
}

/** The bounds of the delay before the first attempt after an end, in milliseconds, with the defaults. */
export const DELAYS: Readonly<Partial<Record<Does, readonly [least: number, most: number]>>> = {
  ask: [0, 1000],
  anew: [0, 1000],
  crowd: [0, 5000],
  limit: [10_000, 11_000],
  retry: [0, 1000]
}

/** What the document says of each. */
export const TOLD: Readonly<Record<Does, RegExp>> = {
  ask: /^asks for another token/,
  anew: /^connects anew with the same token/,
  crowd: /^comes back at random within `crowd`/,
  limit: /^comes back after ten times `base`/,
  retry: /^comes back, after waits that grow/,
  idle: /^comes back at the next `send`/,
  refuse: /^is refused/
}

/** The word of a code of `wsAuthErrors`: `WS_AUTH_TOKEN_EXPIRED` is `token_expired`. */
export function wordOf (code: string): string {
  const word = code.replace('WS_AUTH_', '').toLowerCase()
  return { limit: 'connection_limit', busy: 'server_busy', unavailable: 'auth_unavailable', timeout: 'auth_timeout' }[word] ?? word
}

/** What the client does after an end with a word of the server. */
export function doesAfter (word: string): Does {
  return WORDS[word] ?? BY_STATUS[word] ?? 'retry'
}
