/*
 * The attack table of requests: what is sent over the wire in place of a handshake, and what is answered, told and
 * counted for it. Each row is one request on a connection of its own; what it smuggles must never become a second one.
 */
import t from 'tap'
import { addGreeter, assertRows, AUTHORIZED, BAD, changed, GOOD, KEY, SMUGGLED, SMUGGLED_UPGRADE, startTarget, tried, tryRows } from '../helpers/hostile-rows'
import { ACCEPTED, AMBIGUOUS, DRY_RUN, INVALID, MISSING, NO_HANDSHAKE, NO_HTTP, NO_WEBSOCKET, NOT_FOUND, plain, WRONG_VERSION } from '../helpers/hostile-target'
import type { Answer } from '../helpers/hostile-target'
import { clientFrame, plainText, RawClient, requestText } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'

const VERSION = 'sec-websocket-version'

t.test('each request line gets exactly the expected answer', async (t) => {
  const target = await startTarget(t)
  const line = (text: string): string => changed('GET /chat HTTP/1.1', text)
  tryRows(t, target, [
    ['as it should be', {}, ACCEPTED],
    ['HTTP/1.0', { version: '1.0' }, NO_HANDSHAKE],
    ['HTTP/1.0 and a bad token', { version: '1.0', headers: { authorization: `Bearer ${BAD}` } }, NO_HANDSHAKE],
    ['HTTP/0.9', 'GET /chat\r\n\r\n', plain(MISSING)],
    ['HTTP/0.9 with headers', line('GET /chat'), NO_HANDSHAKE],
    ['HTTP/2.0', { version: '2.0' }, NO_HANDSHAKE],
    ['HTTP/3.0', { version: '3.0' }, NO_HTTP],
    ['HTTP/1.2', { version: '1.2' }, NO_HTTP],
    ['HTTP/1', { version: '1' }, NO_HTTP],
    ['HTTP/1.10', { version: '1.10' }, NO_HTTP],
    ['HTTP/01.1', { version: '01.1' }, NO_HTTP],
    ['http/1.1', line('GET /chat http/1.1'), NO_HTTP],
    ['HTTP /1.1', line('GET /chat HTTP /1.1'), NO_HTTP],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', NO_HTTP],
    ['a TLS greeting', Buffer.from('1603010200010001fc0303', 'hex'), NO_HTTP],
    ['a websocket frame', clientFrame(1, 'hello'), NO_HTTP],
    ['POST', { method: 'POST' }, NOT_FOUND],
    ['PUT', { method: 'PUT' }, NOT_FOUND],
    ['DELETE', { method: 'DELETE' }, NOT_FOUND],
    ['OPTIONS', { method: 'OPTIONS' }, NOT_FOUND],
    ['TRACE', { method: 'TRACE' }, NOT_FOUND],
    ['POST of a route that has it', { method: 'POST', path: '/http' }, NO_WEBSOCKET],
    ['GET of a route without a websocket', { path: '/http' }, NO_WEBSOCKET],
    ['get', { method: 'get' }, NO_HTTP],
    ['GETT', { method: 'GETT' }, NO_HTTP],
    ['WEBSOCKET', { method: 'WEBSOCKET' }, NO_HTTP],
    ['a space before', line(' GET /chat HTTP/1.1'), NO_HTTP],
    ['a tab for a space', line('GET\t/chat HTTP/1.1'), NO_HTTP],
    ['no target', line('GET HTTP/1.1'), NO_HTTP],
    ['a space in the target', line('GET /cha t HTTP/1.1'), NO_HTTP],
    // RFC 9112, 2.2: an empty line before is to be ignored.
    ['an empty line before', `\r\n${changed('', '')}`, ACCEPTED],
    ['a bare CR', line('GET /chat HTTP/1.1\rx: y'), NO_HTTP],
    ['HEAD of a path without a route', { method: 'HEAD', path: '/none' }, NOT_FOUND]
  ])
  tried.push('CONNECT')
  t.test('the server ends the connection of CONNECT without an answer', async (t) => {
    const client = (await RawClient.open(t, target.port)).upgrade({ method: 'CONNECT', path: 'localhost:80', headers: AUTHORIZED })
    await client.ended
    t.equal(client.text, '')
    t.strictSame(target.ran, [])
  })
})

