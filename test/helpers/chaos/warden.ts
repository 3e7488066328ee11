/*
 * Whoever revokes and disconnects, and looks afterwards whether it was done.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Dice } from './dice'
import type { ChaosInstance } from './instance'
import { RemoteError } from './instance'
import type { Minted } from './parts'
import type { Revoked } from './server'

export class Warden {
  readonly revoked: Revoked[] = []
  readonly wrong: string[] = []
  /** How many commands were answered by all instances, and how many by fewer or by an error. */
  answered = 0
  unanswered = 0
  readonly #dice: Dice
  readonly #instances: readonly ChaosInstance[]
  readonly #underWay = new Map<ChaosInstance, Set<Promise<void>>>()
  /** Those that are about to be restarted: what they cannot tell any more is lost with them. */
  readonly #avoided = new Set<ChaosInstance>()

  constructor (dice: Dice, instances: readonly ChaosInstance[]) {
    this.#dice = dice
    this.#instances = instances
  }

  async run (minted: readonly Minted[], isOver: () => boolean): Promise<void> {
    const dice = this.#dice
    while (!isOver()) {
      await pause(20 + dice.below(60))
      const claims = minted[dice.below(minted.length)]
      if (claims === undefined) continue
      if (dice.chance(0.3)) this.#disconnect({ sub: claims.sub })
      else this.revoke(dice.one<Parameters<Warden['revoke']>[0]>({ sub: claims.sub }, { sid: claims.sid }, { jti: claims.jti }))
    }
  }

  /** By an instance that is drawn. */
  revoke (match: { sub: string } | { sid: string } | { jti: string }): void {
    const beforeAt = Date.now()
    const [[kind, value]] = Object.entries(match) as [[Revoked['kind'], string]]
    const revoked = { kind, value, issuedBy: Math.floor(beforeAt / 1000) }
    if (this.#command('revoke', kind === 'sub' ? { sub: value, beforeAt } : match, revoked)) this.revoked.push(revoked)
  }

  /** Calls back when an instance has nothing under way, and keeps off it meanwhile. */
  async avoid (instance: ChaosInstance, call: () => Promise<void>): Promise<void> {
    this.#avoided.add(instance)
    await this.settle(instance)
    await call()
    this.#avoided.delete(instance)
  }

  /** Waits for what is under way. */
  async settle (...instances: readonly ChaosInstance[]): Promise<void> {
    for (const instance of instances) await Promise.all([...this.#underWay.get(instance) ?? []])
  }

  #disconnect (match: { sub: string }): void {
    this.#command('disconnect', match, null)
  }

  /** Whether there was anybody to tell. */
  #command (type: 'revoke' | 'disconnect', match: object, revoked: Revoked | null): boolean {
    const there = this.#instances.filter((instance) => !this.#avoided.has(instance))
    const instance = there[this.#dice.below(there.length)]
    if (instance === undefined) return false
    const underWay = this.#underWay.get(instance) ?? new Set()
    const call = this.#call(instance, type, match, revoked).finally(() => underWay.delete(call))
    this.#underWay.set(instance, underWay.add(call))
    return true
  }

  async #call (instance: ChaosInstance, type: 'revoke' | 'disconnect', match: object, revoked: Revoked | null): Promise<void> {
    let isAnswered = false
    try {
      const { instances } = await instance.call('command', type, match)
      isAnswered = instances.length === this.#instances.length && instances.every(({ answered }) => answered)
    } catch (error) {
      if (!(error instanceof RemoteError) || error.message !== 'WS_AUTH_UNAVAILABLE') throw error
    }
    if (isAnswered) this.answered++
    else this.unanswered++
    if (revoked === null || !isAnswered) return
    for (const each of this.#instances) {
      if (this.#avoided.has(each)) continue
      this.wrong.push(...await each.call('openOf', [revoked]))
    }
  }
}
