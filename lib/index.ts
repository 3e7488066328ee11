/*
 * The public face: the plugin, its errors, its types.
 */
import fastifyPlugin from 'fastify-plugin'
import { WebSocket as WebSocketClass } from 'ws'
import type { FastifyPluginAsync, FastifyRequest, RawServerBase, RawServerDefault } from 'fastify'
import type { WsAuthEvent as Event } from './audit/event'
import type * as plane from './backplane/contract'
import type * as slots from './backplane/leases'
import type { Claims as TokenClaims } from './token/claims'
import type { CloseReason as Reason } from './base/close-codes'
import { connectionOf as findConnection } from './connection/connection-of'
import type { Connection as OpenConnection, ConnectionList as List } from './connection/connection'
import type { TokenSource as Source } from './credentials/found'
import { WsAuthError as WsAuthErrorClass, wsAuthErrors } from './base/errors'
import type { WsAuthErrorCode as ErrorCode } from './base/errors'
import type { CommandResult as Result } from './revocation/instance'
import type { DrainResult as ResultOfDrain } from './connection/drain'
import type * as matches from './revocation/command-arguments'
import { memoryBackplane as createMemoryBackplane } from './backplane/memory'
import type { BackChannelLogoutOptions as LogoutOptions, DrainOptions as AnyDrainOptions, PerUserLimit as LimitOfUsers, RecheckOptions as AnyRecheckOptions, TicketsOptions as AnyTicketsOptions, WsAuthOptions as Options } from './options/public-options'
import type { RouteWsAuth as AnyRouteWsAuth } from './options/public-route-options'
import type * as signals from './options/public-signals-options'
import { registerWsAuth } from './plugin/register'
import { revokeLostKeys as watchKeys } from './plugin/revoke-lost-keys'
import type { RevokeLostKeysOptions as LostKeysOptions } from './plugin/revoke-lost-keys'
import { readers as allReaders } from './in-band/readers'
import type { HistogramSnapshot } from './audit/histogram'
import type { RouteStats } from './audit/stats'
import type { AsyncApiInfo as Info } from './inspect/asyncapi'
import type { InspectedRoute as Inspected } from './inspect/inspected-route'
import type { Inspection as AppInspection } from './inspect/inspection'
import type { WarningName as Warning } from './inspect/warnings'
import type { BackplaneStats as Gauges } from './revocation/backplane-stats'
import type { TicketBinding as Binding } from './authentication/ticket-binding'
import type { IssuedTicket as Ticket } from './authentication/tickets'
import type { IsRevokedOptions as RevokedOptions, IssueTicketOptions as TicketOptions, WsAuth as Decorator, WsAuthStats as AllStats } from './plugin/decorators'

type Plugin = FastifyPluginAsync<Options<OpenConnection>>

