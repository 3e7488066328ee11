/*
 * graphql-ws beside other websockets. The client sends its token in `connection_init`, as its documents say, and the resolvers have
 * the user in their context.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/graphql-subscriptions.js
 */
const { randomBytes } = require('node:crypto')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { buildSchema } = require('graphql')
const { makeHandler } = require('graphql-ws/use/@fastify/websocket')

const schema = buildSchema(`
  type Query { me: String }
  type Subscription { ticks: String }
`)

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    token: { header: false, query: false, cookie: false }
  })

  // Leave the close codes as they are: clients of graphql-ws stop for ever at 4401, and connect again after 3000.
  const message = { read: fastifyWsAuth.readers.graphqlWs, deliver: true }
  const handler = makeHandler({
    schema,
    context: ({ extra }) => ({ user: extra.request.user }),
    roots: {
      query: { me: (_args, { user }) => user.sub },
      subscription: { ticks: async function * (_args, { user }) { for (let i = 0; ; i++) { yield { ticks: `${user.sub} ${i}` }; await new Promise((resolve) => setTimeout(resolve, 100)) } } }
    }
  })
  app.get('/graphql', { websocket: true, wsAuth: { roles: ['member'], token: { message } } }, handler)

  // Any other route answers as before, though graphql-ws chooses the subprotocols of the server.
  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })

  app.post('/token', async ({ body }) => { // check a password here
    return { token: app.jwt.sign({ sub: String(body?.name), roles: ['member'] }, { expiresIn: Number(body?.seconds ?? 600) }) }
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
