/*
 * The open connections of this instance, found by what one asks for them: an id, a claim. Each look-up is a map, so that
 * a user with three connections costs three, not all.
 */
import type { DisconnectKind } from '../backplane/contract'
import { claimText } from '../token/claims'
import type { Claims } from '../token/claims'
import type { CommandTarget } from '../revocation/instance'
import { inSlices } from '../base/slices'
import type { ConnectionList } from './connection'
import type { OpenConnection } from './open-connection'

/** The claims by which connections are found. */
const INDEXED = ['sub', 'jti', 'sid'] as const

/** The registry of open connections. */
export class ConnectionRegistry implements ConnectionList, CommandTarget {
  readonly #byId = new Map<string, OpenConnection>()
  readonly #byClaim = { sub: new Index(), jti: new Index(), sid: new Index() }

  get size (): number {
    return this.#byId.size
  }

  get (id: string): OpenConnection | undefined {
    return this.#byId.get(id)
  }

  bySub (sub: string): OpenConnection[] {
    return this.#byClaim.sub.all(sub)
  }

  /** Those that a disconnect or a revocation is about. */
  find (kind: DisconnectKind, value: string): OpenConnection[] {
    if (kind !== 'id') return this.#byClaim[kind].all(value)
    const connection = this.#byId.get(value)
    return connection === undefined ? [] : [connection]
  }

  /** Closes some connections in each turn of the event loop. One that is opened meanwhile is checked by itself, and stays. */
  closeAll (): void {
    inSlices([...this].values(), (connection) => connection.closeFor('auth_unavailable', 'unavailable'), () => {})
  }

  /** How many a user has. */
  countBySub (sub: string): number {
    return this.#byClaim.sub.count(sub)
  }

  /** The one that has been open for longest. */
  oldestOf (sub: string): OpenConnection | undefined {
    return this.#byClaim.sub.first(sub)
  }

  [Symbol.iterator] (): Iterator<OpenConnection> {
    return this.#byId.values()
  }

  /** Adds one that is open. */
  add (connection: OpenConnection): void {
    this.#byId.set(connection.id, connection)
    this.#index(connection, null, connection.claims)
  }

  /** One has other claims than before. It is found by these, and no more by those. */
  move (connection: OpenConnection, before: Claims | null): void {
    if (this.#byId.has(connection.id)) this.#index(connection, before, connection.claims)
  }

  /** Takes one out that has ended. More than once is once. */
  remove (connection: OpenConnection): void {
    if (this.#byId.delete(connection.id)) this.#index(connection, connection.claims, null)
  }

  /** What has not changed keeps its place: who was first stays first. */
  #index (connection: OpenConnection, before: Claims | null, after: Claims | null): void {
    for (const claim of INDEXED) {
      const from = before === null ? null : claimText(before, claim)
      const to = after === null ? null : claimText(after, claim)
      if (from === to) continue
      if (from !== null) this.#byClaim[claim].remove(from, connection)
      if (to !== null) this.#byClaim[claim].add(to, connection)
    }
  }
}

/** Connections by the value of a claim, each value's in the order in which they were added. */
class Index {
  /** One connection stands by itself: most values have one, and a set costs 200 bytes. */
  readonly #found = new Map<string, OpenConnection | Set<OpenConnection>>()

  all (value: string): OpenConnection[] {
    const found = this.#found.get(value)
    if (found === undefined) return []
    return found instanceof Set ? [...found] : [found]
  }

  count (value: string): number {
    const found = this.#found.get(value)
    if (found === undefined) return 0
    return found instanceof Set ? found.size : 1
  }

  first (value: string): OpenConnection | undefined {
    const found = this.#found.get(value)
    return found instanceof Set ? found.values().next().value : found
  }

  add (value: string, connection: OpenConnection): void {
    const found = this.#found.get(value)
    if (found === undefined) this.#found.set(value, connection)
    else if (found instanceof Set) found.add(connection)
    else this.#found.set(value, new Set([found, connection]))
  }

  remove (value: string, connection: OpenConnection): void {
    const found = this.#found.get(value)
    if (found instanceof Set && found.size > 1) found.delete(connection)
    else this.#found.delete(value)
  }
}
