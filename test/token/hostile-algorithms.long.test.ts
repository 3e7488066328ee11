/*
 * Attacks on the algorithm and the key of a token.
 */
import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { SECRET } from '../helpers/app'
import { ACCEPTED, HostileTarget, INVALID } from '../helpers/hostile-target'
import type { Answer } from '../helpers/hostile-target'
import { carriers, compact, hmac, pss, rsa, segment } from '../helpers/hostile-tokens'
import { keys } from '../helpers/keys'
import { ANN, HS, mint, privateKeys, publicTargets, secretTargets, signed, tried, tryRows, unsigned } from '../helpers/token-attacks'
import type { PublicAlgorithm, Row } from '../helpers/token-attacks'

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
  t.test(`a public key of ${algorithm} cannot serve as an HMAC secret`, async (t) => {
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

t.test('a key does not accept an algorithm of another family', async (t) => {
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
    ['PS256 of the right key if RS256 is named', ps, INVALID],
    ['RS512 of the right key if RS256 is named', compact({ alg: 'RS512' }, ANN, rsa(keys.RS256.private, 'sha512')), INVALID],
    ['RS256 by name, PSS by padding', compact({ alg: 'RS256' }, ANN, pss(keys.RS256.private)), INVALID]
  ])
  tryRows(t, { unnamed } as Record<string, HostileTarget>, [
    ['PS256 of the right key if none is named', ps, ACCEPTED],
    ['RS1', compact({ alg: 'RS1' }, ANN, rsa(keys.RS256.private, 'sha1')), INVALID]
  ])
  const secret = SECRET
  tryRows(t, { 'HS256 named': await HostileTarget.start(t, { plugin: { jwt: { secret, verify: { algorithms: ['HS256'] } } } }) }, [
    ['HS512 of the right secret if HS256 is named', compact({ alg: 'HS512' }, ANN, hmac(SECRET, 'sha512')), INVALID],
    ['HS512 by name, SHA-256 by hash', compact({ alg: 'HS512' }, ANN, signed), INVALID]
  ])
  tryRows(t, { 'HS256 not named': await HostileTarget.start(t) }, [
    ['HS512 of the right secret if none is named', compact({ alg: 'HS512' }, ANN, hmac(SECRET, 'sha512')), ACCEPTED],
    ['HS256 by name, SHA-512 by hash', compact(HS, ANN, hmac(SECRET, 'sha512')), INVALID]
  ])
})

t.test('a token with alg none or an unknown alg is refused', async (t) => {
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

t.test('a kid finds only the key with its name', async (t) => {
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
    t.test(`${t.name}: ${what}`, async (t) => {
      await target.answers(t, carriers.header(token), answer)
      t.equal(asked.splice(0).length, isAsked ? 1 : 0, 'how often the key was asked for')
    })
  }
})

t.test('the plugin ignores a key that comes with the token, and does not fetch one', async (t) => {
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
  t.test('the server of the keys gets no request', async (t) => { t.strictSame(asked, []) })
})

t.test('the table has all of its rows, each once', async (t) => {
  t.ok(tried.length >= 150, `${tried.length} rows`)
  t.equal(new Set(tried).size, tried.length)
})
