/*
 * What becomes of connections and revocations when Redis holds what it should not: poisoned entries, wrong types of keys, the
 * same thing twice, too much, nothing yet. As in redis-faults.test.ts.
 */
import type { Redis } from 'ioredis'
import { until, within } from '../../helpers/app'
import { assertOpen, assertRevoked, connectAll, LOG, pause, REVOKED, startMember, startMembers, untilAdmitted } from '../../helpers/cluster-of-apps'
import type { Member } from '../../helpers/cluster-of-apps'
import { assertNotTold, assertTold, assertWell, BAD, CANNOT_FOLLOW, CLOSED_ALL, connectBads, fault, GOOD, LOST, MAY_NOT_GET, revokeBads, STALE_AFTER, UNKNOWN_ENTRY, UNKNOWN_REVOCATION, WRITTEN_BACK } from '../../helpers/faults'
import { startProxy, startRedis } from '../../helpers/redis'

const REVOKE = { type: 'revoke', kind: 'jti', value: GOOD.jti, issuedBy: null, untilAt: Date.now() + 1e6 }
const DISCONNECT = { type: 'disconnect', kind: 'sub', value: GOOD.sub, code: null, reason: null }

function entry (command: unknown): string[] {
  return ['uid', `of a stranger ${Math.random()}`, 'from', 'a stranger', 'command', typeof command === 'string' ? command : JSON.stringify(command)]
}

/** The fields of entries that are none of ours: each would close who is good, were it taken for what it resembles. */
const POISONED: Record<string, string[]> = {
  'other fields': ['a', 'b'],
  'no uid': ['from', 'a stranger', 'command', JSON.stringify(DISCONNECT)],
  'no origin': ['uid', '1', 'command', JSON.stringify(DISCONNECT)],
  'names of prototypes': ['__proto__', 'x', 'constructor', 'y', 'toString', 'z'],
  'no JSON': entry('{"type":'),
  nothing: entry(''),
  null: entry('null'),
  'a text': entry('"toString"'),
  'a list': entry([DISCONNECT]),
  'inherited members': entry(`{"__proto__":${JSON.stringify(DISCONNECT)}}`),
  'an unknown type': entry({ ...DISCONNECT, type: 'constructor' }),
  'a kind of a prototype': entry({ ...DISCONNECT, kind: '__proto__' }),
  'a value that is empty': entry({ ...DISCONNECT, value: '' }),
  'a value that is a list': entry({ ...DISCONNECT, value: [GOOD.sub] }),
  'a code that may not be sent': entry({ ...DISCONNECT, code: 1005 }),
  'a code that is a text': entry({ ...DISCONNECT, code: '3000' }),
  'a code that is missing': entry({ ...DISCONNECT, code: undefined }),
  'a reason of 1 MB': entry({ ...DISCONNECT, reason: 'x'.repeat(1e6) }),
  'a reason that is a number': entry({ ...DISCONNECT, reason: 1 }),
  'a revocation by id': entry({ ...REVOKE, kind: 'id' }),
  'a revocation without an end': entry({ ...REVOKE, untilAt: null }),
  'a revocation that ends in a text': entry({ ...REVOKE, untilAt: '9999999999999' }),
  'a revocation by sub of no time': entry({ ...REVOKE, kind: 'sub', value: GOOD.sub }),
  'a revocation by jti of some time': entry({ ...REVOKE, issuedBy: 1e12 })
}

async function epochOf (client: Redis): Promise<string> {
  const [last] = await client.xrevrange(LOG, '+', '-', 'COUNT', 1)
  return String(last?.[0]).split('-')[0] as string
}

/** Who listens, and counts what it says. */
function countTold ({ told }: Member, message: string): number {
  return told().filter((one) => one === message).length
}

fault('poisoned entries are passed over, and told of', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 2)
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  await (members[0] as Member).app.wsAuth.revoke({ jti: 'first' })
  const client = server.client()
  const epoch = await epochOf(client)
  for (const fields of Object.values(POISONED)) await client.xadd(LOG, `${epoch}-*`, ...fields)
  await revokeBads(members[0] as Member)
  await assertWell(t, members, bad, good)
  assertTold(t, members, UNKNOWN_ENTRY)
  assertNotTold(t, members, LOST)
  t.equal(countTold(members[0] as Member, UNKNOWN_ENTRY), 1)
})

