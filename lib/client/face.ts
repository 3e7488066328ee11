/*
 * The face of a WebSocket: its constants, its events and their handlers.
 */
import type { Link } from './link'
import { runtime } from './runtime'

const STATES = ['CONNECTING', 'OPEN', 'CLOSING', 'CLOSED']
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
  onopen: ((event: any) => any) | null = null
  onmessage: ((event: any) => any) | null = null
  onclose: ((event: any) => any) | null = null
  onerror: ((event: any) => any) | null = null
  protected link: Link | null = null
  #binaryType: string | undefined

  constructor () {
    super()
    for (const type of TYPES) this.addEventListener(type, (event) => this[`on${type}`]?.(event))
  }

  get url (): string { return this.link?.url ?? '' }
  get protocol (): string { return this.link?.socket?.protocol ?? '' }
  get extensions (): string { return this.link?.socket?.extensions ?? '' }
  get bufferedAmount (): number { return this.link?.socket?.bufferedAmount ?? 0 }
  get binaryType (): any { return this.#binaryType ?? this.link?.socket?.binaryType ?? 'blob' }
  set binaryType (type: string) {
    this.#binaryType = type
    this.prepare(this.link?.socket)
  }

  /** Gives a socket the binary type of this one. */
  protected prepare (socket: { binaryType: any } | null | undefined): void {
    if (socket != null && this.#binaryType !== undefined) socket.binaryType = this.#binaryType
  }

  /** Dispatches an event with properties: not every runtime has `CloseEvent` and `ErrorEvent`. */
  protected fire (type: string, properties?: object): void {
    this.dispatchEvent(Object.assign(new runtime.Event(type), properties))
  }

  protected fireClose (code: number, reason: string): void {
    this.fire('close', { code, reason, wasClean: code !== 1006 })
  }
}

STATES.forEach((name, value) => Object.assign(Face, { [name]: value }) && Object.assign(Face.prototype, { [name]: value }))

/** What `send` throws if the socket is not open, as a WebSocket does while it connects. */
export function notOpen (): Error {
  return new runtime.DOMException('not open', 'InvalidStateError')
}
