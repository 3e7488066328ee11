/*
 * Properties of messages: which are this package's and which the app's, for any text and any bytes, however they travel; and
 * how connections are closed.
 */
import assert from 'node:assert/strict'
import { isUtf8 } from 'node:buffer'
import fc from 'fast-check'
import type { Arbitrary } from 'fast-check'
import t from 'tap'
import type { FastifyRequest } from 'fastify'
import { readAuthFrame } from '../../lib/connection/auth-frames'
import { isReason, isSendableCode } from '../../lib/base/close-codes'
import { start } from '../helpers/app'
import { plain } from '../helpers/plain-frames'
import type { StartedApp } from '../helpers/app'
import type { Test } from 'tap'
import { anyText, bytes, holds, holdsAsync, jsonTexts, maskedFrame, travels, unicode } from '../helpers/arbitraries'
import type { ClientMessage, Travel } from '../helpers/arbitraries'
import { RawClient } from '../helpers/raw-client'

const GOOD = 'the-good-token'
const space = fc.constantFrom('', '', '', ' ', '\t', '\n', '\r\n ')

interface Written {
  readonly text: string
  /** What JSON says that it holds. */
  readonly members: ReadonlyMap<string, unknown>
}

/** A member of an object: its name and value, and both as they are written. */
const anyValue: Arbitrary<[unknown, string]> = fc.oneof(
  fc.constantFrom(GOOD, 'auth', 'chat', '').chain((value) => jsonTexts(value).map((text): [unknown, string] => [value, text])),
  anyText.chain((value) => jsonTexts(value).map((text): [unknown, string] => [value, text])),
  fc.jsonValue({ maxDepth: 2 }).map((value): [unknown, string] => [value, JSON.stringify(value)]),
  fc.constantFrom<[unknown, string]>([{ token: GOOD }, `{"token":"${GOOD}"}`], [[GOOD], `["${GOOD}"]`])
)
const member = fc.tuple(fc.oneof({ weight: 4, arbitrary: fc.constantFrom('token', 'token', 'type', '__proto__', 'Token', 'toString') }, anyText), anyValue)
  .chain(([name, [value, text]]) => fc.tuple(jsonTexts(name), space, space, space, space).map(([name_, ...spaces]) => ({ name, value, text: `${spaces[0]}${name_}${spaces[1]}:${spaces[2]}${text}${spaces[3]}` })))
const beginning = fc.oneof(
  { weight: 6, arbitrary: fc.constant('"type":"auth"') },
  fc.tuple(jsonTexts('type'), space, space, jsonTexts('auth'), space).map(([name, before, after, value, end]) => `${name}${before}:${after}${value}${end}`)
).map((text) => ({ name: 'type', value: 'auth' as unknown, text }))

/** An object in JSON, written in any way, that begins like an auth frame more often than not. */
const object: Arbitrary<Written> = fc.tuple(fc.oneof({ weight: 6, arbitrary: beginning }, member), fc.array(member, { maxLength: 4 }), space).map(([first, more, end]) => {
  const all = [first, ...more]
  return { text: `{${all.map(({ text }) => text).join(',')}}${end}`, members: new Map(all.map(({ name, value }) => [name, value])) }
})

/** What JSON reads as an object of type auth, by the words of the contract; of what is no JSON, what begins like that. */
function isOurs (text: string): boolean {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) && (value as { type?: unknown }).type === 'auth'
  } catch {
    return /^\uFEFF?[\t\n\r ]*\{[\t\n\r ]*"type"[\t\n\r ]*:[\t\n\r ]*"auth"[\t\n\r ]*[,}]/.test(text)
  }
}

/** The longest frame, in bytes. */
const MOST = 9216

function readToken (text: Buffer): string | null {
  return readAuthFrame(text, MOST)?.token ?? null
}

function expectedToken ({ members }: Written): string | null {
  const token = members.get('token')
  return members.get('type') === 'auth' && typeof token === 'string' ? token : null
}

t.test('the token of any object is read exactly if the object is an auth frame', async (t) => {
  let count = 0
  holds(fc.property(object, (written) => {
    const expected = expectedToken(written)
    if (expected !== null) count++
    assert.equal(readToken(Buffer.from(written.text)), expected)
    assert.equal(readAuthFrame(Buffer.from(written.text), MOST) !== null, written.members.get('type') === 'auth')
  }), 6000)
  t.ok(count > 500, `${count} were auth frames`)
})

t.test('a token that is written into a frame is read from it', async (t) => {
  holds(fc.property(anyText, (token) => {
    assert.equal(readToken(Buffer.from(JSON.stringify({ type: 'auth', token }))), token)
  }), 3000)
  t.pass()
})

