/*
 * `fastify-ws-auth/client/testing`: a server for tests of pages and other clients. It is a real Fastify with this package, on a port of
 * 127.0.0.1, behind a network that can be lost.
 */
import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { assertNoMore, readArgument } from '../base/checks'
import fastifyWsAuth from '../index'
import { blackhole } from './blackhole'
import type { Blackhole } from './blackhole'
import { moveClock, restoreClock } from './move-clock'
import { restartable } from './restartable'
import type { RestartableServer } from './restartable'
import { signIn } from './sign-in'

/** What a {@link TestServer} is made of. */
export interface TestServerOptions {
  /** Options of the plugin, beside `jwt`. Default `{ tickets: true }` */
  readonly plugin?: Omit<fastifyWsAuth.WsAuthOptions, 'jwt'>
  /** The handler of the websocket. Default: sends each message back */
  readonly handler?: (socket: fastifyWsAuth.WebSocket, request: FastifyRequest) => unknown
  /** Declares further routes, each time that an app is made. */
  readonly routes?: (app: FastifyInstance) => unknown
}

/** How long a token lives, in milliseconds. */
const LIFE = 60_000

/**
 * Starts a server. Pages of any origin may ask it for tickets and make dry runs.
 *
 * @throws TypeError for wrong options
 */
export async function testServer (options: TestServerOptions = {}): Promise<TestServer> {
  const { plugin, handler = echo, routes, ...rest } = readArgument('options', options) as TestServerOptions
  assertNoMore('options', rest, ['plugin', 'handler', 'routes'])
  const secret = randomBytes(32).toString('hex')
  // Tokens, tickets and revocations outlive a restart.
  const backplane = fastifyWsAuth.memoryBackplane()
  const server = await restartable(async () => {
    const app = Fastify({ forceCloseConnections: true })
    allowPages(app)
    await app.register(fastifyWsAuth, { tickets: true, backplane, ...plugin, jwt: { secret } })
    app.get('/', { websocket: true }, (socket, request) => handler(socket, request) as void)
    await routes?.(app)
    return app
  })
  return new TestServer(server, await blackhole(server.url), plugin?.expiryGrace ?? 0)
}

function echo (socket: fastifyWsAuth.WebSocket): void {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
}

/** A server that does to its clients what servers and networks do. Made by {@link testServer}. */
class TestServer {
  readonly #server: RestartableServer<FastifyInstance>
  readonly #network: Blackhole
  readonly #grace: number
  /** The name of the login that `revoke` ends next. */
  #login = 1
  /** When the last token expires, in seconds since the epoch. */
  #lastExp = 0
  #hasMovedClock = false

  constructor (server: RestartableServer<FastifyInstance>, network: Blackhole, grace: number) {
    this.#server = server
    this.#network = network
    this.#grace = grace
  }

  /** The websocket: `ws://127.0.0.1:<port>/`. Tickets are at `/ws-ticket`. It stays the same. */
  get url (): string {
    return `${this.#network.url}/`
  }

  /** The app that runs now, for everything else: `server.app.wsAuth.connections.size`. */
  get app (): FastifyInstance {
    return this.#server.app
  }

  /** A new token. @param life how many milliseconds it is good. Default 60 000 @param claims default of `sub`: `'ann'` */
  async token (life = LIFE, claims: object = {}): Promise<string> {
    const exp = Math.ceil((Date.now() + life) / 1000)
    const { token } = await signIn(this.app, { sub: 'ann', sid: String(this.#login), exp, ...claims })
    this.#lastExp = Math.max(this.#lastExp, exp)
    return token
  }

  /** Lets all tokens of `token()` expire, without time to renew: `token_expired`. It moves the clock of this process. */
  async expire (): Promise<void> {
    this.#hasMovedClock = true
    await moveClock(Math.max(this.#lastExp * 1000 + this.#grace - Date.now(), 0), { jump: true })
  }

  /** Revokes all tokens of `token()`: `token_revoked`. Later ones are good. */
  async revoke (): Promise<void> {
    await this.app.wsAuth.revoke({ sid: String(this.#login++) })
  }

  /** Closes the server, `shutdown`, and starts it again on its port. Tokens, tickets and revocations stay. */
  async restart (): Promise<void> {
    await this.#server.restart()
  }

  /** Closes the server: `shutdown`. */
  async stop (): Promise<void> {
    await this.#server.stop()
  }

  /** Ends the server without a close frame, as `kill -9` does: clients see 1006. */
  async crash (): Promise<void> {
    await this.#server.crash()
  }

  /** Starts the server on its port again, after `stop()` or `crash()`. */
  async start (): Promise<void> {
    await this.#server.start()
  }

  /** Loses the network: no byte passes in either direction, and neither side is told. */
  blackhole (): void {
    this.#network.hold()
  }

  /** The network is back. */
  pass (): void {
    this.#network.pass()
  }

  /** Ends the server, and sets the clock back if `expire()` has moved it. */
  async close (): Promise<void> {
    if (this.#hasMovedClock) restoreClock()
    await this.#network.close()
    await this.#server.close()
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.close()
  }
}

export type { TestServer }

/** Pages under test are of another origin than this server. */
function allowPages (app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    const { origin } = request.headers
    if (origin !== undefined) reply.headers({ 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', vary: 'origin' })
    done()
  })
  app.options('/*', async (_request, reply) => {
    return await reply.headers({ 'access-control-allow-headers': 'authorization, content-type', 'access-control-allow-methods': 'GET, POST' }).code(204).send()
  })
}
