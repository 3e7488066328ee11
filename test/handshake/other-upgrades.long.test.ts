/*
 * Requests that ask for an upgrade to anything but a WebSocket, as curl --http2 and Java's HttpClient do by default: such an
 * Upgrade is ignored (RFC 9110, 7.8), and the request answered as it would be without.
 */
import { execFile, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect } from 'node:tls'
import { promisify } from 'node:util'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type fastifyWsAuth from '../../lib/index'
import { sign, start, until, within } from '../helpers/app'
import { seconds } from '../helpers/keys'
import { PROTOCOLS } from '../helpers/protocols'
import type { Protocol } from '../helpers/protocols'
import { plainText, RawClient, requestText } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'
import { uncaughtErrors } from '../helpers/uncaught'
import { statsOf } from '../helpers/stats'

t.jobs = 4

/** Decides in Node 22.23, 24.9 and later which requests are upgrades; without it, all are that have an Upgrade. */
type ShouldUpgrade = (request: { headers: Record<string, unknown> }) => boolean
type Deciding = { shouldUpgradeCallback?: ShouldUpgrade }
const CAN_DECIDE = 'shouldUpgradeCallback' in createServer()

const token = sign({ sub: 'ann' })
const bearer = { authorization: `Bearer ${token}` }
const json = { 'content-type': 'application/json' }
const H2C = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQCAAAAAAIAAAAA' }
const EVENT = 'http://schemas.openid.net/event/backchannel-logout'
const noop = (): void => {}

const plugin = { tickets: true, backChannelLogout: { path: '/logout', issuer: 'https://issuer.example', audience: 'client' } }

function routes (app: FastifyInstance): void {
  app.get('/plain', async () => 'plain')
  app.get('/stream', async (_request, reply) => await reply.header('content-type', 'text/plain').send('x'.repeat(200_000)))
  app.post('/login', { bodyLimit: 300_000 }, async ({ body }) => ({ is: typeof body, length: JSON.stringify(body ?? null).length }))
  app.put('/login', async ({ body }) => body)
  app.delete('/login', async () => 'deleted')
  app.get('/ws', { websocket: true }, noop)
  app.get('/public', { websocket: true, wsAuth: false }, noop)
  app.get('/first', { websocket: true, wsAuth: { renewal: true, token: { message: true } } }, noop)
  app.route({ method: 'GET', url: '/both', handler: async () => 'page', wsHandler: noop })
}

function withBody (settings: RequestSettings & { body: string }): RequestSettings {
  return { method: 'POST', path: '/login', ...settings, headers: { ...json, 'content-length': String(settings.body.length), ...settings.headers } }
}

function logoutBody (): string {
  const claims = { iss: 'https://issuer.example', aud: 'client', iat: seconds(), exp: seconds(60), sub: 'bob', events: { [EVENT]: {} } }
  return `logout_token=${sign({ ...claims, jti: String(Math.random()) })}`
}

