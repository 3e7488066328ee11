/* Who has gone without a word is noticed, and nobody else is taken for gone. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { sign, start, until } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { eventually, moveClock, turn } from '../helpers/moved-clock'
import type { MovedClock } from '../helpers/moved-clock'
import { clientFrame, upgrade } from '../helpers/raw-client'
import type { RawClient } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const INTERVAL = 10_000
const PING = 0x89
const PONG = 10
const AUTHORIZED = { authorization: `Bearer ${sign()}` }

interface Beating {
  readonly app: FastifyInstance
  readonly port: number
  readonly clock: MovedClock
  readonly sockets: WebSocket[]
  readonly reasons: Array<string | null>
  connect (path?: string): Promise<RawClient>
  /** Time goes by until the next beat, and what is on its way arrives. */
  beat (): Promise<void>
}

async function startBeating (t: Test, heartbeat: fastifyWsAuth.WsAuthOptions['heartbeat'] = { interval: INTERVAL }): Promise<Beating> {
  let clock: MovedClock | null = null
  const sockets: WebSocket[] = []
  const { app, port } = await start(t, {
    plugin: { heartbeat },
    before: () => { clock = moveClock(t) },
    routes: (app) => {
      app.get('/chat', { websocket: true }, (socket) => { sockets.push(socket) })
      app.get('/public', { websocket: true, wsAuth: false }, (socket) => { sockets.push(socket) })
    }
  })
  const moved = clock as unknown as MovedClock
  const reasons: Array<string | null> = []
  onDecision(t, ({ event, reason }) => { if (event === 'closed') reasons.push(reason) })
  return {
    app,
    port,
    clock: moved,
    sockets,
    reasons,
    connect: async (path = '/chat') => {
      const client = await upgrade(t, port, { path, headers: path === '/chat' ? AUTHORIZED : {} })
      t.equal(client.answer.status, 101)
      return client
    },
    beat: async () => {
      await moved.pass(INTERVAL, INTERVAL / 4)
      moved.run()
      await turn(20)
    }
  }
}

/** The server's side of the connection of a socket. */
function rawOf (socket: WebSocket | undefined): Socket {
  return (socket as unknown as { _socket: Socket })._socket
}

/** How often a client was pinged. */
function pings (client: RawClient): number {
  return client.rest.filter((byte) => byte === PING).length
}

t.test('a client that answers nothing is gone within two intervals', async (t) => {
  const { app, clock, connect, beat, sockets, reasons } = await startBeating(t)
  const client = await connect()
  const raw = rawOf(sockets[0])
  await beat()
  await eventually(clock, () => pings(client) === 1, 'it is pinged')
  t.equal(app.wsAuth.connections.size, 1)
  await beat()
  t.same(reasons, ['heartbeat'])
  t.match(statsOf(app), { connections: 0, closed: { heartbeat: 1 } })
  t.ok(raw.destroyed)
  await client.ended
  t.equal(client.rest.length, 2, 'it got one ping and no close frame')
  await beat()
  t.same(statsOf(app).closed, { heartbeat: 1 })
})

t.test('a ws client without autoPong and a client that does not read are gone within two intervals', async (t) => {
  const { app, clock, port, connect, beat, sockets } = await startBeating(t)
  const silent = new WebSocket(`ws://127.0.0.1:${port}/chat`, { headers: AUTHORIZED, autoPong: false })
  t.teardown(() => silent.terminate())
  await once(silent, 'open')
  const pinged: Buffer[] = []
  silent.on('ping', (data) => pinged.push(data))
  const closed = once(silent, 'close')

  const deaf = await connect()
  deaf.socket.pause()
  sockets[1]?.send(Buffer.alloc(2 ** 24))
  const left = await connect()
  left.socket.pause()
  sockets[2]?.send(Buffer.alloc(2 ** 24))
  left.socket.end()
  await eventually(clock, () => rawOf(sockets[2]).readableEnded, 'it has closed its half')
  const raws = sockets.map(rawOf)

  await beat()
  await eventually(clock, () => pinged.length === 1, 'it is pinged')
  await beat()
  t.same(statsOf(app).closed, { heartbeat: 3 })
  t.equal((await closed)[0], 1006)
  t.ok(raws.every(({ destroyed }) => destroyed))
})

