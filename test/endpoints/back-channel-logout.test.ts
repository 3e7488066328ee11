/*
 * OpenID Connect Back-Channel Logout 1.0: with a real provider, and with logout tokens that no provider makes. Of each it
 * is asked what the provider is answered and who is still connected.
 */
import { createHmac, createPublicKey, KeyObject, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TokenOrHeader } from '@fastify/jwt'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { redisBackplane } from '../../lib/backplane/redis/index'
import { prepare, until } from '../helpers/app'
import { base64url, keys, mint, seconds } from '../helpers/keys'
import { AUDIENCE, startProvider } from '../helpers/provider'
import type { Login, OpenIdProvider, ProviderClient } from '../helpers/provider'
import { plainText, RawClient, upgrade } from '../helpers/raw-client'
import { reasonToSkip, startRedis } from '../helpers/redis'
import { eventually, hold, moveClock, startChat, turn } from '../helpers/renewal-app'
import type { Chat, ChatApp, ChatSettings } from '../helpers/renewal-app'

const PATH = '/backchannel-logout'
const ISSUER = 'https://issuer.example'
const CLIENT = 'client'
const EVENT = 'http://schemas.openid.net/event/backchannel-logout'
const OTHER_EVENT = 'http://schemas.openid.net/secevent/caep/event-type/session-revoked'
const FORM = 'application/x-www-form-urlencoded'
const { memoryBackplane } = fastifyWsAuth
const { public: publicKey, private: privateKey } = keys.RS256

/** How a logout is answered. */
const LOGGED_OUT = { status: 200, body: '', cacheControl: 'no-store' }
const INVALID = { status: 400, body: '{"error":"invalid_request"}', cacheControl: 'no-store' }
const TRY_AGAIN = { status: 400, body: '{"error":"temporarily_unavailable"}', cacheControl: 'no-store' }
const REVOKED = { code: 3000, reason: 'token_revoked' }

type Claims = Record<string, unknown>
type Plugin = fastifyWsAuth.WsAuthOptions
type Answer = typeof LOGGED_OUT

/** The claims of a good logout token. What is `undefined` is left out. */
function logoutClaims (claims: Claims = {}): Claims {
  const jti = randomBytes(8).toString('hex')
  return { iss: ISSUER, aud: CLIENT, iat: seconds(), exp: seconds(120), jti, sub: 'ann', sid: 'first', events: { [EVENT]: {} }, ...claims }
}

/** A good logout token, but for what is given. */
function logoutToken (claims: Claims = {}, header: Claims = {}): string {
  return mint(logoutClaims(claims), { typ: 'logout+jwt', ...header }, 'RS256')
}

/** An access token of Ann's first login, but for what is given; from a minute ago. */
function accessToken (claims: Claims = {}): string {
  return mint({ iss: ISSUER, aud: AUDIENCE, iat: seconds(-60), exp: seconds(600), sub: 'ann', sid: 'first', ...claims }, { typ: 'at+jwt' }, 'RS256')
}

const JWT: NonNullable<Plugin['jwt']> = {
  secret: { public: publicKey, private: privateKey },
  verify: { algorithms: ['RS256'], allowedIss: ISSUER, allowedAud: [AUDIENCE, CLIENT] }
}
const LOGOUT = { path: PATH, issuer: ISSUER, audience: CLIENT }

interface LogoutSettings extends ChatSettings {
  logout?: Partial<NonNullable<Exclude<Plugin['backChannelLogout'], false>>>
}

/** A chat of an issuer whose key is known. */
async function startClient (t: Test, { plugin, logout, ...settings }: LogoutSettings = {}): Promise<ChatApp> {
  return await startChat(t, { ...settings, plugin: { ...plugin?.verify === undefined ? { jwt: JWT } : {}, backChannelLogout: { ...LOGOUT, ...logout }, ...plugin } })
}

async function post (port: number, body: RequestInit['body'], contentType: string | null = FORM, path = PATH): Promise<Answer> {
  const headers: Record<string, string> = contentType === null ? {} : { 'content-type': contentType }
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST', body, headers })
  return { status: response.status, body: await response.text(), cacheControl: response.headers.get('cache-control') ?? '' }
}

async function logOut (port: number, token: string): Promise<Answer> {
  return await post(port, new URLSearchParams({ logout_token: token }).toString())
}

async function isClosed ({ closed }: Chat): Promise<Chat['closed']> {
  await eventually(() => closed.code !== null, 'the connection is closed')
  return closed
}

/** Why something was refused, as the log says it. */
function reasonsIn (log: readonly string[]): string[] {
  return log.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'back-channel logout refused').map(({ why }) => why)
}

/** How many lines of the log say something. */
function countIn (log: readonly string[], text: string): number {
  return log.filter((line) => line.includes(text)).length
}

async function refusalOf (port: number, token: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/chat`, { headers: { authorization: `Bearer ${token}` } })
  return response.status === 426 ? 'none' : (await response.json() as { code: string }).code
}

/** The options of the README for an issuer with a JWKS. */
async function jwksOptions ({ issuer, jwksUri }: Pick<OpenIdProvider, 'issuer' | 'jwksUri'>): Promise<NonNullable<Plugin['jwt']>> {
  const { createRemoteJWKSet } = await import('jose')
  const jwks = createRemoteJWKSet(new URL(jwksUri))
  return {
    secret: async (_request: FastifyRequest, token: TokenOrHeader) => KeyObject.from(await jwks(headerOf(token))).export({ type: 'spki', format: 'pem' }),
    decode: { complete: true },
    verify: { algorithms: ['RS256', 'ES256'], allowedIss: issuer, allowedAud: [AUDIENCE, CLIENT] }
  }
}

function headerOf (token: TokenOrHeader): { alg: string, kid?: string } {
  const { alg, kid } = 'header' in token ? token.header as { alg: string, kid?: string } : token
  return { alg, kid }
}

interface Fleet {
  readonly provider: OpenIdProvider
  readonly apps: readonly [ChatApp, ChatApp]
}

/** A provider, and two instances of which it knows the first. */
async function startFleet (t: Test, backplanes: () => fastifyWsAuth.Backplane, client: Partial<ProviderClient> = {}, match: 'sid' | 'sub' = 'sid'): Promise<Fleet> {
  const provider = await startProvider(t)
  const startOne = async (): Promise<ChatApp> => await startChat(t, {
    plugin: { jwt: await jwksOptions(provider), backplane: backplanes(), backChannelLogout: { path: PATH, issuer: provider.issuer, audience: CLIENT, match } }
  })
  const apps = [await startOne(), await startOne()] as const
  await provider.open([{ id: CLIENT, logoutUri: `http://127.0.0.1:${apps[0].port}${PATH}`, ...client }])
  return { provider, apps }
}

function shared (): () => fastifyWsAuth.Backplane {
  const backplane = memoryBackplane()
  return () => backplane
}

async function connectBoth ({ apps }: Fleet, { accessToken }: Login): Promise<Chat[]> {
  return [await apps[0].connect(accessToken), await apps[1].connect(accessToken)]
}

