/*
 * The contract of lib/backplane/leases.ts as tests. An author of a backplane that counts users runs all of them against it.
 */
import Fastify from 'fastify'
import type { Test } from 'tap'
import type { BackplaneLink } from '../../lib/backplane/contract'
import type { LeaseLoss, LeaseRules, Leases, ReleaseLease } from '../../lib/backplane/leases'
import { createId } from '../../lib/base/id'
import { until, within } from '../helpers/app'
import { ODD_TEXTS } from './backplane'
import type { Place } from './backplane'

/** How long anything may take, in milliseconds of turns. */
const TIMEOUT = 60_000

/** An instance that counts slots, and what it has lost. */
interface Counting {
  readonly link: BackplaneLink
  readonly leases: Leases
  readonly lost: string[]
  take: (user: string, name?: string) => Promise<ReleaseLease | null>
}

type Join = (rules: LeaseRules) => Promise<Counting>
type TestPlace = (sentence: string, run: (t: Test, join: Join) => Promise<void>) => void

/** Runs the tests of the contract. @param open makes a place that nothing has happened in yet */
export function testLeases (t: Test, name: string, open: (t: Test) => Promise<Place>): void {
  const test: TestPlace = (sentence, run) => {
    t.test(`${name}: ${sentence}`, async (t) => {
      const place = await open(t)
      await run(t, async (rules) => await startCounting(t, place, rules))
    })
  }
  testRefusing(test)
  testReplacing(test)
  testHolding(test)
}

async function startCounting (t: Test, place: Place, rules: LeaseRules): Promise<Counting> {
  const member = { id: createId(), log: Fastify().log, apply: () => 0, revocations: () => [], onOutage: () => {} }
  const link = (await place.make()).join(member)
  t.teardown(async () => await link.leave())
  const leases = link.leases?.(rules)
  if (leases === undefined) throw new Error('the backplane does not count users')
  await within(TIMEOUT, 'it is ready', link.ready)
  const lost: string[] = []
  const take = async (user: string, name = user): Promise<ReleaseLease | null> => await leases.take(user, (why: LeaseLoss) => { lost.push(`${name} ${why}`) })
  return { link, leases, lost, take }
}

async function joinAll (join: Join, count: number, rules: LeaseRules): Promise<[Counting, Counting, ...Counting[]]> {
  return await Promise.all(Array.from({ length: count }, async () => await join(rules))) as [Counting, Counting, ...Counting[]]
}

