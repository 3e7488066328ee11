/*
 * The recipe for CORS: requests as a browser sends them from a page of another origin, and what it lets the page read of the answers.
 */
import { once } from 'node:events'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { json } from 'node:stream/consumers'
import t from 'tap'
import { WebSocket } from 'ws'
import { buildPackage, startFile } from '../helpers/example'

const PAGE = 'https://app.example.com'
const OTHER = 'https://evil.example.com'

t.before(buildPackage)

interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Record<string, unknown>
}

/** Sends a request with an Origin, as `fetch` of Node.js cannot. */
async function ask (url: string, method: string, headers: Record<string, string>, body?: object): Promise<Answer> {
  const sent = request(url, { method, headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers } })
  sent.end(body === undefined ? undefined : JSON.stringify(body))
  const [answer] = await once(sent, 'response') as [IncomingMessage]
  const read = answer.headers['content-type'] === undefined ? {} : await json(answer) as Record<string, unknown>
  answer.resume()
  return { status: answer.statusCode as number, headers: answer.headers, body: read }
}

async function preflight (url: string, origin: string, method: string): Promise<Answer> {
  return await ask(url, 'OPTIONS', { origin, 'access-control-request-method': method, 'access-control-request-headers': 'authorization,content-type' })
}

async function connect (url: string, origin: string, headers: Record<string, string> = {}, protocols: string[] = []): Promise<string | number> {
  const socket = new WebSocket(url.replace('http', 'ws'), protocols, { headers, origin })
  socket.on('error', () => {})
  const message = once(socket, 'message').then(([data]) => String(data))
  const refused = once(socket, 'unexpected-response').then(([, { statusCode }]) => statusCode as number)
  const outcome = await Promise.race([message, refused])
  socket.terminate()
  return outcome
}

t.test('cors: a page of another origin reads dry runs and tickets, and opens sockets with them', async (t) => {
  const { url, output } = await startFile(t, 'recipes/cors.js', { ORIGIN: PAGE })
  const login = await ask(`${url}/login`, 'POST', { origin: PAGE }, { name: 'ann' })
  const cookie = String(login.headers['set-cookie']).split(';')[0] as string
  const authorization = `Bearer ${String(login.body.token)}`
  const readable = { 'access-control-allow-origin': PAGE, 'access-control-allow-credentials': 'true' }

  for (const [path, method] of [['/chat', 'GET'], ['/ws-ticket', 'POST']] as const) {
    const { status, headers } = await preflight(`${url}${path}`, PAGE, method)
    t.equal(status, 204)
    t.match(headers, { ...readable, 'access-control-allow-methods': new RegExp(method), 'access-control-allow-headers': /authorization.*content-type/ })
  }

  const good = await ask(`${url}/chat`, 'GET', { origin: PAGE, authorization })
  t.match(good, { status: 426, headers: { ...readable, 'cache-control': 'no-store' } })
  const bad = await ask(`${url}/chat`, 'GET', { origin: PAGE, authorization: 'Bearer no.such.token' })
  t.match(bad, { status: 401, headers: { ...readable, 'www-authenticate': 'Bearer error="invalid_token"' }, body: { code: 'WS_AUTH_TOKEN_INVALID' } })
  t.match(bad.headers['access-control-expose-headers'], /retry-after.*www-authenticate/i)

  const { status, headers, body } = await ask(`${url}/ws-ticket`, 'POST', { origin: PAGE, cookie })
  t.match({ status, headers }, { status: 200, headers: readable })
  t.equal(await connect(`${url}/chat?ticket=${String(body.ticket)}`, PAGE), 'hello ann')
  t.equal(await connect(`${url}/chat`, PAGE, { cookie }), 'hello ann')
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})

t.test('cors: a page of an origin that is not in the list reads nothing, and opens no socket', async (t) => {
  const { url } = await startFile(t, 'recipes/cors.js', { ORIGIN: PAGE })
  const login = await ask(`${url}/login`, 'POST', { origin: PAGE }, { name: 'ann' })
  const cookie = String(login.headers['set-cookie']).split(';')[0] as string
  t.equal((await preflight(`${url}/chat`, OTHER, 'GET')).headers['access-control-allow-origin'], undefined)
  const ticket = await ask(`${url}/ws-ticket`, 'POST', { origin: OTHER, cookie })
  t.match(ticket, { status: 403, body: { code: 'WS_AUTH_ORIGIN_FORBIDDEN', ticket: undefined } })
  t.equal(ticket.headers['access-control-allow-origin'], undefined)
  t.equal(await connect(`${url}/chat`, OTHER, { cookie }), 403, 'CORS does not guard a websocket, the plugin does')
})
