/*
 * The verifier of @fastify/jwt in each of the ways in which it is asked: whose claims it answers with, who gets which object, and
 * which of its settings become rules.
 */
import t from 'tap'
import type { Test } from 'tap'
import Fastify from 'fastify'
import type { FastifyRequest } from 'fastify'
import fastifyCookie from '@fastify/cookie'
import fastifyJwt from '@fastify/jwt'
import type { FastifyJWTOptions, JWT } from '@fastify/jwt'
import { WsAuthError } from '../../lib/base/errors'
import { createJwtVerifier } from '../../lib/token/jwt-verifier'
import { withSafeSecret } from '../../lib/token/jwt-secret'
import { verified } from '../../lib/token/verifier'
import type { Verified, Verifier } from '../../lib/token/verifier'
import { mint, secret, seconds } from '../helpers/keys'

const ANN = { sub: 'ann', roles: ['member'] }
const ASKER = { signal: new AbortController().signal }

interface Made {
  readonly verifier: Verifier
  readonly jwt: JWT
  readonly request: FastifyRequest
  readonly log: string[]
  /** What a token was found to say, or the code and the cause of the refusal. */
  readonly outcomeOf: (token: string) => Promise<string>
  readonly read: (token: string) => Promise<Verified>
}

/**
 * A verifier of these settings, which the plugin was given or the app has registered by itself, and a request to ask it with.
 *
 * @param answer what the app's own `request.jwtVerify()` answers without looking at the token, if it is another
 */
async function make (t: Test, settings: object, isOwn: boolean, answer?: unknown): Promise<Made> {
  const log: string[] = []
  const app = Fastify({ logger: { stream: { write: (line: string) => { log.push(line) } }, level: 'warn' } })
  t.teardown(() => app.close())
  await app.register(fastifyCookie)
  const given = { secret, ...settings } as FastifyJWTOptions
  const own = isOwn ? withSafeSecret(given) : undefined
  await app.register(fastifyJwt, own ?? given)
  app.decorateRequest('verifyNothing', (_options: unknown, callback: (error: unknown, user: unknown) => void) => { callback(null, answer) })
  let request: FastifyRequest | null = null
  app.get('/', async (one) => { request = one; return '' })
  await app.inject({ url: '/', headers: { authorization: 'Bearer of.another.place', cookie: `token=${mint({ sub: 'cookie' })}` } })
  const verifier = createJwtVerifier(app, app.jwt as JWT, answer === undefined ? 'jwtVerify' : 'verifyNothing', own)
  const asked = request as unknown as FastifyRequest
  const read = async (token: string): Promise<Verified> => await verified(verifier.verify(token, asked, ASKER))
  const outcomeOf = async (token: string): Promise<string> => {
    try {
      const { claims, user } = await read(token)
      return user === claims ? JSON.stringify(claims) : `${JSON.stringify(claims)} as ${JSON.stringify(user)}`
    } catch (error) {
      if (!(error instanceof WsAuthError)) throw error
      return error.cause === undefined ? error.code : `${error.code}: ${String(error.cause)}`
    }
  }
  return { verifier, jwt: app.jwt as JWT, request: asked, log, outcomeOf, read }
}

/** Each way in which a verifier is asked: the settings that lead to it. */
const FUNCTIONS: Record<string, object> = {
  'a fixed key': {},
  'a function that calls back': { secret: (_request: unknown, _token: unknown, callback: (error: unknown, key: string) => void) => { callback(null, secret) } },
  'a function that calls back later': { secret: (_request: unknown, _token: unknown, callback: (error: unknown, key: string) => void) => { setImmediate(callback, null, secret) } },
  'an async function': { secret: async () => secret }
}
const REST: Record<string, object> = {
  'nothing else': {},
  'a cache': { verify: { cache: true } },
  complete: { verify: { complete: true } },
  'complete that is truthy': { verify: { complete: 1 } },
  trusted: { trusted: async () => true },
  extractToken: { verify: { extractToken: () => 'of.another.place' } },
  onlyCookie: { cookie: { cookieName: 'token', signed: false }, verify: { onlyCookie: true } }
}

