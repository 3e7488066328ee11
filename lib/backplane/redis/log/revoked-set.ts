/*
 * The revocations in force, as Redis has them beside the log: what a late starter reads, and who has missed a part of the
 * log. A sorted set, whose scores only grow (ZADD GT): written twice, late or in any order, it is the same.
 */
import type { RevokeCommand } from '../../contract'
import type { RedisConnection } from '../client/connection'
import { memberOf, parseMember } from './entry'
import type { Keys } from '../keys'
import { pairsOf } from '../client/replies'

/** How many are read or written at once. */
const BATCH = 1000

/** How a revocation is added, as a command for Redis. */
export function addCommand ({ revoked }: Keys, revocations: readonly RevokeCommand[]): string[] {
  return ['ZADD', revoked, 'GT', ...revocations.flatMap((revocation) => [String(revocation.untilAt), memberOf(revocation)])]
}

/** How those are taken out that were over at an instant (ms since the epoch). */
export function pruneCommand ({ revoked }: Keys, now: number): string[] {
  return ['ZREMRANGEBYSCORE', revoked, '-inf', String(now)]
}

/**
 * Reads them all, some at a time: those that are there all the while are among them, and some may come twice. What is over
 * is there until it is thrown away, and in force no more.
 *
 * @param read called with each
 * @param onUnknown called with each member that is none
 */
export async function readRevoked (send: RedisConnection['send'], { revoked }: Keys, read: (revocation: RevokeCommand) => void, onUnknown: () => void): Promise<void> {
  let cursor = '0'
  do {
    const reply = await send(['ZSCAN', revoked, cursor, 'COUNT', String(BATCH)])
    const [next, members] = Array.isArray(reply) ? reply as unknown[] : []
    for (const [member, untilAt] of pairsOf(members)) {
      const revocation = parseMember(member, Number(untilAt))
      if (revocation === null) onUnknown()
      else if (revocation.untilAt > Date.now()) read(revocation)
    }
    cursor = String(next ?? '0')
  } while (cursor !== '0')
}

/** Adds what it lacks. */
export async function writeRevoked (send: RedisConnection['send'], keys: Keys, revocations: readonly RevokeCommand[]): Promise<void> {
  for (let i = 0; i < revocations.length; i += BATCH) {
    await send(addCommand(keys, revocations.slice(i, i + BATCH)))
  }
}
