/*
 * The sockets of an app that wait for their first message.
 */
import { FirstMessage } from './first-message'
import type { FirstMessageParts, Waiting } from './first-message'

/** Those that are waited for, and those that were refused and are not gone yet. */
export class FirstMessages {
  readonly #parts: FirstMessageParts
  readonly #open = new Set<FirstMessage>()
  #size = 0

  constructor (parts: FirstMessageParts) {
    this.#parts = parts
  }

  /** How many are waited for. */
  get size (): number {
    return this.#size
  }

  /** Waits for the first message of a socket. */
  wait (waiting: Waiting): void {
    this.#size++
    const message = new FirstMessage(waiting, this.#parts, () => { this.#size-- }, () => this.#open.delete(message))
    this.#open.add(message)
  }

  /** Closes those that are waited for: the server is closing. */
  close (): void {
    for (const message of this.#open) message.shutDown()
  }

  /** Ends those that have not gone by themselves. */
  terminate (): void {
    for (const message of this.#open) message.terminate()
  }
}
