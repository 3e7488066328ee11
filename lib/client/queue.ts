/*
 * The messages that were sent while the socket was not open.
 */
import { runtime } from './runtime'

export class Queue {
  readonly #max: number
  #kept: unknown[] = []
  bytes = 0

  /** @param max in bytes */
  constructor (max: number) {
    this.#max = max
  }

  /** @returns whether the message is kept */
  add (data: unknown): boolean {
    const bytes = this.bytes + sizeOf(data)
    if (!this.#max || !(bytes <= this.#max)) return false
    this.bytes = bytes
    this.#kept.push(data)
    return true
  }

  /** Sends the messages in order, and keeps those from the first that fails. */
  flush (send: (data: unknown) => void): void {
    const kept = this.#kept
    this.clear()
    for (const data of kept) send(data)
  }

  clear (): void {
    this.#kept = []
    this.bytes = 0
  }
}

function sizeOf (data: unknown): number {
  if (typeof data === 'string') return new runtime.TextEncoder().encode(data).length
  const { byteLength, size } = data as { readonly byteLength?: number, readonly size?: number }
  return byteLength ?? size ?? 0
}
