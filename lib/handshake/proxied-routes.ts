/*
 * Routes of @fastify/http-proxy that have a policy in the `routes` option. That package answers upgrades with a listener and a
 * WebSocket server of its own, so nothing there would end a socket at its expiry. Here its routes are websocket routes as all
 * others are, and it gets the open socket.
 */
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { WebSocket } from 'ws'
import { WsAuthError } from '../base/errors'
import { answerUpgrade } from './answer-upgrade'
import type { OpenSockets } from './answer-upgrade'
import { candidateOf } from './candidate'
import { Upgrade } from './upgrade'

/** The decorators of replies that @fastify/http-proxy adds to the scope of its routes. */
interface ProxyReply {
  /** `undefined` without its option `websocket: true`. */
  readonly wsProxy?: { handleConnection (socket: WebSocket, request: FastifyRequest, path: string): void }
  fromParameters (url: string, params: unknown, prefix: string): { readonly url: string }
}

type UpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

/** Whether @fastify/http-proxy has declared the routes of a scope. It adds its decorators after its routes. */
export function isProxy (scope: FastifyInstance): boolean {
  return scope.hasReplyDecorator('wsProxy') && scope.hasReplyDecorator('fromParameters')
}

/** Replaces the handler of a route: an upgrade that was accepted is opened here, and @fastify/http-proxy gets the socket. */
export function wrapProxyHandler (route: Pick<RouteOptions, 'handler'>, sockets: OpenSockets): void {
  const { handler } = route
  route.handler = function (request, reply) {
    if (isUpgrade(request)) return proxy(this, request, reply, sockets)
    return handler.call(this, request, reply)
  }
}

/** Also an upgrade that did not come by our listener: the handler of @fastify/http-proxy would proxy it for anybody. */
function isUpgrade ({ ws, raw }: FastifyRequest): boolean {
  return ws || (raw as { upgrade?: unknown }).upgrade === true
}

function proxy (scope: FastifyInstance, request: FastifyRequest, reply: FastifyReply, sockets: OpenSockets): void {
  const upgrade = candidateOf(request.raw)
  if (!(upgrade instanceof Upgrade) || !upgrade.isAdmitted) throw new WsAuthError('WS_AUTH_ROUTE_UNPROTECTED')
  const { wsProxy, fromParameters } = reply as unknown as ProxyReply
  if (wsProxy === undefined) throw new WsAuthError('WS_AUTH_ROUTE_NOT_WEBSOCKET')
  // Throws for a path that leaves the prefix.
  const [path = ''] = fromParameters.call(reply, request.url, request.params, scope.prefix).url.split('?', 1)
  answerUpgrade({ scope, request, reply, upgrade }, sockets, (socket) => wsProxy.handleConnection(socket, request, path))
}

/** The listener of @fastify/http-proxy, which it keeps on the server under a symbol, and the prefixes of its routes. */
function findListener (server: Server): { readonly listener: UpgradeListener, readonly prefixes: readonly string[] } | null {
  const valueOf = (name: string): unknown => {
    const symbol = Object.getOwnPropertySymbols(server).find(({ description }) => description === name)
    return symbol === undefined ? undefined : (server as unknown as Record<symbol, unknown>)[symbol]
  }
  const listener = valueOf('wsUpgradeListener') as UpgradeListener | undefined
  if (typeof listener !== 'function' || !server.listeners('upgrade').includes(listener)) return null
  const prefixes = valueOf('wsPrefixes')
  return { listener, prefixes: Array.isArray(prefixes) ? prefixes.map(String) : ['/prefix'] }
}

/**
 * Takes the upgrades of an app from the listener of @fastify/http-proxy, because both would answer each of them, which ends the process.
 *
 * @param upgrades the `upgrades` option, if it is given: the listener keeps the upgrades that are not of the app
 * @param hasPolicies whether the `routes` option may have a policy of one of its routes
 * @returns whether there is such a listener
 * @throws Error without policies and without the option: it is not known who may use its routes
 */
export function takeFromProxy (server: Server, upgrades: ((request: IncomingMessage) => boolean) | undefined, hasPolicies: boolean): boolean {
  const found = findListener(server)
  if (found === null) return false
  const { listener, prefixes } = found
  if (upgrades === undefined && !hasPolicies) {
    const policies = prefixes.map((prefix) => `'${prefix.replace(/\/$/, '')}/*': true`).join(', ')
    throw new Error(`@fastify/http-proxy answers upgrades on this server ("websocket: true"), and so does fastify-ws-auth: register it after fastify-ws-auth and give the "routes" option a policy for its paths, { ${policies} }, or give the "upgrades" option, a function that returns true for the upgrades of this app`)
  }
  server.removeListener('upgrade', listener)
  if (upgrades !== undefined) server.on('upgrade', (request, socket, head) => { if (!upgrades(request)) listener(request, socket, head) })
  return true
}
