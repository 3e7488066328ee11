/*
 * Answers whether the claims of a token were revoked: for handshakes, first messages, renewals and `wsAuth.isRevoked`.
 */
import type { FastifyBaseLogger } from 'fastify'
import { assertNoMore, readArgument } from '../base/checks'
import { WsAuthError } from '../base/errors'
import { quietLog } from '../base/quiet-log'
import type { QuietLog } from '../base/quiet-log'
import type { BackplaneLink, RevocationKind } from '../backplane/contract'
import type { RevocationList } from '../backplane/revocation-list'
import { isCurrent } from './backplane-stats'
import { isInMilliseconds } from '../token/claims'
import type { Claims } from '../token/claims'
import { groupsOf, NO_GROUPS } from '../token/groups'
import type { ReadGroups } from '../token/groups'
import { looseSubjectOf } from '../token/subject'
import type { ReadSubject } from '../token/subject'

/** The objects and options that the check works with. */
export interface RevocationCheckDependencies {
  readonly revocations: RevocationList
  /** Knows whether the list of revocations is complete. */
  readonly link: Pick<BackplaneLink, 'isCurrent'>
  readonly log: FastifyBaseLogger
  /** How long a revocation is kept by default, in milliseconds. */
  readonly revocationTtl: number
  /** The `subject` option. */
  readonly subject: ReadSubject | undefined
  /** The `groups` option. */
  readonly groups: ReadGroups | undefined
  /** Whether a token without an `exp` is valid for ever. It is not if the `verify` option is asked about each token. */
  readonly livesWithoutExpiry: boolean
}

/** Looks claims up in the list of revocations, if the list is complete. */
export class RevocationCheck {
  readonly #revocations: RevocationList
  readonly #link: Pick<BackplaneLink, 'isCurrent'>
  readonly #log: QuietLog
  readonly #revocationTtl: number
  readonly #subject: ReadSubject | undefined
  readonly #groups: ReadGroups | undefined
  /** Which tokens cause a warning: none after the first warning. */
  #warnsOf: 'all' | 'with exp' | 'none'
  #hasWarnedOfSubject = false

  constructor ({ revocations, link, log, revocationTtl, subject, groups, livesWithoutExpiry }: RevocationCheckDependencies) {
    this.#revocations = revocations
    this.#link = link
    this.#log = quietLog(log)
    this.#revocationTtl = revocationTtl
    this.#subject = subject
    this.#groups = groups
    this.#warnsOf = livesWithoutExpiry ? 'all' : 'with exp'
  }

  /**
   * The refusal for tokens of these claims, or `null`. Without claims, only an outage of the backplane is a refusal.
   *
   * @param sub the subject of the claims, or `null`
   * @param groups the groups of the claims
   * @param kid the `kid` in the header of the token, or `null`
   */
  refusalOf (claims: Claims | null, sub: string | null, groups: readonly string[] = NO_GROUPS, kid: string | null = null): WsAuthError | null {
    if (!isCurrent(this.#link)) return new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: new Error('the backplane does not know the current revocations') })
    const kind = claims === null ? null : this.#revocations.kindFor(claims, sub, groups, kid)
    return kind === null ? null : new WsAuthError('WS_AUTH_TOKEN_REVOKED', { cause: CAUSES[kind] })
  }

  /**
   * Whether tokens of these claims were revoked.
   *
   * @throws WsAuthError `WS_AUTH_UNAVAILABLE`; TypeError if an argument is wrong; what the `subject` and `groups` options throw
   */
  isRevoked (claims: unknown, options: unknown = {}): boolean {
    const read: Claims = readArgument('claims', claims)
    const { kid = null, ...rest } = readArgument('options', options)
    assertNoMore('options', rest, ['kid'])
    if (kid !== null && typeof kid !== 'string') throw new TypeError('"options.kid" must be a string')
    const refusal = this.refusalOf(read, looseSubjectOf(read, this.#subject), groupsOf(read, this.#groups), kid)
    if (refusal?.code === 'WS_AUTH_UNAVAILABLE') throw refusal
    return refusal !== null
  }

  /** Warns, once, of a token without a subject, if limits or revocations are about subjects. */
  warnOfNoSubject (limitsUsers: boolean): void {
    if (this.#hasWarnedOfSubject || !(limitsUsers || this.#revocations.hasSubjects)) return
    this.#hasWarnedOfSubject = true
    this.#log.warn(`a token has no subject: ${limitsUsers ? 'limits.perUser does not count' : 'a revocation by sub does not close'} its connections (see the "subject" option)`)
  }

  /** Warns, once, of a token that outlives its revocation: it would become valid again. */
  warnOfLongLife ({ claims, expiresAt }: { readonly claims: Claims | null, readonly expiresAt: number | null }): void {
    if (this.#warnsOf === 'none' || claims === null) return
    if (expiresAt === null ? this.#warnsOf !== 'all' : expiresAt <= Date.now() + this.#revocationTtl) return
    this.#warnsOf = 'none'
    const problem = problemOf(claims, expiresAt)
    this.#log.warn(`${problem}: if it is revoked, it becomes valid again after revocationTtl (${this.#revocationTtl} ms)`)
  }
}

/** For the log of a refusal. */
const CAUSES: Record<RevocationKind, string> = {
  jti: 'its jti was revoked',
  sid: 'its sid was revoked',
  sub: 'its sub was revoked, for tokens that were issued until then',
  group: 'one of its groups was revoked, for tokens that were issued until then',
  kid: 'the kid in its header was revoked',
  iss: 'its iss was revoked, for tokens that were issued until then',
  all: 'all tokens that were issued until then were revoked'
}

function problemOf ({ exp }: Claims, expiresAt: number | null): string {
  if (expiresAt === null) return 'a token has no exp, and never expires'
  return exp !== undefined && isInMilliseconds(exp)
    ? 'the exp of a token is in milliseconds, and must be in seconds: it never expires'
    : 'a token lives longer than revocationTtl'
}
