/*
 * The sweep wakes each sleeper in time and once, with one timer for all, whatever is added, ended or set meanwhile.
 */
import t from 'tap'
import { Sweep, TICK } from '../../lib/connection/sweep'
import { assertForgets, createSweep, TestSleeper } from '../helpers/test-sweep'

const SECOND = 1000
const HOUR = 3_600_000
const DAY = 24 * HOUR
const YEAR = 365 * DAY

t.test('the sweep wakes each sleeper in time', async (t) => {
  t.test('the sweep wakes each sleeper in time, in the order of their times, and once', async (t) => {
    const { clock, sweep, sleep } = createSweep(t)
    const begun = Date.now()
    const times = [30_000, 100, 5000, 251, 1, 999, 1000, 1001, 70_000, 249, 250]
    const order: number[] = []
    const sleepers = times.map((ms) => sleep(ms, () => { order.push(ms) }))
    clock.advance(100_000)
    t.strictSame(order.map((ms) => sweep.tickAt(begun + ms)), order.map((ms) => sweep.tickAt(begun + ms)).sort((a, b) => a - b))
    for (const [i, ms] of times.entries()) {
      const [at = 0, ...more] = sleepers[i]?.wokenAt ?? []
      t.ok(at >= begun + ms && at < begun + ms + TICK + 50, `${ms}: ${at - begun}`)
      t.equal(more.length, 0)
    }
    t.equal(sweep.size, 0)
  })

  t.test('the sweep wakes a sleeper whose time is over in a later tick', async (t) => {
    const { clock, sweep, sleep } = createSweep(t)
    const sleeper = sleep(-5000)
    t.same(sleeper.wokenAt, [], 'not within add()')
    clock.advance(25)
    t.equal(sleeper.wokenAt.length, 1)
    t.equal(sweep.size, 0)
  })

  t.test('the sweep has one timer for all sleepers, and none if there are none', async (t) => {
    const { clock, sweep, sleep, end } = createSweep(t)
    t.equal(clock.timers.length, 0)
    const sleepers = Array.from({ length: 1000 }, (_, i) => sleep(100_000 - i * 90))
    t.equal(clock.timers.length, 1)
    t.notOk(clock.timers[0]?.reffed, 'which does not hold the process')
    for (let i = 0; i < 90; i++) {
      clock.advance(1000)
      t.equal(clock.timers.length, 1)
    }
    clock.advance(20_000)
    t.ok(sleepers.every(({ wokenAt }) => wokenAt.length === 1))
    t.equal(clock.timers.length, 0)
    const late = [sleep(HOUR), sleep(2 * HOUR)]
    t.equal(clock.timers.length, 1)
    for (const sleeper of late) end(sleeper)
    clock.advance(2 * HOUR + SECOND, SECOND)
    t.equal(clock.timers.length, 0)
    t.equal(sweep.size, 0)
  })

  t.test('the sweep wakes many sleepers of one tick in slices, and new ones meanwhile', async (t) => {
    const { clock, sweep, sleep } = createSweep(t)
    const COUNT = 5000
    const late: TestSleeper[] = []
    const sleepers = Array.from({ length: COUNT }, (_, i) => sleep(SECOND, () => { if (i % 1000 === 0) late.push(sleep(0), sleep(600)) }))
    const woken = (): number => sleepers.filter(({ wokenAt }) => wokenAt.length > 0).length
    await clock.pass(SECOND + TICK, 10)
    t.ok(late.length >= 2, 'more were added while it swept')
    await clock.pass(2 * SECOND, 10)
    t.equal(woken(), COUNT)
    t.ok(sleepers.every(({ wokenAt }) => wokenAt.length === 1))
    t.equal(late.length, 10)
    t.ok(late.every(({ wokenAt }) => wokenAt.length === 1), 'and were woken')
    t.equal(sweep.size, 0)
    t.equal(clock.timers.length, 0)
  })

  t.test('the sweep does not wake all in one turn', async (t) => {
    const sweep = new Sweep()
    // The sweep itself does not keep the process from its end.
    const alive = setInterval(() => {}, SECOND)
    t.teardown(() => clearInterval(alive))
    let woken = 0
    const [firstTurn] = await new Promise<number[]>((resolve) => {
      const turns: number[] = []
      const count = (): void => {
        turns.push(woken)
        if (woken === 5000) resolve(turns)
        else setImmediate(count)
      }
      const onWake = (): void => { if (woken++ === 0) setImmediate(count) }
      for (let i = 0; i < 5000; i++) sweep.add(new TestSleeper(onWake), sweep.tickAt(Date.now() - SECOND))
    })
    t.ok(Number(firstTurn) > 0 && Number(firstTurn) <= 1024, `${firstTurn} in the first turn`)
    t.equal(sweep.size, 0)
  })

  t.test('the sweep wakes for 10 ms in a turn at most, however long one takes', async (t) => {
    const sweep = new Sweep()
    const alive = setInterval(() => {}, 10)
    const perTurn = [0]
    const count = (): void => { if (perTurn.push(0) < 1000) setImmediate(count) }
    await new Promise<void>((resolve) => {
      let left = 500
      const onWake = (): void => {
        perTurn[perTurn.length - 1]!++
        const startedAt = performance.now()
        while (performance.now() - startedAt < 0.5);
        if (--left === 0) resolve()
      }
      for (let i = 0; i < 500; i++) sweep.add(new TestSleeper(onWake), sweep.tickAt(Date.now() - SECOND))
      setImmediate(count)
    })
    clearInterval(alive)
    // 20 take 10 ms; the clock is looked at after each 16.
    t.ok(Math.max(...perTurn) <= 32, `${Math.max(...perTurn)} at most`)
    t.equal(perTurn.reduce((sum, woken) => sum + woken, 0), 500)
  })

  t.test('the sweep wakes a sleeper again that adds itself when it is woken', async (t) => {
    const { clock, sweep } = createSweep(t)
    const begun = Date.now()
    const again = new TestSleeper((self) => {
      if (self.wokenAt.length < 5) sweep.add(self, sweep.tickAt(Date.now() + 300))
    })
    sweep.add(again, sweep.tickAt(begun + 300))
    clock.advance(10_000)
    t.equal(again.wokenAt.length, 5)
    for (const [i, at] of again.wokenAt.entries()) t.ok(at - (again.wokenAt[i - 1] ?? begun) >= 300)
    t.equal(sweep.size, 0)
  })

  t.test('the sweep is not held up by a sleeper that adds itself to a tick that has come', async (t) => {
    const { clock, sweep, sleep } = createSweep(t)
    const again = new TestSleeper((self) => { if (self.wokenAt.length < 5000) sweep.add(self, sweep.tickAt(Date.now()) - 1) })
    sweep.add(again, sweep.tickAt(Date.now()) - 1)
    const other = sleep(SECOND)
    await clock.pass(2 * SECOND)
    t.equal(again.wokenAt.length, 5000)
    t.equal(other.wokenAt.length, 1)
  })

  t.test('the sweep does not wake a sleeper that has ended, also within the same tick', async (t) => {
    const { clock, sweep, sleep, end } = createSweep(t)
    const all: TestSleeper[] = []
    // Whoever is woken first ends the other.
    for (let i = 0; i < 500; i++) {
      const pair: TestSleeper[] = []
      const onWake = (self: TestSleeper): void => {
        for (const other of pair) if (other !== self && !other.isGone && other.wokenAt.length === 0) end(other)
      }
      pair.push(sleep(SECOND, onWake), sleep(SECOND, onWake))
      all.push(...pair)
    }
    await clock.pass(2 * SECOND)
    t.equal(all.filter(({ wokenAt }) => wokenAt.length > 0).length, 500)
    t.ok(all.every(({ wokenAt, isGone }) => wokenAt.length === (isGone ? 0 : 1)))
    t.equal(sweep.size, 0)
  })

  t.test('the sweep loses no sleeper when it takes out those that have ended', async (t) => {
    const { clock, sweep, sleep, end } = createSweep(t)
    const sleepers = Array.from({ length: 3000 }, (_, i) => sleep((i * 7919) % 20_000))
    const isKept = (i: number): boolean => i % 3 === 0
    for (const [i, sleeper] of sleepers.entries()) if (!isKept(i)) end(sleeper)
    t.ok(sweep.size < 2000 + 65, `${sweep.size} are left in the lists`)
    await clock.pass(21_000, 50)
    t.strictSame(sleepers.map(({ wokenAt }) => wokenAt.length), sleepers.map((_, i) => isKept(i) ? 1 : 0))
    t.equal(sweep.size, 0)
    t.equal(clock.timers.length, 0)
  })

  t.test('the sweep forgets a sleeper that ends while it sweeps', async (t) => {
    const { clock, sweep, sleep, end } = createSweep(t)
    const others: TestSleeper[] = []
    for (let i = 0; i < 2000; i++) others.push(sleep(10 * SECOND + i))
    let next = 0
    const due = Array.from({ length: 2000 }, () => sleep(SECOND, () => { end(others[next++] as TestSleeper) }))
    await clock.pass(3 * SECOND)
    t.ok(due.every(({ wokenAt }) => wokenAt.length === 1))
    t.equal(next, 2000)
    t.ok(sweep.size <= 65, `${sweep.size}`)
    await clock.pass(12 * SECOND, 100)
    t.ok(others.every(({ wokenAt }) => wokenAt.length === 0))
    t.equal(sweep.size, 0)
  })

  t.test('the sweep keeps at most twice as many entries as sleepers, after 20,000 have come and gone', async (t) => {
    assertForgets(t, 20_000)
  })

  t.test('the sweep stops, wakes no sleeper any more, and can be used again', async (t) => {
    const { clock, sweep, sleep, end } = createSweep(t)
    const sleepers = [sleep(100), sleep(SECOND), sleep(HOUR)]
    sweep.stop()
    t.equal(clock.timers.length, 0)
    t.equal(sweep.size, 0)
    clock.advance(2 * HOUR, SECOND)
    t.ok(sleepers.every(({ wokenAt }) => wokenAt.length === 0))
    sweep.stop()
    const again = sleep(SECOND)
    const ended = sleep(SECOND)
    end(ended)
    clock.advance(2 * SECOND)
    t.equal(again.wokenAt.length, 1)
    t.equal(ended.wokenAt.length, 0)
    t.equal(sweep.size, 0)
  })

  t.test('the sweep stops in the middle of its work', async (t) => {
    const { clock, sweep, sleep } = createSweep(t)
    let woken = 0
    for (let i = 0; i < 5000; i++) sleep(SECOND, () => { if (++woken === 10) sweep.stop() })
    await clock.pass(5 * SECOND)
    t.equal(woken, 10)
    t.equal(clock.timers.length, 0)
  })

  t.test('the sweep goes on if waking a sleeper throws', async (t) => {
    const { clock, sweep, sleep } = createSweep(t)
    const bad = sleep(SECOND, () => { throw new Error('no') })
    const others = [sleep(SECOND), sleep(SECOND), sleep(5 * SECOND)]
    t.throws(() => clock.advance(2 * SECOND), { message: 'no' })
    await clock.pass(10 * SECOND)
    t.ok([bad, ...others].every(({ wokenAt }) => wokenAt.length === 1))
    t.equal(sweep.size, 0)
  })
})

