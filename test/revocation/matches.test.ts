/*
 * Revoking and disconnecting by a group, a key, an issuer, or all: where the `kid` of a token goes, which connections stay, and what the
 * log and the events say of the command.
 */
import { generateKeyPairSync, sign as signature } from 'node:crypto'
import t from 'tap'
import fastifyWsAuth, { memoryBackplane } from '../../lib/index'
import { prepare, sign, start } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { seconds } from '../helpers/keys'
import { upgrade } from '../helpers/raw-client'
import { eventually, hold, startChat } from '../helpers/renewal-app'
import { answerTo, authFrame, bearer, closeOf, REVOKED } from '../helpers/revoked'
import type { Claims } from '../helpers/revoked'

const CLAIMS = { sub: 'ann', iat: seconds(-10) }

/** A token by a key of this name. */
function by (kid: string | null, claims: Claims = CLAIMS): string {
  return sign(claims, undefined, kid === null ? {} : { kid })
}

t.test('a token by a revoked key is refused in every place that a token can have, and its connections are closed', async (t) => {
  const { app, port, connect } = await startChat(t, {
    plugin: { renewal: true, token: { message: true }, tickets: true, tokenCache: { max: 10, ttl: 60_000 } },
    routes: (app) => {
      app.get('/me', { onRequest: app.wsAuth.authenticate }, async () => 'fine')
      app.get('/ticketed', { websocket: true, wsAuth: { tickets: { require: true } } }, () => {})
    }
  })
  const [bad, good, none] = [by('k1'), by('k2'), by(null)]
  const ticketFor = async (token: string): Promise<string> => (await app.inject({ method: 'POST', url: '/ws-ticket', ...bearer(token) })).json<{ ticket: string }>().ticket
  const open = async (path: string): Promise<string> => {
    const { answer } = await upgrade(t, port, { path })
    return answer.status === 101 ? '101' : (JSON.parse(answer.body) as { code: string }).code
  }
  const first = await upgrade(t, port, { path: '/chat' })
  first.send(authFrame(bad))
  const renewed = await connect(none)
  t.equal((await renewed.renewByFrame(bad)).type, 'auth.ok')
  const left = await connect(bad)
  t.equal((await left.renewByFrame(good)).type, 'auth.ok')
  const opened = [await connect(bad), await connect(bad), renewed]
  t.equal(await open(`/chat?ticket=${await ticketFor(bad)}`), '101')
  t.equal(await open(`/chat?ticket=${(await app.wsAuth.issueTicket(CLAIMS, { kid: 'k1' })).ticket}`), '101')
  const stay = [left, await connect(good), await connect(none)]
  const tickets = [await ticketFor(bad), (await app.wsAuth.issueTicket(CLAIMS, { kid: 'k1' })).ticket]
  const required = await ticketFor(bad)
  const goodTickets = [await ticketFor(good), (await app.wsAuth.issueTicket(CLAIMS)).ticket]
  await eventually(() => app.wsAuth.connections.size === 9, 'all are open')

  t.equal((await app.wsAuth.revoke({ kid: 'k1' })).closed, 6)
  for (const chat of opened) t.strictSame(await closeOf(chat), REVOKED)
  for (const chat of stay) t.ok(await chat.isHeard())
  for (const ticket of tickets) t.equal(await open(`/chat?ticket=${ticket}`), 'WS_AUTH_TOKEN_REVOKED')
  for (const ticket of goodTickets) t.equal(await open(`/chat?ticket=${ticket}`), '101')
  const both = await upgrade(t, port, { path: `/ticketed?ticket=${required}`, ...bearer(good) })
  t.match(JSON.parse(both.answer.body), { code: 'WS_AUTH_TOKEN_REVOKED' }, 'a ticket that is needed beside a good token')
  t.equal(await answerTo(t, port, bad), '401 WS_AUTH_TOKEN_REVOKED', 'from the cache too')
  t.equal(await answerTo(t, port, by('k1', { sub: 'mallory', iat: seconds(30) })), '401 WS_AUTH_TOKEN_REVOKED', 'also a token of a later time')
  t.equal(await answerTo(t, port, by('k1 ')), '101')
  t.strictSame(await (await upgrade(t, port, { path: '/chat' })).send(authFrame(bad)).close(), REVOKED)
  t.equal((await (stay[1] as typeof left).renewByFrame(bad)).code, 'WS_AUTH_TOKEN_REVOKED')
  t.equal((await app.inject({ url: '/me', ...bearer(bad) })).json<{ code: string }>().code, 'WS_AUTH_TOKEN_REVOKED')
  t.equal((await app.inject({ url: '/me', ...bearer(good) })).body, 'fine')
  for (const kid of [5, true, {}, ['k1']]) await t.rejects(app.wsAuth.issueTicket(CLAIMS, { kid } as never), { name: 'TypeError', message: '"options.kid" must be a string' })
  const chosen = await app.inject({ method: 'POST', url: '/ws-ticket', ...bearer(good), payload: { kid: 'k2' } })
  t.equal(chosen.statusCode, 400, 'a client cannot choose it')
})

