import { createPublicKey, KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import fastifyCookie from '@fastify/cookie'
import fastifyJwt from '@fastify/jwt'
import type { FastifyJWTOptions } from '@fastify/jwt'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import type { WsAuthOptions } from '../../lib/options/public-options'
import { base64url, keys, mint, seconds, secret } from '../helpers/keys'
import type { Algorithm } from '../helpers/keys'

const noop = (): void => {}
const ACCEPTED = '426'
const INVALID = '401 WS_AUTH_TOKEN_INVALID'
const EXPIRED = '401 WS_AUTH_TOKEN_EXPIRED'
const UNAVAILABLE = '503 WS_AUTH_UNAVAILABLE'

type Prepare = (app: FastifyInstance) => PromiseLike<unknown>

/** An app with the route /chat, on what `prepare` has registered. */
async function build (t: Test, options: WsAuthOptions, prepare?: Prepare, logger?: object): Promise<FastifyInstance> {
  const app = Fastify({ logger: logger ?? false })
  t.teardown(() => app.close())
  await prepare?.(app)
  await app.register(fastifyWsAuth, options)
  app.get('/chat', { websocket: true }, noop)
  return app
}

/** What a dry run of /chat with this token answers: its status, and the code of the refusal. */
async function ask (app: FastifyInstance, token: string): Promise<string> {
  const response = await app.inject({ url: '/chat', headers: { authorization: `Bearer ${token}` } })
  const { code, message } = response.json()
  const refusals: Record<string, string> = { 401: 'The token', 503: 'Authentication is unavailable' }
  if (response.statusCode !== 426 && !String(message).startsWith(refusals[response.statusCode] ?? '?')) return `${response.statusCode} ${message}`
  return response.statusCode === 426 ? ACCEPTED : `${response.statusCode} ${code}`
}

/** The ways in which a key can reach the verifier: each is another path through @fastify/jwt. */
function ways (algorithm: Algorithm, verify: FastifyJWTOptions['verify'] = {}): Record<string, [WsAuthOptions, Prepare?]> {
  const { public: key, private: own } = keys[algorithm]
  const isHmac = algorithm === 'HS256'
  const fixed: FastifyJWTOptions = { secret: isHmac ? key : { public: key, private: own }, verify, sign: { algorithm } }
  const later: FastifyJWTOptions = { secret: async () => key, verify, sign: { algorithm: 'HS256' } }
  const called: FastifyJWTOptions = { ...later, secret: ((_request: unknown, _token: unknown, done: (error: null, key: string) => void) => done(null, key)) as never }
  return {
    'the plugin\'s own': [{ jwt: fixed }],
    'the plugin\'s own, with an async secret': [{ jwt: later }],
    'the plugin\'s own, with a secret that calls back': [{ jwt: called }],
    'the app\'s': [{}, (app) => app.register(fastifyJwt, fixed)],
    'the app\'s, with an async secret': [{}, (app) => app.register(fastifyJwt, later)],
    'the app\'s, in a namespace': [{ jwtNamespace: 'chat' }, (app) => app.register(fastifyJwt, { ...fixed, namespace: 'chat' })],
    'the app\'s, with extractToken': [{}, (app) => app.register(fastifyJwt, { ...fixed, verify: { ...verify, extractToken: (request) => request.headers['x-none'] as string } })],
    'the app\'s, for cookies only': [{ token: { cookie: false } }, async (app) => {
      await app.register(fastifyCookie)
      await app.register(fastifyJwt, { ...fixed, verify: { ...verify, onlyCookie: true }, cookie: { cookieName: 'session', signed: false } })
    }]
  }
}

for (const algorithm of Object.keys(keys) as Algorithm[]) {
  t.test(`${algorithm}: a good token is accepted and others are refused, however the verifier is registered`, async (t) => {
    const good = mint({ sub: 'ann', exp: seconds(60) }, {}, algorithm)
    const [head, body, signature = ''] = good.split('.')
    const expected: Array<[what: string, token: string, answer: string]> = [
      ['a good one', good, ACCEPTED],
      ['an expired one', mint({ sub: 'ann', exp: seconds(-1) }, {}, algorithm), EXPIRED],
      ['an expired one with a wrong signature', mint({ exp: seconds(-1) }, {}, algorithm).slice(0, -4) + 'AAAA', INVALID],
      ['another signature', `${head}.${body}.${Buffer.from(signature, 'base64url').reverse().toString('base64url')}`, INVALID],
      ['no signature', `${head}.${body}.`, INVALID],
      ['alg none', `${base64url('{"alg":"none"}')}.${body}.`, INVALID],
      ['alg None, signed', `${base64url('{"alg":"None"}')}.${body}.${signature}`, INVALID],
      ['the public key as an HMAC secret', hmacWithPublicKey(algorithm), algorithm === 'HS256' ? ACCEPTED : INVALID]
    ]
    for (const [way, [options, prepare]] of Object.entries(ways(algorithm))) {
      const app = await build(t, options, prepare)
      for (const [what, token, answer] of expected) t.equal(await ask(app, token), answer, `${way}: ${what}`)
    }
  })
}

function hmacWithPublicKey (algorithm: Algorithm): string {
  const { private: own } = keys.HS256
  keys.HS256.private = keys[algorithm].public
  const token = mint({ sub: 'ann' })
  keys.HS256.private = own
  return token
}

t.test('a token that @fastify/jwt answers with 500, or accepts against the RFCs, is 401', async (t) => {
  const now = seconds()
  const [head, body, signature = ''] = mint({ sub: 'ann' }).split('.')
  const deep = '['.repeat(2500) + ']'.repeat(2500)
  const tokens: Array<[what: string, token: string, answer: string]> = [
    ['unknown alg', mint({}, { alg: 'HS1024' }), INVALID],
    ['missing alg', mint({}, { alg: undefined }), INVALID],
    ['alg as an array', mint({}, { alg: ['HS256'] }), INVALID],
    ['alg of another kind', mint({}, { alg: 'RS256' }), INVALID],
    ['a header that is an array', `${base64url('["HS256"]')}.${body}.${signature}`, INVALID],
    ['a header that is null', `${base64url('null')}.${body}.${signature}`, INVALID],
    ['a header that is no JSON', `${base64url('{alg}')}.${body}.${signature}`, INVALID],
    ['a header that is not UTF-8', `${base64url(Buffer.from([0x7b, 0xff, 0x7d]))}.${body}.${signature}`, INVALID],
    ['padding behind the signature', `${head}.${body}.${signature}=`, INVALID],
    ['NUL behind the signature', `${head}.${body}.${signature}\0`, INVALID],
    ['a space in the signature', `${head}.${body}.${signature.slice(0, 9)} ${signature.slice(9)}`, INVALID],
    ['one segment', 'abc', INVALID],
    ['two segments', `${head}.${body}`, INVALID],
    ['four segments', `${head}.${body}.${signature}.${signature}`, INVALID],
    ['five segments, as a JWE has', `${head}.${body}.${body}.${body}.${signature}`, INVALID],
    ['three empty segments', '..', INVALID],
    ['a payload that is an array', mint([]), INVALID],
    ['a payload that is a string', mint('"ann"'), INVALID],
    ['a payload that is null', mint('null'), INVALID],
    ['a payload that is a number', mint('7'), INVALID],
    ['a payload that is no JSON', mint('{"sub":'), INVALID],
    ['a payload that is not UTF-8', mint(Buffer.concat([Buffer.from('{"sub":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')])), INVALID],
    ['nbf in the future', mint({ nbf: now + 100 }), INVALID],
    ['exp now', mint({ exp: now }), EXPIRED],
    ['exp as a string', mint({ exp: String(now + 100) }), INVALID],
    ['exp as null', mint({ exp: null }), INVALID],
    ['exp as an array', mint({ exp: [now + 100] }), INVALID],
    ['exp far below zero', mint('{"exp":-1e300}'), INVALID],
    ['exp infinite', mint('{"exp":1e400}'), INVALID],
    ['exp in 300 years', mint({ exp: now + 300 * 365 * 86_400 }), ACCEPTED],
    ['exp as a fraction', mint({ exp: now + 0.5 + 60 }), ACCEPTED],
    ['no exp', mint({ sub: 'ann' }), ACCEPTED],
    ['nbf as a string', mint({ nbf: '0' }), INVALID],
    ['nbf infinite', mint('{"nbf":-1e400}'), INVALID],
    ['iat as a string', mint({ iat: 'now' }), INVALID],
    ['iat infinite', mint('{"iat":-1e400}'), INVALID],
    ['iat 50 s ahead', mint({ iat: now + 50 }), ACCEPTED],
    ['iat 90 s ahead', mint({ iat: now + 90 }), INVALID],
    ['iat a year ahead', mint({ iat: now + 31_536_000 }), INVALID],
    ['crit unknown', mint({}, { crit: ['exp'], exp: 1 }), INVALID],
    ['crit an empty string', mint({}, { crit: '' }), INVALID],
    ['crit an empty array', mint({}, { crit: [] }), INVALID],
    ['crit a string', mint({}, { crit: 'b64' }), INVALID],
    ['crit null', mint({}, { crit: null }), INVALID],
    ['kid a number', mint({}, { kid: 7 }), INVALID],
    ['kid "constructor"', mint({}, { kid: 'constructor' }), INVALID],
    ['kid "__proto__"', mint({}, { kid: '__proto__' }), INVALID],
    ['kid "toString"', mint({}, { kid: 'toString' }), INVALID],
    ['nested 2,500 deep', mint(`{"sub":"ann","deep":${deep}}`), ACCEPTED],
    ['longer than maxTokenBytes', mint({ sub: 'a'.repeat(8192) }), INVALID],
    ['characters of three bytes, longer than maxTokenBytes', 'é'.repeat(5000), INVALID]
  ]
  for (const [way, [options, prepare]] of Object.entries(ways('HS256'))) {
    const app = await build(t, options, prepare)
    for (const [what, token, answer] of tokens) t.equal(await ask(app, token), answer, `${way}: ${what}`)
  }
})

t.test('a short or DER signature of ES256 is 401', async (t) => {
  const [head, body, signature = ''] = mint({ sub: 'ann' }, {}, 'ES256').split('.')
  const raw = Buffer.from(signature, 'base64url')
  const der = Buffer.concat([Buffer.from([0x30, 68, 2, 32]), raw.subarray(0, 32), Buffer.from([2, 32]), raw.subarray(32)])
  for (const [options, prepare] of Object.values(ways('ES256'))) {
    const app = await build(t, options, prepare)
    t.equal(await ask(app, `${head}.${body}.${raw.subarray(0, 20).toString('base64url')}`), INVALID)
    t.equal(await ask(app, `${head}.${body}.${der.toString('base64url')}`), INVALID)
  }
})

t.test('a setting about a claim makes the claim required', async (t) => {
  const settings: Array<[FastifyJWTOptions['verify'], good: object, missing: object, wrong: object]> = [
    [{ allowedIss: 'us' }, { iss: 'us' }, {}, { iss: 'them' }],
    [{ allowedAud: ['chat'] }, { aud: ['chat', 'mail'] }, {}, { aud: [] }],
    [{ allowedSub: 'ann' }, { sub: 'ann' }, {}, { sub: 'bob' }],
    [{ allowedJti: 'a' }, { jti: 'a' }, {}, { jti: 'b' }],
    [{ allowedNonce: 'a' }, { nonce: 'a' }, {}, { nonce: 'b' }],
    [{ requiredClaims: ['room'] }, { room: 1 }, {}, {}]
  ]
  for (const [verify, good, missing, wrong] of settings) {
    for (const [way, [options, prepare]] of Object.entries(ways('HS256', verify))) {
      const app = await build(t, options, prepare)
      t.equal(await ask(app, mint(good)), ACCEPTED, `${way}: ${JSON.stringify(verify)} and ${JSON.stringify(good)}`)
      t.equal(await ask(app, mint(missing)), INVALID, `${way}: ${JSON.stringify(verify)} and none`)
      t.equal(await ask(app, mint(wrong)), INVALID, `${way}: ${JSON.stringify(verify)} and ${JSON.stringify(wrong)}`)
    }
  }
})

t.test('a token needs an iat if maxAge is set', async (t) => {
  const app = await build(t, { jwt: { secret, verify: { maxAge: '10s' } } })
  t.equal(await ask(app, mint({ iat: seconds() })), ACCEPTED)
  t.equal(await ask(app, mint({ iat: seconds(-11) })), EXPIRED)
  t.equal(await ask(app, mint({})), INVALID)
})

t.test('the plugin takes tolerances and ignored times from @fastify/jwt', async (t) => {
  const tolerant = await build(t, { jwt: { secret, verify: { clockTolerance: 120_000 } } })
  t.equal(await ask(tolerant, mint({ exp: seconds(-60) })), ACCEPTED)
  t.equal(await ask(tolerant, mint({ nbf: seconds(60) })), ACCEPTED)
  t.equal(await ask(tolerant, mint({ iat: seconds(100) })), ACCEPTED)
  t.equal(await ask(tolerant, mint({ exp: seconds(-130) })), EXPIRED)
  t.equal(await ask(tolerant, mint({ iat: seconds(130) })), INVALID)
  const careless = await build(t, { jwt: { secret, verify: { ignoreExpiration: true, ignoreNotBefore: true } } })
  t.equal(await ask(careless, mint({ exp: seconds(-60), nbf: seconds(60) })), ACCEPTED)
})

t.test('a wrong typ is 401 if the verifier sets checkTyp', async (t) => {
  const app = await build(t, { jwt: { secret, verify: { checkTyp: 'at+jwt' } } })
  t.equal(await ask(app, mint({}, { typ: 'at+jwt' })), ACCEPTED)
  t.equal(await ask(app, mint({}, { typ: 'JWT' })), INVALID)
  t.equal(await ask(app, mint({}, { typ: undefined })), INVALID)
})

t.test('the trusted function decides last, at once or later', async (t) => {
  const trusts: Array<[what: string, trusted: FastifyJWTOptions['trusted'], answer: string]> = [
    ['true', () => true, ACCEPTED],
    ['false', () => false, INVALID],
    ['true, later', async () => true, ACCEPTED],
    ['false, later', async () => false, INVALID],
    ['a throw', () => { throw new Error('inner secret') }, UNAVAILABLE],
    ['a rejection', async () => { throw new Error('inner secret') }, UNAVAILABLE]
  ]
  for (const [what, trusted, answer] of trusts) {
    for (const [way, [options, prepare]] of Object.entries({
      'the plugin\'s own': [{ jwt: { secret, trusted } }] as [WsAuthOptions, Prepare?],
      'the app\'s': [{}, (app: FastifyInstance) => app.register(fastifyJwt, { secret, trusted })] as [WsAuthOptions, Prepare?]
    })) {
      const app = await build(t, options, prepare)
      t.equal(await ask(app, mint({ sub: 'ann' })), answer, `${way}: ${what}`)
    }
  }
})

t.test('a missing key is 401, an unavailable key is 503, and only the log has the reason', async (t) => {
  const answers: Array<[what: string, secret: () => unknown, answer: string]> = [
    ['undefined', async () => undefined, INVALID],
    ['null', async () => null, INVALID],
    ['a function, as keys[kid] finds one', async () => Object, INVALID],
    ['a rejection', async () => { throw new Error('inner: connect ECONNREFUSED 10.0.0.7') }, UNAVAILABLE],
    ['a throw', () => { throw new Error('inner: connect ECONNREFUSED 10.0.0.7') }, UNAVAILABLE],
    ['no key at all, but an object', async () => ({ kty: 'oct' }), UNAVAILABLE],
    ['jose without a matching key', async () => { throw Object.assign(new Error('no applicable key found'), { code: 'ERR_JWKS_NO_MATCHING_KEY' }) }, INVALID],
    ['a Buffer', async () => Buffer.from(secret), ACCEPTED]
  ]
  for (const [what, key, answer] of answers) {
    const lines: string[] = []
    const app = await build(t, { jwt: { secret: key as never } }, undefined, { level: 'trace', stream: { write: (line: string) => lines.push(line) } })
    t.equal(await ask(app, mint({ sub: 'ann' })), answer, what)
    if (answer === UNAVAILABLE) t.match(lines.join(''), /inner: connect|must give a string/, `${what}: the log has the reason`)
  }
  for (const [what, key, answer] of answers.filter(([what]) => !/function|object|undefined|null/.test(what))) {
    const app = await build(t, {}, (app) => app.register(fastifyJwt, { secret: key as never }))
    t.equal(await ask(app, mint({ sub: 'ann' })), answer, `the app's: ${what}`)
  }
})

t.test('a secret function may answer by a callback', async (t) => {
  type Done = (error: Error | null, key?: unknown) => void
  const answers: Array<[(done: Done) => void, string]> = [
    [(done) => done(null, secret), ACCEPTED],
    [(done) => setImmediate(done, null, secret), ACCEPTED],
    [(done) => done(null, undefined), INVALID],
    [(done) => done(new Error('inner')), UNAVAILABLE]
  ]
  for (const [call, answer] of answers) {
    const app = await build(t, { jwt: { secret: ((_request: unknown, _token: unknown, done: Done) => { call(done) }) as never } })
    t.equal(await ask(app, mint({ sub: 'ann' })), answer)
  }
})

t.test('the verifier takes PEM keys as a Buffer or as the public key of an object', async (t) => {
  const { public: key } = keys.RS256
  const app = await build(t, { jwt: { secret: { public: (async () => Buffer.from(key)) as never } } })
  t.equal(await ask(app, mint({ sub: 'ann' }, {}, 'RS256')), ACCEPTED)
  t.equal(await ask(app, mint({ sub: 'ann' }, {}, 'ES256')), INVALID)
})

t.test('a JWKS by jose verifies tokens of known keys, refuses an unknown kid, and is 503 if its endpoint is down', async (t) => {
  const jwk = { ...createPublicKey(keys.ES256.public).export({ format: 'jwk' }), kid: 'one', alg: 'ES256', use: 'sig' }
  const server = createServer((_request, response) => response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: [jwk] })))
  t.teardown(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  const { createRemoteJWKSet } = await import('jose')
  const withJwks = (jwks: ReturnType<typeof createRemoteJWKSet>): FastifyJWTOptions => ({
    secret: (async (_request: unknown, { header }: { header: { kid: string } }) => {
      const key = await jwks(header as never)
      return KeyObject.from(key as never).export({ type: 'spki', format: 'pem' })
    }) as never,
    decode: { complete: true },
    verify: { algorithms: ['ES256'] }
  })

  for (const own of [true, false]) {
    const build1 = async (jwt: FastifyJWTOptions): Promise<FastifyInstance> =>
      own ? await build(t, { jwt }) : await build(t, {}, (app) => app.register(fastifyJwt, jwt))
    const app = await build1(withJwks(createRemoteJWKSet(url)))
    t.equal(await ask(app, mint({ sub: 'ann' }, { kid: 'one' }, 'ES256')), ACCEPTED)
    t.equal(await ask(app, mint({ sub: 'ann' }, { kid: 'two' }, 'ES256')), INVALID)
    t.equal(await ask(app, mint({ sub: 'ann' }, { kid: 'one' }, 'RS256')), INVALID)
    const down = await build1(withJwks(createRemoteJWKSet(new URL('http://127.0.0.1:1/'))))
    t.equal(await ask(down, mint({ sub: 'ann' }, { kid: 'one' }, 'ES256')), UNAVAILABLE)
  }
})

