/*
 * A first message that is too long, malformed or refused.
 */
import { once } from 'node:events'
import { plugin as clockPlugin } from '@tapjs/clock'
import tap from 'tap'
import { WebSocket } from 'ws'
import { WsAuthError } from '../../lib/index'
import { sign, until } from '../helpers/app'
import { clientFrame } from '../helpers/raw-client'
import { BINARY, OK, PING, TEXT, TOKEN_INVALID, VERIFIERS, assertNobody, authFrame, connect, fragment, never, soon, startChat, text, turns } from '../helpers/first-message-app'
import { plain } from '../helpers/plain-frames'
import type { ChatSettings } from '../helpers/first-message-app'
import { statsOf } from '../helpers/stats'

const t = tap.applyPlugin(clockPlugin)

t.test('maxBytes limits the length of a first message', async (t) => {
  const LONG = 'x'.repeat(8193)

  t.test('a first message of one frame closes with 1009 past maxBytes', async (t) => {
    const chat = await startChat(t)
    const client = await connect(t, chat)
    client.send(clientFrame(TEXT, LONG).subarray(0, 8))
    t.equal((await client.close()).code, 1009, 'as soon as its length is known')
    await until(() => statsOf(chat.app).pending === 0, 'nothing is waited for')
    assertNobody(t, chat)
    t.same(statsOf(chat.app).refused, { WS_AUTH_TOKEN_INVALID: 1 })
  })

  t.test('a first message in fragments closes with 1009 past maxBytes', async (t) => {
    const chat = await startChat(t)
    const client = await connect(t, chat)
    client.send(fragment(TEXT, LONG.slice(0, 5000))).send(fragment(0, LONG.slice(0, 3192))).send(fragment(0, 'x'))
    t.equal((await client.close()).code, 1009)
    assertNobody(t, chat)
  })

  t.test('a first message may be as long as maxBytes, also in fragments', async (t) => {
    for (const isWhole of [true, false]) {
      const chat = await startChat(t)
      const client = await connect(t, chat)
      const json = JSON.stringify({ type: 'auth', token: sign(), x: '' })
      const padded = `${json.slice(0, -2)}${'x'.repeat(8192 - json.length)}"}`
      t.equal(padded.length, 8192)
      if (isWhole) client.send(clientFrame(TEXT, padded))
      else client.send(fragment(TEXT, padded.slice(0, 3))).send(clientFrame(PING, '')).send(clientFrame(0, padded.slice(3)))
      if (!isWhole) t.equal((await client.frame()).opcode, 10)
      t.equal(await text(client), OK)
    }
  })

  t.test('a first message may not be longer than maxPayload', async (t) => {
    const chat = await startChat(t, { plugin: { websocket: { options: { maxPayload: 100 } }, token: { message: { maxBytes: 1000 } } } })
    const client = await connect(t, chat)
    client.send(clientFrame(TEXT, 'x'.repeat(101)))
    t.equal((await client.close()).code, 1009)
  })

  for (const [how, verify] of Object.entries(VERIFIERS)) {
    t.test(`maxBytes limits a first message although the server reads messages of any length, with ${how}`, async (t) => {
      const chat = await startChat(t, { plugin: { verify, websocket: { options: { maxPayload: 0 } }, token: { message: { maxBytes: 1000 } } } })
      const client = await connect(t, chat)
      client.send(clientFrame(TEXT, 'x'.repeat(1001)))
      t.equal((await client.close()).code, 1009)
      const good = await connect(t, chat)
      good.send(Buffer.concat([authFrame(), clientFrame(TEXT, 'y'.repeat(60_000))]))
      t.equal(await text(good), OK)
      await until(() => chat.heard.includes('y'.repeat(60_000)), 'what is longer behind it')
    })
  }

  t.test('maxBytes limits the inflated length of a first message', async (t) => {
    const chat = await startChat(t, { plugin: { websocket: { options: { perMessageDeflate: true } } } })
    const open = async (): Promise<WebSocket> => {
      const client = new WebSocket(`ws://127.0.0.1:${chat.port}/chat`, { perMessageDeflate: { threshold: 0 } })
      t.teardown(() => client.terminate())
      await once(client, 'open')
      return client
    }
    const good = await open()
    const answered = once(good, 'message')
    for (const text of [JSON.stringify({ type: 'auth', token: sign() }), 'one', 'x'.repeat(20_000)]) good.send(text)
    t.equal(plain(String((await answered)[0])), OK)
    await until(() => chat.heard.length === 3, 'what follows')
    t.equal(chat.heard[1], 'one')
    const bad = await open()
    const closed = once(bad, 'close')
    bad.send(JSON.stringify({ type: 'auth', token: sign(), x: 'x'.repeat(9000) }))
    t.equal((await closed)[0], 1009)
  })

  for (const [how, verify] of Object.entries(VERIFIERS)) {
    t.test(`maxBytes does not limit messages behind the first, with ${how}`, async (t) => {
      const chat = await startChat(t, { plugin: { verify } })
      const long = 'y'.repeat(20_000)
      const client = await connect(t, chat)
      client.send(Buffer.concat([authFrame(), clientFrame(TEXT, long)]))
      t.equal(await text(client), OK)
      await until(() => chat.heard.length === 2, 'the one right behind')
      client.send(clientFrame(TEXT, long))
      await until(() => chat.heard.length === 3, 'another')
      t.ok(chat.heard[1] === long && chat.heard[2] === long)
    })

    t.test(`maxPayload limits messages behind the first, with ${how}`, async (t) => {
      const chat = await startChat(t, { plugin: { verify, websocket: { options: { maxPayload: 1000 } } } })
      const client = await connect(t, chat)
      client.send(authFrame())
      t.equal(await text(client), OK)
      client.send(clientFrame(TEXT, 'x'.repeat(1001)))
      t.equal((await client.close()).code, 1009)
      t.same(chat.heard, ['handler'])
    })
  }
})

