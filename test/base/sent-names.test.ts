/*
 * Names in log lines: those of the app, and those of the client.
 */
import t from 'tap'
import { namesOf, sentNames } from '../../lib/base/sent-names'

t.test('a list of names that the app chose cuts long names', async (t) => {
  t.equal(namesOf(['token', 'access_token']), 'token, access_token')
  t.equal(namesOf(['x'.repeat(100)]), 'x'.repeat(100))
  t.equal(namesOf(['x'.repeat(101)]), `${'x'.repeat(100)}...`)
  t.equal(namesOf([]), '')
})

t.test('a list of many names has the first eight, and counts the rest', async (t) => {
  const names = Array.from({ length: 10 }, (_, i) => `n${i}`)
  t.equal(namesOf(names.slice(0, 8)), 'n0, n1, n2, n3, n4, n5, n6, n7')
  t.equal(namesOf(names), 'n0, n1, n2, n3, n4, n5, n6, n7 and 2 more')
  t.equal(sentNames(names), namesOf(names))
})

t.test('a list of names gives only the length of a long or strange name that the client chose', async (t) => {
  t.equal(sentNames(['x'.repeat(20), 'x'.repeat(21), 'a b', 'é', '']), `${'x'.repeat(20)}, (21 characters), (3 characters), (1 characters), (0 characters)`)
})