t.test('the kid behind a custom verify is that of the header, if the token is a JWT', async (t) => {
  const { app, port, connect } = await startChat(t, { plugin: { verify: (token) => ({ sub: token.slice(0, 10), kid: 'k1' }) } })
  const jwt = await connect(by('k1'))
  const payload = Buffer.from('{"kid":"k1"}').toString('base64url')
  const others = [by('k2'), 'opaque', `${payload}.x`, `${payload}.x.y.z`, `${payload}.x.y.z.a`, 'k1.k1.k1', '..', `.${payload}.`, `${Buffer.from('{"kid":5}').toString('base64url')}.x.y`, `${Buffer.from('["k1"]').toString('base64url')}.x.y`]
  const chats = []
  for (const token of others) chats.push(await connect(token))
  t.equal((await app.wsAuth.revoke({ kid: 'k1' })).closed, 1)
  t.strictSame(await closeOf(jwt), REVOKED)
  for (const chat of chats) t.ok(await chat.isHeard())
  for (const token of others) t.equal(await answerTo(t, port, token), '101', token)
  t.equal(await answerTo(t, port, `${payload}.x.y`), '401 WS_AUTH_TOKEN_REVOKED')
})

t.test('the holder of a leaked key cannot hide the kid from a revocation by the spelling of the header', async (t) => {
  const { createLocalJWKSet, jwtVerify } = await import('jose')
  const [leaked, good] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')]
  const keys = createLocalJWKSet({ keys: [{ ...leaked.publicKey.export({ format: 'jwk' }), kid: 'k1' }, { ...good.publicKey.export({ format: 'jwk' }), kid: 'k2' }] })
  const { app, port, connect } = await startChat(t, { plugin: { verify: async (token) => (await jwtVerify(token, keys)).payload } })
  const header = Buffer.from('{"alg":"EdDSA","kid":"k1"}')
  const spellings = {
    plain: header.toString('base64url'),
    padded: header.toString('base64'),
    'with a byte order mark': Buffer.concat([Buffer.from('\ufeff'), header]).toString('base64url')
  }
  t.ok(spellings.padded.endsWith('='))
  const tokens = Object.entries(spellings).map(([name, first]) => {
    const signed = `${first}.${Buffer.from(JSON.stringify(CLAIMS)).toString('base64url')}`
    return [name, `${signed}.${signature(null, Buffer.from(signed), leaked.privateKey).toString('base64url')}`] as const
  })
  const chats = await Promise.all(tokens.map(async ([, token]) => await connect(token)))
  t.equal((await app.wsAuth.revoke({ kid: 'k1' })).closed, chats.length, 'jose accepts each of them')
  for (const chat of chats) t.strictSame(await closeOf(chat), REVOKED)
  for (const [name, token] of tokens) t.equal(await answerTo(t, port, token), '401 WS_AUTH_TOKEN_REVOKED', name)
})

