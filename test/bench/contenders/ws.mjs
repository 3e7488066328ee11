// @ts-check
/*
 * ws without Fastify: bare, and as the tutorials guard it. The 401 is that of ws's own documentation.
 */
import { createSecretKey } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import express from 'express'
import { expressjwt } from 'express-jwt'
import jsonwebtoken from 'jsonwebtoken'
import { WebSocketServer } from 'ws'

/** @typedef {import('./index.mjs').ServerSpec} ServerSpec */
/** @typedef {import('ws').WebSocket & { user?: { sub: string } }} Socket */

/** A client that has gone. */
const ignore = () => {}

/** @param {import('node:http').IncomingMessage} request */
const bearerOf = (request) => request.headers.authorization?.split(' ')[1] ?? ''

/** What lets a request pass, or throws. @type {Record<string, (spec: ServerSpec) => (request: import('node:http').IncomingMessage) => unknown>} */
const guards = {
  ws: () => () => undefined,
  'ws + jsonwebtoken': ({ keys }) => (request) => jsonwebtoken.verify(bearerOf(request), keys.public),
  'ws + jsonwebtoken, KeyObject': ({ keys }) => {
    const key = createSecretKey(Buffer.from(keys.public))
    return (request) => jsonwebtoken.verify(bearerOf(request), key)
  }
}

/** @param {ServerSpec} spec @returns {Promise<import('./index.mjs').Contender>} */
export function startWs (spec) {
  const verify = guards[spec.guard]?.(spec)
  return listen(createServer(), spec, (request, socket, accept) => {
    let user
    try {
      user = verify?.(request)
    } catch {
      return refuse(socket)
    }
    accept(user)
  })
}

/** The middleware, called with the upgrade: express itself sees none. @param {ServerSpec} spec @returns {Promise<import('./index.mjs').Contender>} */
export function startExpress (spec) {
  const guard = expressjwt({ secret: spec.keys.public, algorithms: [spec.algorithm] })
  return listen(createServer(express()), spec, (request, socket, accept) => {
    guard(/** @type {any} */ (request), /** @type {any} */ ({}), (error) => {
      if (error) refuse(socket)
      else accept(/** @type {{ auth?: object }} */ (request).auth)
    })
  })
}

/**
 * @param {import('node:http').Server} server
 * @param {ServerSpec} spec
 * @param {(request: import('node:http').IncomingMessage, socket: import('node:stream').Duplex, accept: (user: any) => void) => void} onRequest
 */
async function listen (server, spec, onRequest) {
  const wss = new WebSocketServer({ noServer: true })
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', ignore)
    onRequest(request, socket, (user) => {
      socket.removeListener('error', ignore)
      wss.handleUpgrade(request, socket, head, (/** @type {Socket} */ webSocket) => {
        webSocket.user = user
        wss.emit('connection', webSocket, request)
      })
    })
  })
  wss.on('connection', (/** @type {Socket} */ socket, request) => {
    socket.on('error', ignore)
    if (request.url === '/who') socket.send(socket.user?.sub ?? 'nobody')
    if (request.url === '/echo') socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  })
  server.listen({ port: 0, host: '127.0.0.1', backlog: spec.backlog })
  await once(server, 'listening')
  return { server, countClients: () => wss.clients.size }
}

function refuse (socket) {
  socket.write('HTTP/1.1 401 Unauthorized\r\n\r\n')
  socket.destroy()
}
