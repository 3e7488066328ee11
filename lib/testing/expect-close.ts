/*
 * Waits for the close of a socket, whatever its class, and says what came in its place.
 */
import { AssertionError } from 'node:assert'
import { assertNoMore, readArgument } from '../base/checks'
import type { CloseReason } from '../base/close-codes'
import { closeKeptBy } from '../connection/ws-internals'

/** What every class of sockets has: ws, `injectWS`, the WebSocket of Node.js and of browsers, and the client of this package. */
export interface ClosableSocket {
  readonly readyState: number
  addEventListener (type: 'close', listener: (event: Close) => void): void
  removeEventListener (type: 'close', listener: (event: Close) => void): void
}

/** The code and the reason of a close frame; 1006 without a reason if none came. */
export interface Close {
  readonly code: number
  readonly reason: string
}

/** A word of this package, or any other text. */
export type Reason = CloseReason | (string & {})

/** How {@link expectClose} waits. */
export interface ExpectCloseOptions {
  /** In milliseconds of the real clock. Default 5000 */
  readonly timeout?: number
}

const TIMEOUT = 5000
const CLOSED = 3
const STATES = ['connecting', 'open', 'closing', 'closed']

/**
 * Waits until a socket has closed with a reason, a code, or both. A socket of ws, or of `injectWS`, may have closed before.
 *
 * @param expected a reason, or `{ code, reason }` of which either may be left out
 * @returns the code and the reason
 * @throws AssertionError if it closes with others, or is not closed in time; it says what came
 * @throws TypeError for wrong arguments
 */
export async function expectClose (socket: ClosableSocket, expected: Reason | Partial<Close> = {}, options: ExpectCloseOptions = {}): Promise<Close> {
  assertSocket(socket)
  const { timeout = TIMEOUT, ...rest } = readArgument('options', options) as ExpectCloseOptions
  assertNoMore('options', rest, ['timeout'])
  const wanted = typeof expected === 'string' ? { reason: expected } : readClose(expected)
  const close = socket.readyState === CLOSED ? closeBefore(socket) : await nextClose(socket, timeout)
  if (close === null) throw failure(wanted, null, stateOf(socket, timeout))
  const { code = close.code, reason = close.reason } = wanted
  if (code !== close.code || reason !== close.reason) throw failure(wanted, close, `it closed with ${textOf(close)}`)
  return close
}

/** A promise of a socket would be waited for in vain. */
function assertSocket (socket: unknown): void {
  if (typeof Object(socket).addEventListener === 'function') return
  throw new TypeError(`"socket" must be a WebSocket${typeof Object(socket).then === 'function' ? ', and is a promise: await it' : ''}`)
}

function readClose (expected: unknown): Partial<Close> {
  const { code, reason, ...rest }: Partial<Close> = readArgument('expected', expected)
  assertNoMore('expected', rest, ['code', 'reason'])
  return { ...code !== undefined && { code }, ...reason !== undefined && { reason } }
}

/** Resolves to `null` if the socket is not closed in time. */
function nextClose (socket: ClosableSocket, timeout: number): Promise<Close | null> {
  return new Promise((resolve) => {
    const settle = (close: Close | null): void => {
      clearTimeout(timer)
      socket.removeEventListener('close', onClose)
      resolve(close)
    }
    const onClose = ({ code, reason }: Close): void => settle({ code, reason: String(reason) })
    const timer = setTimeout(settle, timeout, null)
    socket.addEventListener('close', onClose)
  })
}

/** The sockets of ws keep how they have closed, and so does the client of this package. */
function closeBefore (socket: ClosableSocket): Close | null {
  const end = (socket as { state?: { end?: Close } }).state?.end ?? closeKeptBy(socket)
  return end === null ? null : { code: end.code, reason: end.reason }
}

function stateOf ({ readyState }: ClosableSocket, timeout: number): string {
  if (readyState === CLOSED) return 'it had closed before expectClose() was called, and its class does not keep the code: call expectClose() earlier, and await it later'
  return `it is still ${STATES[readyState] ?? readyState} after ${timeout} ms`
}

function failure (expected: Partial<Close>, actual: Close | null, what: string): AssertionError {
  const wanted = Object.keys(expected).length === 0 ? 'any code' : textOf(expected)
  return new AssertionError({ message: `expected the socket to close with ${wanted}, but ${what}`, expected, actual, operator: 'expectClose' })
}

function textOf ({ code, reason }: Partial<Close>): string {
  const words = reason === undefined ? '' : reason === '' ? 'no reason' : `'${reason}'`
  const text = [code, words].filter((part) => part !== undefined && part !== '').join(' and ')
  return code === 1006 ? `${text} (no close frame came: the network was lost, the server ended the socket, or the handshake was refused)` : text
}
