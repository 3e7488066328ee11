/*
 * What becomes of whatever a verifier answers or throws: which refusal, and what the log has of it.
 */
import t from 'tap'
import type { FastifyRequest } from 'fastify'
import { WsAuthError } from '../../lib/base/errors'
import { createCustomVerifier } from '../../lib/token/custom-verifier'
import { settle, verified } from '../../lib/token/verifier'
import type { Verified } from '../../lib/token/verifier'

const TOKEN = 'a-token-of-some-length'
const REQUEST = { id: 'the request' } as unknown as FastifyRequest
const { signal } = new AbortController()

/** The code and the cause of the refusal that is made of what `verify` throws, or the claims. */
async function outcomeOf (verify: () => unknown, token = TOKEN): Promise<string> {
  try {
    const { claims } = await verified(createCustomVerifier(verify as never).verify(token, REQUEST, { signal }))
    return JSON.stringify(claims)
  } catch (error) {
    if (!(error instanceof WsAuthError)) throw error
    const { cause } = error
    return cause === undefined ? error.code : `${error.code}: ${cause instanceof Error ? `${cause.name} ${cause.message}` : String(cause)}`
  }
}

/** The same for each way to throw. */
async function thrown (error: unknown): Promise<string> {
  const outcome = await outcomeOf(() => { throw error })
  const later = await outcomeOf(async () => { throw error })
  return outcome === later ? outcome : `${outcome}, but later ${later}`
}

function errorOf (properties: object, message = 'what'): Error {
  return Object.assign(new Error(message), properties)
}

t.test('verify gets the token, the request and the signal', async (t) => {
  const asked: unknown[][] = []
  await createCustomVerifier((...args) => { asked.push(args); return {} }).verify(TOKEN, REQUEST, { signal, more: 'not this' } as never)
  t.strictSame(asked, [[TOKEN, REQUEST, { signal }]])
})

t.test('the plugin copies and freezes the claims that verify returns, and they must be an object', async (t) => {
  class Answer { sub = 'ann'; roles = ['a'] }
  const answer = new Answer()
  const { claims, user } = await verified(createCustomVerifier(() => answer as never).verify(TOKEN, REQUEST, { signal }))
  t.strictSame(claims, { sub: 'ann', roles: ['a'] })
  t.equal(Object.getPrototypeOf(claims), Object.prototype)
  t.equal(user, claims)
  t.ok(Object.isFrozen(claims) && Object.isFrozen(claims.roles) && !Object.isFrozen(answer) && !Object.isFrozen(answer.roles))
  const nothing: Array<[unknown, string]> = [
    [null, ''], [undefined, ': it returned undefined (is a return or an await missing?)'], [true, ': it returned a boolean'], ['ann', ': it returned a string'],
    [7, ': it returned a number'], [[], ': it returned an array'], [[{ sub: 'ann' }], ': it returned an array'], [() => {}, ': it returned a function']
  ]
  for (const [none, why] of nothing) {
    t.equal(await outcomeOf(() => none), `WS_AUTH_TOKEN_INVALID: verify did not return an object${why}`)
    t.equal(await outcomeOf(async () => none), `WS_AUTH_TOKEN_INVALID: verify did not return an object${why}`)
  }
})

t.test('an error that verify returns is refused as one that it throws', async (t) => {
  for (const error of [new WsAuthError('WS_AUTH_TOKEN_EXPIRED'), errorOf({ statusCode: 401 }), errorOf({ code: 'FAST_JWT_INVALID_SIGNATURE' }), errorOf({ sub: 'ann', roles: ['admin'] })]) {
    const outcome = await thrown(error)
    t.match(outcome, /^WS_AUTH_/)
    t.equal(await outcomeOf(() => error), outcome)
    t.equal(await outcomeOf(async () => error), outcome)
  }
})

t.test('the plugin checks the times and names in the claims of verify, and requires no claim', async (t) => {
  const { rules } = createCustomVerifier(() => ({}))
  t.strictSame(rules, { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null })
  t.equal(await outcomeOf(() => ({})), '{}')
  t.match(await outcomeOf(() => ({ exp: 1 })), /^WS_AUTH_TOKEN_EXPIRED/)
  t.equal(await outcomeOf(() => ({ nbf: 1e11 })), 'WS_AUTH_TOKEN_INVALID: it is not valid yet: its time is in milliseconds, and must be in seconds')
})

