/*
 * The filter of revocations: it never misses a value, also while it grows, and seems to have few others.
 */
import { randomUUID } from 'node:crypto'
import t from 'tap'
import { RevocationList } from '../../lib/backplane/revocation-list'
import { ValueFilter } from '../../lib/backplane/value-filter'

const COUNT = 20_000

async function turns (count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** Names of each form that claims have. */
const FORMS: Record<string, (i: number) => string> = {
  'random names': () => randomUUID(),
  numbers: (i) => String(i),
  'numbers in the middle': (i) => `tenant-7/user-${String(i).padStart(9, '0')}@chat.example`,
  'long names that differ in one place': (i) => `${'x'.repeat(500)}${i}${'y'.repeat(500)}`,
  'characters past Latin': (i) => `用户${i}😀`
}

for (const [form, nameOf] of Object.entries(FORMS)) {
  t.test(`a filter has all ${form} that were added, in each turn in which it grows, and few others`, async (t) => {
    const values: string[] = []
    const filter = new ValueFilter(() => values.length, () => values.map((value) => [1, value] as const).values())
    const missing = (): number => values.filter((value) => !filter.mayHave(1, value)).length
    for (let i = 0; i < COUNT; i++) {
      const value = nameOf(i)
      values.push(value)
      filter.add(1, value)
      if (!filter.mayHave(1, value)) t.fail(`${value} is missing`)
    }
    t.equal(missing(), 0, 'at once')
    for (let i = 0; i < 20; i++) {
      await turns(2)
      t.equal(missing(), 0)
    }
    await turns(200)
    t.equal(missing(), 0, 'when it has grown')
    let [others, ofOtherKind] = [0, 0]
    for (let i = COUNT; i < 2 * COUNT; i++) if (filter.mayHave(1, nameOf(i))) others++
    for (const value of values) if (filter.mayHave(2, value)) ofOtherKind++
    t.ok(others < COUNT / 20, `${others} of ${COUNT} others`)
    t.ok(ofOtherKind < COUNT / 20, `${ofOtherKind} of ${COUNT} of another kind`)
  })
}

t.test('a list of many revocations finds each of them, while it grows and after some have expired', async (t) => {
  const { now } = Date
  t.teardown(() => { Date.now = now })
  const start = now()
  let at = start
  Date.now = () => at
  const list = new RevocationList()
  const claimsOf = (i: number): Record<string, unknown> => [{ jti: `jti ${i}` }, { sid: `sid ${i}` }, { sub: `sub ${i}`, iat: 1 }, { iss: `iss ${i}`, iat: 1 }][i % 4] as Record<string, unknown>
  const add = (i: number): void => {
    const [kind, value] = Object.entries(claimsOf(i))[0] as ['jti' | 'sid' | 'sub' | 'iss', string]
    // Every other one is over after an hour.
    list.add({ type: 'revoke', kind, value, issuedBy: kind === 'jti' || kind === 'sid' ? null : 1, untilAt: start + (Math.floor(i / 4) % 2 === 0 ? 1 : 3) * 3_600_000 })
  }
  const missed = (): number[] => Array.from({ length: COUNT }, (_, i) => i).filter((i) => !list.isRevoked(claimsOf(i)))
  for (let i = 0; i < COUNT; i++) add(i)
  t.same(missed(), [])
  await turns(100)
  t.same(missed(), [])
  at += 2 * 3_600_000
  list.prune()
  await turns(100)
  t.equal(list.size, COUNT / 2)
  t.same(missed().every((i) => Math.floor(i / 4) % 2 === 0) && missed().length === COUNT / 2, true, 'those that are over are not found')
  at = start
  for (let i = 0; i < COUNT; i++) add(i)
  for (let i = 0; i < 50; i++) {
    await turns(1)
    if (i % 10 === 0) t.same(missed(), [], 'each is found again')
  }
  t.notOk(list.isRevoked({ jti: 'another', sid: 'another', sub: 'another', iss: 'another', iat: 1 }))
})
