/*
 * What the plugin does with each route that is declared, before and after @fastify/websocket has wrapped it.
 */
import type { FastifyInstance } from 'fastify'
import { addDryRun, assertNoMisplacedPolicy, readRoute, knownRouteOf, wrapWebsocketHandler } from '../handshake/routes'
import type { DeclaredRoute } from '../handshake/routes'
import { assertCookie } from './cookie'
import { addOwnChecks } from './own-checks'
import type { Parts } from './parts'

/** The `onRoute` hooks of an app. */
export class RouteHooks {
  readonly #app: FastifyInstance
  readonly #parts: Parts
  readonly #declared: DeclaredRoute[] = []
  /** The paths of the `routes` option that no route has had yet. */
  readonly #missing: Set<string>

  constructor (app: FastifyInstance, parts: Parts) {
    this.#app = app
    this.#parts = parts
    this.#missing = new Set(parts.options.routes.keys())
  }

  /** Reads the `wsAuth` option of a route, and replaces the handler of a websocket route. */
  readonly onDeclared = (route: DeclaredRoute): void => {
    const { names, opener, options } = this.#parts
    const known = readRoute(route, options, options.routes)
    this.#declared.push(route)
    names.addRoute(route, known.kind === 'websocket' ? known.options.token.param : null)
    if (known.kind === 'http') return
    if (known.kind === 'websocket') {
      this.#missing.delete(route.url)
      addOwnChecks(this.#app, this.#parts, known.options)
    }
    assertCookie(this.#app, known.options.token)
    names.addSources(known.options)
    wrapWebsocketHandler(route, opener.open)
  }

  /** Adds the dry run to a websocket route that has no HTTP handler. */
  readonly onWrapped = (route: DeclaredRoute): void => {
    const known = knownRouteOf(route)
    if (known?.kind === 'websocket' && known.hasDryRun) addDryRun(route, this.#parts.names)
  }

  /** Checks all routes again: a later hook of the app may have put a policy beside its place. @throws TypeError */
  assertPolicies (): void {
    for (const route of this.#declared.splice(0)) assertNoMisplacedPolicy(route)
    const [path] = this.#missing
    if (path !== undefined) throw new TypeError(`"routes.${path}" option must be the path of a websocket route, with the prefixes of its scopes: no such route was declared`)
  }
}
