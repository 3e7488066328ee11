/*
 * Tokens that no issuer makes, by hand: any header, any payload, any key for any algorithm; and the ways in which a
 * token travels.
 */
import { constants, createHmac, sign } from 'node:crypto'
import type { RequestSettings } from './raw-client'

/** What makes a signature of what is signed. */
export type Signer = (input: string) => Buffer | string

/** A text or bytes are taken as they are, anything else as JSON. */
export function segment (part: unknown): string {
  return Buffer.from(typeof part === 'string' || Buffer.isBuffer(part) ? part : JSON.stringify(part)).toString('base64url')
}

/** A token in compact serialization; a signature that is a text is taken as it is. */
export function compact (header: unknown, payload: unknown, signer: Signer): string {
  const input = `${segment(header)}.${segment(payload)}`
  const signature = signer(input)
  return `${input}.${typeof signature === 'string' ? signature : signature.toString('base64url')}`
}

export function hmac (key: string | Buffer, hash = 'sha256'): Signer {
  return (input) => createHmac(hash, key).update(input).digest()
}

/** RSASSA-PKCS1-v1_5. */
export function rsa (key: string, hash = 'sha256'): Signer {
  return (input) => sign(hash, Buffer.from(input), key)
}

/** RSASSA-PSS. */
export function pss (key: string): Signer {
  return (input) => sign('sha256', Buffer.from(input), { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST })
}

export function ecdsa (key: string, dsaEncoding: 'ieee-p1363' | 'der' = 'ieee-p1363'): Signer {
  return (input) => sign('sha256', Buffer.from(input), { key, dsaEncoding })
}

export function eddsa (key: string): Signer {
  return (input) => sign(null, Buffer.from(input), key)
}

/** Bytes as the texts that are sent here have them: a character each. */
export function bytes (text: string): string {
  return Buffer.from(text).toString('latin1')
}

/** The ways of a token in a handshake. */
export const carriers = {
  header: (token: string): RequestSettings => ({ path: '/chat', headers: { authorization: `Bearer ${bytes(token)}` } }),
  query: (token: string): RequestSettings => ({ path: `/chat?token=${encodeURIComponent(token)}` }),
  subprotocol: (token: string): RequestSettings => ({ path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${bytes(token)}` } }),
  encoded: (token: string): RequestSettings => ({ path: '/chat', headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${segment(token)}` } }),
  cookie: (token: string): RequestSettings => ({ path: '/chat', headers: { cookie: `token=${bytes(token)}` } })
} as const

export type Carrier = keyof typeof carriers
