/*
 * The chat without a browser: a few clients on the terminal log in, talk, and try what they may not. It fails with the
 * first answer that is not the one it should be.
 */
import { on, once } from 'node:events'
import { stripVTControlCharacters, styleText } from 'node:util'
import { WebSocket } from 'ws'

interface Login { name: string, cookie: string, token: string }

/** How a client connects: what it offers as subprotocols, and its headers. */
interface Way { protocols?: string[], headers?: Record<string, string> }

interface Frame { type: string, text?: string, name?: string, code?: string, expiresAt?: number, connection?: ConnectionView }

interface ConnectionView { id: string, name: string, source: string, openedAt: number, expiresAt: number }

interface Disconnected { closed: number, instances: Array<{ id: string, answered: boolean, closed: number | null }> }

interface Stats { accepted: number, renewed: number, refused: Record<string, number>, closed: Record<string, number> }

const IS_COLOURED = process.stdout.isTTY && !process.env.NO_COLOR
const TIMEOUT = 15_000
const WIDTHS = [26, 35]
/** How long the tokens live whose end is to be seen, in seconds. */
const BRIEFLY = 6
const LIMIT = 120

/**
 * Drives the servers at `urls`, and has them stopped. What can be done at another instance than the one that it is about
 * is done at the last of them. Rejects where they answer other than they should.
 */
export async function runDemo ([url = '', ...others]: string[], stop: () => Promise<void>): Promise<void> {
  const elsewhere = others.at(-1) ?? url

  title('Two users log in')
  const ann = await logIn(url, 'ann', 'tea-for-two')
  const bea = await logIn(url, 'bea', 'keys-to-all')
  await tryWrongPassword(url)

  title('Four ways in')
  const ticket = await fetchTicket(url, ann)
  const clients = [
    await enter(url, '/members', { headers: { cookie: ann.cookie } }, 'cookie'),
    await enter(url, '/members', { protocols: ['bearer', ann.token] }, 'subprotocol'),
    await enter(url, `/members?token=${ann.token}`, {}, 'query'),
    await enter(url, `/members?ticket=${ticket}`, {}, 'ticket')
  ]

  title('A room for members, and one for admins')
  clients.push(await talk(url, ann, bea))
  clients.push(await enter(url, '/admins', { headers: { cookie: bea.cookie } }, 'cookie'))

  title('Refused, as a program sees it (status) and as a page does (close code)')
  await tryRefusals(url, ann)
  await refuse(elsewhere, 'the ticket once more', `/members?ticket=${ticket}`, {}, '401 WS_AUTH_TICKET_INVALID', '3000 ticket_invalid')

  title('What the server knows of each connection')
  await showConnections(url, bea, clients.length)

  title('Bea disconnects one of them')
  await disconnectOne(url, elsewhere, ann, bea)

  title('Ann logs out, and what her login has opened is closed')
  await logOut(url, ann, clients.slice(0, 4))

  title('Ann logs out everywhere, and in again')
  await logOutEverywhere(url, elsewhere)

  title(`The life of a connection, with tokens that live ${BRIEFLY} seconds`)
  const again = await logIn(url, 'ann', 'tea-for-two')
  // All at once, since each has to wait.
  const [renewed] = await Promise.all([renewWhenTold(url, again), letExpire(url, again), saySilent(url)])

  title(`${LIMIT} connections for a user: with another, the oldest gives way`)
  await passLimit(url, again, renewed)

  title('What the server has counted')
  await showStats(url, bea)

  title('The server stops')
  await shutDown(stop, clients[4])
}

async function logIn (url: string, name: string, password: string): Promise<Login> {
  const response = await post(url, '/login', { name, password })
  expect(response.status, 200)
  const { token, user } = await response.json() as { token: string, user: { roles: string[] } }
  const [cookie = '', ...attributes] = (response.headers.getSetCookie()[0] ?? '').split('; ')
  row(name, `${green('200')} ${user.roles.join(', ')}`, dim(`cookie ${cookie.split('=')[0]}; ${attributes.join('; ')}`))
  return { name, cookie, token }
}

