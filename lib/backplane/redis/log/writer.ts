/*
 * Writes commands to the log, and revocations to the set beside it. One transaction writes both, so that a set that is read after
 * a position in the log has every revocation before that position.
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
/** How often an append is tried if the log is replaced at the same time. */
const MAX_ATTEMPTS = 5

/** The last id of the log, or that of {@link START} if there is no log. It is no transaction, because a Redis that is out of memory accepts none. */
export async function readHead ({ send }: RedisConnection, { log }: Keys): Promise<string> {
  return headOf(await send(['XINFO', 'STREAM', log]).catch((error: unknown) => error))
}

/** The last id in a reply to XINFO STREAM. @throws the reply, if it is another Error than "no such key" */
function headOf (reply: unknown): string {
  if (reply instanceof Error && /no such key/i.test(reply.message)) return START.id
  return String(new Map(pairsOf(valueOf(reply))).get('last-generated-id'))
}

/** Where the next entry goes: the present log, a new log because there is none, or another log because the present one has used all ids. */
interface NextEntry {
  readonly epoch: bigint
  readonly into: 'log' | 'new log' | 'another log'
}

/** The largest epoch, and the largest sequence: both have 64 bits. */
const MAX_PART = 2n ** 64n - 1n

/** Writes to the log, for one instance. */
export class LogWriter {
  readonly #keys: Keys
  readonly #presence: Presence
  /** `null` if it must be read from Redis. */
  #next: NextEntry | null = null
  #lastEpoch = 0n

  constructor (keys: Keys, presence: Presence) {
    this.#keys = keys
    this.#presence = presence
  }

  /**
   * Writes an entry.
   *
   * @param more further commands of the same transaction. Their replies are ignored
   * @returns the ids of the other instances that were alive at that moment
   * @throws the error that Redis or the client answered with
   */
  async append (connection: RedisConnection, entry: LoggedCommand, more: ReadonlyArray<readonly string[]> = []): Promise<string[]> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const next = this.#next ??= await this.#readNext(connection)
      const commands = this.#addCommands(next, entry)
      const revocations = entry.command?.type === 'revoke' ? [addCommand(this.#keys, [entry.command])] : []
      const replies = await connection.transact([...commands, this.#presence.listCommand, ...revocations, ...more])
      if (isAdded(replies.slice(0, commands.length))) {
        this.#remember(next.epoch)
        const [alive, added] = replies.slice(commands.length)
        // An entry in the log alone is not enough: an instance that starts later reads only the set.
        if (revocations.length > 0) valueOf(added)
        return this.#presence.othersOf(valueOf(alive))
      }
      this.#next = null
    }
    throw new Error(`cannot write to the log in Redis: it was replaced during each of ${MAX_ATTEMPTS} attempts`)
  }

  async #readNext (connection: RedisConnection): Promise<NextEntry> {
    const head = await readHead(connection, this.#keys)
    if (head === START.id) return { epoch: this.#newEpoch, into: 'new log' }
    const [epoch = 0n, sequence = 0n] = partsOf(head)
    if (sequence < MAX_PART) return { epoch, into: 'log' }
    // Another program can have written an entry with the last possible id.
    return epoch < MAX_PART ? { epoch: epoch + 1n, into: 'log' } : { epoch: BigInt(Date.now()), into: 'another log' }
  }

  #remember (epoch: bigint): void {
    this.#next = { epoch, into: 'log' }
    if (epoch > this.#lastEpoch) this.#lastEpoch = epoch
  }

  /** An epoch after the last known one, so that readers can tell the new log from the lost one. */
  get #newEpoch (): bigint {
    const now = BigInt(Date.now())
    return now > this.#lastEpoch || this.#lastEpoch === MAX_PART ? now : this.#lastEpoch + 1n
  }

  /** RENAMENX lets one instance succeed if several create the log at once. The others then add to it. */
  #addCommands ({ epoch, into }: NextEntry, entry: LoggedCommand): string[][] {
    const { log } = this.#keys
    const added = [`${epoch}-*`, ...fieldsOf(entry)]
    if (into === 'log') return [['XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', String(MAX_ENTRIES), ...added]]
    const begun = `${log}:${entry.uid}`
    return [['XADD', begun, ...added], [into === 'new log' ? 'RENAMENX' : 'RENAME', begun, log], ['DEL', begun]]
  }
}

/** False if the log is gone, if another instance created it first, or if its epoch is a later one. @throws any other Error that Redis replied with */
function isAdded ([id, renamed]: readonly unknown[]): boolean {
  if (isBehind(id) || valueOf(id) === null) return false
  // RENAMENX replies 0 if there is a log already, as a number or as a string.
  return String(valueOf(renamed)) !== '0'
}

/** Whether Redis refused the id, because the log has a later one or no id is left. */
function isBehind (reply: unknown): boolean {
  return reply instanceof Error && /equal or smaller|exhausted|too large/i.test(reply.message)
}
