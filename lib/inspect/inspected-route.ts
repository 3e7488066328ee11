/*
 * A websocket route, as a review has it.
 */
import { parseRoutePath } from '../credentials/route-path'
import type { CompleteRouteOptions } from '../options/complete-options'
import type { AppFacts, RouteFacts } from './facts'
import { plainData } from './plain-data'
import type { PlainData } from './plain-data'
import { warningsOfRoute } from './warnings'
import type { WarningName } from './warnings'

/** Where a token of a route may be. A place that is off is absent. */
export interface InspectedSources {
  /** `bearer`: `Authorization: Bearer <token>` (RFC 6750, 2.1); else the whole value of the header is the token. */
  readonly header?: { readonly name: string, readonly bearer: boolean }
  /** The marker before the token. */
  readonly subprotocol?: string
  readonly query?: string
  readonly cookie?: { readonly name: string, readonly signed: boolean }
  readonly param?: string
  /** The first message. `timeout` is in milliseconds; `frames` is false if the `read` option finds the token. */
  readonly message?: { readonly timeout: number, readonly maxBytes: number, readonly frames: boolean }
  /** The query parameter of tickets, and whether a token is needed beside a ticket. */
  readonly ticket?: { readonly query: string, readonly require: boolean }
}

/** How tokens of a route are verified. */
export interface InspectedTokens {
  /** `'@fastify/jwt'`, with its namespace after a space if it has one, or `'verify'`. */
  readonly verifier: string
  /** `null` if they are not limited. */
  readonly algorithms: readonly string[] | null
  readonly issuers: readonly string[] | null
  readonly audiences: readonly string[] | null
}

/** A websocket route and its policy. */
export interface InspectedRoute {
  /** With the prefixes of its scopes. */
  readonly path: string
  /** The host or version that the route is for; `null` for any. */
  readonly constraints: { readonly [name: string]: PlainData } | null
  readonly access: 'required' | 'optional' | 'public'
  readonly sources: InspectedSources
  /** `null` on a public route. */
  readonly tokens: InspectedTokens | null
  /** `'function'` if a function of the app decides; `null` on a public route. */
  readonly origin: 'same-host' | 'any' | 'function' | readonly string[] | null
  readonly roles: readonly string[] | null
  readonly scopes: readonly string[] | null
  /** Whether a function of the app decides last. */
  readonly authorize: boolean
  /** Whether a handshake must come by TLS. */
  readonly requireTls: boolean
  readonly rejectWith: 'http' | 'close' | 'auto'
  /** In milliseconds; `null` for no limit. */
  readonly maxLifetime: number | null
  /** In milliseconds. */
  readonly expiryGrace: number
  readonly renewal: boolean | 'offered'
  /** The limits that are in force; `null` for none. */
  readonly limits: { readonly [name: string]: PlainData }
  /** The names of what a review should look at. */
  readonly warnings: readonly WarningName[]
}

/** Describes a route. */
export function inspectRoute (route: RouteFacts, app: AppFacts): InspectedRoute {
  const { path, constraints, options } = route
  const { access, requireTls, rejectWith } = options
  return {
    path,
    constraints: constraints === undefined || Object.keys(constraints).length === 0 ? null : plainData(constraints) as InspectedRoute['constraints'],
    access,
    ...(access === 'public' ? publicPolicy(app) : guardedPolicy(route, app)),
    requireTls,
    rejectWith,
    warnings: warningsOfRoute(route, app)
  }
}

type Policy = Omit<InspectedRoute, 'path' | 'constraints' | 'access' | 'requireTls' | 'rejectWith' | 'warnings'>

/** Of the limits, only that of handshakes is for public routes too. */
function publicPolicy ({ options: { limits: { pending } } }: AppFacts): Policy {
  return {
    sources: {}, tokens: null, origin: null, roles: null, scopes: null, authorize: false, maxLifetime: null, expiryGrace: 0, renewal: false, limits: { pending: plainData(pending) }
  }
}

function guardedPolicy ({ path, options, tokens }: RouteFacts, app: AppFacts): Policy {
  const { origin, roles, scopes, authorize, maxLifetime, expiryGrace, renewal } = options
  const { verifier, algorithms, issuers, audiences } = tokens
  return {
    sources: sourcesOf(path, options),
    tokens: { verifier, algorithms, issuers, audiences },
    origin: plainData(origin) as Policy['origin'],
    roles,
    scopes,
    authorize: authorize !== undefined,
    maxLifetime: plainData(maxLifetime) as number | null,
    expiryGrace,
    renewal,
    limits: plainData({ ...app.options.limits, ...(options as { limits?: object }).limits }) as Policy['limits']
  }
}

function sourcesOf (path: string, { token, tickets }: CompleteRouteOptions): InspectedSources {
  const { header, subprotocol, query, cookie, message } = token
  const param = token.param !== null && parseRoutePath(path, token.param).token !== null ? token.param : null
  return {
    ...(header !== null && { header: { ...header } }),
    ...(subprotocol !== null && { subprotocol }),
    ...(query !== null && { query }),
    ...(cookie != null && { cookie: { ...cookie } }),
    ...(param !== null && { param }),
    ...(message !== null && { message: { timeout: message.timeout, maxBytes: message.maxBytes, frames: message.read === null } }),
    ...(tickets.query !== null && { ticket: { query: tickets.query, require: tickets.require } })
  }
}
