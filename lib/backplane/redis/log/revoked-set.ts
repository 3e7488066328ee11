/*
 * The sorted set of revocations in force. An instance reads it when it starts, and when it has missed entries of the log. Scores only
 * grow (ZADD GT), so the set is the same if revocations are written twice, late or in another order.
 */
import type { RevokeCommand } from '../../contract'
import type { RedisConnection } from '../client/connection'
import { memberOf, parseMember } from './entry'
import type { Keys } from '../keys'
import { pairsOf } from '../client/replies'

/** How many revocations one command reads or writes. */
const BATCH = 1000

/** The command that adds revocations. */
export function addCommand ({ revoked }: Keys, revocations: readonly RevokeCommand[]): string[] {
  return ['ZADD', revoked, 'GT', ...revocations.flatMap((revocation) => [String(revocation.untilAt), memberOf(revocation)])]
}

/** The command that removes the revocations that ended before `now`, in milliseconds since the epoch. */
export function pruneCommand ({ revoked }: Keys, now: number): string[] {
  return ['ZREMRANGEBYSCORE', revoked, '-inf', String(now)]
}

/**
 * Reads all revocations in force, in batches. A revocation that is in the set during the whole call is read, some of them twice.
 * Members that have expired but are not removed yet are skipped.
 *
 * @param read called with each revocation
 * @param onUnknown called for each member that is not a revocation
 */
export async function readRevoked (send: RedisConnection['send'], { revoked }: Keys, read: (revocation: RevokeCommand) => void, onUnknown: (member: string) => void): Promise<void> {
  let cursor = '0'
  do {
    const reply = await send(['ZSCAN', revoked, cursor, 'COUNT', String(BATCH)])
    const [next, members] = Array.isArray(reply) ? reply as unknown[] : []
    for (const [member, untilAt] of pairsOf(members)) {
      const revocation = parseMember(member, Number(untilAt))
      if (revocation === null) onUnknown(member)
      else if (revocation.untilAt > Date.now()) read(revocation)
    }
    cursor = String(next ?? '0')
  } while (cursor !== '0')
}

/** Adds revocations, in batches. */
export async function writeRevoked (send: RedisConnection['send'], keys: Keys, revocations: readonly RevokeCommand[]): Promise<void> {
  for (let i = 0; i < revocations.length; i += BATCH) {
    await send(addCommand(keys, revocations.slice(i, i + BATCH)))
  }
}
