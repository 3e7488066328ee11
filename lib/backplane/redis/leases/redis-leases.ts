/*
 * leases/ counts the slots of users over all instances, for `limits.perUser` with the scope `'cluster'`. It may import client/, ../keys and
 * ../answer-stream. Start here, then read script.ts, which decides in Redis.
 *
 * An instance has one lease, which every call renews, and a beat if there is no other call. A connection costs a call when it opens and
 * one when it ends, and no further ones.
 */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BackplaneMember } from '../../contract'
import type { LeaseRules, Leases, OnLeaseLost, ReleaseLease } from '../../leases'
import type { RedisConnection } from '../client/connection'
import type { StreamEntry } from '../client/replies'
import type { Keys } from '../keys'
import { Evictions } from './evictions'
import { ReleaseQueue } from './release-queue'
import { KEPT } from './script'
import { LeaseSession } from './session'
import type { LeaseReply } from './session'
import { SlotBook } from './slot-book'
import type { Slot } from './slot-book'

/** How often the lease is renewed, in milliseconds. */
const BEAT_INTERVAL = 2000
/** How long the next beat waits for the reply to the last, in milliseconds. */
const MAX_BEAT_INTERVAL = 10_000
/** How many slots one call restores. */
const BATCH = 500
/** How often one take asks Redis, if Redis has lost data meanwhile. */
const ATTEMPTS = 5

/** The objects and options that leases work with. */
export interface RedisLeasesDependencies {
  /** Without deadlines: each call has its own. */
  readonly connection: RedisConnection
  readonly keys: Keys
  readonly member: BackplaneMember
  readonly rules: LeaseRules
  /** Called with each failure. */
  readonly onFailure: (error: unknown) => void
}

/** See {@link Leases}. */
export class RedisLeases implements Leases {
  readonly #with: RedisLeasesDependencies
  readonly #session: LeaseSession
  readonly #book = new SlotBook()
  readonly #releases: ReleaseQueue
  readonly #evictions: Evictions
  readonly #timer: NodeJS.Timeout
  /** Whether Redis has answered the last call. */
  #isUp = true
  #hasLeft = false
  #beatenAt = -Infinity
  /** The restoring of slots that is under way. */
  #recovery: Promise<void> | null = null

  constructor (dependencies: RedisLeasesDependencies) {
    const { connection, keys, member, rules } = this.#with = dependencies
    this.#session = new LeaseSession(connection, keys, member.id, rules)
    this.#releases = new ReleaseQueue(this.#session, keys, (error) => this.#onFailure(error))
    this.#evictions = new Evictions({ connection, keys, member, session: this.#session, book: this.#book, onFailure: (error) => this.#onFailure(error) })
    this.#timer = setInterval(() => { void this.#beat() }, BEAT_INTERVAL).unref()
    this.#recover().catch(() => {})
  }

