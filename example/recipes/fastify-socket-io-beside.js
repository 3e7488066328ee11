/*
 * fastify-socket.io on the same server. Its peer dependency is Fastify 4, so npm refuses to install it beside Fastify 5 without an
 * entry in `overrides`: { "fastify-socket.io": { "fastify": "$fastify" } }. It runs on Fastify 5 all the same.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/fastify-socket-io-beside.js
 */
const { randomBytes } = require('node:crypto')
const Fastify = require('fastify')
const fastifySocketIo = require('fastify-socket.io').default
const fastifyWsAuth = require('fastify-ws-auth')

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    upgrades: ({ url }) => !url.startsWith('/socket.io/')
  })

  // Without `destroyUpgrade: false` socket.io destroys each upgrade of another path after a second.
  await app.register(fastifySocketIo, { destroyUpgrade: false })

  // The plugin does not guard socket.io. The same tokens are checked by its own middleware; nothing ends a socket with its token.
  app.io.use((socket, next) => {
    try {
      socket.data.user = app.jwt.verify(socket.handshake.auth.token)
      next()
    } catch {
      next(new Error('unauthorized'))
    }
  })
  app.io.on('connection', (socket) => { socket.emit('hello', `from socket.io to ${socket.data.user.sub}`) })

  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })

  app.post('/token', async ({ body }) => { // check a password here
    return { token: app.jwt.sign({ sub: String(body?.name) }, { expiresIn: 600 }) }
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
