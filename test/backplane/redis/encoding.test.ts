/*
 * How keys, entries of the log and revocations are written in Redis, and read in each shape that a client gives.
 */
import t from 'tap'
import type { Command } from '../../../lib/backplane/contract'
import { fieldsOf, memberOf, parseEntry, parseMember } from '../../../lib/backplane/redis/log/entry'
import { keysOf } from '../../../lib/backplane/redis/keys'
import { compareIds, epochOf, isNext, START } from '../../../lib/backplane/redis/log/position'
import { entriesOf, pairsOf, valueOf } from '../../../lib/backplane/redis/client/replies'
import { ODD_TEXTS } from '../../contracts/backplane'
import { revoke } from '../../helpers/redis-connection'

t.test('the keys of an app have one hash tag, and no name of a value is another key', async (t) => {
  const { value, inbox, slots, pruned, ...keys } = keysOf('my app')
  t.same(keys, {
    log: '{my app}:log', revoked: '{my app}:revoked', alive: '{my app}:alive', leases: '{my app}:leases', leaseState: '{my app}:lease-state', evicted: '{my app}:evicted'
  })
  t.same([inbox('a'), slots('a'), pruned('a')], ['{my app}:inbox:a', '{my app}:slots:a', '{my app}:pruned:a'])
  const others = [...Object.values(keys), inbox('a'), slots('a'), pruned('a')]
  for (const name of ['', ...ODD_TEXTS, ...others]) {
    t.ok(value(name).startsWith('{my app}:') && value(name).endsWith(name))
    t.notOk(others.includes(value(name)))
  }
})

t.test('pairs are read alike in every shape of reply', async (t) => {
  const expected = [['a', 1], ['b', ['x', 'y']]]
  t.same(pairsOf(new Map<unknown, unknown>([['a', 1], [Buffer.from('b'), ['x', 'y']]])), expected)
  t.same(pairsOf({ a: 1, b: ['x', 'y'] }), expected)
  t.same(pairsOf(Object.assign(Object.create(null), { a: 1, b: ['x', 'y'] })), expected)
  t.same(pairsOf([['a', 1], ['b', ['x', 'y']]]), expected)
  t.same(pairsOf(['a', 1, 'b', ['x', 'y']]), expected)
  t.same(pairsOf(['a', 1, 'b']), [['a', 1]], 'half a pair is none')
  for (const nothing of [null, undefined, [], {}, new Map(), 'OK', 5, true]) t.same(pairsOf(nothing), [])
})

t.test('entries of a stream are read, and malformed ones are not', async (t) => {
  t.same(entriesOf([['1-0', ['a', 'b', '__proto__', 'c']], ['1-1', { a: 5 }], ['1-2', null]]), [
    { id: '1-0', fields: new Map([['a', 'b'], ['__proto__', 'c']]) },
    { id: '1-1', fields: new Map([['a', '5']]) },
    { id: '1-2', fields: new Map() }
  ])
  t.same(entriesOf([null, 'x', ['1-3', []]]), [{ id: '1-3', fields: new Map() }])
  for (const nothing of [null, undefined, 'OK', {}, 5]) t.same(entriesOf(nothing), [])
  const failure = new Error('ERR it')
  t.throws(() => valueOf(failure), failure)
  t.equal(valueOf('x'), 'x')
  t.equal(valueOf(null), null)
})

t.test('ids are compared as numbers of 64 bits', async (t) => {
  const ids = ['0-0', '0-1', '1-0', '1-9', '1-10', '9-0', '10-0', '9007199254740992-0', '9007199254740993-0', '9007199254740993-18446744073709551614', '9007199254740993-18446744073709551615', '18446744073709551615-0']
  for (const [i, one] of ids.entries()) {
    for (const [j, other] of ids.entries()) t.equal(compareIds(one, other), Math.sign(i - j), `${one} and ${other}`)
  }
  t.ok(compareIds('none', '0-1') < 0)
  t.equal(compareIds('none', START.id), 0)
  t.equal(epochOf('12-34'), '12')
})

t.test('the next id follows an id without a gap', async (t) => {
  for (const [after, id] of [['5-0', '5-1'], ['5-9', '5-10'], ['5-9007199254740992', '5-9007199254740993'], ['0-0', '5-0'], ['0-0', '18446744073709551615-0']] as const) {
    t.equal(isNext(id, after), true, `${id} after ${after}`)
  }
  for (const [after, id] of [['5-0', '5-2'], ['5-1', '5-1'], ['5-1', '5-0'], ['5-1', '6-0'], ['5-1', '6-2'], ['0-0', '5-1'], ['5-9007199254740992', '5-9007199254740994'], ['x', 'x'], ['5-0', 'x']] as const) {
    t.equal(isNext(id, after), false, `${id} after ${after}`)
  }
})

