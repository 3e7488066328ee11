/*
 * The attack table of credentials and Origins: each row is one handshake on a connection of its own, and its exact answer.
 */
import t from 'tap'
import { addGreeter, assertRows, AUTHORIZED, BAD, GOOD, KEY, startTarget, tryRows } from '../helpers/hostile-rows'
import { ACCEPTED, AMBIGUOUS, INVALID, MISSING, NO_HANDSHAKE, NO_HTTP, NOT_FOUND, WRONG_ORIGIN } from '../helpers/hostile-target'
import type { RequestSettings } from '../helpers/raw-client'

const PROTOCOL = 'sec-websocket-protocol'

t.test('each Authorization header gets exactly the expected answer', async (t) => {
  const target = await startTarget(t)
  const value = (authorization: string | string[] | undefined): RequestSettings => ({ headers: { authorization } })
  tryRows(t, target, [
    ['missing', value(undefined), MISSING],
    ['empty', value(''), MISSING],
    ['Basic', value('Basic YW5uOmFubg=='), MISSING],
    ['Basic of the token', value(`Basic ${Buffer.from(`ann:${GOOD}`).toString('base64')}`), MISSING],
    ['DPoP', value(`DPoP ${GOOD}`), MISSING],
    ['JWT', value(`JWT ${GOOD}`), MISSING],
    ['Token', value(`Token ${GOOD}`), MISSING],
    ['the token alone', value(GOOD), MISSING],
    ['bearer', value(`bearer ${GOOD}`), ACCEPTED],
    ['BEARER', value(`BEARER ${GOOD}`), ACCEPTED],
    ['two spaces', value(`Bearer  ${GOOD}`), ACCEPTED],
    ['a tab', value(`Bearer\t${GOOD}`), ACCEPTED],
    ['spaces around', value(`  Bearer ${GOOD}  `), ACCEPTED],
    ['no space', value(`Bearer${GOOD}`), MISSING],
    ['BearerX', value(`BearerX ${GOOD}`), MISSING],
    ['XBearer', value(`XBearer ${GOOD}`), MISSING],
    ['Bearer and a colon', value(`Bearer: ${GOOD}`), MISSING],
    ['Bearer and a comma', value(`Bearer, ${GOOD}`), MISSING],
    ['Bearer and an equals sign', value(`Bearer=${GOOD}`), MISSING],
    ['Bearer alone', value('Bearer'), MISSING],
    ['Bearer and a space', value('Bearer '), MISSING],
    ['Bearer Bearer', value('Bearer Bearer'), INVALID],
    ['Bearer Bearer and the token', value(`Bearer Bearer ${GOOD}`), INVALID],
    ['two tokens in one', value(`Bearer ${GOOD} ${GOOD}`), INVALID],
    ['a list', value(`Bearer ${GOOD}, Bearer ${GOOD}`), INVALID],
    ['a list that begins with Basic', value(`Basic YW5uOmFubg==, Bearer ${GOOD}`), MISSING],
    ['a list that ends with Basic', value(`Bearer ${GOOD}, Basic YW5uOmFubg==`), INVALID],
    ['a parameter behind', value(`Bearer ${GOOD}; realm=x`), INVALID],
    ['a folded line', value(`Bearer\r\n ${GOOD}`), NO_HTTP],
    ['twice', value([`Bearer ${GOOD}`, `Bearer ${GOOD}`]), AMBIGUOUS],
    ['twice, good before bad', value([`Bearer ${GOOD}`, `Bearer ${BAD}`]), AMBIGUOUS],
    ['twice, Basic before', value(['Basic YW5uOmFubg==', `Bearer ${GOOD}`]), AMBIGUOUS],
    ['twice, Basic alone', value(['Basic YW5uOmFubg==', 'Basic YW5uOmFubg==']), AMBIGUOUS],
    ['twice, an empty one', value(['', `Bearer ${GOOD}`]), AMBIGUOUS],
    ['twice, in another case', { headers: { authorization: `Bearer ${GOOD}`, AUTHORIZATION: `Bearer ${BAD}` } }, AMBIGUOUS],
    ['by a space behind its name', { headers: { authorization: undefined, 'authorization ': `Bearer ${GOOD}` } }, NO_HTTP],
    ['as Proxy-Authorization', { headers: { authorization: undefined, 'proxy-authorization': `Bearer ${GOOD}` } }, MISSING],
    ['as X-Forwarded-Authorization', { headers: { authorization: undefined, 'x-forwarded-authorization': `Bearer ${GOOD}`, 'x-authorization': `Bearer ${GOOD}` } }, MISSING],
    ['with an underscore for a header of CGI', { headers: { authorization: undefined, http_authorization: `Bearer ${GOOD}` } }, MISSING],
    ['in Sec-WebSocket-Key', { headers: { authorization: undefined, [KEY]: GOOD } }, NO_HANDSHAKE]
  ])
})

