/*
 * signIn: a token as the app itself would sign it, where the app looks for one.
 */
import { createHash, generateKeyPairSync } from 'node:crypto'
import fastifyJwt from '@fastify/jwt'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { signIn } from '../../lib/testing/index'
import { prepare, SECRET } from '../helpers/app'

/** An app with a route, that sends which user came, and by which source. */
async function createApp (t: Test, plugin: fastifyWsAuth.WsAuthOptions = {}, before?: (app: FastifyInstance) => unknown): Promise<FastifyInstance> {
  const routes = (app: FastifyInstance): void => {
    app.get('/chat', { websocket: true }, (socket) => socket.close(4000, 'bye'))
    app.get('/me', { onRequest: app.wsAuth.authenticate }, async ({ user }) => user)
  }
  return (await prepare(t, { plugin, routes, ...before === undefined ? {} : { before } })).app
}

const keys = generateKeyPairSync('rsa', { modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } })
const now = (): number => Math.floor(Date.now() / 1000)

t.test('its result opens a socket and a plain route, of an app that was not made ready', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
  app.get('/chat', { websocket: true, wsAuth: { roles: ['member'] } }, () => {})
  app.get('/me', { onRequest: app.wsAuth.authenticate }, async ({ user }) => user)
  const ann = await signIn(app, { sub: 'ann', roles: ['member'] })
  t.equal((await app.injectWS('/chat', ann)).readyState, 1)
  t.match((await app.inject({ url: '/me', ...ann })).json(), { sub: 'ann', roles: ['member'] })
  await t.rejects(app.injectWS('/chat', await signIn(app, { sub: 'ann' })), /403/)
})

t.test('its token has an iat of now and lives for an hour, or as the claims, the option or the app say', async (t) => {
  const app = await createApp(t)
  const livesOf = async (app: FastifyInstance, ...args: [object, { expiresIn?: number }?]): Promise<{ iat: number, life: number | null }> => {
    const { iat, exp } = app.jwt.decode<{ iat: number, exp?: number }>((await signIn(app, ...args)).token) as { iat: number, exp?: number }
    return { iat, life: exp === undefined ? null : exp - iat }
  }
  const { iat, life } = await livesOf(app, {})
  t.ok(Math.abs(iat - now()) <= 1)
  t.equal(life, 3600)
  t.equal((await livesOf(app, {}, { expiresIn: 1500 })).life, 2, 'rounded up to a second')
  t.equal((await livesOf(app, {}, { expiresIn: -1500 })).life, -2)
  t.equal((await livesOf(app, {}, { expiresIn: Infinity })).life, null)
  t.strictSame(await livesOf(app, { iat: 1000, exp: 1060 }, { expiresIn: 1500 }), { iat: 1000, life: 60 })
  const short = await createApp(t, { jwt: { secret: SECRET, sign: { expiresIn: '2m' } } })
  t.equal((await livesOf(short, {})).life, 120, 'as the app says')
  t.equal((await livesOf(short, {}, { expiresIn: 5000 })).life, 5)
  const expired = await signIn(app, { sub: 'ann' }, { expiresIn: -60_000 })
  t.equal((await app.inject({ url: '/chat', ...expired })).json().code, 'WS_AUTH_TOKEN_EXPIRED')
  await t.rejects(signIn(app, {}, { expiresIn: NaN }), new TypeError('"options.expiresIn" must be a number of milliseconds'))
})

t.test('the headers have the token where the app looks for it first', async (t) => {
  const places: Array<[string, fastifyWsAuth.WsAuthOptions['token'], RegExp | undefined]> = [
    ['authorization', {}, /^Bearer ey/],
    ['x-token', { header: 'X-Token' }, /^ey/],
    ['sec-websocket-protocol', { header: false, subprotocol: 'jwt' }, /^jwt, ey/],
    ['cookie', { header: false, subprotocol: false, cookie: 'login' }, /^login=ey/],
    ['cookie', { header: false, subprotocol: false, cookie: { name: 'login', signed: true } }, /^login=ey.*\.[\w%-]+$/]
  ]
  for (const [name, token, value] of places) {
    const app = await createApp(t, { token, cookie: { secret: SECRET } })
    const ann = await signIn(app, { sub: 'ann' })
    t.strictSame(Object.keys(ann.headers), [name])
    t.match(ann.headers[name], value)
    t.equal((await app.inject({ url: '/chat', ...ann })).statusCode, 426, `${name} is taken`)
  }
})

