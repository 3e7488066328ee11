/*
 * What exactly is taken out of a request for its tokens, and what is left: of the URL, the subprotocols, the headers and the cookies.
 */
import t from 'tap'
import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { readCredential, readTicket } from '../../lib/credentials/choose'
import { hideAssigned, takeHeaders, takePlainHeaders } from '../../lib/credentials/headers'
import { chooseProtocol } from '../../lib/credentials/subprotocol'
import { takeCredentials } from '../../lib/credentials/take'
import { hideParsed, PARAM_PLACEHOLDER } from '../../lib/credentials/url'
import type { TakenCredentials } from '../../lib/credentials/found'
import { KnownNames } from '../../lib/credentials/known-names'
import type { RouterSettings } from '../../lib/credentials/known-names'
import { WsAuthError } from '../../lib/base/errors'
import type { TokenSources } from '../../lib/options/complete-options'

/** What looks like a JWT and is none. */
const LOOKALIKE = `${Buffer.from('{"alg":"none"}').toString('base64url')}.e30.x`
const BEARER = { name: 'authorization', bearer: true }
const SOURCES: TokenSources = { header: BEARER, subprotocol: 'bearer', query: 'token', cookie: { name: 'token', signed: false }, param: 'token', message: null }

function names (router: RouterSettings = {}): KnownNames {
  const names = new KnownNames(router)
  names.addSources({ token: SOURCES, tickets: { query: 'ticket', require: false } })
  return names
}

/** A request as Node makes it of these. */
function requestOf ({ url = '/chat', headers = {}, version = 1 }: { url?: string, headers?: Record<string, string>, version?: number }): IncomingMessage {
  const rawHeaders = Object.entries(headers).flatMap(([name, value]) => [name.replace(/^./, (letter) => letter.toUpperCase()), value])
  return { url, headers: { ...headers }, rawHeaders, httpVersionMajor: version } as unknown as IncomingMessage
}

/** A request as Fastify makes it, with what Node made. */
function fastifyRequest (raw: IncomingMessage, more: object = {}): FastifyRequest {
  const server = { parseCookie: (header: string) => Object.fromEntries(header.split(';').map((pair) => pair.trim().split('='))) }
  return { raw, server, get headers () { return raw.headers }, ...more } as unknown as FastifyRequest
}

function encoded (token: string): string {
  return Buffer.from(token).toString('base64url')
}

t.test('the pairs with a known name are taken from a query in any spelling, and the rest keeps its place', async (t) => {
  const cases: Array<[url: string, left: string, found: Array<[string, string]>]> = [
    ['/chat', '/chat', []],
    ['/chat?', '/chat?', []],
    ['/chat?&&', '/chat?&&', []],
    ['/chat?a=1&b', '/chat?a=1&b', []],
    ['/chat&token=x', '/chat&token=x', []],
    ['/chat?token=+', '/chat', [['token', ' ']]],
    ['/chat?tokens=x&xtoken=y&Token=z', '/chat?tokens=x&xtoken=y&Token=z', []],
    ['/chat?token=x', '/chat', [['token', 'x']]],
    ['/chat?token', '/chat', [['token', '']]],
    ['/chat?token=', '/chat', [['token', '']]],
    ['/chat?token=a=b', '/chat', [['token', 'a=b']]],
    ['/chat?token=x&a=1', '/chat?a=1', [['token', 'x']]],
    ['/chat?a=1&token=x', '/chat?a=1', [['token', 'x']]],
    ['/chat?a=1&token=x&b=2', '/chat?a=1&b=2', [['token', 'x']]],
    ['/chat?token=x&token=y', '/chat', [['token', 'x'], ['token', 'y']]],
    ['/chat?token=x&&a=1', '/chat?&a=1', [['token', 'x']]],
    ['/chat?&token=x', '/chat?', [['token', 'x']]],
    ['/chat?token=x&', '/chat?', [['token', 'x']]],
    ['/chat?ticket=x&a=1&token=y', '/chat?a=1', [['ticket', 'x'], ['token', 'y']]],
    ['/chat?a=1#token=x', '/chat?a=1', [['token', 'x']]],
    ['/chat?a=1#token=x#b=2', '/chat?a=1#b=2', [['token', 'x']]],
    ['/chat#token=x', '/chat', [['token', 'x']]],
    ['/chat#token=x&a=1', '/chat#a=1', [['token', 'x']]],
    ['/chat?%74oken=x', '/chat', [['token', 'x']]],
    ['/chat?token=%78+y', '/chat', [['token', 'x y']]],
    ['/chat?token=a%2Bb', '/chat', [['token', 'a+b']]],
    ['/chat?token=x+y', '/chat', [['token', 'x y']]],
    ['/chat?token=%zz+', '/chat', [['token', '%zz+']]],
    ['/chat?a=%zz&token=x', '/chat?a=%zz', [['token', 'x']]]
  ]
  for (const [url, left, found] of cases) {
    const request = requestOf({ url })
    const taken = takeCredentials(request, names())
    t.equal(request.url, left, url)
    t.strictSame(taken.query.map(({ name, token }) => [name, token]), found, url)
    t.strictSame([taken.lookalikes, taken.param, taken.subprotocol, taken.hasValidProtocols], [[], null, [], true], url)
  }
})

