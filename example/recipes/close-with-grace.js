/*
 * A server that ends in order at SIGTERM and Ctrl-C: each socket is closed with 1001, and the process ends.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/close-with-grace.js
 */
const { randomBytes } = require('node:crypto')
const closeWithGrace = require('close-with-grace')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, { jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') } })

  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })

  app.post('/token', async ({ body }) => { // check a password here
    return { token: app.jwt.sign({ sub: String(body?.name) }, { expiresIn: 600 }) }
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => {
    // `app.close()` needs at most 5 s, whatever the clients do. The delay must be longer.
    closeWithGrace({ delay: 10_000, logger: app.log }, async ({ err }) => {
      if (err) app.log.error({ err }, 'the server ends because of an error')
      await app.close()
    })
    return app.listen({ port: Number(process.env.PORT ?? 3000) })
  })
}
