/*
 * A first message whose client leaves, or whose connection has an error.
 */
import type { Socket } from 'node:net'
import { plugin as clockPlugin } from '@tapjs/clock'
import tap from 'tap'
import { start, until, within } from '../helpers/app'
import { clientFrame, RawClient } from '../helpers/raw-client'
import { CLOSE, OK, TEXT, VERIFIERS, assertNobody, authFrame, connect, never, soon, startChat, text, turns } from '../helpers/first-message-app'
import type { Verify } from '../helpers/first-message-app'
import { statsOf } from '../helpers/stats'

const t = tap.applyPlugin(clockPlugin)

t.test('errors of a connection reach the app only after authentication', async (t) => {
  const handlers: Record<string, () => unknown> = {
    'thrown by the handler': () => { throw new Error('of the handler') },
    'with which the handler rejects': async () => { await soon(); throw new Error('of the handler') }
  }
  for (const [how, handler] of Object.entries(handlers)) {
    for (const [verifier, verify] of Object.entries(VERIFIERS)) {
      t.test(`errors ${how} reach the error handler, with ${verifier}`, async (t) => {
        const errors: unknown[] = []
        const { app, port } = await start(t, {
          plugin: {
            verify,
            renewal: true,
            token: { message: true },
            websocket: { errorHandler: (error, socket, request) => { errors.push(error.message, request.wsAuth?.sub); socket.close(1011, 'sorry') } }
          },
          routes: (app) => app.get('/chat', { websocket: true }, handler as () => void)
        })
        const client = await connect(t, { app, port })
        client.send(authFrame())
        t.equal(await text(client), OK)
        t.same(await client.close(), { code: 1011, reason: 'sorry' })
        t.same(errors, ['of the handler', 'x'])
      })
    }
  }

  t.test('errors that a connection listener throws reach the error handler', async (t) => {
    for (const verify of Object.values(VERIFIERS)) {
      const errors: string[] = []
      const chat = await startChat(t, {
        plugin: { verify, websocket: { errorHandler: (error, socket) => { errors.push(error.message); socket.terminate() } } }
      })
      chat.app.websocketServer.on('connection', () => { throw new Error('of the listener') })
      const client = await connect(t, chat)
      client.send(authFrame())
      t.equal(await text(client), OK)
      await within(2000, 'the end', client.ended)
      t.same(errors, ['of the listener'])
      t.same(chat.heard, [])
      await until(() => chat.app.wsAuth.connections.size === 0, 'it is gone')
    }
  })

  t.test('errors of an unauthenticated connection do not reach the app', async (t) => {
    const errors: unknown[] = []
    const chat = await startChat(t, { plugin: { verify: never, websocket: { errorHandler: (error) => { errors.push(error) } } } })
    const breakers: Array<(client: RawClient) => unknown> = [
      (client) => client.send(Buffer.from([0xFF, 0xFF, 0xFF])),
      (client) => client.send(Buffer.from([0x81, 0x00])),
      (client) => client.send(clientFrame(TEXT, 'x'.repeat(9000))),
      (client) => client.send(Buffer.concat([authFrame(), Buffer.from([0xFF, 0xFF])])),
      (client) => client.socket.resetAndDestroy(),
      (client) => { client.send(authFrame()); client.socket.resetAndDestroy() }
    ]
    for (const breakIt of breakers) {
      const client = await connect(t, chat)
      breakIt(client)
      await until(() => statsOf(chat.app).pending === 0, 'nothing is waited for')
      client.socket.destroy()
    }
    await turns()
    t.same(errors, [])
    assertNobody(t, chat)
  })

  t.test('errors of an authenticated connection reach the app', async (t) => {
    const errors: Error[] = []
    const chat = await startChat(t, { plugin: { websocket: { errorHandler: (error) => { errors.push(error) } } } })
    const client = await connect(t, chat)
    client.send(Buffer.concat([authFrame(), Buffer.from([0xFF, 0xFF])]))
    t.equal(await text(client), OK)
    t.equal((await client.close()).code, 1002)
    t.equal(errors.length, 1)
  })
})

