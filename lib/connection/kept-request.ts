/*
 * The request of an open connection. A request, its raw one and their headers are 2 KiB, which most connections never need again: once
 * the handler has run, a connection keeps what its log lines and events need, and the app's own references keep the rest.
 */
import type { FastifyRequest } from 'fastify'
import type { AuditedRequest } from '../audit/audit'

/** In place of a request that was let go. */
const LET_GO = new Proxy({}, { get () { throw new TypeError('the request of this connection was let go') } }) as FastifyRequest

/** The request of one connection, or what is left of it. */
export class KeptRequest implements AuditedRequest {
  /** Weak once it is let go, because a renewal sets the user of a request that the app holds. */
  #request: FastifyRequest | WeakRef<FastifyRequest> | null
  #log: FastifyRequest['log'] | null = null
  #routeOptions: FastifyRequest['routeOptions'] | null = null
  /** The address, or the socket that knows it: to ask it is a system call. */
  #address: AuditedRequest['ip'] | FastifyRequest['socket'] = null

  constructor (request: FastifyRequest) {
    this.#request = request
  }

  /** The request; `null` if nothing holds it any more. */
  get held (): FastifyRequest | null {
    const request = this.#request
    return request instanceof WeakRef ? request.deref() ?? null : request
  }

  /** The request for new checks: it is let go only if no check of its route reads it. */
  get forChecks (): FastifyRequest {
    return this.held ?? LET_GO
  }

  get log (): FastifyRequest['log'] {
    return this.held?.log ?? this.#log as FastifyRequest['log']
  }

  get routeOptions (): FastifyRequest['routeOptions'] {
    return this.#routeOptions ?? (this.held as FastifyRequest).routeOptions
  }

  /** @throws what the `trustProxy` of the app throws, as long as the request is held */
  get ip (): AuditedRequest['ip'] {
    const { held } = this
    if (held !== null) return held.ip
    const address = this.#address
    return typeof address === 'object' && address !== null ? address.remoteAddress : address
  }

  /**
   * Lets the request go.
   *
   * @param routeOptions those of the request: all requests of a route have the same
   * @param address the address of the client, or the socket that knows it
   */
  letGo (routeOptions: FastifyRequest['routeOptions'], address: AuditedRequest['ip'] | FastifyRequest['socket']): void {
    const request = this.#request
    if (request === null || request instanceof WeakRef) return
    this.#log = request.log
    this.#routeOptions = routeOptions
    this.#address = address
    this.#request = new WeakRef(request)
  }

  /** The connection has ended, and the app may keep it: only the log is kept, for errors of the handler that come late. */
  forget (): void {
    this.#log = this.log
    this.#request = this.#address = null
  }
}
