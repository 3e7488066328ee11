/*
 * The connections of a backplane to Redis: how many there are, and how long.
 */
import { createClient } from 'redis'
import t from 'tap'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../../lib/backplane/redis/index'
import { until, within } from '../../helpers/app'
import { reasonToSkip, startRedis } from '../../helpers/redis'
import { testConnection, Member, TIMEOUT, connectionTo, eventually, revoke } from '../../helpers/redis-connection'

t.test('a backplane opens and closes connections to Redis', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const admin = server.client()
  const names = async (): Promise<string[]> => (String(await admin.call('CLIENT', 'LIST')).match(/ name=\S*/g) ?? []).map((name) => name.slice(6))

  t.test('a client of each kind and its duplicate are full connections to Redis', async (t) => {
    for (const client of [server.client(), await server.nodeClient()]) {
      const connection = connectionTo(client)
      await testConnection(t, connection)
      const own = connection.duplicate()
      t.teardown(() => own.close())
      await own.open()
      await testConnection(t, own)
    }
  })

  t.test('an instance opens one connection to Redis when it joins and closes it when it leaves, and leaves the client of the app alone', async (t) => {
    const io = server.client({ connectionName: 'io' })
    const node = createClient({ socket: { path: server.path, tls: false }, name: 'node' })
    t.teardown(() => { node.destroy() })
    await node.connect()
    for (const [name, client] of [['io', io], ['node', node]] as const) {
      await until(() => name === 'node' || io.status === 'ready', 'it is connected')
      const count = async (): Promise<number> => (await names()).filter((one) => one === name).length
      t.equal(await count(), 1)
      const backplane = redisBackplane({ client: client as RedisBackplaneOptions['client'], prefix: name })
      const links = [new Member(), new Member()].map((member) => backplane.join(member))
      await within(TIMEOUT, 'they are ready', Promise.all(links.map(async ({ ready }) => await ready)))
      t.equal(await count(), 3, 'each has one of its own')
      t.equal(Number(await admin.zcard(`{${name}}:alive`)), 2)
      await Promise.all(links.map(async (link) => await link.leave()))
      await eventually(async () => await count() === 1, 'theirs are closed')
      t.equal(Number(await admin.zcard(`{${name}}:alive`)), 0)
      t.equal(await connectionTo(client).send(['PING']), 'PONG', 'the app has its own still')
    }
  })

  t.test('an instance that leaves disconnects once, because ioredis sets a timer of 2 s each time, and clears it once', async (t) => {
    const io = server.client({ connectionName: 'once' })
    let disconnects = 0
    const { duplicate } = io
    io.duplicate = (...options) => {
      const own = Reflect.apply(duplicate, io, options) as typeof io
      const { disconnect } = own
      own.disconnect = (...more) => { disconnects++; Reflect.apply(disconnect, own, more) }
      return own
    }
    const link = redisBackplane({ client: io, prefix: 'once' }).join(new Member())
    await within(TIMEOUT, 'it is ready', Promise.resolve(link.ready))
    await within(TIMEOUT, 'it leaves', link.leave())
    await eventually(async () => (await names()).filter((one) => one === 'once').length === 1, 'it is closed')
    await new Promise((resolve) => setTimeout(resolve, 50))
    t.equal(disconnects, 1)
  })

  t.test('an instance that leaves while its connection is being opened leaves no connection', async (t) => {
    const io = server.client({ connectionName: 'early' })
    await io.ping()
    for (let i = 0; i < 10; i++) {
      const link = redisBackplane({ client: io, prefix: 'early' }).join(new Member())
      for (let turn = 0; turn < i; turn++) await new Promise((resolve) => setImmediate(resolve))
      await within(TIMEOUT, 'it leaves', link.leave())
    }
    await eventually(async () => (await names()).filter((one) => one === 'early').length === 1, 'none is left')
    t.equal(io.status, 'ready')
  })

  t.test('a client of node-redis that is not connected stays unconnected', async (t) => {
    const node = createClient({ socket: { path: server.path, tls: false } })
    t.teardown(() => { if (node.isOpen) node.destroy() })
    const backplane = redisBackplane({ client: node as RedisBackplaneOptions['client'], prefix: 'closed' })
    const link = backplane.join(new Member())
    t.teardown(async () => await link.leave())
    const message = '"client" option must be a client of node-redis that is connected: await client.connect() before the app starts'
    await t.rejects(within(TIMEOUT, 'it is refused', link.ready), { name: 'TypeError', message })
    t.equal(node.isOpen, false)
    t.equal(link.isCurrent, false)
    await t.rejects(link.publish(revoke('jti', 'a')), { message })
    await t.rejects(Promise.resolve(link.put('a', 'b', 1000)), { message })
    await node.connect()
    const other = backplane.join(new Member())
    t.teardown(async () => await other.leave())
    await within(TIMEOUT, 'it is ready', other.ready)
    t.equal(await other.put('a', 'b', 60_000), true)
    t.same(await other.publish(revoke('jti', 'b')), [])
  })
})
