/*
 * AsyncLocalStorage: what the app calls the context of a request (its tenant, its trace) is that of the request wherever a function of
 * the app is called for it, behind a first message and in renewals too. What the clock does is done in no user's context.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import fastifyRequestContext, { requestContext } from '@fastify/request-context'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { start, until } from '../helpers/app'
import { onDecision } from '../helpers/decisions'

const TENANTS: Record<string, string> = { ann: 'acme', bob: 'beta', gil: 'gamma' }
const USERS = Object.keys(TENANTS)
const NOW = Math.floor(Date.now() / 1000)

const als = new AsyncLocalStorage<{ tenant: string }>()

/** How an app keeps the tenant of a request, and reads it. */
interface Store {
  readonly before: (app: FastifyInstance) => unknown
  readonly read: () => string | undefined
}

function tenantOf ({ headers }: FastifyRequest): string {
  return String(headers['x-tenant'])
}

const STORES: Record<string, Store> = {
  'AsyncLocalStorage of the app': {
    before: (app) => app.addHook('onRequest', (request, _reply, done) => als.run({ tenant: tenantOf(request) }, done)),
    read: () => als.getStore()?.tenant
  },
  '@fastify/request-context': {
    before: async (app) => {
      await app.register(fastifyRequestContext)
      app.addHook('onRequest', (request, _reply, done) => {
        requestContext.set('tenant' as never, tenantOf(request) as never)
        done()
      })
    },
    read: () => requestContext.get('tenant' as never)
  }
}

/** Something of the app that was called: for whom, and in whose context. */
interface Called {
  readonly what: string
  readonly sub: string
  readonly tenant: string | undefined
}

interface Claims extends Record<string, unknown> {
  readonly sub: string
  readonly iat: number
  readonly exp: number
}

/** A token of these tests is its claims, in base64url. */
function tokenOf (sub: string, exp = NOW + 600, iat = NOW): string {
  return Buffer.from(JSON.stringify({ sub, iat, exp, roles: ['member'], scope: 'chat' })).toString('base64url')
}

function claimsOf (token: string): Claims {
  return JSON.parse(Buffer.from(token, 'base64url').toString())
}

interface ContextApp {
  readonly app: FastifyInstance
  readonly port: number
  readonly called: Called[]
  readonly lines: Array<Record<string, unknown>>
}

interface ContextSettings {
  readonly isAsync?: boolean
  readonly plugin?: fastifyWsAuth.WsAuthOptions
}

/** An app of which each function notes for whom it is called, and in whose context. */
async function startContexts (t: Test, { before, read }: Store, { isAsync = false, plugin }: ContextSettings = {}): Promise<ContextApp> {
  const called: Called[] = []
  const note = (what: string, sub: unknown): void => { called.push({ what, sub: String(sub), tenant: read() }) }
  const lines: ContextApp['lines'] = []
  const stream = { write: (line: string): void => { lines.push(JSON.parse(line) as Record<string, unknown>) } }
  onDecision(t, ({ event, sub }) => note(`event ${event}`, sub))
  const eventually = async <T>(value: T): Promise<T> => {
    await new Promise((resolve) => setImmediate(resolve))
    return value
  }
  const answer = <T>(value: T): T => isAsync ? eventually(value) as T : value

  class NotingSocket extends WebSocket {
    override send (...args: unknown[]): void {
      if (String(args[0]).includes('auth.renew')) note('auth.renew', this.protocol)
      Reflect.apply(WebSocket.prototype.send, this, args)
    }

    override ping (...args: unknown[]): void {
      note('ping', this.protocol)
      Reflect.apply(WebSocket.prototype.ping, this, args)
    }
  }

  const { app, port } = await start(t, {
    server: { logger: { level: 'trace', stream, mixin: () => ({ tenant: read() }) } },
    before: async (app) => {
      app.setValidatorCompiler(() => (data: unknown) => {
        const { sub } = data as { sub?: unknown }
        if (sub !== undefined) note('claims', sub)
        return true
      })
      await before(app)
    },
    plugin: {
      renewal: true,
      claims: { type: 'object' },
      verify: (token) => { const claims = claimsOf(token); note('verify', claims.sub); return answer(claims) },
      user: (claims) => { note('user', claims.sub); return answer(claims) },
      roles: (claims) => { note('roles', claims.sub); return ['member'] },
      scopes: (claims) => { note('scopes', claims.sub); return ['chat'] },
      origin: (_origin, request) => { note('origin', request.headers['x-sub']); return answer(true) },
      websocket: { options: { WebSocket: NotingSocket } },
      ...plugin
    },
    routes: (app) => {
      const authorize = (user: unknown): boolean => { note('authorize', (user as Claims).sub); return answer(true) }
      for (const [path, message] of [['/chat', false], ['/message', true]] as const) {
        app.get(path, { websocket: true, wsAuth: { roles: ['member'], scopes: ['chat'], authorize, token: { message } } }, async (socket, request) => {
          const { sub } = request.user as unknown as Claims
          note('handler', sub)
          socket.on('message', (data) => socket.send(`got ${String(data)}`))
          await eventually(null)
          note('handler, later', sub)
        })
      }
    }
  })
  return { app, port, called, lines }
}

