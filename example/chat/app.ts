/*
 * The app of one instance: the plugin with its options, and the routes.
 */
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import fastifyWsAuth from 'fastify-ws-auth'
import { redisBackplane } from 'fastify-ws-auth/redis'
import type { Redis } from 'ioredis'
import { addAttacks } from './attacks'
import { addLogin } from './login'
import { addPage } from './page'
import { addRooms } from './rooms'
import { COOKIE, IS_HTTPS, LOGIN_SECONDS, SECRET } from './settings'

/** @param redis shared by the instances; without it there is one instance */
export async function createApp (redis?: Redis): Promise<FastifyInstance> {
  const app = Fastify({
    logger: { level: process.env.LOG_LEVEL || 'warn' },
    bodyLimit: 4096,
    // Browsers open connections in advance, and a server that ends would wait for their requests.
    forceCloseConnections: true,
    trustProxy: IS_HTTPS && 'loopback'
  })
  await app.register(fastifyWsAuth, {
    jwt: {
      secret: SECRET,
      cookie: { cookieName: COOKIE, signed: false },
      sign: { iss: 'chat' },
      verify: { allowedIss: 'chat' }
    },
    // POST /ws-ticket. A ticket does no harm in a URL, because it is spent before it is read in a log.
    tickets: true,
    // A revocation is kept for as long as the tokens that it is about can live.
    revocationTtl: (LOGIN_SECONDS + 60) * 1000,
    backplane: redis && redisBackplane({ client: redis }),
    // A page gets a close code, because it cannot see the status of a refused handshake. Other clients get the status.
    rejectWith: 'auto',
    // A connection ends with its token, unless the client sends a new one. The grace is for one that is on its way. Frames are spoken
    // with plain sockets too, so that the page can show them.
    renewal: true,
    expiryGrace: 2000,
    // One connection too many closes the oldest. Its page must not come back by itself, because the two would take turns.
    // It is enough for twenty tabs of the page.
    limits: { perUser: 120, onLimit: 'close-oldest' },
    heartbeat: { interval: 30_000 },
    websocket: { options: { maxPayload: 16 * 1024 } }
  })
  addPage(app)
  addLogin(app)
  addRooms(app)
  addAttacks(app)
  return app
}
