/*
 * revocation/ runs the commands `revoke` and `disconnect` on this instance and on the others. It may import backplane/, token/ and
 * base/. Start with instance.ts, which applies the commands.
 *
 * This file checks the arguments of the commands. A wrong argument throws, because a logout with a typing error must not seem to
 * succeed.
 */
import { ALL_VALUE, DISCONNECT_KINDS, isCommandText, MAX_TEXT_BYTES, REVOCATION_KINDS } from '../backplane/contract'
import type { CommandOrigin, DisconnectKind, RevocationKind, TimedKind } from '../backplane/contract'
import { assertNoMore, isDelay, readArgument } from '../base/checks'
import { isReason, isSendableCode, MAX_REASON_BYTES } from '../base/close-codes'

/**
 * The tokens to revoke: by one claim, by a group of the `groups` option, by the `kid` in their header, or all. Except by `jti` and `sid`,
 * only tokens issued at `beforeAt` or before are revoked: `beforeAt` is in milliseconds since the epoch, default now; by `kid` the default
 * is all tokens, because a key that is known to others signs tokens of any time.
 */
export type RevokeMatch = OneOf<'jti'> | OneOf<'sid'> | OneOf<TimedKind> & { readonly beforeAt?: number }

/** The connections to close: by one claim of their tokens, by a group, by the `kid`, by the id of a connection, or all. */
export type DisconnectMatch = OneOf<DisconnectKind>

/** Exactly one of these properties. */
type OneOf<Kinds extends DisconnectKind> = {
  [Kind in Kinds]: { readonly [kind in Kind]: ValueOf<Kind> } & { readonly [kind in Exclude<DisconnectKind, Kind>]?: never }
}[Kinds]

type ValueOf<Kind extends DisconnectKind> = Kind extends 'all' ? true : string

/** Who gives a command, and why. Both are in the events and the log lines of the connections that it closes, and no client sees them. */
export interface CommandNotes {
  /** Who gives the command: a string of at most 256 bytes of UTF-8. */
  readonly by?: string
  /** The reason: a string of at most 256 bytes of UTF-8. */
  readonly why?: string
}

/** Options of `revoke`. */
export interface RevokeOptions extends CommandNotes {
  /** When the revocation ends, in milliseconds since the epoch. Default: `revocationTtl` from now. */
  readonly untilAt?: number
}

/** Options of `disconnect`. */
export interface DisconnectOptions extends CommandNotes {
  /** The close code, one that may be sent (RFC 6455, 7.4). Default: `closeCodes.forbidden`. */
  readonly code?: number
  /** The reason in the close frame, at most 123 bytes of UTF-8. Default `disconnected`. */
  readonly reason?: string
  /** Over how many milliseconds the closes are spread, at an even rate. Default: they are made now. */
  readonly within?: number
}

/** Options of the other argument, and its name. */
const OF_MATCH: ReadonlyMap<string, string> = new Map([...REVOCATION_KINDS, 'beforeAt'].map((name) => [name, 'the match']))
const OF_OPTIONS = ['untilAt', 'by', 'why', 'code', 'reason', 'within']

/** A match that was read. */
export interface Target<Kind> {
  readonly kind: Kind
  readonly value: string
}

/** Numbers in this range are seconds since the epoch from 2001 to 5138. As milliseconds they would be in the years 1970 to 1973. */
const SECONDS_FROM = 1e9
const SECONDS_TO = 1e11

/** Whether an instant, in milliseconds since the epoch, can be that of a logout. It is in 1973 or later: before that it would be no time, or one in seconds. */
export function isLogoutTime (at: number): boolean {
  return Number.isFinite(at) && at >= SECONDS_TO
}

