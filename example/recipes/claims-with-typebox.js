/*
 * The claims of tokens by TypeBox: one schema checks them, and types the user and the roles of routes.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/claims-with-typebox.js
 *
 * In TypeScript, once for the app:
 *
 *   type User = Static<typeof claims>
 *   declare module 'fastify-ws-auth' {
 *     interface WsAuthTypes { user: User, role: User['roles'][number] }
 *   }
 *   const app = Fastify().withTypeProvider<TypeBoxTypeProvider>()
 */
const { randomBytes } = require('node:crypto')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { Type } = require('typebox')

const claims = Type.Object({ sub: Type.String(), tenant: Type.String(), roles: Type.Array(Type.Union([Type.Literal('member'), Type.Literal('admin')])) })
const query = Type.Object({ room: Type.String({ pattern: '^[a-z]+$' }) })

async function createApp (options) {
  // Otherwise the validator takes 7 for a string, and the claim stays 7.
  const app = Fastify({ ajv: { customOptions: { coerceTypes: false } }, ...options })
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    // Claims that do not match are 401. Nothing is changed in them: a default of the schema has no effect.
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
