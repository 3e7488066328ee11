/*
 * The rows of the state machine of `connect()`, each as an example.
 */
import { WsAuthClientError } from '../../../lib/client/index'
import { FakeSignal } from './lab'
import { story } from './story'

story('a new socket asks for nothing before the next microtask', async (stage, t) => {
  const socket = stage.connect()
  t.strictSame(socket.state, { status: 'connecting', attempt: 0, end: null })
  t.ok(Object.isFrozen(socket.state))
  t.equal(socket.readyState, 0)
  t.equal(stage.asked.length, 0)
  await stage.flush()
  t.strictSame(stage.whys, ['connect'])
  t.equal(stage.sockets.length, 1)
})

story('auth.ok opens the socket, and only then', async (stage, t) => {
  const socket = stage.connect()
  const { opened } = socket
  t.equal(socket.opened, opened)
  await stage.flush()
  stage.socket.open()
  t.equal(socket.readyState, 0)
  stage.socket.frame('auth.ok', { connection: 'c7', expiresIn: 60_000 })
  await opened
  await socket.opened
  t.strictSame(socket.state, { status: 'open', id: 'c7', expiresIn: 60_000 })
  t.equal(socket.readyState, 1)
  t.strictSame(stage.events, ['open', '(open)'])
  stage.socket.frame('auth.ok', {})
  t.strictSame(socket.state, { status: 'open', id: null, expiresIn: null })
  t.strictSame(stage.events, ['open', '(open)', 'open'])
})

story('another first message opens the socket too, and is delivered', async (stage, t) => {
  const socket = stage.connect()
  await stage.flush()
  stage.socket.open('own')
  stage.socket.message('hello')
  t.strictSame(socket.state, { status: 'open', id: null, expiresIn: null })
  t.strictSame(stage.events, ['open', '(open)', '(hello)'])
  await stage.advance(1500)
  t.strictSame(stage.events.length, 3)
})

story('a server that says nothing is open after a second', async (stage, t) => {
  const socket = stage.connect()
  await stage.flush()
  stage.socket.open('')
  await stage.advance(999)
  t.equal(socket.readyState, 0)
  await stage.advance(1)
  t.equal(socket.readyState, 1)
  await stage.advance(60_000)
  t.equal(socket.readyState, 1)
  t.equal(stage.clock.timersOfClient, 0)
})

story('a socket without an answer is dropped after 15 s, and a dry run is made', async (stage, t) => {
  const socket = stage.connect()
  await stage.flush()
  await stage.advance(14_999)
  t.ok(stage.sockets[0]?.isLive)
  await stage.advance(1)
  t.notOk(stage.sockets[0]?.isLive)
  t.equal(stage.requests.length, 1)
  t.equal(socket.state.status, 'waiting')
  t.match(socket.state, { attempt: 1, delay: 500, end: { code: 1006, reason: '', wasOpen: false, error: TypeError } })
  await stage.advance(500)
  t.equal(stage.sockets.length, 2)
  t.equal(stage.asked.length, 1)
})

story('the deadlines are those of the options', async (stage, t) => {
  const socket = stage.connect({ token: async () => await new Promise(() => {}), timeouts: { credential: 70, connect: 80, answer: 90 } })
  await stage.advance(69)
  t.equal(socket.state.status, 'connecting')
  await stage.advance(1)
  t.match(socket.state, { status: 'waiting', end: { error: /timed out/ } })
  const other = stage.connect({ timeouts: { connect: 80, answer: 90 } })
  stage.answers = [{ isHanging: true }]
  await stage.flush()
  await stage.advance(80)
  t.equal(stage.requests.length, 1)
  await stage.advance(89)
  t.equal(other.state.status, 'connecting')
  await stage.advance(1)
  t.equal(other.state.status, 'waiting')
})

const ERRORS = [['an error', { hasClose: false }], ['an error and a close', { hasClose: true }]] as const
for (const [name, options] of ERRORS) {
  story(`${name} of a handshake is one failure, with one dry run`, async (stage, t) => {
    const socket = stage.connect()
    await stage.flush()
    stage.socket.fail(options)
    await stage.advance(100)
    t.equal(stage.requests.length, 1)
    t.match(stage.requests[0], { url: 'https://example.com/chat', method: 'GET', headers: { authorization: 'Bearer token-1' }, credentials: 'same-origin', cache: 'no-store' })
    t.match(socket.state, { status: 'waiting', attempt: 1 })
    t.strictSame(stage.events, ['waiting'])
  })
}

