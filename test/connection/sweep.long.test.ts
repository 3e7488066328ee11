/*
 * The sweep after a million sleepers, and in a process of its own.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { createSweep } from '../helpers/test-sweep'

const SECOND = 1000
const HOUR = 3600 * SECOND
const DAY = 24 * HOUR

t.test('the sweep keeps no more than twice those that sleep, after a million have come and gone', async (t) => {
  const { clock, sweep, sleep, end } = createSweep(t)
  const stay = Array.from({ length: 100 }, (_, i) => sleep(5 * DAY + i * SECOND))
  let largest = 0
  for (let i = 0; i < 1_000_000; i++) {
    end(sleep((i % 5000) * SECOND + SECOND))
    if (sweep.size > largest) largest = sweep.size
  }
  t.ok(largest <= 300, `${largest} at most`)
  t.equal(clock.timers.length, 1)
  clock.advance(6 * DAY, HOUR)
  t.ok(stay.every(({ wokenAt }) => wokenAt.length === 1))
  t.equal(sweep.size, 0)
})

t.test('the sweep does not keep the process from its end', async (t) => {
  const child = fork(require.resolve('../helpers/sleeping'), { env: { ...process.env, NODE_OPTIONS: '' } })
  t.teardown(() => { child.kill('SIGKILL') })
  const asleep = once(child, 'message')
  const [code] = await once(child, 'exit')
  t.same(await asleep, [{ size: 3 }, undefined], 'three slept')
  t.equal(code, 0)
})
