/*
 * What the client does after the end of a connection, by the word of the server. Close codes can be configured, words cannot.
 */
import type { End } from './types'

/** `ask`: the credential is refused, and the next one may be accepted. `refuse`: stop. Else the client comes back. */
export type Action = 'ask' | 'refuse' | undefined

/** How an attempt or a connection ended. */
export interface Outcome {
  readonly end: End
  readonly action?: Action
  /** The least delay, in milliseconds, as `Retry-After` said. */
  readonly least?: number
  /** The most, as `auth.retry` said. */
  readonly most?: number | undefined
  /** The ticket, if it was a request for one. */
  readonly ticket?: unknown
}

/** An outcome, by default of an attempt that failed without a word of the server. */
export function outcomeOf (more: Partial<End>, action?: Action): Outcome {
  const end = { code: 1006, reason: '', wasOpen: false, ...more }
  return { end, action: action ?? actionOf(end) }
}

/** The word of an end, or `''`. A word in a close code of the protocol itself, but for 1001, is of a proxy or of the app. */
export function wordIn ({ code, reason, status }: End): string {
  return code >= 3000 || code === 1001 || status ? reason : ''
}

/** Whether a word says that another credential may be accepted. */
export function isOfCredential (word: string): boolean {
  return /^(token_|ticket_)/.test(word)
}

function actionOf (end: End): Action {
  const word = wordIn(end)
  if (isOfCredential(word)) return 'ask'
  // 1008 and 1009, policy violation and message too big: the same would happen again.
  return /forbidden$|^(disconnected|connection_replaced)$/.test(word) || (word && /400|404/.test(`${end.status}`)) || /100[89]/.test(`${end.code}`) ? 'refuse' : undefined
}

/** A map, because the code is of the network, and an object has members of its own. */
const WORDS = new Map([['limit', 'connection_limit'], ['busy', 'server_busy'], ['unavailable', 'auth_unavailable'], ['timeout', 'auth_timeout']])

/** The word of a code: `WS_AUTH_TOKEN_EXPIRED` is `token_expired`. */
export function wordOf (code: unknown): string {
  const word = (/^WS_AUTH_(\w+)$/.exec(code as string)?.[1] ?? '').toLowerCase()
  return WORDS.get(word) ?? word
}
