/*
 * An upgrade that is answered before our hooks see it: a hook of the app that comes first refuses it (a rate limit, a check that the
 * server is not overloaded), or Fastify's `handlerTimeout` does. Once it is answered it holds no place and no socket.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { sign, start, until } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { plainText, RawClient, requestText } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

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
  t.test(`an upgrade that is answered by ${who} holds no place and no socket afterwards`, async (t) => {
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
      await until(() => statsOf(app).pending === 0, 'its place is free', SOON)
      await until(() => client.isEnded, 'its socket is closed', SOON)
      client.socket.destroy()
    }
    const good = await RawClient.open(t, port)
    t.equal((await good.upgrade({ path: '/chat', headers: { authorization: AUTHORIZATION } }).response()).status, 101, 'a good client gets in')
    good.socket.destroy()
  })
}

for (const [what, text, dryRun] of [['a handshake', requestText, false], ['a dry run', plainText, true]] as const) {
  for (const rejectWith of ['http', 'close'] as const) {
    t.test(`${what} that a hook of the app answers while its token is verified is reported once, with rejectWith '${rejectWith}'`, async (t) => {
      const events: fastifyWsAuth.WsAuthEvent[] = []
      onDecision(t, (event) => events.push(event))
      const signals: AbortSignal[] = []
      const finish: Array<() => void> = []
      let answer = (): void => {}
      let opened = 0
      const { app, port, log } = await start(t, {
        // A hook that gives up on its own: it goes on, and answers later all the same.
        before: (app) => app.addHook('onRequest', (_request, reply, done) => {
          answer = () => { void reply.code(504).send('too late') }
          done()
        }),
        plugin: {
          rejectWith,
          limits: { pending: 1 },
          verify: async (_token, _request, { signal }) => {
            signals.push(signal)
            return await new Promise((resolve) => { finish.push(() => resolve({ sub: 'ann' })) })
          }
        },
        routes: (app) => app.get('/chat', { websocket: true }, () => { opened++ })
      })
      const client = await RawClient.open(t, port)
      client.send(text({ path: '/chat', headers: { authorization: 'Bearer opaque' } }))
      await until(() => signals.length === 1, 'the verification')
      answer()
      const { status, body } = await client.response()
      t.equal(`${status} ${body}`, '504 too late')
      await until(() => events.length > 0, 'the event')
      await until(() => statsOf(app).pending === 0, 'its place is free')
      t.ok(signals[0]?.aborted, 'the verifier is told')
      finish[0]?.()
      for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
      t.match(events, [{ event: 'refused', code: 'WS_AUTH_UNAVAILABLE', route: '/chat', sub: null, dryRun }])
      t.equal(events.length, 1)
      const lines = log.map((line) => JSON.parse(line) as { event?: string, level: number, err?: { message: string } }).filter(({ event }) => event === 'refused')
      t.match(lines, [{ level: 50, err: { message: 'the request was answered while its verification was waited for (handlerTimeout?)' } }])
      t.equal(lines.length, 1)
      t.match(statsOf(app), { accepted: 0, connections: 0, pending: 0, refused: dryRun ? {} : { WS_AUTH_UNAVAILABLE: 1 } })
      t.equal(opened, 0)
      if (!dryRun) await until(() => client.isEnded, 'its socket is closed', 5000)
      t.equal(client.rest.length, 0, 'nothing follows the answer')
    })
  }
}
