/*
 * A run of chaos: its instances, and all who come to them.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'
import { sign } from '../app'
import { Dice } from './dice'
import { ChaosInstance } from './instance'
import { Mischief } from './mischief'
import { drawPart, quietPart } from './parts'
import type { Supplies } from './parts'
import { Polite, takeTicket } from './polite'
import type { Deviation } from './polite'
import { STALE_AFTER } from './server'
import type { Balance } from './server'
import { contradictionOf, seenIn } from './verdict'
import type { Seen } from './verdict'
import { Warden } from './warden'
import { untilWell, Weather } from './weather'
import { RawClient } from '../raw-client'
import { startProxy } from '../redis'
import type { RedisServer } from '../redis'

/** How many are at it at once, and how many that have finished are left as they are: descriptors are not for nothing. */
const AT_ONCE = 120
const LEFT = 120
/** Clients that say nothing for a whole phase. */
const QUIET = 8

/** Where timers are set that belong to one connection, or to what may become one. */
const BOUND = new Set(['lib/handshake/upgrade', 'lib/in-band/first-message', 'lib/in-band/renewal', 'lib/connection/ws-internals', 'ws'])

/** What happens in a phase, in this order. */
export type Step = 'short' | 'long' | 'restart' | 'restart in a fault'

/** One whose answers are known. */
interface Witness {
  readonly instance: ChaosInstance
  readonly name: string
  readonly path: string
  readonly seen: Seen
}

export class ChaosRun {
  readonly instances: readonly ChaosInstance[]
  readonly warden: Warden
  readonly polite: readonly Polite[]
  /** What is not as it should be. */
  readonly wrong: string[] = []
  /** How tickets were used that were shown more than once: one may win. */
  readonly tickets = { shown: 0, won: 0, lost: 0 }
  readonly balances: Balance[] = []
  readonly #t: Test
  readonly #seed: number
  readonly #weather: Weather | null
  readonly #dice: Dice
  readonly #supplies: Supplies = { tickets: [], minted: [] }
  readonly #witnesses: Witness[] = []
  #number = 0

  private constructor (t: Test, seed: number, instances: readonly ChaosInstance[], createWeather: (warden: Warden) => Weather | null) {
    this.#t = t
    this.#seed = seed
    this.instances = instances
    this.#dice = new Dice(seed)
    this.warden = new Warden(new Dice(seed + 1), instances)
    this.#weather = createWeather(this.warden)
    this.polite = instances.flatMap((instance, i) => [0, 1, 2, 3].map((n) => new Polite(instance, new Dice(seed + 10 * i + n), `polite ${i}.${n}`)))
  }

  static async start (t: Test, seed: number, redis: RedisServer | null): Promise<ChaosRun> {
    const proxies = redis === null ? [] : [await startProxy(t, redis), await startProxy(t, redis)]
    const ports = redis === null ? [null] : proxies.map(({ port }) => port)
    const instances = ports.map((redisPort, i) => new ChaosInstance(t, { seed: seed + i, redisPort, onLimit: i === 0 ? 'reject' : 'close-oldest' }))
    for (const instance of instances) await instance.start()
    return new ChaosRun(t, seed, instances, (warden) => redis === null ? null : new Weather(t, new Dice(seed + 2), redis, proxies, instances, warden))
  }

  get spells (): Weather['spells'] {
    return this.#weather?.spells ?? []
  }