/** Who logs out at the provider is logged out on both instances, and nobody else. */
async function testLogout (t: Test, fleet: Fleet): Promise<void> {
  const { provider, apps } = fleet
  const first = await provider.logIn('ann', CLIENT, 'RS256')
  const sameLogin = await first.enter(CLIENT, 'ES256')
  const second = await provider.logIn('ann', CLIENT, 'ES256')
  const other = await provider.logIn('bea', CLIENT, 'RS256')
  t.match([first, sameLogin, second].map(({ claims }) => claims), [{ sid: /./ }, { sid: first.claims.sid as string }, { sid: /./ }])
  t.not(second.claims.sid, first.claims.sid, 'another login has another sid')
  const gone = [...await connectBoth(fleet, first), ...await connectBoth(fleet, sameLogin)]
  const staying = [...await connectBoth(fleet, second), ...await connectBoth(fleet, other)]

  await first.logOut()
  t.same(provider.outcomes, ['success'])
  for (const chat of gone) t.same(await isClosed(chat), REVOKED)
  for (const { port } of apps) {
    t.equal(await refusalOf(port, first.accessToken), 'WS_AUTH_TOKEN_REVOKED')
    t.equal(await refusalOf(port, sameLogin.accessToken), 'WS_AUTH_TOKEN_REVOKED')
    t.equal(await refusalOf(port, second.accessToken), 'none')
  }
  for (const chat of staying) t.ok(await chat.isHeard(), `${String(chat.connection.sub)} stays`)
  t.same(apps.map(({ app }) => app.wsAuth.stats().connections), [2, 2])

  const again = await first.enter(CLIENT)
  t.equal(await refusalOf(apps[1].port, again.accessToken), 'none', 'she can log in again at once')
}

t.test('with a real provider', async (t) => {
  t.test('a logout there closes the connections of that login on all instances', async (t) => {
    await testLogout(t, await startFleet(t, shared()))
  })

  t.test('the same where its logout tokens are ES256', async (t) => {
    await testLogout(t, await startFleet(t, shared(), { algorithm: 'ES256' }))
  })

  t.test('the same by Redis', { skip: reasonToSkip() }, async (t) => {
    const redis = await startRedis(t)
    await testLogout(t, await startFleet(t, () => redisBackplane({ client: redis.client() })))
  })

  for (const [name, client, match] of [
    ['whose logout tokens have no sid', { wantsSid: false }, 'sid'],
    ['whose access tokens have no sid, with match \'sub\'', { hasSid: false }, 'sub']
  ] as const) {
    t.test(`a logout at one ${name} closes all connections of the user`, async (t) => {
      const fleet = await startFleet(t, shared(), client, match)
      const logins = [await fleet.provider.logIn('ann', CLIENT, 'RS256'), await fleet.provider.logIn('ann', CLIENT, 'ES256')] as const
      const other = await connectBoth(fleet, await fleet.provider.logIn('bea', CLIENT))
      t.same(logins.map(({ claims }) => claims.sid), [undefined, undefined])
      const gone = [...await connectBoth(fleet, logins[0]), ...await connectBoth(fleet, logins[1])]
      await logins[0].logOut()
      t.same(fleet.provider.outcomes, ['success'])
      for (const chat of gone) t.same(await isClosed(chat), REVOKED)
      t.equal(await refusalOf(fleet.apps[1].port, logins[1].accessToken), 'WS_AUTH_TOKEN_REVOKED')
      for (const chat of other) t.ok(await chat.isHeard())
    })
  }

  t.test('one whose access tokens have no sid is told 200 and nobody is logged out, unless match is \'sub\'', async (t) => {
    const fleet = await startFleet(t, shared(), { hasSid: false })
    const login = await fleet.provider.logIn('ann', CLIENT)
    const chats = await connectBoth(fleet, login)
    await login.logOut()
    t.same(fleet.provider.outcomes, ['success'])
    for (const chat of chats) t.ok(await chat.isHeard())
  })

  t.test('one that finds the app without its keys learns that the logout has failed', async (t) => {
    const fleet = await startFleet(t, shared())
    const login = await fleet.provider.logIn('ann', CLIENT)
    const [chat] = await connectBoth(fleet, login)
    await fleet.apps[0].app.close()
    await login.logOut()
    t.match(fleet.provider.outcomes, [/fetch failed|503/])
    t.equal((await isClosed(chat as Chat)).code, 1001)
  })

  t.test('its ID tokens, which are for the client id too, can be told from access tokens by a schema that asks nothing of logout tokens', async (t) => {
    const provider = await startProvider(t)
    const { app, port, connect } = await startChat(t, {
      plugin: {
        jwt: await jwksOptions(provider),
        claims: { type: 'object', required: ['aud'], properties: { aud: { const: AUDIENCE } } },
        backChannelLogout: { path: PATH, issuer: provider.issuer, audience: CLIENT }
      }
    })
    await provider.open([{ id: CLIENT, logoutUri: `http://127.0.0.1:${port}${PATH}` }])
    const login = await provider.logIn('ann', CLIENT)
    const chat = await connect(login.accessToken)
    t.equal(await refusalOf(port, login.idToken), 'WS_AUTH_TOKEN_INVALID')
    t.same(await logOut(port, login.idToken), INVALID, 'nor is one a logout token')
    t.same(await logOut(port, login.accessToken), INVALID)
    t.equal(app.wsAuth.stats().connections, 1)
    await login.logOut()
    t.same(await isClosed(chat), REVOKED)
  })
})

const LONG_AGO = seconds(-3600)
const NO_EVENTS = 'its events are not those of a logout'
const OTHER_ISS = /another iss|no iss|iss claim/
const OTHER_AUD = /another aud|no aud|aud claim/
const NEITHER = 'it has neither a sub nor a sid'

