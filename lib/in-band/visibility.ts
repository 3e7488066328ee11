/*
 * Who has not authenticated yet is seen by nobody: neither among the clients of the server, where broadcasts look, nor by
 * its `connection` event, which is emitted once they have.
 */
import type { IncomingMessage } from 'node:http'
import type { WebSocket, WebSocketServer } from 'ws'
import { terminateSafely } from '../connection/socket'

/** Keeps the event of those back whose first message is waited for. @fastify/websocket emits it before any handler of ours is called. */
export function holdConnectionEvents (server: WebSocketServer, isAwaited: (request: IncomingMessage) => boolean): void {
  const { emit } = server
  server.emit = function (this: WebSocketServer, event: string | symbol, ...args: unknown[]) {
    if (event !== 'connection') return Reflect.apply(emit, this, [event, ...args])
    if (isAwaited(args[1] as IncomingMessage)) return false
    try {
      return emit.call(this, event, ...args)
    } catch (error) {
      // A listener of the app has failed: no handler is called for the socket, which nobody else would end.
      terminateSafely(args[0] as WebSocket)
      throw error
    }
  }
}

/** Has a socket seen by nobody. */
export function hide (server: WebSocketServer, socket: WebSocket): void {
  server.clients.delete(socket)
}

/** Has it seen by all. Listeners of the app are called, and may throw. */
export function show (server: WebSocketServer, socket: WebSocket, request: IncomingMessage): void {
  server.clients.add(socket)
  server.emit('connection', socket, request)
}