async function tryWrongPassword (url: string): Promise<void> {
  const response = await post(url, '/login', { name: 'ann', password: 'guess' })
  expect(response.status, 401)
  const { message } = await response.json() as { message: string }
  row('ann', `${red('401')} ${message}`)
}

/** Connects, and says what the server has seen. */
async function enter (url: string, path: string, way: Way, source: string): Promise<WebSocket> {
  const socket = connect(url, path, way)
  const { connection } = await nextFrame(socket, 'welcome')
  expect(connection?.source, source)
  row(source, `${green('open')} ${path.split('?')[0]} as ${connection?.name}`, dim(`until ${timeOf(connection?.expiresAt)}`))
  return socket
}

async function talk (url: string, ann: Login, bea: Login): Promise<WebSocket> {
  const listener = connect(url, '/members', { headers: { cookie: bea.cookie } })
  await nextFrame(listener, 'welcome')
  const heard = nextFrame(listener, 'said')
  const speaker = connect(url, '/members', { headers: { cookie: ann.cookie } })
  await nextFrame(speaker, 'welcome')
  speaker.send(JSON.stringify({ type: 'say', text: 'Good morning!' }))
  const { name, text } = await heard
  expect(text, 'Good morning!')
  row('bea', `${green('hears')} ${name}: ${text}`)
  speaker.close()
  return listener
}

async function tryRefusals (url: string, ann: Login): Promise<void> {
  const response = await fetch(url + '/expired-token', { headers: { cookie: ann.cookie } })
  const { token: expired } = await response.json() as { token: string }
  const bearer = (token: string): Way => ({ headers: { authorization: `Bearer ${token}` } })

  await refuse(url, 'no token', '/members', {}, '401 WS_AUTH_TOKEN_MISSING', '3000 token_missing')
  await refuse(url, 'garbage for a token', '/members', bearer('a.b.c'), '401 WS_AUTH_TOKEN_INVALID', '3000 token_invalid')
  await refuse(url, 'an expired token', '/members', bearer(expired), '401 WS_AUTH_TOKEN_EXPIRED', '3000 token_expired')
  await refuse(url, 'two tokens', '/members?token=a.b.c', bearer(ann.token), '400 WS_AUTH_TOKEN_AMBIGUOUS', '3000 token_ambiguous')
  await refuse(url, 'a member at /admins', '/admins', bearer(ann.token), '403 WS_AUTH_FORBIDDEN', '3003 forbidden')
  const evil = { cookie: ann.cookie, origin: 'http://evil.example' }
  await refuse(url, 'a cookie, another origin', '/members', { headers: evil }, '403 WS_AUTH_ORIGIN_FORBIDDEN', '3003 origin_forbidden')
}

/** The same handshake twice: a dry run of it, which is answered with the status, and one with an Origin, as pages send. */
async function refuse (url: string, what: string, path: string, { headers }: Way, status: string, close: string): Promise<void> {
  const response = await fetch(url + path, { headers })
  const { code } = await response.json() as { code: string }
  expect(`${response.status} ${code}`, status)
  const socket = connect(url, path, { headers: { origin: url, ...headers } })
  await nextClose(socket, close)
  row(what, red(status), red(close))
}

async function showConnections (url: string, admin: Login, count: number): Promise<void> {
  const { connections } = await fetchConnections(url, admin)
  expect(connections.length, count)
  for (const { id, name, source, openedAt, expiresAt } of connections) {
    row(`${name} by ${source}`, `${timeOf(openedAt)} to ${timeOf(expiresAt)}`, dim(id))
  }
}

async function logOut (url: string, { cookie }: Login, sockets: WebSocket[]): Promise<void> {
  const closes = sockets.map((socket) => nextClose(socket, '3000 token_revoked'))
  const response = await fetch(url + '/logout', { method: 'POST', headers: { cookie } })
  expect(response.status, 204)
  await Promise.all(closes)
  row('ann', `${red('closed')} 3000 token_revoked`, dim(`${closes.length} connections`))
}

