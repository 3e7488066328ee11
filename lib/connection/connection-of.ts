/*
 * Finds the connection of a socket or of a request, for code that has no other access to it: a library above WebSockets, for example.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { Connection } from './connection'
import type { KeptRequest } from './kept-request'

const kConnection = Symbol('fastify-ws-auth.connection')

interface Marked {
  [kConnection]?: KeptConnection
}

type KeptConnection = Connection & { readonly kept: KeptRequest }

/** Stores a connection on its socket and on its request. */
export function remember (connection: KeptConnection, socket: WebSocket & Marked, request: IncomingMessage & Marked): void {
  socket[kConnection] = connection
  request[kConnection] = connection
}

/** The log of the request of a connection; `null` for a socket without one. */
export function logOf (socket: WebSocket & Marked): FastifyBaseLogger | null {
  return socket[kConnection]?.kept.log ?? null
}

/**
 * The connection of a socket, of the request that opened it, or of that request's `raw`. It stays the same after the connection has
 * ended. The connection of a first message is known once that message is accepted.
 *
 * @throws TypeError if there is no connection: on a public route, and for a plain request
 */
export function connectionOf (source: WebSocket | FastifyRequest | IncomingMessage): Connection {
  const { [kConnection]: connection, raw } = Object(source) as Marked & { readonly raw?: Marked }
  const found = connection ?? raw?.[kConnection]
  if (found === undefined) throw new TypeError('connectionOf() must be given the socket or the request of a connection on a guarded websocket route')
  return found
}