t.test('via chooses among the places that the app has', async (t) => {
  const app = await createApp(t, { token: { cookie: 'login' } })
  const ann = await signIn(app, { sub: 'ann' }, { via: 'cookie' })
  t.strictSame(ann.headers, { cookie: `login=${ann.token}` })
  t.equal(ann.cookie, ann.headers.cookie)
  t.strictSame(ann.subprotocols, ['bearer', ann.token])
  t.strictSame(Object.keys(ann), ['headers'], 'the rest can be spread into no request')
  t.equal((await app.inject({ url: '/me', ...ann })).statusCode, 200)
  const bare = await createApp(t, { token: { header: false, subprotocol: false, cookie: false } })
  const bob = await signIn(bare, { sub: 'bob' })
  t.strictSame([bob.headers, bob.cookie, bob.subprotocols], [{}, null, null])
  t.equal((await bare.inject(`/chat?token=${bob.token}`)).statusCode, 426)
  await t.rejects(signIn(bare, {}, { via: 'header' }), new TypeError('"options.via" must be a place where the app takes tokens, not \'header\''))
})

t.test('it signs with an @fastify/jwt of the app, also by a namespace and with a private key', async (t) => {
  const own = await createApp(t, { jwt: undefined }, (app) => app.register(fastifyJwt, { secret: SECRET }))
  const named = await createApp(t, { jwt: undefined, jwtNamespace: 'chat' }, async (app) => {
    await app.register(fastifyJwt, { namespace: 'chat', secret: SECRET })
    await app.register(fastifyJwt, { namespace: 'other', secret: 'another secret of thirty-two bytes' })
  })
  const asymmetric = await createApp(t, { jwt: { secret: { private: keys.privateKey, public: keys.publicKey }, sign: { algorithm: 'RS256' } } })
  for (const app of [own, named, asymmetric]) t.equal((await app.inject({ url: '/chat', ...await signIn(app, { sub: 'ann' }) })).statusCode, 426)
})

t.test('it adds the issuer and the audience that the app demands, unless the claims have others', async (t) => {
  const app = await createApp(t, { jwt: { secret: SECRET, verify: { allowedIss: ['https://one.example', 'https://two.example'], allowedAud: [/^x/, 'chat'] } } })
  t.equal((await app.inject({ url: '/chat', ...await signIn(app, { sub: 'ann' }) })).statusCode, 426)
  t.equal((await app.inject({ url: '/chat', ...await signIn(app, { iss: 'https://two.example' }) })).statusCode, 426)
  t.equal((await app.inject({ url: '/chat', ...await signIn(app, { aud: 'other' }) })).statusCode, 401)
})

t.test('an app that cannot sign is a TypeError that says why, and takes a function that signs', async (t) => {
  const hint = 'Give it { sign: (claims) => token }'
  const opaque = new Map<string, object>()
  const byVerify = await createApp(t, { verify: (token) => opaque.get(token) ?? null })
  await t.rejects(signIn(byVerify, { sub: 'ann' }), new TypeError(`signIn() cannot sign: the app has no key, because it verifies tokens with "verify". ${hint}`))
  const sign = (claims: object): string => {
    const token = createHash('sha256').update(JSON.stringify(claims)).digest('base64')
    opaque.set(token, claims)
    return token
  }
  for (const via of ['header', 'subprotocol', 'cookie'] as const) {
    const response = await byVerify.inject({ url: '/chat', ...await signIn(byVerify, { sub: 'ann' }, { sign, via }) })
    t.equal(response.statusCode, 426, `${via}: an opaque token that is no HTTP token is encoded`)
  }
  const byPublicKey = await createApp(t, { jwt: { secret: { public: keys.publicKey } as never, verify: { algorithms: ['RS256'] } } })
  await t.rejects(signIn(byPublicKey), new TypeError(`signIn() cannot sign: @fastify/jwt says "unable to sign: secret is configured in verify mode". ${hint}`))
  const byFunction = await createApp(t, { jwt: { secret: { public: (async () => keys.publicKey) as never } as never, verify: { algorithms: ['RS256'] } } })
  await t.rejects(signIn(byFunction), TypeError)
})

t.test('an app without the plugin is a TypeError', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await t.rejects(signIn(app), new TypeError('"app" must be a Fastify app in which fastify-ws-auth is registered'))
})
