/*
 * A server whose clients all wait for their first message, in a process of its own: its memory is theirs alone.
 */
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import fastifyWsAuth from '../../lib/index'
import { SECRET } from './app'
import { statsOf } from './stats'

async function main (): Promise<void> {
  const app = Fastify()
  await app.register(fastifyWsAuth, {
    jwt: { secret: SECRET }, token: { message: { timeout: 120_000 } }, limits: { pending: Number(process.argv[2]) }
  })
  app.get('/chat', { websocket: true }, () => {})
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.on('message', () => {
    for (let i = 0; i < 3; i++) globalThis.gc?.()
    const { heapUsed: heap, rss } = process.memoryUsage()
    process.send?.({ pending: statsOf(app).pending, heap, rss })
  })
  process.on('disconnect', () => process.exit())
  process.send?.({ port: (app.server.address() as AddressInfo).port })
}

void main()