t.test('each target gets exactly the expected answer', async (t) => {
  const target = await startTarget(t, {
    routes: (app, ran) => {
      addGreeter(app, ran, '/rooms/:id', true)
      addGreeter(app, ran, '/files/*', true)
    }
  })
  const paths: Array<[what: string, path: string, answer: Answer]> = [
    ['the absolute form', 'http://localhost/chat', ACCEPTED],
    ['the absolute form, of ws', 'ws://localhost/chat', NOT_FOUND],
    ['the absolute form, with a user', 'http://user:secret@localhost/chat', ACCEPTED],
    ['the absolute form, without a path', 'http://localhost', NOT_FOUND],
    ['the absolute form, in the path', '/http://localhost/chat', NOT_FOUND],
    ['the authority form', 'localhost:80', NO_HTTP],
    ['the asterisk form', '*', NOT_FOUND],
    ['no slash', 'chat', NO_HTTP],
    ['two slashes', '//chat', NOT_FOUND],
    ['two slashes and a host', '//evil.example/chat', NOT_FOUND],
    ['a slash behind', '/chat/', NOT_FOUND],
    ['upper case', '/CHAT', NOT_FOUND],
    ['dots', '/../chat', NOT_FOUND],
    ['dots through a folder', '/x/../chat', NOT_FOUND],
    ['dots, encoded', '/x/%2e%2e/chat', NOT_FOUND],
    ['dots under a route that is open', '/files/../chat', ACCEPTED],
    ['a dot', '/./chat', NOT_FOUND],
    ['a backslash', '\\chat', NO_HTTP],
    ['a backslash, encoded', '/%5Cchat', NOT_FOUND],
    ['a slash, encoded', '/%2Fchat', NOT_FOUND],
    ['a slash behind, encoded', '/chat%2F', NOT_FOUND],
    ['a slash, encoded twice', '/%252Fchat', NOT_FOUND],
    // RFC 3986, 6.2.2.2: the same path.
    ['a letter, encoded', '/%63hat', ACCEPTED],
    ['a letter, encoded twice', '/%2563hat', NOT_FOUND],
    ['a letter, overlong', '/%C1%A3hat', { status: 400 }],
    ['half of an encoding', '/chat%', { status: 400 }],
    ['no encoding', '/%zz', { status: 400 }],
    ['NUL, encoded', '/chat%00', NOT_FOUND],
    ['NUL', '/chat\0', NO_HTTP],
    ['a newline, encoded', '/chat%0d%0ax:%20y', NOT_FOUND],
    ['a newline', '/chat\r\nx', NO_HTTP],
    ['a tab', '/chat\t', NO_HTTP],
    ['a semicolon', '/chat;token=x', NOT_FOUND],
    ['a question mark, encoded', '/chat%3Ftoken=x', NOT_FOUND],
    ['a fragment', '/chat#x', ACCEPTED],
    ['a newline in the query, encoded', '/chat?x=%0d%0ay:%20z', ACCEPTED],
    ['a byte that is no ASCII', '/ch\xe4t', NO_HTTP],
    ['__proto__', '/__proto__', NOT_FOUND],
    ['constructor', '/constructor', NOT_FOUND],
    ['__proto__ as a parameter', '/rooms/__proto__', ACCEPTED],
    ['an empty parameter', '/rooms/', ACCEPTED],
    ['a parameter with a slash, encoded', '/rooms/a%2Fb', ACCEPTED],
    ['a parameter that cannot be decoded', '/rooms/%zz', { status: 400 }],
    ['a parameter of 200 characters', `/rooms/${'x'.repeat(200)}`, { status: 414 }],
    ['a query of 10,000 characters', `/chat?x=${'x'.repeat(10_000)}`, ACCEPTED],
    ['a path of 20,000 characters', `/${'x'.repeat(20_000)}`, { status: 431 }],
    ['8,000 slashes', '/'.repeat(8000), NOT_FOUND]
  ]
  tryRows(t, target, paths.map(([what, path, answer]) => [what, { path }, answer]))
})

