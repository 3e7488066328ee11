/*
 * A logout token is no credential.
 */
import t from 'tap'
import { base64url, seconds } from '../helpers/keys'
import { accessToken, EVENT, logoutClaims, logoutToken, refusalOf, startClient } from '../helpers/logout-chat'
import { upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

t.test('a logout token is refused as a credential', async (t) => {
  const events: Record<string, unknown> = { 'a good event': { [EVENT]: {} }, 'an event that is null': { [EVENT]: null }, 'an event that is a list': { [EVENT]: [] } }
  for (const [name, value] of Object.entries(events)) {
    t.test(`a logout token with ${name} is refused as a credential`, async (t) => {
      const { app, port, connect } = await startClient(t, {
        plugin: { tickets: true, renewal: true, origin: 'any', token: { message: true } },
        routes: (app) => app.get('/param/:token', { websocket: true, wsAuth: { token: { param: true } } }, (socket) => { socket.send('hello') })
      })
      const token = logoutToken({ events: value, exp: seconds(1200) })
      const sources: Record<string, Parameters<typeof upgrade>[2]> = {
        header: { path: '/chat', headers: { authorization: `Bearer ${token}` } },
        subprotocol: { path: '/chat', headers: { 'sec-websocket-protocol': `bearer, ${token}` } },
        'subprotocol, encoded': { path: '/chat', headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${base64url(token)}` } },
        query: { path: `/chat?token=${token}` },
        cookie: { path: '/chat', headers: { cookie: `token=${token}` } },
        param: { path: `/param/${token}` }
      }
      for (const [source, settings] of Object.entries(sources)) {
        const { answer } = await upgrade(t, port, settings)
        t.equal(answer.status, 401, source)
        t.equal(JSON.parse(answer.body).code, 'WS_AUTH_TOKEN_INVALID', source)
      }
      t.equal(await refusalOf(port, token), 'WS_AUTH_TOKEN_INVALID', 'a dry run')

      const response = await fetch(`http://127.0.0.1:${port}/ws-ticket`, { method: 'POST', headers: { authorization: `Bearer ${token}` } })
      t.equal(response.status, 401)
      t.match(await response.json(), { code: 'WS_AUTH_TOKEN_INVALID' })
      const { ticket } = await app.wsAuth.issueTicket(logoutClaims({ events: value }))
      const { answer } = await upgrade(t, port, { path: `/chat?ticket=${ticket}` })
      t.equal(JSON.parse(answer.body).code, 'WS_AUTH_TOKEN_INVALID', 'behind a ticket')

      const chat = await connect(accessToken())
      t.same(await chat.renewByFrame(token), { type: 'auth.error', code: 'WS_AUTH_TOKEN_INVALID' })
      await t.rejects(chat.connection.renew(token), { code: 'WS_AUTH_TOKEN_INVALID' })
      t.ok(await chat.isHeard())
      t.notHas(chat.connection.claims, { events: {} })

      const silent = await upgrade(t, port, { path: '/chat' })
      t.equal(silent.answer.status, 101)
      const first = JSON.stringify({ type: 'auth', token })
      silent.send(clientText(first))
      t.same(await silent.close(), { code: 3000, reason: 'token_invalid' }, 'the first message')
      t.equal(statsOf(app).connections, 1)
    })
  }
})

/** A masked text frame of any length that a token needs. */
function clientText (text: string): Buffer {
  const payload = Buffer.from(text)
  return Buffer.concat([Buffer.from([0x81, 0xFE, payload.length >> 8, payload.length & 255]), Buffer.alloc(4), payload])
}
