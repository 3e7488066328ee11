/*
 * What the backplane by Redis is made of, each part for itself: options, clients, replies, entries, positions, keys.
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import Fastify from 'fastify'
import { Cluster, Redis } from 'ioredis'
import { createClient, createClientPool, createCluster, createSentinel, RESP_TYPES } from 'redis'
import t from 'tap'
import type { Test } from 'tap'
import type { BackplaneMember, Command, RevokeCommand } from '../../../lib/backplane/contract'
import { createId } from '../../../lib/base/id'
import { DeadlineError, withDeadline } from '../../../lib/base/deadline'
import { withDeadlines } from '../../../lib/backplane/redis/client/connection'
import { connectionOf } from '../../../lib/backplane/redis/client/detect'
import type { AppConnection, OwnConnection } from '../../../lib/backplane/redis/client/connection'
import { fieldsOf, memberOf, parseEntry, parseMember } from '../../../lib/backplane/redis/log/entry'
import { redisBackplane } from '../../../lib/backplane/redis/index'
import type { RedisBackplaneOptions } from '../../../lib/backplane/redis/index'
import { keysOf } from '../../../lib/backplane/redis/keys'
import { compareIds, epochOf, isNext, START } from '../../../lib/backplane/redis/log/position'
import { Presence } from '../../../lib/backplane/redis/presence'
import { entriesOf, pairsOf, valueOf } from '../../../lib/backplane/redis/client/replies'
import { addCommand, pruneCommand, readRevoked, writeRevoked } from '../../../lib/backplane/redis/log/revoked-set'
import { RevocationList } from '../../../lib/backplane/revocation-list'
import { ODD_TEXTS } from '../../contracts/backplane'
import { until, within } from '../../helpers/app'
import { reasonToSkip, startProxy, startRedis } from '../../helpers/redis'

type Options = Record<string, unknown>

const TIMEOUT = 30_000

/** What no JavaScript user is kept from giving. */
function backplaneOf (options: unknown): unknown {
  return redisBackplane(options as RedisBackplaneOptions)
}

t.test('options of redisBackplane', async (t) => {
  const client = new Redis({ lazyConnect: true })
  const wrong: Array<[unknown, string]> = [
    [undefined, '"options" option must be an object'],
    [null, '"options" option must be an object'],
    ['redis://127.0.0.1', '"options" option must be an object'],
    [[client], '"options" option must be an object'],
    [{ client, Prefix: 'a' }, '"Prefix" option must be left out: there is no such option'],
    [{ client, prefix: '' }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: 'a}' }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: '{a' }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: 5 }, '"prefix" option must be a non-empty string without braces'],
    [{ client, prefix: null }, '"prefix" option must be a non-empty string without braces'],
    [{ client, onOutage: 'open' }, '"onOutage" option must be \'close\' or \'keep\''],
    [{ client, onOutage: null }, '"onOutage" option must be \'close\' or \'keep\''],
    ...[99, 100.5, 0, -1, NaN, Infinity, 2 ** 31, '1000', null].map((staleAfter): [unknown, string] =>
      [{ client, staleAfter }, '"staleAfter" option must be an integer from 100 to 2147483647'])
  ]
  for (const [options, message] of wrong) t.throws(() => backplaneOf(options), { name: 'TypeError', message })
  const right: Options[] = [{}, { prefix: 'my app' }, { staleAfter: 100 }, { staleAfter: 2 ** 31 - 1 }, { onOutage: 'keep' }, { onOutage: 'close' }, { prefix: undefined, staleAfter: undefined, onOutage: undefined }]
  for (const options of right) t.type((backplaneOf({ client, ...options }) as { join: unknown }).join, 'function')
  t.equal(client.status, 'wait', 'nothing is connected before an app joins')

  t.test('what is no client is a TypeError at once, and what looks like one of node-redis too', async (t) => {
    const url = 'redis://127.0.0.1:1'
    const clients: unknown[] = [
      undefined, null, 'redis://127.0.0.1', 5, {}, [], Redis, () => client, { call: () => {}, multi: () => {} }, { sendCommand: () => {}, multi: () => {}, duplicate: () => {} },
      createCluster({ rootNodes: [{ url }] }), createSentinel({ name: 'a', sentinelRootNodes: [{ host: '127.0.0.1', port: 1 }] }), createClientPool({ url })
    ]
    for (const client of clients) {
      t.throws(() => backplaneOf({ client }), { name: 'TypeError', message: '"client" option must be a client of ioredis, iovalkey or node-redis' })
    }
    t.type(backplaneOf({ client: createClient({ url }) }), 'object')
    t.type(backplaneOf({ client: new Cluster([], { lazyConnect: true }) }), 'object')
  })
})

