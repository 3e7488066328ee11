/*
 * The headers of a handshake are read by functions of the app too: the decoder of cookies may be its own, and may throw at a header of
 * the client. That is no fault of the client's token: the handshake is 503, and is told as any other refusal.
 */
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { prepare, sign, start, until } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { plainText, RawClient, requestText } from '../helpers/raw-client'
import { uncaughtErrors } from '../helpers/uncaught'
import { statsOf } from '../helpers/stats'

const TOKEN = sign({ sub: 'ann' })
const SECRET_VALUE = 'a-value-of-the-client-alone'
const UNAVAILABLE = '{"statusCode":503,"code":"WS_AUTH_UNAVAILABLE","error":"Service Unavailable","message":"Authentication is unavailable"}'

function fail (value: unknown): never {
  throw new RangeError(`cannot be read: ${String(value)}`)
}

/** With `hook: false` the plugin is the first to parse the cookies, by this function of the app. */
const decode = (value: string): string => value.includes(SECRET_VALUE) ? fail(value) : value
const BROKEN = { cookie: `a=${SECRET_VALUE}; token=${TOKEN}` }

for (const rejectWith of ['http', 'close'] as const) {
  t.test(`a handshake whose headers cannot be read is 503, with rejectWith '${rejectWith}'`, async (t) => {
    const events: fastifyWsAuth.WsAuthEvent[] = []
    onDecision(t, (event) => events.push(event))
    const asked: unknown[] = []
    const { app, port, log } = await start(t, {
      plugin: { rejectWith, tickets: true, cookie: { hook: false, parseOptions: { decode } } as never },
      routes: (app) => {
        app.addHook('onSend', async ({ user }: FastifyRequest) => { asked.push(user) })
        app.get('/chat', { websocket: true }, (socket) => { socket.send('hello') })
        app.get('/optional', { websocket: true, wsAuth: 'optional' }, (socket) => { socket.send('hello') })
        app.get('/public', { websocket: true, wsAuth: false }, (socket) => { socket.send('hello') })
      }
    })
    const KINDS: Array<[what: string, text: string, isUpgrade: boolean]> = [
      ['an upgrade', requestText({ path: '/chat', headers: BROKEN }), true],
      ['an upgrade of an optional route', requestText({ path: '/optional', headers: BROKEN }), true],
      ['an upgrade of a public route, which reads no cookie', requestText({ path: '/public', headers: BROKEN }), true],
      ['a dry run', plainText({ path: '/chat', headers: BROKEN }), false],
      ['a request for a ticket', plainText({ method: 'POST', path: '/ws-ticket', headers: BROKEN }), false]
    ]
    for (const [what, text, isUpgrade] of KINDS) {
      events.length = log.length = 0
      const client = await RawClient.open(t, port)
      const { status, body } = await client.send(text).response()
      if (what.includes('public')) t.equal(status, 101, what)
      else {
        if (isUpgrade && rejectWith === 'close') t.strictSame([status, await client.close()], [101, { code: 4503, reason: 'auth_unavailable' }], what)
        else t.equal(`${status} ${body}`, `503 ${UNAVAILABLE}`, what)
        await until(() => events.length > 0, 'the event')
        t.match(events, [{ event: 'refused', code: 'WS_AUTH_UNAVAILABLE', source: null, sub: null, address: '127.0.0.1', dryRun: what === 'a dry run' }], what)
        t.equal(events.length, 1, `${what} is told once`)
        const lines = log.map((line) => JSON.parse(line) as { event?: string, level: number, err?: { message: string } }).filter(({ event }) => event === 'refused')
        t.match(lines, [{ level: 50, err: { message: 'the headers could not be read: RangeError' } }], what)
        t.notOk([...log, client.text].join('\n').includes(SECRET_VALUE), `${what}: neither the log nor the answer has the value that could not be read`)
      }
      client.socket.destroy()
      await until(() => statsOf(app).pending === 0, 'nothing that waits')
    }
    t.ok(asked.every((user) => user === null), 'no later hook has seen a user')
    t.match(statsOf(app), { accepted: 0, refused: { WS_AUTH_UNAVAILABLE: 3 } }, 'the dry run is not counted')

    const good = await RawClient.open(t, port)
    t.equal((await good.upgrade({ path: '/chat', headers: { cookie: `token=${TOKEN}` } }).response()).status, 101, 'a cookie that can be read is a token')
  })
}

t.test('a decoder that throws a value other than an Error refuses with 503 too, and the log has the type of that value only', async (t) => {
  // eslint-disable-next-line no-throw-literal
  const throwText = (value: string): string => { throw `cannot be read: ${value}` }
  const { app, log } = await prepare(t, {
    plugin: { cookie: { hook: false, parseOptions: { decode: throwText } } as never },
    routes: (app) => app.get('/chat', { websocket: true }, () => {})
  })
  t.equal((await app.inject({ url: '/chat', headers: { cookie: `token=${SECRET_VALUE}` } })).statusCode, 503)
  t.ok(log.some((line) => line.includes('the headers could not be read: string')))
  t.notOk(log.join('\n').includes(SECRET_VALUE))
})

t.test('an unreadable header causes no uncaught error', async (t) => {
  t.strictSame(uncaughtErrors(), [])
})
