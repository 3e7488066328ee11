/*
 * The list of revocations: which tokens it revokes, when a revocation ends, and what it tells other instances.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { RevocationKind, RevokeCommand, TimedKind } from '../../lib/backplane/contract'
import type { Claims } from '../../lib/token/claims'
import { readRevokeMatch } from '../../lib/revocation/command-arguments'
import { RevocationList, wasIssuedBy } from '../../lib/backplane/revocation-list'
import { setClock } from '../helpers/moved-clock'
import { until } from '../helpers/app'

const HOUR = 3_600_000
const NOW = 1_700_000_000_000
const MINUTE = 60_000

function byUser (value: string, issuedBy: number | null, untilAt = Date.now() + HOUR): RevokeCommand {
  return { type: 'revoke', kind: 'sub', value, issuedBy, untilAt }
}

function by (kind: 'jti' | 'sid', value: string, untilAt = Date.now() + HOUR): RevokeCommand {
  return { type: 'revoke', kind, value, issuedBy: null, untilAt }
}

/** A set of these, added in this order. */
function setOf (...commands: RevokeCommand[]): RevocationList {
  const revocations = new RevocationList()
  for (const command of commands) revocations.add(command)
  return revocations
}

function command (kind: RevokeCommand['kind'], value: string, untilAt: number, issuedBy: number | null = null): RevokeCommand {
  return { type: 'revoke', kind, value, issuedBy, untilAt }
}

/** Sets the time. */
function freezeClock (t: Test): (now: number) => void {
  const { now: real } = Date
  t.teardown(() => { Date.now = real })
  return (now) => { Date.now = () => now }
}

t.test('a token is revoked by its own claims, and by nothing else', async (t) => {
  const revocations = setOf(by('jti', 'one'), by('sid', 'two'), byUser('ann', 1000))
  const cases: Array<[Claims, boolean]> = [
    [{ jti: 'one' }, true],
    [{ sid: 'two' }, true],
    [{ sub: 'ann', iat: 1000 }, true],
    [{ sub: 'ann', iat: 1001, jti: 'one' }, true],
    [{ sub: 'ann', iat: 1001, sid: 'two' }, true],
    [{ sub: 'ann', iat: 1001, jti: 'two', sid: 'one' }, false],
    [{ jti: 'two' }, false],
    [{ sid: 'one' }, false],
    [{ sub: 'one', jti: 'ann', sid: 'ann' }, false],
    [{ jti: 'One' }, false],
    [{ jti: 'one ' }, false],
    [{ jti: '' }, false],
    [{}, false],
    [{ jti: ['one'] as never }, false],
    [{ jti: { toString: () => 'one' } as never }, false],
    [{ jti: null as never, sid: undefined }, false]
  ]
  for (const [claims, expected] of cases) t.equal(revocations.isRevoked(claims), expected, JSON.stringify(claims))
  t.notOk(new RevocationList().isRevoked({ jti: 'one', sid: 'two', sub: 'ann' }), 'without any revocation, none is')
})

t.test('a jti or sid that is a number is matched by its digits', async (t) => {
  const revocations = setOf(by('jti', '7'), by('sid', '0'), by('jti', '1.5'))
  for (const claims of [{ jti: 7 }, { jti: '7' }, { sid: 0 }, { sid: -0 }, { jti: 1.5 }]) t.ok(revocations.isRevoked(claims as never), JSON.stringify(claims))
  for (const claims of [{ jti: 70 }, { jti: '07' }, { jti: '7.0' }, { sid: false }, { sid: '' }]) t.notOk(revocations.isRevoked(claims as never), JSON.stringify(claims))
})

t.test('a revocation by sub compares whole seconds: floor(iat) <= floor(beforeAt / 1000)', async (t) => {
  const cases: Array<[iat: number | undefined, beforeAt: number, isRevoked: boolean]> = [
    [1000, 999_999, false],
    [1000, 1_000_000, true],
    [1000, 1_000_999, true],
    [1000.999, 1_000_000, true],
    [1001, 1_000_999, false],
    [1001, 1_000_999.999, false],
    [1000.001, 999_999.9, false],
    [undefined, 1_000_000, true],
    [undefined, -1e300, true],
    [0, 0, true],
    [0, -1, false],
    [-0, 0, true],
    [-1, -1, true],
    [-1, -1000, true],
    [-0.5, -1000, true],
    [-0.5, -1001, false],
    [-1e300, 0, true],
    [1e300, 1e306, true],
    [4_000_000_000, Number.MAX_VALUE, true]
  ]
  for (const [iat, beforeAt, expected] of cases) {
    const { beforeAt: read, value } = readRevokeMatch({ sub: 'ann', beforeAt })
    const revocations = setOf(byUser(value, Math.floor(Number(read) / 1000)))
    t.equal(revocations.isRevoked({ sub: 'ann', iat }), expected, `iat ${iat}, beforeAt ${beforeAt}`)
  }
  t.ok(wasIssuedBy({}, -Infinity), 'a token that does not say when may have been issued at any time')
})

