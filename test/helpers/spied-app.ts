/*
 * An app that looks at all that is visible behind the handshake, and the ways to find a token in that.
 */
import { createHmac } from 'node:crypto'
import { inspect } from 'node:util'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign, start, within } from './app'
import type { StartedApp } from './app'
import { RawClient } from './raw-client'
import type { RequestSettings } from './raw-client'

export const never = async (): Promise<never> => await new Promise(() => {})

/** The ways in which a token may be written. A JWT is also known by its signature. */
export function writings (token: string): string[] {
  const signature = token.split('.')[2] ?? token
  const plain = [token, signature, Buffer.from(token).toString('base64url'), Buffer.from(token).toString('base64'), Buffer.from(token).toString('hex')]
  return [...plain, ...plain.map(encodeURIComponent), JSON.stringify(token).slice(1, -1)]
}

/** Where a token is found in a text, with what is around it; nothing where it is not. */
export function traces (text: string, token: string): string[] {
  return [...new Set(writings(token))].flatMap((writing) => {
    const index = text.indexOf(writing)
    return index === -1 ? [] : [text.slice(Math.max(0, index - 60), index + 20)]
  })
}

/** All that a hook or handler can see of a request. */
export function seenOf (where: string, request: FastifyRequest, error?: unknown): string {
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
export function distinctOf ({ raw }: FastifyRequest): unknown {
  try {
    return raw.headersDistinct
  } catch {
    return null
  }
}

export interface SpiedApp extends StartedApp {
  /** What hooks and handlers saw. */
  readonly seen: string[]
}

export interface SpySettings {
  plugin?: fastifyWsAuth.WsAuthOptions
  /** Whether the app answers errors and unknown paths itself. */
  isCustom?: boolean
  routes?: (app: FastifyInstance) => unknown
}

/** An app that looks at everything behind the handshake. */
export async function spy (t: Test, { plugin, isCustom = false, routes }: SpySettings): Promise<SpiedApp> {
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

export type Send = (token: string, path: string) => RequestSettings

export const SOURCES: Record<string, Send> = {
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
export const OUTCOMES: Array<{ path: string, status: number, code?: number, sources?: RegExp, headers?: Record<string, string> }> = [
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

export const OPAQUE = 'Opaque~canary.5f3a9c71d2b84e06'

export const TOKENS: Record<string, { token: string, plugin: fastifyWsAuth.WsAuthOptions, isGood: boolean }> = {
  'a good JWT': { token: sign({ sub: 'canary' }), plugin: { jwt: { secret: SECRET } }, isGood: true },
  'a JWT with another signature': { token: sign({ sub: 'canary' }, 'another secret'), plugin: { jwt: { secret: SECRET } }, isGood: false },
  'an expired JWT': { token: sign({ sub: 'canary', exp: 1 }), plugin: { jwt: { secret: SECRET } }, isGood: false },
  'no JWT': { token: 'canary-5f3a9c71d2b84e06', plugin: { jwt: { secret: SECRET } }, isGood: false },
  'a JWT by request': { token: sign({ sub: 'canary' }), plugin: { jwt: { secret: async () => SECRET } }, isGood: true },
  'an opaque token': { token: OPAQUE, plugin: { verify: (token) => token === OPAQUE ? { sub: 'canary' } : null }, isGood: true },
  'an opaque token that is wrong': { token: `${OPAQUE}1`, plugin: { verify: (token) => token === OPAQUE ? { sub: 'canary' } : null }, isGood: false }
}

export async function send (t: Test, { port }: StartedApp, request: RequestSettings): Promise<{ status: number, text: string }> {
  const client = await RawClient.open(t, port)
  const { status } = await within(5000, 'an answer', client.upgrade(request).response())
  if (status === 101) await client.frame().catch(() => {})
  else await within(5000, 'the end', client.ended)
  client.socket.destroy()
  return { status, text: client.text }
}

export interface Ways {
  readonly isCustom?: boolean
  readonly rejectWith?: 'http' | 'close'
  /** Whether the token is in a signed cookie, or else in each other source. */
  readonly isSigned?: boolean
}

/** Sends one of {@link TOKENS} in each source to each path, and looks for it in all that is visible. */
export async function assertNoTrace (t: Test, kind: keyof typeof TOKENS, { isCustom = false, rejectWith = 'http', isSigned = false }: Ways): Promise<void> {
  const { token, plugin, isGood } = TOKENS[kind] as NonNullable<(typeof TOKENS)[string]>
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
}
