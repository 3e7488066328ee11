/*
 * Which security events are accepted, and which connections they close.
 */
import t from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { sign } from '../helpers/app'
import { seconds } from '../helpers/keys'
import { isClosed, memoryBackplane, refusalOf } from '../helpers/logout-chat'
import { accessToken, eventClaims, eventToken, fetchedOptions, ISSUER, linesIn, pemOf, post, REVOKED, send, signed, startReceiver, TYPES } from '../helpers/signals-chat'
import type { Claims } from '../helpers/signals-chat'

const OTHER = 'https://schemas.openid.net/secevent/caep/event-type/device-compliance-change'

t.test('each event that revokes closes the connections of its user, and of no other', async (t) => {
  for (const type of ['session-revoked', 'credential-change', 'account-disabled', 'account-purged'] as const) {
    const { port, connect } = await startReceiver(t)
    const ann = await connect(await accessToken())
    const bea = await connect(await accessToken({ sub: 'bea' }))
    const answer = await post(port, await eventToken({ events: { [TYPES[type]]: { initiating_entity: 'admin', reason_admin: { en: 'test' } } } }))
    t.match(answer, { status: 202, body: '' }, type)
    t.equal(answer.headers.get('cache-control'), 'no-store')
    t.same(await isClosed(ann), REVOKED, type)
    t.ok(await bea.isHeard())
    t.equal(await refusalOf(port, await accessToken()), 'WS_AUTH_TOKEN_REVOKED', 'the token is refused from then on')
  }
})

t.test('the subject may be a claim of the token or a member of the event', async (t) => {
  const subject = { format: 'iss_sub', iss: ISSUER, sub: 'ann' }
  for (const claims of [{ sub_id: subject }, { sub_id: undefined, events: { [TYPES['account-disabled']]: { subject } } }, { sub_id: undefined, events: { [TYPES['account-disabled']]: { sub_id: subject } } }]) {
    const { port, connect } = await startReceiver(t)
    const ann = await connect(await accessToken())
    t.equal(await send(port, await eventToken(claims)), '202')
    t.same(await isClosed(ann), REVOKED)
  }
})

t.test('an event revokes the tokens that were issued until it happened, however late it comes', async (t) => {
  const at = seconds(-300)
  const times: Record<string, [Claims, Claims]> = {
    'its event_timestamp': [{ toe: at + 100 }, { event_timestamp: at }],
    'its event_timestamp in milliseconds': [{}, { event_timestamp: at * 1000 }],
    'its toe': [{ toe: at }, {}],
    'its iat': [{ iat: at }, {}],
    'its iat, if the event is said to come after it': [{ iat: at, toe: at + 200 }, { event_timestamp: seconds(86_400) }],
    'its iat, if the event_timestamp is a text': [{ iat: at }, { event_timestamp: 'yesterday' }],
    'its toe with a fraction': [{ toe: at + 0.9 }, {}],
    'its toe in milliseconds': [{ toe: at * 1000 + 900 }, {}],
    'its iat with a fraction': [{ iat: at + 0.9 }, {}],
    'its iat, if the toe is negative, null, or far ahead': [{ iat: at, toe: -at }, { event_timestamp: null }],
    'its iat, if the event_timestamp is in nanoseconds': [{ iat: at }, { event_timestamp: at * 1e9 }],
    'its iat, if the event_timestamp is the highest number': [{ iat: at, toe: 0 }, { event_timestamp: Number.MAX_VALUE }]
  }
  for (const [name, [claims, payload]] of Object.entries(times)) {
    const { port, connect } = await startReceiver(t)
    const before = await connect(await accessToken({ iat: at }))
    const after = await connect(await accessToken({ iat: at + 1 }))
    t.equal(await send(port, await eventToken(claims, payload)), '202', name)
    t.same(await isClosed(before), REVOKED, name)
    t.ok(await after.isHeard(), `${name}: a login after the event stays`)
    t.equal(await send(port, await eventToken({ iat: at - 3600 })), '202')
    t.equal(await refusalOf(port, await accessToken({ iat: at })), 'WS_AUTH_TOKEN_REVOKED', `${name}: an earlier event that comes later undoes nothing`)
    t.ok(await after.isHeard())
  }
})