t.test('each token in two places gets exactly the expected answer', async (t) => {
  const target = await startTarget(t)
  const good = { [PROTOCOL]: `bearer, ${GOOD}` }
  const encoded = `chat, base64url.bearer.${Buffer.from(GOOD).toString('base64url')}`
  tryRows(t, target, [
    ['header and query', { path: `/chat?token=${GOOD}`, headers: AUTHORIZED }, AMBIGUOUS],
    ['header and query, the second bad', { path: `/chat?token=${BAD}`, headers: AUTHORIZED }, AMBIGUOUS],
    ['header and query, the second empty', { path: '/chat?token=', headers: AUTHORIZED }, ACCEPTED],
    ['header and subprotocol', { headers: { ...AUTHORIZED, ...good } }, AMBIGUOUS],
    ['header and encoded subprotocol', { headers: { ...AUTHORIZED, [PROTOCOL]: encoded } }, AMBIGUOUS],
    ['query and subprotocol', { path: `/chat?token=${GOOD}`, headers: good }, AMBIGUOUS],
    ['all of them', { path: `/chat?token=${GOOD}`, headers: { ...AUTHORIZED, ...good, cookie: `token=${GOOD}` } }, AMBIGUOUS],
    ['Basic and query', { path: `/chat?token=${GOOD}`, headers: { authorization: 'Basic YW5uOmFubg==' } }, ACCEPTED],
    ['a good header and a bad cookie', { headers: { ...AUTHORIZED, cookie: `token=${BAD}` } }, ACCEPTED],
    ['a bad header and a good cookie', { headers: { authorization: `Bearer ${BAD}`, cookie: `token=${GOOD}` } }, INVALID],
    ['a bad query and a good cookie', { path: `/chat?token=${BAD}`, headers: { cookie: `token=${GOOD}` } }, INVALID],
    ['a bad subprotocol and a good cookie', { headers: { [PROTOCOL]: 'bearer, bad', cookie: `token=${GOOD}` } }, INVALID],
    ['a header that is nothing and a good cookie', { headers: { authorization: 'Bearer', cookie: `token=${GOOD}` } }, ACCEPTED],
    ['an empty query and a good cookie', { path: '/chat?token=', headers: { cookie: `token=${GOOD}` } }, ACCEPTED],
    ['a good header and two cookies', { headers: { ...AUTHORIZED, cookie: `token=${BAD}; token=${GOOD}` } }, ACCEPTED],
    ['two cookies', { headers: { cookie: `token=${GOOD}; token=${GOOD}` } }, AMBIGUOUS],
    ['two cookies in two headers', { headers: { cookie: [`token=${GOOD}`, `token=${BAD}`] } }, AMBIGUOUS],
    ['two cookies, one empty', { headers: { cookie: `token=; token=${GOOD}` } }, AMBIGUOUS],
    ['two cookies, one quoted', { headers: { cookie: `token=${GOOD}; token="${GOOD}"` } }, AMBIGUOUS],
    ['a cookie of another case beside', { headers: { cookie: `TOKEN=${BAD}; token=${GOOD}` } }, ACCEPTED],
    ['a cookie with a prefix beside', { headers: { cookie: `__Host-token=${BAD}; token=${GOOD}` } }, ACCEPTED],
    ['a cookie in a cookie', { headers: { cookie: `a="b; token=${GOOD}"` } }, INVALID],
    ['cookies separated by commas', { headers: { cookie: `a=b, token=${GOOD}` } }, MISSING],
    ['a cookie as $Version has it', { headers: { cookie: `$Version=1; token=${GOOD}; $Path=/` } }, ACCEPTED],
    ['a cookie of an encoded name', { headers: { cookie: `%74oken=${GOOD}` } }, MISSING],
    ['Cookie2', { headers: { cookie2: `token=${GOOD}` } }, MISSING],
    ['Set-Cookie', { headers: { 'set-cookie': `token=${GOOD}` } }, MISSING],
    ['a cookie without a name', { headers: { cookie: `=${GOOD}` } }, MISSING]
  ], {})
})

