/*
 * Accepts the upgrade of a guarded route, and calls its handler. @fastify/websocket would do it with functions that keep the request
 * and the reply of each open socket for its error handler; here they are kept only if the app has an error handler.
 */
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocket, WebSocketServer } from 'ws'
import { isThenable } from '../base/thenable'
import type { Upgrade } from './upgrade'

/** Listens to the errors of an open socket. @returns is called with the error of its handler */
export type ListenToErrors = (scope: FastifyInstance, socket: WebSocket, request: FastifyRequest, reply: FastifyReply) => (error: unknown) => void

/** What becomes of an open socket. */
export interface OpenSockets {
  /** Opens its connection, and then calls `run`. */
  readonly open: (socket: WebSocket, request: FastifyRequest, run: () => unknown) => unknown
  readonly listenToErrors: ListenToErrors
}

/** An upgrade that was admitted, and what it came with. */
export interface AdmittedUpgrade {
  readonly scope: FastifyInstance
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly upgrade: Upgrade
}

/** @param run calls the handler of the route */
export function answerUpgrade ({ scope, request, reply, upgrade }: AdmittedUpgrade, { open, listenToErrors }: OpenSockets, run: (socket: WebSocket) => unknown): void {
  reply.hijack()
  const server: WebSocketServer = scope.websocketServer
  removeUpgradeListener(upgrade.socket)
  server.handleUpgrade(request.raw, upgrade.socket, upgrade.head, (socket) => {
    server.emit('connection', socket, request.raw)
    const fail = listenToErrors(scope, socket, request, reply)
    try {
      const result = open(socket, request, () => run(socket))
      if (isThenable(result)) result.then(undefined, fail)
    } catch (error) {
      fail(error)
    }
  })
}

/** The listener of @fastify/websocket for errors before the 101: ws adds its own. */
function removeUpgradeListener (socket: Duplex): void {
  const listener = socket.listeners('error').find(({ name }) => name === 'onUpgradeSocketError')
  if (listener !== undefined) socket.removeListener('error', listener as () => void)
}
