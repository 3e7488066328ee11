/*
 * Tests of the same app with Jest, as CommonJS. No port is needed.
 *
 * @fastify/cookie imports an ES module, which Jest reads only if it is transformed: see package.json.
 * `--experimental-vm-modules` in its place fails before Node.js 24.9.
 *
 *   npm ci --prefix example/recipes/tests-with-jest && npm test --prefix example/recipes/tests-with-jest
 */
const { once } = require('node:events')
const { afterEach, expect, test } = require('@jest/globals')
const { createApp } = require('../cookie-login-and-plain-routes')

let app
afterEach(() => app.close())

async function start (name) {
  app = await createApp()
  const response = await app.inject({ method: 'POST', url: '/login', payload: { name } })
  return { headers: { cookie: response.headers['set-cookie'].split(';')[0] } }
}

test('a member is greeted', async () => {
  const { headers } = await start('ann')
  const texts = []
  // The handler sends at once, so the listener has to be there before injectWS() resolves.
  const onInit = (socket) => socket.on('message', (data) => texts.push(String(data)))
  const socket = await app.injectWS('/chat', { headers }, { onInit })
  expect(texts).toEqual(['hello ann'])
  socket.terminate()
})

test('a user without the role is refused', async () => {
  const { headers } = await start('eve')
  const response = await app.inject({ url: '/chat', headers })
  expect(response.json()).toMatchObject({ statusCode: 403, code: 'WS_AUTH_FORBIDDEN' })
  await expect(app.injectWS('/chat', { headers })).rejects.toThrow('403')
})

// ws keeps a timer for 5 s after a close. Jest says that it did not exit, and exits then.
test('a logout closes the socket', async () => {
  const { headers } = await start('ann')
  const socket = await app.injectWS('/chat', { headers })
  const closed = once(socket, 'close')
  await app.inject({ method: 'POST', url: '/logout', headers })
  const [code, reason] = await closed
  expect(`${code} ${reason}`).toBe('3000 token_revoked')
})
