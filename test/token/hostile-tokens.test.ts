/*
 * The attack table of tokens: what is sent over the wire in place of a token, and what is answered, told and counted for
 * it. Each row is one attack, on each server on which it might succeed.
 */
import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { WsAuthOptions } from '../../lib/options/public-options'
import type { RouteWsAuth } from '../../lib/options/public-route-options'
import { SECRET, until, within } from '../helpers/app'
import { ACCEPTED, AMBIGUOUS, EXPIRED, FORBIDDEN, HostileTarget, INVALID, MISSING, NO_HANDSHAKE, NO_HTTP, REVOKED, withoutScope } from '../helpers/hostile-target'
import type { Answer } from '../helpers/hostile-target'
import { carriers, compact, ecdsa, eddsa, hmac, pss, rsa, segment } from '../helpers/hostile-tokens'
import type { Carrier, Signer } from '../helpers/hostile-tokens'
import { keys, seconds } from '../helpers/keys'
import { clientFrame, upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'

/** Each row that was tried. */
const tried: string[] = []

type Row = readonly [what: string, token: string, answer: Answer, carrier?: Carrier]

/** Tries rows on one or more servers, which differ in nothing that the answers depend on. */
function tryRows (t: Test, targets: Record<string, HostileTarget>, rows: readonly Row[]): void {
  for (const [what, token, answer, carrier = 'header'] of rows) {
    tried.push(`${t.name}: ${what}`)
    t.test(what, async (t) => {
      for (const [name, target] of Object.entries(targets)) {
        await t.test(name, async (t) => { await target.answers(t, carriers[carrier](token), answer) })
      }
    })
  }
}

const HS = { alg: 'HS256', typ: 'JWT' }
const signed = hmac(SECRET)
const unsigned: Signer = () => ''
/** A token with the right key: what is wrong with it stands in its claims or its header. */
const mint = (claims: unknown, header: unknown = HS): string => compact(header, claims, signed)
const ANN = { sub: 'ann', jti: 'a1' }
const GOOD = mint(ANN)
const [HEAD = '', BODY = '', SIGNATURE = ''] = GOOD.split('.')

const privateKeys = { RS256: rsa(keys.RS256.private), ES256: ecdsa(keys.ES256.private), EdDSA: eddsa(keys.EdDSA.private) }
type PublicAlgorithm = keyof typeof privateKeys

/** The servers that know the public key of an algorithm: the algorithm said or not, the key there or asked for. */
async function publicTargets (t: Test, algorithm: PublicAlgorithm): Promise<Record<string, HostileTarget>> {
  const { public: key, private: own } = keys[algorithm]
  const named = { algorithms: [algorithm] }
  const pair = { public: key, private: own }
  return {
    'its algorithm named': await HostileTarget.start(t, { plugin: { jwt: { secret: pair, sign: { algorithm }, verify: named } } }),
    'its algorithm not named': await HostileTarget.start(t, { plugin: { jwt: { secret: pair, sign: { algorithm } } } }),
    'its key asked for': await HostileTarget.start(t, { plugin: { jwt: { secret: async () => key, verify: named } } }),
    'its key asked for, its algorithm not named': await HostileTarget.start(t, { plugin: { jwt: { secret: async () => key } } })
  }
}

/** What of a public key, in which spelling, somebody may take for an HMAC secret. */
function spellings (algorithm: PublicAlgorithm): Record<string, string | Buffer> {
  const key = createPublicKey(keys[algorithm].public)
  const pem = keys[algorithm].public
  const der = key.export({ type: 'spki', format: 'der' })
  const jwk = key.export({ format: 'jwk' })
  const rsaOnly: Record<string, string | Buffer> = algorithm !== 'RS256'
    ? {}
    : {
        'PKCS#1 PEM': key.export({ type: 'pkcs1', format: 'pem' }).toString(),
        'PKCS#1 PEM without its newline': key.export({ type: 'pkcs1', format: 'pem' }).toString().trimEnd(),
        'PKCS#1 DER': key.export({ type: 'pkcs1', format: 'der' })
      }
  return {
    'SPKI PEM': pem,
    'SPKI PEM without its newline': pem.trimEnd(),
    'SPKI PEM with CRLF': pem.replaceAll('\n', '\r\n'),
    'PEM in one line': pem.replaceAll('\n', ''),
    'PEM body alone': pem.replace(/-----[^-]+-----/g, '').trim(),
    'SPKI DER': der,
    'JWK text': JSON.stringify(jwk),
    'JWK set': JSON.stringify({ keys: [jwk] }),
    'bytes of n or x': Buffer.from(String(jwk.n ?? jwk.x), 'base64url'),
    thumbprint: createHash('sha256').update(JSON.stringify(jwk)).digest(),
    ...rsaOnly
  }
}

for (const algorithm of ['RS256', 'ES256', 'EdDSA'] as const) {
  t.test(`a public key of ${algorithm} is no HMAC secret`, async (t) => {
    const targets = await publicTargets(t, algorithm)
    tryRows(t, targets, [
      ['the key itself', compact({ alg: algorithm }, ANN, privateKeys[algorithm]), ACCEPTED],
      ...Object.entries(spellings(algorithm)).map(([what, key]): Row => [what, compact(HS, ANN, hmac(key)), INVALID]),
      ['PEM, HS384', compact({ alg: 'HS384' }, ANN, hmac(keys[algorithm].public, 'sha384')), INVALID],
      ['PEM, HS512', compact({ alg: 'HS512' }, ANN, hmac(keys[algorithm].public, 'sha512')), INVALID],
      ['HMAC under the name of its own algorithm', compact({ alg: algorithm }, ANN, hmac(keys[algorithm].public)), INVALID],
      ['no signature', compact({ alg: algorithm }, ANN, unsigned), INVALID],
      ['alg none', compact({ alg: 'none' }, ANN, unsigned), INVALID],
      ['alg none over a good signature', compact({ alg: 'none' }, ANN, privateKeys[algorithm]), INVALID]
    ])
  })
}

t.test('an algorithm of another family is none of the key\'s', async (t) => {
  for (const algorithm of ['RS256', 'ES256', 'EdDSA'] as const) {
    const targets = await publicTargets(t, algorithm)
    const others = (['RS256', 'ES256', 'EdDSA'] as const).filter((other) => other !== algorithm)
    tryRows(t, targets, others.flatMap((other): Row[] => [
      [`${other}, signed with another key, for ${algorithm}`, compact({ alg: other }, ANN, privateKeys[other]), INVALID],
      [`${other} by name, for a signature of ${algorithm}`, compact({ alg: other }, ANN, privateKeys[algorithm]), INVALID]
    ]))
  }
  const { 'its algorithm named': named, 'its algorithm not named': unnamed, 'its key asked for': asked } = await publicTargets(t, 'RS256') as Record<string, HostileTarget>
  const ps = compact({ alg: 'PS256' }, ANN, pss(keys.RS256.private))
  tryRows(t, { named, asked } as Record<string, HostileTarget>, [
    ['PS256 of the right key, where RS256 is named', ps, INVALID],
    ['RS512 of the right key, where RS256 is named', compact({ alg: 'RS512' }, ANN, rsa(keys.RS256.private, 'sha512')), INVALID],
    ['RS256 by name, PSS by padding', compact({ alg: 'RS256' }, ANN, pss(keys.RS256.private)), INVALID]
  ])
  tryRows(t, { unnamed } as Record<string, HostileTarget>, [
    ['PS256 of the right key, where nothing is named', ps, ACCEPTED],
    ['RS1', compact({ alg: 'RS1' }, ANN, rsa(keys.RS256.private, 'sha1')), INVALID]
  ])
  const secret = SECRET
  tryRows(t, { 'HS256 named': await HostileTarget.start(t, { plugin: { jwt: { secret, verify: { algorithms: ['HS256'] } } } }) }, [
    ['HS512 of the right secret, where HS256 is named', compact({ alg: 'HS512' }, ANN, hmac(SECRET, 'sha512')), INVALID],
    ['HS512 by name, SHA-256 by hash', compact({ alg: 'HS512' }, ANN, signed), INVALID]
  ])
  tryRows(t, { 'HS256 not named': await HostileTarget.start(t) }, [
    ['HS512 of the right secret, where nothing is named', compact({ alg: 'HS512' }, ANN, hmac(SECRET, 'sha512')), ACCEPTED],
    ['HS256 by name, SHA-512 by hash', compact(HS, ANN, hmac(SECRET, 'sha512')), INVALID]
  ])
})

/** Servers with a secret: there, and asked for. */
async function secretTargets (t: Test, plugin: WsAuthOptions = {}): Promise<Record<string, HostileTarget>> {
  return {
    'a secret': await HostileTarget.start(t, { plugin }),
    'a secret asked for': await HostileTarget.start(t, { plugin: { jwt: { secret: async () => SECRET }, ...plugin } }),
    'a secret, behind a cache': await HostileTarget.start(t, { plugin: { tokenCache: { max: 100, ttl: 60_000 }, ...plugin } })
  }
}

t.test('an alg that is none', async (t) => {
  const targets = await secretTargets(t)
  const spelled = ['none', 'None', 'NONE', 'nOnE', ' none', 'none ', 'none\0', 'no\tne', 'ｎｏｎｅ', '']
  const strange: Array<[string, unknown]> = [
    ['null', null], ['a number', 0], ['true', true], ['an array', ['HS256']], ['an array of none', ['none']],
    ['an object', { toString: 'HS256' }], ['hs256', 'hs256'], ['HS256 and a space', 'HS256 '], ['HS256 and NUL', 'HS256\0'],
    ['HS-256', 'HS-256'], ['HS256,none', 'HS256,none'], ['HMAC', 'HMAC'], ['toString', 'toString'], ['__proto__', '__proto__'],
    ['constructor', 'constructor'], ['HS256 fullwidth', 'ＨＳ２５６'], ['dir', 'dir'], ['A128KW', 'A128KW']
  ]
  tryRows(t, targets, [
    ...spelled.map((alg): Row => [`${JSON.stringify(alg)} without a signature`, compact({ alg }, ANN, unsigned), INVALID]),
    ...spelled.slice(0, 4).map((alg): Row => [`${JSON.stringify(alg)} over a good signature`, mint(ANN, { alg }), INVALID]),
    ...strange.map(([what, alg]): Row => [`${what}, over a good signature`, mint(ANN, { alg }), INVALID]),
    ['missing, over a good signature', mint(ANN, { typ: 'JWT' }), INVALID],
    ['missing, without a signature', compact({ typ: 'JWT' }, ANN, unsigned), INVALID],
    ['none behind HS256 in one header', compact('{"alg":"HS256","alg":"none"}', ANN, unsigned), INVALID],
    // RFC 7515, 4: of two of a name the last counts. Whoever has the key may write so.
    ['HS256 behind none in one header, signed', mint(ANN, '{"alg":"none","alg":"HS256"}'), ACCEPTED],
    ['HS256 behind none in one header, not signed', compact('{"alg":"none","alg":"HS256"}', ANN, unsigned), INVALID],
    ['Alg in upper case beside none', mint(ANN, '{"Alg":"HS256","alg":"none"}'), INVALID],
    ['in the payload alone', compact({}, { ...ANN, alg: 'HS256' }, signed), INVALID],
    ['in __proto__ alone', mint(ANN, '{"__proto__":{"alg":"HS256"}}'), INVALID]
  ])
})

t.test('a signature that is not that of the token', async (t) => {
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

t.test('a signature of elliptic curves or RSA that is none', async (t) => {
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

t.test('a signature has twins, which are the same token: a revocation by jti hits each of them', async (t) => {
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
    t.test(what, async (t) => {
      t.not(original, twin)
      tryRows(t, targets, [[`${what}, as it was signed`, original, ACCEPTED], [`${what}, its twin`, twin, ACCEPTED]])
      t.test('revoked', async () => { for (const { app } of Object.values(targets)) await app.wsAuth.revoke({ jti: 'a1' }) })
      tryRows(t, targets, [[`${what}, as it was signed, revoked`, original, REVOKED], [`${what}, its twin, revoked`, twin, REVOKED]])
    })
  }
})

t.test('a revocation hits what it names and nothing else', async (t) => {
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

t.test('a kid that finds a key', async (t) => {
  const asked: unknown[] = []
  // As people write it, which is not how it should be written.
  const byKid: Record<string, string> = { ann: SECRET, bob: 'b'.repeat(32), '/dev/null': '' }
  const find = async (_request: unknown, { header }: { header: { kid?: string } }): Promise<string> => {
    asked.push(header.kid)
    return byKid[String(header.kid)] as string
  }
  const target = await HostileTarget.start(t, { plugin: { jwt: { secret: find as never, decode: { complete: true } } } })
  const withKid = (kid: unknown, key: string = SECRET): string => compact({ alg: 'HS256', kid }, ANN, hmac(key))
  const kids: Array<[what: string, token: string, answer: Answer, isAsked: boolean]> = [
    ['the right one', withKid('ann'), ACCEPTED, true],
    ['that of another key', withKid('ann', byKid.bob), INVALID, true],
    ['of a path out of the folder', withKid('../../../../dev/null', ''), INVALID, true],
    ['of an empty file, signed with nothing', withKid('/dev/null', ''), INVALID, true],
    ['of an empty file, signed with the secret', withKid('/dev/null'), INVALID, true],
    ['of SQL', withKid('x\' UNION SELECT \'known\' -- ', 'known'), INVALID, true],
    ['of a shell', withKid('ann; cat /etc/passwd |'), INVALID, true],
    ['a URL', withKid('https://evil.example/keys.json'), INVALID, true],
    ['with NUL behind', withKid('ann\0'), INVALID, true],
    ['with a newline', withKid('ann\r\nx: y'), INVALID, true],
    ['in upper case', withKid('ANN'), INVALID, true],
    ['empty', withKid(''), INVALID, true],
    ['missing', withKid(undefined), INVALID, true],
    ['of 5 KB', withKid('k'.repeat(5000)), INVALID, true],
    ['of 10 KB: the token is longer than it may be', withKid('k'.repeat(10_000)), INVALID, false],
    ['a number', withKid(7), INVALID, false],
    ['an object', withKid({ toString: 'ann' }), INVALID, false],
    ['an array of the right one', withKid(['ann']), INVALID, false],
    ['null', withKid(null), INVALID, false],
    ['true', withKid(true), INVALID, false],
    ...['__proto__', 'constructor', 'toString', 'valueOf', 'hasOwnProperty', '__defineGetter__'].map((kid): typeof kids[number] => [kid, withKid(kid), INVALID, false]),
    ['twice, the last counts', compact('{"alg":"HS256","kid":"bob","kid":"ann"}', ANN, signed), ACCEPTED, true],
    ['in the payload alone', compact({ alg: 'HS256' }, { ...ANN, kid: 'ann' }, signed), INVALID, true]
  ]
  for (const [what, token, answer, isAsked] of kids) {
    tried.push(`kid: ${what}`)
    t.test(what, async (t) => {
      await target.answers(t, carriers.header(token), answer)
      t.equal(asked.splice(0).length, isAsked ? 1 : 0, 'how often the key was asked for')
    })
  }
})

t.test('a key that comes with the token is not believed, and nobody is asked for one', async (t) => {
  const asked: string[] = []
  const elsewhere = createServer((request, response) => { asked.push(String(request.url)); response.end('{"keys":[]}') })
  await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve))
  t.teardown(() => elsewhere.close())
  const url = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/keys.json`
  const own = generateKeyPairSync('rsa', { modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } })
  const jwk = createPublicKey(own.publicKey).export({ format: 'jwk' })
  const x5c = [createPublicKey(own.publicKey).export({ type: 'spki', format: 'der' }).toString('base64')]
  const forged = (header: object): string => compact({ alg: 'RS256', ...header }, ANN, rsa(own.privateKey))
  const genuine = (header: object): string => compact({ alg: 'RS256', ...header }, ANN, privateKeys.RS256)
  tryRows(t, await publicTargets(t, 'RS256'), [
    ['jwk', forged({ jwk }), INVALID],
    ['jwk and its thumbprint as kid', forged({ jwk, kid: 'own' }), INVALID],
    ['jku', forged({ jku: url }), INVALID],
    ['jku and kid', forged({ jku: url, kid: 'own' }), INVALID],
    ['x5u', forged({ x5u: url }), INVALID],
    ['x5c', forged({ x5c }), INVALID],
    ['x5t', forged({ x5t: createHash('sha1').update(x5c[0] ?? '').digest('base64url'), x5c }), INVALID],
    ['iss as an address of keys', compact({ alg: 'RS256' }, { ...ANN, iss: url }, rsa(own.privateKey)), INVALID],
    ['kid as an address of keys', forged({ kid: url }), INVALID],
    ['jwk of an oct key, for HS256', compact({ alg: 'HS256', jwk: { kty: 'oct', k: segment('own') } }, ANN, hmac('own')), INVALID],
    ['jwk without a key, and no signature', compact({ alg: 'RS256', jwk: {} }, ANN, unsigned), INVALID],
    // RFC 7515, 4.1: who does not understand a parameter ignores it.
    ['all of them, on a token of the right key', genuine({ jwk, jku: url, x5u: url, x5c }), ACCEPTED],
    ['of wrong types, on a token of the right key', genuine({ jwk: 7, jku: {}, x5u: null, x5c: 'x' }), ACCEPTED]
  ])
  t.test('nobody was asked', async (t) => { t.strictSame(asked, []) })
})

t.test('what a header says must be understood', async (t) => {
  const targets = await secretTargets(t)
  const crit = (crit: unknown, more: object = {}): string => mint(ANN, { ...HS, crit, ...more })
  tryRows(t, targets, [
    ['crit: an unknown name', crit(['http://example.com/x'], { 'http://example.com/x': 1 }), INVALID],
    ['crit: a name that is not there', crit(['x']), INVALID],
    ['crit: exp', crit(['exp'], { exp: 9e9 }), INVALID],
    ['crit: alg, a name of the standard', crit(['alg']), INVALID],
    ['crit: kid, a name of the standard', crit(['kid'], { kid: 'x' }), INVALID],
    ['crit: itself', crit(['crit']), INVALID],
    ['crit: toString, which every object has', crit(['toString']), INVALID],
    ['crit: __proto__', crit(['__proto__']), INVALID],
    ['crit: a number', crit([7]), INVALID],
    ['crit: an empty name', crit([''], { '': 1 }), INVALID],
    ['crit: empty', crit([]), INVALID],
    ['crit: an empty text', crit(''), INVALID],
    ['crit: false', crit(false), INVALID],
    ['crit: 0', crit(0), INVALID],
    ['crit: an object', crit({ 0: 'x', length: 1 }), INVALID],
    ['crit: b64, false', crit(['b64'], { b64: false }), INVALID],
    ['crit: b64, true', crit(['b64'], { b64: true }), INVALID],
    ['crit: b64, false, over a payload as it is', `${segment({ ...HS, crit: ['b64'], b64: false })}.${JSON.stringify(ANN)}.${SIGNATURE}`, INVALID],
    // RFC 7797, 6: without a crit it is not understood, and ignored.
    ['b64: false without crit', mint(ANN, { ...HS, b64: false }), ACCEPTED],
    ['zip, over claims', mint(ANN, { ...HS, zip: 'DEF' }), ACCEPTED],
    ['cty: JWT, over claims', mint(ANN, { ...HS, cty: 'JWT' }), ACCEPTED],
    ['cty: JWT, over a good token', mint(GOOD, { ...HS, cty: 'JWT' }), INVALID],
    ['enc: a header of encryption, over claims', mint(ANN, { ...HS, enc: 'A128GCM' }), ACCEPTED],
    ['typ: an object', mint(ANN, { ...HS, typ: {} }), ACCEPTED],
    ['typ: of a logout token, by its type alone', mint(ANN, { ...HS, typ: 'logout+jwt' }), ACCEPTED],
    ['a header of 6 KB', mint(ANN, { ...HS, x: 'x'.repeat(4500) }), ACCEPTED],
    ['a header that nests 1,000 deep', mint(ANN, `{"alg":"HS256","x":${'['.repeat(1000)}${']'.repeat(1000)}}`), ACCEPTED]
  ])
})

t.test('claims that are not what they should be', async (t) => {
  const targets = await secretTargets(t)
  const now = seconds()
  tryRows(t, targets, [
    ['exp a text', mint({ exp: String(now + 60) }), INVALID],
    ['exp a date', mint({ exp: '2999-01-01T00:00:00Z' }), INVALID],
    ['exp true', mint({ exp: true }), INVALID],
    ['exp an object', mint({ exp: { valueOf: now + 60 } }), INVALID],
    ['exp NaN, which is no JSON', mint('{"exp":NaN}'), INVALID],
    ['exp negative', mint({ exp: -1 }), EXPIRED],
    ['exp zero', mint({ exp: 0 }), EXPIRED],
    ['exp minus zero', mint('{"exp":-0}'), EXPIRED],
    ['exp a fraction of the past', mint({ exp: now - 0.5 }), EXPIRED],
    ['exp the least number', mint({ exp: 5e-324 }), EXPIRED],
    ['exp in milliseconds: in 50,000 years', mint({ exp: Date.now() }), ACCEPTED],
    ['exp 1e300', mint('{"exp":1e300}'), ACCEPTED],
    ['exp 1e400 is infinite', mint('{"exp":1e400}'), INVALID],
    ['exp -1e400 is infinite', mint('{"exp":-1e400}'), INVALID],
    ['exp with a leading zero', mint(`{"exp":0${now + 60}}`), INVALID],
    ['exp in hex', mint('{"exp":0xFFFFFFFFF}'), INVALID],
    ['Exp in upper case is no exp', mint({ Exp: 0, sub: 'ann' }), ACCEPTED],
    ['exp of long ago behind a good one', mint(`{"exp":${now + 60},"exp":1}`), EXPIRED],
    ['a good exp behind one of long ago', mint(`{"exp":1,"exp":${now + 60}}`), ACCEPTED],
    ['exp escaped', mint('{"\\u0065xp":1}'), EXPIRED],
    ['exp in __proto__ is no exp', mint('{"sub":"ann","__proto__":{"exp":1}}'), ACCEPTED],
    ['nbf in the future', mint({ nbf: now + 5 }), INVALID],
    ['nbf in milliseconds', mint({ nbf: Date.now() }), INVALID],
    ['nbf null', mint({ nbf: null }), INVALID],
    ['nbf an empty array', mint({ nbf: [] }), INVALID],
    ['nbf 1e300', mint('{"nbf":1e300}'), INVALID],
    ['nbf negative', mint({ nbf: -1 }), ACCEPTED],
    ['iat in the future', mint({ iat: now + 3600 }), INVALID],
    ['iat in milliseconds', mint({ iat: Date.now() }), INVALID],
    ['iat null', mint({ iat: null }), INVALID],
    ['iat false', mint({ iat: false }), INVALID],
    ['iat an object', mint({ iat: {} }), INVALID],
    ['iat after exp, both past', mint({ iat: now - 10, exp: now - 20 }), EXPIRED],
    ['nbf after exp', mint({ nbf: now + 20, exp: now - 20 }), INVALID],
    ['sub null', mint({ sub: null }), INVALID],
    ['sub an array', mint({ sub: ['ann'] }), INVALID],
    ['sub true', mint({ sub: true }), INVALID],
    ['sub of 5 KB', mint({ sub: 's'.repeat(5000) }), ACCEPTED],
    ['sub of 1 MB in the query', mint({ sub: 's'.repeat(2 ** 20) }), { status: 431 }, 'query'],
    ['sub __proto__', mint({ sub: '__proto__' }), ACCEPTED],
    ['sub empty', mint({ sub: '' }), ACCEPTED],
    ['sub with NUL', mint({ sub: 'ann\0' }), ACCEPTED],
    ['no claims', mint({}), ACCEPTED],
    ['500 claims', mint(`{${Array.from({ length: 500 }, (_, i) => `"c${i}":1`).join()}}`), ACCEPTED],
    ['a logout token', mint({ sub: 'ann', events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }), INVALID],
    ['a logout token with an event that is null', mint({ sub: 'ann', events: { 'http://schemas.openid.net/event/backchannel-logout': null } }), INVALID]
  ])
})

t.test('an issuer and an audience that are asked for', async (t) => {
  const jwt = { secret: SECRET, verify: { allowedIss: 'https://issuer.example', allowedAud: 'chat' } }
  const targets = {
    'a secret': await HostileTarget.start(t, { plugin: { jwt } }),
    'a secret asked for': await HostileTarget.start(t, { plugin: { jwt: { ...jwt, secret: async () => SECRET } } })
  }
  const claims = (aud: unknown, iss: unknown = 'https://issuer.example'): string => mint({ sub: 'ann', aud, iss })
  tryRows(t, targets, [
    ['both as they should be', claims('chat'), ACCEPTED],
    ['aud one of many', claims(['mail', 'chat']), ACCEPTED],
    ['aud missing', claims(undefined), INVALID],
    ['aud empty', claims(''), INVALID],
    ['aud an empty list', claims([]), INVALID],
    ['aud null', claims(null), INVALID],
    ['aud an object', claims({ 0: 'chat', length: 1 }), INVALID],
    ['aud a list of a list', claims([['chat']]), INVALID],
    ['aud a list with a number', claims(['chat', 7]), INVALID],
    ['aud that begins alike', claims('chat.evil.example'), INVALID],
    ['aud in upper case', claims('CHAT'), INVALID],
    ['aud with a comma', claims('chat,mail'), INVALID],
    ['iss missing', mint({ sub: 'ann', aud: 'chat' }), INVALID],
    ['iss with a slash behind', claims('chat', 'https://issuer.example/'), INVALID],
    ['iss that begins alike', claims('chat', 'https://issuer.example.evil.example'), INVALID],
    ['iss a list', claims('chat', ['https://issuer.example']), INVALID],
    ['iss an object', claims('chat', {}), INVALID],
    ['iss twice, the last counts', mint('{"sub":"ann","aud":"chat","iss":"https://issuer.example","iss":"https://evil.example"}'), INVALID],
    ['both in __proto__ alone', mint('{"sub":"ann","__proto__":{"iss":"https://issuer.example","aud":"chat"}}'), INVALID]
  ])
})

t.test('roles and scopes that are none', async (t) => {
  const users: unknown[] = []
  const add = (app: FastifyInstance, url: string, wsAuth: RouteWsAuth, ran: string[]): void => {
    app.get(url, { websocket: true, wsAuth }, (socket, request) => {
      ran.push('handler')
      users.push(request.user)
      socket.send(`hello from ${request.wsAuth?.source}`)
    })
  }
  const target = await HostileTarget.start(t, {
    routes: (app, ran) => {
      add(app, '/admin', { roles: ['admin'] }, ran)
      add(app, '/write', { scopes: ['chat:write'] }, ran)
    }
  })
  const tryRoute = (path: string, rows: ReadonlyArray<readonly [what: string, claims: unknown, answer: Answer]>): void => {
    for (const [what, claims, answer] of rows) {
      tried.push(`${path}: ${what}`)
      t.test(`${path}: ${what}`, async (t) => { await target.answers(t, { ...carriers.header(mint(claims)), path }, answer) })
    }
  }
  tryRoute('/admin', [
    ['a list with it', { roles: ['member', 'admin'] }, ACCEPTED],
    ['one text', { roles: 'admin' }, ACCEPTED],
    ['a text that contains it', { roles: 'superadmin' }, FORBIDDEN],
    ['a text with spaces', { roles: 'member admin' }, FORBIDDEN],
    ['a text with commas', { roles: 'member,admin' }, FORBIDDEN],
    ['in upper case', { roles: ['ADMIN'] }, FORBIDDEN],
    ['with a space', { roles: ['admin '] }, FORBIDDEN],
    ['with NUL', { roles: ['admin\0'] }, FORBIDDEN],
    ['in cyrillic', { roles: ['аdmin'] }, FORBIDDEN],
    ['a list in a list', { roles: [['admin']] }, FORBIDDEN],
    ['an object with it', { roles: { admin: true } }, FORBIDDEN],
    ['an object like a list', { roles: { 0: 'admin', length: 1 } }, FORBIDDEN],
    ['an object in a list', { roles: [{ toString: 'admin' }] }, FORBIDDEN],
    ['true', { roles: true }, FORBIDDEN],
    ['null beside a role', { roles: null, role: 'admin' }, FORBIDDEN],
    ['an empty list beside a role', { roles: [], role: 'admin' }, FORBIDDEN],
    ['a list without it behind one with it', '{"roles":["admin"],"roles":["member"]}', FORBIDDEN],
    ['in __proto__', '{"sub":"eve","__proto__":{"roles":["admin"],"role":"admin"}}', FORBIDDEN],
    ['in __proto__ of the list', '{"roles":{"__proto__":["admin"]}}', FORBIDDEN],
    ['in constructor.prototype', '{"constructor":{"prototype":{"roles":["admin"]}}}', FORBIDDEN],
    ['in a claim that is the user', { user: { roles: ['admin'] } }, FORBIDDEN],
    ['under a name of another case', { Roles: ['admin'] }, FORBIDDEN],
    ['under a name with NUL', { 'roles\0': ['admin'] }, FORBIDDEN],
    ['as scopes', { scope: 'admin' }, FORBIDDEN]
  ])
  const short = withoutScope('chat:write')
  tryRoute('/write', [
    ['a text with it', { scope: 'chat:read chat:write' }, ACCEPTED],
    ['a list', { scope: ['chat:write'] }, ACCEPTED],
    ['a text that contains it', { scope: 'xchat:write' }, short],
    ['a wider one by its looks', { scope: 'chat:*' }, short],
    ['separated by commas', { scope: 'chat:read,chat:write' }, short],
    ['separated by tabs', { scope: 'chat:read\tchat:write' }, short],
    ['separated by a no-break space', { scope: 'chat:read\u00a0chat:write' }, short],
    ['a number', { scope: 7 }, short],
    ['null beside scp', { scope: null, scp: ['chat:write'] }, short],
    ['an object', { scope: { 'chat:write': true } }, short],
    ['in __proto__', '{"__proto__":{"scope":"chat:write"}}', short]
  ])
  t.test('nothing was gained', async (t) => {
    t.equal(users.length, 4)
    for (const user of users) t.ok(Object.isFrozen(user))
    for (const name of ['roles', 'role', 'scope']) t.notOk(name in {}, `no object has ${name}`)
  })
})

t.test('JSON that is none, or is more than it looks', async (t) => {
  const users: object[] = []
  const plugin: WsAuthOptions = { user: (claims) => { users.push(claims); return claims } }
  const targets = await secretTargets(t, plugin)
  tryRows(t, targets, [
    ['a payload of a comment', mint('/* */{"sub":"ann"}'), INVALID],
    ['a comma at the end', mint('{"sub":"ann",}'), INVALID],
    ['single quotes', mint('{\'sub\':\'ann\'}'), INVALID],
    ['a name without quotes', mint('{sub:"ann"}'), INVALID],
    ['two objects', mint('{"sub":"ann"}{"sub":"eve"}'), INVALID],
    ['an object and NUL', mint('{"sub":"ann"}\0'), INVALID],
    ['an unfinished object', mint('{"sub":"ann"'), INVALID],
    ['nothing but spaces', mint('   '), INVALID],
    ['space around', mint(' \r\n\t{"sub":"ann"} \n'), ACCEPTED],
    ['a no-break space around', mint('\u00a0{"sub":"ann"}'), INVALID],
    ['a control character in a text', mint('{"sub":"a\nb"}'), INVALID],
    ['an array with an object', mint('[{"sub":"ann"}]'), INVALID],
    ['a text of an object', mint(JSON.stringify('{"sub":"ann"}')), INVALID],
    ['true', mint('true'), INVALID],
    ['a number', mint('1e400'), INVALID],
    ['a header with a comma at the end', mint(ANN, '{"alg":"HS256",}'), INVALID],
    ['a header of a text', mint(ANN, '"HS256"'), INVALID],
    ['a header of an array', mint(ANN, '[{"alg":"HS256"}]'), INVALID],
    ['a header of a number', mint(ANN, '256'), INVALID],
    ['a header with space around', mint(ANN, ' {"alg":"HS256"}\n'), ACCEPTED],
    ['a claim __proto__', mint('{"sub":"ann","__proto__":{"isAdmin":true}}'), ACCEPTED],
    ['a claim __proto__ that is null', mint('{"sub":"ann","__proto__":null}'), ACCEPTED],
    ['a claim __proto__ deep inside', mint('{"sub":"ann","a":[{"__proto__":{"isAdmin":true}}]}'), ACCEPTED],
    ['a claim constructor', mint('{"sub":"ann","constructor":{"prototype":{"isAdmin":true}}}'), ACCEPTED],
    ['claims named as methods', mint('{"sub":"ann","toString":1,"valueOf":2,"hasOwnProperty":3,"toJSON":4,"then":5}'), ACCEPTED],
    ['a claim named code and one error', mint('{"sub":"ann","code":"FAST_JWT_EXPIRED","error":"x","statusCode":200}'), ACCEPTED],
    ['an empty name', mint('{"":"","sub":"ann"}'), ACCEPTED],
    ['names like indices', mint('{"0":"a","length":1,"sub":"ann"}'), ACCEPTED]
  ])
  t.test('no prototype was changed, and who was admitted is frozen and nobody\'s heir', async (t) => {
    t.notOk('isAdmin' in {}, 'no object is an admin')
    t.equal(users.length, 30)
    for (const user of users) {
      t.ok(Object.isFrozen(user))
      t.equal(Object.getPrototypeOf(user), Object.prototype)
      t.notOk('isAdmin' in user)
    }
  })
})

t.test('a token in another encoding', async (t) => {
  const targets = await secretTargets(t)
  const utf16 = (text: string): Buffer => Buffer.from(text, 'utf16le')
  // A signature with both characters that the two alphabets write differently.
  let token = GOOD
  for (let i = 0; !/^[\w-]*-[\w-]*_|^[\w-]*_[\w-]*-/.test(token.slice(token.lastIndexOf('.') + 1)); i++) token = mint({ sub: 'ann', i })
  const [head = '', body = '', signature = ''] = token.split('.')
  const standard = signature.replaceAll('-', '+').replaceAll('_', '/')
  const spaced = (text: string): string => `${text.slice(0, 8)} ${text.slice(8)}`
  tryRows(t, targets, [
    ['as it is', token, ACCEPTED],
    ['the alphabet of base64 in the signature', `${head}.${body}.${standard}`, INVALID],
    ['the alphabet of base64 in the signature, in the query', `${head}.${body}.${standard}`, INVALID, 'query'],
    ['padding behind the signature', `${token}=`, INVALID],
    ['padding behind the header', `${head}=.${body}.${signature}`, INVALID],
    ['padding behind the header, signed so', `${head}==.${body}.${(signed(`${head}==.${body}`) as Buffer).toString('base64url')}`, INVALID],
    ['padding behind the payload, signed so', `${head}.${body}==.${(signed(`${head}.${body}==`) as Buffer).toString('base64url')}`, INVALID],
    ['a space in the header', `${spaced(head)}.${body}.${signature}`, INVALID],
    ['a space in the payload', `${head}.${spaced(body)}.${signature}`, INVALID],
    ['a space in the payload, signed so', `${head}.${spaced(body)}.${(signed(`${head}.${spaced(body)}`) as Buffer).toString('base64url')}`, INVALID],
    ['a space in the signature', `${head}.${body}.${spaced(signature)}`, INVALID],
    ['a tab in the signature', `${head}.${body}.${spaced(signature).replace(' ', '\t')}`, INVALID],
    ['a newline behind, in the query', `${token}\n`, INVALID, 'query'],
    ['a newline before, in the query', `\n${token}`, INVALID, 'query'],
    ['a space behind, in the query', `${token} `, INVALID, 'query'],
    ['a newline in the signature, in the query', `${head}.${body}.${spaced(signature).replace(' ', '\n')}`, INVALID, 'query'],
    ['NUL behind, in the query', `${token}\0`, INVALID, 'query'],
    ['NUL behind, in an encoded subprotocol', `${token}\0`, INVALID, 'encoded'],
    ['NUL in the header field', `${token}\0`, NO_HTTP],
    ['a no-break space behind', `${token}\u00a0`, INVALID],
    ['a no-break space behind, in the query', `${token}\u00a0`, INVALID, 'query'],
    ['a byte order mark before', `\ufeff${token}`, INVALID],
    ['a byte order mark before, in the query', `\ufeff${token}`, INVALID, 'query'],
    ['a byte order mark behind, in the query', `${token}\ufeff`, INVALID, 'query'],
    ['fullwidth dots', token.replaceAll('.', '．'), INVALID],
    ['ideographic dots, in the query', token.replaceAll('.', '。'), INVALID, 'query'],
    ['a soft hyphen, in the query', `${head}\u00ad.${body}.${signature}`, INVALID, 'query'],
    ['dots as entities', token.replaceAll('.', '&#46;'), INVALID],
    ['a byte order mark in the payload', mint('\ufeff{"sub":"ann"}'), INVALID],
    ['a byte order mark in the header', mint(ANN, '\ufeff{"alg":"HS256"}'), INVALID],
    ['UTF-16 in the payload', mint(utf16('{"sub":"ann"}')), INVALID],
    ['UTF-16 in the header', mint(ANN, utf16('{"alg":"HS256"}')), INVALID],
    ['an overlong quote in the payload', mint(Buffer.from('{"sub":"ann\xc0\xa2}', 'latin1')), INVALID],
    ['an overlong letter in the payload', mint(Buffer.from('{"sub":"\xc1\xa1nn"}', 'latin1')), INVALID],
    ['half a character in the payload', mint(Buffer.from('{"sub":"ann\xe2\x82"}', 'latin1')), INVALID],
    ['half a character in a name', mint(Buffer.from('{"sub":"ann","x\xff":1}', 'latin1')), INVALID],
    ['an encoded surrogate in the payload', mint(Buffer.from('{"sub":"\xed\xa0\x80"}', 'latin1')), INVALID],
    ['a code point past the last', mint(Buffer.from('{"sub":"\xf4\x90\x80\x80"}', 'latin1')), INVALID],
    ['ISO 8859-1 in the payload', mint(Buffer.from('{"sub":"ren\xe9"}', 'latin1')), INVALID],
    ['an overlong letter in the header', mint(ANN, Buffer.from('{"alg":"\xc1\x88S256"}', 'latin1')), INVALID],
    ['a lone surrogate, escaped', mint('{"sub":"\\ud800"}'), ACCEPTED],
    ['a sub in four bytes', mint({ sub: '𝒶𝓃𝓃' }), ACCEPTED],
    ['base64url of the whole token', segment(token), INVALID],
    ['the token in quotes', `"${token}"`, INVALID],
    ['the token in angle brackets', `<${token}>`, INVALID],
    ['JSON serialization, flattened', JSON.stringify({ protected: head, payload: body, signature }), INVALID],
    ['JSON serialization, general, in the query', JSON.stringify({ payload: body, signatures: [{ protected: head, signature }] }), INVALID, 'query']
  ])
})

t.test('parts that are too few, too many or empty', async (t) => {
  const targets = await secretTargets(t)
  const rows: Row[] = [
    ['one', HEAD, INVALID],
    ['two', `${HEAD}.${BODY}`, INVALID],
    ['two, the first empty', `.${BODY}`, INVALID],
    ['three, no signature', `${HEAD}.${BODY}.`, INVALID],
    ['three, no payload', compact(HS, '', signed), INVALID],
    ['three, no header', `.${BODY}.${SIGNATURE}`, INVALID],
    ['three, all empty', '..', INVALID],
    ['four, the last empty', `${GOOD}.`, INVALID],
    ['four, the first empty', `.${GOOD}`, INVALID],
    ['four, two signatures', `${GOOD}.${SIGNATURE}`, INVALID],
    ['four, two payloads', `${HEAD}.${segment({ sub: 'eve' })}.${BODY}.${SIGNATURE}`, INVALID],
    ['five, as a JWE has', `${segment({ alg: 'dir', enc: 'A128GCM' })}..${segment('iv')}.${segment('text')}.${segment('tag')}`, INVALID],
    ['five, as a JWE has, with the header of a good token', `${HEAD}..${BODY}.${BODY}.${SIGNATURE}`, INVALID],
    ['two tokens', `${GOOD}.${GOOD}`, INVALID],
    ['a token in a token', mint(GOOD), INVALID],
    ['a token as a text in a token', mint(JSON.stringify(GOOD)), INVALID],
    ['a thousand dots', '.'.repeat(1000), INVALID],
    ['a dot', '.', INVALID],
    ['a word', 'undefined', INVALID],
    ['null by name', 'null', INVALID],
    ['an SD-JWT', `${GOOD}~${segment('["salt","role","admin"]')}~`, INVALID]
  ]
  tryRows(t, targets, rows)
  // What is remembered of the last good header must not make a difference: the same rows behind a good token.
  t.test('behind a token with the same header', async (t) => {
    const [target] = Object.values(targets)
    for (const [what, token, answer] of rows) {
      await target?.answers(t, carriers.header(GOOD), ACCEPTED)
      await t.test(what, async (t) => { await target?.answers(t, carriers.header(token), answer) })
    }
  })
})

t.test('a token of any size', async (t) => {
  /** A token of exactly so many bytes. */
  const ofSize = (size: number): string => {
    for (let length = Math.floor((size - HEAD.length - SIGNATURE.length) * 3 / 4) - 40; ; length++) {
      const token = mint({ sub: 'ann', x: 'x'.repeat(length) })
      if (token.length === size) return token
      if (token.length > size) return mint({ sub: 'ann', x: 'x'.repeat(length - 2) }, { ...HS, kid: 'k' })
    }
  }
  const longest = [8190, 8191, 8192].map(ofSize).find((token) => token.length === 8192) ?? ''
  const targets = await secretTargets(t)
  const http = { maxHeaderSize: 2 ** 17 }
  const large = await HostileTarget.start(t, { server: { http } as never, plugin: { maxTokenBytes: 100_000 } })
  const deep = (depth: number, open: string, close: string): string => mint(`{"sub":"ann","x":${open.repeat(depth)}1${close.repeat(depth)}}`)
  t.equal(Buffer.byteLength(longest), 8192, 'the longest token is as long as it may be')
  tryRows(t, targets, [
    ['as long as it may be', longest, ACCEPTED],
    ['as long as it may be, in the query', longest, ACCEPTED, 'query'],
    ['as long as it may be, in a cookie', longest, ACCEPTED, 'cookie'],
    ['one more', `${longest}A`, INVALID],
    ['one more, in the query', `${longest}A`, INVALID, 'query'],
    ['one more, in an encoded subprotocol', `${longest}A`, INVALID, 'encoded'],
    ['one more in bytes, not in characters', `${longest.slice(0, 8191)}é`, INVALID, 'query'],
    ['longer than headers may be', `${longest}${longest}`, { status: 431 }],
    ['10,000 levels deep: longer than headers may be', deep(10_000, '[', ']'), { status: 431 }]
  ])
  tryRows(t, { 'a server that allows 100,000 bytes': large }, [
    ['lists 10,000 levels deep', deep(10_000, '[', ']'), ACCEPTED],
    ['objects 5,000 levels deep', deep(5000, '{"a":', '}'), ACCEPTED],
    ['30,000 levels of which none is closed', mint(`{"x":${'['.repeat(30_000)}`), INVALID],
    ['5,000 claims', mint(`{${Array.from({ length: 5000 }, (_, i) => `"c${i}":${i}`).join()}}`), ACCEPTED],
    ['a number with 50,000 digits', mint(`{"sub":"ann","n":${'9'.repeat(50_000)}}`), ACCEPTED],
    ['an exp of 50,000 digits', mint(`{"exp":${'9'.repeat(50_000)}}`), INVALID],
    ['90,000 characters that are no token', 'x'.repeat(90_000), INVALID],
    ['90,000 dots', '.'.repeat(90_000), INVALID]
  ])
})

t.test('the way of a token', async (t) => {
  const target = await HostileTarget.start(t, {
    routes: (app, ran) => {
      app.get('/path/:token', { websocket: true, wsAuth: { token: { param: true } } }, (socket, request) => {
        ran.push('handler')
        socket.send(`hello from ${request.wsAuth?.source}`)
      })
    }
  })
  const bad = compact(HS, ANN, hmac('another secret of thirty-two bytes'))
  const twice = encodeURIComponent(encodeURIComponent(GOOD.replaceAll('.', '%2E')))
  const encoded = segment(GOOD)
  const ways: Array<[what: string, request: RequestSettings, answer: Answer]> = [
    ...(Object.keys(carriers) as Carrier[]).map((carrier): typeof ways[number] => [`${carrier}, good`, carriers[carrier](GOOD), ACCEPTED]),
    ...(Object.keys(carriers) as Carrier[]).map((carrier): typeof ways[number] => [`${carrier}, signed by somebody else`, carriers[carrier](bad), INVALID]),
    ...(Object.keys(carriers) as Carrier[]).map((carrier): typeof ways[number] => [`${carrier}, alg none`, carriers[carrier](compact({ alg: 'none' }, ANN, unsigned)), INVALID]),
    ['query, encoded once', { path: `/chat?token=${GOOD.replaceAll('.', '%2E')}` }, ACCEPTED],
    ['query, encoded twice', { path: `/chat?token=${twice}` }, INVALID],
    ['query, with a plus', { path: `/chat?token=+${GOOD}` }, INVALID],
    ['query, with the scheme', { path: `/chat?token=Bearer%20${GOOD}` }, INVALID],
    ['query, encoded as Unicode', { path: `/chat?token=${GOOD.replaceAll('.', '%u002E')}` }, INVALID],
    ['query, half of an encoding', { path: `/chat?token=${GOOD}%` }, INVALID],
    ['query, overlong dots', { path: `/chat?token=${GOOD.replaceAll('.', '%C0%AE')}` }, INVALID],
    ['subprotocol, encoded for a URL', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${GOOD.replaceAll('.', '%2E')}` } }, INVALID],
    ['subprotocol, with the scheme', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, Bearer ${GOOD}` } }, NO_HANDSHAKE],
    ['subprotocol, padding', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${GOOD}=` } }, NO_HANDSHAKE],
    ['subprotocol, base64url of base64url', { path: '/chat', headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${segment(encoded)}` } }, INVALID],
    ['subprotocol, base64url without the marker', { path: '/chat', headers: { 'sec-websocket-protocol': `chat, base64url.${encoded}` } }, MISSING],
    ['subprotocol, base64url behind the marker', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${encoded}` } }, INVALID],
    ['subprotocol, base64url of nothing', { path: '/chat', headers: { 'sec-websocket-protocol': 'chat, base64url.bearer.' } }, MISSING],
    ['subprotocol, base64url of bytes that are no UTF-8', { path: '/chat', headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${Buffer.from([0xff, 0xfe]).toString('base64url')}` } }, INVALID],
    // RFC 6265, 4.1.1: the quotes are part of the value.
    ['cookie, quoted', { path: '/chat', headers: { cookie: `token="${GOOD}"` } }, INVALID],
    ['cookie, encoded', { path: '/chat', headers: { cookie: `token=${GOOD.replaceAll('.', '%2E')}` } }, ACCEPTED],
    ['cookie, encoded twice', { path: '/chat', headers: { cookie: `token=${GOOD.replaceAll('.', '%252E')}` } }, INVALID],
    ['cookie, half a quote', { path: '/chat', headers: { cookie: `token="${GOOD}` } }, INVALID],
    ['cookie, quoted twice', { path: '/chat', headers: { cookie: `token=""${GOOD}""` } }, INVALID],
    ['cookie, with the scheme', { path: '/chat', headers: { cookie: `token=Bearer ${GOOD}` } }, INVALID],
    ['cookie, as a signed one of express', { path: '/chat', headers: { cookie: `token=s%3A${GOOD}.${SIGNATURE}` } }, INVALID],
    ['cookie, as JSON of express', { path: '/chat', headers: { cookie: `token=j%3A${encodeURIComponent(JSON.stringify(GOOD))}` } }, INVALID],
    ['header, encoded for a URL', { path: '/chat', headers: { authorization: `Bearer ${GOOD.replaceAll('.', '%2E')}` } }, INVALID],
    // What JavaScript takes for white space, and HTTP does not (RFC 9110, 5.6.3).
    ['header, a byte A0 behind', { path: '/chat', headers: { authorization: `Bearer ${GOOD}\xa0` } }, INVALID],
    ['header, a byte A0 before', { path: '/chat', headers: { authorization: `Bearer \xa0${GOOD}` } }, INVALID],
    ['header, a byte A0 behind the scheme', { path: '/chat', headers: { authorization: `Bearer\xa0${GOOD}` } }, MISSING],
    ['subprotocol, a byte A0 behind', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${GOOD}\xa0` } }, NO_HANDSHAKE],
    ['subprotocol, a byte A0 behind the marker', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer\xa0, ${GOOD}` } }, NO_HANDSHAKE],
    ['cookie, a byte A0 behind', { path: '/chat', headers: { cookie: `token=${GOOD}\xa0` } }, INVALID],
    ['cookie, a byte A0 behind its name', { path: '/chat', headers: { cookie: `token\xa0=${GOOD}` } }, MISSING],
    ['header, quoted', { path: '/chat', headers: { authorization: `Bearer "${GOOD}"` } }, INVALID],
    ['header, as a parameter', { path: '/chat', headers: { authorization: `Bearer token="${GOOD}"` } }, INVALID],
    ['a body, as RFC 6750, 2.2 has it', { path: '/chat', headers: { 'content-type': 'application/x-www-form-urlencoded', 'content-length': String(GOOD.length + 13) }, body: `access_token=${GOOD}` }, NO_HANDSHAKE],
    ['path', { path: `/path/${GOOD}` }, ACCEPTED],
    ['path, encoded', { path: `/path/${GOOD.replaceAll('.', '%2E')}` }, ACCEPTED],
    ['path, encoded twice', { path: `/path/${GOOD.replaceAll('.', '%252E')}` }, INVALID],
    ['path, signed by somebody else', { path: `/path/${bad}` }, INVALID],
    ['path, alg none', { path: `/path/${compact({ alg: 'none' }, ANN, unsigned)}` }, INVALID],
    ['path, with a slash, encoded', { path: `/path/${GOOD}%2F` }, INVALID],
    ['path, with a plus', { path: `/path/+${GOOD}` }, INVALID],
    ['path, dots, encoded', { path: '/path/%2e%2e' }, INVALID],
    ['path, what stands in its place', { path: '/path/-' }, INVALID],
    ['path, its own name', { path: '/path/:token' }, INVALID],
    ['path, empty', { path: '/path/' }, MISSING],
    ['path, __proto__', { path: '/path/__proto__' }, INVALID],
    ['path, one segment more', { path: '/path/x/y' }, { status: 404 }],
    ['path and query', { path: `/path/${GOOD}?token=${GOOD}` }, AMBIGUOUS],
    ['two places that agree', { path: `/chat?token=${GOOD}`, headers: { authorization: `Bearer ${GOOD}` } }, AMBIGUOUS]
  ]
  for (const [what, request, answer] of ways) {
    tried.push(`way: ${what}`)
    t.test(what, async (t) => {
      const { text } = await target.answers(t, request, answer)
      t.notMatch(text, GOOD.slice(-20), 'the token is not in the answer')
    })
  }
})

