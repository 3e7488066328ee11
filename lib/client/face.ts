/*
 * The face of a WebSocket: its constants, its events and their handlers.
 */
import { runtime } from './runtime'

export abstract class Face extends runtime.EventTarget {
  readonly CONNECTING = 0 as const
  readonly OPEN = 1 as const
  readonly CLOSING = 2 as const
  readonly CLOSED = 3 as const
  static readonly CONNECTING = 0 as const
  static readonly OPEN = 1 as const
  static readonly CLOSING = 2 as const
  static readonly CLOSED = 3 as const
  onopen: ((event: any) => any) | null = null
  onmessage: ((event: any) => any) | null = null
  onclose: ((event: any) => any) | null = null
  onerror: ((event: any) => any) | null = null

  constructor () {
    super()
    for (const type of ['open', 'message', 'close', 'error'] as const) this.addEventListener(type, (event) => this[`on${type}`]?.(event))
  }

  /** Dispatches an event with properties: not every runtime has `CloseEvent` and `ErrorEvent`. */
  protected fire (type: string, properties: object = {}): void {
    this.dispatchEvent(Object.assign(new runtime.Event(type), properties))
  }
}

/** What `send` throws if the socket is not open, as a WebSocket does while it connects. */
export function notOpen (): Error {
  return new runtime.DOMException('the socket is not open', 'InvalidStateError')
}