/** What is wrong with the claims, and how the log says it. */
const WRONG_CLAIMS: Record<string, [Claims, string | RegExp]> = {
  'no events': [{ events: undefined }, NO_EVENTS],
  'events null': [{ events: null }, NO_EVENTS],
  'events that are the text of the type': [{ events: EVENT }, NO_EVENTS],
  'events that are a list': [{ events: [EVENT] }, NO_EVENTS],
  'events that are empty': [{ events: {} }, NO_EVENTS],
  'an event of another type': [{ events: { [OTHER_EVENT]: {} } }, NO_EVENTS],
  'an event whose type has a slash more': [{ events: { [`${EVENT}/`]: {} } }, NO_EVENTS],
  'an event that is null': [{ events: { [EVENT]: null } }, NO_EVENTS],
  'an event that is true': [{ events: { [EVENT]: true } }, NO_EVENTS],
  'an event that is a text': [{ events: { [EVENT]: '{}' } }, NO_EVENTS],
  'an event that is a list': [{ events: { [EVENT]: [] } }, NO_EVENTS],
  'a nonce': [{ nonce: 'n-0S6_WzA2Mj' }, 'it has a nonce'],
  'a nonce that is empty': [{ nonce: '' }, 'it has a nonce'],
  'a nonce that is null': [{ nonce: null }, 'it has a nonce'],
  'no iss': [{ iss: undefined }, OTHER_ISS],
  'another iss': [{ iss: 'https://other.example' }, OTHER_ISS],
  'an iss with a slash more': [{ iss: `${ISSUER}/` }, OTHER_ISS],
  'an iss in capitals': [{ iss: ISSUER.toUpperCase() }, OTHER_ISS],
  'an iss that is a list': [{ iss: [ISSUER] }, OTHER_ISS],
  'no aud': [{ aud: undefined }, OTHER_AUD],
  'an aud that is null': [{ aud: null }, OTHER_AUD],
  'another aud': [{ aud: 'another client' }, OTHER_AUD],
  'other auds': [{ aud: ['another', 'client too'] }, OTHER_AUD],
  'an aud that is an empty list': [{ aud: [] }, OTHER_AUD],
  'an aud within a list within a list': [{ aud: [[CLIENT]] }, OTHER_AUD],
  'no iat': [{ iat: undefined }, 'it has no iat'],
  'an iat that is a text': [{ iat: String(seconds()) }, /iat/],
  'an iat that is null': [{ iat: null }, /iat/],
  'an iat in an hour': [{ iat: seconds(3600), exp: seconds(3720) }, /future|iat/],
  'no jti': [{ jti: undefined }, 'it has no jti'],
  'a jti that is empty': [{ jti: '' }, 'it has no jti'],
  'a jti that is null': [{ jti: null }, 'it has no jti'],
  'a jti that is a number': [{ jti: 17 }, 'it has no jti'],
  'a jti that is a list': [{ jti: ['a'] }, /^its jti is neither a string nor a safe integer/],
  'neither a sub nor a sid': [{ sub: undefined, sid: undefined }, NEITHER],
  'a sub and a sid that are empty': [{ sub: '', sid: '' }, NEITHER],
  'a sid that is empty alone': [{ sub: undefined, sid: '' }, NEITHER],
  'a sub that is empty alone': [{ sub: '', sid: undefined }, NEITHER],
  'a sid that is an object alone': [{ sub: undefined, sid: { first: 'first' } }, /^its sid is neither a string nor a safe integer/],
  'a sid that is a list alone': [{ sub: undefined, sid: ['first'] }, /^its sid is neither a string nor a safe integer/],
  'a sub that is a number': [{ sub: 17 }, /sub/],
  'a sub that is null': [{ sub: null }, /sub/],
  'a sub that is a list': [{ sub: ['ann'] }, /sub/],
  'an exp in the past': [{ iat: LONG_AGO, exp: seconds(-1) }, /^its exp has passed/],
  'an exp that is a text': [{ exp: String(seconds(120)) }, /exp/],
  'an exp that is null': [{ exp: null }, /exp/],
  'no exp, and an iat of six minutes ago': [{ exp: undefined, iat: seconds(-360) }, 'it was issued too long ago'],
  'an iat before all time and no exp': [{ exp: undefined, iat: -1e300 }, /./],
  'an nbf in the future': [{ nbf: seconds(3600) }, /nbf|valid|active/i]
}

/** Tokens that are none of the provider's. */
const WRONG_TOKENS: Record<string, () => string> = {
  'alg none, without a signature': () => `${base64url('{"alg":"none"}')}.${base64url(JSON.stringify(logoutClaims()))}.`,
  'alg none, with a signature': () => logoutToken({}, { alg: 'none' }),
  'no alg': () => logoutToken({}, { alg: undefined }),
  'the signature of another key': () => mint(logoutClaims(), { alg: 'RS256', typ: 'logout+jwt' }, 'ES256'),
  'the signature of another token': () => [...logoutToken().split('.').slice(0, 2), logoutToken().split('.')[2]].join('.'),
  'no signature': () => `${logoutToken().split('.').slice(0, 2).join('.')}.`,
  'HS256 by the public key': () => signedByPublicKey(),
  'HS256 by the public key, with another end of lines': () => signedByPublicKey(publicKey.trim()),
  'an algorithm that is not allowed': () => mint(logoutClaims(), { typ: 'logout+jwt' }, 'ES256'),
  'a critical header that nobody knows': () => logoutToken({}, { crit: ['exp2'], exp2: 1 }),
  'a payload that is a list': () => mint([logoutClaims()], {}, 'RS256'),
  'a payload that is null': () => mint('null', {}, 'RS256'),
  'an infinite exp': () => mint(JSON.stringify(logoutClaims({ exp: 1 })).replace('"exp":1', '"exp":1e400'), {}, 'RS256'),
  'an encrypted token': () => `${logoutToken()}.x.y`,
  'what is no token': () => 'logout',
  'a space before it': () => ` ${logoutToken()}`,
  'more bytes than maxTokenBytes': () => logoutToken({ more: 'x'.repeat(8192) })
}

