/*
 * The revocations in force. They are in memory because every handshake reads them. A revocation names a claim, not the text of
 * a token, because the same signature can be written in several ways.
 */
import { ALL_VALUE, TIMED_KINDS } from './contract'
import type { RevocationKind, RevokeCommand, TimedKind, TokenKind } from './contract'
import { claimText } from '../token/claims'
import type { Claims } from '../token/claims'
import { inSlices } from '../base/slices'
import { ValueFilter } from './value-filter'
import type { KindedValue } from './value-filter'

/** How long an addition waits at least before it removes the expired revocations again, in milliseconds. */
const PRUNE_INTERVAL = 60_000

const TOKEN_KINDS: readonly TokenKind[] = ['jti', 'sid']

const NO_GROUPS: readonly string[] = []

/** The numbers of the kinds in the filter. */
const NUMBERS: Readonly<Record<RevocationKind, number>> = { jti: 1, sid: 2, sub: 3, group: 4, kid: 5, iss: 6, all: 7 }

/** A revocation of the tokens that were issued until an instant. */
interface TimedRevocation {
  /** In seconds since the epoch; `Infinity` for all tokens. */
  readonly issuedBy: number
  readonly untilAt: number
}

/** A list of revocations. */
export class RevocationList {
  /** When each revocation ends, in milliseconds since the epoch, by the value of the claim. */
  readonly #tokens = { jti: new Map<string, number>(), sid: new Map<string, number>() }
  readonly #timed: Record<TimedKind, Map<string, TimedRevocation>> = { sub: new Map(), group: new Map(), kid: new Map(), iss: new Map(), all: new Map() }
  readonly #filter = new ValueFilter(() => this.size, () => this.#values())
  #prunedAt = Date.now()

  /** The number of revocations. Expired ones count until they are removed. */
  get size (): number {
    const { sub, group, kid, iss, all } = this.#timed
    return this.#tokens.jti.size + this.#tokens.sid.size + sub.size + group.size + kid.size + iss.size + all.size
  }

  /** Adds a revocation. Two of the same claim are merged: the later `issuedBy` and the later `untilAt` count. */
  add ({ kind, value, issuedBy, untilAt }: RevokeCommand): void {
    const now = Date.now()
    if (untilAt <= now) return
    if (kind === 'jti' || kind === 'sid') {
      const revoked = this.#tokens[kind]
      const known = revoked.get(value)
      revoked.set(value, Math.max(untilAt, known ?? 0))
      if (known === undefined) this.#filter.add(NUMBERS[kind], value)
    } else {
      const revoked = this.#timed[kind]
      const found = revoked.get(value)
      // An expired revocation may not be removed yet. Merging would put it in force again.
      const known = found !== undefined && found.untilAt > now ? found : undefined
      revoked.set(value, {
        issuedBy: Math.max(issuedBy ?? Infinity, known?.issuedBy ?? -Infinity),
        untilAt: Math.max(untilAt, known?.untilAt ?? 0)
      })
      if (found === undefined) this.#filter.add(NUMBERS[kind], value)
    }
    this.prune()
  }

  /** Whether a subject was revoked. An expired revocation counts until it is removed. */
  get hasSubjects (): boolean {
    return this.#timed.sub.size > 0
  }

  /**
   * What revokes a token with these claims; `null` if nothing does. The cost grows with the number of its groups alone.
   *
   * @param sub its subject, or `null`
   * @param groups the groups of its user
   * @param kid the `kid` in its header, or `null`
   */
  kindFor (claims: Claims, sub: string | null = claimText(claims, 'sub'), groups: readonly string[] = NO_GROUPS, kid: string | null = null): RevocationKind | null {
    if (this.size === 0) return null
    if (this.#isListed('jti', claims)) return 'jti'
    if (this.#isListed('sid', claims)) return 'sid'
    if (this.#isTimed('sub', sub, claims)) return 'sub'
    if (this.#isTimed('kid', kid, claims)) return 'kid'
    if (this.#isTimed('iss', textOf(claims.iss), claims)) return 'iss'
    if (this.#isTimed('all', ALL_VALUE, claims)) return 'all'
    if (this.#timed.group.size === 0) return null
    for (const group of groups) if (this.#isTimed('group', group, claims)) return 'group'
    return null
  }

  /** Whether a token is revoked. The parameters are those of {@link kindFor}. */
  isRevoked (claims: Claims, sub?: string | null, groups?: readonly string[], kid?: string | null): boolean {
    return this.kindFor(claims, sub, groups, kid) !== null
  }

  /** The revocations in force. */
  * [Symbol.iterator] (): Generator<RevokeCommand> {
    const now = Date.now()
    for (const kind of TOKEN_KINDS) {
      for (const [value, untilAt] of this.#tokens[kind]) {
        if (untilAt > now) yield { type: 'revoke', kind, value, issuedBy: null, untilAt }
      }
    }
    for (const kind of TIMED_KINDS) {
      for (const [value, { issuedBy, untilAt }] of this.#timed[kind]) {
        if (untilAt > now) yield { type: 'revoke', kind, value, issuedBy: issuedBy === Infinity ? null : issuedBy, untilAt }
      }
    }
  }

  #isListed (kind: TokenKind, claims: Claims): boolean {
    const revoked = this.#tokens[kind]
    if (revoked.size === 0) return false
    const value = claimText(claims, kind)
    if (value === null || !this.#filter.mayHave(NUMBERS[kind], value)) return false
    const untilAt = revoked.get(value)
    return untilAt !== undefined && untilAt > Date.now()
  }

  #isTimed (kind: TimedKind, value: string | null, claims: Claims): boolean {
    const revoked = this.#timed[kind]
    if (value === null || revoked.size === 0 || !this.#filter.mayHave(NUMBERS[kind], value)) return false
    const revocation = revoked.get(value)
    return revocation !== undefined && revocation.untilAt > Date.now() && wasIssuedBy(claims, revocation.issuedBy)
  }

  /** Removes the expired revocations, once a minute at most. Called at additions and for gauges, because a timer would have to be stopped. */
  prune (): void {
    const now = Date.now()
    if (Math.abs(now - this.#prunedAt) < PRUNE_INTERVAL) return
    this.#prunedAt = now
    inSlices(this.#entries(), ([revoked, value, untilAt]) => { if (untilAt <= now) revoked.delete(value) }, () => {})
  }

  /** For the filter. */
  * #values (): Generator<KindedValue> {
    for (const kind of TOKEN_KINDS) for (const value of this.#tokens[kind].keys()) yield [NUMBERS[kind], value]
    for (const kind of TIMED_KINDS) for (const value of this.#timed[kind].keys()) yield [NUMBERS[kind], value]
  }

  * #entries (): Generator<[Map<string, unknown>, string, number]> {
    for (const revoked of Object.values(this.#tokens)) {
      for (const [value, untilAt] of revoked) yield [revoked, value, untilAt]
    }
    for (const revoked of Object.values(this.#timed)) {
      for (const [value, { untilAt }] of revoked) yield [revoked, value, untilAt]
    }
  }
}

function textOf (claim: unknown): string | null {
  return typeof claim === 'string' ? claim : null
}

/** Whether a token was issued in a second (since the epoch) or before it. True for a token without an `iat`, because it may have been. */
export function wasIssuedBy ({ iat }: Claims, issuedBy: number): boolean {
  return iat === undefined || Math.floor(iat) <= issuedBy
}
