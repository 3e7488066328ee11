/*
 * Hocuspocus behind a guarded route. The client sends its token as its documents say, and hooks have the user in their context:
 *
 *   new HocuspocusProvider({ url: 'wss://chat.example/documents', name: 'notes', token: () => login(), document })
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/hocuspocus.js
 */
const { randomBytes } = require('node:crypto')
const { Hocuspocus } = require('@hocuspocus/server')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { createDecoder, readVarString, readVarUint } = require('lib0/decoding')

const AUTH = 2
const TOKEN = 0

/** The token of a first message: the name of a document, then the kinds of the message, then the token. */
function readToken (_text, data) {
  const decoder = createDecoder(new Uint8Array(data))
  readVarString(decoder)
  return readVarUint(decoder) === AUTH && readVarUint(decoder) === TOKEN ? readVarString(decoder) : null
}

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    token: { header: false, query: false, cookie: false, message: { read: readToken, deliver: true } }
  })

  const hocuspocus = new Hocuspocus({
    quiet: true,
    // A client opens any number of documents on one connection. Each is asked for here.
    async onAuthenticate ({ context, documentName }) {
      if (!context.user.documents.includes(documentName)) throw new Error('forbidden')
    },
    async onChange ({ context, documentName }) {
      app.log.info({ sub: context?.user.sub, documentName }, 'document changed')
    }
  })
  app.addHook('onClose', async () => { hocuspocus.closeConnections() })

  app.get('/documents', { websocket: true }, (socket, { user, headers, host, url }) => {
    const connection = hocuspocus.handleConnection(socket, new Request(`http://${host}${url}`, { headers }), { user })
    socket.on('message', (data) => connection.handleMessage(new Uint8Array(data)))
    socket.on('close', (code, reason) => connection.handleClose({ code, reason: String(reason) }))
  })

  app.post('/token', async ({ body }) => { // check a password here
    const claims = { sub: String(body?.name), documents: body?.documents ?? [] }
    return { token: app.jwt.sign(claims, { expiresIn: Number(body?.seconds ?? 600) }) }
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
