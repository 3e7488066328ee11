/*
 * mercurius beside other websockets. It declares its route itself, so the policy stands in `routes`. The client sends its token in
 * `connection_init`, and the resolvers have the user in their context.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/mercurius-subscriptions.js
 */
const { randomBytes } = require('node:crypto')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const mercurius = require('mercurius')

const schema = `
  type Query { me: String }
  type Subscription { ticks: String }
`

async function createApp (options) {
  const app = Fastify(options)
  const message = { read: fastifyWsAuth.readers.graphqlWs, deliver: true }
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    routes: { '/graphql': { roles: ['member'], token: { message } } }
  })

  // After fastify-ws-auth: otherwise mercurius registers a @fastify/websocket of its own, and the start fails.
  await app.register(mercurius, {
    schema,
    resolvers: {
      Query: { me: (_root, _args, { user }) => user?.sub ?? null },
      Subscription: { ticks: { subscribe: (_root, _args, { user }) => ticksOf(user) } }
    },
    subscription: { context: (_socket, { user }) => ({ user }), fullWsTransport: true }, // queries by the socket, too
    context: ({ user }) => ({ user })
  })
  // The queries and mutations that come by HTTP.
  app.addHook('preHandler', async (request, reply) => {
    if (request.routeOptions.url === '/graphql' && !request.ws) await app.wsAuth.authenticate(request, reply)
  })

  // Any other route answers as before.
  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })

  app.post('/token', async ({ body }) => { // check a password here
    const roles = body?.name === 'eve' ? [] : ['member']
    return { token: app.jwt.sign({ sub: String(body?.name), roles }, { expiresIn: Number(body?.seconds ?? 600) }) }
  })
  return app
}

async function * ticksOf (user) {
  for (let i = 0; ; i++) {
    yield { ticks: `${user.sub} ${i}` }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
