/*
 * @fastify/http-proxy with `websocket: true`: its routes are guarded by the policies of `routes`, and it proxies sockets of ours.
 */
import { createServer } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import httpProxy from '@fastify/http-proxy'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { connectionOf } from '../../lib/index'
import { moveClock, restoreClock } from '../../lib/testing/index'
import { prepare, sign, start, until } from '../helpers/app'

const TOKEN = sign({ sub: 'ann', roles: ['member'] })

interface Upstream {
  readonly url: string
  readonly seen: Array<{ readonly kind: 'socket' | 'request', readonly url: string, readonly headers: IncomingHttpHeaders }>
  readonly closes: string[]
}

/** A server that answers each message with itself, and remembers what reaches it. */
async function startUpstream (t: Test): Promise<Upstream> {
  const seen: Upstream['seen'] = []
  const closes: string[] = []
  const server = createServer(({ url = '', headers }, response) => { seen.push({ kind: 'request', url, headers }); response.end('page') })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket, { url = '', headers }) => {
    seen.push({ kind: 'socket', url, headers })
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
    socket.on('close', (code, reason) => closes.push(`${code} ${String(reason)}`))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { for (const socket of sockets.clients) socket.terminate(); server.close() })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, closes }
}

function proxy (app: FastifyInstance, upstream: string, options: Partial<Parameters<typeof httpProxy>[1]> = {}): PromiseLike<unknown> {
  return app.register(httpProxy, { prefix: '/api', upstream, websocket: true, ...options } as never)
}

interface Client {
  readonly socket: WebSocket
  /** The first message, or why there is none. */
  readonly first: string
  readonly closed: Promise<string>
}

async function ask (url: string, message: string | Buffer | null = 'hello', protocols: string[] = [], headers: Record<string, string> = {}): Promise<Client> {
  const socket = new WebSocket(url, protocols, { headers })
  const closed = new Promise<string>((resolve) => socket.on('close', (code, reason) => resolve(`${code} ${String(reason)}`)))
  if (message !== null) socket.on('open', () => socket.send(message))
  const first = await new Promise<string>((resolve) => {
    socket.on('message', (data, isBinary) => resolve(`${isBinary ? 'binary' : 'text'} ${String(data)}`))
    socket.on('error', (error) => resolve(error.message))
    void closed.then(resolve)
  })
  return { socket, first, closed }
}

t.test('the proxy forwards an upgrade after its token, its roles and its route have admitted it, and never forwards a refused one', async (t) => {
  const upstream = await startUpstream(t)
  const { app, port } = await start(t, {
    plugin: { routes: { '/api/*': { roles: ['member'] } } },
    routes: async (app) => {
      await proxy(app, upstream.url, { wsClientOptions: { rewriteRequestHeaders: (headers: object, { user }: { user: { sub: string } }) => ({ ...headers, 'x-user': user.sub }) } as never })
      app.get('/chat', { websocket: true }, (socket) => socket.send('ours'))
    }
  })
  const url = `ws://127.0.0.1:${port}`
  for (const [refused, answer] of [['/api/x', '401'], ['/api/x?token=bad', '401'], [`/api/x?token=${sign({ sub: 'eve' })}`, '403'], [`/api?token=${TOKEN}`, '404'], [`/api/..%2fx?token=${TOKEN}`, '400']] as const) {
    t.equal((await ask(url + refused)).first, `Unexpected server response: ${answer}`, refused)
  }
  t.strictSame(upstream.seen, [])
  await until(() => app.wsAuth.stats().pending === 0, 'the end of all refused upgrades')

  const ways: Array<[path: string, protocols: string[], headers: Record<string, string>]> = [
    [`/api/x?a=1&token=${TOKEN}`, [], {}], ['/api/x?a=1', ['bearer', TOKEN], {}], ['/api/x?a=1', [], { authorization: `Bearer ${TOKEN}`, 'x-user': 'root' }], ['/api/x?a=1', [], { cookie: `token=${TOKEN}` }]
  ]
  for (const way of ways) t.equal((await ask(url + way[0], 'hello', way[1], way[2])).first, 'text hello')
  t.equal((await ask(`${url}/api/x?token=${TOKEN}`, Buffer.from('bytes'))).first, 'binary bytes')
  t.equal((await ask(`${url}/chat?token=${TOKEN}`)).first, 'text ours', 'the other routes answer as before')
  t.strictSame(upstream.seen.slice(0, 4).map(({ kind, url, headers }) => [kind, url, headers['x-user']]), Array(4).fill(['socket', '/x?a=1', 'ann']))
  t.notOk(JSON.stringify(upstream.seen).includes(TOKEN), 'the upstream sees no token')
  t.equal(app.wsAuth.connections.bySub('ann').length, 6)
})

