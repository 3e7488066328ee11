/*
 * What becomes of connections and revocations when Redis, or the way to it, fails: a real redis-server for each fault, real
 * instances, real clients. After each: nothing revoked is open, nothing good was closed without need, the log says what
 * happened, and a new revocation reaches all.
 */
import { until, within } from '../../helpers/app'
import { assertOpen, assertRevoked, connectAll, countConnections, forkMember, LOG, pause, REVOKED, startBehindProxy, startMember, startMembers, untilAdmitted, untilWell } from '../../helpers/cluster-of-apps'
import type { Member } from '../../helpers/cluster-of-apps'
import { assertBadsRevoked, assertNotTold, assertTold, assertWell, BAD, CANNOT_FOLLOW, CLOSED_ALL, connectBads, fault, GOOD, KEPT_ALL, LOST, MAY_NOT_GET, revokeBads, STALE_AFTER, TRIMMED, WRITTEN_BACK } from '../../helpers/faults'
import { startProxy, startRedis } from '../../helpers/redis'

for (const isPersistent of [true, false]) {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    fault(`Redis is restarted ${isPersistent ? 'with' : 'without'} its data, by ${signal}`, async (t) => {
      const server = await startRedis(t, { isPersistent })
      const members = await startMembers(t, server, 3)
      const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
      const { closed } = await revokeBads(members[0] as Member)
      t.equal(closed, 3)

      await server.stop(signal)
      await server.start()
      await assertWell(t, members, bad, good)
      assertTold(t, members, CANNOT_FOLLOW)
      if (isPersistent) assertNotTold(t, members, LOST)
      else assertTold(t, members, LOST)
      if (!isPersistent) t.ok(members.some(({ told }) => told().includes(WRITTEN_BACK)), 'somebody has written it back')

      const late = await startMember(t, server)
      t.equal(await late.statusOf(BAD), 401, 'who starts later knows it too')
    })
  }
}

fault('Redis is killed while it is told of a revocation', async (t) => {
  const server = await startRedis(t, { isPersistent: true })
  const members = await startMembers(t, server, 3)
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  // It has read nothing of it when it dies.
  server.pause()
  const revoking = revokeBads(members[0] as Member)
  await until(() => bad[0]?.closed.code === 3000, 'it is in force where it was made')
  await server.stop('SIGKILL')
  await server.start()
  await revoking.catch((error: { code: string }) => t.equal(error.code, 'WS_AUTH_UNAVAILABLE'))
  await assertWell(t, members, bad, good)
  assertTold(t, members, CANNOT_FOLLOW)
})

fault('Redis does not answer for longer than staleAfter: all are closed, since nobody can be vouched for', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 3, { staleAfter: STALE_AFTER })
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  server.pause()
  const revoking = t.rejects(revokeBads(members[0] as Member), { code: 'WS_AUTH_UNAVAILABLE' })
  await until(() => good.every(({ closed }) => closed.code !== null), 'all are closed', 15_000)
  t.same(good.map(({ closed }) => closed), members.map(() => ({ code: 4503, reason: 'auth_unavailable' })))
  t.same(await Promise.all(members.map(async ({ statusOf }) => await statusOf(GOOD))), [503, 503, 503], 'handshakes are refused')
  assertTold(t, members, CLOSED_ALL)
  await revoking
  assertTold(t, members.slice(0, 1), MAY_NOT_GET)
  server.resume()
  await untilAdmitted(members)
  await assertWell(t, members, bad, await connectAll(members, GOOD))
})

fault('Redis does not answer for longer than staleAfter: all are kept where onOutage says so', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 3, { staleAfter: STALE_AFTER, onOutage: 'keep' })
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  server.pause()
  const revoking = t.rejects(revokeBads(members[0] as Member), { code: 'WS_AUTH_UNAVAILABLE' })
  await until(() => members.every(({ told }) => told().includes(KEPT_ALL)), 'the log says so', 15_000)
  await assertOpen(t, good)
  t.same(await Promise.all(members.map(async ({ statusOf }) => await statusOf(GOOD))), [101, 101, 101], 'handshakes are accepted')
  t.equal(await (members[0] as Member).statusOf(BAD), 401, 'what was revoked here is refused here')
  await revoking
  server.resume()
  await assertWell(t, members, bad, good)
})

