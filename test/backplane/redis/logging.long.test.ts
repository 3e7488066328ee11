/*
 * An instance whose surroundings fail for long: its logger, the way to its Redis, the memory of its Redis.
 */
import t from 'tap'
import { WebSocket } from 'ws'
import { once } from 'node:events'
import { sign, until } from '../../helpers/app'
import { openClient, reasonToSkip, startRedis } from '../../helpers/redis'
import { linesOf, startChat } from '../../helpers/redis-chat'
import type { Line } from '../../helpers/redis-chat'

const settings = { skip: reasonToSkip() }

t.test('an outage closes connections also if the logger throws', settings, async (t) => {
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

t.test('the log says why a Redis cannot be reached', settings, async (t) => {
  const redis = await startRedis(t, { settings: ['--requirepass', 'right'] })
  for (const [options, why] of [
    [{ path: redis.path, password: 'wrong' }, 'WRONGPASS'],
    [{ path: `${redis.path}-elsewhere` }, 'ENOENT'],
    [{ host: '127.0.0.1', port: 1 }, 'ECONNREFUSED']
  ] as const) {
    const started = await startChat(t, openClient(t, options))
    const find = (): Line | undefined => linesOf(started).find(({ msg }) => msg === 'cannot follow the log in Redis: trying again')
    await until(() => find() !== undefined, 'the line')
    const failure = find()
    t.match(failure?.err?.message, why)
    t.notOk(started.log.join('').includes('"wrong"'), 'it does not tell the password')
    await started.app.close()
  }
})

t.test('revocations that are over are removed from a full Redis', settings, async (t) => {
  const redis = await startRedis(t, { settings: ['--maxmemory-policy', 'noeviction'] })
  const client = redis.client()
  await startChat(t, client, 5000)
  await client.zadd('{fastify-ws-auth}:revoked', '1', 'jti:over', String(Date.now() + 60_000), 'jti:in force')
  await client.config('SET', 'maxmemory', '1kb')
  await t.rejects(client.set('something', 'else'), { message: /OOM/ })
  // The set is looked at directly: it is a question of memory alone.
  const left = async (): Promise<string> => (await client.zrange('{fastify-ws-auth}:revoked', '0', '-1')).join()
  for (let i = 0; i < 600 && await left() !== 'jti:in force'; i++) await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(await left(), 'jti:in force')
})