const REQUESTS: Array<[what: string, settings: () => RequestSettings, status: number]> = [
  ['GET', () => ({ path: '/plain' }), 200],
  ['GET of a long answer', () => ({ path: '/stream' }), 200],
  ['GET of a page beside a websocket', () => ({ path: '/both' }), 200],
  ['GET of no route', () => ({ path: '/nowhere' }), 404],
  ['GET of a malformed path', () => ({ path: '/%zz' }), 400],
  ['HEAD', () => ({ method: 'HEAD', path: '/plain' }), 200],
  ['DELETE', () => ({ method: 'DELETE', path: '/login' }), 200],
  ['OPTIONS', () => ({ method: 'OPTIONS', path: '/plain' }), 404],
  ['POST', () => withBody({ body: '{"user":"ann"}' }), 200],
  ['POST of a long body', () => withBody({ body: JSON.stringify('x'.repeat(200_000)) }), 200],
  ['POST of a body that is too long', () => withBody({ body: JSON.stringify('x'.repeat(400_000)) }), 413],
  ['POST of a malformed body', () => withBody({ body: '{' }), 400],
  ['POST of another type', () => withBody({ body: 'a', headers: { 'content-type': 'application/x-unknown' } }), 415],
  ['POST without a body', () => ({ method: 'POST', path: '/login', headers: { 'content-length': '0' } }), 200],
  ['PUT', () => withBody({ method: 'PUT', body: '{"user":"ann"}' }), 200],
  ['GET of a websocket route', () => ({ path: '/ws', headers: bearer }), 426],
  ['GET of a websocket route by cookie', () => ({ path: '/ws', headers: { cookie: `token=${token}` } }), 426],
  ['GET of a websocket route by query', () => ({ path: `/ws?token=${token}` }), 426],
  ['GET of a websocket route without a token', () => ({ path: '/ws' }), 401],
  ['GET of a public websocket route', () => ({ path: '/public' }), 426],
  ['GET of a websocket route for first messages', () => ({ path: '/first' }), 426],
  ['POST of a websocket route', () => withBody({ path: '/ws', body: '{}' }), 404],
  ['POST for a ticket', () => ({ method: 'POST', path: '/ws-ticket', headers: { ...bearer, 'content-length': '0' } }), 200],
  ['POST for a ticket with a body', () => withBody({ path: '/ws-ticket', headers: bearer, body: '{"path":"/ws"}' }), 200],
  ['POST for a ticket without a token', () => ({ method: 'POST', path: '/ws-ticket', headers: { 'content-length': '0' } }), 401],
  ['POST of a logout token', () => withBody({ path: '/logout', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: logoutBody() }), 200]
]

const UPGRADES: Array<[what: string, headers: Record<string, string>]> = [
  ['h2c', H2C],
  ['h2c in upper case, with the headers of a handshake', { connection: 'upgrade', upgrade: 'H2C', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13' }],
  ['TLS/1.2', { connection: 'Upgrade', upgrade: 'TLS/1.2' }],
  ['a list', { connection: 'keep-alive, Upgrade', upgrade: 'h2c, TLS/1.0, IRC/6.9' }],
  ['a longer name', { connection: 'Upgrade', upgrade: 'websocket2' }]
]

async function open (t: Test, { scheme }: Protocol, port: number): Promise<RawClient> {
  if (scheme === 'http') return await RawClient.open(t, port)
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] })
  t.teardown(() => socket.destroy())
  const client = new RawClient(socket)
  await new Promise<void>((resolve, reject) => { socket.once('secureConnect', resolve).once('error', reject) })
  return client
}

function bodyOf (body: string): string {
  return body.replace(/"ticket":"[^"]+"/, '"ticket":"one"')
}

