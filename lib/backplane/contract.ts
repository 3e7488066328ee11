/*
 * What the instances of an app have to agree on, as a contract: commands that reach every instance, revocations that a late
 * starter learns of, and things that are used once. `memory-backplane.ts` keeps it within a process, `redis/` among many;
 * both pass the same tests (test/contracts). Whoever speaks to another store can write a third.
 */
import type { QuietLog } from '../base/quiet-log'

/** What a revocation can be about: a claim of RFC 7519 (`jti`, `sub`) or of OpenID Connect Front-Channel Logout 1.0 (`sid`). */
export type RevocationKind = 'jti' | 'sid' | 'sub'

/** What a disconnect can be about: a claim, or the id of a connection. */
export type DisconnectKind = RevocationKind | 'id'

export const REVOCATION_KINDS: readonly RevocationKind[] = ['jti', 'sid', 'sub']
export const DISCONNECT_KINDS: readonly DisconnectKind[] = ['id', ...REVOCATION_KINDS]

/** Tokens with a claim of this value are refused, and their connections closed. */
export interface RevokeCommand {
  readonly type: 'revoke'
  readonly kind: RevocationKind
  readonly value: string
  /** By `sub`: tokens that were issued in this second since the epoch or before, or without an `iat`. `null` by `jti` and `sid`: all. */
  readonly issuedBy: number | null
  /** How long it is kept, in milliseconds since the epoch. */
  readonly untilAt: number
}

/** Connections are closed. */
export interface DisconnectCommand {
  readonly type: 'disconnect'
  readonly kind: DisconnectKind
  readonly value: string
  /** The close code, or `null` for the one that the route has for `forbidden`. */
  readonly code: number | null
  /** The reason of the close frame, or `null` for `disconnected`. */
  readonly reason: string | null
}

/** What instances tell each other. */
export type Command = RevokeCommand | DisconnectCommand

/** What an instance has answered to a command. */
export interface InstanceAnswer {
  readonly id: string
  /** False where it did not answer in time. */
  readonly answered: boolean
  /** How many connections it has closed; `null` where it did not answer. */
  readonly closed: number | null
}

/** An instance, as its backplane sees it. */
export interface BackplaneMember {
  /** Unique among all instances. */
  readonly id: string
  /** Never throws. */
  readonly log: QuietLog
  /**
   * Applies a command, and answers how many connections that closed here. It must be called for every command of another
   * instance and for every revocation of the past, in any order; more than once is no harm for revocations. Never throws.
   */
  apply (command: Command): number
  /** All revocations that it knows of and that are kept still, for a store that has lost them. */
  revocations (): Iterable<RevokeCommand>
  /** Nobody can vouch for what is open here any more: commands may have been missed. */
  onOutage (): void
}

/** A value that is there at once, or later. */
export type Eventually<T> = T | PromiseLike<T>

/** An instance's connection to the others. What rejects does so within 5 s. */
export interface BackplaneLink {
  /** Resolves when all revocations of the past have been applied. Never rejects. */
  readonly ready: Promise<void>
  /** Whether all commands of the others have been applied, but for the last few seconds'. Asked at each handshake. */
  readonly isCurrent: boolean
  /**
   * Tells the other instances. The caller has applied the command already.
   *
   * @returns what each other live instance answered, once all have or 5 s have passed
   * @throws Error where it cannot be known that they will get it
   */
  publish (command: Command): Promise<readonly InstanceAnswer[]>
  /** Keeps a value under a name for so many milliseconds; false where there is one by that name. */
  put (name: string, value: string, ttl: number): Eventually<boolean>
  /** The value by a name, or `null`. */
  get (name: string): Eventually<string | null>
  /** The value by a name, or `null`. Among all that ask at once, on whatever instances, one gets it, and nobody after. */
  take (name: string): Eventually<string | null>
  /** Leaves the others. Nothing is applied any more. Never rejects. */
  leave (): Promise<void>
}

/** What instances agree on, and by what means; see the `backplane` option. */
export interface Backplane {
  /** Called once by each app that is to be an instance, at its registration. Must not throw where the others cannot be reached. */
  join (member: BackplaneMember): BackplaneLink
}

/** How long the answer of another instance is waited for, in milliseconds. */
export const ANSWER_TIMEOUT = 5000