interface Client {
  readonly sub: string
  readonly socket: WebSocket
  readonly received: string[]
  readonly closed: string[]
}

type Place = 'header' | 'query' | 'subprotocol' | 'message'

function urlOf (port: number, place: Place, token: string): string {
  return `ws://127.0.0.1:${port}${place === 'message' ? '/message' : '/chat'}${place === 'query' ? `?token=${token}` : ''}`
}

async function connect (t: Test, { port }: ContextApp, sub: string, place: Place, token = tokenOf(sub)): Promise<Client> {
  const headers: Record<string, string> = { 'x-tenant': String(TENANTS[sub]), 'x-sub': sub, origin: 'http://app.example' }
  if (place === 'header') headers.authorization = `Bearer ${token}`
  const protocols = place === 'subprotocol' ? [sub, 'bearer', token] : [sub]
  const socket = new WebSocket(urlOf(port, place, token), protocols, { headers })
  t.teardown(() => socket.terminate())
  const client: Client = { sub, socket, received: [], closed: [] }
  socket.on('message', (data) => client.received.push(String(data)))
  socket.on('close', (code, reason) => client.closed.push(`${code} ${String(reason)}`))
  await once(socket, 'open')
  return client
}

/** All of one kind that were called for a user. */
function callsOf ({ called }: ContextApp, sub: string): Map<string, Set<string | undefined>> {
  const calls = new Map<string, Set<string | undefined>>()
  for (const { what, sub: one, tenant } of called) if (one === sub) calls.set(what, (calls.get(what) ?? new Set()).add(tenant))
  return calls
}

const CHECKS = ['verify', 'claims', 'user', 'roles', 'scopes', 'authorize']

/** Each of these was called for each user, in its own context and in no other. */
function assertOwn (t: Test, contexts: ContextApp, expected: readonly string[]): void {
  for (const sub of USERS) {
    const calls = callsOf(contexts, sub)
    for (const what of expected) t.strictSame([...calls.get(what) ?? []], [TENANTS[sub]], `${what} of ${sub} runs in the context of ${sub}'s request`)
  }
}

function answersOf ({ received }: Client): number {
  return received.filter((text) => text.includes('"auth.ok"')).length
}

