/*
 * Writes commands into the log, and what is revoked into the set beside it: both in one transaction, so that whoever reads
 * the set after a place in the log has all that stands before it.
 */
import type { RedisConnection } from '../client/connection'
import { fieldsOf } from './entry'
import type { LoggedCommand } from './entry'
import type { Keys } from '../keys'
import { partsOf, START } from './position'
import type { Presence } from '../presence'
import { pairsOf, valueOf } from '../client/replies'
import { addCommand } from './revoked-set'

/** About how many entries the log keeps. */
const MAX_ENTRIES = 100_000
/** How often another epoch is tried, where others have begun one at the same time. */
const MAX_ATTEMPTS = 5

/** The id that a log gave last; that before all others where there is no log. By itself: out of memory, Redis takes no transaction. */
export async function readHead ({ send }: RedisConnection, { log }: Keys): Promise<string> {
  return headOf(await send(['XINFO', 'STREAM', log]).catch((error: unknown) => error))
}

/** Of a reply to XINFO STREAM. @throws what else Redis answered with */
function headOf (reply: unknown): string {
  if (reply instanceof Error && /no such key/i.test(reply.message)) return START.id
  return String(new Map(pairsOf(valueOf(reply))).get('last-generated-id'))
}

/** Where the next entry goes: into the log that there is, into one that is begun, or into one in place of a log that is full. */
interface NextEntry {
  readonly epoch: bigint
  readonly into: 'log' | 'new log' | 'another log'
}

/** Of an epoch as of a sequence: each is 64 bits. */
const MAX_PART = 2n ** 64n - 1n

/** Writes into the log. */
export class LogWriter {
  readonly #keys: Keys
  readonly #presence: Presence
  /** `null` where it is not known. */
  #next: NextEntry | null = null
  #lastEpoch = 0n

  constructor (keys: Keys, presence: Presence) {
    this.#keys = keys
    this.#presence = presence
  }

  /**
   * Writes an entry.
   *
   * @param more further commands of the same transaction, whose replies are of no account
   * @returns the ids of the other instances that lived in that moment
   */
  async append (connection: RedisConnection, entry: LoggedCommand, more: ReadonlyArray<readonly string[]> = []): Promise<string[]> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const next = this.#next ??= await this.#readNext(connection)
      const commands = this.#addCommands(next, entry)
      const revocations = entry.command?.type === 'revoke' ? [addCommand(this.#keys, [entry.command])] : []
      const replies = await connection.transact([...commands, this.#presence.listCommand, ...revocations, ...more])
      if (isAdded(replies.slice(0, commands.length))) {
        this.#assume(next.epoch)
        const [alive, added] = replies.slice(commands.length)
        // Beside the log alone, who starts later would not learn of it.
        if (revocations.length > 0) valueOf(added)
        return this.#presence.othersOf(valueOf(alive))
      }
      this.#next = null
    }
    throw new Error('the log of Redis could not be written to')
  }

  async #readNext (connection: RedisConnection): Promise<NextEntry> {
    const head = await readHead(connection, this.#keys)
    if (head === START.id) return { epoch: this.#newEpoch, into: 'new log' }
    const [epoch = 0n, sequence = 0n] = partsOf(head)
    if (sequence < MAX_PART) return { epoch, into: 'log' }
    // Whoever can write into Redis can have taken the last id.
    return epoch < MAX_PART ? { epoch: epoch + 1n, into: 'log' } : { epoch: BigInt(Date.now()), into: 'another log' }
  }

  #assume (epoch: bigint): void {
    this.#next = { epoch, into: 'log' }
    if (epoch > this.#lastEpoch) this.#lastEpoch = epoch
  }

  /** A log that is begun must not be taken for the one that was lost. */
  get #newEpoch (): bigint {
    const now = BigInt(Date.now())
    return now > this.#lastEpoch || this.#lastEpoch === MAX_PART ? now : this.#lastEpoch + 1n
  }

  /** Of several that begin a log at once one succeeds, and the others add to it. */
  #addCommands ({ epoch, into }: NextEntry, entry: LoggedCommand): string[][] {
    const { log } = this.#keys
    const added = [`${epoch}-*`, ...fieldsOf(entry)]
    if (into === 'log') return [['XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', String(MAX_ENTRIES), ...added]]
    const begun = `${log}:${entry.uid}`
    return [['XADD', begun, ...added], [into === 'new log' ? 'RENAMENX' : 'RENAME', begun, log], ['DEL', begun]]
  }
}

/** False where the log was lost, or another has begun, or another epoch. @throws what else Redis answered with */
function isAdded ([id, renamed]: readonly unknown[]): boolean {
  if (isBehind(id) || valueOf(id) === null) return false
  // RENAMENX answers 0 where there was a log, as a number or in letters.
  return String(valueOf(renamed)) !== '0'
}

/** Whether Redis says that there is an entry behind already, or no id left. */
function isBehind (reply: unknown): boolean {
  return reply instanceof Error && /equal or smaller|exhausted|too large/i.test(reply.message)
}
