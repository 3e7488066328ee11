/*
 * What the plugin does with each route that is declared, before and after @fastify/websocket has wrapped it.
 */
import type { FastifyInstance } from 'fastify'
import type { KnownNames } from '../credentials/known-names'
import { addDryRun, assertNoMisplacedPolicy, readRoute, knownRouteOf, wrapWebsocketHandler } from '../handshake/routes'
import type { DeclaredRoute } from '../handshake/routes'
import type { CompleteOptions } from '../options/complete-options'
import { assertCookie } from './cookie'

/** The `onRoute` hooks of an app. */
export class RouteHooks {
  readonly #app: FastifyInstance
  readonly #options: CompleteOptions
  readonly #names: KnownNames
  readonly #open: Parameters<typeof wrapWebsocketHandler>[1]
  readonly #declared: DeclaredRoute[] = []

  /** @param open is called with each socket, in place of the handler of its route */
  constructor (app: FastifyInstance, options: CompleteOptions, names: KnownNames, open: Parameters<typeof wrapWebsocketHandler>[1]) {
    this.#app = app
    this.#options = options
    this.#names = names
    this.#open = open
  }

  /** Reads the `wsAuth` option of a route, and replaces the handler of a websocket route. */
  readonly onDeclared = (route: DeclaredRoute): void => {
    const known = readRoute(route, this.#options)
    this.#declared.push(route)
    this.#names.addRoute(route, known.kind === 'websocket' ? known.options.token.param : null)
    if (known.kind === 'http') return
    assertCookie(this.#app, known.options.token)
    this.#names.addSources(known.options)
    wrapWebsocketHandler(route, this.#open)
  }

  /** Adds the dry run to a websocket route that has no HTTP handler. */
  readonly onWrapped = (route: DeclaredRoute): void => {
    const known = knownRouteOf(route)
    if (known?.kind === 'websocket' && known.hasDryRun) addDryRun(route, this.#names)
  }

  /** Checks all routes again: a later hook of the app may have put a policy beside its place. @throws TypeError */
  assertPolicies (): void {
    for (const route of this.#declared.splice(0)) assertNoMisplacedPolicy(route)
  }
}
