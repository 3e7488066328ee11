/*
 * The options that an app writes: this folder has their types, reads them once, and completes them. It imports from base, token and
 * backplane; the rest of the package sees the complete values and checks nothing again. Start here, then read `complete-options.ts`
 * and `read-plugin-options.ts`; an option of routes is read in `read-handshake-options.ts` or `read-route-options.ts`.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyCookieOptions } from '@fastify/cookie'
import type { FastifyJWTOptions } from '@fastify/jwt'
import type { WebsocketPluginOptions } from '@fastify/websocket'
import type { FastifyRequest } from 'fastify'
import type { Backplane } from '../backplane/contract'
import type { CloseKind } from '../base/errors'
import type { Claims } from '../token/claims'
import type { VerifyOption } from '../token/custom-verifier'
import type { Answer, OriginOption, RejectWith, RenewalOption, RouteLimitsOptions, SubjectOption, TokenOptions, UserOption } from './public-handshake-options'
import type { RouteWsAuth } from './public-route-options'
import type { SignalsOptions } from './public-signals-options'

/** What happens when a user is past `limits.perUser`: the new connection is refused, or the user's oldest one is closed. */
export type OnLimit = 'reject' | 'close-oldest'

/** How many connections a subject may have on all instances together; see {@link WsAuthOptions.limits}. */
export interface PerUserLimit {
  /** The number, from 1 to 10 000. */
  max: number
  /** All instances that share the backplane. A plain number counts on each instance. */
  scope: 'cluster'
  /**
   * What happens while the backplane does not answer. `'local'`: this instance counts its own connections. `'reject'`: handshakes are
   * refused with 503. Default `'local'`.
   */
  whenDown?: 'local' | 'reject'
}

/**
 * The options of the plugin. A wrong or unknown option is a `TypeError` at registration.
 *
 * @typeParam OpenConnection the type of an open connection, which stands in a folder above this one
 */
