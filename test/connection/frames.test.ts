/* What is an auth frame and what is the app's: a message too many here is one that the app never gets. */
import t from 'tap'
import { AUTH_PONG, authError, authOk, authRenew, authRetry, readAuthFrame } from '../../lib/connection/auth-frames'
import type { AuthFrame } from '../../lib/connection/auth-frames'

const LONG = 'x'.repeat(1_000_000)
const NO_LIMIT = 2_000_000

function isAuthFrame (text: Buffer): boolean {
  return readAuthFrame(text, NO_LIMIT) !== null
}

function tokenOf (text: Buffer): string | null {
  return readAuthFrame(text, NO_LIMIT)?.token ?? null
}

t.test('a text is an auth frame if JSON reads an object of type auth, or if it begins like one', async (t) => {
  const cases: Record<string, [string, boolean]> = {
    whole: ['{"type":"auth","token":"x"}', true],
    'without a token': ['{"type":"auth"}', true],
    'with other properties': ['{"type":"auth","id":1}', true],
    'not whole': ['{"type":"auth",', true],
    'no JSON': ['{"type":"auth",,,', true],
    'with something behind it': ['{"type":"auth"}{"type":"chat"}', true],
    'no JSON, with spaces': ['{ "type" : "auth" , nonsense', true],
    'another type behind': ['{"type":"auth","type":"chat"}', false],
    'very long': [`{"type":"auth","token":"${LONG}"}`, true],
    empty: ['', false],
    'one byte': ['{', false],
    'one byte less than the prefix': ['{"type":"auth', false],
    'the prefix only': ['{"type":"auth"', false],
    'a space behind it': ['{"type":"auth" ,"token":"x"}', true],
    'a space before the brace': ['{"type":"auth" }', true],
    'a colon behind it': ['{"type":"auth":', false],
    'a NUL behind it': ['{"type":"auth"\0', false],
    'a line break behind it': ['{"type":"auth"\n}', true],
    'a space in front': [' {"type":"auth"}', true],
    'a line break in front': ['\n{"type":"auth"}', true],
    'a byte order mark in front': ['\uFEFF{"type":"auth"}', true],
    'a space inside': ['{ "type":"auth"}', true],
    'a space before the colon': ['{"type" :"auth"}', true],
    'a space behind the colon': ['{"type": "auth"}', true],
    'upper case': ['{"type":"AUTH"}', false],
    'a name in upper case': ['{"TYPE":"auth"}', false],
    'single quotes': ['{\'type\':\'auth\'}', false],
    'an escape': ['{"type":"\\u0061uth"}', true],
    'nothing but escapes': ['{"\\u0074\\u0079\\u0070\\u0065":"\\u0061\\u0075\\u0074\\u0068"}', true],
    indented: ['{\r\n\t"type": "auth"\r\n}', true],
    'another order': ['{"token":"x","type":"auth"}', true],
    'a longer type': ['{"type":"authenticate"}', false],
    'a type of ours for the client': ['{"type":"auth.ok"}', false],
    'a ping': ['{"type":"auth.ping"}', true],
    'a ping, spelt otherwise': [' { "id": 1, "type" : "\\u0061uth.ping" }', true],
    'a ping in upper case': ['{"type":"auth.PING"}', false],
    'a ping that is not whole': ['{"type":"auth.ping"', false],
    'a pong': ['{"type":"auth.pong"}', false],
    nested: ['{"data":{"type":"auth"}}', false],
    'in an array': ['[{"type":"auth","token":"x"}]', false],
    'in a string': ['"{\\"type\\":\\"auth\\"}"', false],
    'a letter that looks like it': ['{"type":"аuth"}', false],
    'something else, and long': [LONG, false]
  }
  for (const [what, [text, isOurs]] of Object.entries(cases)) t.equal(isAuthFrame(Buffer.from(text)), isOurs, what)
})

t.test('bytes beyond a view are not read', async (t) => {
  const all = Buffer.from('xx{"type":"auth","token":"y"}')
  t.equal(isAuthFrame(all.subarray(2, 2 + '{"type":"auth"'.length)), false)
  t.equal(isAuthFrame(all.subarray(2)), true)
  t.equal(tokenOf(all.subarray(2)), 'y')
  t.equal(isAuthFrame(all.subarray(1)), false)
})

t.test('a frame that is cut off at any place has no token, and throws nothing', async (t) => {
  const whole = Buffer.from('{"type":"auth","token":"x"}')
  for (let length = 0; length < whole.length; length++) t.equal(tokenOf(whole.subarray(0, length)), null)
  t.equal(tokenOf(whole), 'x')
})

t.test('a text that is too long for an auth frame is not read, and belongs to the app unless it begins like one', async (t) => {
  const whole = Buffer.from('{"type":"auth","token":"x"}')
  t.strictSame(readAuthFrame(whole, whole.length), { type: 'auth', token: 'x', ticket: null, id: null })
  t.strictSame(readAuthFrame(whole, whole.length - 1), { type: 'auth', token: null, ticket: null, id: null })
  t.equal(readAuthFrame(Buffer.from('{"token":"x","type":"auth"}'), 10), null)
})

