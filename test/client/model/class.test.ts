/*
 * `webSocketClass()` by the virtual clock: what a library sees of each end.
 */
import { webSocketClass } from '../../../lib/client/index'
import { story } from './story'

story('an instance opens with auth.ok, renews unseen, and passes all other messages', async (stage, t) => {
  const socket = stage.classOf()(['app'])
  t.equal(socket.readyState, 0)
  t.equal(socket.url, 'wss://example.com/chat')
  t.throws(() => socket.send('too early'), { name: 'InvalidStateError' })
  await stage.flush()
  t.strictSame(stage.socket.protocols, ['app', 'ws-auth', 'bearer', 'token-1'])
  stage.socket.open('app')
  t.equal(socket.protocol, 'app')
  t.equal(socket.readyState, 0)
  stage.socket.frame('auth.ok', { expiresIn: 60_000 })
  t.equal(socket.readyState, 1)
  stage.socket.frame('auth.renew', { expiresIn: 10_000 })
  await stage.flush()
  t.strictSame(stage.socket.frames, [{ type: 'auth', token: 'token-2', id: 1 }])
  stage.socket.frame('auth.ok', { id: 1, expiresIn: 60_000 })
  stage.socket.message('hello')
  socket.send('there')
  t.strictSame(stage.socket.sent.at(-1), 'there')
  t.strictSame(stage.events, ['(open)', '(hello)'])
})

story('an own protocol is open with any other message, and after a second', async (stage, t) => {
  const create = stage.classOf()
  create('app')
  await stage.flush()
  stage.socket.open('app')
  stage.socket.message('first')
  t.strictSame(stage.events, ['(open)', '(first)'])
  create('app')
  await stage.flush()
  stage.socket.open('app')
  await stage.advance(1000)
  t.strictSame(stage.events, ['(open)', '(first)', '(open)'])
})

const FINALS = [['forbidden', '(close 3003 forbidden)', '(close 4403 forbidden)'], ['origin_forbidden', '(close 3003 origin_forbidden)', '(close 4403 origin_forbidden)'], ['disconnected', '(close 3000 disconnected)', '(close 4401 disconnected)']] as const
for (const [word, plain, chosen] of FINALS) {
  story(`a final refusal by ${word} is open and close, with the codes of the library`, async (stage, t) => {
    for (const [closeCodes, close] of [[undefined, plain], [{ unauthorized: 4401, forbidden: 4403 }, chosen]] as const) {
      stage.events.length = 0
      const socket = stage.classOf({ closeCodes })()
      await stage.flush()
      stage.socket.open()
      stage.socket.drop(3003, word)
      await stage.flush()
      t.strictSame(stage.events, ['(open)', close])
      t.equal(socket.readyState, 3)
    }
  })
}

story('an expired token is asked for once more, unseen; the second refusal is final', async (stage, t) => {
  const create = stage.classOf({ closeCodes: { unauthorized: 4401 } })
  create()
  await stage.flush()
  stage.socket.open()
  stage.socket.drop(3000, 'token_expired')
  await stage.flush()
  t.strictSame(stage.events, [])
  t.equal(stage.sentToken, 'token-2')
  stage.socket.open()
  stage.socket.drop(3000, 'token_expired')
  await stage.flush()
  t.strictSame(stage.events, ['(open)', '(close 4401 token_expired)'])
  t.equal(stage.sockets.length, 2)
})

story('after a final refusal the next instances end without the network, until there is another token', async (stage, t) => {
  let token: string | null = 'bad'
  const create = stage.classOf({ token: (request) => { stage.asked.push(request); return token } })
  const next = async (): Promise<void> => {
    stage.events.length = 0
    create()
    await stage.flush()
  }
  await next()
  stage.socket.open()
  stage.socket.drop(3003, 'forbidden')
  await stage.flush()
  await next()
  t.strictSame(stage.events, ['(open)', '(close 3003 forbidden)'])
  token = null
  await next()
  t.strictSame(stage.events, ['(open)', '(close 3000 token_missing)'])
  t.equal(stage.sockets.length, 1)
  token = 'good'
  await next()
  t.equal(stage.sockets.length, 2)
  stage.socket.accept()
  t.strictSame(stage.events, ['(open)'])
})

story('a refusal of one address is no refusal of another', async (stage, t) => {
  const Class = webSocketClass({ token: () => 'same', create: stage.create, fetch: stage.fetch })
  const first = new Class('wss://example.com/a')
  stage.watch(first)
  await stage.flush()
  stage.socket.open()
  stage.socket.drop(3003, 'forbidden')
  await stage.flush()
  t.equal(first.readyState, 3)
  const other = new Class(new URL('wss://example.com/b'))
  stage.watch(other)
  await stage.flush()
  t.equal(stage.sockets.length, 2)
  stage.socket.accept()
  t.equal(other.readyState, 1)
})

