/*
 * log/ is the stream of commands in Redis, and the set of revocations in force beside it. It may import client/, ../keys, ../presence
 * and ../answer-stream. Start with the form of an entry here, then writer.ts and reader.ts.
 *
 * Other programs can write to Redis too. The parsers return `null` for an entry that this package did not write; the reader logs
 * and skips it.
 */
import { isDelay } from '../../../base/checks'
import { isReason, isSendableCode } from '../../../base/close-codes'
import { DISCONNECT_KINDS, REVOCATION_KINDS } from '../../contract'
import type { Command, RevokeCommand } from '../../contract'
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

function readCommand ({ type, kind, value, issuedBy, untilAt, code, reason, within }: Record<string, unknown>): Command | null {
  if (typeof value !== 'string' || value === '') return null
  if (type === 'revoke') {
    const isInTime = kind === 'sub' ? Number.isFinite(issuedBy) : issuedBy === null
    const known = REVOCATION_KINDS.find((one) => one === kind)
    if (known === undefined || !isInTime || !Number.isFinite(untilAt)) return null
    return { type, kind: known, value, issuedBy: issuedBy as number | null, untilAt: untilAt as number }
  }
  const known = DISCONNECT_KINDS.find((one) => one === kind)
  if (type !== 'disconnect' || known === undefined) return null
  if ((code !== null && !isSendableCode(code)) || (reason !== null && !isReason(reason))) return null
  return { type, kind: known, value, code, reason, ...isDelay(within) && { within } }
}

/**
 * The member of the sorted set for a revocation; its score is `untilAt`. For `sub` it includes `issuedBy`, so that two revocations
 * of a user are two members and neither replaces the other.
 */
export function memberOf ({ kind, value, issuedBy }: RevokeCommand): string {
  const text = isPlain(value) ? value : JSON.stringify(value)
  return kind === 'sub' ? `sub:${issuedBy}:${text}` : `${kind}:${text}`
}

/** False for a text with half a surrogate pair, which UTF-8 cannot represent. It is written as JSON. */
function isPlain (value: string): boolean {
  return !value.startsWith('"') && value.isWellFormed()
}

/** The revocation of a member of the sorted set, or `null` if the member is not a revocation. */
export function parseMember (member: string, untilAt: number): RevokeCommand | null {
  const [, kind, issuedBy, text] = /^(?:(jti|sid)|sub:(-?\d+(?:\.\d+)?(?:e[+-]\d+)?)):([^]+)$/.exec(member) ?? []
  const value = text === undefined ? null : readText(text)
  if (value === null || !Number.isFinite(untilAt)) return null
  if (kind === 'jti' || kind === 'sid') return { type: 'revoke', kind, value, issuedBy: null, untilAt }
  return Number.isFinite(Number(issuedBy)) ? { type: 'revoke', kind: 'sub', value, issuedBy: Number(issuedBy), untilAt } : null
}

/** The value that {@link memberOf} wrote, or `null` if it wrote none. */
function readText (text: string): string | null {
  if (!text.startsWith('"')) return text
  try {
    return String(JSON.parse(text)) || null
  } catch {
    return null
  }
}
