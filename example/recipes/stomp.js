/*
 * STOMP 1.2 in a small server of its own. A client of @stomp/stompjs sends its token in the headers of its CONNECT, or as a subprotocol
 * beside those of STOMP:
 *
 *   new Client({ brokerURL: 'wss://chat.example/stomp', connectHeaders: { Authorization: `Bearer ${token}` } })
 *   new Client({ webSocketFactory: () => new WebSocket('wss://chat.example/stomp', ['v12.stomp', 'bearer', token]) })
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/stomp.js
 */
const { randomBytes } = require('node:crypto')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

/** A frame: a command, headers, and a body up to the NUL. A heart-beat is no frame. */
function parseFrame (text) {
  const [head, body = ''] = text.split(/\r?\n\r?\n(.*)\0/s)
  const [command, ...lines] = head.split(/\r?\n/)
  const headers = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1)]))
  return { command, headers, body }
}

function formatFrame (command, headers, body = '') {
  return `${command}\n${Object.entries(headers).map((pair) => `${pair.join(':')}\n`).join('')}\n${body}\0`
}

/** The token of a CONNECT. */
function readToken (text) {
  const { command, headers } = parseFrame(text)
  return command === 'CONNECT' || command === 'STOMP' ? headers.authorization?.replace(/^Bearer /, '') ?? null : null
}

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    token: { message: { read: readToken, deliver: true } }
  })

  const subscriptions = new Set()
  app.get('/stomp', { websocket: true }, (socket, request) => {
    const own = new Map()
    socket.on('close', () => { for (const subscription of own.values()) subscriptions.delete(subscription) })
    socket.on('message', (data) => {
      const { command, headers, body } = parseFrame(String(data))
      if (command === 'CONNECT' || command === 'STOMP') {
        socket.send(formatFrame('CONNECTED', { version: '1.2', 'heart-beat': '0,0', 'user-name': request.user.sub }))
      } else if (command === 'SUBSCRIBE') {
        subscriptions.delete(own.get(headers.id)) // the id may be in use
        own.set(headers.id, { socket, ...headers })
        subscriptions.add(own.get(headers.id))
      } else if (command === 'UNSUBSCRIBE') {
        subscriptions.delete(own.get(headers.id))
      } else if (command === 'SEND') {
        for (const { socket, id, destination } of subscriptions) {
          const message = { subscription: id, 'message-id': randomBytes(8).toString('hex'), destination, from: request.user.sub }
          if (destination === headers.destination) socket.send(formatFrame('MESSAGE', message, body))
        }
      }
      if (headers.receipt !== undefined) socket.send(formatFrame('RECEIPT', { 'receipt-id': headers.receipt }))
    })
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
