/*
 * Each kind of client of Redis in each of its settings, real and cut off.
 */
import { Cluster, Redis } from 'ioredis'
import { createClient, RESP_TYPES } from 'redis'
import t from 'tap'
import { createId } from '../../../lib/base/id'
import type { OwnConnection } from '../../../lib/backplane/redis/client/connection'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../../lib/backplane/redis/index'
import { pairsOf } from '../../../lib/backplane/redis/client/replies'
import { within } from '../../helpers/app'
import { reasonToSkip, startProxy, startRedis } from '../../helpers/redis'
import { Member, TIMEOUT, connectionTo, revoke, testConnection } from '../../helpers/redis-connection'

type Options = Record<string, unknown>

t.test('every kind of client of Redis serves as a connection', { skip: reasonToSkip(), jobs: 4 }, async (t) => {
  const server = await startRedis(t)
  const { path } = server
  const ioredis = {
    'by default': {},
    'with keyPrefix': { keyPrefix: '{app}:' },
    'with RESP 2': { protocol: 2 },
    'with RESP 3': { protocol: 3, replyMapping: 'resp3' },
    'that has numbers as texts': { stringNumbers: true },
    'that pipelines by itself': { enableAutoPipelining: true },
    'that gives up soon': { commandTimeout: 1500, socketTimeout: 1500, blockingTimeout: 50, maxRetriesPerRequest: 1 },
    'that never gives up': { maxRetriesPerRequest: null, autoResendUnfulfilledCommands: false, retryStrategy: () => 10, reconnectOnError: ({ message }: Error) => message.startsWith('READONLY') ? 2 : false },
    'that connects late': { lazyConnect: true }
  } as const
  const nodeRedis = {
    'by default': {},
    'with RESP 2': { RESP: 2 },
    'with RESP 3': { RESP: 3 },
    'that has buffers': { commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer, [RESP_TYPES.SIMPLE_STRING]: Buffer, [RESP_TYPES.NUMBER]: String, [RESP_TYPES.MAP]: Map } } },
    'that has maps': { RESP: 3, commandOptions: { typeMapping: { [RESP_TYPES.MAP]: Map, [RESP_TYPES.DOUBLE]: String } } },
    'that gives up soon': { commandOptions: { timeout: 1500 } },
    'without a queue': { disableOfflineQueue: true }
  } as const

  const test = (name: string, open: () => Promise<{ client: unknown, isAsBefore: () => boolean }>): void => {
    t.test(`${name} serves as a connection`, { buffered: true }, async (t) => {
      const { client, isAsBefore } = await open()
      const connection = connectionTo(client)
      await t.test('a client of the app answers commands', async (t) => await testConnection(t, connection))
      await t.test('a duplicate answers commands, and blocks for longer than the client waits', async (t) => {
        const own = connection.duplicate()
        t.teardown(() => own.close())
        await within(TIMEOUT, 'it opens', own.open())
        await testConnection(t, own)
        const key = `{${createId()}}`
        const reading = own.send(['XREAD', 'BLOCK', '20000', 'STREAMS', key, '0-0'])
        await new Promise((resolve) => setTimeout(resolve, 2000))
        await connection.send(['XADD', key, '*', 'a', 'b'])
        t.equal(pairsOf(await within(TIMEOUT, 'it is read', reading)).length, 1)
      })
      await t.test('a duplicate that is closed fails the commands that wait, and stays closed', async (t) => {
        const own = connection.duplicate()
        await own.open()
        const reading = own.send(['XREAD', 'BLOCK', '20000', 'STREAMS', '{none}', '0-0'])
        setImmediate(() => own.close())
        await t.rejects(within(TIMEOUT, 'it fails', reading))
        own.close()
        await t.rejects(within(TIMEOUT, 'it fails', own.send(['PING'])))
      })
      await t.test('a duplicate can be closed at any time', async () => {
        connection.duplicate().close()
        const own = connection.duplicate()
        const opening = own.open()
        own.close()
        await within(TIMEOUT, 'it settles', opening.catch(() => {}))
      })
      t.equal(isAsBefore(), true, 'the client of the app is as it was')
      t.equal(await connection.send(['PING']), 'PONG')
    })
  }
  for (const [name, options] of Object.entries(ioredis)) {
    test(`ioredis ${name}`, async () => {
      const client = server.client(options as object)
      return { client, isAsBefore: () => client.status === 'ready' }
    })
  }
  for (const [name, options] of Object.entries(nodeRedis)) {
    test(`node-redis ${name}`, async () => {
      const client = createClient({ socket: { path, tls: false }, ...options as object })
      client.on('error', () => {})
      t.teardown(() => client.destroy())
      await client.connect()
      return { client, isAsBefore: () => client.isOpen && client.isReady }
    })
  }

  t.test('a duplicate cannot be opened without Redis, and does not try again', async (t) => {
    const { port, cut, restore } = await startProxy(t, server)
    const clients = [new Redis({ host: '127.0.0.1', port, retryStrategy: () => 5 }), createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: 5 } })]
    for (const client of clients) {
      client.on('error', () => {})
      t.teardown(() => { client instanceof Redis ? client.disconnect() : client.destroy() })
      if (!(client instanceof Redis)) await client.connect()
      await connectionTo(client).send(['PING'])
    }
    cut()
    const owns: OwnConnection[] = []
    for (const client of clients) {
      const own = connectionTo(client).duplicate()
      owns.push(own)
      await t.rejects(within(TIMEOUT, 'it fails', own.open()))
    }
    restore()
    for (const client of clients) t.equal(await within(TIMEOUT, 'the client of the app is back', untilAnswered(client)), 'PONG')
    for (const own of owns) {
      await t.rejects(within(TIMEOUT, 'it fails', own.send(['PING'])))
      own.close()
    }
  })

  t.test('a duplicate that loses its Redis fails the commands that wait, and does not come back', async (t) => {
    const { port, cut, restore } = await startProxy(t, server)
    const io = new Redis({ host: '127.0.0.1', port, maxRetriesPerRequest: null, retryStrategy: () => 5, reconnectOnError: () => 2 })
    const node = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: 5 } })
    for (const client of [io, node]) client.on('error', () => {})
    t.teardown(() => { io.disconnect(); node.destroy() })
    await node.connect()
    const reads = await Promise.all([io, node].map(async (client) => {
      const own = connectionTo(client).duplicate()
      t.teardown(() => own.close())
      await own.open()
      return { own, reading: own.send(['XREAD', 'BLOCK', '20000', 'STREAMS', '{none}', '0-0']) }
    }))
    await new Promise((resolve) => setTimeout(resolve, 50))
    cut()
    for (const { reading } of reads) await t.rejects(within(TIMEOUT, 'it fails', reading))
    restore()
    for (const client of [io, node]) await within(TIMEOUT, 'the client of the app is back', untilAnswered(client))
    for (const { own } of reads) await t.rejects(within(TIMEOUT, 'it fails', own.send(['PING'])))
  })

  t.test('a transaction fails if its watched key has changed or its client is closed', async (t) => {
    const io = server.client()
    const node = await server.nodeClient()
    const other = server.client()
    for (const [client, watch] of [[io, async () => await io.watch('watched')], [node, async () => await node.watch('watched')]] as const) {
      await watch()
      await other.set('watched', createId())
      await t.rejects(connectionTo(client).transact([['PING']]))
    }
    node.destroy()
    await t.rejects(connectionTo(node).transact([['PING']]))
    io.disconnect()
    await t.rejects(connectionTo(io).transact([['PING']]))
    await node.connect()
  })

  t.test('a cluster of ioredis is duplicated with its own password, and reads from the master', async (t) => {
    const given: Options[] = []
    // Before ioredis 6 options that are given replace those of the client.
    const asBefore = (client: Cluster): Cluster => Object.assign(client, {
      duplicate: (_nodes: unknown, options: Options) => {
        given.push(options)
        return new Cluster([], { ...client.options, ...options })
      }
    })
    const client = asBefore(new Cluster([], { lazyConnect: true, scaleReads: 'slave', redisOptions: { password: 'secret', commandTimeout: 100 } }))
    connectionTo(client).duplicate()
    t.match(given, [{ scaleReads: 'master', redisOptions: { password: 'secret', maxRetriesPerRequest: 0, commandTimeout: undefined } }])
    const bare = asBefore(new Cluster([], { lazyConnect: true }))
    await t.rejects(within(TIMEOUT, 'it fails', connectionTo(bare).duplicate().open()))
    t.equal(bare.status, 'wait')
  })
})

