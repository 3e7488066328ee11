/*
 * What the plugin starts on a server that is somebody else's it takes away: after `app.close()` the server has the listeners,
 * properties and symbols that it had, and another app on it works. While an app has it, no other can.
 */
import { createServer } from 'node:http'
import type { RequestListener, Server } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { dirname, sep } from 'node:path'
import fastifyJwt from '@fastify/jwt'
import fastifyWebsocket from '@fastify/websocket'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { SECRET, sign, until, within } from '../helpers/app'
import { plainText, RawClient, upgrade } from '../helpers/raw-client'
import { statsOf } from '../helpers/stats'

type Plugin = typeof fastifyWsAuth
type Options = fastifyWsAuth.WsAuthOptions
type Borrowed = Server & { shouldUpgradeCallback?: ((request: unknown) => boolean) | undefined }

const TOKEN = sign({ sub: 'ann' })
const AUTHORIZED = { authorization: `Bearer ${TOKEN}` }
const REGISTERED_ALREADY = /registered already/

interface Snapshot {
  readonly listeners: Map<string | symbol, unknown[]>
  /** Own properties: functions as they are, of anything else only that it is there. */
  readonly properties: Map<string | symbol, unknown>
}

function snapshotOf (server: NodeJS.EventEmitter): Snapshot {
  const properties = Reflect.ownKeys(server).map((key): [string | symbol, unknown] => {
    const value: unknown = Reflect.get(server, key)
    return [key, typeof value === 'function' ? value : 'there']
  })
  return { listeners: new Map(server.eventNames().map((name) => [name, server.rawListeners(name)])), properties: new Map(properties) }
}

/** What has changed, one line each. */
function changes (before: Snapshot, after: Snapshot): string[] {
  const events = new Set([...before.listeners.keys(), ...after.listeners.keys()])
  const listeners = [...events].map((name) => {
    const [old, now] = [before.listeners.get(name) ?? [], after.listeners.get(name) ?? []]
    const kept = now.filter((listener) => old.includes(listener))
    const isMoved = kept.some((listener, i) => listener !== old.filter((one) => now.includes(one))[i])
    return `'${String(name)}': ${now.length - kept.length} new, ${old.length - kept.length} missing${isMoved ? ', in another order' : ''}`
  }).filter((line) => !line.endsWith(': 0 new, 0 missing'))
  const keys = new Set([...before.properties.keys(), ...after.properties.keys()])
  const properties = [...keys].filter((key) => before.properties.get(key) !== after.properties.get(key)).map((key) => `property ${String(key)}`)
    // Node.js 26 keeps something for itself there once it has answered a request.
    .filter((line) => line !== 'property Symbol(ResponseOptions)')
  return [...listeners, ...properties].sort()
}

const own: RequestListener = (_request, response) => { response.end('own') }

/** A server that listens, with listeners of its own. It outlives all apps. */
async function lend (t: Test): Promise<{ server: Borrowed, port: number, before: Snapshot }> {
  const server: Borrowed = createServer(own)
  server.on('clientError', (_error, socket) => socket.destroy())
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return { server, port: (server.address() as AddressInfo).port, before: snapshotOf(server) }
}

interface Settings {
  plugin?: Options
  fastify?: FastifyServerOptions
  register?: Plugin
}

/** An app that is ready and greets by a name. */
async function borrow (t: Test, server: Borrowed, name: string, { plugin = {}, fastify = {}, register = fastifyWsAuth }: Settings = {}): Promise<FastifyInstance> {
  const app = Fastify(fastify)
  t.teardown(() => app.close())
  const websocket = { ...plugin.websocket, options: { ...plugin.websocket?.options, server: server as Server } }
  await app.register(register, { ...plugin.verify === undefined ? { jwt: { secret: SECRET } } : {}, ...plugin, websocket })
  app.get('/chat', { websocket: true }, (socket) => { socket.send(name) })
  app.get('/public', { websocket: true, wsAuth: false }, (socket) => { socket.send(name) })
  await app.ready()
  return app
}

/** The app has all upgrades of the server: guarded, public and refused. */
async function works (t: Test, port: number, name: string): Promise<void> {
  const greeting = async (path: string, headers = {}): Promise<string> => {
    const client = await upgrade(t, port, { path, headers })
    const greeting = client.answer.status === 101 ? String((await client.frame()).payload) : String(client.answer.status)
    client.socket.destroy()
    return greeting
  }
  t.equal(await greeting('/chat', AUTHORIZED), name, 'a token opens the guarded route')
  t.equal(await greeting(`/chat?token=${TOKEN}`), name, 'also in the query')
  t.equal(await greeting('/public'), name, 'the public route is open')
  t.equal(await greeting('/chat'), '401', 'nobody gets past the guarded route')
  t.equal(await greeting('/nowhere'), '404', 'what is nowhere is nowhere')
}

