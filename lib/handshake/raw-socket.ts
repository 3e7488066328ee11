/*
 * The socket of an upgrade, below Fastify and ws: what Node.js is writing to it, and how it is ended.
 */
import { STATUS_CODES } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { wsAuthErrors } from '../base/errors'
import { retryAfterOf } from './answer'

/** A socket of `node:http`, and the response that is being written to it. */
type HttpSocket = Duplex & { readonly _httpMessage?: ServerResponse | null }

/** The response that is being written to a socket; `null` if there is none, or the socket is not one of `node:http`. */
export function responseOn (socket: Duplex): ServerResponse | null {
  return (socket as HttpSocket)._httpMessage ?? null
}

/**
 * Takes the response off the socket of an open connection. Node.js keeps it as long as the socket lives, and with it the request, all
 * headers and the reply. It stays if something waits for its `close`: Node.js emits that at the end of the socket.
 */
export function detachResponse ({ socket }: { readonly socket?: HttpSocket }): void {
  const response = socket?._httpMessage
  if (socket === undefined || response == null || response.listenerCount('close') > 0) return
  response.detachSocket(socket as unknown as Socket);
  // A hook may keep the reply.
  (response as { socket: unknown }).socket = socket
}

/** The property in which @fastify/websocket keeps the bytes that came behind a request, until it is known. */
let kHead: symbol | undefined

const NO_BYTES = Buffer.alloc(0)

/** Lets go of the bytes behind a request, which ws has by now: even if there are none, they are a view of all that came with the request. */
export function forgetHead (request: IncomingMessage): void {
  kHead ??= Object.getOwnPropertySymbols(request).find(({ description }) => description === 'ws-head')
  if (kHead !== undefined) (request as unknown as Record<symbol, unknown>)[kHead] = NO_BYTES
}

/** How many bytes were written to a socket, sent or not; zero if it is not a socket of `node:net` (`injectWS`). */
export function bytesWritten (socket: Duplex & { bytesWritten?: number }): number {
  return socket.bytesWritten ?? 0
}

/** Calls a function before the first write to a socket. */
export function onFirstWrite (socket: Duplex, call: () => void): void {
  const { write } = socket
  socket.write = (...args: unknown[]): boolean => {
    socket.write = write
    call()
    return Reflect.apply(write, socket, args)
  }
}

/** Ends a socket, and destroys it once everything is sent: the client may never close its half. */
export function endSoon (socket: Duplex): void {
  socket.end(() => socket.destroy())
}

/** Destroys a socket at the FIN of the client, as long as nothing else reads it. Frames that the client sent too early are left for ws. */
export function watchEnd (socket: Socket): void {
  socket.on('readable', readEnd)
  socket.on('end', destroyEnded)
}

export function unwatchEnd (socket: Duplex): void {
  socket.removeListener('readable', readEnd)
  socket.removeListener('end', destroyEnded)
}

/** A stream emits `end` only if all data before it is read. Here there is no data. */
function readEnd (this: Socket): void {
  if (this.readableLength === 0) this.read()
}

function destroyEnded (this: Socket): void {
  this.destroy()
}

/** Answers as Fastify's own error handler would, for a request that no hook holds. */
export function writeUnavailable (socket: Duplex): void {
  const { statusCode, message } = wsAuthErrors.WS_AUTH_UNAVAILABLE
  const error = STATUS_CODES[statusCode]
  const body = JSON.stringify({ statusCode, code: 'WS_AUTH_UNAVAILABLE', error, message })
  socket.end(`HTTP/1.1 ${statusCode} ${error}\r\nRetry-After: ${retryAfterOf('WS_AUTH_UNAVAILABLE')}\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`, () => socket.destroy())
}
