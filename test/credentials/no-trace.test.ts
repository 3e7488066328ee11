/*
 * A token that was sent to this server is seen by the verifier and by nobody else: not by the log, not by any hook,
 * handler or error handler behind the handshake, and it comes back in no answer.
 */
import { createHmac } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { inspect } from 'node:util'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { prepare, SECRET, sign, start, until, within } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { clientFrame, plainText, RawClient, upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'

const never = async (): Promise<never> => await new Promise(() => {})

/** The ways in which a token may be written. A JWT is also known by its signature. */
function writings (token: string): string[] {
  const signature = token.split('.')[2] ?? token
  const plain = [token, signature, Buffer.from(token).toString('base64url'), Buffer.from(token).toString('base64'), Buffer.from(token).toString('hex')]
  return [...plain, ...plain.map(encodeURIComponent), JSON.stringify(token).slice(1, -1)]
}

/** Where a token is found in a text, with what is around it; nothing where it is not. */
function traces (text: string, token: string): string[] {
  return [...new Set(writings(token))].flatMap((writing) => {
    const index = text.indexOf(writing)
    return index === -1 ? [] : [text.slice(Math.max(0, index - 60), index + 20)]
  })
}

/** All that a hook or handler can see of a request. */
function seenOf (where: string, request: FastifyRequest, error?: unknown): string {
  const { raw } = request
  return inspect({
    where,
    url: request.url,
    originalUrl: request.originalUrl,
    query: request.query,
    params: request.params,
    headers: request.headers,
    cookies: request.cookies,
    rawUrl: raw.url,
    rawHeaders: raw.rawHeaders,
    rawHeadersByName: raw.headers,
    headersDistinct: distinctOf(request),
    error,
    errorWithHidden: inspect(error, { showHidden: true, depth: 20 })
  }, { depth: 20, maxArrayLength: null, maxStringLength: null, breakLength: Infinity })
}

/** A test of its own says that this must not throw. */
function distinctOf ({ raw }: FastifyRequest): unknown {
  try {
    return raw.headersDistinct
  } catch {
    return null
  }
}

interface SpiedApp extends StartedApp {
  /** What hooks and handlers saw. */
  readonly seen: string[]
}

interface SpySettings {
  plugin?: fastifyWsAuth.WsAuthOptions
  /** Whether the app answers errors and unknown paths itself. */
  isCustom?: boolean
  routes?: (app: FastifyInstance) => unknown
}

/** An app that looks at everything behind the handshake. */
async function spy (t: Test, { plugin, isCustom = false, routes }: SpySettings): Promise<SpiedApp> {
  const seen: string[] = []
  const look = (where: string, request: FastifyRequest, error?: unknown): void => { seen.push(seenOf(where, request, error)) }
  const started = await start(t, {
    plugin: { handshakeTimeout: 100, ...plugin },
    routes: async (app) => {
      app.addHook('preValidation', async (request) => { look('preValidation', request) })
      app.addHook('preHandler', async (request) => { look('preHandler', request) })
      app.addHook('preSerialization', async (request) => { look('preSerialization', request) })
      app.addHook('onError', async (request, _reply, error) => { look('onError', request, error) })
      app.addHook('onSend', async (request) => { look('onSend', request) })
      app.addHook('onResponse', async (request) => { look('onResponse', request) })
      if (isCustom) {
        app.setErrorHandler(async (error: Error & { statusCode?: number }, request: FastifyRequest, reply: FastifyReply) => {
          look('error handler', request, error)
          request.log.error({ err: error, headers: request.headers, url: request.url, cause: inspect(error.cause, { depth: 20 }) }, error.message)
          await reply.code(error.statusCode ?? 500).send({ stack: error.stack, error: inspect(error, { depth: 20, showHidden: true }) })
        })
        app.setNotFoundHandler(async (request, reply) => {
          look('404 handler', request)
          await reply.code(404).send({ url: request.url, original: request.originalUrl, headers: request.headers, query: request.query })
        })
      }
      const handler = (where: string) => (socket: { send: (text: string) => void }, request: FastifyRequest): void => {
        look(where, request)
        socket.send(JSON.stringify({ url: request.url, headers: request.headers, query: request.query, params: request.params }))
      }
      app.get('/accepted', { websocket: true }, handler('accepted'))
      app.get('/accepted/:token', { websocket: true, wsAuth: { token: { param: true } } }, handler('accepted'))
      app.get('/optional', { websocket: true, wsAuth: 'optional' }, handler('optional'))
      app.get('/forbidden', { websocket: true, wsAuth: { roles: ['nobody'] } }, handler('forbidden'))
      app.get('/forbidden/:token', { websocket: true, wsAuth: { roles: ['nobody'], token: { param: true } } }, handler('forbidden'))
      app.get('/origin', { websocket: true, wsAuth: { origin: ['https://nowhere.example'] } }, handler('origin'))
      app.get('/origin/:token', { websocket: true, wsAuth: { origin: ['https://nowhere.example'], token: { param: true } } }, handler('origin'))
      app.get('/failing', { websocket: true, wsAuth: { authorize: () => { throw new Error('thrown by a test') } } }, handler('failing'))
      app.get('/failing/:token', { websocket: true, wsAuth: { authorize: () => { throw new Error('thrown by a test') }, token: { param: true } } }, handler('failing'))
      app.get('/late', { websocket: true, wsAuth: { authorize: never } }, handler('late'))
      app.get('/late/:token', { websocket: true, wsAuth: { authorize: never, token: { param: true } } }, handler('late'))
      app.get('/public', { websocket: true, wsAuth: false }, handler('public'))
      app.get('/schema', { websocket: true, schema: { querystring: { type: 'object', required: ['missing'] } } }, handler('schema'))
      app.get('/broken', { websocket: true }, () => { throw new Error('thrown by a test') })
      app.get('/http', async (request) => { look('http', request); return request.headers })
      await routes?.(app)
    }
  })
  return { ...started, seen }
}

type Send = (token: string, path: string) => RequestSettings

const SOURCES: Record<string, Send> = {
  header: (token, path) => ({ path, headers: { authorization: `Bearer ${token}` } }),
  'subprotocol, after the marker': (token, path) => ({ path, headers: { 'sec-websocket-protocol': `bearer, ${token}, chat` } }),
  'subprotocol, in two headers': (token, path) => ({ path, headers: { 'Sec-WebSocket-Protocol': 'chat, bearer', 'sec-websocket-protocol': token } }),
  'subprotocol, encoded': (token, path) => ({ path, headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${Buffer.from(token).toString('base64url')}` } }),
  query: (token, path) => ({ path: `${path}?a=1&token=${token}&b=2` }),
  'query, with its name encoded': (token, path) => ({ path: `${path}?a=1&tok%65n=${token}` }),
  'query, with its value encoded': (token, path) => ({ path: `${path}?token=${[...token].map((character) => `%${character.charCodeAt(0).toString(16)}`).join('')}` }),
  'query, behind a #': (token, path) => ({ path: `${path}#token=${token}` }),
  cookie: (token, path) => ({ path, headers: { cookie: `a=1; token=${token}; b=2` } }),
  'signed cookie': (token, path) => {
    const signature = createHmac('sha256', SECRET).update(token).digest('base64').replace(/=+$/, '')
    return { path, headers: { cookie: `a=1; signed=${encodeURIComponent(`${token}.${signature}`)}; b=2` } }
  },
  param: (token, path) => ({ path: `${path}/${token}` })
}

/** The path, what becomes of a good token there, and which sources are spoken of. */
const OUTCOMES: Array<{ path: string, status: number, code?: number, sources?: RegExp, headers?: Record<string, string> }> = [
  { path: '/accepted', status: 101 },
  { path: '/optional', status: 101, sources: /^(?!param)/ },
  { path: '/broken', status: 101, sources: /^(?!param)/ },
  { path: '/forbidden', status: 403, code: 3003 },
  { path: '/origin', status: 403, code: 3003, headers: { origin: 'https://evil.example' } },
  { path: '/failing', status: 503, code: 4503 },
  { path: '/late', status: 503 },
  { path: '/schema', status: 400, sources: /^(?!param)/ },
  { path: '/nowhere', status: 404, sources: /^(?!param)/ },
  { path: '/http', status: 404, sources: /^(?!param)/ },
  { path: '/%zz', status: 400, sources: /^(?!param)/ },
  // Nobody reads a header or a cookie there: they are not this plugin's.
  { path: '/public', status: 101, sources: /^(?:query|subprotocol)/ }
]

const OPAQUE = 'Opaque~canary.5f3a9c71d2b84e06'
const TOKENS: Record<string, { token: string, plugin: fastifyWsAuth.WsAuthOptions, isGood: boolean }> = {
  'a good JWT': { token: sign({ sub: 'canary' }), plugin: { jwt: { secret: SECRET } }, isGood: true },
  'a JWT with another signature': { token: sign({ sub: 'canary' }, 'another secret'), plugin: { jwt: { secret: SECRET } }, isGood: false },
  'an expired JWT': { token: sign({ sub: 'canary', exp: 1 }), plugin: { jwt: { secret: SECRET } }, isGood: false },
  'no JWT': { token: 'canary-5f3a9c71d2b84e06', plugin: { jwt: { secret: SECRET } }, isGood: false },
  'a JWT by request': { token: sign({ sub: 'canary' }), plugin: { jwt: { secret: async () => SECRET } }, isGood: true },
  'an opaque token': { token: OPAQUE, plugin: { verify: (token) => token === OPAQUE ? { sub: 'canary' } : null }, isGood: true },
  'an opaque token that is wrong': { token: `${OPAQUE}1`, plugin: { verify: (token) => token === OPAQUE ? { sub: 'canary' } : null }, isGood: false }
}

async function send (t: Test, { port }: StartedApp, request: RequestSettings): Promise<{ status: number, text: string }> {
  const client = await RawClient.open(t, port)
  const { status } = await within(5000, 'an answer', client.upgrade(request).response())
  if (status === 101) await client.frame().catch(() => {})
  else await within(5000, 'the end', client.ended)
  client.socket.destroy()
  return { status, text: client.text }
}

for (const [kind, { token, plugin, isGood }] of Object.entries(TOKENS)) {
  for (const isCustom of [false, true]) {
    for (const rejectWith of ['http', 'close'] as const) {
      for (const isSigned of [false, true]) {
        const where = isSigned ? 'in a signed cookie' : 'anywhere'
        t.test(`${kind} leaves no trace ${where}, with rejectWith '${rejectWith}'${isCustom ? ' and the app\'s own error handlers' : ''}`, async (t) => {
          const signed = isSigned ? { token: { cookie: { name: 'signed', signed: true } }, cookie: { secret: SECRET } } : {}
          const app = await spy(t, { isCustom, plugin: { ...plugin, ...signed, rejectWith } })
          const sent = Object.entries(SOURCES).filter(([source]) => isSigned === (source === 'signed cookie')).flatMap(([source, write]) =>
            OUTCOMES.filter(({ sources = /^/ }) => sources.test(source)).map(async ({ path, status, code, headers }) => {
              const request = write(token, path)
              const answer = await send(t, app, { ...request, headers: { ...request.headers, ...headers } })
              const isRefused = !isGood && !['/public', '/nowhere', '/http', '/%zz', '/origin'].includes(path)
              const isClosed = rejectWith === 'close' && (isRefused || code !== undefined)
              t.equal(answer.status, isClosed ? 101 : isRefused ? 401 : status, `${source}, ${path}`)
              t.same(traces(answer.text, token), [], `${source}, ${path}: nothing in the answer`)
            }))
          await Promise.all(sent)
          t.same(traces(app.log.join(''), token), [], 'nothing in the log')
          t.same(traces(app.seen.join('\n'), token), [], 'nothing in what hooks and handlers see')
          t.ok(app.log.length > sent.length && app.seen.length > 0)
        })
      }
    }
  }
}

t.test('an ambiguous token leaves no trace', async (t) => {
  const [token, another] = [sign({ sub: 'canary' }), sign({ sub: 'another' })]
  for (const isCustom of [false, true]) {
    const app = await spy(t, { isCustom })
    const twice: RequestSettings[] = [
      { path: `/accepted?token=${token}&token=${another}` },
      { path: `/accepted?token=${token}`, headers: { authorization: `Bearer ${another}` } },
      { path: `/accepted?token=${token}`, headers: { 'sec-websocket-protocol': `bearer, ${another}, chat` } },
      { path: '/accepted', headers: { 'sec-websocket-protocol': `bearer, ${token}, base64url.bearer.${Buffer.from(another).toString('base64url')}, chat` } },
      { path: '/accepted', headers: { authorization: [`Bearer ${token}`, `Bearer ${another}`] } },
      { path: '/accepted', headers: { authorization: ['Basic eDp5', `Bearer ${another}`] } },
      { path: '/accepted', headers: { cookie: `token=${token}; token=${another}` } },
      { path: '/accepted', headers: { cookie: [`token=${token}`, `token=${another}`] } },
      { path: '/accepted', headers: { cookie: `token =${token};x=1;\ttoken\t=\t"${another}"` } },
      { path: `/accepted/${token}?token=${another}` },
      { path: `/accepted/${token}`, headers: { authorization: `Bearer ${another}` } }
    ]
    for (const request of twice) {
      app.seen.length = app.log.length = 0
      const answer = await send(t, app, request)
      t.equal(answer.status, 400)
      for (const canary of [token, another]) {
        const all = [...app.log, ...app.seen, answer.text].join('\n')
        t.same(traces(all, canary), [], JSON.stringify(request).replaceAll(token, '<token>').replaceAll(another, '<another>'))
      }
    }
  }
})

t.test('a cookie beside a token that counts leaves no trace', async (t) => {
  const [token, cookie] = [sign({ sub: 'canary' }), sign({ sub: 'another' })]
  const app = await spy(t, {})
  const answer = await send(t, app, { path: '/accepted', headers: { authorization: `Bearer ${token}`, cookie: `token=${cookie}` } })
  t.equal(answer.status, 101)
  for (const canary of [token, cookie]) t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), canary), [])
})

