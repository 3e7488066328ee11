/*
 * Security events at two instances that share a Redis, and while it does not answer.
 */
import t from 'tap'
import { redisBackplane } from '../../lib/backplane/redis/index'
import { isClosed, refusalOf } from '../helpers/logout-chat'
import { reasonToSkip, startRedis } from '../helpers/redis'
import type { ChatApp } from '../helpers/renewal-app'
import { accessToken, eventToken, linesIn, REVOKED, send, startReceiver } from '../helpers/signals-chat'

t.test('an event at one instance closes the connections at another, and its jti counts once at both', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const startOne = async (): Promise<ChatApp> => await startReceiver(t, { plugin: { backplane: redisBackplane({ client: redis.client() }) } })
  const [one, another] = [await startOne(), await startOne()]
  const chat = await another.connect(await accessToken())
  const token = await eventToken()
  t.equal(await send(one.port, token), '202')
  t.same(await isClosed(chat), REVOKED)
  t.equal(await send(another.port, token), '202')
  t.equal(linesIn(another.log, 'security event was received before').length, 1)
  const answers = await Promise.all(Array.from({ length: 30 }, async (_, i) => await send(i % 2 === 0 ? one.port : another.port, await eventToken({ jti: 'same' }))))
  t.same(new Set(answers), new Set(['202']))
})

t.test('an event is in force on its own instance, is not acknowledged while Redis does not answer, and can be sent again', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const startOne = async (): Promise<ChatApp> => await startReceiver(t, { plugin: { backplane: redisBackplane({ client: redis.client() }) } })
  const [one, another] = [await startOne(), await startOne()]
  const chats = [await one.connect(await accessToken()), await another.connect(await accessToken())] as const
  const token = await eventToken()
  redis.pause()
  t.equal(await send(one.port, token), '503')
  t.same(await isClosed(chats[0]), REVOKED)
  redis.resume()
  t.equal(await send(one.port, token), '202')
  t.same(await isClosed(chats[1]), REVOKED)
  t.equal(await refusalOf(another.port, await accessToken()), 'WS_AUTH_TOKEN_REVOKED')
})
