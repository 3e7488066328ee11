/*
 * Details of the client that no row of a table names, each found by a mutant that lived.
 */
import { webSocketClass } from '../../../lib/client/index'
import type { WsAuthClientError } from '../../../lib/client/index'
import { story } from './story'

story('after a renewal the next token is the one that a refusal means, and a refused renewal changes nothing', async (stage, t) => {
  for (const [answer, again] of [[{ type: 'auth.ok' }, 'second'], [{ type: 'auth.error', code: 'WS_AUTH_FORBIDDEN' }, 'first']] as const) {
    const tokens = ['first', 'second', again]
    const socket = await stage.open({ token: () => tokens.shift() ?? null })
    const count = stage.sockets.length
    socket.renew().catch(() => {})
    await stage.flush()
    stage.socket.message(JSON.stringify({ ...answer, id: 1 }))
    await stage.flush()
    stage.socket.drop(3000, 'token_expired')
    await stage.advance(500)
    t.match(socket.state, { status: 'refused', end: { reason: 'token_expired' } })
    t.equal(stage.sockets.length, count)
  }
})

story('auth.ok without a life keeps the token', async (stage, t) => {
  await stage.open()
  stage.socket.frame('auth.ok')
  t.equal(stage.clock.timersOfClient, 0)
  stage.socket.drop()
  await stage.advance(500)
  t.equal(stage.asked.length, 1)
  t.equal(stage.socket.binaryType, 'blob')
})

story('a token without any life is used once, and one is kept for less than 90 % of its life', async (stage, t) => {
  const lives = [0, 10_000]
  const create = stage.classOf({ token: (request) => ({ token: stage.token(request), expiresIn: lives.shift() ?? 0 }) })
  create()
  await stage.flush()
  t.equal(stage.sockets.length, 1)
  create()
  await stage.flush()
  t.equal(stage.asked.length, 2)
  await stage.advance(8999)
  create()
  await stage.flush()
  t.equal(stage.asked.length, 2)
  await stage.advance(1)
  create()
  await stage.flush()
  t.equal(stage.asked.length, 3)
})

story('two instances whose equal token is refused ask once, and both go on', async (stage, t) => {
  const create = stage.classOf()
  create()
  create()
  await stage.flush()
  for (const socket of [...stage.sockets]) {
    socket.open()
    socket.drop(3000, 'token_expired')
  }
  await stage.flush()
  t.equal(stage.asked.length, 2)
  t.equal(stage.sockets.length, 4)
  t.strictSame(stage.events, [])
})

story('a life of months makes no timer that fires at once', async (stage, t) => {
  await stage.open()
  stage.socket.frame('auth.ok', { expiresIn: 1e11 })
  await stage.advance(10_000)
  t.equal(stage.asked.length, 1)
})

story('two hints renew once, with one error, and a success with none', async (stage, t) => {
  await stage.open()
  for (let i = 0; i < 2; i++) stage.socket.frame('auth.renew', { expiresIn: 12_000 })
  await stage.flush()
  stage.socket.frame('auth.error', { code: 'WS_AUTH_FORBIDDEN', id: 1 })
  await stage.advance(1)
  t.equal(stage.socket.frames.length, 1)
  t.strictSame(stage.events, ['(error)'])
  stage.socket.frame('auth.renew', { expiresIn: 12_000 })
  await stage.flush()
  stage.socket.frame('auth.ok', { id: 2 })
  await stage.flush()
  t.strictSame(stage.events, ['(error)', 'open'])
})

story('a cookie: no ticket path is no error, a refusal is one, and an outage is tried again', async (stage, t) => {
  for (const [status, code, errors, requests] of [[404, undefined, 0, 1], [401, 'WS_AUTH_TOKEN_MISSING', 1, 1], [500, undefined, 0, 2]] as const) {
    const socket = await stage.open({ token: undefined })
    stage.answers = [{ status, code, isText: code === undefined }]
    stage.requests.length = stage.errors.length = 0
    stage.socket.frame('auth.renew', { expiresIn: 8000 })
    await stage.advance(1500)
    t.equal(stage.errors.length, errors, `${status}`)
    t.equal(stage.requests.length, requests, `${status}`)
    socket.close()
  }
  const socket = await stage.open({ token: undefined, fetch: false })
  await t.rejects(socket.renew(), { name: 'WsAuthClientError', message: 'token_missing' })
})

story('a ticket function is told why it is asked again in a renewal', async (stage, t) => {
  const asked: string[] = []
  const socket = await stage.open({ token: undefined, ticket: ({ why }) => { asked.push(why); return `ticket-${asked.length}` } })
  const renewed = socket.renew()
  await stage.flush()
  stage.socket.frame('auth.error', { code: 'WS_AUTH_TICKET_INVALID', id: 1 })
  await stage.flush()
  stage.socket.frame('auth.ok', { id: 2 })
  await renewed
  t.strictSame(asked, ['connect', 'renew', 'rejected'])
})

story('a refused ticket costs another ticket, and not the token', async (stage, t) => {
  stage.answers = [{ ticket: 'one' }, { ticket: 'two' }]
  stage.connect({ ticket: true })
  await stage.flush()
  stage.socket.open()
  stage.socket.drop(3000, 'ticket_invalid')
  await stage.flush()
  t.match(stage.socket.url, /ticket=two$/)
  t.equal(stage.asked.length, 1)
})

