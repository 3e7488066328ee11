/*
 * First messages of other protocols: `token.message.read`, `deliver` and the readers that are exported.
 */
import t from 'tap'
import fastifyWsAuth, { readers } from '../../lib/index'
import type { WsAuthOptions } from '../../lib/index'
import { prepare, sign } from '../helpers/app'
import { closeOf, openSocket } from '../helpers/sockets'

type MessageOptions = Exclude<NonNullable<NonNullable<WsAuthOptions['token']>['message']>, boolean>

const TOKEN = sign({ sub: 'ann' })

/** Sends messages to an app that reads its first message so. Returns what the handler heard, what the client got, and its close frame. */
async function send (t: Parameters<typeof prepare>[0], message: MessageOptions, ...sent: Array<string | Buffer>): Promise<{ heard: string[], got: string[], close: string, log: string[] }> {
  const heard: string[] = []
  const { app, log } = await prepare(t, {
    plugin: { token: { message } },
    routes: (app) => app.get('/ws', { websocket: true }, (socket, request) => {
      heard.push(`user ${(request.user as { sub: string }).sub}`)
      socket.on('message', (data, isBinary) => { heard.push(isBinary ? `binary ${String(data)}` : String(data)); if (String(data) === 'end') socket.close(4000) })
    })
  })
  const settled = await openSocket(app, '/ws', null)
  for (const one of sent) settled.socket.send(one)
  const { code, reason } = await closeOf(settled)
  return { heard, got: settled.messages, close: `${code} ${reason}`.trim(), log }
}

const read = (message: string): string | null => message.startsWith('hello ') ? message.slice(6) : null

t.test('the read option finds the token without an answer to the client, and deliver passes the message to the handler before the next one', async (t) => {
  t.strictSame((await send(t, { read }, `hello ${TOKEN}`, 'next', 'end')).heard, ['user ann', 'next', 'end'])
  const delivered = await send(t, { read, deliver: true }, `hello ${TOKEN}`, 'next', 'end')
  t.strictSame(delivered.heard, ['user ann', `hello ${TOKEN}`, 'next', 'end'])
  t.strictSame(delivered.got, [])
  t.equal(delivered.close, '4000')
})

t.test('a message without a readable token refuses the connection, and the log has none of its text', async (t) => {
  const cases: Array<[what: string, message: MessageOptions]> = [
    ['null', { read }],
    ['no text', { read: () => 7 as never }],
    ['an empty text', { read: () => '' }],
    ['a promise', { read: (async () => TOKEN) as never }],
    ['a throw', { read: (text) => { throw new Error(text) } }],
    ['a throw of no error', { read: (text) => { throw text } }],
    ['a promise that rejects', { read: (async () => { throw new Error('later') }) as never }],
    ['a throw of an error whose name throws', { read: () => { throw Object.defineProperty(new Error('x'), 'name', { get: () => { throw new Error('name') } }) } }],
    ['a bad token', { read: () => `${TOKEN}x` }]
  ]
  for (const [what, message] of cases) {
    const { heard, close, log } = await send(t, message, 'secret text')
    t.strictSame([heard, close], [[], '3000 token_invalid'], what)
    t.notOk(log.some((line) => line.includes('secret text')), `${what}: nothing of the message is logged`)
  }
})

t.test('the read option gets the bytes of a binary message', async (t) => {
  const message: MessageOptions = { read: (text, data) => text === '' ? data.subarray(2).toString() : null, deliver: true }
  const { heard } = await send(t, message, Buffer.from(`\x01\x02${TOKEN}`), 'end')
  t.strictSame(heard, ['user ann', `binary \x01\x02${TOKEN}`, 'end'])
  t.equal((await send(t, message, 'text')).close, '3000 token_invalid')
})

t.test('a handler that has failed gets no delivered message', async (t) => {
  const heard: string[] = []
  const { app } = await prepare(t, {
    plugin: { token: { message: { read, deliver: true } } },
    routes: (app) => app.get('/ws', { websocket: true }, (socket) => {
      socket.on('message', (data) => { heard.push(String(data)) })
      throw new Error('no such room')
    })
  })
  const settled = await openSocket(app, '/ws', null)
  settled.socket.send(`hello ${TOKEN}`)
  t.strictSame(await closeOf(settled), { code: 1011, reason: 'internal_error' })
  t.strictSame(heard, [])
})

t.test('the deliver option requires the read option', async (t) => {
  await t.rejects(prepare(t, { plugin: { token: { message: { deliver: true } } } }), { message: /"token\.message\.deliver" option must be left out without "read"/ })
  await t.rejects(prepare(t, { plugin: { token: { message: { read: 'graphql' as never } } } }), { message: '"token.message.read" option must be a function' })
})

t.test('readers.graphqlWs and readers.trpc find the token under its usual names', async (t) => {
  t.equal(fastifyWsAuth.readers, readers)
  const { graphqlWs, trpc } = readers
  const found: unknown[] = [{ token: 'T' }, { authorization: 'T' }, { Authorization: 'Bearer T' }, { AUTHORIZATION: 'bearer  T' }, { token: 'T', authorization: 'other' }]
  const none: unknown[] = [undefined, null, {}, [], 'T', { token: 7 }, { authorization: ['T'] }, { authorization: 'A', Authorization: 'B' }, { Token: 'T' }]
  for (const [name, readToken, wrap, other] of [
    ['graphqlWs', graphqlWs, (payload: unknown) => ({ type: 'connection_init', payload }), { type: 'subscribe', payload: { token: 'T' } }],
    ['trpc', trpc, (data: unknown) => ({ method: 'connectionParams', data }), { method: 'query', data: { token: 'T' } }]
  ] as const) {
    const ask = (value: unknown): string | null => readToken(JSON.stringify(value), Buffer.alloc(0))
    for (const params of found) t.equal(ask(wrap(params)), 'T', `${name} ${JSON.stringify(params)}`)
    for (const params of none) t.equal(ask(wrap(params)), null, `${name} ${JSON.stringify(params)}`)
    for (const value of [other, null, 7, []]) t.equal(ask(value), null, `${name} ${JSON.stringify(value)}`)
    t.throws(() => readToken('no JSON', Buffer.alloc(0)), SyntaxError)
  }
})
