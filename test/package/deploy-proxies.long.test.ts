/*
 * Real proxies in front of real apps, with the files of example/deploy and without them, all at once: what gets through, what
 * they log, which Host the app sees, how long a quiet connection lives, and how it ends.
 */
import { once } from 'node:events'
import { connect } from 'node:http2'
import type { ClientHttp2Session, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { SECRET, sign, start, within } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { eventually } from '../helpers/browser'
import { CERTIFICATE } from '../helpers/certificate'
import { IDLE, PROXIES, reasonToSkip, startProxyOf } from '../helpers/deployed-proxies'
import type { DeployedProxy, ProxyName } from '../helpers/deployed-proxies'
import { buildPackage, startFile } from '../helpers/example'
import { reasonToSkip as reasonToSkipRedis, startRedis } from '../helpers/redis'

const TOKEN = sign({ sub: 'ann', roles: ['member'] })
const BEARER = { authorization: `Bearer ${TOKEN}` }
const COOKIE = { cookie: `token=${TOKEN}` }
const EVIL = 'https://evil.example'
const TRUSTED = { ca: CERTIFICATE }

const reasons = new Map(PROXIES.map((name) => [name, reasonToSkip(name)]))
const names = PROXIES.filter((name) => reasons.get(name) === false)
/** Why all tests with proxies are skipped: each proxy has said why before. */
const skip = names.length === 0 && 'there is no proxy'
/** With `trustProxy` and a heartbeat. */
let trusting: StartedApp
/** With neither. */
let plain: StartedApp

/** A proxy with its file of example/deploy before either app, and with the least settings before the one that trusts none. */
type Before = Record<'trusting' | 'plain' | 'bare', DeployedProxy>
const proxies = new Map<ProxyName, Before>()

t.before(async () => {
  await buildPackage()
  trusting = await startApp(t, 'loopback', 4000)
  plain = await startApp(t, false, false)
  await Promise.all(names.map(async (name) => {
    const upstream = ({ port }: StartedApp): string => `127.0.0.1:${port}`
    const [before, beforePlain, bare] = await Promise.all([
      startProxyOf(t, name, upstream(trusting)), startProxyOf(t, name, upstream(plain)), startProxyOf(t, name, upstream(plain), { isBare: true })
    ])
    proxies.set(name, { trusting: before, plain: beforePlain, bare })
  }))
})

for (const name of PROXIES) t.test(`${name} is installed on this machine`, { skip: reasons.get(name) }, async (t) => { t.ok(proxies.has(name)) })

async function startApp (t: Test, trustProxy: string | false, heartbeat: number | false): Promise<StartedApp> {
  return await start(t, {
    server: { trustProxy },
    plugin: { heartbeat, tickets: true },
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket, { wsAuth }) => { socket.send(`hello ${wsAuth?.sub} by ${wsAuth?.source}`) })
      app.get('/first', { websocket: true, wsAuth: { token: { message: true } } }, (socket, { wsAuth }) => { socket.send(`hello ${wsAuth?.sub} by ${wsAuth?.source}`) })
      app.get('/readyz', () => 'ready')
      app.get('/seen', async ({ ip, host, protocol }) => [ip, host, protocol])
      app.get('/admin', { websocket: true, wsAuth: { scopes: ['admin'] } }, (socket) => { socket.send('hello admin') })
    }
  })
}

/** Does the same with all proxies, side by side. */
async function each (run: (name: ProxyName, before: Before) => Promise<void>): Promise<void> {
  await Promise.all([...proxies].map(([name, before]) => run(name, before)))
}

interface Entered { readonly socket: WebSocket, readonly messages: string[], readonly closed: Promise<string> }

function open (url: string, protocols: string[] = [], headers: Record<string, string> = {}): WebSocket {
  return new WebSocket(url.replace('http', 'ws'), protocols, { headers, ...TRUSTED })
}

/** A connection that has been greeted. */
async function enter (socket: WebSocket, first?: string): Promise<Entered> {
  const messages: string[] = []
  socket.on('message', (data) => messages.push(String(data)))
  const closed = once(socket, 'close').then(([code, reason]) => `${code} ${reason}`)
  await once(socket, 'open')
  if (first !== undefined) socket.send(first)
  await eventually(() => messages.some((message) => message.startsWith('hello')), 'a greeting')
  return { socket, messages, closed }
}

