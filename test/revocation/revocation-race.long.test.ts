/*
 * Ten thousand small worlds, in each of which handshakes, first messages, tickets, renewals, revocations and disconnects of
 * one user go on at the same time, on two instances, and whatever has to wait goes on in random order. Afterwards nobody is
 * open who is revoked, and nobody is closed or was refused for nothing. In the environment, RACE_SEED plays another seed and
 * RACE_WORLDS sets the number.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { memoryBackplane } from '../../lib/index'
import { prepare, until } from '../helpers/app'
import { randomFrom } from '../helpers/random'
import { clientFrame, requestText } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const SEED = Number(process.env.RACE_SEED ?? Date.now() % 1e9)
const WORLDS = Number(process.env.RACE_WORLDS ?? 10_000)
const STEPS = 12
const AT_ONCE = 25

type Claims = { sub: string, iss: string, iat?: number, jti?: string, sid?: string, team?: string }
type Timed = { sub: string } | { group: string } | { iss: string }
type Revocation = { jti: string } | { sid: string } | Timed & { beforeAt: number }

const NOW = Math.floor(Date.now() / 1000)
const outcomes: Record<string, number> = {}

function count (outcome: string): void {
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
}

async function turn (): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

/** A client that writes down what it gets, and answers a close frame. */
class Client {
  readonly claims: Claims
  /** What the server has of it, once its handler was run. */
  connection: fastifyWsAuth.Connection | null = null
  /** Of the answer to its handshake. */
  status = 0
  /** The code of the error that it was refused with. */
  code: string | null = null
  closedBy: string | null = null
  isAuthenticated = false
  asked = 0
  answered = 0
  readonly socket: Socket
  #bytes = Buffer.alloc(0)
  #isGone = false

  constructor (path: string, claims: Claims, url: string, headers: Record<string, string>, firstMessage: string | null) {
    this.claims = claims
    this.socket = connect(path)
    this.socket.on('error', () => {})
    this.socket.on('close', () => { this.#isGone = true })
    this.socket.on('data', (chunk) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk])
      if (this.status === 0) this.#readAnswer()
      if (this.status === 101) while (this.#readFrame());
    })
    this.socket.write(requestText({ path: url, headers }))
    if (firstMessage !== null) this.send(firstMessage)
  }

  send (text: string): void {
    this.socket.write(clientFrame(1, text))
  }

  /** Whether there is nothing more to come of what it has asked for. */
  get isSettled (): boolean {
    if (this.closedBy !== null || this.#isGone) return true
    return this.status === 101 && this.isAuthenticated && this.answered === this.asked
  }

  #readAnswer (): void {
    const text = this.#bytes.toString('latin1')
    const end = text.indexOf('\r\n\r\n')
    if (end === -1) return
    const status = Number(text.slice(9, 12))
    if (status !== 101) this.code = /"code":"(\w+)"/.exec(text)?.[1] ?? null
    if (status !== 101 && this.code === null) return
    this.status = status
    this.#bytes = this.#bytes.subarray(end + 4)
  }

  #readFrame (): boolean {
    const [head = 0, length = Infinity] = this.#bytes
    if (this.#bytes.length < 2 + length) return false
    const payload = this.#bytes.subarray(2, 2 + length)
    this.#bytes = this.#bytes.subarray(2 + length)
    if ((head & 15) === 8) {
      this.closedBy = `${payload.readUInt16BE(0)} ${payload.subarray(2).toString()}`
      this.socket.end(clientFrame(8, payload.subarray(0, 2)))
      return false
    }
    if (!this.isAuthenticated) this.isAuthenticated = true
    else this.answered++
    return true
  }
}

/** What there is of one user. */
class World {
  readonly sub: string
  readonly random: () => number
  readonly tokens = new Map<string, Claims>()
  readonly clients = new Map<string, Client>()
  readonly revocations: Revocation[] = []
  readonly disconnected = new Set<string>()
  /** Calls of `renew` that have not been answered. */
  renewing = 0
  readonly wrong: string[] = []
  #held: Array<() => void> = []