t.test('each token in the query gets exactly the expected answer', async (t) => {
  const target = await startTarget(t)
  const query = (text: string): RequestSettings => ({ path: `/chat?${text}` })
  tryRows(t, target, [
    ['twice, good before bad', query(`token=${GOOD}&token=${BAD}`), AMBIGUOUS],
    ['twice, bad before good', query(`token=${BAD}&token=${GOOD}`), AMBIGUOUS],
    ['twice, the same', query(`token=${GOOD}&token=${GOOD}`), AMBIGUOUS],
    ['twice, one empty', query(`token=&token=${GOOD}`), AMBIGUOUS],
    ['twice, one without a value', query(`token&token=${GOOD}`), AMBIGUOUS],
    ['twice, one in its encoding', query(`t%6fken=${BAD}&token=${GOOD}`), AMBIGUOUS],
    ['twice, one behind a fragment', query(`token=${GOOD}#token=${BAD}`), AMBIGUOUS],
    ['token[]', query(`token[]=${GOOD}`), MISSING],
    ['token[0]', query(`token[0]=${GOOD}`), MISSING],
    ['token[] beside token', query(`token[]=${BAD}&token=${GOOD}`), ACCEPTED],
    ['TOKEN', query(`TOKEN=${GOOD}`), MISSING],
    ['token%00', query(`token%00=${GOOD}`), MISSING],
    ['%00token', query(`%00token=${GOOD}`), MISSING],
    ['token and a space', query(`token+=${GOOD}`), MISSING],
    ['a space and token', query(`%20token=${GOOD}`), MISSING],
    ['access_token', query(`access_token=${GOOD}`), MISSING],
    ['authorization', query(`authorization=Bearer%20${GOOD}`), MISSING],
    ['encoded name', query(`%74%6f%6b%65%6e=${GOOD}`), ACCEPTED],
    ['name that cannot be decoded', query(`%zztoken=${GOOD}`), MISSING],
    ['separated by a semicolon', query(`a=b;token=${GOOD}`), MISSING],
    ['a semicolon behind', query(`token=${GOOD};a=b`), INVALID],
    ['an ampersand, encoded', query(`a=b%26token=${GOOD}`), MISSING],
    ['an equals sign, encoded', query(`token%3D${GOOD}`), MISSING],
    ['two equals signs', query(`token==${GOOD}`), INVALID],
    ['two question marks', query(`?token=${GOOD}`), MISSING],
    ['ampersands', query(`&&&token=${GOOD}&&&`), ACCEPTED],
    ['behind a fragment', { path: `/chat#token=${GOOD}` }, ACCEPTED],
    ['behind a fragment and a question mark', { path: `/chat#?token=${GOOD}` }, MISSING],
    ['empty', query('token='), MISSING],
    ['without a value', query('token'), MISSING],
    ['spaces', query('token=%20%20'), INVALID],
    ['__proto__ and constructor beside', query(`__proto__=x&constructor[prototype][token]=y&token=${GOOD}`), ACCEPTED],
    ['__proto__[token]', query(`__proto__[token]=${GOOD}`), MISSING],
    ['2,000 tokens', query('token=&'.repeat(2000)), AMBIGUOUS],
    ['2,000 others', query(`${'a=b&'.repeat(2000)}token=${GOOD}`), ACCEPTED]
  ], {})
})

