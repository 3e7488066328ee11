/*
 * socket.io with its own server. As its documents advise, a middleware refuses, the server ends a connection with its token, and the client
 * gets a token for each connection and connects again after `io server disconnect`, and after a token has expired.
 */
import type { Server as HttpServer } from 'node:http'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import type { Attached, Host, User } from '../host'
import type { Client, Library } from '../library'
import type { Tokens } from '../tokens'

async function attach (server: HttpServer, host: Host): Promise<Attached> {
  const sockets = new Server(server)
  sockets.use((socket, next) => {
    const user = host.verify(socket.handshake.auth.token)
    socket.data.user = user
    next(typeof user === 'string' ? new Error(user) : undefined)
  })
  sockets.on('connection', (socket) => {
    const { sub, exp } = socket.data.user as User
    host.onOpen(sub)
    const timer = setTimeout(() => socket.disconnect(true), exp * 1000 - Date.now())
    socket.on('message', (text: string) => { host.messages.push(text) })
    socket.on('disconnect', () => {
      clearTimeout(timer)
      host.onClose(sub)
    })
  })
  return {
    close: async () => { await sockets.close() },
    logOut: async (sub) => { for (const socket of await sockets.fetchSockets()) if ((socket.data.user as User).sub === sub) socket.disconnect(true) }
  }
}

function open (host: Host, tokens: Tokens): Client {
  const told: string[] = []
  const socket = io(`ws://127.0.0.1:${host.port}/`, {
    transports: ['websocket'],
    forceNew: true,
    // It has no way to say that there is no token.
    auth: (give) => { tokens.get().then(({ token }) => give({ token }), () => give({})) }
  })
  let hasStopped = false
  socket.on('connect', () => {
    hasStopped = false
    told.push('connect')
  })
  socket.on('connect_error', ({ message }) => {
    told.push(`connect_error ${message}`)
    // The documents connect again with another token after a refusal by its name.
    if (message === 'expired') socket.connect()
    hasStopped = !socket.active
  })
  socket.on('disconnect', (reason) => {
    told.push(`disconnect ${reason}`)
    if (reason === 'io server disconnect') socket.connect()
  })
  return {
    told,
    hasStopped: () => hasStopped,
    send: (text) => { socket.emit('message', text) },
    switchUser: () => { socket.disconnect().connect() },
    close: () => { socket.close() }
  }
}

export const socketIo: Library = { name: 'socket.io-client', attach, open, without: { idle: 'its server closes no idle connection' } }
