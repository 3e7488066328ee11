/*
 * Every option of the plugin and of a route: its type, its default, its check. Options are read once, here; the rest of
 * the package sees complete values and checks nothing again.
 */
import type { FastifyCookieOptions } from '@fastify/cookie'
import type { FastifyJWTOptions } from '@fastify/jwt'
import type { WebsocketPluginOptions } from '@fastify/websocket'
import type { FastifyRequest } from 'fastify'
import type { Backplane } from '../backplane/contract'
import type { Claims } from '../token/claims'
import type { VerifyOption } from '../token/verifier'
import { CLOSE_TIMEOUT } from '../base/close-codes'
import { DEFAULT_CLOSE_CODES } from '../base/errors'
import type { CloseKind } from '../base/errors'
import { HTTP_TOKEN, isOrigin, SCOPE_TOKEN } from '../base/grammar'
import { memoryBackplane } from '../backplane/memory'
import {
  checkKeys, invalid, isObject, optional, readBoolean, readCount, readFunction, readInteger, readName, readObject, readStrings
} from '../base/checks'

/** Where a token may be. A name, `true` for the default name, `false` for off. */
export interface TokenOptions {
  /** `true`: `Authorization: Bearer` (RFC 6750, 2.1). A name: that header's whole value. Default `true`. */
  header?: boolean | string
  /** The marker in `Sec-WebSocket-Protocol: <marker>, <token>`. Default `'bearer'`. */
  subprotocol?: boolean | string
  /** The query parameter. Default `'token'`. */
  query?: boolean | string
  /** The cookie. Default: the cookie of @fastify/jwt where it has one, else `'token'`. */
  cookie?: boolean | string | { name: string, signed?: boolean }
  /** The route parameter (a whole path segment, `/:token`); `true` is `'token'`. Default `false`. */
  param?: boolean | string
  /**
   * The first message, `{"type":"auth","token":"..."}`, where the handshake carries no token: at most `maxBytes` bytes,
   * within `timeout` milliseconds from the open socket. `true` is `{ timeout: 10000, maxBytes: 8192 }`. Default `false`.
   */
  message?: boolean | { timeout?: number, maxBytes?: number }
}

/** Which origins may connect; see {@link WsAuthOptions.origin}. */
export type OriginOption = 'same-host' | 'any' | readonly string[] |
  ((origin: string, request: FastifyRequest) => boolean | Promise<boolean>)

/** How a handshake is refused; see {@link WsAuthOptions.rejectWith}. */
export type RejectWith = 'http' | 'close' | 'auto'

/** What happens past `limits.perUser`: the new connection is refused, or the oldest is closed. */
export type OnLimit = 'reject' | 'close-oldest'