for (const way of ['cut', 'freeze'] as const) {
  fault(`an instance is cut off for 5 s, ${way === 'cut' ? 'with its connections ended' : 'without a sign'}, and others revoke meanwhile`, async (t) => {
    const server = await startRedis(t)
    const { proxy, others, cutOff, members } = await startBehindProxy(t, server)
    const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
    const bySub = await connectAll(members, { sub: 'oscar' })
    const gone = await connectAll(members, { sub: 'gone' })
    proxy[way]()
    const end = pause(5000)
    const results = await Promise.all([
      revokeBads(others[0] as Member),
      (others[1] as Member).app.wsAuth.revoke({ sub: 'oscar' }),
      (others[0] as Member).app.wsAuth.disconnect({ sub: 'gone' })
    ])
    for (const { closed, instances } of results) {
      t.equal(closed, 2)
      t.same(instances.map(({ answered }) => answered).sort(), [false, true, true], 'it is said who did not answer')
      t.equal(instances.find(({ answered }) => !answered)?.closed, null)
    }
    await t.rejects(cutOff.app.wsAuth.revoke({ jti: 'of who is cut off' }), { code: 'WS_AUTH_UNAVAILABLE' })
    await end
    proxy.restore()
    await assertWell(t, members, bad, good)
    await assertRevoked(t, members, bySub, { sub: 'oscar' })
    await until(() => gone.every(({ closed }) => closed.code === 3003), 'who was disconnected is closed everywhere')
    await assertRevoked(t, members, [], { sub: 'x', jti: 'of who is cut off' })
    if (way === 'cut') assertTold(t, [cutOff], CANNOT_FOLLOW)
    assertTold(t, others.slice(0, 1), 'some instances did not answer')
    assertNotTold(t, members, LOST)
    assertNotTold(t, members, TRIMMED)
  })
}

for (const length of [0, 5]) {
  fault(`the log is trimmed to ${length} entries past a reader that is cut off`, async (t) => {
    const server = await startRedis(t)
    const { proxy, others, cutOff, members } = await startBehindProxy(t, server)
    const [bad, good] = [await connectAll(members, BAD), await connectAll(members, GOOD)]
    proxy.cut()
    // Once they have been waited for, whoever is not cut off has read them all: what is trimmed before is missing there too.
    const jtis = [BAD.jti, ...Array.from({ length: 10 }, (_, i) => `another ${i}`)]
    const results = await Promise.all(jtis.map(async (jti) => await (others[0] as Member).app.wsAuth.revoke({ jti })))
    for (const { instances } of results) t.same(instances.map(({ answered }) => answered).sort(), [false, true, true], 'it is said who did not answer')
    const client = server.client()
    await client.xtrim(LOG, 'MAXLEN', length)
    t.equal(await client.xlen(LOG), length)
    proxy.restore()
    await assertWell(t, members, bad, good)
    assertTold(t, [cutOff], TRIMMED)
    assertNotTold(t, others, TRIMMED)
    assertNotTold(t, members, LOST)
  })
}

fault('an instance is killed: it is waited for until it is believed to be gone, and not listed any more then', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 2)
  const remote = await forkMember(t, server)
  const good = await connectAll(members, GOOD)
  const first = await revokeBads(members[0] as Member)
  t.same(first.instances.map(({ answered }) => answered), [true, true, true])
  const killedAt = performance.now()
  remote.process.kill('SIGKILL')

  const { instances } = await (members[0] as Member).app.wsAuth.revoke({ jti: 'another' })
  t.same(instances.map(({ answered, closed }) => ({ answered, closed })).sort((a, b) => Number(b.answered) - Number(a.answered)), [
    { answered: true, closed: 0 }, { answered: true, closed: 0 }, { answered: false, closed: null }
  ])
  t.match(instances.find(({ answered }) => !answered)?.id, `:${remote.process.pid}:`, 'it is said who')
  assertTold(t, members.slice(0, 1), 'some instances did not answer')
  await untilWell(t, members)
  t.comment(`not listed any more ${Math.round(performance.now() - killedAt)} ms after it was killed`)
  await assertBadsRevoked(t, members, [])
  await assertOpen(t, good)
})

fault('a blocked event loop is no outage while Redis is well', async (t) => {
  const server = await startRedis(t)
  const remote = await forkMember(t, server, { staleAfter: 1500 })
  const member = await startMember(t, server)
  const [bad, good] = [await connectBads([remote, member]), await connectAll([remote, member], GOOD)]
  const blocking = remote.block(4500)
  await revokeBads(member)
  t.same(await blocking, [], 'it has nothing to say')
  await assertBadsRevoked(t, [remote, member], bad)
  await assertOpen(t, good)
  const { instances } = await member.app.wsAuth.revoke({ jti: 'another' })
  t.same(instances.map(({ answered }) => answered), [true, true])
})

fault('FLUSHALL: what was revoked is written back, and stays in force', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 3, { staleAfter: 4000 })
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  await revokeBads(members[0] as Member)
  const client = server.client()
  await client.flushall()
  await until(() => members.every(({ told }) => told().includes(LOST)), 'all notice', 10_000)
  await assertWell(t, members, bad, good)
  t.ok(await client.zscore(REVOKED, `jti:${BAD.jti}`), 'Redis has it again')
  t.ok(members.some(({ told }) => told().includes(WRITTEN_BACK)))
  t.equal(await (await startMember(t, server)).statusOf(BAD), 401, 'who starts later knows it too')
})

