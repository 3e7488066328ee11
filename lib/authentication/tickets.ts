/*
 * Tickets: single-use credentials that are safe in a URL, because a logged ticket is already spent. A ticket is good for a short time and
 * has the claims of the token that it was issued for. The store has only its hash, so that a reader of the store has no ticket.
 */
import { createHash, randomBytes } from 'node:crypto'
import { ANSWER_TIMEOUT } from '../backplane/contract'
import type { BackplaneLink, Eventually } from '../backplane/contract'
import { assertClaims, isInMilliseconds } from '../token/claims'
import type { ClaimRules, Claims } from '../token/claims'
import { withDeadline } from '../base/deadline'
import { WsAuthError } from '../base/errors'
import { copyData, freezeData, frozenCopy } from '../token/frozen-data'
import { isObject, readArgument } from '../base/checks'
import { thenRead } from '../base/thenable'
import type { Verified } from '../token/verifier'
import { mismatchOf, readBinding } from './ticket-binding'
import type { BoundUse, KeptBinding } from './ticket-binding'

/** A ticket, for the query of one handshake. */
export interface IssuedTicket {
  readonly ticket: string
  /** How many milliseconds the ticket is good. */
  readonly expiresIn: number
}

/** A handshake that uses a ticket. */
export interface TicketUse extends BoundUse {
  /** False for a dry run, which does not spend the ticket. */
  readonly isSpent: boolean
}

/** What a ticket says. */
export interface TicketContents extends Verified {
  /** The `kid` in the header of the token that the ticket was issued for; `null` or left out if it has none, or if there was no token. */
  readonly kid?: string | null
}

/** What a ticket is issued for. */
export interface TicketFor extends TicketContents {
  /** Whether the app has issued it. Else it was issued to a client, for a token that the plugin's verifier has verified. */
  readonly isByApp?: boolean
}

/** The stored data of a ticket. */
interface KeptTicket extends KeptBinding {
  readonly claims: Claims
  /** The user that `formatUser` made of the claims, `null` for none. Left out if the user is the claims. */
  readonly user?: unknown
  /** Left out if there is none. */
  readonly kid?: string
}

const TICKET_BYTES = 32
/** The form of a ticket. The store is not asked for any other text. */
const TICKET = /^[\w-]{43}$/

/** The tickets of an app. */
export class Tickets {
  readonly #link: BackplaneLink
  readonly #ttl: number
  readonly #rules: ClaimRules

  /**
   * @param ttl how many milliseconds a ticket is good
   * @param rules the verifier's rules: the times in the claims count as they do in a token
   */
  constructor (link: BackplaneLink, ttl: number, rules: ClaimRules) {
    this.#link = link
    this.#ttl = ttl
    this.#rules = { ...rules, required: [] }
  }

  /**
   * Issues a ticket for a user.
   *
   * @throws TypeError for a wrong binding, or claims that JSON cannot hold. WsAuthError `WS_AUTH_TOKEN_INVALID` or `WS_AUTH_TOKEN_EXPIRED`
   *   for claims that no token may have, `WS_AUTH_UNAVAILABLE` if the backplane does not store it
   */
  async issue ({ claims, user, kid, isByApp }: TicketFor, binding: unknown): Promise<IssuedTicket> {
    const { path, origin } = readBinding(binding)
    assertClaims(claims, this.#rules, Date.now())
    const kept = textOf({ claims, user: user === claims ? undefined : user ?? null, kid: kid ?? undefined, path, origin, byApp: isByApp === true ? true : undefined })
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
   * Reads a ticket, and spends it even if it is bound to another handshake.
   *
   * @throws WsAuthError `WS_AUTH_TICKET_INVALID`, or `WS_AUTH_TOKEN_EXPIRED` if its claims have expired. The errors of the backplane
   */
  read (ticket: string, use: TicketUse): Eventually<TicketContents> {
    if (!TICKET.test(ticket)) throw invalid('it does not have the form of a ticket')
    const name = nameOf(ticket)
    return thenRead(use.isSpent ? this.#link.take(name) : this.#link.get(name), (kept) => {
      if (kept === null) throw invalid('it is unknown, spent or expired')
      const { claims, user, kid, ...binding } = parse(kept)
      const mismatch = mismatchOf(binding, use)
      if (mismatch !== null) throw invalid(mismatch)
      assertClaims(claims, this.#rules, Date.now())
      return { claims, user: user === undefined ? claims : freezeData(user), ...typeof kid === 'string' && { kid } }
    })
  }
}

/** Reads the claims given to `issueTicket`. @throws TypeError if they are not an object, or if their `exp` is in milliseconds */
export function claimsOfTicket (claims: unknown): Claims {
  const given: Claims = readArgument('claims', claims)
  const { exp, iat = null } = given
  if (Number.isFinite(exp) && isInMilliseconds(Number(exp))) throw new TypeError('"claims.exp" must be in seconds since the epoch, not in milliseconds')
  // Without an `iat`, an earlier revocation of the user would revoke the ticket too.
  return frozenCopy({ ...given, iat: iat ?? Math.floor(Date.now() / 1000) })
}

/** The name of a ticket in the store. A plain hash is enough for 256 random bits. */
function nameOf (ticket: string): string {
  return `ticket:${createHash('sha256').update(ticket).digest('base64url')}`
}

/**
 * Writes a copy, because JSON.stringify fails for frozen data with more than about 2,000 levels, and for other data with more than 4,000.
 * A token of 8 KiB has up to 3,000 levels; claims of `verify` and of the app may have more.
 */
function textOf (kept: KeptTicket): string {
  try {
    return JSON.stringify(copyData(kept))
  } catch (error) {
    throw new TypeError('"claims" must be data that JSON can hold', { cause: error })
  }
}

/** The store may be written by others, so its data is checked. */
function parse (text: string): KeptTicket {
  try {
    const kept = JSON.parse(text) as KeptTicket
    if (!isObject(kept.claims)) throw new TypeError('no claims')
    return { ...kept, claims: frozenCopy(kept.claims) }
  } catch {
    throw invalid('its stored data cannot be read')
  }
}

function invalid (cause: string): WsAuthError {
  return new WsAuthError('WS_AUTH_TICKET_INVALID', { cause })
}
