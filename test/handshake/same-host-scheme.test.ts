/*
 * An Origin has a scheme, and `http://example.com` is another one than `https://example.com`: a page that came without TLS can be
 * written by anybody on the way. So a request that came by https is of the same host only where its Origin is an https one.
 */
import https from 'node:https'
import { connect } from 'node:tls'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { prepare, SECRET, sign, start } from '../helpers/app'
import { CERTIFICATE, KEY } from '../helpers/certificate'
import { upgrade } from '../helpers/raw-client'

const COOKIE = `token=${sign({ sub: 'ann', exp: Math.floor(Date.now() / 1000) + 600 })}`
const HANDSHAKE = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' }

/** By a request that came by TLS. */
const BY_TLS: ReadonlyArray<[host: string, origin: string, admitted: boolean]> = [
  ['example.com', 'https://example.com', true],
  ['example.com', 'http://example.com', false],
  ['example.com', 'http://example.com:80', false],
  ['example.com', 'http://example.com:443', false],
  ['example.com', 'https://example.com:443', true],
  ['example.com:443', 'https://example.com', true],
  ['example.com:443', 'http://example.com:443', false],
  ['example.com:8443', 'https://example.com:8443', true],
  ['example.com:8443', 'http://example.com:8443', false],
  ['example.com:80', 'http://example.com', false],
  ['example.com', 'https://example.com:8443', false],
  ['[::1]:8443', 'https://[::1]:8443', true],
  ['[::1]:8443', 'http://[::1]:8443', false],
  ['localhost', 'ws://localhost', false],
  ['localhost', 'wss://localhost', false],
  ['localhost', 'HTTP://localhost', false],
  ['localhost', 'httpss://localhost', false],
  ['localhost', 'null', false]
]

/** By one that came without: TLS may end at a proxy that the app was not told of. */
const WITHOUT_TLS: typeof BY_TLS = [
  ['example.com', 'https://example.com', true],
  ['example.com', 'http://example.com', true],
  ['example.com:8080', 'http://example.com:8080', true],
  ['example.com', 'http://example.com:8080', false]
]

async function startTls (t: Test, routes: (app: FastifyInstance) => unknown, plugin: fastifyWsAuth.WsAuthOptions = {}): Promise<{ port: number, app: FastifyInstance }> {
  const app = Fastify({ https: { key: KEY, cert: CERTIFICATE } }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, ...plugin })
  await routes(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, port: (app.server.address() as AddressInfo).port }
}

/** The status of a request over TLS. */
async function ask (port: number, path: string, headers: Record<string, string>, method = 'GET'): Promise<number> {
  return await new Promise((resolve, reject) => {
    const request = https.request({ port, host: '127.0.0.1', path, method, headers, rejectUnauthorized: false, agent: false })
    request.on('response', (response) => { response.resume(); resolve(response.statusCode ?? 0) })
    request.on('upgrade', (response, socket) => { socket.destroy(); resolve(response.statusCode ?? 0) })
    request.on('error', reject)
    request.end()
  })
}

t.test('an http page of the same host is another origin over TLS', async (t) => {
  const { port } = await startTls(t, (app) => app
    .get('/chat', { websocket: true }, () => {})
    .get('/later', { websocket: true, wsAuth: { token: { message: true, cookie: false } } }, () => {}), { tickets: true })
  for (const [host, origin, isAdmitted] of BY_TLS) {
    const what = `Host ${host}, Origin ${origin}`
    t.equal(await ask(port, '/chat', { ...HANDSHAKE, host, origin, cookie: COOKIE }), isAdmitted ? 101 : 403, `handshake by cookie, ${what}`)
    t.equal(await ask(port, '/later', { ...HANDSHAKE, host, origin }), isAdmitted ? 101 : 403, `handshake that waits for a first message, ${what}`)
    t.equal(await ask(port, '/chat', { host, origin, cookie: COOKIE }), isAdmitted ? 426 : 403, `dry run, ${what}`)
    t.equal(await ask(port, '/ws-ticket', { host, origin, cookie: COOKIE }, 'POST'), isAdmitted ? 200 : 403, `ticket, ${what}`)
  }
})

t.test('a token in a header is admitted from an http page over TLS, and so is a cookie without an Origin', async (t) => {
  const { port } = await startTls(t, (app) => app.get('/chat', { websocket: true }, () => {}))
  const authorization = `Bearer ${COOKIE.slice('token='.length)}`
  t.equal(await ask(port, '/chat', { ...HANDSHAKE, host: 'example.com', origin: 'http://example.com', authorization }), 101)
  t.equal(await ask(port, '/chat', { ...HANDSHAKE, host: 'example.com', cookie: COOKIE }), 101)
})

