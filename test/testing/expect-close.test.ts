/*
 * expectClose, with each class of sockets: what it resolves to, and what it says if another close came.
 */
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket as WsWebSocket } from 'ws'
import { connect } from '../../lib/client/index'
import { expectClose, signIn } from '../../lib/testing/index'
import type { ClosableSocket } from '../../lib/testing/index'
import { start } from '../helpers/app'

interface Chat {
  readonly port: number
  readonly token: string
  readonly revoke: () => Promise<unknown>
  readonly inject: () => Promise<WsWebSocket>
}

async function startChat (t: Test): Promise<Chat> {
  const { app, port } = await start(t, { routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  const ann = await signIn(app, { sub: 'ann' })
  return { port, token: ann.token, revoke: () => app.wsAuth.revoke({ sub: 'ann' }), inject: () => app.injectWS('/chat', ann) }
}

/** The WebSocket of this Node.js, which has it since version 22. */
const BuiltIn = (globalThis as { WebSocket?: new (url: string, protocols: string[]) => ClosableSocket & EventTarget }).WebSocket

const CLASSES: Record<string, (chat: Chat) => Promise<ClosableSocket>> = {
  ws: async ({ port, token }) => {
    const socket = new WsWebSocket(`ws://127.0.0.1:${port}/chat`, ['bearer', token])
    await once(socket, 'open')
    return socket
  },
  injectWS: ({ inject }) => inject(),
  // Node.js 20 has none: the other versions, on which this test runs too, do.
  ...BuiltIn !== undefined && {
    'the WebSocket of Node.js': async ({ port, token }) => {
      const socket = new BuiltIn(`ws://127.0.0.1:${port}/chat`, ['bearer', token])
      await once(socket, 'open')
      return socket
    }
  }
}

for (const [name, open] of Object.entries(CLASSES)) {
  t.test(`${name}: it resolves to the close, by reason, by code or by both`, async (t) => {
    const chat = await startChat(t)
    const socket = await open(chat)
    const closed = [expectClose(socket, 'token_revoked'), expectClose(socket, { code: 3000 }), expectClose(socket, { code: 3000, reason: 'token_revoked' }), expectClose(socket)]
    const wrong = t.rejects(expectClose(socket, 'token_expired'), {
      name: 'AssertionError',
      message: "expected the socket to close with 'token_expired', but it closed with 3000 and 'token_revoked'",
      expected: { reason: 'token_expired' },
      actual: { code: 3000, reason: 'token_revoked' }
    })
    await chat.revoke()
    for (const close of closed) t.strictSame(await close, { code: 3000, reason: 'token_revoked' })
    await wrong
    if (socket instanceof WsWebSocket) {
      t.strictSame(await expectClose(socket, 'token_revoked'), { code: 3000, reason: 'token_revoked' }, 'it has closed before')
      t.equal(socket.listenerCount('close'), 0, 'no listener is left')
    } else {
      await t.rejects(expectClose(socket, 'token_revoked'), /it had closed before expectClose\(\) was called/)
    }
  })
}

t.test('the client of this package is expected to close, and keeps how it has ended', async (t) => {
  const chat = await startChat(t)
  const socket = connect(`ws://127.0.0.1:${chat.port}/chat`, {
    token: ({ why }) => why === 'connect' ? chat.token : null,
    retry: { base: 10 },
    create: (url, protocols) => new WsWebSocket(url, protocols) as never
  })
  t.teardown(() => socket.close())
  await socket.opened
  const closed = expectClose(socket, 'token_revoked')
  const isRefused = new Promise<void>((resolve) => socket.subscribe(() => { if (socket.state.status === 'refused') resolve() }))
  await chat.revoke()
  t.strictSame(await closed, { code: 3000, reason: 'token_revoked' })
  await isRefused
  t.match(await expectClose(socket), { reason: 'token_revoked' }, 'no user is logged in any more')
})

t.test('a socket that does not close is an error after the timeout', async (t) => {
  const chat = await startChat(t)
  const socket = await chat.inject()
  await t.rejects(expectClose(socket, 'token_expired', { timeout: 20 }), { message: "expected the socket to close with 'token_expired', but it is still open after 20 ms" })
  await t.rejects(expectClose(socket, {}, { timeout: 20 }), { message: 'expected the socket to close with any code, but it is still open after 20 ms' })
  socket.terminate()
})

t.test('a close without a frame is explained', async (t) => {
  const chat = await startChat(t)
  const socket = await chat.inject()
  const closed = expectClose(socket, { code: 3000, reason: '' })
  socket.terminate()
  await t.rejects(closed, {
    message: 'expected the socket to close with 3000 and no reason, but it closed with 1006 and no reason (no close frame came: the network was lost, the server ended the socket, or the handshake was refused)'
  })
})

t.test('the error shows the line of the test', async (t) => {
  const chat = await startChat(t)
  const socket = await chat.inject()
  const error = await expectClose(socket, 'x', { timeout: 1 }).catch((error: Error) => error) as Error
  t.match(error.stack, /expect-close\.test/)
  socket.terminate()
})

t.test('after the close, and after the app has closed, no timer keeps the process alive', async (t) => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const chat = await startChat(t)
  const [socket, other] = [await chat.inject(), await chat.inject()]
  other.close()
  await Promise.all([expectClose(socket, 'token_revoked'), expectClose(other), chat.revoke()])
  t.equal(timers(), before)
})
