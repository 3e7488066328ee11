/*
 * What an instance keeps of the slots that it holds while Redis does not answer.
 */
import Fastify from 'fastify'
import t from 'tap'
import type { RedisConnection } from '../../../lib/backplane/redis/client/connection'
import { keysOf } from '../../../lib/backplane/redis/keys'
import { RedisLeases } from '../../../lib/backplane/redis/leases/redis-leases'
import { createId } from '../../../lib/base/id'
import { reasonToSkip, startRedis } from '../../helpers/redis'

/** How many arguments of the script are behind its keys, before the slots. */
const ARGUMENTS = 9

t.test('a slot that was held and given back in an outage leaves nothing behind', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const client = server.client()
  let isCut = false
  let released = 0
  const connection: RedisConnection = {
    send: async ([name = '', ...args]) => {
      if (isCut) throw new Error('Redis does not answer')
      const first = 2 + Number(args[1])
      if (args[first] === 'release') released += args.length - first - ARGUMENTS
      return await client.call(name, ...args)
    },
    transact: async () => []
  }
  const member = { id: createId(), log: Fastify().log, apply: () => 0, revocations: () => [], onOutage: () => {} }
  const leases = new RedisLeases({ connection, keys: keysOf('outage'), member, rules: { max: 1, replaces: false }, onFailure: () => {} })
  t.teardown(async () => await leases.leave())
  const release = await leases.take('ann', () => {})
  isCut = true
  await t.rejects(leases.take('bob', () => {}), /Redis does not answer/)
  for (let i = 0; i < 5000; i++) leases.hold(`user ${i}`, () => {})()
  const kept = leases.hold('carl', () => {})
  release?.()
  isCut = false
  while (await Promise.resolve(leases.take('ann', () => {})).catch(() => null) === null) await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(await leases.take('carl', () => {}), null, 'a slot that is still held is told to Redis')
  kept()
  t.type(await leases.take('carl', () => {}), 'function')
  t.type(await leases.take('bob', () => {}), 'function')
  t.equal(released, 3, 'those of ann, bob and carl')
})