for (const [kind, store] of Object.entries(STORES)) {
  for (const isAsync of [false, true]) {
    const how = isAsync ? 'functions that wait' : 'functions that do not wait'

    for (const place of ['header', 'query', 'subprotocol'] as const) {
      t.test(`${kind}, ${how}: the plugin checks a token in the ${place} in the context of its request`, async (t) => {
        const contexts = await startContexts(t, store, { isAsync })
        await Promise.all(USERS.map(async (sub) => await connect(t, contexts, sub, place)))
        await until(() => USERS.every((sub) => callsOf(contexts, sub).has('handler, later')), 'all handlers have run')
        assertOwn(t, contexts, [...CHECKS, 'origin', 'handler', 'handler, later', 'event accepted'])
      })
    }

    t.test(`${kind}, ${how}: the plugin checks a first message in the context of its request, and its handler runs in it`, async (t) => {
      const contexts = await startContexts(t, store, { isAsync })
      const clients = await Promise.all(USERS.map(async (sub) => await connect(t, contexts, sub, 'message')))
      for (const { socket, sub } of clients.reverse()) socket.send(JSON.stringify({ type: 'auth', token: tokenOf(sub) }))
      await until(() => USERS.every((sub) => callsOf(contexts, sub).has('handler, later')), 'all handlers have run')
      assertOwn(t, contexts, [...CHECKS, 'origin', 'handler', 'handler, later', 'event accepted'])
      for (const sub of USERS) {
        const accepted = contexts.lines.filter((line) => line.event === 'accepted' && line.sub === sub)
        t.strictSame(accepted.map(({ tenant }) => tenant), [TENANTS[sub]], `the line of the log that ${sub} is accepted`)
      }
    })

    for (const place of ['header', 'message'] as const) {
      t.test(`${kind}, ${how}: the plugin checks a renewal by frame in the context of its request (token in the ${place} before)`, async (t) => {
        const contexts = await startContexts(t, store, { isAsync })
        const clients = await Promise.all(USERS.map(async (sub) => await connect(t, contexts, sub, place)))
        if (place === 'message') for (const { socket, sub } of clients) socket.send(JSON.stringify({ type: 'auth', token: tokenOf(sub) }))
        await until(() => USERS.every((sub) => callsOf(contexts, sub).has('handler, later')), 'all handlers have run')
        contexts.called.length = 0
        const before = clients.map(answersOf)
        for (const { socket, sub } of clients.reverse()) {
          socket.send(JSON.stringify({ type: 'auth', token: tokenOf(sub, NOW + 900) }))
          socket.send(JSON.stringify({ type: 'auth', token: tokenOf(sub, NOW + 300) }))
        }
        before.reverse()
        await until(() => clients.every((client, i) => answersOf(client) > (before[i] ?? 0)), 'all are renewed')
        await until(() => USERS.every((sub) => callsOf(contexts, sub).has('event renewal_refused')), 'what is older is refused')
        assertOwn(t, contexts, [...CHECKS, 'event renewed', 'event renewal_refused'])
      })
    }
  }

  t.test(`${kind}: an end or a hint by a timer is reported in no user's context`, async (t) => {
    const contexts = await startContexts(t, store, { plugin: { renewal: true, heartbeat: { interval: 500 } } })
    const from = Math.floor(Date.now() / 1000)
    // The first has the sweep begin, and expires before the others.
    const clients: Client[] = []
    for (const [i, sub] of USERS.entries()) clients.push(await connect(t, contexts, sub, 'header', tokenOf(sub, from + 4 + Math.min(i, 1), from - 30)))
    await until(() => clients.every(({ closed }) => closed.length > 0), 'all have expired')
    t.strictSame(clients.map(({ closed }) => closed), Array(3).fill(['3000 token_expired']))
    for (const sub of USERS) {
      const calls = callsOf(contexts, sub)
      for (const what of ['event expired', 'auth.renew', 'ping']) t.strictSame([...calls.get(what) ?? []], [undefined], `${what} of ${sub}`)
      const expired = contexts.lines.filter((line) => line.event === 'expired' && line.sub === sub)
      t.strictSame(expired.map(({ tenant }) => tenant), [undefined], `the line of the log that ${sub} has expired`)
    }
    assertOwn(t, contexts, ['event accepted', 'handler'])
  })

  t.test(`${kind}: a verification that takes too long is reported in its own context or in none`, async (t) => {
    const contexts = await startContexts(t, store, { plugin: { handshakeTimeout: 200, verify: async () => await new Promise(() => {}), websocket: {} } })
    const sockets = USERS.map((sub) => new WebSocket(urlOf(contexts.port, 'query', tokenOf(sub)), { headers: { 'x-tenant': String(TENANTS[sub]), 'x-sub': sub } }))
    await Promise.all(sockets.map(async (socket) => {
      await new Promise((resolve) => socket.on('error', resolve))
    }))
    const refused = contexts.lines.filter(({ event }) => event === 'refused')
    t.equal(refused.length, 3)
    const lineOf = (reqId: unknown): Record<string, unknown> | undefined => contexts.lines.find((line) => line.reqId === reqId && line.msg === 'incoming request')
    t.ok(refused.every(({ reqId }) => lineOf(reqId) !== undefined))
    t.ok(refused.every(({ tenant }) => tenant === undefined) || new Set(refused.map(({ tenant }) => tenant)).size === 3, JSON.stringify(refused.map(({ tenant }) => tenant)))
  })
}
