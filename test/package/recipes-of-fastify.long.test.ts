/*
 * The recipes of example/ for other plugins of Fastify, each run as its first comment says.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createClient } from 'graphql-ws'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { buildPackage, startFile } from '../helpers/example'

t.before(buildPackage)

function post (url: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
}

async function tokenOf (url: string, body: object): Promise<string> {
  return (await (await post(`${url}/token`, body)).json() as { token: string }).token
}

/** A socket, its first message, and what it will be closed with. */
async function open (url: string, protocols: string[] = [], message?: string): Promise<{ socket: WebSocket, first: string, closed: Promise<string> }> {
  const socket = new WebSocket(url.replace('http', 'ws'), protocols)
  const closed = once(socket, 'close').then(([code, reason]) => `${code} ${reason}`)
  if (message !== undefined) socket.on('open', () => socket.send(message))
  const [first] = await once(socket, 'message')
  return { socket, first: String(first), closed }
}

/** The status that a handshake is refused with. */
async function statusOf (url: string, protocols: string[] = []): Promise<number | undefined> {
  const socket = new WebSocket(url.replace('http', 'ws'), protocols)
  const [, response] = await once(socket, 'unexpected-response') as [unknown, { statusCode?: number }]
  socket.on('error', () => {}).terminate()
  return response.statusCode
}

t.test('gateway-with-http-proxy: members are proxied with their name, others reach nothing, and a logout ends both sides', async (t) => {
  const seen: unknown[] = []
  const closes: string[] = []
  const server = createServer(({ headers }, response) => response.end(`page of ${String(headers['x-user'])} ${String(headers.authorization)}`))
  const upstream = new WebSocketServer({ server }).on('connection', (socket, { url, headers }) => {
    seen.push([url, headers['x-user'], headers['x-roles']])
    socket.on('message', (data) => socket.send(`echo ${String(data)}`)).on('close', (code, reason) => closes.push(`${code} ${String(reason)}`))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => { for (const socket of upstream.clients) socket.terminate(); server.close() })
  const { url, output } = await startFile(t, 'recipes/gateway-with-http-proxy.js', { UPSTREAM: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })

  const [token, short, other] = await Promise.all([tokenOf(url, { name: 'ann' }), tokenOf(url, { name: 'bob', seconds: 2 }), tokenOf(url, { name: 'eve' })])
  t.equal(await statusOf(`${url}/api/chat`), 401)
  t.equal(await statusOf(`${url}/api/chat`, ['bearer', other]), 403)
  t.strictSame(seen, [])
  const [ann, bob] = await Promise.all([open(`${url}/api/chat?room=1`, ['bearer', token], 'hi'), open(`${url}/api/chat?token=${short}`, [], 'hi')])
  t.strictSame([ann.first, bob.first], ['echo hi', 'echo hi'])
  t.strictSame(seen.sort(), [['/chat', 'bob', 'member'], ['/chat?room=1', 'ann', 'member']])
  t.equal((await fetch(`${url}/api/page`)).status, 401)
  t.equal(await (await fetch(`${url}/api/page`, { headers: { authorization: `Bearer ${token}`, 'x-user': 'root' } })).text(), 'page of ann undefined')

  t.equal((await post(`${url}/logout`, {}, { authorization: `Bearer ${token}` })).status, 204)
  t.equal(await ann.closed, '3000 token_revoked')
  t.equal(await bob.closed, '3000 token_expired')
  while (closes.length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  t.strictSame(closes, ['3000 token_revoked', '3000 token_expired'])
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})

t.test('mercurius-subscriptions: the user of connection_init is in the context of resolvers, and a subscription ends with its token', async (t) => {
  const { url, output } = await startFile(t, 'recipes/mercurius-subscriptions.js')
  const closes: string[] = []
  const connect = (token: string): ReturnType<typeof createClient> => createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${token}` },
    retryAttempts: 0,
    on: { closed: (event) => { const { code, reason } = event as { code: number, reason: string }; closes.push(`${code} ${reason}`) } }
  })
  const answers = async (token: string, query: string): Promise<unknown[]> => {
    const found: unknown[] = []
    const client = connect(token)
    try {
      for await (const { data } of client.iterate({ query })) found.push(data)
    } catch {}
    await client.dispose()
    return found
  }
  const [ann, eve, bob] = await Promise.all([tokenOf(url, { name: 'ann' }), tokenOf(url, { name: 'eve' }), tokenOf(url, { name: 'bob', seconds: 2 })])
  t.same(await answers(ann, '{ me }'), [{ me: 'ann' }])
  t.same((await answers(bob, 'subscription { ticks }'))[0], { ticks: 'bob 0' })
  t.same(await answers(`${ann}x`, '{ me }'), [])
  t.same(await answers(eve, '{ me }'), [])
  t.strictSame(closes, ['1000 Normal Closure', '3000 token_expired', '3000 token_invalid', '3003 forbidden'])

  t.equal((await post(`${url}/graphql`, { query: '{ me }' })).status, 401)
  t.same(await (await post(`${url}/graphql`, { query: '{ me }' }, { authorization: `Bearer ${ann}` })).json(), { data: { me: 'ann' } })
  t.equal((await open(`${url}/chat`, ['bearer', ann])).first, 'hello ann', 'the other routes answer as before')
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})
