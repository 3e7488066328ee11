/*
 * Which requests are opening handshakes: the invalid ones are 400, the strange ones are answered or end, and none does harm.
 */
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { start, until, within } from '../helpers/app'
import { addChat, AUTHORIZED, serverSockets, TOKEN } from '../helpers/chat'
import { plainText, RawClient, requestText, upgrade } from '../helpers/raw-client'
import type { RawResponse, RequestSettings } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

/** What 16 zero bytes of a key are answered with does not matter here; that of RFC 6455, 1.3 is known. */
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
const INVALID = '{"statusCode":400,"code":"WS_AUTH_HANDSHAKE_INVALID","error":"Bad Request","message":"Not a valid WebSocket opening handshake"}'

t.test('the server answers an invalid opening handshake with 400', async (t) => {
  const KEY = 'sec-websocket-key'
  const PROTOCOL = 'sec-websocket-protocol'
  const VERSION = 'sec-websocket-version'
  const invalid: Record<string, RequestSettings> = {
    'HTTP/1.0': { version: '1.0' },
    'HTTP/1.0 without Host': { version: '1.0', headers: { host: undefined } },
    'no Host': { headers: { host: undefined } },
    'two Hosts': { headers: { host: ['localhost', 'localhost'] } },
    'two Hosts that differ': { headers: { host: ['localhost', 'example.com'] } },
    'version 8': { headers: { [VERSION]: '8' } },
    'version 13 twice': { headers: { [VERSION]: ['13', '13'] } },
    'versions 13 and 8': { headers: { [VERSION]: '13, 8' } },
    'version 013': { headers: { [VERSION]: '013' } },
    'version 13.0': { headers: { [VERSION]: '13.0' } },
    'no version': { headers: { [VERSION]: undefined } },
    'an empty version': { headers: { [VERSION]: '' } },
    'no key': { headers: { [KEY]: undefined } },
    'an empty key': { headers: { [KEY]: '' } },
    'a key that is too short': { headers: { [KEY]: 'c2hvcnQ=' } },
    'a key that is too long': { headers: { [KEY]: 'dGhlIHNhbXBsZSBub25jZSEhIQ==' } },
    'a key in base64url': { headers: { [KEY]: 'dGhlIHNhbXBsZS-ub25j_Q==' } },
    'a key without padding': { headers: { [KEY]: 'dGhlIHNhbXBsZSBub25jZQ' } },
    'two keys': { headers: { [KEY]: ['dGhlIHNhbXBsZSBub25jZQ==', 'dGhlIHNhbXBsZSBub25jZQ=='] } },
    'Upgrade: websocket, h2c': { headers: { upgrade: 'websocket, h2c' } },
    'two Upgrades': { headers: { upgrade: ['websocket', 'h2c'] } },
    'a body': { headers: { 'content-length': '2' }, body: 'xx' },
    'a body in chunks': { headers: { 'transfer-encoding': 'chunked' }, body: '0\r\n\r\n' },
    'an empty list of subprotocols': { headers: { [PROTOCOL]: '' } },
    'a subprotocol twice': { headers: { [PROTOCOL]: 'chat, chat' } },
    'a subprotocol twice, in two headers': { headers: { [PROTOCOL]: ['chat', 'chat'] } },
    'an empty subprotocol': { headers: { [PROTOCOL]: 'chat, , superchat' } },
    'a comma at the end of the subprotocols': { headers: { [PROTOCOL]: 'chat,' } },
    'a comma and nothing else': { headers: { [PROTOCOL]: ',' } },
    'a subprotocol with a space': { headers: { [PROTOCOL]: 'chat room' } },
    'a subprotocol with a slash': { headers: { [PROTOCOL]: 'chat/1' } },
    'a subprotocol that is no ASCII': { headers: { [PROTOCOL]: 'ch\xE4t' } },
    'a quoted subprotocol': { headers: { [PROTOCOL]: '"chat"' } },
    'a subprotocol token with padding': { headers: { authorization: undefined, [PROTOCOL]: 'bearer, dG9rZW4=' } },
    'a marker with an empty token': { headers: { authorization: undefined, [PROTOCOL]: 'bearer,' } },
    'a token named as its marker': { headers: { authorization: undefined, [PROTOCOL]: 'bearer, bearer' } },
    'an encoded token alone': { headers: { authorization: undefined, [PROTOCOL]: `base64url.bearer.${Buffer.from(TOKEN).toString('base64url')}` } },
    'an encoded x alone': { headers: { authorization: undefined, [PROTOCOL]: 'base64url.bearer.x' } },
    '2,500 empty subprotocols': { headers: { [PROTOCOL]: ', '.repeat(2500) } },
    'a subprotocol twice among 2,000': { headers: { [PROTOCOL]: [...Array.from({ length: 2000 }, (_, i) => `p${i}`), 'p0'].join(',') } }
  }
  const asked: string[] = []
  const wheres: Record<string, string> = { 'a guarded route': '/chat', 'a route that closes': '/closing', 'a public route': '/public' }
  const { app, port } = await start(t, {
    plugin: { verify: (token: string) => { asked.push(token); return { sub: 'x' } } },
    routes: (app) => {
      addChat(app)
      addChat(app, '/closing', { rejectWith: 'close' })
      addChat(app, '/public', false)
    }
  })
  const sockets = serverSockets(app)
  for (const [what, { headers, ...settings }] of Object.entries(invalid)) {
    for (const [where, path] of Object.entries(wheres)) {
      t.test(`a handshake with ${what} is 400 on ${where}, before the verifier is asked`, async (t) => {
        const client = await upgrade(t, port, { ...settings, path, headers: { ...path === '/public' ? {} : AUTHORIZED, ...headers } })
        t.equal(client.answer.status, 400)
        t.equal(client.answer.body, INVALID)
        t.equal(client.answer.headers[VERSION], what.includes('version') ? '13' : undefined)
        t.equal(client.answer.headers['www-authenticate'], undefined)
        await client.ended
        t.same(asked, [])
      })
    }
  }

  const valid: Record<string, RequestSettings> = {
    'Connection: keep-alive, Upgrade': { headers: { connection: 'keep-alive, Upgrade' } },
    'Connection in two headers': { headers: { connection: ['keep-alive', 'upgrade'] } },
    'Upgrade: WebSocket': { headers: { upgrade: 'WebSocket' } },
    'Content-Length: 0': { headers: { 'content-length': '0' } },
    'an absolute target': { path: 'http://localhost/chat' },
    'two slashes in a query': { path: '/chat?a=//b' },
    'a key of 16 zero bytes': { headers: { [KEY]: 'AAAAAAAAAAAAAAAAAAAAAA==' } }
  }
  for (const [what, { headers, ...settings }] of Object.entries(valid)) {
    t.test(`a handshake with ${what} is accepted`, async (t) => {
      const { answer } = await upgrade(t, port, { path: '/chat', ...settings, headers: { ...AUTHORIZED, ...headers } })
      t.equal(answer.status, 101)
      if (what !== 'a key of 16 zero bytes') t.equal(answer.headers['sec-websocket-accept'], ACCEPT)
    })
  }

  t.test('a request without an Upgrade, or without Connection: upgrade, is a dry run', async (t) => {
    for (const headers of [{ upgrade: undefined }, { connection: undefined }, { connection: 'close' }, { connection: 'close, upgrades' }]) {
      const client = await RawClient.open(t, port)
      client.upgrade({ path: '/chat', headers: { ...AUTHORIZED, ...headers } })
      const answer = await client.response()
      t.equal(answer.status, 426, JSON.stringify(headers))
      t.equal(answer.headers.upgrade, 'websocket')
    }
  })

  t.test('a handshake over a connection that had a plain request before is accepted', async (t) => {
    const client = await RawClient.open(t, port)
    client.send(plainText({ path: '/chat', headers: AUTHORIZED }))
    t.equal((await client.response()).status, 426)
    client.upgrade({ path: '/chat', headers: AUTHORIZED })
    t.equal((await client.response()).status, 101)
  })

  t.test('invalid handshakes leave nothing pending', async (t) => {
    t.equal(statsOf(app).pending, 0)
    t.ok(sockets.length > 0)
  })
})

