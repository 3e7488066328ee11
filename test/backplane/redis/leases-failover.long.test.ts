/*
 * A primary that is killed before its replica has the last writes: slots of users that only the primary knew. The observer counts what the
 * clients have.
 */
import t from 'tap'
import type { Test } from 'tap'
import { startCounting } from '../../helpers/counting-fleet'
import { startProxy } from '../../helpers/proxy'
import { eventually, FAMILIES, startServer } from '../../helpers/redis-family'
import type { Family } from '../../helpers/redis-family'
import { SlotObserver } from '../../helpers/slot-observer'

const [FAMILY] = FAMILIES as [Family, ...Family[]]
const MAX = 2
const USERS = Array.from({ length: 20 }, (_, i) => `user ${i}`)
/** Within how many milliseconds after the failover no user has more than allowed: on a quiet machine 2 s after Redis answers again. */
const MOST = 20_000

// They wait most of the time.
t.jobs = 2

interface Replicated {
  readonly observer: SlotObserver
  readonly ports: readonly [number, number]
  /** From now on the replica gets no writes. Resolves when it has all that were made. */
  cutReplica: () => Promise<void>
  failOver: () => Promise<void>
}

/** Two instances that reach a Redis by a door, which leads to its replica later. */
async function startReplicated (t: Test): Promise<Replicated> {
  const [primary, replica] = await Promise.all([startServer(t, FAMILY), startServer(t, FAMILY)])
  const wire = await startProxy(t, { host: primary.host, port: primary.port })
  await replica.admin.call('REPLICAOF', '127.0.0.1', String(wire.port))
  await eventually(async () => (await replica.admin.info('replication')).includes('master_link_status:up'), 'the replica has all')
  const target = { host: primary.host, port: primary.port }
  const door = await startProxy(t, target)
  const settings = { redis: { host: '127.0.0.1', port: door.port }, max: MAX, onLimit: 'reject' as const }
  const instances = await Promise.all([startCounting(t, settings), startCounting(t, settings)])
  return {
    observer: new SlotObserver(t, MAX),
    ports: instances.map(({ port }) => port) as [number, number],
    cutReplica: async () => {
      await primary.admin.call('WAIT', '1', '5000')
      wire.cut()
    },
    failOver: async () => {
      await primary.kill()
      await replica.admin.call('REPLICAOF', 'NO', 'ONE')
      target.port = replica.port
    }
  }
}

/** Opens a connection, once Redis answers. */
async function openWhenUp (observer: SlotObserver, user: string, port: number): Promise<void> {
  while (await observer.open(user, port) === 503) await new Promise((resolve) => setTimeout(resolve, 50))
}

async function openAll (observer: SlotObserver, port: number, times = 1): Promise<void> {
  for (let i = 0; i < times; i++) await Promise.all(USERS.map(async (user) => await openWhenUp(observer, user, port)))
}

/** All users are at their limit, and get as many slots as allowed again after their clients have left. */
async function assertRight (t: Test, { observer, ports }: Replicated): Promise<void> {
  t.same(await Promise.all(USERS.map(async (user, i) => await observer.open(user, ports[i % 2] as number))), USERS.map(() => 429), 'all users are at their limit')
  await Promise.all(observer.all().map(async (held) => await observer.close(held, true)))
  for (const port of ports) await Promise.all(USERS.map(async (user) => { while (await observer.open(user, port) !== 'open') await new Promise((resolve) => setTimeout(resolve, 50)) }))
  t.same(await Promise.all(USERS.map(async (user, i) => await observer.open(user, ports[i % 2] as number))), USERS.map(() => 429), 'no slot is lost')
}

t.test('slots that a failover has lost are given twice for a short time, no more than were lost, and then the surplus is closed', { skip: FAMILY.skip, buffered: true }, async (t) => {
  const replicated = await startReplicated(t)
  const { observer, ports: [one, other], cutReplica, failOver } = replicated
  await openAll(observer, one)
  await cutReplica()
  await openAll(observer, one)
  await failOver()
  const failedAt = performance.now()
  // The instance that knows nothing of what was lost.
  await openAll(observer, other, MAX)
  t.ok(observer.most <= MAX + 1, `a user had ${observer.most}: one slot of each was lost`)
  await eventually(async () => USERS.every((user) => observer.of(user).length <= MAX), 'the surplus is closed')
  const took = performance.now() - failedAt
  t.ok(took < MOST, `${Math.round(took)} ms`)
  const closed = observer.ends.get('4429 connection_limit') ?? 0
  t.equal(closed, observer.violations.length, 'each that was too many was closed, and no other')
  t.same([...observer.ends.keys()].filter((end) => end !== '4429 connection_limit'), [])
  await openAll(observer, one, MAX)
  await assertRight(t, replicated)
  t.comment(`${closed} connections were closed; Redis was up, and all users right, after ${Math.round(took)} ms`)
})

t.test('a failover that has lost a beat of each instance gives no slot twice', { skip: FAMILY.skip, buffered: true }, async (t) => {
  const replicated = await startReplicated(t)
  const { observer, ports: [one, other], cutReplica, failOver } = replicated
  await openAll(observer, one)
  await cutReplica()
  await openAll(observer, one)
  // Each instance renews its lease every 2 s, and knows by the number of that call that Redis has lost data.
  await new Promise((resolve) => setTimeout(resolve, 4500))
  await failOver()
  await openAll(observer, other, MAX)
  t.same(observer.violations, [], 'no user had more than allowed')
  t.same([...observer.ends], [], 'and no connection was closed')
  await assertRight(t, replicated)
})
