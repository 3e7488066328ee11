/*
 * Twenty thousand connections that abort, stall, repeat and lie wherever they like, while users are revoked and Redis comes
 * and goes: nothing is left of them, each decision is told once, and nobody polite has noticed. What they do is drawn from a
 * seed: CHAOS_SEED=<what a failure printed> draws the same again, though the network does not keep its order.
 */
import t from 'tap'
import type { Test } from 'tap'
import { sign, within } from '../helpers/app'
import { SEED } from '../helpers/chaos/dice'
import type { ChaosInstance } from '../helpers/chaos/instance'
import { USERS } from '../helpers/chaos/parts'
import { ChaosRun } from '../helpers/chaos/run'
import type { Step } from '../helpers/chaos/run'
import { PER_USER } from '../helpers/chaos/server'
import type { Holdings } from '../helpers/chaos/server'
import { RawClient } from '../helpers/raw-client'
import { reasonToSkip, startRedis } from '../helpers/redis'
import type { RedisServer } from '../helpers/redis'

const CONNECTIONS = Number(process.env.CHAOS_CONNECTIONS ?? 20_000)
const skip = reasonToSkip()

/** So many that everything happens at least once. */
const ENOUGH = 4000

type Steps = readonly Step[]

/** What may be referred to of all that has gone: the sweep leaves 64 of those that have ended in its lists, and Node its last parsers. */
const MOST_KEPT = 150

/** What the heap of an instance may grow by, in bytes: by itself (1.3 MB were seen, and as much less), and for each connection that it has had. */
const GROWTH = 2 ** 21
const GROWTH_PER_CONNECTION = 100

t.test(`${CONNECTIONS} connections leave nothing behind while Redis comes and goes, with CHAOS_SEED=${SEED}`, { skip }, async (t) => {
  const redis = await startRedis(t, { isPersistent: true })
  const run = await ChaosRun.start(t, SEED, redis)
  await survive(t, run, CONNECTIONS, [['short'], ['short', 'restart in a fault', 'short', 'long', 'short'], ['short', 'short', 'long', 'short', 'restart', 'short']])
  await assertKeys(t, redis)
  await end(t, run)
})

t.test(`the connections of one process without Redis leave nothing behind, with CHAOS_SEED=${SEED}`, async (t) => {
  const run = await ChaosRun.start(t, SEED, null)
  await survive(t, run, skip === false ? CONNECTIONS / 5 : CONNECTIONS, [[], ['restart'], []])
  await end(t, run)
})

async function survive (t: Test, run: ChaosRun, connections: number, [first, second, third]: readonly [Steps, Steps, Steps]): Promise<void> {
  const { instances } = run
  const before = await Promise.all(instances.map(holdingsOf))
  await run.phase(Math.floor(connections * 0.1), first)
  await run.phase(Math.floor(connections * 0.45), second)
  const middle = await Promise.all(instances.map(holdingsOf))
  await run.phase(Math.floor(connections * 0.45), third)
  t.comment(JSON.stringify({ spells: run.spells.map(({ name, from, to }) => `${name}, well after ${to - from}`) }))
  t.comment(JSON.stringify({ warden: run.warden.revoked.length, answered: run.warden.answered, unanswered: run.warden.unanswered, tickets: run.tickets }))
  t.comment(JSON.stringify({ stats: run.balances.slice(-2).map(({ stats, anonymous }) => ({ ...stats, anonymous })) }))
  const visits = countOf(run.polite.flatMap(({ visits }) => Object.entries(visits).flatMap(([name, count]) => Array<string>(count).fill(name))))
  t.comment(JSON.stringify({ polite: visits, deviations: countOf(run.polite.flatMap(({ deviations }) => deviations.map(({ what }) => what))) }))
  t.same(run.wrong, [], 'each decision was told once, and what clients saw is what was told')
  t.same(run.unexplained.map(({ what, expected, from, at }) => ({ what, expected, from, at })), [], 'nobody polite was refused or closed')
  if (connections >= ENOUGH) assertMuch(t, run, visits)
  for (const [i, instance] of instances.entries()) await assertNothingLeft(t, instance, before[i] as Held, middle[i] as Held, connections)
  await assertSlots(t, run)
}

/** All of it has happened that was to be survived. */
function assertMuch (t: Test, { balances, warden, tickets }: ChaosRun, visits: Record<string, number>): void {
  for (const name of ['header', 'query', 'subprotocol', 'cookie', 'ticket', 'message', 'refused', 'stayed']) t.ok((visits[name] ?? 0) > 0, `some who are polite came: ${name}`)
  const { accepted = 0, renewed = 0 } = balances.at(-1)?.stats ?? {}
  t.ok(accepted > ENOUGH / 50 && renewed > 0, 'some who are not got in, and stayed')
  t.ok(warden.answered > 0 && tickets.won > 0, 'some were revoked, and some had tickets')
}

