/*
 * @fastify/rate-limit: its hooks stand before the checks of a handshake, or behind them, and a 429 leaves nothing behind.
 */
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import { sign, start, until } from '../helpers/app'

const ANN = sign({ sub: 'ann' })

/** The status of a handshake. An open socket is closed by its client at once. */
async function handshake (port: number, path: string, token: string): Promise<number | undefined> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers: { authorization: `Bearer ${token}` } })
  const status = await new Promise<number | undefined>((resolve) => {
    socket.on('unexpected-response', (_request, { statusCode }) => resolve(statusCode)).on('open', () => resolve(101))
  })
  socket.on('error', () => {}).terminate()
  return status
}

function limit (app: FastifyInstance): PromiseLike<unknown> {
  return app.register(rateLimit, { max: 2, timeWindow: 60_000 })
}

t.test('@fastify/rate-limit in onRequest answers 429 before a token is checked, for good and bad tokens, on the ticket route too', async (t) => {
  let verified = 0
  const { app, port } = await start(t, {
    before: limit,
    plugin: { tickets: true, verify: (token) => { verified++; return token === ANN ? { sub: 'ann' } : null } },
    routes: (app) => app.get('/ws', { websocket: true }, () => {})
  })
  t.equal(await handshake(port, '/ws', ANN), 101)
  t.equal(await handshake(port, '/ws', 'bad'), 401)
  t.equal(await handshake(port, '/ws', ANN), 429)
  t.equal(await handshake(port, '/ws', 'bad'), 429)
  t.equal((await app.inject({ method: 'POST', url: '/ws-ticket', headers: { authorization: `Bearer ${ANN}` }, remoteAddress: '127.0.0.1' })).statusCode, 429)
  t.equal(verified, 2)
  t.equal(app.wsAuth.stats().pending, 0)
})

t.test('@fastify/rate-limit in preHandler knows the user, counts no refused handshake, and its 429 frees the slot of the user', async (t) => {
  const rates = { max: 2, timeWindow: 60_000, hook: 'preHandler' as const, keyGenerator: ({ user }: FastifyRequest) => (user as { sub: string }).sub }
  const { app, port } = await start(t, {
    before: (app) => app.register(rateLimit, { global: false }),
    plugin: { limits: { perUser: 1 } },
    routes: (app) => {
      app.get('/ws', { websocket: true, config: { rateLimit: rates } }, () => {})
      app.get('/other', { websocket: true }, () => {})
    }
  })
  const isFree = async (): Promise<void> => await until(() => app.wsAuth.connections.size === 0 && app.wsAuth.stats().pending === 0, 'the end of the connection')
  for (let i = 0; i < 3; i++) t.equal(await handshake(port, '/ws', 'bad'), 401)
  for (const status of [101, 101, 429, 429]) {
    t.equal(await handshake(port, '/ws', ANN), status)
    await isFree()
  }
  t.equal(await handshake(port, '/other', ANN), 101, 'the slot is free')
  await isFree()
  t.equal(await handshake(port, '/ws', sign({ sub: 'bob' })), 101)
})
