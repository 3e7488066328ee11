/*
 * Whether what a client saw and what the instance has told of it are the same.
 */
import { wsAuthErrors } from '../../../lib/index'
import type { Story } from './ledger'

/** What a client saw. */
export interface Seen {
  /** That of the answer; 0 where it saw none. */
  readonly status: number
  /** That of a refusal of ours. */
  readonly code: string | null
  /** The close frame, `<code> <reason>`. */
  readonly close: string | null
  /** Whether a handler answered. */
  readonly isHeard: boolean
}

/** By which ends a connection is closed with these. */
const ENDS: Record<string, readonly string[]> = {
  '3000 token_expired': ['token_expired'],
  '3000 lifetime_exceeded': ['lifetime_exceeded'],
  '3000 token_revoked': ['token_revoked'],
  '3003 disconnected': ['disconnected'],
  '3003 connection_replaced': ['connection_replaced'],
  '4503 auth_unavailable': ['auth_unavailable'],
  '1001 shutdown': ['shutdown'],
  '1011 internal_error': ['internal_error'],
  '4000 enough': ['app'],
  '4001 ': ['app'],
  '1000 ': ['app', 'client'],
  // An empty close frame is answered with one.
  none: ['client']
}

/** What ws says of what is no WebSocket: nobody else does, at least not here. */
const NO_WEBSOCKET = /^(1002|1003|1006|1007|1009) /

export function seenIn (received: string): Seen {
  const end = received.indexOf('\r\n\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(received)?.[1] ?? 0)
  if (status !== 101) return { status, code: /"code":"(WS_AUTH_[A-Z_]+)"/.exec(received)?.[1] ?? null, close: null, isHeard: false }
  const frames = Buffer.from(received.slice(end + 4), 'latin1')
  let [at, close, isHeard] = [0, null as string | null, false]
  while (close === null && at + 2 <= frames.length) {
    const [opcode, short] = [frames.readUInt8(at) & 15, frames.readUInt8(at + 1)]
    const isLong = short === 126
    if (isLong && at + 4 > frames.length) break
    const start = at + (isLong ? 4 : 2)
    const length = isLong ? frames.readUInt16BE(at + 2) : short
    if (start + length > frames.length) break
    const payload = frames.subarray(start, start + length)
    if (opcode === 8) close = length < 2 ? 'none' : `${payload.readUInt16BE(0)} ${payload.toString('utf8', 2)}`
    isHeard ||= payload.toString().startsWith('echo ')
    at = start + length
  }
  return { status, code: null, close, isHeard }
}

/** What is wrong, or `null`. */
export function contradictionOf (path: string, { status, code, close, isHeard }: Seen, stories: readonly Story[]): string | null {
  const [story = [], ...more] = stories
  const [first = '', last = ''] = [story[0], story.at(-1)]
  const what = `${path}: ${status} ${code} ${close}, and was told: ${story.join()}`
  if (more.length > 0) return `${what}, and more: ${more.join(' | ')}`
  // Refusals without a request are told without one.
  if (code !== null && first !== `refused ${code}`) return code === 'WS_AUTH_UNAVAILABLE' && story.length === 0 ? null : what
  if (code !== null) return story.length === 1 ? null : what
  if (status >= 400 && first.startsWith('accepted')) return what
  if (isHeard && path !== '/public' && first !== 'accepted') return what
  // Where no first message is waited for, a 101 is a decision.
  if (status === 101 && path === '/strict' && first !== 'accepted') return what
  if (status === 101 && path === '/closing' && first === '') return what
  if (close === null || NO_WEBSOCKET.test(close) || path === '/public') return null
  if (first === 'accepted') return ENDS[close]?.some((reason) => last.endsWith(` ${reason}`)) === true ? null : what
  if (first.startsWith('refused ')) return close === closeOf(first.slice('refused '.length)) ? null : what
  // Who leaves before the first message, and who waits for it at the shutdown, are nobody's.
  return ['1000 ', 'none', '1001 shutdown'].includes(close) ? null : what
}

function closeOf (code: string): string | null {
  const { close } = wsAuthErrors[code as keyof typeof wsAuthErrors]
  const codes: Record<string, number> = { unauthorized: 3000, forbidden: 3003, timeout: 3008, limit: 4429, unavailable: 4503 }
  return close === null ? null : `${codes[close.kind]} ${close.reason}`
}
