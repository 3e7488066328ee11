/*
 * A server that speaks HTTP/2: browsers ask it for pages, dry runs and tickets by HTTP/2, and open WebSockets by HTTP/1.1 if
 * it allows that. Here is what only HTTP/2 has: many requests on one connection, streams that are reset, CONNECT with a
 * protocol, and headers that it forbids.
 */
import { once } from 'node:events'
import http2 from 'node:http2'
import { connect } from 'node:net'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { sign, start, until, within } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { CERTIFICATE, KEY } from '../helpers/certificate'
import { seconds } from '../helpers/keys'
import { ask, HTTP2_PROTOCOLS, openSession, PROTOCOLS, requestOn } from '../helpers/protocols'
import type { PlainAnswer, PlainRequest, Protocol } from '../helpers/protocols'
import { uncaughtErrors } from '../helpers/uncaught'
import { statsOf } from '../helpers/stats'

t.jobs = HTTP2_PROTOCOLS.length

const ann = sign({ sub: 'ann' })
const bearer = { authorization: `Bearer ${ann}` }
const KEY_HEADERS = { 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' }
const noop = (): void => {}
/** How long an answer may take, in milliseconds. */
const TIMEOUT = 60_000

function protocolNamed (name: string): Protocol {
  const found = PROTOCOLS.find((protocol) => protocol.name === name)
  if (found === undefined) throw new Error(name)
  return found
}

const BOTH = protocolNamed('HTTP/2 with a server that allows HTTP/1.1')

function declareRoutes (app: FastifyInstance): void {
  app.get('/plain', async () => 'plain')
  app.get('/ws', { websocket: true }, (socket, request) => socket.send(`hello ${(request.user as { sub: string }).sub}`))
  app.get('/public', { websocket: true, wsAuth: false }, noop)
  app.get('/optional', { websocket: true, wsAuth: 'optional' }, noop)
  app.get('/first', { websocket: true, wsAuth: { renewal: true, token: { message: true } } }, noop)
}

/** What is sent on one session, and how it is answered. */
async function askOn (session: http2.ClientHttp2Session, plain: PlainRequest): Promise<PlainAnswer> {
  return await within(TIMEOUT, `an answer to ${plain.method ?? 'GET'} ${plain.path}`, requestOn(session, plain).answer)
}

function open (t: Test, protocol: Protocol, port: number): http2.ClientHttp2Session {
  const session = openSession(protocol, port)
  t.teardown(() => session.destroy())
  return session
}

/** The first message of a WebSocket, or the status that it was refused with. */
async function hear (url: string, protocols: string[] = [], headers: Record<string, string> = {}): Promise<string> {
  const socket = new WebSocket(url, protocols, { headers, rejectUnauthorized: false })
  const outcome = new Promise<string>((resolve, reject) => {
    socket.on('message', (message) => resolve(String(message)))
    socket.on('unexpected-response', (_request, { statusCode }) => resolve(String(statusCode)))
    socket.on('error', reject)
  })
  return await within(5000, url, outcome).finally(() => socket.terminate())
}

/** Each answers with a status, a reset or nothing within the time; the server answers others all the same. */
const ODD: Array<[what: string, headers: http2.OutgoingHttpHeaders]> = [
  ['CONNECT', { ':method': 'CONNECT', ':authority': 'localhost' }],
  ['CONNECT of a websocket', { ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':path': '/ws', ...bearer, 'sec-websocket-version': '13' }],
  ['CONNECT of a websocket of a public route', { ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':path': '/public', 'sec-websocket-version': '13' }],
  ['CONNECT of another protocol', { ':method': 'CONNECT', ':protocol': 'connect-udp', ':scheme': 'https', ':path': '/ws' }],
  ['GET with a protocol', { ':method': 'GET', ':protocol': 'websocket', ':path': '/ws', ...bearer }],
  ['an unknown method', { ':method': 'WEBSOCKET', ':path': '/ws', ...bearer }],
  ['TRACE', { ':method': 'TRACE', ':path': '/ws', ...bearer }],
  ['a path that is none', { ':path': '*', ':method': 'OPTIONS' }],
  ['a path without a slash', { ':path': 'ws', ...bearer }],
  ['an empty path', { ':path': '', ...bearer }],
  ['a malformed path', { ':path': '/%zz?token=x' }],
  ['another authority', { ':path': '/ws', ':authority': 'evil.example:1', ...bearer }],
  ['trailers', { ':path': '/ws', te: 'trailers', ...bearer }],
  ['many cookies', { ':path': '/ws', cookie: Array.from({ length: 50 }, (_, i) => `a${i}=${i}`) }],
  ['a body that is announced and does not come', { ':path': '/ws-ticket', ':method': 'POST', 'content-length': '10', 'content-type': 'application/json', ...bearer }]
]

for (const protocol of HTTP2_PROTOCOLS) {
  void t.test(`the plugin answers requests over ${protocol.name}`, { buffered: true }, async (t) => {
    t.test('the server answers 110 requests on one session', async (t) => {
      const { app, port } = await start(t, { server: protocol.server, plugin: { tickets: true }, routes: declareRoutes })
      const session = open(t, protocol, port)
      const plain: Array<[PlainRequest, number]> = [
        [{ path: '/ws', headers: bearer }, 426], [{ path: '/ws', headers: { cookie: `token=${ann}` } }, 426], [{ path: `/ws?token=${ann}` }, 426],
        [{ path: '/ws' }, 401], [{ path: '/public' }, 426], [{ path: '/optional' }, 426], [{ path: '/first' }, 426], [{ path: '/plain' }, 200],
        [{ method: 'POST', path: '/ws-ticket', headers: bearer }, 200], [{ method: 'POST', path: '/ws-ticket' }, 401], [{ path: '/nowhere' }, 404]
      ]
      const ten = Array.from({ length: 10 }, () => plain).flat()
      const answers = await Promise.all(ten.map(async ([one]) => await askOn(session, one)))
      t.strictSame(answers.map(({ status }) => status), ten.map(([, status]) => status))
      t.notOk(session.destroyed, 'the session is open')
      t.equal(statsOf(app).pending, 0)
    })

    t.test('a client that resets a stream ends the verification of that stream only', async (t) => {
      const signals: AbortSignal[] = []
      let finish: (() => void) | undefined
      const verify = async (token: string, _request: unknown, { signal }: { signal: AbortSignal }): Promise<object> => {
        signals.push(signal)
        return await new Promise((resolve) => { if (token === 'kept') finish = () => resolve({ sub: 'ann' }) })
      }
      const { app, port } = await start(t, { server: protocol.server, plugin: { verify, tickets: true }, routes: declareRoutes })
      const session = open(t, protocol, port)
      const kept = requestOn(session, { path: '/ws?token=kept' })
      await until(() => signals.length === 1, 'the first verification')
      const aborted = [
        requestOn(session, { path: '/ws?token=aborted' }),
        requestOn(session, { method: 'POST', path: '/ws-ticket?token=aborted' }),
        requestOn(session, { method: 'POST', path: '/ws-ticket?token=aborted', headers: { 'content-type': 'application/json' }, body: '{"path":"/ws"}' })
      ]
      const failures = aborted.map(async ({ answer }) => await t.rejects(answer))
      await until(() => signals.length === 4, 'all verifications')
      t.equal(statsOf(app).pending, 4)
      for (const { abort } of aborted) abort()
      await Promise.all(failures)
      await until(() => statsOf(app).pending === 1, 'the end of three')
      t.strictSame(signals.map((signal) => signal.aborted), [false, true, true, true])
      finish?.()
      t.equal((await kept.answer).status, 426)
      t.equal(statsOf(app).pending, 0)
    })

    t.test('a client that destroys a session ends all verifications of that session', async (t) => {
      const signals: AbortSignal[] = []
      const verify = async (_token: string, _request: unknown, { signal }: { signal: AbortSignal }): Promise<object> => {
        signals.push(signal)
        return await new Promise(() => {})
      }
      const { app, port } = await start(t, { server: protocol.server, plugin: { verify, tickets: true }, routes: declareRoutes })
      const session = open(t, protocol, port)
      const sent = Array.from({ length: 6 }, (_, i) => requestOn(session, i % 2 === 0 ? { path: '/ws?token=x' } : { method: 'POST', path: '/ws-ticket?token=x' }))
      const failures = sent.map(async ({ answer }) => await t.rejects(answer))
      await until(() => signals.length === 6, 'all verifications')
      session.destroy()
      await Promise.all(failures)
      await until(() => statsOf(app).pending === 0 && signals.every(({ aborted }) => aborted), 'the end of all')
      t.equal((await ask(protocol, port, { path: '/plain' })).status, 200)
    })

    for (const enableConnectProtocol of [false, true]) {
      t.test(`the server survives odd requests, with CONNECT with a protocol ${enableConnectProtocol ? '' : 'not '}allowed`, async (t) => {
        const { https } = protocol.server as { https?: object }
        const settings = { settings: { enableConnectProtocol } }
        const server: object = { http2: true, ...https === undefined ? { http: settings } : { https: { ...https, ...settings } } }
        const { app, port } = await start(t, { server: server as FastifyServerOptions, plugin: { tickets: true, handshakeTimeout: 1000 }, routes: declareRoutes })
        for (const [what, headers] of ODD) {
          const session = open(t, protocol, port)
          if (!session.remoteSettings?.enableConnectProtocol) await once(session, 'remoteSettings')
          const stream = session.request(headers)
          const status = new Promise<number | 'reset'>((resolve) => {
            stream.on('response', ({ ':status': answered = 0 }) => resolve(answered))
            stream.on('error', () => resolve('reset')).on('close', () => resolve('reset'))
          })
          stream.end()
          const answered = await within(4000, what, status)
          t.ok(answered === 'reset' || (answered >= 400 && answered < 500), `${what}: ${answered}`)
          if (headers[':protocol'] !== undefined && headers[':method'] === 'CONNECT') t.equal(answered, enableConnectProtocol ? 405 : 'reset', what)
          session.destroy()
          t.equal((await ask(protocol, port, { path: '/plain' })).status, 200, `after ${what}`)
        }
        await until(() => statsOf(app).pending === 0, 'nothing that waits')
        t.equal(statsOf(app).connections, 0)
      })
    }

    t.test('app.close() answers or ends a logout request that is in progress, without an uncaught error', async (t) => {
      let isAsked = false
      const secret = async (): Promise<string> => { isAsked = true; return await new Promise(() => {}) }
      const backChannelLogout = { path: '/logout', issuer: 'https://issuer.example', audience: 'client' }
      const { app, port } = await start(t, { server: protocol.server, plugin: { jwt: { secret }, backChannelLogout }, routes: declareRoutes })
      const token = sign({ iss: 'https://issuer.example', aud: 'client', iat: seconds(), exp: seconds(60), jti: '1', sub: 'ann', events: { 'http://schemas.openid.net/event/backchannel-logout': {} } })
      const session = open(t, protocol, port)
      const { answer } = requestOn(session, { method: 'POST', path: '/logout', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: `logout_token=${token}` })
      // On Node 20 and 22, Fastify waits for the sessions that clients keep open.
      const outcome = answer.then(({ status }) => status, () => 'ended').finally(() => session.close())
      await until(() => isAsked, 'the verification')
      await within(10_000, 'the app to close', app.close())
      const status = await within(5000, 'an answer', outcome)
      t.ok(status === 400 || status === 'ended', String(status))
    })
  })
}

void t.test('a server of HTTP/2 that allows HTTP/1.1 guards both', { buffered: true }, async (t) => {
  const listen = async (t: Test): Promise<StartedApp> => await start(t, { server: BOTH.server, plugin: { tickets: true }, routes: declareRoutes })

  t.test('the server opens WebSockets by HTTP/1.1, with a token in each place and a ticket that is issued by HTTP/2', async (t) => {
    const { port } = await listen(t)
    const url = `wss://127.0.0.1:${port}/ws`
    t.equal(await hear(url), '401')
    t.equal(await hear(url, [], bearer), 'hello ann')
    t.equal(await hear(url, [], { cookie: `token=${ann}` }), 'hello ann')
    t.equal(await hear(url, [], { cookie: `token=${ann}`, origin: `https://127.0.0.1:${port}` }), 'hello ann')
    t.equal(await hear(url, [], { cookie: `token=${ann}`, origin: 'https://evil.example' }), '403')
    t.equal(await hear(url, ['bearer', ann]), 'hello ann')
    t.equal(await hear(`${url}?token=${ann}`), 'hello ann')
    const { body } = await ask(BOTH, port, { method: 'POST', path: '/ws-ticket', headers: { cookie: `token=${ann}`, origin: `https://127.0.0.1:${port}` } })
    const { ticket } = JSON.parse(body) as { ticket: string }
    t.equal((await ask(BOTH, port, { path: `/ws?ticket=${ticket}` })).status, 426, 'a dry run by HTTP/2 does not spend it')
    t.equal(await hear(`${url}?ticket=${ticket}`), 'hello ann')
    t.equal(await hear(`${url}?ticket=${ticket}`), '401')
  })

  t.test('the server resets an HTTP/2 stream that has the headers of an upgrade, and answers the next request', async (t) => {
    const { app, port } = await start(t, { server: protocolNamed('HTTP/2 in cleartext').server, routes: declareRoutes })
    for (const [name, value] of [['connection', 'Upgrade'], ['upgrade', 'websocket'], ['keep-alive', '1'], ['transfer-encoding', 'chunked']] as const) {
      const reset = await sendRaw(t, port, { ':method': 'GET', ':scheme': 'http', ':path': '/public', ':authority': 'localhost', [name]: value, ...KEY_HEADERS })
      t.equal(reset, http2.constants.NGHTTP2_PROTOCOL_ERROR, name)
    }
    t.equal((await ask(protocolNamed('HTTP/2 in cleartext'), port, { path: '/public', headers: KEY_HEADERS })).status, 426)
    t.equal(statsOf(app).pending, 0)
  })
})

/** Sends headers that Node's client refuses to send, and resolves to the code of the reset of their stream. */
async function sendRaw (t: Test, port: number, headers: Record<string, string>): Promise<number> {
  const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)])
  // RFC 7541, 6.2.2: literals that are not indexed.
  const block = Buffer.concat(Object.entries(headers).map(([name, value]) => Buffer.concat([Buffer.from([0]), text(name), text(value)])))
  const socket = connect({ port, host: '127.0.0.1' })
  t.teardown(() => socket.destroy())
  socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0, Buffer.alloc(0)), frame(1, 5, 1, block)]))
  return await within(5000, 'a reset', new Promise((resolve, reject) => {
    let received = Buffer.alloc(0)
    socket.on('error', reject).on('close', () => reject(new Error('the connection was closed')))
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      for (let at = 0; received.length >= at + 9; at += 9 + received.readUIntBE(at, 3)) {
        if (received[at + 3] === 3 && received.length >= at + 13) resolve(received.readUInt32BE(at + 9))
        if (received[at + 3] === 1) reject(new Error('it was answered'))
      }
    })
  }))
}

/** RFC 9113, 4.1. */
function frame (type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

void t.test('TLS alone does not change how the server answers a handshake by HTTP/1.1', { buffered: true }, async (t) => {
  const server: object = { https: { key: KEY, cert: CERTIFICATE } }
  const { port } = await start(t, { server: server as FastifyServerOptions, routes: declareRoutes })
  t.equal(await hear(`wss://127.0.0.1:${port}/ws`, [], bearer), 'hello ann')
  t.equal(await hear(`wss://127.0.0.1:${port}/ws`), '401')
})

void t.test('the server throws no uncaught error over HTTP/2', { buffered: true }, async (t) => {
  t.strictSame(uncaughtErrors(), [])
})