t.test('any bytes around or in place of an auth frame throw nothing, and are read as JSON reads them', async (t) => {
  const frame = Buffer.from(JSON.stringify({ type: 'auth', token: GOOD }))
  const change = fc.tuple(fc.nat(frame.length), fc.nat(3), bytes(3))
  const changed = change.map(([at, removed, added]) => Buffer.concat([frame.subarray(0, at), added, frame.subarray(at + removed)]))
  const around = fc.tuple(bytes(4), bytes(4)).map(([before, after]) => Buffer.concat([before, frame, after]))
  holds(fc.property(fc.oneof(bytes(60), changed, around, fc.json().map((text) => Buffer.from(text))), fc.nat(5), (message, offset) => {
    // Bytes around the message are no part of it.
    const view = Buffer.concat([frame.subarray(0, offset), message, frame.subarray(offset)]).subarray(offset, offset + message.length)
    const text = view.toString()
    assert.equal(readAuthFrame(view, MOST) !== null, isOurs(text))
    const token = readToken(view)
    if (token !== null) {
      assert.ok(isOurs(text))
      const value: unknown = JSON.parse(view.toString())
      assert.deepEqual(Object.entries(value as object).filter(([name]) => name === 'type' || name === 'token'), [['type', 'auth'], ['token', token]])
    } else if (isOurs(text)) {
      assert.notEqual(tokenOf(view.toString()), 'string', 'it is no auth frame with a token')
    }
  }), 6000)
  t.pass()
})

/** What type the token of a text is of, where that is JSON and says that it is an auth frame. */
function tokenOf (text: string): string | null {
  try {
    const { type, token } = JSON.parse(text)
    return type === 'auth' ? typeof token : null
  } catch {
    return null
  }
}

interface Chat extends StartedApp {
  /** What reached the handler, of the last connection. */
  heard: Array<{ isBinary: boolean, payload: string }>
  /** How many handlers were run. */
  opened: number
  request: FastifyRequest | null
}

async function startChat (t: Test): Promise<Chat> {
  const started = await start(t, {
    server: { logger: false },
    plugin: { verify: (token) => token === GOOD ? { sub: 'ann' } : null },
    routes: (app) => {
      for (const [path, message] of [['/renewed', false], ['/first', true], ['/never', false]] as const) {
        app.get(path, { websocket: true, wsAuth: { token: { message } } }, (socket, request) => {
          chat.heard = []
          chat.opened++
          chat.request = request
          socket.on('message', (data, isBinary) => { chat.heard.push({ isBinary, payload: (data as Buffer).toString('hex') }) })
        })
      }
    }
  })
  const chat: Chat = Object.assign(started, { heard: [], opened: 0, request: null })
  return chat
}

function textMessage (text: string): ClientMessage {
  return { isBinary: false, payload: Buffer.from(text) }
}

const authMessage = fc.constantFrom(GOOD, GOOD, 'another').map((token) => textMessage(JSON.stringify({ type: 'auth', token })))
const anyMessage: Arbitrary<ClientMessage> = fc.oneof(
  { weight: 2, arbitrary: authMessage },
  unicode.map((text) => textMessage(text.toWellFormed())),
  object.map(({ text }) => textMessage(text)),
  bytes(300).map((payload) => ({ isBinary: true, payload })),
  authMessage.map(({ payload }) => ({ isBinary: true, payload })),
  fc.constantFrom(200, 70_000).map((length) => textMessage('x'.repeat(length)))
)

const LAST_PING = Buffer.from('the last ping')

