/*
 * Access tokens of an OpenID provider, checked with the keys that it publishes. A logout at the provider closes the
 * user's connections (OpenID Connect Back-Channel Logout 1.0).
 *
 *   ISSUER=https://issuer.example CLIENT_ID=chat node example/recipes/jwks-with-oidc-provider.js
 */
const { KeyObject } = require('node:crypto')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { createRemoteJWKSet } = require('jose')

const { ISSUER, CLIENT_ID, AUDIENCE = 'chat', JWKS_URI = `${ISSUER}/jwks`, PORT = 3000 } = process.env

const app = Fastify({ logger: true })
const jwks = createRemoteJWKSet(new URL(JWKS_URI))

app.register(fastifyWsAuth, {
  jwt: {
    // A key that the provider does not have is 401. A provider that is down is 503.
    secret: async (request, token) => KeyObject.from(await jwks(token.header)).export({ type: 'spki', format: 'pem' }),
    decode: { complete: true },
    // Logout tokens are for the client, so its id is an audience as well.
    verify: { algorithms: ['RS256'], allowedIss: ISSUER, allowedAud: [AUDIENCE, CLIENT_ID] }
  },
  // ID tokens are for the client, too. They must not open a connection.
  claims: { type: 'object', required: ['aud'], properties: { aud: { const: AUDIENCE } } },
  backChannelLogout: { path: '/backchannel-logout', issuer: ISSUER, audience: CLIENT_ID }
})
app.register(async () => {
  app.get('/chat', { websocket: true, wsAuth: { scopes: ['chat'] } }, (socket, request) => {
    socket.send(`hello ${request.user.sub}`)
  })
})
app.listen({ port: Number(PORT) })
