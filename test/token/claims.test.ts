/*
 * What claims must hold beyond their signature, to the millisecond, and what is read out of them.
 */
import t from 'tap'
import { assertClaims, expiryOf, isLogoutToken, logoutEventOf, claimText } from '../../lib/token/claims'
import type { ClaimRules, Claims } from '../../lib/token/claims'
import { WsAuthError } from '../../lib/base/errors'

/** A second, in milliseconds since the epoch, and in seconds as tokens have it. */
const NOW = 1_700_000_000_000
const SECOND = NOW / 1000

const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout'

function rules (changed: Partial<ClaimRules> = {}): ClaimRules {
  return { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null, ...changed }
}

/** The code and the cause of the refusal of these claims, or `accepted`. */
function outcomeOf (claims: unknown, changed: Partial<ClaimRules> = {}, now = NOW): string {
  try {
    assertClaims(claims as Claims, rules(changed), now)
    return 'accepted'
  } catch (error) {
    if (!(error instanceof WsAuthError)) throw error
    return error.cause === undefined ? error.code : `${error.code}: ${String(error.cause)}`
  }
}

t.test('a required claim must be an own claim of the token, and may have any value', async (t) => {
  t.equal(outcomeOf({}), 'accepted')
  t.equal(outcomeOf({}, { required: ['iss'] }), 'WS_AUTH_TOKEN_INVALID: it has no iss')
  t.equal(outcomeOf({ iss: 'a' }, { required: ['iss', 'aud'] }), 'WS_AUTH_TOKEN_INVALID: it has no aud')
  t.equal(outcomeOf({ iss: 'a', aud: null }, { required: ['iss', 'aud'] }), 'accepted')
  t.equal(outcomeOf(Object.create({ iss: 'a' }), { required: ['iss'] }), 'WS_AUTH_TOKEN_INVALID: it has no iss')
  t.equal(outcomeOf({}, { required: ['constructor'] }), 'WS_AUTH_TOKEN_INVALID: it has no constructor')
})

t.test('exp, nbf and iat must be finite numbers if the token has them', async (t) => {
  for (const name of ['exp', 'nbf', 'iat']) {
    for (const value of [null, '', `${SECOND}`, true, NaN, Infinity, -Infinity, [SECOND], {}]) {
      t.equal(outcomeOf({ [name]: value }), `WS_AUTH_TOKEN_INVALID: its ${name} is not a finite number`, `${name} ${String(value)}`)
      t.equal(outcomeOf({ [name]: value }, { checkExpiry: false, checkNotBefore: false }), `WS_AUTH_TOKEN_INVALID: its ${name} is not a finite number`, `${name} ${String(value)}, not checked`)
    }
    t.equal(outcomeOf({ [name]: undefined }), 'accepted')
  }
  t.equal(outcomeOf({ exp: SECOND + 10, nbf: SECOND - 10.5, iat: SECOND - 10 }), 'accepted')
})

t.test('a sub may have any value, because the subject is read later', async (t) => {
  for (const sub of [undefined, null, 7, true, ['ann'], {}, '', 'ann']) t.equal(outcomeOf({ sub }), 'accepted')
})

