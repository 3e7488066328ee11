/*
 * Messages of the app: sending, the queue, the iterator, and what a handshake carries.
 */
import { connect, webSocketClass } from '../../../lib/client/index'
import { story } from './story'

story('send() throws while the socket is not open, and sends at once while it is', async (stage, t) => {
  const socket = stage.connect()
  t.throws(() => socket.send('x'), { name: 'InvalidStateError', message: 'not open' })
  await stage.flush()
  stage.socket.open()
  t.throws(() => socket.send('x'), { name: 'InvalidStateError' })
  stage.socket.frame('auth.ok')
  socket.send('a')
  socket.send('b')
  t.strictSame(stage.socket.sent, ['a', 'b'])
  stage.socket.readyState = 2
  t.throws(() => socket.send('c'), { name: 'InvalidStateError' })
})

story('the queue keeps messages up to its bytes, and sends them in order behind the open listeners', async (stage, t) => {
  const socket = stage.connect({ queue: 8 })
  socket.send('é')
  t.equal(socket.bufferedAmount, 2)
  socket.send(new Uint8Array([1, 2]))
  socket.send({ size: 3, toString: () => 'blob' })
  t.equal(socket.bufferedAmount, 7)
  t.throws(() => socket.send('xx'), { name: 'InvalidStateError' })
  socket.send('y')
  t.throws(() => socket.send('z'), { name: 'InvalidStateError' })
  socket.addEventListener('open', () => socket.send('listener'))
  await stage.flush()
  stage.socket.accept()
  t.strictSame(stage.socket.sent, ['listener', 'é', '1,2', 'blob', 'y'])
  stage.socket.bufferedAmount = 5
  t.equal(socket.bufferedAmount, 5)
  stage.socket.drop()
  socket.send('again')
  t.equal(socket.bufferedAmount, 5)
  socket.close()
  t.equal(socket.bufferedAmount, 0)
  t.throws(() => socket.send(''), { name: 'InvalidStateError' })
})

story('a queue of no bytes keeps nothing, not even an empty message', async (stage, t) => {
  const socket = stage.connect()
  t.throws(() => socket.send(''), { name: 'InvalidStateError' })
  const other = stage.connect({ queue: 1 })
  other.send('')
  await stage.flush()
  stage.socket.accept()
  t.strictSame(stage.socket.sent, [''])
})

story('what cannot be sent any more stays in the queue', async (stage, t) => {
  const socket = stage.connect({ queue: 10 })
  for (const text of ['a', 'b', 'c']) socket.send(text)
  await stage.flush()
  const { socket: first } = stage
  first.onSent = (data) => { if (data === 'a') first.readyState = 2 }
  first.accept()
  t.strictSame(first.sent, ['a'])
  t.equal(socket.bufferedAmount, 2)
  first.drop()
  await stage.advance(500)
  stage.socket.accept()
  t.strictSame(stage.socket.sent, ['b', 'c'])
})

story('messages() has all messages in order, and ends with close()', async (stage, t) => {
  const socket = await stage.open()
  const messages = socket.messages()
  t.equal(messages[Symbol.asyncIterator](), messages)
  stage.socket.message('a')
  t.strictSame(await messages.next(), { done: false, value: 'a' })
  const [second, third, last] = [messages.next(), messages.next(), messages.next()]
  stage.socket.message('b')
  stage.socket.drop()
  await stage.advance(500)
  stage.socket.accept()
  stage.socket.message('c')
  t.match(await second, { value: 'b' })
  t.match(await third, { value: 'c' })
  socket.close()
  t.strictSame(await last, { done: true, value: undefined })
  t.strictSame(await messages.next(), { done: true, value: undefined })
  t.strictSame(await socket.messages().next(), { done: true, value: undefined })
})

story('messages() throws once when the socket is refused, and when too many wait', async (stage, t) => {
  const socket = await stage.open()
  const messages = socket.messages()
  const few = socket.messages({ max: 2 })
  for (const text of ['a', 'b', 'c', 'd']) stage.socket.message(text)
  t.match([await few.next(), await few.next(), await few.next()], [{ value: 'a' }, { value: 'b' }, { value: 'c' }])
  await t.rejects(few.next(), { name: 'WsAuthClientError', message: /2/ })
  t.strictSame(await few.next(), { done: true, value: undefined })
  for (let i = 0; i < 4; i++) await messages.next()
  const [pending, other] = [messages.next(), messages.next()]
  stage.socket.drop(3003, 'forbidden')
  t.match(await pending.catch((error: unknown) => error), { reason: 'forbidden' })
  t.match(await other, { done: true })
  t.match(await socket.messages().next().catch((error: unknown) => error), { reason: 'forbidden' })
})

