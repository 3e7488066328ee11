/*
 * An upgrade request from its first byte to the open connection. Node drops all its timeouts when a request asks for an
 * upgrade, Fastify and ws have none for it, and a socket that neither answers is never freed: so every upgrade has a
 * deadline here, set before Fastify sees it and cleared when the connection is open or the socket is gone.
 */
import { STATUS_CODES } from 'node:http'
import type { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Authenticated } from '../authentication/authentication'
import type { Pending } from '../connection/limits'
import type { CompleteRouteOptions } from '../options/complete-options'
import { takeCredentials } from '../credentials/take'
import type { TakenCredentials } from '../credentials/found'
import type { KnownNames } from '../credentials/known-names'
import { wsAuthErrors } from '../base/errors'
import { bytesWritten, responseOn } from './server-listeners'

/** A handshake that was accepted, on a guarded route. */
export interface Accepted extends Authenticated {
  readonly route: CompleteRouteOptions
  /** Whether nobody is known yet: the token is to come with the first message. */
  readonly awaitsMessage: boolean
}

/** Why nobody will be answered any more, or has to be at once. */
export type UpgradeEnd = 'timeout' | 'shutdown' | 'gone'

/** How long an answer that was begun at the deadline may take, in milliseconds. */
const FLUSH_TIMEOUT = 1000

const kUpgrade = Symbol('fastify-ws-auth.upgrade')

type UpgradeRequest = IncomingMessage & { [kUpgrade]?: Upgrade | DryRun | undefined }

/** The upgrade that a request asks for, or the dry run that it is; `undefined` for any other, and once the connection is open. */
export function upgradeOf (request: IncomingMessage): Upgrade | DryRun | undefined {
  return (request as UpgradeRequest)[kUpgrade]
}

/** Whether the request has been accepted on condition of its first message. */
export function awaitsMessage (request: IncomingMessage): boolean {
  const upgrade = upgradeOf(request)
  return upgrade instanceof Upgrade && upgrade.accepted?.awaitsMessage === true
}

/** In place of an upgrade: a plain request that makes the same checks. */
export class DryRun {
  /** What was taken out of the request. */
  readonly taken: TakenCredentials
  /** Whether it was sent as a handshake: a proxy has dropped its `Upgrade`. */
  readonly wasHandshake: boolean

  /** Makes a plain request a dry run, unless it is one, or is an upgrade. */
  static mark (request: UpgradeRequest, names: KnownNames): void {
    request[kUpgrade] ??= new DryRun(request, names)
  }

  private constructor (request: IncomingMessage, names: KnownNames) {
    const { headers } = request
    this.taken = takeCredentials(request, names)
    this.wasHandshake = headers['sec-websocket-key'] !== undefined && headers.upgrade === undefined
  }
}

/** One request for an upgrade that has not become a connection yet. */
export class Upgrade {
  /** What was taken out of the request. */
  readonly taken: TakenCredentials
  readonly socket: Duplex
  /** What the client sent behind its request. */
  readonly head: Buffer
  /** Whether Fastify's hooks have it: they free the socket with their answer. */
  isRouted = false
  /** Whether it was refused, and that told: the app's error handler may not have answered yet. */
  isRefused = false
  readonly startedAt = Date.now()
  /** Whether a hook of ours has let it pass: nothing else opens a connection. */
  isAdmitted = false
  /** What was accepted, once it was; stays `null` on a public route. */
  accepted: Accepted | null = null
  /** Gives back what was taken for the connection that it may become. */
  giveBack: (() => void) | null = null
  /** Whether nobody waits for an answer any more: the client has gone, or was answered at the deadline. */
  isOver = false
  /** Called once when it ends early, for whoever is working on the answer. */
  onEnd: ((end: UpgradeEnd) => void) | null = null
  readonly #request: UpgradeRequest
  readonly #open: OpenUpgrades
  readonly #bytesBefore: number
  #timer: NodeJS.Timeout
  #isWatched = false