t.test('an earlier beforeAt does not undo a later one, in any order', async (t) => {
  const now = Date.now()
  const commands = [byUser('ann', 3000, now + HOUR), byUser('ann', 1000, now + 2 * HOUR), byUser('ann', 2000, now + HOUR / 2)]
  for (const order of [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]) {
    const revocations = setOf(...order.map((i) => commands[i] as RevokeCommand))
    t.ok(revocations.isRevoked({ sub: 'ann', iat: 3000 }), order.join())
    t.notOk(revocations.isRevoked({ sub: 'ann', iat: 3001 }), order.join())
    t.strictSame([...revocations], [byUser('ann', 3000, now + 2 * HOUR)], 'they are one')
  }
})

t.test('a revocation by group, kid, iss or of all compares whole seconds, and is of nothing else', async (t) => {
  const timed = (kind: TimedKind, value: string, issuedBy: number | null = 1000): RevokeCommand => ({ type: 'revoke', kind, value, issuedBy, untilAt: Date.now() + HOUR })
  const cases: Array<[RevokeCommand, token: { claims?: Claims, groups?: string[], kid?: string | null }, expected: RevocationKind | null]> = [
    [timed('group', 'red'), { groups: ['blue', 'red'] }, 'group'],
    [timed('group', 'red'), { groups: ['blue'] }, null],
    [timed('group', 'red'), { claims: { iat: 1001 }, groups: ['red'] }, null],
    [timed('group', 'red'), { claims: { sub: 'red', iss: 'red', groups: ['red'] }, kid: 'red' }, null],
    [timed('kid', 'k1'), { kid: 'k1' }, 'kid'],
    [timed('kid', 'k1'), { claims: { iat: 1001 }, kid: 'k1' }, null],
    [timed('kid', 'k1', null), { claims: { iat: 1e12 }, kid: 'k1' }, 'kid'],
    [timed('kid', 'k1'), { claims: { kid: 'k1', iat: 5 } }, null],
    [timed('kid', 'k1'), { kid: 'k2' }, null],
    [timed('iss', 'https://a'), { claims: { iss: 'https://a', iat: 1000 } }, 'iss'],
    [timed('iss', 'https://a'), { claims: { iss: 'https://a', iat: 1001 } }, null],
    [timed('iss', 'https://a'), { claims: { iss: 'https://a/', iat: 1000 } }, null],
    [timed('iss', '5'), { claims: { iss: 5 as never } }, null],
    [timed('all', '*'), { claims: { iat: 1000.9 } }, 'all'],
    [timed('all', '*'), { claims: {} }, 'all'],
    [timed('all', '*'), { claims: { iat: 1001 }, groups: ['*'], kid: '*' }, null]
  ]
  for (const [command, { claims = { iat: 1000 }, groups, kid }, expected] of cases) {
    t.equal(setOf(command).kindFor(claims, null, groups, kid), expected, JSON.stringify([command, claims, groups, kid]))
  }
})

t.test('two revocations by one kid are merged, and one of any time wins', async (t) => {
  const now = Date.now()
  const [earlier, later, any] = [command('kid', 'k1', now + HOUR, 1000), command('kid', 'k1', now + 2 * HOUR, 2000), command('kid', 'k1', now + HOUR / 2)]
  t.strictSame([...setOf(later, earlier)], [later])
  for (const order of [[earlier, any, later], [any, later, earlier]]) t.strictSame([...setOf(...order)], [{ ...any, untilAt: now + 2 * HOUR }])
})

t.test('a revocation by sub without an instant revokes all tokens of the user', async (t) => {
  const revocations = setOf(byUser('ann', null), byUser('ann', 5))
  t.ok(revocations.isRevoked({ sub: 'ann', iat: 1e12 }))
})

t.test('a revocation ends at untilAt to the millisecond, and the later of two counts', async (t) => {
  const now = Date.now()
  const kinds = { jti: (untilAt: number) => by('jti', 'x', untilAt), sid: (untilAt: number) => by('sid', 'x', untilAt), sub: (untilAt: number) => byUser('x', 5, untilAt) }
  for (const [kind, make] of Object.entries(kinds)) {
    for (const ends of [[2000, 1000], [1000, 2000]]) {
      await t.test(`two revocations by ${kind} until ${ends.join(' and ')} end at the later instant`, async (t) => {
        const real = Date.now
        t.teardown(() => { Date.now = real })
        Date.now = () => now
        const revocations = setOf(...ends.map((end) => make(now + end)))
        const isRevoked = (): boolean => revocations.isRevoked({ [kind]: 'x', iat: 5 })
        Date.now = () => now + 1999
        t.ok(isRevoked())
        t.equal([...revocations].length, 1)
        Date.now = () => now + 2000
        t.notOk(isRevoked())
        t.strictSame([...revocations], [], 'nor is it told to others any more')
      })
    }
  }
})