t.test('each key and version get exactly the expected answer', async (t) => {
  const target = await startTarget(t)
  const key = (value: string | string[] | undefined): RequestSettings => ({ headers: { [KEY]: value } })
  const version = (value: string | string[] | undefined): RequestSettings => ({ headers: { [VERSION]: value } })
  const sixteen = 'AAECAwQFBgcICQoLDA0ODw=='
  tryRows(t, target, [
    ['key: missing', key(undefined), NO_HANDSHAKE],
    ['key: empty', key(''), NO_HANDSHAKE],
    ['key: twice', key([sixteen, sixteen]), NO_HANDSHAKE],
    ['key: twice, one empty', key([sixteen, '']), NO_HANDSHAKE],
    ['key: 15 bytes', key('AAECAwQFBgcICQoLDA0O'), NO_HANDSHAKE],
    ['key: 17 bytes', key('AAECAwQFBgcICQoLDA0ODxA='), NO_HANDSHAKE],
    ['key: 0 bytes, padding alone', key('=='), NO_HANDSHAKE],
    ['key: 13 bytes, padded as 16 are', key('AAECAwQFBgcICQoLDA=='), NO_HANDSHAKE],
    ['key: 19 bytes, padded as 16 are', key('AAECAwQFBgcICQoLDA0ODxAREg=='), NO_HANDSHAKE],
    ['key: base64url', key('AAECAwQFBgcICQoLDA-_Dw=='), NO_HANDSHAKE],
    ['key: without padding', key('AAECAwQFBgcICQoLDA0ODw'), NO_HANDSHAKE],
    ['key: half of the padding', key('AAECAwQFBgcICQoLDA0ODw='), NO_HANDSHAKE],
    ['key: padding in the middle', key('AAECAwQFBgc==CQoLDA0ODw='), NO_HANDSHAKE],
    ['key: in hex', key('000102030405060708090a0b0c0d0e0f'), NO_HANDSHAKE],
    ['key: quoted', key(`"${sixteen}"`), NO_HANDSHAKE],
    ['key: a space inside', key('AAECAwQFBgcI QoLDA0ODw=='), NO_HANDSHAKE],
    ['key: a byte A0 behind', key(`${sixteen}\xa0`), NO_HANDSHAKE],
    ['key: 10,000 characters', key('A'.repeat(10_000)), NO_HANDSHAKE],
    // What is decoded has 16 bytes, and that is all that RFC 6455, 4.2.1 asks for.
    ['key: with spare bits', key('AAECAwQFBgcICQoLDA0ODx=='), ACCEPTED],
    ['key: spaces around', key(`   ${sixteen}\t `), ACCEPTED],
    ['version: missing', version(undefined), WRONG_VERSION],
    ['version: empty', version(''), WRONG_VERSION],
    ['version: 0', version('0'), WRONG_VERSION],
    ['version: 8', version('8'), WRONG_VERSION],
    ['version: 12', version('12'), WRONG_VERSION],
    ['version: 14', version('14'), WRONG_VERSION],
    ['version: 256', version('256'), WRONG_VERSION],
    ['version: -13', version('-13'), WRONG_VERSION],
    ['version: +13', version('+13'), WRONG_VERSION],
    ['version: 13.0', version('13.0'), WRONG_VERSION],
    ['version: 0xD', version('0xD'), WRONG_VERSION],
    ['version: 13, 13', version('13, 13'), WRONG_VERSION],
    ['version: 13, 8', version('13, 8'), WRONG_VERSION],
    ['version: twice', version(['13', '13']), WRONG_VERSION],
    ['version: twice, one empty', version(['13', '']), WRONG_VERSION],
    ['version: 13 and a semicolon', version('13;q=1'), WRONG_VERSION],
    ['version: spaces around', version('  13 \t'), ACCEPTED]
  ])
})

