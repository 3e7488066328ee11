/*
 * The terms of the contract of a handshake: the rules of an app and a route, what a client sends, and what it leads to.
 */
export type Source = 'header' | 'subprotocol' | 'query' | 'cookie' | 'param' | 'message' | 'ticket'
export type CloseName = 'unauthorized' | 'forbidden' | 'timeout' | 'limit' | 'unavailable'
export type OriginRule = 'same-host' | 'any' | 'list' | 'function-list' | 'function-truthy' | 'function-throws'
export type RejectRule = 'http' | 'close' | 'auto'

/** The `token` option as it is given. */
export interface TokenRule {
  readonly header?: boolean | string
  readonly subprotocol?: boolean | string
  readonly query?: boolean | string
  readonly cookie?: boolean | string | { readonly name: string, readonly signed?: boolean }
  readonly param?: boolean | string
  readonly message?: boolean | { readonly timeout?: number, readonly maxBytes?: number }
}

export interface RouteRule {
  readonly path: string
  readonly kind: 'websocket' | 'plain' | 'unprotected' | 'nowhere'
  readonly access: 'required' | 'optional' | 'public'
  readonly roles?: readonly string[]
  readonly scopes?: readonly string[]
  readonly authorize?: 'yes' | 'async yes' | 'no' | 'truthy' | 'throws'
  readonly token?: TokenRule
  readonly origin?: OriginRule
  readonly rejectWith?: RejectRule
  readonly closeCodes?: Partial<Record<CloseName, number>>
  readonly requireTicket?: boolean
  /** Whether its scope has a validator that finds nothing wrong with anything. */
  readonly hasOwnValidator?: boolean
}

export interface AppRule {
  readonly verifier: 'static' | 'function' | 'registered' | 'custom'
  /** A hook assigns `request.headers` anew. */
  readonly assignsHeaders: boolean
  readonly tokenCache: boolean
  readonly issuer: string | null
  readonly audience: string | null
  /** In seconds. */
  readonly maxAge: number | null
  /** In seconds. */
  readonly tolerance: number
  readonly token: TokenRule
  /** The cookie of @fastify/jwt, of which `token.cookie` is by default. */
  readonly jwtCookie: { readonly name: string, readonly signed: boolean } | null
  readonly origin: OriginRule
  readonly rejectWith: RejectRule
  readonly closeCodes: Partial<Record<CloseName, number>>
  readonly tickets: { readonly query: string, readonly require: boolean } | null
  /** Whether a schema asks for the tenant `acme`. */
  readonly hasSchema: boolean
  /** `formatted` is by `formatUser` of @fastify/jwt. */
  readonly user: 'claims' | 'mapped' | 'fussy' | 'formatted'
  /** Whether `trusted` of @fastify/jwt is asked, which distrusts some. */
  readonly distrusts: boolean
  /** Whether the verifier of @fastify/jwt has a cache of its own. */
  readonly hasVerifierCache: boolean
  readonly perUser: 'reject' | 'close-oldest' | null
  readonly maxTokenBytes: number
  readonly trustProxy: boolean
  /** Whether the app chooses protocols itself: `chat`, else `beta`, else none. */
  readonly handleProtocols: boolean
  readonly routes: readonly RouteRule[]
}

/** What a token is: known to whoever made it. */
export type TokenFact =
  | { readonly kind: 'jwt', readonly isGenuine: boolean, readonly payload: string, readonly crit?: unknown, readonly key?: 'down' | 'refused' }
  | { readonly kind: 'opaque', readonly answer: OpaqueAnswer }

/** What the app's own `verify` says of an opaque token. */
export type OpaqueAnswer =
  | { readonly claims: unknown, readonly isLate: boolean }
  | { readonly throws: string, readonly isLate: boolean }

export interface TicketFact {
  readonly claims: Record<string, unknown>
  readonly path?: string
  readonly origin?: string
  readonly state: 'fresh' | 'spent' | 'revoked' | 'expired' | 'unknown'
}

/** The message that is sent first where one is awaited. */
export interface FirstMessage {
  readonly text: string
  readonly isBinary: boolean
  /** Whether it is sent in one write with the handshake. */
  readonly isEarly: boolean
}