/** The options of the plugin. A wrong or unknown one is a `TypeError` at registration. */
export interface WsAuthOptions {
  /** Options of @fastify/jwt. Leave out where the app registers @fastify/jwt before, or gives `verify`. */
  jwt?: FastifyJWTOptions
  /** The namespace of an @fastify/jwt that the app registered. */
  jwtNamespace?: string
  /** Options of @fastify/cookie, used where the app has not registered it. Default `{}`. */
  cookie?: FastifyCookieOptions
  /** Options of @fastify/websocket. Its `preClose` is called before any connection is closed, and waited for at most 2 s. Default `{}`. */
  websocket?: WebsocketPluginOptions
  /** Where a token may be. What is given is merged over the defaults. */
  token?: TokenOptions
  /**
   * Replaces the JWT verification: for opaque tokens, introspection, a shared secret. `null` or anything that is not an
   * object is 401; a thrown `WsAuthError` is used as it is; an error with `statusCode` 401 or 403, or one of a JWT library about the
   * token, is that; anything else thrown is 503. It is never called with a token that has other characters than visible ASCII: that
   * is 401. `signal` aborts when the client has gone or `handshakeTimeout` has passed (of a first message: the rest of `token.message.timeout`).
   */
  verify?: VerifyOption
  /**
   * A JSON Schema that the claims must match. It is compiled once, at start, by the validator of the app that registers the plugin, and
   * changes nothing in them. What that cannot compile or run is a `TypeError` at start.
   */
  claims?: object
  /** What `request.user` becomes; `null` or `undefined` is 401. Default: the claims (or the result of `formatUser`). */
  user?: (claims: Claims, request: FastifyRequest) => unknown
  /** The roles in the claims. Default: `claims.roles`, else `claims.role`. */
  roles?: (claims: Claims) => readonly string[]
  /** The scopes in the claims. Default: `claims.scope` (separated by spaces), else `claims.scp`, else `claims.permissions`. */
  scopes?: (claims: Claims) => readonly string[]
  /**
   * `'same-host'` (default) compares the Origin with the request's host where a cookie authenticates. A list of exact
   * origins or a function (only `true` admits) applies to every handshake with an Origin. `'any'` checks nothing.
   */
  origin?: OriginOption
  /**
   * `'http'` (default): a status before the upgrade. `'close'`: accept, then close with a code, because browsers hide
   * the status. `'auto'`: `'close'` for a request with an Origin, else `'http'`.
   */
  rejectWith?: RejectWith
  /** The close codes of refusals, merged over {@link DEFAULT_CLOSE_CODES}. */
  closeCodes?: Partial<Record<CloseKind, number>>
  /**
   * Remembers verified tokens: at most `max` of them, each for `ttl` milliseconds (at most 60 000). For reconnect
   * storms with slow algorithms. A hit skips the `trusted` of @fastify/jwt. Default `false`.
   */
  tokenCache?: false | { max: number, ttl: number }
  /**
   * Whether clients may renew with a message, `{"type":"auth","token":"..."}`, and are told when to. `request.wsAuth.renew`
   * is there anyway. Default: where `token.message` is on.
   */
  renewal?: boolean
  /** Milliseconds that a connection lives on after its token has expired, beside the `clockTolerance` of the verifier. Default 0. */
  expiryGrace?: number
  /** The longest life of a connection in milliseconds, whatever its tokens say; or `Infinity`. Default 86 400 000 (24 h). */
  maxLifetime?: number
  /**
   * At most `perUser` open connections for each `sub` on this instance (default `Infinity`), and `onLimit` past it
   * (default `'reject'`); at most `pending` handshakes and waits for a first message at once (default 1000).
   */
  limits?: { perUser?: number, onLimit?: OnLimit, pending?: number }
  /** Pings each connection every `interval` milliseconds, and ends those from which nothing came since the last. Default `false`. */
  heartbeat?: false | { interval: number }
  /** Milliseconds from the upgrade request to the open connection; past it 503. Default 10 000. */
  handshakeTimeout?: number
  /** The longest token, in bytes; checked before anything is decoded. Default 8 192. */
  maxTokenBytes?: number
  /** Tickets: credentials for a URL, each good for one handshake. `true` is `{ path: '/ws-ticket', query: 'ticket', ttl: 30000, require: false }`. Default `false`. */
  tickets?: boolean | TicketsOptions
  /** How long a revocation is kept, in milliseconds: no token should live longer. Default 2 592 000 000 (30 d). */
  revocationTtl?: number
  /**
   * What keeps tickets, revocations and disconnects, for one instance or for many. Default `memoryBackplane()`, which forgets
   * them with the process.
   */
  backplane?: Backplane
  /** A route for OpenID Connect Back-Channel Logout 1.0. Default `false`. */
  backChannelLogout?: false | BackChannelLogoutOptions
}

/** See {@link WsAuthOptions.tickets}. */
export interface TicketsOptions {
  /** Where a `POST` with a token is answered with a ticket; `false` for nowhere. Default `'/ws-ticket'`. */
  path?: string | false
  /** The query parameter of the handshake. Default `'ticket'`. */
  query?: string
  /** How long a ticket is good, in milliseconds. Default 30 000. */
  ttl?: number
  /** Whether a handshake needs a ticket beside its token, of the same `sub`. Default `false`: it may have one instead. */
  require?: boolean
}

