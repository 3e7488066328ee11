/*
 * The client of this package, and its server, which also serves the two libraries that have none of their own.
 */
import { once } from 'node:events'
import type { Server } from 'node:http'
import Fastify from 'fastify'
import { WebSocket } from '../socket'
import { connect } from '../../../../lib/client/index'
import type { WebSocketLike } from '../../../../lib/client/index'
import fastifyWsAuth from '../../../../lib/index'
import { SECRET } from '../../../helpers/app'
import type { Attached, Host } from '../host'
import type { Client, Library } from '../library'
import { LoggedOut } from '../tokens'
import type { Tokens } from '../tokens'

/** Revocations outlive a restart. */
const backplanes = new WeakMap<Host, ReturnType<typeof fastifyWsAuth.memoryBackplane>>()

export async function attachFastify (server: Server, host: Host): Promise<Attached> {
  const app = Fastify({ serverFactory: (handler) => server.on('request', handler) })
  const backplane = backplanes.get(host) ?? fastifyWsAuth.memoryBackplane()
  backplanes.set(host, backplane)
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, backplane, ...host.isFull ? { limits: { perUser: 1 } } : {} })
  app.get('/', { websocket: true, wsAuth: { roles: ['member'] } }, (socket, { user }) => {
    const { sub } = user as { sub: string }
    host.onOpen(sub)
    socket.on('message', (data: Buffer) => { host.messages.push(String(data)) })
    const timer = host.closesIdle ? setTimeout(() => socket.close(3000, 'idle'), 2000) : undefined
    socket.on('message', () => timer?.refresh())
    socket.on('close', () => {
      clearTimeout(timer)
      host.onClose(sub)
    })
  })
  await app.ready()
  return { close: () => app.close(), logOut: (sub) => app.wsAuth.revoke({ sub }) }
}

/** Takes the only place of a user, until the function that it returns is called. */
export async function takePlace (host: Host, token: string): Promise<() => void> {
  const socket = new WebSocket(`ws://127.0.0.1:${host.port}/`, ['bearer', token])
  await once(socket, 'open')
  return () => socket.close()
}

function open (host: Host, tokens: Tokens): Client {
  const told: string[] = []
  const socket = connect(`ws://127.0.0.1:${host.port}/`, {
    token: () => tokens.get().catch((error: unknown) => {
      if (error instanceof LoggedOut) return null
      throw error
    }),
    create: (url, protocols) => new WebSocket(url, protocols) as unknown as WebSocketLike,
    page: true
  })
  socket.onopen = () => { told.push('open') }
  socket.onclose = ({ code, reason }) => { told.push(`close ${code} ${reason}`.trim()) }
  socket.subscribe(() => {
    const { state } = socket
    if (state.status === 'refused') told.push(`state refused: ${state.end.reason}`)
    if (state.status === 'paused') told.push(`state paused: ${state.why}`)
  })
  return {
    told,
    hasStopped: () => socket.state.status === 'refused',
    send: (text) => socket.send(text),
    switchUser: () => socket.reconnect(),
    close: () => socket.close()
  }
}

export const fastifyWsAuthClient: Library = { name: 'fastify-ws-auth', attach: attachFastify, open, takePlace }