t.test('each answer of a verify function leads to exactly the expected answer', async (t) => {
  const answers: Array<[what: string, verify: WsAuthOptions['verify'], answer: string]> = [
    ['claims', () => ({ sub: 'ann' }), ACCEPTED],
    ['claims, later', async () => ({ sub: 'ann' }), ACCEPTED],
    ['null', () => null, INVALID],
    ['undefined', () => undefined, INVALID],
    ['true', () => true, INVALID],
    ['an array', () => ['ann'], INVALID],
    ['claims that have expired', () => ({ exp: seconds(-1) }), EXPIRED],
    ['claims that are not valid yet', () => ({ nbf: seconds(10) }), INVALID],
    ['a refusal', () => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_TOKEN_EXPIRED') }, EXPIRED],
    ['a token error of fast-jwt', () => { throw Object.assign(new Error('bad'), { code: 'FAST_JWT_INVALID_SIGNATURE' }) }, INVALID],
    ['a token error of @fastify/jwt', async () => { throw Object.assign(new Error('bad'), { code: 'FST_JWT_AUTHORIZATION_TOKEN_EXPIRED' }) }, EXPIRED],
    ['a token error of jsonwebtoken', () => { throw Object.assign(new Error('jwt expired'), { name: 'TokenExpiredError' }) }, EXPIRED],
    ['a token error of jsonwebtoken', () => { throw Object.assign(new Error('jwt malformed'), { name: 'JsonWebTokenError' }) }, INVALID],
    ['a RangeError', () => { throw new RangeError('Invalid time value') }, INVALID],
    ['any other error', () => { throw new Error('connect ECONNREFUSED') }, UNAVAILABLE],
    ['any other error, later', async () => { throw new Error('connect ECONNREFUSED') }, UNAVAILABLE],
    // eslint-disable-next-line no-throw-literal
    ['no error at all', () => { throw undefined }, UNAVAILABLE]
  ]
  for (const [what, verify, answer] of answers) {
    const app = await build(t, { verify })
    t.equal(await ask(app, 'opaque'), answer, what)
  }
  const { jwtVerify: joseVerify } = await import('jose')
  const jose = await build(t, { verify: async (token) => (await joseVerify(token, Buffer.from(secret), { algorithms: ['HS256'] })).payload })
  t.equal(await ask(jose, mint({ sub: 'ann' })), ACCEPTED)
  t.equal(await ask(jose, mint({ exp: seconds(-10) })), EXPIRED)
  t.equal(await ask(jose, mint({}, {}, 'RS256')), INVALID)
  t.equal(await ask(jose, 'opaque'), INVALID)
})

t.test('the user is the claims, or the result of formatUser or of the user option', async (t) => {
  const seen: unknown[] = []
  const handle = async (options: WsAuthOptions, prepare?: Prepare): Promise<unknown> => {
    const app = await build(t, options, prepare)
    app.addHook('preHandler', async (request) => { seen.push(request.user) })
    t.equal(await ask(app, mint({ sub: 'ann', roles: ['a'], __proto__: undefined })), ACCEPTED)
    return seen.pop()
  }
  const formatUser = (payload: object): object => ({ name: (payload as { sub: string }).sub, payload })
  const claims = { sub: 'ann', roles: ['a'] }
  t.strictSame(await handle({ jwt: { secret } }), claims)
  t.strictSame(await handle({}, (app) => app.register(fastifyJwt, { secret })), claims)
  t.strictSame(await handle({ jwt: { secret, verify: { complete: true } } }), claims)
  t.strictSame(await handle({ jwt: { secret, formatUser: formatUser as never } }), { name: 'ann', payload: claims })
  t.strictSame(await handle({}, (app) => app.register(fastifyJwt, { secret, formatUser: formatUser as never })), { name: 'ann', payload: claims })
  t.strictSame(await handle({ jwt: { secret }, user: ({ sub }) => ({ id: sub }) }), { id: 'ann' })
  t.strictSame(await handle({ jwt: { secret }, user: async ({ sub }) => ({ id: sub }) }), { id: 'ann' })
})

t.test('a decorator that the app names for @fastify/jwt has the user too', async (t) => {
  const app = await build(t, {}, (app) => app.register(fastifyJwt, { secret, decoratorName: 'principal' } as FastifyJWTOptions))
  const seen: unknown[] = []
  app.addHook('preHandler', async (request) => { seen.push(request.user, (request as unknown as { principal: unknown }).principal) })
  t.equal(await ask(app, mint({ sub: 'ann' })), ACCEPTED)
  t.strictSame(seen, [{ sub: 'ann' }, { sub: 'ann' }])
  t.ok(Object.isFrozen(seen[1]), 'it is not the object that the verifier shares')
})

t.test('a truthy onlyCookie works as onlyCookie: true, and admits no anonymous client', async (t) => {
  const [good, bad] = [mint({ sub: 'ann' }), `${mint({ sub: 'ann' }).slice(0, -4)}AAAA`]
  const cookie = { cookieName: 'session', signed: false }
  const REQUESTS: Array<[headers: Record<string, string>, answer: string]> = [
    [{}, '401 WS_AUTH_TOKEN_MISSING'],
    [{ cookie: 'session=' }, '401 WS_AUTH_TOKEN_MISSING'],
    [{ cookie: `token=${good}` }, '401 WS_AUTH_TOKEN_MISSING'],
    [{ cookie: `session=${good}` }, ACCEPTED],
    [{ cookie: `session=${bad}` }, INVALID],
    [{ authorization: `Bearer ${good}` }, ACCEPTED],
    [{ authorization: `Bearer ${bad}` }, INVALID],
    [{ authorization: `Bearer ${bad}`, cookie: `session=${good}` }, INVALID],
    [{ authorization: `Bearer ${good}`, cookie: `session=${bad}` }, ACCEPTED]
  ]
  for (const onlyCookie of [true, 1, 'yes'] as boolean[]) {
    for (const secretSetting of [secret, async () => secret]) {
      const jwt = { secret: secretSetting, cookie, verify: { onlyCookie } } as FastifyJWTOptions
      const apps: Array<[whose: string, app: FastifyInstance]> = [
        ['the plugin\'s', await build(t, { jwt })],
        ['the app\'s', await build(t, {}, async (app) => { await app.register(fastifyCookie); await app.register(fastifyJwt, jwt) })]
      ]
      for (const [whose, app] of apps) {
        for (const [headers, answer] of REQUESTS) {
          const response = await app.inject({ url: '/chat', headers })
          const { code } = response.json() as { code?: string }
          t.equal(code === undefined ? String(response.statusCode) : `${response.statusCode} ${code}`, answer, `${whose} with ${String(onlyCookie)}: ${Object.keys(headers).join()}`)
        }
        await t.rejects(app.injectWS('/chat'), { message: 'Unexpected server response: 401' })
      }
    }
  }
})
