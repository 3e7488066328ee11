/*
 * Logout tokens that no provider makes are refused, and no connection is closed.
 */
import t from 'tap'
import { prepare } from '../helpers/app'
import { assertRefusals } from '../helpers/logout-attacks'
import { accessToken, CLIENT, countIn, INVALID, ISSUER, JWT, LOGGED_OUT, logOut, logoutToken, PATH, startClient } from '../helpers/logout-chat'
import type { Plugin } from '../helpers/logout-chat'

t.test('a wrong logout token is refused, and no user is logged out', async (t) => {
  await assertRefusals(t, {})
})

t.test('a logout token of another typ is refused if the verifier asks for one', async (t) => {
  const { port, connect } = await startClient(t, { plugin: { jwt: { ...JWT, verify: { ...JWT.verify, checkTyp: 'logout+jwt' } as object } } })
  t.same(await logOut(port, logoutToken({}, { typ: 'at+jwt' })), INVALID)
  t.same(await logOut(port, logoutToken({}, { typ: 'JWT' })), INVALID)
  await t.rejects(connect(accessToken()))
  t.same(await logOut(port, logoutToken()), LOGGED_OUT)
})

t.test('a logout token without an aud is refused, also if no option asks for one', async (t) => {
  const { port, connect } = await startClient(t, { logout: { audience: undefined }, plugin: { jwt: { ...JWT, verify: { algorithms: ['RS256'] } } } })
  const chat = await connect(accessToken())
  for (const aud of [undefined, null, '', [], {}, 17]) t.same(await logOut(port, logoutToken({ aud })), INVALID, JSON.stringify(aud))
  t.ok(await chat.isHeard())
  t.same(await logOut(port, logoutToken({ aud: 'whoever' })), LOGGED_OUT, 'with any it is accepted, of which the log warned')
})

t.test('an app that accepts logout tokens for any client is warned at the start', async (t) => {
  const WARNING = '"backChannelLogout.audience" should be the client id: logout tokens for other clients are accepted'
  const verify = { algorithms: ['RS256' as const] }
  const settings: Array<[string, Plugin, string | undefined, number]> = [
    ['neither audience nor allowedAud', { jwt: { ...JWT, verify } }, undefined, 1],
    ['a verify of its own and no audience', { verify: () => null }, undefined, 1],
    ['an audience', { jwt: { ...JWT, verify } }, CLIENT, 0],
    ['allowedAud', { jwt: JWT }, undefined, 0],
    ['a verify of its own and an audience', { verify: () => null }, CLIENT, 0]
  ]
  for (const [name, plugin, audience, count] of settings) {
    const { log } = await prepare(t, { plugin: { ...plugin, backChannelLogout: { path: PATH, issuer: ISSUER, audience } } })
    t.equal(log.filter((line) => JSON.parse(line).level === 40 && JSON.parse(line).msg === WARNING).length, count, name)
  }
  const { log } = await prepare(t, { plugin: { jwt: { ...JWT, verify } } })
  t.equal(countIn(log, WARNING), 0, 'without backChannelLogout')
})
