/*
 * With which clients the plugin speaks in messages: those that offer `ws-auth`, those that authenticated by an auth frame, all or none.
 */
import t from 'tap'
import type { RouteWsAuth, WsAuthOptions } from '../../lib/index'
import { prepare, sign, until } from '../helpers/app'
import { openSocket } from '../helpers/sockets'

const AUTH = (): string => JSON.stringify({ type: 'auth', token: sign({ sub: 'ann' }) })

/** Whether the handler or the plugin gets an auth frame, and whether the plugin says at open that it will. */
async function speak (t: Parameters<typeof prepare>[0], plugin: WsAuthOptions, headers: Record<string, string>, wsAuth: RouteWsAuth = true, url = '/ws'): Promise<string> {
  const heard: string[] = []
  const { app } = await prepare(t, {
    plugin,
    routes: (app) => app.get('/ws', { websocket: true, wsAuth }, (socket) => { socket.on('message', (data) => { heard.push(String(data)) }) })
  })
  const isFirst = headers.first !== undefined
  const { socket, messages } = await openSocket(app, url, isFirst ? null : sign({ sub: 'ann' }), isFirst ? {} : headers)
  if (isFirst) {
    socket.send(AUTH())
    await until(() => messages.length === 1, 'the answer')
  }
  const greetings = messages.length
  socket.send(AUTH())
  socket.send('end')
  await until(() => heard.includes('end'), 'the end')
  await until(() => heard.length === 2 || messages.length === greetings + 1, 'the handler or the plugin')
  if (heard.length === 2) return greetings === 0 || isFirst ? 'the handler' : 'the handler, after a greeting'
  const types = messages.map((text) => JSON.parse(text).type)
  return types.join(', ')
}

t.test('a client that offers ws-auth can renew by default, and the handler gets the auth frames of other clients', async (t) => {
  t.equal(await speak(t, {}, { 'sec-websocket-protocol': 'ws-auth' }), 'auth.ok, auth.ok')
  t.equal(await speak(t, {}, { 'sec-websocket-protocol': 'chat, ws-auth' }), 'auth.ok, auth.ok')
  for (const other of ['chat', 'WS-AUTH', 'ws-auth2', 'x-ws-auth', 'ws-auth.v2']) t.equal(await speak(t, {}, { 'sec-websocket-protocol': other }), 'the handler', other)
  t.equal(await speak(t, {}, {}), 'the handler')
})

t.test('a client that authenticates by an auth frame can renew by one', async (t) => {
  t.equal(await speak(t, { token: { message: true } }, { first: 'yes' }), 'auth.ok, auth.ok')
})

t.test('renewal: true reads auth frames of all clients, renewal: false of none, and a route can override it', async (t) => {
  t.equal(await speak(t, { renewal: true }, {}), 'auth.ok, auth.ok')
  t.equal(await speak(t, { renewal: false }, { 'sec-websocket-protocol': 'ws-auth' }), 'the handler')
  t.equal(await speak(t, { renewal: false, token: { message: true } }, { first: 'yes' }), 'the handler')
  t.equal(await speak(t, { renewal: true }, {}, { renewal: false }), 'the handler')
  t.equal(await speak(t, { renewal: false }, { 'sec-websocket-protocol': 'ws-auth' }, { renewal: 'offered' }), 'auth.ok, auth.ok')
})
