/*
 * Rare things between an instance and Redis: each has happened to somebody. Where it depends on what comes first, a connection
 * to a real Redis is held up on its way.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import t from 'tap'
import type { Test } from 'tap'
import type { BackplaneMember, Command, RevokeCommand } from '../../../lib/backplane/contract'
import { createId } from '../../../lib/base/id'
import { connectionOf } from '../../../lib/backplane/redis/client/detect'
import type { AppConnection, OwnConnection, RedisConnection } from '../../../lib/backplane/redis/client/connection'
import { fieldsOf } from '../../../lib/backplane/redis/log/entry'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../../lib/backplane/redis/index'
import { keysOf } from '../../../lib/backplane/redis/keys'
import type { Keys } from '../../../lib/backplane/redis/keys'
import { RedisLink } from '../../../lib/backplane/redis/link'
import { LogReader } from '../../../lib/backplane/redis/log/reader'
import { LogWriter } from '../../../lib/backplane/redis/log/writer'
import { Presence } from '../../../lib/backplane/redis/presence'
import { PendingAnswers } from '../../../lib/backplane/redis/pending-answers'
import { addCommand } from '../../../lib/backplane/redis/log/revoked-set'
import { checkServer } from '../../../lib/backplane/redis/server-check'
import { RevocationList } from '../../../lib/backplane/revocation-list'
import { until, within } from '../../helpers/app'
import { connectAll, LOG, REVOKED, startMember } from '../../helpers/cluster-of-apps'
import { LOST, TRIMMED, WRITTEN_BACK } from '../../helpers/faults'
import { openClient, reasonToSkip, startProxy, startRedis } from '../../helpers/redis'

const TIMEOUT = 20_000
const skip = reasonToSkip()

t.jobs = 4

function connectionTo (client: unknown): AppConnection {
  const connection = connectionOf(client)
  if (connection === null) throw new Error('it is no client')
  return connection
}

/** What is done with a command instead of sending it. */
type Way = (command: readonly string[], send: () => Promise<unknown>) => Promise<unknown>

function by<C extends RedisConnection> (connection: C, way: Way): C {
  return { ...connection, send: async (command: readonly string[]) => await way(command, async () => await connection.send(command)) }
}

/** A gate that is shut until it is opened. */
class Gate {
  isReached = false
  open: () => void = () => {}
  fail: (error: Error) => void = () => {}
  readonly #opened = new Promise<void>((resolve, reject) => {
    this.open = resolve
    this.fail = reject
  })

  constructor () {
    this.#opened.catch(() => {})
  }

  async pass (): Promise<void> {
    this.isReached = true
    await this.#opened
  }
}

/** An instance that writes down what it is told, and what it says. */
class Listener implements BackplaneMember {
  readonly id = createId()
  readonly known = new RevocationList()
  readonly applied: Command[] = []
  readonly told: string[] = []
  readonly log = Fastify({ logger: { level: 'info', stream: { write: (line: string) => { this.told.push((JSON.parse(line) as { msg: string }).msg) } } } }).log
  outages = 0

  apply (command: Command): number {
    this.applied.push(command)
    if (command.type === 'revoke') this.known.add(command)
    return 1
  }

  revocations (): Iterable<RevokeCommand> { return this.known }
  onOutage (): void { this.outages++ }

  get values (): string[] { return this.applied.map(({ value }) => value) }
}

const revoke = (value: string): RevokeCommand => ({ type: 'revoke', kind: 'jti', value, issuedBy: null, untilAt: 4e12 })
const disconnect = (value: string): Command => ({ type: 'disconnect', kind: 'sub', value, code: null, reason: null })

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

