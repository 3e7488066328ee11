/*
 * The contract of lib/backplane/contract.ts as tests. An author of a backplane runs all of them against it.
 */
import Fastify from 'fastify'
import type { Test } from 'tap'
import { ALL_VALUE, REVOCATION_KINDS } from '../../lib/backplane/contract'
import type { Backplane, BackplaneLink, BackplaneMember, Command, DisconnectCommand, InstanceAnswer, RevocationKind, RevokeCommand } from '../../lib/backplane/contract'
import { createId } from '../../lib/base/id'
import { RevocationList } from '../../lib/backplane/revocation-list'
import { until, within } from '../helpers/app'

/** Where instances meet. What is made there leads to the others that were made there, as in many processes. */
export interface Place {
  make: () => Promise<Backplane>
}

/** How long anything may take, in milliseconds of turns. */
const TIMEOUT = 60_000
const HOUR = 3_600_000

/** What names of users, and of what is kept, may look like where nobody has been warned. */
export const ODD_TEXTS: readonly string[] = [
  'a', ' ', '0', '-1', 'null', '*', ':', '::', '5:x', 'sub:5:x', 'jti:x', 'sub:', '{x}', '}:{', '{', '"', '"x"', '"x', '\\', '\\u0000',
  '\0', 'a\0b', '\r\n', '$5\r\nhello', '\n', '\u2028', 'ü', '日本語', '👩‍👩‍👧', '\ufeff', '\uffff', '__proto__', 'constructor', 'toString',
  'log', 'revoked', 'alive', 'inbox:a', 'reload', 'x'.repeat(65_536), '√'.repeat(65_536)
]

/** An instance that writes down what it is told. */
class Recorder implements BackplaneMember {
  readonly id = createId()
  readonly lines: string[] = []
  readonly log = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => { this.lines.push(line) } } } }).log
  readonly applied: Command[] = []
  readonly known = new RevocationList()
  outages = 0
  /** What it answers. */
  closes: (command: Command) => number = () => 0

  apply (command: Command): number {
    this.applied.push(command)
    if (command.type === 'revoke') this.known.add(command)
    return this.closes(command)
  }

  revocations (): Iterable<RevokeCommand> {
    return this.known
  }

  onOutage (): void {
    this.outages++
  }
}

interface Joined {
  readonly member: Recorder
  readonly link: BackplaneLink
}

/** Which tests of the contract are run: all, or those that take a few round trips. */
export type Extent = 'all' | 'quick'

/** Runs the tests of the contract. @param open makes a place that nothing has happened in yet */
export function testBackplane (t: Test, name: string, open: (t: Test) => Promise<Place>, extent: Extent = 'all'): void {
  const test: TestPlace = (sentence, run, { takesLong = false, ...options } = {}) => {
    if (takesLong && extent === 'quick') return
    t.test(`${name}: ${sentence}`, options, async (t) => {
      const place = await open(t)
      await run(t, async (member = new Recorder()) => {
        const link = (await place.make()).join(member)
        t.teardown(async () => await link.leave())
        await within(TIMEOUT, 'it is ready', link.ready)
        return { member, link }
      })
    })
  }
  testCommands(test)
  testRevocations(test)
  testValues(test)
  testLeaving(test)
}

/** Lets an instance join: a new one, or one that was there before. */
type Join = (member?: Recorder) => Promise<Joined>
type TestPlace = (sentence: string, run: (t: Test, join: Join) => Promise<void>, options?: { buffered?: boolean, takesLong?: boolean }) => void

