/*
 * An app each of whose functions can be made to throw, one at a time, while clients do all that clients do. Run as a process of its
 * own it tries the points that its arguments name, and sends what has become of each: an error that is not caught would have ended the process.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { sep } from 'node:path'
import Fastify from 'fastify'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { sign, SECRET, until, within } from './app'
import { statsOf } from './stats'

/** Files of lib, as they are written and as they are compiled, in a stack. */
const LIB = `${sep}lib${sep}`
const OWN = 'throwing-app.'
/** How long each step of a client may take, in milliseconds, whatever becomes of it. */
const STEP_TIMEOUT = 30_000
const CLOSE_TIMEOUT = 30_000
const PER_USER = 4
/** How often the app pings, in milliseconds: a client that a busy machine keeps from its answer for so long is ended. */
const HEARTBEAT = 1000
const AT_ONCE = 8

/** What is thrown: an error; or what a careless handler of errors stumbles over. */
export const KINDS = ['error', 'null', 'frozen', 'unreadable', 'rejection'] as const
export type Kind = typeof KINDS[number]

/** By what a handshake is decided: it is not admitted where one of them fails. */
const DECIDING = ['verify', 'user', 'roles', 'scopes', 'authorize', 'origin', 'claims', 'secret', 'trusted', 'formatUser', 'backplane.isCurrent'] as const
/** What is told, or asked beside: nothing else changes where one of them fails. */
const TELLING = ['logger.debug', 'logger.info', 'logger.warn', 'logger.error', 'subscriber', 'trustProxy', 'socket.terminate',
  'socket.close', 'websocket.errorHandler', 'websocket.preClose', 'backplane.publish', 'backplane.leave', 'backplane.put', 'backplane.get', 'backplane.take', 'onResponse before', 'onResponse after'] as const
/** Whatever becomes of the handshake. */
const OTHERS = ['errorHandler', 'socket.ping', 'handleProtocols', 'socket.send', 'setter of user', 'connection listener', 'onRequest before', 'onRequest after', 'preParsing before', 'preValidation before', 'preValidation after',
  'preHandler after', 'onSend before', 'onSend after', 'onError before', 'onError after'] as const

export type Point = typeof DECIDING[number] | typeof TELLING[number] | typeof OTHERS[number]
export const POINTS: readonly Point[] = [...DECIDING, ...TELLING, ...OTHERS]

/** Those that may answer with a promise. */
const CAN_REJECT = new Set<Point>(['verify', 'user', 'authorize', 'origin', 'secret', 'trusted', 'backplane.publish', 'backplane.put', 'backplane.get', 'backplane.take', 'backplane.leave', 'claims',
  'onRequest before', 'onRequest after', 'preValidation before', 'preValidation after', 'preHandler after', 'onSend before', 'onSend after', 'onResponse before', 'onResponse after'])

/** What has become of one point. */
export interface Outcome {
  readonly point: Point
  readonly kind: Kind
  readonly role: 'deciding' | 'telling' | 'other'
  /** How often it was called while it threw. */
  readonly thrown: number
  /** What nobody caught. */
  readonly uncaught: string[]
  /** What each step of the clients came to; what was not answered in time is `late`. */
  readonly steps: Record<string, string>
  /** What is left once it does not throw any more. */
  readonly pending: number
  readonly connections: number
  /** Of as many good clients as one user may have, how they are answered then. */
  readonly afterwards: string[]
  /** Whether the app could be closed while it threw. */
  readonly isClosed: boolean
}

interface Run {
  readonly point: Point
  readonly kind: Kind
  isArmed: boolean
  thrown: number
  readonly uncaught: string[]
}

const runs = new AsyncLocalStorage<Run>()

function thing (kind: Kind, point: Point): unknown {
  const error = new Error(`thrown by ${point}`)
  if (kind === 'null') return null
  if (kind === 'frozen') return Object.freeze(error)
  if (kind === 'unreadable') return Object.defineProperties(error, Object.fromEntries(['message', 'stack', 'name', 'code', 'statusCode', 'cause'].map((name) => [name, { get () { throw new Error('unreadable') } }])))
  return error
}

