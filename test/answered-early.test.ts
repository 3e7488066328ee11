/*
 * An upgrade that is answered before our hooks see it: a hook of the app that comes first refuses it (a rate limit, a check that the
 * server is not overloaded), or Fastify's `handlerTimeout` does. Once it is answered it holds no place and no socket.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify'
import t from 'tap'
import { sign, start, until } from './helpers/app'
import { RawClient } from './helpers/raw-client'

const AUTHORIZATION = `Bearer ${sign({ sub: 'ann', exp: Math.floor(Date.now() / 1000) + 600 })}`
/** Far less than `handshakeTimeout`, which is 10 s. */
const SOON = 3000

async function pause (milliseconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds))
}

interface Case {
  readonly status: number
  readonly server?: FastifyServerOptions
  readonly before: (app: FastifyInstance) => unknown
}

function isRefused ({ headers }: FastifyRequest): boolean {
  return headers['x-refuse'] !== undefined
}

const CASES: Record<string, Case> = {
  'an onRequest hook that answers at once': {
    status: 429,
    before: (app) => app.addHook('onRequest', (request, reply, done) => {
      if (!isRefused(request)) return done()
      void reply.code(429).send()
    })
  },
  'an async onRequest hook that answers after a while': {
    status: 429,
    before: (app) => app.addHook('onRequest', async (request, reply) => {
      await pause(5)
      if (isRefused(request)) return await reply.code(429).send('slow down')
    })
  },
  'an async onRequest hook that throws after a while': {
    status: 429,
    before: (app) => app.addHook('onRequest', async (request) => {
      await pause(5)
      if (isRefused(request)) throw Object.assign(new Error('slow down'), { statusCode: 429 })
    })
  },
  'an async preParsing hook that answers after a while': {
    status: 429,
    before: (app) => app.addHook('preParsing', async (request: FastifyRequest, reply: FastifyReply) => {
      await pause(5)
      if (isRefused(request)) await reply.code(429).send('slow down')
    })
  },
  'an async preValidation hook that answers after a while': {
    status: 429,
    before: (app) => app.addHook('preValidation', async (request, reply) => {
      await pause(5)
      if (isRefused(request)) return await reply.code(429).send('slow down')
    })
  },
  'handlerTimeout, while an onRequest hook takes long': {
    status: 503,
    server: { handlerTimeout: 50 },
    before: (app) => app.addHook('onRequest', async (request) => { if (isRefused(request)) await pause(200) })
  }
}

for (const [who, { status, server, before }] of Object.entries(CASES)) {
  t.test(`an upgrade that is answered by ${who} holds nothing afterwards`, async (t) => {
    const { app, port } = await start(t, {
      server,
      before,
      plugin: { limits: { pending: 1 } },
      routes: (app) => app.get('/chat', { websocket: true }, () => {})
    })
    for (let i = 0; i < 3; i++) {
      const client = await RawClient.open(t, port)
      const { status: answered } = await client.upgrade({ path: '/chat', headers: { 'x-refuse': '1', authorization: AUTHORIZATION } }).response()
      t.equal(answered, status)
      await until(() => app.wsAuth.stats().pending === 0, 'its place is free', SOON)
      await until(() => client.isEnded, 'its socket is closed', SOON)
      client.socket.destroy()
    }
    const good = await RawClient.open(t, port)
    t.equal((await good.upgrade({ path: '/chat', headers: { authorization: AUTHORIZATION } }).response()).status, 101, 'a good client gets in')
    good.socket.destroy()
  })
}