function testRefusing (test: TestPlace): void {
  test('of 100 simultaneous takes on four instances, as many as may have a slot get one', async (t, join) => {
    const all = await joinAll(join, 4, { max: 7, replaces: false })
    for (let round = 0; round < 3; round++) {
      const taken = await Promise.all(Array.from({ length: 100 }, async (_, i) => await all[i % 4]?.take('ann') ?? null))
      const releases = taken.filter((release) => release !== null)
      t.equal(releases.length, 7)
      for (const release of releases) release()
      await until(() => true, 'a turn')
    }
    t.same(all.flatMap(({ lost }) => lost), [])
  })

  test('a slot that was given back is free on all instances, and is given back once', async (t, join) => {
    const [one, other] = await joinAll(join, 2, { max: 2, replaces: false })
    const releases = [await one.take('ann'), await other.take('ann')]
    t.equal(await one.take('ann'), null)
    t.equal(await one.leases.isFree('ann'), false)
    t.equal(await other.leases.isFree('bob'), true)
    for (let times = 0; times < 3; times++) releases[1]?.()
    await eventually(async () => await one.leases.isFree('ann'))
    t.type(await one.take('ann'), 'function')
    t.equal(await other.take('ann'), null, 'it was one slot')
    releases[0]?.()
    t.type(await one.take('ann'), 'function', 'a slot of the same instance is free at once')
  })

  test('asking for a free slot takes none', async (t, join) => {
    const [one, other] = await joinAll(join, 2, { max: 1, replaces: false })
    for (let times = 0; times < 5; times++) t.equal(await one.leases.isFree('ann'), true)
    t.type(await other.take('ann'), 'function')
    t.equal(await one.leases.isFree('ann'), false)
  })

  test('users of any names have slots of their own', async (t, join) => {
    const [one, other] = await joinAll(join, 2, { max: 1, replaces: false })
    const users = [...ODD_TEXTS, '', '#', 'a#1', '~', 'a~1#2', '\ud800', '\ud801', '\udc00', '\ufffd']
    const taken = await Promise.all(users.map(async (user) => await one.take(user)))
    t.ok(taken.every((release) => release !== null))
    t.ok((await Promise.all(users.map(async (user) => await other.take(user)))).every((release) => release === null))
  })

  test('at no time has a user more slots than allowed, while three instances take and give back at random', async (t, join) => {
    const all = await joinAll(join, 3, { max: 3, replaces: false })
    const counts = new Map<string, number>()
    let most = 0
    let taken = 0
    const live = async (counting: Counting): Promise<void> => {
      for (let i = 0; i < 40; i++) {
        const user = `user ${Math.floor(Math.random() * 4)}`
        const release = await counting.take(user)
        if (release === null) continue
        taken++
        counts.set(user, (counts.get(user) ?? 0) + 1)
        most = Math.max(most, counts.get(user) ?? 0)
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 4))
        counts.set(user, (counts.get(user) ?? 0) - 1)
        release()
      }
    }
    await within(TIMEOUT, 'all have lived', Promise.all([...all, ...all, ...all, ...all].map(live)))
    t.equal(most, 3)
    t.ok(taken > 100, `${taken} slots`)
    for (const user of counts.keys()) await eventually(async () => await all[0].leases.isFree(user))
  })
}

function testReplacing (test: TestPlace): void {
  test('if slots are replaced, the oldest slot of the user is lost, on whichever instance it is', async (t, join) => {
    const [one, other] = await joinAll(join, 2, { max: 2, replaces: true })
    for (const [counting, name] of [[one, 'a'], [other, 'b'], [one, 'c'], [one, 'd'], [other, 'e']] as const) {
      t.type(await counting.take('ann', name), 'function')
      t.equal(await one.leases.isFree('ann'), true)
    }
    await until(() => one.lost.length === 2 && other.lost.length === 1, 'the oldest are lost')
    t.same(one.lost, ['a replaced', 'c replaced'])
    t.same(other.lost, ['b replaced'])
  })

  test('100 simultaneous takes that replace leave as many slots as allowed', async (t, join) => {
    const all = await joinAll(join, 4, { max: 5, replaces: true })
    const releases = await Promise.all(Array.from({ length: 100 }, async (_, i) => await all[i % 4]?.take('ann', String(i))))
    t.ok(releases.every((release) => typeof release === 'function'))
    await until(() => all.flatMap(({ lost }) => lost).length === 95, 'all others are lost')
    t.equal(new Set(all.flatMap(({ lost }) => lost)).size, 95, 'each once')
  })
}

function testHolding (test: TestPlace): void {
  test('a slot that was held without asking is counted', async (t, join) => {
    const [one, other] = await joinAll(join, 2, { max: 2, replaces: false })
    const release = one.leases.hold('ann', () => {})
    t.type(await other.take('ann'), 'function')
    await eventually(async () => !await other.leases.isFree('ann'))
    release()
    await eventually(async () => await other.leases.isFree('ann'))
  })

  test('a slot that was held without asking is lost if there is no room', async (t, join) => {
    const [one, other] = await joinAll(join, 2, { max: 1, replaces: false })
    t.type(await other.take('ann'), 'function')
    const lost: string[] = []
    const release = one.leases.hold('ann', (why) => { lost.push(why) })
    await until(() => lost.length > 0, 'it is lost')
    t.same(lost, ['surplus'])
    release()
    t.equal(await other.leases.isFree('ann'), false)
    t.same(other.lost, [])
  })
}

async function eventually (isTrue: () => Promise<boolean>): Promise<void> {
  while (!await isTrue()) await new Promise((resolve) => setTimeout(resolve, 5))
}