t.test('a handshake that is invalid leaves no trace', async (t) => {
  const token = sign({ sub: 'canary' })
  for (const isCustom of [false, true]) {
    const app = await spy(t, { isCustom })
    for (const headers of [{ 'sec-websocket-version': '8' }, { 'sec-websocket-key': 'x' }, { upgrade: 'websocket, h2c' }, { host: ['a', 'b'] }]) {
      for (const [source, write] of Object.entries(SOURCES)) {
        if (source === 'signed cookie') continue
        app.seen.length = app.log.length = 0
        const request = write(token, '/accepted')
        const answer = await send(t, app, { ...request, headers: { ...request.headers, ...headers } })
        t.equal(answer.status, 400)
        t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), token), [], JSON.stringify([request, headers]).replaceAll(token, '<token>'))
      }
    }
    for (const offered of [`base64url.bearer.${Buffer.from(token).toString('base64url')}`, `bearer, ${token}, bearer`, `bearer, ${token}, x, x`, `bearer, ${token},`]) {
      app.seen.length = app.log.length = 0
      const answer = await send(t, app, { path: '/accepted', headers: { 'sec-websocket-protocol': offered } })
      t.equal(answer.status, 400)
      t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), token), [])
    }
  }
})

t.test('what is beside the token stays', async (t) => {
  const token = sign({ sub: 'canary' })
  /** The path that is sent, and the URL and query that the handler sees. */
  const cases: Array<[string, string, object]> = [
    [`/accepted?a=1&token=${token}&b=2`, '/accepted?a=1&b=2', { a: '1', b: '2' }],
    [`/accepted?token=${token}&a=1&a=2`, '/accepted?a=1&a=2', { a: ['1', '2'] }],
    [`/accepted?a=%zz&b=+%2B&token=${token}`, '/accepted?a=%zz&b=+%2B', { a: '%zz', b: ' +' }],
    [`/accepted?tok%65n=${token}&xtoken=1&token2=2&Token=3`, '/accepted?xtoken=1&token2=2&Token=3', { xtoken: '1', token2: '2', Token: '3' }],
    [`/accepted?%74%6F%6b%65%6E=${token}`, '/accepted', {}],
    [`/accepted?token=${token}`, '/accepted', {}],
    [`/accepted?&&token=${token}&`, '/accepted?&&', {}],
    [`/accepted?a=b?token=1&token=${token}`, '/accepted?a=b?token=1', { a: 'b?token=1' }],
    [`/accepted?a=b=c&token=${token}`, '/accepted?a=b=c', { a: 'b=c' }],
    [`/accepted#token=${token}`, '/accepted', {}],
    [`/accepted#a=1&token=${token}`, '/accepted#a=1', { a: '1' }],
    [`/accepted/${token}?a=1`, '/accepted/-?a=1', { a: '1' }]
  ]
  for (const [path, url, query] of cases) {
    const seen: unknown[] = []
    const app = await spy(t, { routes: (app) => app.addHook('preHandler', async (request) => { seen.push(request.url, { ...request.query as object }, request.raw.url, request.originalUrl) }) })
    const answer = await send(t, app, { path })
    t.equal(answer.status, 101)
    t.same(seen, [url, query, url, url], path.replace(token, '<token>'))
    t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), token), [])
  }

  t.test('in the headers', async (t) => {
    const seen: unknown[] = []
    const app = await spy(t, {
      plugin: { handshakeTimeout: 1000 },
      routes: (app) => app.addHook('preHandler', async ({ headers, cookies }) => { seen.push(headers.cookie, cookies, headers['sec-websocket-protocol'], headers.authorization) })
    })
    const cookie = `a=1; token=${token};b="2";  c = 3`
    await send(t, app, { path: '/accepted', headers: { cookie, 'sec-websocket-protocol': 'chat, superchat' } })
    t.same(seen.splice(0), ['a=1;b="2";  c = 3', { a: '1', b: '"2"', c: '3' }, 'chat, superchat', undefined])
    await send(t, app, { path: '/accepted', headers: { 'sec-websocket-protocol': `chat, bearer, ${token}, superchat`, authorization: 'Basic eDp5' } })
    t.same(seen.splice(0), [undefined, {}, 'chat, bearer, superchat', 'Basic eDp5'])
  })
})

