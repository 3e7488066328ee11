/*
 * A token that comes in a frame, or by the API, is in no log, event, error or answer.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { inspect } from 'node:util'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { sign, start, until } from '../helpers/app'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { never, seenOf, traces } from '../helpers/spied-app'
import { statsOf } from '../helpers/stats'

/** All that is said of a token behind the handshake: the log at level trace, events, errors, and what the client gets. */
async function sayAll (t: Test, token: string, way: 'first message' | 'frame' | 'API', plugin: fastifyWsAuth.WsAuthOptions, wsAuth: fastifyWsAuth.RouteWsAuth): Promise<{ text: string, answer: string }> {
  const events: unknown[] = []
  const onEvent = (event: unknown): void => { events.push(event) }
  subscribe('fastify-ws-auth', onEvent)
  const said: string[] = []
  const { app, log, port } = await start(t, {
    plugin: { renewal: true, token: { message: true }, handshakeTimeout: 2000, ...plugin },
    routes: (app) => {
      app.get('/chat', { websocket: true, wsAuth }, (socket, request) => {
        socket.on('message', (data) => said.push(String(data)))
        said.push(seenOf('handler', request))
      })
    }
  })
  const path = '/chat'
  const client = await upgrade(t, port, way === 'first message' ? { path } : { path, headers: { authorization: `Bearer ${PRESENT}` } })
  if (way !== 'first message') await client.frame()
  let answer = ''
  if (way === 'API') {
    await until(() => app.wsAuth.connections.size === 1, 'it is open')
    for (const connection of app.wsAuth.connections) {
      await connection.renew(token).then(() => { answer = 'auth.ok' }, (error: unknown) => {
        answer = String((error as { code: string }).code)
        app.log.error({ err: error }, 'the app logs what it caught')
        said.push(inspect(error, { depth: 20, showHidden: true }))
      })
    }
  } else {
    client.send(clientFrame(1, JSON.stringify({ type: 'auth', token })))
    answer = String((await client.frame()).payload)
  }
  client.socket.destroy()
  await until(() => app.wsAuth.connections.size === 0, 'it is closed')
  await app.close()
  unsubscribe('fastify-ws-auth', onEvent)
  t.ok(events.length > 0 && log.length > 0)
  return { text: [...log, ...said, inspect(events, { depth: 20, showHidden: true }), JSON.stringify(statsOf(app)), client.text].join('\n'), answer }
}

const PRESENT = sign({ sub: 'canary' })

t.test('a token of a renewal or of a first message leaves no trace', async (t) => {
  const good = sign({ sub: 'canary', more: 'of it' })
  const opaque = 'canary+/"5f3a9c71d2b84e06=='
  const failing = (text: string): never => { throw Object.assign(new Error(`401 for ${text}`), { config: { token: text }, cause: new Error(`token=${encodeURIComponent(text)}`) }) }
  const verifyBy = (verify: (token: string) => unknown): fastifyWsAuth.WsAuthOptions => ({ verify: (token) => token === PRESENT ? { sub: 'canary' } : verify(token) })
  const cases: Array<[name: string, answer: RegExp, token: string, plugin: fastifyWsAuth.WsAuthOptions, wsAuth: fastifyWsAuth.RouteWsAuth]> = [
    ['accepted', /auth\.ok/, good, {}, true],
    ['accepted by a verifier', /auth\.ok/, opaque, verifyBy(() => ({ sub: 'canary' })), true],
    ['of another signature', /TOKEN_INVALID|token_invalid/, sign({ sub: 'canary' }, 'x'.repeat(32)), {}, true],
    ['that expired', /TOKEN_EXPIRED|token_expired/, sign({ sub: 'canary', exp: 1 }), {}, true],
    ['that is no JWT', /TOKEN_INVALID|token_invalid/, 'canary-5f3a9c71d2b84e06', {}, true],
    ['that is too long', /TOKEN_INVALID|token_invalid/, 'canary-5f3a9c71d2b84e06'.repeat(4), { maxTokenBytes: 64, ...verifyBy(() => ({ sub: 'canary' })), token: { header: 'x-token', message: true } }, 'optional'],
    ['that authorize refuses', /FORBIDDEN|forbidden/, good, {}, { authorize: (user) => (user as { more?: string }).more === undefined }],
    ['at which verify throws', /UNAVAILABLE|auth_unavailable/, opaque, verifyBy(failing), true],
    ['at which verify rejects', /UNAVAILABLE|auth_unavailable/, opaque, verifyBy(async (token) => failing(token)), true],
    ['that verify refuses in its own words', /TOKEN_INVALID|token_invalid/, opaque, verifyBy((token) => { throw new fastifyWsAuth.WsAuthError('WS_AUTH_TOKEN_INVALID', { cause: `no ${token}` }) }), true],
    ['at which verify hangs', /UNAVAILABLE|auth_unavailable/, opaque, { ...verifyBy(never), handshakeTimeout: 500, token: { message: { timeout: 500 } } }, true]
  ]
  for (const [name, expected, token, plugin, wsAuth] of cases) {
    for (const way of ['first message', 'frame', 'API'] as const) {
      // Nobody is to be known of those whose token is too long, and an optional route does not wait for a message.
      if (wsAuth === 'optional' && way === 'first message') continue
      await t.test(`a token ${name} leaves no trace if it comes by ${way}`, async (t) => {
        const { text, answer } = await sayAll(t, token, way, plugin, wsAuth)
        t.match(answer, expected)
        t.strictSame(traces(text, token), [])
      })
    }
  }

  await t.test('a token in a malformed frame leaves no trace', async (t) => {
    for (const frame of [`{"type":"auth","token":"${good}"`, `{"type":"auth","token":["${good}"]}`, `{"type":"auth","jwt":"${good}"}`, `{"type":"auth","${good}":1}`]) {
      for (const isFirst of [true, false]) {
        const { app, log, port } = await start(t, { plugin: { renewal: true, token: { message: true } }, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
        const client = await upgrade(t, port, { path: '/chat', ...(isFirst ? {} : { headers: { authorization: `Bearer ${PRESENT}` } }) })
        if (!isFirst) t.match(String((await client.frame()).payload), 'auth.ok')
        client.send(clientFrame(1, frame))
        t.match(String((await client.frame()).payload), isFirst ? 'token_invalid' : 'WS_AUTH_TOKEN_INVALID')
        t.match(statsOf(app).refused, { WS_AUTH_TOKEN_INVALID: 1 })
        t.strictSame(traces([...log, client.text].join('\n'), good), [])
      }
    }
  })
})
