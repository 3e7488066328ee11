/*
 * Tests of an app with node:test. No port is needed.
 *
 *   node --test example/recipes/tests-with-node-test.test.js
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { test } = require('node:test')
const { createApp } = require('./cookie-login-and-plain-routes')

async function start (t, name) {
  const app = await createApp()
  t.after(() => app.close())
  const response = await app.inject({ method: 'POST', url: '/login', payload: { name } })
  return { app, headers: { cookie: response.headers['set-cookie'].split(';')[0] } }
}

test('a member is greeted', async (t) => {
  const { app, headers } = await start(t, 'ann')
  const texts = []
  // The handler sends at once, so the listener has to be there before injectWS() resolves.
  const onInit = (socket) => socket.on('message', (data) => texts.push(String(data)))
  const socket = await app.injectWS('/chat', { headers }, { onInit })
  assert.deepEqual(texts, ['hello ann'])
  socket.terminate()
})

test('a dry run tells of a handshake without a socket', async (t) => {
  const { app, headers } = await start(t, 'ann')
  assert.equal((await app.inject({ url: '/chat', headers })).statusCode, 426) // it would be upgraded
  assert.equal((await app.inject({ url: '/chat' })).json().code, 'WS_AUTH_TOKEN_MISSING')
})

test('a user without the role is refused', async (t) => {
  const { app, headers } = await start(t, 'eve')
  assert.equal((await app.inject({ url: '/chat', headers })).json().code, 'WS_AUTH_FORBIDDEN')
  await assert.rejects(app.injectWS('/chat', { headers }), /403/)
})

test('a logout closes the socket and ends the cookie', async (t) => {
  const { app, headers } = await start(t, 'ann')
  const socket = await app.injectWS('/chat', { headers })
  const closed = once(socket, 'close')
  assert.equal((await app.inject({ method: 'POST', url: '/logout', headers })).statusCode, 204)
  const [code, reason] = await closed
  assert.equal(`${code} ${reason}`, '3000 token_revoked')
  assert.equal((await app.inject({ url: '/me', headers })).statusCode, 401)
})