function signedByPublicKey (key = publicKey): string {
  const input = `${base64url('{"alg":"HS256","typ":"logout+jwt"}')}.${base64url(JSON.stringify(logoutClaims()))}`
  return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`
}

/** Where the audience is asked for, and the other settings that must make no difference. */
const CLIENTS: Record<string, LogoutSettings> = {
  'with audience and allowedAud': {},
  'with audience alone': { plugin: { jwt: { ...JWT, verify: { algorithms: ['RS256'] } } } },
  'with allowedAud alone': { logout: { audience: undefined } },
  'with match \'sub\'': { logout: { match: 'sub' } },
  'with a tokenCache': { plugin: { tokenCache: { max: 100, ttl: 60_000 } } },
  'with a cache of the verifier': { plugin: { jwt: { ...JWT, verify: { ...JWT.verify, cache: true } } } },
  'with keys by a function': { plugin: { jwt: { ...JWT, secret: { public: async () => publicKey, private: privateKey } } } }
}

t.test('a logout token is refused, and nobody is logged out', async (t) => {
  for (const [name, settings] of Object.entries(CLIENTS)) {
    t.test(name, async (t) => {
      const { port, log, connect, app } = await startClient(t, settings)
      const chat = await connect(accessToken())
      for (const [what, [claims, why]] of Object.entries(WRONG_CLAIMS)) {
        t.same(await logOut(port, logoutToken(claims)), INVALID, what)
        t.match(reasonsIn(log).at(-1), why, what)
      }
      for (const [what, make] of Object.entries(WRONG_TOKENS)) {
        t.same(await logOut(port, make()), INVALID, what)
      }
      t.equal(reasonsIn(log).length, Object.keys(WRONG_CLAIMS).length + Object.keys(WRONG_TOKENS).length, 'each is told in the log')
      t.ok(await chat.isHeard(), 'she is still there')
      t.equal(await refusalOf(port, accessToken()), 'none')
      t.same(await logOut(port, logoutToken()), LOGGED_OUT, 'one in which nothing is wrong is accepted')
      t.same(await isClosed(chat), REVOKED)
      t.equal(app.wsAuth.stats().closed.token_revoked, 1)
      t.equal(log.filter((line) => JSON.parse(line).level >= 50).length, 0, 'nothing of it is a fault of the app')
    })
  }

  t.test('of another typ, where the verifier asks for one', async (t) => {
    const { port, connect } = await startClient(t, { plugin: { jwt: { ...JWT, verify: { ...JWT.verify, checkTyp: 'logout+jwt' } as object } } })
    t.same(await logOut(port, logoutToken({}, { typ: 'at+jwt' })), INVALID)
    t.same(await logOut(port, logoutToken({}, { typ: 'JWT' })), INVALID)
    await t.rejects(connect(accessToken()))
    t.same(await logOut(port, logoutToken()), LOGGED_OUT)
  })

  t.test('without an aud, also where nothing asks for one', async (t) => {
    const { port, connect } = await startClient(t, { logout: { audience: undefined }, plugin: { jwt: { ...JWT, verify: { algorithms: ['RS256'] } } } })
    const chat = await connect(accessToken())
    for (const aud of [undefined, null, '', [], {}, 17]) t.same(await logOut(port, logoutToken({ aud })), INVALID, JSON.stringify(aud))
    t.ok(await chat.isHeard())
    t.same(await logOut(port, logoutToken({ aud: 'whoever' })), LOGGED_OUT, 'with any it is accepted, of which the log warned')
  })
})

/** What may differ from a good one, and of whom the connections are closed. */
const GOOD_CLAIMS: Record<string, [Claims, 'the login' | 'the user', LogoutSettings?]> = {
  'a sub and a sid': [{}, 'the login'],
  'a sub and a sid, with match \'sub\'': [{}, 'the user', { logout: { match: 'sub' } }],
  'a sid alone': [{ sub: undefined }, 'the login'],
  'a sid alone, with match \'sub\'': [{ sub: undefined }, 'the login', { logout: { match: 'sub' } }],
  'a sid and an empty sub, with match \'sub\'': [{ sub: '' }, 'the login', { logout: { match: 'sub' } }],
  'a sub alone': [{ sid: undefined }, 'the user'],
  'a sub and an empty sid': [{ sid: '' }, 'the user'],
  'a sub and a sid of the wrong type': [{ sid: 17 }, 'the user'],
  'a sub and a sid that is null': [{ sid: null }, 'the user'],
  'many auds': [{ aud: ['another', CLIENT] }, 'the login'],
  'another event beside': [{ events: { [OTHER_EVENT]: {}, [EVENT]: {} } }, 'the login'],
  'an event that says more': [{ events: { [EVENT]: { reason: 'test' } } }, 'the login'],
  'claims that nobody knows': [{ nonces: 'x', azp: CLIENT }, 'the login'],
  'no exp, and an iat of four minutes ago': [{ exp: undefined, iat: seconds(-240) }, 'the login'],
  'an iat ahead by half a minute': [{ iat: seconds(30) }, 'the login'],
  'an iat with a fraction': [{ iat: seconds() - 0.5 }, 'the login'],
  'an exp in a thousand years': [{ exp: seconds(3e10) }, 'the login'],
  'an exp past all counting': [{ exp: 1e308 }, 'the login'],
  'a jti of 2,000 characters': [{ jti: 'j'.repeat(2000) }, 'the login']
}

t.test('a logout token is accepted with', async (t) => {
  for (const [what, [claims, whose, settings]] of Object.entries(GOOD_CLAIMS)) {
    t.test(`${what}, which closes the connections of ${whose}`, async (t) => {
      const { port, connect } = await startClient(t, settings)
      const first = await connect(accessToken({ iat: seconds(-600) }))
      const second = await connect(accessToken({ sid: 'second', iat: seconds(-600) }))
      const other = await connect(accessToken({ sub: 'bea', sid: 'other' }))
      t.same(await logOut(port, logoutToken(claims)), LOGGED_OUT)
      t.same(await isClosed(first), REVOKED)
      if (whose === 'the user') t.same(await isClosed(second), REVOKED)
      else t.ok(await second.isHeard())
      t.ok(await other.isHeard())
    })
  }

  for (const typ of [undefined, 'JWT', 'logout+jwt', 'application/logout+jwt', 'secevent+jwt']) {
    t.test(`the typ ${typ ?? 'left out'}`, async (t) => {
      const { port } = await startClient(t)
      t.same(await logOut(port, logoutToken({}, { typ })), LOGGED_OUT)
    })
  }
})

t.test('a logout by sub is of the logins until then', async (t) => {
  const { port, connect } = await startClient(t)
  const at = seconds(-30)
  const before = await connect(accessToken({ iat: at - 1 }))
  const within = await connect(accessToken({ iat: at }))
  const timeless = await connect(accessToken({ iat: undefined }))
  const after = await connect(accessToken({ iat: at + 1 }))
  t.same(await logOut(port, logoutToken({ iat: at, sid: undefined })), LOGGED_OUT)
  for (const chat of [before, within, timeless]) t.same(await isClosed(chat), REVOKED)
  t.ok(await after.isHeard(), 'who has logged in after it stays')
  t.equal(await refusalOf(port, accessToken({ iat: at + 1 })), 'none')
  t.equal(await refusalOf(port, accessToken({ iat: at })), 'WS_AUTH_TOKEN_REVOKED')

  t.same(await logOut(port, logoutToken({ iat: at - 20, sid: undefined })), LOGGED_OUT, 'an earlier one that comes late')
  t.equal(await refusalOf(port, accessToken({ iat: at })), 'WS_AUTH_TOKEN_REVOKED', 'undoes nothing')
  t.ok(await after.isHeard())
})

t.test('a jti is used once', async (t) => {
  t.test('also by another token, and at another instance', async (t) => {
    const backplane = memoryBackplane()
    const [one, another] = [await startClient(t, { plugin: { backplane } }), await startClient(t, { plugin: { backplane } })]
    const jti = 'bWJq'
    const token = logoutToken({ jti })
    t.same(await logOut(one.port, token), LOGGED_OUT)
    const chat = await one.connect(accessToken({ sid: 'second' }))
    t.same(await logOut(one.port, token), INVALID)
    t.same(await logOut(another.port, token), INVALID)
    t.same(await logOut(another.port, logoutToken({ jti, sid: 'second' })), INVALID)
    t.equal(reasonsIn(one.log).at(-1), 'its jti was used before')
    t.ok(await chat.isHeard())
    t.same(await logOut(another.port, logoutToken({ jti: 'bWJr', sid: 'second' })), LOGGED_OUT)
    t.same(await isClosed(chat), REVOKED)
  })

  t.test('by 50 that come at once, one is answered 200', async (t) => {
    const backplane = memoryBackplane()
    const [one, another] = [await startClient(t, { plugin: { backplane } }), await startClient(t, { plugin: { backplane } })]
    const chat = await another.connect(accessToken())
    const token = logoutToken()
    const answers = await Promise.all(Array.from({ length: 50 }, async (_, i) => await logOut(i % 2 === 0 ? one.port : another.port, token)))
    t.equal(answers.filter(({ status }) => status === 200).length, 1)
    t.same(answers.filter(({ status }) => status !== 200), Array.from({ length: 49 }, () => INVALID))
    t.same(await isClosed(chat), REVOKED)
  })

  t.test('by 50 that come at once, with Redis', { skip: reasonToSkip() }, async (t) => {
    const redis = await startRedis(t)
    const startOne = async (): Promise<ChatApp> => await startClient(t, { plugin: { backplane: redisBackplane({ client: redis.client() }) } })
    const [one, another] = [await startOne(), await startOne()]
    const chat = await another.connect(accessToken())
    const token = logoutToken()
    const answers = await Promise.all(Array.from({ length: 50 }, async (_, i) => await logOut(i % 2 === 0 ? one.port : another.port, token)))
    t.same(answers.map(({ status }) => status).sort(), [200, ...Array.from({ length: 49 }, () => 400)])
    t.same(await isClosed(chat), REVOKED)
    t.same(await logOut(another.port, token), INVALID)
  })

  t.test('but by a refused token it is not used', async (t) => {
    const { port } = await startClient(t)
    t.same(await logOut(port, logoutToken({ jti: 'same', nonce: 'x' })), INVALID)
    t.same(await logOut(port, logoutToken({ jti: 'same', sub: undefined, sid: undefined })), INVALID)
    t.same(await logOut(port, logoutToken({ jti: 'same' })), LOGGED_OUT)
  })
})

t.test('a jti is remembered for as long as its token is good', async (t) => {
  const { port, log, connect } = await startClient(t)
  const clock = moveClock(t)
  const send = async (token: string): Promise<number> => (await (await sendForm(t, port, `logout_token=${token}`)).response()).status
  const lives: Array<[() => Claims, number, string]> = [
    [() => ({ exp: seconds(120) }), 120_000, 'its exp has passed, or it is older than maxAge'],
    [() => ({ exp: undefined }), 300_000, 'it was issued too long ago'],
    [() => ({ exp: undefined, iat: seconds(-200) }), 100_000, 'it was issued too long ago']
  ]
  for (const [claims, life, why] of lives) {
    const token = logoutToken(claims())
    t.equal(await send(token), 200)
    clock.advance(life - 3000)
    t.equal(await send(token), 400)
    t.equal(reasonsIn(log).at(-1), 'its jti was used before')
    clock.advance(6000)
    t.equal(await send(token), 400)
    t.equal(reasonsIn(log).at(-1), why)
  }

  const token = logoutToken({ iat: seconds(), exp: seconds(10 * 86_400), sid: undefined })
  t.equal(await send(token), 200)
  clock.advance(23 * 3_600_000)
  t.equal(await send(token), 400)
  clock.advance(2 * 3_600_000)
  const chat = await connect(accessToken({ sid: 'later', iat: seconds(), exp: seconds(600) }))
  t.equal(await send(token), 200, 'after a day it is not known any more')
  t.ok(await chat.isHeard(), 'and closes nobody who has logged in since')
})

async function sendForm (t: Test, port: number, body: string): Promise<RawClient> {
  const client = await RawClient.open(t, port)
  return client.send(plainText({ method: 'POST', path: PATH, headers: { 'content-type': FORM, 'content-length': String(body.length) }, body }))
}

/** What is posted in place of a form with one token. */
const WRONG_FORMS: Record<string, (token: string) => { body?: RequestInit['body'], contentType?: string | null, path?: string, status: number }> = {
  'without a body': () => ({ contentType: null, status: 400 }),
  'with an empty form': () => ({ body: '', status: 400 }),
  'with another parameter': (token) => ({ body: `token=${token}`, status: 400 }),
  'with a parameter in capitals': (token) => ({ body: `LOGOUT_TOKEN=${token}`, status: 400 }),
  'with an empty parameter': () => ({ body: 'logout_token=', status: 400 }),
  'with a parameter without a value': () => ({ body: 'logout_token', status: 400 }),
  'with the token twice': (token) => ({ body: `logout_token=${token}&logout_token=${token}`, status: 400 }),
  'with the token and an empty one': (token) => ({ body: `logout_token=${token}&logout_token=`, status: 400 }),
  'with an empty one and the token': (token) => ({ body: `logout_token=&logout_token=${token}`, status: 400 }),
  'with a list': (token) => ({ body: `logout_token[]=${token}`, status: 400 }),
  'with the token in the query': () => ({ body: '', path: `${PATH}?logout_token=${logoutToken({ sid: 'nobody' })}`, status: 400 }),
  'with the token in the query and no body': () => ({ contentType: null, path: `${PATH}?logout_token=${logoutToken({ sid: 'nobody' })}`, status: 400 }),
  'with JSON': (token) => ({ body: JSON.stringify({ logout_token: token }), contentType: 'application/json', status: 415 }),
  'with a text': (token) => ({ body: token, contentType: 'text/plain', status: 415 }),
  'with a JWT': (token) => ({ body: token, contentType: 'application/logout+jwt', status: 415 }),
  'with a form of many parts': (token) => ({ body: `--x\r\ncontent-disposition: form-data; name="logout_token"\r\n\r\n${token}\r\n--x--\r\n`, contentType: 'multipart/form-data; boundary=x', status: 415 }),
  'with a form that is said to be JSON': (token) => ({ body: `logout_token=${token}`, contentType: 'application/json', status: 415 }),
  'with more than a token can be': (token) => ({ body: `logout_token=${token}&more=${'x'.repeat(3 * 8192 + 1024)}`, status: 413 })
}

/** As @fastify/formbody does it. */
function addFormParser (app: FastifyInstance): void {
  app.addContentTypeParser(FORM, { parseAs: 'string' }, (_request, body, done) => { done(null, Object.fromEntries(new URLSearchParams(String(body)))) })
}

t.test('the request', async (t) => {
  const parsers: Record<string, LogoutSettings> = {
    'of an app without a parser for forms': {},
    'of an app with a parser of its own for forms': { before: addFormParser },
    'of an app that adds one later': { routes: addFormParser },
    'of an app that takes anything': { before: (app) => app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => { done(null, body) }) }
  }
  for (const [name, settings] of Object.entries(parsers)) {
    t.test(name, async (t) => {
      const { port, connect } = await startClient(t, settings)
      const chat = await connect(accessToken())
      for (const [what, make] of Object.entries(WRONG_FORMS)) {
        const { body, contentType, path, status } = make(logoutToken())
        const answer = await post(port, body, contentType, path)
        t.equal(answer.status, status, what)
        if (status === 400) t.same(answer, INVALID, what)
      }
      t.ok(await chat.isHeard(), 'she is still there')
      t.same(await post(port, `more=1&logout_token=${logoutToken()}`, `${FORM}; charset=UTF-8`), LOGGED_OUT, 'parameters that nobody knows are ignored')
      t.same(await isClosed(chat), REVOKED)
    })
  }

  t.test('is a POST', async (t) => {
    const { port, connect } = await startClient(t)
    const chat = await connect(accessToken())
    for (const method of ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      const { status } = await fetch(`http://127.0.0.1:${port}${PATH}?logout_token=${logoutToken()}`, { method })
      t.equal(status, 404, method)
    }
    const { answer } = await upgrade(t, port, { path: PATH, headers: { authorization: `Bearer ${accessToken()}` } })
    t.equal(answer.status, 404, 'an upgrade')
    t.ok(await chat.isHeard())
  })

  t.test('may have each character of a token of maxTokenBytes escaped', async (t) => {
    const token = logoutToken()
    const { port } = await startClient(t, { plugin: { maxTokenBytes: token.length } })
    const escaped = [...token].map((character) => `%${character.charCodeAt(0).toString(16)}`).join('')
    t.same(await post(port, `logout_token=${escaped}`), LOGGED_OUT)
    t.same(await logOut(port, logoutToken({ more: 'x' })), INVALID, 'one that is longer is not read')
  })

  t.test('of a provider that does not wait for the answer is done, and told of as that', async (t) => {
    const held = hold()
    let isAsked = false
    const verify = async (token: string): Promise<object> => {
      const claims = JSON.parse(Buffer.from(token, 'base64url').toString())
      if (claims.events !== undefined) { isAsked = true; await held.wait() }
      return claims
    }
    let hasLeft = false
    const { port, log, connect } = await startClient(t, {
      plugin: { verify },
      before: (app) => app.server.on('connection', (socket) => socket.once('close', () => { hasLeft = true }))
    })
    const chat = await connect(base64url(JSON.stringify({ sub: 'ann', sid: 'first' })))
    const client = await sendForm(t, port, `logout_token=${base64url(JSON.stringify(logoutClaims()))}`)
    await until(() => isAsked, 'the verifier is asked')
    client.socket.resetAndDestroy()
    await until(() => hasLeft, 'the server has noticed')
    held.release()
    t.same(await isClosed(chat), REVOKED)
    await turn(50)
    t.equal(countIn(log, 'back-channel logout failed'), 0)
    t.equal(countIn(log, 'Reply was already sent'), 0)
  })
})