t.test('an event that is older than maxAge counts, because maxAge is about access tokens', async (t) => {
  const { port, connect } = await startReceiver(t)
  const ann = await connect(await accessToken({ iat: seconds(-3500) }))
  t.equal(await send(port, await eventToken({ iat: seconds(-3400), toe: seconds(-7200) })), '202')
  t.ok(await ann.isHeard())
  t.equal(await send(port, await eventToken({ iat: seconds(-7200) })), '202')
  t.ok(await ann.isHeard())
  t.equal(await send(port, await eventToken({ iat: seconds(30) })), '202', 'the clock of the transmitter may be ahead by less than a minute')
  t.same(await isClosed(ann), REVOKED)
})

t.test('several events of one token are applied, and those of other types are ignored', async (t) => {
  const seen: string[] = []
  const { port, connect, log } = await startReceiver(t, { signals: { subject: (_subject, { name, payload }) => { seen.push(name); return { sub: String(payload.who) } } } })
  const [ann, bea, cyd] = [await connect(await accessToken()), await connect(await accessToken({ sub: 'bea' })), await connect(await accessToken({ sub: 'cyd' }))]
  t.equal(await send(port, await eventToken({ events: { [TYPES['session-revoked']]: { who: 'ann' }, [OTHER]: { who: 'cyd' }, [TYPES['account-purged']]: { who: 'bea' } } })), '202')
  t.same([await isClosed(ann), await isClosed(bea)], [REVOKED, REVOKED])
  t.ok(await cyd.isHeard())
  t.same(seen, ['session-revoked', 'account-purged'])
  t.match(linesIn(log, 'security event ignored: its type is unknown'), [{ level: 30, type: OTHER }])
})

t.test('a verification event is accepted, with and without a state', async (t) => {
  const { port, connect, log } = await startReceiver(t)
  const ann = await connect(await accessToken())
  for (const family of ['ssf', 'sse', 'risc']) {
    const type = `https://schemas.openid.net/secevent/${family}/event-type/verification`
    t.equal(await send(port, await eventToken({ sub_id: { format: 'opaque', id: 'stream' }, events: { [type]: { state: 'VGhpcw' } } })), '202', family)
    t.equal(await send(port, await eventToken({ sub_id: undefined, events: { [type]: {} } })), '202', family)
  }
  t.equal(linesIn(log, 'the transmitter of security events tries this receiver').length, 6)
  t.ok(await ann.isHeard())
})

t.test('by default only an iss_sub of the issuer is about a user', async (t) => {
  const { port, connect, log } = await startReceiver(t)
  const ann = await connect(await accessToken())
  const subjects = [
    { format: 'iss_sub', iss: 'https://another.example', sub: 'ann' }, { format: 'iss_sub', iss: ISSUER }, { format: 'iss_sub', iss: ISSUER, sub: '' }, { format: 'opaque', id: 'ann', sub: 'ann', iss: ISSUER },
    { format: 'email', email: 'ann@chat.example' }, { subject_type: 'iss-sub', iss: ISSUER, sub: 'ann' },
    { format: 'complex', user: { format: 'iss_sub', iss: ISSUER, sub: 'ann' } }, null
  ]
  for (const subject of subjects) t.equal(await send(port, await eventToken({ sub_id: subject })), '202', JSON.stringify(subject))
  t.equal(linesIn(log, 'security event is about no token of this app').length, subjects.length)
  t.ok(await ann.isHeard())
  t.equal(await send(port, await eventToken()), '202')
  t.same(await isClosed(ann), REVOKED)
})

t.test('the option subject of signals reads any subject, and may match anything that revoke does', async (t) => {
  const subject: NonNullable<Exclude<fastifyWsAuth.WsAuthOptions['signals'], false | undefined>['subject']> = async (subject, event) => {
    t.type(event.at, 'number')
    t.equal(event.claims.iss, ISSUER)
    if (subject?.format === 'complex') return subject.session?.id === undefined ? null : { sid: subject.session.id }
    if (subject?.format === 'email') return { sub: String(subject.email).split('@')[0] as string }
    if (subject?.uri === 'urn:tenant') return { group: subject.id as string }
    return subject?.id === undefined ? null : { jti: subject.id }
  }
  const cases: Array<[object, Claims]> = [
    [{ format: 'complex', user: { format: 'iss_sub', iss: ISSUER, sub: 'ann' }, session: { format: 'opaque', id: 'first' }, tenant: { format: 'opaque', id: 't' } }, { sid: 'second' }],
    [{ format: 'email', email: 'ann@chat.example' }, { sub: 'bea' }],
    [{ format: 'opaque', id: 'token 1' }, { jti: 'token 2' }],
    [{ format: 'opaque', id: 'acme', uri: 'urn:tenant' }, { tenant: 'beta' }]
  ]
  for (const [subId, other] of cases) {
    const { port, connect } = await startReceiver(t, { signals: { subject }, plugin: { groups: ({ tenant }) => [String(tenant)] } })
    const gone = await connect(await accessToken({ jti: 'token 1', tenant: 'acme' }))
    const stays = await connect(await accessToken({ jti: 'token 3', ...other }))
    t.equal(await send(port, await eventToken({ sub_id: { format: 'complex', user: { format: 'opaque', id: 'first' } } })), '202')
    t.ok(await gone.isHeard(), 'null is no match')
    t.equal(await send(port, await eventToken({ sub_id: subId })), '202')
    t.same(await isClosed(gone), REVOKED)
    t.ok(await stays.isHeard())
  }
})

