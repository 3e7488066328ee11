/*
 * Remembers verified tokens, for the minute after a restart or an outage in which all clients reconnect: an RS256, ES256 or EdDSA check
 * costs 26 to 112 us, a hit costs 3. The key is the exact token. Refusals are not kept, and each hit checks the times in the claims.
 */
import type * as lru from 'lru-cache'
import { assertClaims } from './claims'
import { frozenCopy } from './frozen-data'
import { WsAuthError } from '../base/errors'
import { isThenable } from '../base/thenable'
import type { Verified, Verifier } from './verifier'

/**
 * Makes a verifier that remembers the answers of another.
 *
 * @param max how many tokens it remembers
 * @param ttl for how many milliseconds each
 */
export function cachingVerifier ({ verify, rules, needsRequest }: Verifier, { max, ttl }: { max: number, ttl: number }): Verifier {
  // Loaded here, because most apps have no cache, and it takes a tenth of the import of the package.
  const { LRUCache } = require('lru-cache') as typeof lru
  // With another resolution, lru-cache starts a timer whenever it reads the time.
  const cache = new LRUCache<string, Verified>({ max, ttl, ttlResolution: 0 })
  const remember = (token: string, verified: Verified): Verified => {
    cache.set(token, verified)
    return ownCopy(verified)
  }
  return {
    rules,
    needsRequest,
    verify: (token, request, context) => {
      const hit = cache.get(token)
      if (hit !== undefined) {
        assertClaims(hit.claims, rules, Date.now())
        return ownCopy(hit)
      }
      const verified = verify(token, request, context)
      if (verified instanceof WsAuthError) return verified
      return isThenable(verified)
        ? verified.then((later) => remember(token, later))
        : remember(token, verified)
    }
  }
}

/** Each connection gets its own copy, and the cache keeps another. */
function ownCopy ({ claims, user }: Verified): Verified {
  const copy = frozenCopy(claims)
  return { claims: copy, user: user === claims ? copy : frozenCopy(user) }
}
