/*
 * A `jti` or `sid` that is a number is matched by its digits. A number that has lost some of its digits, or that is written in
 * more than one way, would be matched by nobody or by somebody else: such a token is refused, and so is any other type.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { prepare, start } from '../helpers/app'
import { compact, hmac } from '../helpers/hostile-tokens'
import { SECRET } from '../helpers/app'
import { clientFrame, upgrade } from '../helpers/raw-client'

const TEXT = 1
const CLOSE = 8

/** A token with a payload of exactly this text. */
function tokenOf (text: string): string {
  return compact({ alg: 'HS256', typ: 'JWT' }, text, hmac(SECRET))
}

async function codeOf (app: FastifyInstance, token: string): Promise<string | null> {
  const response = await app.inject({ url: '/chat', headers: { authorization: `Bearer ${token}` } })
  return response.statusCode === 426 ? null : `${response.statusCode} ${response.json().code}`
}

const REFUSED = '401 WS_AUTH_TOKEN_INVALID'

/** As JSON has it, and the digits by which it is revoked; `null` where the token is refused. */
const VALUES: Array<[json: string, digits: string | null]> = [
  ['"login-1"', 'login-1'],
  ['"1234567890123456789"', '1234567890123456789'],
  ['0', '0'],
  ['7', '7'],
  ['-7', '-7'],
  ['9007199254740991', '9007199254740991'],
  ['-9007199254740991', '-9007199254740991'],
  ['9007199254740992', null],
  ['9007199254740993', null],
  ['-9007199254740992', null],
  ['1234567890123456789', null],
  ['1234567890123456111', null],
  ['1e21', null],
  ['1e400', null],
  ['-1e400', null],
  ['1.5', null],
  ['5e-324', null],
  ['-0', null],
  ['-0.0', null],
  ['true', null],
  ['false', null],
  ['[]', null],
  ['["a"]', null],
  ['[7]', null],
  ['{}', null],
  ['{"id":"a"}', null]
]

async function build (t: Test): Promise<FastifyInstance> {
  const { app } = await prepare(t, { server: { logger: false }, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  return app
}

for (const claim of ['jti', 'sid'] as const) {
  t.test(`a ${claim} must be a string, a safe integer or null, or else the token is refused`, async (t) => {
    const app = await build(t)
    for (const [json, digits] of VALUES) {
      const token = tokenOf(`{"sub":"ann","${claim}":${json}}`)
      t.equal(await codeOf(app, token), digits === null ? REFUSED : null, json)
      if (digits === null) continue
      await app.wsAuth.revoke(claim === 'jti' ? { jti: digits } : { sid: digits })
      t.equal(await codeOf(app, token), '401 WS_AUTH_TOKEN_REVOKED', `${json} is revoked by ${digits}`)
    }
    t.equal(await codeOf(app, tokenOf(`{"sub":"ann","${claim}":null}`)), null, 'null is none')
    t.equal(await codeOf(app, tokenOf('{"sub":"ann"}')), null, 'it may be left out')
  })

  t.test(`the plugin does not confuse two numbers as ${claim} that differ past 2^53`, async (t) => {
    const app = await build(t)
    const [a, b] = ['1234567890123456111', '1234567890123456112'].map((digits) => tokenOf(`{"sub":"ann","${claim}":${digits}}`))
    await app.wsAuth.revoke(claim === 'jti' ? { jti: String(Number('1234567890123456111')) } : { sid: String(Number('1234567890123456111')) })
    for (const token of [a, b]) t.equal(await codeOf(app, String(token)), REFUSED, 'refused for what it is, not as revoked')
  })
}

t.test('a safe integer with a fraction of zeros equals the same number without it', async (t) => {
  const app = await build(t)
  const token = tokenOf('{"sub":"ann","jti":7.0}')
  const code = await codeOf(app, token)
  if (code === null) {
    await app.wsAuth.revoke({ jti: '7' })
    t.equal(await codeOf(app, token), '401 WS_AUTH_TOKEN_REVOKED', 'it is revoked by its digits')
  } else {
    t.equal(code, REFUSED)
  }
})

t.test('a number that is not a safe integer is refused with every purpose', async (t) => {
  const unsafe = tokenOf('{"sub":"ann","jti":1234567890123456789}')
  const { app, port } = await start(t, {
    server: { logger: false },
    plugin: { renewal: true, tickets: true },
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket) => socket.send('hello'))
      app.get('/first', { websocket: true, wsAuth: { renewal: true, token: { message: true } } }, (socket) => socket.send('hello'))
    }
  })
  const ticket = await app.inject({ method: 'POST', url: '/ws-ticket', headers: { authorization: `Bearer ${unsafe}` } })
  t.strictSame([ticket.statusCode, ticket.json().code], [401, 'WS_AUTH_TOKEN_INVALID'], 'for a ticket')
  await t.rejects(app.wsAuth.issueTicket({ sub: 'ann', jti: 2 ** 53 }), { code: 'WS_AUTH_TOKEN_INVALID' }, 'in issueTicket')
  await t.rejects(app.wsAuth.issueTicket({ sub: 'ann', sid: ['a'] }), { code: 'WS_AUTH_TOKEN_INVALID' }, 'in issueTicket, a sid of another type')

  const handshake = await upgrade(t, port, { path: `/chat?token=${unsafe}` })
  t.equal(handshake.answer.status, 401, 'in a handshake')

  const first = await upgrade(t, port, { path: '/first' })
  first.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token: unsafe })))
  t.strictSame(await first.close(), { code: 3000, reason: 'token_invalid' }, 'in a first message')

  const open = await upgrade(t, port, { path: `/chat?token=${tokenOf('{"sub":"ann","jti":1}')}` })
  let frame = await open.frame()
  while (String(frame.payload) !== 'hello') frame = await open.frame()
  open.send(clientFrame(TEXT, JSON.stringify({ type: 'auth', token: unsafe })))
  const { opcode, payload } = await open.frame()
  t.not(opcode, CLOSE)
  const { type, code } = JSON.parse(String(payload))
  t.strictSame({ type, code }, { type: 'auth.error', code: 'WS_AUTH_TOKEN_INVALID' }, 'in a renewal')
})

t.test('a verify function that returns such a jti or sid admits no client', async (t) => {
  for (const claims of [{ jti: 2 ** 53 }, { jti: -0 }, { jti: 1.5 }, { jti: NaN }, { jti: true }, { jti: 7n }, { jti: () => 'a' }, { sid: 2 ** 53 + 2 }, { sid: ['a'] }, { sid: new Date(0) }]) {
    const { app } = await prepare(t, { server: { logger: false }, plugin: { verify: () => ({ sub: 'ann', ...claims }) }, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
    t.equal(await codeOf(app, 'opaque'), REFUSED, `${Object.keys(claims).join()}: ${String(Object.values(claims)[0])}`)
  }
})
