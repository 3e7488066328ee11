/*
 * Tokens in query parameters that are no source of tokens: a client that calls its parameter `access_token` or `jwt` is
 * refused, and its token is in no line of the log. What looks like a JWT becomes `redacted` and its name stays; everything
 * else in a URL is left as it is.
 */
import type { FastifyInstance, FastifyRequest, FastifyServerOptions } from 'fastify'
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { prepare, sign, start } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { holdsAsync, percentEncodings } from '../helpers/arbitraries'
import { plainText, RawClient, upgrade } from '../helpers/raw-client'

t.jobs = 4

const JWT = sign({ sub: 'ann', canary: 'canary' })
const [HEADER = '', PAYLOAD = '', SIGNATURE = ''] = JWT.split('.')
const ENCODED = [...JWT].map((character) => `%${character.charCodeAt(0).toString(16)}`).join('')
const KEY = { 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' }
const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** What is sent behind the path, and what is left of it. */
const REDACTED: Array<[sent: string, left: string]> = [
  [`?access_token=${JWT}`, '?access_token=redacted'],
  [`?jwt=${JWT}`, '?jwt=redacted'],
  [`?Token=${JWT}`, '?Token=redacted'],
  [`?tokens=${JWT}`, '?tokens=redacted'],
  [`?auth=${JWT}&room=1`, '?auth=redacted&room=1'],
  [`?room=1&auth=${JWT}`, '?room=1&auth=redacted'],
  [`?a=${JWT}&room=1&b=${JWT}&a=${JWT}`, '?a=redacted&room=1&b=redacted&a=redacted'],
  [`?&&a=${JWT}&&`, '?&&a=redacted&&'],
  [`?=${JWT}`, '?=redacted'],
  [`?a=Bearer%20${JWT}`, '?a=redacted'],
  [`?a=Bearer+${JWT}`, '?a=redacted'],
  [`?a=bearer%20${JWT}`, '?a=redacted'],
  [`?a=${JWT.replaceAll('.', '%2E')}`, '?a=redacted'],
  [`?a=${JWT.replaceAll('.', '%2e')}`, '?a=redacted'],
  [`?a=${ENCODED}`, '?a=redacted'],
  [`?a=%42earer%20${ENCODED}`, '?a=redacted'],
  [`?access%5Ftoken=${JWT}`, '?access%5Ftoken=redacted'],
  [`?a[b]=${JWT}`, '?a[b]=redacted'],
  [`?%zz=${JWT}`, '?%zz=redacted'],
  [`#access_token=${JWT}`, '#access_token=redacted'],
  [`?room=1#access_token=${JWT}`, '?room=1#access_token=redacted'],
  [`?room=1#a=1&id_token=${JWT}#b=${JWT}`, '?room=1#a=1&id_token=redacted#b=redacted'],
  [`?a=${sign({ sub: 'another' }, 'another key of thirty-two bytes!')}`, '?a=redacted'],
  [`?a=${base64url({ alg: 'RS256', typ: 'JWT' })}.e30.AAAA`, '?a=redacted']
]

/** What looks a little like a token. */
const LEFT: string[] = [
  '', '?', '?room=1', '?v=1.2.3', '?host=a.example.com', '?a=b.c.d', '?file=eyJ.tar.gz', '?room=redacted',
  `?a=${HEADER}`, `?a=${HEADER}.${PAYLOAD}`, `?a=${HEADER}.${PAYLOAD}.${SIGNATURE}.x`, `?a=x.${JWT}`,
  `?a=${base64url([1])}.${PAYLOAD}.${SIGNATURE}`, `?a=${base64url('text')}.b.c`, `?a=${base64url(12)}.b.c`, `?a=${base64url(null)}.b.c`,
  `?a=${Buffer.from('{no json}').toString('base64url')}.b.c`, `?a=${HEADER}.b!.c`, '?a=%zz', '?a=%zz.b.c', '?a&b&c', '?a==&b', '?#', '?a=Bearer', '?a=Bearer%20x'
]

function routes (app: FastifyInstance): void {
  app.get('/chat', { websocket: true }, () => {})
  app.get('/public', { websocket: true, wsAuth: false }, () => {})
  app.get('/optional', { websocket: true, wsAuth: 'optional' }, () => {})
  app.get('/close', { websocket: true, wsAuth: { rejectWith: 'close' } }, () => {})
  app.get('/page', async ({ query, url }) => ({ query, url }))
}

/** No line has the token, nor a part of it that tells who it is of. */
function assertNoTrace (t: Test, log: readonly string[], what: string): void {
  t.notOk(log.some((line) => [JWT, PAYLOAD, SIGNATURE, ENCODED].some((text) => line.includes(text))), `nothing in the log: ${what}`)
}

interface Seen {
  readonly url: string
  readonly query: unknown
}

function seenOf ({ url, query }: FastifyRequest): Seen {
  return { url, query: { ...query as object } }
}

/** An app that tells what its first hook sees. */
async function startSeeing (t: Test, server: FastifyServerOptions = {}): Promise<StartedApp & { seen: Seen[] }> {
  const seen: Seen[] = []
  const started = await start(t, {
    server,
    routes: (app) => {
      app.addHook('onRequest', async (request) => { seen.push(seenOf(request)) })
      routes(app)
    }
  })
  return { ...started, seen }
}

for (const path of ['/chat', '/public', '/optional', '/close', '/page', '/nowhere'] as const) {
  void t.test(`a JWT in the query of an upgrade of ${path} is redacted before the first hook`, { buffered: true }, async (t) => {
    const { port, log, seen } = await startSeeing(t)
    for (const [sent, left] of REDACTED) {
      log.length = 0
      const { answer, socket } = await upgrade(t, port, { path: path + sent })
      t.equal(seen.at(-1)?.url, path + left, sent.replaceAll(JWT, 'JWT').slice(0, 60))
      assertNoTrace(t, log, left)
      t.notMatch(answer.text, JWT)
      socket.destroy()
    }
    t.equal(seen.length, REDACTED.length)
  })
}

void t.test('a JWT in the query is not in the log if the upgrade is refused or its path leads nowhere', { buffered: true }, async (t) => {
  const { port, log } = await startSeeing(t)
  for (const [what, settings, status] of [
    ['a malformed path', { path: `/%zz?access_token=${JWT}` }, 400],
    ['a path that is too long', { path: `/${'x'.repeat(500)}?access_token=${JWT}` }, 404],
    ['another version', { path: `/chat?access_token=${JWT}`, headers: { 'sec-websocket-version': '8' } }, 400],
    ['a bad key', { path: `/chat?access_token=${JWT}`, headers: { 'sec-websocket-key': 'x' } }, 400],
    ['another method', { method: 'POST', path: `/chat?access_token=${JWT}` }, 404],
    ['a token that is good beside', { path: `/chat?access_token=${JWT}&token=${JWT}` }, 101],
    ['two tokens', { path: `/chat?token=${JWT}&access_token=${JWT}&token=${JWT}` }, 400],
    ['a forged token', { path: `/chat?jwt=${JWT}`, headers: { authorization: `Bearer ${HEADER}.${PAYLOAD}.AAAA` } }, 401]
  ] as const) {
    log.length = 0
    const { answer, socket } = await upgrade(t, port, settings)
    t.equal(answer.status, status, what)
    assertNoTrace(t, log, what)
    t.notMatch(answer.text, JWT, what)
    socket.destroy()
  }
})

void t.test('a client whose token is in a parameter of another name is refused with 401', { buffered: true }, async (t) => {
  const { port } = await startSeeing(t)
  for (const name of ['access_token', 'jwt', 'Token']) {
    const { answer } = await upgrade(t, port, { path: `/chat?${name}=${JWT}` })
    t.match(answer, { status: 401, body: 'WS_AUTH_TOKEN_MISSING' }, name)
  }
})

void t.test('a handler sees the name of the parameter and `redacted`', { buffered: true }, async (t) => {
  const seen: unknown[] = []
  const { app } = await prepare(t, { routes: (app) => { app.get('/public', { websocket: true, wsAuth: false }, (_socket, { url, query, raw }) => { seen.push({ url, query: { ...query as object }, raw: raw.url }) }) } })
  const socket = await app.injectWS(`/public?access_token=${JWT}&room=1`)
  socket.terminate()
  t.strictSame(seen, [{ url: '/public?access_token=redacted&room=1', query: { access_token: 'redacted', room: '1' }, raw: '/public?access_token=redacted&room=1' }])
})

void t.test('a parameter that only resembles a JWT is left unchanged', { buffered: true }, async (t) => {
  const { port, seen } = await startSeeing(t)
  for (const sent of LEFT) {
    const { socket } = await upgrade(t, port, { path: `/public${sent}` })
    t.equal(seen.at(-1)?.url, `/public${sent}`, sent.slice(0, 60))
    socket.destroy()
  }
  t.equal(seen.length, LEFT.length)
})

void t.test('a JWT is redacted in a query that begins with a semicolon if useSemicolonDelimiter is set', { buffered: true }, async (t) => {
  const { port, log, seen } = await startSeeing(t, { routerOptions: { useSemicolonDelimiter: true } } as FastifyServerOptions)
  for (const [sent, left] of REDACTED) {
    log.length = 0
    const path = `/public${sent.replace('?', ';')}`
    const { socket } = await upgrade(t, port, { path })
    t.equal(seen.at(-1)?.url, `/public${left.replace('?', ';')}`, sent.replaceAll(JWT, 'JWT').slice(0, 60))
    assertNoTrace(t, log, left)
    socket.destroy()
  }
})

void t.test('a JWT in the query of a dry run is redacted from the first hook of the plugin on', { buffered: true }, async (t) => {
  const parsing: string[] = []
  const after: Seen[] = []
  const { app, log } = await prepare(t, {
    routes: (app) => {
      app.addHook('preParsing', async ({ url }) => { parsing.push(url) })
      app.addHook('onResponse', async (request) => { after.push(seenOf(request)) })
      routes(app)
    }
  })
  for (const path of ['/chat', '/public', '/optional'] as const) {
    for (const name of ['access_token', 'jwt', 'Token']) {
      log.length = 0
      const { statusCode, body } = await app.inject(`${path}?room=1&${name}=${encodeURIComponent(`Bearer ${JWT}`)}`)
      t.equal(statusCode, path === '/chat' ? 401 : 426, `${path}, ${name}`)
      t.equal(parsing.at(-1), `${path}?room=1&${name}=redacted`, `${path}, ${name}`)
      t.strictSame(after.at(-1), { url: `${path}?room=1&${name}=redacted`, query: { room: '1', [name]: 'redacted' } }, `${path}, ${name}`)
      t.notMatch(body, PAYLOAD)
      // Fastify's own line of a plain request comes before all hooks.
      assertNoTrace(t, log.filter((line) => !line.includes('"incoming request"')), `${path}, ${name}`)
    }
  }
})

void t.test('a handshake that has lost its Upgrade header leaves no token in any line of the log', { buffered: true }, async (t) => {
  const { port, log } = await startSeeing(t)
  const ask = async (path: string, headers: Record<string, string> = {}): Promise<number> => {
    log.length = 0
    const { status } = await (await RawClient.open(t, port)).send(plainText({ path, headers: { ...KEY, ...headers } })).response()
    assertNoTrace(t, log, path.replaceAll(JWT, 'JWT'))
    return status
  }
  t.equal(await ask(`/chat?token=${JWT}`), 426, 'and is answered as with it')
  t.equal(await ask(`/chat?%74oken=${ENCODED}`), 426)
  t.equal(await ask(`/chat?room=1&access_token=${JWT}`), 401)
  t.equal(await ask(`/chat?token=${JWT}&token=${JWT}`), 400)
  t.equal(await ask(`/chat?token=${HEADER}.${PAYLOAD}.AAAA`), 401)
  t.equal(await ask(`/public?token=${JWT}&access_token=${JWT}`), 426)
  t.equal(await ask(`/nowhere?token=${JWT}&access_token=${JWT}`), 404)
  t.equal(await ask('/chat', { 'sec-websocket-protocol': `bearer, ${JWT}` }), 426)
})

void t.test('a plain request that is no dry run keeps its query', { buffered: true }, async (t) => {
  const { port } = await startSeeing(t)
  for (const [what, headers] of [
    ['a page', {}], ['a page that asks for an upgrade to h2c', { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQCAAAAAAIAAAAA' }]
  ] as const) {
    const client = await RawClient.open(t, port)
    const { status, body } = await client.send(plainText({ path: `/page?token=${JWT}&access_token=${JWT}`, headers })).response()
    t.equal(status, 200, what)
    t.strictSame(JSON.parse(body), { query: { token: JWT, access_token: JWT }, url: `/page?token=${JWT}&access_token=${JWT}` }, what)
  }
})

void t.test('a token is found among thousands of parameters, and the others are left unchanged', { buffered: true }, async (t) => {
  const { port, log, seen } = await startSeeing(t)
  for (const separator of ['&', '#', '/', '?', '%', '&a=', '&%61']) {
    const many = separator.repeat(Math.floor(7000 / separator.length))
    log.length = 0
    const { answer, socket } = await upgrade(t, port, { path: `/chat?x=${many}&token=${JWT}&y=${many}` })
    t.equal(answer.status, 101, separator)
    t.equal(seen.at(-1)?.url, `/chat?x=${many}&y=${many}`, separator)
    socket.destroy()
    const { answer: public_, socket: other } = await upgrade(t, port, { path: `/public?x=${many}&access_token=${JWT}&y=${many}` })
    t.equal(public_.status, 101, separator)
    t.equal(seen.at(-1)?.url, `/public?x=${many}&access_token=redacted&y=${many}`, separator)
    assertNoTrace(t, log, separator)
    other.destroy()
  }
})

/* Any query: names, values and separators of any kind, and among them tokens in any writing. */

const harmless = fc.string({ unit: fc.constantFrom(...'abAB01._-%=+;:/@!'), maxLength: 12 }).filter((text) => !/^(?:t|%74|%54)/i.test(text))
const tokenText = fc.oneof(
  percentEncodings(JWT), fc.constantFrom('Bearer ', 'bearer  ', 'BEARER\t').chain((scheme) => percentEncodings(scheme + JWT)), fc.constant(JWT)
)
const separator = fc.constantFrom('&', '&', '&', '#', '&&')
const harmlessPair = fc.tuple(separator, harmless.map((text) => text.replaceAll('=', '')), fc.constantFrom('', '='), harmless.map((text) => text.replaceAll('=', '-')))
  .map(([separator, name, equals, value]) => { const text = `${separator}${name}${equals}${value}`; return { sent: text, left: text } })
const tokenPair = fc.tuple(separator, harmless.map((text) => text.replaceAll('=', '')), tokenText)
  .map(([separator, name, token]) => ({ sent: `${separator}${name}=${token}`, left: `${separator}${name}=redacted` }))

void t.test('a JWT in any query is redacted, and nothing else is changed', { buffered: true }, async (t) => {
  const seen: string[] = []
  const { app, log } = await prepare(t, {
    routes: (app) => {
      app.addHook('onRequest', async ({ raw }) => { seen.push(raw.url ?? '') })
      routes(app)
    }
  })
  await holdsAsync(fc.asyncProperty(fc.constantFrom('?', '#'), fc.array(fc.oneof(harmlessPair, tokenPair), { maxLength: 6 }), async (start, pairs) => {
    log.length = 0
    const sent = start + pairs.map((pair) => pair.sent).join('')
    const left = start + pairs.map((pair) => pair.left).join('')
    const socket = await app.injectWS(`/public${sent}`)
    socket.terminate()
    if (seen.at(-1) !== `/public${left}`) throw new Error(`${String(seen.at(-1))} is not /public${left}, of ${sent}`)
    if (log.some((line) => line.includes(PAYLOAD))) throw new Error('it is in the log')
  }), 300)
})
