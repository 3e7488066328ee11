/*
 * Commands as entries of the log. Whoever can write into Redis can put anything there: what is no command of ours is
 * told of and passed over.
 */
import { isReason, isSendableCode } from '../../../base/close-codes'
import { DISCONNECT_KINDS, REVOCATION_KINDS } from '../../contract'
import type { Command, RevokeCommand } from '../../contract'
import type { StreamEntry } from '../client/replies'

/** A command in the log. */
export interface LoggedCommand {
  /** Unique among all, also where it was written twice. */
  readonly uid: string
  /** The instance that has written it. */
  readonly from: string
  /** `null` for the wish that all read the revocations again. */
  readonly command: Command | null
}

const RELOAD = 'reload'

/** The fields of an entry. */
export function fieldsOf ({ uid, from, command }: LoggedCommand): string[] {
  return ['uid', uid, 'from', from, 'command', command === null ? RELOAD : JSON.stringify(command)]
}

/** The command of an entry, or `null` where it is none. */
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

function readCommand ({ type, kind, value, issuedBy, untilAt, code, reason }: Record<string, unknown>): Command | null {
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
  return { type, kind: known, value, code, reason }
}

/**
 * What a revocation is called in the set of those in force, where its score is when it is over. By `sub` it says until when
 * tokens were issued, so that each is a member of its own and none can undo another.
 */
export function memberOf ({ kind, value, issuedBy }: RevokeCommand): string {
  const text = isPlain(value) ? value : JSON.stringify(value)
  return kind === 'sub' ? `sub:${issuedBy}:${text}` : `${kind}:${text}`
}

/** Half a surrogate pair, which a claim can have, is nothing that UTF-8 can say: it is written as in JSON. */
function isPlain (value: string): boolean {
  return !value.startsWith('"') && value.isWellFormed()
}

/** The revocation of a member of that set, or `null` where it is none. */
export function parseMember (member: string, untilAt: number): RevokeCommand | null {
  const [, kind, issuedBy, text] = /^(?:(jti|sid)|sub:(-?\d+(?:\.\d+)?(?:e[+-]\d+)?)):([^]+)$/.exec(member) ?? []
  const value = text === undefined ? null : readText(text)
  if (value === null || !Number.isFinite(untilAt)) return null
  if (kind === 'jti' || kind === 'sid') return { type: 'revoke', kind, value, issuedBy: null, untilAt }
  return Number.isFinite(Number(issuedBy)) ? { type: 'revoke', kind: 'sub', value, issuedBy: Number(issuedBy), untilAt } : null
}

/** A value as it was before {@link memberOf}, or `null` where there was none. */
function readText (text: string): string | null {
  if (!text.startsWith('"')) return text
  try {
    return String(JSON.parse(text)) || null
  } catch {
    return null
  }
}