t.test('a logout token is no credential', async (t) => {
  const events: Record<string, unknown> = { 'a good one': { [EVENT]: {} }, 'one whose event is null': { [EVENT]: null }, 'one whose event is a list': { [EVENT]: [] } }
  for (const [name, value] of Object.entries(events)) {
    t.test(name, async (t) => {
      const { app, port, connect } = await startClient(t, {
        plugin: { tickets: true, renewal: true, origin: 'any', token: { message: true } },
        routes: (app) => app.get('/param/:token', { websocket: true, wsAuth: { token: { param: true } } }, (socket) => { socket.send('hello') })
      })
      const token = logoutToken({ events: value, exp: seconds(1200) })
      const sources: Record<string, Parameters<typeof upgrade>[2]> = {
        header: { path: '/chat', headers: { authorization: `Bearer ${token}` } },
        subprotocol: { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${token}` } },
        'subprotocol, encoded': { path: '/chat', headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${base64url(token)}` } },
        query: { path: `/chat?token=${token}` },
        cookie: { path: '/chat', headers: { cookie: `token=${token}` } },
        param: { path: `/param/${token}` }
      }
      for (const [source, settings] of Object.entries(sources)) {
        const { answer } = await upgrade(t, port, settings)
        t.equal(answer.status, 401, source)
        t.equal(JSON.parse(answer.body).code, 'WS_AUTH_TOKEN_INVALID', source)
      }
      t.equal(await refusalOf(port, token), 'WS_AUTH_TOKEN_INVALID', 'a dry run')

      const response = await fetch(`http://127.0.0.1:${port}/ws-ticket`, { method: 'POST', headers: { authorization: `Bearer ${token}` } })
      t.equal(response.status, 401)
      t.match(await response.json(), { code: 'WS_AUTH_TOKEN_INVALID' })
      const { ticket } = await app.wsAuth.issueTicket(logoutClaims({ events: value }))
      const { answer } = await upgrade(t, port, { path: `/chat?ticket=${ticket}` })
      t.equal(JSON.parse(answer.body).code, 'WS_AUTH_TOKEN_INVALID', 'behind a ticket')

      const chat = await connect(accessToken())
      t.same(await chat.renewByFrame(token), { type: 'auth.error', code: 'WS_AUTH_TOKEN_INVALID' })
      await t.rejects(chat.connection.renew(token), { code: 'WS_AUTH_TOKEN_INVALID' })
      t.ok(await chat.isHeard())
      t.notHas(chat.connection.claims, { events: {} })

      const silent = await upgrade(t, port, { path: '/chat' })
      t.equal(silent.answer.status, 101)
      const first = JSON.stringify({ type: 'auth', token })
      silent.send(clientText(first))
      t.same(await silent.close(), { code: 3000, reason: 'token_invalid' }, 'the first message')
      t.equal(app.wsAuth.stats().connections, 1)
    })
  }
})

