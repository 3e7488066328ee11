/*
 * A chat that runs in a container: many instances on one Redis, with health, metrics and an end that spreads its clients over a time.
 *
 *   JWT_SECRET=<32 bytes> REDIS_URL=redis://127.0.0.1:6379 node example/deploy/server.js
 */
const Fastify = require('fastify')
const fastifyWsAuth = require('fastify-ws-auth')
const { redisBackplane } = require('fastify-ws-auth/redis')
const { Redis } = require('ioredis')

const { JWT_SECRET, REDIS_URL, PORT = 3000, DRAIN_WITHIN = 30_000 } = process.env
let isEnding = false

const app = Fastify({
  logger: true,
  trustProxy: process.env.TRUST_PROXY || false, // the address of nginx: `'same-host'` compares the host that it names
  forceCloseConnections: true // app.close() does not wait for connections that a browser opened in advance
})
const client = new Redis(REDIS_URL)
client.on('error', (error) => app.log.warn(error))

app.register(fastifyWsAuth, {
  jwt: { secret: JWT_SECRET, verify: { algorithms: ['HS256'] } }, // name allowedIss and allowedAud too, if your tokens have them
  token: { query: false },
  websocket: { options: { maxPayload: 65_536 } },
  limits: { messages: { perSecond: 50, burst: 200 } }, // and perUser, once you know how many tabs and devices a user has
  backplane: redisBackplane({ client }),
  heartbeat: { interval: 30_000 }, // shorter than the timeout of nginx
  drain: { within: Number(DRAIN_WITHIN) }, // milliseconds: kubernetes.yaml and compose.yaml give the process that time, and 5 s more
  rejectWith: 'auto'
})
app.register(async () => {
  app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, (socket, request) => {
    socket.send(`hello ${request.user.sub}`)
  })

  // Whether the process answers.
  app.get('/healthz', async () => 'ok')

  // Whether new clients may come. No from SIGTERM on, while the clients that are here are drained.
  app.get('/readyz', async (request, reply) => isEnding ? reply.code(503).send('draining') : 'ready')

  app.get('/metrics', async (request, reply) => {
    const { pending, refused, routes } = app.wsAuth.stats()
    const lines = []
    const labelsOf = (labels) => Object.entries(labels).map(([name, text]) => `${name}=${JSON.stringify(text)}`)
    const add = (name, type, samples) => lines.push(`# TYPE ws_auth_${name} ${type}`, ...samples.map(([labels, value]) => `ws_auth_${name}{${labelsOf(labels)}} ${value}`))
    const byRoute = (key) => Object.entries(routes).map(([route, counts]) => [{ route }, counts[key]])
    const by = (label, key) => byRoute(key).flatMap(([{ route }, counts]) => Object.entries(counts).map(([name, count]) => [{ route, [label]: name }, count]))
    // Handshakes that reached no websocket route have an empty one.
    const elsewhere = (code) => refused[code] - byRoute('refused').reduce((sum, [, counts]) => sum + counts[code], 0)
    add('connections', 'gauge', byRoute('connections'))
    add('pending', 'gauge', [[{}, pending]])
    add('accepted_total', 'counter', byRoute('accepted'))
    add('renewed_total', 'counter', byRoute('renewed'))
    add('refused_total', 'counter', [...by('code', 'refused'), ...Object.keys(refused).map((code) => [{ route: '', code }, elsewhere(code)])])
    add('closed_total', 'counter', by('reason', 'closed'))
    return reply.type('text/plain; version=0.0.4').send(lines.join('\n') + '\n')
  })
})

// Without this, Node.js ends at once, and each client sees 1006 in place of 1001 drain. A second signal closes what is left at once.
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, async () => {
    isEnding = true
    await app.close()
    client.disconnect()
  })
}
app.listen({ host: process.env.HOST || '0.0.0.0', port: Number(PORT) })