t.test('the sweep follows a clock that is set', async (t) => {
  t.test('a clock that is set forwards wakes within a second each sleeper that it passes', async (t) => {
    for (const step of [HOUR, 10 * YEAR]) {
      const { clock, sweep, sleep } = createSweep(t)
      const sleepers = [sleep(10 * SECOND), sleep(HOUR - SECOND), sleep(HOUR + 30 * SECOND), sleep(300 * YEAR)]
      clock.advance(500)
      clock.set(step)
      clock.advance(SECOND)
      t.strictSame(sleepers.map(({ wokenAt }) => wokenAt.length), step === HOUR ? [1, 1, 0, 0] : [1, 1, 1, 0])
      const after = sleep(SECOND)
      const due = Date.now() + SECOND
      clock.advance(2 * SECOND)
      t.ok((after.wokenAt[0] ?? 0) >= due && (after.wokenAt[0] ?? Infinity) < due + SECOND, 'who comes after is woken in time')
      clock.advance(HOUR, SECOND)
      t.equal(sleepers[2]?.wokenAt.length, 1)
      t.equal(sweep.size, 1)
      t.equal(clock.timers.length, 1)
      clock.exit()
    }
  })

  t.test('a clock that is set back wakes no sleeper early, and a later one in time', async (t) => {
    const { clock, sleep } = createSweep(t)
    const before = sleep(10 * SECOND)
    const due = Date.now() + 10 * SECOND
    clock.advance(SECOND)
    clock.set(-HOUR)
    const after = [0, 300, 1200, 5000].map((ms) => ({ due: Date.now() + ms, sleeper: sleep(ms) }))
    clock.advance(20 * SECOND)
    for (const { due, sleeper: { wokenAt } } of after) t.ok((wokenAt[0] ?? 0) >= due && (wokenAt[0] ?? Infinity) < due + SECOND)
    t.equal(before.wokenAt.length, 0)
    clock.advance(HOUR, 100)
    t.ok((before.wokenAt[0] ?? 0) >= due && (before.wokenAt[0] ?? Infinity) < due + SECOND)
  })

  t.test('a clock that is set back and forth loses no sleeper', async (t) => {
    const { clock, sweep, sleep } = createSweep(t)
    const sleepers: Array<{ due: number, sleeper: TestSleeper }> = []
    for (const step of [-HOUR, 2 * HOUR, -2 * HOUR, HOUR, -YEAR, YEAR, 500, -500, 17, -17]) {
      clock.set(step)
      for (const ms of [-1, 0, 1, 400, 3000]) sleepers.push({ due: Date.now() + ms, sleeper: sleep(ms) })
      clock.advance(700)
    }
    clock.advance(3 * HOUR, 500)
    for (const { due, sleeper: { wokenAt } } of sleepers) {
      t.equal(wokenAt.length, 1)
      t.ok((wokenAt[0] ?? 0) >= due)
    }
    t.equal(sweep.size, 0)
  })
})
