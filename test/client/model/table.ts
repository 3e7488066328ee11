/*
 * The table of CLIENT.md, written down a second time: what a client does after each end, and when it comes back.
 */
import type { End, State } from '../../../lib/client/index'

export type Action = 'ask' | 'anew' | 'retry' | 'crowd' | 'limit' | 'idle' | 'refuse'

/** Each end that a server may give, and what is done about it if the connection had been open. */
export const ENDS: ReadonlyArray<readonly [code: number, reason: string, action: Action]> = [
  [3000, 'token_expired', 'ask'],
  [3000, 'token_invalid', 'ask'],
  [3000, 'token_missing', 'ask'],
  [3000, 'token_ambiguous', 'ask'],
  [3000, 'token_revoked', 'ask'],
  [3000, 'ticket_invalid', 'ask'],
  [3000, 'lifetime_exceeded', 'anew'],
  [3003, 'forbidden', 'refuse'],
  [3003, 'origin_forbidden', 'refuse'],
  [3003, 'disconnected', 'refuse'],
  [3003, 'connection_replaced', 'refuse'],
  [1001, 'shutdown', 'crowd'],
  [1001, 'drain', 'crowd'],
  [4503, 'auth_unavailable', 'crowd'],
  [4503, 'server_busy', 'crowd'],
  [1012, '', 'crowd'],
  [1013, '', 'crowd'],
  [4429, 'connection_limit', 'limit'],
  [4429, 'message_limit', 'limit'],
  [4000, 'idle', 'idle'],
  [3008, 'auth_timeout', 'retry'],
  [1011, 'internal_error', 'retry'],
  [1006, '', 'retry'],
  [1000, '', 'retry'],
  [1005, '', 'retry'],
  [1001, '', 'retry'],
  [1008, '', 'refuse'],
  [1009, '', 'refuse'],
  [4999, 'kicked', 'retry'],
  // Words of an app, which only look like ours.
  ...['xshutdown', 'shutdown_', 'a_drain', 'server_busy_', 'disconnected_', 'xdisconnected', 'connection_replaced_', 'xconnection_replaced', 'forbidden_', 'a_token_x', 'idle_', 'limit', 'x_limit_'].map((word) => [4999, word, 'retry'] as const),
  // A word counts only in a code of ours: these are of a proxy.
  [1000, 'token_expired', 'retry'],
  [1006, 'forbidden', 'retry'],
  [1011, 'token_revoked', 'retry'],
  [1012, 'forbidden', 'crowd']
]

/** Words that only a dry run can tell. */
const HTTP_WORDS: Record<string, Action> = { handshake_invalid: 'refuse', route_not_websocket: 'refuse', other_subject: 'anew' }

export function expectedAction ({ code, reason, status }: End): Action {
  const words = ENDS.filter(([each, word]) => word !== '' && (each >= 3000 || each === 1001))
  const word = words.find(([, each]) => each === reason)?.[2] ?? HTTP_WORDS[reason]
  if ((code >= 3000 || code === 1001 || status !== undefined) && word !== undefined) return word
  return ENDS.find(([each, none]) => each === code && none === '')?.[2] ?? 'retry'
}

export interface Told {
  /** `auth.retry` */
  within: number | null
  /** `Retry-After` */
  least: number
}

/** Between which delays a client waits. */
export function boundsOf (state: Extract<State, { status: 'waiting' }>, told: Told, isForced: boolean): readonly [number, number] {
  const [base, max, crowd] = [1000, 30_000, 5000]
  const backOff = Math.min(max, base * 2 ** (state.attempt - 1))
  const action = expectedAction(state.end)
  if (isForced) return [0, told.least + 10 * base + Math.max(backOff, crowd, told.within ?? 0)]
  const held = action === 'limit' ? 10 * base : 0
  if (told.within !== null) return [told.least + held, told.least + held + told.within]
  if (action === 'ask' || action === 'anew') return [0, base]
  if (action === 'limit') return [Math.max(10 * base, told.least), 10 * base + told.least + backOff]
  return [told.least, told.least + (action === 'crowd' && state.attempt === 1 ? crowd : backOff)]
}
