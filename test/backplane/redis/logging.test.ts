/*
 * An instance whose surroundings fail says why, once, and without secrets.
 */
import t from 'tap'
import { WebSocket } from 'ws'
import { once } from 'node:events'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { sign, start, until } from '../../helpers/app'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import { linesOf, startChat } from '../../helpers/redis-chat'

const settings = { skip: reasonToSkip() }

t.test('a client that cannot be duplicated yet is duplicated later', settings, async (t) => {
  const redis = await startRedis(t)
  const client = redis.client()
  const { duplicate } = client
  let failures = 0
  client.duplicate = ((...args: []) => {
    if (failures++ < 2) throw new Error('not yet')
    return duplicate.apply(client, args)
  }) as typeof duplicate
  const started = await startChat(t, client)
  await until(() => failures > 2, 'it was asked again')
  t.equal((await started.app.wsAuth.revoke({ jti: 'a' })).closed, 0)
  t.ok(linesOf(started).some(({ err, msg }) => err?.message === 'not yet' && msg === 'cannot follow the log in Redis: trying again'))
})

t.test('nonsense among the revocations is logged once for each reading, however much there is', settings, async (t) => {
  const redis = await startRedis(t)
  const client = redis.client()
  for (let i = 0; i < 50; i++) await client.zadd('{fastify-ws-auth}:revoked', String(Date.now() + 60_000), `nonsense ${i}`)
  const told = linesOf(await startChat(t, client, 5000)).filter(({ msg }) => msg.startsWith('a revocation in Redis was not written by fastify-ws-auth'))
  t.equal(told.length, 1)
})

t.test('errors of Redis are logged without the values of the commands', settings, async (t) => {
  const redis = await startRedis(t, { settings: ['--maxmemory-policy', 'noeviction', '--rename-command', 'GETDEL', ''] })
  for (const client of [redis.client(), await redis.nodeClient()]) {
    const started = await start(t, {
      plugin: { tickets: true, backplane: redisBackplane({ client }) },
      routes: (app) => { app.get('/chat', { websocket: true }, () => {}) }
    })
    const { app, port } = started
    const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann', secret: 'a claim' })
    const refused = new WebSocket(`ws://127.0.0.1:${port}/chat?ticket=${ticket}`)
    const [error] = await once(refused, 'error')
    t.match(error, { message: 'Unexpected server response: 503' })
    await redis.client().config('SET', 'maxmemory', '1kb')
    const headers = { authorization: `Bearer ${sign({ sub: 'ann', secret: 'a claim' })}` }
    t.equal((await app.inject({ method: 'POST', url: '/ws-ticket', headers })).statusCode, 503)
    await redis.client().config('SET', 'maxmemory', '0')
    const log = started.log.join('')
    t.match(log, /unknown command/i)
    t.match(log, /OOM command not allowed/)
    t.notOk(log.includes('a claim'))
    t.notOk(log.includes('value:ticket:'))
    await app.close()
  }
})
