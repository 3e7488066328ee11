/*
 * Logout tokens that no provider makes, and what becomes of each.
 */
import { createHmac } from 'node:crypto'
import type { Test } from 'tap'
import { base64url, mint, seconds } from './keys'
import { accessToken, CLIENT, EVENT, INVALID, isClosed, ISSUER, LOGGED_OUT, logOut, logoutClaims, logoutToken, OTHER_EVENT, publicKey, reasonsIn, refusalOf, REVOKED, startClient } from './logout-chat'
import type { Claims, LogoutSettings } from './logout-chat'
import { statsOf } from './stats'

const LONG_AGO = seconds(-3600)
const NO_EVENTS = 'its events are not those of a logout'
const OTHER_ISS = /another iss|no iss|iss claim|its iss is not a string/
const OTHER_AUD = /another aud|no aud|aud claim/
const NEITHER = 'it has neither a sub nor a sid'

/** What is wrong with the claims, and how the log says it. */
export const WRONG_CLAIMS: Record<string, [Claims, string | RegExp]> = {
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
export const WRONG_TOKENS: Record<string, () => string> = {
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

/** Sends each wrong logout token to an app, which refuses it, and then a good one. */
export async function assertRefusals (t: Test, settings: LogoutSettings): Promise<void> {
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
  t.equal(statsOf(app).closed.token_revoked, 1)
  t.equal(log.filter((line) => JSON.parse(line).level >= 50).length, 0, 'nothing of it is a fault of the app')
}