// A # ends the path only where no ? came before it, so this is no token. It is in the URL, and so in the log.
t.test('a token in a fragment behind a query leaves no trace', async (t) => {
  const token = sign({ sub: 'canary' })
  for (const path of [`/accepted?a=1#token=${token}`, `/accepted?a=1&b#a&token=${token}`, `/accepted?#token=${token}`]) {
    const app = await spy(t, {})
    const answer = await send(t, app, { path })
    t.same(traces([...app.log, answer.text].join('\n'), token), [], path.replace(token, '<token>'))
  }
})

t.test('a token under the name of another route leaves no trace', async (t) => {
  const token = sign({ sub: 'canary' })
  const app = await spy(t, {
    routes: (app) => {
      app.get('/other', { websocket: true, wsAuth: { token: { query: 'jwt', subprotocol: 'auth' } } }, (socket) => { socket.send('hello') })
    }
  })
  for (const path of ['/other', '/accepted', '/nowhere', '/http', '/public', '/%zz']) {
    app.seen.length = app.log.length = 0
    const answers = [
      await send(t, app, { path: `${path}?jwt=${token}&a=1` }),
      await send(t, app, { path, headers: { 'sec-websocket-protocol': `auth, ${token}, chat` } })
    ]
    t.same(traces([...app.log, ...app.seen, ...answers.map(({ text }) => text)].join('\n'), token), [], path)
  }
})

