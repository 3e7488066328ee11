/*
 * The claims of tokens by Zod: one schema checks them, and types the user and the roles of routes.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/claims-with-zod.js
 *
 * In TypeScript, once for the app:
 *
 *   type User = z.infer<typeof claims>
 *   declare module 'fastify-ws-auth' {
 *     interface WsAuthTypes { user: User, role: User['roles'][number] }
 *   }
 *   const app = Fastify().withTypeProvider<ZodTypeProvider>()
 */
const { randomBytes } = require('node:crypto')
const Fastify = require('fastify')
const { serializerCompiler, validatorCompiler } = require('fastify-type-provider-zod')
const fastifyWsAuth = require('fastify-ws-auth')
const { z } = require('zod')

const claims = z.object({ sub: z.string(), tenant: z.string(), roles: z.array(z.enum(['member', 'admin'])) })
const query = z.object({ room: z.string().regex(/^[a-z]+$/) })

async function createApp (options) {
  const app = Fastify(options)
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    // Claims that do not match are 401. Nothing is changed in them: a transform or a default of the schema has no effect.
    claims,
    groups: ({ tenant }) => [`tenant:${tenant}`]
  })

  // A wrong room is 400, once the user is known.
  app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] }, schema: { querystring: query } }, (socket, request) => {
    socket.send(`hello ${request.user.sub} of ${request.user.tenant} in ${request.query.room}`)
  })

  app.post('/token', async ({ body }) => { // check a password here
    return { token: app.jwt.sign({ tenant: 'acme', roles: ['member'], ...body }, { expiresIn: 600 }) }
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