/** Texts of what has a meaning in names of revocations, put together at random. */
function randomText (): string {
  const parts = ['sub', 'jti', 'sid', ':', ':', '5', '-', 'e+', '.', '"', '\\', '{', '}', '\0', '\n', 'ü', '👍', '\ud83d', '\udc4d', ' ', '__proto__']
  return Array.from({ length: 1 + Math.floor(Math.random() * 6) }, () => parts[Math.floor(Math.random() * parts.length)]).join('')
}

/** As Redis gives it back: UTF-8 has no halves of surrogate pairs. */
function throughRedis (text: string): string {
  return Buffer.from(text).toString()
}

t.test('any revocation survives being named in Redis', async (t) => {
  const values = [...ODD_TEXTS, '\ud800', '"\ud800', '""', '"a"', ...Array.from({ length: 20_000 }, randomText)]
  const issuedBys = [0, -1, 5, -5, 1_700_000_000, 1e21, 1.5e300, -1e297, 5e-324, 0.5, -0.25, Number.MAX_SAFE_INTEGER]
  const names = new Map<string, string>()
  for (const [i, value] of values.entries()) {
    const issuedBy = issuedBys[i % issuedBys.length]
    const timed = (['sub', 'group', 'kid', 'iss'] as const).map((kind) => revoke(kind, value, issuedBy))
    for (const revocation of [revoke('jti', value), revoke('sid', value), ...timed, revoke('kid', value), revoke('all', '*', issuedBy)]) {
      const name = throughRedis(memberOf(revocation))
      const about = JSON.stringify(revocation)
      const read = parseMember(name, revocation.untilAt)
      if (JSON.stringify(read) !== about) t.same(read, revocation, name.slice(0, 100))
      if ((names.get(name) ?? about) !== about) t.equal(names.get(name), about, 'two have one name')
      names.set(name, about)
    }
  }
  t.ok(names.size > 10_000)
})

t.test('a malformed name of a revocation is no revocation', async (t) => {
  const names = [
    'all:5:a', 'all:*', 'all:*:*', 'all:5', 'group:a', 'group:*:a', 'iss:*:a', 'sub:*:a', 'kid:a', 'kid:*', 'kid:*:', 'kid:**:a', 'aud:5:a',
    '', 'jti', 'jti:', 'id:a', 'JTI:a', 'sub:a', 'sub::a', 'sub:5', 'sub:5:', 'sub:null:a', 'sub:Infinity:a', 'sub:1e999:a', 'sub:1e+999:a', 'sub:0x5:a', 'sub: 5:a', 'sub:--5:a', 'sub:5.:a', ' jti:a', 'x\njti:a',
    'jti:"', 'jti:"a', 'jti:""', 'jti:"a"b', 'sub:5:"', 'sub:5:"\\'
  ]
  for (const name of names) t.equal(parseMember(name, 4e12), null, name)
  for (const untilAt of [NaN, Infinity, -Infinity]) t.equal(parseMember('jti:a', untilAt), null)
  t.same(parseMember('jti:a', 5), revoke('jti', 'a', null, 5))
})

t.test('any command survives being an entry of the log', async (t) => {
  const values = [...ODD_TEXTS, '\ud800', ...Array.from({ length: 2000 }, randomText)]
  const commands = values.flatMap((value): Command[] => [
    revoke('jti', value), revoke('sid', value, null, 1.5), revoke('sub', value, -5), revoke('sub', value, 1e297),
    { type: 'disconnect', kind: 'id', value, code: null, reason: null },
    { type: 'disconnect', kind: 'sub', value, code: 4999, reason: '' },
    { type: 'disconnect', kind: 'sid', value, code: 1000, reason: '√'.repeat(41), by: 'ann', why: '√'.repeat(85) },
    revoke('group', value, 5), revoke('kid', value), { ...revoke('iss', value, 5), by: '' }, { ...revoke('all', '*', 5), why: 'two\nlines' },
    { type: 'disconnect', kind: 'all', value: '*', code: null, reason: null },
    { type: 'disconnect', kind: 'sub', value, code: null, reason: null, within: 60_000 }
  ])
  for (const command of [...commands, null]) {
    const fields = fieldsOf({ uid: 'a', from: 'b', command }).map(throughRedis)
    const [entry] = entriesOf([['1-0', fields]])
    const read = entry && parseEntry(entry)
    if (JSON.stringify(read) !== JSON.stringify({ uid: 'a', from: 'b', command })) t.same(read, { uid: 'a', from: 'b', command })
  }
  t.ok(commands.length > 10_000)
})