story('an error of an open socket without a close is an end after a second', async (stage, t) => {
  const socket = await stage.open()
  stage.socket.fail({ hasClose: false })
  t.equal(socket.readyState, 1)
  await stage.advance(1000)
  t.strictSame(stage.events, ['waiting', '(close 1006, not clean)'])
})

story('a constructor that throws is a failure, without a dry run', async (stage, t) => {
  const error = new Error('no socket')
  const socket = stage.connect({ create: () => { throw error } })
  await stage.flush()
  t.match(socket.state, { status: 'waiting', attempt: 1, end: { code: 1006, error } })
  t.equal(stage.requests.length, 0)
})

story('each failure doubles the most of the next delay, up to 30 s', async (stage, t) => {
  const socket = stage.connect({ create: () => { throw new Error('no socket') } })
  const delays: number[] = []
  socket.subscribe(() => { if (socket.state.status === 'waiting') delays.push(socket.state.delay) })
  await stage.advance(200_000)
  t.strictSame(delays.slice(0, 8), [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000])
})

story('a connection that lasts 10 s begins the count of attempts anew, and a shorter one does not', async (stage, t) => {
  const socket = stage.connect()
  await stage.flush()
  for (const [life, attempt] of [[100, 1], [9999, 2], [10_000, 1], [5000, 2]] as const) {
    stage.socket.accept()
    await stage.advance(life)
    stage.socket.drop()
    t.match(socket.state, { status: 'waiting', attempt }, `after ${life} ms`)
    await stage.advance(2000)
  }
})

story('null stops the client', async (stage, t) => {
  const socket = stage.connect({ token: () => null })
  const { opened } = socket
  const rejected = t.rejects(opened, { name: 'WsAuthClientError', message: /token_missing/, reason: 'token_missing', end: { code: 1006 } })
  await stage.flush()
  await rejected
  t.match(socket.state, { status: 'refused', end: { code: 1006, reason: 'token_missing', wasOpen: false } })
  t.strictSame(stage.events, ['refused', '(error)'])
  t.match(stage.errors[0], { reason: 'token_missing', end: { reason: 'token_missing' } })
  t.ok(stage.errors[0] instanceof WsAuthClientError)
  t.equal(socket.readyState, 3)
  await t.rejects(socket.opened, { name: 'WsAuthClientError', reason: 'token_missing' })
  await stage.advance(100_000)
  t.equal(stage.sockets.length, 0)
  t.throws(() => socket.send('x'), { name: 'InvalidStateError' })
})

story('two refusals of an attempt stop the client, and reconnect() begins anew', async (stage, t) => {
  const socket = stage.connect()
  await stage.flush()
  for (const word of ['token_expired', 'token_invalid']) {
    stage.socket.open()
    stage.socket.drop(3000, word)
    await stage.flush()
  }
  t.strictSame(stage.whys, ['connect', 'rejected WS_AUTH_TOKEN_EXPIRED'])
  t.match(socket.state, { status: 'refused', end: { code: 3000, reason: 'token_invalid' } })
  t.equal(stage.sockets.length, 2)
  socket.reconnect()
  t.match(socket.state, { status: 'connecting', attempt: 0, end: { reason: 'token_invalid' } })
  await stage.flush()
  t.strictSame(stage.whys.slice(2), ['connect'])
  t.equal(stage.sentToken, 'token-3')
})

story('close() closes the socket and ends everything at once', async (stage, t) => {
  const signal = new FakeSignal()
  const socket = await stage.open({ signal })
  t.equal(stage.listeners, 5)
  t.equal(signal.listeners.size, 1)
  const { opened } = socket
  socket.close(4001, 'bye')
  t.strictSame(stage.socket.closedWith, { code: 4001, reason: 'bye' })
  t.strictSame(stage.events, ['closed', '(close 4001 bye)'])
  t.strictSame(socket.state, { status: 'closed', end: { code: 4001, reason: 'bye', wasOpen: true } })
  t.equal(stage.clock.timersOfClient + stage.listeners + signal.listeners.size, 0)
  stage.socket.message('late')
  await stage.advance(100_000)
  socket.close()
  t.equal(stage.events.length, 2)
  await opened
  await t.rejects(socket.opened, { message: 'closed: bye', reason: 'bye' })
})