function testCommands (test: TestPlace): void {
  test('a command of the only instance is answered at once, with no answers', async (t, join) => {
    const { member, link } = await join()
    t.same(await link.publish(disconnect('a')), [])
    t.same(await link.publish(revoke('jti', 'a')), [])
    t.same(member.applied, [])
    t.equal(link.isCurrent, true)
  })

  test('a command reaches every other member once, and is answered with what apply returned', async (t, join) => {
    const [one, ...others] = await joinAll(join, 4)
    for (const [i, { member }] of others.entries()) member.closes = ({ type }) => type === 'revoke' ? i : 10 ** i
    const commands = [
      disconnect('a'), disconnect('b', 'id', 4999, '√ bye'), disconnect('c', 'sid', 3000, ''), disconnect('d', 'jti', null, null),
      revoke('jti', 'e'), revoke('sid', 'f'), revoke('sub', 'g', 0), revoke('sub', 'g', -5), revoke('sub', 'g', 1e297),
      revoke('group', 'h', 5), revoke('kid', 'i', 5), revoke('kid', 'i'), revoke('iss', 'j', 5), revoke('all', '*', 5), { ...revoke('jti', 'k'), by: 'ann', why: '√' },
      disconnect('h', 'group'), disconnect('i', 'kid'), disconnect('j', 'iss'), { ...disconnect('*', 'all'), by: 'ann', why: 'two\nlines' }
    ]
    for (const command of commands) {
      same(t, await one.link.publish(command), others.map(({ member }) => ({ id: member.id, answered: true, closed: member.closes(command) })))
    }
    for (const { member } of others) t.same(member.applied, commands)
    t.same(one.member.applied, [], 'the publisher has applied it already')
  })

  test('odd values arrive at the other instances unchanged', async (t, join) => {
    const [one, other] = await joinAll(join, 2)
    const values = [...ODD_TEXTS, '\ud800', 'x\udc00x']
    const commands = values.flatMap((value) => [disconnect(value), revoke('jti', value), revoke('sub', value, 7)])
    await Promise.all(commands.map(async (command) => await one.link.publish(command)))
    t.equal(other.member.applied.length, commands.length)
    t.ok(commands.every((command, i) => JSON.stringify(command) === JSON.stringify(other.member.applied[i])), 'all of them, in order')
    t.same(other.member.lines, [])
  }, { takesLong: true })

  test('1,000 commands that four instances publish at once all arrive, once and in order', async (t, join) => {
    const joined = await joinAll(join, 4)
    await joined[0].link.publish(disconnect('first'))
    const applied = await testBurst(t, joined)
    for (const [to, commands] of applied) {
      for (const { member } of joined) {
        const values = commands.map(({ value }) => value).filter((value) => value.startsWith(`${member.id}:`))
        t.same(values, member.id === to ? [] : numbers(250).map((i) => `${member.id}:${i}`))
      }
    }
  }, { takesLong: true })

  test('1,000 first commands that four instances publish at once all arrive, and once', async (t, join) => {
    const joined = await joinAll(join, 4)
    const applied = await testBurst(t, joined)
    const all = joined.flatMap(({ member }) => numbers(250).map((i) => `${member.id}:${i}`)).sort()
    for (const [to, commands] of applied) {
      t.same(commands.map(({ value }) => value).sort(), all.filter((value) => !value.startsWith(`${to}:`)))
    }
  }, { takesLong: true })
}

/** @returns what was applied by each, by their ids */
async function testBurst (t: Test, joined: readonly Joined[]): Promise<Map<string, Command[]>> {
  for (const { member } of joined) {
    member.applied.length = 0
    member.closes = ({ value }) => Number(value.split(':')[1])
  }
  const tell = async ({ member, link }: Joined, i: number): Promise<unknown[]> => {
    const answers = await link.publish(disconnect(`${member.id}:${i}`))
    const others = joined.filter((other) => other.member !== member)
    const isRight = answers.length === 3 && others.every((other) => answers.some(({ id, closed }) => id === other.member.id && closed === i))
    return isRight ? [] : [answers]
  }
  // A slow machine must be able to answer all that is told at once within 5 s.
  const wrong: unknown[] = []
  for (let from = 0; from < 250; from += 50) {
    const telling = joined.flatMap((one) => numbers(50).map(async (i) => await tell(one, from + i)))
    wrong.push(...(await within(TIMEOUT, 'all are answered', Promise.all(telling))).flat())
  }
  t.same(wrong, [], 'each is answered with its own number')
  for (const { member } of joined) {
    t.equal(member.applied.length, 750)
    t.same(member.lines, [], 'there was nothing to be told of')
    t.equal(member.outages, 0)
  }
  return new Map(joined.map(({ member }) => [member.id, member.applied]))
}

