/*
 * The same websocket as in hand-written.ts, guarded by the plugin. It listens on this machine alone.
 */
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import fastifyWsAuth from 'fastify-ws-auth'

/** @param log is called with each line of the log */
export async function createGuarded (secret: string, log: (line: string) => void): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'info', stream: { write: log } }, forceCloseConnections: true })
  await app.register(fastifyWsAuth, { jwt: { secret }, rejectWith: 'auto' })
  app.get('/chat', { websocket: true }, (socket, request) => {
    socket.on('message', (data) => socket.send(`${request.user.sub}: ${String(data)}`))
    socket.send(`hello ${request.user.sub}`)
  })
  return app
}
