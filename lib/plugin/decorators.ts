/*
 * The decorators of the plugin, and their types. The type of the `wsAuth` option of routes stands in `index.ts`, beside the
 * role names that it is narrowed by.
 */
import type { FastifyInstance } from 'fastify'
import type { Connection, ConnectionList } from '../connection/connection'
import { readBackplaneStats } from '../revocation/backplane-stats'
import type { BackplaneStats } from '../revocation/backplane-stats'
import type { CommandResult } from '../revocation/instance'
import type { DisconnectMatch, DisconnectOptions, RevokeMatch, RevokeOptions } from '../revocation/command-arguments'
import type { StatsSnapshot } from '../audit/stats'
import { readArgument } from '../base/checks'
import type { Inspection } from '../inspect/inspection'
import { authenticateHook } from '../endpoints/authenticate'
import type { AuthenticateHook } from '../endpoints/authenticate'
import { claimsOfTicket } from '../authentication/tickets'
import type { TicketBinding } from '../authentication/ticket-binding'
import type { IssuedTicket } from '../authentication/tickets'
import { copyData } from '../token/frozen-data'
import type { DrainOptions } from '../options/public-options'
import { readDrainOptions } from '../options/read-drain'
import { subjectOf } from '../token/subject'
import type { DrainResult } from '../connection/drain'
import type { Parts } from './parts'

/** The result of `app.wsAuth.stats()`. */
export interface WsAuthStats extends StatsSnapshot {
  /** How many connections a drain still has to close, now; 0 if there is none. */
  readonly draining: number
  /** The state of the backplane, now. */
  readonly backplane: BackplaneStats
}

/** Options of `isRevoked`. */
export interface IsRevokedOptions {
  /** The `kid` in the header of the token (RFC 7515, 4.1.4). Default: none, and revocations by `kid` do not count. */
  readonly kid?: string
}

/** Options of `issueTicket`. */
export interface IssueTicketOptions extends TicketBinding {
  /** The `kid` in the header of the token that the claims are from (RFC 7515, 4.1.4). Default: none, and revocations by `kid` do not count. */
  readonly kid?: string
}

