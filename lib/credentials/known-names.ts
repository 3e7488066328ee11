/*
 * The names under which any route of the app may have a token. They decide what is taken out of each request, because the route of a
 * request is known only after its URL was logged.
 */
import type { RouteOptions } from 'fastify'
import type { HandshakeOptions, TokenSources } from '../options/complete-options'
import { findParam, parseRoutePath } from './route-path'
import type { FoundParam, RoutePath, Slashes } from './route-path'

/** Settings of Fastify's router. */
export interface RouterSettings extends Partial<Slashes> {
  readonly useSemicolonDelimiter?: boolean | undefined
  readonly maxParamLength?: number | undefined
}

export class KnownNames {
  /** The token options of the plugin and of each websocket route. */
  readonly sources = new Set<TokenSources>()
  readonly query = new Set<string>()
  readonly subprotocol = new Set<string>()
  /** Finds the end of the path: `?` or `#`, and `;` if the router reads it so. */
  readonly queryStart: RegExp
  readonly #slashes: Slashes
  readonly #maxParamLength: number | undefined
  readonly #paths: RoutePath[] = []
  #hasParam = false

  constructor ({ useSemicolonDelimiter, maxParamLength, ignoreTrailingSlash = false, ignoreDuplicateSlashes = false }: RouterSettings = {}) {
    this.queryStart = useSemicolonDelimiter === true ? /[?#;]/ : /[?#]/
    this.#slashes = { ignoreTrailingSlash, ignoreDuplicateSlashes }
    this.#maxParamLength = maxParamLength
  }

  /** Adds the names of the plugin or of a route. */
  addSources ({ token, tickets }: Pick<HandshakeOptions, 'token' | 'tickets'>): void {
    this.sources.add(token)
    if (token.query !== null) this.query.add(token.query)
    if (tickets.query !== null) this.query.add(tickets.query)
    if (token.subprotocol !== null) this.subprotocol.add(token.subprotocol)
  }

  /**
   * Adds the path of a route. A route without a token counts too, because its path may be the better match.
   *
   * @param param the route parameter that has the token, or `null`
   */
  addRoute ({ url, method }: Pick<RouteOptions, 'url' | 'method'>, param: string | null): void {
    if (![method].flat().includes('GET')) return
    const path = parseRoutePath(url, param, this.#maxParamLength)
    this.#paths.push(path)
    this.#hasParam ||= path.token !== null
  }

  /** Finds the token in the path of a URL. */
  findParam (url: string): FoundParam | null {
    return this.#hasParam ? findParam(url, this.#paths, this.queryStart, this.#slashes) : null
  }
}
