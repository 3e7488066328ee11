/*
 * Back-channel logout at two instances that share a Redis.
 */
import t from 'tap'
import { redisBackplane } from '../../lib/backplane/redis/index'
import { accessToken, INVALID, isClosed, LOGGED_OUT, logOut, logoutToken, REVOKED, startClient, TRY_AGAIN } from '../helpers/logout-chat'
import { reasonToSkip, startRedis } from '../helpers/redis'
import type { ChatApp } from '../helpers/renewal-app'

t.test('exactly one of 50 logouts at once with one jti is answered with 200, with Redis', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const startOne = async (): Promise<ChatApp> => await startClient(t, { plugin: { backplane: redisBackplane({ client: redis.client() }) } })
  const [one, another] = [await startOne(), await startOne()]
  const chat = await another.connect(accessToken())
  const token = logoutToken()
  const answers = await Promise.all(Array.from({ length: 50 }, async (_, i) => await logOut(i % 2 === 0 ? one.port : another.port, token)))
  t.same(answers.map(({ status }) => status).sort(), [200, ...Array.from({ length: 49 }, () => 400)])
  t.same(await isClosed(chat), REVOKED)
  t.same(await logOut(another.port, token), INVALID)
})

t.test('a logout takes effect on its own instance and can be tried again if Redis does not answer', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const startOne = async (): Promise<ChatApp> => await startClient(t, { plugin: { backplane: redisBackplane({ client: redis.client() }) } })
  const [one, another] = [await startOne(), await startOne()]
  const chats = [await one.connect(accessToken()), await another.connect(accessToken())] as const
  const token = logoutToken()
  redis.pause()
  t.same(await logOut(one.port, token), TRY_AGAIN)
  t.same(await isClosed(chats[0]), REVOKED)
  redis.resume()
  t.same(await logOut(one.port, token), LOGGED_OUT)
  t.same(await isClosed(chats[1]), REVOKED)
  t.same(await logOut(another.port, token), INVALID)
})
