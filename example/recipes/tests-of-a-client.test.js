/*
 * Tests of a client with node:test, against a real server that does what servers and networks do.
 *
 *   node --test example/recipes/tests-of-a-client.test.js
 */
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { test } = require('node:test')
const { connect } = require('fastify-ws-auth/client')
const { testServer } = require('fastify-ws-auth/client/testing')
const { expectClose, moveClock } = require('fastify-ws-auth/testing')
const { WebSocket } = require('ws')

const LIFE = 60_000

async function start (t) {
  const server = await testServer()
  let tokens = 0
  const socket = connect(server.url, {
    token: async () => {
      tokens++
      return { token: await server.token(LIFE), expiresIn: LIFE }
    },
    retry: { base: 20, crowd: 20 }, // a test need not wait for seconds
    create: (url, protocols) => new WebSocket(url, protocols) // Node.js 22 and newer has its own
  })
  t.after(async () => {
    socket.close()
    await server.close()
  })
  await socket.opened
  return { server, socket, tokens: () => tokens }
}

test('it renews for ten minutes, and its messages are answered', async (t) => {
  const { socket, tokens } = await start(t)
  const { id } = socket.state
  await moveClock(10 * LIFE)
  assert.equal(socket.state.id, id) // the same connection
  assert.ok(tokens() >= 10)
  socket.send('hello')
  assert.equal((await once(socket, 'message'))[0].data, 'hello')
})

for (const [event, reason] of [['expire', 'token_expired'], ['revoke', 'token_revoked']]) {
  test(`it comes back with another token after ${reason}`, async (t) => {
    const { server, socket, tokens } = await start(t)
    const closed = expectClose(socket, reason)
    const opened = once(socket, 'open')
    await server[event]()
    await closed
    await opened
    assert.equal(tokens(), 2)
  })
}

test('it comes back with the same token, once there are a server and a network again', async (t) => {
  const { server, socket, tokens } = await start(t)
  const closed = expectClose(socket, { code: 1006 })
  const opened = once(socket, 'open')
  await server.crash() // in place of restart(), which asks clients to come back within some seconds
  await closed
  server.blackhole()
  await server.start()
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.notEqual(socket.state.status, 'open')
  server.pass()
  await opened
  assert.equal(tokens(), 1)
})