/** A masked text frame of any length that a token needs. */
function clientText (text: string): Buffer {
  const payload = Buffer.from(text)
  return Buffer.concat([Buffer.from([0x81, 0xFE, payload.length >> 8, payload.length & 255]), Buffer.alloc(4), payload])
}

t.test('where the keys of the provider cannot be had, the logout can be tried again', async (t) => {
  const jwk = { ...createPublicKey(publicKey).export({ format: 'jwk' }), kid: 'one', alg: 'RS256', use: 'sig' }
  const waiting: ServerResponse[] = []
  let state: 'up' | 'broken' | 'failing' | 'nonsense' | 'hanging' = 'up'
  const server = createServer((request, response) => {
    if (state === 'broken') request.socket.destroy()
    else if (state === 'failing') response.writeHead(500).end()
    else if (state === 'nonsense') response.end('<html>')
    else if (state === 'hanging') waiting.push(response)
    else response.end(JSON.stringify({ keys: [jwk] }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close(); server.closeAllConnections() })
  const jwksUri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`

  for (const how of ['broken', 'failing', 'nonsense', 'hanging'] as const) {
    t.test(how, async (t) => {
      const jwt = await jwksOptions({ issuer: ISSUER, jwksUri })
      const { port, log } = await startClient(t, { plugin: { jwt, handshakeTimeout: 500 } })
      const token = logoutToken({}, { kid: 'one' })
      state = how
      t.same(await logOut(port, token), TRY_AGAIN)
      t.equal(countIn(log, 'back-channel logout failed'), 1)
      t.equal(countIn(log, token), 0)
      state = 'up'
      for (const response of waiting) response.end(JSON.stringify({ keys: [jwk] }))
      t.same(await logOut(port, token), LOGGED_OUT)
      t.equal(await refusalOf(port, mint({ iss: ISSUER, aud: AUDIENCE, sub: 'ann', sid: 'first' }, { kid: 'one' }, 'RS256')), 'WS_AUTH_TOKEN_REVOKED')
      t.same(await logOut(port, token), INVALID, 'and once')
      t.same(await logOut(port, logoutToken({}, { kid: 'two' })), INVALID, 'a key that does not exist is the fault of the token')
    })
  }
})

type Failing = 'put' | 'get' | 'take' | 'publish'

/** What fails by itself, in one of the ways in which something can, until it is repaired. */
class FailingBackplane implements fastifyWsAuth.Backplane {
  readonly #backplane = memoryBackplane()
  broken: readonly Failing[] = []
  isSync = false

  join (member: fastifyWsAuth.BackplaneMember): fastifyWsAuth.BackplaneLink {
    const link = this.#backplane.join(member)
    return {
      ready: link.ready,
      isCurrent: true,
      publish: async (command) => await this.#or('publish', () => link.publish(command)),
      put: (name, value, ttl) => this.#or('put', () => link.put(name, value, ttl)),
      get: (name) => this.#or('get', () => link.get(name)),
      take: (name) => this.#or('take', () => link.take(name)),
      leave: async () => await link.leave()
    }
  }

  #or<T> (what: Failing, run: () => T): T | Promise<never> {
    if (!this.broken.includes(what)) return run()
    const error = new Error('the store is down')
    if (this.isSync && what !== 'publish') throw error
    return Promise.reject(error)
  }
}

t.test('where the backplane fails, the logout can be tried again', async (t) => {
  const all: Failing[] = ['put', 'get', 'take', 'publish']
  for (const broken of [all, ['put'], ['publish'], ['publish', 'take'], ['publish', 'put'], ['get', 'take']] as Failing[][]) {
    for (const isSync of [false, true]) {
      t.test(`${broken.join(', ')}${isSync ? ', by throwing' : ''}`, async (t) => {
        const backplane = new FailingBackplane()
        const [one, another] = [await startClient(t, { plugin: { backplane } }), await startClient(t, { plugin: { backplane } })]
        const chats = [await one.connect(accessToken()), await another.connect(accessToken())]
        const token = logoutToken()
        Object.assign(backplane, { broken, isSync })
        const answer = await logOut(one.port, token)
        t.same(await isClosed(chats[0] as Chat), REVOKED, 'what is open here is closed all the same')
        t.equal(await refusalOf(one.port, accessToken()), 'WS_AUTH_TOKEN_REVOKED')
        backplane.broken = []
        if (broken.includes('put') || broken.includes('publish')) {
          t.same(answer, TRY_AGAIN)
          t.equal(countIn(one.log, '"msg":"back-channel logout failed"'), 1)
          t.same(await logOut(one.port, token), LOGGED_OUT)
        } else {
          t.same(answer, LOGGED_OUT, 'what is asked of it is known later than it is needed')
        }
        t.same(await isClosed(chats[1] as Chat), REVOKED)
        t.same(await logOut(another.port, token), INVALID, 'and then once')
      })
    }
  }
})

t.test('where Redis does not answer, the logout is in force here and can be tried again', { skip: reasonToSkip() }, async (t) => {
  const redis = await startRedis(t)
  const startOne = async (): Promise<ChatApp> => await startClient(t, { plugin: { backplane: redisBackplane({ client: redis.client() }) } })
  const [one, another] = [await startOne(), await startOne()]
  const chats = [await one.connect(accessToken()), await another.connect(accessToken())] as const
  const token = logoutToken()
  redis.pause()
  t.same(await logOut(one.port, token), TRY_AGAIN)
  t.same(await isClosed(chats[0]), REVOKED)
  redis.resume()
  t.same(await logOut(one.port, token), LOGGED_OUT)
  t.same(await isClosed(chats[1]), REVOKED)
  t.same(await logOut(another.port, token), INVALID)
})

t.test('a handshake that is under way at the logout is refused, and a renewal too', async (t) => {
  const held = hold()
  let isHeld = false
  let asked = 0
  const { app, port, connect } = await startClient(t, {
    plugin: { renewal: true, user: async (claims) => { asked++; if (isHeld) await held.wait(); return claims } }
  })
  const chat = await connect(accessToken({ sid: 'second' }))
  isHeld = true
  const answer = upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${accessToken()}` } })
  const renewal = t.rejects(chat.connection.renew(accessToken({ iat: seconds(-30) })), { code: 'WS_AUTH_TOKEN_REVOKED' })
  await until(() => asked === 3, 'both wait for the user')
  t.same(await logOut(port, logoutToken()), LOGGED_OUT)
  held.release()
  const late = await answer
  t.equal(late.answer.status, 101)
  t.same(await late.close(), REVOKED, 'it is asked about again when the connection is open')
  await renewal
  t.ok(await chat.isHeard(), 'a connection that was refused a renewal stays what it was')
  t.equal(app.wsAuth.stats().connections, 1)
})