/** See {@link WsAuthOptions.backChannelLogout}. */
export interface BackChannelLogoutOptions {
  /** Where the provider posts its logout tokens. */
  path: string
  /** The `iss` of the provider, exactly. */
  issuer: string
  /** The client id, which a logout token must be for. Default: what the verifier allows. */
  audience?: string
  /**
   * What is revoked where a logout token names both: the login (`'sid'`: access tokens must carry it), or all of the
   * user's tokens up to then (`'sub'`). Default `'sid'`.
   */
  match?: 'sid' | 'sub'
}

/** The `wsAuth` option of a route, as an object. */
export interface RouteWsAuthOptions<Role extends string = string> {
  /** Roles of which the user must have one. */
  roles?: readonly Role[]
  /** Scopes that the user must have all. */
  scopes?: readonly string[]
  /** Decides last; only `true` admits. */
  authorize?: (user: FastifyRequest['user'], request: FastifyRequest) => boolean | Promise<boolean>
  /** Merged over the plugin's. */
  token?: TokenOptions
  /** Replaces the plugin's. */
  origin?: OriginOption
  /** Replaces the plugin's. */
  rejectWith?: RejectWith
  /** Merged over the plugin's. */
  closeCodes?: Partial<Record<CloseKind, number>>
  /** Replaces the plugin's. */
  maxLifetime?: number
  /** Merged over the plugin's. */
  tickets?: { require?: boolean }
}

/**
 * The `wsAuth` option of a route: `true` (the default), `false` for a public route, `'optional'` for a user where there
 * is a valid token and `null` where there is none, or an object.
 */
export type RouteWsAuth<Role extends string = string> = boolean | 'optional' | RouteWsAuthOptions<Role>

/** {@link TokenOptions}, complete. */
export interface TokenSources {
  readonly header: { readonly name: string, readonly bearer: boolean } | null
  readonly subprotocol: string | null
  readonly query: string | null
  /** `undefined` until it is known whether @fastify/jwt has a cookie of its own. */
  readonly cookie: { readonly name: string, readonly signed: boolean } | null | undefined
  readonly param: string | null
  readonly message: MessageSource | null
}

/** The first message as a source of a token; see {@link TokenOptions.message}. */
export interface MessageSource {
  readonly timeout: number
  readonly maxBytes: number
}

/** What a route can override, complete. */
export interface HandshakeOptions {
  readonly token: TokenSources
  readonly origin: OriginOption
  readonly rejectWith: RejectWith
  readonly closeCodes: Readonly<Record<CloseKind, number>>
  readonly maxLifetime: number
  readonly tickets: TicketUseOptions
}

/** How a handshake may use a ticket. */
export interface TicketUseOptions {
  /** The query parameter; `null` where there are no tickets. */
  readonly query: string | null
  readonly require: boolean
}

/** {@link WsAuthOptions}, complete. */
export interface CompleteOptions extends HandshakeOptions {
  readonly jwt: FastifyJWTOptions | undefined
  readonly jwtNamespace: string | undefined
  readonly cookie: FastifyCookieOptions | undefined
  readonly websocket: WebsocketPluginOptions
  readonly verify: WsAuthOptions['verify']
  readonly claims: object | undefined
  readonly user: WsAuthOptions['user']
  readonly roles: (claims: Claims) => readonly string[]
  readonly scopes: (claims: Claims) => readonly string[]
  readonly tokenCache: { readonly max: number, readonly ttl: number } | null
  /** `undefined` where it follows the route's `token.message`. */
  readonly renewal: boolean | undefined
  readonly expiryGrace: number
  readonly limits: { readonly perUser: number, readonly onLimit: OnLimit, readonly pending: number }
  readonly heartbeat: { readonly interval: number } | null
  readonly handshakeTimeout: number
  readonly maxTokenBytes: number
  /** `path` is `null` where there is no route for them. */
  readonly tickets: TicketUseOptions & { readonly path: string | null, readonly ttl: number }
  readonly revocationTtl: number
  readonly backplane: Backplane
  readonly backChannelLogout: BackChannelLogoutOptions | null
}

/** A route's `wsAuth`, complete. */
export interface CompleteRouteOptions extends HandshakeOptions {
  readonly access: 'required' | 'optional' | 'public'
  readonly roles: readonly string[] | null
  readonly scopes: readonly string[] | null
  readonly authorize: RouteWsAuthOptions['authorize']
}

