/*
 * Which keys an issuer has given up, by its answers: rotation, answers that are not whole, and other keys altogether.
 */
import t from 'tap'
import { LostKeys } from '../../lib/revocation/lost-keys'

const GRACE = 100

/** What the answers say, in order. Each is the instant, and the kids by their letters. */
function findings (...answers: Array<[now: number, kids: string]>): string[] {
  const keys = new LostKeys(GRACE)
  return answers.map(([now, kids]) => {
    const { missing, lost, isReplaced } = keys.take(new Set(kids), now)
    for (const kid of lost) keys.forget(kid)
    return `${isReplaced ? 'replaced ' : ''}${missing.map((kid) => `-${kid}`).join('')}${lost.join('')}`
  })
}

t.test('a key is lost once each answer of the grace has lacked it, and three at least', async (t) => {
  t.strictSame(findings([0, 'ab'], [10, 'bc'], [50, 'bc'], [109, 'bc'], [110, 'bc'], [500, 'bc']), ['', '-a', '', '', 'a', ''])
  t.strictSame(findings([0, 'ab'], [10, 'b'], [500, 'b'], [501, 'b']), ['', '-a', '', 'a'], 'two answers are not enough')
  t.strictSame(findings([0, 'abc'], [10, 'c'], [60, 'c'], [110, 'c']), ['', '-a-b', '', 'ab'])
})

t.test('a key that comes back begins anew', async (t) => {
  t.strictSame(findings([0, 'ab'], [10, 'b'], [60, 'b'], [105, 'ab'], [110, 'b'], [150, 'b'], [209, 'b'], [210, 'b']), ['', '-a', '', '', '-a', '', '', 'a'])
  t.strictSame(findings([0, 'ab'], [10, 'b'], [60, 'b'], [110, 'b'], [120, 'ab'], [130, 'b'], [200, 'b'], [230, 'b']), ['', '-a', '', 'a', '', '-a', '', 'a'], 'also after it was lost')
})

t.test('keys that follow each other are lost one after the other', async (t) => {
  t.strictSame(findings([0, 'ab'], [50, 'bc'], [100, 'cd'], [149, 'cd'], [150, 'de'], [200, 'de'], [250, 'de']), ['', '-a', '-b', '', '-ca', 'b', 'c'])
})

t.test('other keys altogether are not believed, and after the grace they are the keys, and no key is lost', async (t) => {
  t.strictSame(findings([0, 'ab'], [10, 'xy'], [60, 'xy'], [109, 'xy'], [120, 'ab'], [300, 'ab']), ['', 'replaced ', 'replaced ', 'replaced ', '', ''], 'the first keys are back')
  t.strictSame(findings([0, 'ab'], [10, 'xy'], [110, 'xy'], [120, 'xz'], [170, 'xz'], [220, 'xz']), ['', 'replaced ', 'replaced ', '-y', '', 'y'])
  t.strictSame(findings([0, 'ab'], [10, 'b'], [60, 'x'], [200, 'b'], [201, 'b']), ['', '-a', 'replaced ', '', 'a'], 'an answer between counts neither way')
})

t.test('how long a key has been missing is known until it is forgotten', async (t) => {
  const keys = new LostKeys(GRACE)
  keys.take(new Set('ab'), 0)
  keys.take(new Set('b'), 30)
  t.equal(keys.missingFor('a', 75), 45)
  for (const kid of ['b', 'c']) t.equal(keys.missingFor(kid, 75), 0)
  keys.forget('a')
  t.equal(keys.missingFor('a', 75), 0)
  t.strictSame(keys.take(new Set('b'), 1000), { missing: [], lost: [], isReplaced: false })
})
