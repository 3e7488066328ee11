/*
 * The real clients of four libraries, each with a class of `webSocketClass()`: what they are told, and whether they work.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { createTRPCClient, createWSClient, wsLink } from '@trpc/client'
import { createClient } from 'graphql-ws'
import type { Test } from 'tap'
import type { Doc } from 'yjs' with { 'resolution-mode': 'import' }
import type { WebSocketLikeClass } from '../../../lib/client/index'
import { until } from '../app'
import type { AppRouter, LibraryServer, ServerDocument } from './server'

/** What a user of a library sees of it. */
export interface LibraryClient {
  /** All that the library has told of its connection since it was open first. */
  readonly told: string[]
  /** Resolves when the library has worked: the server has answered, or has the text. */
  readonly work: () => Promise<void>
  /** Resolves to the words with which the library gives up. Never for a library that does not. */
  readonly gaveUp: Promise<string>
}

export interface Library {
  readonly name: string
  readonly path: (started: LibraryServer) => string
  /** The codes that stop the library for good; none if it does not stop. */
  readonly closeCodes: { readonly unauthorized?: number, readonly forbidden?: number }
  readonly open: (t: Test, started: LibraryServer, socketClass: WebSocketLikeClass) => Promise<LibraryClient>
}

const never = new Promise<string>(() => {})

const graphql: Library = {
  name: 'graphql-ws',
  path: () => '/graphql',
  // After 4403 it tries five times more.
  closeCodes: { unauthorized: 4401, forbidden: 4401 },
  async open (t, { server }, webSocketImpl) {
    const told: string[] = []
    const client = createClient({
      url: `${server.url}/graphql`,
      webSocketImpl,
      on: { closed: (event) => { told.push(`closed ${(event as { code: number }).code}`) }, error: () => { told.push('error') } }
    })
    t.teardown(() => client.dispose())
    let beats = 0
    const gaveUp = new Promise<string>((resolve) => {
      const error = (cause: unknown): void => { resolve(`${(cause as { code: number }).code} ${(cause as { reason: string }).reason}`) }
      client.subscribe({ query: 'subscription { beats }' }, { next: () => { beats++ }, error, complete: () => {} })
    })
    const work = async (): Promise<void> => {
      const before = beats
      await until(() => beats > before, 'the subscription goes on')
    }
    return { told, work, gaveUp }
  }
}

const trpc: Library = {
  name: 'tRPC',
  path: () => '/trpc',
  closeCodes: {},
  async open (t, { server }, socketClass) {
    const told: string[] = []
    const client = createWSClient({
      url: `${server.url}/trpc`,
      WebSocket: socketClass as never,
      retryDelayMs: () => 200,
      onClose: (cause) => { told.push(`closed ${cause?.code ?? ''}`) },
      onError: () => { told.push('error') }
    })
    t.teardown(() => { void client.close() })
    const proxy = createTRPCClient<AppRouter>({ links: [wsLink<AppRouter>({ client })] })
    const work = async (): Promise<void> => { await proxy.me.query().catch(async () => await proxy.me.query()) }
    return { told, work, gaveUp: never }
  }
}

/** Writes into the document of a client, and resolves when the server has the text. */
function writerOf (document: Doc, getServerDocument: () => Promise<ServerDocument | undefined>): () => Promise<void> {
  let count = 0
  return async () => {
    const text = `<${++count}>`
    document.getText('text').insert(0, text)
    while ((await getServerDocument())?.getText('text').toString().includes(text) !== true) await pause(5)
  }
}

const y: Library = {
  name: 'y-websocket',
  path: ({ documentName }) => `/y/${documentName}`,
  closeCodes: { unauthorized: 4401, forbidden: 4403 },
  async open (t, { server, documents, documentName }, socketClass) {
    const [{ Doc }, { WebsocketProvider }] = [await import('yjs'), await import('y-websocket')]
    const told: string[] = []
    const document = new Doc()
    const provider = new WebsocketProvider(`${server.url}/y`, documentName, document, { WebSocketPolyfill: socketClass as never, disableBc: true })
    t.teardown(() => { provider.destroy(); document.destroy() })
    provider.on('connection-close', (event) => { told.push(`closed ${event?.code ?? ''}`) })
    provider.on('connection-error', () => { told.push('error') })
    const gaveUp = new Promise<string>((resolve) => { provider.on('closed', ({ code, reason }) => resolve(`${code} ${reason}`)) })
    return { told, work: writerOf(document, documents.y), gaveUp }
  }
}

const hocuspocus: Library = {
  name: 'Hocuspocus',
  path: () => '/hocuspocus',
  closeCodes: {},
  async open (t, { server, documents, documentName }, socketClass) {
    const [{ Doc }, { HocuspocusProvider, HocuspocusProviderWebsocket }] = [await import('yjs'), await import('@hocuspocus/provider')]
    const told: string[] = []
    const document = new Doc()
    const websocketProvider = new HocuspocusProviderWebsocket({ url: `${server.url}/hocuspocus`, WebSocketPolyfill: socketClass, delay: 200, minDelay: 200 })
    const provider = new HocuspocusProvider({ websocketProvider, name: documentName, document })
    t.teardown(() => { provider.destroy(); websocketProvider.destroy(); document.destroy() })
    provider.on('close', ({ event }: { event: { code: number } }) => { told.push(`closed ${event.code}`) })
    provider.on('authenticationFailed', () => { told.push('error') })
    provider.attach()
    return { told, work: writerOf(document, documents.hocuspocus), gaveUp: never }
  }
}

export const libraries: readonly Library[] = [graphql, trpc, y, hocuspocus]