/** Throws where it is this point's turn, or answers what rejects. */
function at (run: Run, point: Point): Promise<never> | undefined {
  if (!run.isArmed || run.point !== point) return undefined
  run.thrown++
  const thrown = thing(run.kind, point)
  if (run.kind === 'rejection') return Promise.reject(thrown)
  throw thrown
}

/** Whether our package is who calls: what others call is theirs to catch. */
function isCalledByLib (isOurs: (frame: string) => boolean = () => true): boolean {
  const frames = (new Error().stack ?? '').split('\n').filter((frame) => !frame.includes(OWN))
  return frames.some((frame) => isOfLib(frame) && isOurs(frame)) && !frames.some((frame) => /receiverOn|socketOn|senderOn/.test(frame))
}

function isOfLib (frame: string): boolean {
  return frame.includes(LIB) && !frame.includes('node_modules')
}

function createLogger (run: Run): FastifyBaseLogger {
  const line = (point: Point) => (): void => {
    const caller = (new Error().stack ?? '').split('\n').find((frame) => frame.includes('at ') && !frame.includes(OWN))
    if (caller !== undefined && isOfLib(caller)) void at(run, point)?.catch(() => {})
  }
  const log = {
    level: 'trace',
    silent: () => {},
    child: () => log,
    trace: () => {},
    debug: line('logger.debug'),
    info: line('logger.info'),
    warn: line('logger.warn'),
    error: line('logger.error'),
    fatal: () => {}
  } as unknown as FastifyBaseLogger
  return log
}

function throwingBackplane (run: Run): fastifyWsAuth.Backplane {
  const memory = fastifyWsAuth.memoryBackplane()
  return {
    join (member) {
      const link = memory.join(member)
      return {
        ready: link.ready,
        get isCurrent () { void at(run, 'backplane.isCurrent'); return link.isCurrent },
        publish: (command) => at(run, 'backplane.publish') ?? link.publish(command),
        put: (name, value, ttl) => at(run, 'backplane.put') ?? link.put(name, value, ttl),
        get: (name) => at(run, 'backplane.get') ?? link.get(name),
        take: (name) => at(run, 'backplane.take') ?? link.take(name),
        leave: () => at(run, 'backplane.leave') ?? link.leave()
      }
    }
  }
}

function throwingSocketClass (run: Run): typeof WebSocket {
  const isOurs = (frame: string): boolean => !/[\\/](?:socket|guarded-socket|socket-guard|ws-internals)\.[jt]s/.test(frame)
  return class extends WebSocket {
    override send (...args: unknown[]): void {
      if (isCalledByLib(isOurs)) void at(run, 'socket.send')
      Reflect.apply(WebSocket.prototype.send, this, args)
    }

    override ping (...args: unknown[]): void {
      if (isCalledByLib(isOurs)) void at(run, 'socket.ping')
      Reflect.apply(WebSocket.prototype.ping, this, args)
    }

    override close (...args: unknown[]): void {
      if (isCalledByLib(isOurs)) void at(run, 'socket.close')
      Reflect.apply(WebSocket.prototype.close, this, args)
    }

    override terminate (): void {
      if (isCalledByLib(isOurs)) void at(run, 'socket.terminate')
      WebSocket.prototype.terminate.call(this)
    }
  }
}

function addHooks (app: FastifyInstance, run: Run, when: 'before' | 'after'): void {
  const hook = (name: string): Promise<void> => Promise.resolve(at(run, `${name} ${when}` as Point))
  app.addHook('onRequest', async () => await hook('onRequest'))
  app.addHook('preParsing', async () => { await hook('preParsing') })
  app.addHook('preValidation', async () => await hook('preValidation'))
  app.addHook('preHandler', async () => await hook('preHandler'))
  app.addHook('onSend', async () => await hook('onSend'))
  app.addHook('onResponse', async () => await hook('onResponse'))
  app.addHook('onError', async () => await hook('onError'))
}

const kUser = Symbol('user')

/** Its claims, and `null` where it has none: no key is asked for. */
function readToken (token: string): unknown {
  const [, payload] = token.split('.')
  return payload === undefined ? null : JSON.parse(Buffer.from(payload, 'base64url').toString())
}

