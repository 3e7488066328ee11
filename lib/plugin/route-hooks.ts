/*
 * What the plugin does with each route that is declared, before and after @fastify/websocket has wrapped it.
 */
import type { FastifyInstance } from 'fastify'
import { addDryRun, answerUpgrades, assertNoMisplacedPolicy, readRoute, knownRouteOf, wrapWebsocketHandler } from '../handshake/routes'
import { isProxy, takeFromProxy, wrapProxyHandler } from '../handshake/proxied-routes'
import type { DeclaredRoute, WebsocketHandler } from '../handshake/routes'
import type { OpenSockets } from '../handshake/answer-upgrade'
import { assertCookie } from './cookie'
import { addOwnChecks } from './own-checks'
import type { Parts } from './parts'

/** The `onRoute` hooks of an app. */
export class RouteHooks {
  readonly #app: FastifyInstance
  readonly #parts: Parts
  readonly #declared: DeclaredRoute[] = []
  /** The handlers of guarded routes that @fastify/websocket wraps next. */
  readonly #handlers = new WeakMap<DeclaredRoute, WebsocketHandler>()
  readonly #sockets: OpenSockets
  /** The paths of the `routes` option that no route has had yet. */
  readonly #missing: Set<string>
  /** The scopes of plain routes with such a path, by path: routes of @fastify/http-proxy. */
  readonly #proxied = new Map<string, FastifyInstance>()

  constructor (app: FastifyInstance, parts: Parts) {
    this.#app = app
    this.#parts = parts
    this.#sockets = { open: parts.opener.open, listenToErrors: parts.websocket.listenToErrors }
    this.#missing = new Set(parts.options.routes.keys())
  }

  /** Reads the `wsAuth` option of a route, and replaces the handler of a websocket route. */
  readonly onDeclared = (route: DeclaredRoute): void => {
    const { inspector, names, opener, options, stats } = this.#parts
    const known = readRoute(route, options, options.routes)
    this.#declared.push(route)
    names.addRoute(route, known.kind === 'websocket' ? known.options.token.param : null)
    if (known.kind === 'http') return
    if (known.kind === 'websocket') {
      if (!known.isProxied) this.#missing.delete(route.url)
      stats.addRoute(route.url, known.options)
      // Fastify declares a HEAD route beside it, which is no websocket.
      if ([route.method].flat().includes('GET')) inspector.add({ path: route.url, constraints: route.constraints, options: known.options, isProxied: known.isProxied })
      addOwnChecks(this.#app, this.#parts, known.options)
    }
    assertCookie(this.#app, known.options.token)
    names.addSources(known.options)
    const handler = wrapWebsocketHandler(route, opener.open)
    if (handler !== undefined && known.options.access !== 'public') this.#handlers.set(route, handler)
  }

  /** Adds the dry run to a websocket route that has no HTTP handler, and replaces the handler of a route of @fastify/http-proxy. */
  readonly onWrapped = (route: DeclaredRoute, scope: FastifyInstance): void => {
    const known = knownRouteOf(route)
    if (known?.kind !== 'websocket') return
    const handler = this.#handlers.get(route)
    if (handler !== undefined && !known.isProxied) answerUpgrades(route, handler, this.#sockets)
    if (known.hasDryRun) addDryRun(route, this.#parts.names)
    if (!known.isProxied) return
    this.#proxied.set(route.url, scope)
    wrapProxyHandler(route, this.#sockets)
  }

  /**
   * Checks all routes again: a later hook of the app may have put a policy beside its place.
   *
   * @throws TypeError for a policy that is not in its place, or that no route has. Error for an @fastify/http-proxy without a policy
   */
  assertPolicies (): void {
    for (const route of this.#declared.splice(0)) assertNoMisplacedPolicy(route)
    const hasProxy = takeFromProxy(this.#app.server, this.#parts.options.upgrades && this.#parts.isOurs, this.#proxied.size > 0)
    const proxied = new Set([...this.#proxied].filter(([, scope]) => hasProxy && isProxy(scope)).map(([path]) => path))
    for (const path of proxied) this.#missing.delete(path)
    this.#parts.inspector.complete((path) => proxied.has(path))
    const [path] = this.#missing
    if (path !== undefined) throw new TypeError(`"routes.${path}" option must be the path of a websocket route, with the prefixes of its scopes: no such route was declared`)
  }
}