  async take (user: string, onLost: OnLeaseLost): Promise<ReleaseLease | null> {
    const hash = hashOf(user)
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      await this.#untilUp()
      // On one connection commands keep their order: a slot that this instance has just given back is free for the next take.
      this.#releases.flush()
      const slot = this.#book.add(hash, onLost)
      const name = this.#session.name
      const reply = await this.#ask('take', hash, [String(slot.number)], () => this.#giveUp(slot))
      if (reply.status === 'taken') return this.#onTaken(slot, name, reply)
      this.#book.remove(slot)
      if (reply.status === 'full') return null
      await this.#untilRestored(reply)
    }
    throw new Error('Redis has lost data again and again: no slot was taken')
  }

  hold (user: string, onLost: OnLeaseLost): ReleaseLease {
    const slot = this.#book.add(hashOf(user), onLost)
    slot.name = ''
    slot.score = this.#session.now
    this.#book.markStale(slot.user)
    return () => this.#release(slot)
  }

  async isFree (user: string): Promise<boolean> {
    if (this.#with.rules.replaces) return true
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      await this.#untilUp()
      this.#releases.flush()
      const reply = await this.#ask('peek', hashOf(user), [], () => {})
      if (reply.status === 'ok' || reply.status === 'full') return reply.status === 'ok'
      await this.#untilRestored(reply)
    }
    throw new Error('Redis has lost data again and again: the slots of a user were not counted')
  }

  /** Takes entries of the stream of this instance: other instances have taken slots of its connections. */
  onEntries (entries: readonly StreamEntry[]): void {
    this.#evictions.takeEntries(entries)
  }

  /** Takes no slot any more. The lease ends when all slots have been given back, because the connections are closed only then. */
  async leave (): Promise<void> {
    this.#hasLeft = true
    if (this.#book.users === 0) await this.#end()
  }

  async #end (): Promise<void> {
    clearInterval(this.#timer)
    if (!this.#isUp) return
    this.#releases.flush()
    await this.#session.leave()
  }

  async #untilUp (): Promise<void> {
    if (this.#recovery !== null) await this.#recovery
    if (this.#hasLeft) throw new Error('the backplane is closed: this instance has already left')
    if (!this.#isUp) throw new Error('Redis does not answer: the slots of users cannot be counted')
  }

  async #untilRestored ({ status, rest }: LeaseReply): Promise<void> {
    if (status === 'lost') await this.#recover()
    else if (status === 'wait') await sleep(Number(rest[0]) + 1, undefined, { ref: false })
  }

  async #ask (command: 'take' | 'peek', hash: string, args: readonly string[], onFailure: () => void): Promise<LeaseReply> {
    const { keys } = this.#with
    try {
      return await this.#session.run(command, { keys: [keys.slots(hash), keys.pruned(hash)], args, isTimed: true })
    } catch (error) {
      onFailure()
      this.#onFailure(error)
      throw error
    }
  }

  #onTaken (slot: Slot, name: string, { rest: [score = '', ...evicted] }: LeaseReply): ReleaseLease {
    slot.name = name
    slot.score = score
    if (name !== this.#session.name) this.#book.markStale(slot.user)
    this.#evictions.take(evicted)
    return () => this.#release(slot)
  }

  /** It is not known whether Redis has given the slot. */
  #giveUp (slot: Slot): void {
    slot.name = this.#session.name
    this.#release(slot)
  }

  #release (slot: Slot): void {
    if (!this.#book.remove(slot)) return
    this.#releases.add(slot)
    if (this.#hasLeft && this.#book.users === 0) this.#end().catch(() => {})
  }

  /** Renews the lease, and learns of slots that were taken from this instance. */
  async #beat (): Promise<void> {
    if (this.#recovery !== null || (this.#session.isBeating && performance.now() - this.#beatenAt < MAX_BEAT_INTERVAL)) return
    this.#beatenAt = performance.now()
    const { keys } = this.#with
    const users = this.#book.nextUsers(Math.ceil(this.#book.users * 4 * BEAT_INTERVAL / KEPT))
    try {
      if (!this.#session.isLost) {
        const { rest } = await this.#session.run('beat', { keys: users.map(keys.slots) })
        this.#evictions.take(rest)
      }
      if (this.#session.isLost || this.#book.hasStale || !this.#isUp) await this.#recover()
      else this.#releases.flush()
    } catch (error) {
      this.#onFailure(error)
    }
  }

  /** Joins if that is needed, and tells Redis of all slots that it does not know. */
  async #recover (): Promise<void> {
    this.#recovery ??= this.#restore().then(() => this.#onUp(), (error: unknown) => {
      this.#onFailure(error)
      throw error
    }).finally(() => { this.#recovery = null })
    await this.#recovery
  }

  async #restore (): Promise<void> {
    if (this.#session.isLost) {
      await this.#session.join()
      this.#book.markAllStale()
    }
    while (this.#book.hasStale) await this.#restoreSome()
    await this.#session.finish()
  }

  async #restoreSome (): Promise<void> {
    const { keys } = this.#with
    const name = this.#session.name
    const taken = this.#book.takeStale(name, BATCH)
    if (taken.length === 0) return
    try {
      const { status, rest } = await this.#session.run('restore', {
        keys: taken.flatMap(({ user }) => [keys.slots(user), keys.pruned(user)]),
        args: taken.flatMap(({ slots }) => [String(slots.length), ...slots.flatMap((slot) => [String(slot.number), slot.score])]),
        isTimed: true
      })
      if (status !== 'ok') throw new Error(`restoring the slots of users in Redis has failed: ${status}`)
      for (const { slots } of taken) for (const slot of slots) slot.name = name
      this.#evictions.take(rest)
    } catch (error) {
      for (const { user } of taken) this.#book.markStale(user)
      throw error
    }
  }

  #onUp (): void {
    this.#releases.open()
    if (this.#isUp) return
    this.#isUp = true
    this.#with.member.log.info('the connections of users are counted over all instances again')
  }

  #onFailure (error: unknown): void {
    const { member, onFailure } = this.#with
    this.#releases.pause()
    const wasUp = this.#isUp
    this.#isUp = false
    if (this.#hasLeft) return
    onFailure(error)
    if (wasUp) member.log.warn({ err: error }, 'Redis does not answer: the connections of users are not counted over all instances')
  }
}

/** Redis is not given the subjects of users. Not by UTF-8, in which all halves of surrogate pairs are one character. */
function hashOf (user: string): string {
  return createHash('sha256').update(user, 'utf16le').digest('base64url')
}
