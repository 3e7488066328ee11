/*
 * What the differential test found, each with the least that shows it.
 */
import t from 'tap'
import { sign, start } from '../helpers/app'
import { upgrade } from '../helpers/raw-client'

t.test('the server chooses bearer or ws-auth only if the client offers no other subprotocol, and the first of the two', async (t) => {
  const { port } = await start(t, { routes: (app) => app.get('/', { websocket: true }, () => {}) })
  const token = sign()
  const rows: Array<[offered: string, chosen: string]> = [
    [`ws-auth, chat, bearer, ${token}`, 'chat'],
    [`bearer, ${token}, ws-auth, chat`, 'chat'],
    [`ws-auth, bearer, ${token}`, 'ws-auth'],
    [`bearer, ${token}, ws-auth`, 'bearer'],
    [`ws-auth, base64url.bearer.${Buffer.from(token).toString('base64url')}`, 'ws-auth']
  ]
  for (const [offered, chosen] of rows) {
    const { answer } = await upgrade(t, port, { headers: { 'sec-websocket-protocol': offered } })
    t.equal(answer.status, 101)
    t.equal(answer.headers['sec-websocket-protocol'], chosen, offered.replaceAll(/eyJ[-\w.]+|ZXlK[-\w.]+/g, '<token>'))
  }
})

t.test('the entry after the marker is the token also if it has the encoded form, base64url.bearer.<base64url of the token>', async (t) => {
  const { port } = await start(t, { routes: (app) => app.get('/', { websocket: true }, () => {}) })
  const encoded = `base64url.bearer.${Buffer.from(sign()).toString('base64url')}`
  for (const offered of [`bearer, ${encoded}`, `chat, bearer, ${encoded}`]) {
    const { answer } = await upgrade(t, port, { headers: { 'sec-websocket-protocol': offered } })
    t.equal(answer.status, 101, offered.replace(encoded, '<encoded token>'))
    t.equal(answer.headers['sec-websocket-protocol'], offered.split(',')[0])
  }
})
