/* Keys of each kind, made anew in each process, and tokens signed with them by hand: also those that no library makes. */
import { createHmac, generateKeyPairSync, sign as signBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

export const secret = 'a secret of thirty-two bytes at the least'

export type Algorithm = 'HS256' | 'RS256' | 'ES256' | 'EdDSA'

function pems (privateKey: KeyObject, publicKey: KeyObject): { private: string, public: string } {
  return {
    private: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    public: publicKey.export({ type: 'spki', format: 'pem' }).toString()
  }
}

function pair (algorithm: Algorithm): { private: string, public: string } {
  switch (algorithm) {
    case 'HS256': return { private: secret, public: secret }
    case 'RS256': { const keys = generateKeyPairSync('rsa', { modulusLength: 2048 }); return pems(keys.privateKey, keys.publicKey) }
    case 'ES256': { const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' }); return pems(keys.privateKey, keys.publicKey) }
    case 'EdDSA': { const keys = generateKeyPairSync('ed25519'); return pems(keys.privateKey, keys.publicKey) }
  }
}

export const keys: Record<Algorithm, { private: string, public: string }> = {
  HS256: pair('HS256'), RS256: pair('RS256'), ES256: pair('ES256'), EdDSA: pair('EdDSA')
}

export function base64url (value: string | Buffer): string {
  return Buffer.from(value).toString('base64url')
}

/** A signed token of any header and payload; a text is taken as it is, anything else as JSON. */
export function mint (payload: unknown, header: Record<string, unknown> = {}, algorithm: Algorithm = 'HS256'): string {
  const head = base64url(JSON.stringify({ alg: algorithm, typ: 'JWT', ...header }))
  const body = base64url(typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : JSON.stringify(payload))
  return `${head}.${body}.${base64url(signature(`${head}.${body}`, algorithm))}`
}

function signature (input: string, algorithm: Algorithm): Buffer {
  const { private: key } = keys[algorithm]
  switch (algorithm) {
    case 'HS256': return createHmac('sha256', key).update(input).digest()
    case 'RS256': return signBytes('sha256', Buffer.from(input), key)
    case 'ES256': return signBytes('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
    case 'EdDSA': return signBytes(null, Buffer.from(input), key)
  }
}

/** Seconds since the epoch, as tokens have it. */
export function seconds (offset = 0): number {
  return Math.floor(Date.now() / 1000) + offset
}
