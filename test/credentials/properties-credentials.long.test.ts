/*
 * Properties of the reading of credentials: for any URL, any subprotocols, any headers. What is found is compared with
 * what slow readers find that are written here after the standards; what is left is everything else, byte for byte.
 */
import assert from 'node:assert/strict'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import Fastify from 'fastify'
import fc from 'fast-check'
import type { Arbitrary } from 'fast-check'
import t from 'tap'
import { takeCredentials } from '../../lib/credentials/take'
import { KnownNames } from '../../lib/credentials/known-names'
import { findParam, parseRoutePath } from '../../lib/credentials/route-path'
import { start } from '../helpers/app'
import { anyCase, holds, holdsAsync, httpToken, jwtLike, optionalWhitespace, percentEncodings, unicode } from '../helpers/arbitraries'
import { plainText, RawClient, requestText } from '../helpers/raw-client'

const QUERY_NAMES = ['token', 'access_token', 'tö ken']
const MARKERS = ['bearer', 'jwt']

function namesOf (): KnownNames {
  const names = new KnownNames()
  for (const name of QUERY_NAMES) names.query.add(name)
  for (const marker of MARKERS) names.subprotocol.add(marker)
  return names
}

function requestOf (url: string, protocols?: string): IncomingMessage {
  const request = new IncomingMessage(new Socket())
  const headers = protocols === undefined ? [] : ['Sec-WebSocket-Protocol', protocols]
  return Object.assign(request, { url, rawHeaders: headers, headers: Object.fromEntries(protocols === undefined ? [] : [['sec-websocket-protocol', protocols]]) })
}

/** The text of a name or a value of a form (WHATWG URL, 5.1); as it is where it is none. */
function formText (text: string): string {
  const bytes: number[] = []
  for (let i = 0; i < text.length; i++) {
    const character = text.charAt(i)
    if (character === '%') {
      const hex = text.slice(i + 1, i + 3)
      if (!/^[0-9a-f]{2}$/i.test(hex)) return text
      bytes.push(parseInt(hex, 16))
      i += 2
    } else {
      bytes.push(...Buffer.from(character === '+' ? ' ' : character))
    }
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(bytes))
  } catch {
    return text
  }
}

/** What of a query counts, and what is left of it. */
function readQuery (query: string): { found: Array<{ name: string, token: string }>, rest: string[] } {
  const found: Array<{ name: string, token: string }> = []
  const rest: string[] = []
  for (const piece of query.split(/[&#]/)) {
    const [name = '', ...value] = piece.split('=')
    if (QUERY_NAMES.includes(formText(name))) found.push({ name: formText(name), token: formText(value.join('=')) })
    else if (piece !== '') rest.push(piece)
  }
  return { found, rest }
}

/** What Node lets through in a request line. */
const urlText = fc.string({ unit: fc.constantFrom(...'token=&=&?#%+;/:@ab0%2%74%6f%zz%c3%b6\xE9\xFF'), maxLength: 12 })
const queryName = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...QUERY_NAMES).chain(percentEncodings) },
  fc.constantFrom('Token', 'tokens', 'toke', ' token', 'token%00', 'tok%65n%', 'token%3D', '%', 't%C3%B6+ken', 't%F6+ken', '').chain((name) => fc.constantFrom(name, encodeURIComponent(name))),
  urlText
)
const queryValue = fc.oneof(unicode.chain(percentEncodings), jwtLike, urlText, fc.constantFrom('', '%ff', 'a%2', '+'))
const queryPiece = fc.tuple(queryName, fc.constantFrom('=', '=', '=', '', '=='), queryValue, fc.constantFrom('&', '&', '&', '#', '&&')).map((parts) => parts.join(''))
const path = fc.constantFrom('/', '/chat', '/chat/', '//', '/a%20b', '*', 'http://host/chat')

