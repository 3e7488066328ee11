/*
 * Authentication by the first message: what is accepted, what is refused and how, who sees the socket before, and what
 * becomes of the messages behind the first.
 */
import { once } from 'node:events'
import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { plugin as clockPlugin } from '@tapjs/clock'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import tap from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth, { WsAuthError } from '../../lib/index'
import { prepare, sign, start, until, within } from '../helpers/app'
import { turn } from '../helpers/moved-clock'
import type { AppSettings, StartedApp } from '../helpers/app'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'

const t = tap.applyPlugin(clockPlugin)
type Test = Parameters<typeof RawClient.open>[0]
type Verify = NonNullable<fastifyWsAuth.WsAuthOptions['verify']>

const TEXT = 1
const BINARY = 2
const CLOSE = 8
const PING = 9
const OK = '{"type":"auth.ok","expiresAt":null}'
const TOKEN_INVALID = { code: 3000, reason: 'token_invalid' }

const never = async (): Promise<never> => await new Promise(() => {})
const soon = async (): Promise<void> => await new Promise((resolve) => setTimeout(resolve, 20))
const VERIFIERS: Record<string, Verify> = {
  'a verifier that answers at once': () => ({ sub: 'x' }),
  'a verifier that takes its time': async () => { await soon(); return { sub: 'x' } }
}

/** Until what was sent has arrived; works also while the clock stands still. */
async function turns (count = 50): Promise<void> {
  await turn(count)
}

function authFrame (token = sign()): Buffer {
  return clientFrame(TEXT, JSON.stringify({ type: 'auth', token }))
}

/** A frame that others follow. */
function fragment (opcode: number, payload: string): Buffer {
  const frame = clientFrame(opcode, payload)
  frame[0] = opcode
  return frame
}

type ChatSettings = Omit<AppSettings, 'plugin'> & { plugin?: fastifyWsAuth.WsAuthOptions, wsAuth?: fastifyWsAuth.RouteWsAuth }

interface Chat extends StartedApp {
  /** What has reached the handler: that it runs, and each message. */
  readonly heard: string[]
}

/** A route that waits for a first message, and remembers what reaches its handler. */
async function startChat (t: Test, { plugin = {}, wsAuth = true, ...settings }: ChatSettings = {}): Promise<Chat> {
  const heard: string[] = []
  const started = await start(t, {
    ...settings,
    plugin: { ...plugin, token: { ...plugin.token, message: plugin.token?.message ?? true } },
    routes: (app) => {
      settings.routes?.(app)
      app.get('/chat', { websocket: true, wsAuth }, (socket) => {
        heard.push('handler')
        socket.on('message', (data) => heard.push(String(data)))
      })
    }
  })
  return { ...started, heard }
}

/** A client that is waited for. */
async function connect (t: Test, { port, app }: Pick<StartedApp, 'port' | 'app'>, settings: RequestSettings = {}): Promise<RawClient> {
  const { pending } = app.wsAuth.stats()
  const client = await upgrade(t, port, { path: '/chat', ...settings })
  t.equal(client.answer.status, 101)
  t.equal(app.wsAuth.stats().pending, pending + 1, 'a first message is waited for')
  return client
}

async function text (client: RawClient): Promise<string> {
  const { opcode, payload } = await client.frame()
  if (opcode !== TEXT) throw new Error(`not a text, but opcode ${opcode}: ${payload.toString('latin1')}`)
  return payload.toString()
}

function assertNobody (t: Test, { app, heard }: Chat): void {
  t.same(heard, [], 'the handler never ran')
  const { connections, pending, accepted } = app.wsAuth.stats()
  t.same({ connections, pending, accepted }, { connections: 0, pending: 0, accepted: 0 })
}

t.test('is answered with auth.ok, and then the handler runs, as who the token says', async (t) => {
  const users: unknown[] = []
  const seen: FastifyRequest[] = []
  const { app, port } = await start(t, {
    plugin: { token: { message: true } },
    routes: (app) => {
      app.addHook('preHandler', async (request) => { users.push(request.user, request.wsAuth) })
      app.get('/chat', { websocket: true }, (socket, request) => {
        seen.push(request)
        socket.send('hello')
      })
    }
  })
  const exp = Math.floor(Date.now() / 1000) + 60
  const client = await connect(t, { app, port })
  t.same(users, [null, null], 'hooks before it see nobody')
  await turns()
  t.equal(client.rest.length, 0, 'nothing is sent to who has not authenticated')
  client.send(authFrame(sign({ sub: 'ann', exp })))
  t.equal(await text(client), `{"type":"auth.ok","expiresAt":${exp * 1000}}`)
  t.equal(await text(client), 'hello')
  const [{ user, wsAuth } = { user: null, wsAuth: null }] = seen
  t.match(user, { sub: 'ann' })
  t.match(wsAuth, { source: 'message', expiresAt: exp * 1000, user, sub: 'ann' })
  t.equal(app.wsAuth.connections.get(wsAuth?.id ?? ''), wsAuth)
  t.match(app.wsAuth.stats(), { connections: 1, pending: 0, accepted: 1 })
})