t.test('each pair of the headers Upgrade and Connection gets exactly the expected answer', async (t) => {
  const target = await startTarget(t)
  const upgrade = (value: string | string[] | undefined): RequestSettings => ({ headers: { upgrade: value } })
  const connection = (value: string | string[] | undefined): RequestSettings => ({ headers: { connection: value } })
  tryRows(t, target, [
    ['Upgrade: missing', upgrade(undefined), DRY_RUN],
    ['Upgrade: empty', upgrade(''), DRY_RUN],
    ['Upgrade: h2c', upgrade('h2c'), DRY_RUN],
    ['Upgrade: TLS/1.0', upgrade('TLS/1.0'), DRY_RUN],
    ['Upgrade: websocket, h2c', upgrade('websocket, h2c'), NO_HANDSHAKE],
    ['Upgrade: h2c, websocket', upgrade('h2c, websocket'), NO_HANDSHAKE],
    ['Upgrade: twice', upgrade(['websocket', 'websocket']), NO_HANDSHAKE],
    ['Upgrade: websocket and h2c', upgrade(['websocket', 'h2c']), NO_HANDSHAKE],
    ['Upgrade: websocket/13', upgrade('websocket/13'), DRY_RUN],
    ['Upgrade: quoted', upgrade('"websocket"'), DRY_RUN],
    ['Upgrade: a byte A0 behind', upgrade('websocket\xa0'), DRY_RUN],
    ['Upgrade: a comma behind', upgrade('websocket,'), NO_HANDSHAKE],
    ['Upgrade: WEBSOCKET', upgrade('WEBSOCKET'), ACCEPTED],
    ['Upgrade: spaces around', upgrade(' \twebsocket '), ACCEPTED],
    ['Connection: missing', connection(undefined), DRY_RUN],
    ['Connection: keep-alive', connection('keep-alive'), DRY_RUN],
    ['Connection: close', connection('close'), DRY_RUN],
    ['Connection: upgrades', connection('upgrades'), DRY_RUN],
    ['Connection: xupgrade', connection('xupgrade'), DRY_RUN],
    ['Connection: quoted', connection('"upgrade"'), DRY_RUN],
    ['Connection: upgrade;q=1', connection('upgrade;q=1'), DRY_RUN],
    ['Connection: UPGRADE', connection('UPGRADE'), ACCEPTED],
    ['Connection: Upgrade, Upgrade', connection('Upgrade, Upgrade'), ACCEPTED],
    ['Connection: in two headers', connection(['keep-alive', 'Upgrade']), ACCEPTED],
    ['Connection: close, Upgrade', connection('close, Upgrade'), ACCEPTED],
    ['Connection: empty entries', connection(',,Upgrade, ,'), ACCEPTED],
    ['Connection: the names of other headers', connection('Upgrade, Authorization, Host'), ACCEPTED],
    ['neither, and no key', { headers: { upgrade: undefined, connection: undefined, [KEY]: undefined, [VERSION]: undefined } }, DRY_RUN],
    ['neither, and a bad token', { headers: { upgrade: undefined, connection: undefined, authorization: `Bearer ${BAD}` } }, plain(INVALID)],
    ['neither, and no token', { headers: { upgrade: undefined, connection: undefined, authorization: undefined } }, plain(MISSING)],
    ['neither, and two tokens', { path: `/chat?token=${GOOD}`, headers: { upgrade: undefined, connection: undefined } }, plain(AMBIGUOUS)],
    ['neither, of a route that is not there', { path: '/none', headers: { upgrade: undefined } }, plain(NOT_FOUND)]
  ])
})