async function greetingOf (socket: WebSocket, first?: string): Promise<string> {
  const { messages, closed } = await enter(socket, first)
  socket.close(1000)
  await closed
  return messages.at(-1) ?? ''
}

/** What a handshake is answered with: the status, the challenge and the code. */
async function refusalOf (socket: WebSocket): Promise<unknown[]> {
  socket.on('open', () => socket.close())
  const [, response] = await Promise.race([once(socket, 'unexpected-response'), once(socket, 'open').then(() => [null, { statusCode: 101 }])])
  if (response.statusCode === 101) return [101]
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return [response.statusCode, response.headers['www-authenticate'], JSON.parse(String(Buffer.concat(chunks))).code]
}

async function statusOf (socket: WebSocket): Promise<unknown> {
  return (await refusalOf(socket))[0]
}

t.test('a token passes a proxy in the header, the subprotocol, the query, a cookie and the first message', { skip }, async (t) => {
  await each(async (name, { trusting: { url } }) => {
    const origin = { origin: url }
    const auth = JSON.stringify({ type: 'auth', token: TOKEN })
    t.strictSame(await Promise.all([
      greetingOf(open(`${url}/chat`, [], BEARER)),
      greetingOf(open(`${url}/chat`, ['bearer', TOKEN])),
      greetingOf(open(`${url}/chat?token=${TOKEN}`)),
      greetingOf(open(`${url}/chat`, [], { ...COOKIE, ...origin })),
      greetingOf(open(`${url}/first`, [], origin), auth)
    ]), ['header', 'subprotocol', 'query', 'cookie', 'message'].map((source) => `hello ann by ${source}`), name)
  })
})

t.test('a refusal keeps its status, its challenge and its code', { skip }, async (t) => {
  const expired = sign({ sub: 'ann', exp: 1 })
  const rows: Array<[path: string, headers: Record<string, string>, ...expected: unknown[]]> = [
    ['/chat', {}, 401, 'Bearer realm="websocket"', 'WS_AUTH_TOKEN_MISSING'],
    ['/chat', { authorization: `Bearer ${expired}` }, 401, 'Bearer error="invalid_token"', 'WS_AUTH_TOKEN_EXPIRED'],
    ['/admin', BEARER, 403, 'Bearer error="insufficient_scope", scope="admin"', 'WS_AUTH_FORBIDDEN'],
    [`/chat?token=${TOKEN}`, BEARER, 400, 'Bearer error="invalid_request"', 'WS_AUTH_TOKEN_AMBIGUOUS']
  ]
  await each(async (name, { trusting: { url } }) => {
    await Promise.all(rows.map(async ([path, headers, ...expected]) => {
      t.strictSame(await refusalOf(open(url + path, [], headers)), expected, `${name}: ${expected[2]}`)
      const answer = await fetch(url + path, { headers })
      t.strictSame([answer.status, answer.headers.get('www-authenticate'), ((await answer.json()) as { code: string }).code], expected, `${name}, dry run: ${expected[2]}`)
    }))
  })
})

t.test("the origin 'same-host' admits only the own origin behind the files of example/deploy, with and without trustProxy", { skip }, async (t) => {
  await each(async (name, { trusting: { url, other }, plain }) => {
    const by = async (to: string, origin: string): Promise<unknown> => await statusOf(open(`${to}/chat`, [], { ...COOKIE, origin }))
    t.equal(await by(url, url), 101, `${name}: the own origin`)
    t.equal(await by(url, EVIL), 403, `${name}: another`)
    t.equal(await by(other, other), 101, `${name}, TLS: the own origin`)
    t.equal(await by(other, other.replace('https', 'http')), 403, `${name}, TLS: the page came by http`)
    t.equal(await by(plain.url, plain.url), 101, `${name}, no trustProxy: the own origin`)
    t.equal(await by(plain.other, plain.other), 101, `${name}, no trustProxy, TLS: the own origin`)
    t.equal(await by(plain.url, EVIL), 403, `${name}, no trustProxy: another`)
  })
})

