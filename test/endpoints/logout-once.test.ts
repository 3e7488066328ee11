/*
 * The jti of a logout token is used once.
 */
import t from 'tap'
import { seconds } from '../helpers/keys'
import { accessToken, INVALID, isClosed, LOGGED_OUT, logOut, logoutToken, memoryBackplane, reasonsIn, REVOKED, sendForm, startClient } from '../helpers/logout-chat'
import type { Claims } from '../helpers/logout-chat'
import { moveClock } from '../helpers/renewal-app'

t.test('a jti is accepted once', async (t) => {
  t.test('a used jti is refused also in another token and at another instance', async (t) => {
    const backplane = memoryBackplane()
    const [one, another] = [await startClient(t, { plugin: { backplane } }), await startClient(t, { plugin: { backplane } })]
    const jti = 'bWJq'
    const token = logoutToken({ jti })
    t.same(await logOut(one.port, token), LOGGED_OUT)
    const chat = await one.connect(accessToken({ sid: 'second' }))
    t.same(await logOut(one.port, token), INVALID)
    t.same(await logOut(another.port, token), INVALID)
    t.same(await logOut(another.port, logoutToken({ jti, sid: 'second' })), INVALID)
    t.equal(reasonsIn(one.log).at(-1), 'its jti was used before')
    t.ok(await chat.isHeard())
    t.same(await logOut(another.port, logoutToken({ jti: 'bWJr', sid: 'second' })), LOGGED_OUT)
    t.same(await isClosed(chat), REVOKED)
  })

  t.test('exactly one of 50 logouts at once with one jti is answered with 200', async (t) => {
    const backplane = memoryBackplane()
    const [one, another] = [await startClient(t, { plugin: { backplane } }), await startClient(t, { plugin: { backplane } })]
    const chat = await another.connect(accessToken())
    const token = logoutToken()
    const answers = await Promise.all(Array.from({ length: 50 }, async (_, i) => await logOut(i % 2 === 0 ? one.port : another.port, token)))
    t.equal(answers.filter(({ status }) => status === 200).length, 1)
    t.same(answers.filter(({ status }) => status !== 200), Array.from({ length: 49 }, () => INVALID))
    t.same(await isClosed(chat), REVOKED)
  })

  t.test('a refused logout token does not use its jti', async (t) => {
    const { port } = await startClient(t)
    t.same(await logOut(port, logoutToken({ jti: 'same', nonce: 'x' })), INVALID)
    t.same(await logOut(port, logoutToken({ jti: 'same', sub: undefined, sid: undefined })), INVALID)
    t.same(await logOut(port, logoutToken({ jti: 'same' })), LOGGED_OUT)
  })
})

t.test('a jti is remembered for as long as its token is good, and for a day at most', async (t) => {
  const { port, log, connect } = await startClient(t)
  const clock = moveClock(t)
  const send = async (token: string): Promise<number> => (await (await sendForm(t, port, `logout_token=${token}`)).response()).status
  const lives: Array<[() => Claims, number, RegExp]> = [
    [() => ({ exp: seconds(120) }), 120_000, /^its exp has passed, or it is older than maxAge, at \d/],
    [() => ({ exp: undefined }), 300_000, /^it was issued too long ago$/],
    [() => ({ exp: undefined, iat: seconds(-200) }), 100_000, /^it was issued too long ago$/]
  ]
  for (const [claims, life, why] of lives) {
    const token = logoutToken(claims())
    t.equal(await send(token), 200)
    clock.advance(life - 3000)
    t.equal(await send(token), 400)
    t.equal(reasonsIn(log).at(-1), 'its jti was used before')
    clock.advance(6000)
    t.equal(await send(token), 400)
    t.match(reasonsIn(log).at(-1), why)
  }

  const token = logoutToken({ iat: seconds(), exp: seconds(10 * 86_400), sid: undefined })
  t.equal(await send(token), 200)
  clock.advance(23 * 3_600_000)
  t.equal(await send(token), 400)
  clock.advance(2 * 3_600_000)
  const chat = await connect(accessToken({ sid: 'later', iat: seconds(), exp: seconds(600) }))
  t.equal(await send(token), 200, 'after a day it is not known any more')
  t.ok(await chat.isHeard(), 'and closes nobody who has logged in since')
})
