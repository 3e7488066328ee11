/*
 * Properties of what is remembered: revocations against a list that forgets nothing, the sweep's heap against a sorted list,
 * and what is written into Redis against what is read from it, whoever wrote it.
 */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Arbitrary } from 'fast-check'
import t from 'tap'
import { ALL_VALUE, DISCONNECT_KINDS, isCommandText, REVOCATION_KINDS } from '../../lib/backplane/contract'
import type { Command, DisconnectKind, RevocationKind, RevokeCommand } from '../../lib/backplane/contract'
import type { Claims } from '../../lib/token/claims'
import { isReason, isSendableCode } from '../../lib/base/close-codes'
import { readDisconnectMatch, readRevokeMatch } from '../../lib/revocation/command-arguments'
import { popKey, pushKey } from '../../lib/connection/min-heap'
import { fieldsOf, memberOf, parseEntry, parseMember } from '../../lib/backplane/redis/log/entry'
import { compareIds, isNext, partsOf } from '../../lib/backplane/redis/log/position'
import { entriesOf, pairsOf } from '../../lib/backplane/redis/client/replies'
import { RevocationList } from '../../lib/backplane/revocation-list'
import { anyOrder, anyText, holds, unicode } from '../helpers/arbitraries'

const MINUTE = 60_000
const NAMES = ['ann', 'bob', '7', '__proto__', 'size']

/** When it was revoked and until when, and what; all times are by the test's clock. */
interface Told {
  readonly command: RevokeCommand
  readonly at: number
}

/** Two about the same live as long as the longer where they meet: when what was told of one is over, by all that was told. */
function endOf (told: Told, all: readonly Told[]): number {
  const same = all.filter(({ command: { kind, value } }) => kind === told.command.kind && value === told.command.value)
  let [from, end] = [told.at, told.command.untilAt]
  for (let isMore = true; isMore;) {
    const met = same.filter(({ at, command: { untilAt } }) => at < end && untilAt > from)
    const [before, after] = [from, end]
    from = Math.min(from, ...met.map(({ at }) => at))
    end = Math.max(end, ...met.map(({ command: { untilAt } }) => untilAt))
    isMore = from < before || end > after
  }
  return end
}

/** A token: its claims, and what is not in them. */
interface Token {
  readonly claims: Claims
  readonly groups: string[]
  readonly kid: string | null
}

function speaksOf ({ kind, value, issuedBy }: RevokeCommand, { claims, groups, kid }: Token): boolean {
  const of = { group: groups, kid: [kid], all: [ALL_VALUE] }
  const values = kind in of ? of[kind as keyof typeof of] : [claims[kind]]
  if (!values.some((one) => one != null && (kind === 'iss' ? one : String(one)) === value)) return false
  return kind === 'jti' || kind === 'sid' || issuedBy === null || claims.iat === undefined || Math.floor(claims.iat) <= issuedBy
}

type Step = { type: 'add', kind: RevocationKind, value: string, issuedBy: number, ttl: number } | { type: 'wait', ms: number } | { type: 'ask', token: Token } | { type: 'copy' }

const name = fc.constantFrom(...NAMES)
const issued = fc.integer({ min: -3, max: 12 })
const step: Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constant('add' as const), kind: fc.constantFrom<RevocationKind>(...REVOCATION_KINDS), value: name, issuedBy: issued, ttl: fc.oneof(fc.integer({ min: -5, max: 50 }), fc.constantFrom(MINUTE, 2 * MINUTE)) }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('wait' as const), ms: fc.oneof(fc.integer({ min: 0, max: 30 }), fc.constantFrom(MINUTE, 2 * MINUTE)) }) },
  { weight: 6, arbitrary: fc.record({ type: fc.constant('ask' as const), token: fc.record({ groups: fc.array(name, { maxLength: 2 }), kid: fc.option(name), claims: fc.record({ jti: fc.oneof(name, fc.constant(7 as unknown as string)), sid: name, sub: name, iss: fc.oneof(name, fc.constant(7 as unknown as string)), iat: fc.oneof(issued, fc.double({ min: -3, max: 12, noNaN: true })) }, { requiredKeys: [] }) as Arbitrary<Claims> }) }) },
  { weight: 1, arbitrary: fc.constant({ type: 'copy' as const }) }
)

