/*
 * The socket of an upgrade, below Fastify and ws: what Node.js is writing to it, and how it is ended.
 */
import { STATUS_CODES } from 'node:http'
import type { ServerResponse } from 'node:http'
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
