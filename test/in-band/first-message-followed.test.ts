/*
 * What a client sends behind its first message.
 */
import type { Socket } from 'node:net'
import { plugin as clockPlugin } from '@tapjs/clock'
import tap from 'tap'
import { WebSocket } from 'ws'
import { start, until } from '../helpers/app'
import { clientFrame, RawClient } from '../helpers/raw-client'
import { BINARY, OK, TEXT, VERIFIERS, assertNobody, authFrame, connect, never, soon, startChat, text, turns } from '../helpers/first-message-app'
import { statsOf } from '../helpers/stats'

const t = tap.applyPlugin(clockPlugin)

t.test('messages behind the first reach the handler once and in order', async (t) => {
  type Listen = (socket: WebSocket, hear: (data: unknown) => void) => unknown
  const handlers: Record<string, Listen> = {
    'that listens': (socket, hear) => { socket.on('message', hear) },
    'that listens to the first by itself': (socket, hear) => {
      socket.once('message', (data) => { hear(data); socket.on('message', hear) })
    },
    'that sets onmessage': (socket, hear) => { socket.onmessage = ({ data }) => hear(data) },
    'that pauses until it is ready': async (socket, hear) => {
      socket.pause()
      await soon()
      socket.on('message', hear)
      socket.resume()
    },
    'that pauses and resumes at once': async (socket, hear) => {
      socket.pause()
      await Promise.resolve()
      socket.resume()
      socket.on('message', hear)
    },
    'that changes its mind': async (socket, hear) => {
      socket.pause()
      socket.resume()
      socket.pause()
      await soon()
      socket.resume()
      socket.pause()
      await soon()
      socket.on('message', hear)
      socket.resume()
      socket.resume()
    },
    'that pauses after each': (socket, hear) => {
      socket.on('message', (data) => {
        hear(data)
        socket.pause()
        setImmediate(() => socket.resume())
      })
    }
  }
  const ways: Record<string, (client: RawClient, frames: Buffer[]) => unknown> = {
    'in one chunk': (client, frames) => client.send(Buffer.concat(frames)),
    'in many': async (client, frames) => {
      for (const frame of frames) {
        client.send(frame.subarray(0, 3))
        await turns(2)
        client.send(frame.subarray(3))
        await turns(2)
      }
    }
  }
  for (const [how, verify] of Object.entries(VERIFIERS)) {
    for (const [which, listen] of Object.entries(handlers)) {
      for (const [way, send] of Object.entries(ways)) {
        t.test(`messages behind the first reach the handler once ${way}, with ${how} and a handler ${which}`, async (t) => {
          const heard: string[] = []
          const { app, port } = await start(t, {
            plugin: { verify, renewal: true, token: { message: true } },
            routes: (app) => app.get('/chat', { websocket: true }, (socket) => listen(socket, (data) => heard.push(String(data))) as undefined)
          })
          const client = await connect(t, { app, port })
          const sent = Array.from({ length: way === 'in many' ? 20 : 1000 }, (_, i) => `message ${i}`)
          await send(client, [authFrame(), ...sent.map((text) => clientFrame(TEXT, text))])
          t.equal(await text(client), OK)
          // A last one, for which nobody waits behind the first.
          client.send(clientFrame(TEXT, 'last'))
          await until(() => heard.includes('last'), 'the last message')
          t.same(heard, [...sent, 'last'])
        })
      }
    }
  }

  t.test('messages in one chunk with the handshake reach the handler', async (t) => {
    const chat = await startChat(t)
    const client = await RawClient.open(t, chat.port)
    client.send(Buffer.concat([
      Buffer.from('GET /chat HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'),
      authFrame(), clientFrame(TEXT, 'one'), clientFrame(TEXT, 'two')
    ]))
    t.equal((await client.response()).status, 101)
    t.equal(await text(client), OK)
    await until(() => chat.heard.length === 3, 'all messages')
    t.same(chat.heard, ['handler', 'one', 'two'])
  })

  t.test('binary and empty messages behind the first reach the handler', async (t) => {
    const kinds: Array<[string, boolean]> = []
    const { app, port } = await start(t, {
      plugin: { verify: VERIFIERS['a verifier that takes its time'], renewal: true, token: { message: true } },
      routes: (app) => app.get('/chat', { websocket: true }, (socket) => {
        socket.on('message', (data, isBinary) => kinds.push([String(data), isBinary]))
      })
    })
    const client = await connect(t, { app, port })
    client.send(Buffer.concat([authFrame(), clientFrame(BINARY, 'bytes'), clientFrame(TEXT, ''), clientFrame(TEXT, 'text')]))
    await until(() => kinds.length === 3, 'all messages')
    t.same(kinds, [['bytes', true], ['', false], ['text', false]])
  })

  t.test('messages behind the first do not reach a handler that has closed', async (t) => {
    const heard: string[] = []
    const { app, port } = await start(t, {
      plugin: { verify: VERIFIERS['a verifier that takes its time'], renewal: true, token: { message: true } },
      routes: (app) => app.get('/chat', { websocket: true }, (socket) => {
        socket.on('message', (data) => { heard.push(String(data)); socket.close(4000) })
      })
    })
    const client = await connect(t, { app, port })
    client.send(Buffer.concat([authFrame(), clientFrame(TEXT, 'one'), clientFrame(TEXT, 'two')]))
    t.equal(await text(client), OK)
    t.equal((await client.close()).code, 4000)
    t.same(heard, ['one'])
  })

  t.test('an auth frame behind the first message is a renewal', async (t) => {
    for (const verify of [undefined, ...Object.values(VERIFIERS)]) {
      const chat = await startChat(t, { plugin: verify === undefined ? {} : { verify } })
      const client = await connect(t, chat)
      client.send(Buffer.concat([authFrame(), authFrame(), clientFrame(TEXT, 'one')]))
      t.equal(await text(client), OK)
      t.equal(await text(client), OK)
      await until(() => chat.heard.length === 2, 'the message')
      t.same(chat.heard, ['handler', 'one'])
      t.match(statsOf(chat.app), { accepted: 1, renewed: 1 })
    }
  })

  t.test('an auth frame behind the first message is a message of the app with renewal: false', async (t) => {
    for (const verify of Object.values(VERIFIERS)) {
      const chat = await startChat(t, { plugin: { verify, renewal: false } })
      const client = await connect(t, chat)
      client.send(Buffer.concat([authFrame('first'), authFrame('second')]))
      t.equal(await text(client), OK)
      await until(() => chat.heard.length === 2, 'the second')
      t.equal(chat.heard[1], '{"type":"auth","token":"second"}')
    }
  })
})