t.test('the result of a synchronous verify is read synchronously', async (t) => {
  t.notOk(createCustomVerifier(() => ({})).verify(TOKEN, REQUEST, { signal }) instanceof Promise)
  t.ok(createCustomVerifier(async () => ({})).verify(TOKEN, REQUEST, { signal }) instanceof Promise)
  const read = (): Verified => ({ claims: {}, user: 'read' })
  t.strictSame(settle(TOKEN, () => 'x', read), { claims: {}, user: 'read' })
  const refusal = settle(TOKEN, () => { throw errorOf({ statusCode: 403 }) }, read)
  t.ok(refusal instanceof WsAuthError, 'a refusal that is known at once is returned, not thrown')
  t.match(refusal, { code: 'WS_AUTH_UNAVAILABLE' }, 'only verify speaks in the words of HTTP of users')
})

t.test('the plugin does not call verify for a token with a character that is not visible ASCII', async (t) => {
  const never = (): never => { throw new Error('must not be asked') }
  for (const token of ['', ' ', 'a b', 'a\n', '\na', 'a\tb', 'a\0', 'a\u007f', 'é', '\u2028', 'a\r\nb']) {
    t.equal(await outcomeOf(never, token), 'WS_AUTH_TOKEN_INVALID: it has a character that is not visible ASCII', encodeURIComponent(token))
  }
  for (const token of ['!', '~', '!"#$%&\'()*+,-./0123456789:;<=>?@AZ[\\]^_`az{|}~']) t.equal(await outcomeOf(() => ({}), token), '{}', 'all that are')
})

t.test('a WsAuthError of verify becomes the refusal', async (t) => {
  for (const code of ['WS_AUTH_FORBIDDEN', 'WS_AUTH_TOKEN_REVOKED', 'WS_AUTH_UNAVAILABLE'] as const) {
    t.equal(await thrown(new WsAuthError(code, { cause: 'mine' })), `${code}: mine`)
    t.equal(await thrown(Object.assign(new WsAuthError(code), { statusCode: 403 })), code)
  }
})

t.test('the reasons for the three most common errors of fast-jwt name the setting to compare', async (t) => {
  const hints: Array<[string, RegExp]> = [
    ['FAST_JWT_INVALID_SIGNATURE', /another secret or key has signed it/], ['FAST_JWT_INVALID_ALGORITHM', /"algorithms"/], ['FAST_JWT_INVALID_CLAIM_VALUE', /"allowedIss", "allowedAud"/]
  ]
  for (const [code, hint] of hints) t.match(await thrown(errorOf({ code }, `no ${TOKEN}`)), new RegExp(`^WS_AUTH_TOKEN_INVALID: Error ${code}: no \\[token\\] \\(.*${hint.source}`))
})

t.test('the plugin tells an expired token from a wrong one', async (t) => {
  for (const code of ['FAST_JWT_EXPIRED', 'FST_JWT_AUTHORIZATION_TOKEN_EXPIRED', 'ERR_JWT_EXPIRED']) {
    t.match(await thrown(errorOf({ code })), /^WS_AUTH_TOKEN_EXPIRED/)
    t.match(await thrown(errorOf({ code, statusCode: 401 })), /^WS_AUTH_TOKEN_EXPIRED/)
  }
  t.match(await thrown(errorOf({ name: 'TokenExpiredError' })), /^WS_AUTH_TOKEN_EXPIRED/)
})

