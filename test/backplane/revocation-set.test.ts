/*
 * The revocations in memory at the very millisecond: what is over then, what is thrown away, and what is told to others.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { RevokeCommand } from '../../lib/backplane/contract'
import { RevocationList } from '../../lib/backplane/revocation-list'

const NOW = 1_700_000_000_000
const MINUTE = 60_000

function command (kind: RevokeCommand['kind'], value: string, untilAt: number, issuedBy: number | null = null): RevokeCommand {
  return { type: 'revoke', kind, value, issuedBy, untilAt }
}

/** Sets the time. */
function freezeClock (t: Test): (now: number) => void {
  const { now: real } = Date
  t.teardown(() => { Date.now = real })
  return (now) => { Date.now = () => now }
}

t.test('what is told to others is what was added', async (t) => {
  freezeClock(t)(NOW)
  const revocations = new RevocationList()
  const commands = [command('jti', 'a', NOW + 1), command('sid', 'b', NOW + 2), command('sub', 'c', NOW + 3, 7)]
  for (const one of commands) revocations.add(one)
  t.strictSame([...revocations], commands)
})

t.test('one that ends in this millisecond leaves nothing in the next about the same user', async (t) => {
  const setNow = freezeClock(t)
  setNow(NOW)
  const revocations = new RevocationList()
  revocations.add(command('sub', 'ann', NOW + 5, 1000))
  setNow(NOW + 5)
  revocations.add(command('sub', 'ann', NOW + 10, 3))
  t.strictSame([...revocations], [command('sub', 'ann', NOW + 10, 3)])
})

t.test('a minute after the last time what is over is thrown away, that which ends in this millisecond too', async (t) => {
  const setNow = freezeClock(t)
  setNow(NOW)
  const revocations = new RevocationList()
  for (const kind of ['jti', 'sid', 'sub'] as const) revocations.add(command(kind, 'over', NOW + MINUTE, 1))
  setNow(NOW + MINUTE - 1)
  revocations.add(command('jti', 'kept', NOW + 2 * MINUTE))
  t.equal(revocations.size, 4)
  setNow(NOW + MINUTE)
  revocations.add(command('jti', 'another', NOW + 2 * MINUTE))
  t.equal(revocations.size, 2)
})
