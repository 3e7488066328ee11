/*
 * `webSocketClass()`: a `WebSocket` for libraries that come back by themselves. Each instance is one connection, with renewal; all of
 * them share one token.
 */
import { Face, notOpen } from './face'
import { Link } from './link'
import type { LinkOwner } from './link'
import { completeOptions } from './settings'
import type { Settings } from './settings'
import type { AuthOptions, URLLike, WebSocketLike, WebSocketLikeClass } from './types'
import type { Outcome } from './verdict'

/** The close codes of final refusals, as the library knows them. */
type CloseCodes = Partial<Record<'unauthorized' | 'forbidden', number>>

class AuthWebSocket extends Face implements WebSocketLike, LinkOwner {
  readonly #closeCodes: CloseCodes
  declare protected readonly link: Link
  readyState: 0 | 1 | 2 | 3 = 0

  constructor (settings: Settings, closeCodes: CloseCodes, url: string | URLLike, protocols: string | string[]) {
    super()
    this.#closeCodes = closeCodes
    const link = this.link = new Link(settings, () => String(url), settings.protocols.concat(protocols), this)
    link.url = String(url)
    void link.start()
  }

  send (data: any): void {
    if (this.readyState === 0) throw notOpen()
    this.link.socket?.send(data)
  }

  close (code?: number, reason?: string): void {
    if (this.readyState > 1) return
    if (this.readyState === 1) this.link.socket?.close(code, reason)
    else {
      this.link.stop()
      void Promise.resolve().then(() => this.#fail(1006, ''))
    }
    this.readyState = 2
  }

  onOpen (): void {
    if (this.readyState > 0) return
    this.readyState = 1
    this.fire('open')
  }

  /** A library has no use for a renewal that was refused: the connection goes on. */
  onRefusal (): void {}

  onEnd ({ end: { code, reason, wasOpen }, action }: Outcome): void {
    if (wasOpen) return this.#close(code, reason)
    if (action !== 'refuse') return this.#fail(code, reason)
    const { unauthorized = 3000, forbidden = 3003 } = this.#closeCodes
    // Libraries understand a code only behind `open`.
    this.onOpen()
    this.#close(/forbidden/.test(reason) ? forbidden : unauthorized, reason)
  }

  #fail (code: number, reason: string): void {
    this.readyState = 3
    // graphql-ws comes back if an error has a code.
    this.fire('error', { code, reason })
    this.#close(code, reason)
  }

  #close (code: number, reason: string): void {
    this.readyState = 3
    this.fireClose(code, reason)
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
  const settings = { ...completeOptions(options, { closeCodes: 'o' }), finals: new Map() }
  return class extends AuthWebSocket {
    constructor (url: string | URLLike, protocols: string | string[] = []) {
      super(settings, options.closeCodes ?? {}, url, protocols)
    }
  }
}
