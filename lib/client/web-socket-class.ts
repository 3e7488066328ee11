/*
 * `webSocketClass()`: a `WebSocket` for libraries that come back by themselves. Each instance is one connection, with renewal; all of
 * them share one token.
 */
import { Face, notOpen } from './face'
import { Link } from './link'
import { areDurations, checkOptions, completeOptions } from './settings'
import type { Settings } from './settings'
import type { AuthOptions, URLLike, WebSocketLike, WebSocketLikeClass } from './types'
import type { Outcome } from './verdict'

/** The close codes of final refusals, as the library knows them. */
type CloseCodes = Partial<Record<'unauthorized' | 'forbidden', number>>

const FORBIDDEN = /forbidden/

class AuthWebSocket extends Face implements WebSocketLike {
  readonly #link: Link
  readonly #closeCodes: CloseCodes
  #readyState: 0 | 1 | 2 | 3 = this.CONNECTING
  readonly url: string

  constructor (settings: Settings, closeCodes: CloseCodes, url: string | URLLike, protocols: string | string[]) {
    super()
    this.#closeCodes = closeCodes
    this.url = typeof url === 'string' ? url : url.href
    this.#link = new Link(settings, () => this.url, [...settings.protocols, ...([] as string[]).concat(protocols)], {
      onOpen: () => this.#onOpen(),
      onMessage: (data) => this.fire('message', { data, origin: this.url }),
      onError: () => {},
      onEnd: (outcome) => this.#onEnd(outcome)
    })
    void this.#link.start()
  }

  get readyState (): 0 | 1 | 2 | 3 { return this.#readyState }
  get protocol (): string { return this.#link.socket?.protocol ?? '' }
  get extensions (): string { return this.#link.socket?.extensions ?? '' }
  get bufferedAmount (): number { return this.#link.socket?.bufferedAmount ?? 0 }
  get binaryType (): any { return this.#link.socket?.binaryType ?? this.#link.binaryType ?? 'blob' }
  set binaryType (type: string) {
    this.#link.binaryType = type
    if (this.#link.socket !== null) this.#link.socket.binaryType = type
  }

  send (data: any): void {
    if (this.#readyState === this.CONNECTING) throw notOpen()
    this.#link.socket?.send(data)
  }

  close (code?: number, reason?: string): void {
    if (this.#readyState > this.OPEN) return
    const isOpen = this.#readyState === this.OPEN
    if (isOpen) this.#link.socket?.close(code, reason)
    else this.#link.stop()
    this.#readyState = this.CLOSING
    if (!isOpen) void Promise.resolve().then(() => this.#fail(1006, ''))
  }

  #onOpen (): void {
    if (this.#readyState !== this.CONNECTING) return
    this.#readyState = this.OPEN
    this.fire('open')
  }

  #onEnd ({ end, action }: Outcome): void {
    const { code, reason, wasOpen } = end
    if (wasOpen) return this.#close(code, reason)
    if (action !== 'refuse') return this.#fail(code, reason)
    const { unauthorized = 3000, forbidden = 3003 } = this.#closeCodes
    this.#onOpen()
    if (this.#readyState === this.OPEN) this.#close(FORBIDDEN.test(reason) ? forbidden : unauthorized, reason)
  }

  #fail (code: number, reason: string): void {
    this.#readyState = this.CLOSED
    this.fire('error', { message: 'the connection failed' })
    this.#close(code, reason)
  }

  #close (code: number, reason: string): void {
    this.#readyState = this.CLOSED
    this.fire('close', { code, reason, wasClean: code !== 1006 })
  }
}

/**
 * Makes a class of WebSockets for a library: graphql-ws (`webSocketImpl`), tRPC (`WebSocket`), y-websocket (`WebSocketPolyfill`).
 *
 * A refusal for good is told as `open` and `close`, which such libraries understand. Until the function for the token gives another
 * token, the next instances are closed so without the network.
 *
 * @param options `closeCodes` are the codes for such refusals. Default: 3000 and 3003
 * @throws TypeError for a wrong option
 */
export function webSocketClass (options: AuthOptions & { readonly closeCodes?: CloseCodes }): WebSocketLikeClass {
  checkOptions(options, { closeCodes: areDurations('unauthorized', 'forbidden') })
  const settings = completeOptions(options)
  return class extends AuthWebSocket {
    constructor (url: string | URLLike, protocols: string | string[] = []) {
      super(settings, options.closeCodes ?? {}, url, protocols)
    }
  }
}