  constructor (number: number) {
    this.sub = `user${number}`
    this.random = randomFrom(SEED + number * 7919)
  }

  pick<T> (...items: T[]): T {
    return items[Math.floor(this.random() * items.length)] as T
  }

  /** At once, or when it is released. */
  eventually<T> (value: T): T | Promise<T> {
    if (this.random() < 0.3) return value
    return new Promise((resolve) => this.#held.push(() => resolve(value)))
  }

  get isWaiting (): boolean {
    return this.#held.length > 0
  }

  release (): void {
    const [one] = this.#held.splice(Math.floor(this.random() * this.#held.length), 1)
    one?.()
  }

  claims (): Claims {
    const claims: Claims = { sub: this.sub, iss: `issuer of ${this.sub}` }
    const iat = this.pick(NOW - 30, NOW - 20, NOW - 20, NOW - 10.5, NOW - 10.5, undefined)
    if (iat !== undefined) claims.iat = iat
    if (this.random() < 0.8) claims.jti = `${this.sub}:${this.pick('a', 'b', 'c')}`
    if (this.random() < 0.6) claims.sid = `${this.sub}:${this.pick('x', 'y')}`
    if (this.random() < 0.6) claims.team = `${this.sub}:${this.pick('p', 'q')}`
    return claims
  }

  token (claims: Claims): string {
    const token = `${this.sub}.${this.tokens.size}`
    this.tokens.set(token, claims)
    return token
  }

  isRevoked ({ sub, iss, iat, jti, sid, team }: Claims): boolean {
    return this.revocations.some((revocation) => {
      if ('jti' in revocation) return revocation.jti === jti
      if ('sid' in revocation) return revocation.sid === sid
      const isMeant = 'sub' in revocation ? revocation.sub === sub : 'iss' in revocation ? revocation.iss === iss : revocation.group === team
      return isMeant && (iat === undefined || Math.floor(iat) <= Math.floor(revocation.beforeAt / 1000))
    })
  }
}

t.comment(`RACE_SEED=${SEED}`)

t.test('no revoked connection stays open and no other connection is closed, in any order of events', { timeout: 590_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'fastify-ws-auth-race-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const worlds = new Map<string, World>()
  const backplane = memoryBackplane()
  const worldOf = (name: string): World => worlds.get(name) as World
  const apps: Array<{ app: FastifyInstance, path: string }> = []
  for (const name of ['one', 'two']) {
    const { app } = await prepare(t, {
      server: { logger: false },
      plugin: {
        backplane,
        renewal: true,
        groups: ({ team }) => team === undefined ? [] : [team],
        tickets: true,
        token: { message: true },
        verify: (token) => {
          const world = worldOf(token.split('.')[0] as string)
          return world.eventually({ ...world.tokens.get(token) })
        }
      },
      routes: (app) => {
        const authorize = ({ sub }: Claims): boolean | Promise<boolean> => worldOf(sub).eventually(true)
        app.get('/chat/:world/:client', { websocket: true, wsAuth: { authorize: authorize as never } }, (_socket, request) => {
          const { world, client } = request.params as Record<'world' | 'client', string>
          const { connection } = Object.assign(worldOf(world).clients.get(client) as Client, { connection: request.wsAuth })
          // Nobody must see one that is revoked already, by any means.
          if (worldOf(world).isRevoked(connection?.claims as Claims)) worldOf(world).wrong.push('the handler was run for one that is revoked')
        })
      }
    })
    const path = join(folder, name)
    await app.listen({ path })
    apps.push({ app, path })
  }

  /** The open connections that a claim, or an id, is about. */
  const found = (match: Record<string, string | number>): fastifyWsAuth.Connection[] => {
    const [[kind, value] = []] = Object.entries(match)
    return apps.flatMap(({ app }) => [...app.wsAuth.connections]).filter((connection) => kind === 'id' ? connection.id === value : kind === 'group' ? connection.groups.includes(value as string) : connection.claims?.[kind as string] === value)
  }

  type Step = [weight: number, run: (world: World) => unknown]
  const steps: [Step, ...Step[]] = [
    [1, (world) => {
      const { path } = world.pick(...apps)
      const [claims, name] = [world.claims(), `${world.clients.size}`]
      const headers = { authorization: `Bearer ${world.token(claims)}` }
      world.clients.set(name, new Client(path, claims, `/chat/${world.sub}/${name}`, headers, null))
    }],
    [0.7, (world) => {
      const { path } = world.pick(...apps)
      const [claims, name] = [world.claims(), `${world.clients.size}`]
      const message = JSON.stringify({ type: 'auth', token: world.token(claims) })
      world.clients.set(name, new Client(path, claims, `/chat/${world.sub}/${name}`, {}, message))
    }],
    [0.7, async (world) => {
      const claims = { iat: NOW - 20, ...world.claims() }
      const { ticket } = await world.pick(...apps).app.wsAuth.issueTicket(claims)
      const name = `${world.clients.size}`
      world.clients.set(name, new Client(world.pick(...apps).path, claims, `/chat/${world.sub}/${name}?ticket=${ticket}`, {}, null))
    }],
    [4, (world) => {
      const client = world.pick(...world.clients.values())
      if (client === undefined || client.connection === null) return
      const claims = world.claims()
      const token = world.token(claims)
      if (world.random() < 0.5) {
        if (client.asked > 5 || client.closedBy !== null) return
        client.asked++
        return client.send(JSON.stringify({ type: 'auth', token }))
      }
      const { connection } = client
      const isOpen = (): boolean => found({ id: connection.id }).length === 1
      world.renewing++
      void connection.renew(token).then(() => { count('renewed') }, ({ code }) => {
        count(`renewal ${code}`)
        const isOlder = (claims.iat ?? -Infinity) < (connection.claims?.iat as number ?? -Infinity)
        if (code === 'WS_AUTH_TOKEN_REVOKED' ? !world.isRevoked(claims) : code !== 'WS_AUTH_TOKEN_INVALID' || (isOpen() && !isOlder)) world.wrong.push(`a renewal was refused with ${code}`)
      }).finally(() => { world.renewing-- })
    }],
    [1, async (world) => {
      const match = world.pick<Revocation>({ jti: `${world.sub}:${world.pick('a', 'b', 'c')}` }, { sid: `${world.sub}:${world.pick('x', 'y')}` },
        { ...world.pick<Timed>({ sub: world.sub }, { iss: `issuer of ${world.sub}` }, { group: `${world.sub}:${world.pick('p', 'q')}` }), beforeAt: (NOW - world.pick(40, 30, 20, 11, 10)) * 1000 + world.pick(0, 999) })
      world.revocations.push(match)
      const about = found(match).filter(({ claims }) => world.isRevoked(claims as Claims)).length
      const { closed } = await world.pick(...apps).app.wsAuth.revoke(match)
      count(closed === 0 ? 'revoked nobody' : 'revoked')
      if (closed !== about) world.wrong.push(`revoking ${JSON.stringify(match)} closed ${closed} of ${about}`)
    }],
    [0.7, async (world) => {
      const ids = found({ sub: world.sub }).map(({ id }) => ({ id }))
      const match = world.pick<Record<string, string>>({ jti: `${world.sub}:${world.pick('a', 'b', 'c')}` }, { group: `${world.sub}:${world.pick('p', 'q')}` }, { sid: `${world.sub}:${world.pick('x', 'y')}` }, world.pick(...ids) ?? { id: 'none' })
      const about = found(match)
      for (const { id } of about) world.disconnected.add(id)
      const { closed } = await world.pick(...apps).app.wsAuth.disconnect(match as never)
      count(closed === 0 ? 'disconnected nobody' : 'disconnected')
      if (closed !== about.length) world.wrong.push(`disconnecting ${JSON.stringify(match)} closed ${closed} of ${about.length}`)
    }],
    [4, (world) => world.release()],
    [4, async (world) => { for (let i = world.pick(1, 1, 2, 3); i > 0; i--) await turn() }]
  ]
  const total = steps.reduce((sum, [weight]) => sum + weight, 0)
  const step = async (world: World): Promise<void> => {
    let left = world.random() * total
    await steps.find(([weight]) => (left -= weight) < 0)?.[1](world)
  }

  const isOver = (world: World): boolean => !world.isWaiting && world.renewing === 0 && [...world.clients.values()].every((client) => client.isSettled)

  const judge = (world: World, client: Client): string | null => {
    const { connection, status, code, closedBy } = client
    const claims = connection?.claims as Claims | undefined ?? client.claims
    const isOpen = connection !== null && found({ id: connection.id }).length === 1
    const how = status !== 101 ? `${status} ${code}` : closedBy ?? 'open'
    count(connection === null && closedBy !== null ? `${closedBy}, before its handler was run` : how)
    switch (how) {
      case 'open': return isOpen && !world.isRevoked(claims) ? null : `open with ${JSON.stringify(claims)}`
      case '401 WS_AUTH_TOKEN_REVOKED':
      case '3000 token_revoked': return !isOpen && world.isRevoked(claims) ? null : `closed with ${JSON.stringify(claims)}`
      // Without a connection: between the first check and the second nothing can disconnect it.
      case '3003 disconnected': return !isOpen && connection !== null && world.disconnected.has(connection.id) ? null : 'disconnected for nothing'
    }
    return how
  }

  const play = async (number: number): Promise<void> => {
    const world = new World(number)
    worlds.set(world.sub, world)
    const deadline = Date.now() + 30_000
    const settle = async (): Promise<void> => {
      while (!isOver(world) && Date.now() < deadline) {
        world.release()
        await turn()
      }
    }
    // Two are there before the others come.
    for (let i = 0; i < 2; i++) steps[0][1](world)
    await settle()
    for (let i = 0; i < STEPS; i++) await step(world)
    await settle()
    if (!isOver(world)) world.wrong.push(`not settled: ${JSON.stringify([...world.clients.values()].map(({ status, closedBy, asked, answered }) => [status, closedBy, asked, answered]))}`)
    // What was decided in the last turn is told in the next ones.
    const isTold = (client: Client): boolean => client.connection === null || client.closedBy !== null || found({ id: client.connection.id }).length === 1
    for (let i = 0; i < 1000 && ![...world.clients.values()].every(isTold); i++) await turn()
    for (const client of world.clients.values()) {
      const why = judge(world, client)
      if (why !== null) world.wrong.push(why)
    }
    if (world.wrong.length > 0) t.fail(`world ${number} of seed ${SEED}: ${world.wrong.join('; ')}; ${JSON.stringify(world.revocations)}`)
    for (const { socket } of world.clients.values()) socket.destroy()
    worlds.delete(world.sub)
  }

  let next = 0
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (next < WORLDS) await play(next++)
  }))

  t.comment(JSON.stringify(outcomes))
  await until(() => apps.every(({ app }) => app.wsAuth.connections.size === 0), 'all have left')
  for (const { app } of apps) {
    const { connections, pending, accepted, closed } = statsOf(app)
    t.equal(Object.values(closed).reduce((sum, count) => sum + count, 0), accepted, 'each that was accepted has ended once')
    t.strictSame({ connections, pending }, { connections: 0, pending: 0 })
  }
  for (const outcome of ['open', '401 WS_AUTH_TOKEN_REVOKED', '3000 token_revoked', '3000 token_revoked, before its handler was run', '3003 disconnected', 'renewed', 'renewal WS_AUTH_TOKEN_REVOKED', 'renewal WS_AUTH_TOKEN_INVALID', 'revoked', 'disconnected']) {
    t.ok(outcomes[outcome], `it came to ${outcome}`)
  }
})
