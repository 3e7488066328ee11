/*
 * The answers to the auth frames of open connections. A client that does not read them is terminated, because its answers would pile up.
 */
import type { OpenConnection } from '../connection/open-connection'
import { sendSafely } from '../connection/safe-calls'
import type { GuardedSocket } from '../connection/socket-guard'

/** How many answers to a connection may be unsent. */
const MAX_UNSENT = 64

/** Sends answers, and counts those that are not sent yet. */
export class Answers {
  readonly #unsent = new Map<OpenConnection, number>()

  send (connection: OpenConnection, socket: GuardedSocket, text: string): void {
    if (connection.isEnded) return
    const unsent = (this.#unsent.get(connection) ?? 0) + 1
    if (unsent > MAX_UNSENT) return connection.terminateFor('error')
    this.#unsent.set(connection, unsent)
    sendSafely(socket, text, () => {
      const left = (this.#unsent.get(connection) as number) - 1
      if (left === 0) this.#unsent.delete(connection)
      else this.#unsent.set(connection, left)
    })
  }
}
