import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { WsAuthError, wsAuthErrors } from '../../lib/base/errors'
import type { WsAuthErrorCode } from '../../lib/base/errors'
import type { WsAuthOptions } from '../../lib/options/public-options'
import type { RouteWsAuth } from '../../lib/options/public-route-options'
import { challengeOf } from '../../lib/handshake/answer'
import { mint, secret } from '../helpers/keys'
import { clientFrame, upgrade } from '../helpers/raw-client'
import type { RawClient } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const codes = Object.keys(wsAuthErrors) as WsAuthErrorCode[]

async function listen (t: Test, options: WsAuthOptions, wsAuth: RouteWsAuth = true): Promise<{ app: FastifyInstance, port: number }> {
  const app = Fastify()
  t.teardown(() => app.close())
  // An opaque token that is the name of a refusal is refused with it.
  await app.register(fastifyWsAuth, { verify: (token) => { throw new WsAuthError(token as WsAuthErrorCode) }, ...options })
  app.get('/chat', { websocket: true, wsAuth }, (socket) => { socket.on('message', () => {}) })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, port: (app.server.address() as AddressInfo).port }
}

/** What a client of the wire reads: the status and the body of a refusal, or how it is closed. */
async function connect (t: Test, port: number, headers: Record<string, string>): Promise<{ status: number, challenge: string | undefined, body: unknown } | { code: number, reason: string }> {
  const client = new WebSocket(`ws://127.0.0.1:${port}/chat`, { headers })
  t.teardown(() => client.terminate())
  return new Promise((resolve, reject) => {
    client.on('error', reject)
    client.on('close', (code, reason) => resolve({ code, reason: String(reason) }))
    client.on('unexpected-response', (_request, response) => {
      let text = ''
      response.on('data', (chunk) => { text += chunk })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, challenge: response.headers['www-authenticate'], body: JSON.parse(text) }))
    })
  })
}

t.test('every refusal has its status, body and challenge in a handshake and in a dry run', async (t) => {
  const { app, port } = await listen(t, {})
  const names: Record<number, string> = { 400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found', 408: 'Request Timeout', 429: 'Too Many Requests', 500: 'Internal Server Error', 503: 'Service Unavailable' }
  for (const code of codes) {
    const { statusCode, message } = wsAuthErrors[code]
    const expected = { status: statusCode, challenge: challengeOf(code, null), body: { statusCode, code, error: names[statusCode], message } }
    t.strictSame(await connect(t, port, { authorization: `Bearer ${code}` }), expected, code)
    const dry = await app.inject({ url: '/chat', headers: { authorization: `Bearer ${code}` } })
    t.strictSame({ status: dry.statusCode, challenge: dry.headers['www-authenticate'], body: dry.json() }, expected, `${code}, dry`)
  }
  t.strictSame(statsOf(app).refused, Object.fromEntries(codes.map((code) => [code, 1])), 'a dry run is not counted')
})

t.test('every refusal with a close code closes with the code of the route or the plugin', async (t) => {
  const plugin = { unauthorized: 4401, timeout: 4408, unavailable: 1008 }
  const { app, port } = await listen(t, { rejectWith: 'close', closeCodes: plugin }, { closeCodes: { unauthorized: 4001 } })
  const expectedCodes = { unauthorized: 4001, forbidden: 3003, timeout: 4408, limit: 4429, unavailable: 1008 }
  for (const code of codes) {
    const { close, statusCode } = wsAuthErrors[code]
    const answer = await connect(t, port, { authorization: `Bearer ${code}` })
    if (close === null) t.match(answer, { status: statusCode }, code)
    else t.strictSame(answer, { code: expectedCodes[close.kind], reason: close.reason }, code)
  }
  t.strictSame(statsOf(app).refused, Object.fromEntries(codes.map((code) => [code, 1])))
  t.match(statsOf(app), { accepted: 0, connections: 0 }, 'none of them was a connection')
  t.equal(app.websocketServer.clients.size, 0, 'nor a client of the app\'s server')
})

t.test('rejectWith \'auto\' closes if the handshake has an Origin, and else answers with the status', async (t) => {
  const { port } = await listen(t, { rejectWith: 'auto' })
  const headers = { authorization: 'Bearer WS_AUTH_TOKEN_EXPIRED' }
  t.match(await connect(t, port, headers), { status: 401 })
  t.strictSame(await connect(t, port, { ...headers, origin: 'https://chat.example' }), { code: 3000, reason: 'token_expired' })
})

t.test('a handleProtocols that throws ends the socket and not the process', async (t) => {
  for (const authorize of [() => false, async () => false]) {
    const { app, port } = await listen(t, { verify: () => ({ sub: 'ann' }), rejectWith: 'close', websocket: { options: { handleProtocols: () => { throw new Error('inner') } } } }, { authorize })
    const client = new WebSocket(`ws://127.0.0.1:${port}/chat?token=a`, ['chat'])
    const [error] = await once(client, 'error')
    t.match(error.message, 'socket hang up')
    t.equal(statsOf(app).refused.WS_AUTH_FORBIDDEN, 1)
  }
})

t.test('a refused upgrade closes its socket, also if the client would keep it', async (t) => {
  const { port } = await listen(t, {})
  const request = httpRequest({ port, host: '127.0.0.1', path: '/chat', headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' } })
  request.end()
  const [response] = await once(request, 'response')
  t.equal(response.statusCode, 401)
  t.equal(response.headers.connection, 'close')
  response.resume()
  await once(response.socket, 'close')
})

t.test('an error handler of the app changes the body of a refusal only', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.setErrorHandler(async (error: { statusCode: number, code: string }, _request, reply) => reply.code(error.statusCode).send({ oops: error.code }))
  await app.register(fastifyWsAuth, { jwt: { secret } })
  app.get('/chat', { websocket: true }, () => {})
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.strictSame(await connect(t, (app.server.address() as AddressInfo).port, {}), { status: 401, challenge: 'Bearer realm="websocket"', body: { oops: 'WS_AUTH_TOKEN_MISSING' } })
})

t.test('the log has the code and the reason of a refusal', async (t) => {
  const lines: Array<Record<string, unknown>> = []
  const app = Fastify({ logger: { stream: { write: (line: string) => lines.push(JSON.parse(line)) } } })
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret }, user: () => { throw new Error('the database is down') } })
  app.get('/chat', { websocket: true }, () => {})
  const log = async (token: string): Promise<Record<string, unknown> | undefined> => {
    lines.length = 0
    await app.inject({ url: '/chat', headers: { authorization: `Bearer ${token}` } })
    return lines.find(({ msg }) => msg === 'websocket handshake refused')
  }
  t.match(await log('abc'), { level: 30, code: 'WS_AUTH_TOKEN_INVALID', why: 'not a JWT in compact serialization' })
  t.match(await log(mint({ sub: 'ann' }, { alg: 'HS512' })), { level: 30, code: 'WS_AUTH_TOKEN_INVALID', why: /FAST_JWT_INVALID_SIGNATURE/ })
  t.match(await log(mint({ sub: 'ann' })), { level: 50, code: 'WS_AUTH_UNAVAILABLE', err: { message: 'the database is down' } })
})

