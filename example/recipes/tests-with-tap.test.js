/*
 * Tests of the same app with tap, and a token of the test's own in place of a login.
 *
 *   npx tap --disable-coverage example/recipes/tests-with-tap.test.js
 */
const t = require('tap')
const { createApp } = require('./cookie-login-and-plain-routes')

async function start (t) {
  const app = await createApp()
  t.teardown(() => app.close())
  await app.ready() // inject() does it by itself, injectWS() does not
  const headersOf = (claims, options) => ({ cookie: `token=${app.jwt.sign(claims, options)}` })
  return { app, headersOf }
}

t.test('a member is greeted', async (t) => {
  const { app, headersOf } = await start(t)
  const texts = []
  const onInit = (socket) => socket.on('message', (data) => texts.push(String(data)))
  const socket = await app.injectWS('/chat', { headers: headersOf({ sub: 'ann', roles: ['member'] }) }, { onInit })
  t.same(texts, ['hello ann'])
  socket.terminate()
})

t.test('a token that has expired is refused', async (t) => {
  const { app, headersOf } = await start(t)
  const headers = headersOf({ sub: 'ann', roles: ['member'] }, { expiresIn: -60 })
  const response = await app.inject({ url: '/chat', headers })
  t.match(response.json(), { statusCode: 401, code: 'WS_AUTH_TOKEN_EXPIRED' })
})

t.test('a role that the user does not have is refused', async (t) => {
  const { app, headersOf } = await start(t)
  const response = await app.inject({ url: '/chat', headers: headersOf({ sub: 'eve', roles: [] }) })
  t.match(response.json(), { statusCode: 403, code: 'WS_AUTH_FORBIDDEN' })
})
