/*
 * The revocations that are in force, in memory: asked at each handshake, so that it costs no round trip. They are about
 * claims and never about the text of a token, which has twins (a signature can be changed and stay valid).
 */
import type { RevocationKind, RevokeCommand } from './contract'
import { claimText } from '../token/claims'
import type { Claims } from '../token/claims'
import { inSlices } from '../base/slices'

/** How often what is over is thrown away at most, in milliseconds: when there is something new. */
const PRUNE_INTERVAL = 60_000

/** One by `sub`. */
interface UserRevocation {
  readonly issuedBy: number
  readonly untilAt: number
}

/** A set of revocations. */
export class Revocations {
  /** When each is over. */
  readonly #jti = new Map<string, number>()
  readonly #sid = new Map<string, number>()
  readonly #sub = new Map<string, UserRevocation>()
  #prunedAt = Date.now()

  /** How many there are, those included that are over and not thrown away yet. */
  get size (): number {
    return this.#jti.size + this.#sid.size + this.#sub.size
  }

  /** Adds one. Of two about the same, what either refuses is refused, for as long as either is kept. */
  add ({ kind, value, issuedBy, untilAt }: RevokeCommand): void {
    const now = Date.now()
    if (untilAt <= now) return
    if (kind === 'sub') {
      const found = this.#sub.get(value)
      // What is over may stand there still: it is not to come back with the new one.
      const known = found !== undefined && found.untilAt > now ? found : undefined
      this.#sub.set(value, {
        issuedBy: Math.max(issuedBy ?? Infinity, known?.issuedBy ?? -Infinity),
        untilAt: Math.max(untilAt, known?.untilAt ?? 0)
      })
    } else {
      const revoked = this.#revokedBy(kind)
      revoked.set(value, Math.max(untilAt, revoked.get(value) ?? 0))
    }
    this.#pruneNowAndThen()
  }

  /** Whether a token of these claims is revoked. */
  isRevoked (claims: Claims): boolean {
    return this.size !== 0 && (this.#isListed('jti', claims) || this.#isListed('sid', claims) || this.#isUserRevoked(claims))
  }

  /** Those that are in force. */
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

  #isUserRevoked (claims: Claims): boolean {
    const value = claimText(claims, 'sub')
    const revocation = value === null ? undefined : this.#sub.get(value)
    return revocation !== undefined && revocation.untilAt > Date.now() && wasIssuedBy(claims, revocation.issuedBy)
  }

  /** No timer does it: nothing has to be stopped. */
  #pruneNowAndThen (): void {
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

/** Whether a token was issued in a second (since the epoch) or before. One that does not say may have been. */
export function wasIssuedBy ({ iat }: Claims, issuedBy: number): boolean {
  return iat === undefined || Math.floor(iat) <= issuedBy
}