export interface WsAuthOptions<OpenConnection = never> {
  /** The options of @fastify/jwt. Leave them out if the app registers @fastify/jwt before this plugin, or if you give `verify`. */
  jwt?: FastifyJWTOptions
  /** The namespace of the @fastify/jwt that the app registered. Default: none. */
  jwtNamespace?: string
  /** The options of @fastify/cookie. They are used if the app has not registered @fastify/cookie. Default `{}`. */
  cookie?: FastifyCookieOptions
  /**
   * The options of @fastify/websocket. The plugin calls `preClose` before it closes any connection, and waits for it for at most 2 s.
   * Default `{}`.
   */
  websocket?: WebsocketPluginOptions
  /** Where the plugin looks for a token. The given places are merged over the defaults. */
  token?: TokenOptions
  /**
   * Verifies a token in place of @fastify/jwt, for opaque tokens, introspection or a shared secret. It returns the claims.
   *
   * It is never called with a token that has other characters than visible ASCII: that token is refused with 401. `signal` aborts
   * when the client disconnects or the time is over (`handshakeTimeout`, or `token.message.timeout` for a first message).
   *
   * `null`, or any other result that is not an object, refuses with 401. A thrown `WsAuthError` is the refusal. An error with
   * `statusCode` 401 or 403 refuses with that status, and a JWT library's error about the token refuses with 401. Any other error
   * refuses with 503.
   */
  verify?: VerifyOption
  /**
   * Checks what a token is bound to: its `cnf` (RFC 7800), as for DPoP (RFC 9449) and mutual TLS (RFC 8705). Only `true` admits; any
   * other result refuses with 401, and a thrown error refuses with 503. Without this function a token with a `cnf` is refused with
   * 401, because a bearer proves nothing about it. Default: none.
   */
  confirm?: (claims: Claims, request: FastifyRequest) => Answer<boolean>
  /**
   * A JSON Schema that the claims must match; claims that do not match are refused with 401. The validator of the app that registers
   * the plugin compiles it once, at start. Validation never changes the claims. A schema that the validator cannot compile or run is a
   * `TypeError` at start. Default: none.
   */
  claims?: object
  /**
   * Makes `request.user` from the claims. `null` or `undefined` refuses with 401; a thrown error refuses with 503. Default: the
   * claims, or the result of the `formatUser` of @fastify/jwt.
   */
  user?: UserOption
  /**
   * Reads the subject: the user that limits, renewals, tickets, `bySub`, revocations and disconnects by `sub` are about. It must
   * return a non-empty string, or `undefined` for a token without a subject; any other result refuses with 401, and a thrown error
   * refuses with 503. Default: `claims.sub` (RFC 7519, 4.1.2), which must be a string then.
   */
  subject?: SubjectOption
  /**
   * Reads the groups of a connection, a list of strings, from the claims: a tenant, a device, a team. They are in
   * `request.wsAuth.groups`. Another result, or a thrown error, refuses with 503. Default: none.
   */
  groups?: (claims: Claims) => unknown
  /** Reads the roles, a list of strings, from the claims. Default: `claims.roles`, else `claims.role`. */
  roles?: (claims: Claims) => unknown
  /**
   * Reads the scopes, a list of strings, from the claims. Default: `claims.scope` (separated by spaces; RFC 8693, 4.2), else `claims.scp`, else
   * `claims.permissions`.
   */
  scopes?: (claims: Claims) => unknown
  /**
   * Which origins may connect; all others are refused with 403. `'same-host'` compares the Origin with the request's host if a cookie
   * authenticates the request. A list of exact origins, or a function that must return `true`, applies to every handshake with an
   * Origin. `'any'` checks nothing. Default `'same-host'`.
   */
  origin?: OriginOption
  /**
   * Whether handshakes, dry runs and requests for tickets must come by TLS, to the app or to a proxy that the `trustProxy` of Fastify
   * trusts (RFC 6455, 10.6). All others are refused with 400 before their token is looked at, on public websocket routes too. Default
   * `false`.
   */
  requireTls?: boolean
  /**
   * How a handshake is refused. `'http'` answers with a status before the upgrade. `'close'` accepts the socket and closes it with a
   * code, because browsers hide the status from the page. `'auto'` is `'close'` for a request with an Origin, else `'http'`. Default
   * `'http'`.
   */
  rejectWith?: RejectWith
  /** The close codes of refusals, for clients that expect others: 3000 to 4999, or 1008. Merged over {@link DEFAULT_CLOSE_CODES}. */
  closeCodes?: Partial<Record<CloseKind, number>>
  /**
   * Keeps up to `max` verified tokens for `ttl` milliseconds each (at most 60 000), so that a reconnect storm does not verify slow
   * signatures again. A hit skips the `trusted` function of @fastify/jwt. Default `false`.
   */
  tokenCache?: false | { max: number, ttl: number }
  /**
   * With which clients the plugin speaks in messages: they may renew with `{"type":"auth","token":"..."}`, and are told when to do so.
   * `'offered'`: with clients that offer the subprotocol `ws-auth`, and with those that authenticated by an auth frame. `true`: with
   * all. `false`: with none. `request.wsAuth.renew` works in any case. Default `'offered'`.
   */
  renewal?: RenewalOption
  /** How many milliseconds a connection stays open after its token expires, in addition to the verifier's `clockTolerance`. Default 0. */
  expiryGrace?: number
  /** The longest life of a connection in milliseconds, whatever its tokens say, or `Infinity`. Default 86 400 000 (24 h). */
  maxLifetime?: number
  /**
   * Limits of this instance. `perUser` is the number of open connections for each subject (default `Infinity`), or {@link PerUserLimit}
   * for a number on all instances; past it the answer is 429, unless `onLimit` is `'close-oldest'` (default `'reject'`). `pending` is the
   * number of handshakes and waits for a first message at the same time (default 1000), and `connections` the number of open connections
   * in all (default `Infinity`); past them the answer is 503. `messages`, `bytes` and `idle` limit what the clients of open connections
   * send.
   */
  limits?: RouteLimitsOptions & { perUser?: number | PerUserLimit, onLimit?: OnLimit, pending?: number, connections?: number }
  /**
   * Sends a ping to each connection every `interval` milliseconds, and ends each connection that sent nothing since the ping before.
   * A number is the `interval`. Default `false`.
   */
  heartbeat?: false | number | { interval: number }
  /**
   * Asks the app again about each open connection, once in every interval: whether its token still counts at its issuer (introspection,
   * RFC 7662), or its user in the database. Default `false`.
   */
  recheck?: false | RecheckOptions<OpenConnection>
  /** How `app.close()` ends connections: over a time, at an even rate. Default `false`: at once. */
  drain?: false | DrainOptions
  /** How many milliseconds may pass from the upgrade request to the open connection. Past it the answer is 503. Default 10 000. */
  handshakeTimeout?: number
  /** The longest token in bytes. A longer token is refused with 401 before anything is decoded. Default 8 192. */
  maxTokenBytes?: number
  /**
   * Tickets: credentials that are safe in a URL, because each is good for one handshake. `true` is
   * `{ path: '/ws-ticket', query: 'ticket', ttl: 30000, require: false }`. Default `false`.
   */
  tickets?: boolean | TicketsOptions
  /** How many milliseconds a revocation is kept. No token should live longer. Default 2 592 000 000 (30 d). */
  revocationTtl?: number
  /**
   * Keeps tickets and revocations, and passes commands on to all instances. Default `memoryBackplane()`: it serves one instance, and
   * its data ends with the process.
   */
  backplane?: Backplane
  /**
   * Which upgrades are for the app. The plugin leaves all others alone, URL and socket, for other listeners of the server (socket.io,
   * Vite, a proxy); if the server has no other listener, their sockets are closed. Only `true` takes an upgrade. Default: all.
   */
  upgrades?: (request: IncomingMessage) => boolean
  /**
   * The policies of websocket routes that other packages declare, by the path of the route: `{ '/graphql': { roles: ['member'] } }`.
   * The `wsAuth` of the route itself comes first. A path that no websocket route has is an error when the app is ready. A path of
   * @fastify/http-proxy with `websocket: true` counts as one, `'/api/*'` for example. Default `{}`.
   */
  routes?: Readonly<Record<string, RouteWsAuth>>
  /** Adds a route for OpenID Connect Back-Channel Logout 1.0. Default `false`. */
  backChannelLogout?: false | BackChannelLogoutOptions
  /** Adds a route for OpenID Shared Signals: security events (RFC 8417) that a provider posts (RFC 8935). Default `false`. */
  signals?: false | SignalsOptions
}