fault('a revocation right after FLUSHALL reaches all, and so does what was revoked before', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 3)
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  await (members[1] as Member).app.wsAuth.revoke({ jti: 'before' })
  await server.client().flushall()
  await revokeBads(members[0] as Member)
  await assertBadsRevoked(t, members, bad)
  await assertWell(t, members, bad, good)
  await assertRevoked(t, members, [], { sub: 'x', jti: 'before' })
  assertTold(t, members, LOST)
  await until(() => members.some(({ told }) => told().includes(WRITTEN_BACK)), 'it is written back')
  t.equal(await (await startMember(t, server)).statusOf({ sub: 'x', jti: 'before' }), 401)
})

fault('a failover that lost the last writes: ids are given a second time, and what is behind them is not passed over', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 2)
  const [bad, good] = [await connectAll(members, BAD), await connectAll(members, GOOD)]
  const [one, other] = members as [Member, Member]
  await one.app.wsAuth.revoke({ jti: 'before' })
  const client = server.client()
  const [log, revoked] = [await client.dumpBuffer(LOG), await client.dumpBuffer(REVOKED)]
  for (let i = 0; i < 3; i++) await one.app.wsAuth.revoke({ jti: `lost ${i}` })
  const head = (await client.xrevrange(LOG, '+', '-', 'COUNT', 1))[0]?.[0]

  // The replica has not got the last three; others write there before the instances come.
  const [epoch, sequence] = String(head).split('-')
  const transaction = client.multi().restore(LOG, 0, log, 'REPLACE').restore(REVOKED, 0, revoked, 'REPLACE')
  for (let i = 0; i < 4; i++) {
    const command = { type: 'revoke', kind: 'jti', value: i === 1 ? BAD.jti : `replaced ${i}`, issuedBy: null, untilAt: Date.now() + 60_000 }
    transaction.xadd(LOG, `${epoch}-*`, 'uid', `of a third ${i}`, 'from', 'a third', 'command', JSON.stringify(command))
    transaction.zadd(REVOKED, command.untilAt, `jti:${command.value}`)
  }
  await transaction.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes').exec()
  t.equal((await client.xrevrange(LOG, '+', '-', 'COUNT', 1))[0]?.[0], `${epoch}-${Number(sequence) + 1}`, 'ids were given twice')

  await until(() => members.every(({ told }) => told().includes(LOST)), 'all notice', 10_000)
  await assertWell(t, members, bad, good)
  for (const jti of ['before', 'lost 0', 'lost 1', 'lost 2', 'replaced 0', 'replaced 2', 'replaced 3']) await assertRevoked(t, members, [], { sub: 'x', jti })
  await until(() => [one, other].some(({ told }) => told().includes(WRITTEN_BACK)), 'it is written back')
  for (let i = 0; i < 3; i++) t.ok(await client.zscore(REVOKED, `jti:lost ${i}`), 'Redis has again what it had lost')
})

fault('a failover that lost a revocation before anybody had read it: who has made it writes it again', async (t) => {
  const server = await startRedis(t)
  const members = await startMembers(t, server, 2)
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  const [one] = members as [Member]
  await one.app.wsAuth.revoke({ jti: 'before' })
  const client = server.client()
  const [log, revoked] = [await client.dumpBuffer(LOG), await client.dumpBuffer(REVOKED)]
  // Those that read are put out, and not let in again for a while.
  let readers: string[] = []
  // Now and then one of them asks for something else.
  for (let tries = 0; readers.length !== 2 && tries < 1000; tries++) {
    readers = String(await client.call('CLIENT', 'LIST')).split('\n').filter((line) => line.includes(' cmd=xread '))
  }
  t.equal(readers.length, 2)
  await client.config('SET', 'maxclients', 3)
  for (const reader of readers) await client.call('CLIENT', 'KILL', 'ID', /^id=(\d+)/.exec(reader)?.[1] as string)
  const revoking = revokeBads(one)
  while (await client.xlen(LOG) === 1) await pause(1)
  await client.multi().restore(LOG, 0, log, 'REPLACE').restore(REVOKED, 0, revoked, 'REPLACE').exec()
  await client.config('SET', 'maxclients', 100)
  await until(() => bad[1]?.closed.code === 3000, 'it is closed on the other all the same', 10_000)
  await revoking
  await assertWell(t, members, bad, good)
  t.ok(await client.zscore(REVOKED, `jti:${BAD.jti}`), 'Redis has it')
})