t.test('each list of subprotocols gets exactly the expected answer', async (t) => {
  const target = await startTarget(t)
  const offer = (value: string | string[]): RequestSettings => ({ headers: { [PROTOCOL]: value } })
  const thousand = Array.from({ length: 1000 }, (_, i) => `p${i}`)
  const encoded = Buffer.from(GOOD).toString('base64url')
  tryRows(t, target, [
    ['the token', offer(`bearer, ${GOOD}`), ACCEPTED],
    ['the token, without a space', offer(`bearer,${GOOD}`), ACCEPTED],
    ['the token, with tabs', offer(`bearer\t,\t${GOOD}`), ACCEPTED],
    ['the token in a second header', offer(['bearer', GOOD]), ACCEPTED],
    ['the token in a second header, behind others', offer(['chat', 'bearer', GOOD, 'mail']), ACCEPTED],
    ['the token behind 1,000 others', offer([...thousand, 'bearer', GOOD].join(', ')), ACCEPTED],
    ['the token before 1,000 others', offer(['bearer', GOOD, ...thousand].join(', ')), ACCEPTED],
    ['1,000 and no token', offer(thousand.join(', ')), MISSING],
    ['1,000 of which one is there twice', offer(['bearer', GOOD, ...thousand, 'p7'].join(', ')), NO_HANDSHAKE],
    ['bearer alone', offer('bearer'), MISSING],
    ['bearer last', offer('chat, bearer'), MISSING],
    ['bearer twice', offer('bearer, bearer'), NO_HANDSHAKE],
    ['bearer twice, with tokens', offer(`bearer, ${GOOD}, bearer, ${BAD}`), NO_HANDSHAKE],
    ['bearer twice, before a token', offer(`bearer, bearer, ${GOOD}`), NO_HANDSHAKE],
    ['Bearer', offer(`Bearer, ${GOOD}`), MISSING],
    ['the token before bearer', offer(`${GOOD}, bearer`), MISSING],
    ['the token alone', offer(GOOD), MISSING],
    ['something between', offer(`bearer, chat, ${GOOD}`), INVALID],
    ['the same token in two forms', offer(`bearer, ${GOOD}, base64url.bearer.${encoded}`), AMBIGUOUS],
    ['two encoded tokens', offer(`chat, base64url.bearer.${encoded}, base64url.bearer.${Buffer.from(BAD).toString('base64url')}`), AMBIGUOUS],
    ['an encoded token alone', offer(`base64url.bearer.${encoded}`), NO_HANDSHAKE],
    ['an encoded token of another marker', offer(`chat, base64url.token.${encoded}`), MISSING],
    ['an encoded token of __proto__', offer(`chat, base64url.__proto__.${encoded}`), MISSING],
    ['an encoded token in upper case', offer(`chat, BASE64URL.bearer.${encoded}`), MISSING],
    ['an encoded token with padding', offer(`chat, base64url.bearer.${encoded}==`), NO_HANDSHAKE],
    ['a space for the comma', offer(`bearer ${GOOD}`), NO_HANDSHAKE],
    ['a semicolon for the comma', offer(`bearer; ${GOOD}`), NO_HANDSHAKE],
    ['an equals sign for the comma', offer(`bearer=${GOOD}`), NO_HANDSHAKE],
    ['a comma behind', offer(`bearer, ${GOOD},`), NO_HANDSHAKE],
    ['a comma before', offer(`, bearer, ${GOOD}`), NO_HANDSHAKE],
    ['a comma too many', offer(`bearer,, ${GOOD}`), NO_HANDSHAKE],
    ['only a comma', offer(','), NO_HANDSHAKE],
    ['2,000 commas', offer(','.repeat(2000)), NO_HANDSHAKE],
    ['empty', offer(''), NO_HANDSHAKE],
    ['empty, in two headers', offer(['', '']), NO_HANDSHAKE],
    ['a token and an empty header', offer([`bearer, ${GOOD}`, '']), NO_HANDSHAKE],
    ['quoted', offer(`"bearer", "${GOOD}"`), NO_HANDSHAKE],
    ['a slash', offer(`bearer, ${GOOD}, a/b`), NO_HANDSHAKE],
    ['no ASCII', offer(`bearer, ${GOOD}, ch\xe4t`), NO_HANDSHAKE],
    ['a byte A0 behind one', offer(`bearer, ${GOOD}, chat\xa0`), NO_HANDSHAKE],
    ['a control character', offer(`bearer, ${GOOD}, a\x01b`), NO_HTTP],
    ['the same twice', offer(`bearer, ${GOOD}, chat, chat`), NO_HANDSHAKE],
    ['the same twice, in two headers', offer([`bearer, ${GOOD}, chat`, 'chat']), NO_HANDSHAKE],
    ['the same in another case', offer(`bearer, ${GOOD}, chat, Chat`), ACCEPTED],
    ['the token twice', offer(`bearer, ${GOOD}, ${GOOD}`), NO_HANDSHAKE],
    ['names of an object', offer(`__proto__, constructor, bearer, ${GOOD}`), ACCEPTED]
  ], {})
})