/** The `app.wsAuth` decorator. */
export interface WsAuth {
  /**
   * A hook (`onRequest`, `preValidation` or `preHandler`) that guards a plain route with the tokens of the websockets: from the header
   * and the cookie, and from no other place. A cookie counts only from an Origin that a handshake would admit. It checks the token as a
   * handshake does, but no roles, scopes or `authorize`; it refuses with the same codes and challenge, and sets `request.user`.
   */
  readonly authenticate: AuthenticateHook
  /** The open connections of this instance. */
  readonly connections: ConnectionList
  /** Counts since the start, and gauges. */
  stats (): WsAuthStats
  /**
   * Describes all websocket routes of the app with their policies, and warns of what a review should look at.
   *
   * @throws Error before the app is ready, because a route that is declared later would be missing
   */
  inspect (): Inspection
  /**
   * Issues a ticket for the user of these claims. It is valid for one handshake, within `tickets.ttl`. Its user is the result of
   * the `user` option, or of `formatUser` of the `jwt` option; a `formatUser` of an @fastify/jwt that the app has registered is
   * not known here.
   *
   * @param claims the claims, as those of a token. Default of `iat`: now
   * @param options a path and an origin that the ticket is bound to, and the `kid` in the header of the token that the claims are from,
   *   so that a revocation by this `kid` counts for the ticket too. Default: none
   * @throws TypeError for wrong arguments, and if `tickets` is off. WsAuthError `WS_AUTH_TOKEN_INVALID` or
   *   `WS_AUTH_TOKEN_EXPIRED` for claims that no token may have, `WS_AUTH_UNAVAILABLE` if the backplane cannot be reached
   */
  issueTicket (claims: object, options?: IssueTicketOptions): Promise<IssuedTicket>
  /**
   * Tells whether a token with these claims was revoked. Meant for plain requests, which the plugin does not guard. It needs no
   * network round trip.
   *
   * @throws WsAuthError `WS_AUTH_BUSY` once a drain has begun, `WS_AUTH_UNAVAILABLE` during an outage of the backplane,
   *   `WS_AUTH_TOKEN_INVALID` if the `subject` option returns no subject that counts. TypeError for wrong arguments, and if the `groups`
   *   option returns no array of strings. What these two options throw
   */
  isRevoked (claims: object, options?: IsRevokedOptions): boolean
  /**
   * Refuses tokens from now on and closes their connections, on all instances: by `jti` or `sid`, or all tokens of a `sub`, a `group`, a
   * `kid`, an `iss`, or of all users, that were issued at `beforeAt` (milliseconds since the epoch, default now) or before. By `kid` without
   * `beforeAt` they are revoked whenever they were issued. A revocation is kept for `revocationTtl`.
   *
   * @returns the answers of all live instances, once they have answered or 5 s have passed
   * @throws TypeError for wrong arguments. WsAuthError `WS_AUTH_UNAVAILABLE` if the other instances may not get the revocation:
   *   it is in force on this instance, and the others may still get it later
   */
  revoke (match: RevokeMatch, options?: RevokeOptions): Promise<CommandResult>
  /**
   * Closes connections on all instances: by `id`, `jti`, `sid`, `sub`, `group`, `kid` or `iss`, or all. Their tokens stay valid, and clients may connect again.
   *
   * @returns as `revoke`
   * @throws as `revoke`
   */
  disconnect (match: DisconnectMatch, options?: DisconnectOptions): Promise<CommandResult>
  /**
   * Takes this instance out of service, for good: from now on handshakes are refused with `WS_AUTH_BUSY`, and its connections are closed
   * over `within` milliseconds, at an even rate and in random order. Called again, or if `app.close()` is called, it closes what is left now.
   *
   * @returns how many connections it closed, once the last close frame is sent
   * @throws TypeError for wrong options
   */
  drain (options: DrainOptions): Promise<DrainResult>
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Connections, tickets, revocation and counts of fastify-ws-auth. */
    wsAuth: WsAuth
  }

  interface FastifyRequest {
    /** The connection, in the handler of a guarded websocket route; `null` anywhere else. */
    wsAuth: Connection | null
  }
}

/** Adds `request.user`, `request.wsAuth` and `app.wsAuth`. */
export function addDecorators (app: FastifyInstance, parts: Parts): void {
  const { connections, drain, inspector, instance, pending, revocation, revocations, stats } = parts
  if (!app.hasRequestDecorator('user')) app.decorateRequest('user', null as never)
  app.decorateRequest('wsAuth', null)
  app.decorate('wsAuth', {
    authenticate: authenticateHook(parts.context, parts.setUser),
    connections,
    stats: () => ({ ...stats.snapshot(connections.size, pending.count), draining: drain.left, backplane: readBackplaneStats(instance.link, revocations) }),
    inspect: () => inspector.inspect(),
    issueTicket: async (claims, binding = {}) => await issueTicket(parts, claims, binding),
    isRevoked: (claims, options) => {
      drain.assertNone()
      return revocation.isRevoked(claims, options)
    },
    drain: async (options) => await drain.run(readDrainOptions(options)),
    revoke: async (match, options) => await instance.revoke(match, options),
    disconnect: async (match, options) => await instance.disconnect(match, options)
  })
}

async function issueTicket ({ tickets, options }: Parts, given: unknown, issueOptions: unknown): Promise<IssuedTicket> {
  if (tickets === null) throw new TypeError('"tickets" option must be on for issueTicket')
  const claims = claimsOfTicket(given)
  const { kid = null, ...binding } = readArgument('options', issueOptions)
  if (kid !== null && typeof kid !== 'string') throw new TypeError('"options.kid" must be a string')
  // A route may read another subject: a ticket that is bound to its path is checked when it is used.
  if (binding.path === undefined) subjectOf(claims, options.subject)
  const { formatUser } = options.jwt ?? {}
  const user = formatUser === undefined ? claims : copyData(formatUser(copyData(claims) as never))
  return await tickets.issue({ claims, user, kid, isByApp: true }, binding)
}
