/*
 * Tests of the same app with tap.
 *
 *   npx tap --disable-coverage example/recipes/tests-with-tap.test.js
 */
const t = require('tap')
const { expectClose, moveClock, restoreClock, signIn } = require('fastify-ws-auth/testing')
const { createApp } = require('./cookie-login-and-plain-routes')

const ANN = { sub: 'ann', roles: ['member'] }

async function start (t) {
  const app = await createApp()
  t.teardown(async () => {
    await app.close()
    restoreClock()
  })
  return app
}

t.test('a member is greeted', async (t) => {
  const app = await start(t)
  const texts = []
  const onInit = (socket) => socket.on('message', (data) => texts.push(String(data)))
  const socket = await app.injectWS('/chat', await signIn(app, ANN), { onInit })
  t.same(texts, ['hello ann'])
  socket.terminate()
})

t.test('a token that has expired is refused', async (t) => {
  const app = await start(t)
  const response = await app.inject({ url: '/chat', ...await signIn(app, ANN, { expiresIn: -60_000 }) })
  t.match(response.json(), { statusCode: 401, code: 'WS_AUTH_TOKEN_EXPIRED' })
})

t.test('a role that the user does not have is refused', async (t) => {
  const app = await start(t)
  const response = await app.inject({ url: '/chat', ...await signIn(app, { sub: 'eve', roles: [] }) })
  t.match(response.json(), { statusCode: 403, code: 'WS_AUTH_FORBIDDEN' })
})

t.test('the socket ends with its token', async (t) => {
  const app = await start(t)
  const socket = await app.injectWS('/chat', await signIn(app, ANN, { expiresIn: 60_000 }))
  await moveClock(50_000)
  t.equal(socket.readyState, 1)
  await moveClock(10_000)
  await expectClose(socket, 'token_expired')
})
