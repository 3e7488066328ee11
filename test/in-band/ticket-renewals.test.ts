/*
 * Tickets in auth frames: a connection goes on with one, and a first message authenticates by one. Each is spent once.
 */
import t from 'tap'
import type { Test } from 'tap'
import type { RouteWsAuth, WsAuthOptions } from '../../lib/index'
import { memoryBackplane } from '../../lib/backplane/memory'
import { sign } from '../helpers/app'
import { clientFrame, upgrade } from '../helpers/raw-client'
import { hold, startChat } from '../helpers/renewal-app'
import type { Chat, ChatApp } from '../helpers/renewal-app'
import { isOpen, NEWER, PRESENT, stateOf } from '../helpers/renewals'
import { statsOf } from '../helpers/stats'

const OFFER = { protocols: ['ws-auth'] }

interface TicketChat extends ChatApp {
  ticket: (claims?: object, binding?: object) => Promise<string>
  open: (claims?: Record<string, unknown>) => Promise<Chat>
}

async function startTickets (t: Test, plugin: WsAuthOptions = {}, wsAuth: RouteWsAuth = true): Promise<TicketChat> {
  const chat = await startChat(t, { plugin: { tickets: true, ...plugin }, wsAuth })
  return {
    ...chat,
    ticket: async (claims = NEWER, binding) => (await chat.app.wsAuth.issueTicket(claims, binding)).ticket,
    open: async (claims = PRESENT) => await chat.connect(sign(claims), OFFER)
  }
}

async function codeOf (chat: Chat, ticket: string): Promise<string> {
  const { type, code, reason, expiresAt } = await chat.auth({ ticket })
  return type === 'auth.ok' ? `ok ${String(expiresAt)}` : [code, reason].filter((word) => word !== undefined).join(' ')
}

const OK = `ok ${NEWER.exp * 1000}`

t.test('a connection that was opened by a cookie goes on with a ticket that the cookie pays for', async (t) => {
  const { app, connect } = await startTickets(t)
  const cookie = `token=${sign(PRESENT)}`
  const chat = await connect(null, { ...OFFER, headers: { cookie } })
  t.equal(chat.greeting?.expiresAt, PRESENT.exp * 1000)
  const { ticket } = (await app.inject({ method: 'POST', url: '/ws-ticket', headers: { cookie: `token=${sign(NEWER)}` } })).json()
  const answer = await chat.auth({ ticket, id: 'renewal 1' })
  t.match(answer, { type: 'auth.ok', id: 'renewal 1', connection: chat.connection.id, expiresAt: NEWER.exp * 1000 })
  t.match(chat.connection.claims, NEWER)
  t.equal(chat.connection.source, 'cookie')
  t.equal(chat.request.user, chat.connection.user)
  t.ok(await isOpen(chat))
  t.match(statsOf(app), { renewed: 1, refused: {} })
})

t.test('a ticket is spent by a renewal, accepted or not, and by one of two that come at the same moment', async (t) => {
  const { app, ticket, open } = await startTickets(t)
  const [chat, other] = [await open(), await open()]
  const used = await ticket()
  t.equal(await codeOf(chat, used), OK)
  t.equal(await codeOf(chat, used), 'WS_AUTH_TICKET_INVALID')
  t.equal((await app.inject({ url: `/chat?ticket=${used}` })).json().code, 'WS_AUTH_TICKET_INVALID', 'nor does it open a connection')

  const lost = await ticket({ ...NEWER, exp: PRESENT.exp - 1 })
  t.equal(await codeOf(chat, lost), 'WS_AUTH_TOKEN_INVALID', 'it is older')
  t.equal(await codeOf(other, lost), 'WS_AUTH_TICKET_INVALID')

  const shared = await ticket({ ...NEWER, exp: NEWER.exp + 1 })
  const outcomes = await Promise.all([codeOf(chat, shared), codeOf(other, shared)])
  t.strictSame(outcomes.sort(), ['WS_AUTH_TICKET_INVALID', `ok ${(NEWER.exp + 1) * 1000}`])
  t.ok(await isOpen(chat) && await isOpen(other))
})

t.test('a refused ticket changes nothing and is refused in the words of a handshake', async (t) => {
  const { app, ticket, open } = await startTickets(t, {}, { roles: ['member'] })
  const chat = await open()
  const before = stateOf(chat)
  const refusals: Array<[ticket: string, words: string]> = [
    [await ticket(NEWER, { path: '/other' }), 'WS_AUTH_TICKET_INVALID'],
    [await ticket(NEWER, { origin: 'https://example.com' }), 'WS_AUTH_TICKET_INVALID'],
    ['', 'WS_AUTH_TICKET_INVALID'],
    ['x'.repeat(43), 'WS_AUTH_TICKET_INVALID'],
    [sign(NEWER), 'WS_AUTH_TICKET_INVALID'],
    [await ticket({ ...NEWER, sub: 'bob' }), 'WS_AUTH_TOKEN_INVALID other_subject'],
    [await ticket({ ...NEWER, iss: 'there' }), 'WS_AUTH_TOKEN_INVALID'],
    [await ticket({ ...NEWER, roles: [] }), 'WS_AUTH_FORBIDDEN'],
    [await ticket({ ...NEWER, iat: PRESENT.iat - 1 }), 'WS_AUTH_TOKEN_INVALID']
  ]
  for (const [text, words] of refusals) t.equal(await codeOf(chat, text), words, `${words} ${text.length}`)
  await app.wsAuth.revoke({ jti: 'gone' })
  t.equal(await codeOf(chat, await ticket({ ...NEWER, jti: 'gone' })), 'WS_AUTH_TOKEN_REVOKED')
  t.equal(await codeOf(chat, await ticket({ ...NEWER, sub: 'bob', jti: 'gone' })), 'WS_AUTH_TOKEN_REVOKED', 'a revoked ticket of another subject is not good')
  t.strictSame(await chat.auth({ ticket: await ticket(), token: sign(NEWER) }), { type: 'auth.error', code: 'WS_AUTH_TOKEN_AMBIGUOUS' })
  t.strictSame(stateOf(chat), before)
  const bound = await ticket(NEWER, { path: '/chat' })
  t.equal(await codeOf(chat, bound), OK, 'bound to the path of the connection')
})

