/*
 * The public types of the client. They need neither the types of the DOM nor those of Node.js. Every file of this folder imports
 * from this folder alone, because it is also packed without the server. Start at `index.ts`.
 */

/** The codes of the refusals of fastify-ws-auth, as in the body of an HTTP refusal and in the frame `auth.error`. */
export type WsAuthErrorCode =
  | 'WS_AUTH_TOKEN_MISSING' | 'WS_AUTH_TOKEN_INVALID' | 'WS_AUTH_TOKEN_EXPIRED' | 'WS_AUTH_TOKEN_REVOKED' | 'WS_AUTH_TOKEN_AMBIGUOUS'
  | 'WS_AUTH_TICKET_INVALID' | 'WS_AUTH_FORBIDDEN' | 'WS_AUTH_ORIGIN_FORBIDDEN' | 'WS_AUTH_TIMEOUT' | 'WS_AUTH_LIMIT' | 'WS_AUTH_BUSY'
  | 'WS_AUTH_UNAVAILABLE' | 'WS_AUTH_HANDSHAKE_INVALID' | 'WS_AUTH_ROUTE_NOT_WEBSOCKET' | 'WS_AUTH_ROUTE_UNPROTECTED'

/** An `AbortSignal`. */
export interface AbortSignalLike {
  readonly aborted: boolean
  addEventListener (type: 'abort', listener: () => void): void
  removeEventListener (type: 'abort', listener: () => void): void
}

/** A `URL`. */
export interface URLLike {
  readonly href: string
}

/** An event of a WebSocket, with the properties of its kind. */
export interface EventLike {
  readonly type: string
}
export interface MessageEventLike extends EventLike {
  readonly data: any
}
export interface CloseEventLike extends EventLike {
  readonly code: number
  readonly reason: string
  readonly wasClean: boolean
}
export interface ErrorEventLike extends EventLike {
  readonly error?: unknown
  readonly message?: string
}

/** The events of a WebSocket. */
export interface WebSocketEvents {
  open: EventLike
  message: MessageEventLike
  close: CloseEventLike
  error: ErrorEventLike
}

/** What a WebSocket can send. */
export type Sendable = string | ArrayBuffer | ArrayBufferView | { readonly size: number, arrayBuffer (): Promise<ArrayBuffer> }

/** What the client needs of a socket: that of a browser, of Node.js, or of the library ws. */
export interface SocketLike {
  readonly readyState: number
  readonly protocol: string
  readonly extensions: string
  readonly bufferedAmount: number
  binaryType: any
  onopen: ((event: any) => any) | null
  onmessage: ((event: any) => any) | null
  onclose: ((event: any) => any) | null
  onerror: ((event: any) => any) | null
  send (data: any): void
  close (code?: number, reason?: string): void
}

/** A WebSocket as of the HTML standard. */
export interface WebSocketLike extends SocketLike {
  readonly CONNECTING: 0
  readonly OPEN: 1
  readonly CLOSING: 2
  readonly CLOSED: 3
  readonly readyState: 0 | 1 | 2 | 3
  readonly url: string
  addEventListener (type: any, listener: any, options?: any): void
  removeEventListener (type: any, listener: any, options?: any): void
  dispatchEvent (event: any): boolean
}

/** The constructor of a {@link WebSocketLike}. */
export interface WebSocketLikeClass {
  new (url: string | URLLike, protocols?: string | string[]): WebSocketLike
  readonly CONNECTING: 0
  readonly OPEN: 1
  readonly CLOSING: 2
  readonly CLOSED: 3
}

/** The part of `fetch` that the client uses. */
export type FetchLike = (url: string, options: {
  readonly method: string
  readonly headers: Record<string, string>
  readonly credentials: 'include' | 'same-origin'
  readonly cache: 'no-store'
  readonly signal: any
}) => Promise<{ readonly status: number, readonly headers: { get (name: string): string | null }, json (): Promise<unknown> }>

/** Why a credential is asked for. */
export interface CredentialRequest {
  /** `connect`: there is none, or its life ends soon. `renew`: an open connection needs the next one. `rejected`: the server has refused the last one. */
  readonly why: 'connect' | 'renew' | 'rejected'
  /** The code of the refusal, else `null`. */
  readonly code: WsAuthErrorCode | null
  /** It is aborted if the answer is no longer needed, or too late. */
  readonly signal: AbortSignalLike
}

/**
 * A token or a ticket. `expiresIn` is its life in milliseconds from now, never an instant of a clock. `null` says that no user is
 * logged in.
 */
export type Credential = string | { readonly token: string, readonly expiresIn?: number } | null

/** Gets a credential. */
export type Ask = (request: CredentialRequest) => Credential | PromiseLike<Credential>

