/*
 * An instance in a process of its own: an app that does not always do what it should, and tells on demand what became of it.
 */
import { watchTimers, timersOfOurs } from './timers'
import { subscribe } from 'node:diagnostics_channel'
import { randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Redis } from 'ioredis'
import fastifyWsAuth from '../../../lib/index'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { SECRET } from '../app'
import { Dice } from './dice'
import { Ledger, nameOf } from './ledger'
import type { Counts, Story } from './ledger'
import { statsOf } from '../stats'
import type { CountedStats } from '../stats'

export interface ServerSettings {
  readonly seed: number
  /** Of Redis, or of what stands before it; `null` where there is none. */
  readonly redisPort: number | null
  readonly onLimit: 'reject' | 'close-oldest'
}

/** Connections of each user. */
export const PER_USER = 3
/** How old what is known of Redis may be, in milliseconds. */
export const STALE_AFTER = 3000

/** A revocation, as it was asked for. */
export interface Revoked {
  readonly kind: 'sub' | 'sid' | 'jti'
  readonly value: string
  /** In seconds, of a `sub`. */
  readonly issuedBy: number
}

/** What was told of all apps of the process, one after the other. */
export interface Balance {
  readonly stats: CountedStats
  readonly published: Counts
  readonly logged: Counts
  readonly anonymous: number
  readonly wrong: string[]
  readonly stories: Record<string, Story>
}

/** What a process holds. */
export interface Holdings {
  /** In bytes, after the garbage has been collected. */
  readonly heap: number
  /** How many requests, sockets and connections of the past are still referred to by anybody. */
  readonly kept: number
  readonly timers: Record<string, number>
  readonly resources: Record<string, number>
  /** Warnings, and errors that nobody has caught. */
  readonly problems: string[]
}

/** What can be asked for, by name. */
export interface Server {
  start: (port: number) => Promise<number>
  stop: () => Promise<void>
  /** Of what is told since the last time, which has to be over. */
  balance: () => Promise<Balance>
  pending: () => Promise<{ connections: number, pending: number, clients: number }>
  hold: () => Promise<Holdings>
  command: (type: 'revoke' | 'disconnect', match: object, options?: object) => Promise<fastifyWsAuth.CommandResult>
  ticket: (claims: Record<string, unknown>) => Promise<string>
  /** Of these, those that are in force. */
  inForce: (revoked: readonly Revoked[]) => Promise<boolean[]>
  /** The open connections of tokens that these have revoked. */
  openOf: (revoked: readonly Revoked[]) => Promise<string[]>
}

/** What the app does now and then, unless it is asked not to. */
function happens (request: FastifyRequest, dice: Dice, probability: number): boolean {
  return request.headers['x-calm'] === undefined && dice.chance(probability)
}

function isAbout ({ kind, value, issuedBy }: Revoked, claims: fastifyWsAuth.Claims): boolean {
  return claims[kind] === value && (kind !== 'sub' || Math.floor(Number(claims.iat)) <= issuedBy)
}

/** The last word of the app, as the token wants it. */
async function later (): Promise<boolean> {
  await pause(10)
  return true
}

function authorize (user: unknown): boolean | Promise<boolean> {
  switch ((user as { act?: string }).act) {
    case 'wait': return later()
    case 'hang': return new Promise<never>(() => {})
    case 'deny': return false
    case 'throw': throw new Error('authorize fails')
    case 'reject': return Promise.reject(new Error('authorize fails'))
  }
  return true
}

const ROUTES: Record<string, fastifyWsAuth.RouteWsAuth> = {
  '/chat': { authorize },
  '/hasty': { authorize, token: { message: { timeout: 300 } } },
  '/strict': { authorize, roles: ['member'], token: { message: false } },
  '/closing': { authorize, rejectWith: 'close', token: { message: false } },
  '/short': { maxLifetime: 300 },
  '/both': { tickets: { require: true } },
  '/optional': 'optional',
  '/public': false
}

