/*
 * The example, as somebody who has just cloned the repository tries it: on the terminal, over HTTP, and in a browser.
 */
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { WebSocket } from 'ws'
import { reasonToSkip, startBrowser } from '../helpers/browser'
import { buildExample, runExample, startExample } from '../helpers/example'
import type { RunningExample } from '../helpers/example'
import { reasonToSkip as reasonToSkipRedis, startRedis } from '../helpers/redis'

const SECRET = 'a secret of the tests, and long enough'
/** How long a connection outlives its token in the example, and how late it may be closed, in milliseconds. */
const GRACE = 2000
const SWEEP = 1000
const TIMEOUT = 120_000
const PASSWORDS = { ann: 'tea-for-two', bea: 'keys-to-all' }

interface Profile { user: { name: string, roles: string[] }, token: string }

function post (url: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body })
}

function logIn (url: string, name: string, password: string): Promise<Response> {
  return post(`${url}/login`, JSON.stringify({ name, password }))
}

async function cookieOf (url: string, name: keyof typeof PASSWORDS): Promise<string> {
  const response = await logIn(url, name, PASSWORDS[name])
  return response.headers.getSetCookie()[0]?.split(';')[0] ?? ''
}

async function messageOf (response: Response): Promise<string> {
  return (await response.json() as { message: string }).message
}

function connect (url: string, cookie: string): WebSocket {
  return new WebSocket(`${url.replace('http', 'ws')}/members`, { headers: { cookie } })
}

async function tokenOf (url: string, cookie: string, lifetime?: number): Promise<string> {
  return (await (await post(`${url}/token`, JSON.stringify({ lifetime }), { cookie })).json() as Profile).token
}

/** What can be read in a token by anybody. */
function claimsOf (token: string): { iat: number, exp: number, sub: string, use: string } {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as ReturnType<typeof claimsOf>
}

/** A connection of a user, and what the server calls it. */
async function enterRoom (url: string, cookie: string): Promise<{ socket: WebSocket, id: string }> {
  const socket = connect(url, cookie)
  const [data] = await once(socket, 'message', { signal: AbortSignal.timeout(TIMEOUT) })
  return { socket, id: (JSON.parse(String(data)) as { connection: { id: string } }).connection.id }
}

async function statusOf (url: string, path: string, cookie: string): Promise<number> {
  return (await post(url + path, '{}', { cookie })).status
}

async function ticketOf (url: string, cookie: string): Promise<string> {
  return (await (await post(`${url}/ws-ticket`, '{}', { cookie })).json() as { ticket: string }).ticket
}

/** What a handshake is refused with, or `open`. */
async function handshakeOf (url: string, path: string, headers: Record<string, string> = {}): Promise<string> {
  const socket = new WebSocket(url.replace('http', 'ws') + path, { headers })
  const answer = await once(socket, 'open', { signal: AbortSignal.timeout(TIMEOUT) })
    .then(() => 'open', ({ message }: Error) => message.replace('Unexpected server response: ', ''))
  socket.on('error', () => {}).terminate()
  return answer
}

/** Waits until a second has just begun, so that what follows happens in one. */
async function untilSecond (): Promise<void> {
  await delay(1005 - Date.now() % 1000)
}

async function closeOf (socket: WebSocket): Promise<string> {
  const [code, reason] = await once(socket, 'close', { signal: AbortSignal.timeout(TIMEOUT) })
  return `${code} ${reason}`
}

/** What a socket receives from now on. */
function framesOf (socket: WebSocket): string[] {
  const frames: string[] = []
  socket.on('message', (data) => frames.push(String(data)))
  return frames
}

/** Says something, and waits until the server has handed it on: whatever was said before has come by then. */
async function echoed (socket: WebSocket, frames = framesOf(socket)): Promise<void> {
  socket.send('{"type":"say","text":"still here"}')
  await received(socket, frames, 'still here')
}

/** Resolves when so many frames with a text have come. */
async function received (socket: WebSocket, frames: string[], text: string, count = 1): Promise<void> {
  const signal = AbortSignal.timeout(TIMEOUT)
  while (frames.filter((frame) => frame.includes(text)).length < count) await once(socket, 'message', { signal })
}

/** What the demonstration shows, of one instance or of two. */
function assertDemo (t: Test, stdout: string): void {
  for (const source of ['cookie', 'subprotocol', 'query', 'ticket']) t.match(stdout, new RegExp(`^ {2}${source} +open +/members as ann`, 'm'))
  t.match(stdout, /bea +hears +ann: Good morning!/)
  t.match(stdout, /401 WS_AUTH_TOKEN_MISSING +3000 token_missing/)
  t.match(stdout, /401 WS_AUTH_TOKEN_INVALID +3000 token_invalid/)
  t.match(stdout, /401 WS_AUTH_TOKEN_EXPIRED +3000 token_expired/)
  t.match(stdout, /400 WS_AUTH_TOKEN_AMBIGUOUS +3000 token_ambiguous/)
  t.match(stdout, /403 WS_AUTH_FORBIDDEN +3003 forbidden/)
  t.match(stdout, /403 WS_AUTH_ORIGIN_FORBIDDEN +3003 origin_forbidden/)
  t.match(stdout, /ann +closed 3000 token_revoked +4 connections/)
  t.match(stdout, /the ticket once more +401 WS_AUTH_TICKET_INVALID +3000 ticket_invalid/)
  t.match(stdout, /ann +closed 3003 disconnected/)
  t.match(stdout, /her cookies +401 Please log in/)
  t.match(stdout, /a token of hers +401 WS_AUTH_TOKEN_REVOKED +3000 token_revoked/)
  t.match(stdout, /first message +open \/members\/first-message as ann/)
  t.match(stdout, /told to renew +auth\.renew, auth\.ok +until/)
  t.match(stdout, /renewed with less +auth\.error WS_AUTH_TOKEN_INVALID/)
  t.match(stdout, /not renewed +closed 3000 token_expired/)
  t.match(stdout, /no first message +closed 3008 auth_timeout/)
  t.match(stdout, /the oldest +closed 3003 connection_replaced/)
  t.match(stdout, /renewed +1$/m)
  t.match(stdout, /refused +WS_AUTH_TIMEOUT +1$/m)
  t.match(stdout, /closed +token_expired +1$/m)
  t.match(stdout, /bea +closed 1001 shutdown/)
  t.notMatch(stdout, /eyJ/, 'no token is shown')
  t.notOk(stdout.includes('\u001B'), 'no colours where nobody sees them')
}

t.before(buildExample)
t.jobs = 3

