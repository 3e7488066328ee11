/*
 * The mark on a request that may become a connection, or asks as a plain request whether it could.
 */
import type { IncomingMessage } from 'node:http'
import type { Authentication } from '../authentication/authentication'
import type { KnownNames } from '../credentials/known-names'
import { PlainRequest } from './dry-run'
import { Upgrade } from './upgrade'

const kCandidate = Symbol('fastify-ws-auth.candidate')

type MarkedRequest = IncomingMessage & { [kCandidate]?: Upgrade | PlainRequest | undefined }

/** The mark of a request; `undefined` for all other requests, and once the connection is open. */
export function candidateOf (request: IncomingMessage): Upgrade | PlainRequest | undefined {
  return (request as MarkedRequest)[kCandidate]
}

export function setCandidate (request: MarkedRequest, upgrade: Upgrade | undefined): void {
  request[kCandidate] = upgrade
}

/** Marks a plain request, unless it is marked already. */
export function markPlain (request: MarkedRequest, names: KnownNames): void {
  request[kCandidate] ??= new PlainRequest(request, names)
}

/** Whether the request was accepted on condition of its first message. */
export function awaitsMessage (request: IncomingMessage): boolean {
  const upgrade = candidateOf(request)
  return upgrade instanceof Upgrade && upgrade.accepted?.awaitsMessage === true
}

/** The authentication of a request for a ticket, for the handler of that route; `null` for the second time. */
export function takeAuthenticated (request: IncomingMessage): Authentication | null {
  const plain = candidateOf(request)
  return plain instanceof PlainRequest ? plain.takeAccepted() : null
}
