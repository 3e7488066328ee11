/*
 * An auth frame is what JSON says that it is, not how its bytes begin: Python puts spaces into it, Go and Swift order the keys as they
 * like, others indent or escape. However it is spelt it is never handed to the handler, which may relay it to all others; and
 * whatever is no auth frame is handed on byte for byte.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import fc from 'fast-check'
import type { Arbitrary } from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { sign, start, until } from '../helpers/app'
import { anyText, holdsAsync, jsonTexts } from '../helpers/arbitraries'

const NOW = Math.floor(Date.now() / 1000)
const FIRST = sign({ sub: 'ann', iat: NOW - 10, exp: NOW + 600 })
const NEXT = sign({ sub: 'ann', iat: NOW, exp: NOW + 1200 })

/** A text with each character escaped. */
function escaped (text: string): string {
  return [...text].map((character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')
}

/** Ways to write `{ type: 'auth', token }` that `JSON.parse` reads alike. */
const SPELLINGS: Record<string, (token: string) => string> = {
  'no space at all': (token) => `{"type":"auth","token":"${token}"}`,
  'spaces as of Python': (token) => `{"type": "auth", "token": "${token}"}`,
  'spaces before the colons': (token) => `{"type" : "auth" , "token" : "${token}"}`,
  'a space behind the brace': (token) => `{ "type":"auth","token":"${token}" }`,
  'the token first': (token) => `{"token":"${token}","type":"auth"}`,
  'the token first, with spaces': (token) => `{"token": "${token}", "type": "auth"}`,
  'other keys before': (token) => `{"id":7,"more":{"type":"chat"},"type":"auth","token":"${token}"}`,
  'other keys between and behind': (token) => `{"type":"auth","id":"x","token":"${token}","more":["token"]}`,
  'indentation by two spaces': (token) => JSON.stringify({ type: 'auth', token }, null, 2),
  'indentation by tabs and CRLF': (token) => JSON.stringify({ type: 'auth', token }, null, '\t').replaceAll('\n', '\r\n'),
  'white space around': (token) => ` \t\r\n{"type":"auth","token":"${token}"}\r\n\t `,
  'the value escaped': (token) => `{"type":"\\u0061uth","token":"${token}"}`,
  'the value escaped in capitals': (token) => `{"type":"au\\u0074\\u0068","token":"${token}"}`,
  'the name escaped': (token) => `{"t\\u0079pe":"auth","token":"${token}"}`,
  'all escaped': (token) => `{"${escaped('type')}":"${escaped('auth')}","${escaped('token')}":"${escaped(token)}"}`,
  'the type twice, the last counts': (token) => `{"type":"chat","type":"auth","token":"${token}"}`,
  'the token twice, the last counts': (token) => `{"type":"auth","token":"wrong","token":"${token}"}`,
  'the token behind much else': (token) => `{"pad":"${'x'.repeat(2000)}","token":"${token}","type":"auth"}`
}

/** Auth frames too, in which no token can be found. */
const WITHOUT_TOKEN: Record<string, string> = {
  'no token': '{"type": "auth"}',
  'a token that is a number': '{"token": 5, "type": "auth"}',
  'a token in a list': `{"token":["${NEXT}"],"type":"auth"}`,
  'a token that is null': '{ "type": "auth", "token": null }',
  'the token under another name': `{"Token":"${NEXT}","type":"auth"}`
}

/** Messages of the app. */
const OTHERS: Record<string, string> = {
  'another type': '{"type":"chat","token":"x"}',
  'a longer type': '{"type":"auth.pong"}',
  'the type in capitals': `{"type":"AUTH","token":"${NEXT}"}`,
  'the name in capitals': `{"Type":"auth","token":"${NEXT}"}`,
  'the type in a list': `{"type":["auth"],"token":"${NEXT}"}`,
  'the type one level deeper': `{"message":{"type":"auth","token":"${NEXT}"}}`,
  'an auth frame in a list': `[{"type":"auth","token":"${NEXT}"}]`,
  'an auth frame in a text': JSON.stringify(JSON.stringify({ type: 'auth', token: NEXT })),
  'the type twice, the last counts': `{"type":"auth","token":"${NEXT}","type":"chat"}`,
  'the type by way of __proto__': '{"__proto__":{"type":"auth"}}',
  'the word alone': '"auth"',
  null: 'null',
  'a number that no double has': '{"type":"n","value":12345678901234567890.0e-1}',
  'white space that means nothing': ' {  "type" :\t"chat" }\r\n',
  'escapes that need not be': '{"type":"ch\\u0061t","path":"a\\/b"}',
  'keys twice': '{"a":1,"a":2,"type":"chat"}',
  'no JSON': 'auth',
  'no text at all': '',
  'deep lists': `${'['.repeat(500)}"auth"${']'.repeat(500)}`,
  'another alphabet': '{"type":"чат","text":"\u{1F600} \u2028"}'
}

interface Spelling {
  readonly client: WebSocket
  /** What the handler heard. */
  readonly heard: Array<{ readonly data: Buffer, readonly isBinary: boolean }>
  /** What the client was sent. */
  readonly received: string[]
  readonly closed: Array<{ code: number, reason: string }>
  readonly connections: () => fastifyWsAuth.ConnectionList
}

async function connect (t: Test, token: string | null, plugin: fastifyWsAuth.WsAuthOptions): Promise<Spelling> {
  const heard: Spelling['heard'] = []
  const { app, port } = await start(t, {
    plugin,
    routes: (app) => app.get('/chat', { websocket: true }, (socket) => {
      socket.on('message', (data, isBinary) => heard.push({ data: Buffer.from(data as Buffer), isBinary }))
    })
  })
  const client = new WebSocket(`ws://127.0.0.1:${port}/chat`, token === null ? {} : { headers: { authorization: `Bearer ${token}` } })
  t.teardown(() => client.terminate())
  const received: string[] = []
  const closed: Spelling['closed'] = []
  client.on('message', (data) => received.push(String(data)))
  client.on('close', (code, reason) => closed.push({ code, reason: String(reason) }))
  await once(client, 'open')
  return { client, heard, received, closed, connections: () => app.wsAuth.connections }
}

/** Auth frames of ours that were sent, in short. */
function answersOf ({ received }: Spelling): string[] {
  return received.map((text) => JSON.parse(text) as { type: string, code?: string }).map(({ type, code }) => code ?? type)
}

/** Sends a message that the handler hears, and waits for it: what was sent before has been dealt with. */
async function mark ({ client, heard, closed }: Spelling, word: string): Promise<void> {
  client.send(word)
  await until(() => closed.length > 0 || heard.some(({ data }) => String(data) === word), `the handler hears ${word}`)
}

t.test('a first message authenticates in each spelling', async (t) => {
  for (const [how, spell] of Object.entries(SPELLINGS)) {
    const chat = await connect(t, null, { renewal: true, token: { message: true } })
    chat.client.send(spell(FIRST))
    await mark(chat, 'hello')
    t.strictSame(chat.closed, [], `${how}: it stays open`)
    await until(() => chat.closed.length > 0 || answersOf(chat).includes('auth.ok'), `${how}: it is answered`)
    t.strictSame(chat.heard.map(({ data }) => String(data)), ['hello'], `${how}: the handler does not hear it`)
    t.equal(chat.connections().bySub('ann').length, 1, how)
    chat.client.terminate()
  }
})

t.test('an auth frame renews in each spelling, and the handler does not get it', async (t) => {
  for (const [how, spell] of Object.entries(SPELLINGS)) {
    const chat = await connect(t, FIRST, { renewal: true })
    chat.client.send(spell(NEXT))
    await mark(chat, 'hello')
    t.strictSame(chat.heard.map(({ data }) => String(data)), ['hello'], `${how}: the handler does not hear it`)
    t.equal(chat.connections().bySub('ann')[0]?.expiresAt, (NOW + 1200) * 1000, `${how}: the connection is renewed`)
    const isRenewed = (): boolean => chat.received.some((text) => text.includes(`"expiresAt":${(NOW + 1200) * 1000}`))
    if (chat.heard.length === 1) await until(isRenewed, `${how}: it is answered`)
    chat.client.terminate()
  }
})

t.test('an auth frame without a token is refused in each spelling, and the handler does not get it', async (t) => {
  for (const [how, text] of Object.entries(WITHOUT_TOKEN)) {
    const chat = await connect(t, FIRST, { renewal: true })
    chat.client.send(text)
    await mark(chat, 'hello')
    t.strictSame(chat.heard.map(({ data }) => String(data)), ['hello'], `${how}: the handler does not hear it`)
    if (chat.heard.length === 1) await until(() => answersOf(chat).includes('WS_AUTH_TOKEN_INVALID'), `${how}: it is told`)
    t.strictSame(chat.closed, [], `${how}: it stays open`)
    chat.client.terminate()

    const first = await connect(t, null, { renewal: true, token: { message: true } })
    first.client.send(text)
    await until(() => first.closed.length > 0, `${how}: it is closed`)
    t.strictSame(first.closed, [{ code: 3000, reason: 'token_invalid' }], `${how}: as a first message`)
    t.strictSame(first.heard, [])
  }
})

t.test('the handler never gets an auth frame behind a byte order mark', async (t) => {
  const text = `\uFEFF{"type":"auth","token":"${NEXT}"}`
  const chat = await connect(t, FIRST, { renewal: true })
  chat.client.send(text)
  await mark(chat, 'hello')
  t.strictSame(chat.heard.map(({ data }) => String(data)), ['hello'])

  const first = await connect(t, null, { renewal: true, token: { message: true } })
  first.client.send(text)
  await mark(first, 'hello')
  t.strictSame(first.heard.filter(({ data }) => data.includes(NEXT)), [])
})

t.test('the handler gets a message that is not an auth frame byte for byte', async (t) => {
  const texts = Object.values(OTHERS)
  for (const plugin of [{ renewal: true }, { token: { message: true } }, { renewal: false }] satisfies fastifyWsAuth.WsAuthOptions[]) {
    const chat = await connect(t, FIRST, plugin)
    for (const text of texts) chat.client.send(text)
    chat.client.send(Buffer.from(`{"type":"auth","token":"${NEXT}"}`))
    await until(() => chat.heard.length > texts.length || chat.closed.length > 0, 'all is heard')
    for (const [i, [what, text]] of Object.entries(OTHERS).entries()) {
      t.ok(chat.heard[i]?.data.equals(Buffer.from(text)), `${what}: ${JSON.stringify(plugin)}`)
    }
    t.equal(chat.heard[texts.length]?.isBinary, true, 'a binary message is no auth frame')
    t.ok(chat.heard[texts.length]?.data.equals(Buffer.from(`{"type":"auth","token":"${NEXT}"}`)))
    t.equal(chat.connections().bySub('ann')[0]?.expiresAt, (NOW + 600) * 1000, 'nothing is renewed')
    chat.client.terminate()
  }
})

t.test('the handler gets auth frames of each spelling as messages if auth frames are off', async (t) => {
  const chat = await connect(t, FIRST, { renewal: false })
  const texts = Object.values(SPELLINGS).map((spell) => spell('x'))
  for (const text of texts) chat.client.send(text)
  await until(() => chat.heard.length === texts.length, 'all is heard')
  t.strictSame(chat.heard.map(({ data }) => String(data)), texts)
  t.strictSame(chat.received, [])
})

t.test('a message that is not an auth frame is refused as a first message', async (t) => {
  for (const [what, text] of Object.entries(OTHERS)) {
    const chat = await connect(t, null, { renewal: true, token: { message: true } })
    chat.client.send(text)
    await until(() => chat.closed.length > 0, `${what}: it is closed`)
    t.strictSame(chat.closed, [{ code: 3000, reason: 'token_invalid' }], what)
    t.strictSame(chat.heard, [], what)
  }
})

const space = fc.constantFrom('', '', ' ', '\t', '\n', '\r\n', '  ')
const value = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('auth', 'auth', 'auth', 'chat').chain(jsonTexts) },
  anyText.chain(jsonTexts),
  fc.jsonValue({ maxDepth: 2 }).map((one) => JSON.stringify(one))
)
const name = fc.oneof(fc.constantFrom('type', 'type', 'token', 'id', '__proto__').chain(jsonTexts), unicodeName())
const member = fc.tuple(space, name, space, space, value, space).map(([a, key, b, c, one, d]) => `${a}${key}${b}:${c}${one}${d}`)
/** An object, a list, or what is nearly one of them: more often than not with a `type`. */
const anyMessage = fc.oneof(
  fc.tuple(space, fc.array(member, { maxLength: 4 }), space).map(([a, members, b]) => `${a}{${members.join(',')}}${b}`),
  fc.array(member, { minLength: 1, maxLength: 2 }).map((members) => `[{${members.join(',')}}]`),
  fc.tuple(fc.array(member, { minLength: 1, maxLength: 3 }), fc.constantFrom(',}', '', '}}', '} x')).map(([members, end]) => `{${members.join(',')}${end}`),
  fc.string({ unit: 'binary', maxLength: 30 })
)

