/*
 * What ws and Node do twice, or too early, they make an error with its stack for, of which nobody hears: it would be a tenth
 * of what a connection costs.
 */
import type { Socket } from 'node:net'
import { Duplex, pipeline, Writable } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import type { WebSocket } from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { createWebSocketStream } from 'ws'
import type fastifyWsAuth from '../../lib/index'
import { sign, start, until } from '../helpers/app'
import { CERTIFICATE, KEY } from '../helpers/certificate'
import { clientFrame, RawClient } from '../helpers/raw-client'

const CLOSE = 8
const NORMAL = Buffer.from([0x03, 0xE8])
/** RFC 6455, 7.1.5: no close frame came. */
const ABNORMAL = 1006

/** The streams that are ended although they have been, or have been destroyed, by the name of their class; not those of clients. */
function watchEnds (t: Test, port: number): string[] {
  const twice: string[] = []
  for (const { prototype } of [Writable, Duplex]) {
    const { end } = prototype
    prototype.end = function (this: Writable & { localPort?: number }, ...args: unknown[]) {
      const isServers = this.localPort === undefined ? this.constructor.name === 'Receiver' : this.localPort === port
      if (isServers && (this.writableEnded || this.destroyed)) twice.push(this.constructor.name)
      return Reflect.apply(end, this, args)
    } as typeof end
    t.teardown(() => { prototype.end = end })
  }
  return twice
}

interface Way {
  readonly plugin?: fastifyWsAuth.WsAuthOptions
  readonly token?: string
  readonly path?: string
  /** What the server does with an open connection. */
  readonly serve?: (app: FastifyInstance) => void
  readonly act: (client: RawClient) => Promise<unknown>
}

const WAYS: Record<string, Way> = {
  'the client closes': {
    act: async (client) => { client.send(clientFrame(CLOSE, NORMAL)); await client.close() }
  },
  'the server closes': {
    serve: (app) => { for (const connection of app.wsAuth.connections) connection.close(4000, 'enough') },
    act: async (client) => { await client.close(); client.send(clientFrame(CLOSE, NORMAL)) }
  },
  'both close at once': {
    serve: (app) => { for (const connection of app.wsAuth.connections) connection.close(4000, 'enough') },
    act: async (client) => { client.send(clientFrame(CLOSE, NORMAL)); await client.close() }
  },
  'the client sends no close frame': { act: async (client) => client.socket.end() },
  'the client sends bytes that are no frame': { act: async (client) => { client.send(clientFrame(3, '')); await client.close() } },
  'the client closes, on a public route': {
    path: '/public', act: async (client) => { client.send(clientFrame(CLOSE, NORMAL)); await client.close() }
  },
  'the handshake is refused with a close frame': {
    plugin: { rejectWith: 'close' },
    token: 'no.to.ken',
    act: async (client) => { await client.close(); client.send(clientFrame(CLOSE, NORMAL)) }
  },
  'the handshake is refused with a close frame, and the client leaves': {
    plugin: { rejectWith: 'close' }, token: 'no.to.ken', act: async (client) => client.socket.end()
  }
}

t.test('no stream is ended twice', async (t) => {
  for (const [what, { plugin = {}, token = sign(), path = '/', serve = () => {}, act }] of Object.entries(WAYS)) {
    t.test(`no stream is ended twice if ${what}`, async (t) => {
      const { app, port } = await start(t, {
        plugin,
        routes: (app) => {
          app.get('/', { websocket: true }, () => {})
          app.get('/public', { websocket: true, wsAuth: false }, () => {})
        }
      })
      let open = 0
      app.server.on('connection', (socket) => { open++; socket.once('close', () => { open-- }) })
      const twice = watchEnds(t, port)
      const client = await RawClient.open(t, port)
      t.equal((await client.upgrade({ path, headers: { authorization: `Bearer ${token}` } }).response()).status, 101)
      serve(app)
      await act(client)
      await client.ended
      client.socket.end()
      await until(() => open === 0, 'the server has forgotten the socket')
      t.strictSame(twice, [])
    })
  }
})

