/*
 * The rules of credentials and renewals, each as an example.
 */
import { WsAuthClientError } from '../../../lib/client/index'
import type { Credential } from '../../../lib/client/index'
import { story } from './story'

story('one call at a time, and reconnect() supersedes it', async (stage, t) => {
  const answers: Array<(credential: Credential) => void> = []
  const socket = stage.connect({ token: async (request) => { stage.asked.push(request); return await new Promise((resolve) => answers.push(resolve)) } })
  await stage.flush()
  socket.reconnect()
  await stage.flush()
  t.strictSame(stage.asked.map(({ signal }) => signal.aborted), [true, false])
  answers[1]?.('new user')
  answers[0]?.('former user')
  await stage.flush()
  t.equal(stage.sockets.length, 1)
  t.strictSame(stage.socket.protocols, ['ws-auth', 'base64url.bearer.bmV3IHVzZXI', 'bearer'])
})

story('a function that throws at once, rejects, hangs or returns nonsense is asked again', async (stage, t) => {
  const nonsense: unknown[] = [undefined, '', 7, {}, { token: '' }, { token: 'x', expiresIn: '5' }, { token: 'x', expiresIn: -1 }, { token: 'x', expiresIn: NaN }, { token: 'x', expiresIn: null }]
  const answers: Array<() => unknown> = [() => { throw new Error('at once') }, async () => { throw new Error('later') }, async () => await new Promise(() => {}), ...nonsense.map((value) => () => value)]
  const errors: string[] = []
  const socket = stage.connect({ token: () => answers.length === 0 ? 'good' : (answers.shift() as () => unknown)() as Credential }, 'wss://example.com/chat')
  socket.subscribe(() => { if (socket.state.status === 'waiting') errors.push((socket.state.end.error as Error).message) })
  for (let i = 0; i < 40 && stage.sockets.length === 0; i++) await stage.advance(15_000)
  t.strictSame(errors.slice(0, 3), ['at once', 'later', 'timed out'])
  t.equal(errors.length, 12)
  t.ok(errors.slice(3).every((message) => message.includes('credential')))
  t.equal(stage.sentToken, 'good')
})

story('a late answer is dropped, and its call was told so', async (stage, t) => {
  let answer = (_token: string): void => {}
  stage.connect({ token: async (request) => { stage.asked.push(request); return stage.asked.length === 1 ? await new Promise<string>((resolve) => { answer = resolve }) : 'second' } })
  await stage.advance(10_000)
  t.ok(stage.asked[0]?.signal.aborted)
  answer('first')
  await stage.advance(500)
  t.equal(stage.sentToken, 'second')
})

story('a token is kept for 90 % of the life that the app has told', async (stage, t) => {
  stage.connect({ token: (request) => ({ token: stage.token(request), expiresIn: 10_000 }), fetch: false })
  await stage.flush()
  stage.socket.drop()
  await stage.advance(8999)
  stage.socket.drop()
  await stage.advance(0)
  const calls = stage.asked.length
  t.equal(calls, 1)
  await stage.advance(1000)
  t.equal(stage.asked.length, 2)
})

story('a token is kept for 90 % of the life that the server has told, by both clocks of the device', async (stage, t) => {
  const socket = await stage.open()
  const back = async (): Promise<void> => {
    stage.socket.drop()
    await stage.advance(500)
    stage.socket.accept({ expiresIn: 60_000 })
  }
  await back()
  stage.clock.skew -= 86_400_000
  await back()
  t.equal(stage.asked.length, 1)
  stage.clock.skew += 86_400_000 + 60_000
  await back()
  t.equal(stage.asked.length, 2)
  t.equal(socket.readyState, 1)
})

story('a token is kept for 90 % of its whole life, however often the client came back with it', async (stage, t) => {
  await stage.open()
  let left = 60_000
  for (const wait of [30_000, 20_000, 3000]) {
    await stage.advance(wait)
    stage.socket.drop()
    await stage.advance(500)
    left -= wait + 500
    stage.socket.accept({ expiresIn: left })
    t.equal(stage.asked.length, 1)
  }
  stage.socket.drop()
  await stage.advance(500)
  t.equal(stage.asked.length, 2)
})

