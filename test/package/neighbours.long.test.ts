/*
 * The recipes beside other libraries, each with the real client of that library.
 */
import { once } from 'node:events'
import { createTRPCClient, createWSClient, wsLink } from '@trpc/client'
import { createClient } from 'graphql-ws'
import { io } from 'socket.io-client'
import t from 'tap'
import { WebSocket } from 'ws'
import { buildPackage, startFile } from '../helpers/example'

t.before(buildPackage)

async function tokenOf (url: string, body: object): Promise<string> {
  const response = await fetch(`${url}/token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  return (await response.json() as { token: string }).token
}

/** The protocol that was chosen, and the first message. */
async function greetingOf (url: string, protocols: string[]): Promise<string> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/chat`, protocols)
  const [greeting] = await once(socket, 'message')
  socket.terminate()
  return `${socket.protocol}: ${String(greeting)}`
}

t.test('graphql-ws: the user of connection_init is in the context, and a refused token is a close code that the client comes back from', async (t) => {
  const { url, output } = await startFile(t, 'recipes/graphql-subscriptions.js')
  const closes: string[] = []
  const connect = (token: string): ReturnType<typeof createClient> => createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${token}` },
    retryAttempts: 0,
    on: { closed: (event) => { const { code, reason } = event as { code: number, reason: string }; closes.push(`${code} ${reason}`) } }
  })
  const token = await tokenOf(url, { name: 'ann' })
  const client = connect(token)
  const next = async <T> (query: string): Promise<T> => {
    const { value } = await client.iterate<T>({ query }).next() as { value: { data: T } }
    return value.data
  }
  t.same(await next('{ me }'), { me: 'ann' })
  t.same(await next('subscription { ticks }'), { ticks: 'ann 0' })
  await client.dispose()

  const refused = connect(`${token}x`)
  await t.rejects(new Promise((resolve, reject) => { refused.subscribe({ query: '{ me }' }, { next: resolve, error: reject, complete: () => {} }) }))
  t.equal(closes.at(-1), '3000 token_invalid')

  t.equal(await greetingOf(url, ['bearer', token]), 'bearer: hello ann', 'the other routes answer as before')
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})

t.test('graphql-ws: a connection ends with its token', async (t) => {
  const { url } = await startFile(t, 'recipes/graphql-subscriptions.js')
  const token = await tokenOf(url, { name: 'ann', seconds: 2 })
  const closed = new Promise((resolve) => {
    const client = createClient({ url: `${url.replace('http', 'ws')}/graphql`, webSocketImpl: WebSocket, connectionParams: { token }, retryAttempts: 0, on: { closed: resolve } })
    client.subscribe({ query: 'subscription { ticks }' }, { next: () => {}, error: () => {}, complete: () => {} })
  })
  t.match(await closed, { code: 3000, reason: 'token_expired' })
})

t.test('tRPC: the user of connectionParams is in the context, and the policy of routes guards the route', async (t) => {
  const { url, output } = await startFile(t, 'recipes/trpc-subscriptions.js')
  Object.assign(globalThis, { WebSocket })
  const closes: unknown[] = []
  const ask = async (name: string): Promise<unknown> => {
    const token = await tokenOf(url, { name })
    const client = createWSClient({ url: `${url.replace('http', 'ws')}/trpc`, connectionParams: { token }, retryDelayMs: () => 500, onClose: (cause) => { closes.push(cause?.code) } })
    t.teardown(() => { void client.close() })
    const proxy = createTRPCClient({ links: [wsLink({ client })] }) as unknown as { me: { query: () => Promise<unknown> } }
    return await proxy.me.query()
  }
  t.equal(await ask('ann'), 'ann')
  void ask('eve').catch(() => {})
  while (closes.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  t.strictSame(closes, [3003], 'a user without the role is refused')
  t.notMatch(output(), /eyJ/, 'no token is in the log')
})

t.test('socket.io: socket.io and the plugin each answer their own upgrades', async (t) => {
  const { url, output } = await startFile(t, 'recipes/socket-io-beside.js')
  const socket = io(url, { transports: ['websocket'], query: { token: 'of-socket-io' } })
  t.teardown(() => socket.close())
  t.equal(await new Promise((resolve) => socket.on('hello', resolve)), 'from socket.io')
  const token = await tokenOf(url, { name: 'ann' })
  t.equal(await greetingOf(url, ['bearer', token]), 'bearer: hello ann')
  const polling = io(url, { transports: ['polling', 'websocket'] })
  t.teardown(() => polling.close())
  t.equal(await new Promise((resolve) => polling.on('hello', resolve)), 'from socket.io')
  t.ok(socket.connected)
  t.notMatch(output(), /another library listens/)
})
