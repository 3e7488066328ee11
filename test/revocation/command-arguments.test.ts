/*
 * What `revoke` and `disconnect` say of an argument that they cannot read, and where seconds end and milliseconds begin.
 */
import t from 'tap'
import { isReason, isSendableCode } from '../../lib/base/close-codes'
import { readDisconnectMatch, readDisconnectOptions, readRevokeMatch, readRevokeOptions } from '../../lib/revocation/command-arguments'

t.test('an argument that is no object is a TypeError that names it', async (t) => {
  for (const value of [null, 'x', 7, true, ['x'], () => {}]) {
    t.throws(() => readRevokeMatch(value), { name: 'TypeError', message: '"match" must be an object' })
    t.throws(() => readDisconnectMatch(value), { name: 'TypeError', message: '"match" must be an object' })
    t.throws(() => readRevokeOptions(value, 5), { name: 'TypeError', message: '"options" must be an object' })
    t.throws(() => readDisconnectOptions(value), { name: 'TypeError', message: '"options" must be an object' })
  }
})

t.test('an unknown option is a TypeError that names it', async (t) => {
  t.throws(() => readRevokeOptions({ untilAt: 0, code: 4000 }, 5), { name: 'TypeError', message: '"options.code" must be left out: there is no such option' })
  t.throws(() => readDisconnectOptions({ code: 4000, untilAt: 0 }), { name: 'TypeError', message: '"options.untilAt" must be left out: there is no such option' })
  t.throws(() => readDisconnectOptions({ withn: 5 }), { name: 'TypeError', message: '"options.withn" must be left out: there is no such option; did you mean "within"?' })
})

t.test('what stands in the wrong argument is a TypeError that names the right one', async (t) => {
  t.throws(() => readRevokeOptions({ beforeAt: 5 }, 5), { name: 'TypeError', message: '"options.beforeAt" must be left out: there is no such option; it belongs in the match' })
  t.throws(() => readRevokeMatch({ sub: 'ann', by: 'ops' }), { name: 'TypeError', message: /or \{ all: true \}; "by" belongs in the second argument$/ })
  t.throws(() => readDisconnectMatch({ code: 4000, sub: 'ann' }), { name: 'TypeError', message: /or \{ all: true \}; "code" belongs in the second argument$/ })
})

t.test('an instant between September 2001 and the year 5138 in seconds is not taken for milliseconds', async (t) => {
  const inSeconds = /must be in milliseconds since the epoch, not in seconds$/
  for (const instant of [1e9, 1e9 + 0.5, 5e10, 1e11 - 1]) {
    t.throws(() => readRevokeMatch({ sub: 'ann', beforeAt: instant }), { name: 'TypeError', message: inSeconds }, `${instant}`)
    t.throws(() => readRevokeOptions({ untilAt: instant }, 5), { name: 'TypeError', message: inSeconds }, `${instant}`)
  }
  for (const instant of [-5e10, 0, 1e9 - 1, 1e11, 1.7e12]) {
    t.equal(readRevokeMatch({ sub: 'ann', beforeAt: instant }).beforeAt, instant)
    t.equal(readRevokeOptions({ untilAt: instant }, 5).untilAt, instant)
  }
})

t.test('a revocation by jti, sid or kid without a beforeAt is about tokens of any time', async (t) => {
  for (const kind of ['jti', 'sid', 'kid'] as const) t.strictSame(readRevokeMatch({ [kind]: 'x' }), { kind, value: 'x', beforeAt: null })
})

t.test('a revocation by anything else has the present as its beforeAt', async (t) => {
  for (const match of [{ sub: 'x' }, { group: 'x' }, { iss: 'x' }, { all: true }]) {
    const before = Date.now()
    const { beforeAt, ...target } = readRevokeMatch(match)
    t.strictSame(target, 'all' in match ? { kind: 'all', value: '*' } : { kind: Object.keys(match)[0], value: 'x' })
    t.ok(beforeAt !== null && beforeAt >= before && beforeAt <= Date.now())
  }
})

