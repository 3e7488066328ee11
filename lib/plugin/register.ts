/*
 * The plugin, in the order of registration. This folder connects the parts of all other folders to Fastify; it may import
 * from all of them. Start here, then read `parts.ts`.
 */
import fastifyWebsocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import { isReadOnly, rootOf } from '../base/fastify-internals'
import { startHeartbeat } from '../connection/heartbeat'
import { addLogoutRoute } from '../endpoints/back-channel-logout'
import { addSignalsRoute } from '../endpoints/signals'
import { addTicketRoute } from '../endpoints/ticket'
import { sendInOnePacket } from '../handshake/one-packet'
import type { PreValidation } from '../handshake/pre-validation'
import { refuseUncovered } from '../handshake/routes'
import { awaitsMessage } from '../handshake/candidate'
import type { WsAuthOptions } from '../options/public-options'
import { readPluginOptions } from '../options/read-plugin-options'
import { registerCookie, withCookie } from './cookie'
import { addDecorators } from './decorators'
import { createSignalVerifier, findJwt, registerJwt } from './jwt'
import type { FoundJwt } from './jwt'
import { buildParts } from './parts'
import type { Parts } from './parts'
import { RouteHooks } from './route-hooks'
import { rememberApp } from './running-apps'
import { Shutdown } from './shutdown'
import { assertNoWebsocket, assertOneWebsocket, assertRuntime } from './websocket'

const OTHER_LISTENERS = 'another library listens to the upgrades of this server, and both would answer each of them: ' +
  'give the "upgrades" option, a function that returns true for the upgrades of this app'

/** Authenticated websockets for Fastify; see {@link WsAuthOptions} for its options. */
export async function registerWsAuth (app: FastifyInstance, given: WsAuthOptions): Promise<void> {
  assertRuntime()
  // Dependencies: @fastify/cookie and @fastify/jwt are registered unless the app has registered them.
  const read = readPluginOptions(given)
  assertNoWebsocket(app)
  assertUserIsWritable(app)
  await registerCookie(app, read)
  await registerJwt(app, read)
  const jwt = findJwt(app, read)
  const options = withCookie(app, read, jwt)

  const parts = buildParts(app, options, jwt)
  addDecorators(app, parts)
  rememberApp(app, parts)
  const { routes, shutdown } = addHooks(app, parts)
  await app.register(fastifyWebsocket, parts.websocket.options)
  attach(app, parts, shutdown)
  // After @fastify/websocket: the dry run replaces the answer that it gives to a plain request.
  app.addHook('onRoute', function (this: FastifyInstance, route) { routes.onWrapped(route, this) })
  // The endpoints are routes as those of the app, so all hooks stand before them.
  await addEndpoints(app, parts, jwt)
  // After @fastify/websocket has had the upgrade.
  parts.upgrades.listenLast(parts.listeners.relay)
}

/** Adds the hooks and the listener that must stand before those of @fastify/websocket. */
function addHooks (app: FastifyInstance, parts: Parts): { routes: RouteHooks, shutdown: Shutdown } {
  const { checks, listeners, options, names, preValidation, upgrades } = parts
  // An upgrade must be known to our hooks before @fastify/websocket routes it.
  upgrades.listenFirst(listeners.relay, names, options.handshakeTimeout)
  // The hooks below do not cover scopes beside ours, but the upgrades of their routes come to the same server.
  guardOtherScopes(app, preValidation)
  // The handshake itself: after all `onRequest` hooks of the app, before its handlers.
  app.addHook('preValidation', preValidation.onRequest)
  // When no route can be declared any more.
  const routes = new RouteHooks(app, parts)
  app.addHook('onReady', async () => {
    checks.compile(app)
    routes.assertPolicies()
    assertOneWebsocket(app, listeners.server)
    if (options.upgrades === undefined && listeners.others > 0) app.log.warn(OTHER_LISTENERS)
    listeners.setReady()
  })
  // @fastify/websocket wraps the handler that it finds in a route.
  app.addHook('onRoute', routes.onDeclared)
  // @fastify/websocket would close the sockets without a code.
  const shutdown = new Shutdown(app, parts, options.websocket.preClose)
  app.addHook('preClose', shutdown.begin)
  app.addHook('onClose', shutdown.finish)
  // @fastify/websocket destroys the socket of an upgrade that was answered.
  app.addHook('onResponse', preValidation.onResponse)
  return { routes, shutdown }
}

/** Gives the WebSocket server, which exists now, to the parts that need it, and starts the heartbeat. */
function attach (app: FastifyInstance, { connections, drain, options, waitingRoom, websocket }: Parts, shutdown: Shutdown): void {
  shutdown.attach(app.websocketServer)
  drain.attach(app.websocketServer)
  websocket.protocols.guard(app.websocketServer)
  sendInOnePacket(app.websocketServer)
  waitingRoom.attach(app.websocketServer, awaitsMessage)
  if (options.heartbeat === null) return
  const stop = startHeartbeat(connections, options.heartbeat.interval)
  app.addHook('preClose', (done) => { stop(); done() })
}

async function addEndpoints (app: FastifyInstance, { audit, instance, names, options, tickets, verifier }: Parts, jwt: FoundJwt | null): Promise<void> {
  if (tickets !== null && options.tickets.path !== null) addTicketRoute(app, options.tickets.path, { options, tickets, audit, names })
  if (options.backChannelLogout !== null) await addLogoutRoute(app, options.backChannelLogout, { options, verifier, instance })
  if (options.signals !== null) await addSignalsRoute(app, options.signals, { options, verify: createSignalVerifier(options, options.signals, verifier, jwt), instance })
}

function assertUserIsWritable (app: FastifyInstance): void {
  if (isReadOnly(app, 'user')) throw new TypeError('the request decorator "user" must be one that can be set: the app gave it a getter and no setter')
}

/** Has upgrades of other scopes refused, if the plugin is registered in a scope: its hooks run in that scope and below. */
function guardOtherScopes (app: FastifyInstance, preValidation: PreValidation): void {
  const root = rootOf(app)
  if (root === app) return
  root.addHook('onRequest', preValidation.onForeignRequest)
  root.addHook('onRoute', refuseUncovered)
}
