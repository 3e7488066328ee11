/*
 * The server of y-websocket behind a guarded route: documents that users edit together. The client sends its token in the query:
 *
 *   new WebsocketProvider('wss://chat.example/documents', 'notes', doc, { params: { token } })
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/y-websocket.js
 */
const { randomBytes } = require('node:crypto')
const { setupWSConnection } = require('@y/websocket-server/utils')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    // At a code of 44xx the client emits `closed` and stays away. At any other end, and at a status, it comes back with the same token.
    closeCodes: { unauthorized: 4401, forbidden: 4403 },
    rejectWith: 'close'
  })

  const authorize = (user, { params }) => user.documents.includes(params.name)
  app.get('/documents/:name', { websocket: true, wsAuth: { authorize } }, (socket, { raw, params }) => {
    setupWSConnection(socket, raw, { docName: params.name })
  })

  app.post('/token', async ({ body }) => { // check a password here
    const claims = { sub: String(body?.name), documents: body?.documents ?? [] }
    return { token: app.jwt.sign(claims, { expiresIn: Number(body?.seconds ?? 600) }) }
  })
  app.post('/logout', { onRequest: app.wsAuth.authenticate }, async ({ user }) => app.wsAuth.revoke({ sub: user.sub }))
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