t.test('a token is revoked if and only if a full list of the commands revokes it, in any order and at any time', async (t) => {
  const real = Date.now
  t.teardown(() => { Date.now = real })
  let revoked = 0
  holds(fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
    let now = 1_000_000
    Date.now = () => now
    let revocations = new RevocationList()
    const all: Told[] = []
    for (const one of steps) {
      if (one.type === 'wait') {
        now += one.ms
      } else if (one.type === 'add') {
        const { kind, issuedBy, ttl } = one
        const isOfAnyTime = kind === 'jti' || kind === 'sid' || (kind === 'kid' && issuedBy > 6)
        const command: RevokeCommand = { type: 'revoke', kind, value: kind === 'all' ? ALL_VALUE : one.value, issuedBy: isOfAnyTime ? null : issuedBy, untilAt: now + ttl }
        revocations.add(command)
        if (ttl > 0) all.push({ command, at: now })
      } else if (one.type === 'copy') {
        // What another instance learns from this one, more than once.
        const copy = new RevocationList()
        const inForce = [...revocations]
        for (const command of [...inForce, ...inForce.reverse()]) copy.add(command)
        revocations = copy
      } else {
        const expected = all.some((told) => speaksOf(told.command, one.token) && endOf(told, all) > now)
        const { claims, groups, kid } = one.token
        assert.equal(revocations.isRevoked(claims, undefined, groups, kid), expected)
        if (expected) revoked++
      }
    }
    const inForce = all.filter((told) => endOf(told, all) > now).map(({ command: { kind, value } }) => `${kind} ${value}`)
    assert.deepEqual([...revocations].map(({ kind, value }) => `${kind} ${value}`).sort(), [...new Set(inForce)].sort(), 'one of each that is in force')
    assert.ok(revocations.size >= new Set(inForce).size)
  }), 2000)
  Date.now = real
  t.ok(revoked > 1000, `${revoked} were revoked`)
})

t.test('the order of revocations makes no difference', async (t) => {
  const command = fc.record({ type: fc.constant('revoke' as const), kind: fc.constantFrom<RevocationKind>(...REVOCATION_KINDS), value: name, issuedBy: issued, untilAt: fc.integer({ min: 1, max: 100 }).map((ms) => Date.now() + ms * MINUTE) })
    .map((command): RevokeCommand => command.kind === 'sub' ? command : { ...command, issuedBy: null })
  const sorted = (commands: readonly RevokeCommand[]): string[] => {
    const revocations = new RevocationList()
    for (const command of commands) revocations.add(command)
    return [...revocations].map((command) => JSON.stringify(command)).sort()
  }
  holds(fc.property(fc.array(command, { maxLength: 12 }).chain((commands) => fc.tuple(fc.constant(commands), anyOrder(commands))), ([commands, others]) => {
    assert.deepEqual(sorted(others), sorted(commands))
  }), 1000)
  t.pass()
})

t.test('a match with exactly one known claim is read as it is written, and any other match is a TypeError', async (t) => {
  const kind = fc.constantFrom(...DISCONNECT_KINDS)
  const value = fc.oneof({ weight: 3, arbitrary: anyText }, { weight: 1, arbitrary: fc.constant(true) }, fc.anything())
  const match = fc.array(fc.tuple(fc.oneof({ weight: 5, arbitrary: kind }, fc.string()), value), { maxLength: 2 })
  holds(fc.property(match, (entries) => {
    const object = Object.fromEntries(entries)
    const [[key, one] = ['', null], ...others] = Object.entries(object)
    const isOne = others.length === 0 && (key === 'all' ? one === true : typeof one === 'string' && one !== '')
    const value = key === 'all' ? ALL_VALUE : one
    if (isOne && DISCONNECT_KINDS.some((kind) => kind === key)) assert.deepEqual(readDisconnectMatch(object), { kind: key, value })
    else assert.throws(() => readDisconnectMatch(object), TypeError)
    if (isOne && REVOCATION_KINDS.some((kind) => kind === key)) assert.deepEqual({ ...readRevokeMatch(object), beforeAt: 0 }, { kind: key, value, beforeAt: 0 })
    else assert.throws(() => readRevokeMatch(object), TypeError)
  }), 3000)
  t.pass()
})

