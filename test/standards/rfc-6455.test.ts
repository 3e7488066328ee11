/*
 * RFC 6455, 4.2 and 10: the server's handshake, and security, as it is sent and read on the wire.
 */
import { createHmac, sign as signBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { sign, within } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { keys, mint, secret } from '../helpers/keys'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'
import { AUTHORIZED, INVALID, present, serve, shake, signedBy, TOKEN, told } from '../helpers/standards'
import { statsOf } from '../helpers/stats'

const NO_HANDSHAKE = '400 WS_AUTH_HANDSHAKE_INVALID'

/** TLS by a key that both sides have: no certificate is needed. */
const PSK = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const
const SHARED_KEY = Buffer.alloc(32, 7)

async function serveTls (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}): Promise<StartedApp> {
  return await serve(t, plugin, true, { server: { https: { ...PSK, pskCallback: () => SHARED_KEY } } as never })
}

t.test('RFC 6455, 4.2.1: the server checks the handshake of a client', async (t) => {
  const { port } = await serve(t)
  const { port: open } = await serve(t, { origin: ['https://chat.example'] })

  t.test('1: a request line that is not GET with HTTP/1.1 is 400, and a method without a route 404', async (t) => {
    t.equal(await shake(t, port, { version: '1.0' }), NO_HANDSHAKE)
    t.equal(await shake(t, port, { method: 'POST' }), '404 undefined')
    t.equal(await shake(t, port, { path: `http://localhost:${port}/chat` }), '101', 'an absolute URI')
  })

  t.test('2: a handshake with no Host, or with two, is 400', async (t) => {
    t.equal(await shake(t, port, { headers: { host: undefined } }), NO_HANDSHAKE)
    t.equal(await shake(t, port, { headers: { host: ['localhost', 'localhost'] } }), NO_HANDSHAKE)
  })

  t.test('3: Upgrade must be websocket, in any case, and nothing else', async (t) => {
    t.equal(await shake(t, port, { headers: { upgrade: 'WebSocket' } }), '101')
    t.equal(await shake(t, port, { headers: { upgrade: 'websocket, h2c' } }), NO_HANDSHAKE)
    for (const other of ['h2c', 'websocket2']) t.match(await shake(t, port, { headers: { upgrade: other } }), /^426/, `${other} is ignored, and the request is a plain one`)
  })

  t.test('4: Connection must have the option Upgrade, in any case and among others, or else the request is a plain one', async (t) => {
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

  t.test('7: a handshake without an Origin is not from a browser, and is not refused for that', async (t) => {
    t.equal(await shake(t, open), '101')
    t.equal(await shake(t, open, { headers: { origin: 'https://chat.example' } }), '101')
    t.equal(await shake(t, open, { headers: { origin: 'https://evil.example' } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
    t.equal(await shake(t, open, { headers: { origin: '' } }), '403 WS_AUTH_ORIGIN_FORBIDDEN', 'an empty one is one')
  })

  t.test('8: an invalid list of subprotocols, or one with a duplicate, is 400', async (t) => {
    for (const list of ['', 'chat, chat', 'chat,', 'chat room', 'chat/1', '"chat"']) {
      t.equal(await shake(t, port, { headers: { 'sec-websocket-protocol': list } }), NO_HANDSHAKE, list)
    }
  })

  t.test('9: an invalid list of extensions is 400 if compression is on, and spends no ticket', async (t) => {
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

  t.test('10: the server ignores unknown header fields', async (t) => {
    t.equal(await shake(t, port, { headers: { 'x-unknown': 'a', 'sec-websocket-unknown': ['b', 'c'], 'sec-websocket-accept': 'd', cookie: 'e=f' } }), '101')
  })
})

t.test('RFC 6455, 4.2.2: the server answers a handshake as the RFC requires', async (t) => {
  const { port } = await serve(t, {}, true, {
    routes: (app) => {
      app.get('/moved', { websocket: true, onRequest: async (_request, reply) => await reply.redirect('/chat') }, () => {})
      app.get('/page', () => 'page')
      app.get('/public', { websocket: true, wsAuth: false }, () => {})
    }
  })

  t.test('1: the server ends TLS, so that a wss:// client connects and a ws:// client gets no answer', async (t) => {
    const { port, app } = await serveTls(t)
    const options = { ...PSK, pskCallback: () => ({ psk: SHARED_KEY, identity: 'ann' }), checkServerIdentity: () => false, headers: AUTHORIZED }
    const client = new WebSocket(`wss://127.0.0.1:${port}/chat`, options)
    const [message] = await once(client, 'message')
    t.equal(String(message), 'hello ann')
    client.terminate()

    const plain = await RawClient.open(t, port)
    await t.rejects(plain.upgrade({ path: '/chat', headers: AUTHORIZED }).response(), /the server closed before an answer/)
    t.equal(statsOf(app).accepted, 1)
  })

  t.test('2: a client without authentication gets 401 and a challenge', async (t) => {
    const { answer } = await upgrade(t, port, { path: '/chat' })
    t.equal(told(answer), '401 WS_AUTH_TOKEN_MISSING')
    t.match(answer.headers['www-authenticate'], /^Bearer/)
  })

  t.test('3: a hook of the app may redirect with its own status, and the socket is freed', async (t) => {
    const client = await upgrade(t, port, { path: '/moved', headers: AUTHORIZED })
    t.equal(client.answer.status, 302)
    t.equal(client.answer.headers.location, '/chat')
    await within(5000, 'the socket is freed', client.ended)
  })

  t.test('4: a page of another origin that sends a cookie is 403', async (t) => {
    const from = async (origin: string): Promise<string> => await shake(t, port, { headers: { authorization: undefined, cookie: `token=${TOKEN}`, host: 'chat.example', origin } })
    t.equal(await from('https://chat.example'), '101')
    t.equal(await from('https://evil.example'), '403 WS_AUTH_ORIGIN_FORBIDDEN')
    t.equal(await from('null'), '403 WS_AUTH_ORIGIN_FORBIDDEN')
  })

  t.test('4: the answer to another version names version 13, and no other refusal does', async (t) => {
    for (const [version, expected] of [['8', '13'], ['14', '13'], [undefined, '13'], ['13', undefined]]) {
      const headers = { ...AUTHORIZED, 'sec-websocket-version': version, ...(version === '13' && { 'sec-websocket-key': 'x' }) }
      for (const path of ['/chat', '/public']) {
        const { answer } = await upgrade(t, port, { path, headers })
        t.equal(answer.status, 400, `${path} ${String(version)}`)
        t.equal(answer.headers['sec-websocket-version'], expected, `${path} ${String(version)}`)
      }
    }
  })

  t.test('4: an upgrade of a resource without a websocket is 404', async (t) => {
    t.equal(await shake(t, port, { path: '/page' }), '404 WS_AUTH_ROUTE_NOT_WEBSOCKET')
    t.equal(await shake(t, port, { path: '/nowhere' }), '404 undefined')
  })

  t.test('4: the subprotocol is one of those that the client offers, never the token, and absent if it offers none', async (t) => {
    for (const [offered, chosen] of [['a, b', 'a'], [`bearer, ${TOKEN}, b`, 'b'], [`bearer, ${TOKEN}`, 'bearer'], [undefined, undefined]]) {
      const headers = { ...(offered?.includes(TOKEN) !== true && AUTHORIZED), 'sec-websocket-protocol': offered }
      const { answer } = await upgrade(t, port, { path: '/chat', headers })
      t.equal(answer.status, 101)
      t.equal(answer.headers['sec-websocket-protocol'], chosen, 'one, and once')
    }
  })

  t.test('4: the answer has a subprotocol that the app chooses without an offer, which is a fault of the app', async (t) => {
    const { port } = await serve(t, { websocket: { options: { handleProtocols: () => 'other' } } })
    const { answer } = await upgrade(t, port, { path: '/chat', headers: { ...AUTHORIZED, 'sec-websocket-protocol': 'a' } })
    t.equal(answer.headers['sec-websocket-protocol'], 'other')
    const none = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
    t.equal(none.answer.headers['sec-websocket-protocol'], undefined, 'it is not asked where nothing was offered')
  })

  t.test('4: the server chooses only an extension that the client offers, and none if compression is off', async (t) => {
    const { port: compressing } = await serve(t, { websocket: { options: { perMessageDeflate: true } } })
    const extension = async (port: number, offered: string | undefined): Promise<string | undefined> =>
      (await upgrade(t, port, { path: '/chat', headers: { ...AUTHORIZED, 'sec-websocket-extensions': offered } })).answer.headers['sec-websocket-extensions']
    t.equal(await extension(port, 'permessage-deflate'), undefined)
    t.equal(await extension(compressing, undefined), undefined)
    t.equal(await extension(compressing, 'x-unknown'), undefined)
    t.equal(await extension(compressing, 'permessage-deflate, x-unknown'), 'permessage-deflate')
  })

  t.test('5: the answer is 101 with its four headers, and nothing of the request', async (t) => {
    const { answer } = await upgrade(t, port, { path: '/chat?a=b', headers: AUTHORIZED })
    t.equal(answer.text, 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n')
  })

  t.test('5: a handshake that is accepted to be closed gets an answer by the same rules', async (t) => {
    const { port } = await serve(t, { rejectWith: 'close' })
    const client = await upgrade(t, port, { path: '/chat', headers: { 'sec-websocket-protocol': 'bearer, not.a.token', 'sec-websocket-extensions': 'permessage-deflate' } })
    t.equal(client.answer.text, 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: bearer\r\n\r\n')
    t.strictSame(await client.close(), { code: 3000, reason: 'token_invalid' })
  })
})

t.test('RFC 6455, 10: the package follows the security considerations', async (t) => {
  const { port } = await serve(t, { origin: ['https://chat.example'] })

  t.test('10.1: a client that is not a browser may send any Origin, and still needs a token', async (t) => {
    for (const headers of [{ origin: 'https://chat.example' }, { origin: undefined }]) {
      t.equal(await shake(t, port, { headers: { ...headers, authorization: undefined } }), '401 WS_AUTH_TOKEN_MISSING')
      t.equal(await shake(t, port, { headers: { ...headers, authorization: `Bearer ${sign({ sub: 'ann' }, 'another secret of thirty-two bytes')}` } }), INVALID)
    }
  })

  t.test('10.2: an Origin that is not in the list is 403, however similar', async (t) => {
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

  t.test('10.3: an unmasked frame ends the connection and reaches no handler, and the server sends unmasked frames', async (t) => {
    t.strictSame(await closedBy(t, Buffer.from([0x81, 2, 0x68, 0x69]), port), { heard: ['hello ann'], code: 1002 })
    const client = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
    await client.frame()
    client.send(clientFrame(1, 'hi'))
    t.equal((await client.frame()).payload.toString(), 'hi', 'a masked one does')
    t.equal(client.rest.length, 0)
  })

  t.test('10.4: a message may have 100 MiB unless the app sets less, also in fragments', async (t) => {
    const { app } = await serve(t)
    t.equal(app.websocketServer.options.maxPayload, 100 * 1024 * 1024)
    const { port } = await serve(t, { websocket: { options: { maxPayload: 10 } } })
    t.strictSame(await closedBy(t, clientFrame(1, 'eleven char'), port), { heard: ['hello ann'], code: 1009 })
    const [head, ...more] = [clientFrame(1, 'seven c'), clientFrame(0, 'seven c')]
    head[0] = 1
    t.strictSame(await closedBy(t, Buffer.concat([head, ...more]), port), { heard: ['hello ann'], code: 1009 })
  })

  t.test('10.5: a header, a cookie or TLS can authenticate a client, and a user without the role is not authorized', async (t) => {
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

  t.test('10.6: the package refuses a connection without TLS if requireTls is on', async (t) => {
    const plain = await serve(t)
    t.equal(await shake(t, plain.port), '101')
    const { app, port } = await serve(t, { requireTls: true })
    t.equal(await shake(t, port), '400 WS_AUTH_HANDSHAKE_INVALID')
    t.strictSame([statsOf(app).accepted, statsOf(app).refused.WS_AUTH_HANDSHAKE_INVALID], [0, 1])
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

  t.test('10.8: the server uses SHA-1 only in the answer to the key, and accepts no token that is signed with it', async (t) => {
    const { port } = await serve(t, { jwt: { secret } })
    const { port: rsaPort } = await serve(t, { jwt: { secret: { public: keys.RS256.public, private: keys.RS256.private }, sign: { algorithm: 'RS256' } } })
    for (const alg of ['HS1', 'HS256']) t.equal(await present(t, port, signedBy({ alg }, { sub: 'ann' }, (input) => createHmac('sha1', secret).update(input).digest())), INVALID, alg)
    for (const alg of ['RS1', 'RS256']) t.equal(await present(t, rsaPort, signedBy({ alg }, { sub: 'ann' }, (input) => signBytes('sha1', input, keys.RS256.private))), INVALID, alg)
    t.equal(await present(t, port, mint({ sub: 'ann' })), '101')
  })
})