t.test('an upgrade of no websocket route leaves no trace of a token in a header or cookie, under the name of whichever route', async (t) => {
  const token = sign({ sub: 'canary' })
  for (const isCustom of [false, true]) {
    const app = await spy(t, {
      isCustom,
      routes: (app) => {
        app.get('/other', { websocket: true, wsAuth: { token: { header: 'x-jwt', cookie: 'jwt' } } }, (socket) => { socket.send('hello') })
      }
    })
    for (const path of ['/nowhere', '/http']) {
      app.seen.length = app.log.length = 0
      const answers = [
        await send(t, app, { path, headers: { 'x-jwt': token } }),
        await send(t, app, { path, headers: { cookie: `a=1; jwt=${token}; b=2` } }),
        await send(t, app, { path, headers: { 'x-jwt': token, authorization: `Bearer ${token}`, cookie: `token=${token}; jwt=${token}` } })
      ]
      t.strictSame(answers.map(({ status }) => status), [404, 404, 404])
      t.ok(app.seen.length > 0, 'later hooks have seen the requests')
      t.same(traces([...app.log, ...app.seen, ...answers.map(({ text }) => text)].join('\n'), token), [], path)
    }
  }
})

t.test('a dry run leaves no trace of a token in a header or cookie', async (t) => {
  const token = sign({ sub: 'canary' })
  for (const isCustom of [false, true]) {
    for (const [path, status] of [['/accepted', 426], ['/forbidden', 403], ['/failing', 503], ['/late', 503]] as const) {
      for (const headers of [{ authorization: `Bearer ${token}` }, { cookie: `a=1; token=${token}` }]) {
        const app = await spy(t, { isCustom })
        const client = await RawClient.open(t, app.port)
        t.equal((await client.send(plainText({ path, headers })).response()).status, status)
        // The dry run is made where the handshake is: before the `preValidation` hooks of the app.
        t.same(traces([...app.log, ...app.seen, client.text].join('\n'), token), [])
      }
    }
  }
})

