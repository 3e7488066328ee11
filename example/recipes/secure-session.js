/*
 * A login kept by @fastify/secure-session, whose cookie is the whole session: nothing of it is stored here. The cookie opens plain
 * routes and websockets, and a logout ends both, copies of the cookie included.
 *
 *   SESSION_KEY=<64 hex digits> node example/recipes/secure-session.js
 */
const { createHash, randomBytes } = require('node:crypto')
const fastifySecureSession = require('@fastify/secure-session')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const USERS = new Map([['ann', ['member']], ['eve', []]])
const SESSION_SECONDS = 8 * 60 * 60
const COOKIE = { path: '/', httpOnly: true, sameSite: 'strict', secure: process.env.NODE_ENV === 'production' }

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifySecureSession, {
    key: process.env.SESSION_KEY ? Buffer.from(process.env.SESSION_KEY, 'hex') : randomBytes(32),
    expiry: SESSION_SECONDS,
    cookie: { ...COOKIE, maxAge: SESSION_SECONDS }
  })
  await app.register(fastifyWsAuth, {
    // The cookie of the session is the token. @fastify/cookie has decoded it once; null is 401.
    token: { cookie: 'session', header: false, subprotocol: false, query: false },
    verify: (cookie) => claimsOf(app.decodeSecureSession(cookie)),
    rejectWith: 'auto'
  })
  const { authenticate } = app.wsAuth

  app.post('/login', async ({ body, session }, reply) => {
    const roles = USERS.get(body?.name) // check a password here
    if (roles === undefined) return reply.code(401).send({ error: 'Wrong name or password' })
    session.regenerate()
    session.set('id', randomBytes(16).toString('base64url'))
    session.set('user', { name: body.name, roles })
    return reply.code(204).send()
  })

  app.get('/me', { onRequest: authenticate }, async ({ user }) => ({ name: user.sub, roles: user.roles }))

  app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, (socket, request) => {
    socket.send(`hello ${request.user.sub}`)
  })

  // Closes the sockets of this session with 3000 token_revoked, on all instances.
  app.post('/logout', { onRequest: authenticate }, async ({ session, user }, reply) => {
    session.delete()
    await app.wsAuth.revoke({ sid: user.sid })
    return reply.code(204).send()
  })
  return app
}

/** `sid` names the session in logs and Redis by a hash. The socket ends when the session does. */
function claimsOf (session) {
  const user = session?.get('user')
  if (user === undefined) return null
  const sid = createHash('sha256').update(session.get('id')).digest('base64url')
  const iat = session.get('__ts')
  return { sub: user.name, roles: user.roles, sid, iat, exp: iat + SESSION_SECONDS }
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