t.test('each handshake with a body gets exactly the expected answer', async (t) => {
  const target = await startTarget(t)
  const length = String(SMUGGLED.length)
  const body = (headers: RequestSettings['headers'], text = SMUGGLED): RequestSettings => ({ headers, body: text })
  const chunked = `0\r\n\r\n${SMUGGLED}`
  tryRows(t, target, [
    ['Content-Length', body({ 'content-length': length }), NO_HANDSHAKE],
    ['Content-Length that says less', body({ 'content-length': '4' }), NO_HANDSHAKE],
    ['Content-Length that says more', body({ 'content-length': '99999' }), NO_HANDSHAKE],
    ['Content-Length with leading zeros', body({ 'content-length': `000${length}` }), NO_HANDSHAKE],
    ['Content-Length: empty', body({ 'content-length': '' }), NO_HTTP],
    ['Content-Length: +4', body({ 'content-length': '+4' }), NO_HTTP],
    ['Content-Length: -4', body({ 'content-length': '-4' }), NO_HTTP],
    ['Content-Length: 0x4', body({ 'content-length': '0x4' }), NO_HTTP],
    ['Content-Length: 4 4', body({ 'content-length': '4 4' }), NO_HTTP],
    ['Content-Length: 4, 4', body({ 'content-length': '4, 4' }), NO_HTTP],
    ['Content-Length: 1e1', body({ 'content-length': '1e1' }), NO_HTTP],
    ['Content-Length: more than 64 bits', body({ 'content-length': '99999999999999999999' }), NO_HTTP],
    ['two Content-Lengths that agree', body({ 'content-length': ['4', '4'] }), NO_HTTP],
    ['two Content-Lengths that differ', body({ 'content-length': ['0', length] }), NO_HTTP],
    ['Content-Length with a space behind its name', body({ 'content-length ': length }), NO_HTTP],
    ['Transfer-Encoding: chunked', body({ 'transfer-encoding': 'chunked' }, chunked), NO_HANDSHAKE],
    ['Transfer-Encoding: CHUNKED', body({ 'transfer-encoding': 'CHUNKED' }, chunked), NO_HANDSHAKE],
    ['Transfer-Encoding: gzip, chunked', body({ 'transfer-encoding': 'gzip, chunked' }, chunked), NO_HANDSHAKE],
    ['Transfer-Encoding: twice', body({ 'transfer-encoding': ['chunked', 'chunked'] }, chunked), NO_HTTP],
    ['a chunk that is none', body({ 'transfer-encoding': 'chunked' }, `zz\r\n${SMUGGLED}`), NO_HANDSHAKE],
    ['a chunk of 16 EiB', body({ 'transfer-encoding': 'chunked' }, `FFFFFFFFFFFFFFFF\r\n${SMUGGLED}`), NO_HANDSHAKE],
    ['a chunk with an extension', body({ 'transfer-encoding': 'chunked' }, `0;x="\r\n"\r\n\r\n${SMUGGLED}`), NO_HANDSHAKE],
    ['a trailer that authorizes', { headers: { authorization: undefined, 'transfer-encoding': 'chunked', trailer: 'authorization' }, body: `0\r\nauthorization: Bearer ${GOOD}\r\n\r\n` }, NO_HANDSHAKE],
    ['Transfer-Encoding behind Content-Length', body({ 'content-length': length, 'transfer-encoding': 'chunked' }, chunked), NO_HTTP],
    ['Transfer-Encoding before Content-Length', body({ 'transfer-encoding': 'chunked', 'content-length': '5' }, chunked), NO_HTTP],
    ['Transfer-Encoding with a space behind its name', body({ 'transfer-encoding ': 'chunked', 'content-length': '5' }, chunked), NO_HTTP],
    ['Transfer-Encoding with a tab behind its name', body({ 'transfer-encoding\t': 'chunked' }, chunked), NO_HTTP],
    ['Transfer-Encoding on a line that is folded', body({ 'transfer-encoding': '\r\n chunked', 'content-length': '5' }, chunked), NO_HTTP],
    ['Transfer-Encoding behind a bare CR', body({ x: 'y\rtransfer-encoding: chunked' }, chunked), NO_HTTP],
    ['Transfer-Encoding behind a space', changed('\r\nhost', '\r\n transfer-encoding: chunked\r\nhost') + chunked, NO_HTTP],
    ['Content-Length, on a route without a websocket', { path: '/http', ...body({ 'content-length': length }) }, NO_WEBSOCKET],
    ['Content-Length, of POST', { method: 'POST', path: '/http', ...body({ 'content-length': length, 'content-type': 'text/plain' }) }, NO_WEBSOCKET],
    ['chunks, of POST', { method: 'POST', path: '/http', ...body({ 'transfer-encoding': 'chunked', 'content-type': 'application/json' }, chunked) }, NO_WEBSOCKET],
    ['Content-Length, for a path without a route', { path: '/none', ...body({ 'content-length': length }) }, NOT_FOUND],
    ['an upgrade in the body', body({ 'content-length': String(SMUGGLED_UPGRADE.length) }, SMUGGLED_UPGRADE), NO_HANDSHAKE],
    ['of a plain request', { headers: { upgrade: undefined, 'content-length': length }, body: SMUGGLED }, DRY_RUN],
    ['of a plain request, in chunks', { headers: { upgrade: undefined, 'transfer-encoding': 'chunked' }, body: `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n` }, DRY_RUN],
    ['of a plain request, both', { headers: { upgrade: undefined, 'transfer-encoding': 'chunked', 'content-length': '5' }, body: chunked }, NO_HTTP],
    ['of a plain request, an upgrade', { headers: { upgrade: undefined, 'content-length': String(SMUGGLED_UPGRADE.length) }, body: SMUGGLED_UPGRADE }, DRY_RUN]
  ])
})

