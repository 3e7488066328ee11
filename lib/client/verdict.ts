/*
 * What the client does after the end of a connection, by the word of the server. Close codes can be configured, words cannot.
 */
import type { End } from './types'

/**
 * - `ask`: the credential is refused, and the next one may be accepted.
 * - `anew`: connect with the same credential.
 * - `retry`: come back after a delay that grows.
 * - `crowd`: come back after a random delay, because all other clients do.
 * - `limit`: come back late, because a former connection may hold the place.
 * - `idle`: come back if there is something to send.
 * - `refuse`: stop.
 */
export type Action = 'ask' | 'anew' | 'retry' | 'crowd' | 'limit' | 'idle' | 'refuse'

/** How an attempt or a connection ended. */
export interface Outcome {
  readonly end: End
  readonly action: Action
  /** The least delay, in milliseconds, as `Retry-After` said. */
  readonly least?: number
  /** The most, as `auth.retry` said. */
  readonly most?: number | null
}

const ACTIONS = new Map<string, Action>()
const WORDS: ReadonlyArray<readonly [Action, string]> = [
  ['ask', 'token_expired token_invalid token_missing token_ambiguous token_revoked ticket_invalid'],
  ['anew', 'lifetime_exceeded other_subject'],
  ['crowd', 'shutdown drain auth_unavailable server_busy'],
  ['limit', 'connection_limit message_limit'],
  ['idle', 'idle'],
  ['refuse', 'forbidden origin_forbidden disconnected connection_replaced handshake_invalid route_not_websocket']
]
for (const [action, words] of WORDS) for (const word of words.split(' ')) ACTIONS.set(word, action)

/** Policy violation, and message too big: the same would happen again. */
const FINAL_CODES = [1008, 1009]
/** Service restart, and try again later. */
const CROWD_CODES = [1012, 1013]

/** What to do after an end. A word in a close code of the protocol itself, but for 1001, is of a proxy or of the app. */
export function actionOf ({ code, reason, status }: End): Action {
  const action = code >= 3000 || code === 1001 || status !== undefined ? ACTIONS.get(reason) : undefined
  if (action !== undefined) return action
  if (FINAL_CODES.includes(code)) return 'refuse'
  return CROWD_CODES.includes(code) ? 'crowd' : 'retry'
}

/** The word of a code: `WS_AUTH_TOKEN_EXPIRED` is `token_expired`. */
export function wordOf (code: unknown): string {
  const [, name = ''] = /^WS_AUTH_(\w+)$/.exec(String(code)) ?? []
  const word = name.toLowerCase()
  return { limit: 'connection_limit', busy: 'server_busy', unavailable: 'auth_unavailable', timeout: 'auth_timeout' }[word] ?? word
}
