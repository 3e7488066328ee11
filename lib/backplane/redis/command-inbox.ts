/*
 * Applies the commands of other instances, and answers them.
 */
import type { BackplaneMember, Command } from '../contract'
import { answerCommand } from './answer-stream'
import type { RedisConnection } from './client/connection'
import type { Keys } from './keys'
import type { LoggedCommand } from './log/entry'

/** How many disconnects are remembered. A disconnect that is read twice is applied once, because the user may have connected again. */
const MAX_REMEMBERED = 10_000

/** The commands that one instance receives. */
export class CommandInbox {
  readonly #connection: RedisConnection
  readonly #keys: Keys
  readonly #member: BackplaneMember
  /** The uids of the disconnects that were applied, the oldest first. */
  readonly #disconnected = new Set<string>()
  #isClosed = false

  constructor (connection: RedisConnection, keys: Keys, member: BackplaneMember) {
    this.#connection = connection
    this.#keys = keys
    this.#member = member
  }

  /** Applies no further command. */
  close (): void {
    this.#isClosed = true
  }

  /** Applies commands, and sends one answer to each instance that wrote some of them. */
  take (commands: readonly LoggedCommand[]): void {
    const answers = new Map<string, Map<string, number>>()
    for (const { uid, from, command } of commands) {
      if (this.#isClosed || command === null || !this.#isNew(uid, command)) continue
      const closed = answers.get(from) ?? new Map<string, number>()
      answers.set(from, closed.set(uid, this.#member.apply(command)))
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

  #answer (asker: string, closed: ReadonlyMap<string, number>): void {
    this.#connection.send(answerCommand(this.#keys, asker, this.#member.id, closed))
      .catch((error: unknown) => this.#member.log.debug({ err: error }, 'cannot answer a command of another instance'))
  }
}