t.test('the plugin passes the websocket options on to @fastify/websocket', async (t) => {
  const errors: unknown[] = []
  const { app, port } = await listen(t, { verify: () => ({ sub: 'ann' }), websocket: { options: { maxPayload: 10 }, errorHandler: (error, socket) => { errors.push(error.message); socket.terminate() } } })
  t.equal(app.websocketServer.options.maxPayload, 10)
  const client = new WebSocket(`ws://127.0.0.1:${port}/chat?token=a`)
  await once(client, 'open')
  client.send('eleven bytes')
  const [code] = await once(client, 'close')
  t.ok(code === 1009 || code === 1006)
  t.strictSame(errors, ['Max payload size exceeded'])
})

t.test('maxTokenBytes limits a token in bytes', async (t) => {
  const { app } = await listen(t, { verify: () => ({ sub: 'ann' }), maxTokenBytes: 10 })
  const ask = async (token: string): Promise<number> => (await app.inject(`/chat?token=${encodeURIComponent(token)}`)).statusCode
  t.equal(await ask('1234567890'), 426)
  t.equal(await ask('12345678901'), 401)
  t.equal(await ask('éééééé'), 401)
  t.equal(await ask('1234567890'), 426)
})

t.test('the server reads no message of more than 16 KiB to its end from a refused client', async (t) => {
  const { port } = await listen(t, { rejectWith: 'close' })
  const refuse = async (bytes: number): Promise<RawClient> => {
    const client = await upgrade(t, port, { path: '/chat', headers: { authorization: 'Bearer WS_AUTH_TOKEN_INVALID' } })
    t.equal((await client.frame()).payload.readUInt16BE(0), 3000)
    // The close frame is not answered: what comes meanwhile is read, and thrown away.
    return client.send(clientFrame(2, Buffer.alloc(bytes)))
  }
  const short = await refuse(16_384)
  const long = await refuse(16_385)
  await long.ended
  t.equal(short.isEnded, false, 'who has sent less, and came earlier, has the time to answer')
})
