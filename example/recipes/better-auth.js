/*
 * better-auth as the issuer. A page that is signed in asks for a JWT (`/api/auth/token`), or for a one-time token
 * (`/api/auth/one-time-token/generate`), and opens the websocket with it. A sign-out closes the sockets of that login.
 *
 *   npm ci --prefix example/recipes/better-auth && BETTER_AUTH_SECRET=<32 bytes> node example/recipes/better-auth.js
 */
const { KeyObject } = require('node:crypto')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { createLocalJWKSet } = require('jose')

const { PORT = 3000, BASE_URL = `http://localhost:${PORT}` } = process.env

async function createApp (options) {
  const { createAuth } = await import('./better-auth/auth.mjs')
  const auth = createAuth(BASE_URL, (sid) => app.wsAuth.revoke({ sid }))

  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: {
      // On another server: createRemoteJWKSet(new URL('/api/auth/jwks', BASE_URL)).
      secret: async (request, { header }) => {
        const key = await createLocalJWKSet(await auth.api.getJwks())(header)
        return KeyObject.from(key).export({ type: 'spki', format: 'pem' })
      },
      decode: { complete: true },
      verify: { algorithms: ['EdDSA'], allowedIss: BASE_URL, allowedAud: BASE_URL }
    }
  })

  /** A one-time token is spent by any handshake or dry run, also by one that is refused. */
  async function verifyOnce (token) {
    const login = await auth.api.verifyOneTimeToken({ body: { token } }).catch((error) => {
      if (error.statusCode !== 400) throw error
      return null
    })
    return login && { sub: login.user.id, name: login.user.name, sid: login.session.id, exp: login.session.expiresAt.getTime() / 1000 }
  }

  const greet = (socket, request) => { socket.send(`hello ${request.user.name}`) }
  app.get('/chat', { websocket: true }, greet)
  app.get('/once', { websocket: true, wsAuth: { verify: verifyOnce } }, greet)

  app.route({
    method: ['GET', 'POST'],
    url: '/api/auth/*',
    handler: ({ method, url, headers, body }) => auth.handler(new Request(new URL(url, BASE_URL), { method, headers, body: body && JSON.stringify(body) }))
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(PORT) }))
}
