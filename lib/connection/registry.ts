/*
 * The open connections of this instance, by id and by claim. Each look-up by id, `sub`, `jti` or `sid` uses a map, so that its cost is the
 * number of connections that are found, not of all.
 */
import type { DisconnectKind } from '../backplane/contract'
import { claimText } from '../token/claims'
import type { Claims } from '../token/claims'
import type { CommandTarget } from '../revocation/instance'
import { GOING_AWAY } from '../base/close-codes'
import type { CloseDecision } from '../base/close-codes'
import type { QuietLog } from '../base/quiet-log'
import { ignoreRejection } from '../base/thenable'
import { authRetry } from './auth-frames'
import type { ConnectionList } from './connection'
import type { OpenConnection } from './open-connection'
import { Spread } from './spread'

/** The claims that have an index beside the subject, which a renewal does not change. */
const INDEXED = ['jti', 'sid'] as const

/** Reads the roles from claims. */
type ReadRoles = (claims: Claims) => unknown

/** The registry of open connections. */
export class ConnectionRegistry implements ConnectionList, CommandTarget {
  readonly #log: QuietLog | null
  readonly #rolesOf: ReadRoles
  readonly #byId = new Map<string, OpenConnection>()
  /**
   * How many connections were decided to end, and wait for their slice. No look-up finds them. They stay in the indexes until their close,
   * because to take 50,000 out at once would block the event loop for longer than to mark them.
   */
  #decided = 0
  readonly #byClaim = { sub: new Index(), jti: new Index(), sid: new Index() }

  /**
   * @param log for errors of listeners of the app, which a close calls
   * @param rolesOf the `roles` option
   */
  constructor (log: QuietLog | null = null, rolesOf: ReadRoles = () => []) {
    this.#log = log
    this.#rolesOf = rolesOf
  }

  get size (): number {
    return this.#byId.size - this.#decided
  }

  get (id: string): OpenConnection | undefined {
    const connection = this.#byId.get(id)
    return connection?.isEnded === true ? undefined : connection
  }

  bySub (sub: string): OpenConnection[] {
    return this.#stillOpen(this.#byClaim.sub.all(sub))
  }

  byRole (role: string): OpenConnection[] {
    return [...this].filter(({ claims }) => claims !== null && this.#hasRole(claims, role))
  }

  byGroup (group: string): OpenConnection[] {
    return [...this].filter(({ groups }) => groups.includes(group))
  }

  byRoute (path: string): OpenConnection[] {
    return [...this].filter(({ kept }) => kept.routeOptions.url === path)
  }

  #stillOpen (found: OpenConnection[]): OpenConnection[] {
    return this.#decided === 0 ? found : found.filter(({ isEnded }) => !isEnded)
  }

