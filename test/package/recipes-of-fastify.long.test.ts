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

t.jobs = 2
t.before(buildPackage)

function post (url: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
}

async function tokenOf (url: string, body: object): Promise<string> {
  return (await (await post(`${url}/token`, body)).json() as { token: string }).token
}

/** A socket, its first message, and what it will be closed with. */
async function open (url: string, protocols: string[] = [], message?: string, headers: Record<string, string> = {}): Promise<{ socket: WebSocket, first: string, closed: Promise<string> }> {
  const socket = new WebSocket(url.replace('http', 'ws'), protocols, { headers })
  const closed = once(socket, 'close').then(([code, reason]) => `${code} ${reason}`)
  if (message !== undefined) socket.on('open', () => socket.send(message))
  const [first] = await once(socket, 'message')
  return { socket, first: String(first), closed }
}

/** The status that a handshake is answered with. */
async function statusOf (url: string, protocols: string[] = [], headers: Record<string, string> = {}): Promise<number | undefined> {
  const socket = new WebSocket(url.replace('http', 'ws'), protocols, { headers })
  const status = await new Promise<number | undefined>((resolve) => {
    socket.on('unexpected-response', (_request, { statusCode }) => resolve(statusCode)).on('open', () => resolve(101))
  })
  socket.on('error', () => {}).terminate()
  return status
}

t.test('gateway-with-http-proxy: the gateway proxies members with their name, refuses others, and a logout ends both sides', async (t) => {
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

  const [token, short, other] = await Promise.all([tokenOf(url, { name: 'ann' }), tokenOf(url, { name: 'bob', seconds: 8 }), tokenOf(url, { name: 'eve' })])
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
  t.strictSame(closes.sort(), ['3000 token_expired', '3000 token_revoked'])
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
  const [ann, eve, bob] = await Promise.all([tokenOf(url, { name: 'ann' }), tokenOf(url, { name: 'eve' }), tokenOf(url, { name: 'bob', seconds: 8 })])
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

async function cookieOf (url: string, name: string): Promise<string> {
  return (await post(`${url}/login`, { name })).headers.getSetCookie()[0]?.split(';')[0] ?? ''
}

t.test('secure-session: the cookie of the session opens a socket, and a logout ends it and each copy of the cookie', async (t) => {
  const { url, output } = await startFile(t, 'recipes/secure-session.js')
  const [cookie, other, eve] = await Promise.all([cookieOf(url, 'ann'), cookieOf(url, 'ann'), cookieOf(url, 'eve')])
  t.equal((await post(`${url}/login`, { name: 'mallory' })).status, 401)
  const enter = (cookie: string): ReturnType<typeof open> => open(`${url}/chat`, [], undefined, { cookie })
  t.equal(await statusOf(`${url}/chat`), 401)
  t.equal(await statusOf(`${url}/chat`, [], { cookie: `${cookie.slice(0, 20)}AAAA${cookie.slice(24)}` }), 401, 'a changed cookie')
  t.equal(await statusOf(`${url}/chat`, [], { cookie: eve }), 403)
  const [here, there] = await Promise.all([enter(cookie), enter(other)])
  t.equal(here.first, 'hello ann')
  t.same(await (await fetch(`${url}/me`, { headers: { cookie } })).json(), { name: 'ann', roles: ['member'] })

  t.equal((await post(`${url}/logout`, {}, { cookie })).status, 204)
  t.equal(await here.closed, '3000 token_revoked')
  t.equal(await statusOf(`${url}/chat`, [], { cookie }), 401)
  t.equal((await fetch(`${url}/me`, { headers: { cookie } })).status, 401)
  t.equal(there.socket.readyState, WebSocket.OPEN, 'the other session stays')
  t.equal((await enter(other)).first, 'hello ann')
  t.notOk(output().includes(decodeURIComponent(cookie).slice(8, 60)), 'no cookie is in the log')
})

t.test('rate-limit: an address over its limit gets 429 before the token is checked, and a user over the limit gets 429 after', async (t) => {
  const { url, output } = await startFile(t, 'recipes/rate-limit.js')
  const [token, other] = await Promise.all([tokenOf(url, { name: 'ann' }), tokenOf(url, { name: 'bob' })])
  for (let i = 0; i < 3; i++) t.equal((await open(`${url}/feed`, ['bearer', token])).first, 'hello ann')
  t.equal(await statusOf(`${url}/feed`, ['bearer', token]), 429)
  t.equal((await open(`${url}/feed`, ['bearer', other])).first, 'hello bob', 'another user')
  t.equal(await statusOf(`${url}/feed`), 401)

  for (let i = 0; i < 10; i++) t.equal(await statusOf(`${url}/chat`), 401)
  t.equal(await statusOf(`${url}/chat`, ['bearer', token]), 429, 'a good token is not asked')
  const asked = (): Promise<Response> => post(`${url}/ws-ticket`, {}, { authorization: `Bearer ${token}` })
  t.equal((await asked()).status, 429, 'the ticket route is limited too')
  const refused = output().split('\n').filter((line) => line.includes('websocket handshake refused'))
  t.equal(refused.length, 11, 'the checks of 429 handshakes did not run')
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})

t.test('close-with-grace: SIGTERM closes each socket with 1001, and the process ends with 0', async (t) => {
  const { url, output, signal, ended } = await startFile(t, 'recipes/close-with-grace.js')
  const token = await tokenOf(url, { name: 'ann' })
  const sockets = await Promise.all([1, 2, 3].map(() => open(`${url}/chat`, ['bearer', token])))
  signal('SIGTERM')
  t.strictSame(await Promise.all(sockets.map(({ closed }) => closed)), Array(3).fill('1001 shutdown'))
  t.equal(await ended, 0, output())
})

t.test('ws: a server of ws answers at its path without a token, and no other path does', async (t) => {
  const { url, output } = await startFile(t, 'recipes/ws-beside.js')
  const token = await tokenOf(url, { name: 'ann' })
  t.equal((await open(`${url}/status?token=theirs`)).first, 'up')
  t.equal((await open(`${url}/chat`, ['bearer', token])).first, 'hello ann')
  t.equal(await statusOf(`${url}/chat`), 401)
  t.equal(await statusOf(`${url}/status/`, ['bearer', token]), 404)
  t.notMatch(output(), /another library listens|eyJ/)
})

for (const name of ['zod', 'typebox']) {
  t.test(`claims-with-${name}: claims that do not match are refused, and the schema of the query is of the same kind`, async (t) => {
    const { url } = await startFile(t, `recipes/claims-with-${name}.js`)
    const [good, noTenant, otherRole, admin] = await Promise.all([{}, { tenant: 7 }, { roles: ['root'] }, { roles: ['admin'] }].map((claims) => tokenOf(url, { sub: 'ann', ...claims })))
    t.equal((await open(`${url}/chat?room=lobby`, ['bearer', String(good)])).first, 'hello ann of acme in lobby')
    t.equal(await statusOf(`${url}/chat?room=lobby`, ['bearer', String(noTenant)]), 401)
    t.equal(await statusOf(`${url}/chat?room=lobby`, ['bearer', String(otherRole)]), 401)
    t.equal(await statusOf(`${url}/chat?room=lobby`, ['bearer', String(admin)]), 403)
    t.equal(await statusOf(`${url}/chat?room=1`, ['bearer', String(good)]), 400)
  })
}
