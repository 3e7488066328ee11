/*
 * The listeners that the plugin adds to the server of the app: for upgrades, and for plain requests that were sent as
 * handshakes. A symbol on the server names their owner. All of it is removed when the app closes.
 *
 * @fastify/websocket listens to a relay in place of the server, so that every upgrade passes here first.
 */
import { EventEmitter } from 'node:events'
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { listing } from '../base/header-list'
import { serveAsPlain } from './ignored-upgrade'
import { bytesWritten, responseOn } from './raw-socket'

/** A symbol of all copies of the package, because two copies on one server would answer each upgrade twice. */
const kOwner = Symbol.for('fastify-ws-auth.owner')

type OwnedServer = Server & {
  [kOwner]?: ServerListeners
  /** Node.js 22.23 and 24.9, and later. */
  shouldUpgradeCallback?: (request: IncomingMessage) => boolean
}

/** What the listeners call. */
export interface ServerEvents {
  /** Whether an upgrade to WebSocket is for this app. Others are left to other listeners. Never throws. */
  readonly isOurs: (request: IncomingMessage) => boolean
  /** Called before Fastify with each plain request that has a `Sec-WebSocket-Key`: in most cases, a proxy has dropped its `Upgrade`. */
  readonly onPlainHandshake: (request: IncomingMessage) => void
  /** Called with each upgrade that comes before the app is ready, to answer it. A server that is not the app's own may get upgrades before. */
  readonly onEarly: (request: IncomingMessage, socket: Duplex) => void
  /** How long a request with another `Upgrade` may take to send its body, or may wait for another listener, in milliseconds. */
  readonly timeout: number
}

/** The listeners of one app. */
export class ServerListeners {
  /** Emits the upgrades to WebSocket. @fastify/websocket listens to it in place of the server. */
  readonly relay: EventEmitter = new EventEmitter()
  readonly #upgradeServer: OwnedServer
  readonly #requestServer: Server
  readonly #events: ServerEvents
  /** One function for each upgrade that was left to other listeners: destroys its socket unless a listener has taken it. */
  readonly #left = new Set<() => void>()
  #isReady = false
  #isClosing = false
  #restoreDecision = (): void => {}

  /**
   * @param upgradeServer the server that gets the upgrades
   * @param requestServer the server that gets Fastify's plain requests; in most apps the same
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
    // Prepended: another @fastify/websocket of the app may listen too, and our hooks must know each upgrade before it is routed.
    upgradeServer.prependListener('upgrade', this.#onUpgrade)
    requestServer.prependListener('request', this.#onRequest)
    this.#decideUpgrades()
  }

  /** From now on, upgrades get to the relay. */
  setReady (): void {
    this.#isReady = true
  }

  /** The server that gets the upgrades. */
  get server (): Server {
    return this.#upgradeServer
  }

  /** How many listeners for upgrades other code has added to the server. */
  get others (): number {
    return this.#upgradeServer.listenerCount('upgrade') - 1
  }

  /** Destroys the sockets that were left to other listeners and not taken: the server would wait for them. */
  close (): void {
    this.#isClosing = true
    for (const end of this.#left) end()
  }

  /** Removes everything. It may be called more than once. */
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
    if (!this.#events.isOurs(request)) {
      if (this.#isAlone) socket.destroy()
      else this.#leave(socket, false)
      return
    }
    // An earlier request of this socket is not answered yet: an answer to this one could not be told from its answer.
    if (responseOn(socket) !== null) socket.destroy()
    else if (!this.#isReady) this.#events.onEarly(request, socket)
    else this.relay.emit('upgrade', request, socket, head)
  }

  readonly #onRequest = (request: IncomingMessage): void => {
    if (request.headers['sec-websocket-key'] !== undefined) this.#events.onPlainHandshake(request)
  }

  /** Whether there is no other listener, which could want an upgrade to another protocol. */
  get #isAlone (): boolean {
    return this.#upgradeServer.listenerCount('upgrade') === 1
  }

  /** Whether a request can be answered as if it had no `Upgrade`: without a listener, Node.js would hold its socket for ever. */
  get #isIgnorable (): boolean {
    return this.#isAlone && this.#upgradeServer.listenerCount('request') > 0
  }

  /**
   * Leaves an upgrade to the other listeners. If none takes the socket, it is destroyed when the app closes.
   *
   * @param isTimed whether it is destroyed before, at the timeout. It is not if the app has said that the upgrade is not its own
   */
  #leave (socket: Duplex, isTimed = true): void {
    // Node.js has removed its own listener, and an error without a listener ends the process.
    socket.on('error', () => socket.destroy())
    const before = bytesWritten(socket)
    const end = (): void => { if (!isTaken(socket, before)) socket.destroy() }
    if (this.#isClosing) {
      // The other listeners have not seen it yet.
      process.nextTick(end)
      return
    }
    const timer = isTimed ? setTimeout(end, this.#events.timeout).unref() : undefined
    this.#left.add(end)
    socket.once('close', () => {
      clearTimeout(timer)
      this.#left.delete(end)
    })
  }

  /** RFC 9110, 7.8: a server may ignore an Upgrade. Node.js emits `upgrade` for each, unless this callback declines it. */
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

const listsWebsocket = listing('websocket')

function asksForWebsocket ({ headers }: IncomingMessage): boolean {
  return listsWebsocket(headers.upgrade)
}

/** A listener that takes a socket writes to it, or listens to it, at least for its errors, as this plugin does. */
function isTaken (socket: Duplex, before: number): boolean {
  return bytesWritten(socket) > before || socket.listenerCount('error') > 1 || ['data', 'readable'].some((event) => socket.listenerCount(event) > 0)
}