t.test('a match has the time of the event also if its beforeAt is undefined', async (t) => {
  const { port, connect } = await startReceiver(t, { signals: { subject: (_subject, { payload }) => ({ sub: 'ann', beforeAt: payload.until as undefined }) } })
  const [before, after] = [await connect(await accessToken({ iat: seconds(-300) })), await connect(await accessToken({ iat: seconds(-100) }))]
  t.equal(await send(port, await eventToken({ iat: seconds(-200) })), '202')
  t.same(await isClosed(before), REVOKED)
  t.ok(await after.isHeard())
})

t.test('the subject option of the plugin reads the user of an event as that of a token', async (t) => {
  const { port, connect } = await startReceiver(t, { plugin: { subject: ({ iss, sub }) => `${String(iss)} ${String(sub)}` } })
  const ann = await connect(await accessToken())
  t.equal(ann.connection.sub, `${ISSUER} ann`)
  t.equal(await send(port, await eventToken()), '202')
  t.same(await isClosed(ann), REVOKED)
})

t.test('events are verified with keys that are fetched, with those of an @fastify/jwt of the app, and by verify', async (t) => {
  const byVerify: NonNullable<fastifyWsAuth.WsAuthOptions['verify']> = async (token) => {
    const { createLocalJWKSet, exportJWK, importSPKI, jwtVerify } = await import('jose')
    const keys = createLocalJWKSet({ keys: [{ ...await exportJWK(await importSPKI(await pemOf('RS256'), 'RS256', { extractable: true })), kid: 'RS256', alg: 'RS256' }] })
    return (await jwtVerify(token, keys)).payload
  }
  const settings: Record<string, [Parameters<typeof startReceiver>[1], 'RS256' | 'ES256']> = {
    'fetched keys, RS256': [{ plugin: { jwt: await fetchedOptions() } }, 'RS256'],
    'fetched keys, ES256': [{ plugin: { jwt: await fetchedOptions() } }, 'ES256'],
    verify: [{ plugin: { verify: byVerify } }, 'RS256'],
    'formatUser and trusted': [{ plugin: { jwt: { ...await fetchedOptions(), formatUser: ({ sub }: { sub?: string }) => ({ id: (sub as string).toUpperCase() }), trusted: () => true } as never } }, 'ES256']
  }
  for (const [name, [options, algorithm]] of Object.entries(settings)) {
    const { port, connect } = await startReceiver(t, options)
    const ann = await connect(await accessToken())
    t.equal(await send(port, await signed(eventClaims(), { typ: 'secevent+jwt' }, algorithm, true)), '400 authentication_failed', name)
    t.equal(await send(port, await signed(eventClaims(), { typ: 'secevent+jwt', kid: 'another' }, algorithm)), '400 invalid_key', name)
    t.ok(await ann.isHeard())
    t.equal(await send(port, await eventToken({}, {}, {}, algorithm)), '202', name)
    t.same(await isClosed(ann), REVOKED, name)
  }
})

t.test('an event is accepted with each spelling of its type, and over instances its revocation holds', async (t) => {
  const backplane = memoryBackplane()
  const [one, another] = [await startReceiver(t, { plugin: { backplane } }), await startReceiver(t, { plugin: { backplane } })]
  const ann = await another.connect(await accessToken())
  for (const typ of ['application/secevent+jwt', 'SecEvent+JWT', 'secevent+jwt']) t.equal(await send(one.port, await eventToken({}, {}, { typ })), '202', typ)
  t.same(await isClosed(ann), REVOKED)
  t.equal(await refusalOf(another.port, await accessToken()), 'WS_AUTH_TOKEN_REVOKED')
  t.equal(await refusalOf(one.port, sign({ sub: 'ann' })), 'WS_AUTH_TOKEN_INVALID')
})
