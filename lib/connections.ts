/*
 * The open connections of this instance, found by what one asks for them: an id, a user. Each look-up is a map, so that
 * a user with three connections costs three, not all.
 */
import type { ConnectionList } from './connection'
import type { SocketConnection } from './socket-connection'

/** The registry of open connections. */
export class Connections implements ConnectionList {
  readonly #byId = new Map<string, SocketConnection>()
  /** One connection stands by itself: most users have one, and a set costs 200 bytes. */
  readonly #bySub = new Map<string, SocketConnection | Set<SocketConnection>>()

  get size (): number {
    return this.#byId.size
  }

  get (id: string): SocketConnection | undefined {
    return this.#byId.get(id)
  }

  bySub (sub: string): SocketConnection[] {
    const found = this.#bySub.get(sub)
    if (found === undefined) return []
    return found instanceof Set ? [...found] : [found]
  }

  /** How many a user has. */
  countBySub (sub: string): number {
    const found = this.#bySub.get(sub)
    if (found === undefined) return 0
    return found instanceof Set ? found.size : 1
  }

  /** The one that has been open for longest. */
  oldestOf (sub: string): SocketConnection | undefined {
    const found = this.#bySub.get(sub)
    return found instanceof Set ? found.values().next().value : found
  }

  [Symbol.iterator] (): Iterator<SocketConnection> {
    return this.#byId.values()
  }

  /** Adds one that is open. */
  add (connection: SocketConnection): void {
    this.#byId.set(connection.id, connection)
    const { sub } = connection
    if (sub === null) return
    const found = this.#bySub.get(sub)
    if (found === undefined) this.#bySub.set(sub, connection)
    else if (found instanceof Set) found.add(connection)
    else this.#bySub.set(sub, new Set([found, connection]))
  }

  /** Takes one out that has ended. More than once is once. */
  remove (connection: SocketConnection): void {
    if (!this.#byId.delete(connection.id)) return
    const { sub } = connection
    if (sub === null) return
    const found = this.#bySub.get(sub)
    if (found instanceof Set && found.size > 1) found.delete(connection)
    else this.#bySub.delete(sub)
  }
}
