/*
 * MQTT over websockets with the broker aedes. A client of mqtt.js sends its token as a subprotocol beside `mqtt`. A user may publish and
 * subscribe below its own name only.
 *
 *   mqtt.connect('wss://chat.example/mqtt', { createWebsocket: (url, protocols) => new WebSocket(url, [...protocols, 'bearer', token]) })
 *
 * `token.message` cannot read the password of a CONNECT, because a packet may be spread over many messages (MQTT 5.0, 6.0).
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/mqtt.js
 */
const { randomBytes } = require('node:crypto')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { createWebSocketStream } = require('ws')

const { connectionOf } = fastifyWsAuth

/** Only the broker knows topics, so it asks for each of them. Also for `ann/#`, but not for `#`. */
function isOwn ({ req }, topic) {
  return topic.startsWith(`${connectionOf(req).user.sub}/`)
}

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, { jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') } })

  const { Aedes } = await import('aedes')
  const broker = await Aedes.createBroker({
    authorizePublish (client, { topic }, done) {
      done(isOwn(client, topic) ? null : new Error('not your topic'))
    },
    authorizeSubscribe (client, subscription, done) {
      done(null, isOwn(client, subscription.topic) ? subscription : null)
    }
  })
  app.addHook('onClose', async () => { await new Promise((resolve) => broker.close(resolve)) })

  app.get('/mqtt', { websocket: true }, (socket, { raw }) => {
    const stream = createWebSocketStream(socket)
    stream.on('error', () => {}) // the connection ended first
    broker.handle(stream, raw)
  })

  app.post('/token', async ({ body }) => { // check a password here
    return { token: app.jwt.sign({ sub: String(body?.name) }, { expiresIn: Number(body?.seconds ?? 600) }) }
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