t.test('keys of an app have one hash tag, and no name of a value is one of the others', async (t) => {
  const { value, inbox, ...keys } = keysOf('my app')
  t.same(keys, { log: '{my app}:log', revoked: '{my app}:revoked', alive: '{my app}:alive' })
  t.equal(inbox('a'), '{my app}:inbox:a')
  const others = [...Object.values(keys), inbox('a')]
  for (const name of ['', ...ODD_TEXTS, ...others]) {
    t.ok(value(name).startsWith('{my app}:') && value(name).endsWith(name))
    t.notOk(others.includes(value(name)))
  }
})

t.test('pairs are the same in every shape', async (t) => {
  const expected = [['a', 1], ['b', ['x', 'y']]]
  t.same(pairsOf(new Map<unknown, unknown>([['a', 1], [Buffer.from('b'), ['x', 'y']]])), expected)
  t.same(pairsOf({ a: 1, b: ['x', 'y'] }), expected)
  t.same(pairsOf(Object.assign(Object.create(null), { a: 1, b: ['x', 'y'] })), expected)
  t.same(pairsOf([['a', 1], ['b', ['x', 'y']]]), expected)
  t.same(pairsOf(['a', 1, 'b', ['x', 'y']]), expected)
  t.same(pairsOf(['a', 1, 'b']), [['a', 1]], 'half a pair is none')
  for (const nothing of [null, undefined, [], {}, new Map(), 'OK', 5, true]) t.same(pairsOf(nothing), [])
})

t.test('entries of a stream are read, and what is none is not', async (t) => {
  t.same(entriesOf([['1-0', ['a', 'b', '__proto__', 'c']], ['1-1', { a: 5 }], ['1-2', null]]), [
    { id: '1-0', fields: new Map([['a', 'b'], ['__proto__', 'c']]) },
    { id: '1-1', fields: new Map([['a', '5']]) },
    { id: '1-2', fields: new Map() }
  ])
  t.same(entriesOf([null, 'x', ['1-3', []]]), [{ id: '1-3', fields: new Map() }])
  for (const nothing of [null, undefined, 'OK', {}, 5]) t.same(entriesOf(nothing), [])
  const failure = new Error('ERR it')
  t.throws(() => valueOf(failure), failure)
  t.equal(valueOf('x'), 'x')
  t.equal(valueOf(null), null)
})

t.test('ids are compared as numbers of 64 bits', async (t) => {
  const ids = ['0-0', '0-1', '1-0', '1-9', '1-10', '9-0', '10-0', '9007199254740992-0', '9007199254740993-0', '9007199254740993-18446744073709551614', '9007199254740993-18446744073709551615', '18446744073709551615-0']
  for (const [i, one] of ids.entries()) {
    for (const [j, other] of ids.entries()) t.equal(compareIds(one, other), Math.sign(i - j), `${one} and ${other}`)
  }
  t.ok(compareIds('none', '0-1') < 0)
  t.equal(compareIds('none', START.id), 0)
  t.equal(epochOf('12-34'), '12')
})

