/*
 * An instance's link to the others by Redis. One connection of our own follows the log and blocks; all else goes through the
 * app's. Whatever fails is tried again from the beginning, and what may have been missed meanwhile is found out then.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { ANSWER_TIMEOUT } from '../contract'
import type { BackplaneLink, BackplaneMember, Command, InstanceAnswer } from '../contract'
import { createId } from '../../base/id'
import { withDeadline } from '../../base/deadline'
import { COMMAND_TIMEOUT, withDeadlines } from './client/asking'
import type { AppConnection, OwnConnection, RedisConnection } from './client/connection'
import type { LoggedCommand } from './log/entry'
import { INBOX_TTL } from './keys'
import type { Keys } from './keys'
import { LogReader } from './log/reader'
import { LogWriter } from './log/writer'
import { OutageWatch } from './outage-watch'
import { BEAT_INTERVAL, Presence } from './presence'
import { answerFields, Questions } from './pending-answers'
import { pruneCommand } from './log/revoked-set'
import { checkServer } from './server-check'
import { UnsureRevocations } from './unconfirmed-revocations'

/** What a link is made of. */
export interface RedisLinkParts {
  readonly connection: AppConnection
  readonly keys: Keys
  readonly member: BackplaneMember
  /** How old what was read of the log may be, in milliseconds. */
  readonly staleAfter: number
  readonly onOutage: 'close' | 'keep'
}

/** How long a read waits for something new, and how often is looked whether the log is still the same, in milliseconds. */
const MAX_BLOCK = 5000
/** How long is waited before another attempt, in milliseconds: twice as long each time. */
const MIN_PAUSE = 50
const MAX_PAUSE = 2000
/** How many answers are kept for who has asked. */
const MAX_ANSWERS = 10_000
/** How much longer than in force revocations are kept, in milliseconds: the clock of Redis may be ahead of those of instances. */
const CLOCK_TOLERANCE = 86_400_000
/** How many disconnects are remembered, so that one that comes twice is one: the user may have come back. */
const MAX_REMEMBERED = 10_000
/** How long taking leave may take, in milliseconds. */
const LEAVE_TIMEOUT = 1000

/** See {@link BackplaneLink}. */
export class RedisLink implements BackplaneLink {
  readonly ready: Promise<void>
  readonly #parts: RedisLinkParts
  readonly #asking: RedisConnection
  readonly #presence: Presence
  readonly #writer: LogWriter
  readonly #reader: LogReader
  readonly #questions = new Questions()
  readonly #disconnected = new Set<string>()
  readonly #unsure = new UnsureRevocations()
  readonly #watch: OutageWatch
  readonly #leaving = new AbortController()
  readonly #beating: NodeJS.Timeout
  #own: OwnConnection | null = null
  #isWritingLate = false
  #failures = 0
  /** Whether the last attempt to say that it lives has failed, and that was told. */
  #isUnheard = false

