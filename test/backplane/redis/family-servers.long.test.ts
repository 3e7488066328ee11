/*
 * Each server of the Redis family, with a client of each library: alone, and by TLS with the user of the README.
 */
import t from 'tap'
import { assertAgreed, assertCounted, clientsOf, COUNTED, startAll } from '../../helpers/redis-family-apps'
import { countingRules, FAMILIES, startSecureServer, startServer } from '../../helpers/redis-family'

for (const family of FAMILIES) {
  t.test(`instances with ioredis, iovalkey and node-redis agree by ${family.name}`, { skip: family.skip }, async (t) => {
    await assertAgreed(t, await startAll(t, await clientsOf(t, await startServer(t, family))))
  })

  t.test(`instances agree by ${family.name} with TLS, as a user with the rights that the README lists`, { skip: family.skip }, async (t) => {
    const node = await startSecureServer(t, family, ...family.rules)
    await assertAgreed(t, await startAll(t, await clientsOf(t, node, true)))
    t.same(await node.admin.call('ACL', 'LOG'), [], 'nothing was refused')
  })

  t.test(`instances count the connections of users by ${family.name} with TLS, as a user with the further rights that the README lists`, { skip: family.skip }, async (t) => {
    const rules = countingRules()
    t.ok(rules.length > 5, 'the README lists them')
    const node = await startSecureServer(t, family, ...family.rules, ...rules)
    const members = await startAll(t, await clientsOf(t, node, true), COUNTED)
    await assertAgreed(t, members)
    await assertCounted(t, members)
    t.same(members.map(({ told }) => told()), members.map(() => []), 'nothing is told of')
    t.same(await node.admin.call('ACL', 'LOG'), [], 'nothing was refused')
  })
}