t.test('nothing stands between an id and the next', async (t) => {
  for (const [after, id] of [['5-0', '5-1'], ['5-9', '5-10'], ['5-9007199254740992', '5-9007199254740993'], ['0-0', '5-0'], ['0-0', '18446744073709551615-0']] as const) {
    t.equal(isNext(id, after), true, `${id} after ${after}`)
  }
  for (const [after, id] of [['5-0', '5-2'], ['5-1', '5-1'], ['5-1', '5-0'], ['5-1', '6-0'], ['5-1', '6-2'], ['0-0', '5-1'], ['5-9007199254740992', '5-9007199254740994'], ['x', 'x'], ['5-0', 'x']] as const) {
    t.equal(isNext(id, after), false, `${id} after ${after}`)
  }
})

function revoke (kind: RevokeCommand['kind'], value: string, issuedBy: number | null = null, untilAt = 4e12): RevokeCommand {
  return { type: 'revoke', kind, value, issuedBy, untilAt }
}

/** Texts of what has a meaning in names of revocations, put together at random. */
function randomText (): string {
  const parts = ['sub', 'jti', 'sid', ':', ':', '5', '-', 'e+', '.', '"', '\\', '{', '}', '\0', '\n', 'ü', '👍', '\ud83d', '\udc4d', ' ', '__proto__']
  return Array.from({ length: 1 + Math.floor(Math.random() * 6) }, () => parts[Math.floor(Math.random() * parts.length)]).join('')
}

/** As Redis gives it back: UTF-8 has no halves of surrogate pairs. */
function throughRedis (text: string): string {
  return Buffer.from(text).toString()
}

t.test('a revocation is the same by the name that it has in Redis, whatever it is about', async (t) => {
  const values = [...ODD_TEXTS, '\ud800', '"\ud800', '""', '"a"', ...Array.from({ length: 20_000 }, randomText)]
  const issuedBys = [0, -1, 5, -5, 1_700_000_000, 1e21, 1.5e300, -1e297, 5e-324, 0.5, -0.25, Number.MAX_SAFE_INTEGER]
  const names = new Map<string, string>()
  for (const [i, value] of values.entries()) {
    for (const revocation of [revoke('jti', value), revoke('sid', value), revoke('sub', value, issuedBys[i % issuedBys.length])]) {
      const name = throughRedis(memberOf(revocation))
      const about = JSON.stringify(revocation)
      const read = parseMember(name, revocation.untilAt)
      if (JSON.stringify(read) !== about) t.same(read, revocation, name.slice(0, 100))
      if ((names.get(name) ?? about) !== about) t.equal(names.get(name), about, 'two have one name')
      names.set(name, about)
    }
  }
  t.ok(names.size > 10_000)
})

t.test('what is no name of a revocation is none', async (t) => {
  const names = [
    '', 'jti', 'jti:', 'id:a', 'JTI:a', 'sub:a', 'sub::a', 'sub:5', 'sub:5:', 'sub:null:a', 'sub:Infinity:a', 'sub:1e999:a', 'sub:1e+999:a', 'sub:0x5:a', 'sub: 5:a', 'sub:--5:a', 'sub:5.:a', ' jti:a', 'x\njti:a',
    'jti:"', 'jti:"a', 'jti:""', 'jti:"a"b', 'sub:5:"', 'sub:5:"\\'
  ]
  for (const name of names) t.equal(parseMember(name, 4e12), null, name)
  for (const untilAt of [NaN, Infinity, -Infinity]) t.equal(parseMember('jti:a', untilAt), null)
  t.same(parseMember('jti:a', 5), revoke('jti', 'a', null, 5))
})

t.test('a command is the same after it was an entry', async (t) => {
  const values = [...ODD_TEXTS, '\ud800', ...Array.from({ length: 2000 }, randomText)]
  const commands = values.flatMap((value): Command[] => [
    revoke('jti', value), revoke('sid', value, null, 1.5), revoke('sub', value, -5), revoke('sub', value, 1e297),
    { type: 'disconnect', kind: 'id', value, code: null, reason: null },
    { type: 'disconnect', kind: 'sub', value, code: 4999, reason: '' },
    { type: 'disconnect', kind: 'sid', value, code: 1000, reason: '√'.repeat(41) }
  ])
  for (const command of [...commands, null]) {
    const fields = fieldsOf({ uid: 'a', from: 'b', command }).map(throughRedis)
    const [entry] = entriesOf([['1-0', fields]])
    const read = entry && parseEntry(entry)
    if (JSON.stringify(read) !== JSON.stringify({ uid: 'a', from: 'b', command })) t.same(read, { uid: 'a', from: 'b', command })
  }
  t.ok(commands.length > 10_000)
})

