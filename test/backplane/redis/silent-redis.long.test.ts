/*
 * A Redis that takes or answers nothing for long: what waits for it is bounded, retried, and told of.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { AppConnection } from '../../../lib/backplane/redis/client/connection'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { keysOf } from '../../../lib/backplane/redis/keys'
import { RedisLink } from '../../../lib/backplane/redis/link'
import { PendingAnswers } from '../../../lib/backplane/redis/pending-answers'
import { until } from '../../helpers/app'
import { LOG, REVOKED } from '../../helpers/cluster-of-apps'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import { connectionTo } from '../../helpers/redis-connection'
import { Gate, Listener, TIMEOUT, by, disconnect, revoke } from '../../helpers/redis-parts'

const skip = reasonToSkip()

t.test('revocations are not piled up if Redis takes no writes for long', { skip }, async (t) => {
  const server = await startRedis(t)
  const [one, other] = [new Listener(), new Listener()]
  const links = [one, other].map((member) => redisBackplane({ client: server.client(), staleAfter: 2000 }).join(member))
  t.teardown(async () => { await Promise.all(links.map(async (link) => await link.leave())) })
  await Promise.all(links.map(async ({ ready }) => await ready))
  const client = server.client()
  await client.call('CLIENT', 'PAUSE', '60000', 'WRITE')
  const values = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  await Promise.all(values.map(async (value) => await t.rejects(links[0]?.publish(revoke(value)) as Promise<unknown>, { name: 'DeadlineError' })))
  // It is tried again as soon as the log was looked at, which is twice in a second.
  await new Promise((resolve) => setTimeout(resolve, 4000))
  t.equal(one.outages, 0, 'it can be read all the while')
  await client.call('CLIENT', 'UNPAUSE')
  await until(() => values.every((value) => other.values.includes(value)), 'all have arrived', TIMEOUT)
  await until(() => links.every(({ isCurrent }) => isCurrent), 'all is well')
  await links[0]?.publish(disconnect('after'))
  const written = (await client.xrange(LOG, '-', '+')).length - 1
  t.ok(written >= 8 && written <= 24, `each is there as often as it was tried: ${written}`)
  t.same(await client.zrange(REVOKED, '0', '-1'), values.map((value) => `jti:${value}`))
})

t.test('an app whose log is silent asks Redis over its own connection', { skip }, async (t) => {
  // Each waits for a Redis of its own.
  t.jobs = 4

  /** Holds what the app's connection asks of the log, from the first time that nothing has come by the other. */
  async function hold (t: Test): Promise<{ server: Awaited<ReturnType<typeof startRedis>>, member: Listener, link: RedisLink, probe: Gate }> {
    const server = await startRedis(t)
    const member = new Listener()
    const probe = new Gate()
    const connection = by(connectionTo(server.client()), async ([name], send) => {
      if (name === 'XINFO') await probe.pass()
      return await send()
    })
    const link = new RedisLink({ connection, keys: keysOf('x'), member, staleAfter: 3000, onOutage: 'close' })
    t.teardown(async () => { server.resume(); await link.leave() })
    await link.ready
    t.equal(link.isCurrent, true)
    server.pause()
    await until(() => probe.isReached, 'it is asked', TIMEOUT)
    t.equal(link.isCurrent, false)
    return { server, member, link, probe }
  }

  t.test('no connection is closed if the question fails but the log could be read meanwhile', async (t) => {
    const { server, member, link, probe } = await hold(t)
    server.resume()
    await until(() => link.isCurrent, 'it can be read', 2500)
    probe.fail(new Error('the connection is lost'))
    await new Promise((resolve) => setTimeout(resolve, 100))
    t.equal(member.outages, 0)
    t.same(member.told.filter((message) => message.startsWith('Redis has not answered')), [])
    await until(() => link.isCurrent, 'it is followed')
  })

  t.test('an instance that has left before the question fails reports no outage', async (t) => {
    const { server, member, link, probe } = await hold(t)
    const leaving = link.leave()
    probe.fail(new Error('the connection is lost'))
    await new Promise((resolve) => setTimeout(resolve, 100))
    server.resume()
    await leaving
    t.equal(member.outages, 0)
    // That a slow machine could not tell Redis in time that it lives is another matter.
    t.same(member.told.filter((message) => message.startsWith('Redis has not answered')), [])
  })

  t.test('no connection is closed if Redis answers the question, and new commands are read by it', async (t) => {
    const server = await startRedis(t)
    const [member, other] = [new Listener(), new Listener()]
    const app = connectionTo(server.client())
    let isStuck = false
    // What was asked for by our own connection is never answered any more.
    const connection: AppConnection = {
      ...app,
      duplicate: () => by(app.duplicate(), async (_command, send) => isStuck ? await new Promise(() => {}) : await send())
    }
    const keys = keysOf('x')
    const links = [connection, app].map((connection, i) => new RedisLink({ connection, keys, member: i === 0 ? member : other, staleAfter: 2000, onOutage: 'close' }))
    t.teardown(async () => { await Promise.all(links.map(async (link) => await link.leave())) })
    await Promise.all(links.map(async ({ ready }) => await ready))
    await links[1]?.publish(disconnect('before'))
    isStuck = true
    // What was asked before is answered still.
    await new Promise((resolve) => setTimeout(resolve, 1500))
    void links[1]?.publish(revoke('a'))
    await until(() => member.values.includes('a'), 'it is applied', TIMEOUT)
    t.same(member.values, ['before', 'a'])
    t.equal(member.outages, 0)
    t.equal(links[0]?.isCurrent, true)
    t.same(member.told.filter((message) => message.startsWith('Redis has not answered')), [])
  })

  t.test('all connections are closed if the question fails and the log could not be read', async (t) => {
    const { member, link, probe } = await hold(t)
    probe.fail(new Error('the connection is lost'))
    await until(() => member.outages === 1, 'it is an outage')
    t.equal(link.isCurrent, false)
    t.same(member.told, ['Redis has not answered for 3000 ms: handshakes are refused and connections are closed'])
  })
})