story('return() ends the iterator and drops what waits', async (stage, t) => {
  const socket = await stage.open()
  const messages = socket.messages()
  stage.socket.message('a')
  stage.socket.message('b')
  t.match(await messages.next(), { value: 'a' })
  t.strictSame(await messages.return?.(), { done: true, value: undefined })
  t.strictSame(await messages.next(), { done: true, value: undefined })
  stage.socket.message('c')
  t.strictSame(await messages.next(), { done: true, value: undefined })
})

story('1024 messages may wait', async (stage, t) => {
  const socket = await stage.open()
  const messages = socket.messages()
  for (let i = 0; i < 1024; i++) stage.socket.message(String(i))
  t.match(await messages.next(), { value: '0' })
  stage.socket.message('1024')
  for (let i = 0; i < 1024; i++) await messages.next()
  const pending = messages.next()
  stage.socket.message('last')
  t.match(await pending, { value: 'last' })
})

story('handlers and listeners get the events, and only what is no frame', async (stage, t) => {
  const socket = stage.connect()
  const seen: string[] = []
  socket.onopen = ({ type }) => { seen.push(type) }
  socket.onmessage = ({ data }) => { seen.push(data) }
  socket.onclose = ({ code, reason, wasClean }) => { seen.push(`${code} ${reason} ${wasClean}`) }
  socket.onerror = ({ error }) => { seen.push((error as Error).name) }
  let states = 0
  const end = socket.subscribe(() => { states++ })
  await stage.flush()
  stage.socket.accept()
  for (const text of ['{"type":"auth.unknown"}', '{"type":"auth.broken', '{"type": "auth.ok"}', '{"type":"author"}', '["auth.ok"]', 'plain']) stage.socket.message(text)
  end()
  stage.socket.drop(3003, 'forbidden')
  t.equal(states, 1)
  socket.onclose = null
  socket.reconnect()
  socket.close()
  t.strictSame(seen, ['open', '{"type":"auth.broken', '{"type": "auth.ok"}', '{"type":"author"}', '["auth.ok"]', 'plain', '3003 forbidden true', 'WsAuthClientError'])
})

story('binaryType is that of each socket', async (stage, t) => {
  const socket = stage.connect()
  t.equal(socket.binaryType, 'blob')
  socket.binaryType = 'arraybuffer'
  await stage.flush()
  t.equal(stage.socket.binaryType, 'arraybuffer')
  stage.socket.accept()
  stage.socket.drop()
  await stage.advance(500)
  t.equal(stage.socket.binaryType, 'arraybuffer')
  stage.socket.open('own')
  stage.socket.extensions = 'deflate'
  t.strictSame([socket.protocol, socket.extensions], ['own', 'deflate'])
})

story('the token goes where via says', async (stage, t) => {
  const handshake = async (options: Parameters<typeof stage.connect>[0], url = 'wss://example.com/chat?a=b'): Promise<unknown> => {
    stage.connect(options, url)
    await stage.flush()
    return [stage.socket.url, stage.socket.protocols, stage.socket.headers]
  }
  const token = (): string => 'a b/ü'
  const plain = 'wss://example.com/chat?a=b'
  t.strictSame(await handshake({ token: () => 'ab.c-_~1', protocols: 'own' }), [plain, ['own', 'ws-auth', 'bearer', 'ab.c-_~1'], {}])
  t.strictSame(await handshake({ token: () => 'ÿþ>?~~~', via: 'subprotocol', protocols: ['x', 'y'] }), [plain, ['x', 'y', 'ws-auth', 'base64url.bearer.w7_Dvj4_fn5-', 'bearer'], {}])
  t.strictSame(await handshake({ token: () => 'a/b' }), [plain, ['ws-auth', 'base64url.bearer.YS9i', 'bearer'], {}])
  t.strictSame(await handshake({ token: () => 'a/' }), [plain, ['ws-auth', 'base64url.bearer.YS8', 'bearer'], {}])
  t.strictSame(await handshake({ token, via: 'header' }), [plain, ['ws-auth'], { authorization: 'Bearer a b/ü' }])
  t.strictSame(await handshake({ token, via: 'query' }), ['wss://example.com/chat?a=b&token=a%20b%2F%C3%BC', ['ws-auth'], {}])
  t.strictSame(await handshake({ token, via: 'query' }, 'wss://example.com/chat'), ['wss://example.com/chat?token=a%20b%2F%C3%BC', ['ws-auth'], {}])
  t.strictSame(await handshake({ token: undefined }), [plain, ['ws-auth'], {}])
  t.strictSame(await handshake({ token, via: 'message' }), [plain, ['ws-auth'], {}])
  stage.socket.open()
  t.strictSame(stage.socket.sent, ['{"type":"auth","token":"a b/ü"}'])
  await stage.advance(5000)
  stage.socket.frame('auth.ok', { connection: 'c' })
  t.match(stage.events.slice(-2), ['open', '(open)'])
  await handshake({ token: undefined, via: 'message' })
  stage.socket.open()
  t.strictSame(stage.socket.sent, [])
})