t.test('an entry that is no command of ours is none', async (t) => {
  const disconnect = { type: 'disconnect', kind: 'sub', value: 'a', code: null, reason: null }
  const wrong: unknown[] = [
    'x', '', '{', 'null', '5', '"revoke"', '[]', '{}', 'Reload',
    ...[
      { ...revoke('jti', 'a'), type: 'forget' }, { ...revoke('jti', 'a'), type: undefined }, { ...revoke('jti', 'a'), kind: 'id' }, { ...revoke('jti', 'a'), kind: 'iss' },
      revoke('jti', ''), { ...revoke('jti', 'a'), value: 5 }, { ...revoke('jti', 'a'), value: ['a'] }, { ...revoke('jti', 'a'), value: null },
      revoke('jti', 'a', 5), revoke('sub', 'a'), revoke('sub', 'a', NaN), { ...revoke('sub', 'a'), issuedBy: '5' }, { ...revoke('sub', 'a'), issuedBy: undefined },
      revoke('jti', 'a', null, Infinity), { ...revoke('jti', 'a'), untilAt: '5' }, { ...revoke('jti', 'a'), untilAt: null },
      { ...disconnect, kind: 'iss' }, { ...disconnect, kind: undefined }, { ...disconnect, value: '' },
      { ...disconnect, code: 1005 }, { ...disconnect, code: 1006 }, { ...disconnect, code: 999 }, { ...disconnect, code: 5000 }, { ...disconnect, code: '4000' }, { ...disconnect, code: 4000.5 }, { ...disconnect, code: undefined },
      { ...disconnect, reason: 'x'.repeat(124) }, { ...disconnect, reason: '√'.repeat(42) }, { ...disconnect, reason: 5 }, { ...disconnect, reason: undefined }
    ].map((command) => JSON.stringify(command))
  ]
  const entry = (fields: unknown[]): ReturnType<typeof parseEntry> => parseEntry({ id: '1-0', fields: new Map(pairsOf(fields).map(([name, value]) => [name, String(value)])) })
  for (const command of wrong) t.equal(entry(['uid', 'a', 'from', 'b', 'command', command]), null, String(command))
  const right = JSON.stringify(disconnect)
  t.same(entry(['uid', 'a', 'from', 'b', 'command', right]), { uid: 'a', from: 'b', command: disconnect })
  t.same(entry(['command', right, 'more', 'x', 'from', 'b', 'uid', 'a']), { uid: 'a', from: 'b', command: disconnect }, 'in any order, and with more')
  t.same(entry(['uid', 'a', 'from', 'b', 'command', 'reload']), { uid: 'a', from: 'b', command: null })
  for (const missing of ['uid', 'from', 'command']) {
    t.equal(entry(['uid', 'a', 'from', 'b', 'command', right].map((item) => item === missing ? 'x' : item)), null, `without ${missing}`)
  }
  const polluting = JSON.stringify(disconnect).replace('{', '{"__proto__":{"polluted":true},')
  t.same(Object.keys(entry(['uid', 'a', 'from', 'b', 'command', polluting])?.command ?? {}), Object.keys(disconnect), 'nothing else of it is taken')
  t.equal((entry(['uid', 'a', 'from', 'b', 'command', polluting])?.command as { polluted?: boolean } | null)?.polluted, undefined)
})

