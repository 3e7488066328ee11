/*
 * What a `verify` of the app is given: tokens of visible ASCII alone, which no header, log line or protocol written by hand can
 * be broken with. And what it throws: an error with the status 401 or 403 says what is wrong with the token.
 */
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { WsAuthError } from '../../lib/index'
import type { WsAuthOptions } from '../../lib/options/public-options'
import { start } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { holdsAsync } from '../helpers/arbitraries'
import { clientFrame, upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

type Verify = NonNullable<WsAuthOptions['verify']>

const TEXT = 1
const ERROR_LEVEL = '"level":50'
const INVALID = { status: 401, code: 'WS_AUTH_TOKEN_INVALID', challenge: 'Bearer error="invalid_token"' }

interface Verified extends StartedApp {
  /** The tokens that `verify` was given. */
  readonly asked: string[]
}

async function startWith (t: Test, verify: Verify = () => ({ sub: 'ann' }), plugin: WsAuthOptions = {}): Promise<Verified> {
  const asked: string[] = []
  const started = await start(t, {
    server: { routerOptions: { maxParamLength: 500 } },
    plugin: { renewal: true, tickets: true, ...plugin, verify: (token, request, asker) => { asked.push(token); return verify(token, request, asker) } },
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket) => socket.send('hello'))
      app.get('/param/:token', { websocket: true, wsAuth: { token: { param: true } } }, (socket) => socket.send('hello'))
      app.get('/named', { websocket: true, wsAuth: { token: { header: 'x-token' } } }, (socket) => socket.send('hello'))
      app.get('/first', { websocket: true, wsAuth: { renewal: true, token: { message: true } } }, (socket) => socket.send('hello'))
    }
  })
  return { ...started, asked }
}

async function answerOf (t: Test, port: number, settings: RequestSettings): Promise<{ status: number, code?: string, challenge?: string }> {
  const { answer, socket } = await upgrade(t, port, settings)
  socket.destroy()
  return answer.status === 101 ? { status: 101 } : { status: answer.status, code: JSON.parse(answer.body).code, challenge: answer.headers['www-authenticate'] }
}

function encoded (token: string): string {
  return `chat, base64url.bearer.${Buffer.from(token).toString('base64url')}`
}

/** What no header can carry as it is, and a query, a path, a cookie or the encoded subprotocol can. */
const INVISIBLE: Record<string, string> = {
  'a line break and a header': 'abcdefgh\r\nX-Admin: 1',
  'a line feed': 'abc\ndef',
  'a carriage return': 'abc\rdef',
  'a NUL': 'abc\0def',
  'a snowman': 'abc\u2603',
  'a space within': 'abc def',
  'a space before': ' abc',
  'a space behind': 'abc ',
  'a tab': 'abc\tdef',
  'a no-break space': 'abc\xa0def',
  'a DEL': 'abc\x7f',
  'a C1 control': 'abc\x85',
  'a letter with an accent': 'caf\xe9',
  'an emoji': 'abc\u{1F600}',
  'a byte order mark': '\ufeffabc'
}

t.test('a token with a character outside of visible ASCII is refused with 401 in every place, and verify is not asked', async (t) => {
  const { port, asked, log, app } = await startWith(t)
  let refused = 0
  for (const [what, token] of Object.entries(INVISIBLE)) {
    const component = encodeURIComponent(token)
    const carriers: Record<string, RequestSettings> = {
      'the query': { path: `/chat?token=${component}` },
      'the path': { path: `/param/${component}` },
      'the cookie': { path: '/chat', headers: { cookie: `token=${component}` } },
      'the encoded subprotocol': { path: '/chat', headers: { 'sec-websocket-protocol': encoded(token) } }
    }
    for (const [carrier, settings] of Object.entries(carriers)) {
      t.strictSame(await answerOf(t, port, settings), INVALID, `${what} in ${carrier}`)
      refused++
    }
    const { statusCode } = await app.inject({ method: 'POST', url: '/ws-ticket', headers: { cookie: `token=${component}` } })
    t.equal(statusCode, 401, `${what} in the cookie, for a ticket`)
    refused++
    const client = await upgrade(t, port, { path: '/first' })
    client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token })))
    t.strictSame(await client.close(), { code: 3000, reason: 'token_invalid' }, `${what} in the first message`)
    refused++
  }
  for (const [what, value] of Object.entries({ 'a no-break space': 'abc\xa0def', 'a letter with an accent': 'caf\xe9', 'a space': 'abc def' })) {
    t.strictSame(await answerOf(t, port, { path: '/chat', headers: { authorization: `Bearer ${value}` } }), INVALID, `${what} in the Authorization header`)
    t.strictSame(await answerOf(t, port, { path: '/named', headers: { 'x-token': value } }), INVALID, `${what} in a header of another name`)
    refused += 2
  }
  t.strictSame(asked, [], 'verify was given none of them')
  t.same(log.filter((line) => line.includes(ERROR_LEVEL)), [], 'none is an error of the server')
  const { refused: counts } = statsOf(app)
  t.equal(counts.WS_AUTH_UNAVAILABLE ?? 0, 0, 'none is counted as unavailable')
  t.equal(counts.WS_AUTH_TOKEN_INVALID, refused, 'each is counted as an invalid token')
})

