/*
 * Attacks on the signature of a token, its twins, and what a revocation hits.
 */
import t from 'tap'
import { SECRET } from '../helpers/app'
import { ACCEPTED, INVALID, REVOKED } from '../helpers/hostile-target'
import type { HostileTarget } from '../helpers/hostile-target'
import { compact, ecdsa, hmac, rsa, segment } from '../helpers/hostile-tokens'
import { keys } from '../helpers/keys'
import { ANN, BODY, GOOD, HEAD, HS, mint, privateKeys, publicTargets, secretTargets, SIGNATURE, signed, tried, tryRows } from '../helpers/token-attacks'
import type { PublicAlgorithm } from '../helpers/token-attacks'

t.test('a token with a signature that is not its own is refused', async (t) => {
  const targets = await secretTargets(t)
  const raw = Buffer.from(SIGNATURE, 'base64url')
  const withSignature = (bytes: Buffer | string): string => `${HEAD}.${BODY}.${typeof bytes === 'string' ? bytes : bytes.toString('base64url')}`
  const other = segment({ sub: 'eve', jti: 'a1' })
  tryRows(t, targets, [
    ['the good one', GOOD, ACCEPTED],
    ['over other claims', `${HEAD}.${other}.${SIGNATURE}`, INVALID],
    ['over another header', `${segment({ typ: 'JWT', alg: 'HS256' })}.${BODY}.${SIGNATURE}`, INVALID],
    ['over the payload alone', withSignature(signed(BODY) as Buffer), INVALID],
    ['with an empty secret', compact(HS, ANN, hmac('')), INVALID],
    ['with the secret and a newline', compact(HS, ANN, hmac(`${SECRET}\n`)), INVALID],
    ['with the secret in base64', compact(HS, ANN, hmac(Buffer.from(SECRET).toString('base64'))), INVALID],
    ['with "undefined"', compact(HS, ANN, hmac('undefined')), INVALID],
    ['of zeros', withSignature(Buffer.alloc(32)), INVALID],
    ['cut to 16 bytes', withSignature(raw.subarray(0, 16)), INVALID],
    ['cut to one byte', withSignature(raw.subarray(0, 1)), INVALID],
    ['without its first byte', withSignature(raw.subarray(1)), INVALID],
    ['with a byte behind', withSignature(Buffer.concat([raw, Buffer.from([0])])), INVALID],
    ['twice', withSignature(Buffer.concat([raw, raw])), INVALID],
    ['in hex', withSignature(raw.toString('hex')), INVALID],
    ['with one character behind', withSignature(`${SIGNATURE}A`), INVALID],
    ['with one bit changed', withSignature(Buffer.concat([Buffer.from([(raw[0] ?? 0) ^ 1]), raw.subarray(1)])), INVALID],
    ['of the plain texts of its parts', withSignature(signed(`${JSON.stringify(HS)}.${JSON.stringify(ANN)}`) as Buffer), INVALID]
  ])
})

/** The order of the group of P-256, and of that of Ed25519. */
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
const ED25519_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n

function toBytes (value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(64, '0'), 'hex')
}

function toNumber (value: Buffer): bigint {
  return BigInt(`0x${value.toString('hex')}`)
}

t.test('a token with an invalid signature of elliptic curves or RSA is refused', async (t) => {
  const forge = (algorithm: PublicAlgorithm, change: (signature: Buffer) => Buffer): string =>
    compact({ alg: algorithm }, ANN, (input) => change(privateKeys[algorithm](input) as Buffer))
  const constant = (...values: bigint[]) => (): Buffer => Buffer.concat(values.map(toBytes))
  tryRows(t, await publicTargets(t, 'ES256'), [
    ['r and s zero (CVE-2022-21449)', forge('ES256', constant(0n, 0n)), INVALID],
    ['r zero', forge('ES256', (signature) => Buffer.concat([Buffer.alloc(32), signature.subarray(32)])), INVALID],
    ['s zero', forge('ES256', (signature) => Buffer.concat([signature.subarray(0, 32), Buffer.alloc(32)])), INVALID],
    ['r and s one', forge('ES256', constant(1n, 1n)), INVALID],
    ['r and s the order of the group', forge('ES256', constant(P256_ORDER, P256_ORDER)), INVALID],
    ['r and s of ones', forge('ES256', () => Buffer.alloc(64, 0xff)), INVALID],
    ['s and r exchanged', forge('ES256', (signature) => Buffer.concat([signature.subarray(32), signature.subarray(0, 32)])), INVALID],
    ['DER', compact({ alg: 'ES256' }, ANN, ecdsa(keys.ES256.private, 'der')), INVALID],
    ['63 bytes', forge('ES256', (signature) => signature.subarray(1)), INVALID],
    ['65 bytes', forge('ES256', (signature) => Buffer.concat([signature, Buffer.from([0])])), INVALID],
    ['96 bytes, as ES384 has', forge('ES256', (signature) => Buffer.concat([Buffer.alloc(16), signature.subarray(0, 32), Buffer.alloc(16), signature.subarray(32)])), INVALID]
  ])
  tryRows(t, await publicTargets(t, 'EdDSA'), [
    ['of Ed25519, of zeros', forge('EdDSA', () => Buffer.alloc(64)), INVALID],
    ['of Ed25519, the neutral point and zero', forge('EdDSA', () => Buffer.concat([Buffer.from([1]), Buffer.alloc(63)])), INVALID],
    ['of Ed25519, s and the order of the group', forge('EdDSA', (signature) => {
      const s = toNumber(Buffer.from(signature.subarray(32)).reverse()) + ED25519_ORDER
      return Buffer.concat([signature.subarray(0, 32), toBytes(s).reverse()])
    }), INVALID],
    ['of Ed25519, with a byte behind', forge('EdDSA', (signature) => Buffer.concat([signature, Buffer.from([0])])), INVALID]
  ])
  tryRows(t, await publicTargets(t, 'RS256'), [
    ['of RSA, of zeros', forge('RS256', () => Buffer.alloc(256)), INVALID],
    ['of RSA, one', forge('RS256', () => Buffer.concat([Buffer.alloc(255), Buffer.from([1])])), INVALID],
    ['of RSA, with a zero before', forge('RS256', (signature) => Buffer.concat([Buffer.from([0]), signature])), INVALID],
    ['of RSA, with a byte behind', forge('RS256', (signature) => Buffer.concat([signature, Buffer.from([0])])), INVALID],
    ['of RSA, over another hash', compact({ alg: 'RS256' }, ANN, rsa(keys.RS256.private, 'sha1')), INVALID]
  ])
})

