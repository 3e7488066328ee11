// @ts-check
/*
 * Who is compared. All have the routes /chat, which says nothing, /who, which says who the user is, and /echo; what guards them
 * is named by `guard`.
 */
import { startExpress, startWs } from './ws.mjs'
import { startFastify } from './fastify.mjs'
import { startSocketIo } from './socket-io.mjs'

/**
 * What a server is told before it listens.
 *
 * @typedef {object} ServerSpec
 * @property {string} guard
 * @property {import('../tokens.mjs').Algorithm} algorithm
 * @property {import('../tokens.mjs').Keys} keys
 * @property {import('../scripts.mjs').Carrier} carrier where the token is
 * @property {string} dist the build of fastify-ws-auth
 * @property {Record<string, unknown>} options further options of fastify-ws-auth
 * @property {Record<string, unknown> | boolean} routeOptions the `wsAuth` of its routes
 * @property {boolean} isHeard whether somebody listens to its events
 * @property {number} backlog how many connections may wait to be accepted
 */

/**
 * @typedef {object} Contender
 * @property {import('node:http').Server} server it listens
 * @property {() => number} countClients how many WebSockets are open
 * @property {(count: number, claims: object) => Promise<string[]>} [issueTickets]
 * @property {(subs: string[]) => Promise<void> | void} [disconnect] closes all sockets of these users
 * @property {(sub: string) => Promise<unknown>} [revoke] refuses the tokens of a user from now on, and closes its sockets
 * @property {(within: number) => Promise<number>} [drain] closes all sockets in so many milliseconds; how many it closed
 */

const starters = {
  ws: startWs,
  'ws + jsonwebtoken': startWs,
  'ws + jsonwebtoken, KeyObject': startWs,
  'express + ws + express-jwt': startExpress,
  'socket.io': startSocketIo
}

/** @param {ServerSpec} spec @returns {Promise<Contender>} */
export function startContender (spec) {
  return (starters[spec.guard] ?? startFastify)(spec)
}