t.test('a client that leaves holds no pending place', async (t) => {
  const ways: Record<string, (client: RawClient) => unknown> = {
    'with a FIN': (client) => client.socket.end(),
    'with a RST': (client) => client.socket.resetAndDestroy(),
    'with a close frame': (client) => client.send(clientFrame(CLOSE, Buffer.from([3, 232]))),
    'with a close frame and a FIN': (client) => client.socket.end(clientFrame(CLOSE, Buffer.from([3, 232])))
  }
  for (const [way, leave] of Object.entries(ways)) {
    t.test(`a client that leaves ${way} before it has sent anything holds no pending place`, async (t) => {
      const chat = await startChat(t)
      const client = await connect(t, chat)
      leave(client)
      await until(() => statsOf(chat.app).pending === 0, 'nothing is waited for')
      assertNobody(t, chat)
      t.same(statsOf(chat.app).refused, {})
    })
  }

  for (const [way, leave] of Object.entries(ways).slice(0, 2)) {
    t.test(`a client that leaves ${way} during its verification holds no pending place`, async (t) => {
      const signals: AbortSignal[] = []
      let settle: ((claims: object) => void) | undefined
      const chat = await startChat(t, {
        plugin: { verify: async (_token, _request, { signal }) => { signals.push(signal); return await new Promise<object>((resolve) => { settle = resolve }) } }
      })
      const client = await connect(t, chat)
      client.send(authFrame())
      await until(() => signals.length === 1, 'the verifier is asked')
      leave(client)
      await until(() => statsOf(chat.app).pending === 0, 'nothing is waited for')
      t.equal(signals[0]?.aborted, true, 'the verifier is told')
      settle?.({ sub: 'x' })
      await turns()
      assertNobody(t, chat)
      t.same(statsOf(chat.app).refused, {})
    })
  }

  t.test('a client that sends a close frame right behind its first message is closed with 1000 and holds no pending place', async (t) => {
    const chat = await startChat(t, { plugin: { verify: VERIFIERS['a verifier that takes its time'] } })
    const client = await connect(t, chat)
    client.send(Buffer.concat([authFrame(), clientFrame(CLOSE, Buffer.from([3, 232]))]))
    t.same(await client.close(), { code: 1000, reason: '' })
    await soon()
    await until(() => statsOf(chat.app).pending === 0, 'nothing is waited for')
    assertNobody(t, chat)
  })

  t.test('a client whose close frame is read after its verification is accepted and closed', async (t) => {
    let settle: ((claims: object) => void) | undefined
    const chat = await startChat(t, { plugin: { verify: async () => await new Promise<object>((resolve) => { settle = resolve }) } })
    const client = await connect(t, chat)
    client.send(authFrame())
    await until(() => settle !== undefined, 'the verifier is asked')
    client.send(clientFrame(CLOSE, Buffer.from([3, 232])))
    await turns()
    settle?.({ sub: 'x' })
    t.equal(await text(client), OK)
    t.same(await client.close(), { code: 1000, reason: '' })
    t.match(statsOf(chat.app), { connections: 0, pending: 0, accepted: 1, closed: { client: 1 } })
  })

  // Its half of the connection is closed; ours cannot be while it does not read.
  t.test('a client that ends its half and does not read holds no pending place', async (t) => {
    let settle: ((claims: object) => void) | undefined
    const verify: Verify = async () => await new Promise<object>((resolve) => { settle = resolve })
    for (const isVerified of [false, true]) {
      const sockets: Socket[] = []
      const chat = await startChat(t, { plugin: { verify, token: { message: { timeout: isVerified ? 100_000 : 3000 } } } })
      chat.app.server.on('connection', (socket) => sockets.push(socket))
      const client = await connect(t, chat)
      const [socket] = sockets as [Socket]
      client.socket.pause()
      while (socket.writableLength < 2 ** 20) { socket.write(Buffer.alloc(2 ** 20)); await turns(1) }
      if (isVerified) client.send(authFrame())
      if (isVerified) await until(() => settle !== undefined, 'the verifier is asked')
      client.socket.end()
      await until(() => socket.readableEnded, 'its FIN has come')
      t.notOk(socket.destroyed)
      settle?.({ sub: 'x' })
      await until(() => socket.destroyed, 'the socket is gone')
      await turns()
      assertNobody(t, chat)
    }
  })
})