function testRevocations (test: TestPlace): void {
  test('an instance that starts late applies the revocations in force, although their publishers have left', async (t, join) => {
    const values = [...ODD_TEXTS, '\ud800', 'x\udc00x']
    const told = [
      ...values.flatMap((value) => [revoke('jti', value), revoke('sid', value), revoke('kid', value)]),
      ...values.flatMap((value, i) => (['sub', 'group', 'iss'] as const).map((kind) => revoke(kind, value, i - 3))),
      revoke('all', '*', 7)
    ]
    const early = await joinAll(join, 2)
    await Promise.all(told.map(async (command, i) => await early[i % 2]?.link.publish(command)))
    await early[0].link.publish(disconnect('a'))
    await Promise.all(early.map(async ({ link }) => await link.leave()))

    const { member } = await join()
    t.equal(member.applied.length, told.length)
    t.same(sorted(member.applied), sorted(told))
    t.same(member.lines, [])
  }, { takesLong: true })

  test('the later of two revocations by the same claim stands, and no revocation undoes another', async (t, join) => {
    const [one, other] = await joinAll(join, 2)
    const now = Date.now()
    const told: RevokeCommand[] = []
    const expected = new Map<string, RevokeCommand>()
    for (let i = 0; i < 400; i++) {
      const kind = oneOf(REVOCATION_KINDS)
      const command = revoke(kind, kind === 'all' ? ALL_VALUE : oneOf(['a', 'b', '5:a', 'sub:5:a']), random(-3, 12), now + HOUR + random(0, 5) * 1000)
      const known = expected.get(kind + command.value) ?? command
      told.push(command)
      expected.set(kind + command.value, {
        ...command,
        issuedBy: command.issuedBy === null ? null : Math.max(command.issuedBy, known.issuedBy ?? -Infinity),
        untilAt: Math.max(command.untilAt, known.untilAt)
      })
    }
    await Promise.all(told.map(async (command, i) => await (i % 2 === 0 ? one : other).link.publish(command)))

    const { member } = await join()
    t.same(sorted(member.known), sorted(expected.values()))
  }, { takesLong: true })

  test('a revocation that has ended is not handed to a new instance, and a prolonged one is', async (t, join) => {
    const { link } = await join()
    const untilAt = Date.now() + 300
    await link.publish(revoke('jti', 'over', null, untilAt))
    for (const kind of ['sub', 'group', 'kid', 'iss'] as const) await link.publish(revoke(kind, 'over', 5, untilAt))
    await link.publish(revoke('all', ALL_VALUE, 5, untilAt))
    await link.publish(revoke('sid', 'never', null, 1000))
    await link.publish(revoke('sid', 'longer', null, untilAt))
    await link.publish(revoke('sid', 'longer', null, untilAt + HOUR))
    await link.publish(revoke('sid', 'not shorter', null, untilAt + HOUR))
    await link.publish(revoke('sid', 'not shorter', null, untilAt))
    await until(() => Date.now() > untilAt, 'they are over')
    const { member } = await join()
    t.same(sorted(member.applied), sorted([revoke('sid', 'longer', null, untilAt + HOUR), revoke('sid', 'not shorter', null, untilAt + HOUR)]))
  })

  test('an instance that joins while others revoke misses no revocation', async (t, join) => {
    const [one, other] = await joinAll(join, 2)
    const told = numbers(300).map((i) => revoke('jti', String(i)))
    const publishing = Promise.all(told.map(async (command, i) => {
      await new Promise((resolve) => setTimeout(resolve, i / 3))
      return await (i % 2 === 0 ? one : other).link.publish(command)
    }))
    const late = await joinAll(join, 3)
    await within(TIMEOUT, 'all are published', publishing)
    for (const { member } of late) {
      await until(() => [...member.known].length === told.length, 'all are known', TIMEOUT)
      t.same(sorted(member.known), sorted(told))
    }
  }, { takesLong: true })
}