t.test('on the terminal', { buffered: true }, async (t) => {
  t.test('--demo shows each way in and each refusal, and exits with 0', async (t) => {
    const { code, stdout, stderr } = await runExample(['--demo'])
    t.equal(code, 0)
    t.equal(stderr, '')
    t.match(stdout, /^listening on http:\/\/127\.0\.0\.1:\d+$/m)
    t.match(stdout, /an instance +1 closed/)
    t.match(stdout, /ann +closed 3000 token_revoked +2 connections, 1 instance$/m)
    assertDemo(t, stdout)
  })

  t.test('a port that is taken is named, with what to do', async (t) => {
    const { port } = await startExample(t)
    const { code, stderr } = await runExample(['--port', String(port)])
    t.equal(code, 1)
    t.equal(stderr, `port ${port} is taken: choose another, or any that is free with  npm start -- --port 0\n`)
  })

  t.test('an unknown option and a port that is none are said in one line', async (t) => {
    const unknown = await runExample(['--prot', '1'])
    t.equal(unknown.code, 1)
    t.match(unknown.stderr, /^Unknown option '--prot'.*\n$/)
    const wrong = await runExample(['--port', 'many'])
    t.equal(wrong.code, 1)
    t.match(wrong.stderr, /^the port must be a number from 0 to 65535, not many\n$/)
  })

  t.test('ends with 0 when it is told to, with connections open, which are told so', async (t) => {
    const example = await startExample(t)
    const socket = connect(example.url, await cookieOf(example.url, 'ann'))
    await once(socket, 'message')
    const [code, close] = await Promise.all([example.stop(), closeOf(socket)])
    t.equal(code, 0)
    t.equal(close, '1001 shutdown')
  })
})