/** The functions of @fastify/jwt, or a `verify` in its place. */
function verifierOf (run: Run): fastifyWsAuth.WsAuthOptions {
  const usesJwt = ['secret', 'trusted', 'formatUser'].includes(run.point)
  if (!usesJwt) {
    return { verify: (token) => at(run, 'verify') ?? readToken(token) }
  }
  return {
    jwt: {
      secret: async () => { await at(run, 'secret'); return SECRET },
      trusted: async () => { await at(run, 'trusted'); return true },
      formatUser: (claims) => { void at(run, 'formatUser'); return claims as never }
    }
  }
}

function decorateUser (app: FastifyInstance, run: Run): void {
  app.decorateRequest('user', {
    getter () { return (this as unknown as Record<symbol, unknown>)[kUser] as never },
    setter (value: unknown) { void at(run, 'setter of user'); (this as unknown as Record<symbol, unknown>)[kUser] = value }
  } as never)
}

async function build (run: Run): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: createLogger(run),
    trustProxy: () => { void at(run, 'trustProxy'); return false }
  }) as unknown as FastifyInstance
  if (run.point === 'setter of user') decorateUser(app, run)
  app.setValidatorCompiler(() => (data: unknown) => {
    const isClaims = typeof data === 'object' && data !== null && 'sub' in data
    return (isClaims ? at(run, 'claims') : undefined) as unknown as boolean ?? true
  })
  app.setErrorHandler((error, _request, reply) => {
    void at(run, 'errorHandler')
    void reply.send(error)
  })
  addHooks(app, run, 'before')
  await app.register(fastifyWsAuth, {
    ...verifierOf(run),
    token: { message: true },
    renewal: true,
    tickets: true,
    claims: { type: 'object' },
    user: (claims) => at(run, 'user') ?? claims,
    roles: () => { void at(run, 'roles'); return ['member'] },
    scopes: () => { void at(run, 'scopes'); return ['chat'] },
    origin: async () => await at(run, 'origin') ?? true,
    limits: { perUser: PER_USER },
    heartbeat: { interval: HEARTBEAT },
    backplane: throwingBackplane(run),
    websocket: {
      ...run.point === 'websocket.errorHandler' ? { errorHandler: (_error, socket) => { void at(run, 'websocket.errorHandler'); socket.terminate() } } : {},
      ...run.point === 'websocket.preClose' ? { preClose: (done) => { void at(run, 'websocket.preClose'); done() } } : {},
      options: {
        ...run.point === 'handleProtocols' ? { handleProtocols: (offered) => { void at(run, 'handleProtocols'); return [...offered][0] ?? false } } : {},
        ...run.point.startsWith('socket.') ? { WebSocket: throwingSocketClass(run) } : {}
      }
    }
  })
  addHooks(app, run, 'after')
  app.websocketServer.on('connection', () => { void at(run, 'connection listener') })
  const wsAuth = { roles: ['member'], scopes: ['chat'], authorize: async () => await at(run, 'authorize') ?? true }
  app.get('/chat', { websocket: true, wsAuth }, (socket) => { socket.on('message', (data) => socket.send(`got ${String(data)}`)) })
  app.get('/close', { websocket: true, wsAuth: { ...wsAuth, rejectWith: 'close' } }, () => {})
  app.get('/fail', { websocket: true, wsAuth }, async () => { throw new Error('the handler fails') })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

function seconds (offset: number): number {
  return Math.floor(Date.now() / 1000) + offset
}

function tokenOf (sub: string, lifetime = 600): string {
  return sign({ sub, iat: seconds(-1), exp: seconds(lifetime) })
}

/** What clients do. Each answers in a word what it came to. */
class Clients {
  readonly #port: number
  readonly #sockets: WebSocket[] = []

  constructor (port: number) {
    this.#port = port
  }

  /** The status, and the socket where it is 101. */
  async open (path: string, headers: Record<string, string> = {}): Promise<[string, WebSocket]> {
    const socket = new WebSocket(`ws://127.0.0.1:${this.#port}${path}`, ['chat'], { headers: { origin: 'http://app.example', ...headers } })
    this.#sockets.push(socket)
    socket.on('error', () => {})
    const status = await new Promise<string>((resolve) => {
      socket.on('open', () => resolve('101'))
      socket.on('unexpected-response', (request, { statusCode }) => { request.destroy(); resolve(String(statusCode)) })
      socket.on('error', ({ message }) => resolve(message))
    })
    return [status, socket]
  }

