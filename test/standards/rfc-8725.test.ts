/*
 * RFC 8725, 3: JSON Web Token Best Current Practices.
 */
import { createHmac, generateKeyPairSync, sign as signBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { deflateRawSync } from 'node:zlib'
import type { TokenOrHeader } from '@fastify/jwt'
import t from 'tap'
import { prepare } from '../helpers/app'
import { base64url, keys, mint, secret, seconds } from '../helpers/keys'
import { INVALID, present, serve, shake, signedBy } from '../helpers/standards'

t.test('RFC 8725, 3: the plugin verifies tokens as the RFC advises', async (t) => {
  const rsa = { secret: { public: keys.RS256.public, private: keys.RS256.private }, sign: { algorithm: 'RS256' as const } }
  const { port } = await serve(t, { jwt: { secret } })
  const { port: rsaPort } = await serve(t, { jwt: rsa })

  t.test('3.1: a token must have an algorithm of the key that the app allows, whatever its header says', async (t) => {
    const rs512 = signedBy({ alg: 'RS512' }, { sub: 'ann' }, (input) => signBytes('sha512', input, keys.RS256.private))
    t.equal(await present(t, rsaPort, mint({ sub: 'ann' }, {}, 'RS256')), '101')
    t.equal(await present(t, rsaPort, mint({ sub: 'ann' }, {}, 'ES256')), INVALID, 'another key')
    t.equal(await present(t, rsaPort, mint({ sub: 'ann' }, { alg: 'RS256' }, 'HS256')), INVALID, 'a lie')
    t.equal(await present(t, rsaPort, mint({ sub: 'ann' })), INVALID, 'an HMAC')
    t.equal(await present(t, rsaPort, `${base64url('{"alg":"none"}')}.${base64url('{"sub":"ann"}')}.`), INVALID, 'none')
    t.equal(await present(t, rsaPort, rs512), '101', 'all of the key where the app names none')
    const { port: named } = await serve(t, { jwt: { ...rsa, verify: { algorithms: ['RS256'] } } })
    t.equal(await present(t, named, rs512), INVALID, 'and only those that it names')
    t.equal(await present(t, named, mint({ sub: 'ann' }, {}, 'RS256')), '101')

    const algorithms = ['HS256' as const, 'RS256' as const]
    for (const jwt of [{ ...rsa, verify: { algorithms } }, { secret: async () => keys.RS256.public, verify: { algorithms } }]) {
      const { port: both } = await serve(t, { jwt })
      t.equal(await present(t, both, mint({ sub: 'ann' }, {}, 'RS256')), '101')
      t.equal(await present(t, both, signedBy({ alg: 'HS256' }, { sub: 'ann' }, (input) => createHmac('sha256', keys.RS256.public).update(input).digest())), INVALID, 'the public key as an HMAC secret')
    }
  })

  t.test('3.2: a token with alg none is refused, also if the app allows none', async (t) => {
    const { port } = await serve(t, { jwt: { secret, verify: { algorithms: ['none' as never, 'HS256'] } } })
    for (const alg of ['none', 'None', 'NONE', '']) {
      t.equal(await present(t, port, `${base64url(JSON.stringify({ alg }))}.${base64url('{"sub":"ann"}')}.`), INVALID, alg)
    }
    await t.rejects(prepare(t, { plugin: { jwt: { secret, verify: { algorithms: ['none' as never] } } } }), /none/)
  })

  t.test('3.3: a token with one changed character in any part is 401, and so is a nested or encrypted one', async (t) => {
    const token = mint({ sub: 'ann', exp: seconds(60) })
    const parts = token.split('.')
    t.equal(await present(t, port, token), '101')
    for (const [i, part] of parts.entries()) {
      const changed = parts.with(i, part.slice(0, 4) + (part[4] === 'A' ? 'B' : 'A') + part.slice(5)).join('.')
      t.equal(await present(t, port, changed), INVALID, `part ${i}`)
    }
    t.equal(await present(t, port, mint(`"${token}"`, { cty: 'JWT' })), INVALID, 'nested')
    t.equal(await present(t, port, mint(token, { cty: 'JWT' })), INVALID, 'nested, as it is')
    t.equal(await present(t, port, `${base64url('{"alg":"dir","enc":"A256GCM"}')}..${parts[0]}.${parts[1]}.${parts[2]}`), INVALID, 'encrypted')
  })

  t.test('3.4: a signature of zeros, or of another form, is 401, and the plugin ignores a key in a token', async (t) => {
    const { port } = await serve(t, { jwt: { secret: { public: keys.ES256.public, private: keys.ES256.private }, sign: { algorithm: 'ES256' } } })
    const claims = { sub: 'ann' }
    const es = { alg: 'ES256' }
    t.equal(await present(t, port, mint(claims, {}, 'ES256')), '101')
    t.equal(await present(t, port, signedBy(es, claims, () => Buffer.alloc(64))), INVALID, 'zeros')
    t.equal(await present(t, port, signedBy(es, claims, () => Buffer.alloc(64, 0xFF))), INVALID, 'past the order of the curve')
    t.equal(await present(t, port, signedBy(es, claims, () => Buffer.alloc(0))), INVALID, 'nothing')
    t.equal(await present(t, port, signedBy(es, claims, (input) => signBytes('sha256', input, keys.ES256.private))), INVALID, 'DER')
    const epk = { kty: 'EC', crv: 'P-256', x: base64url(Buffer.alloc(32, 1)), y: base64url(Buffer.alloc(32, 1)) }
    t.equal(await present(t, port, `${base64url(JSON.stringify({ alg: 'ECDH-ES', enc: 'A256GCM', epk }))}..AAAA.AAAA.AAAA`), INVALID, 'a point that is on no curve')
  })

  t.test('3.5: the log warns of a short HMAC secret, an empty one is an error, and an RSA key of 1024 bits is accepted', async (t) => {
    const { log } = await prepare(t, { plugin: { jwt: { secret: 'short' } } })
    t.match(log.join(''), /the secret of @fastify\/jwt has 5 bytes: less than the 32 of its hash/)
    const { log: quiet } = await prepare(t, { plugin: { jwt: { secret } } })
    t.notMatch(quiet.join(''), /the secret of/)
    await t.rejects(prepare(t, { plugin: { jwt: { secret: '' } } }), /secret/)
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } })
    const { port } = await serve(t, { jwt: { secret: { public: publicKey, private: privateKey }, sign: { algorithm: 'RS256' } } })
    t.equal(await present(t, port, signedBy({ alg: 'RS256' }, { sub: 'ann' }, (input) => signBytes('sha256', input, privateKey))), '101')
  })

  t.test('3.6: the plugin inflates nothing in a token', async (t) => {
    t.equal(await present(t, port, mint(deflateRawSync('{"sub":"ann"}'), { zip: 'DEF' })), INVALID)
    t.equal(await present(t, port, mint({ sub: 'ann' }, { zip: 'DEF' })), '101', 'what zip says is nothing to who does not encrypt')
  })

  t.test('3.7: a header or claims that are not UTF-8 are 401', async (t) => {
    const bad = Buffer.concat([Buffer.from('{"sub":"'), Buffer.from([0xC3, 0x28]), Buffer.from('"}')])
    const utf16 = Buffer.from('{"sub":"ann"}', 'utf16le')
    t.equal(await present(t, port, mint(bad)), INVALID)
    t.equal(await present(t, port, mint(utf16)), INVALID)
    t.equal(await present(t, port, mint({ sub: '\u00e9\u{1F600}' })), '101')
    const [, body, signature] = mint({ sub: 'ann' }).split('.')
    t.equal(await present(t, port, `${base64url(Buffer.from([0x7B, 0xFF, 0x7D]))}.${body}.${signature}`), INVALID, 'the header')
  })

  t.test('3.8: a token with another issuer, with none, with a sub that is not a string, or with an unknown user is 401', async (t) => {
    const { port } = await serve(t, { jwt: { secret, verify: { allowedIss: 'us' } }, user: (claims) => claims.sub === 'ann' ? claims as never : null as never })
    t.equal(await present(t, port, mint({ iss: 'us', sub: 'ann' })), '101')
    for (const claims of [{ sub: 'ann' }, { iss: 'them', sub: 'ann' }, { iss: 'us', sub: 7 }, { iss: 'us', sub: 'bob' }, { iss: ['us', 'them'], sub: 'ann' }]) {
      t.equal(await present(t, port, mint(claims)), INVALID, JSON.stringify(claims))
    }
  })

  t.test('3.9: a token for another audience, or for none, is 401 if the app sets its audience', async (t) => {
    const { port: named } = await serve(t, { jwt: { secret, verify: { allowedAud: 'chat' } } })
    for (const [aud, answer] of [['chat', '101'], [['mail', 'chat'], '101'], ['mail', INVALID], [[], INVALID], [undefined, INVALID], ['chat2', INVALID]] as const) {
      t.equal(await present(t, named, mint({ sub: 'ann', aud })), answer, JSON.stringify(aud))
    }
    t.equal(await present(t, port, mint({ sub: 'ann', aud: 'mail' })), '101', 'nobody asks where it does not')
  })

  t.test('3.10: the plugin uses no key and no address in a token, and the function of the app gets kid unchanged', async (t) => {
    const asked: string[] = []
    const evil = createServer((request, response) => { asked.push(String(request.url)); response.end('{"keys":[]}') }).listen(0, '127.0.0.1')
    t.teardown(() => evil.close())
    await once(evil, 'listening')
    const url = `http://127.0.0.1:${(evil.address() as AddressInfo).port}`
    const theirs = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const jwk = theirs.publicKey.export({ format: 'jwk' })
    const kids: unknown[] = []
    const { port: looking } = await serve(t, {
      jwt: {
        secret: async (_request: unknown, token: TokenOrHeader) => {
          kids.push((token as { header: { kid?: string } }).header.kid)
          return keys.RS256.public
        },
        decode: { complete: true },
        verify: { algorithms: ['RS256'] }
      }
    })
    const kid = '../../etc/passwd\' OR 1=1 --'
    for (const header of [{ jwk }, { jku: `${url}/jku` }, { x5u: `${url}/x5u` }, { x5c: [base64url('no certificate')] }, { kid, jku: `${url}/both`, jwk }]) {
      const token = signedBy({ alg: 'RS256', ...header }, { sub: 'ann' }, (input) => signBytes('sha256', input, theirs.privateKey))
      for (const port of [rsaPort, looking]) t.equal(await present(t, port, token), INVALID, JSON.stringify(header).slice(0, 40))
    }
    t.strictSame(asked, [], 'nobody was asked for a key')
    t.strictSame(kids, [undefined, undefined, undefined, undefined, kid])
    t.equal(await present(t, looking, mint({ sub: 'ann' }, { kid: 'constructor' }, 'RS256')), INVALID)
    t.equal(kids.length, 5, 'the name of a property of every object does not reach it')
  })

  t.test('3.11: a token must have the typ that the app requires, and may have any if the app requires none', async (t) => {
    const { port: typed } = await serve(t, { jwt: { secret, verify: { checkTyp: 'at+jwt' } } })
    for (const typ of ['at+jwt', 'JWT', undefined, 'logout+jwt']) {
      t.equal(await present(t, typed, mint({ sub: 'ann' }, { typ })), typ === 'at+jwt' ? '101' : INVALID, String(typ))
      t.equal(await present(t, port, mint({ sub: 'ann' }, { typ })), '101', `${typ}, unasked`)
    }
  })

  t.test('3.12: a logout token and a ticket are refused as access tokens, and so is an ID token if the app tells them apart', async (t) => {
    const { port, app } = await serve(t, { jwt: { secret }, tickets: true, claims: { type: 'object', required: ['aud'], properties: { aud: { const: 'chat' } } } })
    const events = { 'http://schemas.openid.net/event/backchannel-logout': {} }
    t.equal(await present(t, port, mint({ sub: 'ann', aud: 'chat' })), '101')
    t.equal(await present(t, port, mint({ sub: 'ann', aud: 'chat', events })), INVALID, 'a logout token')
    t.equal(await present(t, port, mint({ sub: 'ann', aud: 'client', nonce: 'n' })), INVALID, 'an ID token')
    const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann', aud: 'chat' })
    t.equal(await present(t, port, ticket), INVALID, 'a ticket in place of a token')
    t.equal(await shake(t, port, { path: `/chat?ticket=${mint({ sub: 'ann', aud: 'chat' })}`, headers: { authorization: undefined } }), '401 WS_AUTH_TICKET_INVALID', 'a token in place of a ticket')
    t.equal(await shake(t, port, { path: `/chat?ticket=${ticket}`, headers: { authorization: undefined } }), '101')
  })
})
