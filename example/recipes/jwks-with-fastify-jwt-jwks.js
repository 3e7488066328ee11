/*
 * Access tokens of two issuers, checked by fastify-jwt-jwks, which registers one @fastify/jwt for an issuer. With one issuer leave out
 * `namespace` and `verify`: fastify-ws-auth uses the @fastify/jwt that it finds.
 *
 *   ISSUERS=https://one.example/,https://two.example/ node example/recipes/jwks-with-fastify-jwt-jwks.js
 */
const fastifyRateLimit = require('@fastify/rate-limit')
const Fastify = require('fastify')
const fastifyJwtJwks = require('fastify-jwt-jwks')
const fastifyWsAuth = require('fastify-ws-auth')

const { AUDIENCE = 'chat', PORT = 3000 } = process.env
const ISSUERS = (process.env.ISSUERS ?? '').split(',')

const app = Fastify({ logger: true })
// It asks the issuer for every unknown `kid`: one address may cause so many questions. Behind a proxy, give Fastify `trustProxy`.
app.register(fastifyRateLimit, { max: 60, timeWindow: '1 minute' })
ISSUERS.forEach((issuer, i) => {
  app.register(fastifyJwtJwks, {
    namespace: `issuer${i}`,
    jwksUrl: `${issuer}.well-known/jwks.json`,
    issuer,
    audience: AUDIENCE,
    requiredClaims: ['aud'],
    // The default is a week: so long is a withdrawn key taken, and a new one refused that was asked for too early.
    secretsTtl: 600_000
  })
})
app.register(fastifyWsAuth, {
  verify: async (token) => {
    const { header: { alg }, payload: { iss } } = app.jwt.issuer0.decode(token, { complete: true })
    // It takes EdDSA and HS256 as well, and an `alg` that is no text for an outage.
    const i = alg === 'RS256' ? ISSUERS.indexOf(iss) : -1
    return i < 0 ? null : await app.jwt[`issuer${i}`].verify(token)
  }
})
app.register(async () => {
  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })
})
app.listen({ port: Number(PORT) })
