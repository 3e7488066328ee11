/*
 * What this plugin adds to a server that is not its own: a listener for upgrades, a listener for plain requests that were sent
 * as handshakes, and a mark that names the owner. All of it is taken away when the app closes, and the server is as it was.
 *
 * @fastify/websocket listens to a relay in place of the server: what reaches it has passed here.
 */
import { EventEmitter } from 'node:events'
import { IncomingMessage, ServerResponse } from 'node:http'
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { listing } from '../base/header-list'

/** Known to all copies of the package: two of them would answer each upgrade twice. */
const kOwner = Symbol.for('fastify-ws-auth.owner')

type OwnedServer = Server & {
  [kOwner]?: ServerListeners
  /** Node.js 22.23 and 24.9, and later. */
  shouldUpgradeCallback?: (request: IncomingMessage) => boolean
}

/** A socket of `node:http`, and the response that is being written to it. */
type HttpSocket = Duplex & { readonly _httpMessage?: ServerResponse | null }

/** What a server is listened to for. */
export interface ServerEvents {
  /** Called with each plain request that has a `Sec-WebSocket-Key`, before Fastify has it: mostly a proxy has dropped its `Upgrade`. */
  readonly onPlainHandshake: (request: IncomingMessage) => void
  /** Called with each upgrade that comes before the app is ready, to answer it. A server that is not the app's own may get upgrades before. */
  readonly onEarly: (request: IncomingMessage, socket: Duplex) => void
  /** How long a request with another `Upgrade` may take to send its body, or may wait for another listener, in milliseconds. */
  readonly timeout: number
}

/** The listeners of one app. */
export class ServerListeners {
  /** In place of the server, for @fastify/websocket: it has the upgrades to WebSocket. */
  readonly relay = new EventEmitter()
  readonly #upgradeServer: OwnedServer
  readonly #requestServer: Server
  readonly #events: ServerEvents
  /** Ends an upgrade each that was left to other listeners, unless one of them has taken it. */
  readonly #left = new Set<() => void>()
  #isReady = false
  #isClosing = false
  #restoreDecision = (): void => {}

  /**
   * @param upgradeServer where upgrades come
   * @param requestServer where Fastify's plain requests do; mostly the same
   * @throws Error if an app listens to this server already
   */
  constructor (upgradeServer: Server, requestServer: Server, events: ServerEvents) {
    this.#upgradeServer = upgradeServer
    this.#requestServer = requestServer
    this.#events = events
    if (this.#upgradeServer[kOwner] !== undefined) {
      throw new Error('fastify-ws-auth is registered already on this server: register it once, for all routes that are declared after it')
    }
    Object.defineProperty(upgradeServer, kOwner, { value: this, configurable: true })
    // First of all: another @fastify/websocket of the app may listen too, and the hooks must know each upgrade by then.
    upgradeServer.prependListener('upgrade', this.#onUpgrade)
    requestServer.prependListener('request', this.#onRequest)
    this.#decideUpgrades()
  }

  /** From now on, upgrades get to the relay. */
  setReady (): void {
    this.#isReady = true
  }

  /** Ends what was left to other listeners and was not taken: the server would wait for it. */
  close (): void {
    this.#isClosing = true
    for (const end of this.#left) end()
  }

  /** Takes everything away. More than once is once. */
  release (): void {
    const server = this.#upgradeServer
    server.removeListener('upgrade', this.#onUpgrade)
    this.#requestServer.removeListener('request', this.#onRequest)
    if (server[kOwner] !== this) return
    delete server[kOwner]
    this.#restoreDecision()
  }

  readonly #onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    if (!asksForWebsocket(request)) {
      if (this.#isAlone) serveAsPlain(this.#upgradeServer, request, socket, head, this.#events.timeout)
      else this.#leave(socket)
      return
    }
    // Another request of this socket is not answered yet: nothing that is written for this one could ever be told from its answer.
    if (responseOn(socket) !== null) socket.destroy()
    else if (!this.#isReady) this.#events.onEarly(request, socket)
    else this.relay.emit('upgrade', request, socket, head)
  }

  readonly #onRequest = (request: IncomingMessage): void => {
    if (request.headers['sec-websocket-key'] !== undefined) this.#events.onPlainHandshake(request)
  }

  /** Whether no other listener could want an upgrade to something else. */
  get #isAlone (): boolean {
    return this.#upgradeServer.listenerCount('upgrade') === 1
  }

  /** Whether a request can be answered as if it had no `Upgrade`: without a listener, Node.js would hold its socket for ever. */
  get #isIgnorable (): boolean {
    return this.#isAlone && this.#upgradeServer.listenerCount('request') > 0
  }

  /** Leaves an upgrade to the other listeners. Those may only look at it: a socket that nobody takes would be held for ever. */
  #leave (socket: Duplex): void {
    // Node.js has taken its own away, and an error that no listener hears ends the process.
    socket.on('error', () => socket.destroy())
    const before = bytesWritten(socket)
    const end = (): void => { if (!isTaken(socket, before)) socket.destroy() }
    if (this.#isClosing) {
      // The other listeners have not seen it yet.
      process.nextTick(end)
      return
    }
    const timer = setTimeout(end, this.#events.timeout).unref()
    this.#left.add(end)
    socket.once('close', () => {
      clearTimeout(timer)
      this.#left.delete(end)
    })
  }

  /** RFC 9110, 7.8: a server may ignore an Upgrade. Node.js emits `upgrade` for any, unless it is told which are wanted. */
  #decideUpgrades (): void {
    const server = this.#upgradeServer
    const decide = server.shouldUpgradeCallback
    if (typeof decide !== 'function') return
    const isOwn = Object.hasOwn(server, 'shouldUpgradeCallback')
    const ours = (request: IncomingMessage): boolean => decide.call(server, request) && (!this.#isIgnorable || asksForWebsocket(request))
    server.shouldUpgradeCallback = ours
    this.#restoreDecision = () => {
      if (server.shouldUpgradeCallback !== ours) return
      if (isOwn) server.shouldUpgradeCallback = decide
      else delete server.shouldUpgradeCallback
    }
  }
}

