/*
 * A cluster of three primaries and a replica, with a client of each library, as the user of the README: it fails over when it is
 * told to, and when a primary is killed.
 */
import t from 'tap'
import { assertAgreed, assertClosable, assertCounted, assertSurvives, clientsOfCluster, COUNTED, startAll } from '../../helpers/redis-family-apps'
import { FAMILIES, eventually, isPrimary, startCluster } from '../../helpers/redis-family'
import { LOG } from '../../helpers/cluster-of-apps'

// They wait most of the time.
t.jobs = FAMILIES.length

for (const family of FAMILIES) {
  t.test(`instances with ioredis, iovalkey and node-redis agree by a cluster of ${family.name}, also after its failovers`, { skip: family.skip, buffered: true }, async (t) => {
    const cluster = await startCluster(t, family, LOG)
    await assertClosable(t, async () => await clientsOfCluster(t, cluster), cluster.nodes)
    const members = await startAll(t, await clientsOfCluster(t, cluster), COUNTED)
    await assertAgreed(t, members)
    await assertSurvives(t, members, async () => {
      await cluster.replica.admin.call('CLUSTER', 'FAILOVER')
      await eventually(async () => await isPrimary(cluster.replica) && !await isPrimary(cluster.primary), 'they have changed places')
    }, 'CLUSTER FAILOVER')
    await assertSurvives(t, members, async () => {
      await cluster.replica.kill()
      await eventually(async () => await isPrimary(cluster.primary), 'the other one has taken over')
    }, 'a kill')
    await assertCounted(t, members)
  })
}
