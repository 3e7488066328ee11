/*
 * Follows the log of commands, and notices where it cannot be followed: a part was trimmed before it was read, a failover has
 * lost what was read already, the log was lost and begun anew. Then the revocations in force are read instead, and where Redis
 * may have lost some, it gets them from whoever knows them.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { BackplaneMember } from '../backplane'
import { createId } from '../connection-id'
import { withDeadline } from '../deadline'
import { COMMAND_TIMEOUT, withDeadlines } from './asking'
import type { RedisConnection } from './client'
import { memberOf, parseEntry } from './entries'
import type { LoggedCommand } from './entries'
import type { Keys } from './keys'
import { headOf } from './log-writer'
import type { LogWriter } from './log-writer'
import { compareIds, epochOf, isNext, START } from './position'
import type { Position } from './position'
import { entriesOf, pairsOf, valueOf } from './replies'
import type { StreamEntry } from './replies'
import { readRevoked, writeRevoked } from './revoked-set'

/** How many entries are read at once. */
const BATCH = 1000
/** Within how many milliseconds, at random, instances write back what Redis has lost: the first spares the others most of it. */
const WRITE_BACK_SPREAD = 500

/** What is missing from the log. */
type Gap = 'none' | 'trimmed' | 'lost'

/** What a reader works with. */
export interface LogReaderParts {
  readonly keys: Keys
  readonly member: BackplaneMember
  readonly writer: LogWriter
  /** Called with the commands of other instances, in order, some more than once. */
  readonly onCommands: (commands: readonly LoggedCommand[]) => void
  /** Called with the answers to commands of this one. */
  readonly onAnswers: (entries: readonly StreamEntry[]) => void
}

/** Reads the log of one instance. Several connections may be used to read at once. */
export class LogReader {
  readonly #parts: LogReaderParts
  /** `null` until the revocations of the past have been read. */
  #position: Position | null = null
  #inboxId = '0-0'
  #readAt = -Infinity
  #hasToReload = false

  constructor (parts: LogReaderParts) {
    this.#parts = parts
  }

  /** Whether the revocations of the past have been read. */
  get hasBegun (): boolean {
    return this.#position !== null
  }

  /** Up to when all has been read, on the monotonic clock. */
  get readAt (): number {
    return this.#readAt
  }

  /** Reads the revocations in force, and stands at the end of the log as it was before. */
  async begin (connection: RedisConnection): Promise<void> {
    const asking = withDeadlines(connection)
    const askedAt = performance.now()
    const position = await this.#positionAt(asking, await this.#readHead(asking))
    await this.#readRevoked(asking)
    this.#position ??= position
    this.#readAt = askedAt
  }

