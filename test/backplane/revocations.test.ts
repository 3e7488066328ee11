/*
 * What is remembered of revocations, and how it is said what is to be revoked or closed.
 */
import t from 'tap'
import type { RevokeCommand } from '../../lib/backplane/contract'
import type { Claims } from '../../lib/token/claims'
import { isReason, isSendableCode } from '../../lib/base/close-codes'
import { readDisconnectMatch, readDisconnectOptions, readRevokeMatch, readRevokeOptions } from '../../lib/revocation/command-arguments'
import { RevocationList, wasIssuedBy } from '../../lib/backplane/revocation-list'
import { setClock } from '../helpers/moved-clock'
import { until } from '../helpers/app'

const HOUR = 3_600_000

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

t.test('a token is revoked by what it says of itself, and by nothing else', async (t) => {
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

t.test('by sub, whole seconds are compared: floor(iat) <= floor(beforeAt / 1000)', async (t) => {
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
    const revocations = setOf(byUser(value, Math.floor(read / 1000)))
    t.equal(revocations.isRevoked({ sub: 'ann', iat }), expected, `iat ${iat}, beforeAt ${beforeAt}`)
  }
  t.ok(wasIssuedBy({}, -Infinity), 'a token that does not say when may have been issued at any time')
})

t.test('an earlier beforeAt does not undo a later one, in whatever order', async (t) => {
  const now = Date.now()
  const commands = [byUser('ann', 3000, now + HOUR), byUser('ann', 1000, now + 2 * HOUR), byUser('ann', 2000, now + HOUR / 2)]
  for (const order of [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]) {
    const revocations = setOf(...order.map((i) => commands[i] as RevokeCommand))
    t.ok(revocations.isRevoked({ sub: 'ann', iat: 3000 }), order.join())
    t.notOk(revocations.isRevoked({ sub: 'ann', iat: 3001 }), order.join())
    t.strictSame([...revocations], [byUser('ann', 3000, now + 2 * HOUR)], 'they are one')
  }
})

t.test('one that does not say which tokens is about all of the user', async (t) => {
  const revocations = setOf(byUser('ann', null), byUser('ann', 5))
  t.ok(revocations.isRevoked({ sub: 'ann', iat: 1e12 }))
})

t.test('it ends at untilAt, not a millisecond later, and the later of two counts', async (t) => {
  const now = Date.now()
  const kinds = { jti: (untilAt: number) => by('jti', 'x', untilAt), sid: (untilAt: number) => by('sid', 'x', untilAt), sub: (untilAt: number) => byUser('x', 5, untilAt) }
  for (const [kind, make] of Object.entries(kinds)) {
    for (const ends of [[2000, 1000], [1000, 2000]]) {
      await t.test(`${kind}, ${ends.join(' and ')}`, async (t) => {
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

t.test('one that is over when it is added is not kept', async (t) => {
  const past = Date.now() - 1
  const revocations = setOf(by('jti', 'x', past), by('sid', 'x', past), byUser('x', 1e12, past), byUser('x', 1e12, Date.now()), byUser('x', 1e12, -1e300))
  t.equal(revocations.size, 0)
})

t.test('one that is over leaves nothing behind in the next about the same user', async (t) => {
  const now = Math.floor(Date.now() / 1000)
  const revocations = setOf(byUser('ann', now + 86_400, Date.now() + 10_000))
  t.ok(revocations.isRevoked({ sub: 'ann', iat: now + 20 }))
  setClock(t, 20_000)
  t.notOk(revocations.isRevoked({ sub: 'ann', iat: now + 20 }))
  revocations.add(byUser('ann', now))
  t.ok(revocations.isRevoked({ sub: 'ann', iat: now }))
  t.notOk(revocations.isRevoked({ sub: 'ann', iat: now + 20 }), 'its beforeAt has ended with it')
})

t.test('names of what objects have are names as any others', async (t) => {
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

t.test('what is over is thrown away when there is something new, at most once a minute', async (t) => {
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

t.test('a clock that is set back keeps nobody from throwing away', async (t) => {
  const revocations = new RevocationList()
  setClock(t, -HOUR)
  revocations.add(by('jti', 'x', Date.now() + 1))
  setClock(t, HOUR)
  revocations.add(by('jti', 'y'))
  t.equal(revocations.size, 1)
})

/** Anything but one non-empty name, and one that is allowed here. */
const WRONG: unknown[] = [
  undefined, null, 'ann', 7, true, Symbol('x'), () => {}, [], ['ann'], [{ sub: 'ann' }], {}, new Map([['sub', 'ann']]),
  { sub: '' }, { sub: 7 }, { sub: null }, { sub: undefined }, { sub: ['ann'] }, { sub: { toString: () => 'ann' } }, { sub: true }, { sub: Object('ann') },
  { jti: '' }, { jti: 7 }, { jti: null }, { jti: 7n }, { sid: '' }, { sid: 0 }, { sid: NaN },
  { jti: 'x', sid: 'y' }, { sub: 'ann', jti: 'x' }, { sub: 'ann', sid: 'y' }, { sub: 'ann', id: 'z' }, { id: 'z', jti: 'x' }, { jti: 'x', sid: 'y', sub: 'ann', id: 'z' },
  { sub: 'ann', jti: undefined }, { sub: 'ann', extra: 1 }, { Sub: 'ann' }, { user: 'ann' }, { iss: 'ann' }, { toString: 'ann' }, JSON.parse('{"__proto__":"ann"}'), { constructor: 'ann' },
  Object.create({ sub: 'ann' }), { beforeAt: 5 }, { jti: 'x', beforeAt: 5 }, { sid: 'x', beforeAt: 5 }, { id: 'x', beforeAt: 5 },
  { jti: 'x', untilAt: 5 }, { sub: 'ann', untilAt: 5 }, { sub: 'ann', code: 4000 }
]

t.test('a match is exactly one of its claims, and nothing else', async (t) => {
  for (const match of [...WRONG, { id: 'x' }]) t.throws(() => readRevokeMatch(match), TypeError)
  for (const match of [...WRONG, { id: '' }, { id: 7 }, { sub: 'ann', beforeAt: 5 }, { sub: 'ann', beforeAt: undefined }]) t.throws(() => readDisconnectMatch(match), TypeError)
  for (const beforeAt of [NaN, Infinity, -Infinity, null, '5', new Date(), 5n, true, [5]]) {
    t.throws(() => readRevokeMatch({ sub: 'ann', beforeAt }), { name: 'TypeError', message: '"match.beforeAt" must be a number of milliseconds since the epoch' })
  }
  for (const beforeAt of [0, -0, -1, 1.5, 1e300, -1e300]) t.strictSame(readRevokeMatch({ sub: 'ann', beforeAt }), { kind: 'sub', value: 'ann', beforeAt })
  t.throws(() => readRevokeMatch({ id: 'x' }), { name: 'TypeError', message: '"match" must be exactly one of { jti }, { sid }, { sub }: a non-empty string' })
  t.throws(() => readDisconnectMatch({ x: 'x' }), { name: 'TypeError', message: '"match" must be exactly one of { id }, { jti }, { sid }, { sub }: a non-empty string' })
  t.throws(() => readRevokeMatch({ jti: 'x', beforeAt: 5 }), { name: 'TypeError', message: '"match.beforeAt" must be left out, unless the match is by sub' })
  for (const kind of ['id', 'jti', 'sid', 'sub']) {
    for (const value of ['x', ' ', '__proto__', 'constructor', '\0', '😀', 'x'.repeat(65_536)]) t.strictSame(readDisconnectMatch({ [kind]: value }), { kind, value })
  }
  const before = Date.now()
  const { beforeAt } = readRevokeMatch({ sub: 'ann', beforeAt: undefined })
  t.ok(beforeAt >= before && beforeAt <= Date.now(), 'beforeAt is now')
})

t.test('how long a revocation is kept is an instant, and there is no other option', async (t) => {
  for (const options of [null, 'x', 5, [], [5], true, () => {}, { until: 5 }, { untilAt: 5, code: 4000 }, { reason: 'x' }, { beforeAt: 5 }]) t.throws(() => readRevokeOptions(options, 5), TypeError, String(options))
  for (const untilAt of [NaN, Infinity, -Infinity, null, '5', new Date(), 5n]) {
    t.throws(() => readRevokeOptions({ untilAt }, 5), { name: 'TypeError', message: '"options.untilAt" must be a number of milliseconds since the epoch' })
  }
  t.throws(() => readRevokeOptions({ until: 5 }, 5), { name: 'TypeError', message: '"options.until" must be left out: there is no such option' })
  for (const untilAt of [0, -5, 1e300]) t.equal(readRevokeOptions({ untilAt }, 5), untilAt)
  for (const options of [undefined, {}, { untilAt: undefined }]) {
    const before = Date.now()
    const untilAt = readRevokeOptions(options, 1000)
    t.ok(untilAt >= before + 1000 && untilAt <= Date.now() + 1000)
  }
})

t.test('a disconnect has a close code that may be sent and a reason that there is room for', async (t) => {
  for (const options of [null, 'x', 5, [], [5], true, { untilAt: 5 }, { Code: 4000 }, { code: 4000, reason: 'x', more: 1 }]) t.throws(() => readDisconnectOptions(options), TypeError, String(options))
  const good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
  const bad = [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_536, -4000, 4000.5, NaN, Infinity, '4000', null, true, [4000], 4000n, Object(4000)]
  for (const code of good) {
    t.ok(isSendableCode(code), `${code}`)
    t.strictSame(readDisconnectOptions({ code }), { code, reason: null })
  }
  for (const code of bad) {
    t.notOk(isSendableCode(code), `${String(code)}`)
    t.throws(() => readDisconnectOptions({ code }), { name: 'TypeError', message: '"options.code" must be a close code that may be sent' })
  }
  for (const reason of ['', 'x', 'x'.repeat(123), 'é'.repeat(61)]) {
    t.ok(isReason(reason))
    t.strictSame(readDisconnectOptions({ reason }), { code: null, reason })
  }
  for (const reason of ['x'.repeat(124), 'é'.repeat(62), '😀'.repeat(31), 5, null, true, Buffer.from('x'), ['x']]) {
    t.notOk(isReason(reason))
    t.throws(() => readDisconnectOptions({ reason }), { name: 'TypeError', message: '"options.reason" must be a string of at most 123 bytes' })
  }
  for (const options of [undefined, {}, { code: undefined, reason: undefined }]) t.strictSame(readDisconnectOptions(options), { code: null, reason: null })
})

t.test('an instant in seconds, as a JWT has it, would revoke nobody: it is a TypeError', async (t) => {
  const seconds = Math.floor(Date.now() / 1000)
  t.throws(() => readRevokeMatch({ sub: 'ann', beforeAt: seconds }), { name: 'TypeError', message: '"match.beforeAt" must be in milliseconds since the epoch, not in seconds' })
  t.throws(() => readRevokeOptions({ untilAt: seconds }, 5), { name: 'TypeError', message: '"options.untilAt" must be in milliseconds since the epoch, not in seconds' })
  t.equal(readRevokeMatch({ sub: 'ann', beforeAt: 0 }).beforeAt, 0)
})