t.test('each Origin beside a cookie gets exactly the expected answer', async (t) => {
  const target = await startTarget(t)
  const from = (origin: string | string[] | undefined, host = 'chat.example', more: RequestSettings['headers'] = {}): RequestSettings =>
    ({ headers: { origin, host, ...more } })
  tryRows(t, target, [
    ['missing: not a browser', from(undefined), ACCEPTED],
    ['that of the host', from('http://chat.example'), ACCEPTED],
    ['of https, if TLS ends before', from('https://chat.example'), ACCEPTED],
    ['empty', from(''), WRONG_ORIGIN],
    ['null', from('null'), WRONG_ORIGIN],
    ['null, to a host of that name', from('null', 'null'), WRONG_ORIGIN],
    ['another', from('http://evil.example'), WRONG_ORIGIN],
    ['a domain below', from('http://www.chat.example'), WRONG_ORIGIN],
    ['a domain above', from('http://chat.example', 'www.chat.example'), WRONG_ORIGIN],
    ['one that begins alike', from('http://chat.example.evil.example'), WRONG_ORIGIN],
    ['one that ends alike', from('http://evilchat.example'), WRONG_ORIGIN],
    ['with a user', from('http://chat.example@evil.example'), WRONG_ORIGIN],
    ['with the host as a user', from('http://evil.example@chat.example'), WRONG_ORIGIN],
    ['with a user and a password', from('http://a:b@chat.example'), WRONG_ORIGIN],
    ['with a path', from('http://chat.example/chat'), WRONG_ORIGIN],
    ['with a slash', from('http://chat.example/'), WRONG_ORIGIN],
    ['with a query', from('http://chat.example?x'), WRONG_ORIGIN],
    ['with a fragment', from('http://chat.example#x'), WRONG_ORIGIN],
    ['with a backslash', from('http://chat.example\\@evil.example'), WRONG_ORIGIN],
    ['with a dot behind', from('http://chat.example.'), WRONG_ORIGIN],
    ['with a dot behind the host', from('http://chat.example', 'chat.example.'), WRONG_ORIGIN],
    ['in upper case', from('http://CHAT.example'), WRONG_ORIGIN],
    ['a host in upper case', from('http://chat.example', 'CHAT.EXAMPLE'), ACCEPTED],
    ['a scheme in upper case', from('HTTP://chat.example'), WRONG_ORIGIN],
    ['of ws', from('ws://chat.example'), WRONG_ORIGIN],
    ['of ftp', from('ftp://chat.example'), WRONG_ORIGIN],
    ['of a file', from('file://'), WRONG_ORIGIN],
    ['of an extension', from('chrome-extension://chat.example'), WRONG_ORIGIN],
    ['without a scheme', from('chat.example'), WRONG_ORIGIN],
    ['with slashes alone', from('//chat.example'), WRONG_ORIGIN],
    ['with one slash', from('http:/chat.example'), WRONG_ORIGIN],
    ['with three slashes', from('http:///chat.example'), WRONG_ORIGIN],
    ['with its default port', from('http://chat.example:80'), ACCEPTED],
    ['with the default port of the other scheme', from('http://chat.example:443'), WRONG_ORIGIN],
    ['with another port', from('http://chat.example:8080'), WRONG_ORIGIN],
    ['with a port that begins alike', from('http://chat.example:8080', 'chat.example:80'), WRONG_ORIGIN],
    ['with a port of leading zeros', from('http://chat.example:080'), WRONG_ORIGIN],
    ['with an empty port', from('http://chat.example:'), WRONG_ORIGIN],
    ['of https to port 80', from('https://chat.example', 'chat.example:80'), WRONG_ORIGIN],
    ['of the port of the host', from('http://chat.example:3000', 'chat.example:3000'), ACCEPTED],
    ['of IPv6', from('http://[::1]:3000', '[::1]:3000'), ACCEPTED],
    ['of IPv6, written in full', from('http://[0:0:0:0:0:0:0:1]:3000', '[::1]:3000'), WRONG_ORIGIN],
    ['of IPv6 without brackets', from('http://::1', '[::1]'), WRONG_ORIGIN],
    ['of IPv4 as one number', from('http://2130706433', '127.0.0.1'), WRONG_ORIGIN],
    ['of an IDN, in punycode', from('http://xn--mnchen-3ya.example', 'xn--mnchen-3ya.example'), ACCEPTED],
    ['of an IDN, in UTF-8', from('http://mÃ¼nchen.example', 'xn--mnchen-3ya.example'), WRONG_ORIGIN],
    ['of a host with a letter that looks alike', from('http://xn--cht-2qc.example'), WRONG_ORIGIN],
    ['with encoded letters', from('http://ch%61t.example'), WRONG_ORIGIN],
    ['a list', from('http://chat.example http://evil.example'), WRONG_ORIGIN],
    ['a list with a comma', from('http://chat.example, http://chat.example'), WRONG_ORIGIN],
    ['twice', from(['http://chat.example', 'http://chat.example']), WRONG_ORIGIN],
    ['twice, one empty', from(['', 'http://chat.example']), WRONG_ORIGIN],
    ['twice, the other behind', from(['http://chat.example', 'http://evil.example']), WRONG_ORIGIN],
    ['a byte A0 behind', from('http://chat.example\xa0'), WRONG_ORIGIN],
    ['spaces around', from('  http://chat.example\t'), ACCEPTED],
    ['an empty host', from('http://', ''), WRONG_ORIGIN],
    ['that of an untrusted X-Forwarded-Host', from('http://evil.example', 'chat.example', { 'x-forwarded-host': 'evil.example' }), WRONG_ORIGIN],
    ['that of Forwarded', from('http://evil.example', 'chat.example', { forwarded: 'host=evil.example' }), WRONG_ORIGIN],
    ['that of X-Host', from('http://evil.example', 'chat.example', { 'x-host': 'evil.example', 'x-original-host': 'evil.example' }), WRONG_ORIGIN],
    ['that of an absolute target', { path: 'http://evil.example/chat', ...from('http://evil.example') }, WRONG_ORIGIN],
    ['Sec-WebSocket-Origin, as the drafts had it', from(undefined, 'chat.example', { 'sec-websocket-origin': 'http://evil.example' }), ACCEPTED],
    ['Referer of another', from(undefined, 'chat.example', { referer: 'http://evil.example/' }), ACCEPTED],
    ['beside a token that no page can send', from('http://evil.example', 'chat.example', { cookie: undefined, ...AUTHORIZED }), ACCEPTED],
    ['beside a bad cookie: it is asked before the token', from('http://evil.example', 'chat.example', { cookie: `token=${BAD}` }), WRONG_ORIGIN]
  ], { headers: { cookie: `token=${GOOD}` } })
})

