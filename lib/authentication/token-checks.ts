/*
 * How the tokens of each route are checked: with the verifier and the schema of the plugin, or with those of the route.
 */
import type { FastifyInstance } from 'fastify'
import type { CompleteRouteOptions } from '../options/complete-options'
import type { Verifier } from '../token/verifier'
import type { ClaimsSchema } from './claims-schema'

/** A verifier, and the schema for the claims that it lets through. */
export interface TokenChecks {
  readonly verifier: Verifier
  readonly claimsSchema: ClaimsSchema
}

/** The checks of an app. */
export class TokenChecksByRoute {
  readonly byDefault: TokenChecks
  readonly #own = new Map<CompleteRouteOptions, TokenChecks>()

  constructor (byDefault: TokenChecks) {
    this.byDefault = byDefault
  }

  /** Adds the checks of a route that has some of its own. */
  add (route: CompleteRouteOptions, checks: TokenChecks): void {
    this.#own.set(route, checks)
  }

  of (route: CompleteRouteOptions): TokenChecks {
    return this.#own.get(route) ?? this.byDefault
  }

  /** Whether a route does not use the verifier of the plugin. */
  hasOwnVerifier (route: CompleteRouteOptions): boolean {
    return this.of(route).verifier !== this.byDefault.verifier
  }

  /** Compiles all schemas. @throws TypeError for a schema that the validator of the app cannot compile, or cannot run */
  compile (app: FastifyInstance): void {
    const schemas = new Set([this.byDefault, ...this.#own.values()].map(({ claimsSchema }) => claimsSchema))
    for (const schema of schemas) schema.compile(app)
  }
}
