/*
 * The rows of the page, each as an example.
 */
import { story } from './story'

story('online, visible, resume and pageshow end a wait: within 250 ms, and online within a second', async (stage, t) => {
  const socket = stage.connect({ create: () => { throw new Error('no network') } })
  await stage.advance(12_000)
  for (const [type, delay] of [['online', 500], ['visibilitychange', 125], ['resume', 125], ['pageshow', 125]] as const) {
    const attempt = 'attempt' in socket.state ? socket.state.attempt : 0
    t.match(socket.state, { status: 'waiting', attempt })
    const target = type === 'visibilitychange' || type === 'resume' ? stage.document : stage.window
    target.dispatch(type)
    await stage.advance(delay - 1)
    t.match(socket.state, { status: 'waiting', attempt }, `${type}, not yet`)
    await stage.advance(1)
    t.match(socket.state, { status: 'waiting', attempt: attempt + 1 }, type)
  }
})

story('a page that is hidden does not come back', async (stage, t) => {
  const socket = await stage.open()
  stage.socket.drop()
  stage.document.visibilityState = 'hidden'
  stage.document.dispatch('visibilitychange')
  await stage.advance(499)
  t.equal(socket.state.status, 'waiting')
  await stage.advance(1)
  t.equal(socket.state.status, 'connecting')
})

story('an event of the page never makes a wait longer', async (stage, t) => {
  const socket = await stage.open()
  stage.socket.drop()
  await stage.advance(400)
  stage.random = () => 0.99
  for (let i = 0; i < 5; i++) stage.window.dispatch('online')
  await stage.advance(100)
  t.equal(socket.state.status, 'connecting')
  await stage.advance(2000)
  t.equal(stage.sockets.length, 2)
})

story('a server that has said how long to wait is not asked before', async (stage, t) => {
  const socket = stage.connect()
  stage.answers = [{ status: 503, code: 'WS_AUTH_BUSY', retryAfter: '7' }]
  await stage.flush()
  stage.socket.drop()
  await stage.flush()
  t.match(socket.state, { status: 'waiting', delay: 9500, end: { code: 1006, reason: 'server_busy', status: 503 } })
  stage.window.dispatch('online')
  stage.document.dispatch('resume')
  await stage.advance(9499)
  t.equal(socket.state.status, 'waiting')
  await stage.advance(1)
  t.equal(socket.state.status, 'connecting')
})

story('an offline device waits for online, and connects after 30 s all the same', async (stage, t) => {
  const socket = await stage.open()
  stage.navigator.onLine = false
  stage.socket.drop()
  t.match(socket.state, { status: 'paused', why: 'offline', end: { code: 1006 } })
  await stage.advance(29_999)
  t.equal(socket.state.status, 'paused')
  await stage.advance(1)
  t.match(socket.state, { status: 'connecting', attempt: 1 })
  stage.socket.fail()
  await stage.flush()
  t.equal(socket.state.status, 'paused')
  stage.navigator.onLine = true
  stage.window.dispatch('online')
  await stage.advance(500)
  t.match(socket.state, { status: 'connecting', attempt: 2 })
})

story('a device that goes offline during a wait is paused when it is over', async (stage, t) => {
  const socket = await stage.open()
  stage.socket.drop()
  t.equal(socket.state.status, 'waiting')
  stage.navigator.onLine = false
  await stage.advance(500)
  t.match(socket.state, { status: 'paused', why: 'offline' })
})

story('offline and freeze do nothing to an open connection', async (stage, t) => {
  const socket = await stage.open()
  stage.navigator.onLine = false
  stage.window.dispatch('offline')
  stage.document.dispatch('freeze')
  await stage.advance(5000)
  t.equal(socket.readyState, 1)
})

story('pagehide closes the connection, and pageshow opens another one', async (stage, t) => {
  const socket = await stage.open()
  const [first] = stage.sockets
  await stage.advance(10_000)
  stage.window.dispatch('pagehide')
  t.strictSame(first?.closedWith, { code: 1000, reason: '' })
  t.strictSame(socket.state, { status: 'paused', why: 'pagehide', end: null })
  t.strictSame(stage.events, ['paused', '(close 1000)'])
  stage.window.dispatch('pagehide')
  await stage.advance(100_000)
  t.equal(stage.events.length, 2)
  stage.window.dispatch('pageshow')
  await stage.advance(125)
  t.equal(stage.sockets.length, 2)
  stage.socket.accept()
  t.equal(socket.readyState, 1)
})

story('pagehide ends a wait and an attempt, keeps the last end, and does nothing to a closed socket', async (stage, t) => {
  const socket = await stage.open()
  stage.socket.drop(1012, '')
  stage.window.dispatch('pagehide')
  t.match(socket.state, { status: 'paused', why: 'pagehide', end: { code: 1012 } })
  await stage.advance(100_000)
  t.equal(stage.sockets.length, 1)
  stage.window.dispatch('pageshow')
  await stage.advance(125)
  t.match(socket.state, { status: 'connecting', end: { code: 1012 } })
  stage.window.dispatch('pagehide')
  t.match(socket.state, { status: 'paused', end: { code: 1012 } })
  socket.close()
  stage.window.dispatch('pagehide')
  t.equal(socket.state.status, 'closed')
})

story('an open connection that was silent for 5 s is asked for a sign of life, and dropped without one', async (stage, t) => {
  const socket = await stage.open()
  await stage.advance(4999)
  stage.window.dispatch('online')
  t.strictSame(stage.socket.sent, [])
  await stage.advance(1)
  stage.window.dispatch('online')
  stage.document.dispatch('resume')
  t.strictSame(stage.socket.sent, ['{"type":"auth.ping"}'])
  stage.socket.frame('auth.pong')
  await stage.advance(5000)
  t.equal(socket.readyState, 1)
  const { socket: lost } = stage
  stage.window.dispatch('pageshow')
  await stage.advance(4999)
  t.equal(socket.readyState, 1)
  await stage.advance(1)
  t.match(socket.state, { status: 'waiting', end: { code: 1006, wasOpen: true } })
  t.notOk(lost.isLive)
  t.strictSame(lost.sent, ['{"type":"auth.ping"}', '{"type":"auth.ping"}'])
})

story('a server without frames is asked for no sign of life', async (stage, t) => {
  const socket = stage.connect()
  await stage.flush()
  stage.socket.open('')
  await stage.advance(20_000)
  stage.window.dispatch('online')
  t.equal(socket.readyState, 1)
  t.strictSame(stage.socket.sent, [])
})

story('a socket that fails as it is closed is left all the same', async (stage, t) => {
  const socket = await stage.open()
  stage.socket.close = () => { throw new Error('a bug of a library') }
  await stage.advance(5000)
  stage.window.dispatch('online')
  await stage.advance(5000)
  t.equal(socket.state.status, 'waiting')
})

story('page: false, and a runtime without a page, take no notice', async (stage, t) => {
  const socket = await stage.open({ page: false })
  t.equal(stage.listeners, 0)
  stage.navigator.onLine = false
  stage.socket.drop()
  t.equal(socket.state.status, 'waiting')
  await stage.advance(500)
  t.equal(socket.state.status, 'connecting')
})

story('a process has no page', async (stage, t) => {
  const socket = await stage.open()
  t.equal(stage.listeners, 0)
  stage.socket.drop()
  t.equal(socket.state.status, 'waiting')
}, { hasPage: false })