for (const [what, id] of [
  ['now', '*'], ['far in the future', '99999999999999-7'], ['the last of an epoch', (epoch: string) => `${epoch}-18446744073709551615`],
  ['in the last epoch', '18446744073709551615-3'], ['the last that there can be', '18446744073709551615-18446744073709551615']
] as const) {
  fault(`a poisoned entry whose id is ${what}`, async (t) => {
    const server = await startRedis(t)
    const members = await startMembers(t, server, 3)
    const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
    const client = server.client()
    await (members[0] as Member).app.wsAuth.revoke({ jti: 'first' })
    await client.xadd(LOG, typeof id === 'string' ? id : id(await epochOf(client)), 'a', 'b')
    await revokeBads(members[0] as Member)
    await assertWell(t, members, bad, good)
    await until(() => members.every(({ told }) => told().includes(LOST)), 'all notice', 10_000)
    await assertRevoked(t, members, [], { sub: 'x', jti: 'first' })
    // What was given to ids then is no hindrance for those that come later.
    await client.del(LOG)
    await assertWell(t, members, bad, good)
  })
}

fault('poisoned revocations are passed over, and told of', async (t) => {
  const server = await startRedis(t)
  const client = server.client()
  const until = Date.now() + 1e6
  for (const member of ['garbage', '__proto__', 'constructor:x', 'jti:', 'sub:alice', 'sub::alice', 'sub:1e9:alice', 'sub:NaN:alice', '']) await client.zadd(REVOKED, until, member)
  await client.zadd(REVOKED, 'inf', `jti:${GOOD.jti}`)
  await client.zadd(REVOKED, '-inf', `sub:9999999999:${GOOD.sub}`)
  await client.zadd(REVOKED, until, `jti:${BAD.jti}`)
  const members = await startMembers(t, server, 2)
  await assertWell(t, members, [], await connectAll(members, GOOD))
  assertTold(t, members, UNKNOWN_REVOCATION)
})

fault('the log is of another type: all are closed after staleAfter, since it cannot be read, until it is mended', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 2, { staleAfter: STALE_AFTER })
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  const client = server.client()
  await client.set(LOG, 'something else')
  await t.rejects(revokeBads(members[0] as Member), { code: 'WS_AUTH_UNAVAILABLE' })
  await until(() => good.every(({ closed }) => closed.code === 4503), 'all are closed', 10_000)
  assertTold(t, members, CANNOT_FOLLOW)
  assertTold(t, members, CLOSED_ALL)
  assertTold(t, members.slice(0, 1), MAY_NOT_GET)
  await client.del(LOG)
  await untilAdmitted(members)
  await assertWell(t, members, bad, await connectAll(members, GOOD))
})

fault('the revocations are of another type: one that is made then rejects, and is there for late starters once it is mended', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 2, { staleAfter: 2000 })
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  const client = server.client()
  await client.set(REVOKED, 'something else')
  await t.rejects(revokeBads(members[0] as Member), { code: 'WS_AUTH_UNAVAILABLE' })
  assertTold(t, members.slice(0, 1), MAY_NOT_GET)
  await client.del(REVOKED)
  await assertWell(t, members, bad, good)
  for (let i = 0; i < 200 && await client.zscore(REVOKED, `jti:${BAD.jti}`) === null; i++) await pause(20)
  t.equal(await (await startMember(t, server)).statusOf(BAD), 401)
})

fault('what Redis has lost is written back also where that fails at first', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 2, { staleAfter: 4000, onOutage: 'keep' })
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  const client = server.client()
  await revokeBads(members[0] as Member)
  await client.multi().flushall().set(REVOKED, 'something else').exec()
  await until(() => members.every(({ told }) => told().includes(LOST) && told().includes(CANNOT_FOLLOW)), 'all have failed', 10_000)
  await client.del(REVOKED)
  await assertWell(t, members, bad, good)
  await until(() => members.some(({ told }) => told().includes(WRITTEN_BACK)), 'it is written back', 10_000)
  t.equal(await (await startMember(t, server)).statusOf(BAD), 401)
})

