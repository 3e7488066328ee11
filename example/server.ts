/*
 * A small chat over authenticated WebSockets: one room for members, one for admins.
 *
 *   npm start                          prints the URL to open
 *   npm start -- --port 3001           another port (or PORT=3001); 0 takes any free one
 *   npm start -- --demo                without a browser: a few clients on the terminal, then it exits
 *   npm start -- --redis               two instances that agree by Redis: that of REDIS_URL, or one of their own
 *   JWT_SECRET=<32 bytes> npm start    logins outlive a restart
 *   HTTPS=1 npm start                  behind a proxy that speaks TLS
 */
import { createHash, randomBytes, randomUUID, scrypt, timingSafeEqual } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'
import type { WebSocket } from '@fastify/websocket'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fastifyWsAuth from 'fastify-ws-auth'
import type { Connection, WsAuthRole as Role } from 'fastify-ws-auth'
import { redisBackplane } from 'fastify-ws-auth/redis'
import type { Redis } from 'ioredis'
import { runDemo } from './demo'
import { openRedis } from './redis'

/**
 * What a token says of its holder. `sid` names one login: logging out ends what that login has opened. The login is kept
 * in the cookie; what scripts can read is a token for a connection, and good for nothing else.
 */
interface User { sub: string, roles: Role[], sid: string, use: 'login' | 'connection' }

// `request.user` is a User everywhere, and a route that asks for the role 'admn' does not compile.
declare module '@fastify/jwt' { interface FastifyJWT { user: User } }
declare module 'fastify-ws-auth' { interface WsAuthTypes { role: 'member' | 'admin' } }

interface Account { roles: Role[], salt: Buffer, hash: Buffer }

