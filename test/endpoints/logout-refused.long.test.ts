/*
 * Logout tokens that no provider makes are refused with whatever other settings, and no line of the log has a part of them.
 */
import t from 'tap'
import { assertRefusals, WRONG_CLAIMS, WRONG_TOKENS } from '../helpers/logout-attacks'
import { accessToken, isClosed, JWT, logOut, logoutToken, post, privateKey, publicKey, REVOKED, startClient } from '../helpers/logout-chat'
import type { LogoutSettings } from '../helpers/logout-chat'

/** Where the audience is asked for, and the other settings that must make no difference. */
const CLIENTS: Record<string, LogoutSettings> = {
  'with audience alone': { plugin: { jwt: { ...JWT, verify: { algorithms: ['RS256'] } } } },
  'with allowedAud alone': { logout: { audience: undefined } },
  'with match \'sub\'': { logout: { match: 'sub' } },
  'with a tokenCache': { plugin: { tokenCache: { max: 100, ttl: 60_000 } } },
  'with a cache of the verifier': { plugin: { jwt: { ...JWT, verify: { ...JWT.verify, cache: true } } } },
  'with keys by a function': { plugin: { jwt: { ...JWT, secret: { public: async () => publicKey, private: privateKey } } } }
}

for (const [name, settings] of Object.entries(CLIENTS)) {
  t.test(`a wrong logout token is refused, and no user is logged out, ${name}`, async (t) => {
    await assertRefusals(t, settings)
  })
}

t.test('the log says which login was logged out and why a token was refused, and has no part of a token', async (t) => {
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
  t.match(log.map((line) => JSON.parse(line)).filter(({ command }) => command === 'revoke'), [{ level: 30, match: { sid: 'first' }, closed: 1 }, { level: 30, match: { sid: 'second' }, closed: 0 }])
})