t.test('each Origin behind a trusted proxy gets exactly the expected answer', async (t) => {
  const target = await startTarget(t, { server: { trustProxy: '127.0.0.1' } })
  const from = (origin: string, forwarded: string | string[]): RequestSettings =>
    ({ headers: { origin, host: 'inner:3000', 'x-forwarded-host': forwarded, 'x-forwarded-proto': 'https' } })
  tryRows(t, target, [
    ['that of the outer host', from('https://chat.example', 'chat.example'), ACCEPTED],
    ['that of the inner host', from('http://inner:3000', 'chat.example'), WRONG_ORIGIN],
    ['another', from('https://evil.example', 'chat.example'), WRONG_ORIGIN],
    // What the proxy has added is the last; what is before it came from the client.
    ['that of the host that the client adds', from('https://evil.example', 'evil.example, chat.example'), WRONG_ORIGIN],
    ['that of the host in a second header of the client', from('https://evil.example', ['evil.example', 'chat.example']), WRONG_ORIGIN],
    ['that of the list as a whole', from('https://evil.example, chat.example', 'evil.example, chat.example'), WRONG_ORIGIN],
    ['an empty outer host: that of the inner one', from('https://inner:3000', ''), ACCEPTED],
    ['that of the inner host by http, for a request by https', from('http://inner:3000', ''), WRONG_ORIGIN],
    ['with a path in the outer host', from('https://chat.example', 'chat.example/x'), WRONG_ORIGIN]
  ], { headers: { cookie: `token=${GOOD}` } })
})