  /** So many clients come and go, while all this happens; then nobody is there any more. */
  async phase (count: number, steps: readonly Step[]): Promise<void> {
    let isOver = false
    const over = (): boolean => isOver
    const left: Array<() => void> = []
    const around = [
      this.warden.run(this.#supplies.minted, over),
      this.#supply(over),
      ...this.polite.map(async (polite, n) => n % 4 === 0 ? await polite.stay(over) : await polite.run(over))
    ]
    for (let i = 0; i < QUIET; i++) left.push(await this.#comeQuietly())
    const [begunAt, end] = [Date.now(), this.#number + count]
    const crowd = Promise.all(Array.from({ length: AT_ONCE }, async () => { while (this.#number < end) await this.#come(left) }))
    for (const step of steps) {
      await pause(100 + this.#dice.below(400))
      await this.#take(step)
    }
    const struckFor = Date.now() - begunAt
    await crowd
    const cameFor = Date.now() - begunAt
    isOver = true
    await Promise.all(around)
    await this.warden.settle(...this.instances)
    for (const leave of left) leave()
    await this.#untilGone()
    await this.#examine()
    this.#t.comment(`${count} connections took ${cameFor} ms, what happened meanwhile ${struckFor}, and all together ${Date.now() - begunAt}`)
  }

  /** Of what was not as polite clients expect it: what nothing explains. */
  get unexplained (): Deviation[] {
    return this.polite.flatMap(({ deviations }) => deviations).filter((deviation) => !this.#isExplained(deviation))
  }

  #isExplained ({ instance, what, expected, isByTicket, from, at }: Deviation): boolean {
    const restart = instance.restarts.find((each) => each.from <= at && each.to >= from)
    if (restart !== undefined && /^(503 WS_AUTH_UNAVAILABLE|503 undefined|closed 1001 shutdown|closed 1006 |ECONNREFUSED|ECONNRESET|socket hang up|UND_ERR_SOCKET)$/.test(what)) return true
    // Tickets are in Redis, and lost with it. All others notice only when nothing was heard for too long.
    const isLate = (since: number): boolean => at >= since + STALE_AFTER / 2
    return this.spells.some((spell) => spell.from <= at && spell.to >= from && (
      (/^(503 WS_AUTH_UNAVAILABLE|closed 4503 auth_unavailable|.*auth\.error.*WS_AUTH_UNAVAILABLE.*)$/.test(what) && (isByTicket || isLate(spell.from))) ||
      (isByTicket && expected === 'open' && what === '401 WS_AUTH_TICKET_INVALID')))
  }

  async #come (left: Array<() => void>): Promise<void> {
    const number = this.#number++
    const [client, instance, path] = await this.#send(number)
    left.push(() => {
      client.destroy()
      if (client.isPlain) this.#witnesses.push({ instance, name: `${number}`, path, seen: seenIn(client.received) })
    })
    if (left.length > LEFT + QUIET) left.splice(QUIET, 1)[0]?.()
  }

  /** It comes until there is a server, which there is not in a restart: what nobody took was no connection. */
  async #send (number: number): Promise<[client: Mischief, instance: ChaosInstance, path: string]> {
    for (;;) {
      const dice = new Dice(this.#seed + 1000 + number)
      const instance = dice.one(...this.instances as [ChaosInstance])
      const part = drawPart(dice, number, this.#supplies)
      const client = new Mischief(instance.port, dice, part)
      if (await client.run()) return [client, instance, part.path]
      await pause(20)
    }
  }

  async #comeQuietly (): Promise<() => void> {
    const number = this.#number++
    const instance = this.#dice.one(...this.instances as [ChaosInstance])
    const client = new Mischief(instance.port, this.#dice, quietPart(this.#dice, number, this.#supplies))
    await client.stay()
    return () => client.destroy()
  }

  async #take (step: Step): Promise<void> {
    const last = this.instances.at(-1) as ChaosInstance
    switch (step) {
      case 'short': return await this.#weather?.strike(false)
      case 'long': return await this.#weather?.strike(true)
      case 'restart': return await this.warden.avoid(last, async () => await this.#restart(last))
      case 'restart in a fault': return await this.warden.avoid(last, async () => await this.#weather?.strike(false, async () => await this.#restart(last)))
    }
  }

  async #restart (instance: ChaosInstance): Promise<void> {
    const restart = { from: Date.now(), to: Infinity }
    instance.restarts.push(restart)
    await instance.call('stop')
    await instance.start()
    // Memory forgets.
    if (this.#weather === null) this.warden.revoked.length = 0
    else void untilWell(this.instances, this.warden.revoked).then(() => { restart.to = Date.now() })
    if (this.#weather === null) restart.to = Date.now()
  }

  /** Tickets, and some that are shown to all instances at once. */
  async #supply (isOver: () => boolean): Promise<void> {
    const { tickets } = this.#supplies
    const dice = new Dice(this.#seed + 3)
    for (let n = 0; !isOver(); n++) {
      await pause(20)
      const instance = dice.one(...this.instances as [ChaosInstance])
      const ticket = await this.#issue(instance, `ticket ${n}`, dice).catch(() => null)
      if (ticket === null) continue
      if (dice.chance(0.2)) { await this.#show(ticket); continue }
      tickets.push(ticket)
      if (tickets.length > 20) tickets.shift()
    }
  }

  async #issue (instance: ChaosInstance, sub: string, dice: Dice): Promise<string> {
    const claims = { sub, exp: Math.floor(Date.now() / 1000) + 60, roles: ['member'] }
    return dice.chance(0.5) ? await instance.call('ticket', claims) : await takeTicket(instance.port, sign(claims))
  }

  /** Whether anything was amiss since then (ms since the epoch). */
  #isDisturbed (from: number): boolean {
    return [...this.spells, ...this.instances.flatMap(({ restarts }) => restarts)].some(({ to }) => to >= from)
  }

  async #show (ticket: string): Promise<void> {
    const from = Date.now()
    const answers = await Promise.all([...this.instances, ...this.instances].map(async ({ port }) => {
      const client = await RawClient.open(this.#t, port).catch(() => null)
      const answer = await client?.upgrade({ path: `/strict?ticket=${ticket}`, headers: { 'x-calm': '1' } }).response().catch(() => null)
      client?.socket.destroy()
      return answer
    }))
    const won = answers.filter((answer) => answer?.status === 101).length
    this.tickets.shown++
    this.tickets.won += won
    this.tickets.lost += answers.filter((answer) => answer?.status === 401 && answer.body.includes('WS_AUTH_TICKET_INVALID')).length
    if (won > 1 || (won === 0 && !this.#isDisturbed(from))) this.wrong.push(`a ticket was good ${won} times: ${answers.map((answer) => `${answer?.status} ${answer?.body}`).join()}`)
  }

  async #untilGone (): Promise<void> {
    for (const instance of this.instances) {
      for (const deadline = Date.now() + 15_000; ; await pause(20)) {
        const present = await instance.call('pending')
        if (Object.values(present).every((count) => count === 0)) break
        if (Date.now() > deadline) throw new Error(`still there: ${JSON.stringify(present)}`)
      }
      // Those of a connection go with it, and are not left to run out.
      const { timers } = await instance.call('hold')
      const left = Object.keys(timers).filter((name) => BOUND.has(name))
      if (left.length > 0) this.wrong.push(`timers that outlive their connections: ${left.join()}`)
    }
  }

  /** What was told, and what was seen. */
  async #examine (): Promise<void> {
    for (const instance of this.instances) this.#settleBalance(instance, await instance.call('balance'))
    for (const { instance, name, path, seen } of this.#witnesses.splice(0)) {
      const contradiction = contradictionOf(path, seen, instance.stories.get(name) ?? [])
      if (contradiction !== null) this.wrong.push(`${name}: ${contradiction}`)
    }
    for (const { stories } of this.instances) stories.clear()
    this.wrong.push(...this.warden.wrong.splice(0), ...(this.#weather?.wrong.splice(0) ?? []))
  }

  #settleBalance (instance: ChaosInstance, balance: Balance): void {
    this.balances.push(balance)
    for (const [id, story] of Object.entries(balance.stories)) {
      const name = id.split('#')[0] as string
      instance.stories.set(name, [...instance.stories.get(name) ?? [], story])
    }
    const { stats: { connections, pending, ...stats }, published, logged, wrong } = balance
    const [counted, events, lines] = [stats, published, logged].map(sorted)
    this.wrong.push(...wrong)
    if (connections + pending !== 0) this.wrong.push(`${connections} connections and ${pending} pending when all have gone`)
    if (counted !== events || counted !== lines) this.wrong.push(`counted ${counted}, published ${events}, logged ${lines}`)
    const ended = Object.values(stats.closed).reduce((sum, count) => sum + count, 0)
    if (ended !== stats.accepted) this.wrong.push(`${stats.accepted} were accepted, and ${ended} ended`)
  }
}

/** As text, with all keys in order. */
function sorted (counts: object): string {
  return JSON.stringify(counts, [...new Set(Object.entries(counts).flatMap(([name, value]) => [name, ...Object.keys(Object(value))]))].sort())
}
