/*
 * The ends of a socket that an app chooses, and its messages as an iterator, on a real server.
 */
import { getEventListeners } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { sign, start, until } from '../helpers/app'
import { watch } from '../helpers/client-socket'

async function startServer (t: Test): Promise<{ url: string, size: () => number, handshakes: () => number }> {
  let handshakes = 0
  const { app, port } = await start(t, {
    routes: (app) => {
      app.get('/', { websocket: true }, (socket) => {
        socket.on('message', (data) => {
          const text = String(data)
          if (text.startsWith('count ')) for (let number = 1; number <= Number(text.slice(6)); number++) socket.send(String(number))
          else if (text === 'again') socket.close(4000, 'again')
          else socket.close(3003, 'forbidden')
        })
      })
    }
  })
  app.server.on('upgrade', () => handshakes++)
  return { url: `ws://127.0.0.1:${port}/`, size: () => app.wsAuth.connections.size, handshakes: () => handshakes }
}

const token = (): string => sign({ sub: 'ann' })

t.test('using closes the socket at the end of the block', async (t) => {
  const { url, size } = await startServer(t)
  let ended
  {
    using socket = watch(t, url, token).socket
    await socket.opened
    t.equal(size(), 1)
    ended = socket
  }
  t.match(ended.state, { status: 'closed', end: { code: 1000, wasOpen: true } })
  await until(() => size() === 0, 'the end on the server')
  ended[Symbol.dispose]()
  t.throws(() => ended.send('x'), { name: 'InvalidStateError' })
})

t.test('an abort closes the socket at each step, and no listener is left', async (t) => {
  const { url, size } = await startServer(t)
  const slow = async (): Promise<string> => {
    await pause(20)
    return token()
  }
  for (const [step, life] of [['before', -1], ['during the call', 5], ['during the handshake', 22], ['when it is open', 200]] as const) {
    const controller = new AbortController()
    if (life < 0) controller.abort()
    const { socket, events, calls } = watch(t, url, slow, { signal: controller.signal })
    const opened = socket.opened.then(() => 'open', ({ reason }: { reason: string }) => `rejected ${reason}`)
    if (life >= 0) await pause(life)
    controller.abort()
    t.equal(socket.state.status, 'closed', step)
    t.equal(getEventListeners(controller.signal, 'abort').length, 0, step)
    t.match(await opened, /open|rejected/)
    t.ok(events.length === 0 || events.at(-1) === 'close 1000', step)
    t.ok(calls.every(({ signal }) => signal.aborted || life >= 22), step)
    socket.reconnect()
    t.equal(socket.state.status, 'closed', 'an abort is for good')
  }
  await until(() => size() === 0, 'no connection is left')
})

t.test('two effects of which the first is undone at once make one call for a token and one handshake', async (t) => {
  const { url, handshakes } = await startServer(t)
  // As StrictMode of React does it: effect, clean-up, effect.
  const first = watch(t, url, token)
  first.socket.close()
  const second = watch(t, url, token)
  await second.socket.opened
  t.strictSame([first.calls.length, second.calls.length, handshakes()], [0, 1, 1])
  t.strictSame([first.events, second.events], [[], ['open']])
})

t.test('messages() gives each message in order over connections, and ends with close()', async (t) => {
  const { url } = await startServer(t)
  const { socket, states, next } = watch(t, url, token, { retry: { base: 1 } })
  await socket.opened
  const got: string[] = []
  const reading = (async () => { for await (const message of socket.messages()) got.push(message as string) })()
  socket.send('count 500')
  await until(() => got.length === 500, 'the first messages')
  const from = states.length
  socket.send('again')
  await next('waiting', from)
  await socket.opened
  socket.send('count 3')
  await until(() => got.length === 503, 'the last messages')
  socket.close()
  await reading
  t.strictSame(got, [...Array.from({ length: 500 }, (_, index) => String(index + 1)), '1', '2', '3'])
})

t.test('messages() throws if the socket is refused, and if too many messages wait', async (t) => {
  const { url } = await startServer(t)
  const { socket } = watch(t, url, token)
  await socket.opened
  const few = socket.messages({ max: 3 })
  const read = async (): Promise<unknown[]> => {
    const got: unknown[] = []
    for await (const message of few) got.push(message)
    return got
  }
  socket.send('count 10')
  let count = 0
  socket.addEventListener('message', () => count++)
  await until(() => count === 10, 'ten messages')
  await t.rejects(read(), { name: 'WsAuthClientError' })
  const all = socket.messages()
  const next = all.next()
  socket.send('enough')
  await t.rejects(next, { name: 'WsAuthClientError', reason: 'forbidden' })
  t.strictSame(await all.next(), { done: true, value: undefined })
})

t.test('a loop over messages() that is left takes its listeners away', async (t) => {
  const { url } = await startServer(t)
  const { socket } = watch(t, url, token)
  await socket.opened
  socket.send('count 3')
  for await (const message of socket.messages()) {
    if (message === '2') break
  }
  t.equal(socket.state.status, 'open')
  t.equal(getEventListeners(socket as unknown as EventTarget, 'message').length, 2, 'onmessage, and that of this test')
})
