/*
 * Reads the names of the keys that an issuer publishes (a JWK Set, RFC 7517, 5), strictly: an answer that is not clearly a whole set is an
 * error, because keys that are missing in a set are revoked.
 */
import { isObject } from '../base/checks'

/** Fetches a URL, as the function of this name in Node.js does. */
export type FetchKeys = (url: string, init: { signal: AbortSignal, redirect: 'error', headers: Record<string, string> }) => Promise<Response>

/** The largest set that is read, in bytes, and the most keys in it. */
const MAX_BYTES = 1_048_576
const MAX_KEYS = 1000

/** What a key of each type must have (RFC 7518, 6, and RFC 8037, 2). Keys of other types are not looked into. */
const MEMBERS: Readonly<Record<string, readonly string[]>> = { RSA: ['n', 'e'], EC: ['crv', 'x', 'y'], OKP: ['crv', 'x'] }

/**
 * The `kid` of each key in a published set.
 *
 * @throws Error if the answer is not 200, too long, or not a set of one or more keys that have each a name of their own
 */
export async function readPublishedKids (url: string, fetch: FetchKeys, signal: AbortSignal): Promise<ReadonlySet<string>> {
  const response = await fetch(url, { signal, redirect: 'error', headers: { accept: 'application/jwk-set+json, application/json' } })
  try {
    if (response.status !== 200) throw new Error(`the answer has the status ${response.status}`)
    return kidsOf(parse(await readText(response)))
  } finally {
    // Frees the connection if the body was not read to its end.
    if (response.bodyUsed === false) await response.body?.cancel().catch(() => {})
  }
}

async function readText (response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength
    if (bytes > MAX_BYTES) throw new Error(`the answer has more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
}

/** The error of `JSON.parse` would quote the answer. */
function parse (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error('the answer is not JSON')
  }
}

function kidsOf (set: unknown): ReadonlySet<string> {
  if (!isObject(set) || !Array.isArray(set.keys)) throw new Error('the answer is not a set of keys')
  const { keys } = set as { keys: unknown[] }
  if (keys.length > MAX_KEYS) throw new Error(`the set has more than ${MAX_KEYS} keys`)
  const kids = new Set<string>()
  for (const key of keys) {
    const kid = kidOfKey(key)
    if (kids.has(kid)) throw new Error('the set has two keys with one kid')
    kids.add(kid)
  }
  if (kids.size === 0) throw new Error('the set is empty')
  return kids
}

function kidOfKey (key: unknown): string {
  if (!isObject(key) || typeof key.kty !== 'string') throw new Error('the set has a key without a kty')
  const { kty, kid } = key
  if (typeof kid !== 'string' || kid === '') throw new Error('the set has a key without a kid')
  const members = Object.hasOwn(MEMBERS, kty) ? MEMBERS[kty] as readonly string[] : []
  if (members.some((member) => typeof key[member] !== 'string' || key[member] === '')) throw new Error('the set has a key that is not whole')
  return kid
}