t.test('a proxied connection ends on both sides if its token expires, is revoked, or the app closes', async (t) => {
  const upstream = await startUpstream(t)
  const { app, port } = await start(t, { plugin: { routes: { '/api/*': true } }, routes: async (app) => { await proxy(app, upstream.url) } })
  const open = async (claims: Record<string, unknown>): Promise<Client> => await ask(`ws://127.0.0.1:${port}/api/x?token=${sign(claims)}`)
  const [short, revoked, last] = await Promise.all([open({ sub: 'ann', exp: Date.now() / 1000 + 60 }), open({ sub: 'bob' }), open({ sub: 'eve' })])
  t.strictSame([short.first, revoked.first, last.first], ['text hello', 'text hello', 'text hello'])
  t.equal((await app.wsAuth.revoke({ sub: 'bob' })).closed, 1)
  t.equal(await revoked.closed, '3000 token_revoked')
  t.teardown(restoreClock)
  await moveClock(60_000)
  t.equal(await short.closed, '3000 token_expired')
  await until(() => upstream.closes.length === 2, 'the ends at the upstream')
  await app.close()
  t.equal(await last.closed, '1001 shutdown')
  await until(() => upstream.closes.length === 3, 'the last end at the upstream')
  t.strictSame(upstream.closes.sort(), ['1001 shutdown', '3000 token_expired', '3000 token_revoked'])
})

t.test('a first message authenticates a proxied connection, and the upstream gets the messages that follow', async (t) => {
  const upstream = await startUpstream(t)
  const { port } = await start(t, { plugin: { routes: { '/api/*': { token: { message: true } } } }, routes: async (app) => { await proxy(app, upstream.url) } })
  const { socket, first } = await ask(`ws://127.0.0.1:${port}/api/x`, JSON.stringify({ type: 'auth', token: TOKEN }))
  t.match(first, /"auth\.ok"/)
  const echo = new Promise((resolve) => socket.on('message', (data) => resolve(String(data))))
  socket.send('after')
  t.equal(await echo, 'after')
  t.equal((await ask(`ws://127.0.0.1:${port}/api/x`, '{"type":"auth","token":"bad"}')).first, '3000 token_invalid')
  t.equal(upstream.seen.length, 1)
})

t.test('the proxy forwards a public route for anonymous clients, and its hooks find the connection of a guarded route', async (t) => {
  const upstream = await startUpstream(t)
  const found: string[] = []
  const { port } = await start(t, {
    plugin: { routes: { '/open/*': false, '/api/*': true } },
    routes: async (app) => {
      await proxy(app, upstream.url, { prefix: '/open' })
      await proxy(app, upstream.url, { wsHooks: { onConnect: (_context: unknown, source: WebSocket) => found.push(String(connectionOf(source).claims?.sub)) } } as never)
    }
  })
  t.equal((await ask(`ws://127.0.0.1:${port}/open/x`)).first, 'text hello')
  t.equal((await ask(`ws://127.0.0.1:${port}/api/x`)).first, 'Unexpected server response: 401')
  t.equal((await ask(`ws://127.0.0.1:${port}/api/x?token=${TOKEN}`)).first, 'text hello')
  t.strictSame(found, ['ann'])
})

t.test('the handler of the proxy gets plain requests, and app.wsAuth.authenticate guards them without a second check of upgrades', async (t) => {
  const upstream = await startUpstream(t)
  const { app, port } = await start(t, {
    plugin: { routes: { '/api/*': true } },
    routes: async (app) => { await proxy(app, upstream.url, { preHandler: app.wsAuth.authenticate as never }) }
  })
  t.equal((await app.inject('/api/page')).statusCode, 401)
  t.equal((await app.inject({ url: '/api/page', headers: { authorization: `Bearer ${TOKEN}` } })).body, 'page')
  t.equal((await app.inject({ method: 'POST', url: '/api/page', headers: { authorization: `Bearer ${TOKEN}` } })).body, 'page')
  t.equal((await ask(`ws://127.0.0.1:${port}/api/x?token=${TOKEN}`)).first, 'text hello', 'a token in the query is no token of a plain request')
})