function countOf (names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

type Held = Holdings & { readonly descriptors: number }

async function holdingsOf (instance: ChaosInstance): Promise<Held> {
  return { ...await instance.call('hold'), descriptors: instance.countDescriptors() }
}

async function assertNothingLeft (t: Test, instance: ChaosInstance, before: Held, middle: Held, connections: number): Promise<void> {
  t.ok(instance.isAlive, 'the process lives')
  // What was under way has a deadline of its own.
  let after = await holdingsOf(instance)
  // The sweep leaves those that have ended where they are until their time has come.
  const expected = { ...before.timers, 'lib/connection/sweep': 1 }
  for (const deadline = Date.now() + 10_000; Date.now() < deadline && (after.descriptors > before.descriptors || !isWithin(after.timers, expected)); after = await holdingsOf(instance));
  t.same(after.problems, [], 'no warning, and nothing that nobody has caught')
  t.ok(after.descriptors <= before.descriptors, `${after.descriptors} descriptors, and ${before.descriptors} before`)
  t.ok(isWithin(after.timers, expected), `timers: ${JSON.stringify(after.timers)}, and expected: ${JSON.stringify(expected)}`)
  t.ok(after.kept <= MOST_KEPT, `${after.kept} requests, sockets and connections are still referred to`)
  const growth = after.heap - middle.heap
  t.comment(JSON.stringify({ kept: [middle.kept, after.kept], heap: [before, middle, after].map(({ heap }) => heap), growth, descriptors: [before.descriptors, after.descriptors], timers: [before.timers, after.timers], resources: [before.resources, after.resources] }))
  t.ok(growth < GROWTH + GROWTH_PER_CONNECTION * connections / 4, `the heap has grown by ${growth} bytes`)
}

function isWithin (found: Record<string, number>, expected: Record<string, number>): boolean {
  return Object.entries(found).every(([name, count]) => count <= (expected[name] ?? 0))
}

/** Each user has all places again, and no more. */
async function assertSlots (t: Test, { instances }: ChaosRun): Promise<void> {
  for (const [i, { port }] of instances.entries()) {
    const clients: RawClient[] = []
    const found = await Promise.all(Array.from({ length: USERS }, async (_, user) => {
      // Issued after any revocation of the user.
      const now = Math.floor(Date.now() / 1000)
      const token = sign({ sub: `user ${user}`, roles: ['member'], iat: now + 30, exp: now + 600 })
      const answers: number[] = []
      for (let n = 0; n <= PER_USER; n++) {
        const client = await RawClient.open(t, port)
        clients.push(client)
        answers.push((await client.upgrade({ path: '/strict', headers: { 'x-calm': '1', authorization: `Bearer ${token}` } }).response()).status)
      }
      return answers.join()
    }))
    for (const { socket } of clients) socket.destroy()
    t.same([...new Set(found)], [[101, 101, 101, i === 0 ? 429 : 101].join()], 'each user has all places again, and no more')
  }
}

async function assertKeys (t: Test, redis: RedisServer): Promise<void> {
  const client = redis.client()
  const keys = await client.keys('*')
  t.same(keys.filter((key) => !/^\{fastify-ws-auth\}:(log|revoked|alive|inbox:.+|value:ticket:[\w-]{43})$/.test(key)), [], 'all keys are documented')
  for (const [kind, most] of [['inbox', 60_000], ['value', 20_000]] as const) {
    const ages = await Promise.all(keys.filter((key) => key.includes(`:${kind}:`)).map(async (key) => await client.pttl(key)))
    // One may be over by now.
    t.same(ages.filter((age) => age === -1 || age > most), [], `no ${kind} is for ever`)
  }
}

async function end (t: Test, { instances }: ChaosRun): Promise<void> {
  for (const instance of instances) {
    await within(8000, 'app.close()', instance.call('stop'))
    const { stats, wrong } = await instance.call('balance')
    t.equal(stats.connections, 0, 'nobody is open after the end')
    t.same(wrong, [], 'nothing was told twice, or not at all, at the end')
    t.same((await instance.call('hold')).timers, {}, 'no timer is left of a closed app')
    t.equal(await within(8000, 'the end of the process', instance.end()), 0, 'the process ends by itself')
  }
}
