/*
 * A server of a library under comparison: it goes down and comes back on its port, loses its network, is full, or sends clients away for a
 * while. It counts handshakes, users and messages in the same manner for all libraries.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { connect, createServer as createProxy } from 'node:net'
import type { AddressInfo, Server as Proxy, Socket } from 'node:net'
import { SECRET } from '../../helpers/app'

export interface User { readonly sub: string, readonly roles: readonly string[], readonly exp: number }

/** What a library adds to the server of a {@link Host}. */
export interface Attached {
  /** Closes all connections as the library does it when its server ends. */
  close (): Promise<void>
  /** Ends the connections of a user, as the library does it. */
  logOut (sub: string): Promise<unknown>
}

export type Attach = (server: Server, host: Host) => Promise<Attached>

export class Host {
  readonly #attach: Attach
  readonly #sockets = new Set<Socket>()
  readonly #links = new Set<Socket>()
  readonly #loggedOut = new Set<string>()
  #server: Server | null = null
  #proxy: Proxy | null = null
  #attached: Attached | null = null
  #port = 0
  #proxyPort = 0
  /** When each handshake came, in milliseconds since the epoch. */
  readonly handshakes: number[] = []
  /** How many plain requests have come. */
  requests = 0
  /** The users whose connections are open, and when each was opened. */
  readonly connected: string[] = []
  readonly openedAt: number[] = []
  readonly messages: string[] = []
  /** Answers everything with a status; `retryAfter` is in seconds. */
  gate: { readonly status: number, readonly retryAfter?: number } | null = null
  /** Refuses connections as the server of a library refuses a user who has too many. */
  isFull = false
  /** Whether the server closes idle connections, after two seconds. */
  readonly closesIdle: boolean

  constructor (attach: Attach, closesIdle: boolean) {
    this.#attach = attach
    this.closesIdle = closesIdle
  }

  get port (): number { return this.#proxyPort }

  async start (): Promise<void> {
    const server = this.#server = createServer()
    server.on('connection', (socket) => keep(this.#sockets, socket))
    const emit = server.emit.bind(server)
    server.emit = (event: string, ...args: unknown[]): boolean => this.#passes(event, args) && emit(event, ...args)
    this.#attached = await this.#attach(server, this)
    server.listen(this.#port, '127.0.0.1')
    await once(server, 'listening')
    this.#port = (server.address() as AddressInfo).port
    if (this.#proxy === null) await this.#startProxy()
  }

  async stop (): Promise<void> {
    await this.#attached?.close()
    this.drop()
    if (this.#server?.listening === true) await new Promise((resolve) => this.#server?.close(resolve))
  }

  async close (): Promise<void> {
    for (const link of this.#links) link.destroy()
    this.#proxy?.close()
    await this.stop()
  }

  /** Resets all connections. */
  drop (): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  /** No byte passes on the present connections any more, and neither side is told. New ones are not hit. */
  loseConnections (): void {
    for (const link of this.#links) link.pause().removeAllListeners('data').removeAllListeners('close').removeAllListeners('end')
  }

  async logOut (sub: string): Promise<void> {
    this.#loggedOut.add(sub)
    await this.#attached?.logOut(sub)
  }

  onOpen (sub: string): void {
    this.connected.push(sub)
    this.openedAt.push(Date.now())
  }

  onClose (sub: string): void {
    this.connected.splice(this.connected.indexOf(sub), 1)
  }

  /** The user of a token, or why it is refused. */
  verify (token: unknown): User | 'invalid' | 'expired' | 'forbidden' | 'full' {
    const [header, claims, signature] = String(token).split('.')
    const expected = createHmac('sha256', SECRET).update(`${header}.${claims}`).digest()
    const given = Buffer.from(signature ?? '', 'base64url')
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return 'invalid'
    const user = JSON.parse(Buffer.from(claims ?? '', 'base64url').toString()) as User
    if (this.#loggedOut.has(user.sub)) return 'invalid'
    if (user.exp * 1000 <= Date.now()) return 'expired'
    if (!user.roles.includes('member')) return 'forbidden'
    return this.isFull ? 'full' : user
  }

  /** Counts handshakes, and answers in place of the server while the gate is shut. */
  #passes (event: string, args: unknown[]): boolean {
    const isHandshake = event === 'upgrade'
    if (isHandshake) this.handshakes.push(Date.now())
    if (event === 'request') this.requests++
    if (this.gate === null || (!isHandshake && event !== 'request')) return true
    const { status, retryAfter } = this.gate
    const headers = retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }
    if (!isHandshake) (args[1] as ServerResponse).writeHead(status, headers).end()
    else (args[1] as Socket).end(`HTTP/1.1 ${status} No\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}content-length: 0\r\nconnection: close\r\n\r\n`)
    return false
  }

  /** All clients come through a proxy, which can lose their connections. */
  async #startProxy (): Promise<void> {
    const proxy = this.#proxy = createProxy((client) => {
      const target = connect(this.#port, '127.0.0.1')
      for (const [from, to] of [[client, target], [target, client]] as const) {
        keep(this.#links, from)
        from.on('data', (chunk) => to.write(chunk))
        from.on('end', () => to.end())
        from.on('close', () => from.errored === null ? to.destroySoon() : to.resetAndDestroy())
      }
    })
    proxy.listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    this.#proxyPort = (proxy.address() as AddressInfo).port
  }
}

function keep (sockets: Set<Socket>, socket: Socket): void {
  sockets.add(socket)
  socket.on('error', () => {})
  socket.on('close', () => sockets.delete(socket))
}

/** The query of a request. */
export function queryOf ({ url = '' }: IncomingMessage): URLSearchParams {
  return new URL(url, 'http://localhost').searchParams
}
