/*
 * tRPC over websockets. Its plugin declares the route, so the policy stands in `routes`. The client sends its token in
 * `connectionParams`, and the procedures have the user in their context.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/trpc-subscriptions.js
 */
const { randomBytes } = require('node:crypto')
const { initTRPC } = require('@trpc/server')
const { fastifyTRPCPlugin } = require('@trpc/server/adapters/fastify')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const { connectionOf, readers } = fastifyWsAuth
const { router, procedure } = initTRPC.context().create()
const appRouter = router({ me: procedure.query(({ ctx }) => ctx.user?.sub ?? null) })

/** tRPC hands over the raw request. A plain HTTP request has no connection: authenticate it by a hook, or refuse it here. */
function createContext ({ req }) {
  return { user: req.headers.upgrade === undefined ? null : connectionOf(req).user }
}

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    routes: { '/trpc': { roles: ['member'], token: { message: { read: readers.trpc, deliver: true } } } }
  })
  await app.register(fastifyTRPCPlugin, { prefix: '/trpc', useWSS: true, trpcOptions: { router: appRouter, createContext } })

  app.post('/token', async ({ body }) => { // check a password here
    return { token: app.jwt.sign({ sub: String(body?.name), roles: body?.name === 'eve' ? [] : ['member'] }, { expiresIn: 600 }) }
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