t.test('over HTTP', { buffered: true }, async (t) => {
  const { url } = await startExample(t)

  t.test('a login sets a cookie that no script can read, and answers with a token', async (t) => {
    const response = await logIn(url, 'ann', PASSWORDS.ann)
    t.equal(response.status, 200)
    t.match(response.headers.getSetCookie(), [/^chat_token=[^;]+; Max-Age=28800; Path=\/; HttpOnly; SameSite=Strict$/])
    const { user, token } = await response.json() as Profile
    t.same(user, { name: 'ann', roles: ['member'] })
    t.match(token, /^[\w-]+\.[\w-]+\.[\w-]+$/)
  })

  t.test('a token lives as long as is asked for, and no longer than five minutes', async (t) => {
    const cookie = await cookieOf(url, 'ann')
    for (const [lifetime, expected] of [[undefined, 300], [1, 1], [60, 60], [300, 300]] as const) {
      const { iat, exp, sub, use } = claimsOf(await tokenOf(url, cookie, lifetime))
      t.same({ seconds: exp - iat, sub, use }, { seconds: expected, sub: 'ann', use: 'connection' })
    }
    const response = await post(`${url}/login`, JSON.stringify({ name: 'ann', password: PASSWORDS.ann, lifetime: 7 }))
    const { iat, exp } = claimsOf((await response.json() as Profile).token)
    t.equal(exp - iat, 7)
    for (const lifetime of [0, -1, 301, 1.5, 'long']) {
      t.equal((await post(`${url}/token`, JSON.stringify({ lifetime }), { cookie })).status, 400, JSON.stringify(lifetime))
    }
  })

  t.test('a page of another origin gets no token, no login and no log out, though the cookie is sent along', async (t) => {
    const cookie = await cookieOf(url, 'ann')
    const login = JSON.stringify({ name: 'ann', password: PASSWORDS.ann })
    for (const origin of ['http://evil.example', 'http://127.0.0.1:1', 'null', `${url}.evil.example`, url.replace('http', 'https')]) {
      for (const [path, body] of [['/token', '{}'], ['/login', login], ['/logout', '{}'], ['/logout-everywhere', '{}'], ['/connections/x/disconnect', '{}']] as const) {
        const response = await post(url + path, body, { cookie, origin })
        t.equal(response.status, 403, `${path} from ${origin}`)
        t.same(response.headers.getSetCookie(), [])
      }
    }
    t.equal((await post(`${url}/ws-ticket`, '{}', { cookie, origin: 'http://127.0.0.1:1' })).status, 403)
    for (const path of ['/token', '/ws-ticket']) t.equal((await post(url + path, '{}', { cookie, origin: url })).status, 200)
  })

  t.test('behind HTTPS the cookie is Secure and has the prefix __Host-', async (t) => {
    const { url } = await startExample(t, { env: { HTTPS: '1' } })
    const response = await logIn(url, 'ann', PASSWORDS.ann)
    t.match(response.headers.getSetCookie(), [/^__Host-chat_token=[^;]+; Max-Age=28800; Path=\/; HttpOnly; Secure; SameSite=Strict$/])
    const cookie = await cookieOf(url, 'ann')
    t.equal((await fetch(`${url}/me`, { headers: { cookie } })).status, 200)
    const headers = { cookie, 'x-forwarded-host': 'chat.example', 'x-forwarded-proto': 'https' }
    t.equal((await post(`${url}/token`, '{}', { ...headers, origin: 'https://chat.example' })).status, 200)
    t.equal((await post(`${url}/token`, '{}', { ...headers, origin: 'http://chat.example' })).status, 403)
  })

  t.test('a wrong password and an unknown name get the same plain answer', async (t) => {
    for (const name of ['ann', 'nobody', '__proto__']) {
      const response = await logIn(url, name, 'guess')
      t.equal(response.status, 401)
      t.equal(await messageOf(response), 'Wrong name or password')
      t.same(response.headers.getSetCookie(), [])
    }
  })

  t.test('bad JSON, and JSON that is no login, are 400', async (t) => {
    for (const body of ['{"name":', '[]', '{}', '{"name":"ann"}', '{"name":"ann","password":""}', JSON.stringify({ name: 'ann', password: 'x'.repeat(129) })]) {
      t.equal((await post(`${url}/login`, body)).status, 400, body)
    }
  })

  t.test('the 21st login in a minute is 429', async (t) => {
    const { url } = await startExample(t)
    // At once, because a busy machine takes longer than the minute for one after the other.
    await Promise.all(Array.from({ length: 20 }, async () => t.equal((await logIn(url, 'ann', 'guess')).status, 401)))
    const response = await logIn(url, 'ann', PASSWORDS.ann)
    t.equal(response.status, 429)
    t.equal(await messageOf(response), 'Too many attempts: wait a minute')
  })

  t.test('nothing is told to whoever is not logged in, or has any other cookie', async (t) => {
    for (const path of ['/me', '/connections', '/expired-token']) {
      for (const cookie of ['', 'chat_token=garbage', 'chat_token=a.b.c', 'chat_token=']) {
        const response = await fetch(url + path, { headers: { cookie } })
        t.equal(response.status, 401, `${path} with ${cookie}`)
        t.equal(await messageOf(response), 'Please log in')
      }
    }
    t.equal((await post(`${url}/token`, '{}')).status, 401)
  })

  t.test('a token for a connection is not good for getting the next one', async (t) => {
    const { token } = await (await logIn(url, 'ann', PASSWORDS.ann)).json() as Profile
    t.equal((await fetch(`${url}/me`, { headers: { authorization: `Bearer ${token}` } })).status, 401)
    t.equal((await fetch(`${url}/me`, { headers: { cookie: `chat_token=${token}` } })).status, 401)
    t.equal((await post(`${url}/token`, '{}', { cookie: `chat_token=${token}` })).status, 401)
    t.equal((await post(`${url}/token`, '{}', { authorization: `Bearer ${token}` })).status, 401)
  })

  t.test('a member sees their own connections, an admin all of them', async (t) => {
    const { url } = await startExample(t)
    const cookies = { ann: await cookieOf(url, 'ann'), bea: await cookieOf(url, 'bea') }
    const sockets = [connect(url, cookies.ann), connect(url, cookies.bea)]
    await Promise.all(sockets.map((socket) => once(socket, 'message')))
    const viewOf = async (cookie: string): Promise<{ names: string[], stats: unknown }> => {
      const { connections, stats } = await (await fetch(`${url}/connections`, { headers: { cookie } })).json() as { connections: Array<{ name: string }>, stats: unknown }
      return { names: connections.map(({ name }) => name).sort(), stats }
    }
    t.same(await viewOf(cookies.ann), { names: ['ann'], stats: null })
    const stats = { connections: 2, pending: 0, accepted: 2, renewed: 0, refused: {}, closed: {} }
    t.same(await viewOf(cookies.bea), { names: ['ann', 'bea'], stats })
    for (const socket of sockets) socket.terminate()
  })

  t.test('a log out takes the cookie back and closes what that login has opened, and no other', async (t) => {
    const here = await cookieOf(url, 'ann')
    const elsewhere = connect(url, await cookieOf(url, 'ann'))
    const socket = connect(url, here)
    await Promise.all([once(socket, 'message'), once(elsewhere, 'message')])
    const closed = once(socket, 'close')
    const response = await fetch(`${url}/logout`, { method: 'POST', headers: { cookie: here } })
    t.equal(response.status, 204)
    t.match(response.headers.getSetCookie(), [/^chat_token=; .*Expires=Thu, 01 Jan 1970/])
    const [code, reason] = await closed
    t.equal(`${code} ${reason}`, '3000 token_revoked')
    t.equal(elsewhere.readyState, WebSocket.OPEN)
    elsewhere.terminate()
    // A copy of the cookie is of no use any more.
    t.equal((await post(`${url}/token`, '{}', { cookie: here })).status, 401)
    const [error] = await once(connect(url, here).on('error', () => {}), 'error') as [Error]
    t.equal(error.message, 'Unexpected server response: 401')
  })

  t.test('a restart keeps the logins where the secret is the same, and only there', async (t) => {
    const first = await startExample(t, { env: { JWT_SECRET: SECRET } })
    const cookie = await cookieOf(first.url, 'ann')
    await first.stop()
    const second = await startExample(t, { env: { JWT_SECRET: SECRET } })
    t.equal((await fetch(`${second.url}/me`, { headers: { cookie } })).status, 200)
    const third = await startExample(t)
    t.match(third.output(), /JWT_SECRET is not set/)
    t.equal((await fetch(`${third.url}/me`, { headers: { cookie } })).status, 401)
  })

  t.test('the page allows the scripts and styles of its server, and has none inline', async (t) => {
    const response = await fetch(url)
    const policy = response.headers.get('content-security-policy') ?? ''
    for (const directive of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "require-trusted-types-for 'script'"]) t.match(policy, directive)
    t.notMatch(policy, /unsafe|\*/)
    t.match(Object.fromEntries(response.headers), { 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY' })
    t.notMatch(await response.text(), /<style|<script(?! type="module" src="[\w.]+"><\/script>)| on\w+=| style=/)

    for (const name of readdirSync(join(__dirname, '../../example/chat/public'))) {
      const file = await fetch(`${url}/${name === 'index.html' ? '' : name}`)
      t.equal(file.status, 200, name)
      t.equal(file.headers.get('content-security-policy'), policy)
      t.match(file.headers.get('content-type'), { html: 'text/html', css: 'text/css', js: 'text/javascript' }[name.split('.')[1] ?? ''] ?? 'no other')
      t.notMatch(await file.text(), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|https?:\/\/(?!www\.w3\.org)/)
    }
  })
})

t.test('revoking, over HTTP', { buffered: true }, async (t) => {
  t.jobs = 4

  t.test('a log out everywhere makes every cookie, token and ticket of the user worthless, and nobody else\'s', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const [here, there, bea] = [await cookieOf(url, 'ann'), await cookieOf(url, 'ann'), await cookieOf(url, 'bea')]
    const [token, ticket] = [await tokenOf(url, there), await ticketOf(url, there)]
    const [one, two, other] = [await enterRoom(url, here), await enterRoom(url, there), await enterRoom(url, bea)]
    const closes = [closeOf(one.socket), closeOf(two.socket)]
    const response = await post(`${url}/logout-everywhere`, '{}', { cookie: here })
    t.equal(response.status, 200)
    t.match(response.headers.getSetCookie(), [/^chat_token=; .*Expires=Thu, 01 Jan 1970/])
    t.same(await response.json(), { closed: 2, instances: 1 }, 'how instances are called is not told')
    t.same(await Promise.all(closes), ['3000 token_revoked', '3000 token_revoked'])
    for (const cookie of [here, there]) {
      for (const path of ['/token', '/ws-ticket', '/logout', '/logout-everywhere']) t.equal(await statusOf(url, path, cookie), 401, path)
      t.equal((await fetch(`${url}/me`, { headers: { cookie } })).status, 401)
      t.equal(await handshakeOf(url, '/members', { cookie }), '401')
    }
    t.equal(await handshakeOf(url, `/members?token=${token}`), '401')
    t.equal(await handshakeOf(url, `/members?ticket=${ticket}`), '401')
    t.equal(await handshakeOf(url, '/members', { cookie: bea }), 'open')
    t.equal(other.socket.readyState, WebSocket.OPEN)
    other.socket.terminate()
  })

  t.test('whoever logs in again in the same second is logged in', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    let cookie = await cookieOf(url, 'ann')
    // A slow machine may be in the next second by then: not each time.
    for (let round = 0; round < 4; round++) {
      await untilSecond()
      t.equal(await statusOf(url, '/logout-everywhere', cookie), 200)
      const response = await logIn(url, 'ann', PASSWORDS.ann)
      const { token } = await response.json() as Profile
      cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? ''
      t.equal((await fetch(`${url}/me`, { headers: { cookie } })).status, 200)
      t.equal(await handshakeOf(url, '/members', { cookie }), 'open')
      t.equal(await handshakeOf(url, '/members', { authorization: `Bearer ${token}` }), 'open')
    }
  })

  t.test('a request for a token that was begun before a log out everywhere, and ended after it, gets none', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const cookie = await cookieOf(url, 'ann')
    const slow = request(`${url}/token`, { method: 'POST', headers: { cookie, 'content-type': 'application/json', 'content-length': 2 } })
    slow.write('{')
    await delay(300)
    t.equal(await statusOf(url, '/logout-everywhere', cookie), 200)
    // A token of this second would not be revoked by its user.
    await untilSecond()
    slow.end('}')
    const [response] = await once(slow, 'response')
    t.equal((response as { statusCode: number }).statusCode, 401)
    slow.destroy()
  })

  t.test('a revoked login beside somebody else\'s good one is not taken', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const [ann, bea] = [await cookieOf(url, 'ann'), await cookieOf(url, 'bea')]
    const login = ann.slice(ann.indexOf('=') + 1)
    t.equal(await statusOf(url, '/logout', ann), 204)
    t.equal((await fetch(`${url}/me`, { headers: { cookie: bea, authorization: `Bearer ${login}` } })).status, 401)
    t.equal((await fetch(`${url}/me`, { headers: { cookie: `${ann}; ${bea}` } })).status, 401)
  })

  t.test('of many that use a ticket at once one gets in', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const ticket = await ticketOf(url, await cookieOf(url, 'ann'))
    const answers = await Promise.all(Array.from({ length: 10 }, () => handshakeOf(url, `/members?ticket=${ticket}`)))
    t.same(answers.sort(), [...Array<string>(9).fill('401'), 'open'])
  })

  t.test('an admin disconnects a connection, which may come back; a member disconnects none', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const [ann, bea] = [await cookieOf(url, 'ann'), await cookieOf(url, 'bea')]
    const { socket, id } = await enterRoom(url, ann)
    const refused = await post(`${url}/connections/${id}/disconnect`, '{}', { cookie: ann })
    t.equal(refused.status, 403)
    t.equal(await messageOf(refused), 'Only for admins')
    t.equal(await statusOf(url, `/connections/${id}/disconnect`, ''), 401)
    t.equal(socket.readyState, WebSocket.OPEN)

    const closed = closeOf(socket)
    const response = await post(`${url}/connections/${id}/disconnect`, '{}', { cookie: bea })
    t.match(await response.json(), { closed: 1, instances: [{ id: String, answered: true, closed: 1 }] })
    t.equal(await closed, '3003 disconnected')
    const again = await post(`${url}/connections/${id}/disconnect`, '{}', { cookie: bea })
    t.match(await again.json(), { closed: 0, instances: [{ answered: true, closed: 0 }] })
    t.equal(await statusOf(url, '/connections//disconnect', bea), 400)
    t.equal(await handshakeOf(url, '/members', { cookie: ann }), 'open')
  })
})