t.test('the files of example/deploy let no client set its address, the host or the scheme', { skip }, async (t) => {
  const headers = { 'x-forwarded-for': '192.0.2.1', 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' }
  await each(async (name, { trusting: { url } }) => {
    t.strictSame(await (await fetch(`${url}/seen`, { headers })).json(), ['127.0.0.1', new URL(url).host, 'http'], name)
  })
})

t.test('a heartbeat keeps a quiet connection open past the timeout of the proxy, and without a heartbeat it ends', { skip }, async (t) => {
  await each(async (name, before) => {
    const kept = await enter(open(`${before.trusting.url}/chat`, [], BEARER))
    const quiet = await enter(open(`${before.plain.url}/chat`, [], BEARER))
    const late = delay(IDLE * 1000 + 500, 'open')
    const end = name === 'Caddy' ? Promise.race([quiet.closed, late]) : within(30_000, `${name} ends a quiet connection`, quiet.closed)
    t.equal(await end, name === 'Caddy' ? 'open' : '1006 ', `${name}: no heartbeat`)
    t.equal(kept.socket.readyState, WebSocket.OPEN, `${name}: a heartbeat`)
    for (const { socket } of [kept, quiet]) socket.terminate()
  })
})

t.test('the app answers dry runs, refusals and tickets over HTTP/2 to the proxy', { skip }, async (t) => {
  await each(async (name, { trusting: { other } }) => {
    const session = connect(other, TRUSTED)
    const refused = await ask(session, { ':path': '/chat' })
    t.strictSame([refused.headers[':status'], refused.headers['www-authenticate']], [401, 'Bearer realm="websocket"'], name)
    const dry = await ask(session, { ':path': '/chat', ...BEARER })
    t.strictSame([dry.headers[':status'], dry.headers['cache-control']], [426, 'no-store'], name)
    const { headers, body } = await ask(session, { ':path': '/ws-ticket', ':method': 'POST', ...COOKIE, origin: other })
    t.equal(headers[':status'], 200, name)
    t.equal(await greetingOf(open(`${other}/chat?ticket=${JSON.parse(body).ticket}`)), 'hello ann by ticket', name)
    session.close()
  })
})

async function ask (session: ClientHttp2Session, headers: OutgoingHttpHeaders): Promise<{ headers: IncomingHttpHeaders & { ':status'?: number }, body: string }> {
  const request = session.request(headers, { endStream: true }).setEncoding('utf8')
  const [answer] = await once(request, 'response')
  let body = ''
  for await (const chunk of request) body += chunk
  return { headers: answer, body }
}

t.test('HAProxy and Apache accept a handshake over HTTP/2 (RFC 8441)', { skip }, async (t) => {
  await each(async (name, { trusting: { other } }) => {
    const session = connect(other, TRUSTED)
    const [{ enableConnectProtocol }] = await once(session, 'remoteSettings')
    if (name === 'HAProxy' || name === 'Apache') t.equal(enableConnectProtocol, true, name)
    if (enableConnectProtocol === true) {
      const request = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/chat', 'sec-websocket-version': '13', ...COOKIE, origin: other }, { endStream: false })
      const [headers] = await once(request, 'response')
      t.equal(headers[':status'], 200, name)
      let frame = ''
      for await (const chunk of request) {
        frame += chunk
        if (frame.includes('cookie')) break
      }
      t.match(frame, /^..hello ann by cookie/s, `${name}: a text frame, of which two bytes are the header`)
      request.close()
    }
    session.destroy()
  })
})

t.test('a proxy with its file of example/deploy logs no token', { skip }, async (t) => {
  await each(async (name, { trusting: { url, output } }) => {
    t.equal(await statusOf(open(`${url}/chat?token=${TOKEN}&last`, ['bearer', 'x'])), 400, name)
    await fetch(`${url}/last`)
    await eventually(() => output().includes('/last'), `${name} has logged the last request`)
    t.match(output(), /\/chat/, name)
    t.match(output(), / 101 |"status":(?:101|0),/, `${name}: an upgrade`)
    t.notMatch(output(), /eyJ|ticket=/, name)
  })
})

t.test('each proxy logs the query by default, and Caddy the subprotocols as well', { skip }, async (t) => {
  const [query, offered] = ['query', 'offered'].map((sub) => sign({ sub }))
  await each(async (name, { bare: { url, output } }) => {
    await fetch(`${url}/chat?token=${query}`)
    await fetch(`${url}/chat`, { headers: { 'sec-websocket-protocol': `bearer, ${offered}`, ...BEARER, ...COOKIE } })
    await fetch(`${url}/last`)
    // A proxy of several threads may log the last request first.
    await eventually(() => [query ?? '', '/last', ...name === 'Caddy' ? [offered ?? ''] : []].every((text) => output().includes(text)), `${name} has logged the requests`)
    t.equal(output().includes(offered ?? ''), name === 'Caddy', `${name}: the subprotocol`)
    t.equal(output().includes(TOKEN), false, `${name}: neither Authorization nor Cookie`)
  })
})

t.test('nginx and Apache without their file send the name of the app as Host, and HAProxy and Caddy the host of the page', { skip }, async (t) => {
  await each(async (name, { bare: { url } }) => {
    const { status } = await fetch(`${url}/chat`, { headers: { ...COOKIE, origin: url } })
    t.equal(status, name === 'nginx' || name === 'Apache' ? 403 : 426, name)
  })
})

t.test('a handshake whose Upgrade a proxy drops gets 426 with an explanation, and the log of the app has no token', { skip }, async (t) => {
  const before = plain.log.length
  await each(async (name, { bare: { url, other } }) => {
    const dropped = await statusOf(open(`${url}/chat`, [], BEARER))
    t.equal(dropped, name === 'nginx' || name === 'Apache' ? 426 : 101, `${name} by default`)
    t.match(await answerTo(open(`${other}/chat?token=${TOKEN}`)), { statusCode: 426, message: /Sec-WebSocket-Key came without Upgrade: a proxy drops it/ }, name)
  })
  t.match(plain.log.slice(before).join(''), /came without Upgrade/)
  t.notMatch(plain.log.slice(before).join(''), /eyJ/)
})

async function answerTo (socket: WebSocket): Promise<unknown> {
  const [, response] = await once(socket, 'unexpected-response')
  let body = ''
  for await (const chunk of response) body += chunk
  return JSON.parse(body)
}

t.test('SIGTERM closes each client with 1001 through the proxy, and ends deploy/server.js with 0', { skip: skip || reasonToSkipRedis() }, async (t) => {
  const redis = await startRedis(t)
  const { url, stop } = await startFile(t, 'deploy/server.js', { REDIS_URL: redis.path, JWT_SECRET: SECRET, HOST: '127.0.0.1', TRUST_PROXY: 'loopback' })
  const ways = await Promise.all(names.map(async (name) => ({ name, ...await startProxyOf(t, name, new URL(url).host) })))
  t.equal(await (await fetch(`${url}/healthz`)).text(), 'ok')
  const clients = await Promise.all([{ name: 'no proxy', url }, ...ways].map(async ({ name, url }) => ({ name, ...await enter(open(`${url}/chat`, ['bearer', TOKEN], { origin: url })) })))
  t.match(await (await fetch(`${url}/metrics`)).text(), new RegExp(`^ws_auth_connections\\{route="/chat"\\} ${clients.length}$`, 'm'))
  for (const { name, url } of ways) t.equal((await fetch(`${url}/metrics`)).status, 404, `${name}: /metrics is not for the world`)
  t.equal(await stop(), 0)
  for (const { name, messages, closed } of clients) t.strictSame([messages, await closed], [['hello ann'], '1001 drain'], name)
  await Promise.all(ways.map(async ({ name, url, output }) => {
    t.match((await fetch(`${url}/chat?token=${TOKEN}`)).status, /50[23]/, name)
    await eventually(() => /\/chat.*50[23]/.test(output()), `${name} has logged the last request`)
    t.notMatch(output(), /eyJ/, `${name}: a failure is logged without the query`)
  }))
})
