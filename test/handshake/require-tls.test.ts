/*
 * `requireTls`: what came without TLS is refused before its token is looked at. Whether it did is what Fastify says, so that no client can
 * claim it by a header.
 */
import http2 from 'node:http2'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { prepare, SECRET, sign, start } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { CERTIFICATE, KEY } from '../helpers/certificate'
import { watch } from '../helpers/client-socket'
import { openSocket } from '../helpers/sockets'
import { plainText, RawClient, upgrade } from '../helpers/raw-client'
import type { RawResponse, RequestSettings } from '../helpers/raw-client'

const TOKEN = sign({ sub: 'ann' })
const AUTHORIZED = { authorization: `Bearer ${TOKEN}` }
const HANDSHAKE = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' }
const REFUSAL = { statusCode: 400, code: 'WS_AUTH_HANDSHAKE_INVALID', error: 'Bad Request', message: 'This server needs TLS: connect by wss:// or https://' }
const WITHOUT = 'it came without TLS, and "requireTls" is on'
const UNTRUSTED = `${WITHOUT}; a proxy says that it did, and the app does not trust it (the "trustProxy" option of Fastify)`

function declare (app: FastifyInstance): void {
  app.get('/chat', { websocket: true }, () => {})
  app.get('/public', { websocket: true, wsAuth: false }, () => {})
  app.get('/optional', { websocket: true, wsAuth: 'optional' }, () => {})
  app.get('/later', { websocket: true, wsAuth: { token: { message: true } } }, () => {})
  app.get('/close', { websocket: true, wsAuth: { rejectWith: 'close' } }, () => {})
  app.get('/plain', { websocket: true, wsAuth: { requireTls: false } }, () => {})
  app.get('/both', { handler: async () => 'both', wsHandler: () => {} } as never)
}

async function serve (t: Test, server: FastifyServerOptions = {}, plugin: fastifyWsAuth.WsAuthOptions = {}): Promise<StartedApp> {
  return await start(t, { server, plugin: { requireTls: true, tickets: true, ...plugin }, routes: declare })
}