t.test('strange requests get an answer or end, and do not crash the process', async (t) => {
  const ran: string[] = []
  const { app, port } = await start(t, {
    plugin: { token: { param: true }, handshakeTimeout: 500 },
    routes: (app) => {
      addChat(app)
      addChat(app, '/rooms/:token')
      app.get('/http', async (request: FastifyRequest) => { ran.push(request.url); return 'http' })
      app.get('/slow', async () => { await new Promise((resolve) => setTimeout(resolve, 50)); return 'slow' })
    }
  })
  const sockets = serverSockets(app)
  /** The status of the first answer; nothing where the server closed without one. */
  const cases: Record<string, [string, number | null]> = {
    'OPTIONS *': [requestText({ method: 'OPTIONS', path: '*', headers: AUTHORIZED }), 404],
    'GET *': [requestText({ path: '*', headers: AUTHORIZED }), 404],
    CONNECT: [requestText({ method: 'CONNECT', path: 'localhost:80', headers: AUTHORIZED }), null],
    'a query of 10,000 characters': [requestText({ path: `/chat?a=${'x'.repeat(10_000)}`, headers: AUTHORIZED }), 101],
    'a query of 5,000 ampersands': [requestText({ path: `/chat?${'&'.repeat(5000)}`, headers: AUTHORIZED }), 101],
    'a query of 2,000 tokens': [requestText({ path: `/chat?${'token=&'.repeat(2000)}` }), 400],
    'headers of 20,000 characters': [requestText({ path: '/chat', headers: { ...AUTHORIZED, 'x-long': 'x'.repeat(20_000) } }), 431],
    'a token of 10,000 characters': [requestText({ path: `/chat?token=${'x'.repeat(10_000)}` }), 401],
    'a NUL in the path': [requestText({ path: '/chat\0', headers: AUTHORIZED }), 400],
    'a NUL in a header': [requestText({ path: '/chat', headers: { authorization: `Bearer ${TOKEN}\0` } }), 400],
    'an encoded NUL in the path': [requestText({ path: '/chat%00', headers: AUTHORIZED }), 404],
    'an encoded NUL in the token': [requestText({ path: `/chat?token=%00${TOKEN}` }), 401],
    'an encoded NUL in the name': [requestText({ path: `/chat?token%00=${TOKEN}` }), 401],
    'a malformed token': [requestText({ path: '/chat?token=%zz' }), 401],
    'a malformed name': [requestText({ path: `/chat?%zztoken=${TOKEN}` }), 401],
    'a malformed param': [requestText({ path: '/rooms/%zz' }), 401],
    'an empty param': [requestText({ path: '/rooms/' }), 401],
    dots: [requestText({ path: '/../chat', headers: AUTHORIZED }), 404],
    '4,000 slashes': [requestText({ path: '/'.repeat(4000), headers: AUTHORIZED }), 404],
    'another host in an absolute target': [requestText({ path: `http://evil.example/chat?token=${TOKEN}` }), 101],
    'a target without a path': [requestText({ path: 'http://localhost', headers: AUTHORIZED }), 404],
    'a Bearer of nothing': [requestText({ path: '/chat', headers: { authorization: 'Bearer' } }), 401],
    'a Bearer of spaces': [requestText({ path: '/chat', headers: { authorization: 'Bearer    ' } }), 401],
    'a Bearer with two tokens': [requestText({ path: '/chat', headers: { authorization: `Bearer ${TOKEN} ${TOKEN}` } }), 401],
    'a Bearer with a comma': [requestText({ path: '/chat', headers: { authorization: `Bearer ${TOKEN}, Bearer ${TOKEN}` } }), 401],
    'a bearer in lower case': [requestText({ path: '/chat', headers: { authorization: `bearer ${TOKEN}` } }), 101],
    'a cookie named __proto__': [requestText({ path: '/chat', headers: { ...AUTHORIZED, cookie: '__proto__=x; constructor=y' } }), 101],
    'a cookie of 3,000 pairs': [requestText({ path: '/chat', headers: { cookie: 'a=1;'.repeat(3000) } }), 401],
    'a malformed cookie': [requestText({ path: '/chat', headers: { cookie: 'token=%zz' } }), 401],
    'an unfinished quote in a cookie': [requestText({ path: '/chat', headers: { cookie: 'token="' } }), 401],
    'Expect: 100-continue': [requestText({ path: '/chat', headers: { ...AUTHORIZED, expect: '100-continue' } }), 101],
    'Expect: something': [requestText({ path: '/chat', headers: { ...AUTHORIZED, expect: 'x' } }), 101]
  }
  for (const [what, [text, status]] of Object.entries(cases)) {
    t.test(`a strange request gets an answer or ends: ${what}`, async (t) => {
      const client = (await RawClient.open(t, port)).send(text)
      const answer: RawResponse | null = await within(2000, 'an answer', client.response()).catch((error: Error) => {
        if (status !== null) t.fail(error.message)
        return null
      })
      t.equal(answer?.status ?? null, status)
    })
  }

  t.test('the server does not read a request behind an upgrade as another request', async (t) => {
    for (const headers of [AUTHORIZED, {}]) {
      const client = await RawClient.open(t, port)
      client.upgrade({ path: '/chat', headers, body: plainText({ path: '/http' }) })
      await client.response()
      await client.ended
      t.notMatch(client.text, '\r\n\r\nhttp')
    }
    t.same(ran, [])
  })

  t.test('the server never accepts an upgrade behind an unanswered request', async (t) => {
    for (const path of ['/http', '/slow']) {
      const client = await RawClient.open(t, port)
      client.send(plainText({ path }) + requestText({ path: '/chat', headers: AUTHORIZED }))
      await within(2500, 'the server closes', client.ended)
      t.notMatch(client.text, '101 Switching Protocols')
    }
    t.equal(statsOf(app).pending, 0)
  })

  t.test('the server answers a request that comes in single bytes', async (t) => {
    const client = await RawClient.open(t, port)
    for (const byte of requestText({ path: '/chat', headers: AUTHORIZED })) {
      client.send(byte)
      await new Promise((resolve) => setImmediate(resolve))
    }
    t.equal((await client.response()).status, 101)
  })

  t.test('strange requests leave nothing pending', async (t) => {
    await until(() => statsOf(app).pending === 0, 'nothing is pending')
    t.ok(sockets.length > 0)
  })
})