story('auth.renew renews with the next token, and open is not told again', async (stage, t) => {
  const socket = await stage.open()
  stage.socket.frame('auth.renew', { expiresIn: 12_000 })
  await stage.flush()
  t.strictSame(stage.whys, ['connect', 'renew'])
  t.strictSame(stage.socket.frames, [{ type: 'auth', token: 'token-2', id: 1 }])
  stage.socket.frame('auth.ok', { id: 1, connection: 'c1', expiresIn: 50_000 })
  t.strictSame(socket.state, { status: 'open', id: 'c1', expiresIn: 50_000 })
  t.strictSame(stage.events, ['open'])
  stage.socket.drop()
  await stage.advance(500)
  t.equal(stage.sentToken, 'token-2')
  t.equal(stage.asked.length, 2)
})

story('without a hint the client renews at 95 % of a life, and one renewal counts', async (stage, t) => {
  await stage.open()
  await stage.advance(56_999)
  t.equal(stage.asked.length, 1)
  await stage.advance(1)
  t.equal(stage.asked.length, 2)
  stage.socket.frame('auth.renew', { expiresIn: 3000 })
  await stage.flush()
  t.equal(stage.socket.frames.length, 1)
  stage.socket.frame('auth.ok', { id: 1, expiresIn: null })
  await stage.advance(1_000_000)
  t.equal(stage.asked.length, 2)
})

story('a life of a second or less is not renewed without a hint', async (stage, t) => {
  const socket = stage.connect()
  await stage.flush()
  stage.socket.accept({ expiresIn: 1000 })
  await stage.advance(10_000)
  t.equal(stage.asked.length, 1)
  t.equal(socket.readyState, 1)
})

story('a renewal that fails is tried again within a quarter of the rest, until a second before the end', async (stage, t) => {
  let isDown = false
  const socket = await stage.open({ token: (request) => { const token = stage.token(request); if (isDown) throw new Error('down'); return token } })
  isDown = true
  stage.socket.frame('auth.renew', { expiresIn: 8000 })
  await stage.flush()
  t.equal(stage.asked.length, 2)
  await stage.advance(999)
  t.equal(stage.asked.length, 2)
  await stage.advance(1)
  t.equal(stage.asked.length, 3)
  await stage.advance(875)
  t.equal(stage.asked.length, 4)
  await stage.advance(20_000)
  t.match(stage.errors, [{ message: 'down' }])
  const calls = stage.asked.length
  await stage.advance(100_000)
  t.equal(stage.asked.length, calls)
  isDown = false
  stage.socket.frame('auth.renew', { expiresIn: 8000 })
  await stage.flush()
  t.equal(stage.socket.frames.length, 1)
  t.equal(socket.readyState, 1)
})

const REFUSALS: ReadonlyArray<readonly [code: string, calls: number]> = [['TOKEN_INVALID', 3], ['TOKEN_EXPIRED', 3], ['TOKEN_REVOKED', 2], ['FORBIDDEN', 2], ['LIMIT', 2]]
for (const [code, calls] of REFUSALS) {
  story(`a renewal that is refused with ${code} is told as an error, and the connection stays open`, async (stage, t) => {
    const socket = await stage.open()
    stage.socket.frame('auth.renew', { expiresIn: 12_000 })
    for (let id = 1; id <= 3; id++) {
      await stage.flush()
      stage.socket.frame('auth.error', { code: `WS_AUTH_${code}`, id })
    }
    await stage.advance(1000)
    t.equal(stage.asked.length, calls)
    t.strictSame(stage.events, ['(error)'])
    t.match(stage.errors[0], { name: 'WsAuthClientError', end: null })
    t.equal(socket.readyState, 1)
    await stage.advance(10_000)
    t.equal(stage.asked.length, calls)
  })
}

story('a renewal that the server cannot judge is tried again', async (stage, t) => {
  await stage.open()
  stage.socket.frame('auth.renew', { expiresIn: 8000 })
  await stage.flush()
  stage.socket.frame('auth.error', { code: 'WS_AUTH_UNAVAILABLE', id: 1 })
  await stage.advance(1000)
  t.strictSame(stage.socket.frames.map(({ id }) => id), [1, 2])
  stage.socket.frame('auth.ok', { id: 2, expiresIn: 60_000 })
  t.strictSame(stage.errors, [])
})