/** Sends them, and a close frame behind; answers with what came back. */
async function send (t: Test, { port }: StartedApp, path: string, { chunks }: Travel): Promise<{ pongs: string[], texts: string[], close: string }> {
  const client = await RawClient.open(t, port)
  try {
    const authorization = path === '/first' ? undefined : `Bearer ${GOOD}`
    const { status } = await client.upgrade({ path, headers: { authorization } }).response()
    assert.equal(status, 101)
    for (const chunk of chunks) {
      client.send(chunk)
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
    // What is answered later than a close frame comes is not answered.
    client.send(maskedFrame(9, LAST_PING, true, Buffer.alloc(4)))
    const pongs: string[] = []
    const texts: string[] = []
    for (;;) {
      const { opcode, payload } = await client.frame()
      if (opcode === 10 && payload.equals(LAST_PING)) client.send(maskedFrame(8, Buffer.from('\x0f\xa1bye', 'latin1'), true, Buffer.alloc(4)))
      else if (opcode === 10) pongs.push(payload.toString('hex'))
      else if (opcode === 8) return { pongs, texts, close: `${payload.readUInt16BE(0)} ${payload.subarray(2).toString()}` }
      else texts.push(payload.toString())
    }
  } finally {
    client.socket.destroy()
  }
}

const AUTH_OK = '{"type":"auth.ok","expiresAt":null}'
const AUTH_ERROR = '{"type":"auth.error","code":"WS_AUTH_TOKEN_INVALID"}'

function answerTo ({ payload }: ClientMessage): string {
  return readToken(payload) === GOOD ? AUTH_OK : AUTH_ERROR
}

t.test('the app gets its own messages unchanged and in order, however they are split, and the package reads the auth frames', async (t) => {
  const chat = await startChat(t)
  const script = fc.tuple(fc.constantFrom('/first', '/never'), fc.array(anyMessage, { maxLength: 8 }))
    .map(([path, messages]) => ({ path, messages: path === '/first' ? [textMessage(JSON.stringify({ type: 'auth', token: GOOD })), ...messages] : messages }))
    .chain(({ path, messages }) => travels(messages).map((travel) => ({ path, messages, travel })))
  let count = 0
  await holdsAsync(fc.asyncProperty(script, async ({ path, messages, travel }) => {
    const { pongs, texts, close } = await send(t, chat, path, travel)
    const isRead = ({ isBinary, payload }: ClientMessage): boolean => path === '/first' && !isBinary && isOurs(payload.toString())
    const own = messages.filter((message) => !isRead(message))
    assert.deepEqual(chat.heard, own.map(({ isBinary, payload }) => ({ isBinary, payload: payload.toString('hex') })))
    // Each is answered when it has been verified, in whatever order.
    assert.deepEqual(texts.map(plain).sort(), messages.filter(isRead).map(answerTo).sort())
    assert.deepEqual(pongs, travel.pings.map((ping) => ping.toString('hex')))
    assert.equal(close, '4001 bye')
    count += texts.length
  }), 150)
  t.ok(count > 50, `${count} were read`)
})

t.test('a first message opens the connection exactly if it is an auth frame with a good token', async (t) => {
  const chat = await startChat(t)
  const outcomes: Record<string, number> = {}
  const first: Arbitrary<ClientMessage> = fc.oneof(
    object.map(({ text }) => textMessage(text)),
    anyMessage,
    bytes(40).map((payload) => ({ isBinary: false, payload })),
    fc.tuple(fc.constantFrom(8100, 8192, 8193, 9000), fc.boolean()).map(([length, isBinary]) => ({ isBinary, payload: Buffer.from(JSON.stringify({ type: 'auth', token: GOOD }).padEnd(length)) }))
  )
  await holdsAsync(fc.asyncProperty(first.chain((message) => travels([message]).map((travel) => ({ message, travel }))), async ({ message: { isBinary, payload }, travel }) => {
    chat.opened = 0
    const { texts, close } = await send(t, chat, '/first', travel)
    const isLong = payload.length > 8192
    const isGood = !isBinary && isUtf8(payload) && readToken(payload) === GOOD
    // A closing handshake that has begun is answered by nobody else's close frame.
    const expected = isLong ? '1009 ' : !isBinary && !isUtf8(payload) ? '1007 ' : isGood ? '4001 bye' : '3000 token_invalid'
    assert.equal(close, expected)
    outcomes[close] = (outcomes[close] ?? 0) + 1
    assert.deepEqual(texts.map(plain), isGood && !isLong ? [AUTH_OK] : [])
    assert.equal(chat.opened, texts.length)
  }), 200)
  t.comment(JSON.stringify(outcomes))
  for (const outcome of ['1009 ', '1007 ', '4001 bye', '3000 token_invalid']) t.ok(outcomes[outcome], outcome)
})

/** RFC 6455, 7.4.1 and 7.4.2, and what IANA has added: those that an endpoint may send. */
const SENDABLE = new Set([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, ...Array.from({ length: 2000 }, (_, i) => 3000 + i)])

t.test('a connection is closed with exactly the codes and reasons that may be sent', async (t) => {
  const chat = await startChat(t)
  const code = fc.oneof(fc.integer({ min: 995, max: 1020 }), fc.integer({ min: 2990, max: 5010 }), fc.integer(), fc.double())
  const reason = fc.oneof(unicode, fc.tuple(fc.constantFrom('x', 'é', '€', '😀'), fc.integer({ min: 28, max: 130 })).map(([unit, count]) => unit.repeat(count)))
  let sent = 0
  await holdsAsync(fc.asyncProperty(code, reason.map((text) => text.toWellFormed()), async (code, reason) => {
    const isAllowed = SENDABLE.has(code) && new TextEncoder().encode(reason).length <= 123
    assert.equal(isSendableCode(code) && isReason(reason), isAllowed)
    if (!isAllowed) return await assert.rejects(chat.app.wsAuth.disconnect({ sub: 'ann' }, { code, reason }), TypeError)
    const client = await RawClient.open(t, chat.port)
    assert.equal((await client.upgrade({ path: '/never', headers: { authorization: `Bearer ${GOOD}` } }).response()).status, 101)
    const closing = chat.app.wsAuth.disconnect({ sub: 'ann' }, { code, reason })
    assert.deepEqual(await client.close(), { code, reason })
    assert.equal((await closing).closed, 1)
    client.socket.destroy()
    sent++
  }), 250)
  t.ok(sent > 25, `${sent} were sent`)
})