t.test('who gives a command, and why, are strings of at most 256 bytes', async (t) => {
  const reads = [(options: object) => readRevokeOptions(options, 5), (options: object) => readDisconnectOptions(options)]
  for (const read of reads) {
    for (const name of ['by', 'why']) {
      for (const text of ['', 'x', 'x'.repeat(256), '√'.repeat(85), 'two\nlines', '\ud800']) t.match(read({ [name]: text }), { [name]: text })
      for (const text of ['x'.repeat(257), '√'.repeat(86), 5, null, true, ['x'], { toString: () => 'x' }, Buffer.from('x')]) {
        t.throws(() => read({ [name]: text }), { name: 'TypeError', message: `"options.${name}" must be a string of at most 256 bytes` })
      }
      t.notOk(Object.hasOwn(read({ [name]: undefined }), name), 'a note that is not given is no property')
    }
  }
})

/** Anything but one non-empty name, and one that is allowed here. */
const WRONG: unknown[] = [
  undefined, null, 'ann', 7, true, Symbol('x'), () => {}, [], ['ann'], [{ sub: 'ann' }], {}, new Map([['sub', 'ann']]),
  { sub: '' }, { sub: 7 }, { sub: null }, { sub: undefined }, { sub: ['ann'] }, { sub: { toString: () => 'ann' } }, { sub: true }, { sub: Object('ann') },
  { jti: '' }, { jti: 7 }, { jti: null }, { jti: 7n }, { sid: '' }, { sid: 0 }, { sid: NaN },
  { jti: 'x', sid: 'y' }, { sub: 'ann', jti: 'x' }, { sub: 'ann', sid: 'y' }, { sub: 'ann', id: 'z' }, { id: 'z', jti: 'x' }, { jti: 'x', sid: 'y', sub: 'ann', id: 'z' },
  { sub: 'ann', jti: undefined }, { sub: 'ann', extra: 1 }, { Sub: 'ann' }, { user: 'ann' }, { all: 'x' }, { all: false }, { all: 1 }, { all: '*' }, { all: true, sub: 'ann' }, { group: 7 }, { group: ['x'] }, { kid: '' }, { iss: null }, { toString: 'ann' }, JSON.parse('{"__proto__":"ann"}'), { constructor: 'ann' },
  Object.create({ sub: 'ann' }), { beforeAt: 5 }, { jti: 'x', beforeAt: 5 }, { sid: 'x', beforeAt: 5 }, { id: 'x', beforeAt: 5 },
  { jti: 'x', untilAt: 5 }, { sub: 'ann', untilAt: 5 }, { sub: 'ann', code: 4000 }
]

