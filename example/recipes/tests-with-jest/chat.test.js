/*
 * Tests of the same app with Jest, as CommonJS. No port is needed.
 *
 * @fastify/cookie imports an ES module, which Jest reads only if it is transformed: see package.json.
 * `--experimental-vm-modules` in its place fails before Node.js 24.9.
 *
 *   npm ci --prefix example/recipes/tests-with-jest && npm test --prefix example/recipes/tests-with-jest
 */
const { afterEach, beforeEach, expect, test } = require('@jest/globals')
const { expectClose, moveClock, restoreClock, signIn } = require('fastify-ws-auth/testing')
const { createApp } = require('../cookie-login-and-plain-routes')

const ANN = { sub: 'ann', roles: ['member'], sid: 'one' }

let app
beforeEach(async () => { app = await createApp() })
afterEach(async () => {
  await app.close()
  restoreClock()
})

test('a member is greeted', async () => {
  const texts = []
  // The handler sends at once, so the listener has to be there before injectWS() resolves.
  const onInit = (socket) => socket.on('message', (data) => texts.push(String(data)))
  const socket = await app.injectWS('/chat', await signIn(app, ANN), { onInit })
  expect(texts).toEqual(['hello ann'])
  socket.terminate()
})

test('a user without the role is refused', async () => {
  const eve = await signIn(app, { sub: 'eve', roles: [] })
  const response = await app.inject({ url: '/chat', ...eve })
  expect(response.json()).toMatchObject({ statusCode: 403, code: 'WS_AUTH_FORBIDDEN' })
  await expect(app.injectWS('/chat', eve)).rejects.toThrow('403')
})

test('a logout closes the socket', async () => {
  const ann = await signIn(app, ANN)
  const socket = await app.injectWS('/chat', ann)
  await app.inject({ method: 'POST', url: '/logout', ...ann })
  await expectClose(socket, { code: 3000, reason: 'token_revoked' })
})

test('the socket ends with its token', async () => {
  const socket = await app.injectWS('/chat', await signIn(app, ANN, { expiresIn: 60_000 }))
  await moveClock(60_000)
  await expectClose(socket, 'token_expired')
})