const MAX_TIMER = 2 ** 31 - 1
const MAX_CACHE_TTL = 60_000
const DAY = 86_400_000
const NO_TICKETS = { path: null, query: null, ttl: 0, require: false }
const DEFAULT_TICKETS = { path: '/ws-ticket', query: 'ticket', ttl: 30_000, require: false }

/** RFC 6750, 2.1. */
export const BEARER_HEADER = { name: 'authorization', bearer: true }

const DEFAULT_TOKEN_SOURCES: TokenSources = {
  header: BEARER_HEADER,
  subprotocol: 'bearer',
  query: 'token',
  cookie: undefined,
  param: null,
  message: null
}

const DEFAULT_MESSAGE: MessageSource = { timeout: 10_000, maxBytes: 8192 }

/**
 * Checks the plugin's options and completes them.
 *
 * @throws TypeError `"<option>" option must be <what>`
 */
export function readOptions (given: unknown): CompleteOptions {
  const options = readObject('options', given ?? {})
  checkKeys(options, '', ['jwt', 'jwtNamespace', 'cookie', 'websocket', 'token', 'verify', 'claims', 'user', 'roles',
    'scopes', 'origin', 'rejectWith', 'closeCodes', 'tokenCache', 'renewal', 'expiryGrace', 'maxLifetime', 'handshakeTimeout', 'maxTokenBytes',
    'limits', 'heartbeat', 'tickets', 'revocationTtl', 'backplane', 'backChannelLogout'])
  if (options.jwt !== undefined && options.jwtNamespace !== undefined) {
    invalid('jwtNamespace', 'left out beside "jwt": it names an @fastify/jwt that the app registered')
  }
  const tickets = readTickets(options.tickets)
  return {
    ...readHandshakeOptions(options, '', {
      token: DEFAULT_TOKEN_SOURCES, origin: 'same-host', rejectWith: 'http', closeCodes: DEFAULT_CLOSE_CODES, maxLifetime: DAY, tickets
    }),
    tickets,
    jwt: optional(options.jwt, (value) => readObject('jwt', value) as unknown as FastifyJWTOptions),
    jwtNamespace: optional(options.jwtNamespace, (value) => readName('jwtNamespace', value)),
    cookie: optional(options.cookie, (value) => readObject('cookie', value)),
    websocket: readWebsocket(options.websocket),
    verify: readFunction('verify', options.verify),
    claims: optional(options.claims, (value) => readObject('claims', value)),
    user: readFunction('user', options.user),
    roles: readFunction('roles', options.roles) ?? rolesOf,
    scopes: readFunction('scopes', options.scopes) ?? scopesOf,
    tokenCache: readTokenCache(options.tokenCache),
    renewal: optional(options.renewal, (value) => readBoolean('renewal', value)),
    expiryGrace: readInteger('expiryGrace', options.expiryGrace, 0, Number.MAX_SAFE_INTEGER, 0),
    revocationTtl: readInteger('revocationTtl', options.revocationTtl, 1, Number.MAX_SAFE_INTEGER, 30 * DAY),
    backplane: options.backplane === undefined ? memoryBackplane() : readBackplane(options.backplane),
    backChannelLogout: readBackChannelLogout(options.backChannelLogout),
    limits: readLimits(options.limits),
    heartbeat: readHeartbeat(options.heartbeat),
    handshakeTimeout: readInteger('handshakeTimeout', options.handshakeTimeout, 1, MAX_TIMER, 10_000),
    maxTokenBytes: readInteger('maxTokenBytes', options.maxTokenBytes, 1, Number.MAX_SAFE_INTEGER, 8192)
  }
}

/**
 * Checks a route's `wsAuth` and completes it with what the plugin was given.
 *
 * @throws TypeError `"wsAuth.<option>" option must be <what>`
 */