for (const protocol of PROTOCOLS.filter(({ isHttp2 }) => !isHttp2)) {
  void t.test(`the server handles upgrades to other protocols over ${protocol.name}`, { buffered: true }, async (t) => {
    for (const [upgrade, headers] of UPGRADES) {
      t.test(`the server ignores Upgrade: ${upgrade}`, async (t) => {
        const { app, port } = await start(t, { server: protocol.server, plugin, routes })
        for (const [what, make, status] of REQUESTS) {
          const settings = make()
          const hasBody = settings.method !== 'HEAD'
          const plain = await (await open(t, protocol, port)).send(plainText(make())).response(hasBody)
          const client = await open(t, protocol, port)
          const answer = await client.send(plainText({ ...settings, headers: { ...settings.headers, ...headers } })).response(hasBody)
          t.equal(answer.status, status, what)
          // The word of the protocol may be told to who had none.
          if (status !== 426) t.equal(bodyOf(answer.body), bodyOf(plain.body), `${what}: the body`)
          t.equal(plain.status, status, `${what}: as without`)
          client.socket.destroy()
        }
        await until(() => statsOf(app).pending === 0, 'nothing that waits')
        const { WS_AUTH_ROUTE_NOT_WEBSOCKET: notWebsocket = 0, WS_AUTH_HANDSHAKE_INVALID: invalid = 0 } = statsOf(app).refused
        t.strictSame({ notWebsocket, invalid }, { notWebsocket: 0, invalid: 0 }, 'none is counted as a handshake')
      })
    }

    t.test('the server answers the next request on the connection, or ends the connection', async (t) => {
      const { port } = await start(t, { server: protocol.server, plugin, routes })
      for (const [what, make, status] of REQUESTS.filter(([, , status]) => status < 400)) {
        const settings = make()
        const client = await open(t, protocol, port)
        t.equal((await client.send(plainText({ ...settings, headers: { ...settings.headers, ...H2C } })).response(settings.method !== 'HEAD')).status, status, what)
        const next = client.send(plainText({ path: '/plain' })).response().then(({ status }) => status, () => 'ended')
        const outcome = await within(6000, what, next)
        if (CAN_DECIDE) t.equal(outcome, 200, `${what}, then GET`)
        else t.ok(outcome === 200 || outcome === 'ended', `${what}, then GET: ${outcome}`)
      }
    })

    t.test('the server reads a body that comes later, in pieces or in chunks', async (t) => {
      const { app, port } = await start(t, { server: protocol.server, plugin, routes })
      const body = JSON.stringify('x'.repeat(5000))
      const inPieces = await open(t, protocol, port)
      inPieces.send(plainText({ ...withBody({ body }), body: '', headers: { ...json, ...H2C, 'content-length': String(body.length) } }))
      for (let i = 0; i < body.length; i += 1000) {
        inPieces.send(body.slice(i, i + 1000))
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      t.match(await inPieces.response(), { status: 200, body: JSON.stringify({ is: 'string', length: body.length }) })

      const inChunks = await open(t, protocol, port)
      inChunks.send(plainText({ method: 'POST', path: '/login', headers: { ...json, ...H2C, 'transfer-encoding': 'chunked' }, body: 'e\r\n{"user":"ann"}\r\n0\r\n\r\n' }))
      const status = await within(6000, 'an answer to chunks, or the end', inChunks.response().then(({ status }) => status, () => 'ended'))
      if (CAN_DECIDE) t.equal(status, 200)
      else t.ok(status === 'ended' || status === 200 || (Number(status) >= 400 && Number(status) <= 501), String(status))
      await until(() => statsOf(app).pending === 0, 'nothing that waits')
    })

    for (const reading of ['slowly', 'late'] as const) {
      t.test(`a body of 300 kB that comes in pieces and is read ${reading} arrives whole`, async (t) => {
        let release = (): void => {}
        const released = new Promise<void>((resolve) => { release = resolve })
        let isReached = false
        const { app, port } = await start(t, {
          server: protocol.server,
          routes: (app) => {
            app.addContentTypeParser('application/octet-stream', (_request, payload, done) => { done(null, payload) })
            app.post('/slow', async ({ body }) => {
              isReached = true
              if (reading === 'late') await released
              const hash = createHash('sha256')
              let length = 0
              for await (const chunk of body as AsyncIterable<Buffer>) {
                hash.update(chunk)
                length += chunk.length
                if (reading === 'slowly') await new Promise((resolve) => setTimeout(resolve, 2))
              }
              return { length, hash: hash.digest('hex') }
            })
          }
        })
        const body = randomBytes(300_000)
        const client = await open(t, protocol, port)
        client.send(plainText({ method: 'POST', path: '/slow', headers: { 'content-type': 'application/octet-stream', ...H2C, 'content-length': String(body.length) } }))
        for (let i = 0; i < body.length; i += 7001) {
          client.send(body.subarray(i, i + 7001))
          await new Promise((resolve) => setImmediate(resolve))
        }
        await until(() => isReached, 'the route')
        release()
        const { status, body: answer } = await client.response()
        t.equal(status, 200)
        t.strictSame(JSON.parse(answer), { length: body.length, hash: createHash('sha256').update(body).digest('hex') })
        t.equal(statsOf(app).pending, 0)
      })
    }

    t.test('a client that leaves before its body is complete holds no place', async (t) => {
      const { app, port } = await start(t, { server: protocol.server, plugin, routes })
      for (const path of ['/login', '/ws-ticket', '/logout', '/ws', '/nowhere']) {
        const client = await open(t, protocol, port)
        client.send(plainText({ method: 'POST', path, headers: { ...json, ...bearer, ...H2C, 'content-length': '100' }, body: '{"a":' }))
        await new Promise((resolve) => setTimeout(resolve, 50))
        client.socket.destroy()
        await until(() => statsOf(app).pending === 0, path, 6000)
      }
      t.equal((await (await open(t, protocol, port)).send(plainText({ path: '/plain' })).response()).status, 200)
    })

    t.test('an Upgrade list with websocket in it gets an answer, upgrades to websocket only and holds no place', async (t) => {
      const { app, port } = await start(t, { server: protocol.server, plugin, routes })
      for (const upgrade of ['websocket, h2c', 'h2c, websocket', 'websocket,', 'websocket/13', ['websocket', 'h2c']]) {
        for (const [path, statuses] of [['/plain', [200, 400, 404]], ['/ws', [101, 400, 426]], ['/public', [101, 400, 426]]] as const) {
          const client = await open(t, protocol, port)
          const { status, headers } = await client.send(requestText({ path, headers: { ...bearer, upgrade } })).response()
          t.ok(statuses.some((one) => one === status), `${String(upgrade)} of ${path}: ${status}`)
          if (status === 101) t.equal(headers.upgrade?.toLowerCase(), 'websocket')
          await until(() => statsOf(app).pending === 0, String(upgrade), 6000)
          client.socket.destroy()
        }
      }
    })

    t.test('the server still accepts an upgrade to a WebSocket', async (t) => {
      const { port } = await start(t, { server: protocol.server, plugin, routes })
      for (const [headers, path, status] of [
        [bearer, '/ws', 101], [{}, '/ws', 401], [{ ...bearer, upgrade: 'WebSocket' }, '/ws', 101], [bearer, '/plain', 404], [{}, '/public', 101], [{}, '/nowhere', 404]
      ] as const) {
        const client = await open(t, protocol, port)
        t.equal((await client.send(requestText({ path, headers })).response()).status, status, `${path} ${JSON.stringify(headers)}`)
      }
    })
  })
}

const hasCurl = spawnSync('curl', ['--version'], { encoding: 'utf8' }).stdout?.includes('HTTP2') === true

void t.test('curl --http2 gets the same answers as a plain HTTP/1.1 client', { buffered: true, skip: hasCurl ? false : 'no curl that speaks HTTP/2' }, async (t) => {
  const { port } = await start(t, { plugin, routes })
  const curl = async (path: string, ...args: string[]): Promise<string> =>
    (await promisify(execFile)('curl', ['--http2', '--silent', '--noproxy', '*', '--max-time', '5', '--write-out', ' %{http_code}', ...args, `http://127.0.0.1:${port}${path}`])).stdout
  const authorization = ['--header', `Authorization: Bearer ${token}`]
  t.equal(await curl('/plain'), 'plain 200')
  t.equal(await curl('/login', '--json', '{"user":"ann"}'), '{"is":"object","length":14} 200')
  t.match(await curl('/ws', ...authorization), / 426$/)
  t.match(await curl('/ws'), / 401$/)
  t.match(await curl('/ws-ticket', '--request', 'POST', ...authorization), /"expiresIn":30000\} 200$/)
})

