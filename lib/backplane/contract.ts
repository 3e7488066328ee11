/*
 * backplane/ keeps what the instances of an app agree on: commands, revocations in force, values that are used once. It may
 * import token/ and base/. Start with the interface `Backplane` here: memory.ts implements it within a process, redis/ between
 * processes, and an app may implement it with another store. Every implementation must pass test/contracts/backplane.ts.
 */
import type { QuietLog } from '../base/quiet-log'
import type { LeaseRules, Leases } from './leases'

/** The revocations that end all tokens that have a claim: `jti` (RFC 7519, 4.1.7), or `sid` (OpenID Connect Front-Channel Logout 1.0, 3). */
export type TokenKind = 'jti' | 'sid'

/**
 * The revocations that end the tokens that were issued until an instant: of a subject, of a group, by the key of this `kid` (RFC 7515,
 * 4.1.4), of an `iss` (RFC 7519, 4.1.1), or all.
 */
export type TimedKind = 'sub' | 'group' | 'kid' | 'iss' | 'all'

/** What a revocation is about. */
export type RevocationKind = TokenKind | TimedKind

/** What a disconnect is about: as a revocation, or the id of a connection. */
export type DisconnectKind = RevocationKind | 'id'

export const TIMED_KINDS: readonly TimedKind[] = ['sub', 'group', 'kid', 'iss', 'all']
export const REVOCATION_KINDS: readonly RevocationKind[] = ['jti', 'sid', ...TIMED_KINDS]
export const DISCONNECT_KINDS: readonly DisconnectKind[] = ['id', ...REVOCATION_KINDS]

/** The value of a command of the kind `all`. */
export const ALL_VALUE = '*'

/** Who gave a command, and for what reason: for events and logs, never for clients. A revocation in force does not keep it. */
export interface CommandOrigin {
  /** At most {@link MAX_TEXT_BYTES} bytes of UTF-8, as `why`. */
  readonly by?: string
  readonly why?: string
}

export const MAX_TEXT_BYTES = 256

/** Whether a value can be the `by` or the `why` of a command. */
export function isCommandText (value: unknown): value is string {
  return typeof value === 'string' && Buffer.byteLength(value) <= MAX_TEXT_BYTES
}

/** Refuses the tokens that match, and closes their connections. */
export interface RevokeCommand extends CommandOrigin {
  readonly type: 'revoke'
  readonly kind: RevocationKind
  readonly value: string
  /**
   * For a {@link TimedKind}, in seconds since the epoch: only tokens issued in this second or before, or without an `iat`. `null` for `jti`
   * and `sid`, and perhaps for `kid`: all tokens.
   */
  readonly issuedBy: number | null
  /** When the revocation ends, in milliseconds since the epoch. */
  readonly untilAt: number
}

/** Closes connections. Their tokens stay valid. */
export interface DisconnectCommand extends CommandOrigin {
  readonly type: 'disconnect'
  readonly kind: DisconnectKind
  readonly value: string
  /** The close code; `null` for the code that the route has for `forbidden`. */
  readonly code: number | null
  /** The reason in the close frame; `null` for `disconnected`. */
  readonly reason: string | null
  /** Over how many milliseconds the closes are spread. Without it they are made now. */
  readonly within?: number
}

/** What a command is about, as its caller gave it, without `beforeAt`. */
export function matchOf ({ kind, value }: Command): Readonly<Record<string, string | true>> {
  return { [kind]: kind === 'all' ? true : value }
}

/** A message from one instance to the others. */
export type Command = RevokeCommand | DisconnectCommand

/** The answer of one instance to a command. */
export interface InstanceAnswer {
  readonly id: string
  /** False if the instance did not answer in time. */
  readonly answered: boolean
  /** How many connections the instance closed; `null` if it did not answer. */
  readonly closed: number | null
}

/** An instance, as its backplane sees it. */
export interface BackplaneMember {
  /** Unique among all instances. */
  readonly id: string
  /** Never throws. */
  readonly log: QuietLog
  /**
   * Applies a command. The backplane calls it for every command of another instance and for every earlier revocation, in any
   * order. It may call it more than once with the same revocation. Never throws.
   *
   * @returns how many connections the command closed on this instance
   */
  apply (command: Command): number
  /** All revocations in force that this instance knows, for a store that has lost them. */
  revocations (): Iterable<RevokeCommand>
  /**
   * The backplane cannot be reached: this instance may have missed commands. It closes its connections, and keeps those that are left once
   * `isCurrent` is true again.
   *
   * @param within over how many milliseconds the closes are spread. Default 0: all are closed now
   */
  onOutage (within?: number): void
}

/** A value, or a promise of it. */
export type Eventually<T> = T | PromiseLike<T>

/** The last failure of a backplane. */
export interface BackplaneError {
  /** In milliseconds since the epoch. */
  readonly at: number
  /** What failed, without addresses and passwords. */
  readonly message: string
}

/** How well an instance is linked to the others, for `stats()`. */
export interface BackplaneHealth {
  /** How old the last reply is that has shown all commands of the others, in milliseconds. `null` if no reply has come yet, or none is needed. */
  readonly age: number | null
  /** The number of live instances, this one included. `null` if it is not known. */
  readonly instances: number | null
  /** The last failure since the start, or `null`. */
  readonly lastError: BackplaneError | null
}

/** The link of one instance to the others. A promise that rejects does so within 5 s. */
export interface BackplaneLink {
  /**
   * Resolves when all earlier revocations have been applied. Rejects with a TypeError if it never will because the backplane was not set
   * up properly: the app does not start then.
   */
  readonly ready: Promise<void>
  /** Whether the commands of the other instances have been applied, except those of the last few seconds. Read at each handshake. */
  readonly isCurrent: boolean
  /** Read for `stats()`. A link without it has no gauges but those of the instance itself. */
  readonly health?: BackplaneHealth
  /**
   * Sends a command to the other instances. The caller has applied it already.
   *
   * @returns the answer of each live instance, when all have answered or 5 s have passed
   * @throws Error if it is not certain that the others will receive it
   */
  publish (command: Command): Promise<readonly InstanceAnswer[]>
  /** Stores a value for `ttl` ms. Resolves to false if the name is taken. */
  put (name: string, value: string, ttl: number): Eventually<boolean>
  /** The value of a name, or `null`. */
  get (name: string): Eventually<string | null>
  /** Removes a name. Resolves to its value, or `null`: of several callers, on any instances, exactly one gets the value. */
  take (name: string): Eventually<string | null>
  /** Counts the slots of users on all instances, for `limits.perUser` with the scope `'cluster'`. Called once at most, before `ready`. Optional. */
  readonly leases?: (rules: LeaseRules) => Leases
  /** Ends the link. After that it applies nothing. Never rejects. */
  leave (): Promise<void>
}

/** Connects the instances of an app; see the `backplane` option. */
export interface Backplane {
  /** Called once for each instance, when the app registers the plugin. Must not throw if the store cannot be reached. */
  join (member: BackplaneMember): BackplaneLink
}

/** How long a command waits for the answers of other instances, in milliseconds. */
export const ANSWER_TIMEOUT = 5000
