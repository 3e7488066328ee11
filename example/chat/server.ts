/*
 * A small chat over authenticated WebSockets: one room for members, one for admins.
 *
 *   npm start                          prints the URL to open
 *   npm start -- --port 3001           another port (or PORT=3001); 0 takes any free one
 *   npm start -- --demo                without a browser: a few clients on the terminal, then it exits
 *   npm start -- --inspect             prints the policies of all websocket routes, then it exits
 *   npm start -- --redis               two instances that agree by Redis: that of REDIS_URL, or one of their own
 *   JWT_SECRET=<32 bytes> npm start    logins outlive a restart
 *   HTTPS=1 npm start                  behind a proxy that speaks TLS
 */
import { parseArgs } from 'node:util'
import type { FastifyInstance } from 'fastify'
import { createApp } from './app'
import { runDemo } from './demo'
import { openRedis } from './redis'

async function main (): Promise<void> {
  const { values } = parseArgs({ options: { port: { type: 'string' }, demo: { type: 'boolean' }, inspect: { type: 'boolean' }, redis: { type: 'boolean' } } })
  if (values.inspect) return await printPolicies()
  // The demonstration brings its own clients, so any port will do.
  const port = readPort(values.port ?? (values.demo ? '0' : process.env.PORT || '3000'))
  const redis = values.redis ? await openRedis() : undefined
  const apps: FastifyInstance[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(apps.map((app) => app.close()))
    await redis?.stop()
  }
  try {
    const urls: string[] = []
    for (const each of redis === undefined ? [port] : [port, port && readPort(String(port + 1))]) {
      const app = await createApp(redis?.connect())
      apps.push(app)
      urls.push(await app.listen({ host: '127.0.0.1', port: each }))
    }
    // Ctrl-C arrives twice, from the terminal and from npm. The second must not end the process before it has tidied up.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => { void stop() })
    if (!process.env.JWT_SECRET && !values.demo) console.log('JWT_SECRET is not set: all logins end with this process')
    for (const url of urls) console.log(`listening on ${url}`)
    if (redis !== undefined) console.log(`two instances, which agree by ${redis.name}`)
    if (values.demo) await runDemo(urls, stop).finally(stop)
  } catch (error) {
    await stop()
    throw error
  }
}

/** Prints what a review of the routes reads. */
async function printPolicies (): Promise<void> {
  const app = await createApp()
  await app.ready()
  console.log(String(app.wsAuth.inspect()))
  await app.close()
}

function readPort (text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65535) throw new Error(`the port must be a number from 0 to 65535, not ${text}`)
  return Number(text)
}

main().catch(({ code, message, port }: Error & { code?: string, port?: number }) => {
  const isTaken = code === 'EADDRINUSE'
  console.error(isTaken ? `port ${port} is taken: choose another, or any that is free with  npm start -- --port 0` : message)
  process.exitCode = 1
})
