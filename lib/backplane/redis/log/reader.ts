/*
 * Follows the log of commands, and notices where it cannot be followed: a part was trimmed before it was read, a failover has
 * lost what was read already, the log was lost and begun anew. Then the revocations in force are read instead, and where Redis
 * may have lost some, it gets them from whoever knows them.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { BackplaneMember } from '../../contract'
import { createId } from '../../../base/id'
import { withDeadline } from '../../../base/deadline'
import { COMMAND_TIMEOUT, withDeadlines } from '../client/asking'
import type { RedisConnection } from '../client/connection'
import { memberOf, parseEntry } from './entry'
import type { LoggedCommand } from './entry'
import { INBOX_TTL } from '../keys'
import type { Keys } from '../keys'
import { readHead } from './writer'
import type { LogWriter } from './writer'
import { compareIds, epochOf, isNext, START } from './position'
import type { Position } from './position'
import { entriesOf, pairsOf } from '../client/replies'
import type { StreamEntry } from '../client/replies'
import { readRevoked, writeRevoked } from './revoked-set'

/** How many entries are read at once. */
const BATCH = 1000
/** Within how many milliseconds, at random, instances write back what Redis has lost: the first spares the others most of it. */
const WRITE_BACK_SPREAD = 500

/** Why the revocations have to be read again, the least first. */
const GAPS = ['none', 'wished', 'trimmed', 'lost'] as const
type Gap = typeof GAPS[number]

/** What a reader works with. */
export interface LogReaderParts {
  readonly keys: Keys
  readonly member: BackplaneMember
  readonly writer: LogWriter
  /** Called with the commands of other instances, in order, some more than once. */
  readonly onCommands: (commands: readonly LoggedCommand[]) => void
  /** Called with the uid of each command of this instance. */
  readonly onOwn: (uid: string) => void
  /** Called with the answers to commands of this one. */
  readonly onAnswers: (entries: readonly StreamEntry[]) => void
  /** Called where Redis may have lost all that it was told. */
  readonly onLost: () => void
}

/** Reads the log of one instance. Several connections may be used to read at once. */
export class LogReader {
  readonly #parts: LogReaderParts
  #position: Position = START
  #hasBegun = false
  #inboxId = START.id
  /** On the monotonic clock. */
  #answeredAt = -Infinity
  #readAt = -Infinity
  /** It stays until it is made up for: what fails on the way is not forgotten. */
  #gap: Gap = 'none'
  #gaps = 0

  constructor (parts: LogReaderParts) {
    this.#parts = parts
  }

  /** Whether the revocations of the past have been read. */
  get hasBegun (): boolean {
    return this.#hasBegun
  }

  /** Up to when all has been read, on the monotonic clock. */
  get readAt (): number {
    return this.#readAt
  }

  /** Reads the revocations in force, and stands at the end of the log as it was before. */
  async begin (connection: RedisConnection): Promise<void> {
    const asking = withDeadlines(connection)
    const askedAt = performance.now()
    const position = await this.#positionAt(asking, await readHead(asking, this.#parts.keys))
    await this.#readRevoked(asking)
    this.#position = position
    this.#hasBegun = true
    this.#readAt = askedAt
  }