t.test('the least number leaves the heap first, in any order of pushes and pops', async (t) => {
  holds(fc.property(fc.array(fc.option(fc.oneof(fc.integer(), fc.nat(5), fc.double({ noNaN: true })), { nil: null, freq: 2 }), { maxLength: 200, size: 'max' }), (steps) => {
    const heap: number[] = []
    const sorted: number[] = []
    for (const key of steps) {
      if (key === null) {
        assert.ok(popKey(heap) === sorted.shift())
      } else {
        pushKey(heap, key)
        sorted.push(key)
        sorted.sort((a, b) => a - b)
      }
      assert.equal(heap.length, sorted.length)
    }
    while (sorted.length > 0) assert.ok(popKey(heap) === sorted.shift())
    assert.equal(popKey(heap), undefined)
  }), 2000)
  t.pass()
})

const filled = anyText.filter((text) => text !== '')
const instant = fc.oneof(fc.integer(), fc.maxSafeInteger(), fc.double({ noNaN: true, noDefaultInfinity: true }))
const revoke: Arbitrary<RevokeCommand> = fc.oneof(
  fc.record({ type: fc.constant('revoke' as const), kind: fc.constantFrom('jti', 'sid'), value: filled, issuedBy: fc.constant(null), untilAt: instant }),
  fc.record({ type: fc.constant('revoke' as const), kind: fc.constantFrom('sub', 'group', 'kid', 'iss'), value: filled, issuedBy: instant, untilAt: instant }),
  fc.record({ type: fc.constant('revoke' as const), kind: fc.constant('kid'), value: filled, issuedBy: fc.constant(null), untilAt: instant }),
  fc.record({ type: fc.constant('revoke' as const), kind: fc.constant('all'), value: fc.constant(ALL_VALUE), issuedBy: instant, untilAt: instant })
) as Arbitrary<RevokeCommand>
/** Notes of a command: in its entry of the log, and not in the set. */
const notes = fc.record({ by: unicode.filter((text) => isCommandText(text)), why: anyText.filter((text) => isCommandText(text)) }, { requiredKeys: [] })
const withNotes = <C extends Command>(command: Arbitrary<C>): Arbitrary<C> => fc.tuple(command, notes).map(([command, notes]) => ({ ...command, ...notes }))
const closeCode: Arbitrary<number> = fc.oneof(fc.integer({ min: 3000, max: 4999 }), fc.constantFrom(1000, 1001, 1014))
const closeReason: Arbitrary<string> = anyText.filter((text) => isReason(text))
const disconnect: Arbitrary<Command> = fc.record({
  type: fc.constant('disconnect' as const),
  kind: fc.constantFrom<DisconnectKind>('id', 'jti', 'sid', 'sub', 'group', 'kid', 'iss'),
  value: filled,
  code: fc.option(closeCode, { nil: null }),
  reason: fc.option(closeReason, { nil: null })
})

/** What Redis makes of a text: bytes, and text again. */
function throughRedis (text: string): string {
  return Buffer.from(text).toString()
}

/** Not told apart: JSON and Redis have no negative zero. */
function withoutNegativeZero<T> (value: T): T {
  return JSON.parse(JSON.stringify(value))
}