void t.test('the plugin keeps shouldUpgradeCallback of a server in use, and app.close() restores it', { buffered: true }, async (t) => {
  const asked: unknown[] = []
  const own: ShouldUpgrade = ({ headers }) => { asked.push(headers.upgrade); return true }
  const server = createServer() as Server & Deciding
  const untouched = server.shouldUpgradeCallback
  for (const [what, decides] of [['its own', untouched], ['the app\'s', own]] as const) {
    server.removeAllListeners('request')
    server.shouldUpgradeCallback = decides
    const { app, port } = await start(t, { server: { serverFactory: (handler) => server.on('request', handler) }, plugin, routes })
    for (const [headers, status] of [[H2C, 200], [{ connection: 'Upgrade', upgrade: 'TLS/1.2' }, 200]] as const) {
      const client = await RawClient.open(t, port)
      t.equal((await client.send(plainText({ path: '/plain', headers })).response()).status, status)
      client.socket.destroy()
    }
    const client = await RawClient.open(t, port)
    t.equal((await client.upgrade({ path: '/ws', headers: bearer }).response()).status, 101)
    client.socket.destroy()
    await app.close()
    t.equal(server.shouldUpgradeCallback, decides, `${what} is back`)
    t.equal(server.listenerCount('upgrade'), 0)
  }
  if (CAN_DECIDE) t.ok(asked.includes('websocket'), 'the one of the app was asked about a WebSocket')
  else t.strictSame(asked, [], 'this Node asks none')
})

