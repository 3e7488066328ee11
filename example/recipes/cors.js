/*
 * A page on another origin than the API, with @fastify/cors: it opens sockets, gets tickets, and asks by a dry run why it was refused.
 *
 *   ORIGIN=https://app.example.com JWT_SECRET=<32 bytes> node example/recipes/cors.js
 */
const { randomBytes } = require('node:crypto')
const fastifyCors = require('@fastify/cors')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

/** CORS guards what the page reads, not who connects: a browser asks it for no websocket. So both get the same list. */
const ORIGINS = [process.env.ORIGIN || 'http://localhost:5173']
/** `sameSite: 'none'` is for a page of another site, and needs https. A page of the same site needs no more than `'lax'`. */
const COOKIE = { httpOnly: true, sameSite: 'lax', path: '/', secure: process.env.NODE_ENV === 'production' }

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyCors, {
    origin: ORIGINS,
    credentials: true, // for the cookie
    methods: ['GET', 'POST'],
    allowedHeaders: ['authorization', 'content-type'], // the token of a dry run, the binding of a ticket
    exposedHeaders: ['retry-after', 'www-authenticate'], // when to come back, and why not
    maxAge: 600
  })
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    origin: ORIGINS,
    tickets: true
  })

  app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, (socket, request) => {
    socket.send(`hello ${request.user.sub}`)
  })

  app.post('/login', async ({ body }, reply) => { // check a password here
    const token = app.jwt.sign({ sub: String(body?.name), roles: body?.name === 'eve' ? [] : ['member'] }, { expiresIn: 600 })
    return reply.setCookie('token', token, { ...COOKIE, maxAge: 600 }).send({ token })
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