t.test('a command that is written into the log is read from it unchanged, in each shape of a reply', async (t) => {
  const shape = fc.constantFrom<(fields: string[]) => unknown>(
    (fields) => fields,
  (fields) => fields.flatMap((name, i) => i % 2 === 0 ? [[name, fields[i + 1]]] : []),
  (fields) => new Map(fields.flatMap((name, i): Array<[string, unknown]> => i % 2 === 0 ? [[name, fields[i + 1]]] : [])),
  (fields) => Object.assign(Object.create(null), Object.fromEntries(fields.flatMap((name, i): Array<[string, unknown]> => i % 2 === 0 ? [[name, fields[i + 1]]] : [])))
  )
  const logged = fc.record({ uid: unicode, from: unicode, command: fc.option(withNotes(fc.oneof(revoke, disconnect))) })
  holds(fc.property(logged, shape, (entry, shape) => {
    const [read, ...others] = entriesOf([['5-0', shape(fieldsOf(entry).map(throughRedis))]])
    assert.deepEqual(others, [])
    assert.equal(read?.id, '5-0')
    const parsed = read === undefined ? null : parseEntry(read)
    const { uid, from, command } = entry
    assert.deepEqual(parsed, withoutNegativeZero({ uid: throughRedis(uid), from: throughRedis(from), command }))
  }), 3000)
  t.pass()
})

t.test('a revocation is read unchanged from its member of the set, and two revocations never share a member', async (t) => {
  holds(fc.property(revoke, revoke, (one, other) => {
    assert.deepEqual(parseMember(throughRedis(memberOf(one)), one.untilAt), { ...one, issuedBy: one.issuedBy === null ? null : one.issuedBy + 0 })
    const isSame = one.kind === other.kind && one.value === other.value && one.issuedBy === other.issuedBy
    assert.equal(throughRedis(memberOf(one)) === throughRedis(memberOf(other)), isSame)
  }), 3000)
  t.pass()
})

/** What Redis can reply with, to whoever asks what it does not keep. */
const reply: Arbitrary<unknown> = fc.letrec<{ reply: unknown }>((tie) => ({
  reply: fc.oneof({ depthSize: 'small' }, anyText, fc.constantFrom(null, undefined, true, new Error('WRONGTYPE'), '5-0', 'command', 'reload', 'uid', 'from'), fc.double(), fc.integer(), fc.bigInt(),
    fc.array(tie('reply'), { maxLength: 5 }), fc.array(fc.tuple(anyText, tie('reply')), { maxLength: 3 }).map((pairs) => new Map(pairs)))
})).reply

t.test('any reply of Redis gives only valid commands, and throws nothing', async (t) => {
  const written = fc.record({
    type: fc.constantFrom<unknown>('revoke', 'revoke', 'disconnect', 'disconnect', 'reload', null),
    kind: fc.oneof({ weight: 4, arbitrary: fc.constantFrom<unknown>(...DISCONNECT_KINDS, 'aud', '__proto__') }, fc.jsonValue()),
    value: fc.oneof({ weight: 4, arbitrary: filled }, fc.jsonValue()),
    issuedBy: fc.oneof({ weight: 4, arbitrary: fc.constantFrom<unknown>(null, 5, '5') }, fc.jsonValue()),
    untilAt: fc.oneof({ weight: 4, arbitrary: fc.integer() }, fc.jsonValue()),
    code: fc.oneof({ weight: 4, arbitrary: fc.constantFrom<unknown>(null, null, 4000, 1005, 999) }, fc.jsonValue()),
    reason: fc.oneof({ weight: 4, arbitrary: fc.constantFrom<unknown>(null, 'x', 'x'.repeat(124)) }, fc.jsonValue()),
    by: fc.oneof({ weight: 4, arbitrary: fc.constantFrom<unknown>('ann', 'x'.repeat(257)) }, fc.jsonValue()),
    why: fc.jsonValue()
  }, { requiredKeys: ['type', 'kind', 'value', 'issuedBy', 'untilAt', 'code'] }).map((command) => JSON.stringify(command))
  const text = fc.oneof({ weight: 6, arbitrary: written }, anyText, fc.json())
  const entry = fc.oneof({ weight: 3, arbitrary: text.map((text): unknown => ['5-0', ['uid', 'x', 'from', 'y', 'command', text]]) }, reply)
  let count = 0
  holds(fc.property(fc.oneof({ weight: 3, arbitrary: fc.array(entry, { maxLength: 3 }) as Arbitrary<unknown> }, reply), (garbage) => {
    pairsOf(garbage)
    for (const entry of entriesOf(garbage)) {
      const command = parseEntry(entry)?.command ?? null
      if (command === null) continue
      count++
      assertCommand(command)
    }
  }), 4000)
  t.ok(count > 50, `${count} were commands`)
  const member = fc.tuple(fc.constantFrom('jti:', 'sid:', 'sub:', 'sub:5:', 'sub:*:', 'sub:1e400:', 'sub:-1.5e+3:', 'id:', 'group:5:', 'kid:*:', 'kid:7:', 'iss:5:', 'all:5:', 'all:5:*', 'all:*:', ''), fc.oneof(anyText, fc.json())).map((parts) => parts.join(''))
  holds(fc.property(member, fc.double(), (member, untilAt) => {
    const command = parseMember(member, untilAt)
    if (command !== null) assertCommand(command)
  }), 4000)
})

