/*
 * What `revoke` and `disconnect` are told: read once, here. Whoever logs a user out must not learn later that a typing error
 * has logged out nobody.
 */
import { DISCONNECT_KINDS, REVOCATION_KINDS } from '../backplane/contract'
import type { DisconnectKind, RevocationKind } from '../backplane/contract'
import { assertNoMore, readArgument } from '../base/checks'
import { isReason, isSendableCode, MAX_REASON_BYTES } from '../base/close-codes'

/** Which tokens are revoked: by exactly one claim. By `sub` those that were issued at `beforeAt` (ms since the epoch, default now) or before. */
export type RevokeMatch = OneOf<'jti'> | OneOf<'sid'> | OneOf<'sub'> & { readonly beforeAt?: number }

/** Which connections are closed: by exactly one claim, or one connection by its id. */
export type DisconnectMatch = OneOf<'id'> | OneOf<'jti'> | OneOf<'sid'> | OneOf<'sub'>

/** One of these and none of the others. */
type OneOf<Kind extends DisconnectKind> = { readonly [kind in Kind]: string } & { readonly [kind in Exclude<DisconnectKind, Kind>]?: never }

/** How long a revocation is kept. */
export interface RevokeOptions {
  /** In milliseconds since the epoch. Default: `revocationTtl` from now. */
  readonly untilAt?: number
}

/** How connections are closed. */
export interface DisconnectOptions {
  /** A close code that may be sent (RFC 6455, 7.4). Default: that of `closeCodes.forbidden`. */
  readonly code?: number
  /** At most 123 bytes. Default `disconnected`. */
  readonly reason?: string
}

/** What all kinds of match have in common. */
export interface Target<Kind> {
  readonly kind: Kind
  readonly value: string
}

/** Seconds since the epoch of this century and many to come; as milliseconds they are of the early seventies. */
const SECONDS_FROM = 1e9
const SECONDS_TO = 1e11

/** @throws TypeError for anything that is no {@link RevokeMatch} */
export function readRevokeMatch (match: unknown): Target<RevocationKind> & { readonly beforeAt: number } {
  const { beforeAt, ...rest } = readArgument('match', match)
  const target = readTarget(rest, REVOCATION_KINDS)
  if (beforeAt !== undefined && target.kind !== 'sub') throw new TypeError('"match.beforeAt" must be left out, unless it is by sub')
  return { ...target, beforeAt: readInstant('match.beforeAt', beforeAt, Date.now()) }
}

/** @throws TypeError for anything that is no {@link DisconnectMatch} */
export function readDisconnectMatch (match: unknown): Target<DisconnectKind> {
  return readTarget(readArgument('match', match), DISCONNECT_KINDS)
}

/** @returns until when, in milliseconds since the epoch. @throws TypeError for anything that is no {@link RevokeOptions} */
export function readRevokeOptions (options: unknown, ttl: number): number {
  const { untilAt, ...rest } = readArgument('options', options === undefined ? {} : options)
  assertNoMore('options', rest)
  return readInstant('options.untilAt', untilAt, Date.now() + ttl)
}

/** @throws TypeError for anything that is no {@link DisconnectOptions} */
export function readDisconnectOptions (options: unknown): { code: number | null, reason: string | null } {
  const { code, reason, ...rest } = readArgument('options', options === undefined ? {} : options)
  assertNoMore('options', rest)
  if (code !== undefined && !isSendableCode(code)) throw new TypeError('"options.code" must be a close code that may be sent')
  if (reason !== undefined && !isReason(reason)) throw new TypeError(`"options.reason" must be a string of at most ${MAX_REASON_BYTES} bytes`)
  return { code: code ?? null, reason: reason ?? null }
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
  // What a JWT has in its claims would revoke nobody.
  if (value >= SECONDS_FROM && value < SECONDS_TO) throw new TypeError(`"${name}" must be in milliseconds since the epoch, not in seconds`)
  return value
}