for (const isOwn of [true, false]) {
  const whose = isOwn ? 'the plugin\'s' : 'the app\'s'
  for (const [key, secretSetting] of Object.entries(FUNCTIONS)) {
    for (const [rest, more] of Object.entries(REST)) {
      t.test(`the plugin reads the claims of the right token: ${whose} @fastify/jwt with ${key} and ${rest}`, async (t) => {
        const { outcomeOf, read, request } = await make(t, { ...secretSetting, ...more }, isOwn)
        request.user = 'before'
        for (const claims of [ANN, { sub: 'bob' }, ANN]) t.equal(await outcomeOf(mint(claims)), JSON.stringify(claims))
        t.match(await outcomeOf(`${mint(ANN).slice(0, -3)}AAA`), /^WS_AUTH_TOKEN_INVALID/)
        t.match(await outcomeOf(mint({ exp: seconds(-10) })), /^WS_AUTH_TOKEN_EXPIRED/)
        t.match(await outcomeOf('no token'), /^WS_AUTH_TOKEN_INVALID: not a JWT in compact serialization/)
        t.match(await outcomeOf(mint(Buffer.from([0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d]))), /^WS_AUTH_TOKEN_INVALID: its payload is not valid UTF-8/)
        const token = mint(ANN)
        const [one, other] = [await read(token), await read(token)]
        t.ok(Object.isFrozen(one.claims) && Object.isFrozen(one.claims.roles))
        t.not(one.claims, other.claims, 'nobody else has that object')
        t.equal(request.user, 'before', 'nobody is known to be admitted yet')
        t.equal(request.raw.headers.authorization, 'Bearer of.another.place')
      })
    }
    t.test(`the user is the frozen result of formatUser: ${whose} @fastify/jwt with ${key}`, async (t) => {
      const formatted: unknown[] = []
      const formatUser = (payload: object): object => { const user = { is: payload, more: [1] }; formatted.push(user); return user }
      for (const verify of [{}, { cache: true }]) {
        const { read } = await make(t, { ...secretSetting, formatUser, verify }, isOwn)
        const { claims, user } = await read(mint(ANN))
        t.strictSame([claims, user], [ANN, { is: ANN, more: [1] }])
        t.not(user, formatted.at(-1))
        t.ok(Object.isFrozen(user) && Object.isFrozen((user as { more: number[] }).more))
      }
    })
    t.test(`a token that trusted rejects is refused: ${whose} @fastify/jwt with ${key}`, async (t) => {
      for (const trusted of [() => false, async () => false]) {
        const { outcomeOf } = await make(t, { ...secretSetting, trusted }, isOwn)
        t.match(await outcomeOf(mint(ANN)), /^WS_AUTH_TOKEN_INVALID/)
      }
    })
  }

  t.test(`a cache that confuses two tokens does not admit one by the claims of the other: ${whose} @fastify/jwt`, async (t) => {
    const verify = { cache: true, cacheKeyBuilder: () => 'one for all' }
    for (const more of [{ verify }, { verify, formatUser: (payload: object) => ({ ...payload, isFormatted: true }) }, { verify, secret: async () => secret }]) {
      const { outcomeOf } = await make(t, more, isOwn)
      t.match(await outcomeOf(mint({ sub: 'root' })), /^\{"sub":"root"\}/)
      t.match(await outcomeOf(mint({ sub: 'ann' })), isOwn ? /^WS_AUTH_TOKEN_INVALID: the verifier answered with the claims of another token/ : /^\{"sub":"ann"\}/)
    }
  })
}

t.test('a trusted function may change its own copy of the claims, which becomes the user', async (t) => {
  for (const secretSetting of [{}, { secret: async () => secret }]) {
    const trusted = (_request: unknown, payload: { roles: string[] }): boolean => { payload.roles.push('admin'); return true }
    const { read } = await make(t, { ...secretSetting, trusted }, true)
    const { claims, user } = await read(mint(ANN))
    t.strictSame([claims, user], [ANN, { sub: 'ann', roles: ['member', 'admin'] }])
    t.ok(Object.isFrozen(user))
  }
  const { read } = await make(t, { verify: { complete: true }, trusted: () => true }, true)
  const { claims, user } = await read(mint(ANN))
  t.equal(user, claims, 'the claims are the user if nothing was changed')
})

t.test('the trusted function gets the request and a copy of the claims, and refuses by any falsy answer', async (t) => {
  const asked: unknown[][] = []
  const { outcomeOf, request } = await make(t, { trusted: (...args: unknown[]) => { asked.push(args); return true } }, true)
  await outcomeOf(mint(ANN))
  t.equal(asked[0]?.[0], request)
  t.strictSame(asked[0]?.[1], ANN)
  for (const answer of [false, undefined, null, 0, '']) {
    const { outcomeOf } = await make(t, { trusted: () => answer }, true)
    t.equal(await outcomeOf(mint(ANN)), 'WS_AUTH_TOKEN_INVALID: it is not trusted')
  }
})

