/*
 * Instances of one app whose clients of Redis are of all libraries, and what has to be true of them: each agrees with each other one.
 */
import { Cluster as ValkeyCluster, Redis as Valkey } from 'iovalkey'
import { Cluster, Redis } from 'ioredis'
import { createClient, createCluster, createSentinel } from 'redis'
import type { Test } from 'tap'
import type { RedisBackplaneOptions } from '../../lib/backplane/redis/index'
import { LOG, assertOpen, assertRevoked, connectAll, startMember, untilWell } from './cluster-of-apps'
import type { Member, MemberSettings, Visitor } from './cluster-of-apps'
import { CERTIFICATE } from './certificate'
import { USER, eventually } from './redis-family'
import type { Cluster as ClusterOfNodes, Node, Sentinel } from './redis-family'
import { connectionTo } from './redis-connection'

type Client = RedisBackplaneOptions['client'] & Closable

interface Closable {
  on: (event: 'error', listener: () => void) => unknown
  disconnect?: () => unknown
  destroy?: () => unknown
}

async function end (client: Closable): Promise<void> {
  try {
    await (client.destroy === undefined ? client.disconnect?.() : client.destroy())
  } catch {
    // node-redis refuses to end a client twice.
  }
}

/** The same client, which ends with the test. */
function closing<C extends Closable> (t: Test, client: C): C {
  client.on('error', () => {})
  t.teardown(async () => await end(client))
  return client
}

/** A client of each library for one server. */
export async function clientsOf (t: Test, { host, port }: Node, isSecure = false): Promise<Record<string, Client>> {
  const access = isSecure ? USER : {}
  const options = { host, port, ...access, ...(isSecure ? { tls: { ca: CERTIFICATE } } : {}) }
  const node = closing(t, createClient({ socket: isSecure ? { host, port, tls: true, ca: CERTIFICATE } : { host, port }, ...access }))
  await node.connect()
  return { ioredis: closing(t, new Redis(options)), iovalkey: closing(t, new Valkey(options)), 'node-redis': node }
}

/** A client of each library for a cluster. */
export async function clientsOfCluster (t: Test, { nodes }: ClusterOfNodes): Promise<Record<string, Client>> {
  const addresses = nodes.map(({ host, port }) => ({ host, port }))
  const node = closing(t, createCluster({ rootNodes: addresses.map((socket) => ({ socket })), defaults: { ...USER, socket: { reconnectStrategy: 100 } } }))
  await node.connect()
  return {
    'ioredis, Cluster': closing(t, new Cluster(addresses, { redisOptions: USER })),
    'iovalkey, Cluster': closing(t, new ValkeyCluster(addresses, { redisOptions: USER })),
    'node-redis, createCluster': node
  }
}

/** A client of each library that asks a sentinel. */
export async function clientsOfSentinel (t: Test, { sentinel: { host, port }, group: name }: Sentinel): Promise<Record<string, Client>> {
  const options = { sentinels: [{ host, port }], name, ...USER }
  const node = closing(t, createSentinel({ name, sentinelRootNodes: [{ host, port }], nodeClientOptions: USER }))
  await node.connect()
  return { 'ioredis, sentinels': closing(t, new Redis(options)), 'iovalkey, sentinels': closing(t, new Valkey(options)), 'node-redis, createSentinel': node }
}

/** Starts an instance with each client. */
export async function startAll (t: Test, clients: Record<string, Client>, plugin: MemberSettings['plugin'] = {}): Promise<Member[]> {
  const members: Member[] = []
  for (const client of Object.values(clients)) {
    members.push(await startMember(t, { client: () => { throw new Error('each has a client') } }, { client, plugin: { tickets: true, ...plugin } }))
  }
  return members
}

