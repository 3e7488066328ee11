/*
 * Tickets of several instances, by a real Redis: it holds no ticket, and each ticket is spent, revoked and found on all instances.
 */
import t from 'tap'
import fastifyWsAuth from '../../../lib/index'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { upgrade } from '../../helpers/raw-client'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import { ANN, BEARER, dryRun, handshake, keyOf, startInstance, startInstances, ticketOf } from '../../helpers/ticket-instances'
import type { Chat } from '../../helpers/ticket-instances'

t.test('Redis holds no ticket but its hash, and not for longer than its ttl', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const client = redis.client()
  const [one, two] = await startInstances(t, redis, { tickets: { ttl: 60_000 } })
  const response = await one.app.inject({ method: 'POST', url: '/ws-ticket', headers: BEARER })
  const { ticket } = response.json<{ ticket: string }>()
  const key = keyOf(ticket)
  const left = await client.pttl(key)
  t.ok(left > 0 && left <= 60_000, `kept for ${left} ms`)
  const value = await client.get(key)
  t.match(JSON.parse(String(value)), { claims: ANN })
  const keys = await client.keys('*')
  t.ok(keys.includes(key))
  const dumps = await Promise.all(keys.map(async (each) => await client.dumpBuffer(each)))
  const all = Buffer.concat(dumps).toString('latin1') + keys.join()
  t.ok(all.includes('ann'), 'there is something to look at')
  for (const writing of [ticket, Buffer.from(ticket, 'base64url').toString('latin1'), Buffer.from(ticket, 'base64url').toString('hex')]) t.notOk(all.includes(writing))
  const hash = key.slice(-43)
  t.equal(await handshake(t, two, `/chat?ticket=${hash}`), '401 WS_AUTH_TICKET_INVALID', 'a reader of Redis has no ticket')
  t.equal(await handshake(t, two, `/chat?ticket=${ticket}`), '101')
  t.equal(await client.exists(key), 0, 'nothing is left of one that was spent')
})

t.test('a dry run on another instance does not spend a ticket', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const [one, two, three] = await startInstances(t, redis)
  const path = `/chat?ticket=${await ticketOf(one)}`
  const answers = await Promise.all(Array.from({ length: 20 }, async (_, i) => await dryRun((i % 2 === 0 ? two : three).app, path)))
  t.ok(answers.every((answer) => answer === '426'))
  const [accepted, ...beside] = await Promise.all([handshake(t, two, path), ...Array.from({ length: 20 }, async () => await dryRun(three.app, path))])
  t.equal(accepted, '101')
  t.ok(beside.every((answer) => answer === '426' || answer === '401 WS_AUTH_TICKET_INVALID'))
  t.equal(await dryRun(one.app, path), '401 WS_AUTH_TICKET_INVALID')
})

t.test('a revocation on one instance revokes a token behind a ticket on another', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const [one, two, three] = await startInstances(t, redis)
  for (const [match, claims] of [[{ jti: 'a' }, { jti: 'a', sub: 'x' }], [{ sid: 'b' }, { sid: 'b' }], [{ sub: 'c' }, { sub: 'c' }]] as Array<[fastifyWsAuth.RevokeMatch, object]>) {
    const [open, late] = [await ticketOf(one, claims), await ticketOf(one, claims)]
    const client = await upgrade(t, two.port, { path: `/chat?ticket=${open}` })
    t.equal(client.answer.status, 101)
    t.match(await three.app.wsAuth.revoke(match), { closed: 1 })
    const { opcode, payload } = await client.frame()
    t.equal(`${opcode} ${payload.readUInt16BE(0)} ${payload.subarray(2)}`, '8 3000 token_revoked')
    t.equal(await handshake(t, two, `/chat?ticket=${late}`), '401 WS_AUTH_TOKEN_REVOKED')
  }
})

t.test('apps with different prefixes have different tickets', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const [mine, other] = await Promise.all(['mine', 'other'].map(async (prefix) => {
    return await startInstance(t, redis, { backplane: redisBackplane({ client: redis.client(), prefix }) })
  })) as [Chat, Chat]
  const ticket = await ticketOf(mine)
  t.equal(await redis.client().exists(keyOf(ticket, 'mine')), 1)
  t.equal(await handshake(t, other, `/chat?ticket=${ticket}`), '401 WS_AUTH_TICKET_INVALID')
  t.equal(await handshake(t, mine, `/chat?ticket=${ticket}`), '101')
})
