/*
 * Some instances of one app that agree by one Redis, their clients, and what has to be true of them after a fault.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { redisBackplane } from '../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../lib/backplane/redis/index'
import { SECRET, sign, start, until } from './app'
import { startProxy } from './redis'
import type { Proxy, RedisServer } from './redis'

type Claims = Record<string, unknown>

/** Of all tokens that have no other. */
const ISSUED = Math.floor(Date.now() / 1000) - 10
/** Of all tokens: sooner than a revocation is forgotten. */
const EXPIRY = Math.floor(Date.now() / 1000) + 3600

/** The keys of the default prefix. */
export const LOG = '{fastify-ws-auth}:log'
export const REVOKED = '{fastify-ws-auth}:revoked'

/** A websocket client, and what became of it. */
export interface Visitor {
  readonly closed: { code: number | null, reason: string }
  /** Whether a message comes back. */
  isHeard: () => Promise<boolean>
}

/** An instance, in this process or in another. */
export interface Reachable {
  readonly port: number
  /** Opens a connection. The claim `kid` is in the header of the token too. */
  connect: (claims: Claims) => Promise<Visitor>
  /** The status that a handshake is answered with: 101 where it is accepted. */
  statusOf: (claims: Claims) => Promise<number>
  /** The status that a handshake with a ticket is answered with. */
  statusOfTicket: (ticket: string) => Promise<number>
}

export interface Member extends Reachable {
  readonly app: FastifyInstance
  readonly client: RedisBackplaneOptions['client']
  /** The messages of the log at level warn and above, each once. */
  readonly told: () => string[]
  /** How many open connections it has. */
  readonly size: () => number
}

export interface MemberSettings extends Omit<Partial<RedisBackplaneOptions>, 'prefix'> {
  /** How its client reaches Redis, where none is given, and not by the socket. */
  redis?: RedisOptions
  /** Further options of the plugin. */
  plugin?: fastifyWsAuth.WsAuthOptions
}

/** Starts an instance. */
export async function startMember (t: Test, server: Pick<RedisServer, 'client'>, { redis = {}, client = server.client('port' in redis ? { path: undefined, ...redis } : redis), plugin = {}, ...settings }: MemberSettings = {}): Promise<Member> {
  const { app, port, log } = await start(t, {
    plugin: { groups, ...plugin, backplane: redisBackplane({ client, ...settings }) },
    routes: addEcho
  })
  // The start of an app waits for two seconds, which is not enough on a busy machine. Without a Redis this waits for five in vain.
  for (let tries = 0; tries < 500 && !app.wsAuth.stats().backplane.isCurrent; tries++) await pause(10)
  return {
    app,
    client,
    ...reach(t, port),
    told: () => [...new Set(log.map((line) => JSON.parse(line) as { level: number, msg: string }).filter(({ level }) => level >= 40).map(({ msg }) => msg))],
    size: () => app.wsAuth.connections.size
  }
}

/** Starts so many, all with the same settings. */
export async function startMembers (t: Test, server: RedisServer, count: number, settings: MemberSettings = {}): Promise<Member[]> {
  const members: Member[] = []
  for (let i = 0; i < count; i++) members.push(await startMember(t, server, settings))
  return members
}

/** Three of them, the last of which a proxy can cut off from the Redis. */
export async function startBehindProxy (t: Test, server: RedisServer): Promise<{ proxy: Proxy, others: Member[], cutOff: Member, members: Member[] }> {
  const proxy = await startProxy(t, server)
  const others = await startMembers(t, server, 2)
  const cutOff = await startMember(t, server, { redis: { host: '127.0.0.1', port: proxy.port } })
  return { proxy, others, cutOff, members: [...others, cutOff] }
}

/** The team of a user is a group. */
function groups ({ team }: fastifyWsAuth.Claims): string[] {
  return team === undefined ? [] : [String(team)]
}

export function addEcho (app: FastifyInstance): void {
  app.get('/chat', { websocket: true }, (socket) => {
    socket.on('message', (data) => { socket.send(String(data)) })
  })
}

export function reach (t: Test, port: number): Reachable {
  const openAt = (path: string, headers: Record<string, string>): WebSocket => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers })
    socket.on('error', () => {})
    t.teardown(() => { socket.terminate() })
    return socket
  }
  const open = (claims: Claims): WebSocket => openAt('/chat', { authorization: `Bearer ${sign({ iat: ISSUED, exp: EXPIRY, ...claims }, undefined, { kid: claims.kid })}` })
  return {
    port,
    connect: async (claims) => {
      const socket = open(claims)
      const closed: Visitor['closed'] = { code: null, reason: '' }
      const received: string[] = []
      socket.on('message', (data) => { received.push(String(data)) })
      socket.on('close', (code, reason) => Object.assign(closed, { code, reason: String(reason) }))
      await until(() => socket.readyState === WebSocket.OPEN || closed.code !== null, 'a handshake is answered', 10_000)
      if (closed.code !== null) throw new Error(`it was refused: ${closed.code} ${closed.reason}`)
      let count = 0
      return {
        closed,
        isHeard: async () => {
          const text = `message ${++count}`
          if (socket.readyState !== WebSocket.OPEN) return false
          socket.send(text)
          await until(() => received.includes(text) || closed.code !== null, 'an echo, or the end', 10_000)
          return received.includes(text)
        }
      }
    },
    statusOf: async (claims) => await statusOf(open(claims)),
    statusOfTicket: async (ticket) => await statusOf(openAt(`/chat?ticket=${ticket}`, {}))
  }
}

