/*
 * THE BAD EXAMPLE. Do not copy it. It is the websocket that most apps write by hand, and it is here to be compared with
 * the guarded one in guarded.ts: see attacks.ts. It listens on this machine alone.
 */
import fastifyCookie from '@fastify/cookie'
import fastifyJwt from '@fastify/jwt'
import fastifyWebsocket from '@fastify/websocket'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { User } from './accounts'

/** @param log is called with each line of the log */
export async function createHandWritten (secret: string, log: (line: string) => void): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'info', stream: { write: log } }, forceCloseConnections: true })
  await app.register(fastifyJwt, { secret })
  await app.register(fastifyCookie)
  await app.register(fastifyWebsocket)
  app.get<{ Querystring: { token?: string } }>('/chat', { websocket: true }, (socket, request) => {
    const token = request.query.token ?? request.cookies.token ?? ''
    try {
      const user = app.jwt.verify<User>(token)
      socket.on('message', (data) => socket.send(`${user.sub}: ${String(data)}`))
      socket.send(`hello ${user.sub}`)
    } catch {
      socket.close()
    }
  })
  return app
}
