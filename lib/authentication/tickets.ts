/*
 * Tickets: what a page can put into a URL that no log is worth reading for. Each is good for one handshake, for a short
 * time, and carries the claims of the token that it was given for. Kept as its hash: whoever reads the store has none.
 */
import { createHash, randomBytes } from 'node:crypto'
import { ANSWER_TIMEOUT } from '../backplane/contract'
import type { BackplaneLink, Eventually } from '../backplane/contract'
import { assertClaims } from '../token/claims'
import type { ClaimRules, Claims } from '../token/claims'
import { withDeadline } from '../base/deadline'
import { WsAuthError } from '../base/errors'
import { copyData, freezeData, frozenCopy } from '../token/frozen-data'
import { assertNoMore, isObject, readArgument } from '../base/checks'
import { isOrigin } from '../base/grammar'
import { thenRead } from '../base/thenable'
import type { Verified } from '../token/verifier'

/** What a ticket is bound to. */
export interface TicketBinding {
  /** The path of the handshake's URL, without its query, exactly. Default: any. */
  readonly path?: string
  /** The Origin of the handshake, exactly. Default: any, or none. */
  readonly origin?: string
}

/** A ticket, for the query of one handshake. */
export interface IssuedTicket {
  readonly ticket: string
  /** How long it is good, in milliseconds. */
  readonly expiresIn: number
}

/** What a handshake is, to a ticket that is bound. */
export interface TicketUse {
  readonly path: string
  readonly origin: string | undefined
  /** False for a dry run, which leaves it as it is. */
  readonly isSpent: boolean
}

/** What is kept of a ticket. */
interface KeptTicket extends TicketBinding {
  readonly claims: Claims
  /** Who `formatUser` made of the claims, `null` where that was nobody; left out where it is these. */
  readonly user?: unknown
}

const TICKET_BYTES = 32
/** As seconds, in the year 5138. */
const MIN_MILLISECONDS = 1e11
/** What a ticket looks like: nothing else is worth asking for. */
const TICKET = /^[\w-]{43}$/

/** The tickets of an app. */
export class Tickets {
  readonly #link: BackplaneLink
  readonly #ttl: number
  readonly #rules: ClaimRules

  /**
   * @param ttl how long a ticket is good, in milliseconds
   * @param rules those of the verifier: the times in the claims count as they do in a token
   */
  constructor (link: BackplaneLink, ttl: number, rules: ClaimRules) {
    this.#link = link
    this.#ttl = ttl
    this.#rules = { ...rules, required: [] }
  }

  /**
   * A ticket for somebody of these claims.
   *
   * @throws TypeError for a wrong binding, or claims that JSON cannot hold. WsAuthError `WS_AUTH_TOKEN_INVALID` or `WS_AUTH_TOKEN_EXPIRED`
   *   for claims that no token may have, `WS_AUTH_UNAVAILABLE` where it cannot be kept
   */
  async issue ({ claims, user }: Verified, binding: unknown): Promise<IssuedTicket> {
    const { path, origin } = readBinding(binding)
    assertClaims(claims, this.#rules, Date.now())
    const kept = textOf({ claims, user: user === claims ? undefined : user ?? null, path, origin })
    const ticket = randomBytes(TICKET_BYTES).toString('base64url')
    try {
      await withDeadline(this.#keep(nameOf(ticket), kept), ANSWER_TIMEOUT, 'keeping a ticket')
    } catch (error) {
      throw new WsAuthError('WS_AUTH_UNAVAILABLE', { cause: error })
    }
    return { ticket, expiresIn: this.#ttl }
  }

  async #keep (name: string, kept: string): Promise<void> {
    await this.#link.put(name, kept, this.#ttl)
  }

  /**
   * What a ticket admits. It is spent, also by a handshake that it is not for.
   *
   * @throws WsAuthError `WS_AUTH_TICKET_INVALID`, or `WS_AUTH_TOKEN_EXPIRED` where the claims behind it have. What the store throws
   */
  read (ticket: string, use: TicketUse): Eventually<Verified> {
    if (!TICKET.test(ticket)) throw invalid('it does not look like one')
    const name = nameOf(ticket)
    return thenRead(use.isSpent ? this.#link.take(name) : this.#link.get(name), (kept) => {
      if (kept === null) throw invalid('it is unknown, spent or expired')
      const { claims, user, path, origin } = parse(kept)
      if (path !== undefined && path !== use.path) throw invalid('it is bound to another path')
      if (origin !== undefined && origin !== use.origin) throw invalid('it is bound to another origin')
      assertClaims(claims, this.#rules, Date.now())
      return { claims, user: user === undefined ? claims : freezeData(user) }
    })
  }
}

/** The claims that `issueTicket` was given, as a token would have them. @throws TypeError where they are no object, or their `exp` is in milliseconds */
export function claimsOfTicket (claims: unknown): Claims {
  const given: Claims = readArgument('claims', claims)
  const { exp, iat = null } = given
  if (Number.isFinite(exp) && Number(exp) >= MIN_MILLISECONDS) throw new TypeError('"claims.exp" must be in seconds since the epoch, not in milliseconds')
  // Issued now: without it, a revocation of the user in the past would be one of the ticket.
  return frozenCopy({ ...given, iat: iat ?? Math.floor(Date.now() / 1000) })
}

/** What a ticket is to be bound to. @throws TypeError where that makes no sense */
export function readBinding (binding: unknown): TicketBinding {
  const { path, origin, ...rest } = readArgument('options', binding)
  assertNoMore('options', rest)
  if (path !== undefined && !isPath(path)) throw new TypeError('"options.path" must be the path of a URL, without a query')
  if (origin !== undefined && !isOrigin(origin)) throw new TypeError('"options.origin" must be an origin, such as \'https://example.com\'')
  return { path, origin } as TicketBinding
}

function isPath (path: unknown): boolean {
  return typeof path === 'string' && /^\/[^?#]*$/.test(path)
}

/** The name that a ticket is kept by. Of 256 random bits a plain hash is enough. */
function nameOf (ticket: string): string {
  return `ticket:${createHash('sha256').update(ticket).digest('base64url')}`
}

/**
 * Claims of `verify` and of the app can be anything, and nested deeper than JSON is written: about 4,000 levels, of what is
 * frozen 2,000. A token of 8 KiB has up to 3,000, so a copy is written.
 */
function textOf (kept: KeptTicket): string {
  try {
    return JSON.stringify(copyData(kept))
  } catch (error) {
    throw new TypeError('"claims" must be data that JSON can hold', { cause: error })
  }
}

/** Whoever can write into the store can put anything there. */
function parse (text: string): KeptTicket {
  try {
    const kept = JSON.parse(text) as KeptTicket
    if (!isObject(kept.claims)) throw new TypeError('no claims')
    return { ...kept, claims: frozenCopy(kept.claims) }
  } catch {
    throw invalid('what was kept of it cannot be read')
  }
}

function invalid (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TICKET_INVALID', { cause })
}