story('an answer with the number of another renewal is not this one\'s, and one without a number is', async (stage, t) => {
  const socket = await stage.open()
  const renewed = socket.renew()
  await stage.flush()
  stage.socket.frame('auth.error', { code: 'WS_AUTH_FORBIDDEN', id: 7 })
  stage.socket.frame('auth.pong')
  await stage.flush()
  stage.socket.frame('auth.ok', { expiresIn: 5000 })
  await renewed
  await stage.flush()
  t.strictSame(stage.events, ['open'])
})

story('other_subject connects anew with the token of the other user, and without another call', async (stage, t) => {
  const socket = await stage.open()
  const [first] = stage.sockets
  stage.socket.frame('auth.renew', { expiresIn: 12_000 })
  await stage.flush()
  stage.socket.frame('auth.error', { code: 'WS_AUTH_TOKEN_INVALID', reason: 'other_subject', id: 1 })
  await stage.flush()
  t.notOk(first?.isLive)
  t.match(socket.state, { status: 'waiting', delay: 500, end: { code: 3000, reason: 'other_subject', wasOpen: true } })
  await stage.advance(500)
  t.equal(stage.sentToken, 'token-2')
  t.equal(stage.asked.length, 2)
})

story('renew() shares the call of another one, rejects with the word, and changes nothing then', async (stage, t) => {
  const socket = stage.connect()
  await t.rejects(socket.renew(), { name: 'InvalidStateError' })
  await stage.flush()
  stage.socket.accept()
  const both = [socket.renew(), socket.renew()]
  await stage.flush()
  t.equal(stage.asked.length, 2)
  stage.socket.frame('auth.ok', { id: 1 })
  await Promise.all(both)
  const refused = socket.renew()
  await stage.flush()
  stage.socket.frame('auth.error', { code: 'WS_AUTH_FORBIDDEN', id: 2 })
  await t.rejects(refused, { name: 'WsAuthClientError', reason: 'forbidden', end: null })
  t.equal(socket.readyState, 1)
  const unanswered = t.rejects(socket.renew(), /timed out/)
  await stage.advance(5000)
  await unanswered
})

story('renew() rejects when the connection ends, and where the server speaks no frames', async (stage, t) => {
  const socket = await stage.open()
  const lost = socket.renew()
  await stage.flush()
  socket.close()
  await t.rejects(lost, Error)
  const plain = stage.connect()
  await stage.flush()
  stage.socket.open('')
  stage.socket.message('hello')
  await t.rejects(plain.renew(), WsAuthClientError)
  const anonymous = stage.connect({ token: () => stage.asked.push(null as never) === 1 ? 'token' : null })
  stage.asked.length = 0
  await stage.flush()
  stage.socket.accept()
  await t.rejects(anonymous.renew(), { name: 'WsAuthClientError', reason: 'token_missing' })
})

story('a cookie renews by a ticket, and not where the server has none', async (stage, t) => {
  const socket = await stage.open({ token: undefined })
  t.strictSame(stage.socket.protocols, ['ws-auth'])
  stage.answers = [{ ticket: 'ticket-1' }]
  stage.socket.frame('auth.renew', { expiresIn: 12_000 })
  await stage.flush()
  t.match(stage.requests[0], { url: 'https://example.com/ws-ticket', method: 'POST', headers: {}, credentials: 'include' })
  t.strictSame(stage.socket.frames, [{ type: 'auth', ticket: 'ticket-1', id: 1 }])
  stage.socket.frame('auth.ok', { id: 1 })
  await stage.flush()
  stage.answers = [{ status: 404, isText: true }]
  stage.socket.frame('auth.renew', { expiresIn: 12_000 })
  await stage.advance(11_000)
  t.equal(stage.requests.length, 2)
  t.equal(socket.readyState, 1)
})

