/*
 * What is made of the settings of @fastify/jwt: a secret function that is safe, whether a key is there from the start, and the
 * warning of a short one; and what @fastify/jwt sees of a request while it verifies.
 */
import t from 'tap'
import type { FastifyRequest } from 'fastify'
import type { FastifyJWTOptions } from '@fastify/jwt'
import { WsAuthError } from '../../lib/base/errors'
import { isStatic, warnOfShortSecret, withSafeSecret } from '../../lib/token/jwt-secret'
import { TokenView, viewOf } from '../../lib/token/token-view'

type Secret = (request: unknown, token: unknown, callback: (error: unknown, key?: unknown) => void) => unknown
type Options = FastifyJWTOptions

const PEM = '-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----'

/** The safe secret function of an unsafe one. */
function safe (secret: Secret): Secret {
  return withSafeSecret({ secret } as unknown as Options).secret as unknown as Secret
}

/** What a secret function gives its callback, or resolves to: the key, or the error. */
async function keyOf (secret: Secret): Promise<unknown> {
  return await new Promise((resolve) => {
    const answer = safe(secret)({}, {}, (error, key) => { resolve(error ?? key) }) as PromiseLike<unknown> | undefined
    void answer?.then(resolve, resolve)
  })
}

const WAYS: Record<string, (key: unknown) => Secret> = {
  'a callback': (key) => (_request, _token, callback) => { callback(null, key) },
  'a callback without an error': (key) => (_request, _token, callback) => { callback(undefined, key) },
  'a later callback': (key) => (_request, _token, callback) => { setImmediate(callback, null, key) },
  'a promise': (key) => async () => key
}

t.test('a missing key refuses the token, a key of a wrong type is an error of the app, and a PEM becomes a string', async (t) => {
  for (const [way, give] of Object.entries(WAYS)) {
    t.equal(await keyOf(give('secret')), 'secret', way)
    t.equal(await keyOf(give(PEM)), PEM)
    t.equal(await keyOf(give(Buffer.from(PEM))), PEM)
    const bytes = Buffer.from([1, 2, 3])
    t.equal(await keyOf(give(bytes)), bytes)
    for (const key of [null, undefined, () => {}, Object.prototype.toString]) {
      const error = await keyOf(give(key))
      t.ok(error instanceof WsAuthError && error.code === 'WS_AUTH_TOKEN_INVALID' && error.cause === 'there is no such key', way)
    }
    for (const key of [7, true, {}, new Uint8Array(3)]) t.match(await keyOf(give(key)), { name: 'TypeError', message: 'the secret function of @fastify/jwt must give a string (PEM) or a Buffer' })
  }
})

t.test('an error of the secret function is passed on, and a key beside it is ignored', async (t) => {
  const error = new Error('no keys')
  t.equal(await keyOf((_request, _token, callback) => { callback(error, () => {}) }), error)
  t.equal(await keyOf(async () => { throw error }), error)
  t.throws(() => safe(() => { throw error })({}, {}, () => {}), error)
  t.equal(safe(() => 'not a promise')({}, {}, () => {}), 'not a promise')
})

t.test('the functions of the app get the request of the app, not the view of @fastify/jwt', async (t) => {
  const request = { headers: { a: '1' } } as unknown as FastifyRequest
  const view = new TokenView(request, 'x', 'user')
  const seen = new Proxy(request, view)
  const asked: unknown[][] = []
  const trusted = (...args: unknown[]): boolean => { asked.push(args); return false }
  const options = withSafeSecret({ secret: (...args: unknown[]) => { asked.push(args.slice(0, 2)) }, trusted } as unknown as Options) as unknown as { secret: Secret, trusted: typeof trusted }
  options.secret(seen, 'token', () => {})
  options.secret(request, 'token', () => {})
  t.equal(options.trusted(seen, { sub: 'ann' }), false)
  t.equal(options.trusted(request, { sub: 'bob' }), false)
  for (const [i, [given]] of asked.entries()) t.equal(given, request, `call ${i}`)
  t.strictSame(asked.map(([, other]) => other), ['token', 'token', { sub: 'ann' }, { sub: 'bob' }])
  t.strictSame(view.verified, { sub: 'ann' }, 'what was verified is recorded')
  t.ok(Object.isFrozen(view.verified))
})

