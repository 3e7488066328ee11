/*
 * The steps of an attempt to authenticate, one by one: what each asks, whom it refuses, and in which words the log says so.
 */
import t from 'tap'
import type { FastifyRequest } from 'fastify'
import { Authentication } from '../../lib/authentication/authentication'
import { authorize } from '../../lib/authentication/authorization'
import { checkClaims, checkRevoked, checkTicketUser, readUser, refusalOfRevoked, verifyToken } from '../../lib/authentication/checks'
import { runSteps } from '../../lib/authentication/steps'
import type { AuthenticationContext } from '../../lib/authentication/authentication'
import type { Claims } from '../../lib/token/claims'
import { ClaimsSchema } from '../../lib/authentication/claims-schema'
import { TokenChecksByRoute } from '../../lib/authentication/token-checks'
import { WsAuthError } from '../../lib/base/errors'
import type { CompleteRouteOptions } from '../../lib/options/complete-options'
import type { VerifyToken } from '../../lib/token/verifier'

const RULES = { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null }
const ROUTE = { roles: null, scopes: null, authorize: undefined } as unknown as CompleteRouteOptions
const LOGOUT = { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }

interface Asked {
  route?: object
  options?: object
  verify?: VerifyToken
  /** What the check of revocations says of these claims. */
  refused?: (claims: Claims | null) => WsAuthError | null
  warnOfLongLife?: () => void
  claims?: Claims | null
  sub?: string | null
  user?: unknown
  ticketClaims?: Claims | null
  token?: string
  source?: string
}

/** An attempt that has got so far, and what it is made with. */
function attemptOf ({ route = {}, options = {}, verify, refused = () => null, warnOfLongLife = () => {}, claims = null, sub = null, user = null, ticketClaims = null, token, source = 'header' }: Asked): [Authentication, AuthenticationContext] {
  const request = { id: 'the request' } as unknown as FastifyRequest
  const attempt = new Authentication(request, { ...ROUTE, ...route }, token === undefined ? null : { token, source: source as never })
  Object.assign(attempt, { claims, sub, user, ticketClaims, ticketSub: ticketClaims?.sub ?? null })
  const services = {
    options: { maxTokenBytes: 10, roles: ({ roles }: Claims) => roles, scopes: ({ scopes }: Claims) => scopes, ...options },
    checks: new TokenChecksByRoute({ verifier: { verify: verify as VerifyToken, rules: RULES, needsRequest: true }, claimsSchema: new ClaimsSchema(undefined) }),
    revocation: { refusalOf: refused, warnOfLongLife, warnOfNoSubject: () => {} }
  } as unknown as AuthenticationContext
  return [attempt, services]
}

/** `passed`, or the code and the cause of the refusal. What is no refusal is thrown. */
async function outcomeOf (step: () => void | WsAuthError | PromiseLike<void>): Promise<string> {
  try {
    const refusal = await step()
    if (refusal !== undefined) throw refusal
    return 'passed'
  } catch (error) {
    if (!(error instanceof WsAuthError)) throw error
    return error.cause === undefined ? error.code : `${error.code}: ${String(error.cause)}`
  }
}

t.test('an attempt has no subject, claims or user before a token is verified', async (t) => {
  const [attempt] = attemptOf({})
  t.strictSame([attempt.source, attempt.sub, attempt.claims, attempt.user, attempt.expiresAt, attempt.ticketClaims, attempt.isOver], [null, null, null, null, null, null, false])
  const [other] = attemptOf({ token: 'x', source: 'cookie', claims: {} })
  t.strictSame([other.source, other.sub], ['cookie', null])
})

t.test('abort() ends an attempt and aborts its signal, also if the signal was never read', async (t) => {
  const [attempt] = attemptOf({})
  const { signal } = attempt
  t.equal(attempt.signal, signal, 'it is one')
  t.notOk(signal.aborted)
  attempt.abort()
  t.ok(signal.aborted)
  t.ok(attempt.isOver)
  const [unasked] = attemptOf({})
  unasked.abort()
  t.ok(unasked.isOver)
})

t.test('a token is verified if there is one, and the attempt takes its claims, user and expiry', async (t) => {
  const asked: unknown[] = []
  const claims = { sub: 'ann', exp: 5 }
  for (const isLater of [false, true]) {
    const verify: VerifyToken = (...args) => {
      asked.push(args)
      const verified = { claims, user: 'whoever' }
      return isLater ? Promise.resolve(verified) : verified
    }
    const [attempt, services] = attemptOf({ verify, token: 'x' })
    const result = verifyToken(attempt, services)
    t.equal(result instanceof Promise, isLater, 'a promise is made only for a promise')
    await result
    t.strictSame([attempt.claims, attempt.user, attempt.expiresAt], [claims, 'whoever', 5000])
    t.strictSame(asked.pop(), ['x', attempt.request, attempt])
  }
  const never: VerifyToken = () => { throw new Error('must not be asked') }
  t.equal(await outcomeOf(() => verifyToken(...attemptOf({ verify: never }))), 'passed')
  t.equal(await outcomeOf(() => verifyToken(...attemptOf({ verify: never, token: 'x', source: 'ticket' }))), 'passed')
})

