/*
 * The deadline of a command of Redis.
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import t from 'tap'
import { DeadlineError, withDeadline } from '../../../lib/base/deadline'
import { withDeadlines } from '../../../lib/backplane/redis/client/connection'

t.test('a deadline ends a command of Redis', async (t) => {
  // No process is kept from ending by one.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  t.equal(await withDeadline(Promise.resolve(5), 1000, 'it'), 5)
  const failure = new Error('no')
  await t.rejects(withDeadline(Promise.reject(failure), 1000, 'it'), failure)
  await t.rejects(withDeadline(new Promise(() => {}), 20, 'a thing'), { name: 'DeadlineError', message: 'a thing took longer than 20 ms' })
  t.ok(await withDeadline(new Promise(() => {}), 1, 'it').catch((error: unknown) => error instanceof DeadlineError))

  t.test('a deadline is not passed by a reply that came while the event loop was blocked', async (t) => {
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

  t.test('a promise that fails after its deadline is ignored', async (t) => {
    let fail = (_error: Error): void => {}
    const late = new Promise<never>((_resolve, reject) => { fail = reject })
    await t.rejects(withDeadline(late, 1, 'it'), { name: 'DeadlineError' })
    fail(new Error('later'))
    await new Promise((resolve) => setTimeout(resolve, 5))
    t.pass('nothing is unhandled')
  })

  t.test('commands and transactions have a deadline', async (t) => {
    const silent = withDeadlines({ send: async () => await new Promise(() => {}), transact: async () => await new Promise(() => {}) }, 20)
    await t.rejects(silent.send(['GET', 'a secret']), { name: 'DeadlineError', message: 'the Redis command GET took longer than 20 ms' })
    await t.rejects(silent.transact([['GET', 'a secret']]), { name: 'DeadlineError', message: 'a Redis transaction took longer than 20 ms' })
    const quick = withDeadlines({ send: async () => 'a', transact: async () => ['b'] })
    t.same([await quick.send(['GET']), await quick.transact([])], ['a', ['b']])
  })
})
