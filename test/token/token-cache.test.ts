import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import type { WsAuthOptions } from '../../lib/options/public-options'
import { keys, mint, seconds, secret } from '../helpers/keys'

interface Cached {
  app: FastifyInstance
  users: Array<Record<string, unknown>>
  /** How often the verifier behind the cache was asked. */
  asked: () => number
  ask: (token: string) => Promise<string>
}

async function build (t: Test, tokenCache: WsAuthOptions['tokenCache'], options: WsAuthOptions = {}): Promise<Cached> {
  const app = Fastify()
  t.teardown(() => app.close())
  let asked = 0
  const users: Array<Record<string, unknown>> = []
  // `trusted` is asked by the verifier once it has verified: it is what a hit skips.
  await app.register(fastifyWsAuth, options.verify === undefined ? { jwt: { secret, trusted: () => { asked++; return true } }, tokenCache, ...options } : { tokenCache, ...options })
  app.get('/chat', { websocket: true }, () => {})
  app.addHook('preHandler', async (request) => { users.push(request.user as Record<string, unknown>) })
  const ask = async (token: string): Promise<string> => {
    const response = await app.inject({ url: '/chat', headers: { authorization: `Bearer ${token}` } })
    return response.json().code ?? 'accepted'
  }
  return { app, users, asked: () => asked, ask }
}

t.test('the verifier runs once for a token within the ttl', async (t) => {
  const { asked, ask } = await build(t, { max: 10, ttl: 60_000 })
  const token = mint({ sub: 'ann' })
  for (let i = 0; i < 5; i++) t.equal(await ask(token), 'accepted')
  t.equal(asked(), 1)
  t.equal(await ask(mint({ sub: 'bob' })), 'accepted')
  t.equal(asked(), 2, 'another token is another')
})

t.test('the verifier runs again for a token after the ttl', async (t) => {
  const { asked, ask } = await build(t, { max: 10, ttl: 20 })
  const token = mint({ sub: 'ann' })
  t.equal(await ask(token), 'accepted')
  await new Promise((resolve) => setTimeout(resolve, 40))
  t.equal(await ask(token), 'accepted')
  t.equal(asked(), 2)
})

t.test('the tokenCache is off by default', async (t) => {
  for (const tokenCache of [undefined, false] as const) {
    const { asked, ask } = await build(t, tokenCache)
    const token = mint({ sub: 'ann' })
    for (let i = 0; i < 3; i++) t.equal(await ask(token), 'accepted')
    t.equal(asked(), 3)
  }
})

t.test('the tokenCache holds no more than max tokens', async (t) => {
  const { asked, ask } = await build(t, { max: 2, ttl: 60_000 })
  const tokens = ['a', 'b', 'c'].map((sub) => mint({ sub }))
  for (const token of tokens) t.equal(await ask(token), 'accepted')
  t.equal(await ask(tokens[2] as string), 'accepted')
  t.equal(await ask(tokens[1] as string), 'accepted')
  t.equal(asked(), 3, 'the last two are there')
  t.equal(await ask(tokens[0] as string), 'accepted')
  t.equal(asked(), 4, 'the first is not')
})

t.test('the verifier runs for each of two tokens that differ by one character', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let asked = 0
  await app.register(fastifyWsAuth, { jwt: { secret: { public: keys.ES256.public }, trusted: () => { asked++; return true } }, tokenCache: { max: 10, ttl: 60_000 } })
  app.get('/chat', { websocket: true }, () => {})
  const token = mint({ sub: 'ann' }, {}, 'ES256')
  const ask = async (token: string): Promise<number> => (await app.inject({ url: '/chat', headers: { authorization: `Bearer ${token}` } })).statusCode
  t.equal(await ask(token), 426)
  const twin = token.slice(0, -1) + ({ A: 'B', Q: 'R', g: 'h', w: 'x' }[token.slice(-1)] ?? '_')
  t.equal(await ask(twin), 426, 'the verifier ignores the trailing bits')
  t.equal(asked, 2)
  t.equal(await ask(token.slice(0, -8) + 'AAAAAAAA'), 401)
})

t.test('the tokenCache keeps no refusals', async (t) => {
  let valid = false
  const { ask } = await build(t, { max: 10, ttl: 60_000 }, { verify: async () => valid ? { sub: 'ann' } : null })
  t.equal(await ask('opaque'), 'WS_AUTH_TOKEN_INVALID')
  valid = true
  t.equal(await ask('opaque'), 'accepted')
  valid = false
  t.equal(await ask('opaque'), 'accepted', 'but what was let through is, also of the app\'s own verifier')
})

t.test('the plugin checks exp and nbf at every hit of the tokenCache', async (t) => {
  const { ask, asked } = await build(t, { max: 10, ttl: 60_000 })
  const { now } = Date
  t.teardown(() => { Date.now = now })
  // The clock stands, because a busy machine may take seconds between two lines.
  const startedAt = now()
  Date.now = () => startedAt
  const token = mint({ sub: 'ann', exp: seconds(30), nbf: seconds(-30) })
  t.equal(await ask(token), 'accepted')
  Date.now = () => startedAt + 28_000
  t.equal(await ask(token), 'accepted')
  Date.now = () => startedAt + 31_000
  t.equal(await ask(token), 'WS_AUTH_TOKEN_EXPIRED')
  Date.now = () => startedAt - 60_000
  t.equal(await ask(token), 'WS_AUTH_TOKEN_INVALID', 'a clock that went back')
  Date.now = now
  t.equal(asked(), 1)
})

t.test('two requests never share claims or users, and cannot change them', async (t) => {
  const shared = { name: 'shared', roles: ['member'] }
  const variants: Array<[string, WsAuthOptions]> = [
    ['no cache', {}],
    ['tokenCache', { tokenCache: { max: 10, ttl: 60_000 } }],
    ['the verifier\'s own cache', { jwt: { secret, verify: { cache: true } } }],
    ['both', { jwt: { secret, verify: { cache: true } }, tokenCache: { max: 10, ttl: 60_000 } }],
    ['formatUser', { jwt: { secret, formatUser: (() => shared) as never } }],
    ['formatUser and tokenCache', { jwt: { secret, formatUser: (() => shared) as never }, tokenCache: { max: 10, ttl: 60_000 } }],
    ['the user option', { user: () => shared, tokenCache: { max: 10, ttl: 60_000 } }]
  ]
  for (const [what, options] of variants) {
    const { users, ask } = await build(t, options.tokenCache, options)
    const token = mint({ name: 'ann', roles: ['member'], deep: { list: [{ a: 1 }] } })
    for (let i = 0; i < 3; i++) t.equal(await ask(token), 'accepted')
    const [one, two, three] = users as [Record<string, unknown>, Record<string, unknown>, Record<string, unknown>]
    t.strictSame(one, two, what)
    t.strictSame(two, three, what)
    t.not(one, two, what)
    t.not(two.roles, three.roles, what)
    t.ok(Object.isFrozen(one) && Object.isFrozen(one.roles), what)
    t.throws(() => { (two.roles as string[]).push('admin') }, TypeError, what)
    if (one.deep !== undefined) t.ok(Object.isFrozen((one.deep as { list: unknown[] }).list[0]), what)
  }
  shared.roles.push('untouched')
  t.strictSame(shared.roles, ['member', 'untouched'], 'what the app keeps was not frozen')
})
