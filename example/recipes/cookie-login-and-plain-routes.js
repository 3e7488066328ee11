/*
 * A login that sets a cookie. The cookie guards plain routes and websockets, and a logout ends both.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/cookie-login-and-plain-routes.js
 */
const { randomBytes, randomUUID } = require('node:crypto')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const USERS = new Map([['ann', ['member']], ['eve', []]])
const COOKIE = { httpOnly: true, sameSite: 'strict', path: '/', secure: process.env.NODE_ENV === 'production' }

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    token: { cookie: 'token', header: false, subprotocol: false, query: false },
    rejectWith: 'auto'
  })

  // Guards plain routes as the plugin guards the websockets: the cookie, its Origin, revocations.
  const { authenticate } = app.wsAuth

  app.post('/login', async ({ body }, reply) => {
    const roles = USERS.get(body?.name) // check a password here
    if (roles === undefined) return reply.code(401).send({ error: 'Wrong name or password' })
    // `sid` names this login, so that a logout can end it and no other.
    const token = app.jwt.sign({ sub: body.name, roles, sid: randomUUID() }, { expiresIn: '8h' })
    return reply.setCookie('token', token, { ...COOKIE, maxAge: 8 * 60 * 60 }).code(204).send()
  })

  app.get('/me', { onRequest: authenticate }, async ({ user }) => ({ name: user.sub, roles: user.roles }))

  app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, (socket, request) => {
    socket.send(`hello ${request.user.sub}`)
  })

  // Closes the websockets of this login with 3000 token_revoked. A copy of the cookie is refused from now on.
  app.post('/logout', { onRequest: authenticate }, async ({ user }, reply) => {
    await app.wsAuth.revoke({ sid: user.sid })
    return reply.clearCookie('token', COOKIE).code(204).send()
  })

  // The same for all logins of the user.
  app.post('/logout-everywhere', { onRequest: authenticate }, async ({ user }, reply) => {
    await app.wsAuth.revoke({ sub: user.sub })
    return reply.clearCookie('token', COOKIE).code(204).send()
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