t.test('a renewal with a character outside of visible ASCII is refused, and verify is not asked', async (t) => {
  const { port, asked } = await startWith(t)
  const client = await upgrade(t, port, { path: '/chat?token=abc' })
  let { payload } = await client.frame()
  while (String(payload) !== 'hello') ({ payload } = await client.frame())
  for (const [what, token] of Object.entries(INVISIBLE)) {
    client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token })))
    const { type, code } = JSON.parse(String((await client.frame()).payload))
    t.strictSame({ type, code }, { type: 'auth.error', code: 'WS_AUTH_TOKEN_INVALID' }, what)
  }
  t.strictSame(asked, ['abc'], 'verify was given the first token alone')
})

t.test('every token of visible ASCII is given to verify as it is', async (t) => {
  const { port, asked } = await startWith(t)
  const visible = Array.from({ length: 0x7e - 0x20 }, (_, i) => String.fromCharCode(0x21 + i)).join('')
  for (const settings of [{ path: `/chat?token=${encodeURIComponent(visible)}` }, { path: '/chat', headers: { 'sec-websocket-protocol': encoded(visible) } }, { path: '/chat', headers: { authorization: `Bearer ${visible}` } }]) {
    t.strictSame(await answerOf(t, port, settings), { status: 101 })
  }
  t.strictSame(asked, [visible, visible, visible])
})

t.test('verify is given a token if and only if all of its characters are visible ASCII', async (t) => {
  const { port, asked } = await startWith(t, () => ({ sub: 'ann' }), { token: { query: 'token' } })
  const text = fc.oneof(fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }), fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 12 }), fc.string({ unit: fc.constantFrom('a', '!', '~', ' ', '\x7f', '\x1f', '\x80'), minLength: 1, maxLength: 5 }))
  await holdsAsync(fc.asyncProperty(text, async (token) => {
    asked.length = 0
    const { status } = await answerOf(t, port, { path: '/chat', headers: { 'sec-websocket-protocol': encoded(token) } })
    const isVisible = [...token].every((character) => character >= '!' && character <= '~')
    return isVisible ? status === 101 && asked.length === 1 && asked[0] === token : status === 401 && asked.length === 0
  }), 100)
  t.pass('100 tokens')
})

t.test('an error with the status 401 or 403 that verify throws is about the token; any other is 503', async (t) => {
  const forbidden = { status: 403, code: 'WS_AUTH_FORBIDDEN', challenge: 'Bearer error="insufficient_scope"' }
  const unavailable = { status: 503, code: 'WS_AUTH_UNAVAILABLE', challenge: undefined }
  const rows: Array<[what: string, error: unknown, answer: typeof unavailable | typeof INVALID]> = [
    ['statusCode 401', Object.assign(new Error('inactive'), { statusCode: 401 }), INVALID],
    ['statusCode 403', Object.assign(new Error('not for you'), { statusCode: 403 }), forbidden],
    ['statusCode 401 of what is no Error', { statusCode: 401 }, INVALID],
    ['statusCode 403 of what is no Error', { statusCode: 403 }, forbidden],
    ['statusCode 401 beside another code', Object.assign(new Error('inactive'), { statusCode: 401, code: 'ERR_OTHER' }), INVALID],
    ['statusCode 500', Object.assign(new Error('down'), { statusCode: 500 }), unavailable],
    ['statusCode 400', Object.assign(new Error('odd'), { statusCode: 400 }), unavailable],
    ['statusCode 404', Object.assign(new Error('odd'), { statusCode: 404 }), unavailable],
    ['statusCode 429', Object.assign(new Error('slow down'), { statusCode: 429 }), unavailable],
    ['statusCode "401" as text', Object.assign(new Error('odd'), { statusCode: '401' }), unavailable],
    ['status 401 by another name', Object.assign(new Error('odd'), { status: 401 }), unavailable],
    ['no status', new Error('down'), unavailable],
    ['nothing', undefined, unavailable],
    ['a WsAuthError', new WsAuthError('WS_AUTH_TOKEN_REVOKED'), { status: 401, code: 'WS_AUTH_TOKEN_REVOKED', challenge: 'Bearer error="invalid_token"' }]
  ]
  for (const [what, error, answer] of rows) {
    for (const [how, verify] of Object.entries<Verify>({ throws: () => { throw error }, rejects: async () => { throw error } })) {
      const { port, log } = await startWith(t, verify)
      t.strictSame(await answerOf(t, port, { path: '/chat?token=abc' }), answer, `${what}, ${how}`)
      t.equal(log.some((line) => line.includes(ERROR_LEVEL)), answer.status === 503, `${what}, ${how}: ${answer.status === 503 ? 'logged as an error' : 'no error of the server'}`)
    }
  }
})

t.test('a first message that verify forbids by the status 403 closes with 3003, and one by 401 with 3000', async (t) => {
  for (const [statusCode, close] of [[403, { code: 3003, reason: 'forbidden' }], [401, { code: 3000, reason: 'token_invalid' }]] as const) {
    const { port } = await startWith(t, () => { throw Object.assign(new Error('no'), { statusCode }) })
    const client = await upgrade(t, port, { path: '/first' })
    client.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token: 'abc' })))
    t.strictSame(await client.close(), close)
  }
})
