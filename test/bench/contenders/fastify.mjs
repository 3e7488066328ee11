// @ts-check
/*
 * The servers on Fastify: bare, with what one writes by hand, and with fastify-ws-auth. Each is what its user would write: the
 * same routes, and what guards them.
 */
import { once } from 'node:events'
import { subscribe } from 'node:diagnostics_channel'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import fastifyJwt from '@fastify/jwt'
import fastifyWebsocket from '@fastify/websocket'
import Fastify from 'fastify'

/** @typedef {import('./index.mjs').ServerSpec} ServerSpec */
/** @typedef {import('fastify').FastifyInstance} App */

const guards = {
  /** Bare @fastify/websocket: nobody is asked who they are. */
  none: (/** @type {App} */ app) => app.register(fastifyWebsocket),

  /** The hook that one writes by hand. */
  hook: async (/** @type {App} */ app, /** @type {ServerSpec} */ spec) => {
    await app.register(fastifyJwt, jwtOptions(spec))
    await app.register(fastifyWebsocket)
    app.addHook('preValidation', async (request) => { await request.jwtVerify() })
  },

  /** The same with the token in the query, as in the tutorials of @fastify/jwt for browsers. */
  hookQuery: async (/** @type {App} */ app, /** @type {ServerSpec} */ spec) => {
    await app.register(fastifyJwt, jwtOptions(spec))
    await app.register(fastifyWebsocket)
    app.addHook('preValidation', async (request, reply) => {
      try {
        request.user = app.jwt.verify(/** @type {{ token: string }} */ (request.query).token)
      } catch {
        await reply.code(401).send()
      }
    })
  },

  /** The same, and what one writes to close connections when their tokens expire: see `closeAtExpiry`. */
  hookAndTimer: (/** @type {App} */ app, /** @type {ServerSpec} */ spec) => guards.hook(app, spec),

  /** The same, and a map of the users' sockets, to close them. */
  hookAndMap: (/** @type {App} */ app, /** @type {ServerSpec} */ spec) => guards.hook(app, spec),

  /** The least that a verification by @fastify/jwt can cost: no promise, one way to bring the token, no 401 of its own. */
  verifyOnly: async (/** @type {App} */ app, /** @type {ServerSpec} */ spec) => {
    await app.register(fastifyJwt, jwtOptions(spec))
    await app.register(fastifyWebsocket)
    app.addHook('preValidation', (request, reply, done) => {
      try {
        request.user = app.jwt.verify(request.headers.authorization?.slice('Bearer '.length) ?? '')
      } catch (error) {
        return done(Object.assign(/** @type {Error} */ (error), { statusCode: 401 }))
      }
      done()
    })
  },

  /** fastify-ws-auth as in its README. */
  plugin: (/** @type {App} */ app, /** @type {ServerSpec} */ spec) =>
    app.register(loadPlugin(spec.dist), { ...spec.options, jwt: jwtOptions(spec) }),

  /** fastify-ws-auth in an app that registered @fastify/jwt itself. */
  pluginWithAppJwt: async (/** @type {App} */ app, /** @type {ServerSpec} */ spec) => {
    await app.register(fastifyJwt, jwtOptions(spec))
    await app.register(loadPlugin(spec.dist), spec.options)
  }
}

/** @param {ServerSpec} spec */
function jwtOptions ({ algorithm, keys }) {
  return { secret: algorithm === 'HS256' ? keys.public : keys, sign: { algorithm } }
}

/** The build is CommonJS; another one than that of this repository can be given. */
function loadPlugin (dist) {
  return createRequire(import.meta.url)(resolve(dist, 'index.js')).default
}

/** Listeners that look at an event, as an audit does. */
const heard = { events: 0, ips: new Set() }

/**
 * @param {ServerSpec} spec
 * @returns {Promise<import('./index.mjs').Contender>}
 */
export async function startFastify (spec) {
  const app = Fastify({ logger: false })
  await guards[spec.guard](app, spec)
  const { routeOptions } = spec
  const wsAuth = /** @type {Record<string, unknown>} */ (routeOptions)
  app.get(spec.carrier === 'param' ? '/chat/:token' : '/chat', { websocket: true, wsAuth }, spec.guard === 'hookAndTimer' ? closeAtExpiry : () => {})
  app.get(spec.carrier === 'param' ? '/who/:token' : '/who', { websocket: true, wsAuth }, (socket, request) => {
    socket.send(/** @type {{ sub?: string } | undefined} */ (request.user)?.sub ?? 'nobody')
  })
  app.get('/echo', { websocket: true, wsAuth }, (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  })
  app.get('/held', { websocket: true, wsAuth }, (socket, request) => {
    socket.on('close', () => { heard.ips.add(request.ip) })
  })
  if (spec.isHeard) subscribe('fastify-ws-auth', () => { heard.events++ })
  if (spec.guard === 'hookAndMap') app.get('/kept', { websocket: true }, keepByUser)
  await app.ready()
  app.server.listen({ port: 0, host: '127.0.0.1', backlog: spec.backlog })
  await once(app.server, 'listening')
  return {
    server: app.server,
    countClients: () => app.websocketServer.clients.size,
    issueTickets: async (count, claims) => {
      const tickets = []
      for (let i = 0; i < count; i++) tickets.push((await app.wsAuth.issueTicket(claims)).ticket)
      return tickets
    },
    disconnect: async (subs) => {
      if (spec.guard === 'hookAndMap') return subs.forEach(closeUser)
      await Promise.all(subs.map((sub) => app.wsAuth.disconnect({ sub })))
    },
    revoke: (sub) => app.wsAuth.revoke({ sub }),
    drain: async (within) => (await app.wsAuth.drain({ within })).closed
  }
}

/** The sockets of each user, as one keeps them by hand. @type {Map<string, Set<import('@fastify/websocket').WebSocket>>} */
const byUser = new Map()

/**
 * @param {import('@fastify/websocket').WebSocket} socket
 * @param {import('fastify').FastifyRequest} request
 */
function keepByUser (socket, request) {
  const { sub } = /** @type {{ sub: string }} */ (request.user)
  const sockets = byUser.get(sub) ?? new Set()
  byUser.set(sub, sockets.add(socket))
  socket.on('close', () => {
    sockets.delete(socket)
    if (sockets.size === 0) byUser.delete(sub)
  })
}

/** @param {string} sub */
function closeUser (sub) {
  for (const socket of byUser.get(sub) ?? []) socket.close(3003, 'disconnected')
}

/**
 * A timer for each connection, cleared when it has gone.
 *
 * @param {import('@fastify/websocket').WebSocket} socket
 * @param {import('fastify').FastifyRequest} request
 */
function closeAtExpiry (socket, request) {
  const { exp } = /** @type {{ exp: number }} */ (request.user)
  const timer = setTimeout(() => socket.close(3000, 'token_expired'), exp * 1000 - Date.now())
  socket.on('close', () => clearTimeout(timer))
}