t.test('a dry run shows the token of a query to no hook', async (t) => {
  const token = sign({ sub: 'canary' })
  const app = await spy(t, { isCustom: true })
  for (const path of [`/accepted?a=1&token=${token}&b=2`, `/forbidden?tok%65n=${token}`, `/failing?token=${token}`]) {
    app.seen.length = 0
    const client = await RawClient.open(t, app.port)
    await client.send(plainText({ path })).response()
    t.ok(app.seen.length > 0)
    t.same(traces([...app.seen, client.text].join('\n'), token), [], path.replace(token, '<token>'))
  }
})

t.test('injectWS leaves no trace', async (t) => {
  const token = sign({ sub: 'canary' })
  const { app, log } = await prepare(t, { routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  const socket = await app.injectWS(`/chat?token=${token}`)
  socket.terminate()
  await t.rejects(app.injectWS(`/nowhere?token=${token}`))
  t.same(traces(log.join(''), token), [])
})

t.test('an error of the app\'s own functions takes no token with it', async (t) => {
  // What is in it would be written otherwise in a URL, in JSON and in a form.
  const token = 'canary+/"5f3a9c71d2b84e06=='
  const written = (text: string): Error => new Error(text)
  const errors: Record<string, (token: string) => unknown> = {
    'in its message': (token) => written(`401 for ${token}`),
    'in its stack alone': (token) => Object.assign(new Error('x'), { stack: `Error: x\n    at verify("${token}")` }),
    'in its name': (token) => Object.assign(new Error('x'), { name: `Error of ${token}` }),
    'in its code': (token) => Object.assign(new Error('x'), { code: `E_${token}` }),
    'in its cause': (token) => new Error('x', { cause: new Error('y', { cause: new TypeError(`401 for ${token}`) }) }),
    'in a cause that is text': (token) => new Error('x', { cause: `401 for ${token}` }),
    'in a cause that is an object': (token) => new Error('x', { cause: { config: { headers: { authorization: `Bearer ${token}` } } } }),
    'in the request of an HTTP client': (token) => Object.assign(new Error('Request failed with status code 401'), {
      isAxiosError: true,
      code: 'ERR_BAD_REQUEST',
      config: { url: 'https://issuer.example/introspect', headers: { authorization: `Bearer ${token}` }, data: `token=${encodeURIComponent(token)}` },
      request: { _header: `POST / HTTP/1.1\r\nauthorization: Bearer ${token}` }
    }),
    'in its errors': (token) => new AggregateError([new Error(`401 for ${token}`)], 'all failed'),
    'in toJSON': (token) => Object.assign(new Error('x'), { toJSON: () => ({ token }) }),
    'as text': (token) => `401 for ${token}`,
    'as an object': (token) => ({ message: `401 for ${token}`, token, config: { token } }),
    // An HTTP client says what it sent, and that is the token in another writing.
    'percent-encoded': (token) => written(`fetch failed: https://issuer.example/introspect?token=${encodeURIComponent(token)}`),
    'as in a form': (token) => written(`failed: ${new URLSearchParams({ token }).toString()}`),
    'in JSON': (token) => written(`failed: ${JSON.stringify({ token })}`),
    'in base64': (token) => written(`failed: Basic ${Buffer.from(token).toString('base64')}`),
    'in base64url': (token) => written(`failed: ${Buffer.from(token).toString('base64url')}`),
    // A WsAuthError of the app's own is used as it is, but for what the app put into it.
    'in the cause of a WsAuthError': (token) => new fastifyWsAuth.WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: new Error(`401 for ${token}`) }),
    'in the cause of a WsAuthError that is text': (token) => new fastifyWsAuth.WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: `401 for ${token}` }),
    'in the cause of a WsAuthError that is an object': (token) => new fastifyWsAuth.WsAuthError('WS_AUTH_FORBIDDEN', { cause: { config: { token } } }),
    'in the cause of a WsAuthError of status 503': (token) => new fastifyWsAuth.WsAuthError('WS_AUTH_UNAVAILABLE', { cause: Object.assign(new Error('x'), { config: { token } }) }),
    'in a property of a WsAuthError': (token) => Object.assign(new fastifyWsAuth.WsAuthError('WS_AUTH_UNAVAILABLE'), { config: { token } }),
    'in an error of jsonwebtoken': (token) => Object.assign(new Error(`invalid token: ${token}`), { name: 'JsonWebTokenError', token }),
    'in an error of jose': (token) => Object.assign(new Error(`invalid token: ${token}`), { code: 'ERR_JWS_INVALID', token }),
    'in an error of fast-jwt': (token) => Object.assign(new Error(`invalid token: ${token}`), { code: 'FAST_JWT_MALFORMED', token })
  }
  const places = ['verify', 'verify, later', 'origin', 'user', 'roles', 'scopes', 'authorize', 'authorize, later'] as const
  type Place = typeof places[number]
  interface Case { place?: Place, what?: string }
  const caseOf = ({ headers }: FastifyRequest): Case => ({ place: headers['x-place'] as Place, what: String(headers['x-what']) })
  const failAt = (here: Place, { place, what }: Case): void => { if (place === here) throw errors[what ?? '']?.(token) }
  const failLater = async (here: Place, at: Case): Promise<void> => { failAt(here, at) }
  const plugin: fastifyWsAuth.WsAuthOptions = {
    verify: (_token, request) => {
      failAt('verify', caseOf(request))
      return failLater('verify, later', caseOf(request)).then(() => ({ sub: 'x', ...caseOf(request) }))
    },
    origin: (_origin, request) => { failAt('origin', caseOf(request)); return true },
    user: (claims) => failLater('user', claims as Case).then(() => claims),
    roles: (claims) => { failAt('roles', claims as Case); return ['x'] },
    scopes: (claims) => { failAt('scopes', claims as Case); return ['x'] }
  }
  const authorize = async (_user: unknown, request: FastifyRequest): Promise<boolean> => {
    await failLater('authorize, later', caseOf(request))
    return true
  }
  const wsAuth: fastifyWsAuth.RouteWsAuth = {
    roles: ['x'],
    scopes: ['x'],
    authorize: (user, request) => { failAt('authorize', caseOf(request)); return authorize(user, request) }
  }
  for (const isCustom of [false, true]) {
    for (const rejectWith of ['http', 'close'] as const) {
      const app = await spy(t, {
        isCustom,
        plugin: { ...plugin, rejectWith, handshakeTimeout: 2000 },
        routes: (app) => { app.get('/throwing', { websocket: true, wsAuth }, (socket) => { socket.send('hello') }) }
      })
      for (const place of places) {
        await t.test(`thrown by ${place}, with rejectWith '${rejectWith}'${isCustom ? ' and the app\'s own error handlers' : ''}`, async (t) => {
          for (const what of Object.keys(errors)) {
            app.seen.length = app.log.length = 0
            const headers = { authorization: `Bearer ${token}`, origin: 'https://example.com', 'x-place': place, 'x-what': what }
            const answer = await send(t, app, { path: '/throwing', headers })
            t.ok(rejectWith === 'close' ? answer.status === 101 : [401, 403, 503].includes(answer.status), `${what}: ${answer.status}`)
            t.notMatch(answer.text, 'hello', `${what}: refused`)
            t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), token), [], what)
          }
        })
      }
    }
  }

  t.test('thrown by trusted and formatUser', async (t) => {
    let fail = (): void => {}
    const jwts: Record<string, object> = {
      trusted: { trusted: () => { fail(); return true } },
      'trusted, later': { trusted: async () => { fail(); return true } },
      formatUser: { formatUser: (user: unknown) => { fail(); return user } },
      'trusted, by request': { secret: async () => SECRET, trusted: () => { fail(); return true } }
    }
    for (const [place, options] of Object.entries(jwts)) {
      const app = await spy(t, { isCustom: true, plugin: { jwt: { secret: SECRET, ...options }, handshakeTimeout: 2000 } })
      for (const [what, make] of Object.entries(errors)) {
        app.seen.length = app.log.length = 0
        const jwt = sign({ sub: 'canary', what })
        fail = () => { throw make(jwt) }
        const answer = await send(t, app, { path: '/accepted', headers: { authorization: `Bearer ${jwt}` } })
        t.not(answer.status, 101)
        t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), jwt), [], `${place}: ${what}`)
      }
    }
  })
})

