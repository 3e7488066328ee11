/*
 * A login kept by @fastify/session. A page opens its socket with a ticket, which is issued from the session. The socket
 * belongs to the session: a logout ends both.
 *
 *   SESSION_SECRET=<32 bytes> node example/recipes/session-with-tickets.js
 *
 * In the page:
 *
 *   const { ticket } = await (await fetch('/ticket', { method: 'POST' })).json()
 *   const socket = new WebSocket(`wss://${location.host}/chat?ticket=${ticket}`)
 */
const { createHash, randomBytes } = require('node:crypto')
const fastifyCookie = require('@fastify/cookie')
const fastifySession = require('@fastify/session')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const USERS = new Map([['ann', ['member']], ['eve', []]])
const SESSION_SECONDS = 8 * 60 * 60
const SECRET = process.env.SESSION_SECRET || randomBytes(32).toString('hex')

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyCookie)
  await app.register(fastifySession, {
    secret: SECRET,
    saveUninitialized: false,
    cookie: { httpOnly: true, sameSite: 'strict', maxAge: SESSION_SECONDS * 1000, secure: process.env.NODE_ENV === 'production' }
  })
  await app.register(fastifyWsAuth, {
    jwt: { secret: SECRET },
    // Only a ticket opens a socket. The route that issues it is the one below, because it knows the session.
    token: { header: false, subprotocol: false, query: false, cookie: false },
    tickets: { path: false },
    rejectWith: 'auto'
  })

  // Names the session in tickets, logs and Redis. The id itself is a secret, because it is the login.
  const sidOf = ({ sessionId }) => createHash('sha256').update(sessionId).digest('base64url')

  async function authenticate ({ session }, reply) {
    if (session.user === undefined) return reply.code(401).send({ error: 'Please log in' })
  }

  app.post('/login', async (request, reply) => {
    const { name } = request.body ?? {}
    if (!USERS.has(name)) return reply.code(401).send({ error: 'Wrong name or password' }) // check a password here
    await request.session.regenerate() // another id, so that the one from before the login is worth nothing
    request.session.user = { sub: name, roles: USERS.get(name) }
    return reply.code(204).send()
  })

  app.post('/ticket', { preHandler: authenticate }, async ({ session }) => {
    // The session lives anew from each request, so the socket lives as long as the session does from now.
    const exp = Math.floor(Date.now() / 1000) + SESSION_SECONDS
    return await app.wsAuth.issueTicket({ ...session.user, sid: sidOf(session), exp }, { path: '/chat' }) // { ticket, expiresIn }
  })

  app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, (socket, request) => {
    socket.send(`hello ${request.user.sub}`)
  })

  // Closes the sockets of this session with 3000 token_revoked, on all instances. Its unused tickets open none.
  app.post('/logout', { preHandler: authenticate }, async (request, reply) => {
    const sid = sidOf(request.session)
    await request.session.destroy()
    reply.clearCookie('sessionId', { path: '/' })
    await app.wsAuth.revoke({ sid })
    return reply.code(204).send()
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
