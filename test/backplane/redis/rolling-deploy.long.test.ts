/*
 * A rolling deploy: instances of 0.1.0 and of this version on one Redis.
 */
import t from 'tap'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../../lib/index'
import { assertOpen, assertRevoked, connectAll, REVOKED, startMember } from '../../helpers/cluster-of-apps'
import type { Member, Visitor } from '../../helpers/cluster-of-apps'
import { sign, until } from '../../helpers/app'
import { reasonToSkip as reasonWithoutRedis, startRedis } from '../../helpers/redis'
import type { RedisServer } from '../../helpers/redis'
import { loadOldPackage, reasonToSkip, startOldMember } from '../../helpers/version-0-1-0'

const skip = reasonWithoutRedis() || reasonToSkip()

/** What 0.1.0 logs. */
const OLD_ENTRY = 'an entry of the log in Redis is none of ours and was passed over: who else writes there?'
const OLD_REVOCATION = 'a revocation in Redis is none of ours and was passed over: who else writes there?'
const SILENT = 'some instances did not answer'

const PLUGIN: fastifyWsAuth.WsAuthOptions = { tickets: true }
const IAT = Math.floor(Date.now() / 1000)
const GOOD = { iat: IAT, sub: 'alice', jti: 'hers', sid: 'login of alice' }
/** Revocations that only this version knows, and claims that each of them is about. */
const NEW_MATCHES = [
  [{ group: 'red', beforeAt: Date.now() + 60_000 }, { sub: 'rita', iat: IAT, team: 'red' }],
  [{ iss: 'https://evil.example', beforeAt: Date.now() + 60_000 }, { sub: 'eve', iat: IAT, iss: 'https://evil.example' }],
  [{ all: true, beforeAt: 1_000_000_000_000 - 1000 }, { sub: 'old', iat: 999_999_998 }]
] as const