t.test('a query begins at the delimiter of the router', async (t) => {
  const request = requestOf({ url: '/chat;token=x&a=1' })
  t.strictSame(takeCredentials(request, names()).query, [])
  t.strictSame(takeCredentials(request, names({ useSemicolonDelimiter: true })).query, [{ name: 'token', token: 'x' }])
  t.equal(request.url, '/chat;a=1')
})

t.test('the value of another parameter that looks like a JWT is replaced, and the parameter stays', async (t) => {
  const cases: Array<[url: string, left: string, lookalikes: string[]]> = [
    [`/chat?jwt=${LOOKALIKE}`, '/chat?jwt=redacted', ['jwt']],
    [`/chat?a=1&access_token=Bearer%20${LOOKALIKE}&b=2`, '/chat?a=1&access_token=redacted&b=2', ['access_token']],
    [`/chat?j%77t=${LOOKALIKE}#id=${LOOKALIKE}`, '/chat?j%77t=redacted#id=redacted', ['jwt', 'id']],
    [`/chat?${LOOKALIKE}`, `/chat?${LOOKALIKE}`, []],
    ['/chat?a=1.2.3&b=e30', '/chat?a=1.2.3&b=e30', []]
  ]
  for (const [url, left, lookalikes] of cases) {
    const request = requestOf({ url })
    const taken = takeCredentials(request, names())
    t.equal(request.url, left, url)
    t.strictSame([taken.query, taken.lookalikes], [[], lookalikes], url)
  }
  const request = requestOf({ url: `/chat?token=x&jwt=${LOOKALIKE}` })
  t.match(takeCredentials(request, names()), { query: [{ name: 'token', token: 'x' }], lookalikes: ['jwt'] })
  t.equal(request.url, '/chat?jwt=redacted')
  const offering = requestOf({ url: `/chat?jwt=${LOOKALIKE}`, headers: { 'sec-websocket-protocol': 'chat' } })
  t.match(takeCredentials(offering, names()), { query: [], lookalikes: ['jwt'], subprotocol: [], hasValidProtocols: true })
})

t.test('the token is taken from a path if a route has it there, and a plus sign stays a plus sign', async (t) => {
  const withParam = names()
  withParam.addRoute({ method: 'GET', url: '/rooms/:token' }, 'token')
  for (const [path, token] of [['x', 'x'], ['a%2Fb', 'a/b'], ['a+b', 'a+b'], ['a%2Bb', 'a+b'], ['%zz', '%zz']] as const) {
    const request = requestOf({ url: `/rooms/${path}?a=1` })
    t.strictSame(takeCredentials(request, withParam).param, { name: 'token', token }, path)
    t.equal(request.url, '/rooms/-?a=1')
  }
  const other = requestOf({ url: '/other/x' })
  t.equal(takeCredentials(other, withParam).param, null)
  t.equal(other.url, '/other/x')
  const off = requestOf({ url: '/rooms/x' })
  t.equal(takeCredentials(off, names()).param, null)
  t.equal(off.url, '/rooms/x')
})

