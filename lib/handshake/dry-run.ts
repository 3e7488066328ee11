/*
 * Plain requests that make the checks of a handshake: to learn its answer (a dry run), or to get a ticket.
 */
import type { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Audit } from '../audit/audit'
import { isHttp2 } from '../base/http-headers'
import type { Pending } from '../connection/limits'
import { takeCredentials } from '../credentials/take'
import type { TakenCredentials } from '../credentials/found'
import type { KnownNames } from '../credentials/known-names'
import type { Handshake, HandshakePurpose } from './handshake'
import { answeredEarly } from './handshake-end'
import type { HandshakeEnd } from './handshake-end'

/** A plain request of a route that has a handshake. */
export class PlainRequest {
  /** The credentials that were taken out of the request. */
  readonly taken: TakenCredentials
  /** Whether it was sent as a handshake, and a proxy has dropped its `Upgrade`. */
  readonly wasHandshake: boolean
  #accepted: Handshake | null = null

  constructor (request: IncomingMessage, names: KnownNames) {
    const { headers } = request
    this.taken = takeCredentials(request, names)
    this.wasHandshake = headers['sec-websocket-key'] !== undefined && headers.upgrade === undefined
  }

  /** Keeps an accepted handshake for the handler of the route. */
  keepAccepted (handshake: Handshake): void {
    this.#accepted = handshake
  }

  /** Returns the accepted handshake once, then `null`. */
  takeAccepted (): Handshake | null {
    const accepted = this.#accepted
    this.#accepted = null
    return accepted
  }
}

/** The checks of a plain request. It has the methods of an `Upgrade`, so that the pre-validation hook treats both alike. */
export class DryRun {
  readonly purpose: HandshakePurpose
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly #plain: PlainRequest
  readonly #waiting: WaitingDryRuns

  constructor (purpose: 'dry run' | 'ticket', request: FastifyRequest, reply: FastifyReply, plain: PlainRequest, waiting: WaitingDryRuns) {
    this.purpose = purpose
    this.request = request
    this.reply = reply
    this.#plain = plain
    this.#waiting = waiting
  }

  get taken (): TakenCredentials {
    return this.#plain.taken
  }

  get startedAt (): number {
    return Date.now() - this.reply.elapsedTime
  }

  /** Takes no slot: it does not become a connection. */
  accept (handshake: Handshake): void {
    if (this.purpose === 'ticket') this.#plain.keepAccepted(handshake)
  }

  refuse (): void {}

  /** Whether the socket ends with the answer: HTTP/2 has many requests on one. */
  endsSocket (isLate: boolean): boolean {
    return isLate && !isHttp2(this.request.raw)
  }

  /** Calls a function, once, if the dry run ends before its checks do. @returns stops waiting */
  waitFor (onEnd: (end: HandshakeEnd) => void): () => void {
    return this.#waiting.add(this, onEnd)
  }
}

/** The dry runs of an app that wait for a check. Each has the deadline of an upgrade, and ends when its client leaves. */
export class WaitingDryRuns {
  readonly #ends = new Set<(why: HandshakeEnd) => void>()
  readonly #queued = new QueuedRequests()
  readonly #pending: Pending
  readonly #audit: Audit
  readonly #timeout: number

  /** @param timeout in milliseconds */
  constructor (pending: Pending, audit: Audit, timeout: number) {
    this.#pending = pending
    this.#audit = audit
    this.#timeout = timeout
  }

  /** @returns stops waiting */
  add (dryRun: DryRun, onEnd: (why: HandshakeEnd) => void): () => void {
    const { request, reply: { raw: response }, startedAt, purpose } = dryRun
    const timer = setTimeout(onEnd, this.#timeout, 'timeout').unref()
    const onClose = (): void => {
      if (response.headersSent) this.#audit.refused(request, answeredEarly(), null, { purpose, route: null, startedAt })
      onEnd('gone')
    }
    response.once('close', onClose)
    const stopQueuing = response.socket === null ? this.#queued.add(request.raw.socket, onClose) : () => {}
    this.#ends.add(onEnd)
    this.#pending.count++
    return () => {
      clearTimeout(timer)
      stopQueuing()
      response.removeListener('close', onClose)
      if (this.#ends.delete(onEnd)) this.#pending.count--
    }
  }

  /** Refuses them all: the server is closing. */
  close (): void {
    for (const end of this.#ends) end('shutdown')
  }
}

/** Plain requests that were pipelined behind others of their sockets: Node.js does not tell their responses that the client has left. */
class QueuedRequests {
  readonly #bySocket = new WeakMap<Socket, Set<() => void>>()

  /** @returns stops waiting */
  add (socket: Socket | undefined, onGone: () => void): () => void {
    // `inject` has no socket that closes.
    if (!(socket instanceof Socket)) return () => {}
    const waiting = this.#bySocket.get(socket) ?? new Set()
    if (!this.#bySocket.has(socket)) {
      this.#bySocket.set(socket, waiting)
      socket.once('close', () => { for (const call of [...waiting]) call() })
    }
    waiting.add(onGone)
    return () => waiting.delete(onGone)
  }
}