t.test('is waited for until a deadline, which nothing moves', async (t) => {
  const activities: Record<string, (client: RawClient, step: number) => void> = {
    'who is silent': () => {},
    'who pings': (client) => client.send(clientFrame(PING, 'alive')),
    'who sends a frame byte by byte': (client, step) => client.send(authFrame().subarray(step, step + 1)),
    'who sends fragments': (client, step) => client.send(fragment(step === 0 ? TEXT : 0, '{"type":"auth"'.charAt(step)))
  }
  for (const [who, act] of Object.entries(activities)) {
    t.test(`for ${who}`, async (t) => {
      const chat = await startChat(t)
      t.clock.travel(Date.now())
      t.clock.enter()
      t.teardown(() => t.clock.exit())
      const client = await connect(t, chat)
      for (let step = 0; step < 9; step++) {
        act(client, step)
        await turns()
        t.clock.advance(1110)
      }
      await turns()
      t.notOk(client.isEnded)
      t.equal(chat.app.wsAuth.stats().pending, 1, 'it is waited for 9,990 ms')
      t.clock.advance(20)
      let frame = await client.frame()
      while (frame.opcode === 10) frame = await client.frame()
      t.equal(frame.payload.readUInt16BE(0), 3008)
      t.equal(frame.payload.subarray(2).toString(), 'auth_timeout')
      client.send(authFrame())
      await turns()
      assertNobody(t, chat)
      t.same(chat.app.wsAuth.stats().refused, { WS_AUTH_TIMEOUT: 1 })
      t.clock.exit()
    })
  }

  t.test('of which an app has its own', async (t) => {
    const chat = await startChat(t, { plugin: { token: { message: { timeout: 30 } } } })
    const client = await connect(t, chat)
    t.same(await client.close(), { code: 3008, reason: 'auth_timeout' })
    assertNobody(t, chat)
  })

  t.test('also by who verifies', async (t) => {
    const signals: AbortSignal[] = []
    const chat = await startChat(t, { plugin: { verify: async (_token, _request, { signal }) => { signals.push(signal); return await never() } } })
    t.clock.travel(Date.now())
    t.clock.enter()
    t.teardown(() => t.clock.exit())
    const client = await connect(t, chat)
    t.clock.advance(9000)
    client.send(authFrame())
    await turns()
    t.equal(signals[0]?.aborted, false)
    t.clock.advance(1000)
    t.same(await client.close(), { code: 4503, reason: 'auth_unavailable' })
    t.equal(signals[0]?.aborted, true, 'the verifier is told')
    assertNobody(t, chat)
    t.same(chat.app.wsAuth.stats().refused, { WS_AUTH_UNAVAILABLE: 1 })
    t.clock.exit()
  })
})

