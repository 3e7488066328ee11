/*
 * What all tests of faults of Redis have in common: who is bad and who is good, what the log says, and what is asserted after
 * each fault.
 */
import t from 'tap'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { assertOpen, assertRevoked, connectAll, untilWell } from './cluster-of-apps'
import type { Member, Reachable, Visitor } from './cluster-of-apps'
import { reasonToSkip } from './redis'

export const BAD = { sub: 'mallory', jti: 'stolen' }
/** One for each kind of revocation, by claims that no other has. */
const BADS: ReadonlyArray<readonly [match: fastifyWsAuth.RevokeMatch, claims: Record<string, unknown>]> = [
  [{ jti: BAD.jti }, BAD],
  [{ sid: 'a login' }, { sub: 'sid', jti: 'a', sid: 'a login' }],
  [{ group: 'gang' }, { sub: 'grace', jti: 'b', team: 'gang' }],
  [{ kid: 'leaked' }, { sub: 'ken', jti: 'c', kid: 'leaked' }],
  [{ iss: 'https://evil.example' }, { sub: 'ivan', jti: 'd', iss: 'https://evil.example' }],
  [{ all: true, beforeAt: 999_999_999_000 }, { sub: 'olga', jti: 'e', iat: 999_999_999 }]
]
export const GOOD = { sub: 'alice', jti: 'hers' }

/** Short, where an outage is what is tested. */
export const STALE_AFTER = 1000

export const CANNOT_FOLLOW = 'cannot follow the log in Redis: trying again'
export const MAY_NOT_GET = 'the other instances may not receive a command'
export const LOST = 'the log in Redis was lost or replaced: this instance writes back the revocations that it knows'
export const WRITTEN_BACK = 'Redis had lost revocations: this instance has written them back'
export const TRIMMED = 'the log in Redis was trimmed before this instance had read it: all revocations are read again, disconnects may have been missed'
export const CLOSED_ALL = `Redis has not answered for ${STALE_AFTER} ms: handshakes are refused and connections are closed`
export const KEPT_ALL = `Redis has not answered for ${STALE_AFTER} ms: connections are kept, and revocations of other instances may be missing`
export const UNKNOWN_ENTRY = 'an entry of the log in Redis was not written by fastify-ws-auth and is ignored: another program may use the same keys'
export const UNKNOWN_REVOCATION = 'a revocation in Redis was not written by fastify-ws-auth and is ignored: another program may use the same keys'

/** A connection of each of them on each instance, those of {@link BAD} first. */
export async function connectBads (members: readonly Reachable[]): Promise<Visitor[]> {
  return (await Promise.all(BADS.map(async ([, claims]) => await connectAll(members, claims)))).flat()
}

/** Revokes all of them. The result, or the error, is that of {@link BAD}. */
export async function revokeBads ({ app }: Pick<Member, 'app'>): Promise<fastifyWsAuth.CommandResult> {
  const results = BADS.map(async ([match]) => await app.wsAuth.revoke(match))
  await Promise.allSettled(results)
  return await (results[0] as Promise<fastifyWsAuth.CommandResult>)
}

/** None of them is open or let in anywhere. */
export async function assertBadsRevoked (t: Test, members: readonly Reachable[], visitors: readonly Visitor[] = []): Promise<void> {
  for (const [, claims] of BADS) await assertRevoked(t, members, visitors, claims)
}

const unhandled: unknown[] = []
process.on('unhandledRejection', (error) => { unhandled.push(error) })
t.teardown(() => { if (unhandled.length > 0) throw unhandled[0] })

// They wait for most of the time.
t.jobs = 4

export function fault (name: string, test: (t: Test) => Promise<void>): void {
  void t.test(name, { skip: reasonToSkip(), buffered: true }, test)
}

/** @param bad connections of {@link connectBads}, or only of {@link BAD} if no other was revoked */
export async function assertWell (t: Test, members: readonly Member[], bad: readonly Visitor[], good: readonly Visitor[]): Promise<void> {
  const duration = await untilWell(t, members)
  t.comment(`well again after ${duration} ms`)
  if (bad.length >= BADS.length * members.length) await assertBadsRevoked(t, members, bad)
  else await assertRevoked(t, members, bad, BAD)
  await assertOpen(t, good)
}

/** Of each instance: what it said. */
export function assertTold (t: Test, members: readonly Member[], message: string): void {
  for (const { told } of members) t.ok(told().includes(message), `the log says: ${message}`)
}

export function assertNotTold (t: Test, members: readonly Member[], message: string): void {
  for (const { told } of members) t.notOk(told().includes(message), `the log does not say: ${message}`)
}