t.test('a revocation that is over when it is added is not kept', async (t) => {
  const past = Date.now() - 1
  const revocations = setOf(by('jti', 'x', past), by('sid', 'x', past), byUser('x', 1e12, past), byUser('x', 1e12, Date.now()), byUser('x', 1e12, -1e300))
  t.equal(revocations.size, 0)
})

t.test('a revocation that is over adds nothing to a later revocation of the same user', async (t) => {
  const now = Math.floor(Date.now() / 1000)
  const revocations = setOf(byUser('ann', now + 86_400, Date.now() + 10_000))
  t.ok(revocations.isRevoked({ sub: 'ann', iat: now + 20 }))
  setClock(t, 20_000)
  t.notOk(revocations.isRevoked({ sub: 'ann', iat: now + 20 }))
  revocations.add(byUser('ann', now))
  t.ok(revocations.isRevoked({ sub: 'ann', iat: now }))
  t.notOk(revocations.isRevoked({ sub: 'ann', iat: now + 20 }), 'its beforeAt has ended with it')
})

t.test('names of properties of objects are revoked like any others', async (t) => {
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'size']
  for (const kind of ['jti', 'sid', 'sub'] as const) {
    for (const name of names) {
      const claims = JSON.parse(JSON.stringify({ [kind]: name, iat: 5 })) as Claims
      t.notOk(new RevocationList().isRevoked(claims))
      t.notOk(setOf({ ...byUser('other', 5), kind }).isRevoked(claims))
      t.ok(setOf({ ...byUser(name, 5), kind }).isRevoked(claims), `${kind} ${name}`)
    }
  }
})

t.test('revocations that are over are thrown away when one is added, at most once a minute', async (t) => {
  const revocations = new RevocationList()
  const now = Date.now()
  for (let i = 0; i < 3000; i++) {
    revocations.add(by('jti', `${i}`, now + 30_000))
    revocations.add(by('sid', `${i}`, now + 30_000))
    revocations.add(byUser(`${i}`, i, now + (i % 2 === 0 ? 30_000 : HOUR)))
  }
  t.equal(revocations.size, 9000)
  setClock(t, 40_000)
  revocations.add(by('jti', 'new'))
  t.equal(revocations.size, 9001, 'it was done less than a minute ago')
  setClock(t, 30_000)
  revocations.add(by('jti', 'newer'))
  t.ok(revocations.size > 1502, 'some in each turn')
  revocations.add(by('sid', '2999', now + HOUR))
  await until(() => revocations.size === 1503, 'all that is over is gone')
  t.equal([...revocations].length, 1503)
  t.ok(revocations.isRevoked({ sub: '1', iat: 1 }))
  t.notOk(revocations.isRevoked({ sub: '2', iat: 1 }))
  t.ok(revocations.isRevoked({ sid: '2999' }), 'what was renewed meanwhile is kept')
})

t.test('revocations that are over are thrown away although the clock was set back', async (t) => {
  const revocations = new RevocationList()
  setClock(t, -HOUR)
  revocations.add(by('jti', 'x', Date.now() + 1))
  setClock(t, HOUR)
  revocations.add(by('jti', 'y'))
  t.equal(revocations.size, 1)
})

t.test('the list tells other instances the revocations that were added', async (t) => {
  freezeClock(t)(NOW)
  const revocations = new RevocationList()
  const commands = [
    command('jti', 'a', NOW + 1), command('sid', 'b', NOW + 2), command('sub', 'c', NOW + 3, 7), command('group', 'd', NOW + 4, 8),
    command('kid', 'e', NOW + 5), command('kid', 'f', NOW + 5, 9), command('iss', 'g', NOW + 6, 10), command('all', '*', NOW + 7, 11)
  ]
  for (const one of commands) revocations.add(one)
  t.strictSame([...revocations], commands)
})

t.test('a revocation that ends in this millisecond adds nothing to a later revocation of the same user', async (t) => {
  const setNow = freezeClock(t)
  setNow(NOW)
  const revocations = new RevocationList()
  revocations.add(command('sub', 'ann', NOW + 5, 1000))
  setNow(NOW + 5)
  revocations.add(command('sub', 'ann', NOW + 10, 3))
  t.strictSame([...revocations], [command('sub', 'ann', NOW + 10, 3)])
})

t.test('revocations that are over are thrown away a minute after the last time, also those that end in this millisecond', async (t) => {
  const setNow = freezeClock(t)
  setNow(NOW)
  const revocations = new RevocationList()
  for (const kind of ['jti', 'sid', 'sub'] as const) revocations.add(command(kind, 'over', NOW + MINUTE, 1))
  setNow(NOW + MINUTE - 1)
  revocations.add(command('jti', 'kept', NOW + 2 * MINUTE))
  t.equal(revocations.size, 4)
  setNow(NOW + MINUTE)
  revocations.add(command('jti', 'another', NOW + 2 * MINUTE))
  t.equal(revocations.size, 2)
})
