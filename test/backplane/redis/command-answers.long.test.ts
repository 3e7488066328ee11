/*
 * The answers to a command that the instances give each other by Redis: early, poisoned, missing, or by an instance that leaves.
 */
import t from 'tap'
import type { AppConnection } from '../../../lib/backplane/redis/client/connection'
import { keysOf } from '../../../lib/backplane/redis/keys'
import { RedisLink } from '../../../lib/backplane/redis/link'
import { PendingAnswers } from '../../../lib/backplane/redis/pending-answers'
import { until, within } from '../../helpers/app'
import { connectAll, LOG, REVOKED, startMember } from '../../helpers/cluster-of-apps'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import { connectionTo } from '../../helpers/redis-connection'
import { Gate, Listener, TIMEOUT, by, disconnect } from '../../helpers/redis-parts'

const skip = reasonToSkip()

t.test('an app that is closed tells the others nothing more, and rejects commands at once', { skip }, async (t) => {
  const server = await startRedis(t)
  const [gone, stays] = [await startMember(t, server), await startMember(t, server)]
  const [visitor] = await connectAll([stays], { sub: 'ann', jti: 'hers' })
  await stays.app.wsAuth.revoke({ jti: 'before' })
  await gone.app.close()
  await within(4000, 'no answer is waited for', t.rejects(gone.app.wsAuth.revoke({ jti: 'hers' }), { code: 'WS_AUTH_UNAVAILABLE', cause: { message: 'the backplane is closed: this instance has already left' } }))
  await within(4000, 'no answer is waited for', t.rejects(gone.app.wsAuth.disconnect({ sub: 'ann' }), { code: 'WS_AUTH_UNAVAILABLE' }))
  const client = server.client()
  t.equal(await client.xlen(LOG), 1)
  t.same(await client.zrange(REVOKED, '0', '-1'), ['jti:before'])
  t.equal(await visitor?.isHeard(), true)
})

/** What somebody may have written in place of how many connections were closed. */
const POISONED_ANSWERS: Array<string | undefined> = [
  undefined, '', '{', 'null', '5', '"uid"', '[]', '[1,2]', '{"uid":-1}', '{"uid":1.5}', '{"uid":"1"}', '{"uid":null}', '{"uid":1e300}', '{"uid":{}}',
  '{"another":1}', '{"__proto__":{"uid":1}}', '{"uid":true}'
]

t.test('malformed answers are passed over, and the question stays open', async (t) => {
  const questions = new PendingAnswers()
  const question = questions.begin('uid')
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  let isSettled = false
  const answers = question.answers(['other'], performance.now() + TIMEOUT, async () => ['other'])
  void answers.then(() => { isSettled = true })
  for (const closed of POISONED_ANSWERS) {
    questions.take([{ id: '1-0', fields: new Map([['from', 'other'], ...(closed === undefined ? [] : [['closed', closed] as const])]) }])
    await new Promise((resolve) => setImmediate(resolve))
    t.equal(isSettled, false, String(closed))
  }
  questions.take([{ id: '1-0', fields: new Map([['closed', '{"uid":7}']]) }, { id: '1-1', fields: new Map([['from', 'a stranger'], ['closed', '{"uid":7}']]) }])
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(isSettled, false, 'of no sender, or of an instance that was not asked')
  questions.take([{ id: '1-2', fields: new Map([['from', 'other'], ['closed', '{"another":1,"uid":3}']]) }])
  t.same(await answers, [{ id: 'other', answered: true, closed: 3 }])
})

t.test('a command is answered, although nonsense stands among the answers', { skip }, async (t) => {
  const server = await startRedis(t)
  const [one, other] = [await startMember(t, server), await startMember(t, server)]
  await connectAll([one, other], { sub: 'ann' })
  await one.app.wsAuth.disconnect({ sub: 'nobody' })
  const client = server.client()
  const [inbox] = await client.keys('{fastify-ws-auth}:inbox:*')
  const asked = one.app.wsAuth.disconnect({ sub: 'ann' })
  for (const closed of POISONED_ANSWERS) await client.xadd(inbox as string, '*', 'from', 'x', ...(closed === undefined ? ['a', 'b'] : ['closed', closed]))
  t.match(await asked, { closed: 2, instances: [{ answered: true, closed: 1 }, { answered: true, closed: 1 }] })
  t.match(await other.app.wsAuth.disconnect({ sub: 'nobody' }), { closed: 0, instances: [{ answered: true }, { answered: true }] })
  t.same(one.told(), [])
})

t.test('an answer counts, although it comes before Redis has confirmed the question', { skip }, async (t) => {
  const server = await startRedis(t)
  const [one, other] = [new Listener(), new Listener()]
  const app = connectionTo(server.client())
  const inbox: string[] = []
  const gate = new Gate()
  const slow: AppConnection = {
    ...app,
    transact: async (commands) => {
      const replies = await app.transact(commands)
      if (commands.some(([name]) => name === 'XADD')) await gate.pass()
      return replies
    },
    duplicate: () => by(app.duplicate(), async ([name], send) => {
      const reply = await send()
      if (name === 'XREAD') inbox.push(JSON.stringify(reply))
      return reply
    })
  }
  const keys = keysOf('x')
  const links = [slow, app].map((connection, i) => new RedisLink({ connection, keys, member: i === 0 ? one : other, staleAfter: 30_000, onOutage: 'close' }))
  t.teardown(async () => { await Promise.all(links.map(async (link) => await link.leave())) })
  await Promise.all(links.map(async ({ ready }) => await ready))
  const publishing = links[0]?.publish(disconnect('a'))
  await until(() => inbox.some((reply) => reply.includes('closed')), 'the answer is here')
  gate.open()
  t.same(await within(4000, 'it is not waited for', publishing as Promise<unknown>), [{ id: other.id, answered: true, closed: 1 }])
})

t.test('an instance that leaves while its command is on the way to Redis reports no answer', { skip }, async (t) => {
  const server = await startRedis(t)
  const [one, other] = [new Listener(), new Listener()]
  const app = connectionTo(server.client())
  const gate = new Gate()
  const slow: AppConnection = {
    ...app,
    transact: async (commands) => {
      if (commands.some(([name]) => name === 'XADD')) await gate.pass()
      return await app.transact(commands)
    }
  }
  const keys = keysOf('x')
  const links = [slow, app].map((connection, i) => new RedisLink({ connection, keys, member: i === 0 ? one : other, staleAfter: 30_000, onOutage: 'close' }))
  t.teardown(async () => { await Promise.all(links.map(async (link) => await link.leave())) })
  await Promise.all(links.map(async ({ ready }) => await ready))
  const publishing = links[0]?.publish(disconnect('a')) as Promise<unknown>
  await until(() => gate.isReached, 'it is on the way')
  await links[0]?.leave()
  gate.open()
  t.same(await within(TIMEOUT, 'it settles', publishing), [{ id: other.id, answered: false, closed: null }])
  await until(() => other.values.includes('a'), 'it has arrived all the same')
})