t.test('isRevoked counts the groups that the option reads, and the kid that it is given', async (t) => {
  const { app } = await prepare(t, { plugin: { groups: ({ team }) => { if (team === 'none') throw new Error('no team'); return team === undefined ? [] : [team] } } })
  await app.wsAuth.revoke({ group: 'red' })
  await app.wsAuth.revoke({ kid: 'k1' })
  await app.wsAuth.revoke({ iss: 'https://a.example' })
  const iat = seconds(-10)
  for (const [claims, options, expected] of [
    [{ team: 'red', iat }, undefined, true], [{ team: 'blue', iat }, undefined, false], [{ team: 'red', iat: seconds(60) }, undefined, false],
    [{ iat }, { kid: 'k1' }, true], [{ iat }, { kid: 'k2' }, false], [{ kid: 'k1', iat }, {}, false], [{ iat }, undefined, false], [{ iss: 'https://a.example', iat }, undefined, true]
  ] as Array<[object, { kid?: string } | undefined, boolean]>) t.equal(app.wsAuth.isRevoked(claims, options), expected, JSON.stringify([claims, options]))
  t.throws(() => app.wsAuth.isRevoked({ team: 'none' }), { message: 'no team' })
  t.throws(() => app.wsAuth.isRevoked({ team: 5 }), { name: 'TypeError', message: '"groups" option must return an array of strings' })
  t.throws(() => app.wsAuth.isRevoked({}, { kid: 5 } as never), { name: 'TypeError', message: '"options.kid" must be a string' })
  t.throws(() => app.wsAuth.isRevoked({}, 'k1' as never), { name: 'TypeError', message: '"options" must be an object' })
  t.throws(() => app.wsAuth.isRevoked({}, { kind: 'k1' } as never), { name: 'TypeError', message: '"options.kind" must be left out: there is no such option' })
  await app.wsAuth.revoke({ all: true })
  t.equal(app.wsAuth.isRevoked({ iat }), true)
  t.equal(app.wsAuth.isRevoked({ iat: seconds(60) }), false)
})

t.test('a group cannot be revoked or disconnected without the option that reads groups', async (t) => {
  const { app } = await prepare(t)
  const message = '"match.group" needs the "groups" option, which reads the groups of a token'
  await t.rejects(app.wsAuth.revoke({ group: 'red' }), { name: 'TypeError', message })
  await t.rejects(app.wsAuth.disconnect({ group: 'red' }), { name: 'TypeError', message })
})

t.test('a renewal moves a connection from its groups to those of the new token', async (t) => {
  const { app, connect } = await startChat(t, { plugin: { groups: ({ teams }) => teams } })
  const chat = await connect(sign({ ...CLAIMS, teams: ['red', 'blue'] }))
  await chat.connection.renew(sign({ ...CLAIMS, teams: ['blue', 'green'] }))
  t.equal((await app.wsAuth.revoke({ group: 'red' })).closed, 0)
  await t.rejects(chat.connection.renew(sign({ ...CLAIMS, teams: ['red'] })), { code: 'WS_AUTH_TOKEN_REVOKED' })
  t.equal((await app.wsAuth.revoke({ group: 'green' })).closed, 1)
  t.strictSame(await closeOf(chat), REVOKED)
})

t.test('a handshake and a renewal that are under way are refused by a revocation of each kind', async (t) => {
  for (const match of [{ group: 'red' }, { kid: 'k1' }, { iss: 'https://a.example' }, { all: true }] as fastifyWsAuth.RevokeMatch[]) {
    const held = hold()
    let asked = 0
    const { app, port, connect } = await startChat(t, { plugin: { groups: ({ team }) => team === undefined ? [] : [team] }, wsAuth: { authorize: async () => { if (++asked > 1) await held.wait(); return true } } })
    const later = { sub: 'ann', iss: 'https://a.example', iat: seconds(40) }
    const chat = await connect(by('k2', later))
    const token = by('k1', { ...later, iat: seconds(-10), team: 'red' })
    const answer = answerTo(t, port, token)
    const renewal = chat.connection.renew(by('k1', { ...later, team: 'red' })).then(() => 'renewed', ({ code }) => String(code))
    await eventually(() => asked === 3, 'both are under way')
    t.equal((await app.wsAuth.revoke({ ...match, beforeAt: seconds(match.kid === undefined ? 3 : 45) * 1000 } as never)).closed, 0)
    held.release()
    const name = JSON.stringify(match)
    t.equal(await renewal, match.kid === undefined ? 'renewed' : 'WS_AUTH_TOKEN_REVOKED', `${name}: a renewal`)
    t.equal(await answer, '101', 'it is accepted and closed at once')
    await eventually(() => app.wsAuth.stats().closed.token_revoked === 1, name)
    t.ok(await chat.isHeard())
  }
})

