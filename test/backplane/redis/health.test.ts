/*
 * The gauges of a link to Redis: how old the log is, how many instances live, and what failed last.
 */
import t from 'tap'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { LastError } from '../../../lib/backplane/redis/last-error'
import { until } from '../../helpers/app'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import { startChat } from '../../helpers/redis-chat'
import { Member } from '../../helpers/redis-connection'

t.test('the gauges follow a Redis', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const link = redisBackplane({ client: server.client(), staleAfter: 400 }).join(new Member())
  t.teardown(async () => await link.leave())
  t.equal(link.health?.age, null, 'nothing was read yet')
  await link.ready
  const age = (): number => link.health?.age ?? -1

  t.test('the age is small while Redis answers, and the number of instances is known', async (t) => {
    await until(() => link.health?.instances === 1, 'the first beat')
    t.equal(link.health?.lastError, null)
    t.ok(age() >= 0 && age() < 2000, `${age()} ms`)
  })

  t.test('an instance that joins counts itself and the others', async (t) => {
    const other = await startChat(t, server.client())
    const { isCurrent, instances, revocations } = other.app.wsAuth.stats().backplane
    t.strictSame({ isCurrent, instances, revocations }, { isCurrent: true, instances: 2, revocations: 0 })
    await other.app.wsAuth.revoke({ sub: 'ann' })
    t.equal(other.app.wsAuth.stats().backplane.revocations, 1)
  })

  t.test('the age grows in an outage, and the last error says what failed without the address', async (t) => {
    const chat = await startChat(t, server.client(), 400)
    const before = Date.now()
    await server.stop('SIGKILL')
    const gauges = () => chat.app.wsAuth.stats().backplane
    await until(() => !gauges().isCurrent, 'the outage')
    t.ok(Number(gauges().age) >= 400, `${gauges().age} ms`)
    await until(() => gauges().lastError !== null, 'an error')
    const { at, message } = gauges().lastError as { at: number, message: string }
    t.ok(at >= before && at <= Date.now())
    t.not(message, '')
    t.notMatch(message, /redis\.sock|\//)
    await server.start()
    await until(() => gauges().isCurrent && Number(gauges().age) < 400, 'the end of the outage')
    t.not(gauges().lastError, null, 'the last error stays')
  })
})

t.test('the message of the last error has no address, no password and no more than 200 characters', async (t) => {
  const messageOf = (error: unknown): string | undefined => {
    const last = new LastError()
    last.note(error)
    return last.value?.message
  }
  t.equal(messageOf(new Error('NOAUTH Authentication required.')), 'NOAUTH Authentication required.')
  t.equal(messageOf(Object.assign(new Error('connect ECONNREFUSED 10.0.0.7:6379'), { code: 'ECONNREFUSED' })), 'ECONNREFUSED')
  t.equal(messageOf(Object.assign(new Error('getaddrinfo ENOTFOUND redis.internal'), { code: 'ENOTFOUND' })), 'ENOTFOUND')
  t.equal(messageOf(new Error('MOVED 3999 10.0.0.7:6381')), 'MOVED 3999 …')
  t.equal(messageOf(new Error('cannot reach rediss://user:pass@redis.internal/0 now')), 'cannot reach … now')
  t.equal(messageOf(new Error('x'.repeat(1000))), 'x'.repeat(200))
  t.equal(messageOf(new Error(`${'x'.repeat(190)} redis://user:pass@host/`)), `${'x'.repeat(190)} …`)
  t.equal(messageOf(null), 'an unknown error')
})

t.test('an error that is watched is kept, and thrown as it is', async (t) => {
  const last = new LastError()
  const error = new Error('no')
  const connection = last.watch({ send: async () => await Promise.reject(error), transact: async () => await Promise.reject(error) })
  await t.rejects(connection.send(['PING']), error)
  t.match(last.value, { message: 'no' })
  await t.rejects(connection.transact([['PING']]), error)
})
