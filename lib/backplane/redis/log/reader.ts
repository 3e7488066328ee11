/*
 * Reads the log of commands, and notices gaps: entries were trimmed before they were read, a failover lost entries that were read
 * already, or the log was lost and created again. After a gap the reader reads all revocations in force; if Redis may have lost some,
 * it writes back those that its instance knows.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { BackplaneMember } from '../../contract'
import { createId } from '../../../base/id'
import { withDeadline } from '../../../base/deadline'
import { COMMAND_TIMEOUT, withDeadlines } from '../client/connection'
import type { RedisConnection } from '../client/connection'
import { memberOf, parseEntry } from './entry'
import type { LoggedCommand } from './entry'
import { INBOX_TTL } from '../answer-stream'
import type { Keys } from '../keys'
import { readHead } from './writer'
import { nameOfCommand, nameOfMember, UnknownEntries } from './unknown-entries'
import type { LogWriter } from './writer'
import { compareIds, epochOf, isNext, START } from './position'
import type { Position } from './position'
import { entriesOf, pairsOf } from '../client/replies'
import type { StreamEntry } from '../client/replies'
import { readRevoked, writeRevoked } from './revoked-set'

/** How many entries one command reads. */
const BATCH = 1000
/** The longest random delay before an instance writes back lost revocations, in milliseconds: the first instance spares the others most of the work. */
const WRITE_BACK_SPREAD = 500

/** Why all revocations must be read again, the least serious reason first. */
const GAPS = ['none', 'requested', 'trimmed', 'lost'] as const
type Gap = typeof GAPS[number]

/** The objects that a reader works with. */
export interface LogReaderDependencies {
  readonly keys: Keys
  readonly member: BackplaneMember
  readonly writer: LogWriter
  /** Called with commands of other instances, in order. Some come more than once. */
  readonly onCommands: (commands: readonly LoggedCommand[]) => void
  /** Called with the uid of each command of this instance, when it is read. */
  readonly onOwn: (uid: string) => void
  /** Called with answers to the commands of this instance. */
  readonly onAnswers: (entries: readonly StreamEntry[]) => void
  /** Called if Redis may have lost all data. */
  readonly onLost: () => void
}

/** Reads the log for one instance. Calls with different connections may overlap. */
export class LogReader {
  readonly #with: LogReaderDependencies
  #position: Position = START
  #hasBegun = false
  #inboxId = START.id
  /** When the last answer was read, on the monotonic clock. */
  #answeredAt = -Infinity
  #readAt = -Infinity
  /** The gap that is not repaired yet. A failed repair leaves it as it is. */
  #gap: Gap = 'none'
  /** How many gaps were noticed. */
  #gaps = 0

  constructor (dependencies: LogReaderDependencies) {
    this.#with = dependencies
  }

  /** Whether the revocations in force have been read once. */
  get hasBegun (): boolean {
    return this.#hasBegun
  }

  /** Until when everything has been read, on the monotonic clock. */
  get readAt (): number {
    return this.#readAt
  }

  /** Reads the revocations in force, and begins at the end that the log had before that. */
  async begin (connection: RedisConnection): Promise<void> {
    const asking = withDeadlines(connection)
    const askedAt = performance.now()
    const position = await this.#positionAt(asking, await readHead(asking, this.#with.keys))
    await this.#readRevoked(asking)
    this.#position = position
    this.#hasBegun = true
    this.#readAt = askedAt
  }