t.test('a list or a function of origins decides over TLS without the same-host rule', async (t) => {
  const { port } = await startTls(t, (app) => app
    .get('/list', { websocket: true, wsAuth: { origin: ['http://example.com'] } }, () => {})
    .get('/function', { websocket: true, wsAuth: { origin: (origin) => origin === 'http://example.com' } }, () => {})
    .get('/any', { websocket: true, wsAuth: { origin: 'any' } }, () => {}))
  for (const path of ['/list', '/function', '/any']) {
    t.equal(await ask(port, path, { ...HANDSHAKE, host: 'example.com', origin: 'http://example.com', cookie: COOKIE }), 101, path)
  }
})

t.test('a server without TLS admits both schemes of the same host', async (t) => {
  const { port } = await start(t, { routes: (app) => app.get('/chat', { websocket: true }, () => {}) })
  for (const [host, origin, isAdmitted] of WITHOUT_TLS) {
    const client = await upgrade(t, port, { path: '/chat', headers: { host, origin, cookie: COOKIE } })
    t.equal(client.answer.status, isAdmitted ? 101 : 403, `Host ${host}, Origin ${origin}`)
    client.socket.destroy()
  }
})

t.test('a trusted proxy reports that the request came by https, and an untrusted one is ignored', async (t) => {
  const settings = (trustProxy: FastifyServerOptions['trustProxy']) => ({
    server: { trustProxy },
    routes: (app: FastifyInstance) => app.get('/chat', { websocket: true }, () => {})
  })
  const behind = await start(t, settings(true))
  const alone = await start(t, settings(false))
  const status = async (port: number, headers: Record<string, string>): Promise<number> => {
    const client = await upgrade(t, port, { path: '/chat', headers: { host: 'example.com', cookie: COOKIE, ...headers } })
    client.socket.destroy()
    return client.answer.status
  }
  for (const [host, origin, isAdmitted] of BY_TLS) {
    t.equal(await status(behind.port, { host, origin, 'x-forwarded-proto': 'https' }), isAdmitted ? 101 : 403, `behind a trusted proxy, Host ${host}, Origin ${origin}`)
  }
  t.equal(await status(behind.port, { host: 'inside:3000', 'x-forwarded-host': 'example.com', 'x-forwarded-proto': 'https', origin: 'http://example.com' }), 403)
  t.equal(await status(behind.port, { host: 'inside:3000', 'x-forwarded-host': 'example.com', 'x-forwarded-proto': 'https', origin: 'https://example.com' }), 101)
  t.equal(await status(behind.port, { 'x-forwarded-proto': 'http', origin: 'http://example.com' }), 101)
  t.equal(await status(behind.port, { 'x-forwarded-proto': 'http, https', origin: 'http://example.com' }), 403, 'the last of a list is that of the nearest proxy')
  t.equal(await status(behind.port, { 'x-forwarded-proto': 'wss', origin: 'http://example.com' }), 403, 'the word of Traefik')
  t.equal(await status(alone.port, { 'x-forwarded-proto': 'https', origin: 'http://example.com' }), 101, 'a proxy that is not trusted')
})

t.test('a request without a socket gets an answer although it has no scheme', async (t) => {
  const { app } = await prepare(t, { routes: (app) => app.get('/chat', { websocket: true }, () => {}) })
  for (const origin of ['http://example.com', 'https://example.com']) {
    const client = await app.injectWS('/chat', { headers: { host: 'example.com', origin, cookie: COOKIE } })
    client.terminate()
  }
  await t.rejects(app.injectWS('/chat', { headers: { host: 'example.com', origin: 'http://other.example', cookie: COOKIE } }), { message: 'Unexpected server response: 403' })
})

t.test('the log has both sides of a comparison that fails by its scheme', async (t) => {
  const { port, log } = await start(t, { server: { trustProxy: true }, routes: (app) => app.get('/chat', { websocket: true }, () => {}) })
  await upgrade(t, port, { path: '/chat', headers: { host: 'example.com', origin: 'http://example.com', 'x-forwarded-proto': 'https', cookie: COOKIE } })
  const { why } = log.map((line) => JSON.parse(line) as { event?: string, why?: string }).find(({ event }) => event === 'refused') ?? {}
  t.match(why, /http:\/\/example\.com/, 'the Origin')
  t.match(why, /https/, 'how the request came')
})

t.test('a TLS client that is no browser opens its connection', async (t) => {
  const { port } = await startTls(t, (app) => app.get('/chat', { websocket: true }, () => {}))
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  t.teardown(() => socket.destroy())
  socket.write(`GET /chat HTTP/1.1\r\nHost: localhost\r\n${Object.entries(HANDSHAKE).map(([name, value]) => `${name}: ${value}\r\n`).join('')}Cookie: ${COOKIE}\r\n\r\n`)
  const [chunk] = await new Promise<[Buffer]>((resolve) => socket.once('data', (data: Buffer) => resolve([data])))
  t.match(String(chunk), /^HTTP\/1\.1 101 /)
})
