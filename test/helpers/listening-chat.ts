/*
 * A server of which the handlers listen to all that a socket may tell, and its clients.
 */
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { createWebSocketStream, WebSocket } from 'ws'
import type { Connection } from '../../lib/connection/connection'
import { sign, start } from './app'
import type { AppSettings } from './app'
import { onDecision } from './decisions'
import { RawClient, upgrade } from './raw-client'

export interface Chat {
  readonly app: FastifyInstance
  readonly port: number
  /** The sockets and connections of the handler, in order. */
  readonly sockets: WebSocket[]
  readonly connections: Connection[]
  /** What reached the app, of all of them. */
  readonly heard: string[]
  /** How connections ended. */
  readonly ends: Array<string | null>
  connect (claims?: Record<string, unknown>, path?: string): Promise<RawClient>
}

/** Tells `heard` of whatever a socket may tell. */
export function listen (socket: WebSocket, heard: string[]): void {
  socket.on('message', (data) => { heard.push(`message ${String(data)}`) })
  socket.on('ping', () => { heard.push('ping') })
  socket.on('pong', () => { heard.push('pong') })
}

/** A server with a guarded route that listens to everything, and a public one. */
export async function startChat (t: Test, { routes, ...settings }: AppSettings = {}): Promise<Chat> {
  const sockets: WebSocket[] = []
  const connections: Connection[] = []
  const heard: string[] = []
  const { app, port } = await start(t, {
    ...settings,
    routes: async (app) => {
      for (const [url, wsAuth] of [['/chat', true], ['/public', false]] as const) {
        app.get(url, { websocket: true, wsAuth }, (socket, request) => {
          sockets.push(socket)
          if (request.wsAuth !== null) connections.push(request.wsAuth)
          listen(socket, heard)
        })
      }
      await routes?.(app)
    }
  })
  const ends: Array<string | null> = []
  onDecision(t, ({ event, reason, connectionId }) => {
    const isEnd = event === 'expired' || event === 'closed'
    if (isEnd && connections.some(({ id }) => id === connectionId)) ends.push(reason)
  })
  const connect = async (claims: Record<string, unknown> = {}, path = '/chat'): Promise<RawClient> => {
    const client = await upgrade(t, port, { path, headers: path === '/public' ? {} : { authorization: `Bearer ${sign({ sub: 'somebody', ...claims })}` } })
    t.equal(client.answer.status, 101)
    return client
  }
  return { app, port, sockets, connections, heard, ends, connect }
}

/** All ways in which an app can listen to messages. */
export const WAYS: Record<string, (socket: WebSocket, hear: (data: unknown) => void) => void> = {
  on: (socket, hear) => { socket.on('message', hear) },
  once: (socket, hear) => { socket.once('message', hear) },
  onmessage: (socket, hear) => { socket.onmessage = ({ data }) => hear(data) },
  addEventListener: (socket, hear) => { socket.addEventListener('message', ({ data }) => hear(data)) },
  'addEventListener once': (socket, hear) => { socket.addEventListener('message', ({ data }) => hear(data), { once: true }) },
  'the events.once of Node': (socket, hear) => { void once(socket, 'message').then(([data]) => hear(data), () => {}) },
  createWebSocketStream: (socket, hear) => { createWebSocketStream(socket).on('error', () => {}).on('data', hear) }
}

/** A server that listens in each way, and a client for each. */
export async function startWays (t: Test, claims: () => Record<string, unknown>, settings: AppSettings = {}): Promise<Chat & { clients: Map<string, RawClient>, heardBy: string[] }> {
  const heardBy: string[] = []
  const chat = await startChat(t, {
    ...settings,
    routes: (app) => {
      for (const [i, listen] of Object.values(WAYS).entries()) {
        app.get(`/${i}`, { websocket: true }, (socket) => { listen(socket, (data) => { heardBy.push(`${Object.keys(WAYS)[i]}: ${String(data)}`) }) })
      }
    }
  })
  const clients = new Map<string, RawClient>()
  const shared = claims()
  for (const [i, way] of Object.keys(WAYS).entries()) clients.set(way, await chat.connect(shared, `/${i}`))
  return { ...chat, clients, heardBy }
}