fault('several instances give their first commands at once: none takes the log for a lost one', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 3)
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  const results = await Promise.all(members.flatMap(({ app }, i) => [
    revokeBads({ app }), app.wsAuth.revoke({ jti: `of ${i}` }), app.wsAuth.disconnect({ sub: 'nobody' })
  ]))
  for (const { instances } of results) t.same(instances.map(({ answered }) => answered), [true, true, true])
  await assertWell(t, members, bad, good)
  assertNotTold(t, members, LOST)
  const ids = (await server.client().xrange(LOG, '-', '+')).map(([id]) => id.split('-') as [string, string])
  t.equal(new Set(ids.map(([epoch]) => epoch)).size, 1, 'the log is of one epoch')
  t.same(ids.map(([, sequence]) => sequence), ids.map((_id, i) => String(i)), 'without a gap')
})

fault('what comes twice is done once: who was disconnected has come back, and stays', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 3)
  const good = await connectAll(members, GOOD)
  const [one] = members as [Member]
  const gone = await connectAll(members, { sub: 'gone' })
  const bad = await connectBads(members)
  t.equal((await one.app.wsAuth.disconnect({ sub: 'gone' })).closed, 3)
  t.equal((await revokeBads(one)).closed, 3)
  await until(() => gone.every(({ closed }) => closed.code === 3003), 'it is closed')
  const back = await connectAll(members, { sub: 'gone' })

  const client = server.client()
  const written = await client.xrange(LOG, '-', '+')
  t.equal(written.length, 7)
  for (let i = 0; i < 3; i++) {
    for (const [id, fields] of written) await client.xadd(LOG, `${id.split('-')[0]}-*`, ...fields)
  }
  await assertWell(t, members, bad, [...good, ...back])
  assertNotTold(t, members, LOST)
})

fault('an instance that is cut off finds 100,000 entries when it comes back', async (t) => {
  const server = await startRedis(t)
  const proxy = await startProxy(t, server)
  // However slow the machine is that writes so many.
  const staleAfter = 600_000
  const other = await startMember(t, server, { staleAfter })
  const cutOff = await startMember(t, server, { staleAfter, redis: { host: '127.0.0.1', port: proxy.port } })
  const members = [other, cutOff]
  const [bad, good] = [await connectAll(members, BAD), await connectAll(members, GOOD)]
  await other.app.wsAuth.revoke({ jti: 'first' })
  proxy.cut()
  const client = server.client()
  const epoch = await epochOf(client)
  const write = async (from: number, to: number): Promise<void> => {
    const pipeline = client.pipeline()
    for (let i = from; i < to; i++) {
      const value = i === 50_000 ? BAD.jti : `stolen ${i}`
      pipeline.xadd(LOG, `${epoch}-*`, 'uid', `of a third ${i}`, 'from', 'a third', 'command', JSON.stringify({ ...REVOKE, value }))
    }
    await pipeline.exec()
  }
  for (let i = 0; i < 100_000; i += 5000) await write(i, i + 5000)
  t.equal(await client.xlen(LOG), 100_001)
  t.equal(cutOff.size(), 2, 'it knows nothing of it')
  const begunAt = performance.now()
  proxy.restore()
  await until(() => bad.every(({ closed }) => closed.code === 3000), 'what was revoked in their midst is closed', 40_000)
  for (const { statusOf } of members) {
    while (await statusOf({ sub: 'x', jti: 'stolen 99999' }) !== 401) await pause(20)
  }
  t.comment(`all was read ${Math.round(performance.now() - begunAt)} ms after the way was free`)
  await assertWell(t, members, bad, good)
  assertNotTold(t, members, LOST)
})

