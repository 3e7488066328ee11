import t from 'tap'
import { didYouMean } from '../../lib/base/near-names'

const KNOWN = ['token', 'tickets', 'rejectWith', 'closeCodes', 'maxLifetime', 'origin', 'jwt']

t.test('an error proposes the nearest name, whatever its case and its separators', async (t) => {
  const near: Array<[name: string, meant: string]> = [
    ['tokens', 'token'], ['tokne', 'token'], ['Token', 'token'], ['ticket', 'tickets'], ['reject_with', 'rejectWith'], ['rejectwiht', 'rejectWith'],
    ['closeCode', 'closeCodes'], ['max-lifetime', 'maxLifetime'], ['orgin', 'origin'], ['jwts', 'jwt'], ['wjt', 'jwt']
  ]
  for (const [name, meant] of near) t.equal(didYouMean(name, KNOWN), `; did you mean "${meant}"?`, name)
})

t.test('an error does not propose a name that is another word', async (t) => {
  for (const name of ['server', 'x', '', 'originator', 'closed']) t.equal(didYouMean(name, KNOWN), '', name)
  t.equal(didYouMean('token', []), '')
})