t.test('each Origin gets exactly the expected answer from a list of origins', async (t) => {
  const target = await startTarget(t, { plugin: { origin: ['https://chat.example', 'http://localhost:3000'] } })
  const from = (origin: string | string[]): RequestSettings => ({ headers: { origin } })
  tryRows(t, target, [
    ['one of it', from('https://chat.example'), ACCEPTED],
    ['another of it', from('http://localhost:3000'), ACCEPTED],
    ['the host', from('http://localhost'), WRONG_ORIGIN],
    ['of http', from('http://chat.example'), WRONG_ORIGIN],
    ['with its default port', from('https://chat.example:443'), WRONG_ORIGIN],
    ['with a slash', from('https://chat.example/'), WRONG_ORIGIN],
    ['in upper case', from('https://Chat.example'), WRONG_ORIGIN],
    ['below', from('https://x.chat.example'), WRONG_ORIGIN],
    ['null', from('null'), WRONG_ORIGIN],
    ['empty', from(''), WRONG_ORIGIN],
    ['twice', from(['https://chat.example', 'https://chat.example']), WRONG_ORIGIN],
    ['two of it in one', from('https://chat.example,http://localhost:3000'), WRONG_ORIGIN],
    ['of an array: length', from('length'), WRONG_ORIGIN],
    ['a bad token from elsewhere', { headers: { origin: 'https://evil.example', authorization: `Bearer ${BAD}` } }, WRONG_ORIGIN]
  ])
})

t.test('each route or token with a name that every object has gets exactly the expected answer', async (t) => {
  const target = await startTarget(t, {
    routes: (app, ran) => {
      addGreeter(app, ran, '/__proto__', true)
      addGreeter(app, ran, '/constructor', true)
      addGreeter(app, ran, '/query', { token: { query: '__proto__' } })
      addGreeter(app, ran, '/query2', { token: { query: 'constructor' } })
      addGreeter(app, ran, '/cookie', { token: { cookie: '__proto__' } })
      addGreeter(app, ran, '/cookie2', { token: { cookie: 'toString' } })
      addGreeter(app, ran, '/subprotocol', { token: { subprotocol: '__proto__' } })
      addGreeter(app, ran, '/header', { token: { header: 'constructor' } })
    }
  })
  const cookie = (value: string): RequestSettings['headers'] => ({ cookie: value })
  tryRows(t, target, [
    ['a route __proto__', { path: '/__proto__', headers: AUTHORIZED }, ACCEPTED],
    ['a route __proto__, without a token', { path: '/__proto__' }, MISSING],
    ['a route constructor', { path: '/constructor', headers: AUTHORIZED }, ACCEPTED],
    ['a route constructor, without a token', { path: '/constructor' }, MISSING],
    ['a route toString, which is not there', { path: '/toString', headers: AUTHORIZED }, NOT_FOUND],
    ['a query parameter __proto__', { path: `/query?__proto__=${GOOD}` }, ACCEPTED],
    ['a query parameter __proto__, missing', { path: '/query' }, MISSING],
    ['a query parameter __proto__, twice', { path: `/query?__proto__=${GOOD}&__proto__=${BAD}` }, AMBIGUOUS],
    ['a query parameter constructor', { path: `/query2?constructor=${GOOD}` }, ACCEPTED],
    ['a query parameter constructor, missing', { path: '/query2' }, MISSING],
    ['a query parameter of another route', { path: `/chat?constructor=${GOOD}` }, MISSING],
    ['a cookie __proto__', { path: '/cookie', headers: cookie(`__proto__=${GOOD}`) }, ACCEPTED],
    ['a cookie __proto__, missing', { path: '/cookie', headers: cookie('a=b') }, MISSING],
    ['a cookie toString', { path: '/cookie2', headers: cookie(`toString=${GOOD}`) }, ACCEPTED],
    ['a cookie toString, missing', { path: '/cookie2', headers: cookie('xtoString=b') }, MISSING],
    ['a subprotocol __proto__', { path: '/subprotocol', headers: { [PROTOCOL]: `__proto__, ${GOOD}` } }, ACCEPTED],
    ['a header constructor', { path: '/header', headers: { constructor: GOOD } }, ACCEPTED],
    ['a header constructor, missing', { path: '/header' }, MISSING],
    ['a header constructor, missing, beside a query', { path: `/header?token=${GOOD}` }, ACCEPTED]
  ], {})
})

t.test('the attack table has all of its rows, each once', async (t) => { assertRows(t, 255) })