t.test('is limited', async (t) => {
  const LONG = 'x'.repeat(8193)

  t.test('closes with 1009 past maxBytes, in one frame', async (t) => {
    const chat = await startChat(t)
    const client = await connect(t, chat)
    client.send(clientFrame(TEXT, LONG).subarray(0, 8))
    t.equal((await client.close()).code, 1009, 'as soon as its length is known')
    await until(() => chat.app.wsAuth.stats().pending === 0, 'nothing is waited for')
    assertNobody(t, chat)
    t.same(chat.app.wsAuth.stats().refused, { WS_AUTH_TOKEN_INVALID: 1 })
  })

  t.test('closes with 1009 past maxBytes, in fragments', async (t) => {
    const chat = await startChat(t)
    const client = await connect(t, chat)
    client.send(fragment(TEXT, LONG.slice(0, 5000))).send(fragment(0, LONG.slice(0, 3192))).send(fragment(0, 'x'))
    t.equal((await client.close()).code, 1009)
    assertNobody(t, chat)
  })

  t.test('may be as long as maxBytes, also in fragments', async (t) => {
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

  t.test('may not be longer than the server reads at all', async (t) => {
    const chat = await startChat(t, { plugin: { websocket: { options: { maxPayload: 100 } }, token: { message: { maxBytes: 1000 } } } })
    const client = await connect(t, chat)
    client.send(clientFrame(TEXT, 'x'.repeat(101)))
    t.equal((await client.close()).code, 1009)
  })

  for (const [how, verify] of Object.entries(VERIFIERS)) {
    t.test(`also where the server reads messages of any length, with ${how}`, async (t) => {
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

  t.test('by what it is when it was inflated', async (t) => {
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
    t.equal(String((await answered)[0]), OK)
    await until(() => chat.heard.length === 3, 'what follows')
    t.equal(chat.heard[1], 'one')
    const bad = await open()
    const closed = once(bad, 'close')
    bad.send(JSON.stringify({ type: 'auth', token: sign(), x: 'x'.repeat(9000) }))
    t.equal((await closed)[0], 1009)
  })

  for (const [how, verify] of Object.entries(VERIFIERS)) {
    t.test(`and what follows is not, with ${how}`, async (t) => {
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

    t.test(`and what follows is, by what the app has said, with ${how}`, async (t) => {
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

t.test('is refused', async (t) => {
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
    t.test(`where it is one ${what}`, async (t) => {
      const chat = await startChat(t)
      const client = await connect(t, chat)
      client.send(Buffer.concat([frame, authFrame(), clientFrame(TEXT, 'and more')]))
      t.same(await client.close(), TOKEN_INVALID)
      client.send(authFrame())
      await turns()
      t.equal(client.rest.length, 0, 'there is no second try')
      assertNobody(t, chat)
      t.same(chat.app.wsAuth.stats().refused, { WS_AUTH_TOKEN_INVALID: 1 }, 'it is counted once')
    })
  }

  t.test('with 1007 where it is not UTF-8', async (t) => {
    const chat = await startChat(t)
    const client = await connect(t, chat)
    client.send(clientFrame(TEXT, Buffer.concat([Buffer.from('{"type":"auth","token":"'), Buffer.from([0xC3, 0x28]), Buffer.from('"}')])))
    t.equal((await client.close()).code, 1007)
    assertNobody(t, chat)
  })

  const reasons: Record<string, { settings?: ChatSettings, frame?: Buffer, close: { code: number, reason: string } }> = {
    'where its token has expired': { frame: authFrame(sign({ sub: 'x', exp: 1 })), close: { code: 3000, reason: 'token_expired' } },
    'where its user lacks the role': { settings: { wsAuth: { roles: ['admin'] } }, close: { code: 3003, reason: 'forbidden' } },
    'where authorize says no': { settings: { wsAuth: { authorize: async () => false } }, close: { code: 3003, reason: 'forbidden' } },
    'where the verifier throws': { settings: { plugin: { verify: () => { throw new Error('secret') } } }, close: { code: 4503, reason: 'auth_unavailable' } },
    'where the verifier rejects': { settings: { plugin: { verify: async () => { throw new Error('secret') } } }, close: { code: 4503, reason: 'auth_unavailable' } },
    'where the verifier knows nobody': { settings: { plugin: { verify: () => null } }, close: TOKEN_INVALID },
    'where the verifier says so': { settings: { plugin: { verify: () => { throw new WsAuthError('WS_AUTH_TOKEN_REVOKED') } } }, close: { code: 3000, reason: 'token_revoked' } },
    'where the verifier says what has no code': { settings: { plugin: { verify: () => { throw new WsAuthError('WS_AUTH_HANDSHAKE_INVALID') } } }, close: { code: 4503, reason: 'auth_unavailable' } },
    'where the token is too long': { settings: { plugin: { maxTokenBytes: 10 } }, close: TOKEN_INVALID },
    'where the claims do not match': { settings: { plugin: { claims: { type: 'object', required: ['tenant'] } } }, close: TOKEN_INVALID },
    'with the codes of the route': { settings: { wsAuth: { roles: ['admin'], closeCodes: { forbidden: 4403 } } }, close: { code: 4403, reason: 'forbidden' } }
  }
  for (const [why, { settings = {}, frame = authFrame(), close }] of Object.entries(reasons)) {
    t.test(why, async (t) => {
      const chat = await startChat(t, settings)
      const client = await connect(t, chat)
      client.send(Buffer.concat([frame, clientFrame(TEXT, 'and more')]))
      t.same(await client.close(), close)
      assertNobody(t, chat)
      t.notMatch(chat.log.join(''), sign(), 'the log has no token')
    })
  }
})

t.test('who was refused is read no further than to its answer to the close frame', async (t) => {
  for (const [how, settings] of Object.entries<ChatSettings>({
    'at once': { plugin: { verify: () => null } },
    later: { plugin: { verify: async () => { await soon(); return null } } },
    'at the deadline': { plugin: { verify: never, token: { message: { timeout: 100 } } } }
  })) {
    t.test(`where it was ${how}`, async (t) => {
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

t.test('who has begun a long message behind a bad one is not waited for: it would be read to its end', async (t) => {
  const chat = await startChat(t, { plugin: { verify: async () => { await soon(); return null } } })
  const client = await connect(t, chat)
  client.send(Buffer.concat([authFrame(), clientFrame(TEXT, 'x'.repeat(60_000)).subarray(0, 100)]))
  await until(() => client.isEnded, 'it is gone, long before the time for an answer to the close frame', 2500)
  t.same(chat.app.wsAuth.stats().refused, { WS_AUTH_TOKEN_INVALID: 1 })
  assertNobody(t, chat)
})

t.test('what is sent behind it reaches the handler once and in order', async (t) => {
  type Listen = (socket: WebSocket, hear: (data: unknown) => void) => unknown
  const handlers: Record<string, Listen> = {
    'that listens': (socket, hear) => { socket.on('message', hear) },
    'that listens to the first by itself': (socket, hear) => {
      socket.once('message', (data) => { hear(data); socket.on('message', hear) })
    },
    'that sets onmessage': (socket, hear) => { socket.onmessage = ({ data }) => hear(data) },
    'that pauses until it is ready': async (socket, hear) => {
      socket.pause()
      await soon()
      socket.on('message', hear)
      socket.resume()
    },
    'that pauses and resumes at once': async (socket, hear) => {
      socket.pause()
      await Promise.resolve()
      socket.resume()
      socket.on('message', hear)
    },
    'that changes its mind': async (socket, hear) => {
      socket.pause()
      socket.resume()
      socket.pause()
      await soon()
      socket.resume()
      socket.pause()
      await soon()
      socket.on('message', hear)
      socket.resume()
      socket.resume()
    },
    'that pauses after each': (socket, hear) => {
      socket.on('message', (data) => {
        hear(data)
        socket.pause()
        setImmediate(() => socket.resume())
      })
    }
  }
  const ways: Record<string, (client: RawClient, frames: Buffer[]) => unknown> = {
    'in one chunk': (client, frames) => client.send(Buffer.concat(frames)),
    'in many': async (client, frames) => {
      for (const frame of frames) {
        client.send(frame.subarray(0, 3))
        await turns(2)
        client.send(frame.subarray(3))
        await turns(2)
      }
    }
  }
  for (const [how, verify] of Object.entries(VERIFIERS)) {
    for (const [which, listen] of Object.entries(handlers)) {
      for (const [way, send] of Object.entries(ways)) {
        t.test(`${way}, with ${how} and a handler ${which}`, async (t) => {
          const heard: string[] = []
          const { app, port } = await start(t, {
            plugin: { verify, token: { message: true } },
            routes: (app) => app.get('/chat', { websocket: true }, (socket) => listen(socket, (data) => heard.push(String(data))) as undefined)
          })
          const client = await connect(t, { app, port })
          const sent = Array.from({ length: way === 'in many' ? 20 : 1000 }, (_, i) => `message ${i}`)
          await send(client, [authFrame(), ...sent.map((text) => clientFrame(TEXT, text))])
          t.equal(await text(client), OK)
          // A last one, for which nobody waits behind the first.
          client.send(clientFrame(TEXT, 'last'))
          await until(() => heard.includes('last'), 'the last message')
          t.same(heard, [...sent, 'last'])
        })
      }
    }
  }

  t.test('with the request that asks for the upgrade', async (t) => {
    const chat = await startChat(t)
    const client = await RawClient.open(t, chat.port)
    client.send(Buffer.concat([
      Buffer.from('GET /chat HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'),
      authFrame(), clientFrame(TEXT, 'one'), clientFrame(TEXT, 'two')
    ]))
    t.equal((await client.response()).status, 101)
    t.equal(await text(client), OK)
    await until(() => chat.heard.length === 3, 'all messages')
    t.same(chat.heard, ['handler', 'one', 'two'])
  })

  t.test('where it is binary, and where it is empty', async (t) => {
    const kinds: Array<[string, boolean]> = []
    const { app, port } = await start(t, {
      plugin: { verify: VERIFIERS['a verifier that takes its time'], token: { message: true } },
      routes: (app) => app.get('/chat', { websocket: true }, (socket) => {
        socket.on('message', (data, isBinary) => kinds.push([String(data), isBinary]))
      })
    })
    const client = await connect(t, { app, port })
    client.send(Buffer.concat([authFrame(), clientFrame(BINARY, 'bytes'), clientFrame(TEXT, ''), clientFrame(TEXT, 'text')]))
    await until(() => kinds.length === 3, 'all messages')
    t.same(kinds, [['bytes', true], ['', false], ['text', false]])
  })

  t.test('unless the handler has closed', async (t) => {
    const heard: string[] = []
    const { app, port } = await start(t, {
      plugin: { verify: VERIFIERS['a verifier that takes its time'], token: { message: true } },
      routes: (app) => app.get('/chat', { websocket: true }, (socket) => {
        socket.on('message', (data) => { heard.push(String(data)); socket.close(4000) })
      })
    })
    const client = await connect(t, { app, port })
    client.send(Buffer.concat([authFrame(), clientFrame(TEXT, 'one'), clientFrame(TEXT, 'two')]))
    t.equal(await text(client), OK)
    t.equal((await client.close()).code, 4000)
    t.same(heard, ['one'])
  })

  t.test('and another auth frame there is a renewal', async (t) => {
    for (const verify of [undefined, ...Object.values(VERIFIERS)]) {
      const chat = await startChat(t, { plugin: verify === undefined ? {} : { verify } })
      const client = await connect(t, chat)
      client.send(Buffer.concat([authFrame(), authFrame(), clientFrame(TEXT, 'one')]))
      t.equal(await text(client), OK)
      t.equal(await text(client), OK)
      await until(() => chat.heard.length === 2, 'the message')
      t.same(chat.heard, ['handler', 'one'])
      t.match(chat.app.wsAuth.stats(), { accepted: 1, renewed: 1 })
    }
  })

  t.test('and another auth frame is the app\'s with renewal: false', async (t) => {
    for (const verify of Object.values(VERIFIERS)) {
      const chat = await startChat(t, { plugin: { verify, renewal: false } })
      const client = await connect(t, chat)
      client.send(Buffer.concat([authFrame('first'), authFrame('second')]))
      t.equal(await text(client), OK)
      await until(() => chat.heard.length === 2, 'the second')
      t.equal(chat.heard[1], '{"type":"auth","token":"second"}')
    }
  })
})

t.test('pings behind it reach a handler that has paused', async (t) => {
  const seen: string[] = []
  const { app, port } = await start(t, {
    plugin: { token: { message: true } },
    routes: (app) => app.get('/chat', { websocket: true }, (socket) => {
      socket.pause()
      socket.on('ping', (data) => seen.push(`ping ${String(data)}`))
      socket.on('message', (data) => seen.push(String(data)))
      setImmediate(() => socket.resume())
    })
  })
  const client = await connect(t, { app, port })
  client.send(Buffer.concat([authFrame(), clientFrame(TEXT, 'one'), clientFrame(9, 'two'), clientFrame(TEXT, 'three')]))
  await until(() => seen.length === 3, 'all of them')
  t.same(seen, ['ping two', 'one', 'three'])
})

t.test('errors behind it reach the error handler, also while the handler has paused', async (t) => {
  const errors: string[] = []
  const { app, port } = await start(t, {
    plugin: { token: { message: true }, websocket: { errorHandler: (error, socket) => { errors.push(error.message); socket.terminate() } } },
    routes: (app) => app.get('/chat', { websocket: true }, (socket) => { socket.pause() })
  })
  const client = await connect(t, { app, port })
  client.send(Buffer.concat([authFrame(), clientFrame(TEXT, 'one'), Buffer.from([0x81, 0x01, 0x61])]))
  await until(() => errors.length === 1, 'the error')
  t.same(errors, ['Invalid WebSocket frame: MASK must be set'])
  await until(() => app.wsAuth.connections.size === 0, 'it has gone')
  t.same(app.wsAuth.stats().closed, { error: 1 })
})

t.test('messages behind it are kept in whatever form the app has them', async (t) => {
  class Fragments extends WebSocket {
    constructor (address: null, protocols?: undefined, options?: object) {
      super(address as never, protocols, options)
      this.binaryType = 'fragments'
    }
  }
  const seen: unknown[] = []
  const { app, port } = await start(t, {
    plugin: { verify: VERIFIERS['a verifier that takes its time'], token: { message: true }, websocket: { options: { WebSocket: Fragments as never } } },
    routes: (app) => app.get('/chat', { websocket: true }, (socket) => { socket.on('message', (data) => seen.push(data)) })
  })
  const client = await connect(t, { app, port })
  client.send(Buffer.concat([authFrame(), clientFrame(2, 'one')]))
  await until(() => seen.length === 1, 'the message')
  t.same(seen, [[Buffer.from('one')]])
})

t.test('a flood behind it', async (t) => {
  t.test('of messages that have come is refused', async (t) => {
    const chat = await startChat(t, { plugin: { verify: never } })
    const client = await connect(t, chat)
    client.send(Buffer.concat([authFrame(), ...Array.from({ length: 5000 }, () => clientFrame(TEXT, ''))]))
    t.same(await client.close(), { code: 4429, reason: 'connection_limit' })
    assertNobody(t, chat)
  })

  t.test('of bytes is not read', async (t) => {
    const sockets: Socket[] = []
    const chat = await startChat(t, { plugin: { verify: never } })
    chat.app.server.on('connection', (socket) => sockets.push(socket))
    const client = await connect(t, chat)
    client.send(authFrame())
    for (let i = 0; i < 1000; i++) client.send(clientFrame(TEXT, 'x'.repeat(60_000)))
    await turns(500)
    t.equal(chat.app.wsAuth.stats().pending, 1)
    t.ok((sockets[0]?.bytesRead ?? Infinity) < 1024 * 1024, `${sockets[0]?.bytesRead} bytes were read`)
  })
})

t.test('errors', async (t) => {
  const handlers: Record<string, () => unknown> = {
    'thrown by the handler': () => { throw new Error('of the handler') },
    'with which the handler rejects': async () => { await soon(); throw new Error('of the handler') }
  }
  for (const [how, handler] of Object.entries(handlers)) {
    for (const [verifier, verify] of Object.entries(VERIFIERS)) {
      t.test(`${how} reach the error handler, with ${verifier}`, async (t) => {
        const errors: unknown[] = []
        const { app, port } = await start(t, {
          plugin: {
            verify,
            token: { message: true },
            websocket: { errorHandler: (error, socket, request) => { errors.push(error.message, request.wsAuth?.sub); socket.close(1011, 'sorry') } }
          },
          routes: (app) => app.get('/chat', { websocket: true }, handler as () => void)
        })
        const client = await connect(t, { app, port })
        client.send(authFrame())
        t.equal(await text(client), OK)
        t.same(await client.close(), { code: 1011, reason: 'sorry' })
        t.same(errors, ['of the handler', 'x'])
      })
    }
  }

  t.test('thrown by a listener for connections reach the error handler', async (t) => {
    for (const verify of Object.values(VERIFIERS)) {
      const errors: string[] = []
      const chat = await startChat(t, {
        plugin: { verify, websocket: { errorHandler: (error, socket) => { errors.push(error.message); socket.terminate() } } }
      })
      chat.app.websocketServer.on('connection', () => { throw new Error('of the listener') })
      const client = await connect(t, chat)
      client.send(authFrame())
      t.equal(await text(client), OK)
      await within(2000, 'the end', client.ended)
      t.same(errors, ['of the listener'])
      t.same(chat.heard, [])
      await until(() => chat.app.wsAuth.connections.size === 0, 'it is gone')
    }
  })

  t.test('of who has not authenticated do not reach the app', async (t) => {
    const errors: unknown[] = []
    const chat = await startChat(t, { plugin: { verify: never, websocket: { errorHandler: (error) => { errors.push(error) } } } })
    const breakers: Array<(client: RawClient) => unknown> = [
      (client) => client.send(Buffer.from([0xFF, 0xFF, 0xFF])),
      (client) => client.send(Buffer.from([0x81, 0x00])),
      (client) => client.send(clientFrame(TEXT, 'x'.repeat(9000))),
      (client) => client.send(Buffer.concat([authFrame(), Buffer.from([0xFF, 0xFF])])),
      (client) => client.socket.resetAndDestroy(),
      (client) => { client.send(authFrame()); client.socket.resetAndDestroy() }
    ]
    for (const breakIt of breakers) {
      const client = await connect(t, chat)
      breakIt(client)
      await until(() => chat.app.wsAuth.stats().pending === 0, 'nothing is waited for')
      client.socket.destroy()
    }
    await turns()
    t.same(errors, [])
    assertNobody(t, chat)
  })

  t.test('of who has authenticated do', async (t) => {
    const errors: Error[] = []
    const chat = await startChat(t, { plugin: { websocket: { errorHandler: (error) => { errors.push(error) } } } })
    const client = await connect(t, chat)
    client.send(Buffer.concat([authFrame(), Buffer.from([0xFF, 0xFF])]))
    t.equal(await text(client), OK)
    t.equal((await client.close()).code, 1002)
    t.equal(errors.length, 1)
  })
})

t.test('nobody sees who has not authenticated, and everybody who has', async (t) => {
  for (const [how, verify] of Object.entries(VERIFIERS)) {
    t.test(`with ${how}`, async (t) => {
      const events: string[] = []
      const chat = await startChat(t, { plugin: { verify } })
      const { app } = chat
      app.websocketServer.on('connection', (socket, request) => {
        events.push(`${app.websocketServer.clients.has(socket)} ${request.url} ${app.wsAuth.connections.size} ${chat.heard.length}`)
      })
      const broadcast = (): number => { for (const each of app.websocketServer.clients) each.send('secret'); return app.websocketServer.clients.size }
      const client = await connect(t, chat)
      const other = await connect(t, chat)
      t.equal(broadcast(), 0)
      t.equal(app.wsAuth.connections.size, 0)
      t.same([...app.wsAuth.connections], [])
      t.same(events, [])
      t.same(chat.heard, [])

      client.send(authFrame())
      t.equal(await text(client), OK)
      t.same(events, ['true /chat 1 0'], 'once, when it is in both lists, before the handler')
      t.same(chat.heard, ['handler'])
      t.equal(broadcast(), 1)
      t.equal(await text(client), 'secret')
      t.equal(app.wsAuth.connections.bySub('x').length, 1)

      other.send(clientFrame(TEXT, 'no'))
      t.same(await other.close(), TOKEN_INVALID)
      t.equal(broadcast(), 1, 'nor who was refused')
      client.socket.destroy()
      await until(() => app.websocketServer.clients.size === 0 && app.wsAuth.connections.size === 0, 'it is forgotten')
      t.equal(events.length, 1)
    })
  }
})

t.test('at the handshake', async (t) => {
  const settings: ChatSettings = { plugin: { token: { cookie: 'token' } } }

  t.test('the origin has to be the same host', async (t) => {
    const chat = await startChat(t, settings)
    t.equal((await upgrade(t, chat.port, { path: '/chat', headers: { origin: 'https://evil.example' } })).answer.status, 403)
    t.equal((await upgrade(t, chat.port, { path: '/chat', headers: { origin: 'null' } })).answer.status, 403)
    await connect(t, chat, { headers: { origin: 'http://localhost', host: 'localhost' } })
    t.same(chat.app.wsAuth.stats().refused, { WS_AUTH_ORIGIN_FORBIDDEN: 2 })
  })

  t.test('a token in a header or a cookie counts at once', async (t) => {
    const chat = await startChat(t, settings)
    for (const headers of [{ authorization: `Bearer ${sign()}` }, { cookie: `token=${sign()}` }]) {
      const client = await upgrade(t, chat.port, { path: '/chat', headers })
      t.equal(client.answer.status, 101)
      t.equal(chat.app.wsAuth.stats().pending, 0)
      client.send(clientFrame(TEXT, 'the first is the app\'s'))
    }
    await until(() => chat.heard.length === 4, 'both messages')
    t.equal(chat.app.wsAuth.connections.size, 2)
  })

  t.test('a bad token is refused, and no first message is waited for', async (t) => {
    const chat = await startChat(t, settings)
    for (const headers of [{ authorization: 'Bearer no' }, { cookie: 'token=no' }]) {
      t.equal((await upgrade(t, chat.port, { path: '/chat', headers })).answer.status, 401)
    }
    assertNobody(t, chat)
  })

  t.test('who brings no token to an optional route is anonymous at once', async (t) => {
    const chat = await startChat(t, { wsAuth: 'optional' })
    const client = await upgrade(t, chat.port, { path: '/chat' })
    t.equal(client.answer.status, 101)
    client.send(clientFrame(TEXT, 'hello'))
    await until(() => chat.heard.length === 2, 'the message')
    t.match(chat.app.wsAuth.stats(), { connections: 1, pending: 0 })
  })

  t.test('a dry run is 426', async (t) => {
    const { app } = await startChat(t)
    const answer = await app.inject({ url: '/chat' })
    t.equal(answer.statusCode, 426)
    t.equal((await app.inject({ url: '/chat', headers: { origin: 'https://evil.example', host: 'localhost' } })).statusCode, 403)
    t.equal(app.wsAuth.stats().pending, 0)
  })
})

t.test('who leaves is not waited for', async (t) => {
  const ways: Record<string, (client: RawClient) => unknown> = {
    'with a FIN': (client) => client.socket.end(),
    'with a RST': (client) => client.socket.resetAndDestroy(),
    'with a close frame': (client) => client.send(clientFrame(CLOSE, Buffer.from([3, 232]))),
    'with a close frame and a FIN': (client) => client.socket.end(clientFrame(CLOSE, Buffer.from([3, 232])))
  }
  for (const [way, leave] of Object.entries(ways)) {
    t.test(`${way}, before it has sent anything`, async (t) => {
      const chat = await startChat(t)
      const client = await connect(t, chat)
      leave(client)
      await until(() => chat.app.wsAuth.stats().pending === 0, 'nothing is waited for')
      assertNobody(t, chat)
      t.same(chat.app.wsAuth.stats().refused, {})
    })
  }

  for (const [way, leave] of Object.entries(ways).slice(0, 2)) {
    t.test(`${way}, while it is verified`, async (t) => {
      const signals: AbortSignal[] = []
      let settle: ((claims: object) => void) | undefined
      const chat = await startChat(t, {
        plugin: { verify: async (_token, _request, { signal }) => { signals.push(signal); return await new Promise<object>((resolve) => { settle = resolve }) } }
      })
      const client = await connect(t, chat)
      client.send(authFrame())
      await until(() => signals.length === 1, 'the verifier is asked')
      leave(client)
      await until(() => chat.app.wsAuth.stats().pending === 0, 'nothing is waited for')
      t.equal(signals[0]?.aborted, true, 'the verifier is told')
      settle?.({ sub: 'x' })
      await turns()
      assertNobody(t, chat)
      t.same(chat.app.wsAuth.stats().refused, {})
    })
  }

  t.test('with a close frame right behind, while it is verified', async (t) => {
    const chat = await startChat(t, { plugin: { verify: VERIFIERS['a verifier that takes its time'] } })
    const client = await connect(t, chat)
    client.send(Buffer.concat([authFrame(), clientFrame(CLOSE, Buffer.from([3, 232]))]))
    t.same(await client.close(), { code: 1000, reason: '' })
    await soon()
    await until(() => chat.app.wsAuth.stats().pending === 0, 'nothing is waited for')
    assertNobody(t, chat)
  })

  t.test('with a close frame that is read after it was verified, is counted twice: it came and it went', async (t) => {
    let settle: ((claims: object) => void) | undefined
    const chat = await startChat(t, { plugin: { verify: async () => await new Promise<object>((resolve) => { settle = resolve }) } })
    const client = await connect(t, chat)
    client.send(authFrame())
    await until(() => settle !== undefined, 'the verifier is asked')
    client.send(clientFrame(CLOSE, Buffer.from([3, 232])))
    await turns()
    settle?.({ sub: 'x' })
    t.equal(await text(client), OK)
    t.same(await client.close(), { code: 1000, reason: '' })
    t.match(chat.app.wsAuth.stats(), { connections: 0, pending: 0, accepted: 1, closed: { client: 1 } })
  })

  // Its half of the connection is closed; ours cannot be while it does not read.
  t.test('with a FIN, and does not read', async (t) => {
    let settle: ((claims: object) => void) | undefined
    const verify: Verify = async () => await new Promise<object>((resolve) => { settle = resolve })
    for (const isVerified of [false, true]) {
      const sockets: Socket[] = []
      const chat = await startChat(t, { plugin: { verify, token: { message: { timeout: isVerified ? 100_000 : 1000 } } } })
      chat.app.server.on('connection', (socket) => sockets.push(socket))
      const client = await connect(t, chat)
      const [socket] = sockets as [Socket]
      client.socket.pause()
      while (socket.writableLength < 2 ** 20) { socket.write(Buffer.alloc(2 ** 20)); await turns(1) }
      if (isVerified) client.send(authFrame())
      if (isVerified) await until(() => settle !== undefined, 'the verifier is asked')
      client.socket.end()
      await until(() => socket.readableEnded, 'its FIN has come')
      t.notOk(socket.destroyed)
      settle?.({ sub: 'x' })
      await until(() => socket.destroyed, 'the socket is gone')
      await turns()
      assertNobody(t, chat)
    }
  })
})

t.test('a verifier whose answer was accepted is not told that nobody waits', async (t) => {
  const signals: AbortSignal[] = []
  for (const wait of [async () => {}, soon]) {
    const chat = await startChat(t, { plugin: { verify: async (_token, _request, { signal }) => { signals.push(signal); await wait(); return { sub: 'x' } } } })
    const client = await connect(t, chat)
    client.send(authFrame())
    t.equal(await text(client), OK)
  }
  t.same(signals.map(({ aborted }) => aborted), [false, false])
})

t.test('a token that expires while it is verified does not get in, and its client is told', async (t) => {
  const heard: string[] = []
  const { app, port } = await start(t, {
    plugin: { token: { message: true }, user: async (claims) => { await until(() => Date.now() > Number(claims.exp) * 1000, 'its expiry'); return { sub: 'x' } } },
    routes: (app) => app.get('/chat', { websocket: true }, () => { heard.push('handler') })
  })
  const client = await connect(t, { app, port })
  client.send(Buffer.concat([authFrame(sign({ sub: 'x', exp: Math.floor(Date.now() / 1000) + 1 })), clientFrame(TEXT, 'one')]))
  t.same(await client.close(), { code: 3000, reason: 'token_expired' })
  client.send(clientFrame(CLOSE, Buffer.from([3, 232])))
  await within(2000, 'the end: its answer is read', client.ended)
  t.same(heard, [])
  t.match(app.wsAuth.stats(), { connections: 0, pending: 0 })
})

t.test('over injectWS', async (t) => {
  async function inject (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}): Promise<{ app: FastifyInstance, client: WebSocket, heard: string[] }> {
    const heard: string[] = []
    const { app } = await prepare(t, {
      plugin: { ...plugin, token: { message: { timeout: 500 } } },
      routes: (app) => app.get('/chat', { websocket: true }, (socket, request) => {
        heard.push(`handler ${request.wsAuth?.sub}`)
        socket.on('message', (data) => { heard.push(String(data)); socket.send(`said ${String(data)}`) })
      })
    })
    const client = await app.injectWS('/chat') as unknown as WebSocket
    t.equal(app.wsAuth.stats().pending, 1)
    return { app, client, heard }
  }

  for (const [how, verify] of Object.entries(VERIFIERS)) {
    t.test(`it is accepted, with ${how}`, async (t) => {
      const { app, client, heard } = await inject(t, { verify })
      const said: string[] = []
      client.on('message', (data) => said.push(String(data)))
      client.send(JSON.stringify({ type: 'auth', token: 'token' }))
      client.send('one')
      client.send('two')
      await until(() => said.length === 3, 'the answers')
      t.same(said, [OK, 'said one', 'said two'])
      t.same(heard, ['handler x', 'one', 'two'])
      client.terminate()
      await until(() => app.wsAuth.connections.size === 0, 'it is gone')
    })
  }

  t.test('it is refused', async (t) => {
    const { app, client, heard } = await inject(t)
    const closed = once(client, 'close')
    client.send('hello')
    const [code, reason] = await within(2000, 'the close frame', closed) as [number, Buffer]
    t.same({ code, reason: String(reason) }, TOKEN_INVALID)
    t.same(heard, [])
    t.equal(app.wsAuth.stats().pending, 0)
  })

  t.test('it is not waited for longer than over a network', async (t) => {
    const { app, client } = await inject(t)
    const [code, reason] = await within(4000, 'the close frame', once(client, 'close')) as [number, Buffer]
    t.same({ code, reason: String(reason) }, { code: 3008, reason: 'auth_timeout' })
    t.equal(app.wsAuth.stats().pending, 0)
  })
})

t.test('what an app emits on its server of websockets is passed on whole', async (t) => {
  const { app } = await prepare(t)
  await app.ready()
  const heard: unknown[][] = []
  const server: EventEmitter = app.websocketServer
  for (const event of ['connection', 'other']) server.on(event, (...args: unknown[]) => { heard.push([event, ...args]) })
  server.emit('connection', { socket: 1 }, { request: 1 }, 'who')
  server.emit('other', 1, 2, 3)
  t.strictSame(heard, [['connection', { socket: 1 }, { request: 1 }, 'who'], ['other', 1, 2, 3]])
})
