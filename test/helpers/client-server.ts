/*
 * A server in a process of its own, which can be killed. Its argument is the port; 0 is a free one.
 */
import Fastify from 'fastify'
import type { AddressInfo } from 'node:net'
import fastifyWsAuth from '../../lib/index'
import { SECRET } from './app'

async function main (): Promise<void> {
  const app = Fastify()
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
  app.get('/ws', { websocket: true }, (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  })
  await app.listen({ port: Number(process.argv[2]), host: '127.0.0.1' })
  process.send?.((app.server.address() as AddressInfo).port)
}

void main()