function unicodeName (): Arbitrary<string> {
  return fc.string({ unit: 'grapheme-ascii', maxLength: 8 }).chain(jsonTexts)
}

/** The contract: an object whose `type` is `auth`, as `JSON.parse` has it. What is no JSON and begins like one is kept from the handler too. */
function isAuthFrame (text: string): boolean {
  try {
    const message: unknown = JSON.parse(text)
    return typeof message === 'object' && message !== null && (message as { type?: unknown }).type === 'auth'
  } catch {
    return /^\uFEFF?[\t\n\r ]*\{[\t\n\r ]*"type"[\t\n\r ]*:[\t\n\r ]*"auth"[\t\n\r ]*[,}]/.test(text)
  }
}

t.test('the handler gets exactly the messages that are not auth frames as JSON, in order and byte for byte', async (t) => {
  const chat = await connect(t, FIRST, { renewal: true })
  let count = 0
  let authFrames = 0
  await holdsAsync(fc.asyncProperty(fc.array(anyMessage, { minLength: 1, maxLength: 12 }), async (texts) => {
    const end = `end ${++count}`
    chat.heard.length = 0
    for (const text of texts) chat.client.send(text)
    await mark(chat, end)
    // What a string cannot say in UTF-8 the client has replaced.
    const sent = texts.map((text) => Buffer.from(text).toString())
    const expected = sent.filter((text) => !isAuthFrame(text))
    authFrames += sent.length - expected.length
    assert.deepEqual(chat.heard.map(({ data }) => String(data)), [...expected, end])
  }), 300)
  t.ok(authFrames > 20, `${authFrames} were auth frames`)
  t.strictSame(chat.closed, [])
})
