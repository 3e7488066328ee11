/*
 * The upgrades of an app that have not become connections yet. They are made before @fastify/websocket gets the request, and
 * looked at again once it has had it.
 */
import type { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Pending } from '../connection/limits'
import { takeCredentials } from '../credentials/take'
import type { KnownNames } from '../credentials/known-names'
import { candidateOf, setCandidate } from './candidate'
import { endSoon, responseOn, writeUnavailable } from './raw-socket'
import { Upgrade } from './upgrade'
import type { UpgradeOwner } from './upgrade'

/** Called with a request that was answered 503 without a hook of ours, the reason, and the time at which it came (ms since the epoch). */
export type OnUnanswered = (request: IncomingMessage, why: string, startedAt: number) => void

/** All upgrades of an app that hold a socket. */
export class PendingUpgrades implements UpgradeOwner {
  readonly onUnanswered: OnUnanswered
  readonly #count: Pending
  /** Upgrades without an answer. */
  readonly #pending = new Set<Upgrade>()
  /** Upgrades with an answer, whose sockets are about to close. */
  readonly #ending = new Set<Upgrade>()
  #relay: EventEmitter | null = null
  #take: (request: IncomingMessage, socket: Duplex, head: Buffer) => void = () => {}
  #isClosing = false

  constructor (count: Pending, onUnanswered: OnUnanswered) {
    this.#count = count
    this.onUnanswered = onUnanswered
  }

  isPending (upgrade: Upgrade): boolean {
    return this.#pending.has(upgrade)
  }

  onEnding (upgrade: Upgrade): void {
    this.#ending.add(upgrade)
  }

  onReleased (upgrade: Upgrade): void {
    if (this.#pending.delete(upgrade)) this.#count.count--
    this.#ending.delete(upgrade)
  }

  /**
   * Listens before @fastify/websocket does.
   *
   * @param timeout the deadline of each upgrade, in milliseconds
   */
  listenFirst (relay: EventEmitter, names: KnownNames, timeout: number): void {
    this.#relay = relay
    relay.on('upgrade', this.#take = (request, socket, head) => {
      const upgrade = new Upgrade(request, socket, head, takeCredentials(request, names), timeout, this)
      setCandidate(request, upgrade)
      this.#pending.add(upgrade)
      this.#count.count++
      if (request.method !== 'GET') dropBody(request)
      if (!this.#isClosing) return
      // There is no other listener any more, and an error without a listener ends the process.
      socket.on('error', () => socket.destroy())
      upgrade.end('shutdown')
    })
  }

  /** Listens after @fastify/websocket, in the same turn. Frees the socket if the router has answered by itself (400, 414). */
  listenLast (relay: EventEmitter): void {
    relay.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
      const upgrade = candidateOf(request)
      if (!(upgrade instanceof Upgrade)) return
      upgrade.releaseAtClose()
      if (upgrade.isOver) return
      if (upgrade.isAnswered) {
        if (!upgrade.isRouted) endSoon(socket)
        return
      }
      upgrade.watch()
      // A hook of a scope beside ours may answer later. Nothing else would free the socket then.
      responseOn(socket)?.once('finish', endAnswered)
    })
  }

  /** Answers 503 to a request that came before the app was ready: its routes and its checks are not known yet. */
  turnAway (request: IncomingMessage, socket: Duplex): void {
    socket.on('error', () => socket.destroy())
    writeUnavailable(socket)
    this.onUnanswered(request, 'the app is not ready yet', Date.now())
  }

  /** Refuses all pending upgrades, and all that come from now on. */
  close (): void {
    this.#isClosing = true
    this.#relay?.removeAllListeners('upgrade').on('upgrade', this.#take)
    for (const { socket } of this.#ending) socket.destroy()
    for (const upgrade of this.#pending) upgrade.end('shutdown')
  }
}

/** An upgrade has no body, whatever its headers say: Fastify would wait for one, or refuse its type. */
function dropBody ({ headers }: IncomingMessage): void {
  delete headers['content-length']
  delete headers['transfer-encoding']
  delete headers['content-type']
}

function endAnswered (this: ServerResponse): void {
  if (this.socket !== null) endSoon(this.socket)
}