function addHooks (app: FastifyInstance): void {
  app.addHook('onRequest', async ({ headers }) => {
    if (headers['x-hook'] === 'hang early') await new Promise(() => {})
  })
  app.addHook('preHandler', async ({ headers }, reply) => {
    switch (headers['x-hook']) {
      case 'wait': await pause(20); break
      case 'throw': throw new Error('a hook fails')
      case 'answer': await reply.code(418).send('no'); break
      case 'hang': await new Promise(() => {})
    }
  })
}

function addRoutes (app: FastifyInstance, ledger: Ledger, dice: Dice, seen: Array<WeakRef<object>>): void {
  app.server.on('upgrade', (request, socket) => { seen.push(new WeakRef(request), new WeakRef(socket)) })
  app.get('/plain', async () => 'plain')
  for (const [url, wsAuth] of Object.entries(ROUTES)) {
    app.get(url, { websocket: true, wsAuth }, async (socket, request) => {
      const isGuarded = wsAuth !== false
      if (isGuarded) ledger.onRun(request.id)
      if (request.wsAuth !== null) seen.push(new WeakRef(request.wsAuth))
      socket.on('message', (data) => {
        if (isGuarded) ledger.onMessage(request.id)
        socket.send(`echo ${String(data)}`)
        if (happens(request, dice, 0.02)) socket.close(4000, 'enough')
        if (happens(request, dice, 0.02)) request.wsAuth?.close()
        if (happens(request, dice, 0.02)) void request.wsAuth?.renew('nonsense').catch(() => {})
        if (happens(request, dice, 0.01)) socket.terminate()
      })
      if (happens(request, dice, 0.05)) { socket.pause(); await pause(10); socket.resume() }
      if (happens(request, dice, 0.01)) await new Promise(() => {})
      if (happens(request, dice, 0.02)) throw new Error('a handler fails')
      if (happens(request, dice, 0.02)) socket.close(4001)
    })
  }
}

/** What was counted by the apps of a process, of which one may have been closed. */
class Totals {
  #left: Array<() => CountedStats> = []
  #before: Counts = { accepted: 0, renewed: 0, refused: {}, closed: {} }

  /** It is closed, and may count on for a moment. */
  leave (stats: () => CountedStats): void {
    this.#left.push(stats)
  }