t.test('an error of the proxy closes the socket with 1011', async (t) => {
  const { port, log } = await start(t, {
    plugin: { routes: { '/api/*': { token: { message: true } } } },
    routes: async (app) => { await proxy(app, 'http://127.0.0.1:1', { wsClientOptions: { rewriteRequestHeaders: () => { throw new Error('cannot rewrite') } } as never }) }
  })
  t.equal((await ask(`ws://127.0.0.1:${port}/api/x?token=${TOKEN}`, null)).first, '1011 internal_error')
  t.equal(log.filter((line) => line.includes('cannot rewrite')).length, 1)
  // With a message, the proxy runs later than the opening of the socket.
  const auth = await ask(`ws://127.0.0.1:${port}/api/x`, JSON.stringify({ type: 'auth', token: TOKEN }))
  t.equal(await auth.closed, '1011 internal_error')
  t.equal(log.filter((line) => line.includes('cannot rewrite')).length, 2)
})

t.test('an upgrade of a proxy without websockets, beside one that has them, is 404', async (t) => {
  const upstream = await startUpstream(t)
  const { port } = await start(t, {
    plugin: { routes: { '/api/*': true, '/pages/*': true } },
    routes: async (app) => {
      await proxy(app, upstream.url)
      await proxy(app, upstream.url, { prefix: '/pages', websocket: false } as never)
    }
  })
  t.equal((await ask(`ws://127.0.0.1:${port}/pages/x?token=${TOKEN}`)).first, 'Unexpected server response: 404')
  t.equal((await ask(`ws://127.0.0.1:${port}/api/x?token=${TOKEN}`)).first, 'text hello')
})

t.test('a proxy without a policy fails the start with an error that names it and the remedy', async (t) => {
  const upstream = await startUpstream(t)
  const routes = async (app: FastifyInstance): Promise<void> => { await proxy(app, upstream.url) }
  const message = /^@fastify\/http-proxy answers upgrades on this server .* register it after fastify-ws-auth and give the "routes" option a policy for its paths, \{ '\/api\/\*': true \}, or give the "upgrades" option/
  await t.rejects(prepare(t, { routes }), { message })
  const withoutPrefixes = async (app: FastifyInstance): Promise<void> => {
    await routes(app)
    const symbol = Object.getOwnPropertySymbols(app.server).find(({ description }) => description === 'wsPrefixes') as symbol
    Object.assign(app.server, { [symbol]: undefined })
  }
  await t.rejects(prepare(t, { routes: withoutPrefixes }), { message: /give the "routes" option a policy for its paths, \{ '\/prefix\/\*': true \}, or/ }, 'its prefixes are no more than a hint')
  await t.rejects(prepare(t, { before: routes, plugin: { routes: { '/api/*': true } } }), { message }, 'also if it is registered before')
  await t.rejects(prepare(t, { routes: async (app) => { await proxy(app, upstream.url, { websocket: false }) }, plugin: { routes: { '/api/*': true } } }),
    { name: 'TypeError', message: /"routes\.\/api\/\*" option must be the path of a websocket route/ })
})

t.test('a proxy keeps its own upgrades under the upgrades option, and none of them bypasses a policy', async (t) => {
  const upstream = await startUpstream(t)
  const { port } = await start(t, {
    plugin: { upgrades: ({ url = '' }) => url.startsWith('/chat'), routes: { '/api/*': true } },
    routes: async (app) => {
      await proxy(app, upstream.url)
      await proxy(app, upstream.url, { prefix: '/own' })
      app.get('/chat', { websocket: true }, (socket) => socket.send('ours'))
    }
  })
  const url = `ws://127.0.0.1:${port}`
  t.equal((await ask(`${url}/chat?token=${TOKEN}`)).first, 'text ours')
  t.equal((await ask(`${url}/own/x`)).first, 'text hello', 'it is left to the proxy')
  t.equal((await ask(`${url}/api/x?token=${TOKEN}`)).first, 'Unexpected server response: 500', 'it has a policy and is not ours')
  t.equal(upstream.seen.length, 1)
})
