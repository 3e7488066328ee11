/*
 * An error that the app throws may hold the token: no log, hook, handler or answer shows it. The long test no-trace-anywhere has all
 * functions and all ways to refuse.
 */
import t from 'tap'
import { SECRET, sign } from '../helpers/app'
import { assertNoTraceOfErrors, ERRORS } from '../helpers/leaky-errors'
import { send, spy, traces } from '../helpers/spied-app'

t.test('an error of the app\'s own functions takes no token with it', async (t) => {
  await assertNoTraceOfErrors(t, true, 'http', ['verify', 'authorize, later'])
})

t.test('an error that trusted or formatUser throws takes no token with it', async (t) => {
  let fail = (): void => {}
  const jwts: Record<string, object> = {
    trusted: { trusted: () => { fail(); return true } },
    'trusted, later': { trusted: async () => { fail(); return true } },
    formatUser: { formatUser: (user: unknown) => { fail(); return user } },
    'trusted, by request': { secret: async () => SECRET, trusted: () => { fail(); return true } }
  }
  for (const [place, options] of Object.entries(jwts)) {
    const app = await spy(t, { isCustom: true, plugin: { jwt: { secret: SECRET, ...options }, handshakeTimeout: 2000 } })
    for (const [what, make] of Object.entries(ERRORS)) {
      app.seen.length = app.log.length = 0
      const jwt = sign({ sub: 'canary', what })
      fail = () => { throw make(jwt) }
      const answer = await send(t, app, { path: '/accepted', headers: { authorization: `Bearer ${jwt}` } })
      t.not(answer.status, 101)
      t.same(traces([...app.log, ...app.seen, answer.text].join('\n'), jwt), [], `${place}: ${what}`)
    }
  }
})