/** Revocations, disconnects and tickets of each instance are known to all. */
export async function assertAgreed (t: Test, members: readonly Member[]): Promise<void> {
  await untilWell(t, members)
  for (const [i, { app }] of members.entries()) {
    const visitors = await connectAll(members, { sub: `guest ${i}` })
    const { closed, instances } = await app.wsAuth.disconnect({ sub: `guest ${i}` })
    t.equal(closed, members.length, 'a disconnect closes a connection on each instance')
    t.same(instances.map(({ answered, closed }) => [answered, closed]), members.map(() => [true, 1]), 'and each answers')
    for (const visitor of visitors) t.equal(await visitor.isHeard(), false)
    const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann', exp: Math.floor(Date.now() / 1000) + 3600 })
    const next = members[(i + 1) % members.length] as Member
    t.same([await next.statusOfTicket(ticket), await next.statusOfTicket(ticket)], [101, 401], 'a ticket is good once, on another instance')
  }
  t.same(members.map(({ told }) => told()), members.map(() => []), 'nothing is told of')
}

/** A user has a connection on each at most, and each further one closes the oldest, wherever that is. */
export const COUNTED: NonNullable<MemberSettings['plugin']> = { limits: { perUser: { max: 3, scope: 'cluster' }, onLimit: 'close-oldest' } }

/** The connections of a user are counted over all instances, which have {@link COUNTED}. Ends one of them. */
export async function assertCounted (t: Test, members: readonly Member[]): Promise<void> {
  const visitors: Visitor[] = []
  for (const member of [...members, ...members]) visitors.push(await member.connect({ sub: 'cat' }))
  await eventually(async () => visitors.filter(({ closed }) => closed.code === null).length === 3, 'three are left')
  t.same(visitors.map(({ closed }) => closed), visitors.map((_, i) => i < 3 ? { code: 3003, reason: 'connection_replaced' } : { code: null, reason: '' }), 'the oldest are closed')
  await assertOpen(t, visitors.slice(3))
  await members.at(-1)?.app.close()
}

/** Nothing is lost in a failover: what is revoked before, meanwhile and after is closed and stays out, and nothing else is closed. */
export async function assertSurvives (t: Test, members: readonly Member[], failOver: () => Promise<void>, name: string): Promise<void> {
  const claimsOf = (time: string): { sub: string, jti: string } => ({ sub: time, jti: `${name} ${time}` })
  const times = ['before', 'meanwhile', 'after']
  const [first, second, third] = members as [Member, Member, Member]
  const good = await connectAll(members, { sub: 'good' })
  const visitors = await Promise.all(times.map(async (time) => await connectAll(members, claimsOf(time))))
  await first.app.wsAuth.revoke({ jti: claimsOf('before').jti })
  const failing = failOver()
  // It may not reach the others in time, and does so later.
  const revoking = second.app.wsAuth.revoke({ jti: claimsOf('meanwhile').jti }).catch(() => null)
  await failing
  t.comment(`${name}: well ${await untilWell(t, members, 30_000)} ms after it`)
  await revoking
  await third.app.wsAuth.revoke({ jti: claimsOf('after').jti })
  for (const [i, time] of times.entries()) await assertRevoked(t, members, visitors[i] ?? [], claimsOf(time))
  await assertOpen(t, good)
}

/**
 * A duplicate that is closed at any moment leaves no connection to any node.
 *
 * @param open makes the clients, which are closed too: a client of a cluster opens connections of its own at any time, so that only a count without it is exact
 */
export async function assertClosable (t: Test, open: () => Promise<Record<string, Client>>, nodes: readonly Node[]): Promise<void> {
  const count = async (): Promise<number> => {
    const lists = await Promise.all(nodes.map(async ({ admin }) => String(await admin.call('CLIENT', 'LIST', 'TYPE', 'normal')).trim().split('\n').length))
    return lists.reduce((sum, each) => sum + each, 0)
  }
  const before = await count()
  const clients = await open()
  for (const client of Object.values(clients)) {
    const connection = connectionTo(client)
    for (let turns = 0; turns < 8; turns++) {
      const own = connection.duplicate()
      const opening = own.open().then(async () => await own.send(['XREAD', 'BLOCK', '20000', 'STREAMS', `${LOG}:none`, '0-0'])).catch(() => {})
      for (let turn = 0; turn < 2 ** turns; turn++) await new Promise((resolve) => setImmediate(resolve))
      own.close()
      void opening
    }
  }
  t.ok(await count() > before, 'the clients have connections')
  for (const client of Object.values(clients)) await end(client)
  await eventually(async () => await count() <= before, 'no connection is left')
  t.ok(await count() <= before, 'no connection is left')
}
