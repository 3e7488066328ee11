/*
 * The options after reading: each has a value, and each value is valid. Code outside this folder uses these types.
 */
import type { FastifyCookieOptions } from '@fastify/cookie'
import type { FastifyJWTOptions } from '@fastify/jwt'
import type { WebsocketPluginOptions } from '@fastify/websocket'
import type { Backplane } from '../backplane/contract'
import type { CloseKind } from '../base/errors'
import type { Claims } from '../token/claims'
import type { VerifyOption } from '../token/custom-verifier'
import type { OriginOption, ReadMessage, RejectWith, RenewalOption, SubjectOption, UserOption } from './public-handshake-options'
import type { BackChannelLogoutOptions, OnLimit, PerUserLimit, RecheckOptions, WsAuthOptions } from './public-options'
import type { CompleteDrain } from './read-drain'
import type { RouteWsAuthOptions } from './public-route-options'
import type { SignalsOptions } from './public-signals-options'

/** The complete `TokenOptions`. `null` is off. */
export interface TokenSources {
  readonly header: { readonly name: string, readonly bearer: boolean } | null
  readonly subprotocol: string | null
  readonly query: string | null
  /** `undefined` until the plugin knows whether @fastify/jwt has a cookie of its own. */
  readonly cookie: { readonly name: string, readonly signed: boolean } | null | undefined
  readonly param: string | null
  readonly message: MessageSource | null
}

/** The header of RFC 6750, 2.1. */
export const BEARER_HEADER = { name: 'authorization', bearer: true }

/** The first message as a source of a token. */
export interface MessageSource {
  /** In milliseconds. */
  readonly timeout: number
  readonly maxBytes: number
  /** Reads another protocol than auth frames; `null` for auth frames. */
  readonly read: ReadMessage | null
  /** Whether the handler gets the message too. */
  readonly deliver: boolean
}

/** The complete options that a route can override. */
export interface HandshakeOptions {
  readonly token: TokenSources
  readonly origin: OriginOption
  readonly requireTls: boolean
  readonly rejectWith: RejectWith
  readonly closeCodes: Readonly<Record<CloseKind, number>>
  /** In milliseconds. */
  readonly maxLifetime: number
  /** In milliseconds. */
  readonly expiryGrace: number
  readonly renewal: RenewalOption
  readonly verify: VerifyOption | undefined
  readonly jwtNamespace: string | undefined
  readonly claims: object | undefined
  readonly user: UserOption | undefined
  readonly subject: SubjectOption | undefined
  readonly tickets: TicketUseOptions
  readonly limits: RouteLimits
}

/** A limit on what clients send. */
export interface RateLimit {
  readonly perSecond: number
  readonly burst: number
  readonly perUser: boolean
  readonly onLimit: 'close' | 'pause'
}

/** The limits on what the clients of a route send. `null` is off. */
export interface RouteLimits {
  readonly messages: RateLimit | null
  readonly bytes: RateLimit | null
  /** In milliseconds, or `Infinity`. */
  readonly idle: number
}

/** The limits of the plugin. */
export interface PluginLimits extends RouteLimits {
  /** A number for each instance, or a limit that counts on all of them. */
  readonly perUser: number | Readonly<Required<PerUserLimit>>
  readonly onLimit: OnLimit
  readonly pending: number
  readonly connections: number
}

/** How a handshake may use a ticket. */
export interface TicketUseOptions {
  /** The query parameter, or `null` if tickets are off. */
  readonly query: string | null
  readonly require: boolean
}

/** The complete `tickets` option of the plugin. */
export interface TicketIssueOptions extends TicketUseOptions {
  /** The path of the ticket route, or `null` for no route. */
  readonly path: string | null
  /** In milliseconds. */
  readonly ttl: number
}

/** The complete `recheck` option. */
export type Recheck = Required<RecheckOptions<never>>

/** The complete `WsAuthOptions`. All times are in milliseconds. */
export interface CompleteOptions extends HandshakeOptions {
  readonly jwt: FastifyJWTOptions | undefined
  readonly cookie: FastifyCookieOptions | undefined
  readonly websocket: WebsocketPluginOptions
  readonly confirm: WsAuthOptions['confirm']
  readonly groups: WsAuthOptions['groups']
  readonly roles: (claims: Claims) => readonly string[]
  readonly scopes: (claims: Claims) => readonly string[]
  readonly tokenCache: { readonly max: number, readonly ttl: number } | null
  readonly limits: PluginLimits
  readonly heartbeat: { readonly interval: number } | null
  readonly recheck: Recheck | null
  readonly drain: CompleteDrain | null
  readonly handshakeTimeout: number
  readonly maxTokenBytes: number
  readonly tickets: TicketIssueOptions
  readonly revocationTtl: number
  readonly backplane: Backplane
  readonly backChannelLogout: BackChannelLogoutOptions | null
  readonly signals: SignalsOptions | null
  readonly upgrades: WsAuthOptions['upgrades']
  /** The policies of routes that other packages declare, by path. */
  readonly routes: ReadonlyMap<string, unknown>
}

/** The complete `wsAuth` of a route. */
export interface CompleteRouteOptions extends HandshakeOptions {
  readonly access: 'required' | 'optional' | 'public'
  readonly roles: readonly string[] | null
  readonly scopes: readonly string[] | null
  readonly authorize: RouteWsAuthOptions['authorize']
}

/** Whether sockets may be compressed. */
export function mayCompress ({ websocket }: CompleteOptions): boolean {
  return Boolean(websocket.options?.perMessageDeflate)
}
