/*
 * The words of the server, on an open connection, in a handshake that is accepted and closed, and in a dry run.
 */
import { story } from './story'
import { ENDS } from './table'

/** The greatest delay after the first failure; `null` if the client does not come back by itself. */
const MOST: Record<string, number | null> = { ask: 1000, anew: 1000, retry: 1000, crowd: 5000, limit: 11_000, idle: null, refuse: null }

story('each end of an open connection has its action and its greatest delay', async (stage, t) => {
  stage.random = () => 1
  for (const [code, reason, action] of ENDS) {
    const socket = await stage.open()
    const calls = stage.asked.length
    stage.socket.drop(code, reason)
    const most = MOST[action]
    const state = action === 'idle' ? { status: 'paused', why: 'idle' } : action === 'refuse' ? { status: 'refused' } : { status: 'waiting', attempt: 1, delay: most }
    t.match(socket.state, { ...state, end: { code, reason, wasOpen: true } }, `${code} ${reason}`)
    await stage.advance(11_000)
    t.strictSame(stage.whys.slice(calls), action === 'ask' ? [`rejected WS_AUTH_${reason.toUpperCase()}`] : [], `${code} ${reason} and the token`)
    socket.close()
  }
})

story('each close behind an accepted handshake has its action', async (stage, t) => {
  for (const [code, reason, action] of ENDS.filter(([code]) => code !== 1006)) {
    const socket = stage.connect()
    await stage.flush()
    stage.socket.open()
    stage.socket.drop(code, reason)
    await stage.flush()
    const status = action === 'ask' ? 'connecting' : action === 'idle' ? 'paused' : action === 'refuse' ? 'refused' : 'waiting'
    t.equal(socket.state.status, status, `${code} ${reason}`)
    socket.close()
  }
})

const ANSWERS: ReadonlyArray<readonly [status: number, code: string | undefined, expected: string, delay?: number]> = [
  [426, undefined, 'waiting', 500], [200, undefined, 'waiting', 500], [404, undefined, 'waiting', 500], [403, undefined, 'waiting', 500], [401, undefined, 'waiting', 500],
  [401, 'SOMETHING_ELSE', 'waiting', 500], [401, 'WS_AUTH_TOKEN_EXPIRED', 'connecting'], [400, 'WS_AUTH_TOKEN_AMBIGUOUS', 'connecting'], [403, 'WS_AUTH_FORBIDDEN', 'refused'],
  [403, 'WS_AUTH_ORIGIN_FORBIDDEN', 'refused'], [400, 'WS_AUTH_HANDSHAKE_INVALID', 'refused'], [404, 'WS_AUTH_ROUTE_NOT_WEBSOCKET', 'refused'], [500, undefined, 'waiting', 500],
  [429, 'WS_AUTH_LIMIT', 'waiting', 10_500], [503, 'WS_AUTH_BUSY', 'waiting', 2500], [503, 'WS_AUTH_UNAVAILABLE', 'waiting', 2500], [408, 'WS_AUTH_TIMEOUT', 'waiting', 500]
]

story('each answer to a dry run has its action; the page of a proxy never stops the client', async (stage, t) => {
  for (const [status, code, expected, delay] of ANSWERS) {
    const socket = stage.connect()
    stage.answers = [{ status, code, isText: code === undefined }]
    await stage.flush()
    stage.socket.fail()
    await stage.flush()
    const name = `${status} ${code}`
    t.equal(socket.state.status, expected, name)
    if (expected === 'waiting') t.match(socket.state, { delay, end: { code: 1006, status } }, name)
    if (expected === 'waiting' && code === undefined) t.match(socket.state, { end: { reason: '', hint: String } }, name)
    socket.close()
  }
})

story('Retry-After is the least, and counts only as a number', async (stage, t) => {
  for (const [retryAfter, delay] of [['7', 9500], ['0', 2500], ['soon', 2500], ['-5', 2500]] as const) {
    const socket = stage.connect()
    stage.answers = [{ status: 503, code: 'WS_AUTH_BUSY', retryAfter }]
    await stage.flush()
    stage.socket.fail()
    await stage.flush()
    t.match(socket.state, { delay }, retryAfter)
    socket.close()
  }
})

story('auth.retry is the most, for this connection alone', async (stage, t) => {
  const socket = await stage.open()
  stage.socket.frame('auth.retry', { within: 60_000 })
  stage.socket.drop(1001, 'shutdown')
  t.match(socket.state, { status: 'waiting', delay: 30_000 })
  await stage.advance(30_000)
  stage.socket.accept()
  stage.socket.drop(1001, 'shutdown')
  t.match(socket.state, { status: 'waiting', attempt: 2, delay: 1000 })
})

story('a crowd spreads once, and backs off then; the spreads are those of the options', async (stage, t) => {
  const socket = stage.connect({ retry: { base: 100, max: 300, crowd: 4000, stableAfter: 50 } })
  await stage.flush()
  const delays: number[] = []
  socket.subscribe(() => { if (socket.state.status === 'waiting') delays.push(socket.state.delay) })
  for (let i = 0; i < 4; i++) {
    stage.socket.open()
    stage.socket.drop(1013)
    await stage.advance(2000)
  }
  stage.socket.accept()
  await stage.advance(50)
  stage.socket.drop(3000, 'lifetime_exceeded')
  t.strictSame(delays, [2000, 100, 150, 150, 50])
  await stage.advance(50)
  stage.socket.accept()
  stage.socket.drop(4429, 'message_limit')
  t.strictSame(delays.at(-1), 1100)
})

story('a client that was idle comes back as it sends, and at an event of the page', async (stage, t) => {
  const socket = await stage.open({ queue: 10 })
  stage.socket.drop(4000, 'idle')
  t.strictSame(stage.events, ['paused', '(close 4000 idle)'])
  await stage.advance(1_000_000)
  t.equal(stage.sockets.length, 1)
  socket.send('hello')
  t.equal(socket.state.status, 'connecting')
  await stage.flush()
  stage.socket.accept()
  t.strictSame(stage.socket.sent, ['hello'])
  stage.socket.drop(4000, 'idle')
  stage.document.dispatch('resume')
  await stage.advance(125)
  t.equal(socket.state.status, 'connecting')
  const other = await stage.open()
  stage.socket.drop(4000, 'idle')
  t.throws(() => other.send('lost'), { name: 'InvalidStateError' })
  t.equal(other.state.status, 'connecting')
})

story('after failures a refused token and the end of a life wait no longer than at first, and all others do', async (stage, t) => {
  stage.random = () => 1
  const DELAYS = [['lifetime_exceeded', 1000], ['token_expired', 1000], ['xlifetime_exceeded', 8000], ['lifetime_exceeded_', 8000], ['kicked', 8000], ['shutdown', 8000], ['connection_limit', 18_000]] as const
  for (const [word, delay] of DELAYS) {
    const socket = await stage.open()
    for (const each of [1000, 2000, 4000]) {
      stage.socket.drop()
      await stage.advance(each)
      stage.socket.accept()
    }
    stage.socket.drop(word === 'shutdown' ? 1001 : 4999, word)
    t.match(socket.state, { status: 'waiting', attempt: 4, delay }, word)
    socket.close()
  }
})
