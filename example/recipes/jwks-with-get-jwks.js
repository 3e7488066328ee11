/*
 * Access tokens of two issuers, checked by @fastify/jwt with keys from get-jwks. What get-jwks leaves open is closed here: it would ask the
 * issuer for every unknown `kid`, wait for a silent issuer for minutes, and go on with a key that the issuer has withdrawn.
 *
 *   ISSUERS=https://one.example/,https://two.example/ node example/recipes/jwks-with-get-jwks.js
 */
const { createPublicKey } = require('node:crypto')
const { setTimeout: sleep } = require('node:timers/promises')
const fastifyRateLimit = require('@fastify/rate-limit')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const buildGetJwks = require('get-jwks')

const { AUDIENCE = 'chat', PORT = 3000 } = process.env
const ISSUERS = (process.env.ISSUERS ?? '').split(',')
const TIMEOUT = 5000

const getJwks = buildGetJwks({ issuersWhitelist: ISSUERS, ttl: 600_000 })

async function late () {
  await sleep(TIMEOUT, null, { ref: false })
  throw new Error('the issuer does not answer')
}

/** The key that a token names, in PEM. Without a key the token is 401. */
async function keyOf (request, { header: { kid, alg }, payload: { iss } }) {
  const name = getJwks.generateCacheKey(alg, kid, iss)
  getJwks.staleCache.delete(name)
  try {
    const jwk = await Promise.race([getJwks.getJwk({ kid, alg, domain: iss }), late()])
    // A set may have keys of other types, and any client can name them.
    return jwk.kty === 'RSA' ? createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' }) : undefined
  } catch (error) {
    getJwks.cache.delete(name)
    throw error
  }
}

const app = Fastify({ logger: true })
// One address causes at most so many questions to an issuer. Behind a proxy, give Fastify `trustProxy`.
app.register(fastifyRateLimit, { max: 60, timeWindow: '1 minute' })
app.register(fastifyWsAuth, {
  jwt: {
    secret: keyOf,
    decode: { complete: true },
    // A token of any other issuer is refused before `keyOf` is called.
    verify: { algorithms: ['RS256'], allowedIss: ISSUERS, allowedAud: AUDIENCE }
  }
})
app.register(async () => {
  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })
})
app.listen({ port: Number(PORT) })
