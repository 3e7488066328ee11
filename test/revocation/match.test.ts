/*
 * What `revoke` and `disconnect` say of an argument that they cannot read, and where seconds end and milliseconds begin.
 */
import t from 'tap'
import { readDisconnectMatch, readDisconnectOptions, readRevokeMatch, readRevokeOptions } from '../../lib/revocation/command-arguments'

t.test('an argument that is no object is named', async (t) => {
  for (const value of [null, 'x', 7, true, ['x'], () => {}]) {
    t.throws(() => readRevokeMatch(value), { name: 'TypeError', message: '"match" must be an object' })
    t.throws(() => readDisconnectMatch(value), { name: 'TypeError', message: '"match" must be an object' })
    t.throws(() => readRevokeOptions(value, 5), { name: 'TypeError', message: '"options" must be an object' })
    t.throws(() => readDisconnectOptions(value), { name: 'TypeError', message: '"options" must be an object' })
  }
})

t.test('an option that there is not is named', async (t) => {
  t.throws(() => readRevokeOptions({ untilAt: 0, code: 4000 }, 5), { name: 'TypeError', message: '"options.code" must be left out: there is no such option' })
  t.throws(() => readDisconnectOptions({ code: 4000, untilAt: 0 }), { name: 'TypeError', message: '"options.untilAt" must be left out: there is no such option' })
})

t.test('an instant between September 2001 and the year 5138 in seconds is not taken for milliseconds', async (t) => {
  const inSeconds = /must be in milliseconds since the epoch, not in seconds$/
  for (const instant of [1e9, 1e9 + 0.5, 5e10, 1e11 - 1]) {
    t.throws(() => readRevokeMatch({ sub: 'ann', beforeAt: instant }), { name: 'TypeError', message: inSeconds }, `${instant}`)
    t.throws(() => readRevokeOptions({ untilAt: instant }, 5), { name: 'TypeError', message: inSeconds }, `${instant}`)
  }
  for (const instant of [-5e10, 0, 1e9 - 1, 1e11, 1.7e12]) {
    t.equal(readRevokeMatch({ sub: 'ann', beforeAt: instant }).beforeAt, instant)
    t.equal(readRevokeOptions({ untilAt: instant }, 5), instant)
  }
})

t.test('a revocation by jti or sid needs no beforeAt, and has none but now', async (t) => {
  for (const kind of ['jti', 'sid'] as const) {
    const before = Date.now()
    const { beforeAt, ...target } = readRevokeMatch({ [kind]: 'x' })
    t.strictSame(target, { kind, value: 'x' })
    t.ok(beforeAt >= before && beforeAt <= Date.now())
  }
})
