/*
 * A gateway: @fastify/http-proxy before another server. `routes` guards its websockets as all others are guarded, and the
 * connection to the other server ends with the token, a revocation or a disconnect. The other server never sees a token.
 *
 *   UPSTREAM=http://127.0.0.1:4000 JWT_SECRET=<32 bytes> node example/recipes/gateway-with-http-proxy.js
 */
const { randomBytes, randomUUID } = require('node:crypto')
const fastifyHttpProxy = require('@fastify/http-proxy')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    routes: { '/api/*': { roles: ['member'] } }
  })

  // Only these headers say who the user is, whatever the client has sent.
  const headersOf = ({ user }) => ({ 'x-user': user.sub, 'x-roles': user.roles.join(' ') })

  await app.register(fastifyHttpProxy, {
    prefix: '/api',
    upstream: process.env.UPSTREAM || 'http://127.0.0.1:4000',
    websocket: true,
    preHandler: app.wsAuth.authenticate, // the plain requests; `routes` guards the upgrades
    replyOptions: {
      rewriteRequestHeaders: (request, { authorization, cookie, ...headers }) => ({ ...headers, ...headersOf(request) })
    },
    wsClientOptions: { rewriteRequestHeaders: (headers, request) => ({ ...headers, ...headersOf(request) }) },
    // The client may have left before the other server has answered.
    wsHooks: { onConnect: (_context, client, upstream) => { if (client.readyState !== client.OPEN) upstream.close() } }
  })

  app.post('/token', async ({ body }) => { // check a password here
    const claims = { sub: String(body?.name), sid: randomUUID(), roles: body?.name === 'eve' ? [] : ['member'] }
    return { token: app.jwt.sign(claims, { expiresIn: Number(body?.seconds ?? 600) }) }
  })

  // Closes the connections of this login on both sides with 3000 token_revoked.
  app.post('/logout', { onRequest: app.wsAuth.authenticate }, async ({ user }, reply) => {
    await app.wsAuth.revoke({ sid: user.sid })
    return reply.code(204).send()
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
