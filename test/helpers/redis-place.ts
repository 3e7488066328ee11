/*
 * A Redis as the place where the tests of the contract of backplanes let instances meet.
 */
import type { Test } from 'tap'
import { redisBackplane } from '../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../lib/backplane/redis/index'
import { createId } from '../../lib/base/id'
import type { Place } from '../contracts/backplane'

/** A place in Redis. Each test has keys of its own, and each instance a client of its own. */
export function redisPlace (client: () => Promise<RedisBackplaneOptions['client']>): (t: Test) => Promise<Place> {
  return async () => {
    const prefix = createId()
    return { make: async () => redisBackplane({ client: await client(), prefix }) }
  }
}
