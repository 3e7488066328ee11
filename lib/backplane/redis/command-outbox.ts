/*
 * Writes the commands of this instance to the log, and waits for the answers of the others. A revocation that may be missing in
 * Redis is written again.
 */
import { withDeadline } from '../../base/deadline'
import { createId } from '../../base/id'
import { ANSWER_TIMEOUT } from '../contract'
import type { BackplaneMember, Command, InstanceAnswer } from '../contract'
import { openInboxCommands } from './answer-stream'
import { withDeadlines } from './client/connection'
import type { RedisConnection } from './client/connection'
import type { StreamEntry } from './client/replies'
import type { Keys } from './keys'
import type { LoggedCommand } from './log/entry'
import type { LogWriter } from './log/writer'
import { PendingAnswers } from './pending-answers'
import type { Presence } from './presence'
import { UnconfirmedRevocations } from './unconfirmed-revocations'

/** The objects that an outbox works with. */
export interface CommandOutboxDependencies {
  readonly connection: RedisConnection
  readonly keys: Keys
  readonly member: BackplaneMember
  readonly presence: Presence
  readonly writer: LogWriter
}

/** The commands that one instance sends. */
export class CommandOutbox {
  readonly #with: CommandOutboxDependencies
  readonly #answers = new PendingAnswers()
  readonly #unconfirmed = new UnconfirmedRevocations()
  #isRepeating = false

  constructor (dependencies: CommandOutboxDependencies) {
    this.#with = dependencies
  }

  /** See `publish` of a {@link BackplaneLink}. */
  async publish (command: Command): Promise<InstanceAnswer[]> {
    const { connection, member, presence } = this.#with
    const until = performance.now() + ANSWER_TIMEOUT
    const logged = { uid: createId(), from: member.id, command }
    const pending = this.#answers.begin(logged.uid)
    try {
      const ids = await this.#write(logged)
      const readLiving = async (): Promise<readonly string[]> => presence.othersOf(await withDeadlines(connection).send(presence.listCommand))
      return await pending.answers(ids, until, readLiving)
    } finally {
      this.#answers.end(logged.uid)
    }
  }

  /** Takes answers to the commands of this instance. */
  onAnswers (entries: readonly StreamEntry[]): void {
    this.#answers.take(entries)
  }

  /** A command of this instance was read in the log. */
  onRead (uid: string): void {
    this.#unconfirmed.onRead(uid)
  }

  /** Stops waiting for answers. */
  close (): void {
    this.#answers.close()
  }

  /** Writes the revocations that are missing in the log again, in sequence, because after one failure the next would fail too. @param readAt until when the log was read */
  async repeatMissing (readAt: number): Promise<void> {
    if (this.#isRepeating) return
    this.#isRepeating = true
    try {
      for (const logged of this.#unconfirmed.missingAt(readAt)) await this.#write(logged)
    } catch (error) {
      this.#with.member.log.debug({ err: error }, 'cannot write revocations to the log in Redis yet')
    } finally {
      this.#isRepeating = false
    }
  }

  /** @returns the ids of the other live instances */
  async #write (logged: LoggedCommand): Promise<string[]> {
    const { connection, keys, member, writer } = this.#with
    if (!this.#unconfirmed.onWriting(logged)) member.log.error('too many revocations are missing in the log in Redis: another one is not written again if it gets lost')
    let isWritten = false
    try {
      const appended = writer.append(connection, logged, openInboxCommands(keys, member.id))
      const ids = await withDeadline(appended, ANSWER_TIMEOUT, 'writing to the log in Redis')
      isWritten = true
      return ids
    } finally {
      this.#unconfirmed.onTried(logged.uid, isWritten)
    }
  }
}