void t.test('an upgrade that the plugin leaves to other listeners ends or stays whole', { buffered: true }, async (t) => {
  const other = plainText({ path: '/ws', headers: { connection: 'Upgrade', upgrade: 'other' } })
  const listenBeside = async (t: Test, listener: (socket: Duplex) => void, options: fastifyWsAuth.WsAuthOptions): Promise<{ app: FastifyInstance, client: RawClient }> => {
    const { app, port } = await start(t, { plugin: options, routes })
    const seen = new Promise<void>((resolve) => {
      app.server.on('upgrade', (_request, socket) => { listener(socket); resolve() })
    })
    const client = await RawClient.open(t, port)
    client.send(other)
    await seen
    return { app, client }
  }

  t.test('the deadline ends an upgrade that other listeners only look at', async (t) => {
    const { client } = await listenBeside(t, noop, { handshakeTimeout: 200 })
    await within(5000, 'the end', client.ended)
    t.equal(client.text, '')
  })
  t.test('app.close() ends an upgrade that other listeners only look at', async (t) => {
    const late: RawClient[] = []
    const { app, client } = await listenBeside(t, noop, {
      websocket: {
        preClose: (done) => {
          const { port } = app.server.address() as AddressInfo
          void RawClient.open(t, port).then(async (client) => {
            late.push(client)
            await client.send(other).ended
          }).finally(done)
        }
      }
    })
    await within(1500, 'app.close()', app.close())
    await within(5000, 'the end', client.ended)
    t.strictSame([client, ...late].map(({ text, isEnded }) => [text, isEnded]), [['', true], ['', true]], 'also of one that came meanwhile')
  })
  t.test('a client that breaks the connection of such an upgrade does not end the process', async (t) => {
    const { app, client } = await listenBeside(t, noop, {})
    client.socket.resetAndDestroy()
    let sockets = Infinity
    const count = (): number => { app.server.getConnections((_error, found) => { sockets = found }); return sockets }
    await until(() => count() === 0, 'the server has no connection')
  })
  for (const [what, take, answer] of [
    ['listens', (socket: Duplex) => { socket.on('error', noop); setTimeout(() => socket.end('late'), 500) }, 'late'],
    ['writes', (socket: Duplex) => { socket.write('begun '); setTimeout(() => socket.end('late'), 500) }, 'begun late']
  ] as const) {
    t.test(`the plugin leaves an upgrade whole if another listener ${what}`, async (t) => {
      const { client } = await listenBeside(t, take, { handshakeTimeout: 200 })
      await within(5000, 'the end', client.ended)
      t.equal(client.text, answer)
    })
  }
})

void t.test('the server throws no uncaught error for upgrades to other protocols', { buffered: true }, async (t) => {
  t.strictSame(uncaughtErrors(), [])
})
