/*
 * The example over HTTP: logins, tokens, cookies, logouts, and what they revoke.
 */
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { WebSocket } from 'ws'
import { buildExample, startExample } from '../helpers/example'
import { closeOf, connect, cookieOf, enterRoom, handshakeOf, logIn, PASSWORDS, post, SECRET, statusOf, ticketOf, tokenOf } from '../helpers/example-chat'
import type { Profile } from '../helpers/example-chat'
import type { WsAuthStats } from '../../lib/index'

async function messageOf (response: Response): Promise<string> {
  return (await response.json() as { message: string }).message
}

/** What can be read in a token by anybody. */
function claimsOf (token: string): { iat: number, exp: number, sub: string, use: string } {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as ReturnType<typeof claimsOf>
}

/** Waits until a second has just begun, so that what follows happens in one. */
async function untilSecond (): Promise<void> {
  await delay(1005 - Date.now() % 1000)
}

t.before(buildExample)
t.jobs = 3

t.test('the chat answers over HTTP', { buffered: true }, async (t) => {
  const { url } = await startExample(t)

  t.test('a login sets a cookie that no script can read, and answers with a token', async (t) => {
    const response = await logIn(url, 'ann', PASSWORDS.ann)
    t.equal(response.status, 200)
    t.match(response.headers.getSetCookie(), [/^chat_token=[^;]+; Max-Age=28800; Path=\/; HttpOnly; SameSite=Strict$/])
    const { user, token } = await response.json() as Profile
    t.same(user, { name: 'ann', roles: ['member'] })
    t.match(token, /^[\w-]+\.[\w-]+\.[\w-]+$/)
  })

  t.test('a token lives as long as the client asks for, and no longer than five minutes', async (t) => {
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

  t.test('a page of another origin gets no token, no login and no log out, though the browser sends the cookie', async (t) => {
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

  t.test('the cookie behind HTTPS is Secure and has the prefix __Host-', async (t) => {
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

  t.test('a login of bad JSON, or of other JSON, is 400', async (t) => {
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

  t.test('a client without a login, or with any other cookie, gets 401 and no data', async (t) => {
    for (const path of ['/me', '/connections', '/expired-token']) {
      for (const cookie of ['', 'chat_token=garbage', 'chat_token=a.b.c', 'chat_token=']) {
        const response = await fetch(url + path, { headers: { cookie } })
        t.equal(response.status, 401, `${path} with ${cookie}`)
        t.equal(await messageOf(response), 'Please log in')
      }
    }
    t.equal((await post(`${url}/token`, '{}')).status, 401)
  })

  t.test('a token for a connection cannot get the next token', async (t) => {
    const { token } = await (await logIn(url, 'ann', PASSWORDS.ann)).json() as Profile
    t.equal((await fetch(`${url}/me`, { headers: { authorization: `Bearer ${token}` } })).status, 401)
    t.equal((await fetch(`${url}/me`, { headers: { cookie: `chat_token=${token}` } })).status, 401)
    t.equal((await post(`${url}/token`, '{}', { cookie: `chat_token=${token}` })).status, 401)
    t.equal((await post(`${url}/token`, '{}', { authorization: `Bearer ${token}` })).status, 401)
  })

  t.test('a member sees their own connections, and an admin sees all of them', async (t) => {
    const { url } = await startExample(t)
    const cookies = { ann: await cookieOf(url, 'ann'), bea: await cookieOf(url, 'bea') }
    const sockets = [connect(url, cookies.ann), connect(url, cookies.bea)]
    await Promise.all(sockets.map((socket) => once(socket, 'message')))
    const viewOf = async (cookie: string): Promise<{ names: string[], stats: WsAuthStats | null }> => {
      const { connections, stats } = await (await fetch(`${url}/connections`, { headers: { cookie } })).json() as { connections: Array<{ name: string }>, stats: WsAuthStats | null }
      return { names: connections.map(({ name }) => name).sort(), stats }
    }
    t.same(await viewOf(cookies.ann), { names: ['ann'], stats: null })
    const { names, stats } = await viewOf(cookies.bea)
    t.same(names, ['ann', 'bea'])
    t.match(stats, { connections: 2, pending: 0, accepted: 2, renewed: 0, draining: 0, refused: zeros(stats?.refused), closed: zeros(stats?.closed), backplane: { isCurrent: true } })
    t.equal(Object.values(stats?.routes ?? {}).reduce((sum, { accepted }) => sum + accepted, 0), 2)
    for (const socket of sockets) socket.terminate()
  })

  t.test('a log out clears the cookie and closes the connections of that login only', async (t) => {
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

  t.test('a restart keeps the logins if the secret is the same, and only then', async (t) => {
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

    for (const name of readdirSync(join(process.cwd(), 'example/chat/public'))) {
      const file = await fetch(`${url}/${name === 'index.html' ? '' : name}`)
      t.equal(file.status, 200, name)
      t.equal(file.headers.get('content-security-policy'), policy)
      t.match(file.headers.get('content-type'), { html: 'text/html', css: 'text/css', js: 'text/javascript' }[name.split('.')[1] ?? ''] ?? 'no other')
      t.notMatch(await file.text(), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|https?:\/\/(?!www\.w3\.org)/)
    }
  })
})

t.test('a log out and a disconnect work over HTTP', { buffered: true }, async (t) => {
  t.jobs = 4

  t.test('a log out everywhere revokes every cookie, token and ticket of that user only', { buffered: true }, async (t) => {
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

  t.test('a user who logs in again in the same second is logged in', { buffered: true }, async (t) => {
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

  t.test('a token request that begins before a log out everywhere, and ends after it, gets no token', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const cookie = await cookieOf(url, 'ann')
    const slow = request(`${url}/token`, { method: 'POST', headers: { cookie, 'content-type': 'application/json', 'content-length': 2 } })
    const answered = once(slow, 'response')
    slow.write('{')
    await delay(300)
    t.equal(await statusOf(url, '/logout-everywhere', cookie), 200)
    // A token of this second would not be revoked by its user.
    await untilSecond()
    slow.end('}')
    const [response] = await answered
    t.equal((response as { statusCode: number }).statusCode, 401)
    slow.destroy()
  })

  t.test('a revoked login beside a good login of another user is refused', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const [ann, bea] = [await cookieOf(url, 'ann'), await cookieOf(url, 'bea')]
    const login = ann.slice(ann.indexOf('=') + 1)
    t.equal(await statusOf(url, '/logout', ann), 204)
    t.equal((await fetch(`${url}/me`, { headers: { cookie: bea, authorization: `Bearer ${login}` } })).status, 401)
    t.equal((await fetch(`${url}/me`, { headers: { cookie: `${ann}; ${bea}` } })).status, 401)
  })

  t.test('a ticket that ten clients use at once admits one of them', { buffered: true }, async (t) => {
    const { url } = await startExample(t)
    const ticket = await ticketOf(url, await cookieOf(url, 'ann'))
    const answers = await Promise.all(Array.from({ length: 10 }, () => handshakeOf(url, `/members?ticket=${ticket}`)))
    t.same(answers.sort(), [...Array<string>(9).fill('401'), 'open'])
  })

  t.test('an admin disconnects a connection, which may reconnect, and a member can disconnect none', { buffered: true }, async (t) => {
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

/** The same counts, if none has begun. */
function zeros (counts: object = {}): object {
  return Object.fromEntries(Object.keys(counts).map((name) => [name, 0]))
}