declare namespace fastifyWsAuth {
  /**
   * To be augmented: the type of `request.user`, and the role names of the routes.
   *
   * ```ts
   * declare module 'fastify-ws-auth' {
   *   interface WsAuthTypes { user: { sub: string }, role: 'admin' | 'member' }
   * }
   * ```
   */
  export interface WsAuthTypes {}
  /** The role names: those of {@link WsAuthTypes}, or any. */
  export type WsAuthRole = WsAuthTypes extends { role: infer R extends string } ? R : string
  /** The user: that of {@link WsAuthTypes}, or that of the `FastifyJWT` of @fastify/jwt. */
  export type WsAuthUser = FastifyRequest['user']
  /** What {@link WsAuthTypes} says of the user, as @fastify/jwt reads it. */
  export type WsAuthJwt = WsAuthTypes extends { user: infer User } ? { user: User } : {}
  /** A socket of a websocket route: that of `ws`. */
  export type WebSocket = WebSocketClass
  export type WsAuthOptions = Options<OpenConnection>
  export type RecheckOptions = AnyRecheckOptions<OpenConnection>
  export type TicketsOptions = AnyTicketsOptions
  export type PerUserLimit = LimitOfUsers
  export type BackChannelLogoutOptions = LogoutOptions
  export type SignalsOptions = signals.SignalsOptions
  export type SignalEvent = signals.SignalEvent
  export type SubjectIdentifier = signals.SubjectIdentifier
  export type RouteWsAuth = AnyRouteWsAuth<WsAuthRole>
  export type Claims = TokenClaims
  export type Connection = OpenConnection
  export type ConnectionList = List
  export type TokenSource = Source
  export type WsAuth = Decorator
  export type WsAuthStats = AllStats
  export type WsAuthRouteStats = RouteStats
  export type WsAuthHistogram = HistogramSnapshot
  export type WsAuthEvent = Event
  export type Inspection = AppInspection
  export type InspectedRoute = Inspected
  export type InspectionWarning = Warning
  export type AsyncApiInfo = Info
  export type CloseReason = Reason
  export type WsAuthErrorCode = ErrorCode
  export type WsAuthError = WsAuthErrorClass
  export type RevokeMatch = matches.RevokeMatch
  export type RevokeOptions = matches.RevokeOptions
  export type DisconnectMatch = matches.DisconnectMatch
  export type DisconnectOptions = matches.DisconnectOptions
  export type IsRevokedOptions = RevokedOptions
  export type IssueTicketOptions = TicketOptions
  export type RevokeLostKeysOptions = LostKeysOptions
  export type CommandResult = Result
  export type DrainOptions = AnyDrainOptions
  export type DrainResult = ResultOfDrain
  export type TicketBinding = Binding
  export type IssuedTicket = Ticket
  export type Backplane = plane.Backplane
  export type BackplaneMember = plane.BackplaneMember
  export type BackplaneLink = plane.BackplaneLink
  export type Command = plane.Command
  export type RevokeCommand = plane.RevokeCommand
  export type DisconnectCommand = plane.DisconnectCommand
  export type Eventually<T> = plane.Eventually<T>
  export type InstanceAnswer = plane.InstanceAnswer
  export type BackplaneHealth = plane.BackplaneHealth
  export type BackplaneError = plane.BackplaneError
  export type BackplaneStats = Gauges
  export type Leases = slots.Leases
  export type LeaseRules = slots.LeaseRules
  export type LeaseLoss = slots.LeaseLoss
}

declare module '@fastify/jwt' {
  // An interface that extends a type which depends on another interface: both are to be augmented by the app.
  interface FastifyJWT extends fastifyWsAuth.WsAuthJwt {}
}

declare module 'fastify' {
  // eslint-disable-next-line @typescript-eslint/no-unused-vars
  interface RouteShorthandOptions<RawServer extends RawServerBase = RawServerDefault> {
    /** The policy of this websocket route; see the README. Default `true`: any client with a valid token may connect. */
    wsAuth?: fastifyWsAuth.RouteWsAuth
  }
}

const plugin: Plugin = fastifyPlugin(registerWsAuth, { fastify: '5.x', name: 'fastify-ws-auth' })

const fastifyWsAuth: Plugin & {
  default: typeof fastifyWsAuth
  fastifyWsAuth: typeof fastifyWsAuth
  WsAuthError: typeof WsAuthErrorClass
  wsAuthErrors: typeof wsAuthErrors
  memoryBackplane: typeof createMemoryBackplane
  WebSocket: typeof WebSocketClass
  connectionOf: typeof findConnection
  readers: typeof allReaders
  revokeLostKeys: typeof watchKeys
} = Object.assign(plugin, { WsAuthError: WsAuthErrorClass, wsAuthErrors, memoryBackplane: createMemoryBackplane, WebSocket: WebSocketClass, connectionOf: findConnection, readers: allReaders, revokeLostKeys: watchKeys }) as never

fastifyWsAuth.default = fastifyWsAuth
fastifyWsAuth.fastifyWsAuth = fastifyWsAuth

// For the named imports of ES modules, which are found by reading these lines and not by running them.
module.exports.default = fastifyWsAuth
module.exports.fastifyWsAuth = fastifyWsAuth
module.exports.WsAuthError = WsAuthErrorClass
module.exports.wsAuthErrors = wsAuthErrors
module.exports.memoryBackplane = createMemoryBackplane
module.exports.WebSocket = WebSocketClass
module.exports.connectionOf = findConnection
module.exports.readers = allReaders
module.exports.revokeLostKeys = watchKeys

export = fastifyWsAuth
