/*
 * revocation/ runs the commands `revoke` and `disconnect` on this instance and on the others. It may import backplane/, token/ and
 * base/. Start with instance.ts, which applies the commands.
 *
 * This file checks the arguments of the commands. A wrong argument throws, because a logout with a typing error must not seem to
 * succeed.
 */
import { DISCONNECT_KINDS, REVOCATION_KINDS } from '../backplane/contract'
import type { DisconnectKind, RevocationKind } from '../backplane/contract'
import { assertNoMore, isDelay, readArgument } from '../base/checks'
import { isReason, isSendableCode, MAX_REASON_BYTES } from '../base/close-codes'

/**
 * The tokens to revoke, by exactly one claim. By `sub`, only tokens issued at `beforeAt` or before are revoked: `beforeAt` is in
 * milliseconds since the epoch, default now.
 */
export type RevokeMatch = OneOf<'jti'> | OneOf<'sid'> | OneOf<'sub'> & { readonly beforeAt?: number }

/** The connections to close, by exactly one claim or by the id of a connection. */
export type DisconnectMatch = OneOf<'id'> | OneOf<'jti'> | OneOf<'sid'> | OneOf<'sub'>

/** Exactly one of these properties. */
type OneOf<Kind extends DisconnectKind> = { readonly [kind in Kind]: string } & { readonly [kind in Exclude<DisconnectKind, Kind>]?: never }

/** Options of `revoke`. */
export interface RevokeOptions {
  /** When the revocation ends, in milliseconds since the epoch. Default: `revocationTtl` from now. */
  readonly untilAt?: number
}

/** Options of `disconnect`. */
export interface DisconnectOptions {
  /** The close code, one that may be sent (RFC 6455, 7.4). Default: `closeCodes.forbidden`. */
  readonly code?: number
  /** The reason in the close frame, at most 123 bytes of UTF-8. Default `disconnected`. */
  readonly reason?: string
  /** Over how many milliseconds the closes are spread, at an even rate. Default: they are made now. */
  readonly within?: number
}

/** A match that was read. */
export interface Target<Kind> {
  readonly kind: Kind
  readonly value: string
}

/** Numbers in this range are seconds since the epoch from 2001 to 5138. As milliseconds they would be in the years 1970 to 1973. */
const SECONDS_FROM = 1e9
const SECONDS_TO = 1e11

/** @throws TypeError if the value is not a {@link RevokeMatch} */
export function readRevokeMatch (match: unknown): Target<RevocationKind> & { readonly beforeAt: number } {
  const { beforeAt, ...rest } = readArgument('match', match)
  const target = readTarget(rest, REVOCATION_KINDS)
  if (beforeAt !== undefined && target.kind !== 'sub') throw new TypeError('"match.beforeAt" must be left out, unless the match is by sub')
  return { ...target, beforeAt: readInstant('match.beforeAt', beforeAt, Date.now()) }
}

/** @throws TypeError if the value is not a {@link DisconnectMatch} */
export function readDisconnectMatch (match: unknown): Target<DisconnectKind> {
  return readTarget(readArgument('match', match), DISCONNECT_KINDS)
}

/** @returns `untilAt`. @throws TypeError if the value is not {@link RevokeOptions} */
export function readRevokeOptions (options: unknown, ttl: number): number {
  const { untilAt, ...rest } = readArgument('options', options === undefined ? {} : options)
  assertNoMore('options', rest)
  return readInstant('options.untilAt', untilAt, Date.now() + ttl)
}

/** @throws TypeError if the value is not {@link DisconnectOptions} */
export function readDisconnectOptions (options: unknown): { code: number | null, reason: string | null, within?: number } {
  const { code, reason, within, ...rest } = readArgument('options', options === undefined ? {} : options)
  assertNoMore('options', rest)
  if (code !== undefined && !isSendableCode(code)) throw new TypeError('"options.code" must be a close code that may be sent')
  if (reason !== undefined && !isReason(reason)) throw new TypeError(`"options.reason" must be a string of at most ${MAX_REASON_BYTES} bytes`)
  if (within !== undefined && within !== 0 && !isDelay(within)) throw new TypeError('"options.within" must be an integer of milliseconds from 0 to 2147483647')
  return { code: code ?? null, reason: reason ?? null, ...isDelay(within) && { within } }
}

function readTarget<Kind extends string> (match: Record<string, unknown>, kinds: readonly Kind[]): Target<Kind> {
  const [key, another] = Object.keys(match)
  const kind = kinds.find((kind) => kind === key)
  const value = kind === undefined ? undefined : match[kind]
  if (kind === undefined || another !== undefined || typeof value !== 'string' || value === '') {
    throw new TypeError(`"match" must be exactly one of ${kinds.map((kind) => `{ ${kind} }`).join(', ')}: a non-empty string`)
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