t.test('a first message that is malformed or not accepted is refused', async (t) => {
  const token = sign()
  const refused: Record<string, Buffer> = {
    'that is binary': clientFrame(BINARY, JSON.stringify({ type: 'auth', token })),
    'that is empty': clientFrame(TEXT, ''),
    'that is no JSON': clientFrame(TEXT, '{"type":"auth",'),
    'that is a bare token': clientFrame(TEXT, token),
    'of another type': clientFrame(TEXT, JSON.stringify({ type: 'hello', token })),
    'of two types': clientFrame(TEXT, `{"type":"auth","token":"${token}","type":"hello"}`),
    'without a token': clientFrame(TEXT, '{"type":"auth"}'),
    'whose token is null': clientFrame(TEXT, '{"type":"auth","token":null}'),
    'whose token is a list': clientFrame(TEXT, `{"type":"auth","token":["${token}"]}`),
    'whose token is empty': clientFrame(TEXT, '{"type":"auth","token":""}'),
    'whose token is somebody else\'s': authFrame(sign({ sub: 'x' }, 'another secret of thirty-two bytes')),
    'that inherits its token': clientFrame(TEXT, `{"type":"auth","__proto__":{"token":"${token}"}}`)
  }
  for (const [what, frame] of Object.entries(refused)) {
    t.test(`a first message is refused if it is one ${what}`, async (t) => {
      const chat = await startChat(t)
      const client = await connect(t, chat)
      client.send(Buffer.concat([frame, authFrame(), clientFrame(TEXT, 'and more')]))
      t.same(await client.close(), TOKEN_INVALID)
      client.send(authFrame())
      await turns()
      t.equal(client.rest.length, 0, 'there is no second try')
      assertNobody(t, chat)
      t.same(statsOf(chat.app).refused, { WS_AUTH_TOKEN_INVALID: 1 }, 'it is counted once')
    })
  }

  t.test('a first message that is not UTF-8 is refused with 1007', async (t) => {
    const chat = await startChat(t)
    const client = await connect(t, chat)
    client.send(clientFrame(TEXT, Buffer.concat([Buffer.from('{"type":"auth","token":"'), Buffer.from([0xC3, 0x28]), Buffer.from('"}')])))
    t.equal((await client.close()).code, 1007)
    assertNobody(t, chat)
  })

  const reasons: Record<string, { settings?: ChatSettings, frame?: Buffer, close: { code: number, reason: string } }> = {
    'if its token has expired': { frame: authFrame(sign({ sub: 'x', exp: 1 })), close: { code: 3000, reason: 'token_expired' } },
    'if its user lacks the role': { settings: { wsAuth: { roles: ['admin'] } }, close: { code: 3003, reason: 'forbidden' } },
    'if authorize returns false': { settings: { wsAuth: { authorize: async () => false } }, close: { code: 3003, reason: 'forbidden' } },
    'if the verifier throws': { settings: { plugin: { verify: () => { throw new Error('secret') } } }, close: { code: 4503, reason: 'auth_unavailable' } },
    'if the verifier rejects': { settings: { plugin: { verify: async () => { throw new Error('secret') } } }, close: { code: 4503, reason: 'auth_unavailable' } },
    'if the verifier returns null': { settings: { plugin: { verify: () => null } }, close: TOKEN_INVALID },
    'if the verifier throws a WsAuthError': { settings: { plugin: { verify: () => { throw new WsAuthError('WS_AUTH_TOKEN_REVOKED') } } }, close: { code: 3000, reason: 'token_revoked' } },
    'if the verifier throws a WsAuthError without a close code': { settings: { plugin: { verify: () => { throw new WsAuthError('WS_AUTH_HANDSHAKE_INVALID') } } }, close: { code: 4503, reason: 'auth_unavailable' } },
    'if the token is too long': { settings: { plugin: { maxTokenBytes: 10 } }, close: TOKEN_INVALID },
    'if the claims do not match': { settings: { plugin: { claims: { type: 'object', required: ['tenant'] } } }, close: TOKEN_INVALID },
    'with the close codes of the route': { settings: { wsAuth: { roles: ['admin'], closeCodes: { forbidden: 4403 } } }, close: { code: 4403, reason: 'forbidden' } }
  }
  for (const [why, { settings = {}, frame = authFrame(), close }] of Object.entries(reasons)) {
    t.test(`a first message is refused ${why}`, async (t) => {
      const chat = await startChat(t, settings)
      const client = await connect(t, chat)
      client.send(Buffer.concat([frame, clientFrame(TEXT, 'and more')]))
      t.same(await client.close(), close)
      assertNobody(t, chat)
      t.notMatch(chat.log.join(''), sign(), 'the log has no token')
    })
  }
})

