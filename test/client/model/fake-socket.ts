/*
 * A WebSocket of which the test is the server.
 */
import type { WebSocketLike } from '../../../lib/client/index'
import type { VirtualClock } from './clock'

type Handler = ((event: unknown) => void) | null

/** The codes with which a page may close (HTML, 9.3.2). */
function mayClose (code: number): boolean {
  return code === 1000 || (code >= 3000 && code <= 4999)
}

export class FakeSocket implements WebSocketLike {
  readonly CONNECTING = 0
  readonly OPEN = 1
  readonly CLOSING = 2
  readonly CLOSED = 3
  readonly url: string
  readonly protocols: readonly string[]
  readonly headers: Record<string, string>
  readonly #clock: VirtualClock
  readyState: 0 | 1 | 2 | 3 = 0
  protocol = ''
  extensions = ''
  bufferedAmount = 0
  binaryType = 'blob'
  onopen: Handler = null
  onmessage: Handler = null
  onclose: Handler = null
  onerror: Handler = null
  /** What the client has sent, in order. */
  readonly sent: string[] = []
  /** How the client has closed it. */
  closedWith: { readonly code: number | undefined, readonly reason: string | undefined } | null = null
  /** The server, or the network, has ended it. */
  isOver = false
  onSent: (data: string) => void = () => {}
  /** How long a close takes, in milliseconds; `null` is for ever. */
  closeDelay: number | null = 20

  constructor (clock: VirtualClock, url: string, protocols: readonly string[], headers: Record<string, string>) {
    this.#clock = clock
    this.url = url
    this.protocols = protocols
    this.headers = headers
  }

  /** Whether it holds a connection, or tries to. */
  get isLive (): boolean {
    return !this.isOver && this.closedWith === null
  }

  /** The auth frames that the client has sent. */
  get frames (): Array<Record<string, unknown>> {
    return this.sent.filter((data) => data.startsWith('{"type":"auth')).map((data) => JSON.parse(data) as Record<string, unknown>)
  }

  send (data: unknown): void {
    if (this.readyState === 0) throw new DOMException('still connecting', 'InvalidStateError')
    if (this.readyState !== 1) return
    this.sent.push(String(data))
    this.onSent(String(data))
  }

  close (code?: number, reason?: string): void {
    if (code !== undefined && !mayClose(code)) throw new DOMException(`the code must not be ${code}`, 'InvalidAccessError')
    if (this.readyState >= 2) return
    this.readyState = 2
    this.closedWith = { code, reason }
    if (this.closeDelay !== null) this.#clock.plan(this.closeDelay, () => this.drop(code ?? 1005, reason ?? ''))
  }

  /** The server accepts the handshake. */
  open (protocol = 'ws-auth'): void {
    if (this.isOver) return
    if (this.readyState === 0) this.readyState = 1
    this.protocol = protocol
    this.onopen?.({ type: 'open' })
  }

  /** The server sends a message. A library may still deliver it while the client closes. */
  message (data: string): void {
    if (!this.isOver) this.onmessage?.({ type: 'message', data })
  }

  /** The server sends a frame. */
  frame (type: string, properties: object = {}): void {
    this.message(JSON.stringify({ type, ...properties }))
  }

  /** The server accepts the handshake, and the connection is open. */
  accept (properties: object = { connection: 'c1', expiresIn: 60_000 }): void {
    this.open()
    this.frame('auth.ok', properties)
  }

  /** The connection ends. */
  drop (code = 1006, reason = ''): void {
    if (this.isOver) return
    this.isOver = true
    this.readyState = 3
    this.onclose?.({ type: 'close', code, reason })
  }

  /** The handshake or the connection fails. */
  fail ({ hasClose = true } = {}): void {
    if (this.isOver) return
    this.readyState = 3
    if (!hasClose) this.isOver = true
    this.onerror?.({ type: 'error' })
    if (hasClose) this.drop()
  }

  addEventListener (): void {}
  removeEventListener (): void {}
  dispatchEvent (): boolean { return true }
}