t.test('--redis without a Redis', { buffered: true }, async (t) => {
  t.jobs = 2
  t.test('says what to do where there is no redis-server', { buffered: true }, async (t) => {
    const { code, stdout, stderr } = await runExample(['--redis', '--port', '0'], { PATH: join(__dirname, 'nowhere') })
    t.equal(code, 1)
    t.equal(stderr, 'there is no redis-server to start: install it, or say where a Redis is, REDIS_URL=redis://127.0.0.1:6379 npm start -- --redis\n')
    t.equal(stdout, '')
  })

  t.test('says so where nobody answers at REDIS_URL, and not its password', { buffered: true }, async (t) => {
    const { code, stderr } = await runExample(['--redis', '--port', '0'], { REDIS_URL: 'redis://:pa55word@127.0.0.1:1' })
    t.equal(code, 1)
    t.equal(stderr, 'there is no Redis to be used at REDIS_URL: connect ECONNREFUSED 127.0.0.1:1\n')
  })
})

t.test('--redis', { buffered: true, skip: reasonToSkipRedis() }, async (t) => {
  t.jobs = 3

  t.test('--demo shows all of it at two instances, and leaves nothing behind', { buffered: true }, async (t) => {
    const folder = newFolder(t)
    const { code, stdout, stderr } = await runExample(['--redis', '--demo'], { TMPDIR: folder })
    t.equal(code, 0)
    t.equal(stderr, '')
    t.equal([...stdout.matchAll(/^listening on http:\/\/127\.0\.0\.1:\d+$/mg)].length, 2)
    t.match(stdout, /^two instances, which agree by a redis-server of their own$/m)
    t.match(stdout, /an instance +0 closed .*\n +an instance +1 closed/, 'it was at the other')
    t.match(stdout, /ann +closed 3000 token_revoked +2 connections, 2 instances$/m)
    assertDemo(t, stdout)
    t.same(readdirSync(folder), [])
  })

  t.test('a Redis of its own ends with it, also where it could not start', { buffered: true }, async (t) => {
    const folder = newFolder(t)
    const example = await startExample(t, { isTwofold: true, env: { TMPDIR: folder } })
    t.equal(readdirSync(folder).length, 1)
    const { socket } = await enterRoom(example.url, await cookieOf(example.url, 'ann'))
    const [code, close] = await Promise.all([example.stop(), closeOf(socket)])
    t.equal(code, 0)
    t.equal(close, '1001 shutdown')
    t.same(readdirSync(folder), [])
    const failed = await runExample(['--redis', '--port', '65535'], { TMPDIR: folder })
    t.equal(failed.code, 1)
    t.equal(failed.stderr, 'the port must be a number from 0 to 65535, not 65536\n')
    t.same(readdirSync(folder), [])
  })

  t.test('a Redis that asks for a password is said to', { buffered: true }, async (t) => {
    const redis = await startRedis(t, { settings: ['--requirepass', 'pa55word'] })
    const { code, stderr } = await runExample(['--redis', '--port', '0'], { REDIS_URL: redis.path })
    t.equal(code, 1)
    t.match(stderr, /^there is no Redis to be used at REDIS_URL: NOAUTH .*\n$/)
  })

  t.test('a login, a ticket, a disconnect and a log out are for both instances', { buffered: true }, async (t) => {
    const redis = await startRedis(t)
    const { urls: [one = '', two = ''] } = await startExample(t, { isTwofold: true, env: { REDIS_URL: redis.path } })
    const [ann, bea] = [await cookieOf(one, 'ann'), await cookieOf(two, 'bea')]

    const ticket = await ticketOf(one, ann)
    t.equal(await handshakeOf(two, `/members?ticket=${ticket}`), 'open')
    t.equal(await handshakeOf(one, `/members?ticket=${ticket}`), '401')

    const { socket, id } = await enterRoom(one, ann)
    const disconnected = closeOf(socket)
    const response = await post(`${two}/connections/${id}/disconnect`, '{}', { cookie: bea })
    t.match(await response.json(), { closed: 1, instances: [{ answered: true, closed: 0 }, { answered: true, closed: 1 }] })
    t.equal(await disconnected, '3003 disconnected')

    const { socket: again } = await enterRoom(one, ann)
    const revoked = closeOf(again)
    t.equal(await statusOf(two, '/logout', ann), 204)
    t.equal(await revoked, '3000 token_revoked')
    for (const url of [one, two]) t.equal(await statusOf(url, '/token', ann), 401)
  })

  t.test('a log out while Redis is away holds at the instance that was asked, and says that it may not at the other', { buffered: true }, async (t) => {
    const redis = await startRedis(t)
    const { url } = await startExample(t, { isTwofold: true, env: { REDIS_URL: redis.path, LOG_LEVEL: 'silent' } })
    const cookie = await cookieOf(url, 'ann')
    const { socket } = await enterRoom(url, cookie)
    await redis.stop()
    const closed = closeOf(socket)
    const response = await post(`${url}/logout`, '{}', { cookie })
    t.equal(response.status, 503)
    t.match(response.headers.getSetCookie(), [/^chat_token=; .*Expires=Thu, 01 Jan 1970/])
    t.equal(await closed, '3000 token_revoked')
    t.equal(await statusOf(url, '/token', cookie), 401)
  })
})

