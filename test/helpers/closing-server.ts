/*
 * A server in a process of its own, which has nothing to live for once it has closed.
 */
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import fastifyWsAuth from '../../lib/index'
import { statsOf } from './stats'

async function main (): Promise<void> {
  const app = Fastify()
  await app.register(fastifyWsAuth, {
    renewal: true,
    // Longer than the test waits: a timer that keeps the process alive is seen.
    handshakeTimeout: 60_000,
    token: { message: { timeout: 60_000 } },
    heartbeat: { interval: 30_000 },
    verify: async (token) => await new Promise<object>((resolve) => { if (token !== 'held') resolve({ sub: 'x', exp: Date.now() / 1000 + 3600 }) })
  })
  app.get('/chat', { websocket: true }, () => {})
  app.get('/public', { websocket: true, wsAuth: false }, () => {})
  app.get('/optional', { websocket: true, wsAuth: 'optional' }, () => {})
  app.get('/refused', { websocket: true, wsAuth: { rejectWith: 'close', token: { message: false } } }, () => {})
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.once('message', () => {
    void app.close().then(() => process.send?.({ closed: statsOf(app).closed }))
  })
  process.send?.({ port: (app.server.address() as AddressInfo).port })
}

void main()