t.test('exactly the tokens of a query are found, and all other parts keep their place', async (t) => {
  holds(fc.property(path, fc.constantFrom('?', '#'), fc.array(queryPiece, { maxLength: 6 }), (path, start, pieces) => {
    const query = pieces.join('')
    const request = requestOf(`${path}${start}${query}`)
    const { query: found } = takeCredentials(request, namesOf())
    const expected = readQuery(query)
    assert.deepEqual(found, expected.found)
    const left = request.url ?? ''
    if (found.length === 0) return assert.equal(left, `${path}${start}${query}`)
    assert.ok(left === path || left.startsWith(`${path}${start}`), 'the path is as it was')
    assert.deepEqual(left.slice(path.length + 1).split(/[&#]/).filter((piece) => piece !== ''), expected.rest)
  }), 4000)
  t.pass()
})

t.test('the tokens of a well-formed query are those that URLSearchParams finds', async (t) => {
  const pair = fc.tuple(fc.oneof(fc.constantFrom(...QUERY_NAMES), unicode), unicode)
  const encoded = pair.chain(([name, value]) => fc.tuple(percentEncodings(name), percentEncodings(value)).map((parts) => parts.join('=')))
  holds(fc.property(fc.array(encoded, { maxLength: 5 }), (pieces) => {
    const request = requestOf(`/?${pieces.join('&')}`)
    const all = [...new URLSearchParams(pieces.join('&'))]
    const { query } = takeCredentials(request, namesOf())
    assert.deepEqual(query.map(({ name, token }) => [name, token]), all.filter(([name]) => QUERY_NAMES.includes(name)))
    assert.deepEqual([...new URLSearchParams(request.url?.slice(2) ?? '')], all.filter(([name]) => !QUERY_NAMES.includes(name)))
  }), 2000)
  t.pass()
})

t.test('a second reading of a URL finds nothing and changes nothing', async (t) => {
  holds(fc.property(path, fc.array(fc.oneof(queryPiece, urlText), { maxLength: 6 }), (path, pieces) => {
    const request = requestOf(`${path}?${pieces.join('')}`)
    takeCredentials(request, namesOf())
    const { url } = request
    assert.deepEqual(takeCredentials(request, namesOf()).query, [])
    assert.equal(request.url, url)
  }), 2000)
  t.pass()
})

t.test('no token of a query stays in the URL, in any spelling', async (t) => {
  // A token that nothing else looks like: what is found of it is a trace.
  const canary = fc.stringMatching(/^<canary [a-z]{8} é😀>$/)
  holds(fc.property(canary.chain((token) => fc.tuple(fc.constant(token), fc.array(fc.tuple(fc.constantFrom(...QUERY_NAMES).chain(percentEncodings), percentEncodings(token)), { minLength: 1, maxLength: 3 }), fc.array(queryPiece, { maxLength: 3 }))), ([token, tokens, others]) => {
    const request = requestOf(`/chat?${[...others, ...tokens.map((pair) => pair.join('='))].join('&')}`)
    const { query } = takeCredentials(request, namesOf())
    assert.equal(query.filter((found) => found.token === token).length, tokens.length)
    for (let url = request.url ?? '', next = ''; url !== next; next = url, url = formText(url)) assert.doesNotMatch(url, /canary/)
  }), 1000)
  t.pass()
})

/** RFC 9110, 5.6.2 and 5.6.1.1; each once (RFC 6455, 4.1). */
function isProtocolList (header: string): boolean {
  const entries = header.split(',').map((entry) => entry.replace(/^[ \t]+|[ \t]+$/g, ''))
  const isToken = (entry: string): boolean => entry !== '' && [...entry].every((character) => /[0-9A-Za-z]/.test(character) || '!#$%&\'*+-.^_`|~'.includes(character))
  return entries.every(isToken) && new Set(entries).size === entries.length
}

const protocolEntry = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...MARKERS) },
  { weight: 3, arbitrary: httpToken },
  { weight: 2, arbitrary: fc.tuple(fc.constantFrom(...MARKERS, 'other', 'Bearer'), unicode).map(([marker, token]) => `base64url.${marker}.${Buffer.from(token).toString('base64url')}`) },
  fc.constantFrom('Bearer', 'bearers', 'base64url', 'base64url.bearer', 'base64url.bearer.', 'base64url..YQ', 'base64url.bearer.YQ.YQ', 'Base64url.bearer.YQ', '', '"bearer"', 'bea rer', '\xA0bearer', 'chat\xA0', '\x85', '\xFF', 'é'),
  fc.string({ unit: fc.integer({ min: 0x20, max: 0xFF }).map((code) => String.fromCharCode(code)), maxLength: 6 })
)
const protocolList = fc.array(fc.tuple(optionalWhitespace, protocolEntry, optionalWhitespace).map((parts) => parts.join('')), { minLength: 1, maxLength: 5 }).map((entries) => entries.join(','))

