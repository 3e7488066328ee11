/*
 * What every connection to Redis has to do, and an instance that joins by it.
 */
import Fastify from 'fastify'
import type { Test } from 'tap'
import type { BackplaneMember, Command, RevokeCommand } from '../../lib/backplane/contract'
import { createId } from '../../lib/base/id'
import { connectionOf } from '../../lib/backplane/redis/client/detect'
import type { AppConnection } from '../../lib/backplane/redis/client/connection'
import { entriesOf, pairsOf } from '../../lib/backplane/redis/client/replies'
import { RevocationList } from '../../lib/backplane/revocation-list'

/** How long anything may take, in milliseconds of turns. */
export const TIMEOUT = 60_000

export function revoke (kind: RevokeCommand['kind'], value: string, issuedBy: number | null = null, untilAt = 4e12): RevokeCommand {
  return { type: 'revoke', kind, value, issuedBy, untilAt }
}

export function connectionTo (client: unknown): AppConnection {
  const connection = connectionOf(client)
  if (connection === null) throw new Error('it is no client')
  return connection
}

/** What every kind of connection has to do. */
export async function testConnection (t: Test, connection: Pick<AppConnection, 'send' | 'transact'>): Promise<void> {
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

export class Member implements BackplaneMember {
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

export async function eventually (isTrue: () => Promise<boolean>, what: string): Promise<void> {
  for (let turns = TIMEOUT / 10; !await isTrue(); turns--) {
    if (turns <= 0) throw new Error(`not within ${TIMEOUT} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