fault('a command while Redis is down is in force here at once, rejects within 5 s, and reaches the others later', async (t) => {
  const server = await startRedis(t, { isPersistent: true })
  const members = await startMembers(t, server, 3)
  const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
  await server.stop()
  const [one] = members as [Member]
  const begunAt = performance.now()
  const rejected = t.rejects(revokeBads(one), { code: 'WS_AUTH_UNAVAILABLE', statusCode: 503 })
  const disconnected = t.rejects(one.app.wsAuth.disconnect({ sub: 'nobody' }), { code: 'WS_AUTH_UNAVAILABLE' })
  t.equal(await one.statusOf(BAD), 401, 'it is refused here at once')
  await until(() => bad[0]?.closed.code === 3000, 'it is closed here')
  t.ok(performance.now() - begunAt < 4000, 'before it is known that the others do not get it')
  await within(8000, 'it rejects', rejected)
  await disconnected
  t.ok(performance.now() - begunAt > 1000, 'it was tried')
  t.same(bad.slice(0, 3).map(({ closed }) => closed.code), [3000, null, null])
  assertTold(t, [one], MAY_NOT_GET)
  await server.start()
  await assertWell(t, members, bad, good)
})

for (const hasLog of [true, false]) {
  fault(`Redis is out of memory${hasLog ? '' : ' before the first command'}: a revocation is in force here, rejects, and reaches the others when there is room again`, async (t) => {
    const server = await startRedis(t, { settings: ['--maxmemory-policy', 'noeviction'] })
    const members = await startMembers(t, server, 2, { staleAfter: 2000 })
    const [bad, good] = [await connectBads(members), await connectAll(members, GOOD)]
    if (hasLog) await (members[0] as Member).app.wsAuth.revoke({ jti: 'before' })
    const client = server.client()
    await client.config('SET', 'maxmemory', '1kb')
    await t.rejects(client.set('something', 'else'), { message: /OOM/ })
    await t.rejects(revokeBads(members[0] as Member), { code: 'WS_AUTH_UNAVAILABLE' })
    assertTold(t, members.slice(0, 1), MAY_NOT_GET)
    // It can still be read, also by who has to come again.
    await client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await until(() => members.every(({ told }) => told().includes('cannot announce this instance in Redis: other instances may not wait for its answers')), 'all have come again')
    await pause(4000)
    await assertOpen(t, good)
    assertNotTold(t, members, 'Redis has not answered for 2000 ms: handshakes are refused and connections are closed')
    t.same(await Promise.all(members.map(async ({ statusOf }) => await statusOf(GOOD))), [101, 101])
    const late = await startMember(t, server)
    t.equal(await late.statusOf({ sub: 'x', jti: 'before' }), hasLog ? 401 : 101, 'who starts then knows what was revoked before')
    await late.app.close()
    await client.config('SET', 'maxmemory', '100mb')
    await assertWell(t, members, bad, good)
    assertNotTold(t, members, LOST)
  })
}

for (const state of ['is down', 'does not answer', 'cannot be reached']) {
  fault(`app.close() while Redis ${state}`, async (t) => {
    const server = await startRedis(t)
    const proxy = await startProxy(t, server)
    const members = await startMembers(t, server, 2, { redis: { host: '127.0.0.1', port: proxy.port } })
    const good = await connectAll(members, GOOD)
    if (state === 'is down') await server.stop()
    else if (state === 'does not answer') server.pause()
    else proxy.freeze()
    await pause(500)
    const begunAt = performance.now()
    await within(5000, 'app.close()', Promise.all(members.map(async ({ app }) => await app.close())))
    t.comment(`closed within ${Math.round(performance.now() - begunAt)} ms`)
    await until(() => good.every(({ closed }) => closed.code === 1001), 'clients were told')
  })
}

fault('all connections that are ours are closed with the app, also after a fault', async (t) => {
  const server = await startRedis(t)
  const client = server.client()
  const before = await countConnections(client)
  const own = [server.client(), server.client()]
  const members = [await startMember(t, server, { client: own[0] }), await startMember(t, server, { client: own[1] })]
  t.equal(await countConnections(client), before + 4, 'each has its own and one of ours')
  for (let i = 0; i < 3; i++) {
    await client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await untilWell(t, members)
  }
  t.equal(await countConnections(client), before + 4)
  await Promise.all(members.map(async ({ app }) => await app.close()))
  for (const one of own) one.disconnect()
  let count = Infinity
  for (let i = 0; i < 100 && count !== before; i++) {
    await pause(20)
    count = await countConnections(client)
  }
  t.equal(count, before)
  t.equal(await client.zcard('{fastify-ws-auth}:alive'), 0, 'nobody is said to live')
})
