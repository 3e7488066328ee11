/*
 * Slots that were taken from connections, of this instance or of others. The message to another instance goes to the stream of its answers,
 * which it reads together with the log.
 */
import type { BackplaneMember } from '../../contract'
import type { LeaseLoss } from '../../leases'
import { INBOX_TTL } from '../answer-stream'
import type { RedisConnection } from '../client/connection'
import type { StreamEntry } from '../client/replies'
import type { Keys } from '../keys'
import { instanceOf } from './session'
import type { LeaseSession } from './session'
import type { SlotBook } from './slot-book'

/** About how many messages the stream keeps. */
const MAX_MESSAGES = 10_000

/** The objects that evictions work with. */
export interface EvictionsDependencies {
  readonly connection: RedisConnection
  readonly keys: Keys
  readonly member: BackplaneMember
  readonly session: LeaseSession
  readonly book: SlotBook
  readonly onFailure: (error: unknown) => void
}

/** The evictions that one instance hears of. */
export class Evictions {
  readonly #with: EvictionsDependencies

  constructor (dependencies: EvictionsDependencies) {
    this.#with = dependencies
  }

  /** @param members `<name>#<number>` of this instance or of others, or `#<number>` for a slot of this instance that found no room */
  take (members: readonly string[]): void {
    const { session, member: { id } } = this.#with
    for (const member of members) {
      const at = member.lastIndexOf('#')
      const [owner, number] = [member.slice(0, at), Number(member.slice(at + 1))]
      if (owner === '') this.#lose(number, 'surplus')
      else if (session.names.includes(owner)) this.#lose(number, 'replaced')
      else if (instanceOf(owner) !== id) this.#tell(instanceOf(owner), member)
    }
  }

  /** Takes entries of the stream of this instance. */
  takeEntries (entries: readonly StreamEntry[]): void {
    for (const { fields } of entries) {
      const member = fields.get('evicted')
      const owner = member?.slice(0, member.lastIndexOf('#')) ?? ''
      // Other programs can write to Redis too.
      if (member !== undefined && this.#with.session.names.includes(owner)) this.take([member])
    }
  }

  #lose (number: number, why: LeaseLoss): void {
    const { book, member } = this.#with
    const slot = book.find(number)
    if (slot === undefined || slot.isLost) return
    slot.isLost = true
    try {
      slot.onLost(why)
    } catch (error) {
      member.log.error({ err: error }, 'closing a websocket connection failed')
    }
  }

  /** Tells another instance at once. It would learn it by its next beat. */
  #tell (instance: string, member: string): void {
    const { connection, keys, onFailure } = this.#with
    const inbox = keys.inbox(instance)
    const commands = [['XADD', inbox, 'MAXLEN', '~', String(MAX_MESSAGES), '*', 'evicted', member], ['PEXPIRE', inbox, String(INBOX_TTL)]]
    connection.transact(commands).catch(onFailure)
  }
}