t.test('over a WebSocket', { buffered: true }, async (t) => {
  const { url } = await startExample(t)

  t.test('a frame that is none of ours is answered with an error, and the connection stays', async (t) => {
    const socket = connect(url, await cookieOf(url, 'ann'))
    const types: string[] = []
    socket.on('message', (data) => types.push((JSON.parse(String(data)) as { type: string }).type))
    await once(socket, 'message')
    const frames = ['{', 'null', '[]', '{"type":"say"}', '{"type":"say","text":7}', '{"type":"say","text":"  "}', JSON.stringify({ type: 'say', text: 'x'.repeat(501) })]
    for (const frame of frames) socket.send(frame)
    socket.send(Buffer.from('{"type":"say","text":"binary"}'))
    socket.send('{"type":"say","text":"fine"}')
    while (!types.includes('said')) await once(socket, 'message')
    t.same(types.filter((type) => type === 'error').length, frames.length + 1)
    socket.terminate()
  })

  t.test('the eleventh frame in five seconds closes with 1008 too_many_messages', async (t) => {
    const socket = connect(url, await cookieOf(url, 'bea'))
    await once(socket, 'message')
    for (let i = 0; i < 11; i++) socket.send('{"type":"say","text":"again"}')
    const [code, reason] = await once(socket, 'close')
    t.equal(`${code} ${reason}`, '1008 too_many_messages')
  })
})

t.test('the life of a connection', { buffered: true }, async (t) => {
  t.jobs = 4

  t.test('the page of an admin is told what is decided, and of no token', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const cookies = { ann: await cookieOf(url, 'ann'), bea: await cookieOf(url, 'bea') }
    const member = connect(url, cookies.ann)
    const admin = new WebSocket(`${url.replace('http', 'ws')}/admins`, { headers: { cookie: cookies.bea } })
    const frames = { ann: framesOf(member), bea: framesOf(admin) }
    await Promise.all([received(member, frames.ann, 'online'), received(admin, frames.bea, 'online')])

    const refused = new WebSocket(`${url.replace('http', 'ws')}/members?token=a.b.c`, { origin: url })
    t.equal(await closeOf(refused), '3000 token_invalid')
    const accepted = new WebSocket(`${url.replace('http', 'ws')}/members`, ['bearer', await tokenOf(url, cookies.ann)])
    const answers = framesOf(accepted)
    await received(accepted, answers, 'welcome')
    accepted.send(JSON.stringify({ type: 'auth', token: await tokenOf(url, cookies.ann) }))
    await received(accepted, answers, 'auth.ok')
    accepted.close(1000)
    await received(admin, frames.bea, '"event":"closed"')

    const events = frames.bea.map((frame) => JSON.parse(frame) as { type: string, event: { event: string, code: string | null, sub: string | null, source: string, route: string } })
      .filter(({ type }) => type === 'event').map(({ event: { event, code, sub, source, route } }) => [event, code, sub, source, route].join(' '))
      .filter((event) => !event.includes('cookie'))
    t.same(events, [
      'refused WS_AUTH_TOKEN_INVALID  query /members',
      'accepted  ann subprotocol /members',
      'renewed  ann subprotocol /members',
      'closed  ann subprotocol /members'
    ])
    t.notMatch(frames.bea.join(''), /eyJ|a\.b\.c/)
    t.notMatch(frames.ann.join(''), /"type":"event"/)
    member.terminate()
    admin.terminate()
  })

  t.test('the eleventh connection of a user closes the first, and nobody else\'s', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const [ann, bea] = [await cookieOf(url, 'ann'), await cookieOf(url, 'bea')]
    const other = connect(url, bea)
    await once(other, 'message')
    const sockets: WebSocket[] = []
    const closes: string[] = []
    for (let i = 0; i < 11; i++) {
      const socket = connect(url, ann)
      socket.once('close', (code, reason) => closes.push(`${i}: ${code} ${reason}`))
      sockets.push(socket)
      await once(socket, 'message')
    }
    const [first, second, ...rest] = sockets as [WebSocket, WebSocket, ...WebSocket[]]
    if (first.readyState !== WebSocket.CLOSED) await closeOf(first)
    await echoed(second)
    t.same(closes, ['0: 3003 connection_replaced'])
    t.equal(other.readyState, WebSocket.OPEN)
    for (const socket of [second, ...rest, other]) socket.terminate()
  })

  t.test('whoever has a lot refused does not flood the admins', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const admin = new WebSocket(`${url.replace('http', 'ws')}/admins`, { headers: { cookie: await cookieOf(url, 'bea') } })
    const told = framesOf(admin)
    const member = connect(url, await cookieOf(url, 'ann'))
    const answers = framesOf(member)
    await Promise.all([received(admin, told, 'online'), received(member, answers, 'online')])
    for (let i = 0; i < 60; i++) member.send('{"type":"auth","token":"a.b.c"}')
    await received(member, answers, 'auth.error', 60)
    await echoed(admin, told)
    const events = told.filter((frame) => frame.includes('renewal_refused'))
    t.ok(events.length > 0 && events.length < 60, `${events.length} events`)
    member.terminate()
    admin.terminate()
  })

  t.test('a first message from another page is not waited for', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const socket = new WebSocket(`${url.replace('http', 'ws')}/members/first-message`, { origin: 'http://evil.example' })
    t.equal(await closeOf(socket), '3003 origin_forbidden')
  })

  t.test('what is said before the first message has logged in closes the connection, and nobody hears it', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const listener = connect(url, await cookieOf(url, 'bea'))
    const heard = framesOf(listener)
    await once(listener, 'message')
    const socket = new WebSocket(`${url.replace('http', 'ws')}/members/first-message`)
    await once(socket, 'open')
    socket.send('{"type":"say","text":"who am I?"}')
    t.equal(await closeOf(socket), '3000 token_invalid')
    await echoed(listener, heard)
    t.notMatch(heard.join(''), 'who am I?')
    listener.terminate()
  })
})

