/*
 * A hint for apps whose own hook refuses handshakes before they are checked.
 */
import type { FastifyRequest } from 'fastify'
import { quietLog } from '../base/quiet-log'
import type { TakenCredentials } from '../credentials/found'

/** The hooks of an app that come before those of this package. */
export class EarlierHooks {
  #isReported = false

  /**
   * A hook has answered a handshake with 401. An app-wide `request.jwtVerify()` does that to each token that is not in a header or a cookie.
   * It is logged once, because a hook that refuses clients with bad tokens does the same.
   */
  onRefused (request: FastifyRequest, { query, param, subprotocol }: TakenCredentials): void {
    const place = subprotocol.length > 0 ? 'subprotocol' : query.length > 0 ? 'query' : param !== null ? 'path' : null
    if (this.#isReported || place === null) return
    this.#isReported = true
    quietLog(request.log).warn({ route: request.routeOptions.url ?? null }, `a hook of the app answered 401 to a websocket handshake with a token in its ${place}, before fastify-ws-auth checked it: ` +
      'request.jwtVerify() does not look there. Put app.wsAuth.authenticate in its place: it guards plain routes, and leaves websockets to their own policy')
  }
}
