/*
 * Tests of an app with node:test. No port is needed, and no waiting.
 *
 *   node --test example/recipes/tests-with-node-test.test.js
 */
const assert = require('node:assert/strict')
const { test } = require('node:test')
const { expectClose, moveClock, restoreClock, signIn } = require('fastify-ws-auth/testing')
const { createApp } = require('./cookie-login-and-plain-routes')

const ANN = { sub: 'ann', roles: ['member'], sid: 'one' }
const HOUR = 60 * 60 * 1000

async function start (t) {
  const app = await createApp()
  t.after(async () => {
    await app.close()
    restoreClock()
  })
  return app
}

test('a member is greeted', async (t) => {
  const app = await start(t)
  const texts = []
  // The handler sends at once, so the listener has to be there before injectWS() resolves.
  const onInit = (socket) => socket.on('message', (data) => texts.push(String(data)))
  const socket = await app.injectWS('/chat', await signIn(app, ANN), { onInit })
  assert.deepEqual(texts, ['hello ann'])
  socket.terminate()
})

test('a user without the role is refused, which a dry run tells without a socket', async (t) => {
  const app = await start(t)
  const eve = await signIn(app, { sub: 'eve', roles: [] })
  assert.equal((await app.inject({ url: '/chat', ...eve })).json().code, 'WS_AUTH_FORBIDDEN')
  assert.equal((await app.inject({ url: '/chat', ...await signIn(app, ANN) })).statusCode, 426) // it would be upgraded
  await assert.rejects(app.injectWS('/chat', eve), /403/)
})

test('a login sets the cookie that opens a socket, and the socket ends with it', async (t) => {
  const app = await start(t)
  const response = await app.inject({ method: 'POST', url: '/login', payload: { name: 'ann' } })
  const [cookie] = response.headers['set-cookie'].split(';')
  const socket = await app.injectWS('/chat', { headers: { cookie } })
  await moveClock(8 * HOUR)
  await expectClose(socket, 'token_expired')
})

test('a logout closes the socket and ends the cookie', async (t) => {
  const app = await start(t)
  const ann = await signIn(app, ANN)
  const socket = await app.injectWS('/chat', ann)
  assert.equal((await app.inject({ method: 'POST', url: '/logout', ...ann })).statusCode, 204)
  await expectClose(socket, { code: 3000, reason: 'token_revoked' })
  assert.equal((await app.inject({ url: '/me', ...ann })).statusCode, 401)
})
