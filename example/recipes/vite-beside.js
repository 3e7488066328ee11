/*
 * Vite in middleware mode on the same server, for development. The websocket of its hot module replacement has a path of its own, which
 * is left to Vite; all others are guarded.
 *
 *   JWT_SECRET=<32 bytes> node example/recipes/vite-beside.js
 */
const { randomBytes } = require('node:crypto')
const { readFile } = require('node:fs/promises')
const { join } = require('node:path')
const fastifyMiddie = require('@fastify/middie')
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')

const HMR = '/@hmr'
const ROOT = join(__dirname, 'vite-beside')

async function createApp (options) {
  const app = Fastify(options)
  await app.register(fastifyWsAuth, {
    jwt: { secret: process.env.JWT_SECRET || randomBytes(32).toString('hex') },
    // Vite has a `?token=` of its own, which is left in the URL.
    upgrades: ({ url }) => url.split('?')[0] !== HMR
  })

  const { createServer } = await import('vite')
  const vite = await createServer({
    root: ROOT,
    configFile: false,
    appType: 'custom', // else Vite answers 404 to all that it does not know, handshakes too
    server: { middlewareMode: true, ws: { server: app.server, path: HMR } } // older versions of Vite call it `hmr`
  })
  await app.register(fastifyMiddie)
  app.use(vite.middlewares)
  app.addHook('preClose', async () => { await vite.close() })
  app.get('/', async ({ url }, reply) => reply.type('text/html').send(await vite.transformIndexHtml(url, await readFile(join(ROOT, 'index.html'), 'utf8'))))

  app.get('/chat', { websocket: true }, (socket, request) => { socket.send(`hello ${request.user.sub}`) })

  app.post('/token', async ({ body }) => { // check a password here
    return { token: app.jwt.sign({ sub: String(body?.name) }, { expiresIn: 600 }) }
  })
  return app
}

module.exports = { createApp }

if (require.main === module) {
  createApp({ logger: true }).then((app) => app.listen({ port: Number(process.env.PORT ?? 3000) }))
}