t.test('in a browser', { skip: reasonToSkip() }, async (t) => {
  const browser = await startBrowser(t)
  t.jobs = 4

  t.test('it logs in with its first message, and its end is counted down to', { buffered: true }, async (t) => {
    const { page, example } = await openLife(t, browser, 10)
    await page.click('#life-open')
    await hasState(page, 'open')
    const first = await secondsLeft(page)
    t.ok(first > 0 && first <= 10, `${first} seconds left`)
    await page.locator('#life-log', { hasText: 'received auth.ok until' }).waitFor()
    await page.locator('#connections .badge', { hasText: 'message' }).waitFor()
    while (await secondsLeft(page) >= first) await delay(100)

    // A token that lives longer moves the end, one that lives less is refused and moves nothing.
    await page.selectOption('#lifetime', '300')
    await page.click('#life-renew')
    await page.locator('#life-left', { hasText: '4:' }).waitFor()
    await page.selectOption('#lifetime', '10')
    await page.click('#life-renew')
    await page.locator('#life-log', { hasText: 'auth.error WS_AUTH_TOKEN_INVALID' }).waitFor()
    t.ok(await secondsLeft(page) > 200)
    await page.click('#life-close')
    await hasState(page, 'closed')
    t.equal(await page.locator('#life-left').textContent(), '–')
    await assertNoToken(t, example, '"event":"renewal_refused"')
  })

  t.test('it is closed when it has expired, and not opened again', { buffered: true }, async (t) => {
    const { page, example } = await openLife(t, browser, 10)
    await page.uncheck('#auto-renew')
    await page.click('#life-open')
    await hasState(page, 'open')
    await page.locator('#life-log', { hasText: 'received auth.renew' }).waitFor()
    await page.locator('#life-state', { hasText: '3000 token_expired' }).waitFor()
    t.match(await page.locator('#life-log').textContent(), /closed 3000 token_expired/)
    t.equal(await page.locator('#life-open').isDisabled(), false)
    t.equal(await page.locator('#status').getAttribute('data-state'), 'open', 'the room lives on')
    await assertNoToken(t, example, '"event":"expired"')
  })

  t.test('it is renewed when the server says so, and lives past its first end', { buffered: true }, async (t) => {
    const { page, example } = await openLife(t, browser, 10)
    await page.click('#life-open')
    await hasState(page, 'open')
    const endsAt = Date.now() + await secondsLeft(page) * 1000 + GRACE + SWEEP
    await page.locator('#life-log li', { hasText: 'received auth.renew' }).waitFor()
    await page.locator('#life-log li', { hasText: 'received auth.ok' }).nth(1).waitFor()
    await delay(Math.max(endsAt - Date.now(), 0))
    await hasState(page, 'open')
    t.notMatch(await page.locator('#life-log').textContent(), /closed/)
    await assertNoToken(t, example, '"event":"renewed"')
  })

  t.test('one that says nothing is closed', { buffered: true }, async (t) => {
    const { page, example } = await openLife(t, browser, 10)
    await page.click('#life-silent')
    await page.locator('#life-state', { hasText: '3008 auth_timeout' }).waitFor()
    t.match(await page.locator('#life-log').textContent(), /closed 3008 auth_timeout/)
    await assertNoToken(t, example, '"code":"WS_AUTH_TIMEOUT"')
  })

  t.test('two tabs talk, a reload stays logged in, and a log out is for both', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const context = await newContext(t, browser)
    const one = await openPage(context, url)
    await fillIn(one, 'ann', 'guess')
    await one.getByText('Wrong name or password').waitFor()
    await enter(one, 'ann')

    const two = await context.newPage()
    await two.goto(url)
    await isOnline(two)
    await say(one, '<b>hello</b> from the first tab')
    await two.locator('#messages .text', { hasText: '<b>hello</b> from the first tab' }).waitFor()
    t.equal(await two.locator('#messages b').count(), 0, 'what users write stays text')

    await two.reload()
    await isOnline(two)
    await two.locator('#messages .text', { hasText: 'from the first tab' }).waitFor()
    t.equal(await two.locator('#who').textContent(), 'ann')

    await one.click('#logout')
    await one.locator('#login').waitFor()
    await two.locator('#login').waitFor()
    await one.reload()
    await one.locator('#login').waitFor()
  })

  t.test('each way in is open, and shows what the server knows of it', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(await newContext(t, browser), url)
    await enter(page, 'ann')
    for (const [way, protocol] of [['cookie', 'none'], ['subprotocol', 'bearer'], ['query', 'none'], ['ticket', 'none']]) {
      const card = page.locator(`[data-way=${way}]`)
      await card.locator('.badge[data-state=open]').waitFor()
      t.equal(await card.locator('[data-field=source]').textContent(), way)
      t.equal(await card.locator('[data-field=user]').textContent(), 'ann (member)')
      t.equal(await card.locator('[data-field=protocol]').textContent(), protocol)
      t.match(await card.locator('[data-field=id]').textContent(), /^[\w-]{8}$/)
    }
    await page.locator('#connections li').nth(4).waitFor()
    t.equal(await page.locator('#connections li').count(), 5)
  })

  t.test('each refusal shows its status and its close code', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(await newContext(t, browser), url)
    await enter(page, 'ann')
    await page.click('#try-all')
    const expected = {
      missing: ['401 WS_AUTH_TOKEN_MISSING', '3000 token_missing'],
      garbage: ['401 WS_AUTH_TOKEN_INVALID', '3000 token_invalid'],
      expired: ['401 WS_AUTH_TOKEN_EXPIRED', '3000 token_expired'],
      forbidden: ['403 WS_AUTH_FORBIDDEN', '3003 forbidden'],
      ambiguous: ['400 WS_AUTH_TOKEN_AMBIGUOUS', '3000 token_ambiguous'],
      spent: ['401 WS_AUTH_TICKET_INVALID', '3000 ticket_invalid']
    }
    for (const [name, codes] of Object.entries(expected)) {
      const badges = page.locator(`[data-refusal=${name}] .result .badge`)
      await badges.nth(1).waitFor()
      t.same(await badges.allTextContents(), codes)
    }
    t.equal(await page.locator('#status').getAttribute('data-state'), 'open', 'the room has not noticed')
  })

  t.test('the room of the admins is open to an admin and closed to a member', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const ann = await openPage(await newContext(t, browser), url)
    const bea = await openPage(await newContext(t, browser), url)
    await enter(ann, 'ann')
    await enter(bea, 'bea')
    await ann.click('[data-room=admins]')
    await ann.locator('#messages', { hasText: '3003 forbidden' }).waitFor()
    await bea.click('[data-room=admins]')
    await isOnline(bea)
    await say(bea, 'for admins only')
    await bea.locator('#messages .text', { hasText: 'for admins only' }).waitFor()
    await bea.click('[data-room=members]')
    await say(bea, 'for members')
    await ann.click('[data-room=members]')
    await ann.locator('#messages .text', { hasText: 'for members' }).waitFor()
    t.equal(await ann.getByText('for admins only').count(), 0)
  })

  t.test('a page of another origin cannot use the cookie, though it is of the same site', { buffered: true }, async (t) => {
    const example = await startExample(t, { env: { LOG_LEVEL: 'info' } })
    const context = await newContext(t, browser)
    await enter(await openPage(context, example.url), 'ann')
    // SameSite does not look at the port: the browser sends the cookie along.
    const evil = await startPage(t)
    const page = await context.newPage()
    await page.goto(evil)
    const closed = await page.evaluate((url) => new Promise<{ code: number, reason: string, frames: number }>((resolve) => {
      let frames = 0
      const socket = new globalThis.WebSocket(url)
      socket.onmessage = () => { frames++ }
      socket.onclose = ({ code, reason }) => resolve({ code, reason, frames })
    }), `${example.url.replace('http', 'ws')}/members`)
    t.same(closed, { code: 3003, reason: 'origin_forbidden', frames: 0 })
    await logged(example, '"code":"WS_AUTH_ORIGIN_FORBIDDEN"')
    t.notMatch(example.output(), /eyJ/, 'no token is in the log')
  })

  t.test('the oldest connection gives way to one too many, and is taken back by hand only', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const page = await openPage(await newContext(t, browser), url)
    await enter(page, 'ann')
    await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    for (let count = 6; count <= 10; count++) {
      await page.click('#one-more')
      await page.locator('#connections li').nth(count - 1).waitFor()
    }
    t.equal(await page.locator('#status').getAttribute('data-state'), 'open')
    await page.click('#one-more')
    await page.locator('#status[data-state=refused]').waitFor()
    await page.locator('#lost', { hasText: '3003 connection_replaced' }).waitFor()
    await page.click('#take-back')
    await isOnline(page)
    t.equal(await page.locator('#lost').isVisible(), false)
    await page.locator('[data-way=cookie] .badge', { hasText: '3003 connection_replaced' }).waitFor()
    t.equal(await page.locator('#connections li').count(), 10)
  })

  t.test('a page shows that the server was stopped', { buffered: true }, async (t) => {
    const example = await startExample(t)
    const page = await openPage(await newContext(t, browser), example.url)
    await enter(page, 'ann')
    await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    t.equal(await example.stop(), 0)
    await page.locator('#status[data-state=waiting]').waitFor()
    await page.locator('#lost', { hasText: '1001 shutdown' }).waitFor()
    t.equal(await page.locator('#take-back').isVisible(), false)
    await page.locator('[data-way=query] .badge', { hasText: '1001 shutdown' }).waitFor()
  })

  t.test('an admin sees what the server decides and counts, a member does not', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const bea = await openPage(await newContext(t, browser), url)
    const ann = await openPage(await newContext(t, browser), url)
    await enter(bea, 'bea')
    await bea.locator('#stats .badge', { hasText: 'accepted' }).waitFor()
    await enter(ann, 'ann')
    await ann.click('[data-refusal=garbage] button')
    await bea.locator('#events li', { hasText: 'refused WS_AUTH_TOKEN_INVALID /members by subprotocol' }).waitFor()
    await bea.locator('#stats .badge', { hasText: 'refused WS_AUTH_TOKEN_INVALID 1' }).waitFor()
    await ann.click('[data-way=query] [data-do=renew]')
    await bea.locator('#events li', { hasText: 'renewed /members by query as ann' }).waitFor()
    await bea.locator('#stats .badge', { hasText: 'renewed 1' }).waitFor()
    t.equal(await ann.locator('#events li, #stats li').count(), 0)
  })

  t.test('a log out everywhere in one browser is one in the other, and the way back in is open at once', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const one = await openPage(await newContext(t, browser), url)
    const two = await openPage(await newContext(t, browser), url)
    const bea = await openPage(await newContext(t, browser), url)
    for (const page of [one, two]) {
      await enter(page, 'ann')
      await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    }
    await enter(bea, 'bea')
    await one.click('#logout-everywhere')
    await one.locator('#notice', { hasText: /^Logged out everywhere: 10 connections were closed, on 1 instance\.$/ }).waitFor()
    await one.locator('#login').waitFor()
    t.equal(await one.locator('#login-error').textContent(), '', 'whoever has asked for it is told nothing bad')
    await two.locator('#login-error', { hasText: 'You have been logged out (3000 token_revoked). Please log in again.' }).waitFor()
    await two.reload()
    await two.locator('#login').waitFor()
    await enter(one, 'ann')
    await one.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    t.equal(await bea.locator('#status').getAttribute('data-state'), 'open')
  })

  t.test('an admin disconnects one connection of another browser, which can be taken back', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const ann = await openPage(await newContext(t, browser), url)
    const bea = await openPage(await newContext(t, browser), url)
    await enter(bea, 'bea')
    await enter(ann, 'ann')
    await ann.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    t.equal(await ann.locator('#disconnect').isVisible(), false)
    t.equal(await ann.locator('#connections button').count(), 0, 'a member disconnects nobody')

    const rows = bea.locator('#connections .connection', { hasText: 'ann' })
    await rows.filter({ hasText: 'ticket' }).locator('button').press('Enter')
    await ann.locator('[data-way=ticket] .badge', { hasText: '3003 disconnected' }).waitFor()
    t.equal(await ann.locator('#status').getAttribute('data-state'), 'open', 'the others stay')
    await bea.locator('#disconnect-result', { hasText: /^Disconnected 1: \S+ closed 1$/ }).waitFor()
    await bea.locator('#disconnect-result:focus').waitFor()

    const cookies = rows.filter({ hasText: 'cookie' })
    for (let left = await cookies.count(); left > 0; left--) {
      await cookies.first().locator('button').click()
      await cookies.nth(left - 1).waitFor({ state: 'detached' })
    }
    await ann.locator('#lost', { hasText: '3003 disconnected' }).waitFor()
    await ann.click('#take-back')
    await isOnline(ann)
  })

  t.test('two instances: a disconnect by id and a log out everywhere at one reach the browser at the other', { buffered: true, skip: reasonToSkipRedis() }, async (t) => {
    const redis = await startRedis(t)
    const { urls: [here = '', there = ''] } = await startExample(t, { isTwofold: true, env: { REDIS_URL: redis.path } })
    const one = await openPage(await newContext(t, browser), here)
    const two = await openPage(await newContext(t, browser), there)
    const bea = await openPage(await newContext(t, browser), there)
    await enter(one, 'ann')
    await enter(two, 'ann')
    await enter(bea, 'bea')
    for (const page of [one, two]) await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    t.match(await bea.locator('#connections-scope').textContent(), `At ${new URL(there).host}; another instance has its own.`)

    const row = one.locator('#connections .connection', { hasText: 'ticket' })
    const id = await row.locator('.mono').textContent() ?? ''
    t.equal(await bea.locator(`[data-id="${id}"]`).count(), 0, 'the list is that of the instance that was asked')
    await bea.fill('#disconnect-id', id)
    await bea.click('#disconnect button')
    await one.locator('[data-way=ticket] .badge', { hasText: '3003 disconnected' }).waitFor()
    await bea.locator('#disconnect-result', { hasText: /^Disconnected 1: \S+ closed 0, \S+ closed 1$/ }).waitFor()

    await two.click('#logout-everywhere')
    await two.locator('#notice', { hasText: /^Logged out everywhere: 9 connections were closed, on 2 instances\.$/ }).waitFor()
    await one.locator('#login-error', { hasText: '(3000 token_revoked)' }).waitFor()
    await one.reload()
    await one.locator('#login').waitFor()
    await enter(one, 'ann')
    t.equal(await bea.locator('#status').getAttribute('data-state'), 'open')
  })

  t.test('nothing is wider than a screen of 360 pixels', { buffered: true }, async (t) => {
    const example = await startExample(t)
    const context = await newContext(t, browser, { width: 360, height: 740 })
    const page = await openPage(context, example.url)
    const isTooWide = (): Promise<boolean> => page.locator('html').evaluate((root) => root.scrollWidth > root.clientWidth)
    t.equal(await isTooWide(), false)
    await enter(page, 'bea')
    await say(page, 'w'.repeat(200))
    await page.click('#try-all')
    await page.locator('[data-refusal=spent] .result .badge').nth(1).waitFor()
    await page.click('#life-open')
    await hasState(page, 'open')
    await page.locator('#connections li').first().waitFor()
    await page.locator('#events li').first().waitFor()
    await page.locator('#connections button').last().click()
    await page.locator('#disconnect-result', { hasText: 'Disconnected 1' }).waitFor()
    t.equal(await isTooWide(), false)
    await example.stop()
    await page.locator('#lost').waitFor()
    t.equal(await isTooWide(), false)
  })

  // One after the other, and after all others: they stop a server, and start another on the port that it had.
  t.test('a page comes back by itself after a restart of the server', async (t) => {
    const env = { JWT_SECRET: SECRET }
    const first = await startExample(t, { env })
    const page = await openPage(await newContext(t, browser), first.url)
    await enter(page, 'ann')
    await first.stop()
    await page.locator('#status[data-state=waiting]').waitFor()
    await startExample(t, { port: first.port, env })
    await isOnline(page)
    await page.locator('[data-way=ticket] .badge[data-state=open]').waitFor()
    await say(page, 'back again')
    const message = page.locator('#messages .text', { hasText: 'back again' })
    await message.waitFor()
    t.equal(await message.textContent(), 'back again')
  })

  t.test('after a restart with another secret the page asks for a login', async (t) => {
    const first = await startExample(t)
    const page = await openPage(await newContext(t, browser), first.url)
    await enter(page, 'ann')
    await first.stop()
    await startExample(t, { port: first.port })
    await page.locator('#login').waitFor()
    t.match(await page.locator('#login-error').textContent(), /^You have been logged out(?: \(3000 token_invalid\))?\. Please log in again\.$/)
    await enter(page, 'ann')
  })
})