async function serveTls (t: Test, server: object = {}): Promise<number> {
  const settings: object = { https: { key: KEY, cert: CERTIFICATE, allowHTTP1: true }, ...server }
  const app = Fastify(settings)
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, requireTls: true, tickets: true })
  declare(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

/** The status of a request over TLS. */
async function askTls (port: number, path: string, headers: Record<string, string>, method = 'GET'): Promise<number> {
  return await new Promise((resolve, reject) => {
    const request = https.request({ port, host: '127.0.0.1', path, method, headers, rejectUnauthorized: false, agent: false })
    request.on('response', (response) => { response.resume(); resolve(response.statusCode ?? 0) })
    request.on('upgrade', (response, socket) => { socket.destroy(); resolve(response.statusCode ?? 0) })
    request.on('error', reject).end()
  })
}

async function shake (t: Test, port: number, path: string, headers: RequestSettings['headers'] = AUTHORIZED): Promise<RawResponse> {
  const client = await upgrade(t, port, { path, headers })
  client.socket.destroy()
  return client.answer
}

async function ask (t: Test, port: number, settings: RequestSettings): Promise<RawResponse> {
  const client = await RawClient.open(t, port)
  client.socket.write(plainText(settings))
  return await client.response()
}

function whys (log: readonly string[]): unknown[] {
  return log.map((line) => JSON.parse(line)).filter(({ event }) => event === 'refused').map(({ why }) => why)
}

t.test('over TLS each handshake, dry run and request for a ticket is served', async (t) => {
  const port = await serveTls(t)
  for (const path of ['/chat', '/public', '/optional', '/close', '/plain']) {
    t.equal(await askTls(port, path, { ...HANDSHAKE, ...AUTHORIZED }), 101, path)
    t.equal(await askTls(port, path, AUTHORIZED), 426, `dry run of ${path}`)
  }
  t.equal(await askTls(port, '/later', HANDSHAKE), 101)
  t.equal(await askTls(port, '/ws-ticket', AUTHORIZED, 'POST'), 200)
  t.equal(await askTls(port, '/chat', { ...HANDSHAKE, ...AUTHORIZED, 'x-forwarded-proto': 'http' }), 101, 'a header takes nothing away')
})

t.test('a dry run and a ticket over HTTP/2 are served', async (t) => {
  const port = await serveTls(t, { http2: true })
  const session = http2.connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
  t.teardown(() => session.destroy())
  const status = async (headers: http2.OutgoingHttpHeaders): Promise<unknown> => await new Promise((resolve, reject) => {
    session.request({ ...AUTHORIZED, ...headers }).on('response', ({ ':status': code }) => resolve(code)).on('error', reject).resume()
  })
  t.equal(await status({ ':path': '/chat' }), 426)
  t.equal(await status({ ':path': '/ws-ticket', ':method': 'POST' }), 200)
})

t.test('without TLS the answer is the same whatever the token is, and nothing has looked at it', async (t) => {
  const asked: string[] = []
  const plugin: fastifyWsAuth.WsAuthOptions = {
    verify: (token) => { asked.push(token); return { sub: 'ann' } }, origin: () => { asked.push('origin'); return true }, tickets: true, token: { message: true }
  }
  const { app, port, log } = await serve(t, {}, plugin)
  const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann' })
  const tokens: Array<[path: string, headers: Record<string, string | undefined>]> = [
    ['', AUTHORIZED], ['', {}], ['', { authorization: 'Bearer wrong' }], [`?token=${TOKEN}`, {}], [`?token=${TOKEN}`, AUTHORIZED], [`?ticket=${ticket}`, {}],
    ['', { cookie: `token=${TOKEN}`, origin: 'https://evil.example' }], ['', { 'sec-websocket-protocol': `bearer, ${TOKEN}` }]
  ]
  for (const path of ['/chat', '/optional', '/later', '/close', '/public', '/both']) {
    for (const [query, headers] of tokens) {
      const answer = await shake(t, port, path + query, headers)
      t.strictSame([answer.status, JSON.parse(answer.body)], [400, REFUSAL], path + query)
      t.notOk('www-authenticate' in answer.headers)
    }
  }
  for (const [path, method] of [['/chat', 'GET'], ['/public', 'GET'], ['/ws-ticket', 'POST']] as const) {
    const answer = await ask(t, port, { path, method, headers: { ...AUTHORIZED, 'content-length': method === 'POST' ? '0' : undefined, connection: 'close' } })
    t.strictSame([answer.status, JSON.parse(answer.body)], [400, REFUSAL], `${method} ${path}`)
  }
  t.equal((await ask(t, port, { path: '/both' })).body, 'both', 'the plain handler beside a websocket is the app\'s own')
  t.strictSame(asked, [])
  t.ok(whys(log).every((why) => why === WITHOUT))
  t.notMatch(log.join('').replaceAll(/"url":"[^"]*"/g, ''), TOKEN)
  t.equal((await shake(t, port, `/plain?ticket=${ticket}`, {})).status, 101, 'the ticket was not spent, and a route may do without TLS')
  t.equal(app.wsAuth.stats().refused.WS_AUTH_HANDSHAKE_INVALID, 6 * tokens.length + 1)
})

t.test('a proxy is believed if the app trusts it, and then by its last word', async (t) => {
  const behind = await serve(t, { trustProxy: true })
  const elsewhere = await serve(t, { trustProxy: '10.0.0.1' })
  const alone = await serve(t)
  const cases: Array<[proto: string, isSecure: boolean]> = [
    ['https', true], ['HTTPS', true], ['wss', true], ['http, https', true], ['http', false], ['ws', false], ['https, http', false], ['httpsx', false], ['', false], ['on', false]
  ]
  for (const [proto, isSecure] of cases) {
    const headers = { ...AUTHORIZED, 'x-forwarded-proto': proto }
    for (const path of ['/chat', '/public']) {
      t.equal((await shake(t, behind.port, path, headers)).status, isSecure ? 101 : 400, `trusted, ${path}, ${proto}`)
      for (const { port } of [elsewhere, alone]) t.equal((await shake(t, port, path, headers)).status, 400, `not trusted, ${path}, ${proto}`)
    }
  }
  t.equal((await shake(t, behind.port, '/chat')).status, 400, 'it came around the proxy')
  t.equal((await shake(t, alone.port, '/chat', { ...AUTHORIZED, forwarded: 'proto=https', 'x-forwarded-ssl': 'on', 'front-end-https': 'on' })).status, 400)
  const told = cases.flatMap(([, isSecure]) => [isSecure, isSecure]).map((isSecure) => isSecure ? UNTRUSTED : WITHOUT)
  t.strictSame(whys(alone.log), [...told, WITHOUT], 'the log names the remedy')
  t.strictSame(whys(elsewhere.log), told)
  t.ok(whys(behind.log).every((why) => why === WITHOUT))
})

t.test('a function of the app that throws about a proxy refuses with 503, on public routes too', async (t) => {
  const { port, log } = await serve(t, { trustProxy: () => { throw new Error('who is it?') } })
  for (const path of ['/chat', '/public']) {
    const { status, body } = await shake(t, port, path, { ...AUTHORIZED, 'x-forwarded-proto': 'https' })
    t.strictSame([status, JSON.parse(body).code], [503, 'WS_AUTH_UNAVAILABLE'], path)
  }
  t.match(log.join(''), /who is it\?/)
})

t.test('a route may need TLS alone, and a renewal goes on over the connection that is there', async (t) => {
  const { app, port } = await start(t, {
    server: { trustProxy: true },
    routes: (app) => {
      app.get('/chat', { websocket: true }, () => {})
      app.get('/admin', { websocket: true, wsAuth: { requireTls: true } }, () => {})
    }
  })
  t.equal((await shake(t, port, '/chat')).status, 101)
  t.equal((await shake(t, port, '/admin')).status, 400)
  const client = await upgrade(t, port, { path: '/admin', headers: { ...AUTHORIZED, 'x-forwarded-proto': 'https' } })
  t.equal(client.answer.status, 101)
  const [connection] = app.wsAuth.connections.byRoute('/admin')
  t.same(await connection?.renew(sign({ sub: 'ann', jti: 'next' })), { sub: 'ann', jti: 'next' })
  t.strictSame(app.wsAuth.inspect().routes.map(({ path, requireTls, warnings }) => [path, requireTls, warnings.includes('plain_transport')]), [['/admin', true, false], ['/chat', false, true]])
  t.match(String(app.wsAuth.inspect()), /\| TLS \|.*\n.*\n\| `\/admin` \|.*\| required \|/)
})

t.test('injectWS needs no TLS, because nothing leaves the process, and inject is a plain request', async (t) => {
  const { app } = await prepare(t, { plugin: { requireTls: true }, routes: declare })
  for (const path of ['/chat', '/public']) {
    const { socket } = await openSocket(app, path, TOKEN)
    t.equal(socket.readyState, socket.OPEN, path)
    socket.terminate()
  }
  t.equal((await app.inject({ path: '/chat', headers: AUTHORIZED })).statusCode, 400)
  const behind = await prepare(t, { plugin: { requireTls: true }, server: { trustProxy: true }, routes: declare })
  t.equal((await behind.app.inject({ path: '/chat', headers: { ...AUTHORIZED, 'x-forwarded-proto': 'https' } })).statusCode, 426)
})

t.test('the client of the package stops, and says why', async (t) => {
  const { port } = await serve(t)
  const { next, handshakes } = watch(t, `ws://127.0.0.1:${port}/chat`, () => TOKEN)
  t.match(await next('refused'), { end: { reason: 'handshake_invalid', status: 400 } })
  t.equal(handshakes(), 1)
})