async function untilAnswered (client: unknown): Promise<unknown> {
  for (;;) {
    try {
      return await connectionTo(client).send(['PING'])
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
}

/** The client whose own time-out a read must outlast. */
const WAITS = 'ioredis that waits a second'

t.test('a backplane works with clients whose settings suit other uses', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const clients: Record<string, () => Promise<unknown>> = {
    [WAITS]: async () => server.client({ commandTimeout: 1000, socketTimeout: 1000 }),
    'ioredis without a queue': async () => server.client({ enableOfflineQueue: false, maxRetriesPerRequest: 0 }),
    'ioredis that resends nothing': async () => server.client({ maxRetriesPerRequest: null, autoResendUnfulfilledCommands: false }),
    'ioredis that is not connected': async () => server.client({ lazyConnect: true }),
    'ioredis that has another shape': async () => server.client({ protocol: 3, replyMapping: 'resp3', stringNumbers: true, enableAutoPipelining: true }),
    'node-redis that has buffers': async () => {
      const client = createClient({ socket: { path: server.path, tls: false }, commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } } })
      t.teardown(() => client.destroy())
      return await client.connect()
    },
    'node-redis with a keyPrefix': async () => {
      const client = createClient({ socket: { path: server.path, tls: false }, keyPrefix: 'app:' })
      t.teardown(() => client.destroy())
      return await client.connect()
    }
  }
  for (const [name, open] of Object.entries(clients)) {
    t.test(`a backplane works with ${name}`, async (t) => {
      const client = await open() as RedisBackplaneOptions['client']
      const backplane = redisBackplane({ client, prefix: name })
      const [one, other] = [new Member(), new Member()]
      const links = [one, other].map((member) => backplane.join(member))
      t.teardown(async () => await Promise.all(links.map(async (link) => await link.leave())))
      const [link] = links as [typeof links[0] & object]
      await within(TIMEOUT, 'all are ready', Promise.all(links.map(async ({ ready }) => await ready)))
      if (name === WAITS) await new Promise((resolve) => setTimeout(resolve, 1500))
      t.same(await link.publish(revoke('sub', 'ü:\0', 5)), [{ id: other.id, answered: true, closed: 0 }])
      t.same([...other.known], [revoke('sub', 'ü:\0', 5)])
      t.equal(await link.put('a', 'ü', 60_000), true)
      t.equal(await link.put('a', 'x', 60_000), false)
      t.equal(await link.get('a'), 'ü')
      t.equal(await link.take('a'), 'ü')
      t.equal(await link.take('a'), null)
      t.ok(links.every(({ isCurrent }) => isCurrent))
    })
  }
})

t.test('an instance that does not answer for 5 s is reported as unanswered', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const admin = server.client()
  const link = redisBackplane({ client: server.client(), prefix: 'silent' }).join(new Member())
  t.teardown(async () => await link.leave())
  await link.ready
  await admin.zadd('{silent}:alive', Date.now() + 60_000, 'ghost')
  const before = performance.now()
  t.same(await within(TIMEOUT, 'it settles', link.publish(revoke('jti', 'a'))), [{ id: 'ghost', answered: false, closed: null }])
  t.ok(performance.now() - before >= 4900)
})
