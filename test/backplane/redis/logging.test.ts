/*
 * What becomes of an instance whose own surroundings fail: its logger, its client, the settings of its Redis.
 */
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { once } from 'node:events'
import type { Redis } from 'ioredis'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { sign, start, until } from '../../helpers/app'
import type { StartedApp } from '../../helpers/app'
import { openClient, reasonToSkip, startRedis } from '../../helpers/redis'

const settings = { skip: reasonToSkip() }

interface Line { level: number, msg: string, err?: { message: string } }

function linesOf ({ log }: Pick<StartedApp, 'log'>): Line[] {
  return log.map((line) => JSON.parse(line) as Line)
}

async function startChat (t: Test, client: Redis, staleAfter = 500): Promise<StartedApp> {
  return await start(t, {
    plugin: { backplane: redisBackplane({ client, staleAfter }) },
    routes: (app) => { app.get('/chat', { websocket: true }, () => {}) }
  })
}

t.test('an outage closes connections also where the logger throws', settings, async (t) => {
  const redis = await startRedis(t)
  const { app, port } = await startChat(t, redis.client())
  const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`, ['bearer', sign()])
  await once(socket, 'open')
  app.log.error = () => { throw new Error('the disk is full') }
  redis.pause()
  const [code, reason] = await once(socket, 'close')
  t.equal(`${code} ${reason}`, '4503 auth_unavailable')
  redis.resume()
})

t.test('a client that cannot be duplicated is asked again', settings, async (t) => {
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

t.test('the log says why a Redis cannot be reached', settings, async (t) => {
  const redis = await startRedis(t, { settings: ['--requirepass', 'right'] })
  for (const [options, why] of [
    [{ path: redis.path, password: 'wrong' }, 'WRONGPASS'],
    [{ path: `${redis.path}-elsewhere` }, 'ENOENT'],
    [{ host: '127.0.0.1', port: 1 }, 'ECONNREFUSED']
  ] as const) {
    const started = await startChat(t, openClient(t, options))
    const failure = linesOf(started).find(({ msg }) => msg === 'cannot follow the log in Redis: trying again')
    t.match(failure?.err?.message, why)
    t.notOk(started.log.join('').includes('"wrong"'), 'it does not tell the password')
    await started.app.close()
  }
})

t.test('a Redis that is full is rid of what is over', settings, async (t) => {
  const redis = await startRedis(t, { settings: ['--maxmemory-policy', 'noeviction'] })
  const client = redis.client()
  await startChat(t, client, 5000)
  await client.zadd('{fastify-ws-auth}:revoked', '1', 'jti:over', String(Date.now() + 60_000), 'jti:in force')
  await client.config('SET', 'maxmemory', '1kb')
  await t.rejects(client.set('something', 'else'), { message: /OOM/ })
  // The set is looked at directly: it is a question of memory alone.
  const left = async (): Promise<string> => (await client.zrange('{fastify-ws-auth}:revoked', '0', '-1')).join()
  for (let i = 0; i < 100 && await left() !== 'jti:in force'; i++) await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(await left(), 'jti:in force')
})

t.test('nonsense among the revocations is told of once for each time that they are read, however much there is', settings, async (t) => {
  const redis = await startRedis(t)
  const client = redis.client()
  for (let i = 0; i < 50; i++) await client.zadd('{fastify-ws-auth}:revoked', String(Date.now() + 60_000), `nonsense ${i}`)
  const told = linesOf(await startChat(t, client, 5000)).filter(({ msg }) => msg.startsWith('a revocation in Redis was not written by fastify-ws-auth'))
  t.equal(told.length, 1)
})

t.test('errors of Redis are logged without what it was told', settings, async (t) => {
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
