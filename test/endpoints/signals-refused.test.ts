/*
 * What is refused in place of a security event, with which code of RFC 8935, and what a failure does. A security event is no credential.
 */
import t from 'tap'
import { seconds } from '../helpers/keys'
import { logOut, memoryBackplane, refusalOf } from '../helpers/logout-chat'
import { plainText, RawClient } from '../helpers/raw-client'
import { accessToken, API, eventClaims, eventToken, ISSUER, jwtOptions, linesIn, LOGOUT, PATH, post, RECEIVER, send, signed, startReceiver, TYPES } from '../helpers/signals-chat'
import { statsOf } from '../helpers/stats'

const SESSION = TYPES['session-revoked']

t.test('a token that is no security event of this issuer for this receiver is refused with a code of RFC 8935', async (t) => {
  const { app, port, connect, log } = await startReceiver(t)
  const ann = await connect(await accessToken())
  const good = await eventToken()
  const wrong: Array<[string, string, string]> = [
    ['an empty body', '', 'invalid_request'],
    ['a text', 'event', 'invalid_request'],
    ['JSON', JSON.stringify(eventClaims()), 'invalid_request'],
    ['two tokens', `${good} ${good}`, 'invalid_request'],
    ['an access token', await accessToken(), 'invalid_request'],
    ['an access token for the receiver', await accessToken({ aud: RECEIVER }), 'invalid_request'],
    ['an access token of that type', await signed({ iss: ISSUER, aud: RECEIVER, iat: seconds(), jti: 'x', sub: 'ann' }, { typ: 'secevent+jwt' }), 'invalid_request'],
    ['a logout token', await signed(eventClaims({ events: { [LOGOUT]: {} }, sid: 'first' }), { typ: 'logout+jwt' }), 'invalid_request'],
    ['a logout token of that type', await eventToken({ events: { [LOGOUT]: {} }, sid: 'first' }), 'invalid_request'],
    ['a logout token with another event', await eventToken({ events: { [LOGOUT]: {}, [SESSION]: {} } }), 'invalid_request'],
    ['no typ', await signed(eventClaims()), 'invalid_request'],
    ['a typ that contains it', await eventToken({}, {}, { typ: 'x-secevent+jwt' }), 'invalid_request'],
    ['another issuer', await eventToken({ iss: 'https://another.example' }), 'invalid_issuer'],
    ['no issuer', await eventToken({ iss: undefined }), 'invalid_issuer'],
    ['a list of issuers', await eventToken({ iss: [ISSUER] }), 'invalid_issuer'],
    ['another audience', await eventToken({ aud: 'https://another.example' }), 'invalid_audience'],
    ['the audience of access tokens', await eventToken({ aud: API }), 'invalid_audience'],
    ['an audience with a slash more', await eventToken({ aud: `${RECEIVER}/` }), 'invalid_audience'],
    ['no audience', await eventToken({ aud: undefined }), 'invalid_audience'],
    ['an empty list of audiences', await eventToken({ aud: [] }), 'invalid_audience'],
    ['the key of another', await signed(eventClaims(), { typ: 'secevent+jwt' }, 'RS256', true), 'authentication_failed'],
    ['a changed payload', good.replace(/\.[^.]+\./, `.${Buffer.from(JSON.stringify(eventClaims())).toString('base64url')}.`), 'authentication_failed'],
    ['an algorithm that is not allowed', await eventToken({}, {}, {}, 'ES256'), 'invalid_key'],
    ['alg none', `${Buffer.from('{"alg":"none","typ":"secevent+jwt"}').toString('base64url')}.${good.split('.')[1]}.`, 'invalid_key'],
    ['no iat', await eventToken({ iat: undefined }), 'invalid_request'],
    ['an iat that is a text', await eventToken({ iat: '2026' }), 'invalid_request'],
    ['an iat ahead by an hour', await eventToken({ iat: seconds(3600) }), 'invalid_request'],
    ['an exp in the past', await eventToken({ exp: seconds(-1) }), 'invalid_request'],
    ['an nbf ahead', await eventToken({ nbf: seconds(600) }), 'invalid_request'],
    ...await Promise.all([1, 1e6, 2e6, 5e7, 99_999_999, 0.5, 0, -5, -1.8e9, -1e300].map(async (iat): Promise<[string, string, string]> => [`an iat of ${iat}`, await eventToken({ iat }), 'invalid_request'])),
    ...await Promise.all([1e-300, 0.5, 1, 2e6, 99_999_999].map(async (toe): Promise<[string, string, string]> => [`a toe of ${toe}`, await eventToken({ toe }), 'invalid_request'])),
    ...await Promise.all([1, 2e6].map(async (at): Promise<[string, string, string]> => [`an event_timestamp of ${at}`, await eventToken({}, { event_timestamp: at }), 'invalid_request'])),
    ['an iat in milliseconds', await eventToken({ iat: Date.now() }), 'invalid_request'],
    ['no jti', await eventToken({ jti: undefined }), 'invalid_request'],
    ['an empty jti', await eventToken({ jti: '' }), 'invalid_request'],
    ['no events', await eventToken({ events: undefined }), 'invalid_request'],
    ['empty events', await eventToken({ events: {} }), 'invalid_request'],
    ['a list of events', await eventToken({ events: [SESSION] }), 'invalid_request'],
    ['an event that is null', await eventToken({ events: { [SESSION]: null } }), 'invalid_request'],
    ['an event that is a list', await eventToken({ events: { [SESSION]: [] } }), 'invalid_request'],
    ['a subject that is a text', await eventToken({ sub_id: 'ann' }), 'invalid_request'],
    ['a subject without a format', await eventToken({ sub_id: { iss: ISSUER, sub: 'ann' } }), 'invalid_request'],
    ['a sub that is a number', await eventToken({ sub_id: { format: 'iss_sub', iss: ISSUER, sub: 7 } }), 'invalid_request'],
    ['a complex subject in a complex one', await eventToken({ sub_id: { format: 'complex', user: { format: 'complex', user: { format: 'opaque', id: 'x' } } } }), 'invalid_request']
  ]
  for (const [what, token, code] of wrong) t.equal(await send(port, token), `400 ${code}`, what)
  t.ok(await ann.isHeard(), 'nothing was revoked')
  t.equal(linesIn(log, 'security event refused').length, wrong.length)
  t.notOk(log.some((line) => line.includes(good.split('.')[2] as string)), 'no token is in the log')
  t.equal(statsOf(app).connections, 1)

  const { headers, body } = await post(port, 'event')
  t.equal(headers.get('content-type'), 'application/json')
  t.equal(headers.get('content-language'), 'en')
  t.equal(headers.get('cache-control'), 'no-store')
  t.same(Object.keys(JSON.parse(body)), ['err', 'description'])
  t.equal(await send(port, `${await eventToken({ aud: ['x', RECEIVER] })}\r\n`), '202', 'several audiences and a line break are fine')
})

