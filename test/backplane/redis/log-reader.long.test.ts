/*
 * The log in Redis is read and written across gaps, losses and races. Where the order of events decides, a connection to a real
 * Redis is held up on its way.
 */
import t from 'tap'
import type { Command } from '../../../lib/backplane/contract'
import { createId } from '../../../lib/base/id'
import type { RedisConnection } from '../../../lib/backplane/redis/client/connection'
import { fieldsOf } from '../../../lib/backplane/redis/log/entry'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import { keysOf } from '../../../lib/backplane/redis/keys'
import type { Keys } from '../../../lib/backplane/redis/keys'
import { LogReader } from '../../../lib/backplane/redis/log/reader'
import { LogWriter } from '../../../lib/backplane/redis/log/writer'
import { Presence } from '../../../lib/backplane/redis/presence'
import { addCommand } from '../../../lib/backplane/redis/log/revoked-set'
import { until } from '../../helpers/app'
import { LOG, startMember } from '../../helpers/cluster-of-apps'
import { LOST, TRIMMED, WRITTEN_BACK } from '../../helpers/faults'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import { connectionTo } from '../../helpers/redis-connection'
import { Gate, Listener, TIMEOUT, by, disconnect, revoke } from '../../helpers/redis-parts'

const skip = reasonToSkip()

/** A reader of a log of its own. */
class Reading {
  readonly member = new Listener()
  readonly keys: Keys = keysOf(createId())
  readonly reader: LogReader
  losses = 0

  constructor () {
    const { keys, member } = this
    this.reader = new LogReader({
      keys,
      member,
      writer: new LogWriter(keys, new Presence(keys, member.id)),
      onCommands: (commands) => { for (const { command } of commands) if (command !== null) member.apply(command) },
      onOwn: () => {},
      onAnswers: () => {},
      onLost: () => { this.losses++ }
    })
  }
}

/** What another instance has written. */
function entryOf (command: Command, uid = createId()): string[] {
  return fieldsOf({ uid, from: 'another', command })
}

t.test('an instance that starts late knows revocations by sub in each part of a second', { skip }, async (t) => {
  const server = await startRedis(t)
  const member = await startMember(t, server)
  const iat = Math.floor(Date.now() / 1000) - 60
  for (const part of [0, 1, 500, 999]) await member.app.wsAuth.revoke({ sub: `ann ${part}`, beforeAt: iat * 1000 + part })
  const late = await startMember(t, server)
  for (const part of [0, 1, 500, 999]) {
    t.equal(await late.statusOf({ sub: `ann ${part}`, iat }), 401, `${part} ms`)
    t.equal(await late.statusOf({ sub: `ann ${part}`, iat: iat + 1 }), 101, 'a token of the next second is good')
  }
  t.same(late.told(), [])
})

t.test('each of the last 10,000 disconnects is done once, and earlier ones are forgotten', { skip }, async (t) => {
  const server = await startRedis(t)
  const member = new Listener()
  const link = redisBackplane({ client: server.client() }).join(member)
  t.teardown(async () => await link.leave())
  await link.ready
  const client = server.client()
  const write = async (numbers: readonly number[]): Promise<void> => {
    const pipeline = client.pipeline()
    for (const i of numbers) pipeline.xadd(LOG, '5-*', ...entryOf(disconnect(String(i)), `uid ${i}`))
    await pipeline.exec()
  }
  const all = Array.from({ length: 10_001 }, (_, i) => i)
  await write(all)
  await until(() => member.applied.length === all.length, 'all are applied', TIMEOUT)
  await write([1, 10_000, 5000, 0, 20_000])
  await until(() => member.values.includes('20000'), 'what comes then is applied', TIMEOUT)
  t.same(member.values.slice(all.length), ['0', '20000'], 'the oldest might come again, and no other')
})

