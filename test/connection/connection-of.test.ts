/*
 * connectionOf(): the connection behind a socket or a request, or a TypeError.
 */
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth, { connectionOf, WebSocket } from '../../lib/index'
import { sign, start } from '../helpers/app'
import { clientFrame, upgrade } from '../helpers/raw-client'

const AUTHORIZED = { authorization: `Bearer ${sign({ sub: 'ann' })}` }
const NONE = { name: 'TypeError', message: /connectionOf\(\) must be given/ }

interface Seen {
  readonly socket: WebSocket
  readonly request: FastifyRequest
}

async function startSeeing (t: Test): Promise<{ port: number, seen: Seen[] }> {
  const seen: Seen[] = []
  const { port } = await start(t, {
    routes: (app) => {
      const see = (socket: WebSocket, request: FastifyRequest): void => { seen.push({ socket, request }); socket.send('seen') }
      app.get('/chat', { websocket: true }, see)
      app.get('/first', { websocket: true, wsAuth: { renewal: true, token: { message: true } } }, see)
      app.get('/optional', { websocket: true, wsAuth: 'optional' }, see)
      app.get('/public', { websocket: true, wsAuth: false }, see)
    }
  })
  return { port, seen }
}

t.test('connectionOf finds the connection by its socket, by its request and by the raw request', async (t) => {
  const { port, seen } = await startSeeing(t)
  await (await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })).frame()
  await (await upgrade(t, port, { path: '/first' })).send(clientFrame(1, JSON.stringify({ type: 'auth', token: sign({ sub: 'bob' }) }))).frame()
  await (await upgrade(t, port, { path: '/optional' })).frame()
  t.strictSame(seen.map(({ request }) => request.wsAuth?.sub), ['ann', 'bob', null])
  for (const { socket, request } of seen) {
    t.ok(socket instanceof WebSocket)
    t.ok(request.wsAuth !== null)
    for (const source of [socket, request, request.raw]) t.equal(connectionOf(source), request.wsAuth)
  }
})

t.test('connectionOf finds the connection after its end', async (t) => {
  const { port, seen } = await startSeeing(t)
  const client = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
  await client.frame()
  const [{ socket, request }] = seen as [Seen]
  request.wsAuth?.close()
  await client.close()
  t.equal(connectionOf(socket), request.wsAuth)
})

t.test('connectionOf throws a TypeError if there is no connection', async (t) => {
  const { port, seen } = await startSeeing(t)
  await (await upgrade(t, port, { path: '/public' })).frame()
  const [{ socket, request }] = seen as [Seen]
  for (const source of [socket, request, request.raw]) t.throws(() => connectionOf(source), NONE)
  for (const source of [null, undefined, 'id', 7, {}, { raw: null }, { raw: {} }, []]) t.throws(() => connectionOf(source as never), NONE)
})

t.test('the default export of the package has connectionOf and WebSocket', async (t) => {
  t.equal(fastifyWsAuth.connectionOf, connectionOf)
  t.equal(fastifyWsAuth.WebSocket, WebSocket)
})
