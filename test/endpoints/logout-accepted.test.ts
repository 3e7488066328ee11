/*
 * Which logout tokens are accepted, and which connections they close.
 */
import t from 'tap'
import { until } from '../helpers/app'
import { seconds } from '../helpers/keys'
import { accessToken, CLIENT, EVENT, isClosed, LOGGED_OUT, logOut, logoutToken, memoryBackplane, OTHER_EVENT, refusalOf, REVOKED, startClient } from '../helpers/logout-chat'
import type { Claims, LogoutSettings } from '../helpers/logout-chat'
import { upgrade } from '../helpers/raw-client'
import { hold } from '../helpers/renewal-app'
import { statsOf } from '../helpers/stats'

/** What may differ from a good one, and of whom the connections are closed. */
const GOOD_CLAIMS: Record<string, [Claims, 'the login' | 'the user', LogoutSettings?]> = {
  'a sub and a sid': [{}, 'the login'],
  'a sub and a sid, with match \'sub\'': [{}, 'the user', { logout: { match: 'sub' } }],
  'a sid alone': [{ sub: undefined }, 'the login'],
  'a sid alone, with match \'sub\'': [{ sub: undefined }, 'the login', { logout: { match: 'sub' } }],
  'a sid and an empty sub, with match \'sub\'': [{ sub: '' }, 'the login', { logout: { match: 'sub' } }],
  'a sub alone': [{ sid: undefined }, 'the user'],
  'a sub and an empty sid': [{ sid: '' }, 'the user'],
  'a sub and a sid of the wrong type': [{ sid: 17 }, 'the user'],
  'a sub and a sid that is null': [{ sid: null }, 'the user'],
  'many auds': [{ aud: ['another', CLIENT] }, 'the login'],
  'another event beside the logout event': [{ events: { [OTHER_EVENT]: {}, [EVENT]: {} } }, 'the login'],
  'an event with a member': [{ events: { [EVENT]: { reason: 'test' } } }, 'the login'],
  'unknown claims': [{ nonces: 'x', azp: CLIENT }, 'the login'],
  'no exp, and an iat of four minutes ago': [{ exp: undefined, iat: seconds(-240) }, 'the login'],
  'an iat ahead by half a minute': [{ iat: seconds(30) }, 'the login'],
  'an iat with a fraction': [{ iat: seconds() - 0.5 }, 'the login'],
  'an exp in a thousand years': [{ exp: seconds(3e10) }, 'the login'],
  'an exp of 1e308': [{ exp: 1e308 }, 'the login'],
  'a jti of 2,000 characters': [{ jti: 'j'.repeat(2000) }, 'the login']
}

t.test('a good logout token closes connections', async (t) => {
  for (const [what, [claims, whose, settings]] of Object.entries(GOOD_CLAIMS)) {
    t.test(`a logout token with ${what} closes the connections of ${whose}`, async (t) => {
      const { port, connect } = await startClient(t, settings)
      const first = await connect(accessToken({ iat: seconds(-600) }))
      const second = await connect(accessToken({ sid: 'second', iat: seconds(-600) }))
      const other = await connect(accessToken({ sub: 'bea', sid: 'other' }))
      t.same(await logOut(port, logoutToken(claims)), LOGGED_OUT)
      t.same(await isClosed(first), REVOKED)
      if (whose === 'the user') t.same(await isClosed(second), REVOKED)
      else t.ok(await second.isHeard())
      t.ok(await other.isHeard())
    })
  }

  for (const typ of [undefined, 'JWT', 'logout+jwt', 'application/logout+jwt', 'secevent+jwt']) {
    t.test(`a logout token is accepted with the typ ${typ ?? 'left out'}`, async (t) => {
      const { port } = await startClient(t)
      t.same(await logOut(port, logoutToken({}, { typ })), LOGGED_OUT)
    })
  }
})

t.test('a logout by sub revokes the tokens that were issued until then', async (t) => {
  const { port, connect } = await startClient(t)
  const at = seconds(-30)
  const before = await connect(accessToken({ iat: at - 1 }))
  const within = await connect(accessToken({ iat: at }))
  const timeless = await connect(accessToken({ iat: undefined }))
  const after = await connect(accessToken({ iat: at + 1 }))
  t.same(await logOut(port, logoutToken({ iat: at, sid: undefined })), LOGGED_OUT)
  for (const chat of [before, within, timeless]) t.same(await isClosed(chat), REVOKED)
  t.ok(await after.isHeard(), 'who has logged in after it stays')
  t.equal(await refusalOf(port, accessToken({ iat: at + 1 })), 'none')
  t.equal(await refusalOf(port, accessToken({ iat: at })), 'WS_AUTH_TOKEN_REVOKED')

  t.same(await logOut(port, logoutToken({ iat: at - 20, sid: undefined })), LOGGED_OUT, 'an earlier one that comes late')
  t.equal(await refusalOf(port, accessToken({ iat: at })), 'WS_AUTH_TOKEN_REVOKED', 'undoes nothing')
  t.ok(await after.isHeard())
})

t.test('a handshake and a renewal that are under way at the logout are refused', async (t) => {
  const held = hold()
  let isHeld = false
  let asked = 0
  const { app, port, connect } = await startClient(t, {
    plugin: { renewal: true, user: async (claims) => { asked++; if (isHeld) await held.wait(); return claims } }
  })
  const chat = await connect(accessToken({ sid: 'second' }))
  isHeld = true
  const answer = upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${accessToken()}` } })
  const renewal = t.rejects(chat.connection.renew(accessToken({ iat: seconds(-30) })), { code: 'WS_AUTH_TOKEN_REVOKED' })
  await until(() => asked === 3, 'both wait for the user')
  t.same(await logOut(port, logoutToken()), LOGGED_OUT)
  held.release()
  const late = await answer
  t.equal(late.answer.status, 101)
  t.same(await late.close(), REVOKED, 'it is asked about again when the connection is open')
  await renewal
  t.ok(await chat.isHeard(), 'a connection that was refused a renewal stays what it was')
  t.equal(statsOf(app).connections, 1)
})

t.test('a revocation by logout holds at an instance that starts later, also for younger tokens of the login', async (t) => {
  const backplane = memoryBackplane()
  const { port } = await startClient(t, { plugin: { backplane } })
  t.same(await logOut(port, logoutToken()), LOGGED_OUT)
  const late = await startClient(t, { plugin: { backplane } })
  await t.rejects(late.connect(accessToken()))
  t.equal(await refusalOf(late.port, accessToken({ iat: seconds(30) })), 'WS_AUTH_TOKEN_REVOKED', 'also a token of that login that is younger')
  t.equal(await refusalOf(late.port, accessToken({ sid: 'second' })), 'none')
})
