/*
 * Attacks by the encoding of a token: JSON, characters, parts, and sizes.
 */
import t from 'tap'
import type { WsAuthOptions } from '../../lib/options/public-options'
import { ACCEPTED, HostileTarget, INVALID, NO_HTTP } from '../helpers/hostile-target'
import { carriers, compact, segment } from '../helpers/hostile-tokens'
import { ANN, BODY, GOOD, HEAD, HS, mint, secretTargets, SIGNATURE, signed, tried, tryRows } from '../helpers/token-attacks'
import type { Row } from '../helpers/token-attacks'

t.test('a token with malformed or unusual JSON gets exactly the expected answer', async (t) => {
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
  t.test('no token changes a prototype, and the admitted users are frozen', async (t) => {
    t.notOk('isAdmin' in {}, 'no object is an admin')
    t.equal(users.length, 30)
    for (const user of users) {
      t.ok(Object.isFrozen(user))
      t.equal(Object.getPrototypeOf(user), Object.prototype)
      t.notOk('isAdmin' in user)
    }
  })
})

t.test('a token in another encoding gets exactly the expected answer', async (t) => {
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

t.test('a token with too few, too many or empty parts is refused', async (t) => {
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
  t.test('a token with too few, too many or empty parts is refused after a good token with the same header', async (t) => {
    const [target] = Object.values(targets)
    for (const [what, token, answer] of rows) {
      await target?.answers(t, carriers.header(GOOD), ACCEPTED)
      await t.test(`${t.name}: ${what}`, async (t) => { await target?.answers(t, carriers.header(token), answer) })
    }
  })
})

t.test('a token of any size gets exactly the expected answer', async (t) => {
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

t.test('the table has all of its rows, each once', async (t) => {
  t.ok(tried.length >= 110, `${tried.length} rows`)
  t.equal(new Set(tried).size, tried.length)
})