/** Counts how often a server sends its end to a client before it closes the socket. */
function countShutdowns (socket: Socket): () => number {
  const { _handle: handle } = socket as unknown as { _handle: { shutdown: (request: unknown) => number } }
  const { shutdown } = handle
  let count = 0
  handle.shutdown = (request) => {
    count++
    return Reflect.apply(shutdown, handle, [request])
  }
  return () => count
}

t.test('a stream of a websocket finishes if the client leaves without a close frame', async (t) => {
  const ends: unknown[] = []
  const { port } = await start(t, {
    routes: (app) => {
      app.get('/', { websocket: true }, (socket) => {
        const stream = createWebSocketStream(socket as never)
        pipeline(stream, stream, (error) => { ends.push(error?.code) })
      })
    }
  })
  const client = await RawClient.open(t, port)
  t.equal((await client.upgrade({ headers: { authorization: `Bearer ${sign()}` } }).response()).status, 101)
  client.socket.end()
  await client.closed
  await until(() => ends.length === 1, 'the end of the pipeline')
  t.strictSame(ends, [undefined])
})

/** What a server sends that does not fit into the buffers of a connection, and what fits. */
const SENT = { 'more than the kernel takes': 16_777_216, 'a short message': 64 }

for (const [path, what] of [['/', 'an authenticated'], ['/public', 'a public']] as const) {
  for (const [size, length] of Object.entries(SENT)) {
    t.test(`${what} client that leaves without a close frame gets all that was sent: ${size}`, async (t) => {
      const codes: number[] = []
      const ends: unknown[] = []
      const answer = (socket: WebSocket, { raw }: FastifyRequest): void => {
        const shutdowns = countShutdowns(raw.socket)
        socket.on('message', () => { socket.send(Buffer.alloc(length, 'a')) })
        raw.socket.on('close', (hadError) => { ends.push({ hadError, isFinished: raw.socket.writableFinished, shutdowns: shutdowns() }) })
        socket.on('close', (code) => { codes.push(code) })
      }
      const { port } = await start(t, {
        routes: (app) => {
          app.get('/', { websocket: true }, answer)
          app.get('/public', { websocket: true, wsAuth: false }, answer)
        }
      })
      const client = await RawClient.open(t, port)
      await client.upgrade({ path, headers: { authorization: `Bearer ${sign()}` } }).response()
      let received = 0
      client.socket.removeAllListeners('data').on('data', (chunk) => { received += chunk.length })
      client.send(clientFrame(1, 'more')).socket.end()
      await client.closed
      t.equal(client.error, null)
      t.equal(received, length + (length > 65_535 ? 10 : 2), 'the frame, whole')
      await until(() => ends.length + codes.length === 2, 'both ends')
      t.strictSame(ends, [{ hadError: false, isFinished: true, shutdowns: 0 }])
      t.strictSame(codes, [ABNORMAL])
    })
  }
}

t.test('a client that leaves without a close frame is told the end of TLS', async (t) => {
  const ends: number[] = []
  const { port } = await start(t, {
    server: { https: { key: KEY, cert: CERTIFICATE } } as object,
    routes: (app) => {
      app.get('/', { websocket: true }, (_socket, { raw }) => {
        const shutdowns = countShutdowns(raw.socket)
        raw.socket.on('close', () => { ends.push(shutdowns()) })
      })
    }
  })
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
  t.teardown(() => socket.destroy())
  const client = new RawClient(socket)
  t.equal((await client.upgrade({ headers: { authorization: `Bearer ${sign()}` } }).response()).status, 101)
  socket.end()
  await client.closed
  t.equal(client.error, null)
  await until(() => ends.length === 1, 'the end')
  t.strictSame(ends, [1])
})

t.test('the socket of a refusal is not destroyed before the finish event of its answer', async (t) => {
  const seen: boolean[] = []
  const { port } = await start(t, {
    routes: (app) => {
      app.get('/', { websocket: true }, () => {})
      app.addHook('onSend', async ({ raw }, reply) => { reply.raw.once('finish', () => { seen.push(raw.socket.destroyed) }) })
    }
  })
  const client = await RawClient.open(t, port)
  t.equal((await client.upgrade().response()).status, 401)
  await client.ended
  t.strictSame(seen, [false])
})
