/*
 * A server in a process of its own, which tells its parent how much heap is in use when all garbage is gone: node --expose-gc
 * idle-server.js. Its handlers keep nothing of a request (/chat), or all of it (/held).
 */
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import fastifyWsAuth from '../../lib/index'
import { SECRET } from './app'

const held: unknown[] = []

async function main (): Promise<void> {
  const app = Fastify({ logger: false })
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
  app.get('/chat', { websocket: true }, () => {})
  app.get('/held', { websocket: true }, (socket, request) => {
    socket.on('close', () => { held.push(request.ip) })
  })
  await app.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
  process.on('message', (connections: number) => { void answer(app, connections) })
  process.on('disconnect', () => process.exit())
  process.send?.((app.server.address() as AddressInfo).port)
}

/** Waits until so many connections are open. */
async function answer (app: Awaited<ReturnType<typeof Fastify>>, connections: number): Promise<void> {
  while (app.wsAuth.connections.size !== connections) await sleep(5)
  // Some objects are let go by callbacks of the collection before.
  for (let i = 0; i < 4; i++) {
    globalThis.gc?.()
    await sleep(20)
  }
  process.send?.(process.memoryUsage().heapUsed)
}

void main()