/** The response that is being written to a socket; `null` if there is none, or the socket is not one of `node:http`. */
export function responseOn (socket: Duplex): ServerResponse | null {
  return (socket as HttpSocket)._httpMessage ?? null
}

const listsWebsocket = listing('websocket')

function asksForWebsocket ({ headers }: IncomingMessage): boolean {
  return listsWebsocket(headers.upgrade)
}

/** A listener that takes a socket writes to it, or listens to it, at least for its errors, as this plugin does. */
function isTaken (socket: Duplex, before: number): boolean {
  return bytesWritten(socket) > before || socket.listenerCount('error') > 1 || ['data', 'readable'].some((event) => socket.listenerCount(event) > 0)
}

/** What was written to a socket, with what is still to be sent; zero where the socket is none (`injectWS`). */
export function bytesWritten (socket: Duplex & { bytesWritten?: number }): number {
  return socket.bytesWritten ?? 0
}

/**
 * Has a request served whose Upgrade is to be ignored, where Node.js could not be told before: its parser has let go of the
 * socket, and has ended the request. A body is read by its length; one in chunks would need that parser and is answered 411.
 */
function serveAsPlain (server: Server, upgrade: IncomingMessage, socket: Duplex, head: Buffer, timeout: number): void {
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
    socket.end(() => socket.destroy())
  })
  const { 'content-length': length = 0, 'transfer-encoding': coding } = request.headers
  if (coding !== undefined) {
    response.writeHead(411).end()
    return
  }
  // RFC 9112, 3.2: Node.js asks for it only of what is no upgrade.
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
    // Who reads the request has its socket read on (`IncomingMessage._read`).
    if (part.length > 0 && !request.push(part)) socket.pause()
    if (missing > 0) return
    clearTimeout(timer)
    socket.removeListener('data', take)
    request.complete = true
    request.push(null)
    // What else the client sends is read and dropped, so that its end is noticed.
    socket.resume()
  }
  socket.once('close', () => {
    clearTimeout(timer)
    if (missing > 0) request.destroy()
  })
  // A server's sockets stay half open: a client that has gone would be waited for. As `node:http` ends them.
  socket.once('end', () => { if (missing > 0) socket.destroy(); else socket.end() })
  socket.on('data', take)
  take(head)
}
