/*
 * inspect/ describes the policy of each websocket route, for a review. It imports from base and options; what it is about is given to it
 * as facts. Start here, then read `inspection.ts`.
 */
import type { CompleteOptions, CompleteRouteOptions } from '../options/complete-options'

/** What is known about the tokens of a route. */
export interface TokenFacts {
  /** What verifies: @fastify/jwt, with its namespace if it has one, or the `verify` option. */
  readonly verifier: string
  /** The algorithms that are named; `null` if none are, or if a function verifies. */
  readonly algorithms: readonly string[] | null
  readonly issuers: readonly string[] | null
  readonly audiences: readonly string[] | null
  readonly isJwt: boolean
  readonly checksExpiry: boolean
  /** Whether the key is known and never changes. */
  readonly hasStaticKey: boolean
  /** Whether the key is known and can be guessed or computed. */
  readonly hasWeakKey: boolean
  /** Whether a function of the app decides about each token. */
  readonly asksApp: boolean
}

/** A websocket route, as it was declared. */
export interface RouteFacts {
  /** With the prefixes of its scopes. */
  readonly path: string
  /** The constraints of the route (host, version). */
  readonly constraints: Readonly<Record<string, unknown>> | undefined
  readonly options: CompleteRouteOptions
  readonly tokens: TokenFacts
}

/** An app that is ready. */
export interface AppFacts {
  readonly options: CompleteOptions
  readonly hasMemoryBackplane: boolean
  readonly routes: readonly RouteFacts[]
}
