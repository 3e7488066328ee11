/*
 * The tests behind the tables of STANDARDS.md that no other file has, by the sections of the standards: what is sent
 * and read on the wire. The last of them reads the tables themselves.
 */
import { createHmac, generateKeyPairSync, sign as signBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { deflateRawSync } from 'node:zlib'
import type { FastifyInstance } from 'fastify'
import type { TokenOrHeader } from '@fastify/jwt'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { prepare, sign, start, within } from '../helpers/app'
import type { AppSettings, StartedApp } from '../helpers/app'
import { base64url, keys, mint, secret, seconds } from '../helpers/keys'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'
import type { RawResponse, RequestSettings } from '../helpers/raw-client'

const TOKEN = sign({ sub: 'ann' })
const AUTHORIZED = { authorization: `Bearer ${TOKEN}` }
const INVALID = '401 WS_AUTH_TOKEN_INVALID'
const NO_HANDSHAKE = '400 WS_AUTH_HANDSHAKE_INVALID'

/** A server with the route /chat, which says who is there and says again what it hears. */
async function serve (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}, wsAuth: fastifyWsAuth.RouteWsAuth = true, more: Omit<AppSettings, 'plugin'> = {}): Promise<StartedApp> {
  return await start(t, {
    ...more,
    plugin,
    routes: async (app) => {
      await more.routes?.(app)
      app.get('/chat', { websocket: true, wsAuth }, (socket, request) => {
        socket.send(`hello ${request.wsAuth?.sub ?? 'nobody'}`)
        socket.on('message', (data) => socket.send(String(data)))
      })
    }
  })
}

/** What a handshake is answered with: the status, and the code of a refusal. */
function told ({ status, body }: RawResponse): string {
  return status === 101 ? '101' : `${status} ${JSON.parse(body).code}`
}

async function shake (t: Test, port: number, { headers, ...settings }: RequestSettings = {}): Promise<string> {
  const { answer } = await upgrade(t, port, { path: '/chat', ...settings, headers: { ...AUTHORIZED, ...headers } })
  return told(answer)
}

async function present (t: Test, port: number, token: string): Promise<string> {
  return await shake(t, port, { headers: { authorization: `Bearer ${token}` } })
}

/** TLS by a key that both sides have: no certificate is needed. */
const PSK = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const
const SHARED_KEY = Buffer.alloc(32, 7)

async function serveTls (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}): Promise<StartedApp> {
  return await serve(t, plugin, true, { server: { https: { ...PSK, pskCallback: () => SHARED_KEY } } as never })
}