t.test('by, why and match are in the events and lines of each instance that closes, and in no close frame', async (t) => {
  const backplane = memoryBackplane()
  const apps = [await startChat(t, { plugin: { backplane } }), await startChat(t, { plugin: { backplane } })]
  const events: fastifyWsAuth.WsAuthEvent[] = []
  onDecision(t, (event) => events.push(event))
  const why = 'reported by ann\nin ticket 7'
  type Command = (app: typeof apps[0]['app']) => Promise<fastifyWsAuth.CommandResult>
  const commands: Array<[Command, match: object, reason: string, notes: object]> = [
    [async ({ wsAuth }) => await wsAuth.revoke({ sub: 'ann', beforeAt: Date.now() - 1000 }, { by: 'an admin', why }), { sub: 'ann' }, 'token_revoked', { by: 'an admin', why }],
    [async ({ wsAuth }) => await wsAuth.disconnect({ all: true }, { by: 'cron' }), { all: true }, 'disconnected', { by: 'cron', why: null }],
    [async ({ wsAuth }) => await wsAuth.disconnect({ kid: 'k1' }, { why: '' }), { kid: 'k1' }, 'disconnected', { by: null, why: '' }],
    [async ({ wsAuth }) => await wsAuth.disconnect({ kid: 'k1' }), { kid: 'k1' }, 'disconnected', { by: null, why: null }]
  ]
  for (const [i, [run, match, reason, notes]] of commands.entries()) {
    const chats = await Promise.all(apps.map(async ({ connect }) => await connect(by('k1', { sub: 'ann', iat: seconds(-10 + 20 * i) }))))
    events.length = 0
    for (const { log } of apps) log.length = 0
    t.equal((await run((apps[i % 2] as typeof apps[0]).app)).closed, 2)
    t.match(await Promise.all(chats.map(async (chat) => (await closeOf(chat)).reason)), [reason, reason])
    t.strictSame(events.map(({ event, reason, match, by, why }) => ({ event, reason, match, by, why })), [0, 1].map(() => ({ event: 'closed', reason, match, ...notes })))
    const lines = apps.map(({ log }) => log.map((line) => JSON.parse(line) as Record<string, unknown>))
    for (const told of lines) t.match(told.filter((line) => line.reason === reason), [{ match, ...notes }])
    t.match(lines.flat().filter(({ command }) => command !== undefined), [{ match, ...notes, closed: 2 }])
  }
  const chat = await (apps[0] as typeof apps[0]).connect(by('k1', { sub: 'eve' }))
  events.length = 0
  chat.connection.close()
  t.match(events, [{ event: 'closed', reason: 'app', match: null, by: null, why: null }])
})

t.test('the log says of a refused token by what it was revoked', async (t) => {
  const { app, port, log } = await start(t, { plugin: { groups: () => ['red'] }, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  const expected: Array<[match: fastifyWsAuth.RevokeMatch, why: string]> = [
    [{ all: true }, 'all tokens that were issued until then were revoked'], [{ iss: 'https://a.example' }, 'its iss was revoked, for tokens that were issued until then'],
    [{ kid: 'k1' }, 'the kid in its header was revoked'], [{ sub: 'ann' }, 'its sub was revoked, for tokens that were issued until then'],
    [{ sid: 's1' }, 'its sid was revoked'], [{ jti: 'j1' }, 'its jti was revoked']
  ]
  for (const [match, why] of expected) {
    await app.wsAuth.revoke(match)
    log.length = 0
    t.equal(await answerTo(t, port, by('k1', { ...CLAIMS, jti: 'j1', sid: 's1', iss: 'https://a.example' })), '401 WS_AUTH_TOKEN_REVOKED')
    t.ok(log.some((line) => (JSON.parse(line) as { why?: string }).why === why), why)
  }
})
