/*
 * A WebSocketServer of ws on the same server, at a path of its own. Its upgrades are left to it, URL and socket; all others are
 * guarded.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/ws-beside.js
 */
const { randomBytes } = require('node:crypto')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { WebSocketServer } = require('ws')

const isOwn = ({ url }) => url.split('?', 1)[0] === '/status'

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    upgrades: (request) => !isOwn(request)
  })

  // With `noServer`: with `server` and `path` it would answer 400 to all other upgrades.
  const own = new WebSocketServer({ noServer: true })
  own.on('connection', (socket) => { socket.on('error', console.error).send('up') })
  app.server.on('upgrade', (request, socket, head) => {
    if (isOwn(request)) own.handleUpgrade(request, socket, head, (opened) => own.emit('connection', opened, request))
  })
  app.addHook('preClose', async () => {
    for (const socket of own.clients) socket.terminate()
    own.close()
  })

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