/** The options that both clients have. */
export interface AuthOptions {
  /**
   * Gets the token. It is called once at a time, and the token is kept while it is good. An error is tried again, `null` ends in
   * `refused`. Default: none, for a cookie.
   */
  readonly token?: Ask
  /** A ticket for each handshake, and for each dry run. `true` posts to `/ws-ticket` with the token or the cookie; a string is another path. Default: none */
  readonly ticket?: true | string | Ask
  /** The place of the token. `'header'` needs `create`. Default: `'subprotocol'` */
  readonly via?: 'subprotocol' | 'message' | 'header' | 'query'
  /** The subprotocols of the app. Default: none */
  readonly protocols?: string | readonly string[]
  /** Makes a socket: for ws, undici and React Native, whose third arguments differ. Default: `new WebSocket(url, protocols)` */
  readonly create?: (url: string, protocols: string[], headers: Record<string, string>) => SocketLike
  /** Gets tickets, and finds out why a handshake failed. `false` does neither. Default: `globalThis.fetch` */
  readonly fetch?: FetchLike | false
  /** In milliseconds: a credential (10 000), the time from the socket to `auth.ok` (15 000), an answer of the server (5000). */
  readonly timeouts?: { readonly credential?: number, readonly connect?: number, readonly answer?: number }
}

/** The options of `connect`. */
export interface ConnectOptions extends AuthOptions {
  /**
   * When to come back, in milliseconds: at random within `min(max, base * 2 ** attempt)`, or within `crowd` if the server has ended all
   * connections. The count of attempts begins anew if a connection lasts `stableAfter`. Default: 1000, 30 000, 5000, 10 000
   */
  readonly retry?: { readonly base?: number, readonly max?: number, readonly crowd?: number, readonly stableAfter?: number }
  /** Decides whether the socket comes back; `undefined` leaves it to the table of the reasons. */
  readonly shouldReconnect?: (end: End) => boolean | undefined
  /** How many bytes are kept while the socket is not open. They are sent after the `open` listeners. Default: 0, then `send` throws */
  readonly queue?: number
  /** Whether events of the page count: online, visible, resume, pagehide, pageshow. Default: if there is a page */
  readonly page?: boolean
  /** An abort is a `close()`. */
  readonly signal?: AbortSignalLike
}

/** The end of a connection, or of an attempt to open one. */
export interface End {
  /** The close code; 1006 if there was none. */
  readonly code: number
  /** The word of the server, also if it was found by a dry run; `''` if there is none. */
  readonly reason: string
  readonly wasOpen: boolean
  /** The status of a dry run. */
  readonly status?: number
  readonly error?: unknown
  /** For the developer: the probable cause. */
  readonly hint?: string
}

/** The state of a socket: one frozen object for each change. Durations are in milliseconds. */
export type State =
  | { readonly status: 'connecting', readonly attempt: number, readonly end: End | null }
  | { readonly status: 'open', readonly id: string | null, readonly expiresIn: number | null }
  | { readonly status: 'waiting', readonly attempt: number, readonly end: End, readonly delay: number }
  | { readonly status: 'paused', readonly why: 'offline' | 'pagehide' | 'idle', readonly end: End | null }
  | { readonly status: 'refused' | 'closed', readonly end: End }

/** The events of an {@link AuthSocket}: those of a WebSocket, and `state`. */
export interface AuthSocketEvents extends WebSocketEvents {
  state: EventLike
}

/** A socket that lasts. */
export interface AuthSocket extends WebSocketLike {
  readonly state: State
  /** Calls the listener at each change of `state`. @returns a function that ends it */
  readonly subscribe: (listener: () => void) => () => void
  /** Resolves when the socket is open next. @throws WsAuthClientError if it is refused or closed */
  readonly opened: Promise<void>
  onopen: ((event: EventLike) => any) | null
  onmessage: ((event: MessageEventLike) => any) | null
  onclose: ((event: CloseEventLike) => any) | null
  onerror: ((event: ErrorEventLike) => any) | null
  addEventListener<K extends keyof AuthSocketEvents> (type: K, listener: ((event: AuthSocketEvents[K]) => any) | null, options?: any): void
  addEventListener (type: string, listener: any, options?: any): void
  removeEventListener (type: string, listener: any, options?: any): void
  /** Renews the connection with the next credential. @throws if it is refused; then nothing has changed */
  renew (): Promise<void>
  /** Connects anew with another credential, also if the socket was refused or closed. */
  reconnect (): void
  /** The messages from now on. It ends with `close`, and throws if the socket is refused, or if more than `max` messages wait. Default: 1024 */
  messages (options?: { readonly max?: number }): AsyncIterableIterator<any>
  /** Closes the socket. */
  [Symbol.dispose] (): void
}

declare global {
  interface SymbolConstructor {
    readonly dispose: unique symbol
  }
}