function testValues (test: TestPlace): void {
  test('a value that was put is got by its name, and taken once', async (t, join) => {
    const [one, other] = await joinAll(join, 2)
    t.equal(await other.link.get('a'), null)
    t.equal(await other.link.take('a'), null)
    t.equal(await one.link.put('a', 'x', HOUR), true)
    t.equal(await one.link.put('a', 'y', HOUR), false, 'there is one by that name')
    t.equal(await other.link.put('a', 'y', HOUR), false, 'and for the others too')
    t.equal(await other.link.get('a'), 'x')
    t.equal(await one.link.get('a'), 'x', 'having it takes nothing away')
    t.equal(await other.link.take('a'), 'x')
    t.equal(await one.link.take('a'), null)
    t.equal(await one.link.get('a'), null)
    t.equal(await other.link.put('a', 'z', HOUR), true)
    t.equal(await one.link.take('a'), 'z')
  })

  test('a value that was put is gone after its ttl, and not before', async (t, join) => {
    const [one, other] = await joinAll(join, 2)
    await one.link.put('long', 'x', HOUR)
    const putAt = Date.now()
    for (const name of ['got', 'taken', 'put']) t.equal(await one.link.put(name, 'x', 300), true)
    await untilGone(other.link, 'put')
    t.ok(Date.now() - putAt >= 290, 'not before')
    t.equal(await one.link.get('got'), null)
    t.equal(await other.link.take('taken'), null)
    t.equal(await one.link.put('put', 'y', HOUR), true, 'its name is free')
    t.equal(await other.link.get('put'), 'y')
    t.equal(await other.link.get('long'), 'x')
  })

  test('one of 100 simultaneous takes on four instances gets the value', async (t, join) => {
    const joined = await joinAll(join, 4)
    for (let round = 0; round < 5; round++) {
      await joined[0].link.put('prize', `it ${round}`, HOUR)
      const taken = await Promise.all(numbers(100).map(async (i) => await joined[i % 4]?.link.take('prize')))
      t.same(taken.filter((value) => value !== null), [`it ${round}`])
    }
  })

  test('one of 100 simultaneous puts on four instances succeeds', async (t, join) => {
    const joined = await joinAll(join, 4)
    const put = await Promise.all(numbers(100).map(async (i) => await joined[i % 4]?.link.put('place', String(i), HOUR)))
    t.equal(put.filter(Boolean).length, 1)
    t.equal(await joined[1].link.get('place'), String(put.indexOf(true)), 'its value is there')
  })

  test('any text may be a name and a value, and changes nothing else', async (t, join) => {
    const [one, other] = await joinAll(join, 2)
    const names = ['', ...ODD_TEXTS, `inbox:${one.member.id}`, one.member.id]
    t.ok((await Promise.all(names.map(async (name) => await one.link.put(name, `of ${name}`, HOUR)))).every(Boolean))
    for (const name of names) {
      if (await other.link.get(name) !== `of ${name}`) t.fail(`another value by the name ${name.slice(0, 20)}`)
      if (await other.link.take(name) !== `of ${name}`) t.fail(`another value is taken by the name ${name.slice(0, 20)}`)
    }
    for (const value of names) {
      await one.link.put('value', value, HOUR)
      if (await other.link.take('value') !== value) t.fail(`another value than ${value.slice(0, 20)}`)
    }
    same(t, await one.link.publish(revoke('jti', 'a')), [{ id: other.member.id, answered: true, closed: 0 }])
    const { member } = await join()
    t.same(member.applied, [revoke('jti', 'a', null, 4e12)])
    t.same(other.member.lines, [])
  }, { takesLong: true })

  test('3,000 values, some of which are over, stay apart', async (t, join) => {
    const { link } = await join()
    await Promise.all(numbers(1500).map(async (i) => await link.put(`n${i}`, String(i), i % 2 === 0 ? 1 : HOUR)))
    await untilGone(link, 'n1498')
    await Promise.all(numbers(1500).map(async (i) => await link.put(`m${i}`, String(i), HOUR)))
    const values = await Promise.all(numbers(1500).map(async (i) => await link.get(`n${i}`)))
    t.same(values, numbers(1500).map((i) => i % 2 === 0 ? null : String(i)))
    t.equal(await link.put('n0', 'again', HOUR), true)
  }, { takesLong: true })
}

