/*
 * Access tokens of two issuers, checked by jose with the keys that each publishes. jose keeps the set of an issuer for ten minutes, and asks
 * for it again at an unknown `kid`, at most once in 30 seconds.
 *
 *   ISSUERS=https://one.example/,https://two.example/ node example/recipes/jwks-with-jose.js
 */
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { createRemoteJWKSet, decodeJwt, jwtVerify } = require('jose')

const { ISSUERS = '', AUDIENCE = 'chat', PORT = 3000 } = process.env

// By the exact name of the issuer. A token chooses among these, and never an address.
const sets = new Map(ISSUERS.split(',').map((issuer) => [issuer, createRemoteJWKSet(new URL('.well-known/jwks.json', issuer))]))

const app = Fastify({ logger: true })
app.register(fastifyWsAuth, {
  // The errors of jose say whose fault it is: a token is 401, an issuer that is down is 503.
  verify: async (token) => {
    const { iss } = decodeJwt(token)
    const keys = sets.get(iss)
    if (keys === undefined) return null
    const { payload } = await jwtVerify(token, keys, { algorithms: ['RS256'], issuer: iss, audience: AUDIENCE })
    return payload
  }
})
app.register(async () => {
  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })
})
app.listen({ port: Number(PORT) })