export function readRouteOptions (given: unknown, plugin: HandshakeOptions): CompleteRouteOptions {
  if (given === undefined || given === true) return routeOptions('required', plugin)
  if (given === false) return routeOptions('public', plugin)
  if (given === 'optional') return routeOptions('optional', plugin)
  if (!isObject(given)) invalid('wsAuth', 'a boolean, \'optional\' or an object')
  checkKeys(given, 'wsAuth.', ['roles', 'scopes', 'authorize', 'token', 'origin', 'rejectWith', 'closeCodes', 'maxLifetime', 'tickets'])
  return {
    ...readHandshakeOptions(given, 'wsAuth.', plugin),
    access: 'required',
    roles: optional(given.roles, (value) => readStrings('wsAuth.roles', value, /^[^]+$/, 'strings')) ?? null,
    scopes: optional(given.scopes, (value) => readStrings('wsAuth.scopes', value, SCOPE_TOKEN, 'scope tokens (RFC 6749, 3.3)')) ?? null,
    authorize: readFunction('wsAuth.authorize', given.authorize)
  }
}

function routeOptions (access: CompleteRouteOptions['access'], plugin: HandshakeOptions): CompleteRouteOptions {
  const { token, origin, rejectWith, closeCodes, maxLifetime, tickets } = plugin
  return { access, token, origin, rejectWith, closeCodes, maxLifetime, tickets, roles: null, scopes: null, authorize: undefined }
}

function readHandshakeOptions (given: Record<string, unknown>, prefix: string, base: HandshakeOptions): HandshakeOptions {
  const token = optional(given.token, (value) => readTokenSources(`${prefix}token`, value, base.token)) ?? base.token
  if (token.query !== null && token.query === base.tickets.query) invalid(`${prefix}token.query`, 'another name than tickets.query')
  return {
    token,
    origin: optional(given.origin, (value) => readOrigin(`${prefix}origin`, value)) ?? base.origin,
    rejectWith: optional(given.rejectWith, (value) => readRejectWith(`${prefix}rejectWith`, value)) ?? base.rejectWith,
    closeCodes: optional(given.closeCodes, (value) => readCloseCodes(`${prefix}closeCodes`, value, base.closeCodes)) ?? base.closeCodes,
    maxLifetime: readCount(`${prefix}maxLifetime`, given.maxLifetime, base.maxLifetime),
    tickets: prefix === '' ? base.tickets : readTicketUse(`${prefix}tickets`, given.tickets, base.tickets)
  }
}

function readTokenSources (option: string, given: unknown, base: TokenSources): TokenSources {
  const token = readObject(option, given)
  checkKeys(token, `${option}.`, ['header', 'subprotocol', 'query', 'cookie', 'param', 'message'])
  const name = (key: string, fallback: string | null, byDefault: string, pattern: RegExp, what: string): string | null =>
    token[key] === undefined ? fallback : readSourceName(`${option}.${key}`, token[key], byDefault, pattern, what)
  const header = name('header', null, '', HTTP_TOKEN, 'the name of a header')
  return {
    header: token.header === undefined ? base.header : readHeader(header),
    subprotocol: name('subprotocol', base.subprotocol, 'bearer', HTTP_TOKEN, 'the name of a subprotocol'),
    query: name('query', base.query, 'token', /^[^]+$/, 'a string'),
    cookie: token.cookie === undefined ? base.cookie : readCookie(`${option}.cookie`, token.cookie),
    param: name('param', base.param, 'token', /^\w+$/, 'the name of a route parameter'),
    message: token.message === undefined ? base.message : readMessage(`${option}.message`, token.message)
  }
}

function readSourceName (option: string, value: unknown, byDefault: string, pattern: RegExp, what: string): string | null {
  if (value === false) return null
  if (value === true) return byDefault
  if (typeof value !== 'string' || !pattern.test(value)) invalid(option, `a boolean or ${what}`)
  return value
}

function readHeader (name: string | null): TokenSources['header'] {
  if (name === null) return null
  return name === '' ? DEFAULT_TOKEN_SOURCES.header : { name: name.toLowerCase(), bearer: false }
}

function readCookie (option: string, value: unknown): TokenSources['cookie'] {
  const what = 'a boolean, the name of a cookie, or { name, signed }'
  if (!isObject(value)) {
    const name = readSourceName(option, value, 'token', HTTP_TOKEN, 'the name of a cookie, or { name, signed }')
    return name === null ? null : { name, signed: false }
  }
  checkKeys(value, `${option}.`, ['name', 'signed'])
  if (typeof value.name !== 'string' || !HTTP_TOKEN.test(value.name)) invalid(option, what)
  if (value.signed !== undefined && typeof value.signed !== 'boolean') invalid(`${option}.signed`, 'a boolean')
  return { name: value.name, signed: value.signed ?? false }
}

