/*
 * Sends to a user on all instances: what one of them publishes by Redis, each sends to its own connections of that user. A message
 * reaches the connections that are open at that moment, and is not kept.
 *
 *   JWT_SECRET=<32 bytes> REDIS_URL=redis://127.0.0.1:6379 PORT=3001 node example/recipes/send-to-user.js    each instance with another PORT
 */
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { redisBackplane } = require('fastify-ws-auth/redis')
const { Redis } = require('ioredis')

const CHANNEL = 'to-user'
const MAX_LENGTH = 1000

async function createApp ({ redis, secret, ...options }) {
  const app = Fastify(options)
  // A client that has subscribed takes no other commands.
  const subscriber = redis.duplicate({ autoResubscribe: false })
  for (const client of [redis, subscriber]) client.on('error', (error) => app.log.warn(error))
  // What is added first runs last: the backplane says goodbye before.
  app.addHook('onClose', async () => {
    for (const client of [redis, subscriber]) client.disconnect()
  })
  await app.register(fastifyWsAuth, { jwt: { secret }, backplane: redisBackplane({ client: redis }) })

  /** Resolves when Redis has the message. It waits while Redis is away, and rejects after twenty attempts to connect. */
  app.decorate('sendToUser', async (sub, message) => {
    await redis.publish(CHANNEL, JSON.stringify({ sub, message }))
  })
  // Whatever can publish on this channel can send to each user, so nothing but the app may.
  subscriber.on('message', (channel, text) => {
    try {
      const { sub, message } = JSON.parse(text)
      const data = JSON.stringify(message)
      // A connection that has ended meanwhile sends nothing.
      for (const connection of app.wsAuth.connections.bySub(sub)) connection.send(data)
    } catch (error) {
      app.log.error(error, 'a message to a user is not understood') // an error that is thrown here ends the process
    }
  })
  await subscriber.subscribe(CHANNEL)
  // The app subscribes again after an outage. What is published during an outage is lost. `autoResubscribe` of ioredis handles no error: if
  // the app closes before Redis answers, the process ends with 1.
  subscriber.on('ready', () => { subscriber.subscribe(CHANNEL).catch((error) => app.log.warn(error)) })

  app.get('/chat', { websocket: true }, (socket, request) => {
    socket.on('message', async (data) => {
      const letter = readLetter(data)
      if (letter === null) {
        socket.close(1008, 'bad_letter')
        return
      }
      try {
        // The sender is the user of the token, whatever the message says.
        await app.sendToUser(letter.to, { from: request.wsAuth.sub, text: letter.text })
      } catch (error) {
        request.log.error(error)
        request.wsAuth.send(JSON.stringify({ error: 'not sent' }))
      }
    })
    socket.send(`hello ${request.wsAuth.sub}`)
  })

  app.post('/token', async ({ body }) => { // check a password here
    return { token: app.jwt.sign({ sub: String(body?.name) }, { expiresIn: 600 }) }
  })
  return app
}

/** A letter of a client, or `null`. */
function readLetter (data) {
  try {
    const { to, text } = JSON.parse(data)
    return typeof to === 'string' && typeof text === 'string' && text.length <= MAX_LENGTH ? { to, text } : null
  } catch {
    return null
  }
}

module.exports = { createApp }

if (require.main === module) {
  const { JWT_SECRET, REDIS_URL, PORT = 3000 } = process.env
  createApp({ logger: true, secret: JWT_SECRET, redis: new Redis(REDIS_URL) }).then((app) => {
    for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => app.close())
    return app.listen({ port: Number(PORT) })
  })
}