t.test('a deadline', async (t) => {
  // No process is kept from ending by one.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  t.equal(await withDeadline(Promise.resolve(5), 1000, 'it'), 5)
  const failure = new Error('no')
  await t.rejects(withDeadline(Promise.reject(failure), 1000, 'it'), failure)
  await t.rejects(withDeadline(new Promise(() => {}), 20, 'a thing'), { name: 'DeadlineError', message: 'a thing took longer than 20 ms' })
  t.ok(await withDeadline(new Promise(() => {}), 1, 'it').catch((error: unknown) => error instanceof DeadlineError))

  t.test('is not passed by what came while the event loop was blocked', async (t) => {
    const server = createServer().listen(0, '127.0.0.1')
    t.teardown(() => { server.close() })
    await once(server, 'listening')
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
    t.teardown(() => { client.destroy() })
    const [[socket]] = await Promise.all([once(server, 'connection'), once(client, 'connect')]) as [[Socket], unknown]
    const inTime = withDeadline(once(client, 'data'), 50, 'reading')
    socket.end('it')
    // Nothing can be done meanwhile.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
    t.equal(String(await inTime), 'it')
  })

  t.test('a promise that fails later is of no account', async (t) => {
    let fail = (_error: Error): void => {}
    const late = new Promise<never>((_resolve, reject) => { fail = reject })
    await t.rejects(withDeadline(late, 1, 'it'), { name: 'DeadlineError' })
    fail(new Error('later'))
    await new Promise((resolve) => setTimeout(resolve, 5))
    t.pass('nothing is unhandled')
  })

  t.test('is of commands and of transactions', async (t) => {
    const silent = withDeadlines({ send: async () => await new Promise(() => {}), transact: async () => await new Promise(() => {}) }, 20)
    await t.rejects(silent.send(['GET', 'a secret']), { name: 'DeadlineError', message: 'the Redis command GET took longer than 20 ms' })
    await t.rejects(silent.transact([['GET', 'a secret']]), { name: 'DeadlineError', message: 'a Redis transaction took longer than 20 ms' })
    const quick = withDeadlines({ send: async () => 'a', transact: async () => ['b'] })
    t.same([await quick.send(['GET']), await quick.transact([])], ['a', ['b']])
  })
})

function connectionTo (client: unknown): AppConnection {
  const connection = connectionOf(client)
  if (connection === null) throw new Error('it is no client')
  return connection
}

/** What every kind of connection has to do. */
async function testConnection (t: Test, connection: Pick<AppConnection, 'send' | 'transact'>): Promise<void> {
  const key = `{${createId()}}`
  t.equal(await connection.send(['SET', key, 'é\0"', 'PX', '60000', 'NX']), 'OK')
  t.equal(await connection.send(['SET', key, 'x', 'PX', '60000', 'NX']), null)
  t.equal(String(await connection.send(['GETDEL', key])), 'é\0"')
  t.equal(await connection.send(['GET', key]), null)
  await t.rejects(connection.send(['GET', key, key]), /wrong number/)

  const [id, entries, none, time] = await connection.transact([
    ['XADD', key, '5-*', 'a', 'b'], ['XRANGE', key, '5-0', '5-0'], ['XADD', `${key}none`, 'NOMKSTREAM', '*', 'a', 'b'], ['TIME']
  ])
  t.equal(id, '5-0')
  t.same(entriesOf(entries), [{ id: '5-0', fields: new Map([['a', 'b']]) }])
  t.equal(none, null)
  t.match((time as unknown[]).map(Number), [Number, Number])

  const [behind, after, missing, info] = await connection.transact([['XADD', key, '4-*', 'a', 'b'], ['XLEN', key], ['XINFO', 'STREAM', `${key}none`], ['XINFO', 'STREAM', key]])
  t.match(behind, { message: /equal or smaller/ })
  t.ok(behind instanceof Error, 'one failure of a transaction is a reply like others')
  t.equal(Number(after), 1)
  t.match(missing, { message: /no such key/ })
  t.equal(new Map(pairsOf(info)).get('last-generated-id'), '5-0')
  await t.rejects(connection.transact([['GET', key, key]]), /wrong number|discarded/i, 'a command that Redis does not queue fails all')

  const read = await connection.send(['XREAD', 'COUNT', '5', 'STREAMS', key, `${key}none`, '0-0', '0-0'])
  t.same(pairsOf(read).map(([name, entries]) => [name.endsWith(key), entriesOf(entries)]), [[true, [{ id: '5-0', fields: new Map([['a', 'b']]) }]]])
  t.same(pairsOf(await connection.send(['XREAD', 'BLOCK', '1', 'STREAMS', key, '5-0'])), [])

  await connection.send(['ZADD', `${key}set`, 'GT', '1700000000000.5', 'a:b', '5', '__proto__'])
  const [, members] = await connection.send(['ZSCAN', `${key}set`, '0', 'COUNT', '10']) as unknown[]
  t.same(new Map(pairsOf(members).map(([name, score]) => [name, Number(score)])), new Map([['a:b', 1700000000000.5], ['__proto__', 5]]))
}

