/*
 * The subprotocol that a handshake is answered with, which is never the token.
 */
import t from 'tap'
import { start } from '../helpers/app'
import { addChat, AMBIGUOUS, AUTHORIZED, greeting, TOKEN } from '../helpers/chat'
import { RawClient, upgrade } from '../helpers/raw-client'

t.test('the subprotocol of an answer is never the token', async (t) => {
  const ENCODED = `base64url.bearer.${Buffer.from(TOKEN).toString('base64url')}`
  /** What is offered, what is echoed, and the source of the token. */
  const cases: Array<[string | string[], string, string]> = [
    [`bearer, ${TOKEN}`, 'bearer', 'subprotocol'],
    [`bearer,${TOKEN}`, 'bearer', 'subprotocol'],
    [['bearer', TOKEN], 'bearer', 'subprotocol'],
    [`bearer, ${TOKEN}, chat`, 'chat', 'subprotocol'],
    [`chat, bearer, ${TOKEN}`, 'chat', 'subprotocol'],
    [`chat, bearer, ${TOKEN}, superchat`, 'chat', 'subprotocol'],
    [['chat', `bearer, ${TOKEN}`], 'chat', 'subprotocol'],
    [`${ENCODED}, chat`, 'chat', 'subprotocol'],
    [`chat, ${ENCODED}`, 'chat', 'subprotocol'],
    [`${ENCODED}, bearer`, 'bearer', 'subprotocol'],
    [Array.from({ length: 1500 }, (_, i) => `p${i}`).concat('bearer', TOKEN).join(','), 'p0', 'subprotocol']
  ]
  const { port } = await start(t, { server: { http: { maxHeaderSize: 65536 } } as never, routes: addChat })
  for (const [offered, echoed, source] of cases) {
    t.test(`the server answers an offer of ${JSON.stringify(offered).slice(0, 60).replaceAll(TOKEN, '<token>')} with ${echoed}`, async (t) => {
      const client = await upgrade(t, port, { path: '/chat', headers: { 'sec-websocket-protocol': offered } })
      t.equal(client.answer.status, 101)
      t.equal(client.answer.headers['sec-websocket-protocol'], echoed)
      t.notMatch(client.answer.text, TOKEN)
      t.equal(await greeting(client), `hello {} ${source}`)
    })
  }

  t.test('the server answers with the first subprotocol if the token is elsewhere', async (t) => {
    const client = await upgrade(t, port, { path: '/chat', headers: { ...AUTHORIZED, 'sec-websocket-protocol': 'a, b' } })
    t.equal(client.answer.headers['sec-websocket-protocol'], 'a')
  })

  t.test('the server answers with no subprotocol if the client offers none', async (t) => {
    const client = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
    t.equal(client.answer.status, 101)
    t.equal(client.answer.headers['sec-websocket-protocol'], undefined)
  })

  t.test('two tokens in the subprotocols are ambiguous', async (t) => {
    for (const offered of [`bearer, ${TOKEN}, ${ENCODED}, chat`, `${ENCODED}, base64url.bearer.eA, chat`]) {
      const { answer } = await upgrade(t, port, { path: '/chat', headers: { 'sec-websocket-protocol': offered } })
      t.equal(answer.body, AMBIGUOUS)
      t.equal(answer.headers['www-authenticate'], 'Bearer error="invalid_request"')
    }
  })

  t.test('handleProtocols of the app chooses the subprotocol, and never gets the token', async (t) => {
    const seen: string[] = []
    const { port } = await start(t, {
      plugin: {
        websocket: {
          options: {
            handleProtocols: (offered, request) => {
              seen.push([...offered].join(' '), String(request.headers['sec-websocket-protocol']), request.rawHeaders.join(' '))
              return offered.has('chat') ? 'chat' : false
            }
          }
        }
      },
      routes: addChat
    })
    const chosen = await upgrade(t, port, { path: '/chat', headers: { 'sec-websocket-protocol': `superchat, bearer, ${TOKEN}, chat` } })
    t.equal(chosen.answer.headers['sec-websocket-protocol'], 'chat')
    t.same(seen.slice(0, 2), ['superchat bearer chat', 'superchat, bearer, chat'])
    const notChosen = await upgrade(t, port, { path: '/chat', headers: { 'sec-websocket-protocol': ['bearer', TOKEN, 'superchat'] } })
    t.equal(notChosen.answer.headers['sec-websocket-protocol'], 'superchat', 'something is chosen where it chooses nothing')
    t.notMatch(seen.join('\n'), TOKEN)
  })

  t.test('the subprotocol is not the token if handleProtocols is overwritten later', async (t) => {
    for (const handleProtocols of [undefined, (offered: Set<string>) => [...offered][0] ?? false, (offered: Set<string>) => [...offered].at(-1) ?? false]) {
      const { app, port } = await start(t, { routes: addChat })
      app.websocketServer.options.handleProtocols = handleProtocols
      for (const offered of [`bearer, ${TOKEN}`, ['bearer', TOKEN]]) {
        const { answer } = await upgrade(t, port, { path: '/chat', headers: { 'sec-websocket-protocol': offered } })
        t.equal(answer.headers['sec-websocket-protocol'], 'bearer')
        t.notMatch(answer.text, TOKEN)
      }
    }
  })

  t.test('the server answers a list of subprotocols of 10,000 characters', async (t) => {
    for (const offered of ['x'.repeat(10_000), ','.repeat(10_000), 'bearer,'.repeat(1400), ' '.repeat(9000) + 'chat', 'base64url.bearer.'.repeat(600), 'base64url.'.repeat(1000)]) {
      const client = await RawClient.open(t, port)
      client.upgrade({ path: '/chat', headers: { 'sec-websocket-protocol': offered } })
      const { status } = await client.response()
      t.ok([400, 401].includes(status), `${status}`)
    }
  })
})