t.test('the entry after the marker and the encoded entry are taken from the subprotocols, and the list is reported as valid or not', async (t) => {
  const cases: Array<[header: string, left: string, tokens: string[], isValid: boolean]> = [
    ['chat', 'chat', [], true],
    ['bearer, x', 'bearer', ['x'], true],
    ['bearer,x', 'bearer', ['x'], true],
    ['bearer \t,\t x ', 'bearer', ['x'], true],
    ['bearer, x, chat', 'bearer, chat', ['x'], true],
    ['chat, bearer, x', 'chat, bearer', ['x'], true],
    ['bearer', 'bearer', [], true],
    ['Bearer, x', 'Bearer, x', [], true],
    [`chat, base64url.bearer.${encoded('a b')}`, 'chat', ['a b'], true],
    [`bearer, base64url.bearer.${encoded('a b')}`, 'bearer', ['a b'], true],
    [`bearer, base64url.other.${encoded('a')}`, 'bearer', [`base64url.other.${encoded('a')}`], true],
    [`chat, base64url.other.${encoded('a')}`, `chat, base64url.other.${encoded('a')}`, [], true],
    ['chat, base64url.bearer', 'chat, base64url.bearer', [], true],
    ['chat, xbase64url.bearer.eA', 'chat, xbase64url.bearer.eA', [], true],
    [`base64url.bearer.${encoded('a')}`, '', ['a'], false],
    ['chat, chat', 'chat, chat', [], false],
    ['bearer, x, x', 'bearer, x', ['x'], false],
    ['chat,', 'chat,', [], false],
    ['', '', [], false],
    ['cha t', 'cha t', [], false],
    ['bearer, x y, chat', 'bearer, chat', ['x y'], false],
    ['chat, \u00a0b', 'chat, \u00a0b', [], false]
  ]
  for (const [header, left, tokens, isValid] of cases) {
    const request = requestOf({ headers: { host: 'a', 'sec-websocket-protocol': header } })
    const taken = takeCredentials(request, names())
    t.strictSame(taken.subprotocol.map(({ name, token }) => [name, token]), tokens.map((token) => ['bearer', token]), header)
    t.equal(taken.hasValidProtocols, isValid, `${header} is ${isValid ? '' : 'no '}valid list`)
    t.equal(request.headers['sec-websocket-protocol'] ?? '', left, header)
    t.equal(request.rawHeaders[3], left, `${header}, raw`)
    t.strictSame([request.headers.host, request.rawHeaders[1]], ['a', 'a'])
  }
})

t.test('the token is also taken from the :path header over HTTP/2', async (t) => {
  for (const version of [1, 2]) {
    const request = requestOf({ url: '/chat?token=x', headers: { ':path': '/chat?token=x' }, version })
    takeCredentials(request, names())
    t.strictSame([request.url, request.headers[':path'], request.rawHeaders], version === 2 ? ['/chat', '/chat', [':path', '/chat']] : ['/chat', '/chat?token=x', [':path', '/chat?token=x']])
  }
})

t.test('the first subprotocol of the app is chosen, and a marker or ws-auth only if nothing else is offered', async (t) => {
  const choose = (...offered: string[]): string | false => chooseProtocol(new Set(offered), new Set(['bearer']), undefined)
  t.equal(choose('ws-auth', 'bearer', 'chat', 'other'), 'chat')
  t.equal(choose('bearer', 'ws-auth'), 'bearer')
  t.equal(choose('ws-auth', 'bearer'), 'ws-auth')
  t.equal(choose('ws-auths', 'chat'), 'ws-auths')
  t.equal(choose(), false)
  t.equal(chooseProtocol(new Set(['chat']), new Set(), 'the app\'s'), 'the app\'s')
})

