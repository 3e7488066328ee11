/*
 * What was read in Redis and not understood: commands of a newer version, while a new version is deployed, or the writing of another
 * program.
 */
import type { QuietLog } from '../../../base/quiet-log'
import { isObject } from '../../../base/checks'
import { DISCONNECT_KINDS, REVOCATION_KINDS } from '../../contract'
import type { StreamEntry } from '../client/replies'

/** The names that one line of the log has at most. */
const MAX_NAMES = 10

/** A name of a type or a kind, as all versions have them. */
const NAME = /^[a-z]{1,32}$/

/** The entries of one reading that were not understood. */
export class UnknownEntries {
  readonly #what: 'an entry of the log' | 'a revocation'
  readonly #commands = new Set<string>()
  #hasStrange = false

  constructor (what: 'an entry of the log' | 'a revocation') {
    this.#what = what
  }

  /** @param command the name of the command, `null` if the entry is none */
  add (command: string | null): void {
    if (command === null) this.#hasStrange = true
    else if (this.#commands.size < MAX_NAMES) this.#commands.add(command)
  }

  /** Writes at most one line of each kind. */
  report (log: QuietLog): void {
    if (this.#hasStrange) log.error(`${this.#what} in Redis was not written by fastify-ws-auth and is ignored: another program may use the same keys`)
    if (this.#commands.size === 0) return
    log.error({ commands: [...this.#commands] }, `${this.#what} in Redis is of a newer version of fastify-ws-auth: this instance does not understand it, and does not apply it`)
  }
}

/** The name of the command in an entry that {@link parseEntry} does not understand; `null` if it is none. */
export function nameOfCommand ({ fields }: StreamEntry): string | null {
  try {
    const command: unknown = JSON.parse(fields.get('command') ?? '')
    if (!fields.has('uid') || !fields.has('from') || !isObject(command)) return null
    const { type, kind } = command
    if (!isName(type) || !isName(kind)) return null
    return hasKind(type, kind) ? null : `${type} by ${kind}`
  } catch {
    return null
  }
}

/** The name of the revocation in a member of the set that {@link parseMember} does not understand; `null` if it is none. */
export function nameOfMember (member: string): string | null {
  const [, kind] = /^([a-z]{1,32}):(?:\*|-?\d+(?:\.\d+)?(?:e[+-]\d+)?):[^]/.exec(member) ?? []
  return kind === undefined || hasKind('revoke', kind) ? null : `revoke by ${kind}`
}

/** Whether this version knows the command: then the entry is malformed. */
function hasKind (type: string, kind: string): boolean {
  const kinds: readonly string[] = type === 'revoke' ? REVOCATION_KINDS : type === 'disconnect' ? DISCONNECT_KINDS : []
  return kinds.includes(kind)
}

function isName (value: unknown): value is string {
  return typeof value === 'string' && NAME.test(value)
}