t.test('exactly the tokens of the subprotocols are found, and the other entries keep their order', async (t) => {
  holds(fc.property(protocolList, (header) => {
    const request = requestOf('/', header)
    const { subprotocol, hasValidProtocols } = takeCredentials(request, namesOf())
    const expected: Array<{ name: string, token: string }> = []
    const rest: string[] = []
    let before = ''
    for (const entry of header.split(',').map((entry) => entry.replace(/^[ \t]+|[ \t]+$/g, ''))) {
      const [form, name = '', ...encoded] = entry.split('.')
      const isEncoded = form === 'base64url' && MARKERS.includes(name) && encoded.length > 0
      if (MARKERS.includes(before) && !(isEncoded && name === before)) expected.push({ name: before, token: entry })
      else if (isEncoded) expected.push({ name, token: Buffer.from(encoded.join('.'), 'base64url').toString() })
      else rest.push(entry)
      before = entry
    }
    assert.deepEqual(subprotocol, expected)
    assert.equal(hasValidProtocols, isProtocolList(header) && rest.length > 0, 'RFC 6455, 4.1')
    const left = request.headers['sec-websocket-protocol']
    if (expected.length === 0) assert.equal(left, header)
    else assert.equal(left, rest.join(', ') || undefined)
    assert.deepEqual(request.rawHeaders, ['Sec-WebSocket-Protocol', left ?? ''])
  }), 4000, [['chat\xA0'], ['\xA0bearer,x']])
  t.pass()
})

const MAX_PARAM_LENGTH = 1000
const STRICT = { ignoreTrailingSlash: false, ignoreDuplicateSlashes: false }

