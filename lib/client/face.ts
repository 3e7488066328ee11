/*
 * The face of a WebSocket: its constants, its events and their handlers.
 */
import type { Link } from './link'
import { runtime } from './runtime'
import type { SocketLike } from './types'

const STATES = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 }
const TYPES = ['open', 'message', 'close', 'error'] as const

export abstract class Face extends runtime.EventTarget {
  declare readonly CONNECTING: 0
  declare readonly OPEN: 1
  declare readonly CLOSING: 2
  declare readonly CLOSED: 3
  declare static readonly CONNECTING: 0
  declare static readonly OPEN: 1
  declare static readonly CLOSING: 2
  declare static readonly CLOSED: 3
  declare onopen: ((event: any) => any) | null
  declare onmessage: ((event: any) => any) | null
  declare onclose: ((event: any) => any) | null
  declare onerror: ((event: any) => any) | null
  protected link: Link | null = null
  #binaryType: string | undefined

  constructor () {
    super()
    for (const type of TYPES) {
      const name = `on${type}` as const
      this[name] = null
      this.addEventListener(type, (event) => this[name]?.(event))
    }
  }

  get url (): string { return this.link?.url ?? '' }
  get protocol (): string { return this.#socket.protocol ?? '' }
  get extensions (): string { return this.#socket.extensions ?? '' }
  get bufferedAmount (): number { return this.#socket.bufferedAmount ?? 0 }
  get binaryType (): any { return this.#binaryType ?? this.#socket.binaryType ?? 'blob' }
  set binaryType (type: string) {
    this.#binaryType = type
    this.prepare(this.#socket)
  }

  /** The present socket. */
  get #socket (): Partial<SocketLike> { return this.link?.socket ?? {} }

  /** Gives a socket the binary type of this one. */
  prepare (socket: { binaryType?: any }): void {
    if (this.#binaryType) socket.binaryType = this.#binaryType
  }

  /** Dispatches an event with properties: not every runtime has `CloseEvent` and `ErrorEvent`. */
  fire (type: string, properties?: object): void {
    this.dispatchEvent(Object.assign(new runtime.Event(type), properties))
  }

  protected fireClose (code: number, reason: string): void {
    this.fire('close', { code, reason, wasClean: code !== 1006 })
  }
}

for (const target of [Face, Face.prototype]) Object.assign(target, STATES)

/** What `send` throws if the socket is not open, as a WebSocket does while it connects. */
export function notOpen (): Error {
  return new runtime.DOMException('not open', 'InvalidStateError')
}