t.test('a refusal that a verifier returns ends the checks', async (t) => {
  const refusal = new WsAuthError('WS_AUTH_TOKEN_EXPIRED', { cause: 'it is old' })
  const [attempt, services] = attemptOf({ verify: () => refusal, token: 'x' })
  const later = (): never => { throw new Error('must not be called') }
  t.equal(runSteps(attempt, services, [verifyToken, later]), refusal)
  t.equal(attempt.claims, null)
})

t.test('a token of more than maxTokenBytes is refused before the verifier is called', async (t) => {
  let asked = 0
  const verify: VerifyToken = () => { asked++; return { claims: {}, user: {} } }
  for (const token of ['x'.repeat(10), 'é'.repeat(5)]) t.equal(await outcomeOf(() => verifyToken(...attemptOf({ verify, token }))), 'passed')
  t.equal(asked, 2)
  for (const token of ['x'.repeat(11), `${'é'.repeat(5)}x`, 'é'.repeat(6)]) {
    t.equal(await outcomeOf(() => verifyToken(...attemptOf({ verify, token }))), 'WS_AUTH_TOKEN_INVALID: it is longer than maxTokenBytes')
  }
  t.equal(asked, 2)
})

t.test('an attempt gets its expiry by the rules of the verifier', async (t) => {
  const [attempt] = attemptOf({})
  attempt.become({ claims: { exp: 7 }, user: 'u' }, { ...RULES, checkExpiry: false })
  t.strictSame([attempt.claims, attempt.user, attempt.expiresAt], [{ exp: 7 }, 'u', null])
})

t.test('a token is refused if its subject is missing or is not that of the ticket beside it', async (t) => {
  const refused = 'WS_AUTH_TOKEN_INVALID: its subject is not that of the ticket'
  const cases: Array<[ticket: Claims | null, token: Claims | null, expected: string]> = [
    [null, null, 'passed'], [null, {}, 'passed'], [null, { sub: 'ann' }, 'passed'], [{ sub: 'ann' }, null, 'passed'],
    [{ sub: 'ann' }, { sub: 'ann' }, 'passed'], [{ sub: '' }, { sub: '' }, 'passed'],
    [{ sub: 'ann' }, { sub: 'bob' }, refused], [{ sub: 'ann' }, {}, refused], [{}, { sub: 'ann' }, refused], [{}, {}, refused]
  ]
  for (const [ticketClaims, claims, expected] of cases) t.equal(await outcomeOf(() => checkTicketUser(attemptOf({ ticketClaims, claims, sub: claims?.sub ?? null })[0])), expected, JSON.stringify([ticketClaims, claims]))
})

t.test('a revocation of the token or of the ticket beside it refuses the attempt, and only an admitted attempt causes a warning', async (t) => {
  let warned = 0
  const revoked = new WsAuthError('WS_AUTH_TOKEN_REVOKED')
  const byName = (name: string) => (claims: Claims | null): WsAuthError | null => claims?.sub === name ? revoked : null
  const ann = { claims: { sub: 'ann' }, ticketClaims: { sub: 'the ticket' } }
  const ask = async (name: string, more: Asked = ann): Promise<string> => await outcomeOf(() => checkRevoked(...attemptOf({ ...more, refused: byName(name), warnOfLongLife: () => { warned++ } })))
  t.equal(await ask('ann'), 'WS_AUTH_TOKEN_REVOKED')
  t.equal(await ask('the ticket'), 'WS_AUTH_TOKEN_REVOKED')
  t.equal(warned, 0)
  t.equal(await ask('nobody'), 'passed')
  t.equal(warned, 1)
  t.equal(await ask('the ticket', { claims: { sub: 'ann' } }), 'passed')

  const [attempt, { revocation }] = attemptOf({ ...ann, refused: byName('ann') })
  t.equal(refusalOfRevoked(attempt, revocation), revoked)
  const asked: unknown[] = []
  refusalOfRevoked({ ...attempt, claims: null, ticketClaims: null } as Authentication, { refusalOf: (claims: unknown) => { asked.push(claims); return null } } as never)
  t.strictSame(asked, [null], 'of nobody only the outage is asked')
})

t.test('a logout token is refused as a credential, and the schema gets the claims unchanged', async (t) => {
  t.equal(await outcomeOf(() => checkClaims(...attemptOf({ claims: LOGOUT }))), 'WS_AUTH_TOKEN_INVALID: it is a logout token')
  t.equal(await outcomeOf(() => checkClaims(...attemptOf({ claims: { events: {} } }))), 'passed')
  t.equal(await outcomeOf(() => checkClaims(...attemptOf({}))), 'passed')
  const seen: unknown[] = []
  const [attempt, services] = attemptOf({ claims: { sub: 'ann' } })
  checkClaims(attempt, { ...services, checks: { of: () => ({ claimsSchema: { assert: (claims: Claims) => { seen.push(claims) } } }) } as never }) as undefined
  t.equal(seen[0], attempt.claims)
})

