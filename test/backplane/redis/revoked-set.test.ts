/*
 * The set of revocations in Redis.
 */
import t from 'tap'
import type { RevokeCommand } from '../../../lib/backplane/contract'
import { keysOf } from '../../../lib/backplane/redis/keys'
import { addCommand, pruneCommand, readRevoked, writeRevoked } from '../../../lib/backplane/redis/log/revoked-set'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import { connectionTo, revoke } from '../../helpers/redis-connection'

t.test('the set of revocations in Redis keeps and gives revocations', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const { send } = connectionTo(server.client())

  t.test('the set gives the revocations in force, also thousands, and counts malformed members', async (t) => {
    const keys = keysOf('many')
    const all = Array.from({ length: 2500 }, (_, i) => revoke('sub', `user ${i}`, i))
    await writeRevoked(send, keys, [...all, revoke('jti', 'over', null, Date.now() - 1), revoke('sid', 'half', null, Date.now() + 60_000.5)])
    await send(['ZADD', keys.revoked, '5', 'none of ours', '+inf', 'jti:for ever'])
    const known = new Map<string, RevokeCommand>()
    let unknown = 0
    await readRevoked(send, keys, (revocation) => known.set(revocation.value, revocation), () => { unknown++ })
    t.equal(unknown, 2)
    t.equal(known.size, 2501)
    t.ok(all.every((revocation) => JSON.stringify(known.get(revocation.value)) === JSON.stringify(revocation)))
    t.equal(known.has('over'), false)
    t.ok((known.get('half')?.untilAt ?? 0) % 1 === 0.5)

    await send(pruneCommand(keys, Date.now()))
    t.equal(Number(await send(['ZCARD', keys.revoked])), 2502, 'what is over is thrown away')
  })

  t.test('the set keeps the later of two ends in any order, and each second of issue', async (t) => {
    const keys = keysOf('later')
    for (const untilAt of [4e12, 4.1e12, 3.9e12]) await send(addCommand(keys, [revoke('jti', 'a', null, untilAt), revoke('sub', 'a', untilAt / 1e11, untilAt)]))
    const read: RevokeCommand[] = []
    await readRevoked(send, keys, (revocation) => read.push(revocation), () => {})
    t.same(read.sort((one, other) => one.untilAt - other.untilAt || (one.issuedBy ?? 0) - (other.issuedBy ?? 0)).map(({ kind, untilAt }) => [kind, untilAt]), [['sub', 3.9e12], ['sub', 4e12], ['jti', 4.1e12], ['sub', 4.1e12]])
    await writeRevoked(send, keys, [])
    t.equal(Number(await send(['ZCARD', keys.revoked])), 4)
  })

  t.test('the set is empty if there is none, or if Redis answers with something else', async (t) => {
    for (const reply of [null, undefined, 'OK', [], ['0'], ['0', null]]) {
      await readRevoked(async () => reply, keysOf('none'), () => t.fail('there is none'), () => t.fail('there is nothing'))
    }
    await readRevoked(send, keysOf('none'), () => t.fail('there is none'), () => t.fail('there is nothing'))
    await t.rejects(readRevoked(async () => { throw new Error('down') }, keysOf('none'), () => {}, () => {}), /down/)
  })
})