t.test('the plugin trusts and records each token if the app sets no trusted function', async (t) => {
  for (const complete of [undefined, false, true]) {
    const request = {} as unknown as FastifyRequest
    const view = new TokenView(request, 'x', 'user')
    const { trusted } = withSafeSecret({ secret: (() => {}) as never, verify: { complete } } as Options) as unknown as { trusted: (...args: unknown[]) => unknown }
    t.equal(trusted(new Proxy(request, view), { payload: { sub: 'ann' }, header: {} }), true)
    t.strictSame(view.verified, complete === true ? { sub: 'ann' } : { payload: { sub: 'ann' }, header: {} })
  }
})

t.test('a static key stays unchanged, and options of a public key keep their private key', async (t) => {
  for (const secret of ['x', Buffer.from('x'), { public: 'x', private: 'y' }]) {
    const own = { secret } as unknown as Options
    t.equal(withSafeSecret(own), own)
    t.ok(isStatic(own))
  }
  const fetch: Secret = async () => 'x'
  t.notOk(isStatic({ secret: fetch } as unknown as Options))
  t.notOk(isStatic({ secret: { public: fetch, private: 'y' } } as unknown as Options))
  const made = withSafeSecret({ secret: { public: fetch, private: 'y' }, namespace: 'n' } as unknown as Options) as unknown as { namespace: string, secret: { public: Secret, private: string } }
  t.strictSame([made.namespace, made.secret.private, typeof made.secret.public], ['n', 'y', 'function'])
  t.equal(await made.secret.public({}, {}, () => {}), 'x')
  t.not(made.secret.public, fetch)
})

/** The warnings of a secret that is too short. */
function warnings (options: unknown): string[] {
  const lines: string[] = []
  warnOfShortSecret(options as Options, { warn: (line: string) => lines.push(line) } as never)
  return lines
}

t.test('the log warns of a secret that is shorter than its longest hash, and not of keys of another kind', async (t) => {
  const text = (bytes: number, needed: number): string[] => [`the secret of @fastify/jwt has ${bytes} bytes: less than the ${needed} of its hash, so it can be guessed from a token`]
  t.strictSame(warnings({ secret: 'x'.repeat(31) }), text(31, 32))
  t.strictSame(warnings({ secret: 'x'.repeat(32) }), [])
  t.strictSame(warnings({ secret: 'é'.repeat(16) }), [], 'bytes are counted')
  t.strictSame(warnings({ secret: Buffer.alloc(31) }), text(31, 32))
  t.strictSame(warnings({ secret: { public: 'x', private: 'x' } }), text(1, 32))
  t.strictSame(warnings({ secret: 'x'.repeat(47), verify: { algorithms: ['HS256', 'HS384', 'RS512'] } }), text(47, 48))
  t.strictSame(warnings({ secret: 'x'.repeat(48), verify: { algorithms: ['HS256', 'HS384', 'RS512'] } }), [])
  t.strictSame(warnings({ secret: 'x'.repeat(63), sign: { algorithm: 'HS512' } }), text(63, 64))
  t.strictSame(warnings({ secret: 'x'.repeat(40), verify: { algorithms: ['HS256'] }, sign: { algorithm: 'HS512' } }), [], 'who verifies decides')
  t.strictSame(warnings({ secret: 'x', verify: { algorithms: ['RS256', 'XHS512', 'HS512X'] } }), [])
  t.strictSame(warnings({ secret: 'x', verify: {}, sign: {} }), text(1, 32))
  for (const secret of ['-----BEGIN x', Buffer.from('-----BEGIN x'), () => 'x', { public: () => 'x', private: 'x' }]) t.strictSame(warnings({ secret }), [])
})

t.test('the verifier sees the token as the only credential of the request, and all other properties unchanged', async (t) => {
  const own = { headers: { authorization: 'Bearer other', host: 'a' }, user: 'before', get me () { return this === own }, other: '' } as unknown as FastifyRequest & { me: boolean, other: string }
  const view = new TokenView(own, 'x.y.z', 'user')
  const seen = new Proxy(own, view) as typeof own
  t.strictSame(seen.headers, { authorization: 'Bearer x.y.z', host: 'a' })
  t.equal(seen.headers, seen.headers, 'they are one object')
  t.strictSame(own.headers, { authorization: 'Bearer other', host: 'a' })
  own.headers = { authorization: 'Bearer another' }
  t.equal(seen.headers.authorization, 'Bearer x.y.z', 'whatever is assigned meanwhile')
  t.equal(seen.me, true, 'a getter sees the request itself')
  seen.user = 'after' as never
  t.equal(own.user, 'before', 'who was verified is not known to be admitted')
  seen.other = 'x'
  t.equal(own.other, 'x')
  t.equal(viewOf(seen), view)
  t.equal(viewOf(own), undefined)
  t.equal(view.verified, null)
  t.equal(view.request, own)
})