story('wrong options throw a TypeError', async (_stage, t) => {
  const wrong: object[] = [{ token: 'x' }, { ticket: 1 }, { via: 1 }, { via: 'heder' }, { via: 'header' }, { protocols: 1 }, { create: {} }, { fetch: 'x' }, { timeouts: 1 }, { retry: 1 }, { shouldReconnect: true }, { queue: '1' }, { page: 'x' }, { signal: 1 }, { unknown: 1 }, { constructor: 1 }]
  for (const options of wrong) t.throws(() => connect('wss://example.com', options as never), TypeError, JSON.stringify(options))
  t.throws(() => connect('wss://example.com', { unknown: 1 } as never), /"unknown"/)
  const numbers: object[] = [{ connect: -1 }, { answer: '1' }, { credential: NaN }, { credential: null }, { base: -1 }, { max: '1' }, { crowd: NaN }, { stableAfter: true }, { unknown: 1 }, { constructor: 1 }]
  for (const each of numbers) {
    const [key = ''] = Object.keys(each)
    for (const name of ['timeouts', 'retry']) t.throws(() => connect('wss://example.com', { [name]: each } as never), { name: 'TypeError', message: new RegExp(`^"${name}\\.${key}" option`) })
  }
})

story('a time may be zero, without an end, or left out', async (stage, t) => {
  const socket = stage.connect({ timeouts: { connect: Infinity, answer: undefined }, retry: { base: 0, max: undefined } })
  await stage.flush()
  await stage.advance(100_000)
  t.equal(socket.state.status, 'connecting')
  stage.socket.drop()
  await stage.flush()
  t.match(socket.state, { status: 'waiting', delay: 0 })
})

story('a queue of NaN bytes keeps nothing', async (stage, t) => {
  const socket = stage.connect({ queue: NaN })
  t.throws(() => socket.send('x'), { name: 'InvalidStateError' })
})

story('connect needs create in a runtime without WebSocket, and says so at once', async (stage, t) => {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket')
  Object.defineProperty(globalThis, 'WebSocket', { configurable: true, writable: true, value: undefined })
  try {
    t.throws(() => connect('wss://example.com', { token: stage.token }), { name: 'TypeError', message: /^"create" option/ })
    t.equal(stage.clock.timersOfClient, 0)
    // A module may make the class on a server that renders pages: only its instances need a WebSocket.
    webSocketClass({ token: stage.token })
  } finally {
    if (before === undefined) Reflect.deleteProperty(globalThis, 'WebSocket')
    else Object.defineProperty(globalThis, 'WebSocket', before)
  }
})

story('without create and fetch the globals are used, when they are needed', async (stage, t) => {
  const { create, fetch, ...rest } = { create: undefined, fetch: undefined }
  const made: unknown[] = []
  const before = Object.getOwnPropertyDescriptors(globalThis)
  Object.defineProperty(globalThis, 'WebSocket', { configurable: true, writable: true, value: function (url: string, protocols: string[]) { made.push(url, protocols); return stage.create(url, protocols, {}) } })
  Object.defineProperty(globalThis, 'fetch', { configurable: true, writable: true, value: stage.fetch })
  try {
    const socket = connect('wss://example.com/chat', { token: stage.token, create, fetch, ...rest })
    await stage.flush()
    t.strictSame(made, ['wss://example.com/chat', ['ws-auth', 'bearer', 'token-1']])
    stage.socket.fail()
    await stage.flush()
    t.equal(stage.requests.length, 1)
    socket.close()
  } finally {
    for (const name of ['WebSocket', 'fetch'] as const) {
      const descriptor = before[name]
      if (descriptor === undefined) Reflect.deleteProperty(globalThis, name)
      else Object.defineProperty(globalThis, name, descriptor)
    }
  }
})