  /** The option is only known to read the roles of claims that came to a route with roles: it may throw, or return something else. */
  #hasRole (claims: Claims, role: string): boolean {
    try {
      const roles: unknown = this.#rolesOf(claims)
      ignoreRejection(roles)
      return Array.isArray(roles) && roles.includes(role)
    } catch {
      return false
    }
  }

  /**
   * Without `within`, the decision is in force on all connections when this returns: no message reaches the app or the client any more,
   * and none of them is found or counted. The close frames follow in slices.
   */
  close (kind: DisconnectKind, value: string, decision: CloseDecision, within = 0, isMeant: (claims: Claims | null) => boolean = always): number {
    const closing: OpenConnection[] = []
    for (const connection of this.#find(kind, value)) {
      if (connection.isEnded || !isMeant(connection.claims)) continue
      closing.push(connection)
      if (within === 0) this.#decide(connection, decision)
    }
    this.#spread(closing, within, decision)
    return closing.length
  }

  #decide (connection: OpenConnection, decision: CloseDecision): void {
    connection.decide(decision)
    this.#decided++
  }

  /** Closes all connections, because the server closes, as `close` does it. Those that were decided before end as they were. Resolves when all close frames were sent. */
  async shutDown (): Promise<void> {
    const farewell = authRetry(this.size)
    const decision: CloseDecision = { reason: 'shutdown', code: GOING_AWAY, farewell }
    const all = [...this.#byId.values()]
    for (const connection of all) if (!connection.isEnded) this.#decide(connection, decision)
    await this.#spread(all, 0, decision).done
  }

  /** Returns the connections that a disconnect or a revocation may be about. */
  #find (kind: DisconnectKind, value: string): OpenConnection[] {
    if (kind === 'sub' || kind === 'jti' || kind === 'sid') return this.#byClaim[kind].all(value)
    if (kind !== 'id') return [...this].filter(belongsTo(kind, value))
    const connection = this.#byId.get(value)
    return connection === undefined ? [] : [connection]
  }

  /** Closes all connections. One that is opened meanwhile is checked by itself, and stays. */
  closeAll (within: number, isNeeded: () => boolean): void {
    const retry = authRetry(within === 0 ? this.size : 0)
    this.#spread([...this], within, { reason: 'auth_unavailable', code: 'unavailable' }, retry, within === 0 ? always : isNeeded)
  }

  /** Closes the other connections even if closing one throws, as it does if the app's logger throws. */
  #spread (connections: OpenConnection[], within: number, decision: CloseDecision, retry: string | null = null, isNeeded: () => boolean = always): Spread<OpenConnection> {
    return new Spread(connections, {
      within,
      isOpen: (connection) => !connection.isGone && isNeeded(),
      close: (connection) => {
        try {
          if (connection.isEnded) return connection.closeDecided()
          if (retry !== null) connection.tell(retry)
          connection.closeFor(decision.reason, decision.code, decision.text, decision.order)
        } catch (error) {
          this.#log?.error({ err: error }, 'closing a websocket connection failed')
        }
      }
    })
  }

  /** The number of connections of a user. */
  countBySub (sub: string): number {
    return this.#decided === 0 ? this.#byClaim.sub.count(sub) : this.bySub(sub).length
  }

  /** The connection of a user that was opened first. */
  oldestOf (sub: string): OpenConnection | undefined {
    return this.#decided === 0 ? this.#byClaim.sub.first(sub) : this.bySub(sub)[0]
  }

  [Symbol.iterator] (): Iterator<OpenConnection> {
    return this.#decided === 0 ? this.#byId.values() : this.#stillOpen([...this.#byId.values()]).values()
  }

  /** Adds an open connection. */
  add (connection: OpenConnection): void {
    this.#byId.set(connection.id, connection)
    if (connection.sub !== null) this.#byClaim.sub.add(connection.sub, connection)
    this.#index(connection, null, connection.claims)
  }

  /** Updates the indexes after a renewal has changed the claims of a connection. */
  move (connection: OpenConnection, before: Claims | null): void {
    if (this.#byId.has(connection.id)) this.#index(connection, before, connection.claims)
  }

  /** Removes a connection that has ended. It may be called more than once. */
  remove (connection: OpenConnection): void {
    if (!this.#byId.delete(connection.id)) return
    if (connection.wasDecided) this.#decided--
    if (connection.sub !== null) this.#byClaim.sub.remove(connection.sub, connection)
    this.#index(connection, connection.claims, null)
  }

  /** A claim that has not changed keeps its place, so that the oldest connection stays the first. */
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

function always (): boolean {
  return true
}

/**
 * Whether a connection is one of a group, of a key, of an issuer, or any. They have no index, because a few values have most of the
 * connections, and a command about them is rare: a walk over 50,000 connections takes 3 ms.
 */
function belongsTo (kind: 'group' | 'kid' | 'iss' | 'all', value: string): (connection: OpenConnection) => boolean {
  if (kind === 'all') return () => true
  if (kind === 'group') return ({ groups }) => groups.includes(value)
  return kind === 'kid' ? ({ kid }) => kid === value : ({ claims }) => claims?.iss === value
}

/** Connections by the value of a claim, in the order in which they were added. */
class Index {
  /** A single connection is not in a set, because most values have one connection, and a set costs 200 bytes. */
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