t.test('clients', { skip: reasonToSkip(), jobs: 4 }, async (t) => {
  const server = await startRedis(t)
  const { path } = server
  const ioredis = {
    'by default': {},
    'with keyPrefix': { keyPrefix: '{app}:' },
    'with RESP 2': { protocol: 2 },
    'with RESP 3': { protocol: 3, replyMapping: 'resp3' },
    'that has numbers as texts': { stringNumbers: true },
    'that pipelines by itself': { enableAutoPipelining: true },
    'that gives up soon': { commandTimeout: 300, socketTimeout: 300, blockingTimeout: 50, maxRetriesPerRequest: 1 },
    'that never gives up': { maxRetriesPerRequest: null, autoResendUnfulfilledCommands: false, retryStrategy: () => 10, reconnectOnError: ({ message }: Error) => message.startsWith('READONLY') ? 2 : false },
    'that connects late': { lazyConnect: true }
  } as const
  const nodeRedis = {
    'by default': {},
    'with RESP 2': { RESP: 2 },
    'with RESP 3': { RESP: 3 },
    'that has buffers': { commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer, [RESP_TYPES.SIMPLE_STRING]: Buffer, [RESP_TYPES.NUMBER]: String, [RESP_TYPES.MAP]: Map } } },
    'that has maps': { RESP: 3, commandOptions: { typeMapping: { [RESP_TYPES.MAP]: Map, [RESP_TYPES.DOUBLE]: String } } },
    'that gives up soon': { commandOptions: { timeout: 300 } },
    'without a queue': { disableOfflineQueue: true }
  } as const

  const test = (name: string, open: () => Promise<{ client: unknown, isAsBefore: () => boolean }>): void => {
    t.test(name, { buffered: true }, async (t) => {
      const { client, isAsBefore } = await open()
      const connection = connectionTo(client)
      await t.test('asks', async (t) => await testConnection(t, connection))
      await t.test('a duplicate asks, and waits for longer than the client does', async (t) => {
        const own = connection.duplicate()
        t.teardown(() => own.close())
        await within(TIMEOUT, 'it opens', own.open())
        await testConnection(t, own)
        const key = `{${createId()}}`
        const reading = own.send(['XREAD', 'BLOCK', '20000', 'STREAMS', key, '0-0'])
        await new Promise((resolve) => setTimeout(resolve, 700))
        await connection.send(['XADD', key, '*', 'a', 'b'])
        t.equal(pairsOf(await within(TIMEOUT, 'it is read', reading)).length, 1)
      })
      await t.test('a duplicate that is closed fails what waits, and stays closed', async (t) => {
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

  t.test('a duplicate cannot be opened where there is no Redis, and does not try again', async (t) => {
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

  t.test('a duplicate that loses its Redis fails what waits, and does not come back', async (t) => {
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

  t.test('a transaction that another command has called off fails', async (t) => {
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

class Member implements BackplaneMember {
  readonly id = createId()
  readonly log = Fastify().log
  readonly known = new RevocationList()
  apply (command: Command): number {
    if (command.type === 'revoke') this.known.add(command)
    return 0
  }

  revocations (): Iterable<RevokeCommand> { return this.known }
  onOutage (): void {}
}

t.test('a backplane with clients that are set up for something else', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const clients: Record<string, () => Promise<unknown>> = {
    'ioredis that waits 100 ms': async () => server.client({ commandTimeout: 100, socketTimeout: 100 }),
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
    t.test(name, async (t) => {
      const client = await open() as RedisBackplaneOptions['client']
      const backplane = redisBackplane({ client, prefix: name })
      const [one, other] = [new Member(), new Member()]
      const links = [one, other].map((member) => backplane.join(member))
      t.teardown(async () => await Promise.all(links.map(async (link) => await link.leave())))
      const [link] = links as [typeof links[0] & object]
      await within(TIMEOUT, 'all are ready', Promise.all(links.map(async ({ ready }) => await ready)))
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

t.test('connections to Redis', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const admin = server.client()
  const names = async (): Promise<string[]> => (String(await admin.call('CLIENT', 'LIST')).match(/ name=\S*/g) ?? []).map((name) => name.slice(6))

  t.test('one is opened when an app joins, and closed when it leaves; that of the app is not touched', async (t) => {
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

  t.test('none is left where an app leaves while it is being opened', async (t) => {
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

  t.test('a client of node-redis that is not connected is not connected by us', async (t) => {
    const node = createClient({ socket: { path: server.path, tls: false } })
    t.teardown(() => { if (node.isOpen) node.destroy() })
    const link = redisBackplane({ client: node as RedisBackplaneOptions['client'], prefix: 'closed' }).join(new Member())
    t.teardown(async () => await link.leave())
    await within(TIMEOUT, 'reading needs none', link.ready)
    t.equal(node.isOpen, false)
    await t.rejects(link.publish(revoke('jti', 'a')))
    await t.rejects(Promise.resolve(link.put('a', 'b', 1000)))
    await node.connect()
    t.equal(await link.put('a', 'b', 60_000), true)
    t.same(await link.publish(revoke('jti', 'b')), [])
  })

  t.test('who does not answer is told of after 5 s', async (t) => {
    const link = redisBackplane({ client: server.client(), prefix: 'silent' }).join(new Member())
    t.teardown(async () => await link.leave())
    await link.ready
    await admin.zadd('{silent}:alive', Date.now() + 60_000, 'ghost')
    const before = performance.now()
    t.same(await within(TIMEOUT, 'it settles', link.publish(revoke('jti', 'a'))), [{ id: 'ghost', answered: false, closed: null }])
    t.ok(performance.now() - before >= 4900)
  })
})

t.test('the set of revocations', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const { send } = connectionTo(server.client())

  t.test('gives those in force, also where they are many, and counts what is none', async (t) => {
    const keys = keysOf('many')
    const all = Array.from({ length: 2500 }, (_, i) => revoke('sub', `user ${i}`, i))
    await writeRevoked(send, keys, [...all, revoke('jti', 'over', null, Date.now() - 1), revoke('sid', 'half', null, Date.now() + 60_000.5)])
    await send(['ZADD', keys.revoked, '5', 'none of ours', '+inf', 'jti:for ever'])
    const known = new Map<string, RevokeCommand>()
    let unknown = 0
    await readRevoked(send, keys, (revocation) => known.set(revocation.value, revocation), () => { unknown++ })
    t.equal(unknown, 2)
    t.equal(known.size, 2501)
    t.ok(all.every((revocation) => JSON.stringify(known.get(revocation.value)) === JSON.stringify(revocation)))
    t.equal(known.has('over'), false)
    t.ok((known.get('half')?.untilAt ?? 0) % 1 === 0.5)

    await send(pruneCommand(keys, Date.now()))
    t.equal(Number(await send(['ZCARD', keys.revoked])), 2502, 'what is over is thrown away')
  })

  t.test('keeps the later of two ends, in any order, and every second that tokens were issued in', async (t) => {
    const keys = keysOf('later')
    for (const untilAt of [4e12, 4.1e12, 3.9e12]) await send(addCommand(keys, [revoke('jti', 'a', null, untilAt), revoke('sub', 'a', untilAt / 1e11, untilAt)]))
    const read: RevokeCommand[] = []
    await readRevoked(send, keys, (revocation) => read.push(revocation), () => {})
    t.same(read.sort((one, other) => one.untilAt - other.untilAt || (one.issuedBy ?? 0) - (other.issuedBy ?? 0)).map(({ kind, untilAt }) => [kind, untilAt]), [['sub', 3.9e12], ['sub', 4e12], ['jti', 4.1e12], ['sub', 4.1e12]])
    await writeRevoked(send, keys, [])
    t.equal(Number(await send(['ZCARD', keys.revoked])), 4)
  })

  t.test('is empty where there is none, or where Redis answers with something else', async (t) => {
    for (const reply of [null, undefined, 'OK', [], ['0'], ['0', null]]) {
      await readRevoked(async () => reply, keysOf('none'), () => t.fail('there is none'), () => t.fail('there is nothing'))
    }
    await readRevoked(send, keysOf('none'), () => t.fail('there is none'), () => t.fail('there is nothing'))
    await t.rejects(readRevoked(async () => { throw new Error('down') }, keysOf('none'), () => {}, () => {}), /down/)
  })
})

t.test('presence', { skip: reasonToSkip() }, async (t) => {
  const server = await startRedis(t)
  const connection = connectionTo(server.client())
  const keys = keysOf('presence')
  const living = async (presence: Presence): Promise<string[]> => presence.othersOf(await connection.send(presence.listCommand))

  t.test('who beats lives to the others, and who leaves does not', async (t) => {
    const [one, other] = [new Presence(keys, 'one'), new Presence(keys, 'other')]
    t.same(await living(one), [])
    await one.beat(connection)
    await other.beat(connection)
    await other.beat(connection)
    t.same(await living(one), ['other'])
    t.same(await living(other), ['one'])
    await connection.send(['XADD', keys.inbox('one'), '*', 'a', 'b'])
    await one.leave(connection)
    t.same(await living(other), [])
    t.equal(Number(await connection.send(['EXISTS', keys.inbox('one')])), 0)
    t.same(one.othersOf(null), [])
    t.same(one.othersOf('OK'), [])
  })

  t.test('who has not beaten for long is none of the living, and forgotten some time later', async (t) => {
    const one = new Presence(keys, 'one')
    const now = Date.now()
    await connection.send(['ZADD', keys.alive, String(now - 1000), 'just over', String(now - 60_000), 'long over', String(now + 10_000), 'living'])
    await one.beat(connection)
    t.same((await living(one)).filter((id) => id !== 'other'), ['living'])
    const kept = await connection.send(['ZRANGE', keys.alive, '0', '-1']) as string[]
    t.ok(kept.includes('just over'))
    t.notOk(kept.includes('long over'))
  })

  t.test('by the clock of Redis, whatever that of the machine says', async (t) => {
    const { now } = Date
    t.teardown(() => { Date.now = now })
    Date.now = () => now() + 3_600_000
    const [one, other] = [new Presence(keys, 'fast'), new Presence(keys, 'other')]
    await one.beat(connection)
    Date.now = () => now() - 3_600_000
    await other.beat(connection)
    t.ok((await living(other)).includes('fast'))
    t.ok((await living(one)).includes('other'))
    const until = Number(await connection.send(['ZSCORE', keys.alive, 'fast']))
    t.ok(Math.abs(until - now()) < 60_000)
  })

  t.test('who leaves while it is about to say that it lives has left', async (t) => {
    const presence = new Presence(keys, 'leaving')
    const beating = presence.beat(connection)
    await presence.leave(connection)
    await beating
    t.equal(await connection.send(['ZSCORE', keys.alive, 'leaving']), null)
  })
})

async function eventually (isTrue: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + TIMEOUT
  while (!await isTrue()) {
    if (Date.now() > deadline) throw new Error(`not within ${TIMEOUT} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