/** A handshake as it is sent. */
export interface Sent {
  readonly way: 'raw' | 'inject'
  readonly method: string
  readonly version: string
  /** Path and query as they stand in the request line. */
  readonly url: string
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>
  readonly message: FirstMessage | null
}

export interface World {
  readonly app: AppRule
  readonly route: RouteRule
  readonly tokens: ReadonlyMap<string, TokenFact>
  readonly tickets: ReadonlyMap<string, TicketFact>
  /** In seconds since the epoch. */
  readonly now: number
}

export interface Outcome {
  /** The code of the refusal, or `accepted`, or `dry run accepted`. */
  readonly verdict: string
  readonly status: number
  /** What the body says. */
  readonly code: string | null
  readonly challenge: string | null
  /** Whether `Sec-WebSocket-Version: 13` is answered. */
  readonly saysVersion: boolean
  readonly protocol: string | null
  readonly close: { readonly code: number, readonly reason: string } | null
  readonly source: Source | null
  /** `undefined` where no handler ran. */
  readonly user: unknown
  readonly spent: boolean
}

/** DESIGN 3.4. */
export const TABLE: Record<string, { status: number, close: CloseName | null, reason: string, error: string | null }> = {
  WS_AUTH_TOKEN_MISSING: { status: 401, close: 'unauthorized', reason: 'token_missing', error: null },
  WS_AUTH_TOKEN_INVALID: { status: 401, close: 'unauthorized', reason: 'token_invalid', error: 'invalid_token' },
  WS_AUTH_TOKEN_EXPIRED: { status: 401, close: 'unauthorized', reason: 'token_expired', error: 'invalid_token' },
  WS_AUTH_TOKEN_REVOKED: { status: 401, close: 'unauthorized', reason: 'token_revoked', error: 'invalid_token' },
  WS_AUTH_TOKEN_AMBIGUOUS: { status: 400, close: 'unauthorized', reason: 'token_ambiguous', error: 'invalid_request' },
  WS_AUTH_TICKET_INVALID: { status: 401, close: 'unauthorized', reason: 'ticket_invalid', error: 'invalid_token' },
  WS_AUTH_FORBIDDEN: { status: 403, close: 'forbidden', reason: 'forbidden', error: 'insufficient_scope' },
  WS_AUTH_ORIGIN_FORBIDDEN: { status: 403, close: 'forbidden', reason: 'origin_forbidden', error: null },
  WS_AUTH_TIMEOUT: { status: 408, close: 'timeout', reason: 'auth_timeout', error: null },
  WS_AUTH_LIMIT: { status: 429, close: 'limit', reason: 'connection_limit', error: null },
  WS_AUTH_BUSY: { status: 503, close: 'unavailable', reason: 'server_busy', error: null },
  WS_AUTH_UNAVAILABLE: { status: 503, close: 'unavailable', reason: 'auth_unavailable', error: null },
  WS_AUTH_HANDSHAKE_INVALID: { status: 400, close: null, reason: '', error: null },
  WS_AUTH_ROUTE_NOT_WEBSOCKET: { status: 404, close: null, reason: '', error: null },
  WS_AUTH_ROUTE_UNPROTECTED: { status: 500, close: null, reason: '', error: null }
}

/** Every code that a handshake can be refused with. */
export const CODES: readonly string[] = Object.keys(TABLE)
export const CLOSE_CODES: Record<CloseName, number> = { unauthorized: 3000, forbidden: 3003, timeout: 3008, limit: 4429, unavailable: 4503 }

/** The origins of all lists. */
export const LISTED = ['https://listed.example', 'capacitor://localhost']
export const COOKIE_SECRET = 'cookie secret of at least 32 bytes!!'

/** Whoever has this `sub` has a connection already, where connections are limited to one. */
export const FULL = 'full'

/** What is revoked everywhere. The number is matched by its digits. */
export const REVOKED = { jti: ['gone', '77'], sid: ['left'], sub: ['banned'] } as const

export class Refused extends Error {
  /** @param isBare whether the request had nothing to authenticate by (RFC 6750, 3.1) */
  constructor (readonly code: string, readonly isBare = code === 'WS_AUTH_TOKEN_MISSING') { super(code) }
}
