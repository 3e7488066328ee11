/*
 * Tokens that are used once, by their `iss` and `jti`: logout tokens and security event tokens. The backplane remembers them for all
 * instances.
 */
import { createHash } from 'node:crypto'
import type { BackplaneLink } from '../backplane/contract'

/** How long a `jti` is remembered at most, in milliseconds. */
export const MAX_MEMORY = 86_400_000

/** The name of a token in the backplane. */
export function useName (kind: 'logout' | 'event', iss: string, jti: string): string {
  return `${kind}:${createHash('sha256').update(JSON.stringify([iss, jti])).digest('base64url')}`
}

/** False also if the backplane does not answer, because connections can be closed here without it. */
export async function wasUsed (link: BackplaneLink, name: string): Promise<boolean> {
  try {
    return await link.get(name) !== null
  } catch {
    return false
  }
}