/** @throws TypeError if the value is not a {@link RevokeMatch} */
export function readRevokeMatch (match: unknown): Target<RevocationKind> & { readonly beforeAt: number | null } {
  const { beforeAt, ...rest } = readArgument('match', match)
  const target = readTarget(rest, REVOCATION_KINDS)
  const isOfTokens = target.kind === 'jti' || target.kind === 'sid'
  if (beforeAt !== undefined && isOfTokens) throw new TypeError(`"match.beforeAt" must be left out if the match is by ${target.kind}`)
  const isOfAnyTime = isOfTokens || (target.kind === 'kid' && beforeAt === undefined)
  return { ...target, beforeAt: isOfAnyTime ? null : readInstant('match.beforeAt', beforeAt, Date.now()) }
}

/** @throws TypeError if the value is not a {@link DisconnectMatch} */
export function readDisconnectMatch (match: unknown): Target<DisconnectKind> {
  return readTarget(readArgument('match', match), DISCONNECT_KINDS)
}

/** @throws TypeError if the value is not {@link RevokeOptions} */
export function readRevokeOptions (options: unknown, ttl: number): CommandOrigin & { readonly untilAt: number } {
  const { untilAt, by, why, ...rest } = readArgument('options', options === undefined ? {} : options)
  assertNoMore('options', rest, ['untilAt', 'by', 'why'], OF_MATCH)
  return { untilAt: readInstant('options.untilAt', untilAt, Date.now() + ttl), ...readNotes(by, why) }
}

/** @throws TypeError if the value is not {@link DisconnectOptions} */
export function readDisconnectOptions (options: unknown): CommandOrigin & { code: number | null, reason: string | null, within?: number } {
  const { code, reason, within, by, why, ...rest } = readArgument('options', options === undefined ? {} : options)
  assertNoMore('options', rest, ['code', 'reason', 'within', 'by', 'why'])
  if (code !== undefined && !isSendableCode(code)) throw new TypeError('"options.code" must be a close code that may be sent')
  if (reason !== undefined && !isReason(reason)) throw new TypeError(`"options.reason" must be a string of at most ${MAX_REASON_BYTES} bytes`)
  if (within !== undefined && within !== 0 && !isDelay(within)) throw new TypeError('"options.within" must be an integer of milliseconds from 0 to 2147483647')
  return { code: code ?? null, reason: reason ?? null, ...isDelay(within) && { within }, ...readNotes(by, why) }
}

/** A note that is not given is no property, because old instances and the log get the command as it is. */
function readNotes (by: unknown, why: unknown): CommandOrigin {
  for (const [name, text] of Object.entries({ by, why })) {
    if (text !== undefined && !isCommandText(text)) throw new TypeError(`"options.${name}" must be a string of at most ${MAX_TEXT_BYTES} bytes`)
  }
  return { ...by !== undefined && { by: by as string }, ...why !== undefined && { why: why as string } }
}

function readTarget<Kind extends string> (match: Record<string, unknown>, kinds: readonly Kind[]): Target<Kind> {
  const [key, another] = Object.keys(match)
  const kind = kinds.find((kind) => kind === key)
  const given = kind === undefined ? undefined : match[kind]
  const value = kind === 'all' && given === true ? ALL_VALUE : given
  if (kind === undefined || another !== undefined || typeof value !== 'string' || value === '' || (kind === 'all' && given !== true)) {
    const named = kinds.filter((kind) => kind !== 'all').map((kind) => `{ ${kind} }`).join(', ')
    const misplaced = Object.keys(match).find((name) => OF_OPTIONS.includes(name))
    const hint = misplaced === undefined ? '' : `; "${misplaced}" belongs in the second argument`
    throw new TypeError(`"match" must be exactly one of ${named}: a non-empty string, or { all: true }${hint}`)
  }
  return { kind, value }
}

function readInstant (name: string, value: unknown, byDefault: number): number {
  if (value === undefined) return byDefault
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new TypeError(`"${name}" must be a number of milliseconds since the epoch`)
  // A claim of a JWT is in seconds. Read as milliseconds it would revoke no token.
  if (value >= SECONDS_FROM && value < SECONDS_TO) throw new TypeError(`"${name}" must be in milliseconds since the epoch, not in seconds`)
  return value
}