t.test('a header that was sent twice is left once, and other headers stay unchanged', async (t) => {
  const request = requestOf({ headers: { 'sec-websocket-protocol': 'bearer, x, chat' } })
  request.rawHeaders.push('SEC-WEBSOCKET-PROTOCOL', 'y', 'sec-websocket-protocoL2', 'z', 'X-Websocket-Protocol22', 'z')
  takeCredentials(request, names())
  t.strictSame(request.rawHeaders, ['Sec-websocket-protocol', 'bearer, chat', 'SEC-WEBSOCKET-PROTOCOL', '', 'sec-websocket-protocoL2', 'z', 'X-Websocket-Protocol22', 'z'])
})

t.test('a token of the Authorization header is taken if its scheme is Bearer, in any case', async (t) => {
  const cases: Array<[value: string, token: string | null]> = [
    ['Bearer x', 'x'], ['bearer x', 'x'], ['BEARER \t x \t', 'x'], ['Bearer', null], ['Bearer ', ''], ['Bearerx', null], ['Basic x', null], ['xBearer y', null], ['Bearer x y', 'x y'], ['', null]
  ]
  for (const [value, token] of cases) {
    const raw = requestOf({ headers: { authorization: value, host: 'a' } })
    const { header, cookie } = takeHeaders(fastifyRequest(raw), SOURCES)
    t.strictSame(header, token === null ? [] : [{ name: '', token }], value)
    t.strictSame(cookie, [])
    t.equal(raw.headers.authorization, token === null ? value : undefined, `${value} is left or taken`)
    t.equal(Object.hasOwn(raw.headers, 'authorization'), token === null)
    t.strictSame(raw.rawHeaders, ['Authorization', token === null ? value : '', 'Host', 'a'])
  }
})

t.test('the object of the headers has no token after the reading, also over HTTP/2', async (t) => {
  for (const version of [1, 2]) {
    const raw = requestOf({ headers: { authorization: 'Bearer x', host: 'a' }, version })
    const { headers } = raw
    raw.headersDistinct = { authorization: ['Bearer x'] }
    takeHeaders(fastifyRequest(raw), SOURCES)
    t.equal(headers.authorization, undefined)
    t.equal(raw.headers === headers, version === 2, 'Node has a getter alone for those of HTTP/2')
    t.strictSame({ ...raw.headers }, { host: 'a' })
    t.equal(raw.headersDistinct, undefined, 'it is made anew')
  }
})

t.test('a header of another name is a token as a whole, and a header that is missing or off is none', async (t) => {
  const own = { ...SOURCES, header: { name: 'x-token', bearer: false } }
  const raw = requestOf({ headers: { 'x-token': ' Bearer x ' } })
  t.strictSame(takeHeaders(fastifyRequest(raw), own).header, [{ name: '', token: 'Bearer x' }])
  t.notOk(Object.hasOwn(raw.headers, 'x-token'))
  const rest = requestOf({ headers: { authorization: 'Bearer x' } })
  t.strictSame(takeHeaders(fastifyRequest(rest), own).header, [])
  t.strictSame(takeHeaders(fastifyRequest(rest), { ...SOURCES, header: null }).header, [])
  t.strictSame(takeHeaders(fastifyRequest(rest), { ...SOURCES, header: { name: 'constructor', bearer: false } }).header, [])
  t.equal(rest.headers.authorization, 'Bearer x')
})