t.test('the settings of Redis', { skip }, async (t) => {
  const memoryWarning = (policy: string): string => `the maxmemory-policy of Redis is ${policy}, which may evict revocations: set it to noeviction`

  for (const policy of ['allkeys-lru', 'allkeys-random', 'volatile-lru', 'volatile-ttl', 'noeviction']) {
    t.test(`an app on one whose maxmemory-policy is ${policy} is ${policy.startsWith('allkeys') ? '' : 'not '}warned`, async (t) => {
      const server = await startRedis(t, { settings: ['--maxmemory', '100mb', '--maxmemory-policy', policy] })
      const member = await startMember(t, server)
      await connectAll([member], { sub: 'ann' })
      t.same(member.told(), policy.startsWith('allkeys') ? [memoryWarning(policy)] : [])
    })
  }

  t.test('are asked for once, and not again after each loss of the connection', async (t) => {
    const server = await startRedis(t, { settings: ['--maxmemory-policy', 'allkeys-lru'] })
    const member = new Listener()
    const link = redisBackplane({ client: server.client() }).join(member)
    t.teardown(async () => await link.leave())
    await link.ready
    for (let i = 0; i < 2; i++) {
      await server.client().call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'no').catch(() => {})
      await until(() => member.told.filter((message) => message === 'the log in Redis is followed again').length === i + 1, 'it is followed again', TIMEOUT)
    }
    t.equal(member.told.filter((message) => message === memoryWarning('allkeys-lru')).length, 1)
  })

  t.test('that may not be asked for are no reason to let nobody in', async (t) => {
    const server = await startRedis(t, { settings: ['--maxmemory-policy', 'allkeys-lru'] })
    await server.client().call('ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '&*', '+@all', '-info')
    await t.rejects(server.client({ username: 'app', password: 'secret' }).info(), /NOPERM/)
    const member = await startMember(t, server, { client: server.client({ username: 'app', password: 'secret' }) })
    await connectAll([member], { sub: 'ann' })
    t.same(member.told(), [])
  })

  t.test('are those of a version that is too old, or new enough', async (t) => {
    const toldOf = async (info: unknown): Promise<string[]> => {
      const { log, told } = new Listener()
      await checkServer({ send: async () => info, transact: async () => [] }, log)
      return told
    }
    const infoOf = (version: string): string => `# Server\r\nredis_version:${version}\r\nredis_git_sha1:00000000\r\nvalkey_version:1.0.0\r\nmaxmemory_policy:noeviction\r\n`
    for (const version of ['2.8.24', '5.0.14', '6.0.16', '6.2.18']) {
      const major = version.split('.', 1)[0] as string
      t.same(await toldOf(infoOf(version)), [`Redis ${major} is too old: fastify-ws-auth/redis needs version 7 or later`], version)
    }
    for (const version of ['7.0.0', '7.2.4', '8.2.1', '10.0.0', '255.255.255']) t.same(await toldOf(infoOf(version)), [], version)
    t.equal((await toldOf(Buffer.from(infoOf('6.2.18')))).length, 1, 'also where the client answers with a buffer')
    for (const nothing of ['', null, undefined, 'redis_version:unknown', 'x_redis_version:6.2.1', {}]) t.same(await toldOf(nothing), [])
  })
})

t.test('an app that is closed tells the others nothing more, and says so at once', { skip }, async (t) => {
  const server = await startRedis(t)
  const [gone, stays] = [await startMember(t, server), await startMember(t, server)]
  const [visitor] = await connectAll([stays], { sub: 'ann', jti: 'hers' })
  await stays.app.wsAuth.revoke({ jti: 'before' })
  await gone.app.close()
  const begunAt = performance.now()
  await t.rejects(gone.app.wsAuth.revoke({ jti: 'hers' }), { code: 'WS_AUTH_UNAVAILABLE', cause: { message: 'the backplane is closed: this instance has already left' } })
  await t.rejects(gone.app.wsAuth.disconnect({ sub: 'ann' }), { code: 'WS_AUTH_UNAVAILABLE' })
  t.ok(performance.now() - begunAt < 4000, 'no answer is waited for')
  const client = server.client()
  t.equal(await client.xlen(LOG), 1)
  t.same(await client.zrange(REVOKED, '0', '-1'), ['jti:before'])
  t.equal(await visitor?.isHeard(), true)
})