  constructor (parts: RedisLinkParts) {
    const { connection, keys, member } = parts
    this.#parts = parts
    this.#asking = withDeadlines(connection)
    this.#presence = new Presence(keys, member.id)
    this.#writer = new LogWriter(keys, this.#presence)
    this.#reader = new LogReader({
      keys,
      member,
      writer: this.#writer,
      onCommands: (commands) => this.#apply(commands),
      onOwn: (uid) => this.#unsure.onRead(uid),
      onAnswers: (entries) => this.#questions.take(entries),
      onLost: () => { void this.#beat(this.#asking) }
    })
    this.#watch = new OutageWatch({ ...parts, reader: this.#reader })
    // While nothing can be read, what is said would wait in the queue of the app's client.
    this.#beating = setInterval(() => { if (this.#failures === 0) void this.#beat(this.#asking) }, BEAT_INTERVAL).unref()
    this.ready = new Promise((resolve) => { void this.#run(resolve) })
  }

  get isCurrent (): boolean {
    return !this.#isLeft && this.#watch.isCurrent
  }

  async publish (command: Command): Promise<InstanceAnswer[]> {
    if (this.#isLeft) throw new Error('this instance has left the others')
    const until = performance.now() + ANSWER_TIMEOUT
    const logged = { uid: createId(), from: this.#parts.member.id, command }
    const question = this.#questions.begin(logged.uid)
    try {
      const ids = await this.#write(logged)
      const readLiving = async (): Promise<readonly string[]> => this.#presence.othersOf(await this.#asking.send(this.#presence.listCommand))
      return await question.answers(ids, until, readLiving)
    } finally {
      this.#questions.end(logged.uid)
    }
  }

  async put (name: string, value: string, ttl: number): Promise<boolean> {
    return await this.#asking.send(['SET', this.#parts.keys.value(name), value, 'PX', String(ttl), 'NX']) !== null
  }

  async get (name: string): Promise<string | null> {
    return textOf(await this.#asking.send(['GET', this.#parts.keys.value(name)]))
  }

  async take (name: string): Promise<string | null> {
    return textOf(await this.#asking.send(['GETDEL', this.#parts.keys.value(name)]))
  }

  async leave (): Promise<void> {
    if (this.#isLeft) return
    this.#leaving.abort()
    clearInterval(this.#beating)
    this.#watch.stop()
    this.#own?.close()
    this.#questions.close()
    await withDeadline(this.#presence.leave(this.#parts.connection), LEAVE_TIMEOUT, 'leaving').catch(() => {})
  }

  get #isLeft (): boolean {
    return this.#leaving.signal.aborted
  }

  /** Follows the log for as long as the instance lives. */
  async #run (onReady: () => void): Promise<void> {
    while (!this.#isLeft) {
      await this.#connectAndFollow(onReady).catch((error: unknown) => this.#tellOfFailure(error))
      const pause = Math.min(MIN_PAUSE * 2 ** this.#failures++, MAX_PAUSE)
      await sleep(pause * (0.5 + Math.random() / 2), undefined, { ref: false, signal: this.#leaving.signal }).catch(() => {})
    }
  }

  async #connectAndFollow (onReady: () => void): Promise<void> {
    const own = this.#own = this.#parts.connection.duplicate()
    try {
      await withDeadline(own.open(), COMMAND_TIMEOUT, 'connecting to Redis')
      await this.#follow(own, onReady)
    } finally {
      own.close()
    }
  }

  async #follow (own: RedisConnection, onReady: () => void): Promise<void> {
    // What cannot be written to (it is out of memory, or a replica) can still be read.
    await this.#beat(withDeadlines(own))
    if (!this.#reader.hasBegun) {
      await checkServer(withDeadlines(own), this.#parts.member.log)
      await this.#reader.begin(own)
    }
    const interval = Math.max(Math.min(MAX_BLOCK, this.#parts.staleAfter / 4), 1)
    for (let checkedAt = -Infinity; !this.#isLeft;) {
      if (performance.now() - checkedAt >= interval) {
        await this.#reader.check(own)
        checkedAt = performance.now()
        this.#onFollowing()
        onReady()
      }
      await this.#reader.read(own, Math.ceil(interval))
    }
  }

  /** The log can be followed. What ought to be in it and was not found there is written now. */
  #onFollowing (): void {
    const { log } = this.#parts.member
    if (this.#failures > 0) log.info('the log in Redis is followed again')
    this.#failures = 0
    void this.#writeLate()
  }

  /** One after the other: where one fails the next would too. */
  async #writeLate (): Promise<void> {
    if (this.#isWritingLate) return
    this.#isWritingLate = true
    try {
      for (const logged of this.#unsure.missingAt(this.#reader.readAt)) await this.#write(logged)
    } catch (error) {
      this.#parts.member.log.debug({ err: error }, 'revocations cannot be written into the log of Redis yet')
    } finally {
      this.#isWritingLate = false
    }
  }

  #tellOfFailure (error: unknown): void {
    if (this.#isLeft) return
    const { log } = this.#parts.member
    // Once, until it can be followed again.
    if (this.#failures === 0) log.warn({ err: error }, 'the log in Redis cannot be followed: trying again')
    else log.debug({ err: error }, 'the log in Redis cannot be followed yet')
  }

  /** Says that it lives, and throws away what is over: by itself, for a Redis that is full takes no transaction. */
  async #beat (asking: RedisConnection): Promise<void> {
    const { keys, member: { log } } = this.#parts
    try {
      await this.#presence.beat(asking)
      this.#isUnheard = false
    } catch (error) {
      if (!this.#isUnheard && !this.#isLeft) log.warn({ err: error }, 'Redis cannot be told that this instance lives: others may not wait for its answers')
      this.#isUnheard = true
    }
    await asking.send(pruneCommand(keys, this.#presence.now - CLOCK_TOLERANCE)).catch(() => {})
  }

  async #write (logged: LoggedCommand): Promise<string[]> {
    if (!this.#unsure.onWriting(logged)) this.#parts.member.log.error('too many revocations could not be written into the log of Redis: one more will not be written again')
    let isWritten = false
    try {
      const ids = await withDeadline(this.#writer.append(this.#parts.connection, logged, this.#askCommands), ANSWER_TIMEOUT, 'writing into the log of Redis')
      isWritten = true
      return ids
    } finally {
      this.#unsure.onTried(logged.uid, isWritten)
    }
  }

  /** Applies commands of others, and answers each of them with one entry. */
  #apply (commands: readonly LoggedCommand[]): void {
    const answers = new Map<string, Map<string, number>>()
    for (const { uid, from, command } of commands) {
      if (this.#isLeft || command === null || !this.#isNew(uid, command)) continue
      const closed = answers.get(from) ?? new Map<string, number>()
      answers.set(from, closed.set(uid, this.#parts.member.apply(command)))
    }
    for (const [asker, closed] of answers) this.#answer(asker, closed)
  }

  #isNew (uid: string, { type }: Command): boolean {
    if (type === 'revoke') return true
    if (this.#disconnected.has(uid)) return false
    this.#disconnected.add(uid)
    const [oldest] = this.#disconnected
    if (this.#disconnected.size > MAX_REMEMBERED) this.#disconnected.delete(oldest as string)
    return true
  }

  /** Who has asked has made the stream: to one that is gone nobody answers. */
  #answer (asker: string, closed: ReadonlyMap<string, number>): void {
    const { keys, member } = this.#parts
    this.#asking.send(['XADD', keys.inbox(asker), 'NOMKSTREAM', 'MAXLEN', '~', String(MAX_ANSWERS), '*', ...answerFields(member.id, closed)])
      .catch((error: unknown) => member.log.debug({ err: error }, 'a command could not be answered'))
  }

  /** Makes the stream of answers to this instance, for as long as one may come. */
  get #askCommands (): string[][] {
    const { keys, member } = this.#parts
    const inbox = keys.inbox(member.id)
    return [['XADD', inbox, 'MAXLEN', '~', String(MAX_ANSWERS), '*', 'asks', member.id], ['PEXPIRE', inbox, String(INBOX_TTL)]]
  }
}

function textOf (reply: unknown): string | null {
  return reply === null || reply === undefined ? null : String(reply)
}
