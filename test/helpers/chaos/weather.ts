/*
 * What happens to Redis, and to the way there: each fault is drawn, lasts for a while, and is over when all instances answer
 * each other again. Who is revoked meanwhile is revoked.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'
import { sign, until } from '../app'
import type { Dice } from './dice'
import type { ChaosInstance } from './instance'
import { STALE_AFTER } from './server'
import type { Revoked } from './server'
import type { Warden } from './warden'
import { RawClient } from '../raw-client'
import type { RawResponse } from '../raw-client'
import type { Proxy, RedisServer } from '../redis'

/** When Redis was not as it should be, in milliseconds since the epoch: to the end of it, and of what followed. */
export interface Spell {
  readonly name: string
  readonly from: number
  to: number
}

interface Fault {
  readonly begin: () => unknown
  readonly end: () => unknown
}

/** How long a fault lasts at most that should close nothing, and one that should. */
const SHORT = 900
const LONG = STALE_AFTER + 1500
/** How long it may take until all is well, in milliseconds: on a machine that does a lot else. */
const TIMEOUT = 45_000

export class Weather {
  readonly spells: Spell[] = []
  /** What was open or accepted and ought not to have been. */
  readonly wrong: string[] = []
  readonly #t: Test
  readonly #dice: Dice
  readonly #redis: RedisServer
  readonly #proxies: readonly Proxy[]
  readonly #instances: readonly ChaosInstance[]
  readonly #warden: Warden
  #victims = 0

  constructor (t: Test, dice: Dice, redis: RedisServer, proxies: readonly Proxy[], instances: readonly ChaosInstance[], warden: Warden) {
    this.#t = t
    this.#dice = dice
    this.#redis = redis
    this.#proxies = proxies
    this.#instances = instances
    this.#warden = warden
  }

  /**
   * A fault, or one that lasts longer than anybody waits.
   *
   * @param meanwhile what else happens while it lasts
   */
  async strike (isLong: boolean, meanwhile = async (): Promise<void> => {}): Promise<void> {
    const faults = this.#faults
    const lasting = ['cut', 'freeze', 'freeze one', 'kill', 'pause']
    const names = isLong ? lasting : Object.keys(faults)
    const name = names[this.#dice.below(names.length)] as string
    const { begin, end } = faults[name] as Fault
    const duration = isLong ? LONG : 50 + this.#dice.below(SHORT)
    const victims = await this.#open()
    const spell = { name: `${name} for ${duration} ms`, from: Date.now(), to: Infinity }
    this.spells.push(spell)
    await begin()
    await pause(duration / 2)
    for (const { claims } of victims) this.#warden.revoke({ jti: claims.jti })
    await meanwhile()
    await pause(duration / 2)
    await end()
    await untilWell(this.#instances, this.#warden.revoked)
    // A read that was asked for long before it was answered vouches for what was then: until the next there may be nothing newer.
    spell.to = Date.now() + STALE_AFTER / 2
    await this.#assertGone(victims)
  }

  get #faults (): Record<string, Fault> {
    const redis = this.#redis
    const client = redis.client()
    const all = this.#proxies
    const one = all[this.#dice.below(all.length)] as Proxy
    const none = (): void => {}
    const restart = (signal: 'SIGTERM' | 'SIGKILL'): Fault => ({ begin: async () => await redis.stop(signal), end: async () => await redis.start() })
    return {
      cut: { begin: () => { for (const proxy of all) proxy.cut() }, end: () => { for (const proxy of all) proxy.restore() } },
      'cut one': { begin: () => one.cut(), end: () => one.restore() },
      freeze: { begin: () => { for (const proxy of all) proxy.freeze() }, end: () => { for (const proxy of all) proxy.restore() } },
      'freeze one': { begin: () => one.freeze(), end: () => one.restore() },
      kill: restart('SIGKILL'),
      restart: restart('SIGTERM'),
      pause: { begin: () => redis.pause(), end: () => redis.resume() },
      flush: { begin: async () => await client.flushall(), end: none },
      'flush and kill': { begin: async () => { await client.flushall(); await redis.stop('SIGKILL') }, end: async () => await redis.start() },
      drop: { begin: async () => await client.call('CLIENT', 'KILL', 'TYPE', 'normal'), end: none },
      trim: { begin: async () => await client.call('XTRIM', '{fastify-ws-auth}:log', 'MAXLEN', '0'), end: none },
      nonsense: { begin: async () => await client.call('XADD', '{fastify-ws-auth}:log', '*', 'non', 'sense'), end: none }
    }
  }

  /** Somebody on each instance. */
  async #open (): Promise<Victim[]> {
    return await Promise.all(this.#instances.flatMap((instance) => [1, 2].map(async () => {
      const name = `victim ${++this.#victims}`
      const now = Math.floor(Date.now() / 1000)
      const claims = { sub: name, jti: name, iat: now, exp: now + 600, roles: ['member'] }
      const { client, answer: { status } } = await ask(this.#t, instance.port, claims)
      if (status !== 101) this.wrong.push(`${name} was answered ${status}`)
      return { claims, client }
    })))
  }

  async #assertGone (victims: readonly Victim[]): Promise<void> {
    await until(() => victims.every(({ client }) => client.isEnded || client.rest.includes('token_revoked') || client.rest.includes('auth_unavailable')), 'who was revoked is gone', 10_000)
    for (const { claims, client } of victims) {
      client.socket.destroy()
      this.wrong.push(...await whoAdmits(this.#t, this.#instances, claims))
    }
  }
}

