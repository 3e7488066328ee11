/*
 * Tests of the same app with Vitest, which reads ES modules. No port is needed.
 *
 *   npm ci --prefix example/recipes/tests-with-vitest && npm test --prefix example/recipes/tests-with-vitest
 */
import { expectClose, moveClock, restoreClock, signIn } from 'fastify-ws-auth/testing'
import { expect, onTestFinished, test } from 'vitest'
import { createApp } from '../cookie-login-and-plain-routes.js'

const ANN = { sub: 'ann', roles: ['member'], sid: 'one' }

async function start () {
  const app = await createApp()
  onTestFinished(async () => {
    await app.close()
    restoreClock()
  })
  return app
}

test('a member is greeted', async () => {
  const app = await start()
  const texts = []
  // The handler sends at once, so the listener has to be there before injectWS() resolves.
  const onInit = (socket) => socket.on('message', (data) => texts.push(String(data)))
  const socket = await app.injectWS('/chat', await signIn(app, ANN), { onInit })
  expect(texts).toEqual(['hello ann'])
  socket.terminate()
})

test('a user without the role is refused', async () => {
  const app = await start()
  const eve = await signIn(app, { sub: 'eve', roles: [] })
  const response = await app.inject({ url: '/chat', ...eve })
  expect(response.json()).toMatchObject({ statusCode: 403, code: 'WS_AUTH_FORBIDDEN' })
  await expect(app.injectWS('/chat', eve)).rejects.toThrow('403')
})

test('a logout closes the socket', async () => {
  const app = await start()
  const ann = await signIn(app, ANN)
  const socket = await app.injectWS('/chat', ann)
  await app.inject({ method: 'POST', url: '/logout', ...ann })
  await expectClose(socket, { code: 3000, reason: 'token_revoked' })
})

test('the socket ends with its token', async () => {
  const app = await start()
  const socket = await app.injectWS('/chat', await signIn(app, ANN, { expiresIn: 60_000 }))
  await moveClock(60_000)
  await expectClose(socket, 'token_expired')
})
