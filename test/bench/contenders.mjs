// @ts-check
/*
 * The servers that are compared. Each is what its user would write: the same routes, and what guards them.
 */
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import fastifyJwt from '@fastify/jwt'
import fastifyWebsocket from '@fastify/websocket'

/**
 * What a server is told before it listens.
 *
 * @typedef {object} ServerSpec
 * @property {keyof typeof guards} guard
 * @property {import('./tokens.mjs').Algorithm} algorithm
 * @property {import('./tokens.mjs').Keys} keys
 * @property {string} dist the build of fastify-ws-auth
 * @property {Record<string, unknown>} options further options of fastify-ws-auth
 */

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

  /** The same, and what one writes to close connections when their tokens expire: see `closeAtExpiry`. */
  hookAndTimer: (/** @type {App} */ app, /** @type {ServerSpec} */ spec) => guards.hook(app, spec),

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

/**
 * Puts the guard and the routes on an app.
 *
 * @param {App} app
 * @param {ServerSpec} spec
 */
export async function setUp (app, spec) {
  await guards[spec.guard](app, spec)
  app.get('/chat', { websocket: true }, spec.guard === 'hookAndTimer' ? closeAtExpiry : () => {})
  app.get('/who', { websocket: true }, (socket, request) => {
    socket.send(/** @type {{ sub?: string } | undefined} */ (request.user)?.sub ?? 'nobody')
  })
  app.get('/echo', { websocket: true }, (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  })
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