t.test('trusted that says no, and verify that answers 403, are access_denied', async (t) => {
  const trusting = await startReceiver(t, { plugin: { jwt: { ...await jwtOptions(), trusted: (_request: unknown, { events }: { events?: unknown }) => events === undefined } as never } })
  t.equal(await send(trusting.port, await eventToken()), '400 access_denied')
  const forbidding = await startReceiver(t, { plugin: { verify: () => { throw Object.assign(new Error('not you'), { statusCode: 403 }) } } })
  t.equal(await send(forbidding.port, await eventToken()), '400 access_denied')
  const refusing = await startReceiver(t, { plugin: { verify: () => null } })
  t.equal(await send(refusing.port, await eventToken()), '400 authentication_failed')
})

t.test('the route takes a POST of its own content type, chunked or not, up to maxTokenBytes', async (t) => {
  const { port, connect } = await startReceiver(t)
  const ann = await connect(await accessToken())
  const good = await eventToken()
  for (const type of ['application/json', 'application/jwt', 'text/plain', 'application/x-www-form-urlencoded', 'application/secevent+jwt+x']) {
    t.equal((await post(port, good, type)).status, 415, type)
  }
  for (const method of ['GET', 'PUT', 'DELETE']) t.equal((await fetch(`http://127.0.0.1:${port}${PATH}`, { method })).status, 404, method)
  t.equal((await post(port, 'x'.repeat(8193))).status, 413)
  t.equal((await post(port, await eventToken({ more: 'x'.repeat(8192) }))).status, 413)
  t.ok(await ann.isHeard())

  const client = await RawClient.open(t, port)
  const half = Math.floor(good.length / 2)
  const chunks = [good.slice(0, half), good.slice(half)].map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join('')
  client.send(plainText({ method: 'POST', path: PATH, headers: { 'content-type': 'application/secevent+jwt; charset=utf-8', 'transfer-encoding': 'chunked' }, body: `${chunks}0\r\n\r\n` }))
  const { status, body } = await client.response()
  t.same([status, body], [202, ''])
  t.equal((await ann.next()).startsWith('closed 3000'), true)
})

