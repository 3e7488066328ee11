/* The clients that people have: ws, and the WebSocket that is built into Node. What a browser sees is in test/browser and example-browser.long.test.ts. */
import { execFile } from 'node:child_process'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import fastifyWsAuth from '../../lib/index'
import type { RejectWith } from '../../lib/options/public-handshake-options'
import { mint, secret } from '../helpers/keys'

const ann = mint({ sub: 'ann', roles: ['member'] })

async function listen (t: Test, rejectWith: RejectWith): Promise<string> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyWsAuth, { jwt: { secret }, rejectWith })
  app.get('/chat', { websocket: true }, (socket, request) => {
    socket.send(`hello ${(request.user as { sub: string }).sub}`)
    socket.close(4000, 'bye')
  })
  app.get('/admin', { websocket: true, wsAuth: { roles: ['admin'] } }, () => {})
  await app.listen({ port: 0, host: '127.0.0.1' })
  return `ws://127.0.0.1:${(app.server.address() as AddressInfo).port}`
}

/** What a client sees: its events, in order. */
type Events = Array<[event: string, ...details: unknown[]]>

async function withWs (url: string, protocols: string[]): Promise<Events> {
  const events: Events = []
  const client = new WebSocket(url, protocols)
  client.on('open', () => events.push(['open', client.protocol]))
  client.on('message', (data) => events.push(['message', String(data)]))
  client.on('error', (error) => events.push(['error', error.message]))
  return new Promise((resolve) => {
    client.on('close', (code, reason) => resolve([...events, ['close', code, String(reason)]]))
  })
}

/** Node's own, in a process of its own: Node 20 wants a flag for it. It tells of a failed handshake by `error`, and closes later or never. */
async function withBuiltIn (url: string, protocols: string[]): Promise<Events> {
  const script = `
    const events = []
    const end = (...last) => { console.log(JSON.stringify([...events, last])); process.exit() }
    const client = new WebSocket(${JSON.stringify(url)}, ${JSON.stringify(protocols)})
    client.onopen = () => events.push(['open', client.protocol])
    client.onmessage = ({ data }) => events.push(['message', data])
    client.onerror = () => end('error')
    client.onclose = ({ code, reason }) => end('close', code, reason)
    setTimeout(end, 10_000, 'nothing').unref()`
  const { stdout } = await promisify(execFile)(process.execPath, ['--experimental-websocket', '-e', script], { env: { ...process.env, NODE_OPTIONS: '' } })
  return JSON.parse(stdout)
}

for (const [name, connect] of Object.entries({ ws: withWs, 'the built-in client': withBuiltIn })) {
  t.test(`${name} connects with a token in the query or the subprotocol, and reads the close code`, async (t) => {
    const origin = await listen(t, 'http')
    t.strictSame(await connect(`${origin}/chat?token=${ann}`, []), [['open', ''], ['message', 'hello ann'], ['close', 4000, 'bye']])
    t.strictSame(await connect(`${origin}/chat`, ['bearer', ann]), [['open', 'bearer'], ['message', 'hello ann'], ['close', 4000, 'bye']])
    t.strictSame(await connect(`${origin}/chat`, ['bearer', ann, 'chat.v1']), [['open', 'chat.v1'], ['message', 'hello ann'], ['close', 4000, 'bye']])
    t.strictSame(await connect(`${origin}/chat`, ['chat.v1', `base64url.bearer.${Buffer.from(ann).toString('base64url')}`]),
      [['open', 'chat.v1'], ['message', 'hello ann'], ['close', 4000, 'bye']])
  })

  t.test(`${name} reads the reason of a refusal if the handshake is accepted first`, async (t) => {
    const origin = await listen(t, 'close')
    t.strictSame(await connect(`${origin}/chat`, []), [['open', ''], ['close', 3000, 'token_missing']])
    t.strictSame(await connect(`${origin}/chat`, ['bearer', 'bad']), [['open', 'bearer'], ['close', 3000, 'token_invalid']])
    t.strictSame(await connect(`${origin}/admin`, ['bearer', ann]), [['open', 'bearer'], ['close', 3003, 'forbidden']])
    t.strictSame(await connect(`${origin}/chat?token=${ann}`, ['bearer', ann]), [['open', 'bearer'], ['close', 3000, 'token_ambiguous']])
  })
}

t.test('ws reads the status of a refusal before the upgrade, and the built-in client reads an error only', async (t) => {
  const origin = await listen(t, 'auto')
  t.strictSame(await withWs(`${origin}/chat`, []), [['error', 'Unexpected server response: 401'], ['close', 1006, '']])
  t.strictSame(await withWs(`${origin}/admin?token=${ann}`, []), [['error', 'Unexpected server response: 403'], ['close', 1006, '']])
  t.strictSame(await withBuiltIn(`${await listen(t, 'http')}/chat`, []), [['error']])
})