t.test('a jti and a sid must be a string, null or a safe integer if the token has them', async (t) => {
  for (const name of ['jti', 'sid']) {
    for (const value of [undefined, null, '', 'x', 0, 7, -7, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) t.equal(outcomeOf({ [name]: value }), 'accepted', `${name} ${String(value)}`)
    for (const value of [-0, 1.5, 2 ** 53, -(2 ** 53), NaN, Infinity, true, ['x'], {}, Object('x')]) {
      t.equal(outcomeOf({ [name]: value }), `WS_AUTH_TOKEN_INVALID: its ${name} is neither a string nor a safe integer, so it cannot be revoked`, `${name} ${String(value)}`)
    }
  }
})

t.test('a token expires in the millisecond of its exp, later by the tolerance, and never if exp is ignored', async (t) => {
  const expired = /^WS_AUTH_TOKEN_EXPIRED: its exp has passed, \d+ s ago$/
  t.equal(outcomeOf({ exp: SECOND }, {}, NOW - 1), 'accepted')
  t.match(outcomeOf({ exp: SECOND }), expired)
  t.equal(outcomeOf({ exp: SECOND }, { clockTolerance: 5000 }, NOW + 4999), 'accepted')
  t.match(outcomeOf({ exp: SECOND }, { clockTolerance: 5000 }, NOW + 5000), expired)
  t.match(outcomeOf({ exp: 0 }), expired)
  t.match(outcomeOf({ exp: -1 }), expired)
  t.equal(outcomeOf({ exp: SECOND - 1 }, { checkExpiry: false }), 'accepted')
})

t.test('a token is valid from the millisecond of its nbf, earlier by the tolerance, and at any time if nbf is ignored', async (t) => {
  const early = /^WS_AUTH_TOKEN_INVALID: it is not valid yet, \d+ s ahead of the clock of the server$/
  t.equal(outcomeOf({ nbf: SECOND }), 'accepted')
  t.match(outcomeOf({ nbf: SECOND }, {}, NOW - 1), early)
  t.equal(outcomeOf({ nbf: SECOND }, { clockTolerance: 5000 }, NOW - 5000), 'accepted')
  t.match(outcomeOf({ nbf: SECOND }, { clockTolerance: 5000 }, NOW - 5001), early)
  t.equal(outcomeOf({ nbf: SECOND + 1 }, { checkNotBefore: false }), 'accepted')
})

t.test('the clock of an issuer may be a minute ahead, or as much as clockTolerance allows if that is more', async (t) => {
  const future = /^WS_AUTH_TOKEN_INVALID: it was issued in the future, \d+ s ahead of the clock of the server$/
  t.equal(outcomeOf({ iat: SECOND + 60 }), 'accepted')
  t.match(outcomeOf({ iat: SECOND + 60 }, {}, NOW - 1), future)
  t.equal(outcomeOf({ iat: SECOND + 60 }, { clockTolerance: 5000 }), 'accepted')
  t.match(outcomeOf({ iat: SECOND + 60 }, { clockTolerance: 5000 }, NOW - 1), future)
  t.equal(outcomeOf({ iat: SECOND + 90 }, { clockTolerance: 90_000 }), 'accepted')
  t.match(outcomeOf({ iat: SECOND + 90 }, { clockTolerance: 90_000 }, NOW - 1), future)
  t.match(outcomeOf({ iat: SECOND + 61 }, { checkExpiry: false, checkNotBefore: false }), future)
})

t.test('the reason of a refusal says that a time is in milliseconds', async (t) => {
  for (const time of [1e11, NOW]) {
    t.match(outcomeOf({ iat: time }), /in the future: its time is in milliseconds, and must be in seconds$/)
    t.match(outcomeOf({ nbf: time }), /not valid yet: its time is in milliseconds, and must be in seconds$/)
  }
})

t.test('a token is valid until it is as old as maxAge, and clockTolerance does not extend that', async (t) => {
  const old = 'WS_AUTH_TOKEN_EXPIRED: it is older than maxAge'
  for (const clockTolerance of [0, 5000]) {
    t.equal(outcomeOf({ iat: SECOND }, { maxAge: 3000, clockTolerance }, NOW + 3000), 'accepted')
    t.equal(outcomeOf({ iat: SECOND }, { maxAge: 3000, clockTolerance }, NOW + 3001), old)
  }
  t.equal(outcomeOf({ iat: SECOND }, { maxAge: 0 }), 'accepted')
  t.equal(outcomeOf({ iat: SECOND }, { maxAge: 0 }, NOW + 1), old)
  t.equal(outcomeOf({ iat: 0 }, { maxAge: 3000 }), old)
  t.equal(outcomeOf({}, { maxAge: 3000 }), 'accepted', 'whether iat must be there is said by what is required')
  t.equal(outcomeOf({ iat: 0 }), 'accepted')
})

t.test('the name of a token is its string, or its number in decimal', async (t) => {
  for (const claim of ['jti', 'sid', 'sub'] as const) {
    t.equal(claimText({ [claim]: 'x' }, claim), 'x')
    t.equal(claimText({ [claim]: '' }, claim), '')
    t.equal(claimText({ [claim]: 42 } as never, claim), '42')
    for (const value of [undefined, null, true, ['x'], {}]) t.equal(claimText({ [claim]: value } as never, claim), null)
  }
  t.equal(claimText({ jti: 'x' }, 'sid'), null)
})

t.test('a token is a logout token if it has the logout event as its own, well-formed or not', async (t) => {
  for (const event of [{}, { more: 1 }, null, false, 0, '']) {
    t.equal(logoutEventOf({ events: { [LOGOUT_EVENT]: event } }), event)
    t.ok(isLogoutToken({ events: { [LOGOUT_EVENT]: event } }), String(event))
  }
  const others: unknown[] = [undefined, null, 'x', LOGOUT_EVENT, 7, true, {}, [], [LOGOUT_EVENT], { [`${LOGOUT_EVENT}/`]: {} }, Object.create({ [LOGOUT_EVENT]: {} })]
  for (const events of others) {
    t.equal(logoutEventOf({ events }), undefined)
    t.notOk(isLogoutToken({ events }), String(events))
  }
  t.notOk(isLogoutToken({}))
})

t.test('a connection expires with exp or maxAge, whichever is earlier, or never', async (t) => {
  const cases: Array<[Claims, Partial<ClaimRules>, number | null]> = [
    [{}, {}, null],
    [{ exp: 100 }, {}, 100_000],
    [{ exp: 0 }, {}, 0],
    [{ exp: 100 }, { checkExpiry: false }, null],
    [{ exp: 100, iat: 50 }, { maxAge: 1000 }, 51_000],
    [{ exp: 50, iat: 50 }, { maxAge: 1000 }, 50_000],
    [{ exp: 100, iat: 50 }, { maxAge: 1000, checkExpiry: false }, 51_000],
    [{ exp: 100, iat: 50 }, {}, 100_000],
    [{ exp: 100 }, { maxAge: 1000 }, 100_000],
    [{ iat: 50 }, { maxAge: 1000 }, 51_000],
    [{ iat: 50 }, { maxAge: 0 }, 50_000],
    [{ iat: 50 }, {}, null],
    [{ exp: 100 }, { clockTolerance: 5000 }, 100_000],
    [{ exp: 1e300 }, {}, Number.MAX_SAFE_INTEGER],
    [{ exp: Number.MAX_SAFE_INTEGER }, {}, Number.MAX_SAFE_INTEGER]
  ]
  for (const [claims, changed, expected] of cases) t.equal(expiryOf(claims, rules(changed)), expected, JSON.stringify([claims, changed]))
})