t.test('a failure is 503, and the event can be sent again', async (t) => {
  let failure: 'throws' | 'never settles' | 'returns nothing' | 'returns no match' | null = null
  const { port, connect, log } = await startReceiver(t, {
    plugin: { handshakeTimeout: 500 },
    signals: {
      subject: async (subject) => {
        if (failure === 'throws') throw new Error('the database is down')
        if (failure === 'never settles') await new Promise(() => {})
        if (failure === 'returns nothing') return undefined as never
        return failure === null ? { sub: subject?.sub as string } : { user: 'ann' } as never
      }
    }
  })
  const ann = await connect(await accessToken())
  const token = await eventToken()
  for (failure of ['throws', 'never settles', 'returns nothing', 'returns no match'] as const) {
    const answer = await post(port, token)
    t.equal(answer.status, 503, failure)
    t.equal(answer.headers.get('retry-after'), '10')
  }
  const lines = linesIn(log, 'security event failed')
  t.ok(lines.length >= 1 && lines.length < 4, 'the log has one line a second')
  t.ok(await ann.isHeard())
  failure = null
  t.equal(await send(port, token), '202')
  t.equal((await ann.next()).startsWith('closed 3000'), true)

  const unknown = await startReceiver(t, { plugin: { verify: () => { throw new Error('the keys cannot be fetched') } } })
  t.equal(await send(unknown.port, await eventToken()), '503')
})

t.test('a jti counts once, on any instance, and its repetition is acknowledged', async (t) => {
  const backplane = memoryBackplane()
  let asked = 0
  const subject = (): { sid: string } => { asked++; return { sid: 'first' } }
  const [one, another] = [await startReceiver(t, { plugin: { backplane }, signals: { subject } }), await startReceiver(t, { plugin: { backplane }, signals: { subject } })]
  const token = await eventToken()
  t.equal(await send(one.port, token), '202')
  t.equal(await send(one.port, token), '202')
  t.equal(await send(another.port, token), '202')
  t.equal(asked, 1)
  t.equal(linesIn(another.log, 'security event was received before').length, 1)
  t.equal(await send(another.port, await eventToken({ iss: 'https://another.example' })), '400 invalid_issuer')

  const twice = await eventToken()
  t.same(await Promise.all(Array.from({ length: 20 }, async (_, i) => await send(i % 2 === 0 ? one.port : another.port, twice))), Array.from({ length: 20 }, () => '202'))
  t.equal(await send(one.port, await eventToken({ jti: 'other' })), '202')
})

t.test('a security event is no credential and no logout token', async (t) => {
  const { port, connect } = await startReceiver(t, {
    plugin: {
      jwt: { secret: (await jwtOptions()).secret, verify: { algorithms: ['RS256'], allowedIss: ISSUER, allowedAud: [API, RECEIVER] } },
      renewal: true,
      tickets: true,
      backChannelLogout: { path: '/backchannel-logout', issuer: ISSUER, audience: RECEIVER }
    }
  })
  const events = [{ [SESSION]: {} }, { 'urn:ietf:params:scim:event:create': { id: '1' } }, { [TYPES.verification]: {} }]
  for (const event of events) {
    for (const typ of ['secevent+jwt', 'at+jwt', undefined]) {
      const token = await signed(eventClaims({ events: event, sub: 'ann', exp: seconds(600) }), typ === undefined ? {} : { typ })
      t.equal(await refusalOf(port, token), 'WS_AUTH_TOKEN_INVALID', `${JSON.stringify(event)} ${typ}`)
      t.equal((await logOut(port, token)).status, 400, 'it logs nobody out at the other route')
      const response = await fetch(`http://127.0.0.1:${port}/ws-ticket`, { method: 'POST', headers: { authorization: `Bearer ${token}` } })
      t.equal(response.status, 401)
    }
  }
  const ann = await connect(await accessToken())
  t.match(await ann.renewByFrame(await eventToken({ sub: 'ann', exp: seconds(6000) })), { type: 'auth.error', code: 'WS_AUTH_TOKEN_INVALID' })
  t.equal(await refusalOf(port, await accessToken({ events: ['a concert'] })), 'none', 'another claim of that name is the app\'s')
  t.equal(await refusalOf(port, await accessToken({ events: { 'page:view': true } })), 'none')
})