  /**
   * Looks whether the log is still the one that was read, and reads what is new in it. To be called after each time that it may
   * have become another: ids of a lost entry are given a second time, and what is behind them would be passed over.
   */
  async check (connection: RedisConnection): Promise<void> {
    const asking = withDeadlines(connection)
    const askedAt = performance.now()
    const { id, uid } = this.#position ?? START
    const { log } = this.#parts.keys
    const [info, own] = await asking.transact([['XINFO', 'STREAM', log], ['XRANGE', log, id, id]])
    const head = headOf(info)
    const [entry] = entriesOf(valueOf(own))
    const isAnother = uid !== null && entry !== undefined && entry.fields.get('uid') !== uid
    if (isAnother || compareIds(head, id) < 0) await this.#moveTo(head, asking, 'lost')
    while (this.#isBefore(head) && await this.#readSome(connection, 0) > 0);
    if (this.#isBefore(head)) await this.#moveTo(head, asking, 'trimmed')
    this.#readAt = Math.max(this.#readAt, askedAt)
  }

  /** Reads what is new. @param block for how many milliseconds it is waited for; 0 is not at all */
  async read (connection: RedisConnection, block: number): Promise<void> {
    await this.#readSome(connection, block)
  }

  /** @returns how many entries there were */
  async #readSome (connection: RedisConnection, block: number): Promise<number> {
    const { keys, member } = this.#parts
    const inbox = keys.inbox(member.id)
    const askedAt = performance.now()
    const wait = block > 0 ? ['BLOCK', String(block)] : []
    const { id } = this.#position ?? START
    const command = ['XREAD', 'COUNT', String(BATCH), ...wait, 'STREAMS', keys.log, inbox, id, this.#inboxId]
    const reply = await withDeadline(connection.send(command), block + COMMAND_TIMEOUT, 'reading the log of Redis')
    // A client may have put a prefix before the names of keys.
    const streams = pairsOf(reply)
    const entries = entriesOf(streams.find(([name]) => name.endsWith(keys.log))?.[1])
    const answers = entriesOf(streams.find(([name]) => name.endsWith(inbox))?.[1])
    if (answers.length > 0) this.#takeAnswers(answers)
    const gap = this.#takeEntries(entries)
    if (gap !== 'none' || this.#hasToReload) await this.#reload(withDeadlines(connection), gap)
    // What was asked for before the commands were written says nothing of them.
    if (entries.length < BATCH) this.#readAt = Math.max(this.#readAt, askedAt)
    return entries.length
  }

  #takeAnswers (answers: readonly StreamEntry[]): void {
    this.#inboxId = answers.at(-1)?.id ?? this.#inboxId
    this.#parts.onAnswers(answers)
  }

  #takeEntries (entries: readonly StreamEntry[]): Gap {
    const { member, onCommands } = this.#parts
    const commands: LoggedCommand[] = []
    let gap: Gap = 'none'
    for (const entry of entries) {
      const { id } = this.#position ?? START
      // Another connection was faster.
      if (compareIds(entry.id, id) <= 0) continue
      if (!isNext(entry.id, id)) gap = gap === 'lost' || epochOf(entry.id) !== epochOf(id) ? 'lost' : 'trimmed'
      const logged = parseEntry(entry)
      this.#position = { id: entry.id, uid: logged?.uid ?? null }
      if (logged === null) this.#tellOfUnknown('an entry of the log')
      else if (logged.from !== member.id) commands.push(logged)
    }
    this.#hasToReload ||= commands.some(({ command }) => command === null)
    if (commands.length > 0) onCommands(commands)
    return gap
  }

  /** Nothing before a place can be read any more. */
  async #moveTo (head: string, asking: RedisConnection, gap: Gap): Promise<void> {
    this.#position = await this.#positionAt(asking, head)
    await this.#reload(asking, gap)
  }

  /** Reads the revocations in force in place of commands that were missed. */
  async #reload (asking: RedisConnection, gap: Gap): Promise<void> {
    const { log } = this.#parts.member
    this.#hasToReload = true
    if (gap === 'trimmed') log.warn('the log in Redis was trimmed before it was read: all revocations are read again, disconnects may have been missed')
    if (gap === 'lost') {
      log.error('the log in Redis was lost or is another: what this instance knows to be revoked is written back')
      await sleep(Math.random() * WRITE_BACK_SPREAD, undefined, { ref: false })
    }
    const present = await this.#readRevoked(asking)
    this.#hasToReload = false
    if (gap === 'lost') await this.#writeBack(asking, present)
  }

  /** The others are told where something was missing: they have read without it, perhaps. */
  async #writeBack (asking: RedisConnection, present: ReadonlyMap<string, number>): Promise<void> {
    const { keys, member, writer } = this.#parts
    const lacking = [...member.revocations()].filter((revocation) => (present.get(memberOf(revocation)) ?? 0) < revocation.untilAt)
    if (lacking.length === 0) return
    await writeRevoked(asking.send, keys, lacking)
    await writer.append(asking, { uid: createId(), from: member.id, command: null })
    member.log.warn({ revocations: lacking.length }, 'revocations were written back to Redis, which had lost them')
  }

  /** @returns when each is over, by its name in Redis */
  async #readRevoked (asking: RedisConnection): Promise<ReadonlyMap<string, number>> {
    const { keys, member } = this.#parts
    const present = new Map<string, number>()
    await readRevoked(asking.send, keys, (revocation) => {
      present.set(memberOf(revocation), revocation.untilAt)
      member.apply(revocation)
    }, () => this.#tellOfUnknown('a revocation'))
    return present
  }

  #tellOfUnknown (what: string): void {
    this.#parts.member.log.error(`${what} in Redis is none of ours and was passed over: who else writes there?`)
  }

  #isBefore (head: string): boolean {
    return compareIds((this.#position ?? START).id, head) < 0
  }

  async #readHead (asking: RedisConnection): Promise<string> {
    const [info] = await asking.transact([['XINFO', 'STREAM', this.#parts.keys.log]])
    return headOf(info)
  }

  async #positionAt (asking: RedisConnection, id: string): Promise<Position> {
    const [entry] = entriesOf(await asking.send(['XRANGE', this.#parts.keys.log, id, id]))
    return { id, uid: entry?.fields.get('uid') ?? null }
  }
}