t.test('who starts later knows who was revoked by sub, in whichever part of a second', { skip }, async (t) => {
  const server = await startRedis(t)
  const member = await startMember(t, server)
  const iat = Math.floor(Date.now() / 1000) - 60
  for (const part of [0, 1, 500, 999]) await member.app.wsAuth.revoke({ sub: `ann ${part}`, beforeAt: iat * 1000 + part })
  const late = await startMember(t, server)
  for (const part of [0, 1, 500, 999]) {
    t.equal(await late.statusOf({ sub: `ann ${part}`, iat }), 401, `${part} ms`)
    t.equal(await late.statusOf({ sub: `ann ${part}`, iat: iat + 1 }), 101, 'and who has come again since')
  }
  t.same(late.told(), [])
})

t.test('where Redis takes nothing for long, revocations are not piled up in front of it', { skip }, async (t) => {
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

t.test('when Redis has not answered, and the app asks it by itself whether it is there', { skip }, async (t) => {
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

  t.test('nobody is closed where that fails but the log could be read meanwhile', async (t) => {
    const { server, member, link, probe } = await hold(t)
    server.resume()
    await until(() => link.isCurrent, 'it can be read', 2500)
    probe.fail(new Error('the connection is lost'))
    await new Promise((resolve) => setTimeout(resolve, 100))
    t.equal(member.outages, 0)
    t.same(member.told.filter((message) => message.startsWith('Redis has not answered')), [])
    await until(() => link.isCurrent, 'it is followed')
  })

  t.test('nobody is told of an outage by who has left before that fails', async (t) => {
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

  t.test('nobody is closed where it is, and what is new is read by that', async (t) => {
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

  t.test('all are closed where that fails and nothing could be read', async (t) => {
    const { member, link, probe } = await hold(t)
    probe.fail(new Error('the connection is lost'))
    await until(() => member.outages === 1, 'it is an outage')
    t.equal(link.isCurrent, false)
    t.same(member.told, ['Redis has not answered for 3000 ms: handshakes are refused and connections are closed'])
  })
})

t.test('of the last 10,000 disconnects each is done once, and those before are forgotten', { skip }, async (t) => {
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

t.test('a reader of the log', { skip }, async (t) => {
  const server = await startRedis(t)
  const client = server.client()
  const connection = connectionTo(client)
  const write = async ({ log }: Keys, command: Command, id = '5-*'): Promise<void> => { await client.xadd(log, id, ...entryOf(command)) }

  t.test('that two connections read at once takes nothing twice, and does not go back', async (t) => {
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

  t.test('does not vouch for more than it has read: not from what was asked for before', async (t) => {
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

  t.test('that finds the log trimmed to nothing reads the revocations, and goes on behind it', async (t) => {
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

  t.test('that finds the log lost once more, before it could make up for the first, says so once and makes up for both', async (t) => {
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

  t.test('that does not get the revocations after a gap vouches for nothing until it has', async (t) => {
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

  t.test('does not take what it has read of the revocations for what it misses since', async (t) => {
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

t.test('who never gets a word in says so, and does not try for ever', { skip }, async (t) => {
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

/** What somebody may have written in place of how many connections were closed. */
const POISONED_ANSWERS: Array<string | undefined> = [
  undefined, '', '{', 'null', '5', '"uid"', '[]', '[1,2]', '{"uid":-1}', '{"uid":1.5}', '{"uid":"1"}', '{"uid":null}', '{"uid":1e300}', '{"uid":{}}',
  '{"another":1}', '{"__proto__":{"uid":1}}', '{"uid":true}'
]

t.test('answers that are none are passed over, and the question stays open', async (t) => {
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
  t.equal(isSettled, false, 'of nobody, or of who was not asked')
  questions.take([{ id: '1-2', fields: new Map([['from', 'other'], ['closed', '{"another":1,"uid":3}']]) }])
  t.same(await answers, [{ id: 'other', answered: true, closed: 3 }])
})

t.test('who has left while it was asked is not waited for, who lives is, also where nobody can say who does', async (t) => {
  const questions = new PendingAnswers()
  const question = questions.begin('uid')
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  let asked = 0
  const readLiving = async (): Promise<string[]> => {
    if (++asked === 1) throw new Error('Redis is away')
    return ['slow', 'silent']
  }
  const answers = question.answers(['quick', 'gone', 'slow', 'silent'], performance.now() + 3000, readLiving)
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

t.test('a command is answered though somebody has written nonsense among the answers', { skip }, async (t) => {
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

t.test('an answer that comes before Redis has said that the question was written is one', { skip }, async (t) => {
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
  const begunAt = performance.now()
  const publishing = links[0]?.publish(disconnect('a'))
  await until(() => inbox.some((reply) => reply.includes('closed')), 'the answer is here')
  gate.open()
  t.same(await publishing, [{ id: other.id, answered: true, closed: 1 }])
  t.ok(performance.now() - begunAt < 4000, 'it is not waited for')
})

t.test('who leaves while its command is on the way to Redis does not say that it was answered', { skip }, async (t) => {
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

/** A client of node-redis. */
interface Duplicable {
  duplicate: (options: never) => { readonly isOpen: boolean, destroy: () => void }
}

/** Before node-redis 6 a client that is closed already must not be closed. */
function asBefore (client: Duplicable): RedisBackplaneOptions['client'] {
  const duplicate = client.duplicate.bind(client)
  return Object.assign(client, {
    duplicate: (options: never) => {
      const own = duplicate(options)
      const destroy = own.destroy.bind(own)
      return Object.assign(own, {
        destroy: () => {
          if (!own.isOpen) throw new Error('The client is closed')
          destroy()
        }
      })
    }
  }) as never
}

t.test('an app with node-redis 5, which throws at what is closed already, comes back all the same', { skip }, async (t) => {
  const server = await startRedis(t)
  const proxy = await startProxy(t, server)
  const client = createClient({ socket: { host: '127.0.0.1', port: proxy.port, reconnectStrategy: 20 } })
  client.on('error', () => {})
  t.teardown(() => { client.destroy() })
  await client.connect()
  const before = asBefore(client)
  const own: OwnConnection = connectionTo(before).duplicate()
  t.doesNotThrow(() => own.close())
  const member = new Listener()
  const link = redisBackplane({ client: before }).join(member)
  await link.ready
  proxy.cut()
  await until(() => member.told.includes('cannot follow the log in Redis: trying again'), 'it is noticed', TIMEOUT)
  await new Promise((resolve) => setTimeout(resolve, 300))
  proxy.restore()
  await until(() => member.told.includes('the log in Redis is followed again'), 'it is back', TIMEOUT)
  await within(TIMEOUT, 'it leaves', link.leave())
})

t.test('a client of node-redis 4, which could not be closed, is refused at once', async (t) => {
  const client = Object.assign(Object.create(createClient()) as object, { withTypeMapping: undefined, destroy: undefined })
  t.throws(() => redisBackplane({ client: client as never }), { name: 'TypeError', message: '"client" option must be a client of ioredis, iovalkey or node-redis' })
})

t.test('a connection of our own that finds no sentinel fails, and does not ask again', async (t) => {
  const asked: Socket[] = []
  const sentinel = createServer((socket) => {
    asked.push(socket)
    socket.destroy()
  }).listen(0, '127.0.0.1')
  t.teardown(() => { sentinel.close() })
  await once(sentinel, 'listening')
  const { port } = sentinel.address() as AddressInfo
  const client: Redis = openClient(t, { sentinels: [{ host: '127.0.0.1', port }], name: 'main', lazyConnect: true, sentinelRetryStrategy: () => 1 })
  const own = connectionTo(client).duplicate()
  await t.rejects(within(TIMEOUT, 'it fails', own.open()), { message: /sentinel/i })
  const { length } = asked
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(asked.length, length)
  own.close()
})

t.test('more revocations than can be kept for later are told of, and none is forgotten that is kept', { skip }, async (t) => {
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