t.test('the log warns of settings that build a verifier for every handshake, and of no others', async (t) => {
  const warned = async (settings: object, isOwn: boolean): Promise<boolean> => (await make(t, settings, isOwn)).log.join('').includes('extractToken, onlyCookie or cacheKeyBuilder: it will build a verifier for every handshake')
  const fetched = { secret: async () => secret }
  const cookie = { cookieName: 'token', signed: false }
  const cacheKeyBuilder = (token: string): string => token
  for (const isOwn of [true, false]) {
    t.equal(await warned(fetched, isOwn), false)
    t.equal(await warned({ ...fetched, verify: { extractToken: () => 'x' } }, isOwn), true)
    t.equal(await warned({ ...fetched, cookie, verify: { onlyCookie: true } }, isOwn), true)
    t.equal(await warned({ ...fetched, cookie, verify: { onlyCookie: false } }, isOwn), false)
    t.equal(await warned({ ...fetched, verify: { cache: true, cacheKeyBuilder } }, isOwn), !isOwn)
    t.equal(await warned({ ...fetched, verify: { cache: 10, cacheKeyBuilder } }, isOwn), !isOwn)
    t.equal(await warned({ ...fetched, verify: { cache: false, cacheKeyBuilder } }, isOwn), false)
    t.equal(await warned({ ...fetched, verify: { cacheKeyBuilder } }, isOwn), false)
    t.equal(await warned({ ...fetched, verify: { cache: true } }, isOwn), false)
  }
  t.equal(await warned({ verify: { extractToken: () => 'x' } }, true), false, 'with a fixed key of the plugin\'s own it is not asked by request')
})

t.test('settings of the verifier about a claim make it required, and others become rules', async (t) => {
  const rules = async (verify: object): Promise<unknown> => (await make(t, { verify }, true)).verifier.rules
  const none = { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null }
  t.strictSame(await rules({}), none)
  for (const [setting, claim] of [['allowedIss', 'iss'], ['allowedAud', 'aud'], ['allowedSub', 'sub'], ['allowedJti', 'jti'], ['allowedNonce', 'nonce']] as const) {
    t.strictSame(await rules({ [setting]: 'x' }), { ...none, required: [claim] })
  }
  t.strictSame(await rules({ clockTolerance: 5000 }), { ...none, clockTolerance: 5000 })
  t.strictSame(await rules({ ignoreExpiration: true }), { ...none, checkExpiry: false })
  t.strictSame(await rules({ ignoreExpiration: false, ignoreNotBefore: false }), none)
  t.strictSame(await rules({ ignoreNotBefore: true }), { ...none, checkNotBefore: false })
  t.strictSame(await rules({ maxAge: 60 }), { ...none, required: ['iat'], maxAge: 60_000 })
  t.strictSame(await rules({ maxAge: '2 minutes' }), { ...none, required: ['iat'], maxAge: 120_000 })
})

t.test('a forged token is refused whatever request.jwtVerify() of the app answers', async (t) => {
  const forged = `${mint(ANN).slice(0, -3)}AAA`
  const answer = { name: 'Ann' }
  for (const complete of [false, true]) {
    const fixed = await make(t, { verify: { complete } }, false, answer)
    t.match(await fixed.outcomeOf(forged), /^WS_AUTH_TOKEN_INVALID: .*FAST_JWT_INVALID_SIGNATURE/)
    t.equal(await fixed.outcomeOf(mint(ANN)), '{"sub":"ann","roles":["member"]} as {"name":"Ann"}')
  }
  const own = await make(t, { secret: async () => secret }, true, answer)
  for (const token of [forged, mint(ANN)]) t.equal(await own.outcomeOf(token), 'WS_AUTH_TOKEN_INVALID: it was not verified')
})

t.test('a change of an object in the cache of the verifier does not change the claims', async (t) => {
  const { jwt, outcomeOf } = await make(t, { verify: { cache: true } }, true)
  const token = mint(ANN)
  for (let i = 0; i < 2; i++) {
    const cached: { roles: string[] } = jwt.verify(token)
    cached.roles.push('admin')
    t.equal(await outcomeOf(token), JSON.stringify(ANN))
  }
})

t.test('the user is the result of formatUser with complete, whatever its payload', async (t) => {
  for (const secretSetting of [{}, { secret: async () => secret }]) {
    const { read } = await make(t, { ...secretSetting, verify: { complete: true }, formatUser: () => ({ name: 'Ann' }) }, true)
    const { claims, user } = await read(mint(ANN))
    t.strictSame([claims, user], [ANN, { name: 'Ann' }])
  }
})

t.test('a verification does not change Error.stackTraceLimit', async (t) => {
  const { outcomeOf } = await make(t, {}, true)
  const { stackTraceLimit } = Error
  t.teardown(() => { Error.stackTraceLimit = stackTraceLimit })
  for (const token of [`${mint(ANN).slice(0, -3)}AAA`, mint(ANN)]) {
    Error.stackTraceLimit = 17
    await outcomeOf(token)
    t.equal(Error.stackTraceLimit, 17)
  }
})