t.test('RFC 6455, 4.2.1: what the client sends', async (t) => {
  const { port } = await serve(t)
  const { port: open } = await serve(t, { origin: ['https://chat.example'] })

  t.test('1: a request line that is not GET with HTTP/1.1 is 400, and a method without a route 404', async (t) => {
    t.equal(await shake(t, port, { version: '1.0' }), NO_HANDSHAKE)
    t.equal(await shake(t, port, { method: 'POST' }), '404 undefined')
    t.equal(await shake(t, port, { path: `http://localhost:${port}/chat` }), '101', 'an absolute URI')
  })

  t.test('2: no Host, or two, is 400', async (t) => {
    t.equal(await shake(t, port, { headers: { host: undefined } }), NO_HANDSHAKE)
    t.equal(await shake(t, port, { headers: { host: ['localhost', 'localhost'] } }), NO_HANDSHAKE)
  })

  t.test('3: Upgrade is websocket in any case, and nothing else', async (t) => {
    t.equal(await shake(t, port, { headers: { upgrade: 'WebSocket' } }), '101')
    t.equal(await shake(t, port, { headers: { upgrade: 'websocket, h2c' } }), NO_HANDSHAKE)
    for (const other of ['h2c', 'websocket2']) t.match(await shake(t, port, { headers: { upgrade: other } }), /^426/, `${other} is ignored, and the request is a plain one`)
  })

  t.test('4: Connection has the option Upgrade, in any case and among others; without it the request is a plain one', async (t) => {
    for (const connection of ['upgrade', 'keep-alive, UPGRADE', ['keep-alive', 'Upgrade']]) {
      t.equal(await shake(t, port, { headers: { connection } }), '101', String(connection))
    }
    for (const connection of [undefined, 'keep-alive', 'upgrades']) {
      t.equal(await shake(t, port, { headers: { connection } }), '426 undefined', String(connection))
    }
  })

  t.test('5: a key that is not 16 bytes in base64 is 400', async (t) => {
    for (const key of [undefined, '', 'c2hvcnQ=', 'dGhlIHNhbXBsZSBub25jZSEhIQ==', 'dGhlIHNhbXBsZSBub25jZQ', 'dGhlIHNhbXBsZS-ub25j_Q==']) {
      t.equal(await shake(t, port, { headers: { 'sec-websocket-key': key } }), NO_HANDSHAKE, String(key))
    }
  })

  t.test('6: a version that is not 13 is 400', async (t) => {
    for (const version of [undefined, '', '8', '14', '13, 8', '013']) {
      t.equal(await shake(t, port, { headers: { 'sec-websocket-version': version } }), NO_HANDSHAKE, String(version))
    }
  })

  t.test('7: no Origin is no browser, and no reason to refuse', async (t) => {
    t.equal(await shake(t, open), '101')
    t.equal(await shake(t, open, { headers: { origin: 'https://chat.example' } }), '101')
    t.equal(await shake(t, open, { headers: { origin: 'https://evil.example' } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
    t.equal(await shake(t, open, { headers: { origin: '' } }), '403 WS_AUTH_ORIGIN_FORBIDDEN', 'an empty one is one')
  })

  t.test('8: a list of subprotocols that is none, or has one twice, is 400', async (t) => {
    for (const list of ['', 'chat, chat', 'chat,', 'chat room', 'chat/1', '"chat"']) {
      t.equal(await shake(t, port, { headers: { 'sec-websocket-protocol': list } }), NO_HANDSHAKE, list)
    }
  })

  t.test('9: a list of extensions that is none is 400 where they are read, and spends no ticket', async (t) => {
    const good = ['permessage-deflate; client_max_window_bits="1\\0"', 'x-unknown', 'x-unknown; a=1;b="2" ; c', 'permessage-deflate; client_max_window_bits, x-unknown', ' permessage-deflate\t;server_max_window_bits=10']
    const bad = ['', ';;;', 'permessage-deflate; client_max_window_bits =10', 'permessage-deflate; client_max_window_bits= 10', ',', 'a,', 'a;', 'a;=1', 'a;b=', 'a b', 'permessage-deflate; client_max_window_bits="', 'a; b="c d"', 'a;b=\u00e9', ', '.repeat(7000), `${'a; '.repeat(4000)}"`, 'a' + ' '.repeat(14_000) + '"']
    for (const perMessageDeflate of [undefined, null as never, false, true, {}]) {
      const { app, port } = await serve(t, { tickets: true, websocket: { options: { perMessageDeflate } } })
      const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann' })
      const isRead = Boolean(perMessageDeflate)
      for (const offered of bad) {
        const headers = { 'sec-websocket-extensions': offered }
        if (isRead) t.equal(await shake(t, port, { path: `/chat?ticket=${ticket}`, headers: { ...headers, authorization: undefined } }), NO_HANDSHAKE, offered.slice(0, 40))
        else t.equal(await shake(t, port, { headers }), '101', offered.slice(0, 40))
      }
      t.equal(await shake(t, port, { path: `/chat?ticket=${ticket}`, headers: { authorization: undefined, 'sec-websocket-extensions': ['x-unknown', 'permessage-deflate'] } }), '101', 'in two headers')
      for (const offered of good) t.equal(await shake(t, port, { headers: { 'sec-websocket-extensions': offered } }), '101', offered)
    }
  })

  t.test('10: unknown header fields are ignored', async (t) => {
    t.equal(await shake(t, port, { headers: { 'x-unknown': 'a', 'sec-websocket-unknown': ['b', 'c'], 'sec-websocket-accept': 'd', cookie: 'e=f' } }), '101')
  })
})

t.test('RFC 6455, 4.2.2: what the server answers', async (t) => {
  const { port } = await serve(t, {}, true, {
    routes: (app) => {
      app.get('/moved', { websocket: true, onRequest: async (_request, reply) => await reply.redirect('/chat') }, () => {})
      app.get('/page', () => 'page')
      app.get('/public', { websocket: true, wsAuth: false }, () => {})
    }
  })

  t.test('1: TLS is that of the server: a client of wss:// is let in, one of ws:// gets no answer', async (t) => {
    const { port, app } = await serveTls(t)
    const options = { ...PSK, pskCallback: () => ({ psk: SHARED_KEY, identity: 'ann' }), checkServerIdentity: () => false, headers: AUTHORIZED }
    const client = new WebSocket(`wss://127.0.0.1:${port}/chat`, options)
    const [message] = await once(client, 'message')
    t.equal(String(message), 'hello ann')
    client.terminate()

    const plain = await RawClient.open(t, port)
    await t.rejects(plain.upgrade({ path: '/chat', headers: AUTHORIZED }).response(), /the server closed before an answer/)
    t.equal(app.wsAuth.stats().accepted, 1)
  })

  t.test('2: who is not authenticated gets 401 and a challenge', async (t) => {
    const { answer } = await upgrade(t, port, { path: '/chat' })
    t.equal(told(answer), '401 WS_AUTH_TOKEN_MISSING')
    t.match(answer.headers['www-authenticate'], /^Bearer/)
  })

  t.test('3: a hook of the app may redirect: the status is its own, and the socket is freed', async (t) => {
    const client = await upgrade(t, port, { path: '/moved', headers: AUTHORIZED })
    t.equal(client.answer.status, 302)
    t.equal(client.answer.headers.location, '/chat')
    await within(5000, 'the socket is freed', client.ended)
  })

  t.test('4: a page of another origin that comes with a cookie is 403', async (t) => {
    const from = async (origin: string): Promise<string> => await shake(t, port, { headers: { authorization: undefined, cookie: `token=${TOKEN}`, host: 'chat.example', origin } })
    t.equal(await from('https://chat.example'), '101')
    t.equal(await from('https://evil.example'), '403 WS_AUTH_ORIGIN_FORBIDDEN')
    t.equal(await from('null'), '403 WS_AUTH_ORIGIN_FORBIDDEN')
  })

  t.test('4: the answer to another version has the one that is spoken, and no other refusal has it', async (t) => {
    for (const [version, expected] of [['8', '13'], ['14', '13'], [undefined, '13'], ['13', undefined]]) {
      const headers = { ...AUTHORIZED, 'sec-websocket-version': version, ...(version === '13' && { 'sec-websocket-key': 'x' }) }
      for (const path of ['/chat', '/public']) {
        const { answer } = await upgrade(t, port, { path, headers })
        t.equal(answer.status, 400, `${path} ${String(version)}`)
        t.equal(answer.headers['sec-websocket-version'], expected, `${path} ${String(version)}`)
      }
    }
  })

  t.test('4: a resource that is no websocket is 404', async (t) => {
    t.equal(await shake(t, port, { path: '/page' }), '404 WS_AUTH_ROUTE_NOT_WEBSOCKET')
    t.equal(await shake(t, port, { path: '/nowhere' }), '404 undefined')
  })

  t.test('4: the subprotocol is one of those offered, never the token, or none where none was offered', async (t) => {
    for (const [offered, chosen] of [['a, b', 'a'], [`bearer, ${TOKEN}, b`, 'b'], [`bearer, ${TOKEN}`, 'bearer'], [undefined, undefined]]) {
      const headers = { ...(offered?.includes(TOKEN) !== true && AUTHORIZED), 'sec-websocket-protocol': offered }
      const { answer } = await upgrade(t, port, { path: '/chat', headers })
      t.equal(answer.status, 101)
      t.equal(answer.headers['sec-websocket-protocol'], chosen, 'one, and once')
    }
  })

  t.test('4: an app that chooses a subprotocol that was not offered answers with it: that is a fault of the app', async (t) => {
    const { port } = await serve(t, { websocket: { options: { handleProtocols: () => 'other' } } })
    const { answer } = await upgrade(t, port, { path: '/chat', headers: { ...AUTHORIZED, 'sec-websocket-protocol': 'a' } })
    t.equal(answer.headers['sec-websocket-protocol'], 'other')
    const none = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
    t.equal(none.answer.headers['sec-websocket-protocol'], undefined, 'it is not asked where nothing was offered')
  })

  t.test('4: no extension is chosen that was not offered, nor any where the app does not ask for compression', async (t) => {
    const { port: compressing } = await serve(t, { websocket: { options: { perMessageDeflate: true } } })
    const extension = async (port: number, offered: string | undefined): Promise<string | undefined> =>
      (await upgrade(t, port, { path: '/chat', headers: { ...AUTHORIZED, 'sec-websocket-extensions': offered } })).answer.headers['sec-websocket-extensions']
    t.equal(await extension(port, 'permessage-deflate'), undefined)
    t.equal(await extension(compressing, undefined), undefined)
    t.equal(await extension(compressing, 'x-unknown'), undefined)
    t.equal(await extension(compressing, 'permessage-deflate, x-unknown'), 'permessage-deflate')
  })

  t.test('5: the answer is 101 with the four headers that it needs, and nothing of the request', async (t) => {
    const { answer } = await upgrade(t, port, { path: '/chat?a=b', headers: AUTHORIZED })
    t.equal(answer.text, 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n')
  })

  t.test('5: a handshake that is accepted to be closed is answered by the same rules', async (t) => {
    const { port } = await serve(t, { rejectWith: 'close' })
    const client = await upgrade(t, port, { path: '/chat', headers: { 'sec-websocket-protocol': 'bearer, not.a.token', 'sec-websocket-extensions': 'permessage-deflate' } })
    t.equal(client.answer.text, 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: bearer\r\n\r\n')
    t.strictSame(await client.close(), { code: 3000, reason: 'token_invalid' })
  })
})

t.test('RFC 6455, 10: security', async (t) => {
  const { port } = await serve(t, { origin: ['https://chat.example'] })

  t.test('10.1: a client that is no browser may send any Origin, and needs a token all the same', async (t) => {
    for (const headers of [{ origin: 'https://chat.example' }, { origin: undefined }]) {
      t.equal(await shake(t, port, { headers: { ...headers, authorization: undefined } }), '401 WS_AUTH_TOKEN_MISSING')
      t.equal(await shake(t, port, { headers: { ...headers, authorization: `Bearer ${sign({ sub: 'ann' }, 'another secret of thirty-two bytes')}` } }), INVALID)
    }
  })

  t.test('10.2: an origin that is not in the list is 403, however close', async (t) => {
    for (const origin of ['https://chat.example.evil.example', 'https://xchat.example', 'http://chat.example', 'https://chat.example:8443', 'https://chat.example/', 'https://CHAT.example', 'null']) {
      t.equal(await shake(t, port, { headers: { origin } }), '403 WS_AUTH_ORIGIN_FORBIDDEN', origin)
    }
  })

  /** What becomes of frames behind a good handshake: what was said before the close frame, and its code. */
  async function closedBy (t: Test, frames: Buffer, port: number): Promise<{ heard: string[], code: number }> {
    const client = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
    client.send(frames)
    const heard: string[] = []
    for (;;) {
      const { opcode, payload } = await client.frame()
      if (opcode === 8) return { heard, code: payload.readUInt16BE(0) }
      heard.push(payload.toString())
    }
  }

  t.test('10.3: a frame that is not masked ends the connection and reaches no handler; what the server sends is not masked', async (t) => {
    t.strictSame(await closedBy(t, Buffer.from([0x81, 2, 0x68, 0x69]), port), { heard: ['hello ann'], code: 1002 })
    const client = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
    await client.frame()
    client.send(clientFrame(1, 'hi'))
    t.equal((await client.frame()).payload.toString(), 'hi', 'a masked one does')
    t.equal(client.rest.length, 0)
  })

  t.test('10.4: the longest message is 100 MiB unless the app says less, also in fragments', async (t) => {
    const { app } = await serve(t)
    t.equal(app.websocketServer.options.maxPayload, 100 * 1024 * 1024)
    const { port } = await serve(t, { websocket: { options: { maxPayload: 10 } } })
    t.strictSame(await closedBy(t, clientFrame(1, 'eleven char'), port), { heard: ['hello ann'], code: 1009 })
    const [head, ...more] = [clientFrame(1, 'seven c'), clientFrame(0, 'seven c')]
    head[0] = 1
    t.strictSame(await closedBy(t, Buffer.concat([head, ...more]), port), { heard: ['hello ann'], code: 1009 })
  })

  t.test('10.5: header, cookie and TLS can authenticate a client, and a user alone is no authorization', async (t) => {
    const { port } = await serve(t, {}, { roles: ['admin'] })
    const admin = sign({ sub: 'ann', roles: ['admin'] })
    t.equal(await shake(t, port, { headers: { authorization: `Bearer ${admin}` } }), '101')
    t.equal(await shake(t, port, { headers: { authorization: undefined, cookie: `token=${admin}` } }), '101')
    t.equal(await shake(t, port), '403 WS_AUTH_FORBIDDEN')

    // Who the client of a TLS connection is, its server knows.
    const tls = await serveTls(t, { verify: (_token, { raw }) => ({ sub: (raw.socket as unknown as { getCipher: () => { name: string } }).getCipher().name }) })
    const socket = connectTls({ ...PSK, port: tls.port, host: '127.0.0.1', pskCallback: () => ({ psk: SHARED_KEY, identity: 'ann' }), checkServerIdentity: () => undefined })
    t.teardown(() => socket.destroy())
    socket.write('GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer x\r\n\r\n')
    let text = ''
    while (!/hello \S*PSK/.test(text)) text += String((await once(socket, 'data'))[0])
    t.match(text, /^HTTP\/1\.1 101 /)
  })

  t.test('10.6: nothing here refuses a connection without TLS', async (t) => {
    const { app, port } = await serve(t)
    t.equal(await shake(t, port), '101')
    t.equal(app.wsAuth.stats().accepted, 1)
  })

  t.test('10.7: invalid UTF-8, reserved bits and unknown opcodes end the connection and reach no handler', async (t) => {
    const reserved = clientFrame(1, 'hi')
    reserved[0] = 0xC1
    const tooLongPing = Buffer.concat([Buffer.from([0x89, 0xFE, 0, 126]), Buffer.alloc(4 + 126)])
    const cases: Array<[string, Buffer, number]> = [
      ['invalid UTF-8', clientFrame(1, Buffer.from([0xC3, 0x28])), 1007],
      ['a reserved bit', reserved, 1002],
      ['an unknown opcode', clientFrame(3, 'hi'), 1002],
      ['a continuation of nothing', clientFrame(0, 'hi'), 1002],
      ['a ping that is too long', tooLongPing, 1002],
      ['a close code that may not be sent', clientFrame(8, Buffer.from([0x03, 0xED])), 1002]
    ]
    for (const [what, frame, code] of cases) {
      t.strictSame(await closedBy(t, Buffer.concat([frame, clientFrame(1, 'behind it')]), port), { heard: ['hello ann'], code }, what)
    }
  })

  t.test('10.8: SHA-1 is in the answer to the key and nowhere else: a token cannot be signed with it', async (t) => {
    const { port } = await serve(t, { jwt: { secret } })
    const { port: rsaPort } = await serve(t, { jwt: { secret: { public: keys.RS256.public, private: keys.RS256.private }, sign: { algorithm: 'RS256' } } })
    for (const alg of ['HS1', 'HS256']) t.equal(await present(t, port, signedBy({ alg }, { sub: 'ann' }, (input) => createHmac('sha1', secret).update(input).digest())), INVALID, alg)
    for (const alg of ['RS1', 'RS256']) t.equal(await present(t, rsaPort, signedBy({ alg }, { sub: 'ann' }, (input) => signBytes('sha1', input, keys.RS256.private))), INVALID, alg)
    t.equal(await present(t, port, mint({ sub: 'ann' })), '101')
  })
})

/** A token signed by any means. */
function signedBy (header: object, claims: object, means: (input: Buffer) => Buffer): string {
  const input = `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(claims))}`
  return `${input}.${base64url(means(Buffer.from(input)))}`
}

t.test('RFC 8725, 3: tokens', async (t) => {
  const rsa = { secret: { public: keys.RS256.public, private: keys.RS256.private }, sign: { algorithm: 'RS256' as const } }
  const { port } = await serve(t, { jwt: { secret } })
  const { port: rsaPort } = await serve(t, { jwt: rsa })

  t.test('3.1: the algorithm is one of the key, whatever the header says, and the one that the app names', async (t) => {
    const rs512 = signedBy({ alg: 'RS512' }, { sub: 'ann' }, (input) => signBytes('sha512', input, keys.RS256.private))
    t.equal(await present(t, rsaPort, mint({ sub: 'ann' }, {}, 'RS256')), '101')
    t.equal(await present(t, rsaPort, mint({ sub: 'ann' }, {}, 'ES256')), INVALID, 'another key')
    t.equal(await present(t, rsaPort, mint({ sub: 'ann' }, { alg: 'RS256' }, 'HS256')), INVALID, 'a lie')
    t.equal(await present(t, rsaPort, mint({ sub: 'ann' })), INVALID, 'an HMAC')
    t.equal(await present(t, rsaPort, `${base64url('{"alg":"none"}')}.${base64url('{"sub":"ann"}')}.`), INVALID, 'none')
    t.equal(await present(t, rsaPort, rs512), '101', 'all of the key where the app names none')
    const { port: named } = await serve(t, { jwt: { ...rsa, verify: { algorithms: ['RS256'] } } })
    t.equal(await present(t, named, rs512), INVALID, 'and only those that it names')
    t.equal(await present(t, named, mint({ sub: 'ann' }, {}, 'RS256')), '101')

    const algorithms = ['HS256' as const, 'RS256' as const]
    for (const jwt of [{ ...rsa, verify: { algorithms } }, { secret: async () => keys.RS256.public, verify: { algorithms } }]) {
      const { port: both } = await serve(t, { jwt })
      t.equal(await present(t, both, mint({ sub: 'ann' }, {}, 'RS256')), '101')
      t.equal(await present(t, both, signedBy({ alg: 'HS256' }, { sub: 'ann' }, (input) => createHmac('sha256', keys.RS256.public).update(input).digest())), INVALID, 'the public key as an HMAC secret')
    }
  })

  t.test('3.2: none is refused, also where the app names it', async (t) => {
    const { port } = await serve(t, { jwt: { secret, verify: { algorithms: ['none' as never, 'HS256'] } } })
    for (const alg of ['none', 'None', 'NONE', '']) {
      t.equal(await present(t, port, `${base64url(JSON.stringify({ alg }))}.${base64url('{"sub":"ann"}')}.`), INVALID, alg)
    }
    await t.rejects(prepare(t, { plugin: { jwt: { secret, verify: { algorithms: ['none' as never] } } } }), /none/)
  })

  t.test('3.3: one changed character in any part of a token is 401, and what is nested or encrypted is no token', async (t) => {
    const token = mint({ sub: 'ann', exp: seconds(60) })
    const parts = token.split('.')
    t.equal(await present(t, port, token), '101')
    for (const [i, part] of parts.entries()) {
      const changed = parts.with(i, part.slice(0, 4) + (part[4] === 'A' ? 'B' : 'A') + part.slice(5)).join('.')
      t.equal(await present(t, port, changed), INVALID, `part ${i}`)
    }
    t.equal(await present(t, port, mint(`"${token}"`, { cty: 'JWT' })), INVALID, 'nested')
    t.equal(await present(t, port, mint(token, { cty: 'JWT' })), INVALID, 'nested, as it is')
    t.equal(await present(t, port, `${base64url('{"alg":"dir","enc":"A256GCM"}')}..${parts[0]}.${parts[1]}.${parts[2]}`), INVALID, 'encrypted')
  })

  t.test('3.4: a signature of zeros, or of another form, is 401, and no key in a token is looked at', async (t) => {
    const { port } = await serve(t, { jwt: { secret: { public: keys.ES256.public, private: keys.ES256.private }, sign: { algorithm: 'ES256' } } })
    const claims = { sub: 'ann' }
    const es = { alg: 'ES256' }
    t.equal(await present(t, port, mint(claims, {}, 'ES256')), '101')
    t.equal(await present(t, port, signedBy(es, claims, () => Buffer.alloc(64))), INVALID, 'zeros')
    t.equal(await present(t, port, signedBy(es, claims, () => Buffer.alloc(64, 0xFF))), INVALID, 'past the order of the curve')
    t.equal(await present(t, port, signedBy(es, claims, () => Buffer.alloc(0))), INVALID, 'nothing')
    t.equal(await present(t, port, signedBy(es, claims, (input) => signBytes('sha256', input, keys.ES256.private))), INVALID, 'DER')
    const epk = { kty: 'EC', crv: 'P-256', x: base64url(Buffer.alloc(32, 1)), y: base64url(Buffer.alloc(32, 1)) }
    t.equal(await present(t, port, `${base64url(JSON.stringify({ alg: 'ECDH-ES', enc: 'A256GCM', epk }))}..AAAA.AAAA.AAAA`), INVALID, 'a point that is on no curve')
  })

  t.test('3.5: a short HMAC secret is warned about and an empty one refused; an RSA key of 1024 bits is taken', async (t) => {
    const { log } = await prepare(t, { plugin: { jwt: { secret: 'short' } } })
    t.match(log.join(''), /the secret of @fastify\/jwt has 5 bytes: less than the 32 of its hash/)
    const { log: quiet } = await prepare(t, { plugin: { jwt: { secret } } })
    t.notMatch(quiet.join(''), /the secret of/)
    await t.rejects(prepare(t, { plugin: { jwt: { secret: '' } } }), /secret/)
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } })
    const { port } = await serve(t, { jwt: { secret: { public: publicKey, private: privateKey }, sign: { algorithm: 'RS256' } } })
    t.equal(await present(t, port, signedBy({ alg: 'RS256' }, { sub: 'ann' }, (input) => signBytes('sha256', input, privateKey))), '101')
  })

  t.test('3.6: nothing in a token is inflated', async (t) => {
    t.equal(await present(t, port, mint(deflateRawSync('{"sub":"ann"}'), { zip: 'DEF' })), INVALID)
    t.equal(await present(t, port, mint({ sub: 'ann' }, { zip: 'DEF' })), '101', 'what zip says is nothing to who does not encrypt')
  })

  t.test('3.7: a header or claims that are not UTF-8 are 401', async (t) => {
    const bad = Buffer.concat([Buffer.from('{"sub":"'), Buffer.from([0xC3, 0x28]), Buffer.from('"}')])
    const utf16 = Buffer.from('{"sub":"ann"}', 'utf16le')
    t.equal(await present(t, port, mint(bad)), INVALID)
    t.equal(await present(t, port, mint(utf16)), INVALID)
    t.equal(await present(t, port, mint({ sub: '\u00e9\u{1F600}' })), '101')
    const [, body, signature] = mint({ sub: 'ann' }).split('.')
    t.equal(await present(t, port, `${base64url(Buffer.from([0x7B, 0xFF, 0x7D]))}.${body}.${signature}`), INVALID, 'the header')
  })

  t.test('3.8: another issuer, none, a sub that is no string, and a user that is not known are 401', async (t) => {
    const { port } = await serve(t, { jwt: { secret, verify: { allowedIss: 'us' } }, user: (claims) => claims.sub === 'ann' ? claims as never : null as never })
    t.equal(await present(t, port, mint({ iss: 'us', sub: 'ann' })), '101')
    for (const claims of [{ sub: 'ann' }, { iss: 'them', sub: 'ann' }, { iss: 'us', sub: 7 }, { iss: 'us', sub: 'bob' }, { iss: ['us', 'them'], sub: 'ann' }]) {
      t.equal(await present(t, port, mint(claims)), INVALID, JSON.stringify(claims))
    }
  })

  t.test('3.9: a token for somebody else, or for nobody, is 401 where the app says who it is', async (t) => {
    const { port: named } = await serve(t, { jwt: { secret, verify: { allowedAud: 'chat' } } })
    for (const [aud, answer] of [['chat', '101'], [['mail', 'chat'], '101'], ['mail', INVALID], [[], INVALID], [undefined, INVALID], ['chat2', INVALID]] as const) {
      t.equal(await present(t, named, mint({ sub: 'ann', aud })), answer, JSON.stringify(aud))
    }
    t.equal(await present(t, port, mint({ sub: 'ann', aud: 'mail' })), '101', 'nobody asks where it does not')
  })

  t.test('3.10: no key and no address in a token is used, and kid reaches the app\'s own function as it was sent', async (t) => {
    const asked: string[] = []
    const evil = createServer((request, response) => { asked.push(String(request.url)); response.end('{"keys":[]}') }).listen(0, '127.0.0.1')
    t.teardown(() => evil.close())
    await once(evil, 'listening')
    const url = `http://127.0.0.1:${(evil.address() as AddressInfo).port}`
    const theirs = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const jwk = theirs.publicKey.export({ format: 'jwk' })
    const kids: unknown[] = []
    const { port: looking } = await serve(t, {
      jwt: {
        secret: async (_request: unknown, token: TokenOrHeader) => {
          kids.push((token as { header: { kid?: string } }).header.kid)
          return keys.RS256.public
        },
        decode: { complete: true },
        verify: { algorithms: ['RS256'] }
      }
    })
    const kid = '../../etc/passwd\' OR 1=1 --'
    for (const header of [{ jwk }, { jku: `${url}/jku` }, { x5u: `${url}/x5u` }, { x5c: [base64url('no certificate')] }, { kid, jku: `${url}/both`, jwk }]) {
      const token = signedBy({ alg: 'RS256', ...header }, { sub: 'ann' }, (input) => signBytes('sha256', input, theirs.privateKey))
      for (const port of [rsaPort, looking]) t.equal(await present(t, port, token), INVALID, JSON.stringify(header).slice(0, 40))
    }
    t.strictSame(asked, [], 'nobody was asked for a key')
    t.strictSame(kids, [undefined, undefined, undefined, undefined, kid])
    t.equal(await present(t, looking, mint({ sub: 'ann' }, { kid: 'constructor' }, 'RS256')), INVALID)
    t.equal(kids.length, 5, 'the name of a property of every object does not reach it')
  })

  t.test('3.11: the typ that the app asks for is required, and any is taken where it asks for none', async (t) => {
    const { port: typed } = await serve(t, { jwt: { secret, verify: { checkTyp: 'at+jwt' } } })
    for (const typ of ['at+jwt', 'JWT', undefined, 'logout+jwt']) {
      t.equal(await present(t, typed, mint({ sub: 'ann' }, { typ })), typ === 'at+jwt' ? '101' : INVALID, String(typ))
      t.equal(await present(t, port, mint({ sub: 'ann' }, { typ })), '101', `${typ}, unasked`)
    }
  })

  t.test('3.12: a logout token and a ticket are no access token, nor an ID token where the app tells them apart', async (t) => {
    const { port, app } = await serve(t, { jwt: { secret }, tickets: true, claims: { type: 'object', required: ['aud'], properties: { aud: { const: 'chat' } } } })
    const events = { 'http://schemas.openid.net/event/backchannel-logout': {} }
    t.equal(await present(t, port, mint({ sub: 'ann', aud: 'chat' })), '101')
    t.equal(await present(t, port, mint({ sub: 'ann', aud: 'chat', events })), INVALID, 'a logout token')
    t.equal(await present(t, port, mint({ sub: 'ann', aud: 'client', nonce: 'n' })), INVALID, 'an ID token')
    const { ticket } = await app.wsAuth.issueTicket({ sub: 'ann', aud: 'chat' })
    t.equal(await present(t, port, ticket), INVALID, 'a ticket in place of a token')
    t.equal(await shake(t, port, { path: `/chat?ticket=${mint({ sub: 'ann', aud: 'chat' })}`, headers: { authorization: undefined } }), '401 WS_AUTH_TICKET_INVALID', 'a token in place of a ticket')
    t.equal(await shake(t, port, { path: `/chat?ticket=${ticket}`, headers: { authorization: undefined } }), '101')
  })
})

t.test('RFC 6750, 3: WWW-Authenticate', async (t) => {
  const app = (plugin: fastifyWsAuth.WsAuthOptions = {}): fastifyWsAuth.WsAuthOptions => ({ tickets: true, limits: { perUser: 1 }, origin: ['https://chat.example'], ...plugin })
  const { port, app: server } = await serve(t, app(), { scopes: ['chat:read', 'chat:write'] })
  const good = sign({ sub: 'ann', scope: 'chat:write chat:read' })
  const bearer = (token: string): RequestSettings => ({ path: '/chat', headers: { authorization: `Bearer ${token}` } })
  await server.wsAuth.revoke({ jti: 'revoked' })

  /** The status of a refusal and its challenge. */
  async function challenge (t: Test, settings: RequestSettings, at = port): Promise<[status: number, challenge: string | undefined]> {
    const { answer: { status, headers } } = await upgrade(t, at, { path: '/chat', ...settings })
    return [status, headers['www-authenticate']]
  }

  t.test('3: every 401 has one challenge, and what is no question of authentication has none', async (t) => {
    const none: Array<[string, RequestSettings, number]> = [
      ['no handshake', { headers: { ...bearer(good).headers, 'sec-websocket-key': 'x' } }, 400],
      ['another origin', { headers: { ...bearer(good).headers, origin: 'https://evil.example' } }, 403],
      ['no websocket', { ...bearer(good), path: '/nowhere' }, 404]
    ]
    for (const [what, settings, status] of none) t.strictSame(await challenge(t, settings), [status, undefined], what)
    t.strictSame(await challenge(t, bearer(good)), [101, undefined], 'who is let in')
    t.strictSame(await challenge(t, bearer(good)), [429, undefined], 'one too many')
    const { port: broken } = await serve(t, { verify: () => { throw new Error('down') } })
    t.strictSame(await challenge(t, bearer(good), broken), [503, undefined], 'nobody can say')

    for (const settings of [{}, bearer('x'), bearer(sign({ exp: seconds(-1) })), { path: '/chat?ticket=x' }]) {
      const { answer } = await upgrade(t, port, { path: '/chat', ...settings })
      t.equal(answer.status, 401)
      t.equal(answer.text.match(/^www-authenticate: /gim)?.length, 1)
    }
  })

  t.test('3: the same is told to a dry run, and to who asks for a ticket', async (t) => {
    for (const url of ['/chat', '/ws-ticket']) {
      const method = url === '/chat' ? 'GET' : 'POST'
      t.equal((await server.inject({ url, method })).headers['www-authenticate'], 'Bearer realm="websocket"')
      t.equal((await server.inject({ url, method, headers: { authorization: 'Bearer x' } })).headers['www-authenticate'], 'Bearer error="invalid_token"')
    }
  })

  t.test('3.1: no error where nothing was sent, or another scheme: a realm alone', async (t) => {
    for (const headers of [{}, { authorization: 'Basic YTpi' }, { authorization: 'Bearer' }, { cookie: 'other=1' }]) {
      t.strictSame(await challenge(t, { headers }), [401, 'Bearer realm="websocket"'], JSON.stringify(headers))
    }
  })

  t.test('3.1: where a ticket is required, who sends neither that nor a token is told of no error', async (t) => {
    for (const message of [false, true]) {
      const { port } = await serve(t, { tickets: { require: true }, token: { message } })
      t.strictSame(await challenge(t, {}, port), [401, 'Bearer realm="websocket"'])
      t.strictSame(await challenge(t, bearer(good), port), [401, 'Bearer error="invalid_token"'])
      t.strictSame(await challenge(t, { path: '/chat?ticket=x' }, port), [401, message ? 'Bearer error="invalid_token"' : 'Bearer realm="websocket"'])
    }
  })

  t.test('3.1: more than one token is 400 invalid_request', async (t) => {
    for (const settings of [{ ...bearer(good), path: `/chat?token=${good}` }, { path: `/chat?token=${good}&token=${good}` }, { ...bearer(good), path: '/chat?ticket=x' }, { headers: { authorization: [`Bearer ${good}`, `Bearer ${good}`] } }]) {
      t.strictSame(await challenge(t, settings), [400, 'Bearer error="invalid_request"'], JSON.stringify(Object.keys(settings)))
    }
  })

  t.test('3.1: a token that is malformed, expired, revoked or wrong, and a ticket that is none, is 401 invalid_token', async (t) => {
    for (const settings of [bearer('x'), bearer(sign({ exp: seconds(-1) })), bearer(sign({ jti: 'revoked' })), bearer(sign({ sub: 'ann' }, 'another secret of thirty-two bytes')), { path: '/chat?token=x' }, { headers: { cookie: 'token=x' } }, { path: '/chat?ticket=x' }]) {
      t.strictSame(await challenge(t, settings), [401, 'Bearer error="invalid_token"'], JSON.stringify(settings).slice(0, 60))
    }
  })

  t.test('3.1: a user who may not is 403 insufficient_scope, with the scopes of the route where it asks for some', async (t) => {
    t.strictSame(await challenge(t, bearer(sign({ sub: 'bob', scope: 'chat:read' }))), [403, 'Bearer error="insufficient_scope", scope="chat:read chat:write"'])
    const { port: roles } = await serve(t, {}, { roles: ['admin'] })
    t.strictSame(await challenge(t, bearer(good), roles), [403, 'Bearer error="insufficient_scope"'])
  })

  t.test('3: a scope that could not be quoted is a TypeError when the route is declared', async (t) => {
    for (const scope of ['a"b', 'a\\b', 'a b', '', 'a\u007f', '\u00e9', 'a\r\nb']) {
      await t.rejects(prepare(t, { routes: (app) => { app.get('/x', { websocket: true, wsAuth: { scopes: [scope] } }, () => {}) } }), TypeError, JSON.stringify(scope))
    }
    const odd = ['!', '#[', ']~', 'urn:a=b&c,d;e\'']
    const { port } = await serve(t, {}, { scopes: odd })
    const [, header = ''] = await challenge(t, bearer(good), port)
    t.match(header, /^Bearer error="insufficient_scope", scope="[\x21\x23-\x5B\x5D-\x7E ]+"$/)
    t.strictSame(/scope="([^"]*)"/.exec(header)?.[1]?.split(' '), odd)
  })

  t.test('3: nothing of the request is in a challenge, each attribute comes once, and none is added', async (t) => {
    const headers = { authorization: 'Bearer x", error="none', origin: 'https://chat.example' }
    t.strictSame(await challenge(t, { path: '/chat?error=%22&scope=a', headers }), [401, 'Bearer error="invalid_token"'])
  })
})

t.test('OWASP: what an application has to do has its place', async (t) => {
  t.test('all connections of one user are ended by a call, and those of everybody by a walk over them', async (t) => {
    const { app, port } = await serve(t)
    const open = async (sub: string): Promise<RawClient> => {
      const client = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${sign({ sub })}` } })
      t.equal((await client.frame()).payload.toString(), `hello ${sub}`)
      return client
    }
    const [ann, bob, eve] = [await open('ann'), await open('bob'), await open('eve')]
    await app.wsAuth.revoke({ sub: 'ann' })
    t.strictSame(await ann.close(), { code: 3000, reason: 'token_revoked' })
    t.strictSame([...app.wsAuth.connections].map(({ sub }) => sub), ['bob', 'eve'])
    for (const connection of app.wsAuth.connections) connection.close(3003, 'disconnected')
    for (const client of [bob, eve]) t.strictSame(await client.close(), { code: 3003, reason: 'disconnected' })
    t.equal(app.wsAuth.connections.size, 0)
  })

  t.test('who says nothing stays, also with a heartbeat, until an application ends it', async (t) => {
    const { app, port } = await serve(t, { heartbeat: { interval: 500 } })
    const client = new WebSocket(`ws://127.0.0.1:${port}/chat`, { headers: AUTHORIZED })
    t.teardown(() => client.terminate())
    for (let pings = 0; pings < 2; pings++) await once(client, 'ping')
    t.equal(client.readyState, WebSocket.OPEN)
    const [connection] = app.wsAuth.connections
    connection?.close(3003, 'idle')
    const [code, reason] = await once(client, 'close')
    t.strictSame([code, String(reason)], [3003, 'idle'])
  })

  t.test('what the log has of a handshake: who, from where and why, and the Origin where that was it', async (t) => {
    const { log, port } = await serve(t, { origin: ['https://chat.example'] })
    const line = (msg: string): Record<string, unknown> | undefined => log.map((text) => JSON.parse(text)).findLast((line) => line.msg === msg)
    t.equal(await shake(t, port, { headers: { origin: 'https://evil.example' } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
    t.match(line('websocket handshake refused'), { code: 'WS_AUTH_ORIGIN_FORBIDDEN', route: '/chat', address: '127.0.0.1', sub: null, why: 'its Origin is https://evil.example, and the "origin" option has https://chat.example' })
    t.equal(await shake(t, port, { headers: { origin: `https://${'e'.repeat(8000)}.example` } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
    t.ok(String(line('websocket handshake refused')?.why).length < 300, 'shortened')
    t.equal(await shake(t, port, { path: `/chat?token=${TOKEN}`, headers: { authorization: undefined, origin: `http://x/?token=${TOKEN}` } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
    t.match(line('websocket handshake refused')?.why, /^its Origin is http:\/\/x\/\?token=\[token\], and the "origin" option has https:\/\/chat\.example$/)
    log.length = 0
    const client = await upgrade(t, port, { path: '/chat', headers: { ...AUTHORIZED, origin: 'https://chat.example' } })
    await client.frame()
    client.send(clientFrame(1, 'what ann says'))
    t.equal((await client.frame()).payload.toString(), 'what ann says')
    t.match(line('websocket handshake accepted'), { route: '/chat', address: '127.0.0.1', sub: 'ann', source: 'header' })
    t.notMatch(log.join(''), /chat\.example/)
    t.notMatch(log.join(''), /what ann says/)
    t.notMatch(log.join(''), TOKEN)
  })

  t.test('a renewal does not end the old token, a revocation by jti does', async (t) => {
    const { app, port } = await serve(t)
    const [old, next] = ['old', 'next'].map((jti) => sign({ sub: 'ann', jti })) as [string, string]
    t.equal(await present(t, port, old), '101')
    const [connection] = app.wsAuth.connections
    await connection?.renew(next)
    t.equal(connection?.claims?.jti, 'next')
    t.equal(await present(t, port, old), '101')
    await app.wsAuth.revoke({ jti: 'old' })
    t.equal(await present(t, port, old), '401 WS_AUTH_TOKEN_REVOKED')
    t.equal(await present(t, port, next), '101')
  })

  t.test('a restart forgets what was revoked, where it was kept in memory', async (t) => {
    const before = await serve(t)
    await before.app.wsAuth.revoke({ sub: 'ann' })
    t.equal(await shake(t, before.port), '401 WS_AUTH_TOKEN_REVOKED')
    await before.app.close()
    const after = await serve(t)
    t.equal(await shake(t, after.port), '101')
  })

  t.test('a message is the application\'s to check: what is injected reaches the handler as it was sent', async (t) => {
    const { port } = await serve(t)
    const client = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
    await client.frame()
    for (const text of ['<script>alert(1)</script>', '\'; DROP TABLE users; --', '{"__proto__":{"admin":true}}']) {
      client.send(clientFrame(1, text))
      t.equal((await client.frame()).payload.toString(), text)
    }
  })

  t.test('a token in the URL is taken where the app lets it be, and is in no log and no request; it can be turned off', async (t) => {
    const urls: string[] = []
    const { port, log } = await serve(t, {}, true, { before: (app: FastifyInstance) => { app.addHook('onRequest', async ({ url, raw, query }) => { urls.push(url, String(raw.url), JSON.stringify(query)) }) } })
    t.equal(await shake(t, port, { path: `/chat?token=${TOKEN}`, headers: { authorization: undefined } }), '101')
    t.strictSame(urls, ['/chat', '/chat', '{}'])
    t.notMatch(log.join(''), TOKEN)

    const { port: without } = await serve(t, { token: { query: false } })
    t.equal(await shake(t, without, { path: `/chat?token=${TOKEN}`, headers: { authorization: undefined } }), '401 WS_AUTH_TOKEN_MISSING')
  })
})

/** What each table has to have, by the numbers of the standard; the cheat sheet has none, and is in the order of its headings. */
const ITEMS: Record<string, string[]> = {
  'OWASP WebSocket Security Cheat Sheet': [
    'Transport, wss', 'Transport, version', 'Transport, compression', 'Transport, proxies', 'Transport, WAF',
    'Authentication, Origin', 'Authentication, CSRF token', 'Authentication, SameSite', 'Authentication, expiry', 'Authentication, logout',
    'Authentication, tokens', 'Authentication, rotation', 'Authorization, messages',
    'Input, structure', 'Input, size', 'Input, rate', 'Input, binary', 'Input, replay', 'Input, parser', 'Tunnels',
    'DoS, connections', 'DoS, messages', 'DoS, idle', 'DoS, dead', 'DoS, backpressure',
    'Log, connections', 'Log, decisions', 'Log, violations', 'Log, abnormal ends', 'Log, secrets',
    'Tests, origin', 'Tests, bypass', 'Tests, injection', 'Tests, load', 'Tests, expiry and logout', 'Node.js', 'Dependencies'
  ],
  'OWASP ASVS 5.0': [
    ...numbers('4.4', 4), ...numbers('7.1', 3), ...numbers('7.2', 4), ...numbers('7.3', 2), ...numbers('7.4', 5), ...numbers('7.5', 3), ...numbers('7.6', 2),
    ...numbers('9.1', 3), ...numbers('9.2', 4), '14.2.1'
  ],
  'RFC 8725': numbers('3', 12),
  'RFC 6750': [
    '3, presence', '3, scheme', '3, realm', '3, scope', '3, error', '3, error_description and error_uri', '3, characters',
    '3.1, invalid_request', '3.1, invalid_token', '3.1, insufficient_scope', '3.1, nothing sent'
  ],
  'RFC 6455': [
    ...numbers('4.2.1', 10), '4.2.2.1', '4.2.2.2', '4.2.2.3',
    ...['origin', 'key', 'version', 'resource name', 'subprotocol', 'extensions'].map((name) => `4.2.2.4, ${name}`), ...numbers('4.2.2.5', 6), ...numbers('10', 8)
  ]
}

function numbers (section: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${section}.${i + 1}`)
}

/** What stands where there is nothing that a test of this package could ask. */
const OUTSIDE = 'none: outside this package'

/** The rows of each table of the document, by the heading above it. */
function standardsOf (path: string): Array<[name: string, rows: string[][]]> {
  const [, ...sections] = readFileSync(path, 'utf8').split(/^## /m)
  return sections.map((section) => {
    const lines = section.split('\n').filter((line) => line.startsWith('|'))
    return [section.slice(0, section.indexOf('\n')), lines.slice(2).map((line) => line.slice(1, -1).split('|').map((cell) => cell.trim()))]
  })
}

/** The titles that stand in the source of each file of tests. */
function titlesOf (folder: string): Map<string, Set<string>> {
  return new Map(readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.test.ts')).map((name) => {
    const calls = readFileSync(join(folder, name), 'utf8').matchAll(/\.test\(\s*(?:'((?:\\.|[^'\\\n])*)'|"((?:\\.|[^"\\\n])*)")/g)
    return [name.replace(/(?:\.long)?\.test\.ts$/, ''), new Set([...calls].map(([, single, double]) => (single ?? double ?? '').replace(/\\(.)/g, '$1')))]
  }))
}

t.test('the tables of STANDARDS.md', async (t) => {
  const tables = standardsOf(join(__dirname, '..', 'STANDARDS.md'))
  const titles = titlesOf(join(__dirname, '..'))

  t.test('are of all standards, and of no other', async (t) => {
    t.strictSame(tables.map(([name]) => name), Object.keys(ITEMS))
  })

  t.test('have every item once, in order, and say of each what is done or who has to do it', async (t) => {
    for (const [name, rows] of tables) {
      t.strictSame(rows.map(([item = '']) => item.split(': ')[0]), ITEMS[name], name)
      for (const [item, ours, yours, ...more] of rows) {
        t.ok(ours !== '' && yours !== '', `${item}: neither is left empty`)
        t.equal(more.length, 1, `${item}: four cells`)
      }
    }
  })

  t.test('name a test that exists behind each line, or say that there can be none', async (t) => {
    const named = /`([\w/-]+): "([^"`]+)"`/g
    for (const [standard, rows] of tables) {
      for (const [item = '', ours, , tests = ''] of rows) {
        if (tests === OUTSIDE) {
          t.equal(ours, '-', `${standard}, ${item}: what is done here has a test`)
          continue
        }
        t.match(tests, /^(?:`[\w/-]+: "[^"`]+"`(?:; |$))+$/, `${standard}, ${item}: is a list of tests`)
        for (const [, file = '', title = ''] of tests.matchAll(named)) t.ok(titles.get(file)?.has(title), `${standard}, ${item}: test/${file}.test.ts has "${title}"`)
      }
    }
  })
})
