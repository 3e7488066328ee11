/*
 * A token bucket is exact: what it admits is what a model with whole numbers admits, to the millisecond.
 */
import t from 'tap'
import { kNext, Sweep } from '../../lib/connection/sweep'
import { TokenBucket } from '../../lib/connection/token-bucket'
import { UserBuckets } from '../../lib/connection/user-buckets'
import { randomFrom } from '../helpers/random'
import { setClock } from '../helpers/moved-clock'

t.test('a bucket has its burst at once, and then so many a second', async (t) => {
  const bucket = new TokenBucket({ perSecond: 3, burst: 5 }, 1000)
  const taken = (now: number): number => { let count = 0; while (bucket.take(1, now)) count++; return count }
  t.equal(taken(1000), 5)
  t.equal(taken(1333), 0, 'a third of a second is 333 ms and a bit')
  t.equal(taken(1334), 1)
  t.equal(taken(1666), 0)
  t.equal(taken(1667), 1)
  t.equal(taken(2000), 1)
  t.equal(taken(60_000), 5, 'never more than the burst')
})

t.test('a bucket takes nothing if there is not enough', async (t) => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 10 }, 0)
  t.equal(bucket.take(11, 0), false)
  t.equal(bucket.take(10, 0), true)
  t.equal(bucket.take(1, 99), false)
  t.equal(bucket.take(1, 100), true)
})

t.test('a bucket that owes says when it will have paid', async (t) => {
  const bucket = new TokenBucket({ perSecond: 4, burst: 2 }, 0)
  t.strictSame([0, 0, 0, 0].map((now) => bucket.owe(1, now)), [0, 0, 250, 500])
  t.equal(bucket.owe(1, 500), 250)
  t.equal(bucket.fullAt(500), 500 + 750)
  t.equal(bucket.owe(1, 2000), 0)
})

t.test('a clock that is set back gives no token, and takes none', async (t) => {
  const bucket = new TokenBucket({ perSecond: 1, burst: 1 }, 10_000)
  t.equal(bucket.take(1, 10_000), true)
  t.equal(bucket.take(1, 5000), false)
  t.equal(bucket.take(1, 5999), false)
  t.equal(bucket.take(1, 6000), true)
})

t.test('a bucket admits what a model of whole numbers admits', async (t) => {
  const random = randomFrom(1)
  const below = (limit: number): number => Math.floor(random() * limit)
  for (let run = 0; run < 200; run++) {
    const perSecond = below(50) + 1
    const burst = below(20) + 1
    const bucket = new TokenBucket({ perSecond, burst }, 0)
    // In thousandths of a token, as BigInt: no rounding at all.
    let level = BigInt(burst) * 1000n
    let at = 0
    let differs = 0
    for (let i = 0; i < 100; i++) {
      const now = at + below(200)
      const count = below(3) + 1
      level += BigInt(now - at) * BigInt(perSecond)
      if (level > BigInt(burst) * 1000n) level = BigInt(burst) * 1000n
      at = now
      const isThere = level >= BigInt(count) * 1000n
      if (isThere) level -= BigInt(count) * 1000n
      if (bucket.take(count, now) !== isThere) differs++
    }
    t.equal(differs, 0, `${perSecond} a second, ${burst} at once`)
  }
})

t.test('the bucket of a user is shared, and is forgotten once it is full and its connections are gone', async (t) => {
  const sweep = new Sweep()
  const buckets = new UserBuckets({ perSecond: 1, burst: 3 }, sweep)
  const first = buckets.join('ann')
  t.equal(buckets.join('ann'), first)
  t.not(buckets.join('bob'), first)
  t.equal(first.take(3, Date.now()), true)
  first.leave()
  first.leave()
  t.equal(buckets.count, 2, 'it is empty')
  const again = buckets.join('ann')
  t.equal(again, first, 'a client that connects anew')
  t.equal(again.take(3, Date.now()), false)
  again.leave()
  setClock(t, 10_000)
  for (const sleeper of sweep.takeDue()) sleeper.wake()
  t.equal(buckets.count, 1)
  buckets.join('bob').leave()
  t.equal(buckets.count, 1, 'another connection is open')
  t.equal(first[kNext], null)
  sweep.stop()
})
