/*
 * A server and its replica behind a sentinel, with a client of each library, as the user of the README: the server is killed.
 */
import t from 'tap'
import { assertAgreed, assertCounted, assertSurvives, clientsOfSentinel, COUNTED, startAll } from '../../helpers/redis-family-apps'
import { FAMILIES, eventually, isPrimary, startSentinel } from '../../helpers/redis-family'

// They wait most of the time.
t.jobs = FAMILIES.length

for (const family of FAMILIES) {
  t.test(`instances with ioredis, iovalkey and node-redis agree by sentinels of ${family.name}, also after a failover`, { skip: family.skip, buffered: true }, async (t) => {
    const group = await startSentinel(t, family)
    const clients = await clientsOfSentinel(t, group)
    const members = await startAll(t, clients, COUNTED)
    await assertAgreed(t, members)
    await assertSurvives(t, members, async () => {
      await group.primary.kill()
      await eventually(async () => await isPrimary(group.replica), 'the replica has taken over')
    }, 'a kill')
    await assertCounted(t, members)
  })
}