story('a failure is error and close, and the next instance has the same token', async (stage, t) => {
  const create = stage.classOf()
  create()
  await stage.flush()
  stage.socket.fail()
  await stage.flush()
  t.strictSame(stage.events, ['(error)', '(close 1006, not clean)'])
  t.equal(stage.requests.length, 1)
  create()
  await stage.flush()
  t.equal(stage.asked.length, 1)
  t.equal(stage.sentToken, 'token-1')
  stage.answers = [{ status: 503, code: 'WS_AUTH_BUSY' }]
  stage.socket.fail()
  await stage.flush()
  t.strictSame(stage.events.slice(2), ['(error)', '(close 1006 server_busy, not clean)'])
})

story('an end of an open connection is told with its own code, also that of an expiry', async (stage, t) => {
  const socket = stage.classOf({ closeCodes: { unauthorized: 4401 } })()
  await stage.flush()
  stage.socket.accept()
  stage.socket.drop(3000, 'token_expired')
  t.strictSame(stage.events, ['(open)', '(close 3000 token_expired)'])
  t.equal(socket.readyState, 3)
  await stage.advance(10_000)
  t.equal(stage.sockets.length, 1)
})

story('close() of an open instance waits for the close of the server', async (stage, t) => {
  const socket = stage.classOf()()
  await stage.flush()
  stage.socket.accept()
  socket.close(4000, 'bye')
  socket.close(4001)
  t.equal(socket.readyState, 2)
  t.strictSame(stage.socket.closedWith, { code: 4000, reason: 'bye' })
  await stage.advance(20)
  t.equal(socket.readyState, 3)
  t.strictSame(stage.events, ['(open)', '(close 4000 bye)'])
  socket.close()
  t.equal(socket.readyState, 3)
})

story('close() before open is error and close behind a microtask, without the network', async (stage, t) => {
  const socket = stage.classOf()()
  socket.close()
  t.equal(socket.readyState, 2)
  t.strictSame(stage.events, [])
  await stage.flush()
  t.strictSame(stage.events, ['(error)', '(close 1006, not clean)'])
  t.equal(stage.sockets.length, 0)
  t.equal(stage.asked.length, 0)
  t.equal(stage.clock.timersOfClient, 0)
})

story('instances share one call for the token, and each has its socket', async (stage, t) => {
  const create = stage.classOf()
  const sockets = [create(), create()]
  await stage.flush()
  t.equal(stage.asked.length, 1)
  t.equal(stage.sockets.length, 2)
  for (const socket of stage.sockets) socket.accept()
  t.strictSame(sockets.map(({ readyState }) => readyState), [1, 1])
  stage.sockets[0]?.drop()
  t.strictSame(sockets.map(({ readyState }) => readyState), [3, 1])
})

story('a listener that closes at open is told nothing more but the close', async (stage, t) => {
  const socket = stage.classOf()()
  socket.onopen = () => socket.close()
  await stage.flush()
  stage.socket.open()
  stage.socket.drop(3003, 'forbidden')
  await stage.flush()
  t.strictSame(stage.events, ['(open)', '(close 3003 forbidden)'])
})

story('the class has the constants, and the other properties of the socket', async (stage, t) => {
  const Class = webSocketClass({ create: stage.create })
  t.strictSame([Class.CONNECTING, Class.OPEN, Class.CLOSING, Class.CLOSED], [0, 1, 2, 3])
  const socket = new Class('wss://example.com/chat')
  stage.watch(socket)
  t.strictSame([socket.CONNECTING, socket.OPEN, socket.CLOSING, socket.CLOSED], [0, 1, 2, 3])
  t.strictSame([socket.protocol, socket.extensions, socket.bufferedAmount, socket.binaryType], ['', '', 0, 'blob'])
  socket.binaryType = 'arraybuffer'
  await stage.flush()
  t.equal(stage.socket.binaryType, 'arraybuffer')
  Object.assign(stage.socket, { extensions: 'permessage-deflate', bufferedAmount: 7 })
  t.strictSame([socket.extensions, socket.bufferedAmount, socket.binaryType], ['permessage-deflate', 7, 'arraybuffer'])
  socket.binaryType = 'blob'
  t.equal(stage.socket.binaryType, 'blob')
  for (const wrong of [{ closeCodes: 1 }, { queue: 1 }]) t.throws(() => webSocketClass(wrong as never), TypeError)
})
