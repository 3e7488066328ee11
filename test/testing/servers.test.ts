/*
 * A server that goes down and comes back on its port, and a network before it that is lost.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import { blackhole, expectClose, restartable, signIn } from '../../lib/testing/index'
import type { RestartableServer } from '../../lib/testing/index'
import { SECRET } from '../helpers/app'
import { CERTIFICATE, KEY } from '../helpers/certificate'

/** Makes apps that number themselves. */
function createApps (): () => Promise<FastifyInstance> {
  let count = 0
  return async () => {
    const app = Fastify()
    const number = ++count
    await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
    app.get('/chat', { websocket: true }, (socket) => {
      socket.send(`app ${number}`)
      socket.on('message', (data) => socket.send(String(data)))
    })
    return app
  }
}

async function startServer (t: Test): Promise<RestartableServer<FastifyInstance>> {
  const server = await restartable(createApps())
  t.teardown(() => server.close())
  return server
}

/** Opens a socket; `messages` has what it gets. */
async function connect (t: Test, server: RestartableServer<FastifyInstance>, url = server.url): Promise<{ socket: WebSocket, messages: string[] }> {
  const messages: string[] = []
  const socket = new WebSocket(`${url}/chat`, await signIn(server.app, { sub: 'ann' }))
  t.teardown(() => socket.terminate())
  socket.on('message', (data) => messages.push(String(data)))
  await once(socket, 'message')
  return { socket, messages }
}

t.test('restart() closes with 1001, and another app listens on the same port', async (t) => {
  const server = await startServer(t)
  const { url, app, port } = server
  const first = await connect(t, server)
  const closed = expectClose(first.socket, { code: 1001, reason: 'shutdown' })
  await server.restart()
  await closed
  t.strictSame([server.url, server.port], [url, port])
  t.not(server.app, app)
  const second = await connect(t, server)
  t.strictSame([first.messages, second.messages], [['app 1'], ['app 2']])
})

t.test('between stop() and start() nothing listens, and each may be called twice', async (t) => {
  const server = await startServer(t)
  await server.start()
  await server.stop()
  await server.stop()
  const socket = new WebSocket(`${server.url}/chat`)
  const [error] = await once(socket, 'error')
  t.equal(error.code, 'ECONNREFUSED')
  await server.start()
  t.strictSame((await connect(t, server)).messages, ['app 2'])
})

t.test('crash() ends sockets without a close frame', async (t) => {
  const server = await startServer(t)
  const { socket } = await connect(t, server)
  socket.on('error', () => {})
  const closed = expectClose(socket, { code: 1006, reason: '' })
  await server.crash()
  await closed
})

t.test('start() waits for a port that another server has for a moment', async (t) => {
  const server = await startServer(t)
  await server.stop()
  const other = createServer().listen(server.port, '127.0.0.1')
  await once(other, 'listening')
  setTimeout(() => other.close(), 100)
  await server.start()
  t.strictSame((await connect(t, server)).messages, ['app 2'])
})

t.test('the server has the URL of TLS if its app speaks TLS', async (t) => {
  const server = await restartable(() => Fastify({ https: { cert: CERTIFICATE, key: KEY } }))
  t.teardown(() => server.close())
  t.equal(server.url, `wss://127.0.0.1:${server.port}`)
})

t.test('an app in place of a function is a TypeError', async (t) => {
  await t.rejects(restartable(Fastify() as never), new TypeError('"createApp" must be a function that makes an app, because an app that has closed cannot listen again'))
})

t.test('a black hole passes no byte in either direction, tells neither side, and passes all bytes afterwards', async (t) => {
  const server = await startServer(t)
  const network = await blackhole(server.app)
  t.teardown(() => network.close())
  const { socket, messages } = await connect(t, server, network.url)
  socket.send('one')
  await once(socket, 'message')

  network.hold()
  t.equal(network.isHeld, true)
  socket.send('two')
  for (const client of server.app.websocketServer.clients) client.send('from the server')
  const late = new WebSocket(`${network.url}/chat`, await signIn(server.app))
  late.on('error', () => {})
  t.teardown(() => late.terminate())
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.strictSame(messages, ['app 1', 'one'])
  t.strictSame([socket.readyState, late.readyState], [WebSocket.OPEN, WebSocket.CONNECTING])

  network.pass()
  await once(late, 'message')
  while (messages.length < 4) await once(socket, 'message')
  t.strictSame(messages.slice(2).sort(), ['from the server', 'two'])
})

t.test('a black hole hides the end of a server until it passes bytes again', async (t) => {
  const server = await startServer(t)
  const network = await blackhole(server.url)
  t.teardown(() => network.close())
  const { socket } = await connect(t, server, network.url)
  socket.on('error', () => {})
  network.hold()
  await server.crash()
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(socket.readyState, WebSocket.OPEN)
  const closed = expectClose(socket, { code: 1006 })
  network.pass()
  await closed
})

t.test('close() of a black hole resets its connections, and may be called twice', async (t) => {
  const server = await startServer(t)
  const network = await blackhole(server.port)
  const { socket } = await connect(t, server, network.url)
  socket.on('error', () => {})
  const closed = expectClose(socket, { code: 1006 })
  await network.close()
  await network.close()
  await closed
  const refused = new WebSocket(network.url)
  t.equal((await once(refused, 'error'))[0].code, 'ECONNREFUSED')
})

t.test('a black hole before an app that does not listen is a TypeError', async (t) => {
  await t.rejects(blackhole(Fastify()), new TypeError('"target" must be an app that listens, or a URL, or a port'))
})