function readMessage (option: string, value: unknown): TokenSources['message'] {
  if (value === false) return null
  if (value === true) return DEFAULT_MESSAGE
  const message = readObject(option, value, 'a boolean, or { timeout, maxBytes }')
  checkKeys(message, `${option}.`, ['timeout', 'maxBytes'])
  return {
    timeout: readInteger(`${option}.timeout`, message.timeout, 1, MAX_TIMER, DEFAULT_MESSAGE.timeout),
    maxBytes: readInteger(`${option}.maxBytes`, message.maxBytes, 1, 2 ** 30, DEFAULT_MESSAGE.maxBytes)
  }
}

function readOrigin (option: string, value: unknown): OriginOption {
  if (value === 'same-host' || value === 'any') return value
  if (typeof value === 'function') return value as OriginOption
  if (!Array.isArray(value)) invalid(option, '\'same-host\', \'any\', an array of origins, or a function')
  for (const origin of value) {
    if (!isOrigin(origin)) {
      invalid(option, 'an array of exact origins, such as \'https://example.com\' (no path, no slash at the end, lower case)')
    }
  }
  return Object.freeze([...value])
}

function readRejectWith (option: string, value: unknown): RejectWith {
  if (value !== 'http' && value !== 'close' && value !== 'auto') invalid(option, '\'http\', \'close\' or \'auto\'')
  return value
}

function readCloseCodes (option: string, given: unknown, base: HandshakeOptions['closeCodes']): HandshakeOptions['closeCodes'] {
  const codes = readObject(option, given)
  checkKeys(codes, `${option}.`, Object.keys(DEFAULT_CLOSE_CODES))
  for (const [kind, code] of Object.entries(codes)) {
    // 1012 and 1013 may be sent, but WebKit shows them as 1006; the rest below 3000 is the protocol's own (RFC 6455, 7.4.2).
    const isOwn = typeof code === 'number' && Number.isInteger(code) && code >= 3000 && code <= 4999
    if (!isOwn && code !== 1008) invalid(`${option}.${kind}`, 'an integer from 3000 to 4999, or 1008')
  }
  return Object.freeze({ ...base, ...codes })
}

function readTokenCache (value: unknown): CompleteOptions['tokenCache'] {
  if (value === undefined || value === false) return null
  const cache = readObject('tokenCache', value, 'false or { max, ttl }')
  checkKeys(cache, 'tokenCache.', ['max', 'ttl'])
  return {
    max: readInteger('tokenCache.max', cache.max, 1, 2 ** 24),
    ttl: readInteger('tokenCache.ttl', cache.ttl, 1, MAX_CACHE_TTL)
  }
}

function readTickets (value: unknown): CompleteOptions['tickets'] {
  if (value === undefined || value === false) return NO_TICKETS
  if (value === true) return DEFAULT_TICKETS
  const tickets = readObject('tickets', value, 'a boolean, or { path, query, ttl, require }')
  checkKeys(tickets, 'tickets.', ['path', 'query', 'ttl', 'require'])
  return {
    path: tickets.path === false ? null : optional(tickets.path, (path) => readPath('tickets.path', path)) ?? DEFAULT_TICKETS.path,
    query: optional(tickets.query, (name) => readName('tickets.query', name)) ?? DEFAULT_TICKETS.query,
    ttl: readInteger('tickets.ttl', tickets.ttl, 1, MAX_TIMER, DEFAULT_TICKETS.ttl),
    require: optional(tickets.require, (required) => readBoolean('tickets.require', required)) ?? DEFAULT_TICKETS.require
  }
}

function readTicketUse (option: string, value: unknown, base: TicketUseOptions): TicketUseOptions {
  if (value === undefined) return base
  const tickets = readObject(option, value, '{ require }')
  checkKeys(tickets, `${option}.`, ['require'])
  if (base.query === null) invalid(option, 'left out, unless the plugin\'s "tickets" is on')
  return { ...base, require: optional(tickets.require, (required) => readBoolean(`${option}.require`, required)) ?? base.require }
}