t.test('a ticket is bound to the Origin of the connection\'s own handshake', async (t) => {
  const { ticket, connect } = await startTickets(t)
  const chat = await connect(sign(PRESENT), { ...OFFER, headers: { origin: 'https://example.com' } })
  t.equal(await codeOf(chat, await ticket(NEWER, { origin: 'https://example.org' })), 'WS_AUTH_TICKET_INVALID')
  t.equal(await codeOf(chat, await ticket(NEWER, { origin: 'https://example.com' })), OK)
})

t.test('an expired ticket, and one whose claims have expired, are refused', async (t) => {
  const { app, ticket, open } = await startTickets(t, { tickets: { ttl: 1 } })
  const chat = await open()
  const late = await ticket()
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(await codeOf(chat, late), 'WS_AUTH_TICKET_INVALID')
  t.ok(await isOpen(chat))
  t.match(statsOf(app), { renewed: 0, refused: { WS_AUTH_TICKET_INVALID: 1 } })
})

t.test('a ticket is refused if tickets are off, or if the route needs a token beside it, and is not spent then', async (t) => {
  const off = await startTickets(t, { tickets: false })
  t.equal(await codeOf(await off.open(), 'x'.repeat(43)), 'WS_AUTH_TICKET_INVALID')
  const needing = await startTickets(t, { tickets: { require: true } })
  const chat = await needing.connect(sign(PRESENT), OFFER).catch(() => null)
  t.equal(chat, null, 'a ticket is needed to connect')
  const client = await upgrade(t, needing.port, { path: `/chat?ticket=${await needing.ticket()}`, headers: { 'sec-websocket-protocol': 'ws-auth', authorization: `Bearer ${sign(PRESENT)}` } })
  t.match(JSON.parse(String((await client.frame()).payload)), { type: 'auth.ok' })
  const unspent = await needing.ticket()
  client.send(clientFrame(1, JSON.stringify({ type: 'auth', ticket: unspent })))
  t.strictSame(JSON.parse(String((await client.frame()).payload)), { type: 'auth.error', code: 'WS_AUTH_TICKET_INVALID' })
  const next = await upgrade(t, needing.port, { path: `/chat?ticket=${unspent}`, headers: { authorization: `Bearer ${sign(PRESENT)}` } })
  t.equal(next.answer.status, 101)
})

t.test('a connection that ends while its ticket is read is not renewed', async (t) => {
  const gate = hold()
  const plane = memoryBackplane()
  const { app, ticket, open } = await startTickets(t, {
    backplane: {
      join: (member) => {
        const link = plane.join(member)
        return Object.assign(Object.create(link), { take: async (name: string) => { await gate.wait(); return await link.take(name) } })
      }
    }
  })
  const chat = await open()
  const before = stateOf(chat)
  chat.client.send(JSON.stringify({ type: 'auth', ticket: await ticket() }))
  t.ok(await chat.isHeard(), 'messages pass meanwhile')
  chat.connection.close()
  gate.release()
  t.equal(await chat.next(), 'closed 1000 ')
  t.strictSame(stateOf(chat), before)
  t.match(statsOf(app), { connections: 0, renewed: 0 })
})

t.test('a first message authenticates by a ticket, which is spent, and its connection speaks frames', async (t) => {
  const { app, port, ticket } = await startTickets(t, { token: { message: true } })
  const used = await ticket(PRESENT)
  const client = await upgrade(t, port, { path: '/chat' })
  client.send(clientFrame(1, JSON.stringify({ type: 'auth', ticket: used, id: 1 })))
  t.match(JSON.parse(String((await client.frame()).payload)), { type: 'auth.ok', id: 1, expiresAt: PRESENT.exp * 1000 })
  t.strictSame([...app.wsAuth.connections].map(({ source, sub }) => [source, sub]), [['ticket', 'ann']])
  client.send(clientFrame(1, JSON.stringify({ type: 'auth', ticket: await ticket(), id: 2 })))
  t.match(JSON.parse(String((await client.frame()).payload)), { type: 'auth.ok', id: 2, expiresAt: NEWER.exp * 1000 })
  for (const [frame, reason] of [[{ ticket: used }, 'ticket_invalid'], [{ ticket: await ticket(), token: sign(PRESENT) }, 'token_ambiguous'], [{}, 'token_invalid']] as const) {
    const second = await upgrade(t, port, { path: '/chat' })
    second.send(clientFrame(1, JSON.stringify({ type: 'auth', ...frame })))
    t.strictSame(await second.close(), { code: 3000, reason })
  }
})