t.test('the headers of Node that are made of what was sent', async (t) => {
  const token = sign({ sub: 'canary' })
  const cookie = `a=1; token=${token}`
  for (const [source, headers] of Object.entries({ header: { authorization: `Bearer ${token}` }, cookie: { cookie }, subprotocol: { 'sec-websocket-protocol': `bearer, ${token}, chat` } })) {
    for (const isEarly of [false, true]) {
      t.test(`have no trace of a token in ${source}, ${isEarly ? 'looked at before' : 'not looked at before'}`, async (t) => {
        const seen: string[] = []
        const { port } = await start(t, {
          before: (app) => app.addHook('onRequest', async ({ raw }) => { if (isEarly) Object.keys(raw.headersDistinct) }),
          routes: (app) => {
            app.addHook('preHandler', async ({ raw }) => { seen.push(inspect({ distinct: raw.headersDistinct, headers: raw.headers, raw: raw.rawHeaders, trailers: raw.trailersDistinct }, { depth: 5 })) })
            app.get('/chat', { websocket: true }, () => {})
          }
        })
        const client = await RawClient.open(t, port)
        // Node counts the headers when they come, and keeps what it made of them once it was asked.
        t.equal((await client.upgrade({ path: '/chat', headers }).response()).status, 101)
        t.equal(seen.length, 1)
        t.match(seen[0], 'sec-websocket-key')
        t.same(traces(seen.join('\n'), token), [])
      })
    }
  }
})

