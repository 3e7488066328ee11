/*
 * One handshake: a request that asks for a connection, for the answer that a connection would get, or for a ticket. This folder
 * leads from the server's `upgrade` event to an accepted socket or a refusal; it may import all folders but `endpoints` and
 * `plugin`. Start with the list in `checks.ts`, then read `pre-validation.ts`.
 */
import type { FastifyRequest } from 'fastify'
import { Authentication } from '../authentication/authentication'
import { takeHeaders, takePlainHeaders } from '../credentials/headers'
import type { Credential, TakenCredentials, TakenHeaders } from '../credentials/found'
import type { CompleteRouteOptions } from '../options/complete-options'

/** What the request asks for. */
export type HandshakePurpose = 'connection' | 'dry run' | 'ticket'

/** One handshake on a guarded route, and the results of its checks so far. */
export class Handshake extends Authentication {
  readonly taken: TakenCredentials
  readonly headers: TakenHeaders
  readonly purpose: HandshakePurpose
  /** The ticket, if the route requires one beside the token. */
  ticket: Credential | null = null

  constructor (request: FastifyRequest, route: CompleteRouteOptions, taken: TakenCredentials, purpose: HandshakePurpose) {
    super(request, route, null)
    this.taken = taken
    this.headers = purpose === 'dry run' ? takePlainHeaders(request, route.token) : takeHeaders(request, route.token)
    this.purpose = purpose
  }

  /** Whether the token comes with the first message. On an optional route, a client without a token is anonymous. */
  get awaitsMessage (): boolean {
    return this.credential === null && this.route.token.message !== null && this.route.access === 'required'
  }
}