function readPath (option: string, value: unknown): string {
  if (typeof value !== 'string' || !value.startsWith('/')) invalid(option, 'a path that begins with a slash')
  return value
}

function readBackplane (value: unknown): Backplane {
  const backplane = readObject('backplane', value, 'a backplane, such as memoryBackplane() or redisBackplane({ client })')
  if (typeof backplane.join !== 'function') invalid('backplane', 'a backplane, such as memoryBackplane() or redisBackplane({ client })')
  return value as Backplane
}

function readBackChannelLogout (value: unknown): CompleteOptions['backChannelLogout'] {
  if (value === undefined || value === false) return null
  const logout = readObject('backChannelLogout', value, 'false or { path, issuer }')
  checkKeys(logout, 'backChannelLogout.', ['path', 'issuer', 'audience', 'match'])
  const { match = 'sid' } = logout
  if (match !== 'sid' && match !== 'sub') invalid('backChannelLogout.match', '\'sid\' or \'sub\'')
  const audience = optional(logout.audience, (name) => readName('backChannelLogout.audience', name))
  return {
    path: readPath('backChannelLogout.path', logout.path),
    issuer: readName('backChannelLogout.issuer', logout.issuer),
    ...(audience === undefined ? {} : { audience }),
    match
  }
}

function readLimits (value: unknown): CompleteOptions['limits'] {
  const limits = readObject('limits', value ?? {}, '{ perUser, onLimit, pending }')
  checkKeys(limits, 'limits.', ['perUser', 'onLimit', 'pending'])
  const { onLimit = 'reject' } = limits
  if (onLimit !== 'reject' && onLimit !== 'close-oldest') invalid('limits.onLimit', '\'reject\' or \'close-oldest\'')
  return {
    perUser: readCount('limits.perUser', limits.perUser, Infinity),
    onLimit,
    pending: readCount('limits.pending', limits.pending, 1000)
  }
}

function readHeartbeat (value: unknown): CompleteOptions['heartbeat'] {
  if (value === undefined || value === false) return null
  const heartbeat = readObject('heartbeat', value, 'false or { interval }')
  checkKeys(heartbeat, 'heartbeat.', ['interval'])
  return { interval: readInteger('heartbeat.interval', heartbeat.interval, 1, MAX_TIMER) }
}

/** What of ws would undo a promise of ours is refused; see {@link CLOSE_TIMEOUT} and `app.close()`. */
function readWebsocket (value: unknown): WebsocketPluginOptions {
  const websocket: WebsocketPluginOptions = readObject('websocket', value ?? {})
  readFunction('websocket.errorHandler', websocket.errorHandler)
  readFunction('websocket.preClose', websocket.preClose)
  const { closeTimeout, clientTracking } = (websocket.options ?? {}) as Record<string, unknown>
  readInteger('websocket.options.closeTimeout', closeTimeout, 1, CLOSE_TIMEOUT, CLOSE_TIMEOUT)
  if (clientTracking !== undefined && clientTracking !== true) {
    invalid('websocket.options.clientTracking', 'left out: app.close() has to know all sockets')
  }
  return websocket
}

/** The default of `roles`: `claims.roles`, else `claims.role`; one string counts as one role. */
function rolesOf (claims: Claims): readonly string[] {
  return stringsOf(Object.hasOwn(claims, 'roles') ? claims.roles : claims.role)
}

/** The default of `scopes`: `claims.scope` (RFC 8693, 4.2), else `claims.scp`, else `claims.permissions`. */
function scopesOf (claims: Claims): readonly string[] {
  const name = ['scope', 'scp'].find((name) => Object.hasOwn(claims, name)) ?? 'permissions'
  const value = claims[name]
  return typeof value === 'string' ? value.split(' ') : stringsOf(value)
}

function stringsOf (value: unknown): readonly string[] {
  if (typeof value === 'string') return [value]
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}

/** Whether sockets may be compressed. */
export function mayCompress ({ websocket }: CompleteOptions): boolean {
  return Boolean(websocket.options?.perMessageDeflate)
}
