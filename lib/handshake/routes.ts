/*
 * The declaration of a route: its `wsAuth` option is read, the result is kept in the config of the route, and the handler is wrapped.
 */
import type { FastifyBaseLogger, FastifyContextConfig, FastifyRequest, onRequestHookHandler, RouteOptions } from 'fastify'
import type { KnownNames } from '../credentials/known-names'
import { readRouteOptions } from '../options/read-route-options'
import type { CompleteRouteOptions, HandshakeOptions } from '../options/complete-options'
import type { RouteWsAuth } from '../options/public-route-options'
import { parseRoutePath } from '../credentials/route-path'
import { WsAuthError } from '../base/errors'
import { isHttp2 } from '../base/http-headers'
import { plainName } from '../base/near-names'
import { answerUpgrade } from './answer-upgrade'
import type { OpenSockets } from './answer-upgrade'
import { candidateOf, markPlain } from './candidate'
import { PlainRequest } from './dry-run'
import { assertSchema } from './route-schema'
import { Upgrade } from './upgrade'

export const kRoute = Symbol('fastify-ws-auth.route')

/** A route that was declared after the plugin was registered. */
export type KnownRoute = { readonly kind: 'http' } | {
  readonly kind: 'ticket'
  /** How clients that ask for a ticket are authenticated. */
  readonly options: CompleteRouteOptions
} | {
  readonly kind: 'websocket'
  readonly options: CompleteRouteOptions
  /** Whether a plain request is a dry run of the handshake. It is not if the route has an HTTP handler too. */
  readonly hasDryRun: boolean
  /** Whether it must be a route of @fastify/http-proxy: a plain route that the `routes` option has a policy for. */
  readonly isProxied: boolean
}

declare module 'fastify' {
  interface FastifyContextConfig {
    [kRoute]?: KnownRoute
  }
}

/** A route, as an `onRoute` hook gets it. */
export type DeclaredRoute = RouteOptions & { websocket?: boolean, wsAuth?: unknown }

export type WebsocketHandler = NonNullable<RouteOptions['wsHandler']>

const HTTP: KnownRoute = { kind: 'http' }
const NO_POLICIES: ReadonlyMap<string, unknown> = new Map()

/**
 * Reads the `wsAuth` option of a route, and keeps the result in the config of the route.
 *
 * @param policies the `wsAuth` options of routes without one, by path
 * @throws TypeError if the option is wrong
 */
export function readRoute (route: DeclaredRoute, plugin: HandshakeOptions, policies: ReadonlyMap<string, unknown> = NO_POLICIES): KnownRoute {
  // A websocket route may have a copy of the config of the ticket route. That does not make it a ticket route.
  if (route.config?.[kRoute]?.kind === 'ticket' && !isWebsocket(route)) return HTTP
  assertNoMisplacedPolicy(route)
  const isProxied = !isWebsocket(route) && policies.has(route.url) && [route.method].flat().includes('GET')
  const isGuarded = isWebsocket(route) || isProxied
  if (isGuarded && route.wsAuth === undefined && policies.has(route.url)) route.wsAuth = policies.get(route.url) as RouteWsAuth
  const seen = isGuarded ? readWebsocketRoute(route, plugin, isProxied) : HTTP
  if (seen === HTTP && route.wsAuth !== undefined && !isHead(route)) {
    throw new TypeError(`"wsAuth" option must be left out of ${route.method} ${route.url}: it guards websockets, and this route has none (add websocket: true if it should have one)`)
  }
  route.config = { ...route.config, [kRoute]: seen }
  fixWsAuth(route)
  return seen
}

/** Makes `wsAuth` read-only: setting it in a later `onRoute` hook would have no effect. */
function fixWsAuth (route: DeclaredRoute): void {
  const { wsAuth } = route
  Object.defineProperty(route, 'wsAuth', {
    enumerable: true,
    get: () => wsAuth,
    set: () => {
      throw new TypeError(`"wsAuth" option must be given where ${route.url} is declared: an onRoute hook of a scope comes too late`)
    }
  })
}

