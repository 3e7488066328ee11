/*
 * What a client does before its handshake is answered: it leaves, or it sends frames.
 */
import t from 'tap'
import { start, until } from '../helpers/app'
import { addChat, AUTHORIZED, greeting, heldVerifier, serverSockets, turns } from '../helpers/chat'
import { clientFrame, RawClient } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

t.test('the plugin notices a client that leaves before the answer', async (t) => {
  const waysToLeave: Record<string, (client: RawClient) => void> = {
    FIN: ({ socket }) => { socket.end() },
    RST: ({ socket }) => { socket.resetAndDestroy() }
  }
  for (const [way, leave] of Object.entries(waysToLeave)) {
    for (const settle of ['accepts', 'refuses', 'fails'] as const) {
      t.test(`the plugin notices a client that leaves by ${way}, and runs no further hook or handler if the verifier ${settle}`, async (t) => {
        const { verify, asked, ...held } = heldVerifier()
        const ran: string[] = []
        const { app, port } = await start(t, {
          plugin: { verify, user: () => { ran.push('user'); return {} } },
          routes: (app) => {
            for (const hook of ['preHandler', 'preSerialization', 'onError', 'onSend', 'onResponse'] as const) {
              app.addHook(hook, async () => { ran.push(hook) })
            }
            app.get('/chat', { websocket: true, wsAuth: { authorize: () => { ran.push('authorize'); return true } } }, () => { ran.push('handler') })
          }
        })
        const client = await RawClient.open(t, port)
        client.upgrade({ path: '/chat', headers: AUTHORIZED })
        await until(() => asked.length === 1, 'the verifier is asked')
        leave(client)
        // The sockets of an HTTP server stay half open: after a FIN there is no 'close' unless somebody makes one.
        await until(() => asked[0]?.aborted === true, 'the verifier is told', 1000).catch((error: Error) => t.fail(error.message))
        t.equal(statsOf(app).pending, 0, 'nothing is pending')
        if (settle === 'accepts') held.settle({ sub: 'x' })
        else if (settle === 'refuses') held.settle([])
        else held.reject(new Error('no connection'))
        await turns()
        t.same(ran, [])
        t.equal(statsOf(app).accepted, 0)
      })
    }

    t.test(`the plugin does not ask the verifier for a client that leaves by ${way} during a hook before the handshake`, async (t) => {
      let release = (): void => {}
      const hook = new Promise<void>((resolve) => { release = resolve })
      const ran: string[] = []
      const { app, port } = await start(t, {
        plugin: { verify: () => { ran.push('verify'); return { sub: 'x' } }, rejectWith: 'close' },
        before: (app) => app.addHook('onRequest', async () => { ran.push('onRequest'); await hook }),
        routes: (app) => { app.get('/chat', { websocket: true }, () => { ran.push('handler') }) }
      })
      const sockets = serverSockets(app)
      const client = await RawClient.open(t, port)
      client.upgrade({ path: '/chat', headers: AUTHORIZED })
      await until(() => ran.length === 1, 'the hook runs')
      leave(client)
      await until(() => sockets[0]?.destroyed === true, 'the socket is destroyed', 1000).catch((error: Error) => t.fail(error.message))
      release()
      await turns()
      t.same(ran, ['onRequest'])
      t.equal(statsOf(app).pending, 0)
    })
  }

  t.test('the plugin notices at the deadline a client that leaves behind an early frame', async (t) => {
    const { verify, asked } = heldVerifier()
    const { app, port } = await start(t, { plugin: { verify, handshakeTimeout: 200 }, routes: addChat })
    const sockets = serverSockets(app)
    const client = await RawClient.open(t, port)
    client.upgrade({ path: '/chat', headers: AUTHORIZED, body: clientFrame(1, 'early').toString('latin1') })
    await until(() => asked.length === 1, 'the verifier is asked')
    client.socket.end()
    await until(() => sockets[0]?.destroyed === true, 'the socket is destroyed', 2000)
    t.equal(statsOf(app).pending, 0)
  })
})

t.test('frames sent before the handshake is answered reach the handler', async (t) => {
  const { verify, asked, settle } = heldVerifier()
  const { port } = await start(t, { plugin: { verify }, routes: addChat })
  const client = await RawClient.open(t, port)
  client.upgrade({ path: '/chat', headers: AUTHORIZED, body: clientFrame(1, 'one').toString('latin1') })
  await until(() => asked.length === 1, 'the verifier is asked')
  client.send(clientFrame(1, 'two'))
  settle({ sub: 'x' })
  t.equal((await client.response()).status, 101)
  t.same([await greeting(client), await greeting(client), await greeting(client)], ['hello {} header', 'one', 'two'])
})

t.test('half a megabyte of frames sent before the handshake is answered reaches the handler in order', async (t) => {
  const { verify, asked, settle } = heldVerifier()
  const { app, port } = await start(t, { plugin: { verify }, routes: addChat })
  const sockets = serverSockets(app)
  const client = await RawClient.open(t, port)
  client.upgrade({ path: '/chat', headers: AUTHORIZED })
  await until(() => asked.length === 1, 'the verifier is asked')
  const sent = Array.from({ length: 500 }, (_, i) => `${i}`.padEnd(1000, '.'))
  for (const text of sent) client.send(clientFrame(1, text))
  await until(() => (sockets[0]?.readableLength ?? 0) > 0, 'some of it has arrived')
  settle({ sub: 'x' })
  t.equal((await client.response()).status, 101)
  t.equal(await greeting(client), 'hello {} header')
  const received: string[] = []
  while (received.length < sent.length) received.push(await greeting(client))
  t.same(received, sent)
})