t.test('a token in a path is found where the router of Fastify finds it, and nowhere else', async (t) => {
  const segment = fc.constantFrom('rooms', 'a', 'b', ':id', ':token', ':token', ':token', ':id(^\\d+$)', ':name.json', ':one-:two')
  const route = fc.tuple(fc.uniqueArray(segment, { minLength: 1, maxLength: 4 }), fc.constantFrom('', '', '', '/*', '/:token?', '/:last?')).filter(([segments, end]) => end !== '/:token?' || !segments.includes(':token')).map(([segments, end]) => `/${segments.join('/')}${end}`)
  const text = fc.oneof(fc.constantFrom('rooms', 'a', 'b', 'ab', '7', 'x.json', 'x-y'), jwtLike, unicode.filter((text) => text !== '' && text.isWellFormed()))
  const part = fc.option(text, { freq: 8, nil: '' }).chain((text) => fc.constantFrom(encodeURIComponent(text), [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')))
  const query = fc.constantFrom('', '', '/', '?token=x', '#/token', '/?a=/b/c')
  const slashesOf = fc.record({ ignoreTrailingSlash: fc.boolean(), ignoreDuplicateSlashes: fc.boolean() })
  await holdsAsync(fc.asyncProperty(fc.uniqueArray(route, { minLength: 1, maxLength: 5 }), fc.array(fc.tuple(fc.array(part, { minLength: 1, maxLength: 4 }), query), { minLength: 1, maxLength: 10 }), slashesOf, async (routes, requests, slashes) => {
    // `inject` would write the URL anew.
    let url = ''
    const app = Fastify({ routerOptions: { maxParamLength: MAX_PARAM_LENGTH, ...slashes }, rewriteUrl: () => url })
    try {
      for (const route of routes) app.get(route, async ({ params }) => ({ url: route, params }))
    } catch {
      // Two of them are one, by other names of their parameters.
      fc.pre(false)
    }
    const paths = routes.map((route) => parseRoutePath(route, 'token', MAX_PARAM_LENGTH))
    for (const [parts, query] of requests) {
      url = `/${parts.join('/')}${query}`
      const { statusCode, body } = await app.inject('/')
      const found = findParam(url, paths, /[?#]/, slashes)
      const token = found === null ? '' : decodeURIComponent(url.slice(found.start, found.end))
      if (statusCode !== 200) continue
      const reached = JSON.parse(body)
      // What would go to a route for everything because of a slash too many may be taken out all the same.
      if (reached.url.endsWith('*') && reached.params.token === undefined && /\/(?:\/|$)/.test(url.split(/[?#]/, 1)[0] ?? '')) continue
      assert.equal(token, reached.params.token ?? '', `${url} leads to ${reached.url}`)
    }
    await app.close()
  }), 200, [
    [['/:token/:last?'], [[['a.b.c'], '']], STRICT],
    [['/:token/b/:id'], [[['a.b.c', 'b'], '/']], STRICT],
    [['/:token/a/:id'], [[['a.b.c', 'a', ''], '']], STRICT],
    [['/:id', '/:token/*'], [[['a.b.c'], '']], STRICT],
    [['/:id(^\\d?$)/:token?'], [[['7', 'a.b.c'], '']], STRICT]
  ])
  t.pass()
})

interface Sent {
  readonly isDryRun: boolean
  readonly route: '/chat' | '/own' | '/room'
  readonly param: string
  readonly query: ReadonlyArray<{ name: 'token' | 'access_token' | 'ticket' | 'other', value: string, text: string }>
  readonly authorization: readonly string[]
  readonly own: readonly string[]
  readonly cookies: ReadonlyArray<{ name: 'token' | 'sid' | 'other', value: string, text: string }>
  readonly protocols: ReadonlyArray<{ marker: 'bearer' | 'jwt' | null, token: string, entries: string[] }>
}

const SPOKEN_OF = /^(?:authorization|x-own|cookie|sec-websocket-protocol)$/i

/** What each route calls its sources. */
const SOURCES = {
  '/chat': { query: 'token', subprotocol: 'bearer', cookie: 'token' },
  '/room': { query: 'token', subprotocol: 'bearer', cookie: 'token' },
  '/own': { query: 'access_token', subprotocol: 'jwt', cookie: 'sid' }
} as const

/** DESIGN 3.1: the source and the token, or the code of the refusal. */
function expectedOf ({ route, param, query, authorization, own, cookies, protocols, isDryRun }: Sent): string {
  const names = SOURCES[route]
  const left = protocols.flatMap(({ marker, entries }) => marker === null ? entries : entries.slice(0, -1))
  const all = protocols.flatMap(({ entries }) => entries)
  if (!isDryRun && all.length > 0 && (left.length === 0 || new Set(all).size < all.length)) return 'WS_AUTH_HANDSHAKE_INVALID'
  const bearer = authorization.length > 1 ? authorization : authorization.filter((value) => /^bearer\s/i.test(value)).map((value) => value.slice(6).trim())
  // In a dry run a token in the Authorization header always counts.
  const header = route !== '/own' ? bearer : isDryRun ? [...own, ...bearer] : own
  const given = {
    header,
    query: query.filter(({ name }) => name === names.query).map(({ value }) => value),
    subprotocol: protocols.filter(({ marker }) => marker === names.subprotocol).map(({ token }) => token),
    param: route === '/room' && param !== '' ? [param] : [],
    ticket: query.filter(({ name }) => name === 'ticket').map(({ value }) => value)
  }
  if (Object.values(given).some((values) => values.length > 1)) return 'WS_AUTH_TOKEN_AMBIGUOUS'
  const tokens = Object.entries(given).filter(([, [value = '']]) => value !== '')
  if (tokens.length > 1) return 'WS_AUTH_TOKEN_AMBIGUOUS'
  const [[source, [token]] = [null, []]] = tokens
  if (source === 'ticket') return 'WS_AUTH_TICKET_INVALID'
  if (source !== null) return verdictOn(source, token)
  const ambient = cookies.filter(({ name }) => name === names.cookie)
  if (ambient.length > 1) return 'WS_AUTH_TOKEN_AMBIGUOUS'
  return ambient[0] === undefined || ambient[0].value === '' ? 'WS_AUTH_TOKEN_MISSING' : verdictOn('cookie', ambient[0].value)
}

/** RFC 6750, 2.1: no token has other characters than visible ASCII. */
function verdictOn (source: string, token = ''): string {
  return /^[\x21-\x7e]+$/.test(token) ? `${source} ${token}` : 'WS_AUTH_TOKEN_INVALID'
}

/** The request that a route should see of it: everything but the tokens. */
function leftOf (sent: Sent): object {
  const { isDryRun, route, param, query, cookies, authorization, own, protocols } = sent
  const isAsked = route !== '/own' || isDryRun
  const others = query.filter(({ name }) => name === 'other').map(({ text }) => text)
  const kept = cookies.filter(({ name }) => name !== SOURCES[route].cookie).map(({ text }) => text)
  const left = protocols.flatMap(({ marker, entries }) => marker === null ? entries : entries.slice(0, -1))
  const isBearer = (value = ''): boolean => /^bearer[ \t]/i.test(value)
  const headers = {
    authorization: !isAsked || !isBearer(authorization[0]) ? authorization[0] : undefined,
    'x-own': route === '/own' || own.length === 0 ? undefined : own.join(', '),
    cookie: kept.length === 0 ? undefined : kept.join('; '),
    'sec-websocket-protocol': left.length === 0 ? undefined : left.join(', ')
  }
  const lines = Object.entries(headersOf(sent)).flatMap(([name, values]) => [values ?? []].flat().map((value) => {
    const isTaken = (route === '/own' && name === 'x-own') || (isAsked && name === 'authorization' && isBearer(value))
    return `${name}: ${isTaken ? '' : value === values ? headers[name as keyof typeof headers] ?? '' : value}`
  }))
  const path = route === '/room' ? `/room/${param === '' ? '' : '-'}` : route
  return { url: others.length === 0 ? path : `${path}?${others.join('&')}`, headers, lines }
}

// Of no token there is a trace where there is none of this.
const canary = httpToken.map((text) => `canary${text}`)
const wideCanary = fc.oneof(canary, unicode.filter((text) => text.isWellFormed()).map((text) => `canary ${text}`))
const pathCanary = fc.stringMatching(/^canary[\w.~-]{1,30}$/)

function namedValue<Name extends string> (name: Arbitrary<Name>, value: Arbitrary<string>): Arbitrary<{ name: Name, value: string, text: string }> {
  return fc.tuple(name, fc.oneof({ weight: 4, arbitrary: value }, fc.constant(''))).chain(([name, value]) => {
    return fc.tuple(percentEncodings(name), percentEncodings(value)).map((parts) => ({ name, value, text: parts.join('=') }))
  })
}

/** A cookie's name is not encoded, and in its value a plus is one (RFC 6265, 4.1.1). */
const cookie = namedValue(fc.constantFrom('token', 'token', 'sid', 'other'), wideCanary).map(({ name, value, text }) => {
  return { name, value, text: `${name}${text.slice(text.indexOf('=')).replaceAll('+', '%20')}` }
})

function few<T> (arbitrary: Arbitrary<T>): Arbitrary<T[]> {
  return fc.oneof({ weight: 3, arbitrary: fc.constant<T[]>([]) }, { weight: 3, arbitrary: arbitrary.map((one) => [one]) }, fc.array(arbitrary, { minLength: 2, maxLength: 3 }))
}

const protocol = fc.oneof(
  httpToken.filter((text) => !text.startsWith('base64url.') && !MARKERS.includes(text)).map((entry) => ({ marker: null, token: '', entries: [entry] })),
  fc.tuple(fc.constantFrom('bearer' as const, 'jwt' as const), canary).map(([marker, token]) => ({ marker, token, entries: [marker, token] })),
  fc.tuple(fc.constantFrom('bearer' as const, 'jwt' as const), wideCanary).map(([marker, token]) => ({ marker, token, entries: [`base64url.${marker}.${Buffer.from(token).toString('base64url')}`] }))
)

const sent: Arbitrary<Sent> = fc.record({
  isDryRun: fc.boolean(),
  route: fc.constantFrom('/chat', '/own', '/room'),
  param: fc.oneof(pathCanary, fc.constant('')),
  query: few(fc.oneof(
    { weight: 4, arbitrary: namedValue(fc.constantFrom('token', 'token', 'access_token', 'ticket'), wideCanary) },
    // What is no token is left in the URL, and in the log.
    namedValue(fc.constant('other'), unicode.filter((text) => text.isWellFormed()))
  )),
  authorization: few(fc.oneof(fc.tuple(anyCase('Bearer'), fc.constantFrom(' ', '  ', '\t'), canary).map((parts) => parts.join('')), anyCase('bearer'), fc.constantFrom('Basic YTpi', 'Bearerx', 'Token abc'))),
  own: few(canary),
  cookies: few(cookie),
  protocols: few(protocol)
})

function headersOf ({ authorization, own, cookies, protocols }: Sent): Record<string, string | string[] | undefined> {
  const several = (values: readonly string[]): string[] | undefined => values.length === 0 ? undefined : [...values]
  return {
    authorization: several(authorization),
    'x-own': several(own),
    cookie: cookies.length === 0 ? undefined : cookies.map(({ text }) => text).join('; '),
    'sec-websocket-protocol': protocols.length === 0 ? undefined : protocols.flatMap(({ entries }) => entries).join(', ')
  }
}

function pathOf ({ route, param, query }: Sent): string {
  const search = query.map(({ text }) => text).join('&')
  return `${route}${route === '/room' ? `/${param}` : ''}${search === '' ? '' : `?${search}`}`
}

t.test('the token that counts is verified, two tokens are ambiguous, and later hooks see no token, in any place of a request', async (t) => {
  let verified: string[] = []
  let seen: object[] = []
  const { port, log } = await start(t, {
    plugin: { verify: (token) => { verified.push(token); return { sub: 'ann' } }, tickets: { path: false }, token: { message: false } },
    routes: async (app) => {
      app.addHook('preHandler', async ({ raw, wsAuth }) => {
        const { authorization, 'x-own': own, cookie, 'sec-websocket-protocol': protocols } = raw.headers
        assert.equal(wsAuth, null)
        const lines = raw.rawHeaders.flatMap((name, i) => i % 2 === 0 && SPOKEN_OF.test(name) ? [`${name}: ${raw.rawHeaders[i + 1]}`] : [])
        seen.push({ url: raw.url, headers: { authorization, 'x-own': own, cookie, 'sec-websocket-protocol': protocols }, lines })
      })
      app.get('/chat', { websocket: true }, (socket, { wsAuth }) => socket.close(4000, String(wsAuth?.source)))
      app.get('/own', { websocket: true, wsAuth: { token: { header: 'x-own', query: 'access_token', subprotocol: 'jwt', cookie: 'sid' } } }, (socket, { wsAuth }) => socket.close(4000, String(wsAuth?.source)))
      app.get('/room/:token', { websocket: true, wsAuth: { token: { param: true } } }, (socket, { wsAuth }) => socket.close(4000, String(wsAuth?.source)))
    }
  })
  const outcomes: Record<string, number> = {}
  await holdsAsync(fc.asyncProperty(sent, async (sent) => {
    verified = []
    seen = []
    log.length = 0
    const client = await RawClient.open(t, port)
    try {
      const settings = { path: pathOf(sent), headers: headersOf(sent) }
      const { status, body, headers } = await client.send(sent.isDryRun ? plainText(settings) : requestText(settings)).response()
      const expected = expectedOf(sent)
      const isAccepted = status === (sent.isDryRun ? 426 : 101)
      const source = isAccepted && !sent.isDryRun ? (await client.close()).reason : expected.split(' ', 1)[0]
      outcomes[String(source)] = (outcomes[String(source)] ?? 0) + 1
      assert.equal(isAccepted ? `${source} ${verified.join()}` : JSON.parse(body).code, expected)
      if (!isAccepted) return assert.deepEqual(verified, [], 'nobody was asked about it')
      assert.deepEqual(seen, [leftOf(sent)])
      assert.doesNotMatch(String(headers['sec-websocket-protocol']), /canary/)
      if (!sent.isDryRun) assert.doesNotMatch(log.join(''), /canary/)
    } finally {
      client.socket.destroy()
    }
  }), 400)
  t.comment(JSON.stringify(outcomes))
  for (const outcome of ['header', 'query', 'subprotocol', 'param', 'cookie', 'WS_AUTH_TOKEN_MISSING', 'WS_AUTH_TOKEN_AMBIGUOUS', 'WS_AUTH_TICKET_INVALID', 'WS_AUTH_HANDSHAKE_INVALID']) t.ok(outcomes[outcome], `there was ${outcome}`)
})
