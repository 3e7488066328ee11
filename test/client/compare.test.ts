/*
 * The recorded comparison with other libraries, and the document that has it.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { libraries } from './compare/libraries/index'
import { situations } from './compare/situations'
import { columnOf, withTable } from './compare/table'
import { about, amount, busiest, list, seconds, withoutNumbers } from './compare/words'

const table = readFileSync('test/client/compare/results.md', 'utf8')

t.test('the table has a text for each situation and library', async (t) => {
  t.equal(situations.length, 15)
  for (const { name } of libraries) {
    const column = columnOf(table, name)
    t.strictSame([...column.keys()], situations.map(({ title }) => title), name)
    t.notOk([...column.values()].includes(''), `${name} has no empty cell`)
  }
})

t.test('the README of the client has the recorded table', async (t) => {
  const readme = readFileSync('lib/client/README.md', 'utf8')
  t.equal(readme, withTable(readme, table))
  t.match(readme, table)
})

t.test('numbers that may change have a mark, and are the same without it', async (t) => {
  t.strictSame([amount(0, 'handshake'), amount(1, 'handshake'), amount(2, 'handshake'), amount(3, 'handshake')], ['0 handshakes', '1 handshake', '2 handshakes', '~3 handshakes'])
  t.strictSame([about(1, 'token call'), about(2, 'token call')].map(withoutNumbers), ['~ token call', '~ token call'])
  t.equal(withoutNumbers(`2 handshakes after ${seconds(1234)}`), '2 handshakes after ~ s')
  t.equal(list(['open', 'close', 'open', 'open', 'close']), '`open` ×~3, `close` ×2')
  t.equal(busiest([0, 100, 240, 251, 900], 250), 3)
})