t.test('instances of 0.1.0 and of this version', { skip }, async (t) => {
  const old = loadOldPackage(t)
  const startBoth = async (t: Test, server: RedisServer): Promise<[Member, Member]> => [await startOldMember(t, server, old), await startMember(t, server, { plugin: PLUGIN })]

  t.test('what both know works in both directions, with all options', async (t) => {
    const both = await startBoth(t, await startRedis(t))
    const good = await connectAll(both, GOOD)
    for (const [i, { app }] of both.entries()) {
      const notes = i === 1 ? { by: 'an admin', why: 'a test' } : {}
      for (const [kind, value] of [['jti', `j${i}`], ['sid', `s${i}`], ['sub', `u${i}`]] as const) {
        const match = { [kind]: value } as unknown as fastifyWsAuth.RevokeMatch
        const claims = { sub: 'somebody', [kind]: value }
        const bad = await connectAll(both, claims)
        const { closed, instances } = await app.wsAuth.revoke(match, { untilAt: Date.now() + 600_000, ...notes })
        t.same([closed, instances.map(({ answered }) => answered)], [2, [true, true]], `${i} ${JSON.stringify(match)}`)
        await assertRevoked(t, both, bad, claims)
        t.same(bad.map(({ closed }) => closed.reason), ['token_revoked', 'token_revoked'])
      }
      const bad = await connectAll(both, { sub: 'annoying' })
      t.equal((await app.wsAuth.disconnect({ sub: 'annoying' }, { code: 4001, reason: 'go', ...notes })).closed, 2)
      await untilClosed(bad)
      t.same(bad.map(({ closed }) => closed), [{ code: 4001, reason: 'go' }, { code: 4001, reason: 'go' }])
    }
    await assertOpen(t, good)
    t.same(both.map(({ told }) => told()), [[], []])
  })

  t.test('a ticket of either is good at the other', async (t) => {
    const both = await startBoth(t, await startRedis(t))
    for (const [from, to] of [[0, 1], [1, 0]] as const) {
      const { ticket } = await (both[from] as Member).app.wsAuth.issueTicket({ sub: 'ann' })
      t.equal(await (both[to] as Member).statusOfTicket(ticket), 101)
      t.equal(await (both[from] as Member).statusOfTicket(ticket), 401, 'and only once')
      const headers = { authorization: `Bearer ${sign({ sub: 'ann' })}` }
      const asked = (await (both[from] as Member).app.inject({ method: 'POST', url: '/ws-ticket', headers })).json<{ ticket: string }>()
      t.equal(await (both[to] as Member).statusOfTicket(asked.ticket), 101)
    }
  })

  t.test('0.1.0 passes over what it does not know, says so, loses nothing else, and its successor knows it', async (t) => {
    const server = await startRedis(t)
    const [before, now] = await startBoth(t, server)
    const good = await connectAll([before, now], GOOD)
    const visitors = await Promise.all(NEW_MATCHES.map(async ([, claims]) => await connectAll([before, now], claims)))
    const results = await Promise.all(NEW_MATCHES.map(async ([match]) => await now.app.wsAuth.revoke(match)))
    for (const { closed, instances } of results) t.same([closed, instances.map(({ answered }) => answered)], [1, [true, false]], 'it does not seem to have answered')
    for (const [onOld, onNew] of visitors as Array<[Visitor, Visitor]>) {
      await untilClosed([onNew])
      t.equal(onOld.closed.code, null, '0.1.0 cannot close it')
    }
    t.same(before.told(), [OLD_ENTRY])
    t.ok(now.told().includes(SILENT))
    await now.app.wsAuth.revoke({ jti: 'after' })
    await assertRevoked(t, [before, now], [], { sub: 'somebody', jti: 'after' })
    await assertOpen(t, good)

    const late = [await startOldMember(t, server, old), await startMember(t, server, { plugin: PLUGIN })] as const
    t.same(late[0].told(), [OLD_REVOCATION])
    t.same(late[1].told(), [])
    await assertRevoked(t, late, [], { jti: 'after' })
    for (const [, claims] of NEW_MATCHES) await assertRevoked(t, [now, late[1]], [], claims)

    // The last instance that has seen the commands writes back what Redis has lost.
    await Promise.all([before, late[0], now].map(async ({ app }) => await app.close()))
    const client = server.client()
    const count = await client.zcard(REVOKED)
    await client.flushall()
    await until(() => late[1].told().some((line) => line.includes('written them back')), 'it is written back', 10_000)
    t.equal(await client.zcard(REVOKED), count)
    const successor = await startMember(t, server, { plugin: PLUGIN })
    for (const [, claims] of NEW_MATCHES) await assertRevoked(t, [successor], [], claims)
    await assertRevoked(t, [successor], [], { jti: 'after' })
    t.equal(await successor.statusOf(GOOD), 101)
  })

  t.test('0.1.0 that writes back what Redis has lost leaves the revocations of this version in force', async (t) => {
    const server = await startRedis(t)
    const [before, now] = await startBoth(t, server)
    await now.app.wsAuth.revoke({ jti: 'known to both' })
    const [[match, claims]] = NEW_MATCHES
    await now.app.wsAuth.revoke(match)
    const client = server.client()
    await client.flushall()
    await until(() => [before, now].every(({ told }) => told().some((line) => /log in Redis was lost/.test(line))), 'both notice', 10_000)
    await until(() => now.told().some((line) => line.includes('written them back')), 'it is written back', 10_000)
    const late = [await startOldMember(t, server, old), await startMember(t, server, { plugin: PLUGIN })] as const
    await assertRevoked(t, late, [], { jti: 'known to both' })
    await assertRevoked(t, [late[1]], [], claims)
  })
})

async function untilClosed (visitors: readonly Visitor[]): Promise<void> {
  await until(() => visitors.every(({ closed }) => closed.code !== null), 'they are closed', 10_000)
}