  /** All, with those of the app that is open. */
  with (stats: CountedStats): CountedStats {
    for (const left of this.#left.splice(0)) this.#before = sumOf(this.#before, left())
    return { connections: stats.connections, pending: stats.pending, ...sumOf(this.#before, stats) }
  }
}

function sumOf (one: Counts, other: Counts | CountedStats): Counts {
  const add = (a: Record<string, number>, b: Record<string, number>): Record<string, number> =>
    Object.fromEntries([...new Set([...Object.keys(a), ...Object.keys(b)])].map((name) => [name, (a[name] ?? 0) + (b[name] ?? 0)]))
  return {
    accepted: one.accepted + other.accepted,
    renewed: one.renewed + other.renewed,
    refused: add(one.refused, other.refused),
    closed: add(one.closed, other.closed)
  }
}

const NO_STATS: CountedStats = { connections: 0, pending: 0, accepted: 0, renewed: 0, refused: {}, closed: {} }

const problems: string[] = []

function makeServer ({ seed, redisPort, onLimit }: ServerSettings): Server {
  const dice = new Dice(seed)
  const ledger = new Ledger()
  const totals = new Totals()
  let app: FastifyInstance
  const seen: Array<WeakRef<object>> = []
  let isClosed = false
  let requests = 0
  // The channel is one for all apps of the process, and who was asked for a ticket may answer after its end.
  subscribe('fastify-ws-auth', (event) => ledger.onEvent(event as fastifyWsAuth.WsAuthEvent))

  const start: Server['start'] = async (port) => {
    app = Fastify({
      logger: { level: 'info', stream: { write: (line: string) => ledger.onLine(line) } },
      // Two requests of one connection are two.
      genReqId: ({ headers }) => `${nameOf(headers['x-client'])}#${++requests}`,
      // What has not become a request yet is not ours to end.
      forceCloseConnections: true
    })
    const client = redisPort === null ? null : new Redis({ host: '127.0.0.1', port: redisPort })
    client?.on('error', () => {})
    app.addHook('onClose', async () => { client?.disconnect() })
    await app.register(fastifyWsAuth, {
      jwt: { secret: SECRET },
      renewal: true,
      token: { message: { timeout: 10_000 } },
      tickets: { ttl: 20_000 },
      limits: { perUser: PER_USER, onLimit, pending: 2000 },
      handshakeTimeout: 4000,
      heartbeat: { interval: 4000 },
      websocket: { options: { maxPayload: 16_384 } },
      ...(client === null ? {} : { backplane: redisBackplane({ client, staleAfter: STALE_AFTER }) })
    })
    addHooks(app)
    addRoutes(app, ledger, dice, seen)
    await app.listen({ port, host: '127.0.0.1' })
    isClosed = false
    return (app.server.address() as AddressInfo).port
  }
  return {
    start,
    balance: async () => {
      const stories = ledger.take()
      const { published, logged, anonymous, wrong } = ledger
      return { stats: totals.with(isClosed ? NO_STATS : statsOf(app)), published, logged, anonymous, wrong, stories }
    },
    stop: async () => {
      const stopped = app
      await stopped.close()
      totals.leave(() => statsOf(stopped))
      isClosed = true
    },
    pending: async () => {
      const { connections, pending } = statsOf(app)
      const sockets = await new Promise<number>((resolve) => { app.server.getConnections((_error, count) => resolve(count)) })
      return { connections, pending, clients: Math.max(app.websocketServer.clients.size, sockets) }
    },
    hold: async () => {
      for (let i = 0; i < 4; i++) {
        await pause(5)
        globalThis.gc?.()
      }
      const { heapUsed, external } = process.memoryUsage()
      const resources: Record<string, number> = {}
      for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1
      seen.splice(0, Infinity, ...seen.filter((each) => each.deref() !== undefined))
      return { heap: heapUsed + external, kept: seen.length, timers: timersOfOurs(), resources, problems }
    },
    command: async (type, match, options) => type === 'revoke'
      ? await app.wsAuth.revoke(match as fastifyWsAuth.RevokeMatch, options)
      : await app.wsAuth.disconnect(match as fastifyWsAuth.DisconnectMatch, options),
    ticket: async (claims) => (await app.wsAuth.issueTicket(claims)).ticket,
    inForce: async (revoked) => revoked.map(({ kind, value, issuedBy }) => {
      try {
        return app.wsAuth.isRevoked({ [kind]: value, ...(kind === 'sub' && { iat: issuedBy }) })
      } catch {
        return false
      }
    }),
    openOf: async (revoked) => [...app.wsAuth.connections].flatMap(({ id, claims }) =>
      revoked.filter((each) => claims !== null && isAbout(each, claims)).map(({ kind, value }) => `${id} is open, ${kind} ${value} was revoked`))
  }
}

/** What the process is told, and what it answers. */
export interface Call {
  readonly id: string
  readonly name: keyof Server
  readonly args: readonly unknown[]
}

export interface Answer {
  readonly id: string
  readonly value?: unknown
  readonly error?: string
}

/** The id of a call. */
export function callId (): string {
  return randomUUID()
}

function serve (settings: ServerSettings): void {
  watchTimers()
  process.on('warning', (warning) => { problems.push(`warning: ${warning.stack}`) })
  process.on('unhandledRejection', (error) => { problems.push(`unhandled rejection: ${(error as Error)?.stack ?? String(error)}`) })
  process.on('uncaughtException', (error) => { problems.push(`uncaught exception: ${error.stack}`) })
  const server = makeServer(settings)
  process.on('message', ({ id, name, args }: Call) => {
    const call = server[name] as (...args: readonly unknown[]) => Promise<unknown>
    call(...args).then(
      (value) => process.send?.({ id, value } satisfies Answer),
      (error: Error & { code?: string }) => process.send?.({ id, error: error.code ?? String(error.stack) } satisfies Answer)
    )
  })
}

if (require.main === module) serve(JSON.parse(String(process.argv[2])) as ServerSettings)