t.test('a malformed entry is no command', async (t) => {
  const disconnect = { type: 'disconnect', kind: 'sub', value: 'a', code: null, reason: null }
  const wrong: unknown[] = [
    'x', '', '{', 'null', '5', '"revoke"', '[]', '{}', 'Reload',
    ...[
      { ...revoke('jti', 'a'), type: 'forget' }, { ...revoke('jti', 'a'), type: undefined }, { ...revoke('jti', 'a'), kind: 'id' }, { ...revoke('jti', 'a'), kind: 'iss' }, { ...revoke('jti', 'a'), kind: 'aud' }, revoke('group', 'a'), revoke('iss', 'a'), revoke('all', '*'), revoke('all', 'a', 5),
      revoke('jti', ''), { ...revoke('jti', 'a'), value: 5 }, { ...revoke('jti', 'a'), value: ['a'] }, { ...revoke('jti', 'a'), value: null },
      revoke('jti', 'a', 5), revoke('sub', 'a'), revoke('sub', 'a', NaN), { ...revoke('sub', 'a'), issuedBy: '5' }, { ...revoke('sub', 'a'), issuedBy: undefined },
      revoke('jti', 'a', null, Infinity), { ...revoke('jti', 'a'), untilAt: '5' }, { ...revoke('jti', 'a'), untilAt: null },
      { ...disconnect, kind: 'aud' }, { ...disconnect, kind: 'all' }, { ...disconnect, kind: undefined }, { ...disconnect, value: '' },
      { ...disconnect, code: 1005 }, { ...disconnect, code: 1006 }, { ...disconnect, code: 999 }, { ...disconnect, code: 5000 }, { ...disconnect, code: '4000' }, { ...disconnect, code: 4000.5 }, { ...disconnect, code: undefined },
      { ...disconnect, reason: 'x'.repeat(124) }, { ...disconnect, reason: '√'.repeat(42) }, { ...disconnect, reason: 5 }, { ...disconnect, reason: undefined }
    ].map((command) => JSON.stringify(command))
  ]
  const entry = (fields: unknown[]): ReturnType<typeof parseEntry> => parseEntry({ id: '1-0', fields: new Map(pairsOf(fields).map(([name, value]) => [name, String(value)])) })
  for (const command of wrong) t.equal(entry(['uid', 'a', 'from', 'b', 'command', command]), null, String(command))
  const right = JSON.stringify(disconnect)
  t.same(entry(['uid', 'a', 'from', 'b', 'command', right]), { uid: 'a', from: 'b', command: disconnect })
  t.same(entry(['command', right, 'more', 'x', 'from', 'b', 'uid', 'a']), { uid: 'a', from: 'b', command: disconnect }, 'in any order, and with more')
  t.same(entry(['uid', 'a', 'from', 'b', 'command', 'reload']), { uid: 'a', from: 'b', command: null })
  for (const missing of ['uid', 'from', 'command']) {
    t.equal(entry(['uid', 'a', 'from', 'b', 'command', right].map((item) => item === missing ? 'x' : item)), null, `without ${missing}`)
  }
  const polluting = JSON.stringify(disconnect).replace('{', '{"__proto__":{"polluted":true},')
  t.same(Object.keys(entry(['uid', 'a', 'from', 'b', 'command', polluting])?.command ?? {}), Object.keys(disconnect), 'nothing else of it is taken')
  t.equal((entry(['uid', 'a', 'from', 'b', 'command', polluting])?.command as { polluted?: boolean } | null)?.polluted, undefined)
})

t.test('a command with a note that is none is read without it', async (t) => {
  for (const note of [5, null, ['x'], { x: 'x' }, 'x'.repeat(257), true]) {
    for (const command of [revoke('jti', 'a'), { type: 'disconnect', kind: 'sub', value: 'a', code: null, reason: null }]) {
      const fields = new Map([['uid', 'a'], ['from', 'b'], ['command', JSON.stringify({ ...command, by: note, why: 'x', more: 'x' })]])
      t.strictSame(parseEntry({ id: '1-0', fields })?.command, { ...command, why: 'x' })
    }
  }
})