function readWebsocketRoute (route: DeclaredRoute, plugin: HandshakeOptions, isProxied: boolean): KnownRoute {
  const options = readRouteOptions(route.wsAuth, plugin)
  const { param } = options.token
  if (param !== null && param !== plugin.token.param && parseRoutePath(route.url, param).token === null) {
    throw new TypeError(`"wsAuth.token.param" option must be a whole segment of the path, "/:${param}", in ${route.url}`)
  }
  assertSchema(route.schema, options, `${[route.method].flat().join(', ')} ${route.url}`)
  return { kind: 'websocket', options, hasDryRun: route.websocket === true, isProxied }
}

/**
 * Fastify declares a HEAD route for each GET route, with the same options. It cannot be upgraded, and answers as the GET route answers a plain
 * request: with a dry run, or by the HTTP handler beside a `wsHandler`.
 */
function isWebsocket (route: DeclaredRoute): boolean {
  return route.websocket === true || (route.wsHandler !== undefined && !isHead(route))
}

function isHead ({ method }: DeclaredRoute): boolean {
  return [method].flat().every((one) => one === 'HEAD')
}

/** The options of the route that issues tickets: its requests are authenticated as handshakes are. */
export function declareTicketRoute (plugin: HandshakeOptions, names: KnownNames): { config: FastifyContextConfig, onRequest: onRequestHookHandler } {
  const options = readRouteOptions({ token: { param: false, message: false } }, { ...plugin, tickets: { query: null, require: false } })
  return { config: { [kRoute]: { kind: 'ticket', options } }, onRequest: plainRequestHook(names) }
}

function plainRequestHook (names: KnownNames): onRequestHookHandler {
  return ({ raw }, _reply, done) => {
    markPlain(raw, names)
    done()
  }
}

/**
 * Replaces the handler of a route by `open`, which gets each socket, and a function that calls the handler.
 *
 * @returns the handler; @fastify/websocket refuses a route without one
 */
export function wrapWebsocketHandler (route: DeclaredRoute, open: OpenSockets['open']): WebsocketHandler | undefined {
  const handler = (route.websocket === true ? route.handler : route.wsHandler) as WebsocketHandler
  if (typeof handler !== 'function') return undefined
  const wrapped: WebsocketHandler = function (socket, request) {
    return open(socket, request, () => handler.call(this, socket, request)) as ReturnType<WebsocketHandler>
  }
  if (route.websocket === true) route.handler = wrapped as unknown as RouteOptions['handler']
  else route.wsHandler = wrapped
  return handler
}

/** Answers the upgrades of a guarded route in place of @fastify/websocket. Upgrades that are not admitted are left to it. */
export function answerUpgrades (route: DeclaredRoute, websocketHandler: WebsocketHandler, sockets: OpenSockets): void {
  const { handler } = route
  route.handler = function (request, reply) {
    const upgrade = candidateOf(request.raw)
    if (!(upgrade instanceof Upgrade) || !upgrade.isAdmitted) return handler.call(this, request, reply)
    answerUpgrade({ scope: this, request, reply, upgrade }, sockets, (socket) => websocketHandler.call(this, socket, request))
  }
}

/** The result that {@link readRoute} has kept. */
export function knownRouteOf ({ config }: { config?: FastifyContextConfig }): KnownRoute | undefined {
  return config?.[kRoute]
}

/**
 * Whether the route refuses the request itself if it has no good token: a handshake or a dry run of a websocket route, or a request for a
 * ticket. A public or optional route does not.
 */
export function hasOwnPolicy ({ raw, routeOptions, is404 }: FastifyRequest): boolean {
  const known = is404 ? undefined : knownRouteOf(routeOptions)
  if (known === undefined || known.kind === 'http' || known.options.access !== 'required') return false
  return known.kind === 'ticket' || known.hasDryRun || candidateOf(raw) instanceof Upgrade
}