/** All that is said of a token behind the handshake: the log at level trace, events, errors, and what the client gets. */
async function sayAll (t: Test, token: string, way: 'first message' | 'frame' | 'API', plugin: fastifyWsAuth.WsAuthOptions, wsAuth: fastifyWsAuth.RouteWsAuth): Promise<{ text: string, answer: string }> {
  const events: unknown[] = []
  const onEvent = (event: unknown): void => { events.push(event) }
  subscribe('fastify-ws-auth', onEvent)
  const said: string[] = []
  const { app, log, port } = await start(t, {
    plugin: { renewal: true, token: { message: true }, handshakeTimeout: 2000, ...plugin },
    routes: (app) => {
      app.get('/chat', { websocket: true, wsAuth }, (socket, request) => {
        socket.on('message', (data) => said.push(String(data)))
        said.push(seenOf('handler', request))
      })
    }
  })
  const path = '/chat'
  const client = await upgrade(t, port, way === 'first message' ? { path } : { path, headers: { authorization: `Bearer ${PRESENT}` } })
  let answer = ''
  if (way === 'API') {
    await until(() => app.wsAuth.connections.size === 1, 'it is open')
    for (const connection of app.wsAuth.connections) {
      await connection.renew(token).then(() => { answer = 'auth.ok' }, (error: unknown) => {
        answer = String((error as { code: string }).code)
        app.log.error({ err: error }, 'the app logs what it caught')
        said.push(inspect(error, { depth: 20, showHidden: true }))
      })
    }
  } else {
    client.send(clientFrame(1, JSON.stringify({ type: 'auth', token })))
    answer = String((await client.frame()).payload)
  }
  client.socket.destroy()
  await until(() => app.wsAuth.connections.size === 0, 'it is closed')
  await app.close()
  unsubscribe('fastify-ws-auth', onEvent)
  t.ok(events.length > 0 && log.length > 0)
  return { text: [...log, ...said, inspect(events, { depth: 20, showHidden: true }), JSON.stringify(app.wsAuth.stats()), client.text].join('\n'), answer }
}

