/*
 * Durations by their size.
 */
import fc from 'fast-check'
import t from 'tap'
import { HANDSHAKE_BOUNDS, Histogram, LIFE_BOUNDS, measure } from '../../lib/audit/histogram'

t.test('a duration is in the first bucket whose bound it does not exceed', async (t) => {
  const histogram = new Histogram([1, 10, 100])
  t.strictSame(histogram.snapshot(), { bounds: [1, 10, 100], counts: [0, 0, 0, 0], count: 0, sum: 0 })
  for (const duration of [0, 1, 1.5, 10, 11, 100, 101, 1e9]) histogram.add(measure(duration, [1, 10, 100]))
  t.strictSame(histogram.snapshot(), { bounds: [1, 10, 100], counts: [2, 2, 2, 2], count: 8, sum: 0 + 1 + 1.5 + 10 + 11 + 100 + 101 + 1e9 })
})

t.test('each duration is counted once, in its bucket, and in the sum', async () => {
  fc.assert(fc.property(fc.array(fc.nat({ max: 700_000_000 })), fc.constantFrom(HANDSHAKE_BOUNDS, LIFE_BOUNDS), (durations, bounds) => {
    const histogram = new Histogram(bounds)
    for (const duration of durations) histogram.add(measure(duration, bounds))
    const { counts, count, sum } = histogram.snapshot()
    const expected = [...bounds, Infinity].map((bound, i) => durations.filter((duration) => duration <= bound && duration > (bounds[i - 1] ?? -1)).length)
    return count === durations.length && sum === durations.reduce((all, one) => all + one, 0) && JSON.stringify(counts) === JSON.stringify(expected)
  }))
})

t.test('the bounds ascend and reach the defaults of the options', async (t) => {
  for (const bounds of [HANDSHAKE_BOUNDS, LIFE_BOUNDS]) {
    t.ok(bounds.every((bound, i) => bound > (bounds[i - 1] ?? 0)), bounds.join())
    t.ok(Object.isFrozen(bounds))
  }
  t.ok(HANDSHAKE_BOUNDS.includes(10_000), 'handshakeTimeout')
  t.ok(LIFE_BOUNDS.includes(86_400_000), 'maxLifetime')
})

t.test('a snapshot does not change', async (t) => {
  const histogram = new Histogram([1])
  const before = histogram.snapshot()
  histogram.add(measure(5, [1]))
  t.strictSame(before.counts, [0, 0])
})
