/*
 * @fastify/rate-limit before handshakes and tickets. Each address has a few attempts in a minute, and each user a few connections:
 * the first limit answers 429 before a token is checked, the second after it.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/rate-limit.js
 */
const { randomBytes } = require('node:crypto')
const fastifyRateLimit = require('@fastify/rate-limit')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const PER_ADDRESS = { max: 10, timeWindow: '1 minute' }
const PER_USER = { max: 3, timeWindow: '1 minute', hook: 'preHandler', keyGenerator: ({ user }) => user.sub }

async function createApp (options) {
  const app = Fastify(options)
  // Before fastify-ws-auth, so that it limits the route of the tickets too. Its hook is `onRequest`: no token is checked past the limit.
  await app.register(fastifyRateLimit, PER_ADDRESS)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    tickets: true
  })

  // In `preHandler` the user is known. Refused handshakes do not count there.
  app.get('/feed', { websocket: true, config: { rateLimit: PER_USER } }, (socket, request) => {
    socket.send(`hello ${request.user.sub}`)
  })

  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })

  app.post('/token', { config: { rateLimit: false } }, async ({ body }) => { // check a password here, and limit its attempts
    return { token: app.jwt.sign({ sub: String(body?.name) }, { expiresIn: 600 }) }
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
