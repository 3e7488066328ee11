/*
 * Functions for tokens that fail in every way, before a real server.
 */
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import type { Ask, ConnectOptions, Credential, CredentialRequest } from '../../lib/client/index'
import { sign, start, until } from '../helpers/app'
import { watch } from '../helpers/client-socket'

const RETRY = { base: 20, max: 40, crowd: 40 }
const OPTIONS: ConnectOptions = { retry: RETRY, timeouts: { credential: 2000, answer: 5000 } }
const now = (): number => Math.floor(Date.now() / 1000)
/** Each is another text. @param life in seconds @param age how much of its life is over, in seconds */
let made = 0
const tokenOf = (sub = 'ann', life = 60, age = 0): string => sign({ sub, iat: now() - age, exp: now() + life, jti: String(made++) })

async function startServer (t: Test): Promise<{ url: string, users: Map<string, number> }> {
  const users = new Map<string, number>()
  const { port } = await start(t, {
    plugin: { tickets: true },
    routes: (app) => {
      app.get('/', { websocket: true }, (_socket, { wsAuth }) => { users.set(String(wsAuth?.sub), (users.get(String(wsAuth?.sub)) ?? 0) + 1) })
    }
  })
  return { url: `ws://127.0.0.1:${port}/`, users }
}

/** An endpoint for tokens. @returns a function that asks it, as an app does */
async function startEndpoint (t: Test, answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<{ ask: Ask, url: string }> {
  const server = createServer(answer).listen(0, '127.0.0.1')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise((resolve) => server.once('listening', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const ask = async ({ signal }: CredentialRequest): Promise<Credential> => {
    const response = await fetch(url, { signal: signal as AbortSignal })
    if (response.status === 401) return null
    if (!response.ok) throw new Error(`the endpoint answered ${response.status}`)
    return await response.json() as Credential
  }
  return { ask, url }
}

t.test('an endpoint that is down, fails, hangs or answers nonsense is asked again, and the first good token is used', async (t) => {
  const { url } = await startServer(t)
  let count = 0
  const down = await startEndpoint(t, (_request, response) => response.end())
  const answers: ReadonlyArray<(response: ServerResponse) => void> = [
    (response) => response.destroy(),
    (response) => response.writeHead(500).end('<h1>Internal Server Error</h1>'),
    () => {},
    (response) => response.end('<html>'),
    (response) => response.end('{"access_token":"x"}'),
    (response) => response.end('""'),
    (response) => response.end('17'),
    (response) => response.end(JSON.stringify({ token: tokenOf() }))
  ]
  const endpoint = await startEndpoint(t, (_request, response) => answers[count++]?.(response))
  const { socket, calls, states, handshakes } = watch(t, url, async (request) => {
    if (calls.length === 1) return await down.ask({ ...request, signal: AbortSignal.abort() as never })
    if (calls.length === 2) throw new Error('at once')
    return await endpoint.ask(request)
  }, OPTIONS)
  await socket.opened
  t.strictSame(calls.map(({ why, code }) => [why, code]), Array.from({ length: answers.length + 2 }, () => ['connect', null]))
  t.equal(handshakes(), 1)
  const waits = states.filter((state) => state.status === 'waiting')
  t.equal(waits.length, calls.length - 1)
  t.ok(waits.every(({ delay, end }) => delay <= RETRY.max && end.error instanceof Error), 'each wait has its error')
  t.equal(calls[4]?.signal.aborted, true, 'the call that hung was told')
})

t.test('a call that throws at once does not stop the client', async (t) => {
  const { url } = await startServer(t)
  const { socket, calls } = watch(t, url, () => {
    if (calls.length < 3) throw new Error('at once')
    return tokenOf()
  }, OPTIONS)
  await socket.opened
  t.equal(calls.length, 3)
})

t.test('a token that has expired on arrival is asked for once more; then the client stops, and reconnect() begins anew', async (t) => {
  const { url } = await startServer(t)
  let isGood = false
  const { socket, calls, next, handshakes, events } = watch(t, url, () => tokenOf('ann', isGood ? 60 : -60), OPTIONS)
  await t.rejects(socket.opened, { name: 'WsAuthClientError', reason: 'token_expired' })
  t.match(await next('refused'), { end: { reason: 'token_expired', status: 401, wasOpen: false } })
  t.match(calls, [{ why: 'connect', code: null }, { why: 'rejected', code: 'WS_AUTH_TOKEN_EXPIRED' }])
  t.strictSame([calls.length, handshakes(), events], [2, 2, ['error token_expired']])
  isGood = true
  socket.reconnect()
  await socket.opened
  t.match(calls[2], { why: 'connect', code: null })
})

t.test('the same text again is not sent to the server, and no user ends at once', async (t) => {
  const { url } = await startServer(t)
  const expired = tokenOf('ann', -60)
  for (const second of [expired, null]) {
    const { calls, next, handshakes } = watch(t, url, ({ why }) => why === 'connect' ? expired : second, OPTIONS)
    t.match(await next('refused'), { end: { reason: 'token_expired' } })
    t.strictSame([calls.length, handshakes()], [2, 1])
  }
  const { calls, next, handshakes } = watch(t, url, () => null, OPTIONS)
  t.match(await next('refused'), { end: { reason: 'token_missing' } })
  t.strictSame([calls.length, handshakes()], [1, 0])
})

t.test('a refused token that is followed by a good one is not seen outside', async (t) => {
  const { url } = await startServer(t)
  const { socket, calls, states, events, handshakes } = watch(t, url, ({ why }) => tokenOf('ann', why === 'rejected' ? 60 : -60), OPTIONS)
  await socket.opened
  t.strictSame([states.map(({ status }) => status), events, calls.length, handshakes()], [['open'], ['open'], 2, 2])
})

t.test('an endpoint that is slower than the rest of the life loses the connection, and not the user', async (t) => {
  const { url, users } = await startServer(t)
  const { socket, calls, next, events } = watch(t, url, async ({ why }) => {
    if (why === 'renew') await pause(8000)
    return tokenOf('ann', why === 'rejected' ? 60 : 5)
  }, { retry: RETRY, timeouts: { credential: 10_000 } })
  await socket.opened
  t.match(await next('waiting'), { end: { code: 3000, reason: 'token_expired', wasOpen: true } })
  await until(() => events.length === 3 && users.get('ann') === 2, 'the second connection')
  const rejected = calls.find(({ why }) => why === 'rejected')
  t.match(rejected, { code: 'WS_AUTH_TOKEN_EXPIRED' })
  t.match(events, ['open', 'close 3000 token_expired', 'open'])
  t.equal(calls.filter(({ why }) => why === 'renew').every(({ signal }) => signal.aborted), true, 'the slow call was told')
})

t.test('a renewal with a token of another user connects anew as that user', async (t) => {
  const { url, users } = await startServer(t)
  const { socket, calls, events, next } = watch(t, url, ({ why }) => tokenOf(why === 'renew' ? 'bob' : 'ann'), OPTIONS)
  await socket.opened
  await t.rejects(socket.renew(), { name: 'WsAuthClientError', reason: 'other_subject' })
  await next('open', 2)
  await until(() => users.size === 2, 'the other user')
  t.strictSame([...users], [['ann', 1], ['bob', 1]])
  t.match(calls.map(({ why }) => why), ['connect', 'renew'])
  t.match(events, ['open', 'close 3000 other_subject', 'open'])
})

t.test('reconnect() during a slow call does not come back as the former user', async (t) => {
  const { url, users } = await startServer(t)
  let user = 'ann'
  const { socket, calls } = watch(t, url, async () => {
    const asked = user
    await pause(asked === 'ann' ? 150 : 10)
    return tokenOf(asked)
  }, OPTIONS)
  await until(() => calls.length === 1, 'the first call')
  user = 'bob'
  socket.reconnect()
  await socket.opened
  await pause(200)
  t.strictSame([...users], [['bob', 1]])
  t.strictSame(calls.map(({ signal }) => signal.aborted), [true, false])
})

t.test('two clients with one rotating refresh token and a lock are both let in, and nobody is logged out', async (t) => {
  const { url, users } = await startServer(t)
  let [refresh, rotations, isLoggedOut] = [0, 0, false]
  const endpoint = await startEndpoint(t, (request, response) => {
    // A refresh token that is used twice is stolen (RFC 9700, 4.14.2): the user is logged out.
    if (Number(request.headers['x-refresh']) !== refresh) isLoggedOut = true
    if (isLoggedOut) response.writeHead(401).end()
    else setTimeout(() => response.end(JSON.stringify({ token: rotations < 2 ? tokenOf('ann', 8, 12) : tokenOf(), expiresIn: rotations < 2 ? 4000 : 60_000, refresh: ++refresh })), 20)
    rotations++
  })
  const shared = { refresh: 0, token: '', expiresIn: 0, since: 0 }
  let lock = Promise.resolve()
  /** As `navigator.locks.request` in two tabs. */
  const withLock = async (run: () => Promise<string>): Promise<string> => {
    const turn = lock.then(run)
    lock = turn.then(() => {}, () => {})
    return await turn
  }
  const ask: Ask = async ({ why }) => await withLock(async () => {
    // A token of which more than a half is left is that of the other tab, also for a renewal.
    if (why !== 'rejected' && Date.now() < shared.since + shared.expiresIn / 2) return shared.token
    const response = await fetch(endpoint.url, { headers: { 'x-refresh': String(shared.refresh) } })
    if (!response.ok) throw new Error(`the endpoint answered ${response.status}`)
    Object.assign(shared, await response.json(), { since: Date.now() })
    return shared.token
  })
  const tabs = [watch(t, url, ask, OPTIONS), watch(t, url, ask, OPTIONS)]
  await Promise.all(tabs.map(({ socket }) => socket.opened))
  await until(() => tabs.every(({ states }) => states.length === 2), 'a renewal of each', 20_000)
  t.equal(rotations, 2, 'each token was got once for both')
  t.equal(isLoggedOut, false)
  t.strictSame([...users], [['ann', 2]], 'no connection was lost')
  t.strictSame(tabs.map(({ events }) => events), [['open'], ['open']])
})