  /**
   * Looks whether the log is still the one that was read, and reads what is new in it. To be called after each time that it may
   * have become another: ids of a lost entry are given a second time, and what is behind them would be passed over.
   */
  async check (connection: RedisConnection): Promise<void> {
    const asking = withDeadlines(connection)
    const askedAt = performance.now()
    const { id, uid } = this.#position
    const head = await readHead(asking, this.#parts.keys)
    const now = await this.#positionAt(asking, id)
    const isAnother = uid !== null && now.uid !== null && now.uid !== uid
    if (isAnother || compareIds(head, id) < 0) await this.#moveTo(head, asking, 'lost')
    let isMore = this.#isBefore(head)
    while (isMore) isMore = await this.#readSome(connection, 0) > 0 && this.#isBefore(head)
    if (this.#isBefore(head)) await this.#moveTo(head, asking, 'trimmed')
    // Another attempt may have failed.
    await this.#reload(asking)
    this.#vouchUpTo(askedAt)
  }

  /** Reads what is new. @param block for how many milliseconds it is waited for; 0 is not at all */
  async read (connection: RedisConnection, block: number): Promise<void> {
    const askedAt = performance.now()
    const count = await this.#readSome(connection, block)
    // What was asked for before the commands were written says nothing of them.
    if (count < BATCH) this.#vouchUpTo(askedAt)
  }

  /** @returns how many entries there were */
  async #readSome (connection: RedisConnection, block: number): Promise<number> {
    const { keys, member } = this.#parts
    const inbox = keys.inbox(member.id)
    const wait = block > 0 ? ['BLOCK', String(block)] : []
    // It is another by then, and its ids are by the clock of Redis, which may have been set back.
    if (performance.now() - this.#answeredAt > INBOX_TTL) this.#inboxId = START.id
    const command = ['XREAD', 'COUNT', String(BATCH), ...wait, 'STREAMS', keys.log, inbox, this.#position.id, this.#inboxId]
    const reply = await withDeadline(connection.send(command), block + COMMAND_TIMEOUT, 'reading the log of Redis')
    // A client may have put a prefix before the names of keys.
    const streams = pairsOf(reply)
    const entries = entriesOf(streams.find(([name]) => name.endsWith(keys.log))?.[1])
    const answers = entriesOf(streams.find(([name]) => name.endsWith(inbox))?.[1])
    this.#takeAnswers(answers)
    this.#takeEntries(entries)
    await this.#reload(withDeadlines(connection))
    return entries.length
  }

  #takeAnswers (answers: readonly StreamEntry[]): void {
    const last = answers.at(-1)
    if (last === undefined) return
    this.#inboxId = last.id
    this.#answeredAt = performance.now()
    this.#parts.onAnswers(answers)
  }

  /** Not while something is missing that another connection reads. */
  #vouchUpTo (askedAt: number): void {
    if (this.#gap === 'none') this.#readAt = Math.max(this.#readAt, askedAt)
  }

  #takeEntries (entries: readonly StreamEntry[]): void {
    const { member, onCommands, onOwn } = this.#parts
    const commands: LoggedCommand[] = []
    let unknown = 0
    for (const entry of entries) {
      const { id } = this.#position
      // Another connection was faster.
      if (compareIds(entry.id, id) <= 0) continue
      if (!isNext(entry.id, id)) this.#note(id === START.id || epochOf(entry.id) === epochOf(id) ? 'trimmed' : 'lost')
      const logged = parseEntry(entry)
      this.#position = { id: entry.id, uid: uidOf(entry) }
      if (logged === null) unknown++
      else if (logged.from === member.id) onOwn(logged.uid)
      else commands.push(logged)
    }
    if (commands.some(({ command }) => command === null)) this.#note('wished')
    if (commands.length > 0) onCommands(commands)
    if (unknown > 0) this.#tellOfUnknown('an entry of the log')
  }

  /** Nothing before a place can be read any more. */
  async #moveTo (head: string, asking: RedisConnection, gap: Gap): Promise<void> {
    this.#position = await this.#positionAt(asking, head)
    this.#note(gap)
  }

  #note (gap: Gap): void {
    this.#gaps++
    if (GAPS.indexOf(gap) <= GAPS.indexOf(this.#gap)) return
    this.#gap = gap
    const { member: { log }, onLost } = this.#parts
    if (gap === 'trimmed') log.warn('the log in Redis was trimmed before it was read: all revocations are read again, disconnects may have been missed')
    if (gap !== 'lost') return
    log.error('the log in Redis was lost or is another: what this instance knows to be revoked is written back')
    onLost()
  }

  /** Reads the revocations in force in place of commands that were missed. */
  async #reload (asking: RedisConnection): Promise<void> {
    const [gap, gaps] = [this.#gap, this.#gaps]
    if (gap === 'none') return
    if (gap === 'lost') await sleep(Math.random() * WRITE_BACK_SPREAD, undefined, { ref: false })
    const present = await this.#readRevoked(asking)
    if (gap === 'lost') await this.#writeBack(asking, present)
    // There may be another since it was begun.
    if (this.#gaps === gaps) this.#gap = 'none'
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
    let unknown = 0
    await readRevoked(asking.send, keys, (revocation) => {
      present.set(memberOf(revocation), revocation.untilAt)
      member.apply(revocation)
    }, () => { unknown++ })
    if (unknown > 0) this.#tellOfUnknown('a revocation')
    return present
  }

  #tellOfUnknown (what: string): void {
    this.#parts.member.log.error(`${what} in Redis is none of ours and was passed over: who else writes there?`)
  }

  #isBefore (head: string): boolean {
    return compareIds(this.#position.id, head) < 0
  }

  async #positionAt (asking: RedisConnection, id: string): Promise<Position> {
    const [entry] = entriesOf(await asking.send(['XRANGE', this.#parts.keys.log, id, id]))
    return { id, uid: entry === undefined ? null : uidOf(entry) }
  }
}

/** What is none of ours may have none. */
function uidOf ({ fields }: StreamEntry): string {
  return fields.get('uid') ?? ''
}