/** How the app is asked again about open connections; see {@link WsAuthOptions.recheck}. */
export interface RecheckOptions<OpenConnection> {
  /** How often each connection is asked about, in milliseconds. The calls of all connections are spread over this time. */
  every: number
  /**
   * Asked about one connection; anonymous connections are left out. `true` keeps the connection. Claims (an object) are taken over as
   * those of a renewal: they must be about the same subject and `iss`, and they may expire earlier; if the route does not admit them, the
   * connection is closed with `forbidden`. Any other result closes it with `token_revoked`, and a thrown `WsAuthError` with a 4xx
   * status closes it accordingly. Any other error is a failure, and so is no result within `handshakeTimeout`. `signal` aborts then, and
   * if the connection ends.
   *
   * At most 50 calls are under way at a time, and never two for one connection. A renewal or a close meanwhile makes the answer void.
   */
  check (connection: OpenConnection, context: { signal: AbortSignal }): unknown
  /**
   * What a failure does, beside a line in the log: the connection is kept (`'keep'`), or closed with `auth_unavailable` (`'close'`).
   * Default `'keep'`.
   */
  onFailure?: 'keep' | 'close'
}

/** How tickets are issued and used; see {@link WsAuthOptions.tickets}. */
export interface TicketsOptions {
  /** The path of the route that answers a `POST` with a token with a ticket, or `false` for no route. Default `'/ws-ticket'`. */
  path?: string | false
  /** The query parameter of the handshake. Default `'ticket'`. */
  query?: string
  /** How many milliseconds a ticket is good. Default 30 000. */
  ttl?: number
  /**
   * Whether a handshake needs a ticket and a token of the same subject. Default `false`: a ticket takes the token's place.
   */
  require?: boolean
}

/** What a provider's logout tokens must be and what they revoke; see {@link WsAuthOptions.backChannelLogout}. */
export interface BackChannelLogoutOptions {
  /** The path of the route to which the provider posts its logout tokens. */
  path: string
  /** The exact `iss` of the provider. */
  issuer: string
  /** The client id that must be in the `aud` of a logout token. Default: the audience that the verifier allows. */
  audience?: string
  /**
   * What a logout token with a `sid` and a `sub` revokes: the login (`'sid'`; access tokens must carry it), or all tokens of the user
   * up to then (`'sub'`). Default `'sid'`.
   */
  match?: 'sid' | 'sub'
}

/** How connections are drained; see the `drain` option. */
export interface DrainOptions {
  /** Over how many milliseconds the closes are spread; with 0 they are made now. */
  within: number
  /** The close code, one that may be sent (RFC 6455, 7.4). Default: 1001. */
  code?: number
  /** The reason in the close frame, at most 123 bytes of UTF-8. Default `drain`. */
  reason?: string
}