t.test('a client that answers stays', async (t) => {
  const { app, clock, port, beat, sockets, reasons } = await startBeating(t)
  const client = new WebSocket(`ws://127.0.0.1:${port}/chat`, { headers: AUTHORIZED })
  t.teardown(() => client.terminate())
  await once(client, 'open')
  let pongs = 0
  sockets[0]?.on('pong', () => { pongs++ })
  for (let i = 1; i <= 10; i++) {
    await beat()
    await eventually(clock, () => pongs === i, 'it has answered')
  }
  t.same(reasons, [])
  t.equal(app.wsAuth.connections.size, 1)
})

t.test('a client that sends any bytes stays, because its pong may be behind a slow upload', async (t) => {
  const { app, clock, connect, beat, sockets, reasons } = await startBeating(t)
  const client = await connect()
  const raw = rawOf(sockets[0])
  // A binary message of 100,000 bytes, of which one comes in an interval.
  const head = Buffer.from([0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0x86, 0xA0, 0, 0, 0, 0])
  const before = raw.bytesRead
  client.send(head)
  await eventually(clock, () => raw.bytesRead === before + head.length, 'it is read')
  for (let i = 0; i < 10; i++) {
    const { bytesRead } = raw
    client.send(Buffer.from([0]))
    await eventually(clock, () => raw.bytesRead === bytesRead + 1, 'it is read')
    await beat()
  }
  t.same(reasons, [])
  t.equal(app.wsAuth.connections.size, 1)
  await beat()
  t.same(reasons, ['heartbeat'], 'until it stops')
})

t.test('a client that the app does not read from stays', async (t) => {
  const { app, connect, beat, sockets, reasons } = await startBeating(t)
  const client = await connect()
  sockets[0]?.pause()
  for (let i = 0; i < 5; i++) {
    await beat()
    client.send(clientFrame(PONG, ''))
  }
  t.same(reasons, [])
  t.equal(app.wsAuth.connections.size, 1)
  sockets[0]?.resume()
  await beat()
  t.same(reasons, [], 'and has its time when it is read again')
  await beat()
  await beat()
  t.same(reasons, ['heartbeat'])
})

// What it has sent is read in the turn after that in which it is resumed.
t.test('a client that the app reads from again just before the beat stays', async (t) => {
  const { clock, connect, beat, sockets, reasons } = await startBeating(t)
  const client = await connect()
  sockets[0]?.pause()
  await beat()
  await beat()
  await eventually(clock, () => pings(client) === 2, 'it is pinged')
  client.send(clientFrame(PONG, ''))
  sockets[0]?.resume()
  clock.advance(INTERVAL, INTERVAL)
  clock.run()
  t.same(reasons, [])
  await turn(20)
  for (let i = 0; i < 5; i++) {
    client.send(clientFrame(PONG, ''))
    await turn(20)
    await beat()
  }
  t.same(reasons, [])
})