t.test('an instance that leaves is not waited for, and a living one is, also if Redis cannot say which instances live', async (t) => {
  const questions = new PendingAnswers()
  const question = questions.begin('uid')
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  let asked = 0
  const readLiving = async (): Promise<string[]> => {
    if (++asked === 1) throw new Error('Redis is away')
    return ['slow', 'silent']
  }
  const answers = question.answers(['quick', 'gone', 'slow', 'silent'], performance.now() + 10_000, readLiving)
  question.take('quick', 1)
  await until(() => asked === 3, 'it has looked again')
  question.take('slow', 2)
  t.same(await answers, [
    { id: 'quick', answered: true, closed: 1 }, { id: 'slow', answered: true, closed: 2 }, { id: 'silent', answered: false, closed: null }
  ])
  const last = questions.begin('another')
  const startedAt = performance.now()
  const left = last.answers(['gone'], startedAt + TIMEOUT, async () => [])
  t.same(await left, [], 'it was the last to answer')
  t.ok(performance.now() - startedAt < TIMEOUT)
})

t.test('revocations beyond those that can be kept for later are logged, and none that is kept is forgotten', { skip }, async (t) => {
  const server = await startRedis(t)
  const client = server.client({ enableOfflineQueue: false, maxRetriesPerRequest: 0 })
  await until(() => client.status === 'ready', 'it is connected')
  const told: string[] = []
  const tell = (_what: unknown, message?: string): void => { told.push(message ?? String(_what)) }
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: tell as never }
  const link = redisBackplane({ client }).join({ id: 'one', log, apply: () => 0, revocations: () => [], onOutage: () => {} })
  t.teardown(async () => await link.leave())
  await link.ready
  await server.stop()
  await until(() => client.status !== 'ready', 'it has noticed')
  const count = 10_001
  const untilAt = Date.now() + 3_600_000
  const outcomes = await Promise.allSettled(Array.from({ length: count }, (_, i) =>
    link.publish({ type: 'revoke', kind: 'jti', value: `token ${i}`, issuedBy: null, untilAt })))
  t.ok(outcomes.every(({ status }) => status === 'rejected'))
  const full = 'too many revocations are missing in the log in Redis: another one is not written again if it gets lost'
  t.equal(told.filter((message) => message === full).length, 1)
  await server.start()
  const observer = server.client()
  for (let i = 0; i < 600 && await observer.zcard('{fastify-ws-auth}:revoked') < count - 1; i++) await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(await observer.zcard('{fastify-ws-auth}:revoked'), count - 1)
})