  /**
   * Checks that the log is still the one that was read, and reads its new entries. Call it after every event that may have replaced
   * the log: a new log uses the ids of lost entries again, and `read` alone would skip the entries that have them.
   */
  async check (connection: RedisConnection): Promise<void> {
    const asking = withDeadlines(connection)
    const askedAt = performance.now()
    const { id, uid } = this.#position
    const head = await readHead(asking, this.#with.keys)
    const now = await this.#positionAt(asking, id)
    const isAnother = uid !== null && now.uid !== null && now.uid !== uid
    if (isAnother || compareIds(head, id) < 0) await this.#moveTo(head, asking, 'lost')
    let isMore = this.#isBefore(head)
    while (isMore) isMore = await this.#readSome(connection, 0) > 0 && this.#isBefore(head)
    if (this.#isBefore(head)) await this.#moveTo(head, asking, 'trimmed')
    // Repairs a gap that an earlier attempt could not repair.
    await this.#repair(asking)
    this.#markReadUntil(askedAt)
  }

  /** Reads new entries. @param block how long to wait for one, in milliseconds; 0 does not wait */
  async read (connection: RedisConnection, block: number): Promise<void> {
    const askedAt = performance.now()
    const count = await this.#readSome(connection, block)
    // A full batch may not be the end. The time is that of the request, because the reply has no later entries.
    if (count < BATCH) this.#markReadUntil(askedAt)
  }

  /** @returns how many entries were read */
  async #readSome (connection: RedisConnection, block: number): Promise<number> {
    const { keys, member } = this.#with
    const inbox = keys.inbox(member.id)
    const wait = block > 0 ? ['BLOCK', String(block)] : []
    // The stream has expired and begins anew. Its ids follow the clock of Redis, which may have been set back.
    if (performance.now() - this.#answeredAt > INBOX_TTL) this.#inboxId = START.id
    const command = ['XREAD', 'COUNT', String(BATCH), ...wait, 'STREAMS', keys.log, inbox, this.#position.id, this.#inboxId]
    const reply = await withDeadline(connection.send(command), block + COMMAND_TIMEOUT, 'reading the log in Redis')
    // A client may have added a prefix to the names of the keys.
    const streams = pairsOf(reply)
    const entries = entriesOf(streams.find(([name]) => name.endsWith(keys.log))?.[1])
    const answers = entriesOf(streams.find(([name]) => name.endsWith(inbox))?.[1])
    this.#takeAnswers(answers)
    this.#takeEntries(entries)
    await this.#repair(withDeadlines(connection))
    return entries.length
  }

  #takeAnswers (answers: readonly StreamEntry[]): void {
    const last = answers.at(-1)
    if (last === undefined) return
    this.#inboxId = last.id
    this.#answeredAt = performance.now()
    this.#with.onAnswers(answers)
  }

  /** Does nothing while a gap is open, which a call with another connection may be repairing. */
  #markReadUntil (askedAt: number): void {
    if (this.#gap === 'none') this.#readAt = Math.max(this.#readAt, askedAt)
  }

  #takeEntries (entries: readonly StreamEntry[]): void {
    const { member, onCommands, onOwn } = this.#with
    const commands: LoggedCommand[] = []
    const unknown = new UnknownEntries('an entry of the log')
    for (const entry of entries) {
      const { id } = this.#position
      // A call with another connection has read it.
      if (compareIds(entry.id, id) <= 0) continue
      if (!isNext(entry.id, id)) this.#noteGap(id === START.id || epochOf(entry.id) === epochOf(id) ? 'trimmed' : 'lost')
      const logged = parseEntry(entry)
      this.#position = { id: entry.id, uid: uidOf(entry) }
      if (logged === null) unknown.add(nameOfCommand(entry))
      else if (logged.from === member.id) onOwn(logged.uid)
      else commands.push(logged)
    }
    if (commands.some(({ command }) => command === null)) this.#noteGap('requested')
    if (commands.length > 0) onCommands(commands)
    unknown.report(member.log)
  }

  /** Skips to an id, because the entries before it cannot be read. */
  async #moveTo (head: string, asking: RedisConnection, gap: Gap): Promise<void> {
    this.#position = await this.#positionAt(asking, head)
    this.#noteGap(gap)
  }

  #noteGap (gap: Gap): void {
    this.#gaps++
    if (GAPS.indexOf(gap) <= GAPS.indexOf(this.#gap)) return
    this.#gap = gap
    const { member: { log }, onLost } = this.#with
    if (gap === 'trimmed') log.warn('the log in Redis was trimmed before this instance had read it: all revocations are read again, disconnects may have been missed')
    if (gap !== 'lost') return
    log.error('the log in Redis was lost or replaced: this instance writes back the revocations that it knows')
    onLost()
  }

  /** Repairs the gap: reads the revocations in force in place of the missed commands. */
  async #repair (asking: RedisConnection): Promise<void> {
    const [gap, gaps] = [this.#gap, this.#gaps]
    if (gap === 'none') return
    if (gap === 'lost') await sleep(Math.random() * WRITE_BACK_SPREAD, undefined, { ref: false })
    const present = await this.#readRevoked(asking)
    if (gap === 'lost') await this.#writeBack(asking, present)
    // Another gap may have been noticed meanwhile.
    if (this.#gaps === gaps) this.#gap = 'none'
  }

  /** Writes the revocations that Redis lacks, and asks the others to read again, because they may have read the incomplete set. */
  async #writeBack (asking: RedisConnection, present: ReadonlyMap<string, number>): Promise<void> {
    const { keys, member, writer } = this.#with
    const missing = [...member.revocations()].filter((revocation) => (present.get(memberOf(revocation)) ?? 0) < revocation.untilAt)
    if (missing.length === 0) return
    await writeRevoked(asking.send, keys, missing)
    await writer.append(asking, { uid: createId(), from: member.id, command: null })
    member.log.warn({ revocations: missing.length }, 'Redis had lost revocations: this instance has written them back')
  }

  /** @returns when each revocation ends, by its member in the sorted set */
  async #readRevoked (asking: RedisConnection): Promise<ReadonlyMap<string, number>> {
    const { keys, member } = this.#with
    const present = new Map<string, number>()
    const unknown = new UnknownEntries('a revocation')
    await readRevoked(asking.send, keys, (revocation) => {
      present.set(memberOf(revocation), revocation.untilAt)
      member.apply(revocation)
    }, (one) => { unknown.add(nameOfMember(one)) })
    unknown.report(member.log)
    return present
  }

  #isBefore (head: string): boolean {
    return compareIds(this.#position.id, head) < 0
  }

  async #positionAt (asking: RedisConnection, id: string): Promise<Position> {
    const [entry] = entriesOf(await asking.send(['XRANGE', this.#with.keys.log, id, id]))
    return { id, uid: entry === undefined ? null : uidOf(entry) }
  }
}

/** An empty string if the entry has none, because another program wrote it. */
function uidOf ({ fields }: StreamEntry): string {
  return fields.get('uid') ?? ''
}