t.test('two Authorization headers are two tokens, with any scheme', async (t) => {
  for (const value of ['Bearer x', 'Basic x']) {
    const raw = requestOf({ headers: { authorization: value } })
    raw.rawHeaders.push('AUTHORIZATION', 'Bearer y')
    const taken = takeHeaders(fastifyRequest(raw), SOURCES)
    t.equal(taken.header.length, 2)
    t.throws(() => readCredential(fastifyRequest(raw), SOURCES, takeCredentials(raw, names()), taken, null), { code: 'WS_AUTH_TOKEN_AMBIGUOUS' })
    t.notOk(Object.hasOwn(raw.headers, 'authorization'))
  }
  const none = { ...requestOf({ headers: { authorization: 'Bearer x' } }), rawHeaders: undefined } as unknown as IncomingMessage
  t.equal(takeHeaders(fastifyRequest(none), SOURCES).header.length, 1, 'injectWS has no list of what was sent')
})

t.test('the cookies of the name are taken, and the others are left as they were sent', async (t) => {
  const cases: Array<[header: string, left: string, count: number]> = [
    ['token=x', '', 1], ['a=1; token=x', 'a=1', 1], ['token=x; a=1', 'a=1', 1], ['a=1; token=x; b=2', 'a=1; b=2', 1], [' token =x;a=1', 'a=1', 1],
    ['token=x; token=y', '', 2], ['tokens=x; xtoken=y; Token=z', 'tokens=x; xtoken=y; Token=z', 0], ['token', 'token', 0], ['tokenx', 'tokenx', 0], ['a=token', 'a=token', 0], ['a=1', 'a=1', 0]
  ]
  for (const [header, left, count] of cases) {
    const raw = requestOf({ headers: { cookie: header } })
    const { cookie } = takeHeaders(fastifyRequest(raw), SOURCES)
    t.equal(cookie.length, count, header)
    t.equal(raw.headers.cookie ?? '', left, header)
    t.equal(raw.rawHeaders[1], left, header)
  }
  for (const cookie of [null, undefined]) t.strictSame(takeHeaders(fastifyRequest(requestOf({ headers: { cookie: 'token=x' } })), { ...SOURCES, cookie }).cookie, [])
  t.strictSame(takeHeaders(fastifyRequest(requestOf({})), SOURCES).cookie, [])
})

t.test('the parsed cookies count, and lose the token', async (t) => {
  const request = fastifyRequest(requestOf({ headers: { cookie: 'token=x; a=1' } }), { cookies: { token: 'parsed', a: '1' } })
  t.strictSame(takeHeaders(request, SOURCES).cookie, [{ name: '', token: 'parsed' }])
  t.strictSame(request.cookies, { a: '1' })
  const gone = fastifyRequest(requestOf({ headers: { cookie: 'token=x' } }), { cookies: {} })
  t.strictSame(takeHeaders(gone, SOURCES).cookie, [{ name: '', token: '' }], 'the app has taken it')
  const unparsed = fastifyRequest(requestOf({ headers: { cookie: 'token=x; a=1' } }), { cookies: null })
  t.strictSame(takeHeaders(unparsed, SOURCES).cookie, [{ name: '', token: 'x' }])
  const own = { token: 'of the app', xtoken: 'y' }
  const other = fastifyRequest(requestOf({ headers: { cookie: 'xtoken=y' } }), { cookies: own })
  t.strictSame(takeHeaders(other, SOURCES).cookie, [])
  t.equal(other.cookies, own, 'what the client did not send is the app\'s')
  t.strictSame(own, { token: 'of the app', xtoken: 'y' })
  t.equal(unparsed.cookies, null, 'nobody has parsed them, and nobody will believe that somebody had')
})

t.test('the Authorization header counts once in a dry run, beside the header of the app', async (t) => {
  const own = { ...SOURCES, header: { name: 'x-token', bearer: false } }
  const headers = { authorization: 'Bearer x', 'x-token': 'y', cookie: 'token=z' }
  t.strictSame(takePlainHeaders(fastifyRequest(requestOf({ headers })), own), { header: [{ name: '', token: 'y' }, { name: '', token: 'x' }], cookie: [{ name: '', token: 'z' }] })
  t.strictSame(takePlainHeaders(fastifyRequest(requestOf({ headers })), { ...SOURCES, header: null }).header, [{ name: '', token: 'x' }])
  t.strictSame(takePlainHeaders(fastifyRequest(requestOf({ headers })), SOURCES).header, [{ name: '', token: 'x' }])
})

