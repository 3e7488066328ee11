/*
 * The link of one instance to the others, through Redis. A connection of its own follows the log and blocks; all other commands
 * use the app's connection.
 */
import { withDeadline } from '../../base/deadline'
import type { LeaseRules, Leases } from '../leases'
import type { BackplaneHealth, BackplaneLink, BackplaneMember, Command, InstanceAnswer } from '../contract'
import { checkClient } from './client-check'
import { withDeadlines } from './client/connection'
import type { AppConnection, RedisConnection } from './client/connection'
import { CommandInbox } from './command-inbox'
import { CommandOutbox } from './command-outbox'
import { LogFollower } from './follower'
import type { Keys } from './keys'
import { RedisLeases } from './leases/redis-leases'
import { LastError } from './last-error'
import { LogReader } from './log/reader'
import { LogWriter } from './log/writer'
import { OutageWatch } from './outage-watch'
import { Presence } from './presence'
import { PresenceBeat } from './presence-beat'

/** How long `leave` may take, in milliseconds. */
const LEAVE_TIMEOUT = 1000

/** The objects and options that a link works with. */
export interface RedisLinkDependencies {
  readonly connection: AppConnection
  readonly keys: Keys
  readonly member: BackplaneMember
  /** How old the last read of the log may be, in milliseconds. */
  readonly staleAfter: number
  readonly onOutage: 'close' | 'keep'
  /** Over how many milliseconds the closes of an outage are spread. Default 0. */
  readonly closeWithin?: number
}

/** See {@link BackplaneLink}. */
export class RedisLink implements BackplaneLink {
  readonly ready: Promise<void>
  readonly #connection: RedisConnection
  readonly #keys: Keys
  readonly #presence: Presence
  readonly #beat: PresenceBeat
  readonly #inbox: CommandInbox
  readonly #outbox: CommandOutbox
  readonly #watch: OutageWatch
  readonly #follower: LogFollower
  readonly #reader: LogReader
  readonly #lastError = new LastError()
  readonly #with: RedisLinkDependencies
  #leases: RedisLeases | null = null
  #hasLeft = false

  constructor (dependencies: RedisLinkDependencies) {
    const { connection, keys, member, staleAfter } = dependencies
    const { id, log } = member
    this.#with = dependencies
    const bounded = this.#connection = this.#lastError.watch(withDeadlines(connection))
    const presence = this.#presence = new Presence(keys, id)
    const beat = this.#beat = new PresenceBeat(keys, presence, log)
    const writer = new LogWriter(keys, presence)
    const inbox = this.#inbox = new CommandInbox(bounded, keys, member)
    const outbox = this.#outbox = new CommandOutbox({ connection, keys, member, presence, writer })
    const reader = this.#reader = new LogReader({
      keys,
      member,
      writer,
      onCommands: (commands) => inbox.take(commands),
      onOwn: (uid) => outbox.onRead(uid),
      onAnswers: (entries) => {
        outbox.onAnswers(entries)
        this.#leases?.onEntries(entries)
      },
      onLost: () => { void beat.beat(bounded) }
    })
    const follower = this.#follower = new LogFollower({
      connection,
      reader,
      log,
      staleAfter,
      checkClient: async (own) => await checkClient(bounded, own, keys, id),
      onOpen: async (own) => await beat.beat(own),
      onChecked: () => { void outbox.repeatMissing(reader.readAt) },
      onFailure: (error) => this.#lastError.note(error)
    })
    this.#keys = keys
    this.#watch = new OutageWatch({ closeWithin: 0, ...dependencies, reader })
    beat.start(bounded, () => !follower.hasFailed)
    this.ready = follower.start()
  }

  get isCurrent (): boolean {
    return !this.#hasLeft && this.#watch.isCurrent
  }

  get health (): BackplaneHealth {
    const { readAt } = this.#reader
    const age = readAt === -Infinity ? null : Math.round(performance.now() - readAt)
    return { age, instances: this.#presence.living, lastError: this.#lastError.value }
  }

  async publish (command: Command): Promise<InstanceAnswer[]> {
    if (this.#hasLeft) throw new Error('the backplane is closed: this instance has already left')
    return await this.#outbox.publish(command).catch((error: unknown) => this.#lastError.rethrow(error))
  }

  async put (name: string, value: string, ttl: number): Promise<boolean> {
    return await this.#connection.send(['SET', this.#keys.value(name), value, 'PX', String(ttl), 'NX']) !== null
  }

  async get (name: string): Promise<string | null> {
    return textOf(await this.#connection.send(['GET', this.#keys.value(name)]))
  }

  async take (name: string): Promise<string | null> {
    return textOf(await this.#connection.send(['GETDEL', this.#keys.value(name)]))
  }

  leases (rules: LeaseRules): Leases {
    const { connection, keys, member } = this.#with
    this.#leases = new RedisLeases({ connection, keys, member, rules, onFailure: (error) => this.#lastError.note(error) })
    return this.#leases
  }

  async leave (): Promise<void> {
    if (this.#hasLeft) return
    this.#hasLeft = true
    this.#beat.stop()
    this.#watch.stop()
    this.#follower.stop()
    this.#inbox.close()
    this.#outbox.close()
    const left = Promise.all([this.#presence.leave(this.#connection), this.#leases?.leave()])
    await withDeadline(left, LEAVE_TIMEOUT, 'leaving').catch(() => {})
  }
}

function textOf (reply: unknown): string | null {
  return reply === null || reply === undefined ? null : String(reply)
}