/** Her connection is at one instance, and whoever disconnects it at another. */
async function disconnectOne (url: string, elsewhere: string, { cookie }: Login, admin: Login): Promise<void> {
  const socket = connect(url, '/members', { headers: { cookie } })
  const { connection } = await nextFrame(socket, 'welcome')
  const closed = nextClose(socket, '3003 disconnected')
  const response = await post(elsewhere, `/connections/${connection?.id}/disconnect`, {}, { cookie: admin.cookie })
  expect(response.status, 200)
  const { instances } = await response.json() as Disconnected
  await closed
  row('ann', `${red('closed')} 3003 disconnected`)
  for (const { id, closed } of instances) row('an instance', `${closed} closed`, dim(id))
}

/** Two browsers of hers, and no time lost between the end of the old logins and the next one. */
async function logOutEverywhere (url: string, elsewhere: string): Promise<void> {
  const logins = [await logIn(url, 'ann', 'tea-for-two'), await logIn(elsewhere, 'ann', 'tea-for-two')] as const
  const sockets = [
    await enter(url, '/members', { headers: { cookie: logins[0].cookie } }, 'cookie'),
    await enter(elsewhere, '/members', { protocols: ['bearer', logins[1].token] }, 'subprotocol')
  ]
  const closes = sockets.map((socket) => nextClose(socket, '3000 token_revoked'))
  const response = await post(elsewhere, '/logout-everywhere', {}, { cookie: logins[1].cookie })
  expect(response.status, 200)
  const { closed, instances } = await response.json() as { closed: number, instances: number }
  expect(closed, closes.length)
  await Promise.all(closes)
  row('ann', `${red('closed')} 3000 token_revoked`, dim(`${closed} connections, ${instances} ${instances === 1 ? 'instance' : 'instances'}`))

  for (const { cookie } of logins) expect((await fetch(url + '/me', { headers: { cookie } })).status, 401)
  row('her cookies', red('401 Please log in'))
  const stolen = { headers: { authorization: `Bearer ${logins[0].token}` } }
  await refuse(url, 'a token of hers', '/members', stolen, '401 WS_AUTH_TOKEN_REVOKED', '3000 token_revoked')

  const { cookie } = await logIn(url, 'ann', 'tea-for-two')
  const socket = await enter(elsewhere, '/members', { headers: { cookie } }, 'cookie')
  socket.close()
}

/** Logs in with the first message, and answers the server's hint with a new token. */
async function renewWhenTold (url: string, login: Login): Promise<WebSocket> {
  const { socket, expiresAt } = await enterByMessage(url, login, BRIEFLY)
  row('first message', `${green('open')} /members/first-message as ${login.name}`, dim(`until ${timeOf(expiresAt)}`))
  await nextFrame(socket, 'auth.renew')
  const renewal = await authenticate(socket, await fetchToken(url, login))
  row('told to renew', green('auth.renew, auth.ok'), dim(`until ${timeOf(renewal.expiresAt)}`))
  const older = await authenticate(socket, await fetchToken(url, login, BRIEFLY))
  expect(older.code, 'WS_AUTH_TOKEN_INVALID')
  row('renewed with less', red(`auth.error ${older.code}`), dim('and the connection stays'))
  return socket
}

async function letExpire (url: string, login: Login): Promise<void> {
  const { socket, expiresAt } = await enterByMessage(url, login, BRIEFLY)
  await nextClose(socket, '3000 token_expired')
  row('not renewed', `${red('closed')} 3000 token_expired`, dim(`expired at ${timeOf(expiresAt)}`))
}

async function saySilent (url: string): Promise<void> {
  await nextClose(connect(url, '/members/first-message', {}), '3008 auth_timeout')
  row('no first message', `${red('closed')} 3008 auth_timeout`)
}

async function passLimit (url: string, login: Login, oldest: WebSocket): Promise<void> {
  expect(oldest.readyState, WebSocket.OPEN)
  const closed = nextClose(oldest, '3003 connection_replaced', LIMIT * 1000)
  for (let i = 0; i < LIMIT; i++) {
    const socket = connect(url, '/members', { headers: { cookie: login.cookie } })
    await nextFrame(socket, 'welcome')
  }
  await closed
  row('the oldest', `${red('closed')} 3003 connection_replaced`)
}

