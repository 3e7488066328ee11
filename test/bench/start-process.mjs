// @ts-check
/*
 * One start of a server, from the import to the first handshake: `node start-process.mjs <what>`, with `{ by: 'bare' | 'plugin', dist, secret }`
 * as JSON. It says the times of its parts to its parent, and then serves until it is left.
 */
import { createRequire } from 'node:module'
import { resolve } from 'node:path'

/** @typedef {{ by: 'bare' | 'plugin', dist: string, secret: string }} Start */
/** @typedef {{ port: number, importing: number, importingCpu: number, registering: number, registeringCpu: number }} StartTimes  in milliseconds, by the clock and of CPU time */

const require = createRequire(import.meta.url)
/** @type {Start} */
const { by, dist, secret } = JSON.parse(process.argv[2] ?? '')

// Whoever has websockets on Fastify has Fastify.
const { fastify } = require('fastify')

const ways = {
  bare: () => {
    const [websocket, jwt, cookie] = ['@fastify/websocket', '@fastify/jwt', '@fastify/cookie'].map((name) => require(name))
    return (app) => {
      app.register(cookie)
      app.register(jwt, { secret })
      app.register(websocket)
      app.addHook('preValidation', async (request) => { await request.jwtVerify() })
    }
  },
  plugin: () => {
    const fastifyWsAuth = require(resolve(dist, 'index.js'))
    return (app) => { app.register(fastifyWsAuth, { jwt: { secret } }) }
  }
}

const [register, importing, importingCpu] = await timed(ways[by])
const app = fastify({ logger: false })
const [, registering, registeringCpu] = await timed(async () => {
  register(app)
  app.register(async (scope) => {
    scope.get('/chat', { websocket: true }, (socket) => { socket.send('hello') })
  })
  await app.ready()
})
await app.listen({ port: 0, host: '127.0.0.1' })
const { port } = /** @type {import('node:net').AddressInfo} */ (app.server.address())
process.on('disconnect', () => process.exit())
process.send?.({ port, importing, importingCpu, registering, registeringCpu })

/** @template T @param {() => T | Promise<T>} run @returns {Promise<[result: T, clock: number, cpu: number]>} */
async function timed (run) {
  const cpuBefore = process.cpuUsage()
  const startedAt = performance.now()
  const result = await run()
  const clock = performance.now() - startedAt
  const { user, system } = process.cpuUsage(cpuBefore)
  return [result, clock, (user + system) / 1000]
}