// The interval is due again before what came meanwhile is read.
t.test('a loop that is blocked for longer than the interval ends no connection of a client that answers', async (t) => {
  const COUNT = 20
  const interval = 1000
  const { app, port } = await start(t, { plugin: { heartbeat: { interval } }, routes: (app) => { app.get('/chat', { websocket: true }, () => {}) } })
  const clients: RawClient[] = []
  const answerAll = (): void => { for (const client of clients) client.send(clientFrame(PONG, '')) }
  for (let i = 0; i < COUNT; i++) {
    clients.push(await upgrade(t, port, { path: '/chat', headers: AUTHORIZED }))
    // The first ones are pinged while the last ones are opened.
    answerAll()
  }
  for (let round = 0; round < 4; round++) {
    const before = pings(clients[COUNT - 1] as RawClient)
    // It answers at once: what it sends is with the kernel when the loop is blocked.
    await new Promise<void>((resolve) => {
      const { socket, ended } = clients[COUNT - 1] as RawClient
      void ended.then(resolve)
      socket.on('data', function onData () {
        if (pings(clients[COUNT - 1] as RawClient) === before) return
        socket.removeListener('data', onData)
        answerAll()
        const end = Date.now() + 2 * interval + 50
        while (Date.now() < end) { /* busy */ }
        resolve()
      })
    })
    await turn(5)
    answerAll()
  }
  t.same(statsOf(app).closed, {})
  t.equal(app.wsAuth.connections.size, COUNT)
  await until(() => app.wsAuth.connections.size === 0, 'they are gone when they answer no more')
  t.same(statsOf(app).closed, { heartbeat: COUNT })
})

t.test('a client without a heartbeat is not pinged', async (t) => {
  t.test('a client of a public route is not pinged', async (t) => {
    const { clock, connect, beat, app } = await startBeating(t)
    const client = await connect('/public')
    const guarded = await connect()
    for (let i = 0; i < 3; i++) await beat()
    await eventually(clock, () => guarded.isEnded, 'the other is gone')
    t.equal(client.rest.length, 0)
    t.notOk(client.isEnded)
    t.same(statsOf(app).closed, { heartbeat: 1 })
  })

  t.test('no client is pinged by default', async (t) => {
    const { connect, clock, beat, app } = await startBeating(t, false)
    const client = await connect()
    for (let i = 0; i < 100; i++) await clock.pass(INTERVAL, INTERVAL)
    await beat()
    t.equal(client.rest.length, 0)
    t.equal(app.wsAuth.connections.size, 1)
  })

  t.test('no client is pinged after app.close()', async (t) => {
    const { connect, clock, app, reasons } = await startBeating(t)
    const clients = [await connect(), await connect()]
    const closed = app.close()
    for (const client of clients) t.equal((await client.close()).code, 1001)
    clock.advance(INTERVAL)
    await turn(10)
    for (const client of clients) {
      t.equal(client.rest.length, 0)
      client.socket.end()
    }
    await eventually(clock, () => clients.every(({ socket }) => socket.destroyed), 'they have gone')
    await closed
    t.same(reasons, ['shutdown', 'shutdown'])
    t.same(clock.timers.filter(({ reffed }) => reffed), [])
  })
})

t.test('a socket of injectWS stays, although its reads cannot be counted', async (t) => {
  const { app, beat, reasons } = await startBeating(t)
  const client = await app.injectWS('/chat', { headers: AUTHORIZED })
  let count = 0
  client.on('ping', () => { count++ })
  for (let i = 0; i < 4; i++) await beat()
  t.equal(count, 4)
  t.same(reasons, [])
  client.terminate()
})

t.test('more connections than one slice are all pinged, and only the silent ones end', async (t) => {
  const { app, clock, connect, beat, reasons } = await startBeating(t)
  const clients: RawClient[] = []
  for (let i = 0; i < 1100; i++) clients.push(await connect())
  for (const [i, client] of clients.entries()) if (i % 2 === 0) client.socket.on('data', () => client.send(clientFrame(PONG, '')))
  for (let i = 1; i <= 4; i++) {
    await beat()
    await eventually(clock, () => clients.every((client, j) => (j % 2 === 0 ? pings(client) === i : client.isEnded || pings(client) > 0)), 'all are pinged')
    await turn(50)
  }
  t.equal(app.wsAuth.connections.size, 550)
  t.equal(reasons.length, 550)
  t.same(statsOf(app).closed, { heartbeat: 550 })
})