async function showStats (url: string, admin: Login): Promise<void> {
  const { stats } = await fetchConnections(url, admin)
  expect(stats.renewed, 1)
  row('accepted', String(stats.accepted))
  row('renewed', String(stats.renewed))
  for (const [code, count] of Object.entries(stats.refused)) if (count > 0) row('refused', code, String(count))
  for (const [reason, count] of Object.entries(stats.closed)) if (count > 0) row('closed', reason, String(count))
}

async function shutDown (stop: () => Promise<void>, socket: WebSocket | undefined): Promise<void> {
  if (socket === undefined) throw new Error('there is nobody to tell')
  await Promise.all([nextClose(socket, '1001 shutdown'), stop()])
  row('bea', `${red('closed')} 1001 shutdown`)
}

async function enterByMessage (url: string, login: Login, lifetime: number): Promise<{ socket: WebSocket, expiresAt: number | undefined }> {
  const token = await fetchToken(url, login, lifetime)
  const socket = connect(url, '/members/first-message', {})
  await once(socket, 'open', { signal: AbortSignal.timeout(TIMEOUT) })
  const { type, expiresAt } = await authenticate(socket, token)
  expect(type, 'auth.ok')
  return { socket, expiresAt }
}

/** The same frame logs in and renews. It is answered with `auth.ok`, or with `auth.error` by an open connection. */
async function authenticate (socket: WebSocket, token: string): Promise<Frame> {
  const answer = nextFrame(socket, 'auth.ok', 'auth.error')
  socket.send(JSON.stringify({ type: 'auth', token }))
  return answer
}

async function fetchToken (url: string, { cookie }: Login, lifetime?: number): Promise<string> {
  const response = await post(url, '/token', { lifetime }, { cookie })
  expect(response.status, 200)
  const { token } = await response.json() as { token: string }
  return token
}

async function fetchTicket (url: string, { cookie }: Login): Promise<string> {
  const response = await post(url, '/ws-ticket', {}, { cookie })
  expect(response.status, 200)
  const { ticket } = await response.json() as { ticket: string }
  return ticket
}

async function fetchConnections (url: string, { cookie }: Login): Promise<{ connections: ConnectionView[], stats: Stats }> {
  const response = await fetch(url + '/connections', { headers: { cookie } })
  expect(response.status, 200)
  return await response.json() as { connections: ConnectionView[], stats: Stats }
}

function post (url: string, path: string, body: object, headers = {}): Promise<Response> {
  return fetch(url + path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
}

function connect (url: string, path: string, { protocols = [], headers = {} }: Way): WebSocket {
  return new WebSocket(url.replace('http', 'ws') + path, protocols, { headers })
}

async function nextFrame (socket: WebSocket, ...types: string[]): Promise<Frame> {
  for await (const [data] of on(socket, 'message', { signal: AbortSignal.timeout(TIMEOUT) })) {
    const frame = JSON.parse(String(data)) as Frame
    if (types.includes(frame.type)) return frame
  }
  throw new Error(`no "${types.join(', ')}" came`)
}

async function nextClose (socket: WebSocket, expected: string, timeout = TIMEOUT): Promise<void> {
  const [code, reason] = await once(socket, 'close', { signal: AbortSignal.timeout(timeout) })
  expect(`${code} ${reason}`, expected)
}

function expect (actual: unknown, expected: unknown): void {
  if (actual !== expected) throw new Error(`expected ${expected}, got ${actual}`)
}

function title (text: string): void {
  console.log(`\n${paint('bold', text)}`)
}

/** Columns are as wide as what is seen: colours take no room. */
function row (...cells: string[]): void {
  const padded = cells.map((cell, i) => cell + ' '.repeat(Math.max(2, (WIDTHS[i] ?? 0) - stripVTControlCharacters(cell).length)))
  console.log('  ' + padded.join('').trimEnd())
}

function timeOf (instant = 0): string {
  return new Date(instant).toLocaleTimeString('en-GB')
}

function paint (style: Parameters<typeof styleText>[0], text: string): string {
  return IS_COLOURED ? styleText(style, text) : text
}

const green = (text: string): string => paint('green', text)
const red = (text: string): string => paint('red', text)
const dim = (text: string): string => paint('dim', text)