interface Victim {
  readonly claims: { readonly sub: string, readonly jti: string, readonly exp: number }
  readonly client: RawClient
}

/** How a handshake is answered, once it can be said. */
async function ask (t: Test, port: number, claims: Record<string, unknown>): Promise<{ client: RawClient, answer: RawResponse }> {
  for (const deadline = Date.now() + TIMEOUT; ; await pause(50)) {
    const client = await RawClient.open(t, port)
    const answer = await client.upgrade({ path: '/strict', headers: { 'x-calm': '1', authorization: `Bearer ${sign(claims)}` } }).response()
    if (answer.status !== 503 || Date.now() > deadline) return { client, answer }
    client.socket.destroy()
  }
}

/** What instances say to a token that is revoked, where that is wrong. */
export async function whoAdmits (t: Test, instances: readonly ChaosInstance[], claims: Record<string, unknown>): Promise<string[]> {
  const answers = await Promise.all(instances.map(async ({ port }) => {
    const { client, answer: { status, body } } = await ask(t, port, claims)
    client.socket.destroy()
    return `${status} ${body}`
  }))
  return answers.filter((answer) => !answer.startsWith('401 ') || !answer.includes('WS_AUTH_TOKEN_REVOKED')).map((answer) => `${JSON.stringify(claims)} was revoked, and is answered ${answer}`)
}

let marks = 0

/** Waits until a revocation by each instance is in force on all, and all that was revoked before. */
export async function untilWell (instances: readonly ChaosInstance[], revoked: readonly Revoked[]): Promise<void> {
  const deadline = Date.now() + TIMEOUT
  const marked = instances.map((instance) => {
    const value = `mark ${++marks}`
    // Whether it is answered is not waited for: one that was cut off when it left is believed to live for a while.
    void instance.call('command', 'revoke', { jti: value }).catch(() => {})
    return { kind: 'jti', value, issuedBy: 0 } as const
  })
  for (const what of [marked, revoked]) {
    for (const instance of instances) {
      while (!(await instance.call('inForce', what)).every(Boolean)) {
        if (Date.now() > deadline) throw new Error(`not within ${TIMEOUT} ms: what is revoked by one instance is in force on all`)
        await pause(20)
      }
    }
  }
}