/** The message if a handshake has lost its `Upgrade` on the way, for the client and for the log. */
const DROPPED = 'Sec-WebSocket-Key came without Upgrade: a proxy drops it, and has to be told to pass on Upgrade and Connection'

/** Marks plain requests of a route as dry runs, and answers them with 426 (RFC 9110, 15.5.22) after all hooks. */
export function addDryRun (route: DeclaredRoute, names: KnownNames): void {
  route.onRequest = [...[route.onRequest ?? []].flat(), plainRequestHook(names)]
  const { handler } = route
  route.handler = function (request, reply) {
    if (request.ws) return handler.call(this, request, reply)
    const plain = candidateOf(request.raw)
    const wasHandshake = plain instanceof PlainRequest && plain.wasHandshake
    reply.code(426).header('cache-control', 'no-store')
    // HTTP/2 has no such headers (RFC 9113, 8.2.2). Browsers open a WebSocket by HTTP/1.1 then.
    if (!isHttp2(request.raw)) reply.headers({ upgrade: 'websocket', connection: 'upgrade' })
    return reply.send({
      statusCode: 426,
      error: 'Upgrade Required',
      message: `This route speaks WebSocket: ${wasHandshake ? DROPPED : 'the handshake would be accepted'}`
    })
  }
}

/** Logs that a plain request was sent as a handshake. @param more belongs to the line */
export function logDropped (log: Pick<FastifyBaseLogger, 'warn'>, more: object): void {
  log.warn(more, DROPPED)
}

/** Replaces the handler of a websocket route that the hooks of this plugin do not cover by a refusal. */
export function refuseUncovered (route: DeclaredRoute): void {
  // The config may be a copy of the config of a covered route, with the mark of that route.
  if (route.config?.[kRoute] !== undefined) {
    const { [kRoute]: mark, ...config } = route.config
    route.config = config
  }
  if (!isWebsocket(route) || route.websocket !== true) return
  route.handler = () => { throw new WsAuthError('WS_AUTH_ROUTE_UNPROTECTED') }
}

/** Keys that are policies inside of the `wsAuth` option, and their other spellings. */
const POLICY_KEYS: ReadonlyMap<string, string> = new Map([
  ['roles', 'roles'], ['role', 'roles'], ['scopes', 'scopes'], ['scope', 'scopes'], ['authorize', 'authorize'], ['authorise', 'authorize']
])

/** @throws TypeError for a policy that is misspelt or in the wrong place, because it would let everybody in */
export function assertNoMisplacedPolicy (route: DeclaredRoute): void {
  const where = `in ${[route.method].flat().join(', ')} ${route.url}`
  // @fastify/websocket tests whether the value is truthy, and takes another function for the handler then.
  if (route.websocket != null && typeof route.websocket !== 'boolean') throw new TypeError(`"websocket" option must be true or false ${where}`)
  for (const key of Object.keys(route)) {
    const plain = plainName(key)
    if (plain === 'wsauth' && key !== 'wsAuth') throw new TypeError(`"${key}" option must be spelt "wsAuth" ${where}`)
    if (['websocket', 'websockets'].includes(plain) && key !== 'websocket') throw new TypeError(`"${key}" option must be spelt "websocket" ${where}`)
    if (plain === 'wshandler' && key !== 'wsHandler') throw new TypeError(`"${key}" option must be spelt "wsHandler" ${where}`)
    const policy = POLICY_KEYS.get(plain)
    if (policy !== undefined && isWebsocket(route)) throw new TypeError(`"${key}" option must stand in "wsAuth", as wsAuth: { ${policy} }, ${where}`)
  }
  for (const key of Object.keys(route.config ?? {})) {
    if (plainName(key) === 'wsauth') throw new TypeError(`"config.${key}" option must stand beside "config", as "wsAuth", ${where}`)
  }
}