story('close() before the socket is open ends the call for the token', async (stage, t) => {
  const socket = stage.connect({ token: async (request) => { stage.asked.push(request); return await new Promise(() => {}) } })
  const rejected = t.rejects(socket.opened, WsAuthClientError)
  await stage.flush()
  socket.close()
  await rejected
  t.ok(stage.asked[0]?.signal.aborted)
  t.match(socket.state, { status: 'closed', end: { code: 1000, reason: '', wasOpen: false } })
  t.strictSame(stage.events, ['closed'])
})

story('a wrong close code throws and changes nothing', async (stage, t) => {
  const socket = await stage.open()
  t.throws(() => socket.close(1005), { name: 'InvalidAccessError' })
  t.equal(socket.readyState, 1)
  socket.send('still here')
  t.strictSame(stage.socket.sent, ['still here'])
})

story('an abort, and a dispose, close the socket', async (stage, t) => {
  const signal = new FakeSignal()
  const socket = await stage.open({ signal })
  signal.aborted = true
  signal.dispatch('abort')
  t.equal(socket.state.status, 'closed')
  socket.reconnect()
  t.equal(socket.state.status, 'closed')
  const late = stage.connect({ signal })
  t.equal(late.state.status, 'closed')
  const other = await stage.open()
  other[Symbol.dispose]()
  t.equal(other.state.status, 'closed')
})

story('reconnect() closes the connection, and takes the token of a new call', async (stage, t) => {
  const socket = await stage.open()
  const [first] = stage.sockets
  socket.reconnect()
  t.strictSame(first?.closedWith, { code: 1000, reason: '' })
  t.strictSame(stage.events, ['connecting', '(close 1000)'])
  t.strictSame(socket.state, { status: 'connecting', attempt: 0, end: null })
  await stage.flush()
  t.strictSame(stage.whys, ['connect', 'connect'])
  t.equal(stage.sentToken, 'token-2')
  socket.close()
  socket.reconnect()
  t.equal(stage.listeners, 5)
  await stage.flush()
  stage.socket.accept()
  t.equal(socket.readyState, 1)
  socket.reconnect()
  t.equal(stage.listeners, 5)
})

story('shouldReconnect has the last word, and its error is an event', async (stage, t) => {
  const ends: unknown[] = []
  const words: Array<boolean | undefined> = [true, true, false, undefined]
  const socket = await stage.open({ shouldReconnect: (end) => { ends.push(end); return words.shift() } })
  stage.socket.drop(3003, 'forbidden')
  t.match(socket.state, { status: 'waiting', delay: 500 })
  await stage.advance(500)
  stage.socket.accept()
  stage.socket.drop(4000, 'idle')
  t.equal(socket.state.status, 'waiting')
  await stage.advance(1000)
  stage.socket.accept()
  stage.socket.drop(4999, 'enough')
  t.match(socket.state, { status: 'refused', end: { code: 4999, reason: 'enough', wasOpen: true } })
  t.match(ends, [{ reason: 'forbidden', wasOpen: true }, { reason: 'idle' }, { reason: 'enough' }])
  stage.errors.length = 0
  const other = await stage.open({ shouldReconnect: () => { throw new Error('a bug of the app') } })
  stage.socket.drop(1000)
  t.equal(other.state.status, 'waiting')
  t.match(stage.errors, [{ message: 'a bug of the app' }])
})

story('an address may be a function, a URL, http, and may fail', async (stage, t) => {
  let calls = 0
  const socket = stage.connect({}, async () => { if (++calls === 1) throw new Error('no address'); return `http://example.com/${calls}#part` })
  t.equal(socket.url, '')
  await stage.flush()
  t.match(socket.state, { status: 'waiting', end: { error: { message: 'no address' } } })
  t.equal(stage.asked.length, 0)
  await stage.advance(500)
  t.equal(stage.socket.url, 'ws://example.com/2')
  t.equal(socket.url, 'ws://example.com/2')
  stage.connect({}, new URL('https://example.com/url?a=b'))
  await stage.flush()
  t.equal(stage.socket.url, 'wss://example.com/url?a=b')
})
