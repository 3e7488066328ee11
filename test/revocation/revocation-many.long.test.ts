/*
 * Many connections, on one instance and on three processes by one Redis: whoever is revoked or disconnected is closed on all
 * of them, and nobody else is.
 */
import t from 'tap'
import { sign, until } from '../helpers/app'
import { ClientProcess, ServerProcess } from '../helpers/fleet'
import type { Closed } from '../helpers/fleet-clients'
import { reasonToSkip, startRedis } from '../helpers/redis'

/** No promise of a speed, which is measured and written down: a bound that a busy machine keeps too. */
const MOST = 15_000
const NOW = Math.floor(Date.now() / 1000)

function percentiles (times: number[]): string {
  const sorted = [...times].sort((a, b) => a - b)
  const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN).toFixed(1)
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms (${sorted.length})`
}

t.test('10,000 connections of one user are closed by one call, and 100 others stay', { timeout: 590_000 }, async (t) => {
  const [server, clients] = [await ServerProcess.start(t, null), new ClientProcess(t)]
  const tokens = Array.from({ length: 10_100 }, (_, number) => ({ number, token: sign({ sub: number < 10_000 ? 'ann' : `bystander ${number}`, iat: NOW - 10 }) }))
  t.equal(await clients.open(server.port, tokens), 10_100)
  const { startedAt, endedAt, size, result } = await server.call({ method: 'revoke', match: { sub: 'ann' } })
  t.equal(result.closed, 10_000)
  t.strictSame(result.instances.map(({ answered, closed }) => ({ answered, closed })), [{ answered: true, closed: 10_000 }])
  t.equal(size, 100)
  await until(() => clients.closed.length >= 10_000, 'all clients know', 30_000)
  t.comment(`the call took ${(endedAt - startedAt).toFixed(0)} ms; to the client's close: ${percentiles(clients.closed.map(({ at }) => at - startedAt))}`)
  t.strictSame([...new Set(clients.closed.map(({ why }) => why))], ['3000 token_revoked'])
  t.equal(new Set(clients.closed.map(({ number }) => number)).size, 10_000)
  t.ok(clients.closed.every(({ number }) => number < 10_000), 'nobody else was closed')
  t.equal(await clients.open(server.port, [{ number: 0, token: tokens[0]?.token as string }]), 0, 'nor is anybody let in again')
  t.equal((await server.call({ method: 'disconnect', match: { sub: 'bystander 10000' } })).size, 99)
})

t.test('a command closes the connections of a user on three processes with 3,000 connections and one Redis', { skip: reasonToSkip(), timeout: 200_000 }, async (t) => {
  const redis = await startRedis(t)
  const servers = await Promise.all([1, 2, 3].map(async () => await ServerProcess.start(t, redis.path)))
  const clients = new ClientProcess(t)
  /** On each 900 connections of users who stay, 50 of users and 50 of logins who have one on each. */
  const claimsOf = (number: number, server: number): Record<string, unknown> => {
    if (number >= 100) return { sub: `bystander ${number}`, sid: `bystander ${server} ${number}`, iat: NOW - 10 }
    return number < 50 ? { sub: `user ${number}`, jti: `${server} ${number}`, iat: NOW - 10 } : { sub: `user ${number} of ${server}`, sid: `login ${number}`, iat: NOW - 10 }
  }
  const tokens = servers.map((_, server) => Array.from({ length: 1000 }, (_, number) => ({ number, token: sign(claimsOf(number, server)) })))
  for (const [i, { port }] of servers.entries()) t.equal(await clients.open(port, tokens[i] ?? []), 1000)

  const times: number[] = []
  const calls: number[] = []
  /** Has an instance close those of a user, of whom each instance has one. */
  const call = async (by: number, method: 'revoke' | 'disconnect', number: number): Promise<string[]> => {
    const match = number < 50 ? { sub: `user ${number}` } : { sid: `login ${number}` }
    const { result, startedAt, endedAt } = await (servers[by % 3] as ServerProcess).call({ method, match })
    t.equal(result.closed, 3)
    t.strictSame(result.instances.map(({ answered, closed }) => ({ answered, closed })), [1, 2, 3].map(() => ({ answered: true, closed: 1 })))
    const mine = (): Closed[] => clients.closed.filter((one) => one.number === number && one.at >= startedAt)
    await until(() => mine().length >= 3, `the clients of ${number} know`, 10_000)
    times.push(...mine().map(({ at }) => at - startedAt))
    calls.push(endedAt - startedAt)
    return mine().map(({ why }) => why)
  }
  const reopen = async (number: number): Promise<number[]> => {
    const opened: number[] = []
    for (const [i, { port }] of servers.entries()) opened.push(await clients.open(port, (tokens[i] ?? []).slice(number, number + 1)))
    return opened
  }
  const three = (why: string): string[] => [why, why, why]

  for (let number = 0; number < 70; number++) {
    t.strictSame(await call(number, 'disconnect', number), three('3003 disconnected'))
    t.strictSame(await reopen(number), [1, 1, 1], 'who is disconnected may come back, anywhere')
    t.strictSame(await call(number + 1, 'revoke', number), three('3000 token_revoked'))
    t.strictSame(await reopen(number), [0, 0, 0], 'who is revoked may not, anywhere')
  }
  t.comment(`one after the other: from the call to the client's close ${percentiles(times)}; to the result ${percentiles(calls)}`)
  t.ok([...times, ...calls].every((ms) => ms < MOST), `none took ${MOST} ms`)

  times.length = calls.length = 0
  await Promise.all([70, 80, 90].map(async (first, by) => {
    for (let number = first; number < first + 10; number++) t.strictSame(await call(by, 'revoke', number), three('3000 token_revoked'))
  }))
  t.comment(`from all three at once: from the call to the client's close ${percentiles(times)}; to the result ${percentiles(calls)}`)
  t.ok([...times, ...calls].every((ms) => ms < MOST), `none took ${MOST} ms`)

  t.equal(clients.closed.length, 3 * (70 + 100), 'each was closed once for each call')
  for (const server of servers) t.equal((await server.call({ method: 'disconnect', match: { sub: 'nobody' } })).size, 900, 'and all others are open')
})