/** What may be done to connections and tokens, and no more. */
function assertCommand (command: Command): void {
  assert.equal(typeof command.value, 'string')
  assert.notEqual(command.value, '')
  if (command.kind === 'all') assert.equal(command.value, ALL_VALUE)
  for (const note of [command.by, command.why]) assert.ok(note === undefined || isCommandText(note))
  if (command.type === 'revoke') {
    assert.deepEqual(Object.keys(command).filter((key) => key !== 'by' && key !== 'why').sort(), ['issuedBy', 'kind', 'type', 'untilAt', 'value'])
    assert.ok(REVOCATION_KINDS.includes(command.kind))
    const hasNone = command.issuedBy === null
    assert.ok(hasNone ? ['jti', 'sid', 'kid'].includes(command.kind) : Number.isFinite(command.issuedBy) && !['jti', 'sid'].includes(command.kind))
    assert.ok(Number.isFinite(command.untilAt))
  } else {
    assert.deepEqual(Object.keys(command).filter((key) => key !== 'by' && key !== 'why').sort(), ['code', 'kind', 'reason', 'type', 'value'])
    assert.ok(DISCONNECT_KINDS.includes(command.kind))
    assert.ok(command.code === null || isSendableCode(command.code))
    assert.ok(command.reason === null || isReason(command.reason))
  }
}

t.test('ids are in the order of their numbers, and isNext is true only for the very next id', async (t) => {
  const number = fc.oneof(fc.constantFrom(0n, 1n, 9n, 10n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 64n - 1n), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
  const id = fc.tuple(number, number)
  const near = fc.tuple(id, id).chain(([one, other]) => fc.constantFrom([one, other] as const, [one, [one[0], one[1] + 1n]] as const, [one, one] as const, [one, [one[0], other[1]]] as const))
  holds(fc.property(near, ([one, other]) => {
    const [text, otherText] = [one.join('-'), other.join('-')]
    assert.deepEqual(partsOf(text), [...one])
    const place = one[0] === other[0] ? (one[1] < other[1] ? -1 : one[1] > other[1] ? 1 : 0) : one[0] < other[0] ? -1 : 1
    assert.equal(Math.sign(compareIds(text, otherText)), place)
    const isBegin = text === '0-0' && other[1] === 0n
    assert.equal(isNext(otherText, text), isBegin || (one[0] === other[0] && other[1] - one[1] === 1n))
  }), 3000)
  holds(fc.property(anyText, (text) => { assert.deepEqual(partsOf(text), /^[0-9]+-[0-9]+$/.test(text) ? text.split('-').map(BigInt) : []) }), 2000)
  t.pass()
})