t.test('the server reads no more from a refused client than its answer to the close frame', async (t) => {
  for (const [how, settings] of Object.entries<ChatSettings>({
    'at once': { plugin: { verify: () => null } },
    later: { plugin: { verify: async () => { await soon(); return null } } },
    'at the deadline': { plugin: { verify: never, token: { message: { timeout: 100 } } } }
  })) {
    t.test(`the server reads no further from a client that was refused ${how}`, async (t) => {
      const codes: unknown[] = []
      class Recorder extends WebSocket {
        override close (code?: number, reason?: string): void {
          codes.push(code)
          super.close(code, reason)
        }
      }
      const chat = await startChat(t, { plugin: { ...settings.plugin, websocket: { options: { WebSocket: Recorder } } } })
      const client = await connect(t, chat)
      await client.send(authFrame()).close()
      client.send(clientFrame(TEXT, 'x'.repeat(9000)).subarray(0, 100))
      await until(() => codes.includes(1009), 'it is too long, though the server reads 100 MiB of others')
      assertNobody(t, chat)
    })
  }
})

t.test('the server does not wait for a client that has begun a long message behind a bad one', async (t) => {
  const chat = await startChat(t, { plugin: { verify: async () => { await soon(); return null } } })
  const client = await connect(t, chat)
  client.send(Buffer.concat([authFrame(), clientFrame(TEXT, 'x'.repeat(60_000)).subarray(0, 100)]))
  await until(() => client.isEnded, 'it is gone, long before the time for an answer to the close frame', 2500)
  t.same(statsOf(chat.app).refused, { WS_AUTH_TOKEN_INVALID: 1 })
  assertNobody(t, chat)
})
