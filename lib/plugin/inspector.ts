/*
 * Collects what `app.wsAuth.inspect()` is about: the websocket routes, and how their tokens are verified.
 */
import { createPublicKey } from 'node:crypto'
import type { FastifyJWTOptions } from '@fastify/jwt'
import type { FastifyInstance } from 'fastify'
import { isMemoryBackplane } from '../backplane/memory'
import { inspect } from '../inspect/inspection'
import type { Inspection } from '../inspect/inspection'
import type { RouteFacts, TokenFacts } from '../inspect/facts'
import type { CompleteOptions, CompleteRouteOptions } from '../options/complete-options'
import { isStatic, keyOf, missingBytes } from '../token/jwt-secret'
import { findJwt } from './jwt'
import type { FoundJwt } from './jwt'

/** RSA keys that are shorter can be computed from the public one (NIST SP 800-131A). In bits. */
const SHORTEST_RSA = 2048

/** A websocket route that was declared. */
interface Declared extends Omit<RouteFacts, 'tokens'> {
  /** Whether it is a websocket route only if @fastify/http-proxy has declared it. */
  readonly isProxied: boolean
}

/** What is known of the routes of one app. */
export class Inspector {
  readonly #app: FastifyInstance
  readonly #options: CompleteOptions
  readonly #jwt: FoundJwt | null
  #routes: readonly Declared[] = []
  #isComplete = false

  /** @param jwt the verifier of the plugin, if it is @fastify/jwt */
  constructor (app: FastifyInstance, options: CompleteOptions, jwt: FoundJwt | null) {
    this.#app = app
    this.#options = options
    this.#jwt = jwt
  }

  add (route: Declared): void {
    this.#routes = [...this.#routes, route]
  }

  /** No route can be declared any more. @param isProxy whether @fastify/http-proxy has declared the route of a path */
  complete (isProxy: (path: string) => boolean): void {
    this.#routes = this.#routes.filter(({ isProxied, path }) => !isProxied || isProxy(path))
    this.#isComplete = true
  }

  /** @throws Error before the app is ready: a route that is declared later would be missing */
  inspect (): Inspection {
    if (!this.#isComplete) throw new Error('app.wsAuth.inspect() must be called when the app is ready (await app.ready()): routes may still be declared')
    const { backplane } = this.#options
    const routes = this.#routes.map((route) => ({ ...route, tokens: this.#tokensOf(route.options) }))
    return inspect({ options: this.#options, hasMemoryBackplane: isMemoryBackplane(backplane), routes })
  }

  #tokensOf ({ verify, jwtNamespace }: CompleteRouteOptions): TokenFacts {
    if (verify !== undefined) return BY_FUNCTION
    const isOfPlugin = verify === this.#options.verify && jwtNamespace === this.#options.jwtNamespace
    const jwt = isOfPlugin ? this.#jwt : findJwt(this.#app, { ...this.#options, verify, jwtNamespace, jwt: undefined })
    return jwt === null ? BY_FUNCTION : tokensOfJwt(jwt, jwtNamespace, isOfPlugin ? this.#options.jwt : undefined)
  }
}

const BY_FUNCTION: TokenFacts = {
  verifier: 'verify', algorithms: null, issuers: null, audiences: null, isJwt: false, checksExpiry: true, hasStaticKey: false, hasWeakKey: false, asksApp: true
}

/** @param own the options of @fastify/jwt, if the plugin has registered it: only then its key is known */
function tokensOfJwt ({ decorator }: FoundJwt, namespace: string | undefined, own: FastifyJWTOptions | undefined): TokenFacts {
  const { algorithms, allowedIss, allowedAud, ignoreExpiration } = decorator.options.verify
  const hasStaticKey = own !== undefined && isStatic(own)
  return {
    verifier: namespace === undefined ? '@fastify/jwt' : `@fastify/jwt ${namespace}`,
    algorithms: textsOf(algorithms),
    issuers: textsOf(allowedIss),
    audiences: textsOf(allowedAud),
    isJwt: true,
    checksExpiry: ignoreExpiration !== true,
    hasStaticKey,
    hasWeakKey: hasStaticKey && isWeak(own),
    asksApp: own !== undefined && (!hasStaticKey || own.trusted !== undefined)
  }
}

/** A setting may be one value or a list, of strings or of regular expressions. */
function textsOf (setting: unknown): string[] | null {
  return setting == null ? null : [setting].flat().map(String)
}

function isWeak (own: FastifyJWTOptions): boolean {
  if (missingBytes(own) !== null) return true
  try {
    const { modulusLength = Infinity } = createPublicKey(keyOf(own) as string).asymmetricKeyDetails ?? {}
    return modulusLength < SHORTEST_RSA
  } catch {
    // A shared secret.
    return false
  }
}
