/*
 * An upgrade to another protocol than WebSocket, which no listener wants: the request is served as if it had no `Upgrade`
 * (RFC 9110, 7.8). This is for versions of Node.js without `shouldUpgradeCallback`: the parser has already let go of the socket.
 */
import { IncomingMessage, ServerResponse } from 'node:http'
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { endSoon, responseOn } from './raw-socket'

/**
 * Serves a request as a plain one. Its body is read by its length; a chunked body would need the parser of Node.js, and is answered 411.
 */
export function serveAsPlain (server: Server, upgrade: IncomingMessage, socket: Duplex, head: Buffer, timeout: number): void {
  socket.on('error', () => socket.destroy())
  if (responseOn(socket) !== null) {
    socket.destroy()
    return
  }
  const request = plainCopy(upgrade)
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  response.assignSocket(socket as Socket)
  response.once('finish', () => {
    response.detachSocket(socket as Socket)
    endSoon(socket)
  })
  const { 'content-length': length = 0, 'transfer-encoding': coding } = request.headers
  if (coding !== undefined) {
    response.writeHead(411).end()
    return
  }
  // RFC 9112, 3.2: Node.js checks this only for requests without an upgrade.
  if (request.headers.host === undefined && request.httpVersion === '1.1') {
    response.writeHead(400).end()
    return
  }
  feed(request, socket, head, Number(length), timeout)
  // RFC 9110, 10.1.1: the client waits for it before it sends the body.
  if (/(?:^|\W)100-continue(?:$|\W)/i.test(request.headers.expect ?? '')) response.writeContinue()
  if (!server.emit('request', request, response)) socket.destroy()
}

/** The same request, which has not ended yet. */
function plainCopy ({ socket, method, url, headers, rawHeaders, httpVersion, httpVersionMajor, httpVersionMinor }: IncomingMessage): IncomingMessage {
  return Object.assign(new IncomingMessage(socket), { method, url, headers, rawHeaders, httpVersion, httpVersionMajor, httpVersionMinor })
}

/** Pushes so many bytes of a socket into a request as its body. */
function feed (request: IncomingMessage, socket: Duplex, head: Buffer, length: number, timeout: number): void {
  let missing = length
  const timer = setTimeout(() => socket.destroy(), timeout).unref()
  const take = (chunk: Buffer): void => {
    const part = chunk.subarray(0, missing)
    missing -= part.length
    // Reading the request resumes its socket (`IncomingMessage._read`).
    if (part.length > 0 && !request.push(part)) socket.pause()
    if (missing > 0) return
    clearTimeout(timer)
    socket.removeListener('data', take)
    request.complete = true
    request.push(null)
    // Further data of the client is read and dropped, so that its end is noticed.
    socket.resume()
  }
  socket.once('close', () => {
    clearTimeout(timer)
    if (missing > 0) request.destroy()
  })
  // The sockets of a server stay half open: a client that has left would be waited for. `node:http` ends them likewise.
  socket.once('end', () => { if (missing > 0) socket.destroy(); else socket.end() })
  socket.on('data', take)
  take(head)
}
