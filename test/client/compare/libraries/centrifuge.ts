/*
 * The client of Centrifugo, which is no npm package: in its place is a small server of its JSON protocol, with connect, refresh, send, ping,
 * and the codes that Centrifugo gives.
 */
import type { Server } from 'node:http'
import { Centrifuge, UnauthorizedError } from 'centrifuge'
import { WebSocketServer } from 'ws'
import { WebSocket } from '../socket'
import type { Attached, Host, User } from '../host'
import type { Client, Library } from '../library'
import { LoggedOut } from '../tokens'
import type { Tokens } from '../tokens'

interface Command { readonly id?: number, readonly connect?: { readonly token?: string }, readonly refresh?: { readonly token?: string }, readonly send?: { readonly data: string } }

/** The default of Centrifugo, in seconds. */
const PING = 25

const DISCONNECTS: Readonly<Record<'shutdown' | 'expired' | 'invalid' | 'full' | 'forbidden' | 'loggedOut', readonly [code: number, reason: string]>> = {
  shutdown: [3001, 'shutdown'],
  expired: [3005, 'connection expired'],
  invalid: [3500, 'invalid token'],
  full: [3504, 'connection limit'],
  forbidden: [3507, 'permission denied'],
  loggedOut: [3503, 'force disconnect']
}

/** One connection of the server. */
class Session {
  readonly #socket: WebSocket
  readonly #host: Host
  #timer: NodeJS.Timeout | undefined
  user: User | null = null

  constructor (socket: WebSocket, host: Host) {
    this.#socket = socket
    this.#host = host
    const pings = setInterval(() => socket.send('{}'), PING * 1000)
    socket.on('message', (data: Buffer) => { for (const line of String(data).split('\n')) this.#onCommand(JSON.parse(line) as Command) })
    socket.on('close', () => {
      clearInterval(pings)
      clearTimeout(this.#timer)
      if (this.user !== null) host.onClose(this.user.sub)
    })
  }

  disconnect (why: keyof typeof DISCONNECTS): void {
    this.#socket.close(...DISCONNECTS[why])
  }

  #onCommand ({ id, connect, refresh, send }: Command): void {
    if (send !== undefined) this.#host.messages.push(send.data)
    const name = connect === undefined ? 'refresh' : 'connect'
    const token = (connect ?? refresh)?.token
    if (id === undefined || (connect ?? refresh) === undefined) return
    const user = this.#host.verify(token)
    if (user === 'expired') return this.#reply({ id, error: { code: 109, message: 'token expired' } })
    if (typeof user === 'string') return this.disconnect(user)
    if (this.user === null) this.#host.onOpen(user.sub)
    this.user = user
    const left = user.exp * 1000 - Date.now()
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.disconnect('expired'), left + 25_000)
    this.#reply({ id, [name]: { client: 'c', version: '6', expires: true, ttl: Math.max(1, Math.floor(left / 1000)), ...name === 'connect' ? { ping: PING, pong: true } : {} } })
  }

  #reply (reply: object): void {
    this.#socket.send(JSON.stringify(reply))
  }
}

async function attach (server: Server, host: Host): Promise<Attached> {
  const webSockets = new WebSocketServer({ server })
  const sessions = new Set<Session>()
  webSockets.on('connection', (socket) => {
    const session = new Session(socket, host)
    sessions.add(session)
    socket.on('close', () => sessions.delete(session))
  })
  return {
    close: async () => {
      for (const session of sessions) session.disconnect('shutdown')
      await new Promise((resolve) => setTimeout(resolve, 50))
    },
    logOut: async (sub) => { for (const session of sessions) if (session.user?.sub === sub) session.disconnect('loggedOut') }
  }
}

function open (host: Host, tokens: Tokens): Client {
  const told: string[] = []
  const client = new Centrifuge(`ws://127.0.0.1:${host.port}/`, {
    websocket: WebSocket,
    getToken: async () => {
      try {
        return (await tokens.get()).token
      } catch (error) {
        throw error instanceof LoggedOut ? new UnauthorizedError('') : error
      }
    }
  })
  let [wasConnected, hasStopped] = [false, false]
  client.on('connected', () => {
    [wasConnected, hasStopped] = [true, false]
    told.push('connected')
  })
  client.on('connecting', ({ code, reason }) => { if (wasConnected) told.push(`connecting ${code} ${reason}`) })
  client.on('disconnected', ({ code, reason }) => {
    hasStopped = true
    told.push(`disconnected ${code} ${reason}`)
  })
  client.on('error', ({ error: { code } }) => { told.push(`error ${code}`) })
  client.connect()
  return {
    told,
    hasStopped: () => hasStopped,
    send: (text) => { client.send(text).catch(() => { told.push('rejection of send') }) },
    switchUser: () => {
      client.disconnect()
      client.setToken('')
      client.connect()
    },
    close: () => client.disconnect()
  }
}

export const centrifuge: Library = { name: 'centrifuge', attach, open, without: { idle: 'its server closes no idle connection' } }
