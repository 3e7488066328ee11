// @ts-check
/*
 * socket.io with the middleware of its documentation. Its handshake is the upgrade, a packet that opens, one with the token, and
 * the answer to that.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import jsonwebtoken from 'jsonwebtoken'
import { Server } from 'socket.io'

/** Beside the measurements nothing is sent on open connections, in milliseconds. */
const NO_PING = 3_600_000

/** @param {import('./index.mjs').ServerSpec} spec @returns {Promise<import('./index.mjs').Contender>} */
export async function startSocketIo ({ keys, backlog }) {
  const server = createServer()
  const io = new Server(server, { transports: ['websocket'], serveClient: false, pingInterval: NO_PING })
  io.use((socket, next) => {
    try {
      socket.data.user = jsonwebtoken.verify(socket.handshake.auth.token, keys.public)
      next()
    } catch {
      next(new Error('unauthorized'))
    }
  })
  io.on('connection', (socket) => {
    if (socket.handshake.query.on === 'who') socket.emit('who', socket.data.user.sub)
    if (socket.handshake.query.on === 'echo') socket.on('message', (text) => socket.emit('message', text))
  })
  server.listen({ port: 0, host: '127.0.0.1', backlog })
  await once(server, 'listening')
  return { server, countClients: () => io.engine.clientsCount }
}