t.test('a match has exactly one claim, and nothing else', async (t) => {
  for (const match of [...WRONG, { id: 'x' }]) t.throws(() => readRevokeMatch(match), TypeError)
  for (const match of [...WRONG, { id: '' }, { id: 7 }, { sub: 'ann', beforeAt: 5 }, { sub: 'ann', beforeAt: undefined }]) t.throws(() => readDisconnectMatch(match), TypeError)
  for (const beforeAt of [NaN, Infinity, -Infinity, null, '5', new Date(), 5n, true, [5]]) {
    t.throws(() => readRevokeMatch({ sub: 'ann', beforeAt }), { name: 'TypeError', message: '"match.beforeAt" must be a number of milliseconds since the epoch' })
  }
  for (const beforeAt of [0, -0, -1, 1.5, 1e300, -1e300]) {
    for (const kind of ['sub', 'group', 'kid', 'iss']) t.strictSame(readRevokeMatch({ [kind]: 'ann', beforeAt }), { kind, value: 'ann', beforeAt })
    t.strictSame(readRevokeMatch({ all: true, beforeAt }), { kind: 'all', value: '*', beforeAt })
  }
  t.throws(() => readRevokeMatch({ id: 'x' }), { name: 'TypeError', message: '"match" must be exactly one of { jti }, { sid }, { sub }, { group }, { kid }, { iss }: a non-empty string, or { all: true }' })
  t.throws(() => readDisconnectMatch({ x: 'x' }), { name: 'TypeError', message: '"match" must be exactly one of { id }, { jti }, { sid }, { sub }, { group }, { kid }, { iss }: a non-empty string, or { all: true }' })
  t.throws(() => readRevokeMatch({ jti: 'x', beforeAt: 5 }), { name: 'TypeError', message: '"match.beforeAt" must be left out if the match is by jti' })
  t.strictSame(readDisconnectMatch({ all: true }), { kind: 'all', value: '*' })
  for (const kind of ['id', 'jti', 'sid', 'sub', 'group', 'kid', 'iss']) {
    for (const value of ['x', ' ', '__proto__', 'constructor', '\0', '😀', 'x'.repeat(65_536)]) t.strictSame(readDisconnectMatch({ [kind]: value }), { kind, value })
  }
  const before = Date.now()
  const { beforeAt } = readRevokeMatch({ sub: 'ann', beforeAt: undefined })
  t.ok(Number(beforeAt) >= before && Number(beforeAt) <= Date.now(), 'beforeAt is now')
})

t.test('untilAt of revoke is an instant', async (t) => {
  for (const options of [null, 'x', 5, [], [5], true, () => {}, { until: 5 }, { untilAt: 5, code: 4000 }, { reason: 'x' }, { beforeAt: 5 }]) t.throws(() => readRevokeOptions(options, 5), TypeError, String(options))
  for (const untilAt of [NaN, Infinity, -Infinity, null, '5', new Date(), 5n]) {
    t.throws(() => readRevokeOptions({ untilAt }, 5), { name: 'TypeError', message: '"options.untilAt" must be a number of milliseconds since the epoch' })
  }
  t.throws(() => readRevokeOptions({ until: 5 }, 5), { name: 'TypeError', message: '"options.until" must be left out: there is no such option' })
  for (const untilAt of [0, -5, 1e300]) t.strictSame(readRevokeOptions({ untilAt }, 5), { untilAt })
  for (const options of [undefined, {}, { untilAt: undefined }]) {
    const before = Date.now()
    const { untilAt } = readRevokeOptions(options, 1000)
    t.ok(untilAt >= before + 1000 && untilAt <= Date.now() + 1000)
  }
})

t.test('a disconnect takes only a close code that may be sent and a reason of at most 123 bytes', async (t) => {
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

t.test('a disconnect takes a whole number of milliseconds for within', async (t) => {
  for (const within of [-1, 0.5, NaN, Infinity, 2 ** 31, '5', null, true, [5], 5n]) {
    t.throws(() => readDisconnectOptions({ within }), { name: 'TypeError', message: '"options.within" must be an integer of milliseconds from 0 to 2147483647' })
  }
  for (const within of [0, undefined]) t.strictSame(readDisconnectOptions({ within }), { code: null, reason: null })
  for (const within of [1, 2 ** 31 - 1]) t.strictSame(readDisconnectOptions({ within }), { code: null, reason: null, within })
})

t.test('an instant in seconds, as a JWT has it, is a TypeError', async (t) => {
  const seconds = Math.floor(Date.now() / 1000)
  t.throws(() => readRevokeMatch({ sub: 'ann', beforeAt: seconds }), { name: 'TypeError', message: '"match.beforeAt" must be in milliseconds since the epoch, not in seconds' })
  t.throws(() => readRevokeOptions({ untilAt: seconds }, 5), { name: 'TypeError', message: '"options.untilAt" must be in milliseconds since the epoch, not in seconds' })
  t.equal(readRevokeMatch({ sub: 'ann', beforeAt: 0 }).beforeAt, 0)
})