fault('who starts with 100,000 revocations knows all of them before anybody is let in', async (t) => {
  const server = await startRedis(t)
  const client = server.client()
  for (let i = 0; i < 100_000; i += 5000) {
    await client.zadd(REVOKED, ...Array.from({ length: 5000 }, (_, j) => [Date.now() + 1e6, `jti:stolen ${i + j}`]).flat())
  }
  await client.zadd(REVOKED, Date.now() + 1e6, `jti:${BAD.jti}`)
  const begunAt = performance.now()
  const members = await startMembers(t, server, 1)
  const statuses = new Set<number>()
  for (let status = 0; status !== 401;) {
    status = await (members[0] as Member).statusOf({ sub: 'x', jti: 'stolen 99999' })
    statuses.add(status)
    if (statuses.has(101)) break
  }
  t.comment(`started, and all known after ${Math.round(performance.now() - begunAt)} ms`)
  t.notOk(statuses.has(101), 'it was never let in')
  for (const i of [0, 1, 777, 50_000, 99_998]) await assertRevoked(t, members, [], { sub: 'x', jti: `stolen ${i}` })
  await assertWell(t, members, [], await connectAll(members, GOOD))
})

for (const state of ['down', 'paused'] as const) {
  fault(`an app starts while Redis is ${state}: it listens, and lets nobody in until the revocations were read`, async (t) => {
    const server = await startRedis(t, { isPersistent: true })
    const before = await startMember(t, server)
    await revokeBads(before)
    await before.app.close()
    if (state === 'down') await server.stop()
    else server.pause()
    const members = await within(20_000, 'they listen', Promise.all([startMember(t, server), startMember(t, server)]))
    for (const claims of [GOOD, BAD]) {
      t.same(await Promise.all(members.map(async ({ statusOf }) => await statusOf(claims))), [503, 503])
    }
    assertTold(t, members, 'handshakes are refused until the backplane can be reached')
    const begunAt = performance.now()
    if (state === 'down') await server.start()
    else server.resume()
    await untilAdmitted(members)
    t.comment(`they let in ${Math.round(performance.now() - begunAt)} ms after Redis was there`)
    t.same(await Promise.all(members.map(async ({ statusOf }) => await statusOf(BAD))), [401, 401], 'and not who was revoked before')
    await assertWell(t, members, [], await connectAll(members, GOOD))
  })
}

fault('Redis has become a replica: it can be read, and nobody is closed; a revocation rejects and is written later', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 2, { staleAfter: 2000 })
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  const client = server.client()
  await client.replicaof('127.0.0.1', 1)
  // Also by who has to come again.
  await client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await t.rejects(revokeBads(members[0] as Member), { code: 'WS_AUTH_UNAVAILABLE' })
  assertTold(t, members.slice(0, 1), MAY_NOT_GET)
  await pause(4000)
  await assertOpen(t, good)
  await client.replicaof('NO', 'ONE')
  await assertWell(t, members, bad, good)
})

fault('whatever the client of the app is, and however it was told to try again, it is well after a restart', async (t) => {
  const server = await startRedis(t, { isPersistent: true })
  const withoutQueue = server.client({ enableOfflineQueue: false })
  await until(() => withoutQueue.status === 'ready', 'it is connected')
  const clients = [
    await server.nodeClient(),
    withoutQueue,
    server.client({ maxRetriesPerRequest: null }),
    server.client({ maxRetriesPerRequest: null, autoResendUnfulfilledCommands: false }),
    server.client({ commandTimeout: 1500 }),
    server.client({ enableAutoPipelining: true }),
    server.client({ lazyConnect: true })
  ]
  const members: Member[] = []
  for (const client of clients) members.push(await startMember(t, server, { client }))
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  await (members[0] as Member).app.wsAuth.revoke({ jti: 'first' })
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const revoking = members.map(async ({ app }, i) => await app.wsAuth.revoke({ jti: `while it ends ${i}` }).catch(() => {}))
    await server.stop(signal)
    await pause(300)
    await server.start()
    await Promise.all(revoking)
  }
  await revokeBads(members[0] as Member).catch(() => {})
  await assertWell(t, members, bad, good)
  for (let i = 0; i < members.length; i++) await assertRevoked(t, members, [], { sub: 'x', jti: `while it ends ${i}` })
  assertTold(t, members, CANNOT_FOLLOW)
  assertNotTold(t, members, LOST)
  server.pause()
  await within(5000, 'app.close()', Promise.all(members.map(async ({ app }) => await app.close())))
})
