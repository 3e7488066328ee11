/*
 * One Fastify with fastify-ws-auth, and behind it the real servers of four libraries: graphql-ws, tRPC, y-websocket and Hocuspocus.
 */
import type { Hocuspocus } from '@hocuspocus/server' with { 'resolution-mode': 'import' }
import { initTRPC } from '@trpc/server'
import { fastifyTRPCPlugin } from '@trpc/server/adapters/fastify'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { buildSchema } from 'graphql'
import { makeHandler } from 'graphql-ws/use/@fastify/websocket'
import type { Test } from 'tap'
import fastifyWsAuth from '../../../lib/index'
import { restartable } from '../../../lib/testing/index'
import type { RestartableServer } from '../../../lib/testing/index'
import { SECRET } from '../app'

const { router, procedure } = initTRPC.context<{ user: { sub: string } }>().create()
const appRouter = router({ me: procedure.query(({ ctx }) => ctx.user.sub) })
export type AppRouter = typeof appRouter

const schema = buildSchema(`
  type Query { me: String }
  type Subscription { beats: String }
`)

/** A document that the server has. */
export interface ServerDocument {
  getText (name: string): { toString (): string }
  destroy (): void
}

/** The documents of y-websocket, which are those of the process, by their names: each test has one of its own. */
async function yDocuments (): Promise<Map<string, ServerDocument>> {
  return (await import('@y/websocket-server/utils')).docs as Map<string, ServerDocument>
}

let documentCount = 0

export interface LibraryServer {
  readonly server: RestartableServer<FastifyInstance>
  /** How many handshakes have come for a path, also those that were refused. */
  readonly handshakes: (path: string) => number
  /** The name of the document of this test, for y-websocket and Hocuspocus. */
  readonly documentName: string
  /** That document, if a server holds it now. */
  readonly documents: Readonly<Record<'y' | 'hocuspocus', () => Promise<ServerDocument | undefined>>>
}

/** Starts the server. It forgets neither tokens nor revocations when it is restarted. */
export async function startLibraryServer (t: Test): Promise<LibraryServer> {
  const counts = new Map<string, number>()
  const backplane = fastifyWsAuth.memoryBackplane()
  let hocuspocus: Hocuspocus
  const server = await restartable(async () => {
    const app = Fastify({ forceCloseConnections: true })
    app.server.prependListener('upgrade', ({ url = '' }: { url?: string }) => { counts.set(url, (counts.get(url) ?? 0) + 1) })
    await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, backplane, routes: { '/trpc': { roles: ['member'] } } })
    addGraphql(app)
    await addTrpc(app)
    await addY(app)
    hocuspocus = await addHocuspocus(app)
    return app
  })
  const documentName = `notes-${++documentCount}`
  t.teardown(async () => {
    await server.close();
    // A document without persistence stays, with a timer.
    (await yDocuments()).get(documentName)?.destroy()
  })
  return {
    server,
    handshakes: (path) => counts.get(path) ?? 0,
    documentName,
    documents: {
      y: async () => (await yDocuments()).get(documentName),
      hocuspocus: async () => hocuspocus.documents.get(documentName)
    }
  }
}

const wsAuth = { roles: ['member'] }

function addGraphql (app: FastifyInstance): void {
  const roots = {
    query: { me: (_args: unknown, { user }: { user: { sub: string } }) => user.sub },
    subscription: {
      beats: async function * () {
        for (;;) {
          yield { beats: 'beat' }
          await new Promise((resolve) => setTimeout(resolve, 100).unref())
        }
      }
    }
  }
  const handler = makeHandler({ schema, roots, context: ({ extra }) => ({ user: (extra.request as { user?: unknown }).user }) })
  app.get('/graphql', { websocket: true, wsAuth }, handler as never)
}

async function addTrpc (app: FastifyInstance): Promise<void> {
  const createContext = ({ req }: { req: object }): never => ({ user: fastifyWsAuth.connectionOf(req as never).user }) as never
  await app.register(fastifyTRPCPlugin, { prefix: '/trpc', useWSS: true, trpcOptions: { router: appRouter, createContext } })
}

async function addY (app: FastifyInstance): Promise<void> {
  const { setupWSConnection } = await import('@y/websocket-server/utils')
  app.get('/y/:name', { websocket: true, wsAuth }, (socket, { raw, params }) => {
    setupWSConnection(socket as never, raw, { docName: (params as { name: string }).name })
  })
}

async function addHocuspocus (app: FastifyInstance): Promise<Hocuspocus> {
  const { Hocuspocus } = await import('@hocuspocus/server')
  const hocuspocus = new Hocuspocus({ quiet: true })
  app.addHook('onClose', async () => { hocuspocus.closeConnections() })
  app.get('/hocuspocus', { websocket: true, wsAuth }, (socket, { user, headers, host, url }) => {
    const connection = hocuspocus.handleConnection(socket as never, new Request(`http://${host}${url}`, { headers: headers as never }), { user })
    socket.on('message', (data: ArrayBuffer) => connection.handleMessage(new Uint8Array(data)))
    socket.on('close', (code, reason) => connection.handleClose({ code, reason: String(reason) }))
  })
  return hocuspocus
}
