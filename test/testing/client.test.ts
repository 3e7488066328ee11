/*
 * testServer: what it does to a client, as a client in Node.js sees it.
 */
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { expectClose } from '../../lib/testing/index'
import { testServer } from '../../lib/testing/client'
import type { TestServer, TestServerOptions } from '../../lib/testing/client'

async function startServer (t: Test, options?: TestServerOptions): Promise<TestServer> {
  const server = await testServer(options)
  t.teardown(() => server.close())
  return server
}

async function connect (t: Test, server: TestServer, token: string): Promise<WebSocket> {
  const socket = new WebSocket(server.url, ['bearer', token])
  t.teardown(() => socket.terminate())
  await once(socket, 'open')
  return socket
}

/** The code that a dry run of the handshake is refused with, or `null`. */
async function refusalOf (server: TestServer, token: string): Promise<string | null> {
  const response = await fetch(server.url.replace('ws', 'http'), { headers: { authorization: `Bearer ${token}` } })
  return response.status === 426 ? null : (await response.json() as { code: string }).code
}

t.test('its token opens a socket that sends each message back', async (t) => {
  const server = await startServer(t)
  const socket = await connect(t, server, await server.token())
  socket.send('hello')
  const [data, isBinary] = await once(socket, 'message')
  t.strictSame([String(data), isBinary], ['hello', false])
  t.match([...server.app.wsAuth.connections], [{ sub: 'ann' }])
})

t.test('expire() closes with token_expired, refuses the tokens, and later ones are good', async (t) => {
  const server = await startServer(t, { plugin: { expiryGrace: 2000 } })
  const [token, longer] = [await server.token(), await server.token(120_000)]
  const [socket, other] = [await connect(t, server, token), await connect(t, server, longer)]
  const closed = [expectClose(socket, 'token_expired'), expectClose(other, 'token_expired')]
  await server.expire()
  await Promise.all(closed)
  t.equal(await refusalOf(server, token), 'WS_AUTH_TOKEN_EXPIRED')
  await connect(t, server, await server.token())
})

t.test('revoke() closes with token_revoked, refuses the tokens, and later ones are good at once', async (t) => {
  const server = await startServer(t)
  const token = await server.token()
  const closed = expectClose(await connect(t, server, token), 'token_revoked')
  await server.revoke()
  await closed
  t.equal(await refusalOf(server, token), 'WS_AUTH_TOKEN_REVOKED')
  await connect(t, server, await server.token())
})

t.test('restart() closes with shutdown; its URL, tokens, tickets and revocations stay', async (t) => {
  const server = await startServer(t)
  const { url } = server
  const revoked = await server.token()
  await server.revoke()
  const token = await server.token()
  const { ticket } = await server.app.wsAuth.issueTicket({ sub: 'ann' })
  const closed = expectClose(await connect(t, server, token), { code: 1001, reason: 'shutdown' })
  await server.restart()
  await closed
  t.equal(server.url, url)
  t.equal(await refusalOf(server, token), null)
  t.equal(await refusalOf(server, revoked), 'WS_AUTH_TOKEN_REVOKED')
  await once(new WebSocket(`${url}?ticket=${ticket}`), 'open')
})

t.test('blackhole() passes nothing until pass()', async (t) => {
  const server = await startServer(t)
  const socket = await connect(t, server, await server.token())
  server.blackhole()
  socket.send('hello')
  let isAnswered = false
  socket.on('message', () => { isAnswered = true })
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(isAnswered, false)
  server.pass()
  await once(socket, 'message')
})

t.test('stop() and crash() refuse connections until start()', async (t) => {
  const server = await startServer(t)
  const token = await server.token()
  await server.stop()
  const socket = new WebSocket(server.url, ['bearer', token])
  await once(socket, 'error')
  await server.start()
  const closed = expectClose(await connect(t, server, token), { code: 1006 })
  await server.crash()
  await closed
  await server.start()
  await connect(t, server, token)
})

t.test('its routes, its handler and the options of the plugin are the caller\'s', async (t) => {
  const server = await startServer(t, {
    plugin: { token: { query: 'access' } },
    handler: (socket, { user }) => socket.send(`hello ${(user as { sub: string }).sub}`),
    routes: (app) => { app.get('/token', async () => 'a token') }
  })
  const socket = new WebSocket(`${server.url}?access=${await server.token(5000, { sub: 'bob' })}`)
  t.equal(String((await once(socket, 'message'))[0]), 'hello bob')
  socket.terminate()
  t.equal(await (await fetch(server.url.replace('ws', 'http') + 'token')).text(), 'a token')
})

t.test('a page of another origin may ask for a ticket and make a dry run', async (t) => {
  const server = await startServer(t)
  const origin = 'http://localhost:5173'
  const url = server.url.replace('ws', 'http')
  const preflight = await fetch(`${url}ws-ticket`, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' } })
  t.equal(preflight.status, 204)
  t.equal(preflight.headers.get('access-control-allow-origin'), origin)
  t.match(preflight.headers.get('access-control-allow-headers'), 'authorization')
  const response = await fetch(`${url}ws-ticket`, { method: 'POST', headers: { origin, authorization: `Bearer ${await server.token()}` } })
  t.equal(response.status, 200)
  t.equal(response.headers.get('access-control-allow-origin'), origin)
  const refused = await fetch(url, { headers: { origin } })
  t.strictSame([refused.status, refused.headers.get('access-control-allow-origin')], [401, origin])
})
