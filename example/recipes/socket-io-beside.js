/*
 * socket.io on the same server. Its upgrades are left to it, URL and socket; all others are guarded.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/socket-io-beside.js
 */
const { randomBytes } = require('node:crypto')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { Server } = require('socket.io')

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    upgrades: ({ url }) => !url.startsWith('/socket.io/')
  })

  // Without `destroyUpgrade: false` socket.io destroys each upgrade of another path after a second.
  const io = new Server(app.server, { destroyUpgrade: false })
  io.on('connection', (socket) => { socket.emit('hello', 'from socket.io') })
  app.addHook('preClose', async () => { await io.close() })

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
