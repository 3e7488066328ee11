/*
 * The lease of an instance: the name by which Redis knows it, the number of its last answered call, and the clock of Redis.
 */
import { withDeadline } from '../../../base/deadline'
import type { LeaseRules } from '../../leases'
import type { RedisConnection } from '../client/connection'
import type { Keys } from '../keys'
import { callLeaseScript } from './script'

/** How long a call waits for the reply of Redis, in milliseconds. A slot that is taken later than that is not taken. */
export const LEASE_TIMEOUT = 2000

/** Between the id of an instance and the number of its name. */
const SEPARATOR = '~'

/** The reply of the script. */
export interface LeaseReply {
  /** `'lost'`: Redis does not know the name, or has lost data. `'late'`: the call came too late. `'wait'`: Redis has lost data, and the others restore theirs. */
  readonly status: 'ok' | 'taken' | 'full' | 'wait' | 'late' | 'lost'
  readonly rest: readonly string[]
}

/** What a call is about. */
export interface LeaseCall {
  readonly keys?: readonly string[]
  readonly args?: readonly string[]
  /** Whether the call has no effect after its time-out. */
  readonly isTimed?: boolean
}

/** The calls of one instance. */
export class LeaseSession {
  readonly #connection: RedisConnection
  readonly #keys: Keys
  readonly #id: string
  readonly #rules: LeaseRules
  #names = 0
  #name = ''
  #old = ''
  #born = ''
  #answered = 0
  #calls = 0
  /** The clock of Redis minus the monotonic clock of this process, in milliseconds. It is at most the real difference, unless the clock of Redis was set back. */
  #offset: number | null = null
  #isLost = true
  #isBeating = false

  constructor (connection: RedisConnection, keys: Keys, id: string, rules: LeaseRules) {
    this.#connection = connection
    this.#keys = keys
    this.#id = id
    this.#rules = rules
  }

  /** The name since the instance joined last. */
  get name (): string {
    return this.#name
  }

  /** Whether the instance must join, again or for the first time. */
  get isLost (): boolean {
    return this.#isLost
  }

  /** Whether Redis has not answered the last beat, even if this instance no longer waits for it: a client may keep it for later. */
  get isBeating (): boolean {
    return this.#isBeating
  }

  /** The time by the clock of Redis, in microseconds since the epoch; an empty string before the first reply. */
  get now (): string {
    return this.#offset === null ? '' : String(Math.floor((performance.now() + this.#offset) * 1000))
  }

  /** The names by which Redis may know a slot. */
  get names (): readonly string[] {
    return this.#old === '' ? [this.#name] : [this.#name, this.#old]
  }

  /** Joins by a new name. The old one stays until {@link finish}, so that its slots count until they are restored. */
  async join (): Promise<void> {
    const [name, old, unfinished] = [`${this.#id}${SEPARATOR}${++this.#names}`, this.#name, this.#old]
    if (unfinished !== '') await this.run('leave', { args: [unfinished] })
    const { status, born } = await this.#send('join', name, old, {})
    if (status !== 'ok') throw new Error(`joining has failed: ${status}`)
    this.#name = name
    this.#old = old
    this.#born = born
    this.#answered = 0
    this.#isLost = false
  }

  /** All slots are restored: ends the lease of the old name. */
  async finish (): Promise<void> {
    if (this.#old === '') return
    await this.run('leave', { args: [this.#old] })
    this.#old = ''
  }

  /** Gives up all slots. */
  async leave (): Promise<void> {
    await this.run('leave', { args: this.names })
  }

  /** Makes one call. @throws the errors of the client or of Redis */
  async run (command: 'take' | 'peek' | 'release' | 'restore' | 'beat' | 'leave', call: LeaseCall = {}): Promise<LeaseReply> {
    const name = this.#name
    const { status, op, rest } = await this.#send(command, name, this.#old, call)
    if (name !== this.#name) return { status, rest }
    if (status === 'lost') this.#isLost = true
    else if (command !== 'leave') this.#answered = Math.max(this.#answered, op)
    return { status, rest }
  }

  async #send (command: string, name: string, old: string, { keys = [], args = [], isTimed = false }: LeaseCall): Promise<LeaseReply & { born: string, op: number }> {
    const { leases, leaseState, evicted } = this.#keys
    const { max, replaces } = this.#rules
    const op = ++this.#calls
    const deadline = isTimed && this.#offset !== null ? Math.floor(performance.now() + this.#offset) + LEASE_TIMEOUT : 0
    const given = [command, name, this.#born, String(this.#answered), String(op), String(deadline), old, String(max), replaces ? '1' : '0', ...args]
    const sentAt = performance.now()
    const sent = callLeaseScript(this.#connection, [leases, leaseState, evicted, ...keys], given)
    if (command === 'beat') this.#watchBeat(sent)
    const [status, now, born = '', ...rest] = await withDeadline(sent, LEASE_TIMEOUT, 'counting the slots of a user in Redis')
    this.#setOffset(Number(now), sentAt)
    return { status: status as LeaseReply['status'], born, rest, op }
  }

  /**
   * Redis reads its clock after the call is sent, and before the reply is read. A busy process reads a reply late. So a reply gives a lower
   * and an upper bound, and the offset of an earlier reply is kept within them.
   */
  #setOffset (now: number, sentAt: number): void {
    const least = now - performance.now()
    // The script has it in whole milliseconds.
    const most = now + 1 - sentAt
    this.#offset = Math.max(least, Math.min(this.#offset ?? least, most))
  }

  #watchBeat (sent: Promise<unknown>): void {
    this.#isBeating = true
    const end = (): void => { this.#isBeating = false }
    sent.then(end, end)
  }
}

/** The id of the instance that has a name. */
export function instanceOf (name: string): string {
  return name.slice(0, name.lastIndexOf(SEPARATOR))
}
