import t from 'tap'
import { copyData, freezeData, frozenCopy, isSameData } from '../../lib/token/frozen-data'

function nested (depth: number): unknown {
  return JSON.parse('{"a":['.repeat(depth) + '1' + ']}'.repeat(depth))
}

t.test('a copy has the same data and none of the objects', async (t) => {
  const source = { a: [1, { b: null }], c: 'd', e: undefined }
  const copy = copyData(source)
  t.strictSame(copy, source)
  t.not(copy, source)
  t.not(copy.a, source.a)
  t.not(copy.a[1], source.a[1])
})

t.test('a copy of data 100,000 levels deep is frozen and compared', async (t) => {
  const value = nested(50_000)
  const copy = freezeData(copyData(value))
  t.ok(isSameData(copy, value))
  t.notOk(isSameData(copy, nested(49_999)))
  let levels = 0
  for (let inner: unknown = copy; typeof inner === 'object' && inner !== null && Object.isFrozen(inner); levels++) {
    inner = Object.values(inner)[0]
  }
  t.equal(levels, 100_000, 'all are frozen')
})

t.test('an own __proto__ stays a property', async (t) => {
  const copy = copyData(JSON.parse('{"__proto__":{"roles":["admin"]},"sub":"eve"}'))
  t.equal(copy.roles, undefined)
  t.equal(Object.getPrototypeOf(copy), Object.prototype)
  t.strictSame(Object.keys(copy), ['__proto__', 'sub'])
})

t.test('a copy keeps circular references', async (t) => {
  const one: Record<string, unknown> = { list: [] }
  one.self = one
  const list = one.list as unknown[]
  list.push(one, list)
  const copy = freezeData(copyData(one)) as { self: unknown, list: unknown[] }
  t.equal(copy.self, copy)
  t.strictSame(copy.list[0] === copy && copy.list[1] === copy.list, true)
  t.ok(Object.isFrozen(copy.list))
})

t.test('a value that is not plain data is not copied and not frozen', async (t) => {
  class Account { name = 'ann' }
  const account = new Account()
  const at = new Date()
  const copy = freezeData(copyData({ account, at, map: new Map(), nothing: Object.assign(Object.create(null), { a: 1 }) }))
  t.equal(copy.account, account)
  t.equal(copy.at, at)
  t.notOk(Object.isFrozen(account))
  t.equal(Object.getPrototypeOf(copy.nothing), null)
  t.ok(Object.isFrozen(copy.nothing))
  for (const value of [account, null, undefined, 7, 'a', Symbol.iterator]) {
    t.equal(copyData(value), value)
    t.equal(freezeData(value), value)
  }
})

t.test('a copy drops symbol-keyed properties, and an own __proto__ of an array does not change it', async (t) => {
  const odd = Object.defineProperty(['member'], '__proto__', { value: { admin: true }, enumerable: true })
  const copy = frozenCopy({ roles: odd, [Symbol('secret')]: {}, list: [odd] }) as { roles: unknown[], list: unknown[][] }
  t.equal(Object.getPrototypeOf(copy.roles), Array.prototype)
  t.equal((copy.roles as { admin?: boolean }).admin, undefined)
  t.equal(copy.roles, copy.list[0], 'what is held twice is copied once')
  t.strictSame([copy.roles.length, Object.getOwnPropertySymbols(copy).length], [1, 0])
  for (const held of [copy, copy.roles, copy.list]) t.ok(Object.isFrozen(held))
})

t.test('two values are the same data if all of their properties are the same', async (t) => {
  const same: Array<[unknown, unknown, boolean]> = [
    [{ a: [1, 2] }, { a: [1, 2] }, true],
    [{ a: 1, b: 2 }, { b: 2, a: 1 }, true],
    [NaN, NaN, true],
    [{ a: 1 }, { a: 1, b: 2 }, false],
    [{ a: undefined }, { b: undefined }, false],
    [[1], { 0: 1 }, false],
    [[], {}, false],
    [{ a: null }, { a: {} }, false],
    [new Date(0), new Date(0), false],
    ['a', 'b', false]
  ]
  for (const [one, other, answer] of same) t.equal(isSameData(one, other), answer)
})