t.test('an error about the token is 401 for each library, and the log has its message without the token', async (t) => {
  const codes = ['FAST_JWT_MISSING_SIGNATURE', 'FAST_JWT_', 'FST_JWT_BAD_REQUEST', 'ERR_JWT_CLAIM_VALIDATION_FAILED', 'ERR_JWS_INVALID', 'ERR_JWE_INVALID', 'ERR_JWE_DECRYPTION_FAILED', 'ERR_JOSE_ALG_NOT_ALLOWED', 'ERR_JOSE_NOT_SUPPORTED', 'ERR_JWKS_NO_MATCHING_KEY', 'ERR_JWKS_MULTIPLE_MATCHING_KEYS']
  for (const code of codes) t.equal(await thrown(errorOf({ code }, `no ${TOKEN}`)), `WS_AUTH_TOKEN_INVALID: Error ${code}: no [token]`)
  for (const name of ['JsonWebTokenError', 'NotBeforeError']) t.equal(await thrown(errorOf({ name }, `no ${TOKEN}`)), `WS_AUTH_TOKEN_INVALID: ${name} undefined: no [token]`)
  t.equal(await thrown(new RangeError(`no ${TOKEN}`)), 'WS_AUTH_TOKEN_INVALID: RangeError')
  t.equal(await thrown(new URIError(`no ${TOKEN}`)), 'WS_AUTH_TOKEN_INVALID: URIError')
})

t.test('an error with the status 401 refuses the token, one with 403 its user, and the log has its message without the token', async (t) => {
  t.equal(await thrown(errorOf({ statusCode: 401 }, `no ${TOKEN}`)), 'WS_AUTH_TOKEN_INVALID: Error: no [token]')
  t.equal(await thrown(errorOf({ statusCode: 403, name: 'Blocked' }, `no ${TOKEN}`)), 'WS_AUTH_FORBIDDEN: Blocked: no [token]')
  t.equal(await thrown(errorOf({ statusCode: 403, code: 'FAST_JWT_EXPIRED' })), 'WS_AUTH_FORBIDDEN: Error: what')
  t.equal(await thrown({ statusCode: 401, name: 'x', message: 'y' }), 'WS_AUTH_TOKEN_INVALID: x: y')
  for (const statusCode of [400, 402, 404, 500, '401', '403', undefined]) t.match(await thrown(errorOf({ statusCode })), /^WS_AUTH_UNAVAILABLE/, String(statusCode))
})

t.test('any other error is 503, and the log has it without the token', async (t) => {
  const codes = ['ECONNREFUSED', 'FAST_JW', 'XFAST_JWT_X', 'ERR_JWX_Y', 'ERR_JOSE_GENERIC', 'ERR_JOSE_ALG_NOT_ALLOWED_X', 'ERR_JOSE_NOT_SUPPORTED_X', 'ERR_JWKS_TIMEOUT', 'ERR_JWK_INVALID', 'ERR_JWKS_INVALID', 'JWKS_REQUEST_FAILED', 'NO_JWKS', 'ERR_JWKS_NO_MATCHING_KEY_X', 'XERR_JWT_EXPIRED']
  for (const code of codes) t.equal(await thrown(errorOf({ code }, `no ${TOKEN}`)), 'WS_AUTH_UNAVAILABLE: Error no [token]', code)
  for (const name of ['TypeError', 'JsonWebTokenErrors']) t.equal(await thrown(errorOf({ name })), `WS_AUTH_UNAVAILABLE: ${name} what`)
})

t.test('verify may throw any value', async (t) => {
  const hostile = Object.defineProperty({}, 'code', { get () { throw new Error('do not look') } })
  for (const error of [null, undefined, 'x', 7, Symbol('x'), {}, [], hostile]) t.match(await thrown(error), /^WS_AUTH_UNAVAILABLE/)
  t.match(await thrown({ code: Symbol('x'), message: Symbol('y') }), /^WS_AUTH_UNAVAILABLE/)
})

t.test('the plugin decides by the error of a key function that fast-jwt wraps', async (t) => {
  const wrapped = (originalError: unknown): Error => errorOf({ code: 'FAST_JWT_KEY_FETCHING_ERROR', originalError }, 'Cannot fetch key.')
  t.equal(await thrown(wrapped(errorOf({ statusCode: 401 }))), 'WS_AUTH_TOKEN_INVALID: Error: what')
  t.equal(await thrown(wrapped(errorOf({ code: 'JWK_NOT_FOUND' }))), 'WS_AUTH_TOKEN_INVALID: Error JWK_NOT_FOUND: what')
  t.equal(await thrown(wrapped(errorOf({ code: 'ECONNREFUSED' }, `no ${TOKEN}`))), 'WS_AUTH_UNAVAILABLE: Error no [token]')
  t.match(await thrown(wrapped(undefined)), /^WS_AUTH_TOKEN_INVALID/, 'a function that gave no key')
})
