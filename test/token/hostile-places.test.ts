/*
 * Attacks by the place of a token: header, query, subprotocol, cookie, path, and the first message.
 */
import t from 'tap'
import { until, within } from '../helpers/app'
import { ACCEPTED, AMBIGUOUS, HostileTarget, INVALID, MISSING, NO_HANDSHAKE } from '../helpers/hostile-target'
import type { Answer } from '../helpers/hostile-target'
import { carriers, compact, hmac, segment } from '../helpers/hostile-tokens'
import type { Carrier } from '../helpers/hostile-tokens'
import { clientFrame, upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'
import { ANN, GOOD, HS, mint, SIGNATURE, tried, unsigned } from '../helpers/token-attacks'
import { statsOf } from '../helpers/stats'

t.test('a token gets exactly the expected answer in each place', async (t) => {
  const target = await HostileTarget.start(t, {
    routes: (app, ran) => {
      app.get('/path/:token', { websocket: true, wsAuth: { token: { param: true } } }, (socket, request) => {
        ran.push('handler')
        socket.send(`hello from ${request.wsAuth?.source}`)
      })
    }
  })
  const bad = compact(HS, ANN, hmac('another secret of thirty-two bytes'))
  const twice = encodeURIComponent(encodeURIComponent(GOOD.replaceAll('.', '%2E')))
  const encoded = segment(GOOD)
  const ways: Array<[what: string, request: RequestSettings, answer: Answer]> = [
    ...(Object.keys(carriers) as Carrier[]).map((carrier): typeof ways[number] => [`${carrier}, good`, carriers[carrier](GOOD), ACCEPTED]),
    ...(Object.keys(carriers) as Carrier[]).map((carrier): typeof ways[number] => [`${carrier}, signed with another key`, carriers[carrier](bad), INVALID]),
    ...(Object.keys(carriers) as Carrier[]).map((carrier): typeof ways[number] => [`${carrier}, alg none`, carriers[carrier](compact({ alg: 'none' }, ANN, unsigned)), INVALID]),
    ['query, encoded once', { path: `/chat?token=${GOOD.replaceAll('.', '%2E')}` }, ACCEPTED],
    ['query, encoded twice', { path: `/chat?token=${twice}` }, INVALID],
    ['query, with a plus', { path: `/chat?token=+${GOOD}` }, INVALID],
    ['query, with the scheme', { path: `/chat?token=Bearer%20${GOOD}` }, INVALID],
    ['query, encoded as Unicode', { path: `/chat?token=${GOOD.replaceAll('.', '%u002E')}` }, INVALID],
    ['query, half of an encoding', { path: `/chat?token=${GOOD}%` }, INVALID],
    ['query, overlong dots', { path: `/chat?token=${GOOD.replaceAll('.', '%C0%AE')}` }, INVALID],
    ['subprotocol, encoded for a URL', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${GOOD.replaceAll('.', '%2E')}` } }, INVALID],
    ['subprotocol, with the scheme', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, Bearer ${GOOD}` } }, NO_HANDSHAKE],
    ['subprotocol, padding', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${GOOD}=` } }, NO_HANDSHAKE],
    ['subprotocol, base64url of base64url', { path: '/chat', headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${segment(encoded)}` } }, INVALID],
    ['subprotocol, base64url without the marker', { path: '/chat', headers: { 'sec-websocket-protocol': `chat, base64url.${encoded}` } }, MISSING],
    ['subprotocol, base64url behind the marker', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${encoded}` } }, INVALID],
    ['subprotocol, base64url of nothing', { path: '/chat', headers: { 'sec-websocket-protocol': 'chat, base64url.bearer.' } }, MISSING],
    ['subprotocol, base64url of bytes that are no UTF-8', { path: '/chat', headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${Buffer.from([0xff, 0xfe]).toString('base64url')}` } }, INVALID],
    // RFC 6265, 4.1.1: the quotes are part of the value.
    ['cookie, quoted', { path: '/chat', headers: { cookie: `token="${GOOD}"` } }, INVALID],
    ['cookie, encoded', { path: '/chat', headers: { cookie: `token=${GOOD.replaceAll('.', '%2E')}` } }, ACCEPTED],
    ['cookie, encoded twice', { path: '/chat', headers: { cookie: `token=${GOOD.replaceAll('.', '%252E')}` } }, INVALID],
    ['cookie, half a quote', { path: '/chat', headers: { cookie: `token="${GOOD}` } }, INVALID],
    ['cookie, quoted twice', { path: '/chat', headers: { cookie: `token=""${GOOD}""` } }, INVALID],
    ['cookie, with the scheme', { path: '/chat', headers: { cookie: `token=Bearer ${GOOD}` } }, INVALID],
    ['cookie, as a signed one of express', { path: '/chat', headers: { cookie: `token=s%3A${GOOD}.${SIGNATURE}` } }, INVALID],
    ['cookie, as JSON of express', { path: '/chat', headers: { cookie: `token=j%3A${encodeURIComponent(JSON.stringify(GOOD))}` } }, INVALID],
    ['header, encoded for a URL', { path: '/chat', headers: { authorization: `Bearer ${GOOD.replaceAll('.', '%2E')}` } }, INVALID],
    // What JavaScript takes for white space, and HTTP does not (RFC 9110, 5.6.3).
    ['header, a byte A0 behind', { path: '/chat', headers: { authorization: `Bearer ${GOOD}\xa0` } }, INVALID],
    ['header, a byte A0 before', { path: '/chat', headers: { authorization: `Bearer \xa0${GOOD}` } }, INVALID],
    ['header, a byte A0 behind the scheme', { path: '/chat', headers: { authorization: `Bearer\xa0${GOOD}` } }, MISSING],
    ['subprotocol, a byte A0 behind', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${GOOD}\xa0` } }, NO_HANDSHAKE],
    ['subprotocol, a byte A0 behind the marker', { path: '/chat', headers: { 'sec-websocket-protocol': `bearer\xa0, ${GOOD}` } }, NO_HANDSHAKE],
    ['cookie, a byte A0 behind', { path: '/chat', headers: { cookie: `token=${GOOD}\xa0` } }, INVALID],
    ['cookie, a byte A0 behind its name', { path: '/chat', headers: { cookie: `token\xa0=${GOOD}` } }, MISSING],
    ['header, quoted', { path: '/chat', headers: { authorization: `Bearer "${GOOD}"` } }, INVALID],
    ['header, as a parameter', { path: '/chat', headers: { authorization: `Bearer token="${GOOD}"` } }, INVALID],
    ['a body, as RFC 6750, 2.2 has it', { path: '/chat', headers: { 'content-type': 'application/x-www-form-urlencoded', 'content-length': String(GOOD.length + 13) }, body: `access_token=${GOOD}` }, NO_HANDSHAKE],
    ['path', { path: `/path/${GOOD}` }, ACCEPTED],
    ['path, encoded', { path: `/path/${GOOD.replaceAll('.', '%2E')}` }, ACCEPTED],
    ['path, encoded twice', { path: `/path/${GOOD.replaceAll('.', '%252E')}` }, INVALID],
    ['path, signed with another key', { path: `/path/${bad}` }, INVALID],
    ['path, alg none', { path: `/path/${compact({ alg: 'none' }, ANN, unsigned)}` }, INVALID],
    ['path, with a slash, encoded', { path: `/path/${GOOD}%2F` }, INVALID],
    ['path, with a plus', { path: `/path/+${GOOD}` }, INVALID],
    ['path, dots, encoded', { path: '/path/%2e%2e' }, INVALID],
    ['path, the placeholder of a token', { path: '/path/-' }, INVALID],
    ['path, its own name', { path: '/path/:token' }, INVALID],
    ['path, empty', { path: '/path/' }, MISSING],
    ['path, __proto__', { path: '/path/__proto__' }, INVALID],
    ['path, one segment more', { path: '/path/x/y' }, { status: 404 }],
    ['path and query', { path: `/path/${GOOD}?token=${GOOD}` }, AMBIGUOUS],
    ['two places that agree', { path: `/chat?token=${GOOD}`, headers: { authorization: `Bearer ${GOOD}` } }, AMBIGUOUS]
  ]
  for (const [what, request, answer] of ways) {
    tried.push(`way: ${what}`)
    t.test(`${t.name}: ${what}`, async (t) => {
      const { text } = await target.answers(t, request, answer)
      t.notMatch(text, GOOD.slice(-20), 'the token is not in the answer')
    })
  }
})

t.test('a bad first message is refused', async (t) => {
  const target = await HostileTarget.start(t, { plugin: { renewal: true, token: { message: true } } })
  const auth = (token: unknown): string => JSON.stringify({ type: 'auth', token })
  const TOKEN_INVALID = { code: 3000, reason: 'token_invalid' }
  const messages: Array<[what: string, message: string | Buffer, close: { code: number, reason: string }, opcode?: number, refusal?: string]> = [
    ['a token of another secret', auth(compact(HS, ANN, hmac('another'))), TOKEN_INVALID],
    ['alg none', auth(compact({ alg: 'none' }, ANN, unsigned)), TOKEN_INVALID],
    ['an expired token', auth(mint({ exp: 1 })), { code: 3000, reason: 'token_expired' }, 1, 'WS_AUTH_TOKEN_EXPIRED'],
    ['a token with a newline behind', auth(`${GOOD}\n`), TOKEN_INVALID],
    ['an empty token', auth(''), TOKEN_INVALID],
    ['a token that is a number', auth(7), TOKEN_INVALID],
    ['a token in a list', auth([GOOD]), TOKEN_INVALID],
    ['a token in an object', auth({ token: GOOD }), TOKEN_INVALID],
    ['a token in __proto__', `{"type":"auth","__proto__":{"token":"${GOOD}"}}`, TOKEN_INVALID],
    ['no token', '{"type":"auth"}', TOKEN_INVALID],
    ['the token alone', GOOD, TOKEN_INVALID],
    ['another type behind', `{"type":"auth","type":"chat","token":"${GOOD}"}`, TOKEN_INVALID],
    ['a type that begins alike', `{"type":"authenticate","token":"${GOOD}"}`, TOKEN_INVALID],
    ['a list around', `[${auth(GOOD)}]`, TOKEN_INVALID],
    ['two byte order marks before', `\ufeff\ufeff${auth(GOOD)}`, TOKEN_INVALID],
    ['a bad token behind a good one', `{"type":"auth","token":"${GOOD}","token":"bad"}`, TOKEN_INVALID],
    ['two frames in one message', `${auth(GOOD)}${auth(GOOD)}`, TOKEN_INVALID],
    ['NUL behind', `${auth(GOOD)}\0`, TOKEN_INVALID],
    ['nothing', '', TOKEN_INVALID],
    ['binary', auth(GOOD), TOKEN_INVALID, 2],
    ['not UTF-8', Buffer.from([0xff]), { code: 1007, reason: '' }],
    ['longer than it may be', auth('x'.repeat(9000)), { code: 1009, reason: '' }],
    ['a reserved opcode', auth(GOOD), { code: 1002, reason: '' }, 3]
  ]
  for (const [what, message, close, opcode = 1, refusal = 'WS_AUTH_TOKEN_INVALID'] of messages) {
    tried.push(`first message: ${what}`)
    t.test(`${t.name}: ${what}`, async (t) => {
      const client = await upgrade(t, target.port, { path: '/chat' })
      t.equal(client.answer.status, 101)
      client.send(clientFrame(opcode, message)).send(clientFrame(1, 'a message behind'))
      t.strictSame(await client.close(), close)
      client.send(clientFrame(8, Buffer.from([3, 232])))
      await within(5000, 'the server closes the connection', client.ended)
      t.equal(client.rest.length, 0, 'nothing comes behind the close frame')
      client.socket.destroy()
      await until(() => target.isAtRest, 'nothing is pending')
      t.strictSame(target.told.splice(0), [refusal], 'the refusal was told once')
      t.strictSame(target.ran, [], 'nothing ran')
    })
  }
  t.test('the statistics count each bad first message once', async (t) => {
    const { accepted, refused, pending, connections } = statsOf(target.app)
    t.strictSame({ accepted, refused, pending, connections }, {
      accepted: 0, refused: { WS_AUTH_TOKEN_INVALID: messages.length - 1, WS_AUTH_TOKEN_EXPIRED: 1 }, pending: 0, connections: 0
    })
  })
  tried.push('first message: a good token behind a bad one in one message')
  t.test('the last token of a first message counts if it has two', async (t) => {
    const client = await upgrade(t, target.port, { path: '/chat' })
    client.send(clientFrame(1, `{"type":"auth","token":"bad","token":"${GOOD}"}`))
    t.match((await client.frame()).payload.toString(), '"auth.ok"')
    t.equal((await client.frame()).payload.toString(), 'hello from message')
    t.strictSame(target.ran.splice(0), ['handler'])
    client.socket.destroy()
    await until(() => statsOf(target.app).connections === 0, 'it has gone')
  })
})

t.test('the table has all of its rows, each once', async (t) => {
  t.ok(tried.length >= 85, `${tried.length} rows`)
  t.equal(new Set(tried).size, tried.length)
})