/** What a browser says of answers that a page gets: none of it is about the page. */
const EXPECTED = /^(?:Failed to load resource: |WebSocket connection to \S+ failed: )/

/** A context is a browser of its own: no cookie is shared. A page that throws, or breaks its policy, fails the test. */
async function newContext (t: Test, browser: Browser, viewport = { width: 1280, height: 800 }): Promise<BrowserContext> {
  const context = await browser.newContext({ viewport })
  context.setDefaultTimeout(TIMEOUT)
  context.on('weberror', (error) => t.fail(`the page threw ${error.error()}`))
  context.on('console', (message) => { if (message.type() === 'error' && !EXPECTED.test(message.text())) t.fail(message.text()) })
  t.teardown(() => context.close())
  return context
}

async function openPage (context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(url)
  return page
}

async function fillIn (page: Page, name: string, password: string): Promise<void> {
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Password').fill(password)
  await page.click('#login-form button')
}

async function enter (page: Page, name: keyof typeof PASSWORDS): Promise<void> {
  await fillIn(page, name, PASSWORDS[name])
  await isOnline(page)
}

async function isOnline (page: Page): Promise<void> {
  await page.locator('#status[data-state=open]').waitFor()
}

async function say (page: Page, text: string): Promise<void> {
  await page.getByLabel('Message', { exact: true }).fill(text)
  await page.click('#composer button')
}

