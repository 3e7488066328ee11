/*
 * Remembers tokens that were verified, for the minute after a restart or an outage in which everybody comes back: an
 * RS256, ES256 or EdDSA check costs 26 to 112 us, a hit costs 3. Keyed by the exact token, so what differs by one
 * character is verified for itself. Refusals are not kept, the times in the claims are checked at every hit.
 */
import { LRUCache } from 'lru-cache'
import { assertClaims } from './claims'
import { frozenCopy } from './frozen-data'
import { isThenable } from '../base/thenable'
import type { Verified, Verifier } from './verifier'

/**
 * A verifier that remembers what another let through.
 *
 * @param max how many tokens
 * @param ttl for how long each, in milliseconds
 */
export function cachingVerifier ({ verify, rules }: Verifier, { max, ttl }: { max: number, ttl: number }): Verifier {
  // Its own way of not asking for the time is a timer for each millisecond in which it was asked.
  const cache = new LRUCache<string, Verified>({ max, ttl, ttlResolution: 0 })
  const remember = (token: string, verified: Verified): Verified => {
    cache.set(token, verified)
    return ownCopy(verified)
  }
  return {
    rules,
    verify: (token, request, asker) => {
      const hit = cache.get(token)
      if (hit !== undefined) {
        assertClaims(hit.claims, rules, Date.now())
        return ownCopy(hit)
      }
      const verified = verify(token, request, asker)
      return isThenable(verified)
        ? verified.then((later) => remember(token, later))
        : remember(token, verified)
    }
  }
}

/** What one connection gets is never what another has, nor what the cache holds. */
function ownCopy ({ claims, user }: Verified): Verified {
  const copy = frozenCopy(claims)
  return { claims: copy, user: user === claims ? copy : frozenCopy(user) }
}