t.test('a function of the app that fails is told of as a failure, and the logout can be tried again', async (t) => {
  const token = logoutToken()
  const error = new Error(`no answer about ${token}`)
  const fail = (): never => { throw error }
  const settings: Record<string, (isBroken: () => boolean) => Plugin> = {
    'a secret function': (isBroken) => ({ jwt: { ...JWT, secret: { public: async () => isBroken() ? fail() : publicKey, private: privateKey } } }),
    trusted: (isBroken) => ({ jwt: { ...JWT, trusted: async () => isBroken() ? fail() : true } }),
    formatUser: (isBroken) => ({ jwt: { ...JWT, formatUser: (claims) => isBroken() ? fail() : claims } }),
    'verify, at once': (isBroken) => ({ verify: () => isBroken() ? fail() : JSON.parse(String(Buffer.from(token.split('.')[1] ?? '', 'base64url'))) }),
    'verify, later': (isBroken) => ({ verify: async () => isBroken() ? fail() : JSON.parse(String(Buffer.from(token.split('.')[1] ?? '', 'base64url'))) })
  }
  for (const [name, plugin] of Object.entries(settings)) {
    t.test(name, async (t) => {
      let isBroken = true
      const { port, log } = await startClient(t, { plugin: plugin(() => isBroken) })
      t.same(await logOut(port, token), TRY_AGAIN)
      t.equal(countIn(log, 'no answer about [token]'), 1)
      isBroken = false
      t.same(await logOut(port, token), LOGGED_OUT)
      t.equal(countIn(log, token), 0)
    })
  }

  t.test('verify that never answers is given up after handshakeTimeout, and told so', async (t) => {
    let signal: AbortSignal | undefined
    const { port } = await startClient(t, { plugin: { handshakeTimeout: 100, verify: async (_token, _request, asker) => { signal = asker.signal; return await new Promise(() => {}) } } })
    t.same(await logOut(port, token), TRY_AGAIN)
    t.equal(signal?.aborted, true)
  })

  t.test('verify that refuses it says why, in the log', async (t) => {
    const verify = (): never => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_TOKEN_REVOKED', { cause: new Error('it is on a list') }) }
    const { port, log } = await startClient(t, { plugin: { verify } })
    t.same(await logOut(port, token), INVALID)
    t.same(reasonsIn(log), ['it is on a list'])
  })

  t.test('trusted that says no refuses it', async (t) => {
    const { port } = await startClient(t, { plugin: { jwt: { ...JWT, trusted: () => false } } })
    t.same(await logOut(port, token), INVALID)
  })
})