async function statusOf (socket: WebSocket): Promise<number> {
  const status = await new Promise<number>((resolve, reject) => {
    socket.on('open', () => resolve(101))
    socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0))
    socket.on('close', () => reject(new Error('a handshake was not answered')))
  })
  socket.terminate()
  return status
}

/** A connection of somebody on each instance. */
export async function connectAll (members: readonly Reachable[], claims: Claims): Promise<Visitor[]> {
  return await Promise.all(members.map(async (member) => await member.connect(claims)))
}

/** Nobody with these claims is open or let in anywhere. */
export async function assertRevoked (t: Test, members: readonly Reachable[], visitors: readonly Visitor[], claims: Claims): Promise<void> {
  await until(() => visitors.every(({ closed }) => closed.code !== null), 'all that is revoked is closed', 10_000)
  t.same(await Promise.all(members.map(async ({ statusOf }) => await statusOf(claims))), members.map(() => 401), 'a revoked token is refused on all instances')
}

/** All of them are open, and heard. */
export async function assertOpen (t: Test, visitors: readonly Visitor[]): Promise<void> {
  t.same(await Promise.all(visitors.map(async ({ isHeard }) => await isHeard())), visitors.map(() => true), 'nothing good was closed')
}

let count = 0

/** Waits until a revocation by each instance is answered by all. @returns after how many milliseconds */
export async function untilWell (t: Test, members: readonly Member[], timeout = 40_000): Promise<number> {
  const begunAt = performance.now()
  for (const { app } of members) {
    let isAnswered = false
    while (!isAnswered) {
      if (performance.now() - begunAt > timeout) throw new Error(`not well again within ${timeout} ms`)
      const result = await app.wsAuth.revoke({ jti: `nobody ${++count}` }).catch(() => null)
      isAnswered = result !== null && result.instances.length === members.length && result.instances.every(({ answered }) => answered)
    }
  }
  const wellAfter = performance.now() - begunAt
  await untilAdmitted(members)
  // And not only in the answers: what it is about is closed, and stays out.
  for (const { app } of members) {
    const claims = { sub: 'new', jti: `new ${++count}` }
    const visitors = await connectAll(members, claims)
    const { closed, instances } = await app.wsAuth.revoke({ jti: claims.jti })
    t.equal(closed, members.length, 'a new revocation closes a connection on each instance')
    t.same(instances.map(({ answered }) => answered), members.map(() => true), 'and is answered by all')
    await assertRevoked(t, members, visitors, claims)
    t.same(visitors.map(({ closed }) => closed), members.map(() => ({ code: 3000, reason: 'token_revoked' })))
  }
  return Math.round(wellAfter)
}

/** Waits until all let in who is good. */
export async function untilAdmitted (members: readonly Reachable[], timeout = 30_000): Promise<void> {
  const deadline = performance.now() + timeout
  for (const { statusOf } of members) {
    while (await statusOf({ sub: 'somebody good' }) !== 101) {
      if (performance.now() > deadline) throw new Error(`nobody is let in within ${timeout} ms`)
      await pause(20)
    }
  }
}

export async function pause (duration: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, duration))
}

/** How many connections Redis has, by any client. */
export async function countConnections (client: Redis): Promise<number> {
  return String(await client.call('CLIENT', 'LIST')).trim().split('\n').length
}

/** An instance in a process of its own. */
export interface RemoteMember extends Reachable {
  readonly process: ChildProcess
  /** Blocks its event loop for so many milliseconds; resolves when that is over, to the messages of its log at level warn and above. */
  block: (duration: number) => Promise<string[]>
}

/** What such a process is told. */
interface Order {
  readonly path: string
  readonly staleAfter: number
}

export async function forkMember (t: Test, { path }: RedisServer, { staleAfter = 30_000 }: Partial<Order> = {}): Promise<RemoteMember> {
  const child = fork(__filename, ['member', JSON.stringify({ path, staleAfter } satisfies Order)], {
    execArgv: process.execArgv.filter((arg) => arg.includes('@tapjs/typescript')),
    env: { ...process.env, NODE_OPTIONS: '' }
  })
  t.teardown(() => { child.kill('SIGKILL') })
  const [port] = await once(child, 'message') as [number]
  return {
    process: child,
    ...reach(t, port),
    block: async (duration) => {
      child.send(duration)
      return (await once(child, 'message'))[0] as string[]
    }
  }
}

async function serve ({ path, staleAfter }: Order): Promise<void> {
  const told: string[] = []
  const stream = { write: (line: string): void => { told.push((JSON.parse(line) as { msg: string }).msg) } }
  const app = Fastify({ logger: { level: 'warn', stream } })
  const client = new Redis({ path })
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, groups, backplane: redisBackplane({ client, staleAfter }) })
  addEcho(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.on('message', (duration: number) => {
    const end = performance.now() + duration
    while (performance.now() < end);
    // What was overdue has its turn, and what that would lead to.
    setTimeout(() => process.send?.(told), staleAfter)
  })
  process.on('disconnect', () => process.exit())
  process.send?.((app.server.address() as AddressInfo).port)
}

if (require.main === module && process.argv[2] === 'member') void serve(JSON.parse(String(process.argv[3])) as Order)