  async openWith (token: string, path = '/chat'): Promise<[string, WebSocket]> {
    return await this.open(path, { authorization: `Bearer ${token}` })
  }

  async ask (method: string, path: string, token: string): Promise<[string, string]> {
    return await new Promise((resolve) => {
      const request = http.request({ port: this.#port, host: '127.0.0.1', method, path, agent: false, headers: { origin: 'http://app.example', authorization: `Bearer ${token}` } }, (response) => {
        let body = ''
        response.on('data', (chunk: Buffer) => { body += String(chunk) })
        response.on('close', () => resolve([String(response.statusCode), body]))
      })
      request.on('error', ({ message }) => resolve([message, '']))
      request.end()
    })
  }

  terminate (): void {
    for (const socket of this.#sockets) socket.terminate()
  }
}

async function closeOf ([status, socket]: [string, WebSocket]): Promise<string> {
  if (status !== '101') return status
  if (socket.readyState === WebSocket.CLOSED) return 'closed'
  const [code, reason] = await once(socket, 'close') as [number, Buffer]
  return `${code} ${String(reason)}`.trim()
}

async function answerOf ([status, socket]: [string, WebSocket], text: string): Promise<string> {
  if (status !== '101') return status
  if (socket.readyState !== WebSocket.OPEN) return 'closed'
  socket.send(text)
  return await new Promise((resolve) => {
    socket.on('close', (code) => resolve(String(code)))
    socket.on('message', (data) => { if (/auth\.(?:ok|error)/.test(String(data))) resolve(String(data).slice(0, 60)) })
  })
}

const authFrame = (token: string): string => JSON.stringify({ type: 'auth', token })

/** Each has a user of its own: none is in the way of the others. */
function stepsOf (app: FastifyInstance, clients: Clients): Record<string, () => Promise<string>> {
  return {
    handshake: async () => (await clients.openWith(tokenOf('ann')))[0],
    'bad handshake': async () => (await clients.openWith('bad'))[0],
    'accept and close': async () => await closeOf(await clients.openWith('bad', '/close')),
    'dry run': async () => (await clients.ask('GET', '/chat', tokenOf('ann')))[0],
    'bad dry run': async () => (await clients.ask('GET', '/chat', 'bad'))[0],
    ticket: async () => {
      const [status, body] = await clients.ask('POST', '/ws-ticket', tokenOf('bob'))
      if (status !== '200') return status
      return `200 ${(await clients.open(`/chat?ticket=${(JSON.parse(body) as { ticket: string }).ticket}`))[0]}`
    },
    'bad ticket': async () => (await clients.open('/chat?ticket=bad'))[0],
    'first message': async () => await answerOf(await clients.open('/chat'), authFrame(tokenOf('cid'))),
    'bad first message': async () => await answerOf(await clients.open('/chat'), authFrame('bad')),
    renewal: async () => await answerOf(await clients.openWith(tokenOf('dan')), authFrame(tokenOf('dan', 900))),
    'bad renewal': async () => await answerOf(await clients.openWith(tokenOf('eve')), authFrame('bad')),
    'renewal without a token': async () => await answerOf(await clients.openWith(tokenOf('fay')), '{"type":"auth"}'),
    'renewal by the app': async () => {
      await clients.openWith(tokenOf('guy'))
      const [connection] = app.wsAuth.connections.bySub('guy')
      return connection === undefined ? 'none' : await connection.renew(tokenOf('guy', 900)).then(() => 'renewed', () => 'refused')
    },
    expiry: async () => await closeOf(await clients.openWith(sign({ sub: 'hal', iat: seconds(-1), exp: Date.now() / 1000 + 1.2 }))),
    'a handler that fails': async () => await closeOf(await clients.openWith(tokenOf('ida'), '/fail')),
    revoke: async () => {
      const client = await clients.openWith(tokenOf('jim'))
      const [result, closed] = await Promise.all([app.wsAuth.revoke({ sub: 'jim' }).then(() => 'done', () => 'rejected'), closeOf(client)])
      return `${result} ${closed}`
    },
    disconnect: async () => {
      const client = await clients.openWith(tokenOf('kim'))
      const [result, closed] = await Promise.all([app.wsAuth.disconnect({ sub: 'kim' }).then(() => 'done', () => 'rejected'), closeOf(client)])
      return `${result} ${closed}`
    },
    heartbeat: async () => {
      await clients.openWith(tokenOf('lou'))
      await new Promise((resolve) => setTimeout(resolve, HEARTBEAT + 200))
      return 'waited'
    }
  }
}

async function isTrueSoon (isTrue: () => boolean): Promise<void> {
  await until(isTrue, 'soon', STEP_TIMEOUT).catch(() => {})
}

async function tryOut (run: Run): Promise<Outcome> {
  const app = await build(run)
  const { port } = app.server.address() as AddressInfo
  const clients = new Clients(port)
  const steps: Record<string, string> = {}
  run.isArmed = true
  await Promise.all(Object.entries(stepsOf(app, clients)).map(async ([name, step]) => {
    steps[name] = await within(STEP_TIMEOUT, name, step()).catch((error: unknown) => /^not within/.test(String((error as Error | null)?.message)) ? 'late' : `failed: ${String(error)}`)
  }))
  clients.terminate()
  run.isArmed = false
  await isTrueSoon(() => statsOf(app).pending === 0 && app.wsAuth.connections.size === 0)
  const { pending, connections } = statsOf(app)
  const good = new Clients(port)
  const afterwards = await Promise.all(Array.from({ length: PER_USER }, async () => (await within(STEP_TIMEOUT, 'a good client', good.openWith(tokenOf('ann'))).catch(() => ['late']))[0] as string))
  run.isArmed = true
  const isClosed = await within(CLOSE_TIMEOUT, 'the end', app.close()).then(() => true, (error: unknown) => !/^not within/.test(String((error as Error | null)?.message)))
  good.terminate()
  // What is thrown late is somebody's too.
  await new Promise((resolve) => setTimeout(resolve, 50))
  const role = (DECIDING as readonly string[]).includes(run.point) ? 'deciding' : (TELLING as readonly string[]).includes(run.point) ? 'telling' : 'other'
  return { point: run.point, kind: run.kind, role, thrown: run.thrown, uncaught: run.uncaught, steps, pending, connections, afterwards, isClosed }
}

function describe (error: unknown): string {
  try {
    return error instanceof Error ? String(error.stack).split('\n').slice(0, 4).join(' | ') : String(error)
  } catch {
    return 'what cannot be read'
  }
}

/** An error each, and of what is odd one in turn: by where whoever throws decides or is told. */
function runsOf (points: readonly Point[]): Run[] {
  const odd: Kind[] = ['null', 'frozen', 'unreadable']
  return points.flatMap((point, i) => {
    const isOther = (OTHERS as readonly string[]).includes(point) && point !== 'setter of user'
    const kinds: Kind[] = ['error', ...isOther ? [] : [odd[i % odd.length] as Kind], ...CAN_REJECT.has(point) ? ['rejection' as const] : []]
    return kinds.map((kind) => ({ point, kind, isArmed: false, thrown: 0, uncaught: [] }))
  })
}

async function main (points: readonly Point[]): Promise<void> {
  Error.stackTraceLimit = 60
  const lost: string[] = []
  const onUncaught = (error: unknown): void => { (runs.getStore()?.uncaught ?? lost).push(describe(error)) }
  process.on('uncaughtException', onUncaught)
  process.on('unhandledRejection', onUncaught)
  subscribe('fastify-ws-auth', () => {
    const run = runs.getStore()
    if (run !== undefined) void at(run, 'subscriber')
  })
  const queue = runsOf(points)
  const outcomes: Outcome[] = []
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let run = queue.shift(); run !== undefined; run = queue.shift()) {
      const { point, kind, uncaught } = run
      const failed = (error: unknown): Outcome => ({ point, kind, role: 'other', thrown: 0, uncaught: [...uncaught, `not started: ${describe(error)}`], steps: {}, pending: 0, connections: 0, afterwards: [], isClosed: false })
      outcomes.push(await runs.run(run, tryOut, run).catch(failed))
    }
  }))
  process.send?.({ outcomes, lost }, () => process.exit(0))
}

if (process.argv[2] === 'run' && require.main === module) void main(process.argv.slice(3) as Point[])