t.test('the token of an auth frame is read as JSON reads it, and only if it is a string', async (t) => {
  const cases: Record<string, [string, string | null]> = {
    whole: ['{"type":"auth","token":"a.b.c"}', 'a.b.c'],
    'with other properties': ['{"type":"auth","id":1,"token":"x","more":{"type":"chat"}}', 'x'],
    'spaces behind the comma': ['{"type":"auth", "token" : "x" }\n', 'x'],
    escapes: ['{"type":"auth","token":"\\u0078\\""}', 'x"'],
    empty: ['{"type":"auth","token":""}', ''],
    'very long': [`{"type":"auth","token":"${LONG}"}`, LONG],
    'two tokens: the last, as JSON has it': ['{"type":"auth","token":"x","token":"y"}', 'y'],
    'a type that is said again': ['{"type":"auth","token":"x","type":"auth"}', 'x'],
    'a type that is changed later': ['{"type":"auth","token":"x","type":"chat"}', null],
    'a type that is changed by an escape': ['{"type":"auth","token":"x","\\u0074ype":"chat"}', null],
    'no token': ['{"type":"auth"}', null],
    'a token within another object': ['{"type":"auth","data":{"token":"x"}}', null],
    'a token of the prototype': ['{"type":"auth","__proto__":{"token":"x"}}', null],
    'a type of the prototype': ['{"type":"auth","token":"x","type":null,"__proto__":{"type":"auth"}}', null],
    null: ['{"type":"auth","token":null}', null],
    'a number': ['{"type":"auth","token":1}', null],
    'an array': ['{"type":"auth","token":["x"]}', null],
    'an object': ['{"type":"auth","token":{"length":1}}', null],
    'not whole': ['{"type":"auth","token":"x"', null],
    'no JSON': ['{"type":"auth",token:"x"}', null],
    'a comma too many': ['{"type":"auth","token":"x",}', null],
    'something behind it': ['{"type":"auth","token":"x"}x', null],
    'a NUL behind it': ['{"type":"auth","token":"x"}\0', null],
    'nested too deep': [`{"type":"auth","token":"x","a":${'['.repeat(100_000)}`, null],
    'as Python writes it': ['{"type": "auth", "token": "x"}', 'x'],
    nothing: ['', null]
  }
  for (const [what, [text, token]] of Object.entries(cases)) t.equal(tokenOf(Buffer.from(text)), token, what)
})

t.test('the ticket and the id of an auth frame are read only if they can be used', async (t) => {
  const read = (more: object): object => {
    const { ticket, id } = readAuthFrame(Buffer.from(JSON.stringify({ type: 'auth', ...more })), NO_LIMIT) as AuthFrame
    return { ticket, id }
  }
  t.strictSame(read({ ticket: 'x', token: 'y' }), { ticket: 'x', id: null })
  for (const ticket of [null, 1, true, ['x'], { x: 1 }]) t.strictSame(read({ ticket }), { ticket: null, id: null })
  for (const id of ['', 'x', 'é'.repeat(64), 0, -1, 1.5, 1e300]) t.strictSame(read({ id }), { ticket: null, id })
  for (const id of ['x'.repeat(65), null, true, ['x'], { x: 1 }]) t.strictSame(read({ id }), { ticket: null, id: null })
  t.equal(readAuthFrame(Buffer.from('{"type":"auth","id":1e999}'), NO_LIMIT)?.id, null, 'a number that JSON cannot hold')
})

t.test('a message to the client has its documented JSON, and is no auth frame', async (t) => {
  const now = Date.now()
  const connection = { id: 'x', expiresAt: now + 5000.9, endsAt: now + 9000 }
  const { expiresIn, endsIn, ...rest } = JSON.parse(authOk(connection, 'y'))
  t.strictSame(rest, { type: 'auth.ok', id: 'y', connection: 'x', expiresAt: now + 5000.9 })
  t.ok(Number.isInteger(expiresIn) && expiresIn <= 5000 && expiresIn > 4000, String(expiresIn))
  t.ok(Number.isInteger(endsIn) && endsIn <= 9000 && endsIn > 8000, String(endsIn))
  t.equal(authOk({ id: 'x', expiresAt: null, endsAt: null }, null), '{"type":"auth.ok","connection":"x","expiresAt":null,"expiresIn":null,"endsIn":null}')
  t.equal(authOk({ id: 'x', expiresAt: 1000, endsAt: null }, 0), '{"type":"auth.ok","id":0,"connection":"x","expiresAt":1000,"expiresIn":0,"endsIn":null}')
  t.equal(authOk({ id: 'x', expiresAt: Infinity, endsAt: null }, '"'), '{"type":"auth.ok","id":"\\"","connection":"x","expiresAt":null,"expiresIn":null,"endsIn":null}')
  t.equal(authRenew(1000), '{"type":"auth.renew","expiresIn":0}')
  t.equal(authError('WS_AUTH_TOKEN_INVALID', null), '{"type":"auth.error","code":"WS_AUTH_TOKEN_INVALID"}')
  t.equal(authError('WS_AUTH_TOKEN_INVALID', 7, true), '{"type":"auth.error","code":"WS_AUTH_TOKEN_INVALID","reason":"other_subject","id":7}')
  for (const [connections, within] of [[0, 5000], [1, 5000], [5000, 5000], [12_345, 12_345], [30_000, 30_000], [1e6, 30_000]] as const) {
    t.equal(authRetry(connections), `{"type":"auth.retry","within":${within}}`)
  }
  for (const text of [authRenew(now), authOk(connection, null), authError('WS_AUTH_LIMIT', null), authRetry(1), AUTH_PONG]) {
    t.equal(isAuthFrame(Buffer.from(text)), false, 'is not taken for an auth frame where it is sent back')
  }
})
