/*
 * The server of the pages in this folder: a login by cookie, which buys tokens, and a chat. It bundles a page when it is asked for.
 *
 *   node example/client/server.js                    and open http://localhost:3000/plain.html
 *   TOKEN_SECONDS=10 node example/client/server.js   to watch renewals
 */
const { randomBytes, randomUUID } = require('node:crypto')
const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const { build } = require('esbuild')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const COOKIE = { httpOnly: true, sameSite: 'strict', path: '/' }
const { TOKEN_SECONDS = '600', EXPIRY_GRACE = '0' } = process.env
const SECONDS = Number(TOKEN_SECONDS)

const app = Fastify({ logger: true })
app.register(fastifyWsAuth, {
  jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
  rejectWith: 'auto',
  expiryGrace: Number(EXPIRY_GRACE), // milliseconds that a renewal may be late
  token: { header: false, query: false } // so that only the cookie buys tokens
})
app.register(async () => {
  app.post('/login', async ({ body }, reply) => { // check a password here
    return reply.setCookie('token', app.jwt.sign({ sub: String(body?.name), sid: randomUUID() }, { expiresIn: '8h' }), COOKIE).code(204).send()
  })
  app.post('/token', { onRequest: app.wsAuth.authenticate }, async ({ user: { sub, sid } }) => {
    return { token: app.jwt.sign({ sub, sid }, { expiresIn: SECONDS }), expiresIn: SECONDS * 1000 }
  })
  app.post('/logout', { onRequest: app.wsAuth.authenticate }, async ({ user: { sid } }, reply) => {
    await app.wsAuth.revoke({ sid })
    return reply.clearCookie('token', COOKIE).code(204).send()
  })

  const sockets = new Set()
  app.get('/chat', { websocket: true, wsAuth: { token: { header: true } } }, (socket, { user: { sub } }) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('message', (data) => { for (const each of sockets) each.send(`${sub}: ${data}`) })
    socket.send(`server: hello ${sub}`)
  })

  app.get('/plain.html', async (request, reply) => reply.type('text/html').send(readFileSync(join(__dirname, 'plain.html'))))
  app.get('/client.mjs', async (request, reply) => reply.type('text/javascript').send(readFileSync(require.resolve('fastify-ws-auth/client.mjs'))))
  for (const [name, file] of [['react', 'react.jsx'], ['vue', 'vue.js']]) {
    app.get(`/${name}.html`, async (request, reply) => reply.type('text/html').send(`<!doctype html><title>${name}</title><main></main><script type="module" src="${name}.js"></script>`))
    app.get(`/${name}.js`, async (request, reply) => {
      const { outputFiles: [bundle] } = await build({ entryPoints: [join(__dirname, file)], bundle: true, write: false, format: 'esm', jsx: 'automatic', define: { __VUE_OPTIONS_API__: 'false', __VUE_PROD_DEVTOOLS__: 'false', __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false' } })
      return reply.type('text/javascript').send(bundle.contents)
    })
  }
})
app.listen({ port: Number(process.env.PORT ?? 3000) })