story('a ticket pays for a handshake, once', async (stage, t) => {
  const socket = stage.connect({ ticket: true })
  stage.answers = [{ ticket: 'a b' }, { ticket: 'of the dry run' }, { status: 426, isText: true }, { ticket: 'second' }]
  await stage.flush()
  t.match(stage.requests, [{ url: 'https://example.com/ws-ticket', headers: { authorization: 'Bearer token-1' }, method: 'POST' }])
  t.equal(stage.socket.url, 'wss://example.com/chat?ticket=a%20b')
  t.strictSame(stage.socket.protocols, ['ws-auth'])
  t.equal(socket.url, 'wss://example.com/chat')
  stage.socket.drop()
  await stage.flush()
  t.match(stage.requests.slice(1), [{ method: 'POST' }, { url: 'https://example.com/chat?ticket=of%20the%20dry%20run', headers: {}, method: 'GET' }])
  t.equal(stage.requests[2]?.headers.authorization, undefined)
  t.match(socket.state, { status: 'waiting', end: { status: 426, hint: /proxy/ } })
  await stage.advance(500)
  t.equal(stage.requests.length, 4)
  t.equal(stage.socket.url, 'wss://example.com/chat?ticket=second')
})

story('why a ticket was refused is found by another one, or by the request for it', async (stage, t) => {
  for (const [answers, reason, count] of [
    [[{ ticket: 'first' }, { ticket: 'second' }, { status: 403, code: 'WS_AUTH_FORBIDDEN' }], 'forbidden', 3],
    [[{ ticket: 'first' }, { status: 403, code: 'WS_AUTH_ORIGIN_FORBIDDEN' }], 'origin_forbidden', 2]
  ] as const) {
    const before = stage.requests.length
    const socket = stage.connect({ ticket: true })
    stage.answers = [...answers]
    await stage.flush()
    stage.socket.drop()
    await stage.flush()
    t.match(socket.state, { status: 'refused', end: { reason, status: 403 } })
    t.equal(stage.requests.length - before, count)
  }
})

story('without fetch no ticket is asked for after a failed handshake', async (stage, t) => {
  let calls = 0
  const socket = stage.connect({ token: undefined, ticket: () => `ticket-${++calls}`, fetch: false })
  await stage.flush()
  stage.socket.drop()
  await stage.flush()
  t.equal(socket.state.status, 'waiting')
  t.equal(calls, 1)
})

story('a ticket is asked for at another path, or of a function, and its refusal is judged as that of a handshake', async (stage, t) => {
  const socket = stage.connect({ ticket: '/other' })
  stage.answers = [{ status: 401, code: 'WS_AUTH_TOKEN_EXPIRED' }, { ticket: 'x' }]
  await stage.flush()
  t.equal(stage.requests[1]?.url, 'https://example.com/other')
  t.strictSame(stage.whys, ['connect', 'rejected WS_AUTH_TOKEN_EXPIRED'])
  t.equal(stage.sockets.length, 1)
  socket.close()
  const asked: string[] = []
  const other = stage.connect({ token: undefined, ticket: ({ why, code }) => { asked.push(`${why} ${code}`); return asked.length < 3 ? `ticket-${asked.length}` : null } })
  await stage.flush()
  t.match(stage.socket.url, /ticket=ticket-1$/)
  stage.socket.open()
  stage.socket.drop(3000, 'ticket_invalid')
  await stage.flush()
  t.match(stage.socket.url, /ticket=ticket-2$/)
  stage.socket.accept()
  stage.socket.drop()
  await stage.advance(500)
  t.strictSame(asked, ['connect null', 'rejected WS_AUTH_TICKET_INVALID', 'connect null'])
  t.match(other.state, { status: 'refused', end: { reason: 'token_missing' } })
})

story('a cookie that is refused stops the client', async (stage, t) => {
  const socket = stage.connect({ token: undefined })
  stage.answers = [{ status: 401, code: 'WS_AUTH_TOKEN_MISSING' }]
  await stage.flush()
  stage.socket.fail()
  await stage.flush()
  t.match(stage.requests, [{ credentials: 'include', headers: {} }])
  t.match(socket.state, { status: 'refused', end: { reason: 'token_missing', status: 401 } })
})

story('the same token again is not sent, and ends with the word of its refusal', async (stage, t) => {
  const socket = stage.connect({ token: () => 'same' })
  await stage.flush()
  stage.socket.open()
  stage.socket.drop(3000, 'token_revoked')
  await stage.flush()
  t.equal(stage.sockets.length, 1)
  t.match(socket.state, { status: 'refused', end: { reason: 'token_revoked' } })
})
