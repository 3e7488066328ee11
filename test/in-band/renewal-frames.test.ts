/*
 * Auth frames: which frames are the plugin's, and which are the app's.
 */
import t from 'tap'
import { sign } from '../helpers/app'
import { plain } from '../helpers/plain-frames'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'
import { startChat } from '../helpers/renewal-app'
import { NEWER, PRESENT, stateOf } from '../helpers/renewals'
import { statsOf } from '../helpers/stats'

t.test('the plugin tells auth frames from messages of the app', async (t) => {
  const auth = { type: 'auth', token: sign(NEWER) }
  /** What is no auth frame, though it looks like one. */
  const others = [
    '{"type":"auth.foo"}', '{"type":"auth.ok","expiresAt":1}', '{"type":"auth.renew"}', '{"type":"authx"}', '{"type":"auth"', '{"Type":"auth","token":"x"}', '{"type":"auth","type":"x","token":"x"}',
    '[{"type":"auth","token":"x"}]', '{"type":"AUTH"}', '', '{', 'auth', '{"type":"auth"]'
  ]
  /** What is one, or begins as one, and has no token that is good. */
  const malformed = [
    '{"type":"auth"}', '{"type":"auth","token":1}', '{"type":"auth","token":null}', '{"type":"auth","token":["x"]}', '{"type":"auth","tok', '{"type":"auth",}',
    '{"type":"auth","token":"x"', '{"type":"auth"}x', '{"type":"auth"},', '{"type":"auth","token":"x"}{"type":"auth","token":"y"}',
    '{"type":"auth" ,"token":"x"}', '{ "type":"auth"}', '{"type": "auth"}', '{"token":"x","type":"auth"}', '{"type":"aut\\u0068","token":"x"}', '\ufeff{"type":"auth"}',
    '{"type":"auth","__proto__":{"token":"x"}}', '{"type":"auth","Token":"x"}', `{"type":"auth","token":"${'x'.repeat(20_000)}"}`
  ]

  t.test('the handler gets messages that are not auth frames unchanged', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    for (const text of others) {
      chat.client.send(text)
      t.equal(await chat.next(), `got ${text}`)
    }
    t.strictSame(chat.got, others)
  })

  t.test('the handler gets binary messages, whatever their bytes', async (t) => {
    const { app, connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    chat.client.send(Buffer.from(JSON.stringify(auth)))
    t.equal(await chat.next(), `got ${JSON.stringify(auth)}`)
    t.strictSame(chat.got, [`binary ${JSON.stringify(auth)}`])
    t.equal(statsOf(app).renewed, 0)
  })

  t.test('the plugin answers malformed auth frames, and the handler never gets them', async (t) => {
    const { app, connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    const before = stateOf(chat)
    for (const text of malformed) {
      chat.client.send(text)
      t.equal(await chat.next(), '{"type":"auth.error","code":"WS_AUTH_TOKEN_INVALID"}', text.slice(0, 60))
    }
    t.strictSame(chat.got, [])
    t.strictSame(stateOf(chat), before)
    t.strictSame(statsOf(app).refused, { WS_AUTH_TOKEN_INVALID: malformed.length })
    t.ok(await chat.isHeard())
  })

  t.test('auth frames may be fragmented, escaped, or have more properties', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    const text = JSON.stringify(auth)
    chat.client.send(text.slice(0, 10), { fin: false })
    chat.client.send(text.slice(10, 50), { fin: false })
    chat.client.send(text.slice(50), { fin: true })
    t.match(await chat.next(), '"auth.ok"')
    chat.client.send(JSON.stringify({ ...auth, id: 7, more: { token: 'x' } }))
    t.match(await chat.next(), '"auth.ok"')
    chat.client.send(`{"type":"auth", "token" : "${[...auth.token].map((letter) => `\\u00${letter.charCodeAt(0).toString(16)}`).join('')}" }`)
    t.match(await chat.next(), '"auth.ok"')
    t.strictSame(chat.got, [])
  })

  t.test('the plugin does not parse an auth frame that is too long', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    const before = stateOf(chat)
    chat.client.send(JSON.stringify({ type: 'auth', token: sign(NEWER), more: 'x'.repeat(10_000) }))
    t.equal(await chat.next(), '{"type":"auth.error","code":"WS_AUTH_TOKEN_INVALID"}')
    t.strictSame(stateOf(chat), before)
  })

  t.test('listeners of the app get no auth frames', async (t) => {
    const { connect } = await startChat(t, { plugin: { renewal: true } })
    const chat = await connect(sign(PRESENT))
    const seen: unknown[] = []
    chat.socket.once('message', (data) => seen.push(String(data)))
    chat.socket.prependListener('message', (data) => seen.push(String(data)))
    chat.socket.onmessage = ({ data }) => { seen.push(String(data)) }
    chat.socket.addEventListener('message', ({ data }) => { seen.push(String(data)) })
    t.equal((await chat.renewByFrame(sign(NEWER))).type, 'auth.ok')
    t.strictSame(seen, [])
    chat.client.send('hello')
    await chat.next()
    t.strictSame(seen, ['hello', 'hello', 'hello', 'hello'])
  })

  t.test('the handler gets auth frames if renewal is off, and the app can still renew by API', async (t) => {
    for (const plugin of [{ renewal: false, token: { message: true } }, { renewal: false }, {}]) {
      const { connect } = await startChat(t, { plugin })
      const chat = await connect(sign(PRESENT))
      for (const text of [JSON.stringify(auth), ...malformed]) {
        chat.client.send(text)
        t.equal(await chat.next(), `got ${text}`)
      }
      t.equal(chat.connection.expiresAt, PRESENT.exp * 1000)
      await chat.connection.renew(sign(NEWER))
      t.equal(chat.connection.expiresAt, NEWER.exp * 1000)
    }
  })

  t.test('the plugin reads only the first auth frame if renewal is off beside a first message', async (t) => {
    for (const [renewal, answer] of [[false, `got ${JSON.stringify(auth)}`], [true, `{"type":"auth.ok","expiresAt":${NEWER.exp * 1000}}`]] as const) {
      const { port } = await startChat(t, { plugin: { renewal, token: { message: true } } })
      const client = await upgrade(t, port, { path: '/chat' })
      client.send(clientFrame(1, JSON.stringify({ type: 'auth', token: sign(PRESENT) })))
      t.equal(plain(String((await client.frame()).payload)), `{"type":"auth.ok","expiresAt":${PRESENT.exp * 1000}}`)
      client.send(clientFrame(1, JSON.stringify(auth)))
      t.equal(plain(String((await client.frame()).payload)), answer)
    }
  })

  t.test('an auth frame in one chunk with the first message renews the connection', async (t) => {
    const { app, port } = await startChat(t, { plugin: { renewal: true, token: { message: true } } })
    const client = await RawClient.open(t, port)
    const frames = [sign(PRESENT), sign(NEWER)].map((token) => clientFrame(1, JSON.stringify({ type: 'auth', token })))
    client.upgrade({ path: '/chat' })
    t.equal((await client.response()).status, 101)
    client.send(Buffer.concat([...frames, clientFrame(1, 'hello')]))
    const answers = [await client.frame(), await client.frame(), await client.frame()].map(({ payload }) => plain(String(payload)))
    t.strictSame(answers.slice().sort(), ['got hello', ...[PRESENT, NEWER].map(({ exp }) => `{"type":"auth.ok","expiresAt":${exp * 1000}}`)])
    t.equal(answers[0], `{"type":"auth.ok","expiresAt":${PRESENT.exp * 1000}}`)
    t.equal(statsOf(app).renewed, 1)
  })
})