t.test('headers that the app has assigned lose the tokens, and other headers stay', async (t) => {
  const assigned = { authorization: 'Bearer x', cookie: 'a=1; token=y; b=2', 'x-other': 'z' }
  const hide = (headers: object, sources: TokenSources): unknown => {
    const request = { raw: { headers: {} }, headers } as unknown as FastifyRequest
    hideAssigned(request, sources)
    return request.headers
  }
  t.strictSame(hide(assigned, SOURCES), { cookie: 'a=1; b=2', 'x-other': 'z' })
  t.strictSame(assigned.authorization, 'Bearer x', 'the object is the app\'s')
  t.strictSame(hide({ authorization: 'Basic x', cookie: 'a=1' }, SOURCES), { authorization: 'Basic x', cookie: 'a=1' })
  t.strictSame(hide({ cookie: 'token=x' }, SOURCES), {})
  t.strictSame(hide({ cookie: 'token=x; a=1' }, SOURCES), { cookie: 'a=1' })
  t.strictSame(hide({ authorization: 'Bearer' }, SOURCES), {})
  t.strictSame(hide({ authorization: 'Bearerx y' }, SOURCES), { authorization: 'Bearerx y' })
  t.strictSame(hide({ 'x-token': 'x', authorization: 'Bearer x' }, { ...SOURCES, header: { name: 'x-token', bearer: false } }), { authorization: 'Bearer x' })
  t.strictSame(hide(assigned, { ...SOURCES, header: null, cookie: null }), assigned)
  t.strictSame(hide({ cookie: ['token=x'] }, SOURCES), { cookie: ['token=x'] })
  const raw = { headers: { authorization: 'Bearer x' } }
  const same = { raw, headers: raw.headers } as unknown as FastifyRequest
  hideAssigned(same, SOURCES)
  t.equal(same.headers, raw.headers, 'where nothing was assigned nothing is copied')
})

const NOTHING: TakenCredentials = { query: [], lookalikes: [], param: null, subprotocol: [], hasValidProtocols: true }

/** The token and the place that count, or the code and the cause of the refusal. */
function read (taken: Partial<TakenCredentials>, headers: { header?: string[], cookie?: string[] } = {}, sources: TokenSources = SOURCES, ticket: string | null = null, request = {}): string {
  const list = (tokens: string[] = []): Array<{ name: string, token: string }> => tokens.map((token) => ({ name: '', token }))
  try {
    const one = readCredential(request as FastifyRequest, sources, { ...NOTHING, ...taken }, { header: list(headers.header), cookie: list(headers.cookie) }, ticket === null ? null : { token: ticket, source: 'ticket' })
    return one === null ? 'none' : `${one.source} ${one.token}`
  } catch (error) {
    if (!(error instanceof WsAuthError)) throw error
    return `${error.code}: ${String(error.cause)}`
  }
}