const derive = promisify<string, Buffer, number, Buffer>(scrypt)
const account = (roles: Role[], salt: string, hash: string): Account =>
  ({ roles, salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') })

/** The page says the passwords: this is a demonstration. */
const ACCOUNTS = new Map<string, Account>([
  ['ann', account(['member'], '0PLtm+nNaIjC5fLebr+bcg==', 'O36QmHi98Rg3BrOcu2M68xDfP44B4Ba/Usjx7pNYzs8=')],
  ['bea', account(['member', 'admin'], 'GWA738o8JtDMU5gLKFDyXw==', '+/Rog3oGt2O1BWo0pnmjbDljVsLWNUB5zimp++K3SRg=')]
])
/** Stands in for an unknown name, which so takes as long to refuse as a wrong password does. */
const NOBODY: Account = { roles: [], salt: randomBytes(16), hash: randomBytes(32) }

// Only a cookie that is Secure may be called __Host-, which forbids other hosts of the domain to set it. Browsers keep
// Secure cookies to HTTPS, and not all of them make an exception for localhost: over plain HTTP it has a plain name.
const IS_HTTPS = process.env.HTTPS === '1'
const COOKIE = IS_HTTPS ? '__Host-chat_token' : 'chat_token'
const COOKIE_OPTIONS = { httpOnly: true, sameSite: 'strict', path: '/', secure: IS_HTTPS } as const
/** All instances have the same, so that a login at one is a login at all. */
const SECRET = process.env.JWT_SECRET || randomBytes(32).toString('hex')
const LOGIN_SECONDS = 8 * 60 * 60
/** The longest life of a token that scripts can read. Who asks for less sees sooner what becomes of a connection. */
const TOKEN_SECONDS = 5 * 60

const MAX_TEXT = 500
const MAX_HISTORY = 50
const MAX_BUFFERED = 1024 * 1024

/** @param redis by what the instances agree; without it there is one */
async function createApp (redis?: Redis): Promise<FastifyInstance> {
  const app = Fastify({
    logger: { level: process.env.LOG_LEVEL || 'warn' },
    bodyLimit: 4096,
    // Browsers open connections in advance. A server that ends would wait for the request.
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
    // POST /ws-ticket. The one credential that does no harm in a URL: it has been used before anybody reads it in a log.
    tickets: true,
    // A revocation is kept for as long as any token could live that it is about.
    revocationTtl: (LOGIN_SECONDS + 60) * 1000,
    backplane: redis && redisBackplane({ client: redis }),
    // A page cannot see the status of a refused handshake: it gets a close code. Anyone else gets the status.
    rejectWith: 'auto',
    // A connection ends with its token, unless the client goes on with a new one. One that is on its way may still arrive.
    renewal: true,
    expiryGrace: 2000,
    // For a tab too many the oldest connection gives way. Its page must not come back by itself: the two would take turns.
    limits: { perUser: 10, onLimit: 'close-oldest' },
    heartbeat: { interval: 30_000 },
    websocket: { options: { maxPayload: 16 * 1024 } }
  })
  addPage(app)
  addLogin(app)
  addRooms(app)
  return app
}

// The page

function addPage (app: FastifyInstance): void {
  const page = readFileSync(join(__dirname, '../index.html'), 'utf8').replaceAll('\r\n', '\n')
  const headers = {
    'content-security-policy': "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; " +
      `frame-ancestors 'none'; require-trusted-types-for 'script'; script-src ${hashOf(page, 'script')}; style-src ${hashOf(page, 'style')}`,
    'cache-control': 'no-store',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY'
  }
  app.addHook('onRequest', async (_request, reply) => { reply.headers(headers) })
  app.get('/', async (_request, reply) => reply.type('text/html; charset=utf-8').send(page))
}

/** The one inline script and style of the page are allowed by what they are: anything injected is something else. */
function hashOf (page: string, tag: 'script' | 'style'): string {
  const text = new RegExp(`<${tag}[^>]*>([^]*?)</${tag}>`).exec(page)?.[1] ?? ''
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}

// Logging in and out

class HttpError extends Error {
  constructor (readonly statusCode: number, message: string) { super(message) }
}

interface TokenBody { lifetime: number }
interface LoginBody extends TokenBody { name: string, password: string }

/** In seconds. */
const LIFETIME = { type: 'integer', minimum: 1, maximum: TOKEN_SECONDS, default: TOKEN_SECONDS }

const LOGIN_SCHEMA = {
  body: {
    type: 'object',
    required: ['name', 'password'],
    additionalProperties: false,
    properties: {
      name: { type: 'string', minLength: 1, maxLength: 64 },
      password: { type: 'string', minLength: 1, maxLength: 128 },
      lifetime: LIFETIME
    }
  }
}

const TOKEN_SCHEMA = { body: { type: 'object', additionalProperties: false, properties: { lifetime: LIFETIME } } }

function addLogin (app: FastifyInstance): void {
  const mayLogin = createLimit(20, 60_000)

  app.post<{ Body: LoginBody }>('/login', { onRequest: checkOrigin, schema: LOGIN_SCHEMA }, async (request, reply) => {
    if (!mayLogin(request.ip)) throw new HttpError(429, 'Too many attempts: wait a minute')
    const { name, password, lifetime } = request.body
    const user = await findUser(name, password)
    if (user === null) throw new HttpError(401, 'Wrong name or password')
    const sign = (): { login: string, token: string } =>
      ({ login: app.jwt.sign(user, { expiresIn: LOGIN_SECONDS }), token: signForConnection(app, user, lifetime) })
    let { login, token } = sign()
    // A token knows only the second of its issue. Who has logged out everywhere in this one gets a login of the next.
    if (app.wsAuth.isRevoked(app.jwt.verify<User>(login))) {
      await delay(1001 - Date.now() % 1000);
      ({ login, token } = sign())
    }
    reply.setCookie(COOKIE, login, { ...COOKIE_OPTIONS, maxAge: LOGIN_SECONDS })
    return { user: profileOf(user), token }
  })

  app.get('/me', { onRequest: authenticate }, async ({ user }) => ({ user: profileOf(user) }))

  // To connect with, or for an open connection to go on with: the login is renewed by logging in.
  app.post<{ Body: TokenBody }>('/token', { onRequest: [checkOrigin, authenticate], schema: TOKEN_SCHEMA }, async (request) => {
    const token = signForConnection(app, request.user, request.body.lifetime)
    // Once more: its body may have come in long after the login was revoked. What is revoked after this was signed before.
    await authenticate(request)
    return { token }
  })

  // For the page, to show what becomes of one.
  app.get('/expired-token', { onRequest: authenticate }, async ({ user }) => ({ token: signForConnection(app, user, -60) }))

  // The cookie goes, even where the other instances cannot be told (503).
  app.post('/logout', { onRequest: [checkOrigin, authenticate] }, async ({ user }, reply) => {
    reply.clearCookie(COOKIE, COOKIE_OPTIONS)
    await app.wsAuth.revoke({ sid: user.sid })
    return reply.code(204).send()
  })

  app.post('/logout-everywhere', { onRequest: [checkOrigin, authenticate] }, async ({ user }, reply) => {
    reply.clearCookie(COOKIE, COOKIE_OPTIONS)
    const { closed, instances } = await app.wsAuth.revoke({ sub: user.sub })
    return { closed, instances: instances.length }
  })
}

async function findUser (name: string, password: string): Promise<User | null> {
  const { roles, salt, hash } = ACCOUNTS.get(name) ?? NOBODY
  const isRight = timingSafeEqual(await derive(password, salt, hash.length), hash)
  return isRight ? { sub: name, roles, sid: randomUUID(), use: 'login' } : null
}

/** Another port of this host is the same site: SameSite lets its pages send the cookie. Programs send no Origin. */
async function checkOrigin ({ headers: { origin }, host }: FastifyRequest): Promise<void> {
  const own = `${IS_HTTPS ? 'https' : 'http'}://${host}`
  if (origin !== undefined && origin !== own) throw new HttpError(403, `Only for pages of ${own}`)
}

/** For plain requests; the plugin guards the websockets. A token for a connection must not be good for getting the next. */
async function authenticate (request: FastifyRequest): Promise<void> {
  const user = await request.jwtVerify<User>().catch(() => null)
  if (user?.use !== 'login' || request.server.wsAuth.isRevoked(user)) throw new HttpError(401, 'Please log in')
}

async function checkAdmin ({ user }: FastifyRequest): Promise<void> {
  if (!user.roles.includes('admin')) throw new HttpError(403, 'Only for admins')
}

function signForConnection (app: FastifyInstance, { sub, roles, sid }: User, seconds: number): string {
  const user: User = { sub, roles, sid, use: 'connection' }
  return app.jwt.sign(user, { expiresIn: seconds })
}

function profileOf ({ sub, roles }: User): object {
  return { name: sub, roles }
}

// The rooms. Each instance has its own: what is said here would have to be told by Redis too, which is not our subject.

function addRooms (app: FastifyInstance): void {
  const members = new Room()
  const admins = new Room()
  app.get('/members', { websocket: true, wsAuth: { roles: ['member'] } }, members.enter)
  app.get('/admins', { websocket: true, wsAuth: { roles: ['admin'] } }, admins.enter)
  // A browser adds the cookie to every handshake. Here only a token counts that a page has sent by itself.
  app.get('/members/no-cookie', { websocket: true, wsAuth: { roles: ['member'], token: { cookie: false } } }, members.enter)
  // Whoever sends no token with the handshake may send it in the first message, within 5 s, and is in no room before.
  const token = { cookie: false, message: { timeout: 5000 } }
  app.get('/members/first-message', { websocket: true, wsAuth: { roles: ['member'], token } }, members.enter)

  // Those of this instance: nobody has a list of all.
  app.get('/connections', { onRequest: authenticate }, async ({ user }) => {
    const { connections, stats } = app.wsAuth
    if (user.roles.includes('admin')) return { connections: [...connections].map(viewOf), stats: stats() }
    return { connections: connections.bySub(user.sub).map(viewOf), stats: null }
  })

  // On whatever instance it is.
  const params = { type: 'object', properties: { id: { type: 'string', minLength: 1 } } }
  app.post<{ Params: { id: string } }>('/connections/:id/disconnect', { onRequest: [checkOrigin, authenticate, checkAdmin], schema: { params } }, async ({ params: { id } }) => {
    return await app.wsAuth.disconnect({ id })
  })

  // What the plugin decides, while it does, in all apps of the process: no token is part of it. Anybody can have a lot
  // refused, and is not to flood us.
  const mayTell = createLimit(20, 1000)
  const tellAdmins = (event: unknown): void => { if (mayTell('')) admins.tell({ type: 'event', event }) }
  subscribe('fastify-ws-auth', tellAdmins)
  app.addHook('onClose', async () => { unsubscribe('fastify-ws-auth', tellAdmins) })
}

/** Whoever is in a room, and what was said there last. */
class Room {
  readonly #sockets = new Map<WebSocket, string>()
  readonly #history: object[] = []
  readonly #maySay = createLimit(10, 5000)

  /** The handler of the room's route. Whoever comes here is authenticated already, and may be here. */
  // Of the user only `sub` is used here, which no renewal changes: roles would have to be read from the request each time.
  readonly enter = (socket: WebSocket, { user, wsAuth }: FastifyRequest): void => {
    socket.on('message', (data, isBinary) => {
      if (!this.#maySay(user.sub)) return socket.close(1008, 'too_many_messages')
      const text = isBinary ? null : readText(String(data))
      if (text !== null) this.#say(user.sub, text)
      else send(socket, JSON.stringify({ type: 'error', message: `Expected {"type":"say","text":"1 to ${MAX_TEXT} characters"}` }))
    })
    socket.on('close', () => {
      this.#sockets.delete(socket)
      this.#sendOnline()
    })
    this.#sockets.set(socket, user.sub)
    send(socket, JSON.stringify({ type: 'welcome', connection: wsAuth && viewOf(wsAuth), history: this.#history }))
    this.#sendOnline()
  }

  /** Sends a frame to whoever is in the room. */
  tell (frame: object): void {
    const text = JSON.stringify(frame)
    for (const socket of this.#sockets.keys()) send(socket, text)
  }

  #say (name: string, text: string): void {
    const said = { type: 'said', name, text, at: Date.now() }
    this.#history.push(said)
    if (this.#history.length > MAX_HISTORY) this.#history.shift()
    this.tell(said)
  }

  #sendOnline (): void {
    this.tell({ type: 'online', names: [...new Set(this.#sockets.values())].sort() })
  }
}

/** The text that a frame says, or `null` where it is not a frame of ours. */
function readText (data: string): string | null {
  try {
    const { type, text } = Object(JSON.parse(data)) as { type?: unknown, text?: unknown }
    if (type !== 'say' || typeof text !== 'string' || text.length > MAX_TEXT) return null
    return text.trim() || null
  } catch {
    return null
  }
}

/** A client that does not read must not make the server remember: it is dropped. */
function send (socket: WebSocket, text: string): void {
  if (socket.bufferedAmount > MAX_BUFFERED) socket.terminate()
  else socket.send(text)
}

/** What the server knows of a connection and may tell: not its claims. */
function viewOf ({ id, user, source, openedAt, expiresAt }: Connection): object {
  return { id, name: user?.sub, roles: user?.roles, source, openedAt, expiresAt }
}

/** A function that says yes at most `max` times for a key in each `period` of milliseconds. What it remembers is bounded. */
function createLimit (max: number, period: number): (key: string) => boolean {
  const counts = new Map<string, number>()
  let endsAt = 0
  return (key) => {
    if (Date.now() >= endsAt || counts.size >= 10_000) {
      counts.clear()
      endsAt = Date.now() + period
    }
    const count = (counts.get(key) ?? 0) + 1
    counts.set(key, count)
    return count <= max
  }
}

// The command line

async function main (): Promise<void> {
  const { values } = parseArgs({ options: { port: { type: 'string' }, demo: { type: 'boolean' }, redis: { type: 'boolean' } } })
  // The demonstration brings its own clients, and needs no port that anyone knows.
  const port = readPort(values.port ?? (values.demo ? '0' : process.env.PORT || '3000'))
  const redis = values.redis ? await openRedis() : undefined
  const apps: FastifyInstance[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(apps.map((app) => app.close()))
    await redis?.stop()
  }
  try {
    const urls: string[] = []
    for (const each of redis === undefined ? [port] : [port, port && readPort(String(port + 1))]) {
      const app = await createApp(redis?.connect())
      apps.push(app)
      urls.push(await app.listen({ host: '127.0.0.1', port: each }))
    }
    if (!process.env.JWT_SECRET && !values.demo) console.log('JWT_SECRET is not set: all logins end with this process')
    for (const url of urls) console.log(`listening on ${url}`)
    if (redis !== undefined) console.log(`two instances, which agree by ${redis.name}`)
    // At Ctrl-C it comes from the terminal and once more from npm: the second one must not end us before we have tidied up.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => { void stop() })
    if (values.demo) await runDemo(urls, stop).finally(stop)
  } catch (error) {
    await stop()
    throw error
  }
}

function readPort (text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65535) throw new Error(`the port must be a number from 0 to 65535, not ${text}`)
  return Number(text)
}

main().catch(({ code, message, port }: Error & { code?: string, port?: number }) => {
  const isTaken = code === 'EADDRINUSE'
  console.error(isTaken ? `port ${port} is taken: choose another, or any that is free with  npm start -- --port 0` : message)
  process.exitCode = 1
})
