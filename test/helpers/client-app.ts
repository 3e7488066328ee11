/*
 * A server for pages with the client of the package: the page, the built client, tokens, and a websocket that sends each message back.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fastifyWsAuth from '../../lib/index'
import { restartable } from '../../lib/testing/restartable'
import type { RestartableServer } from '../../lib/testing/restartable'
import { SECRET, sign } from './app'
import { CLIENT_PAGE, PAGE_SCRIPT, WORKER_SCRIPT } from './client-page'

export interface ClientAppSettings {
  readonly plugin?: fastifyWsAuth.WsAuthOptions
  /** Called for each app that is made, after the plugin was registered. */
  readonly routes?: (app: FastifyInstance) => unknown
  /** The headers of the page. */
  readonly headers?: Readonly<Record<string, string>>
  /** Is called before the other hooks. */
  readonly before?: (app: FastifyInstance) => unknown
}

/** What a server was asked for. */
export interface Asked {
  upgrades: number
  tokens: number
  tickets: number
  dryRuns: number
}

export interface ClientApp {
  /** `http://127.0.0.1:<port>`. */
  readonly url: string
  readonly port: number
  readonly asked: Asked
  readonly server: RestartableServer<FastifyInstance>
  /** How many connections are open. */
  size (): number
}

/** The built client. */
const CLIENT = join(process.cwd(), 'dist/client/index.mjs')

/** Starts a server whose tokens, tickets and revocations outlive a restart. */
export async function startClientApp (t: { teardown (end: () => Promise<unknown>): void }, settings: ClientAppSettings = {}): Promise<ClientApp> {
  const backplane = fastifyWsAuth.memoryBackplane()
  const asked: Asked = { upgrades: 0, tokens: 0, tickets: 0, dryRuns: 0 }
  const server = await restartable(async () => {
    const app = Fastify({ forceCloseConnections: true })
    app.server.on('upgrade', () => { asked.upgrades++ })
    app.addHook('onRequest', async ({ method, url, headers }) => {
      if (method === 'POST' && url.startsWith('/token')) asked.tokens++
      else if (method === 'POST' && url.startsWith('/ws-ticket')) asked.tickets++
      else if (method === 'GET' && url.startsWith('/ws') && headers.upgrade === undefined) asked.dryRuns++
    })
    await settings.before?.(app)
    await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, tickets: true, backplane, ...settings.plugin })
    addFiles(app, settings.headers ?? {})
    app.post('/token', sendToken)
    app.get('/ws', { websocket: true }, (socket) => {
      socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
    })
    await settings.routes?.(app)
    return app
  })
  t.teardown(() => server.close())
  return { url: server.url.replace('ws', 'http'), port: server.port, asked, server, size: () => server.app.wsAuth.connections.size }
}

function addFiles (app: FastifyInstance, headers: Readonly<Record<string, string>>): void {
  const script = (text: string) => async (_request: FastifyRequest, reply: FastifyReply) => await reply.type('text/javascript').send(text)
  app.get('/', async (_request, reply) => await reply.headers(headers).type('text/html').send(CLIENT_PAGE))
  app.get('/empty', async (_request, reply) => await reply.type('text/html').send('<!doctype html><title>elsewhere</title>'))
  app.get('/client.mjs', script(readFileSync(CLIENT, 'utf8')))
  app.get('/page.js', script(PAGE_SCRIPT))
  app.get('/worker.js', script(WORKER_SCRIPT))
}

/** Sends a token as `{ token, expiresIn }`. The query has `life` in seconds, which may be negative, and `sub`. */
async function sendToken (request: FastifyRequest): Promise<{ token: string, expiresIn: number }> {
  const { life = '60', sub = 'ann' } = request.query as { readonly life?: string, readonly sub?: string }
  return { token: tokenOf(Number(life), { sub }), expiresIn: Math.max(Number(life), 0) * 1000 }
}

/** A token that is good for so many seconds. */
export function tokenOf (life: number, claims: Record<string, unknown> = { sub: 'ann' }): string {
  const now = Date.now() / 1000
  return sign({ jti: randomBytes(8).toString('hex'), iat: Math.min(now, now + life - 1), exp: now + life, ...claims })
}