function testLeaving (test: TestPlace): void {
  test('an instance that has left gets no command, and no command waits for it', async (t, join) => {
    const [one, other, third] = await joinAll(join, 3)
    await one.link.publish(disconnect('a'))
    await within(TIMEOUT, 'leaving', other.link.leave())
    same(t, await one.link.publish(disconnect('b')), [{ id: third.member.id, answered: true, closed: 0 }])
    same(t, await one.link.publish(revoke('jti', 'c')), [{ id: third.member.id, answered: true, closed: 0 }])
    t.same(other.member.applied, [disconnect('a')])
    t.equal(other.member.outages, 0)
    t.same(other.member.lines, [])
  })

  test('an instance may leave twice, also at once', async (t, join) => {
    const [one, other] = await joinAll(join, 2)
    await within(TIMEOUT, 'leaving', Promise.all([other.link.leave(), other.link.leave()]))
    await within(TIMEOUT, 'leaving again', other.link.leave())
    t.same(await one.link.publish(disconnect('a')), [])
    t.same(other.member.applied, [])
  })

  test('a command is answered by the instances that stay while others leave', async (t, join) => {
    const [one, stays, ...leave] = await joinAll(join, 4)
    const publishing = numbers(40).map(async (i) => await one.link.publish(disconnect(String(i))))
    const left = leave.map(async ({ link }) => await link.leave())
    const answers = await within(TIMEOUT, 'all settle', Promise.all(publishing))
    await Promise.all(left)
    t.same(stays.member.applied, numbers(40).map((i) => disconnect(String(i))))
    t.ok(answers.every((given) => given.some(({ id, answered }) => id === stays.member.id && answered)), 'who stays has answered each')
    const counts = leave.map(({ member }) => member.applied.length)
    t.same(await one.link.publish(disconnect('after')), [{ id: stays.member.id, answered: true, closed: 0 }])
    t.same(leave.map(({ member }) => member.applied.length), counts, 'nothing more is applied')
  })

  // It may take as long as answers are waited for.
  test('a command that is under way settles if its publisher leaves', async (t, join) => {
    const [one, other] = await joinAll(join, 2)
    const publishing = numbers(40).map(async (i) => await one.link.publish(revoke('jti', String(i))))
    await within(TIMEOUT, 'leaving', one.link.leave())
    const settled = await within(TIMEOUT, 'all settle', Promise.allSettled(publishing))
    t.equal(settled.length, 40)
    const told = settled.flatMap(({ status }, i) => status === 'fulfilled' ? [String(i)] : [])
    await until(() => told.every((value) => other.member.applied.some((command) => command.value === value)), 'what did not fail has arrived')
    t.same(one.member.applied, [])
  }, { buffered: true })

  test('an instance that has left may join again, and learns what was revoked meanwhile', async (t, join) => {
    const [one, other] = await joinAll(join, 2)
    await other.link.leave()
    await one.link.publish(revoke('sub', 'a', 5))
    await one.link.publish(disconnect('a'))
    t.same(other.member.applied, [])
    const again = await join(other.member)
    t.same(other.member.applied, [revoke('sub', 'a', 5)])
    same(t, await one.link.publish(disconnect('b')), [{ id: other.member.id, answered: true, closed: 0 }])
    same(t, await again.link.publish(disconnect('c')), [{ id: one.member.id, answered: true, closed: 0 }])
    t.same(other.member.applied, [revoke('sub', 'a', 5), disconnect('b')], 'once')
  })
}

function revoke (kind: RevocationKind, value: string, issuedBy: number | null = null, untilAt = 4e12): RevokeCommand {
  const byDefault = kind === 'kid' ? null : 0
  return { type: 'revoke', kind, value, issuedBy: kind === 'jti' || kind === 'sid' ? null : issuedBy ?? byDefault, untilAt }
}

function disconnect (value: string, kind: DisconnectCommand['kind'] = 'sub', code: number | null = null, reason: string | null = null): DisconnectCommand {
  return { type: 'disconnect', kind, value, code, reason }
}

async function joinAll (join: Join, count: number): Promise<[Joined, Joined, Joined, ...Joined[]]> {
  return await Promise.all(numbers(count).map(async () => await join())) as [Joined, Joined, Joined, ...Joined[]]
}

function numbers (count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

function random (min: number, max: number): number {
  return min + Math.floor(Math.random() * (max - min + 1))
}

function oneOf<T> (values: readonly T[]): T {
  return values[random(0, values.length - 1)] as T
}

/** The answers of others are in no order. */
function same (t: Test, answers: readonly InstanceAnswer[], expected: readonly InstanceAnswer[]): void {
  t.same(answers.toSorted(byId), expected.toSorted(byId))
}

function byId (one: InstanceAnswer, other: InstanceAnswer): number {
  return one.id < other.id ? -1 : 1
}

function sorted (commands: Iterable<Command>): string[] {
  return [...commands].map((command) => JSON.stringify(command, Object.keys(command).sort())).sort()
}

async function untilGone (link: BackplaneLink, name: string): Promise<void> {
  while (await link.get(name) !== null) await new Promise((resolve) => setTimeout(resolve, 5))
}