t.test('the user comes from the option, frozen, or from the verifier, and a missing user is refused', async (t) => {
  const nobody = 'WS_AUTH_TOKEN_INVALID: there is no such user'
  for (const user of [null, undefined]) {
    t.equal(await outcomeOf(() => readUser(attemptOf({ claims: {}, user })[0])), nobody)
    t.equal(await outcomeOf(() => readUser(attemptOf({ claims: {}, user: 'x', route: { user: () => user } })[0])), nobody)
    t.equal(await outcomeOf(() => readUser(attemptOf({ claims: {}, user: 'x', route: { user: async () => user } })[0])), nobody)
  }
  for (const user of [0, '', false, {}]) {
    t.equal(await outcomeOf(() => readUser(attemptOf({ claims: {}, user })[0])), 'passed')
    const made = attemptOf({ claims: {}, user: 'x', route: { user: async () => user } })
    t.equal(await outcomeOf(() => readUser(made[0])), 'passed')
    t.strictSame(made[0].user, user)
  }
  const own = { roles: ['a'] }
  const asked: unknown[] = []
  const [attempt] = attemptOf({ claims: { sub: 'ann' }, user: 'x', route: { user: (...args: unknown[]) => { asked.push(args); return own } } })
  t.equal(readUser(attempt), undefined, 'at once if it is there at once')
  t.strictSame(asked, [[{ sub: 'ann' }, attempt.request]])
  t.strictSame(attempt.user, own)
  t.not(attempt.user, own)
  t.ok(Object.isFrozen((attempt.user as unknown as typeof own).roles))
  t.notOk(Object.isFrozen(own), 'what the app has is the app\'s')
  t.equal(await outcomeOf(() => readUser(attemptOf({ route: { user: () => { throw new Error('must not be asked') } } })[0])), 'passed', 'nobody is no user')
})

t.test('a route needs one of its roles, all of its scopes, and true from authorize', async (t) => {
  const claims = { roles: ['a', 'b'], scopes: ['x', 'y'] }
  const ask = async (route: object, more: Asked = { claims }): Promise<string> => await outcomeOf(() => authorize(...attemptOf({ route, user: 'ann', ...more })))
  const forbidden = 'WS_AUTH_FORBIDDEN'
  t.equal(await ask({}), 'passed')
  t.equal(await ask({ roles: ['c', 'b'] }), 'passed')
  t.equal(await ask({ roles: ['c', 'd'] }), `${forbidden}: roles: the route needs one of c, d, and the user has none of them`)
  t.equal(await ask({ scopes: ['x', 'y'] }), 'passed')
  t.equal(await ask({ scopes: ['x', 'z', 'y', 'w'] }), `${forbidden}: scopes: the route needs x, z, y, w, and the user lacks z, w`)
  t.equal(await ask({ roles: ['a'], scopes: ['z'] }), `${forbidden}: scopes: the route needs z, and the user lacks z`)
  t.equal(await ask({ roles: ['c'], scopes: ['x'] }), `${forbidden}: roles: the route needs one of c, and the user has none of them`)
  for (const answer of [false, undefined, null, 1, 'true', {}]) {
    t.equal(await ask({ authorize: () => answer }), `${forbidden}: authorize: it did not return true`)
    t.equal(await ask({ authorize: async () => answer }), `${forbidden}: authorize: it did not return true`)
  }
  t.equal(await ask({ authorize: () => true }), 'passed')
  t.equal(await ask({ authorize: async () => true }), 'passed')
  t.equal(await ask({ roles: ['c'], authorize: () => true }), `${forbidden}: roles: the route needs one of c, and the user has none of them`)
  const asked: unknown[][] = []
  t.equal(await ask({ authorize: (...args: unknown[]) => { asked.push(args); return true } }), 'passed')
  t.strictSame(asked, [['ann', { id: 'the request' }]])
  t.equal(await ask({ roles: ['a'], scopes: ['x'], authorize: () => false }, {}), 'passed', 'nobody is known: an optional route asks for nothing else')
})

t.test('a roles or scopes option that returns no list causes a TypeError', async (t) => {
  for (const value of ['a', undefined, null, new Set(['a']), { 0: 'a', length: 1 }]) {
    t.throws(() => authorize(...attemptOf({ claims: { roles: value }, route: { roles: ['a'] } })), { name: 'TypeError', message: '"roles" option must return an array' })
    t.throws(() => authorize(...attemptOf({ claims: { scopes: value }, route: { scopes: ['a'] } })), { name: 'TypeError', message: '"scopes" option must return an array' })
  }
})
