/*
 * log/ is the stream of commands in Redis, and the set of revocations in force beside it. It may import client/, ../keys, ../presence
 * and ../answer-stream. Start with the form of an entry here, then writer.ts and reader.ts.
 *
 * Other programs can write to Redis too. The parsers return `null` for an entry that this package did not write; the reader logs
 * and skips it.
 */
import { isDelay } from '../../../base/checks'
import { isReason, isSendableCode } from '../../../base/close-codes'
import { ALL_VALUE, DISCONNECT_KINDS, isCommandText, REVOCATION_KINDS } from '../../contract'
import type { Command, CommandOrigin, RevocationKind, RevokeCommand } from '../../contract'
import type { StreamEntry } from '../client/replies'

/** A command in the log. */
export interface LoggedCommand {
  /** Unique for each command. Two entries have the same uid if the command was written twice. */
  readonly uid: string
  /** The id of the instance that wrote the entry. */
  readonly from: string
  /** `null` asks all instances to read the revocations again. */
  readonly command: Command | null
}

const RELOAD = 'reload'

/** The fields of the entry for a command. */
export function fieldsOf ({ uid, from, command }: LoggedCommand): string[] {
  return ['uid', uid, 'from', from, 'command', command === null ? RELOAD : JSON.stringify(command)]
}

/** The command in an entry, or `null` if the entry has none. */
export function parseEntry ({ fields }: StreamEntry): LoggedCommand | null {
  const uid = fields.get('uid')
  const from = fields.get('from')
  const text = fields.get('command')
  if (uid === undefined || from === undefined || text === undefined) return null
  if (text === RELOAD) return { uid, from, command: null }
  const command = parseCommand(text)
  return command === null ? null : { uid, from, command }
}

function parseCommand (text: string): Command | null {
  try {
    return readCommand(Object(JSON.parse(text)) as Record<string, unknown>)
  } catch {
    return null
  }
}

function readCommand ({ type, kind, value, issuedBy, untilAt, code, reason, within, by, why }: Record<string, unknown>): Command | null {
  if (typeof value !== 'string' || value === '' || (kind === 'all' && value !== ALL_VALUE)) return null
  if (type === 'revoke') {
    const known = REVOCATION_KINDS.find((one) => one === kind)
    if (known === undefined || !isInTime(known, issuedBy) || !Number.isFinite(untilAt)) return null
    return { type, kind: known, value, issuedBy: issuedBy as number | null, untilAt: untilAt as number, ...originOf(by, why) }
  }
  const known = DISCONNECT_KINDS.find((one) => one === kind)
  if (type !== 'disconnect' || known === undefined) return null
  if ((code !== null && !isSendableCode(code)) || (reason !== null && !isReason(reason))) return null
  return { type, kind: known, value, code, reason, ...isDelay(within) && { within }, ...originOf(by, why) }
}

function isInTime (kind: RevocationKind, issuedBy: unknown): boolean {
  if (kind === 'jti' || kind === 'sid') return issuedBy === null
  return Number.isFinite(issuedBy) || (kind === 'kid' && issuedBy === null)
}

/** A text that cannot be one is left out, because the command counts more. */
function originOf (by: unknown, why: unknown): CommandOrigin {
  return { ...isCommandText(by) && { by }, ...isCommandText(why) && { why } }
}

/** In place of `issuedBy`: all tokens. */
const ANY_TIME = '*'

/**
 * The member of the sorted set for a revocation; its score is `untilAt`. For a {@link TimedKind} it includes `issuedBy`, so that two
 * revocations of a user are two members and neither replaces the other.
 */
export function memberOf ({ kind, value, issuedBy }: RevokeCommand): string {
  const text = isPlain(value) ? value : JSON.stringify(value)
  return kind === 'jti' || kind === 'sid' ? `${kind}:${text}` : `${kind}:${issuedBy ?? ANY_TIME}:${text}`
}

/** False for a text with half a surrogate pair, which UTF-8 cannot represent. It is written as JSON. */
function isPlain (value: string): boolean {
  return !value.startsWith('"') && value.isWellFormed()
}

/** The revocation of a member of the sorted set, or `null` if the member is not a revocation. */
export function parseMember (member: string, untilAt: number): RevokeCommand | null {
  const [, tokenKind, timedKind, second, text] = MEMBER.exec(member) ?? []
  const value = text === undefined ? null : readText(text)
  const kind = (tokenKind ?? timedKind) as RevocationKind | undefined
  const issuedBy = second === undefined || second === ANY_TIME ? null : Number(second)
  if (kind === undefined || value === null || (kind === 'all' && value !== ALL_VALUE)) return null
  if (!isInTime(kind, issuedBy) || !Number.isFinite(untilAt)) return null
  return { type: 'revoke', kind, value, issuedBy, untilAt }
}

const MEMBER = /^(?:(jti|sid)|(sub|group|kid|iss|all):(\*|-?\d+(?:\.\d+)?(?:e[+-]\d+)?)):([^]+)$/

/** The value that {@link memberOf} wrote, or `null` if it wrote none. */
function readText (text: string): string | null {
  if (!text.startsWith('"')) return text
  try {
    return String(JSON.parse(text)) || null
  } catch {
    return null
  }
}