  constructor (request: UpgradeRequest, socket: Duplex, head: Buffer, taken: TakenCredentials, timeout: number, open: OpenUpgrades) {
    this.taken = taken
    this.socket = socket
    this.head = head
    this.#request = request
    this.#open = open
    this.#bytesBefore = bytesWritten(socket)
    this.#timer = setTimeout(endAtDeadline, timeout, this).unref()
    request[kUpgrade] = this
    open.pending.add(this)
    open.count.count++
    if (!(socket instanceof Socket)) onFirstWrite(socket, () => this.#onAnswer())
  }

  /** Whether an answer has been begun. */
  get isAnswered (): boolean {
    return bytesWritten(this.socket) > this.#bytesBefore
  }

  /**
   * Releases what is held when the socket closes. To be called in the turn in which the request came, if it was not
   * adopted in it: most are, and a third listener on the socket would cost each connection 170 bytes.
   */
  releaseAtClose (): void {
    this.socket.once('close', this.#onClose)
  }

  /** The connection is open and the socket ws's: nothing is held any more. */
  adopt (): void {
    this.socket.removeListener('close', this.#onClose)
    this.#request[kUpgrade] = undefined
    this.#release()
  }

  /** Answers 503, by whoever works on the answer or at once; the socket is gone soon after either way. */
  end (end: UpgradeEnd): void {
    this.isOver = true
    this.destroyIn(FLUSH_TIMEOUT)
    const { onEnd } = this
    this.onEnd = null
    if (onEnd !== null) onEnd(end)
    else if (this.isAnswered) this.socket.destroy()
    else this.#answerUnavailable(end)
  }

  /** No hook has it, and none will tell of it; one may have told. */
  #answerUnavailable (end: UpgradeEnd): void {
    writeUnavailable(this.socket)
    if (!this.isRefused) this.#open.onUnanswered(this.#request, reasonOf(end), this.startedAt)
  }

  /** Replaces the deadline: the socket is destroyed after so many milliseconds. */
  destroyIn (timeout: number): void {
    this.#release()
    this.#open.ending.add(this)
    this.#timer = setTimeout(destroy, timeout, this.socket).unref()
  }

  /**
   * Notices a client that leaves while somebody takes time over the answer. A server's sockets stay half open, and nobody
   * reads this one, so without it a FIN is seen by nobody. Frames that the client sent too early are left for ws.
   */
  watch (): void {
    if (!(this.socket instanceof Socket)) return
    this.#isWatched = true
    this.socket.on('readable', readEnd)
    this.socket.on('end', destroyEnded)
  }

  readonly #onClose = (): void => {
    this.isOver = true
    this.#release()
    const { onEnd } = this
    this.onEnd = null
    onEnd?.('gone')
  }

  /** A socket that is none (`injectWS`) is not ended by whoever answers, be it this package or a hook of the app. */
  #onAnswer (): void {
    if (this.#open.pending.has(this)) this.destroyIn(FLUSH_TIMEOUT)
  }

  #release (): void {
    clearTimeout(this.#timer)
    if (this.#open.pending.delete(this)) this.#open.count.count--
    this.#open.ending.delete(this)
    this.giveBack?.()
    this.giveBack = null
    if (!this.#isWatched) return
    this.#isWatched = false
    this.socket.removeListener('readable', readEnd)
    this.socket.removeListener('end', destroyEnded)
  }
}

/** Upgrades that hold a socket. */
interface OpenUpgrades {
  /** The app's count of what waits. */
  readonly count: Pending
  /** Those that wait for an answer. */
  readonly pending: Set<Upgrade>
  /** Those that have it, and whose socket is about to go. */
  readonly ending: Set<Upgrade>
  readonly onUnanswered: OnUnanswered
}

/** Called with a request that was answered 503 here, because no hook of ours had it, why, and when it came (ms since the epoch). */
export type OnUnanswered = (request: IncomingMessage, why: string, startedAt: number) => void

/** All requests to a server for an upgrade that have not become connections yet. */
export class Upgrades {
  readonly #open: OpenUpgrades
  #relay: EventEmitter | null = null
  #take: (request: UpgradeRequest, socket: Duplex, head: Buffer) => void = () => {}
  #isClosing = false

  constructor (count: Pending, onUnanswered: OnUnanswered) {
    this.#open = { count, pending: new Set(), ending: new Set(), onUnanswered }
  }

  /**
   * Takes the requests before @fastify/websocket does.
   *
   * @param timeout the deadline, in milliseconds
   */
  listenFirst (relay: EventEmitter, names: KnownNames, timeout: number): void {
    this.#relay = relay
    relay.on('upgrade', this.#take = (request, socket, head) => {
      const upgrade = new Upgrade(request, socket, head, takeCredentials(request, names), timeout, this.#open)
      if (request.method !== 'GET') dropBody(request)
      if (!this.#isClosing) return
      // Nobody else listens any more, and an error that nobody listens to ends the process.
      socket.on('error', () => socket.destroy())
      upgrade.end('shutdown')
    })
  }

  /** Looks at what has become of a request at once. Frees the socket where the router answered by itself (400, 414). */
  listenLast (relay: EventEmitter): void {
    relay.on('upgrade', (request: UpgradeRequest, socket: Duplex) => {
      const upgrade = request[kUpgrade]
      if (!(upgrade instanceof Upgrade)) return
      upgrade.releaseAtClose()
      if (upgrade.isOver) return
      if (upgrade.isAnswered) {
        if (!upgrade.isRouted) endSoon(socket)
        return
      }
      upgrade.watch()
      // Whoever answers later may be a hook of a scope that is not ours, after which nobody would free the socket.
      responseOn(socket)?.once('finish', endAnswered)
    })
  }

  /** Answers 503 to a request that came before the app was ready: its routes are not known yet, nor its checks. */
  turnAway (request: IncomingMessage, socket: Duplex): void {
    socket.on('error', () => socket.destroy())
    writeUnavailable(socket)
    this.#open.onUnanswered(request, 'the app is not ready yet', Date.now())
  }

  /** Refuses what is pending and all that comes from now on. */
  close (): void {
    this.#isClosing = true
    this.#relay?.removeAllListeners('upgrade').on('upgrade', this.#take)
    for (const { socket } of this.#open.ending) socket.destroy()
    for (const upgrade of this.#open.pending) upgrade.end('shutdown')
  }
}

/** Why nobody was answered, for the log. */
export function reasonOf (end: UpgradeEnd): string {
  return end === 'timeout' ? 'the handshake took longer than handshakeTimeout' : 'the server is closing'
}

function endAtDeadline (upgrade: Upgrade): void {
  upgrade.end('timeout')
}

function destroy (socket: Duplex): void {
  socket.destroy()
}

/** The end of a stream is told only to who reads what is before it: here nothing is. */
function readEnd (this: Socket): void {
  if (this.readableLength === 0) this.read()
}

function destroyEnded (this: Socket): void {
  this.destroy()
}

/** What follows an upgrade request is not its body, whatever its headers say: Fastify would wait for one, or refuse its type. */
function dropBody ({ headers }: IncomingMessage): void {
  delete headers['content-length']
  delete headers['transfer-encoding']
  delete headers['content-type']
}

function onFirstWrite (socket: Duplex, call: () => void): void {
  const { write } = socket
  socket.write = (...args: unknown[]): boolean => {
    socket.write = write
    call()
    return Reflect.apply(write, socket, args)
  }
}

function endAnswered (this: ServerResponse): void {
  if (this.socket !== null) endSoon(this.socket)
}

function endSoon (socket: Duplex): void {
  socket.end(() => socket.destroy())
}

/** The answer of Fastify's own error handler, for a request that no hook holds. */
function writeUnavailable (socket: Duplex): void {
  const { statusCode, message } = wsAuthErrors.WS_AUTH_UNAVAILABLE
  const error = STATUS_CODES[statusCode]
  const body = JSON.stringify({ statusCode, code: 'WS_AUTH_UNAVAILABLE', error, message })
  socket.end(`HTTP/1.1 ${statusCode} ${error}\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`, () => socket.destroy())
}
