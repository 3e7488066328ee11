/*
 * The delay before the next attempt, if a frame says it.
 */
import t from 'tap'
import { delayBefore } from '../../lib/client/retry'

const RETRY = { base: 1000, max: 30_000, crowd: 5000, stableAfter: 10_000 }
const SHUTDOWN = { code: 1001, reason: 'shutdown', wasOpen: true }

function mostOf (most: unknown): number {
  const delays = Array.from({ length: 200 }, () => delayBefore({ end: SHUTDOWN, most: most as number }, 0, RETRY))
  for (const delay of delays) t.ok(delay >= 0, `${delay} is a delay`)
  return Math.max(...delays)
}

t.test('a wait that a frame asks for is at most an hour', async (t) => {
  const most = mostOf(1e15)
  t.ok(most > 1_800_000 && most <= 3_600_000, String(most))
})

t.test('a wait that is no positive number leaves the wait of a crowd', async (t) => {
  for (const wrong of [undefined, null, NaN, -1, 0, 'soon', {}]) {
    const most = mostOf(wrong)
    t.ok(most > 2500 && most <= 5000, `${String(wrong)}: ${most}`)
  }
})

t.test('the wait of a frame counts before that of a crowd', async (t) => {
  const most = mostOf(60_000)
  t.ok(most > 30_000 && most <= 60_000, String(most))
})