t.test('a reader of the log vouches for what it has read, across gaps and races', { skip }, async (t) => {
  const server = await startRedis(t)
  const client = server.client()
  const connection = connectionTo(client)
  const write = async ({ log }: Keys, command: Command, id = '5-*'): Promise<void> => { await client.xadd(log, id, ...entryOf(command)) }

  t.test('a reader of the log by two connections at once takes no entry twice, and does not go back', async (t) => {
    const { reader, member, keys } = new Reading()
    await write(keys, disconnect('before'))
    await reader.begin(connection)
    for (const value of ['a', 'b', 'c']) await write(keys, disconnect(value))
    const gate = new Gate()
    const slow = by(connection, async (_command, send) => {
      const reply = await send()
      await gate.pass()
      return reply
    })
    const reading = reader.read(slow, 0)
    await until(() => gate.isReached, 'one has read it')
    await reader.read(connection, 0)
    t.same(member.values, ['a', 'b', 'c'])
    await write(keys, disconnect('d'))
    await reader.check(connection)
    gate.open()
    await reading
    await reader.check(connection)
    t.same(member.values, ['a', 'b', 'c', 'd'])
    t.same(member.told, [])
  })

  t.test('a reader of the log does not vouch for replies that were asked for before', async (t) => {
    const { reader, keys } = new Reading()
    await write(keys, disconnect('before'))
    await reader.begin(connection)
    const gate = new Gate()
    const slow = by(connection, async (_command, send) => {
      const reply = await send()
      await gate.pass()
      return reply
    })
    const askedAt = performance.now()
    const reading = reader.read(slow, 0)
    await until(() => gate.isReached && performance.now() > askedAt + 20, 'some time has passed')
    const late = performance.now()
    gate.open()
    await reading
    t.ok(reader.readAt >= askedAt && reader.readAt < late, 'what is written after the question is not in the answer')
  })

  t.test('a reader of the log that finds it trimmed to nothing reads the revocations, and goes on behind it', async (t) => {
    const reading = new Reading()
    const { reader, member, keys } = reading
    await write(keys, disconnect('before'))
    await reader.begin(connection)
    for (const value of ['a', 'b']) await write(keys, disconnect(value))
    await client.call(...addCommand(keys, [revoke('missed')]) as [string])
    await client.xtrim(keys.log, 'MAXLEN', 0)
    await reader.check(connection)
    t.same(member.values, ['missed'])
    t.same(member.told, [TRIMMED])
    await write(keys, disconnect('c'))
    await reader.read(connection, 0)
    await reader.check(connection)
    t.same(member.values, ['missed', 'c'], 'and no gap is seen again')
    t.same(member.told, [TRIMMED])
    t.equal(reading.losses, 0)
  })

  t.test('a reader that loses the log twice in a row logs it once, and makes up for both losses', async (t) => {
    const reading = new Reading()
    const { reader, member, keys } = reading
    await write(keys, disconnect('before'), '9-*')
    await reader.begin(connection)
    member.known.add(revoke('of mine'))
    const failing = by(connection, async ([name], send) => {
      if (name === 'ZSCAN') throw new Error('the connection is lost')
      return await send()
    })
    for (const epoch of ['7', '5']) {
      await client.del(keys.log)
      await write(keys, disconnect(`in epoch ${epoch}`), `${epoch}-*`)
      await t.rejects(reader.check(failing), { message: 'the connection is lost' })
      t.equal(reader.readAt < performance.now(), true)
    }
    t.same(member.told, [LOST])
    t.equal(reading.losses, 1)
    const before = performance.now()
    await reader.check(connection)
    t.ok(reader.readAt >= before, 'it vouches for what was read again')
    t.same(member.told, [LOST, WRITTEN_BACK])
    t.same(await client.zrange(keys.revoked, '0', '-1'), ['jti:of mine'])
    await reader.check(connection)
    t.same(member.told, [LOST, WRITTEN_BACK], 'and nothing is left to make up for')
  })

  t.test('a reader that cannot read the revocations after a gap vouches for nothing until it has', async (t) => {
    const { reader, member, keys } = new Reading()
    await write(keys, disconnect('before'))
    await reader.begin(connection)
    const vouchedUpTo = reader.readAt
    for (const value of ['a', 'b']) await write(keys, disconnect(value))
    await client.call(...addCommand(keys, [revoke('missed')]) as [string])
    await client.xtrim(keys.log, 'MAXLEN', 0)
    const gate = new Gate()
    const slow = by(connection, async ([name], send) => {
      if (name === 'ZSCAN') await gate.pass()
      return await send()
    })
    const checking = reader.check(slow)
    await until(() => gate.isReached, 'it asks for them')
    gate.fail(new Error('the connection is lost'))
    await t.rejects(checking, { message: 'the connection is lost' })
    t.equal(reader.readAt, vouchedUpTo)
    t.same(member.values, [])
    await reader.read(connection, 0)
    t.same(member.values, ['missed'])
    t.ok(reader.readAt > vouchedUpTo)
  })

  t.test('a reader of the log does not take revocations that it has read for those that it misses since', async (t) => {
    const { reader, member, keys } = new Reading()
    await write(keys, disconnect('before'))
    await reader.begin(connection)
    await write(keys, disconnect('a'))
    await client.xtrim(keys.log, 'MAXLEN', 0)
    const gate = new Gate()
    const slow = by(connection, async ([name], send) => {
      const reply = await send()
      if (name === 'ZSCAN') await gate.pass()
      return reply
    })
    const checking = reader.check(slow)
    await until(() => gate.isReached, 'it has read that there are none')
    // Another connection finds another gap, and fails in the middle.
    for (const value of ['b', 'c']) await write(keys, disconnect(value))
    await client.call(...addCommand(keys, [revoke('missed')]) as [string])
    await client.xtrim(keys.log, 'MAXLEN', 1)
    const failing = by(connection, async ([name], send) => {
      if (name === 'ZSCAN') throw new Error('the connection is lost')
      return await send()
    })
    await t.rejects(reader.check(failing), { message: 'the connection is lost' })
    gate.open()
    await checking
    t.same(member.values, ['c'], 'its own was read before')
    await reader.read(connection, 0)
    t.same(member.values, ['c', 'missed'])
  })
})

t.test('a writer whose log is replaced at each attempt fails after five attempts', { skip }, async (t) => {
  const server = await startRedis(t)
  const client = server.client()
  const connection = connectionTo(client)
  const keys = keysOf('x')
  const writer = new LogWriter(keys, new Presence(keys, 'one'))
  let attempts = 0
  // The log is gone whenever it was there, and there whenever it was gone.
  const unlucky: RedisConnection = {
    send: connection.send,
    transact: async (commands) => {
      attempts++
      if (commands[0]?.includes('NOMKSTREAM') === true) await client.del(keys.log)
      else await client.xadd(keys.log, '9-*', 'a', 'b')
      return await connection.transact(commands)
    }
  }
  await t.rejects(writer.append(unlucky, { uid: 'a', from: 'one', command: revoke('a') }), { message: 'cannot write to the log in Redis: it was replaced during each of 5 attempts' })
  t.equal(attempts, 5)
  t.same((await client.keys('{x}:log*')).filter((key) => key !== keys.log), [], 'nothing that was begun is left')
  await writer.append(connection, { uid: 'b', from: 'one', command: revoke('b') })
  t.same((await client.xrevrange(keys.log, '+', '-', 'COUNT', 1))[0]?.[1].slice(0, 2), ['uid', 'b'], 'it goes on')
})
