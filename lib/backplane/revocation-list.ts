/*
 * The revocations in force. They are in memory because every handshake reads them. A revocation names a claim, not the text of
 * a token, because the same signature can be written in several ways.
 */
import type { RevocationKind, RevokeCommand } from './contract'
import { claimText } from '../token/claims'
import type { Claims } from '../token/claims'
import { inSlices } from '../base/slices'

/** How long an addition waits at least before it removes the expired revocations again, in milliseconds. */
const PRUNE_INTERVAL = 60_000

/** A revocation by `sub`. */
interface UserRevocation {
  readonly issuedBy: number
  readonly untilAt: number
}

/** A list of revocations. */
export class RevocationList {
  /** When each revocation ends, in milliseconds since the epoch, by the value of the claim. */
  readonly #jti = new Map<string, number>()
  readonly #sid = new Map<string, number>()
  readonly #sub = new Map<string, UserRevocation>()
  #prunedAt = Date.now()

  /** The number of revocations. Expired ones count until they are removed. */
  get size (): number {
    return this.#jti.size + this.#sid.size + this.#sub.size
  }

  /** Adds a revocation. Two of the same claim are merged: the later `issuedBy` and the later `untilAt` count. */
  add ({ kind, value, issuedBy, untilAt }: RevokeCommand): void {
    const now = Date.now()
    if (untilAt <= now) return
    if (kind === 'sub') {
      const found = this.#sub.get(value)
      // An expired revocation may not be removed yet. Merging would put it in force again.
      const known = found !== undefined && found.untilAt > now ? found : undefined
      this.#sub.set(value, {
        issuedBy: Math.max(issuedBy ?? Infinity, known?.issuedBy ?? -Infinity),
        untilAt: Math.max(untilAt, known?.untilAt ?? 0)
      })
    } else {
      const revoked = this.#revokedBy(kind)
      revoked.set(value, Math.max(untilAt, revoked.get(value) ?? 0))
    }
    this.prune()
  }

  /** Whether a subject was revoked. An expired revocation counts until it is removed. */
  get hasSubjects (): boolean {
    return this.#sub.size > 0
  }

  /** Whether a token with these claims is revoked. @param sub its subject, or `null` */
  isRevoked (claims: Claims, sub: string | null = claimText(claims, 'sub')): boolean {
    return this.size !== 0 && (this.#isListed('jti', claims) || this.#isListed('sid', claims) || this.#isUserRevoked(claims, sub))
  }

  /** The revocations in force. */
  * [Symbol.iterator] (): Generator<RevokeCommand> {
    const now = Date.now()
    for (const kind of ['jti', 'sid'] as const) {
      for (const [value, untilAt] of this.#revokedBy(kind)) {
        if (untilAt > now) yield { type: 'revoke', kind, value, issuedBy: null, untilAt }
      }
    }
    for (const [value, { issuedBy, untilAt }] of this.#sub) {
      if (untilAt > now) yield { type: 'revoke', kind: 'sub', value, issuedBy, untilAt }
    }
  }

  #revokedBy (kind: Exclude<RevocationKind, 'sub'>): Map<string, number> {
    return kind === 'jti' ? this.#jti : this.#sid
  }

  #isListed (kind: Exclude<RevocationKind, 'sub'>, claims: Claims): boolean {
    const value = claimText(claims, kind)
    return value !== null && (this.#revokedBy(kind).get(value) ?? 0) > Date.now()
  }

  #isUserRevoked (claims: Claims, sub: string | null): boolean {
    const revocation = sub === null ? undefined : this.#sub.get(sub)
    return revocation !== undefined && revocation.untilAt > Date.now() && wasIssuedBy(claims, revocation.issuedBy)
  }

  /** Removes the expired revocations, once a minute at most. Called at additions and for gauges, because a timer would have to be stopped. */
  prune (): void {
    const now = Date.now()
    if (Math.abs(now - this.#prunedAt) < PRUNE_INTERVAL) return
    this.#prunedAt = now
    inSlices(this.#entries(), ([revoked, value, untilAt]) => { if (untilAt <= now) revoked.delete(value) }, () => {})
  }

  * #entries (): Generator<[Map<string, unknown>, string, number]> {
    for (const revoked of [this.#jti, this.#sid]) {
      for (const [value, untilAt] of revoked) yield [revoked, value, untilAt]
    }
    for (const [value, { untilAt }] of this.#sub) yield [this.#sub, value, untilAt]
  }
}

/** Whether a token was issued in a second (since the epoch) or before it. True for a token without an `iat`, because it may have been. */
export function wasIssuedBy ({ iat }: Claims, issuedBy: number): boolean {
  return iat === undefined || Math.floor(iat) <= issuedBy
}