t.test('pings behind the first message reach a handler that has paused', async (t) => {
  const seen: string[] = []
  const { app, port } = await start(t, {
    plugin: { renewal: true, token: { message: true } },
    routes: (app) => app.get('/chat', { websocket: true }, (socket) => {
      socket.pause()
      socket.on('ping', (data) => seen.push(`ping ${String(data)}`))
      socket.on('message', (data) => seen.push(String(data)))
      setImmediate(() => socket.resume())
    })
  })
  const client = await connect(t, { app, port })
  client.send(Buffer.concat([authFrame(), clientFrame(TEXT, 'one'), clientFrame(9, 'two'), clientFrame(TEXT, 'three')]))
  await until(() => seen.length === 3, 'all of them')
  t.same(seen, ['ping two', 'one', 'three'])
})

t.test('errors behind the first message reach the error handler, also while the handler has paused', async (t) => {
  const errors: string[] = []
  const { app, port } = await start(t, {
    plugin: { renewal: true, token: { message: true }, websocket: { errorHandler: (error, socket) => { errors.push(error.message); socket.terminate() } } },
    routes: (app) => app.get('/chat', { websocket: true }, (socket) => { socket.pause() })
  })
  const client = await connect(t, { app, port })
  client.send(Buffer.concat([authFrame(), clientFrame(TEXT, 'one'), Buffer.from([0x81, 0x01, 0x61])]))
  await until(() => errors.length === 1, 'the error')
  t.same(errors, ['Invalid WebSocket frame: MASK must be set'])
  await until(() => app.wsAuth.connections.size === 0, 'it has gone')
  t.same(statsOf(app).closed, { error: 1 })
})

t.test('messages behind the first keep the binaryType that the app sets', async (t) => {
  class Fragments extends WebSocket {
    constructor (address: null, protocols?: undefined, options?: object) {
      super(address as never, protocols, options)
      this.binaryType = 'fragments'
    }
  }
  const seen: unknown[] = []
  const { app, port } = await start(t, {
    plugin: { verify: VERIFIERS['a verifier that takes its time'], renewal: true, token: { message: true }, websocket: { options: { WebSocket: Fragments as never } } },
    routes: (app) => app.get('/chat', { websocket: true }, (socket) => { socket.on('message', (data) => seen.push(data)) })
  })
  const client = await connect(t, { app, port })
  client.send(Buffer.concat([authFrame(), clientFrame(2, 'one')]))
  await until(() => seen.length === 1, 'the message')
  t.same(seen, [[Buffer.from('one')]])
})

t.test('the plugin bounds a flood behind the first message', async (t) => {
  t.test('the plugin refuses a flood of messages behind the first', async (t) => {
    const chat = await startChat(t, { plugin: { verify: never } })
    const client = await connect(t, chat)
    client.send(Buffer.concat([authFrame(), ...Array.from({ length: 5000 }, () => clientFrame(TEXT, ''))]))
    t.same(await client.close(), { code: 4429, reason: 'connection_limit' })
    assertNobody(t, chat)
  })

  t.test('the server stops reading a flood of bytes behind the first message', async (t) => {
    const sockets: Socket[] = []
    const chat = await startChat(t, { plugin: { verify: never } })
    chat.app.server.on('connection', (socket) => sockets.push(socket))
    const client = await connect(t, chat)
    client.send(authFrame())
    for (let i = 0; i < 1000; i++) client.send(clientFrame(TEXT, 'x'.repeat(60_000)))
    await turns(500)
    t.equal(statsOf(chat.app).pending, 1)
    t.ok((sockets[0]?.bytesRead ?? Infinity) < 1024 * 1024, `${sockets[0]?.bytesRead} bytes were read`)
  })
})
