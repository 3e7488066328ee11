// @ts-check
/*
 * Who is asked, with which token, and what they have to answer.
 */
import { createScript } from './scripts.mjs'
import { handshake } from './load.mjs'
import { RUNTIMES, ServerProcess } from './server-process.mjs'
import { createToken, withWrongSignature } from './tokens.mjs'

/**
 * @typedef {object} Subject
 * @property {string} name
 * @property {string} guard one of the contenders
 * @property {import('./tokens.mjs').Algorithm} algorithm
 * @property {import('./scripts.mjs').Carrier} carrier
 * @property {'right' | 'wrong' | 'none'} token
 * @property {Record<string, unknown>} options further options of fastify-ws-auth
 * @property {Record<string, unknown> | boolean} routeOptions the `wsAuth` of its routes
 * @property {string | null} origin what its clients say that they are a page of
 * @property {boolean} isHeard whether somebody listens to its events
 * @property {import('./frames.mjs').MessageKind} message what is echoed
 * @property {string} path the route of its clients
 * @property {boolean} [isOtherBuild]
 */

/** @typedef {{ keys: ReturnType<typeof import('./tokens.mjs').createKeys>, dist: string, otherDist?: string }} Setting */
/** @typedef {{ subject: Subject, server: ServerProcess, token: (sub?: string, exp?: number) => string }} Started */

/** How many connections may wait to be accepted: a storm is not to be held up by the kernel. */
const BACKLOG = 4096
/** Who a token is about where nothing else is said. */
const SUB = 'user-1'

/** @returns {Subject} */
export function subject (name, guard, given = {}) {
  return {
    name, guard, algorithm: 'HS256', carrier: 'header', token: 'right', options: {}, routeOptions: true, origin: null, isHeard: false, message: 'text', path: '/chat', ...given
  }
}

/** socket.io, whose token is in a packet. */
export function socketIo (given = {}) {
  return subject('socket.io', 'socket.io', { carrier: 'packet', message: 'packet', ...given })
}

/** The servers of Bun and Deno, if their programs are known. @returns {Subject[]} */
export function runtimes (given = {}) {
  return [...RUNTIMES.keys()].map((name) => subject(name, name, given))
}

/** Everything that fastify-ws-auth does, at once; pings would come between the echoes, so that the first is an hour away. */
export const EVERYTHING = {
  options: {
    renewal: true,
    expiryGrace: 5000,
    maxLifetime: 43_200_000,
    limits: { perUser: 1e6, onLimit: 'close-oldest', pending: 1e6 },
    heartbeat: { interval: 3_600_000 },
    tickets: true,
    rejectWith: 'http',
    claims: { type: 'object', required: ['sub', 'iss'], properties: { sub: { type: 'string' }, iss: { const: 'https://id.example' } } }
  },
  routeOptions: { roles: ['member'], scopes: ['chat:read'], origin: ['https://app.example'] },
  origin: 'https://app.example',
  isHeard: true
}

/** Remembers every token of a measurement. */
export const CACHED = { options: { tokenCache: { max: 20_000, ttl: 60_000 } } }

/**
 * Starts the server of a subject, and checks that it does what it is measured for: the right user with a right token, a
 * refusal with a wrong signature and without a token.
 *
 * @param {Subject} subject
 * @param {Setting} setting
 * @returns {Promise<Started>}
 */
export async function startChecked (subject, { keys, dist, otherDist }) {
  const { guard, algorithm, carrier, options, routeOptions, isHeard, isOtherBuild } = subject
  const server = await ServerProcess.start({
    guard, algorithm, keys: keys[algorithm], carrier, options, routeOptions, isHeard, backlog: BACKLOG, dist: isOtherBuild === true ? otherDist ?? dist : dist
  })
  /** @type {Started} */
  const started = { subject, server, token: (sub = SUB, exp = undefined) => createToken(algorithm, keys[algorithm], sub, exp) }
  try {
    await assertGuards(started)
  } catch (error) {
    await server.stop()
    throw new Error(`${subject.name} does not do what is measured`, { cause: error })
  }
  return started
}

/** @param {Started} started */
async function assertGuards ({ subject: { guard, carrier, options, origin }, server, token }) {
  const by = carrier === 'none' ? 'header' : carrier
  const isOpen = guard === 'none' || guard === 'ws'
  const right = by === 'ticket' ? (await issueTickets(server, 1))[0] ?? '' : token()
  await handshake(server.port, createScript({ carrier: by, isAccepted: true, origin }, right, '/who', isOpen ? 'nobody' : SUB))
  if (isOpen) return
  const refused = { carrier: by, isAccepted: false, origin }
  await handshake(server.port, createScript(refused, withWrongSignature(token()), '/who'))
  // A path has something in that place, and where a first message may follow nobody is refused for having sent none yet.
  if (by === 'packet') await handshake(server.port, createScript(refused, '', '/who'))
  else if (by !== 'param' && !mayFollow(options)) await handshake(server.port, createScript({ ...refused, carrier: 'none' }, '', '/who'))
}

/** @param {Subject['options']} options */
function mayFollow ({ token }) {
  return typeof token === 'object' && token !== null && 'message' in token
}

/** @param {ServerProcess} server @param {number} count @returns {Promise<string[]>} */
export function issueTickets (server, count) {
  const exp = Math.floor(Date.now() / 1000) + 3600
  return server.ask('issueTickets', { count, claims: { sub: SUB, iss: 'https://id.example', roles: ['member', 'editor'], scope: 'chat:read chat:write', exp } })
}

/**
 * What the client of a subject says, with the token that the subject is asked with.
 *
 * @param {Started} started
 * @param {string} [sub]
 * @param {string} [path]
 */
export function scriptOf ({ subject: { carrier, token: asked, origin, path: byDefault }, token }, sub, path = byDefault) {
  const right = asked === 'none' ? '' : token(sub)
  return createScript({ carrier, isAccepted: asked === 'right', origin }, asked === 'wrong' ? withWrongSignature(right) : right, path)
}