async function isClean (t: Test, { server, port, before }: Awaited<ReturnType<typeof lend>>): Promise<void> {
  t.strictSame(changes(before, snapshotOf(server)), [], 'the server is as it was')
  const { answer: { status, body } } = await upgrade(t, port, { path: '/chat', headers: AUTHORIZED })
  t.equal(`${status} ${body}`, '200 own', 'its own listener has what asks for an upgrade again')
}

const everything: Options = {
  renewal: true,
  heartbeat: { interval: 1000 },
  tickets: true,
  tokenCache: { max: 10, ttl: 1000 },
  token: { message: true },
  backChannelLogout: { path: '/logout', issuer: 'https://op.example', audience: 'me' },
  websocket: { preClose (done: () => void) { done() } } as NonNullable<Options['websocket']>
}

for (const [what, plugin] of Object.entries({ 'no options': {}, 'all options': everything, 'accept-then-close': { rejectWith: 'close' } as Options })) {
  t.test(`app.close() leaves a borrowed server as it was, with ${what}`, async (t) => {
    const lent = await lend(t)
    const app = await borrow(t, lent.server, 'one', { plugin })
    const ofApp = snapshotOf(app.server)
    for (const path of ['/chat', '/public', '/nowhere']) await upgrade(t, lent.port, { path, headers: AUTHORIZED })
    await upgrade(t, lent.port, { path: '/chat' })
    const plain = await RawClient.open(t, lent.port)
    t.equal((await plain.send(plainText({ path: '/x', headers: { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' } })).response()).body, 'own')
    await within(7000, 'app.close()', app.close())
    await isClean(t, lent)
    t.strictSame(changes(ofApp, snapshotOf(app.server)).filter((line) => /upgrade|wsAuth|ws-auth|request/i.test(line)), ['\'request\': 0 new, 1 missing'], 'of the app\'s own server the one listener of the plugin is gone')
  })
}

t.test('app.close() leaves a borrowed server as it was while handshakes are pending', async (t) => {
  const lent = await lend(t)
  const app = await borrow(t, lent.server, 'one', { plugin: { verify: async () => await new Promise(() => {}) } })
  const clients = await Promise.all(Array.from({ length: 5 }, async () => await RawClient.open(t, lent.port)))
  for (const client of clients) client.upgrade({ path: '/chat', headers: AUTHORIZED })
  await until(() => statsOf(app).pending === 5, 'all are pending')
  await within(7000, 'app.close()', app.close())
  for (const client of clients) {
    t.equal((await client.response()).status, 503)
    await within(5000, 'the socket is closed', client.ended)
  }
  await isClean(t, lent)
})

t.test('two apps work on one borrowed server, one after the other', async (t) => {
  const lent = await lend(t)
  for (let i = 0; i < 12; i++) {
    const app = await borrow(t, lent.server, `app ${i}`, { plugin: i % 2 === 0 ? {} : { tickets: true, heartbeat: { interval: 1000 } } })
    if (i % 4 < 2) await works(t, lent.port, `app ${i}`)
    await app.close()
    t.strictSame(changes(lent.before, snapshotOf(lent.server)), [], `the server is as it was after app ${i}`)
  }
  await isClean(t, lent)
})

t.test('app.close() that is called twice leaves a borrowed server as it was, and does not touch the app that uses the server then', async (t) => {
  const lent = await lend(t)
  const one = await borrow(t, lent.server, 'one')
  await Promise.all([one.close(), one.close()])
  await isClean(t, lent)
  await one.close()
  const two = await borrow(t, lent.server, 'two')
  const withTwo = snapshotOf(lent.server)
  await one.close()
  t.strictSame(changes(withTwo, snapshotOf(lent.server)), [])
  await works(t, lent.port, 'two')
  await two.close()
  await isClean(t, lent)
})

t.test('a second app on the server of a live app fails to register, and the first app still works', async (t) => {
  const lent = await lend(t)
  const one = await borrow(t, lent.server, 'one')
  const withOne = snapshotOf(lent.server)
  await t.rejects(borrow(t, lent.server, 'two'), REGISTERED_ALREADY, 'by the option')
  const factory = Fastify({ serverFactory: () => lent.server as Server })
  // Fastify itself listens to clientError of what it is given.
  const withFactory = snapshotOf(lent.server)
  await t.rejects(async () => { await factory.register(fastifyWsAuth, { jwt: { secret: SECRET } }) }, REGISTERED_ALREADY, 'by a serverFactory')
  t.strictSame(changes(withFactory, snapshotOf(lent.server)), [], 'the second has left nothing')
  await works(t, lent.port, 'one')
  await factory.close()
  t.strictSame(changes(withOne, snapshotOf(lent.server)).filter((line) => !line.startsWith('\'clientError\'')), [], 'nor has its close')
  await works(t, lent.port, 'one')
  await one.close()
  const three = await borrow(t, lent.server, 'three')
  await works(t, lent.port, 'three')
  await three.close()
})

t.test('the server of an app that has the plugin cannot be borrowed by another app with it', async (t) => {
  const one = Fastify()
  t.teardown(() => one.close())
  await one.register(fastifyWsAuth, { jwt: { secret: SECRET } })
  await t.rejects(borrow(t, one.server, 'two'), REGISTERED_ALREADY)
  one.get('/chat', { websocket: true }, (socket) => { socket.send('one') })
  one.get('/public', { websocket: true, wsAuth: false }, (socket) => { socket.send('one') })
  await one.listen({ port: 0, host: '127.0.0.1' })
  await works(t, (one.server.address() as AddressInfo).port, 'one')
})

/** The package once more, as where two versions of it are installed. */
function copyOfPackage (): Plugin {
  const load = createRequire(__filename)
  const lib = dirname(load.resolve('../../lib/index')) + sep
  const kept = Object.entries(load.cache).filter(([file]) => file.startsWith(lib))
  for (const [file] of kept) Reflect.deleteProperty(load.cache, file)
  const copy = load('../../lib/index') as Plugin
  for (const [file] of Object.entries(load.cache).filter(([file]) => file.startsWith(lib))) Reflect.deleteProperty(load.cache, file)
  for (const [file, module] of kept) load.cache[file] = module
  return copy
}

t.test('a second copy of the package fails to register in a scope beside the first or on the server of the first', async (t) => {
  const copy = copyOfPackage()
  t.not(copy, fastifyWsAuth, 'it is another copy')
  for (const [first, second] of [[fastifyWsAuth, copy], [copy, fastifyWsAuth], [fastifyWsAuth, fastifyWsAuth]] as const) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(async (scope) => {
      await scope.register(first, { jwt: { secret: SECRET } })
      scope.get('/chat', { websocket: true }, (socket) => { socket.send('one') })
      scope.get('/public', { websocket: true, wsAuth: false }, (socket) => { socket.send('one') })
    })
    await app.register(async (scope) => {
      await t.rejects(async () => { await scope.register(second, { jwt: { secret: SECRET } }) }, REGISTERED_ALREADY, 'in the scope beside')
    }).then(() => {}, () => {})

    const lent = await lend(t)
    const one = await borrow(t, lent.server, 'one', { register: first })
    await t.rejects(borrow(t, lent.server, 'two', { register: second }), REGISTERED_ALREADY, 'on one server')
    await works(t, lent.port, 'one')
    await one.close()
    const two = await borrow(t, lent.server, 'two', { register: second })
    await works(t, lent.port, 'two')
    await two.close()
    await isClean(t, lent)
  }
})

/** Registrations that fail, early and late. */
const FAILURES: Record<string, { before?: (app: FastifyInstance) => unknown, plugin?: object }> = {
  'a wrong option': { plugin: { tokens: {} } },
  'no way to verify': { plugin: { jwt: undefined } },
  '@fastify/websocket before': { before: (app) => app.register(fastifyWebsocket) },
  '@fastify/jwt before, and "jwt"': { before: (app) => app.register(fastifyJwt, { secret: SECRET }) },
  'a secret that @fastify/jwt refuses': { plugin: { jwt: {} } },
  'a signed cookie without a secret': { plugin: { token: { cookie: { name: 'token', signed: true } } } },
  'a wsAuth decorator of the app': { before: (app) => app.decorate('wsAuth' as never, {} as never) },
  'a wsAuth request decorator of the app': { before: (app) => app.decorateRequest('wsAuth', null) },
  'a wrong errorHandler': { plugin: { websocket: { errorHandler: 'log' } } },
  'a wrong preClose': { plugin: { websocket: { preClose: 'close' } } },
  'a server option of ws that is none of ours': { plugin: { websocket: { options: { noServer: true } } } },
  'a route of the app at the path of tickets': { before: (app) => app.post('/ws-ticket', async () => 'own'), plugin: { tickets: true } },
  'a route of the app at the path of logout': { before: (app) => app.post('/logout', async () => 'own'), plugin: everything }
}

for (const [what, { before, plugin }] of Object.entries(FAILURES)) {
  t.test(`a registration that failed (${what}) leaves a borrowed server as it was`, async (t) => {
    const lent = await lend(t)
    const app = Fastify()
    t.teardown(() => app.close())
    await before?.(app)
    const { websocket, ...options } = { jwt: { secret: SECRET }, ...plugin } as Options
    const given = { ...options, websocket: { ...websocket, options: { ...websocket?.options, server: lent.server as Server } } }
    await t.rejects(async () => { await app.register(fastifyWsAuth, given) }, 'the registration fails')
    await within(7000, 'app.close()', app.close())
    await isClean(t, lent)
    const two = await borrow(t, lent.server, 'two')
    await works(t, lent.port, 'two')
    await two.close()
    await isClean(t, lent)
  })
}

t.test('app.close() leaves a server of a serverFactory as Fastify alone leaves it', async (t) => {
  const run = async (plugins: boolean): Promise<string[]> => {
    const { server, port, before } = await lend(t)
    for (const name of ['one', 'two']) {
      const app = Fastify({ serverFactory: (handler) => server.removeAllListeners('request').on('request', handler) as Server })
      t.teardown(() => app.close())
      if (plugins) {
        await app.register(fastifyWsAuth, { jwt: { secret: SECRET } })
        app.get('/chat', { websocket: true }, (socket) => { socket.send(name) })
        app.get('/public', { websocket: true, wsAuth: false }, (socket) => { socket.send(name) })
      }
      await app.ready()
      if (plugins) await works(t, port, name)
      await within(7000, 'app.close()', app.close())
    }
    return changes(before, snapshotOf(server))
  }
  t.strictSame(await run(true), await run(false))
})

t.test('app.close() leaves a borrowed HTTP/2 server as it was', async (t) => {
  const server = createHttp2Server()
  const before = snapshotOf(server)
  const app = await borrow(t, server as never, 'one')
  await app.close()
  t.strictSame(changes(before, snapshotOf(server)), [])
})

t.test('the plugin keeps the listeners that others add to a borrowed server and those that they remove', async (t) => {
  const lent = await lend(t)
  const { server } = lent
  const [first, last, gone] = [(): void => {}, (): void => {}, (): void => {}]
  server.on('upgrade', gone)
  const app = await borrow(t, server, 'one')
  server.prependListener('upgrade', first)
  server.on('upgrade', last)
  server.off('upgrade', gone)
  await works(t, lent.port, 'one')
  await app.close()
  t.strictSame(server.rawListeners('upgrade'), [first, last])
  server.off('upgrade', first).off('upgrade', last)
  await isClean(t, lent)
})

t.test('the plugin asks shouldUpgradeCallback of a borrowed server, and app.close() restores it', async (t) => {
  const isAsked = 'shouldUpgradeCallback' in createServer()
  const lent = await lend(t)
  const { server, port } = lent
  const asked: unknown[] = []
  const callback = (request: unknown): boolean => {
    asked.push(request)
    return (request as { url: string }).url !== '/plain'
  }
  server.shouldUpgradeCallback = callback
  const before = snapshotOf(server)
  const app = await borrow(t, server, 'one')
  await works(t, port, 'one')
  if (isAsked) {
    t.ok(asked.length >= 5, 'it was asked')
    const { answer } = await upgrade(t, port, { path: '/plain', headers: AUTHORIZED })
    t.equal(`${answer.status} ${answer.body}`, '200 own', 'what it refuses is no upgrade')
  }
  await app.close()
  t.equal(server.shouldUpgradeCallback, callback)
  t.strictSame(changes(before, snapshotOf(server)), [])

  const two = await borrow(t, server, 'two')
  const later = (): boolean => true
  server.shouldUpgradeCallback = later
  await works(t, port, 'two')
  await two.close()
  t.equal(server.shouldUpgradeCallback, later, 'one that was set meanwhile stays')
})

t.test('an app that is closed before it is ready leaves a borrowed server as it was', async (t) => {
  const lent = await lend(t)
  const app = Fastify()
  await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, websocket: { options: { server: lent.server as Server } } })
  await app.close()
  await isClean(t, lent)
})

const H2C = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQCAAAAAAIAAAAA' }

t.test('an Upgrade to another protocol on a borrowed server is answered by the request listeners of that server', async (t) => {
  const lent = await lend(t)
  const { server, port } = lent
  const seen: Array<[method: string | undefined, url: string | undefined, body: string]> = []
  server.removeListener('request', own).on('request', (request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => { body += String(chunk) })
    request.on('end', () => { seen.push([request.method, request.url, body]); response.end('own') })
  })
  const app = await borrow(t, server, 'one', { plugin: { tickets: true } })
  const send = async (settings: Parameters<typeof plainText>[0]): Promise<string> => {
    const client = await RawClient.open(t, port)
    const { status, body } = await client.send(plainText({ ...settings, headers: { ...H2C, ...settings?.headers } })).response()
    client.socket.destroy()
    return `${status} ${body}`
  }
  t.equal(await send({ path: '/own' }), '200 own')
  t.equal(await send({ path: '/chat', headers: AUTHORIZED }), '200 own', 'the routes of the app are not on that server')
  t.equal(await send({ path: '/chat', headers: { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13' } }), '200 own')
  t.equal(await send({ method: 'POST', path: '/ws-ticket', headers: { 'content-length': '5' }, body: 'hello' }), '200 own')
  t.strictSame(seen, [['GET', '/own', ''], ['GET', '/chat', ''], ['GET', '/chat', ''], ['POST', '/ws-ticket', 'hello']])
  t.match(statsOf(app), { pending: 0, accepted: 0, refused: {} }, 'the app has seen no handshake')
  await works(t, port, 'one')
})

t.test('an Upgrade to another protocol on a borrowed server without request listeners is ended', async (t) => {
  const { server, port } = await lend(t)
  server.removeAllListeners('request')
  const app = await borrow(t, server, 'one')
  for (const settings of [{ path: '/chat' }, { path: '/chat', headers: AUTHORIZED }, { method: 'POST', path: '/chat', headers: { 'content-length': '5' }, body: 'hello' }]) {
    const client = await RawClient.open(t, port)
    client.send(plainText({ ...settings, headers: { ...H2C, ...'headers' in settings ? settings.headers : {} } }))
    await within(5000, 'the end', client.ended)
    t.equal(client.text, '')
  }
  t.match(statsOf(app), { pending: 0, accepted: 0, refused: {} })
  await works(t, port, 'one')
})

for (const [what, plugin, isBefore] of [['the routes are declared', {}, true], ['the claims schema is compiled', { claims: { type: 'object', required: ['tenant'] } }, false]] as const) {
  t.test(`an upgrade that comes on a borrowed server before ${what} is 503 and admits no token`, async (t) => {
    const { server, port } = await lend(t)
    const app = Fastify()
    t.teardown(() => app.close())
    let release = (): void => {}
    const released = new Promise<void>((resolve) => { release = resolve })
    let reach = (): void => {}
    const reached = new Promise<void>((resolve) => { reach = resolve })
    // It is called before that of the plugin.
    app.addHook('onReady', async () => { reach(); await released })
    await app.register(fastifyWsAuth, { jwt: { secret: SECRET }, ...plugin, websocket: { options: { server: server as Server } } })
    const opened: unknown[] = []
    const declare = (): void => { app.get('/chat', { websocket: true }, (_socket, { user }) => { opened.push((user as { sub: string }).sub) }) }
    if (!isBefore) declare()

    const tokens = { 'with all claims': sign({ sub: 'ann', tenant: 'acme' }), 'without the claim': sign({ sub: 'eve' }), 'with another signature': sign({ sub: 'eve', tenant: 'acme' }, 'x'.repeat(32)) }
    const statusOf = async (token: string): Promise<string> => {
      const { answer: { status, body }, socket } = await upgrade(t, port, { path: '/chat', headers: { authorization: `Bearer ${token}` } })
      socket.destroy()
      return status === 101 ? '101' : `${status} ${(JSON.parse(body) as { code: string }).code}`
    }
    const refuseAll = async (when: string): Promise<void> => {
      for (const [which, token] of Object.entries(tokens)) t.equal(await statusOf(token), '503 WS_AUTH_UNAVAILABLE', `${when}, a token ${which}`)
    }
    await refuseAll('before app.ready()')
    if (isBefore) declare()
    const ready = app.ready()
    await reached
    await refuseAll('while another onReady hook runs')
    t.equal(statsOf(app).refused.WS_AUTH_UNAVAILABLE, 6)
    t.match(statsOf(app), { pending: 0, accepted: 0 })

    release()
    await ready
    t.equal(await statusOf(tokens['with all claims']), '101')
    t.equal(await statusOf(tokens['without the claim']), isBefore ? '101' : '401 WS_AUTH_TOKEN_INVALID')
    t.equal(await statusOf(tokens['with another signature']), '401 WS_AUTH_TOKEN_INVALID')
    t.strictSame(opened, isBefore ? ['ann', 'eve'] : ['ann'])
  })
}