story('close() in any microtask leaves no timer', async (stage, t) => {
  for (let ticks = 0; ticks < 16; ticks++) {
    const socket = stage.connect()
    for (let i = 0; i < ticks; i++) await null
    socket.close()
    const calls = stage.asked.length
    await stage.flush()
    t.equal(stage.clock.timersOfClient, 0, `${ticks} ticks`)
    t.equal(stage.asked.length, calls, `${ticks} ticks`)
  }
})

story('without fetch a failed handshake has neither an error nor a hint', async (stage, t) => {
  const socket = stage.connect({ fetch: false })
  await stage.flush()
  stage.socket.fail()
  await stage.flush()
  t.strictSame(socket.state, { status: 'waiting', attempt: 1, delay: 500, end: { code: 1006, reason: '', wasOpen: false } })
})

story('hints name the cause, and a refusal by word needs none', async (stage, t) => {
  for (const [status, code, hint] of [[426, undefined, /network, proxy, CSP and "via"/], [404, undefined, /^404/], [408, 'WS_AUTH_TIMEOUT', undefined]] as const) {
    const socket = stage.connect()
    stage.answers = [{ status, code }]
    await stage.flush()
    stage.socket.fail()
    await stage.flush()
    const { state } = socket
    if (state.status !== 'waiting') throw new Error(state.status)
    t.equal(state.end.reason, code === undefined ? '' : 'auth_timeout')
    if (hint === undefined) t.equal(state.end.hint, undefined)
    else t.match(state.end.hint, hint)
    socket.close()
  }
})

story('a code that only holds one of ours is not ours', async (stage, t) => {
  for (const code of ['MY_WS_AUTH_FORBIDDEN', 'WS_AUTH_FORBIDDEN-NOT']) {
    const socket = stage.connect()
    stage.answers = [{ status: 403, code }]
    await stage.flush()
    stage.socket.fail()
    await stage.flush()
    t.equal(socket.state.status, 'waiting', code)
    socket.close()
  }
})

story('while there is no connection the properties are empty, renew() throws, and send() does not connect', async (stage, t) => {
  const socket = await stage.open()
  stage.navigator.onLine = false
  stage.socket.drop()
  t.equal(socket.state.status, 'paused')
  t.strictSame([socket.url, socket.protocol, socket.extensions, socket.bufferedAmount, socket.binaryType], ['', '', '', 0, 'blob'])
  socket.binaryType = 'arraybuffer'
  t.equal(socket.binaryType, 'arraybuffer')
  t.throws(() => socket.send('x'), { name: 'InvalidStateError' })
  t.equal(socket.state.status, 'paused')
  await t.rejects(socket.renew(), { name: 'InvalidStateError' })
})

story('the error of a closed socket has the reason alone', async (stage, t) => {
  const socket = await stage.open()
  socket.close(4000, 'bye')
  const error = await socket.opened.catch((error: WsAuthClientError) => error) as WsAuthClientError
  t.strictSame([error.reason, error.message], ['bye', 'closed: bye'])
})

story('binary messages are the app\'s, and an address is changed at its start alone', async (stage, t) => {
  const socket = stage.connect({}, 'wss://example.com/http#part')
  const seen: unknown[] = []
  socket.onmessage = ({ data }) => { seen.push(data) }
  await stage.flush()
  t.equal(stage.socket.url, 'wss://example.com/http')
  stage.socket.accept()
  const data = new ArrayBuffer(2)
  stage.socket.onmessage?.({ data })
  t.strictSame(seen, [data])
})

story('an iterator that is over listens no more, and a message is no end', async (stage, t) => {
  const socket = await stage.open()
  const removed: string[] = []
  const messages = socket.messages()
  const { removeEventListener } = socket
  socket.removeEventListener = (type: string, listener: unknown) => { removed.push(type); removeEventListener.call(socket, type, listener) }
  const pending = messages.next()
  stage.socket.message('a')
  t.strictSame(await pending, { done: false, value: 'a' })
  await messages.return?.()
  t.strictSame(removed, ['message', 'state'])
})

story('a server without frames renews nothing, and the error says so', async (stage, t) => {
  const socket = stage.connect()
  await stage.flush()
  stage.socket.open('')
  stage.socket.message('hello')
  await t.rejects(socket.renew(), { name: 'WsAuthClientError', message: 'no renewal on this connection' })
})

story('a worker has online and no document', async (stage, t) => {
  Object.defineProperty(globalThis, 'document', { configurable: true, value: undefined })
  const socket = await stage.open()
  t.equal(stage.listeners, 3)
  socket.close()
  t.equal(stage.listeners, 0)
})

story('an instance without protocols offers ours alone, sends nothing after its end, and its error has the code', async (stage, t) => {
  const Class = webSocketClass({ create: stage.create, fetch: stage.fetch })
  const socket = new Class('wss://example.com/chat')
  stage.watch(socket)
  let error: object = {}
  socket.onerror = (event) => { error = { code: event.code, reason: event.reason } }
  await stage.flush()
  t.strictSame(stage.socket.protocols, ['ws-auth'])
  stage.answers = [{ status: 503, code: 'WS_AUTH_BUSY' }]
  stage.socket.fail()
  await stage.flush()
  t.strictSame(error, { code: 1006, reason: 'server_busy' })
  socket.send('too late')
  t.strictSame(stage.socket.sent, [])
})