const PRESENT = sign({ sub: 'canary' })

t.test('a token of a renewal or of a first message leaves no trace', async (t) => {
  const good = sign({ sub: 'canary', more: 'of it' })
  const opaque = 'canary+/"5f3a9c71d2b84e06=='
  const failing = (text: string): never => { throw Object.assign(new Error(`401 for ${text}`), { config: { token: text }, cause: new Error(`token=${encodeURIComponent(text)}`) }) }
  const verifyBy = (verify: (token: string) => unknown): fastifyWsAuth.WsAuthOptions => ({ verify: (token) => token === PRESENT ? { sub: 'canary' } : verify(token) })
  const cases: Array<[name: string, answer: RegExp, token: string, plugin: fastifyWsAuth.WsAuthOptions, wsAuth: fastifyWsAuth.RouteWsAuth]> = [
    ['accepted', /auth\.ok/, good, {}, true],
    ['accepted by a verifier', /auth\.ok/, opaque, verifyBy(() => ({ sub: 'canary' })), true],
    ['of another signature', /TOKEN_INVALID|token_invalid/, sign({ sub: 'canary' }, 'x'.repeat(32)), {}, true],
    ['that expired', /TOKEN_EXPIRED|token_expired/, sign({ sub: 'canary', exp: 1 }), {}, true],
    ['that is none', /TOKEN_INVALID|token_invalid/, 'canary-5f3a9c71d2b84e06', {}, true],
    ['that is too long', /TOKEN_INVALID|token_invalid/, 'canary-5f3a9c71d2b84e06'.repeat(4), { maxTokenBytes: 64, ...verifyBy(() => ({ sub: 'canary' })), token: { header: 'x-token', message: true } }, 'optional'],
    ['that authorize refuses', /FORBIDDEN|forbidden/, good, {}, { authorize: (user) => (user as { more?: string }).more === undefined }],
    ['at which verify throws', /UNAVAILABLE|auth_unavailable/, opaque, verifyBy(failing), true],
    ['at which verify rejects', /UNAVAILABLE|auth_unavailable/, opaque, verifyBy(async (token) => failing(token)), true],
    ['that verify refuses in its own words', /TOKEN_INVALID|token_invalid/, opaque, verifyBy((token) => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: `no ${token}` }) }), true],
    ['at which verify hangs', /UNAVAILABLE|auth_unavailable/, opaque, { ...verifyBy(never), handshakeTimeout: 50, token: { message: { timeout: 50 } } }, true]
  ]
  for (const [name, expected, token, plugin, wsAuth] of cases) {
    for (const way of ['first message', 'frame', 'API'] as const) {
      // Nobody is to be known of those whose token is too long, and an optional route does not wait for a message.
      if (wsAuth === 'optional' && way === 'first message') continue
      await t.test(`${name}, by ${way}`, async (t) => {
        const { text, answer } = await sayAll(t, token, way, plugin, wsAuth)
        t.match(answer, expected)
        t.strictSame(traces(text, token), [])
      })
    }
  }

  await t.test('in a frame that is malformed', async (t) => {
    for (const frame of [`{"type":"auth","token":"${good}"`, `{"type":"auth","token":["${good}"]}`, `{"type":"auth","jwt":"${good}"}`, `{"type":"auth","${good}":1}`]) {
      for (const isFirst of [true, false]) {
        const { app, log, port } = await start(t, { plugin: { token: { message: true } }, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
        const client = await upgrade(t, port, { path: '/chat', ...(isFirst ? {} : { headers: { authorization: `Bearer ${PRESENT}` } }) })
        client.send(clientFrame(1, frame))
        t.match(String((await client.frame()).payload), isFirst ? 'token_invalid' : 'WS_AUTH_TOKEN_INVALID')
        t.match(app.wsAuth.stats().refused, { WS_AUTH_TOKEN_INVALID: 1 })
        t.strictSame(traces([...log, client.text].join('\n'), good), [])
      }
    }
  })
})
