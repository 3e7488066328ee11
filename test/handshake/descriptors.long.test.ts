/*
 * Whatever a client does with its upgrade, the server gets the socket back: 300 of each attack leave nothing behind
 * while the clients still hold their own ends.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { FastifyInstance, FastifyReply } from 'fastify'
import t from 'tap'
import { sign, start, until, within } from '../helpers/app'
import type { AppSettings } from '../helpers/app'
import { RawClient } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

const COUNT = 300
const TOKEN = sign()
const AUTHORIZED = { authorization: `Bearer ${TOKEN}` }
const never = async (): Promise<never> => await new Promise(() => {})

interface Attack extends AppSettings {
  readonly name: string
  readonly request: RequestSettings
  /** What the clients do when all requests have arrived. */
  readonly act?: (client: RawClient) => void
  /** How long the server may take, in milliseconds. */
  readonly timeout?: number
  /** How many, where it cannot be 300. */
  readonly count?: number
}

const hung: AppSettings = { plugin: { verify: never, handshakeTimeout: 300 } }

const ATTACKS: Attack[] = [
  { name: 'a malformed path', request: { path: '/%zz' } },
  { name: 'a malformed path whose answer nobody reads', request: { path: '/%zz' }, act: (client) => client.socket.pause() },
  { name: 'a param that is too long', request: { path: `/rooms/${'x'.repeat(200)}` } },
  {
    name: 'an answer of frameworkErrors that takes a while',
    request: { path: '/%zz' },
    server: { frameworkErrors: (error, _request, reply) => { setImmediate(() => { (reply as FastifyReply).code(400).send({ message: error.message }) }) } },
    plugin: { handshakeTimeout: 300 }
  },
  { name: 'a verifier that never settles', request: { path: '/chat', headers: AUTHORIZED }, ...hung },
  {
    name: 'a FIN during verification',
    request: { path: '/chat', headers: AUTHORIZED },
    act: (client) => client.socket.end(),
    ...hung
  },
  {
    name: 'a RST during verification',
    request: { path: '/chat', headers: AUTHORIZED },
    act: (client) => client.socket.resetAndDestroy(),
    ...hung
  },
  { name: 'a bad key', request: { path: '/chat', headers: { ...AUTHORIZED, 'sec-websocket-key': 'short' } } },
  { name: 'a bad key on a public route', request: { path: '/public', headers: { 'sec-websocket-key': 'short' } } },
  { name: 'an upgrade of an HTTP route', request: { path: '/http' } },
  {
    name: 'a hook before the handshake that never settles',
    request: { path: '/chat', headers: AUTHORIZED },
    plugin: { handshakeTimeout: 300 },
    before: (app) => app.addHook('onRequest', never)
  },
  {
    name: 'a hook after the handshake that never settles',
    request: { path: '/chat', headers: AUTHORIZED },
    plugin: { handshakeTimeout: 300 },
    before: (app) => app.addHook('preHandler', never)
  },
  {
    name: 'a hook that never lets the refusal go out',
    request: { path: '/chat' },
    plugin: { handshakeTimeout: 300 },
    before: (app) => app.addHook('onSend', never)
  },
  {
    name: 'an error handler that never answers',
    request: { path: '/chat' },
    plugin: { handshakeTimeout: 300 },
    before: (app) => app.setErrorHandler(never)
  },
  {
    name: 'a handler of handleProtocols that throws',
    request: { path: '/chat', headers: { ...AUTHORIZED, 'sec-websocket-protocol': 'chat' } },
    plugin: { handshakeTimeout: 300, websocket: { options: { handleProtocols: () => { throw new Error('thrown by a test') } } } }
  },
  {
    name: 'a hook that hijacks the reply and forgets it',
    request: { path: '/chat', headers: AUTHORIZED },
    plugin: { handshakeTimeout: 300 },
    before: (app) => app.addHook('preHandler', (_request, reply) => { reply.hijack() })
  },
  { name: 'an unknown route', request: { path: '/nowhere' } },
  { name: 'a POST upgrade with a body', request: { method: 'POST', path: '/http', headers: { 'content-length': '5' }, body: 'hello' } },
  {
    name: 'a POST upgrade that promises a body',
    request: { method: 'POST', path: '/http', headers: { 'content-type': 'application/json', 'content-length': '5000' }, body: '{' },
    plugin: { handshakeTimeout: 300 }
  },
  {
    name: 'a POST upgrade with chunks that never end',
    request: { method: 'POST', path: '/http', headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' }, body: '1\r\n{\r\n' },
    plugin: { handshakeTimeout: 300 }
  },
  { name: 'a refused token, the answer not read', request: { path: '/chat' }, act: (client) => client.socket.pause() },
  {
    name: 'a refused token with an answer of 8 MB that nobody reads',
    request: { path: '/chat' },
    plugin: { handshakeTimeout: 300 },
    before: (app) => app.setErrorHandler((_error, _request, reply) => reply.code(401).send('x'.repeat(2 ** 23))),
    act: (client) => client.socket.pause(),
    count: 10
  },
  { name: 'a refused token, the connection not closed', request: { path: '/chat' } },
  {
    name: 'accept-then-close, the close frame not answered',
    request: { path: '/chat' },
    plugin: { rejectWith: 'close' },
    timeout: 8000
  },
  {
    name: 'accept-then-close, then FIN',
    request: { path: '/chat' },
    plugin: { rejectWith: 'close' },
    act: (client) => client.socket.end()
  },
  { name: 'frames behind a request that is refused', request: { path: '/chat', body: '\x81\x80\0\0\0\0' } },
  { name: 'a request behind an upgrade that is refused', request: { path: '/chat', body: 'GET /http HTTP/1.1\r\nhost: localhost\r\n\r\n' } }
]

function addRoutes (app: FastifyInstance): void {
  app.get('/chat', { websocket: true }, () => {})
  app.get('/public', { websocket: true, wsAuth: false }, () => {})
  app.get('/rooms/:room', { websocket: true }, () => {})
  app.route({ method: ['GET', 'POST'], url: '/http', handler: async () => 'http' })
}

/** How many sockets of a server this process holds: its descriptors whose local port is the server's. */
function countServerSockets (port: number): number {
  if (process.platform !== 'linux') return 0
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const lines = readFileSync('/proc/self/net/tcp', 'utf8').split('\n').map((line) => line.trim().split(/\s+/))
  const LISTENING = '0A'
  const inodes = new Set(lines.filter((field) => field[1]?.endsWith(local) && field[3] !== LISTENING).map((field) => `socket:[${field[9]}]`))
  return descriptors().filter((link) => inodes.has(link)).length
}

function descriptors (): string[] {
  return readdirSync('/proc/self/fd').map((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`)
    } catch {
      return ''
    }
  })
}

for (const { name, request, act, timeout = 4000, count = COUNT, ...settings } of ATTACKS) {
  t.test(`${name} leaves no socket behind`, async (t) => {
    const { app, port } = await start(t, { ...settings, routes: addRoutes })
    const open = new Set<object>()
    let upgrades = 0
    app.server.on('connection', (socket) => { open.add(socket); socket.once('close', () => open.delete(socket)) })
    app.server.prependListener('upgrade', () => upgrades++)
    const before = descriptors().length
    const clients = await Promise.all(Array.from({ length: count }, async () => await RawClient.open(t, port)))
    await until(() => open.size === count, 'all clients have connected')

    for (const client of clients) client.upgrade(request)
    await until(() => upgrades === count, 'all requests have arrived')
    if (act !== undefined) clients.forEach(act)
    await until(() => open.size === 0, 'no socket of the server is open', timeout)
    t.equal(countServerSockets(port), 0, 'no descriptor of the server is open')
    t.equal(statsOf(app).pending, 0, 'nothing is pending')
    t.equal(statsOf(app).accepted, 0, 'nothing was accepted')
    for (const { socket } of clients) socket.destroy()
    await until(() => descriptors().length <= before, 'there are as many descriptors as before')
    await within(1000, 'app.close()', app.close())
  })
}
