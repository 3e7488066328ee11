/*
 * The `wsAuth` option that an app writes on a route.
 */
import type { FastifyRequest } from 'fastify'
import type { CloseKind } from '../base/errors'
import type { VerifyOption } from '../token/custom-verifier'
import type { OriginOption, RejectWith, RenewalOption, RouteLimitsOptions, SubjectOption, TokenOptions, UserOption } from './public-handshake-options'

/** The `wsAuth` option of a route, as an object. A wrong or unknown option is a `TypeError` when the route is declared. */
export interface RouteWsAuthOptions<Role extends string = string> {
  /** The user must have one of these roles, else 403. */
  roles?: readonly Role[]
  /** The user must have all of these scopes, else 403. */
  scopes?: readonly string[]
  /** Decides last, after roles and scopes. Only `true` admits; any other result is 403, and a thrown error is 503. */
  authorize?: (user: FastifyRequest['user'], request: FastifyRequest) => boolean | Promise<boolean>
  /** Whether a client without a token may connect, with `null` for its user. Default `false`. */
  optional?: boolean
  /** Replaces the plugin's verifier. It excludes `jwtNamespace`. */
  verify?: VerifyOption
  /** The namespace of another @fastify/jwt that the app has registered; it replaces the plugin's verifier. */
  jwtNamespace?: string
  /** Replaces the plugin's `claims`. */
  claims?: object
  /** Replaces the plugin's `user`. */
  user?: UserOption
  /** Replaces the plugin's `subject`. */
  subject?: SubjectOption
  /** Replaces the plugin's `renewal`. */
  renewal?: RenewalOption
  /** Replaces the plugin's `expiryGrace`, in milliseconds. */
  expiryGrace?: number
  /** Merged over the plugin's `token`. */
  token?: TokenOptions
  /** Replaces the plugin's `origin`. */
  origin?: OriginOption
  /** Replaces the plugin's `requireTls`. */
  requireTls?: boolean
  /** Replaces the plugin's `rejectWith`. */
  rejectWith?: RejectWith
  /** Merged over the plugin's `closeCodes`. */
  closeCodes?: Partial<Record<CloseKind, number>>
  /** Replaces the plugin's `maxLifetime`, in milliseconds. */
  maxLifetime?: number
  /** Replaces the plugin's `limits.messages`, `limits.bytes` and `limits.idle`, each of them if it is given. */
  limits?: RouteLimitsOptions
  /** Merged over the plugin's `tickets`, which must be on. */
  tickets?: { require?: boolean }
}

/**
 * The `wsAuth` option of a route: `true` needs a user (the default), `false` is a public route, `'optional'` gives a user if there is
 * a valid token and `null` if there is no token, and an object adds to `true`.
 */
export type RouteWsAuth<Role extends string = string> = boolean | 'optional' | RouteWsAuthOptions<Role>
