/*
 * Three instances, each a process, and thirty users whose clients open and close connections wherever they like, while instances are killed.
 * The observer counts what the clients have. LEASES_SEED=<the number of a failure> draws the same again; LEASES_PART=0.1, as in CI, is a
 * tenth of a round, in one process and without kills.
 */
import t from 'tap'
import type { Test } from 'tap'
import { forkCounting, kill, startCounting } from '../../helpers/counting-fleet'
import type { CountingInstance, CountingProcess, CountingSettings } from '../../helpers/counting-fleet'
import { Dice } from '../../helpers/chaos/dice'
import { LEASES_PART } from '../../helpers/part'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import { SlotObserver } from '../../helpers/slot-observer'

const SEED = Number(process.env.LEASES_SEED ?? Date.now() % 2 ** 32)
const MAX = 3
const USERS = Array.from({ length: 30 }, (_, i) => `user ${i}`)
/** How many clients act at once. */
const CLIENTS = 24
/** How many actions there are in a round. */
const ACTIONS = Math.round(4000 * LEASES_PART)
const ROUNDS = LEASES_PART < 1 ? 1 : 3
/** Within how many milliseconds the slots of a killed instance are free. */
const MOST = 15_000

interface Race {
  readonly observer: SlotObserver
  readonly instances: CountingInstance[]
  readonly dice: Dice
  readonly settings: CountingSettings
}

async function startRace (t: Test, onLimit: CountingSettings['onLimit']): Promise<Race> {
  const server = await startRedis(t)
  const settings = { redis: { path: server.path }, max: MAX, onLimit }
  const instances = await Promise.all([0, 1, 2].map(async () => await (LEASES_PART < 1 ? startCounting : forkCounting)(t, settings)))
  return { observer: new SlotObserver(t, MAX), instances, dice: new Dice(SEED), settings }
}

/** One action of a client, with a user of whom there are few, so that most are at their limit. */
async function act ({ observer, instances, dice }: Race): Promise<void> {
  const user = USERS[Math.floor(dice.next() ** 2 * USERS.length)] as string
  const { port } = instances[dice.below(instances.length)] as CountingInstance
  const held = observer.of(user)
  const one = held[dice.below(held.length)]
  if (one !== undefined && dice.chance(0.45)) return await observer.close(one, dice.chance(0.5))
  if (dice.chance(0.05)) await observer.ask(user, port).catch(() => {})
  else await observer.open(user, port, dice.chance(0.1) ? dice.next() * 8 : Infinity)
}

/** @param onHalf called in the middle of it */
async function run (race: Race, actions: number, onHalf: () => void = () => {}): Promise<void> {
  let left = actions
  await Promise.all(Array.from({ length: CLIENTS }, async () => {
    while (left-- > 0) {
      if (left === Math.floor(actions / 2)) onHalf()
      await act(race)
    }
  }))
}

/** Kills an instance. Another takes its place. @returns when it was killed */
async function replace (t: Test, { instances, dice, settings }: Race): Promise<number> {
  const number = dice.below(instances.length)
  const killedAt = await kill(instances[number] as CountingProcess)
  instances[number] = await forkCounting(t, settings)
  return killedAt
}

/** All leave. Then each user can have as many connections as allowed, by any instances, and no more. */
async function assertNoneIsLost (t: Test, { observer, instances }: Race, freeAt: number): Promise<void> {
  await Promise.all(observer.all().map(async (held) => await observer.close(held, true)))
  const portOf = (i: number): number => (instances[i % instances.length] as CountingInstance).port
  let longest = 0
  await Promise.all(USERS.map(async (user, i) => {
    const startedAt = performance.now()
    while (observer.of(user).length < MAX && performance.now() < Math.max(freeAt, startedAt + 10_000)) {
      // A slot that was just given back by another instance may not be free yet.
      if (await observer.open(user, portOf(i + observer.of(user).length)) !== 'open') await new Promise((resolve) => setTimeout(resolve, 100))
    }
    longest = Math.max(longest, performance.now() - startedAt)
  }))
  t.same(USERS.filter((user) => observer.of(user).length !== MAX), [], `each user gets all of its ${MAX} slots again, after ${Math.round(longest)} ms`)
  const more = await Promise.all(USERS.map(async (user, i) => await observer.open(user, portOf(i))))
  t.same([...new Set(more)], [429], 'and no more')
}

t.test(`no user has more than ${MAX} connections on three instances, and no slot is lost, with LEASES_SEED=${SEED}`, { skip: reasonToSkip(), timeout: 590_000 }, async (t) => {
  const race = await startRace(t, 'reject')
  const { observer } = race
  const startedAt = performance.now()
  for (let round = 0; round < ROUNDS; round++) {
    let killing: Promise<number> | null = null
    await run(race, ACTIONS, () => { if (ROUNDS > 1) killing = replace(t, race) })
    const killedAt: number | null = await killing
    await assertNoneIsLost(t, race, killedAt === null ? 0 : killedAt + MOST)
  }
  t.same(observer.violations, [], 'no user ever had more')
  t.equal(observer.most, MAX)
  const { answers, ends } = observer
  t.ok((answers.get('open') ?? 0) > ACTIONS * ROUNDS / 10 && (answers.get(429) ?? 0) > ACTIONS * ROUNDS / 20, 'many were let in, and many refused')
  t.same([...ends.keys()].filter((end) => end !== '1006'), [], 'no server has closed a connection, but those that were killed')
  t.comment(`${Math.round(performance.now() - startedAt)} ms; answers ${JSON.stringify([...answers])}, ends ${JSON.stringify([...ends])}`)
})

t.test(`with 'close-oldest' each user is let in, and keeps its last ${MAX} connections, with LEASES_SEED=${SEED}`, { skip: reasonToSkip(), timeout: 590_000 }, async (t) => {
  const race = await startRace(t, 'close-oldest')
  const { observer } = race
  for (let round = 0; round < ROUNDS; round++) {
    let killing: Promise<number> | null = null
    await run(race, Math.floor(ACTIONS / 2), () => { if (ROUNDS > 1) killing = replace(t, race) })
    await killing
    // One after the other: the last ones stay, whichever instances have them.
    const answers = new Set<unknown>()
    const ports = race.instances.map(({ port }) => port)
    const last = await Promise.all(USERS.map(async (user) => {
      for (let i = 0; i < MAX; i++) answers.add(await observer.open(user, race.dice.one(...ports as [number, ...number[]])))
      return observer.of(user).slice(-MAX)
    }))
    while (observer.all().length > MAX * USERS.length) await new Promise((resolve) => setTimeout(resolve, 20))
    t.same(USERS.filter((user, i) => observer.of(user).some((held) => !last[i]?.includes(held))), [], 'the last ones are left')
    t.same([[...answers], observer.all().length], [['open'], MAX * USERS.length])
  }
  t.notOk(observer.answers.has(429), 'nobody was refused')
  t.same([...observer.ends.keys()].filter((end) => end !== '1006' && end !== '3003 connection_replaced'), [])
  t.ok((observer.ends.get('3003 connection_replaced') ?? 0) > ACTIONS * ROUNDS / 20)
})
