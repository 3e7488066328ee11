/*
 * Writes commands into the log, and what is revoked into the set beside it: both in one transaction, so that whoever reads
 * the set after a place in the log has all that stands before it.
 */
import type { RedisConnection } from './client'
import { fieldsOf } from './entries'
import type { LoggedCommand } from './entries'
import type { Keys } from './keys'
import { epochOf } from './position'
import type { Presence } from './presence'
import { pairsOf, valueOf } from './replies'
import { addCommand } from './revoked-set'

/** About how many entries the log keeps. */
const MAX_ENTRIES = 100_000
/** How often another epoch is tried, where others have begun one at the same time. */
const MAX_ATTEMPTS = 5

/** The head of no log. */
export const NO_HEAD = '0-0'

/** The id that a log gave last, of a reply to XINFO STREAM; {@link NO_HEAD} where there is no log. @throws what else Redis answered with */
export function headOf (reply: unknown): string {
  if (reply instanceof Error && /no such key/i.test(reply.message)) return NO_HEAD
  return String(new Map(pairsOf(valueOf(reply))).get('last-generated-id') ?? NO_HEAD)
}

/** Writes into the log. */
export class LogWriter {
  readonly #keys: Keys
  readonly #presence: Presence
  /** The epoch of the log; `null` where it is not known, or where there is no log. */
  #epoch: string | null = null
  #lastEpoch = 0

  constructor (keys: Keys, presence: Presence) {
    this.#keys = keys
    this.#presence = presence
  }

  /**
   * Writes an entry.
   *
   * @returns the ids of the other instances that lived in that moment
   */
  async append (connection: RedisConnection, entry: LoggedCommand): Promise<string[]> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      this.#epoch ??= await this.#readEpoch(connection)
      const [id, alive] = await connection.transact([
        this.#addCommand(entry),
        this.#presence.listCommand,
        ...(entry.command?.type === 'revoke' ? [addCommand(this.#keys, [entry.command])] : [])
      ])
      if (typeof id === 'string') {
        this.#assume(id)
        return this.#presence.othersOf(valueOf(alive))
      }
      // The log was lost, or another epoch has begun.
      if (id !== null && !isBehind(id)) valueOf(id)
      this.#epoch = null
    }
    throw new Error('the log of Redis could not be written to')
  }

  async #readEpoch ({ transact }: RedisConnection): Promise<string | null> {
    const [info] = await transact([['XINFO', 'STREAM', this.#keys.log]])
    const head = headOf(info)
    if (head === NO_HEAD) return null
    this.#assume(head)
    return this.#epoch
  }

  #assume (id: string): void {
    this.#epoch = epochOf(id)
    this.#lastEpoch = Math.max(this.#lastEpoch, Number(this.#epoch))
  }

  /** A log that is begun must not be taken for the one that was lost. */
  #addCommand (entry: LoggedCommand): string[] {
    const { log } = this.#keys
    const rest = [...fieldsOf(entry)]
    const trimmed = ['MAXLEN', '~', String(MAX_ENTRIES)]
    if (this.#epoch !== null) return ['XADD', log, 'NOMKSTREAM', ...trimmed, `${this.#epoch}-*`, ...rest]
    return ['XADD', log, ...trimmed, `${Math.max(Date.now(), this.#lastEpoch + 1)}-*`, ...rest]
  }
}

/** Whether Redis says that there is an entry behind already. */
function isBehind (reply: unknown): boolean {
  return reply instanceof Error && /equal or smaller/i.test(reply.message)
}