t.test('the first message', async (t) => {
  const target = await HostileTarget.start(t, { plugin: { token: { message: true } } })
  const auth = (token: unknown): string => JSON.stringify({ type: 'auth', token })
  const TOKEN_INVALID = { code: 3000, reason: 'token_invalid' }
  const messages: Array<[what: string, message: string | Buffer, close: { code: number, reason: string }, opcode?: number, refusal?: string]> = [
    ['a token of another secret', auth(compact(HS, ANN, hmac('another'))), TOKEN_INVALID],
    ['alg none', auth(compact({ alg: 'none' }, ANN, unsigned)), TOKEN_INVALID],
    ['an expired token', auth(mint({ exp: 1 })), { code: 3000, reason: 'token_expired' }, 1, 'WS_AUTH_TOKEN_EXPIRED'],
    ['a token with a newline behind', auth(`${GOOD}\n`), TOKEN_INVALID],
    ['an empty token', auth(''), TOKEN_INVALID],
    ['a token that is a number', auth(7), TOKEN_INVALID],
    ['a token in a list', auth([GOOD]), TOKEN_INVALID],
    ['a token in an object', auth({ token: GOOD }), TOKEN_INVALID],
    ['a token in __proto__', `{"type":"auth","__proto__":{"token":"${GOOD}"}}`, TOKEN_INVALID],
    ['no token', '{"type":"auth"}', TOKEN_INVALID],
    ['the token alone', GOOD, TOKEN_INVALID],
    ['another type behind', `{"type":"auth","type":"chat","token":"${GOOD}"}`, TOKEN_INVALID],
    ['a type that begins alike', `{"type":"authenticate","token":"${GOOD}"}`, TOKEN_INVALID],
    ['a list around', `[${auth(GOOD)}]`, TOKEN_INVALID],
    ['two byte order marks before', `\ufeff\ufeff${auth(GOOD)}`, TOKEN_INVALID],
    ['a bad token behind a good one', `{"type":"auth","token":"${GOOD}","token":"bad"}`, TOKEN_INVALID],
    ['two frames in one message', `${auth(GOOD)}${auth(GOOD)}`, TOKEN_INVALID],
    ['NUL behind', `${auth(GOOD)}\0`, TOKEN_INVALID],
    ['nothing', '', TOKEN_INVALID],
    ['binary', auth(GOOD), TOKEN_INVALID, 2],
    ['not UTF-8', Buffer.from([0xff]), { code: 1007, reason: '' }],
    ['longer than it may be', auth('x'.repeat(9000)), { code: 1009, reason: '' }],
    ['a reserved opcode', auth(GOOD), { code: 1002, reason: '' }, 3]
  ]
  for (const [what, message, close, opcode = 1, refusal = 'WS_AUTH_TOKEN_INVALID'] of messages) {
    tried.push(`first message: ${what}`)
    t.test(what, async (t) => {
      const client = await upgrade(t, target.port, { path: '/chat' })
      t.equal(client.answer.status, 101)
      client.send(clientFrame(opcode, message)).send(clientFrame(1, 'a message behind'))
      t.strictSame(await client.close(), close)
      client.send(clientFrame(8, Buffer.from([3, 232])))
      await within(5000, 'the server closes the connection', client.ended)
      t.equal(client.rest.length, 0, 'nothing comes behind the close frame')
      client.socket.destroy()
      await until(() => target.isAtRest, 'nothing is pending')
      t.strictSame(target.told.splice(0), [refusal], 'the refusal was told once')
      t.strictSame(target.ran, [], 'nothing ran')
    })
  }
  t.test('counted each of them once', async (t) => {
    const { accepted, refused, pending, connections } = target.app.wsAuth.stats()
    t.strictSame({ accepted, refused, pending, connections }, {
      accepted: 0, refused: { WS_AUTH_TOKEN_INVALID: messages.length - 1, WS_AUTH_TOKEN_EXPIRED: 1 }, pending: 0, connections: 0
    })
  })
  tried.push('first message: a good token behind a bad one in one message')
  t.test('a good token behind a bad one in one message is the last, and counts', async (t) => {
    const client = await upgrade(t, target.port, { path: '/chat' })
    client.send(clientFrame(1, `{"type":"auth","token":"bad","token":"${GOOD}"}`))
    t.equal((await client.frame()).payload.toString(), '{"type":"auth.ok","expiresAt":null}')
    t.equal((await client.frame()).payload.toString(), 'hello from message')
    t.strictSame(target.ran.splice(0), ['handler'])
    client.socket.destroy()
    await until(() => target.app.wsAuth.stats().connections === 0, 'it has gone')
  })
})

t.test('the table has all of its rows, each once', async (t) => {
  t.ok(tried.length >= 500, `${tried.length} rows`)
  t.equal(new Set(tried).size, tried.length)
})