t.test('each handshake with strange headers gets exactly the expected answer', async (t) => {
  const target = await startTarget(t)
  const many = (count: number): string => 'a:\r\n'.repeat(count)
  const behind = (count: number, header: string, more: RequestSettings['headers'] = {}): string =>
    requestText({ path: '/chat', headers: { ...AUTHORIZED, ...more } }).replace(/\r\n\r\n$/, `\r\n${many(count)}${header}\r\n\r\n`)
  // Node gives the first thousand, as if what is behind them had not been sent; newer ones refuse a thousand.
  const client = (await RawClient.open(t, target.port)).send(plainText({ path: '/none', headers: { x: Array.from({ length: 1500 }, () => 'y') } }))
  const { status } = await client.response()
  const unlessTooMany = (answer: Answer): Answer => status === 431 ? { status } : answer
  tryRows(t, target, [
    ['Host: missing', { headers: { host: undefined } }, NO_HANDSHAKE],
    ['Host: twice', { headers: { host: ['localhost', 'localhost'] } }, NO_HANDSHAKE],
    ['Host: twice, in another case', { headers: { host: 'localhost', HOST: 'evil.example' } }, NO_HANDSHAKE],
    ['Host: twice, one empty', { headers: { host: ['', 'localhost'] } }, NO_HANDSHAKE],
    ['Host: missing, an absolute target', { path: 'http://localhost/chat', headers: { host: undefined } }, NO_HANDSHAKE],
    ['Host: another than that of the absolute target', { path: 'http://localhost/chat', headers: { host: 'evil.example' } }, ACCEPTED],
    ['a header without a colon', changed('host: localhost', 'host: localhost\r\nnonsense'), NO_HTTP],
    ['a header without a name', changed('host: localhost', 'host: localhost\r\n: nonsense'), NO_HTTP],
    ['a space in a name', changed('host: localhost', 'host: localhost\r\nx y: z'), NO_HTTP],
    ['NUL in a name', changed('host: localhost', 'host: localhost\r\nx\0: z'), NO_HTTP],
    ['NUL in a value', { headers: { x: 'a\0b' } }, NO_HTTP],
    ['a bare CR in a value', { headers: { x: 'a\rb' } }, NO_HTTP],
    ['DEL in a value', { headers: { x: 'a\x7fb' } }, NO_HTTP],
    ['a line that is folded', { headers: { x: 'a\r\n b' } }, NO_HTTP],
    ['__proto__ and constructor', { headers: { ['__proto__']: 'x', constructor: 'y' } }, ACCEPTED],
    ['20,000 characters', { headers: { x: 'x'.repeat(20_000) } }, { status: 431 }],
    ['20,000 characters of a name', { headers: { ['x'.repeat(20_000)]: 'x' } }, { status: 431 }],
    ['20,000 characters of a cookie', { headers: { cookie: 'x'.repeat(20_000) } }, { status: 431 }],
    ['10,000 headers', { headers: { x: Array.from({ length: 10_000 }, () => 'y') } }, { status: 431 }],
    ['5,000 headers behind', { headers: { x: Array.from({ length: 5000 }, () => 'y') } }, unlessTooMany(ACCEPTED)],
    ['a second token behind 1,500 others', behind(1500, `authorization: Bearer ${BAD}`), unlessTooMany(ACCEPTED)],
    ['the only token behind 1,500 others', behind(1500, `authorization: Bearer ${GOOD}`, { authorization: undefined }), unlessTooMany(MISSING)],
    ['Upgrade behind 1,500 others', behind(1500, 'upgrade: websocket', { upgrade: undefined }), unlessTooMany(DRY_RUN)],
    ['the key behind 1,500 others', behind(1500, 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==', { [KEY]: undefined }), unlessTooMany(NO_HANDSHAKE)],
    ['a second token behind 900 others', behind(900, `authorization: Bearer ${BAD}`), AMBIGUOUS],
    ['extensions that are none', { headers: { 'sec-websocket-extensions': 'permessage-deflate; =;;,' } }, ACCEPTED],
    ['Expect: 100-continue', { headers: { expect: '100-continue' } }, ACCEPTED],
    ['X-HTTP-Method-Override', { method: 'POST', headers: { 'x-http-method-override': 'GET' } }, NOT_FOUND],
    ['X-Original-URL', { path: '/http', headers: { 'x-original-url': '/chat', 'x-rewrite-url': '/chat' } }, NO_WEBSOCKET],
    ['HTTP2-Settings', { headers: { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQCAAAAAAIAAAAA' } }, DRY_RUN]
  ])
})

t.test('each handshake with extensions gets exactly the expected answer', async (t) => {
  const target = await startTarget(t, { plugin: { websocket: { options: { perMessageDeflate: true } } } })
  const extensions = (value: string): RequestSettings => ({ headers: { 'sec-websocket-extensions': value } })
  // ws reads them, and only where it is to compress: behind all checks, so that it is told of by nobody.
  tryRows(t, target, [
    ['that are unknown', extensions('x-own; a=b, x-other'), ACCEPTED],
    ['that are no list', extensions('permessage-deflate; =;;,'), NO_HANDSHAKE],
    ['with an unknown parameter', extensions('permessage-deflate; __proto__'), { status: 400 }],
    ['with a parameter twice', extensions('permessage-deflate; client_max_window_bits; client_max_window_bits=9'), { status: 400 }],
    ['with a window that is too large', extensions('permessage-deflate; server_max_window_bits=16'), { status: 400 }]
  ])
})

t.test('the attack table has all of its rows, each once', async (t) => { assertRows(t, 224) })
