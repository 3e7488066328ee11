/*
 * Slots of users in a real Redis that fails: it is killed, flushed, stopped, or loses the script; and instances that die or stop.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve as resolvePath } from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { BackplaneLink } from '../../../lib/backplane/contract'
import type { LeaseRules, Leases, ReleaseLease } from '../../../lib/backplane/leases'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { createId } from '../../../lib/base/id'
import { until } from '../../helpers/app'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import type { RedisServer } from '../../helpers/redis'

interface Instance {
  readonly leases: Leases
  readonly link: BackplaneLink
  readonly lost: string[]
  take: (user: string) => Promise<ReleaseLease | null>
}

async function join (t: Test, server: RedisServer, rules: LeaseRules, prefix = 'leases'): Promise<Instance> {
  const member = { id: createId(), log: Fastify().log, apply: () => 0, revocations: () => [], onOutage: () => {} }
  const link = redisBackplane({ client: server.client({ maxRetriesPerRequest: null, retryStrategy: () => 50 }), prefix }).join(member)
  t.teardown(async () => await link.leave())
  const leases = link.leases?.(rules) as Leases
  await link.ready
  const lost: string[] = []
  return { leases, link, lost, take: async (user) => await leases.take(user, (why) => { lost.push(`${user} ${why}`) }) }
}

async function eventually (isTrue: () => Promise<boolean>): Promise<void> {
  while (!await isTrue().catch(() => false)) await new Promise((resolve) => setTimeout(resolve, 20))
}

const ONE: LeaseRules = { max: 1, replaces: false }

t.test('slots of users outlive the failures of Redis', { skip: reasonToSkip(), jobs: 4 }, async (t) => {
  t.test('the script is sent again after Redis has forgotten it', async (t) => {
    const server = await startRedis(t)
    const one = await join(t, server, ONE)
    t.type(await one.take('ann'), 'function')
    await server.client().call('SCRIPT', 'FLUSH')
    t.equal(await one.take('ann'), null)
  })

  t.test('a Redis that was flushed gives no slot twice: all instances restore theirs first', async (t) => {
    const server = await startRedis(t)
    const [one, other] = await Promise.all([join(t, server, ONE), join(t, server, ONE)])
    const release = await one.take('ann')
    await server.client().flushall()
    const flushedAt = Date.now()
    t.equal(await other.take('ann'), null, 'the slot of the other instance counts')
    t.ok(Date.now() - flushedAt < 20_000, `${Date.now() - flushedAt} ms`)
    t.type(await other.take('bob'), 'function', 'and slots are given again')
    release?.()
    await eventually(async () => await other.leases.isFree('ann'))
    t.same([...one.lost, ...other.lost], [])
  })

  t.test('a Redis that was killed and starts empty gives no slot twice, and none is taken while it is down', async (t) => {
    const server = await startRedis(t)
    const [one, other] = await Promise.all([join(t, server, ONE), join(t, server, ONE)])
    await one.take('ann')
    await server.stop('SIGKILL')
    await t.rejects(other.take('ann'))
    const release = other.leases.hold('bob', () => {})
    await server.start()
    await eventually(async () => await other.leases.isFree('carl'))
    t.equal(await other.take('ann'), null)
    await eventually(async () => await one.take('bob') === null)
    release()
    t.same([...one.lost, ...other.lost], [])
  })

  t.test('an outage of Redis that is longer than a lease frees no slot', async (t) => {
    const server = await startRedis(t)
    const [one, other] = await Promise.all([join(t, server, ONE), join(t, server, ONE)])
    await one.take('ann')
    server.pause()
    await t.rejects(other.take('ann'))
    await new Promise((resolve) => setTimeout(resolve, 13_000))
    server.resume()
    await eventually(async () => { await other.leases.isFree('carl'); return true })
    t.equal(await other.take('ann'), null, 'the lease of the other instance begins anew')
    t.same(one.lost, [])
  })

  t.test('a slot that was asked for in an outage is not taken later', async (t) => {
    const server = await startRedis(t)
    const [one, other] = await Promise.all([join(t, server, ONE), join(t, server, ONE)])
    server.pause()
    await t.rejects(one.take('ann'))
    server.resume()
    await eventually(async () => await other.leases.isFree('ann'))
    await eventually(async () => await other.take('ann') !== null)
    t.equal(await one.take('ann').catch(() => null), null)
  })

  t.test('slots that find no room after an outage are lost, the newest first', async (t) => {
    const server = await startRedis(t)
    const [one, other] = await Promise.all([join(t, server, { max: 2, replaces: false }), join(t, server, { max: 2, replaces: false })])
    await other.take('ann')
    await server.stop('SIGKILL')
    await t.rejects(one.take('ann'))
    const lost: number[] = []
    for (const number of [1, 2, 3]) one.leases.hold('ann', () => { lost.push(number) })
    await server.start()
    await until(() => lost.length + other.lost.length === 2, 'two have no room')
    t.ok(lost.includes(3), 'the newest')
    t.equal(await one.leases.isFree('ann'), false)
  })
})

t.test('slots of instances that die or stop come back', { skip: reasonToSkip(), jobs: 2 }, async (t) => {
  t.test('the slots of an instance that was killed are free after their lease, and not at once', async (t) => {
    const server = await startRedis(t)
    const one = await join(t, server, ONE)
    const child = await startChild(t, server)
    t.equal(await one.take('ann'), null, 'the child has it')
    child.kill('SIGKILL')
    const killedAt = Date.now()
    t.equal(await one.take('ann'), null)
    await eventually(async () => await one.take('ann') !== null)
    const waited = Date.now() - killedAt
    t.ok(waited > 5000 && waited < 30_000, `${waited} ms`)
  })

  t.test('an instance that was stopped and goes on loses the slots that others have taken, and keeps the others', async (t) => {
    const server = await startRedis(t)
    const one = await join(t, server, ONE)
    const child = await startChild(t, server)
    child.kill('SIGSTOP')
    await eventually(async () => await one.take('ann') !== null)
    child.kill('SIGCONT')
    const [line] = await once(child.stdout as NodeJS.ReadableStream, 'data') as [Buffer]
    t.equal(String(line).trim(), 'lost ann surplus')
    t.equal(await one.take('bob'), null, 'the slot that nobody has taken is restored')
  })
})

/** An instance in a process of its own, which has a slot of ann and one of bob. */
async function startChild (t: Test, { path }: RedisServer): Promise<ReturnType<typeof spawn>> {
  const child = spawn(process.execPath, ['--no-warnings', '-e', `
    const { Redis } = require('ioredis')
    const Fastify = require('fastify')
    const { redisBackplane } = require(${JSON.stringify(resolvePath('.build/lib/backplane/redis/index.js'))})
    const member = { id: 'child', log: Fastify().log, apply: () => 0, revocations: () => [], onOutage: () => {} }
    const link = redisBackplane({ client: new Redis(${JSON.stringify(path)}), prefix: 'leases' }).join(member)
    const leases = link.leases({ max: 1, replaces: false })
    setInterval(() => {}, 1000)
    link.ready.then(async () => {
      for (const user of ['ann', 'bob']) await leases.take(user, (why) => { console.log('lost', user, why) })
      console.log('ready')
    })
  `], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill('SIGKILL') })
  await once(child.stdout, 'data')
  return child
}