/** The page of ann on a server of her own that logs everything, with tokens of so many seconds. */
async function openLife (t: Test, browser: Browser, lifetime: number): Promise<{ page: Page, example: RunningExample }> {
  const example = await startExample(t, { env: { LOG_LEVEL: 'info' } })
  const page = await openPage(await newContext(t, browser), example.url)
  await enter(page, 'ann')
  await page.selectOption('#lifetime', String(lifetime))
  return { page, example }
}

/** What a process prints comes through a pipe, in its own time. */
async function logged (example: RunningExample, text: string): Promise<void> {
  const deadline = Date.now() + TIMEOUT
  while (!example.output().includes(text)) {
    if (Date.now() > deadline) throw new Error(`not in the log: ${text}`)
    await delay(50)
  }
}

/** @param text what is logged last */
async function assertNoToken (t: Test, example: RunningExample, text: string): Promise<void> {
  await logged(example, text)
  t.notMatch(example.output(), /eyJ/, 'no token is in the log')
}

async function hasState (page: Page, state: string): Promise<void> {
  await page.locator(`#life-state[data-state=${state}]`).waitFor()
}

async function secondsLeft (page: Page): Promise<number> {
  const [minutes, seconds] = (await page.locator('#life-left').textContent() ?? '').split(':')
  return Number(minutes) * 60 + parseInt(seconds ?? '')
}

/** An empty folder, for what would be left behind. */
function newFolder (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'example-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** An empty page on another port. */
async function startPage (t: { teardown (end: () => unknown): void }): Promise<string> {
  const server = createServer((_request, response) => { response.setHeader('content-type', 'text/html').end('<title>evil</title>') })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