/** Another text of the same bytes: the last character has bits that mean nothing. */
function twinOf (text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return text.slice(0, -1) + alphabet[alphabet.indexOf(text.at(-1) ?? '') ^ 1]
}

t.test('a revocation by jti hits each token with an equivalent signature', async (t) => {
  // RFC 4648, 3.5 leaves it to the decoder whether the spare bits are looked at, and RFC 7515 says no more.
  const twinTargets: Array<[string, Record<string, HostileTarget>, original: string, twin: string]> = [
    ['the spare bits of HS256', await secretTargets(t), GOOD, `${HEAD}.${BODY}.${twinOf(SIGNATURE)}`]
  ]
  for (const algorithm of ['RS256', 'EdDSA'] as const) {
    const token = compact({ alg: algorithm }, ANN, privateKeys[algorithm])
    twinTargets.push([`the spare bits of ${algorithm}`, await publicTargets(t, algorithm), token, twinOf(token)])
  }
  const curve = compact({ alg: 'ES256' }, ANN, ecdsa(keys.ES256.private))
  const signature = Buffer.from(curve.slice(curve.lastIndexOf('.') + 1), 'base64url')
  const mirrored = Buffer.concat([signature.subarray(0, 32), toBytes(P256_ORDER - toNumber(signature.subarray(32)))])
  twinTargets.push(['(r, n - s) of ES256', await publicTargets(t, 'ES256'), curve, `${curve.slice(0, curve.lastIndexOf('.'))}.${mirrored.toString('base64url')}`])
  for (const [what, targets, original, twin] of twinTargets) {
    t.test(`${t.name}: ${what}`, async (t) => {
      t.not(original, twin)
      tryRows(t, targets, [[`${what}, as it was signed`, original, ACCEPTED], [`${what}, its twin`, twin, ACCEPTED]])
      t.test('wsAuth.revoke() resolves for the jti', async () => { for (const { app } of Object.values(targets)) await app.wsAuth.revoke({ jti: 'a1' }) })
      tryRows(t, targets, [[`${what}, as it was signed, revoked`, original, REVOKED], [`${what}, its twin, revoked`, twin, REVOKED]])
    })
  }
})

t.test('a revocation hits the named token or user only', async (t) => {
  const targets = await secretTargets(t)
  for (const { app } of Object.values(targets)) {
    for (const jti of ['__proto__', '[object Object]', '7', 'null']) await app.wsAuth.revoke({ jti })
    for (const sub of ['eve', '\ufffd']) await app.wsAuth.revoke({ sub })
  }
  tryRows(t, targets, [
    ['jti __proto__', mint({ sub: 'ann', jti: '__proto__' }), REVOKED],
    ['jti constructor', mint({ sub: 'ann', jti: 'constructor' }), ACCEPTED],
    ['jti an object', mint({ sub: 'ann', jti: {} }), INVALID],
    ['jti an array of it', mint({ sub: 'ann', jti: ['7'] }), INVALID],
    ['jti a number', mint({ sub: 'ann', jti: 7 }), REVOKED],
    ['jti the number in another spelling', mint('{"sub":"ann","jti":7.0e0}'), REVOKED],
    ['jti null', mint({ sub: 'ann', jti: null }), ACCEPTED],
    ['jti twice, the last counts', mint('{"sub":"ann","jti":"good","jti":"7"}'), REVOKED],
    ['jti escaped', mint('{"sub":"ann","j\\u0074i":"\\u0037"}'), REVOKED],
    ['sub, without an iat', mint({ sub: 'eve' }), REVOKED],
    ['sub, with an iat of long ago', mint({ sub: 'eve', iat: -1e9 }), REVOKED],
    ['sub escaped', mint('{"s\\u0075b":"\\u0065ve"}'), REVOKED],
    ['sub in upper case is another', mint({ sub: 'EVE' }), ACCEPTED],
    ['sub with a space is another', mint({ sub: 'eve ' }), ACCEPTED],
    ['a lone surrogate is not the replacement character', mint('{"sub":"\\ud800"}'), ACCEPTED]
  ])
})

t.test('the table has all of its rows, each once', async (t) => {
  t.ok(tried.length >= 65, `${tried.length} rows`)
  t.equal(new Set(tried).size, tried.length)
})
