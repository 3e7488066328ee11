/*
 * Tests of the same app with Vitest, which reads ES modules. No port is needed.
 *
 *   npm ci --prefix example/recipes/tests-with-vitest && npm test --prefix example/recipes/tests-with-vitest
 */
import { once } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { createApp } from '../cookie-login-and-plain-routes.js'

async function start (name) {
  const app = await createApp()
  onTestFinished(() => app.close())
  const response = await app.inject({ method: 'POST', url: '/login', payload: { name } })
  return { app, headers: { cookie: response.headers['set-cookie'].split(';')[0] } }
}

test('a member is greeted', async () => {
  const { app, headers } = await start('ann')
  const texts = []
  // The handler sends at once, so the listener has to be there before injectWS() resolves.
  const onInit = (socket) => socket.on('message', (data) => texts.push(String(data)))
  const socket = await app.injectWS('/chat', { headers }, { onInit })
  expect(texts).toEqual(['hello ann'])
  socket.terminate()
})

test('a user without the role is refused', async () => {
  const { app, headers } = await start('eve')
  const response = await app.inject({ url: '/chat', headers })
  expect(response.json()).toMatchObject({ statusCode: 403, code: 'WS_AUTH_FORBIDDEN' })
  await expect(app.injectWS('/chat', { headers })).rejects.toThrow('403')
})

test('a logout closes the socket', async () => {
  const { app, headers } = await start('ann')
  const socket = await app.injectWS('/chat', { headers })
  const closed = once(socket, 'close')
  await app.inject({ method: 'POST', url: '/logout', headers })
  const [code, reason] = await closed
  expect(`${code} ${reason}`).toBe('3000 token_revoked')
})