t.test('only one place may carry a token on purpose, and a cookie counts if none does', async (t) => {
  const query = [{ name: 'token', token: 'q' }]
  const subprotocol = [{ name: 'bearer', token: 's' }]
  const param = { name: 'token', token: 'p' }
  t.equal(read({}), 'none')
  t.equal(read({}, { header: ['h'] }), 'header h')
  t.equal(read({ query }), 'query q')
  t.equal(read({ subprotocol }), 'subprotocol s')
  t.equal(read({ param }), 'param p')
  t.equal(read({}, { cookie: ['c'] }), 'cookie c')
  t.equal(read({}, {}, SOURCES, 't'), 'ticket t')
  t.equal(read({}, { cookie: ['c'] }, SOURCES, 't'), 'ticket t')
  t.equal(read({}, { header: ['h'], cookie: ['c', 'd'] }), 'header h')
  const ambiguous = 'WS_AUTH_TOKEN_AMBIGUOUS'
  t.equal(read({ query }, {}, SOURCES, 't'), `${ambiguous}: one in ticket, another in query`)
  t.equal(read({ query }, { header: ['h'] }), `${ambiguous}: one in header, another in query`)
  t.equal(read({ query, subprotocol }), `${ambiguous}: one in query, another in subprotocol`)
  t.equal(read({ subprotocol, param }), `${ambiguous}: one in subprotocol, another in param`)
  t.equal(read({}, { header: ['h', 'h'] }), `${ambiguous}: more than one in header authorization`)
  t.equal(read({ query: [...query, ...query] }), `${ambiguous}: more than one in query token`)
  t.equal(read({}, { cookie: ['c', ''] }), `${ambiguous}: more than one in cookie token`)
  t.equal(read({ query: [{ name: 'token', token: '' }] }, { cookie: ['c'] }), 'cookie c', 'an empty one is none')
  t.equal(read({}, { cookie: [''] }), 'none')
})

t.test('a token in a place that the route does not use is ignored', async (t) => {
  const taken: Partial<TakenCredentials> = { query: [{ name: 'token', token: 'q' }], subprotocol: [{ name: 'bearer', token: 's' }], param: { name: 'token', token: 'p' } }
  const off: TokenSources = { ...SOURCES, query: null, subprotocol: null, param: null }
  t.equal(read(taken, {}, off), 'none')
  t.equal(read(taken, {}, { ...off, query: 'other', subprotocol: 'other', param: 'other' }), 'none')
  t.equal(read(taken, {}, { ...off, query: 'token' }), 'query q')
})

t.test('a signed cookie is read if its signature is right, and is refused if not', async (t) => {
  const signed: TokenSources = { ...SOURCES, cookie: { name: 'token', signed: true } }
  const request = { unsignCookie: (value: string) => value.endsWith('.good') ? { valid: true, value: value.slice(0, -5) } : { valid: false, value: null } }
  t.equal(read({}, { cookie: ['x.good'] }, signed, null, request), 'cookie x')
  t.equal(read({}, { cookie: ['x.bad'] }, signed, null, request), 'WS_AUTH_TOKEN_INVALID: the signature of the cookie is wrong')
  t.equal(read({}, { cookie: ['x.good'] }, SOURCES, null, request), 'cookie x.good')
  t.equal(read({}, {}, signed, null, request), 'none')
})

t.test('a ticket is read from its parameter, once, and not if tickets are off', async (t) => {
  const taken: TakenCredentials = { ...NOTHING, query: [{ name: 'token', token: 'x' }, { name: 'ticket', token: 'y' }] }
  t.strictSame(readTicket(taken, 'ticket'), { token: 'y', source: 'ticket' })
  t.equal(readTicket(taken, null), null)
  t.equal(readTicket(taken, 'other'), null)
  t.throws(() => readTicket({ ...NOTHING, query: [...taken.query, ...taken.query] }, 'ticket'), { code: 'WS_AUTH_TOKEN_AMBIGUOUS' })
})

t.test('the parsed query and parameters of a dry run lose the tokens', async (t) => {
  const request = { query: { token: 'x', jwt: LOOKALIKE, a: '1' }, params: { token: 'p', room: '7' } } as unknown as FastifyRequest
  hideParsed(request, { ...NOTHING, query: [{ name: 'token', token: 'x' }], lookalikes: ['jwt'], param: { name: 'token', token: 'p' } })
  t.strictSame([request.query, request.params], [{ jwt: 'redacted', a: '1' }, { token: PARAM_PLACEHOLDER, room: '7' }])
  const whole = { query: { a: '1' }, params: { token: 'p' } } as unknown as FastifyRequest
  hideParsed(whole, NOTHING)
  t.strictSame([whole.query, whole.params], [{ a: '1' }, { token: 'p' }])
})
