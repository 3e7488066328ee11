/*
 * Takes tokens out of a request before Fastify sees it: the URL goes into the log, and a subprotocol goes into the answer.
 */
import type { IncomingMessage } from 'node:http'
import { NONE } from './found'
import type { TakenCredentials } from './found'
import type { KnownNames } from './known-names'
import { takeFromProtocols } from './subprotocol'
import { takeFromPath, takeFromQuery } from './url'

const NOTHING: TakenCredentials = { query: NONE, lookalikes: NONE, param: null, subprotocol: NONE, hasValidProtocols: true }

/** Takes the tokens out of the URL and the subprotocols of a request. */
export function takeCredentials (request: IncomingMessage, names: KnownNames): TakenCredentials {
  const { query, lookalikes } = takeFromQuery(request, names)
  const param = takeFromPath(request, names)
  const protocols = request.headers['sec-websocket-protocol']
  if (protocols !== undefined) return { query, lookalikes, param, ...takeFromProtocols(request, protocols, names.subprotocol) }
  return query === NONE && lookalikes === NONE && param === null ? NOTHING : { ...NOTHING, query, lookalikes, param }
}