t.test('an app whose logout tokens may be for anybody is warned at the start', async (t) => {
  const WARNING = '"backChannelLogout.audience" should be the client id: logout tokens for other clients are accepted'
  const verify = { algorithms: ['RS256' as const] }
  const settings: Array<[string, Plugin, string | undefined, number]> = [
    ['neither audience nor allowedAud', { jwt: { ...JWT, verify } }, undefined, 1],
    ['a verify of its own and no audience', { verify: () => null }, undefined, 1],
    ['an audience', { jwt: { ...JWT, verify } }, CLIENT, 0],
    ['allowedAud', { jwt: JWT }, undefined, 0],
    ['a verify of its own and an audience', { verify: () => null }, CLIENT, 0]
  ]
  for (const [name, plugin, audience, count] of settings) {
    const { log } = await prepare(t, { plugin: { ...plugin, backChannelLogout: { path: PATH, issuer: ISSUER, audience } } })
    t.equal(log.filter((line) => JSON.parse(line).level === 40 && JSON.parse(line).msg === WARNING).length, count, name)
  }
  const { log } = await prepare(t, { plugin: { jwt: { ...JWT, verify } } })
  t.equal(countIn(log, WARNING), 0, 'without backChannelLogout')
})

t.test('the log tells who was logged out and why somebody was not, and has nothing of a token', async (t) => {
  const { port, log, connect } = await startClient(t)
  const chat = await connect(accessToken())
  const tokens = Object.values(WRONG_CLAIMS).map(([claims]) => logoutToken(claims)).concat(Object.values(WRONG_TOKENS).map((make) => make()).filter((token) => token.length > 100))
  const [good, again, stranger] = [logoutToken(), logoutToken({ sid: 'second' }), logoutToken({ sid: 'third', nonce: 'x' })]
  for (const token of [...tokens, good, good, again, stranger]) await logOut(port, token)
  await post(port, JSON.stringify({ logout_token: stranger }), 'application/json')
  await post(port, `logout_token=${stranger}&logout_token=${good}`)
  t.same(await isClosed(chat), REVOKED)
  const text = log.join('')
  for (const token of [...tokens, good, again, stranger]) {
    const [, payload = '', signature = ''] = token.split('.')
    t.notOk(text.includes(token) || text.includes(payload) || (signature.length > 20 && text.includes(signature)), 'no token')
  }
  t.ok(tokens.length > 60)
  t.match(log.map((line) => JSON.parse(line)).filter(({ command }) => command === 'revoke'), [{ level: 30, by: 'sid', value: 'first', closed: 1 }, { level: 30, by: 'sid', value: 'second', closed: 0 }])
})

t.test('of the app nothing else is changed', async (t) => {
  const seen: string[] = []
  const { port, app } = await startClient(t, {
    before: (app) => {
      app.addHook('onRequest', async (request) => { seen.push(`onRequest ${request.method}`) })
      app.addHook('preHandler', async () => { seen.push('preHandler') })
      app.addHook('onSend', async (_request, reply, payload) => { reply.header('x-app', 'mine'); return payload })
      app.addHook('onResponse', async (_request, reply) => { seen.push(`onResponse ${reply.statusCode}`) })
      app.setErrorHandler(async (error: Error & { statusCode?: number }, _request, reply) => {
        seen.push(`error handler ${error.statusCode ?? 500}`)
        return await reply.code(error.statusCode ?? 500).send({ mine: error.message })
      })
    },
    routes: (app) => {
      app.post('/json', async (request) => request.body)
      app.post('/failing', async () => { throw Object.assign(new Error('of the app'), { statusCode: 418 }) })
    }
  })
  t.same(await logOut(port, logoutToken()), LOGGED_OUT)
  t.same(seen.splice(0), ['onRequest POST', 'preHandler', 'onResponse 200'])
  t.same(await logOut(port, 'nothing'), INVALID, 'its error handler is not asked')
  t.same(seen.splice(0), ['onRequest POST', 'preHandler', 'onResponse 400'])
  t.equal((await post(port, '{}', 'application/json')).body, '{"mine":"Unsupported Media Type"}', 'what is no form is for its error handler')
  t.match(seen.splice(0), ['onRequest POST', 'error handler 415'])
  t.match(await post(port, '{"a":1}', 'application/json', '/json'), { status: 200, body: '{"a":1}' })
  t.match(await post(port, '{"a":', 'application/json', '/json'), { status: 400 })
  t.match(await post(port, 'a=1', FORM, '/json'), { status: 415 }, 'forms are understood by one route alone')
  t.match(await post(port, '{}', 'application/json', '/failing'), { status: 418, body: '{"mine":"of the app"}' })
  const response = await app.inject({ method: 'POST', url: PATH, payload: `logout_token=${logoutToken()}`, headers: { 'content-type': FORM } })
  t.match({ ...response.headers, status: response.statusCode }, { 'x-app': 'mine', 'cache-control': 'no-store', status: 200 }, 'also without a network')
  const refused = await app.inject({ method: 'POST', url: PATH, payload: 'logout_token=x', headers: { 'content-type': FORM } })
  t.equal(refused.headers['content-type'], 'application/json; charset=utf-8')
})

t.test('a revocation by logout stays for revocationTtl, and late instances know of it', async (t) => {
  const backplane = memoryBackplane()
  const { port } = await startClient(t, { plugin: { backplane } })
  t.same(await logOut(port, logoutToken()), LOGGED_OUT)
  const late = await startClient(t, { plugin: { backplane } })
  await t.rejects(late.connect(accessToken()))
  t.equal(await refusalOf(late.port, accessToken({ iat: seconds(30) })), 'WS_AUTH_TOKEN_REVOKED', 'also a token of that login that is younger')
  t.equal(await refusalOf(late.port, accessToken({ sid: 'second' })), 'none')
})

t.test('wrong options are named at registration', async (t) => {
  const wrong: Array<[unknown, RegExp]> = [
    [true, /"backChannelLogout" option must be false or \{ path, issuer \}/],
    [{ issuer: ISSUER }, /"backChannelLogout\.path" option must be/],
    [{ path: 'logout', issuer: ISSUER }, /"backChannelLogout\.path" option must be/],
    [{ path: PATH }, /"backChannelLogout\.issuer" option must be/],
    [{ path: PATH, issuer: '' }, /"backChannelLogout\.issuer" option must be/],
    [{ path: PATH, issuer: [ISSUER] }, /"backChannelLogout\.issuer" option must be/],
    [{ path: PATH, issuer: ISSUER, audience: [CLIENT] }, /"backChannelLogout\.audience" option must be/],
    [{ path: PATH, issuer: ISSUER, audience: '' }, /"backChannelLogout\.audience" option must be/],
    [{ path: PATH, issuer: ISSUER, match: 'jti' }, /"backChannelLogout\.match" option must be 'sid' or 'sub'/],
    [{ path: PATH, issuer: ISSUER, ttl: 1 }, /"backChannelLogout\.ttl"/]
  ]
  for (const [backChannelLogout, message] of wrong) {
    await t.rejects(prepare(t, { plugin: { jwt: JWT, backChannelLogout: backChannelLogout as never } }), { name: 'TypeError', message }, JSON.stringify(backChannelLogout))
  }
})
