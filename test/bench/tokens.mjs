// @ts-check
/*
 * Keys and tokens, signed by hand: the benchmark needs no library to make what it measures others reading.
 */
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'

/** @typedef {'HS256' | 'RS256' | 'ES256' | 'EdDSA'} Algorithm */
/** @typedef {{ private: string, public: string }} Keys  PEM; an HMAC secret is both */

/** How long a token is good for by default, in seconds. */
const HOUR = 3600

/** @returns {Record<Algorithm, Keys>} */
export function createKeys () {
  const secret = 'a secret of thirty-two bytes at the least'
  return {
    HS256: { private: secret, public: secret },
    RS256: pems(generateKeyPairSync('rsa', { modulusLength: 2048 })),
    ES256: pems(generateKeyPairSync('ec', { namedCurve: 'P-256' })),
    EdDSA: pems(generateKeyPairSync('ed25519'))
  }
}

/** @returns {Keys} */
function pems ({ privateKey, publicKey }) {
  return {
    private: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    public: publicKey.export({ type: 'spki', format: 'pem' }).toString()
  }
}

/**
 * A token such as an identity provider makes: about 250 bytes with HS256.
 *
 * @param {Algorithm} algorithm
 * @param {Keys} keys
 * @param {string} sub
 * @param {number} exp in seconds since the epoch
 */
export function createToken (algorithm, keys, sub = 'user-1', exp = Math.floor(Date.now() / 1000) + HOUR) {
  const iat = Math.floor(Date.now() / 1000)
  const input = `${encode({ alg: algorithm, typ: 'JWT' })}.${encode({
    sub, iss: 'https://id.example', roles: ['member', 'editor'], scope: 'chat:read chat:write', iat, exp
  })}`
  return `${input}.${signature(algorithm, keys.private, input).toString('base64url')}`
}

/** The same token with a signature that is well-formed and wrong. */
export function withWrongSignature (token) {
  const start = token.lastIndexOf('.') + 1
  return token.slice(0, start) + (token[start] === 'A' ? 'B' : 'A') + token.slice(start + 1)
}

function encode (value) {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

/** @returns {Buffer} */
function signature (algorithm, key, input) {
  if (algorithm === 'HS256') return createHmac('sha256', key).update(input).digest()
  if (algorithm === 'EdDSA') return sign(null, Buffer.from(input), key)
  return sign('sha256', Buffer.from(input), algorithm === 'ES256' ? { key, dsaEncoding: 'ieee-p1363' } : key)
}
