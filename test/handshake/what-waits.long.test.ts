/*
 * Whatever waits is counted in `limits.pending`, ends if its client leaves, and ends at once if it can never be answered: dry
 * runs, ticket requests, upgrades that are pipelined, sockets that are accepted to be closed, and upgrades of routes in scopes
 * that the plugin does not cover. Of each it is asked whether a user with a good token still gets in.
 */
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import fastifyWsAuth from '../../lib/index'
import { prepare, sign, start, until, within } from '../helpers/app'
import type { StartedApp } from '../helpers/app'
import { PROTOCOLS, request } from '../helpers/protocols'
import type { PlainRequest } from '../helpers/protocols'
import { clientFrame, plainText, RawClient, requestText, upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'
import { uncaughtErrors } from '../helpers/uncaught'
import { statsOf } from '../helpers/stats'

t.jobs = 4

/** Much less than the deadline of a handshake, which is 10 s. */
const AT_ONCE = 6000
const ATTACKERS = 25
const PENDING = 20

const token = sign({ sub: 'victim' })
const bearer = { authorization: `Bearer ${token}` }
const json = { 'content-type': 'application/json' }
const noop = (): void => {}

async function assertVictimGetsIn (t: Test, port: number, headers: Record<string, string> = bearer): Promise<void> {
  const { answer, socket } = await upgrade(t, port, { path: '/chat', headers })
  t.equal(answer.status, 101, `a user with a good token gets in: ${answer.body}`)
  socket.destroy()
}

function assertNoAlarm (t: Test, { app, log }: Pick<StartedApp, 'app' | 'log'>): void {
  t.equal(statsOf(app).refused.WS_AUTH_UNAVAILABLE ?? 0, 0, 'nothing is counted as unavailable')
  t.strictSame(log.filter((line) => (JSON.parse(line) as { level: number }).level >= 50), [], 'nothing is logged as an error')
}

async function untilIdle ({ app }: Pick<StartedApp, 'app'>, what = 'nothing that waits'): Promise<void> {
  await until(() => statsOf(app).pending === 0, what, AT_ONCE)
}

/* Pipelined upgrades. */

function addRoutes (app: FastifyInstance): void {
  app.get('/chat', { websocket: true }, noop)
  app.get('/public', { websocket: true, wsAuth: false }, noop)
  app.get('/first', { websocket: true, wsAuth: { renewal: true, token: { message: true } } }, noop)
  app.get('/fast', (_request, reply) => { void reply.send('fast') })
  app.get('/async', async () => 'async')
  app.post('/echo', async ({ body }) => body)
  app.get('/stuck', () => {})
}

const BEFORE: Record<string, string> = {
  'a GET that is answered at once': plainText({ path: '/fast' }),
  'a GET that is answered soon': plainText({ path: '/async' }),
  'a GET that is never answered': plainText({ path: '/stuck' }),
  'a HEAD': plainText({ method: 'HEAD', path: '/fast' }),
  'three GETs': plainText({ path: '/fast' }).repeat(3),
  'a GET of no route': plainText({ path: '/nowhere' }),
  'a dry run that is refused': plainText({ path: '/chat' }),
  'a dry run that is accepted': plainText({ path: '/chat', headers: bearer }),
  'a POST': plainText({ method: 'POST', path: '/echo', headers: { ...json, 'content-length': '7' }, body: '{"a":1}' }),
  'a POST in chunks': plainText({ method: 'POST', path: '/echo', headers: { ...json, 'transfer-encoding': 'chunked' }, body: '7\r\n{"a":1}\r\n0\r\n\r\n' })
}

const PIPELINED: Record<string, RequestSettings> = {
  'an upgrade without a token': { path: '/chat' },
  'an upgrade with a token in the header': { path: '/chat', headers: bearer },
  'an upgrade with a token in the query': { path: `/chat?token=${token}` },
  'an upgrade of a public route': { path: '/public' },
  'an upgrade of a route for first messages': { path: '/first' },
  'an upgrade of no route': { path: '/nowhere' },
  'an upgrade of a plain route': { path: '/fast' },
  'a malformed upgrade': { path: '/chat', headers: { ...bearer, 'sec-websocket-key': 'x' } }
}

void t.test('the server ends a pipelined upgrade at once', { buffered: true }, async (t) => {
  for (const [before, text] of Object.entries(BEFORE)) {
    t.test(`the server ends at once an upgrade that is pipelined behind ${before}`, async (t) => {
      const started = await start(t, { plugin: { limits: { pending: PENDING } }, routes: addRoutes })
      for (const [what, settings] of Object.entries(PIPELINED)) {
        const client = await RawClient.open(t, started.port)
        client.send(text + requestText(settings))
        await t.resolves(within(AT_ONCE, what, client.ended), `${what} is ended`)
        t.notMatch(client.text, 'HTTP/1.1 101', what)
        await untilIdle(started, what)
        client.socket.destroy()
      }
      t.match(statsOf(started.app), { accepted: 0, connections: 0, pending: 0 })
      assertNoAlarm(t, started)
    })
  }
})

void t.test('clients that pipeline upgrades do not keep other clients out', { buffered: true }, async (t) => {
  for (const before of ['a GET that is answered at once', 'a GET that is never answered', 'a POST'] as const) {
    for (const [how, headers] of [['with a token', bearer], ['without a token', {}]] as const) {
      t.test(`clients that pipeline upgrades ${how} behind ${before} do not keep other clients out`, async (t) => {
        const started = await start(t, { plugin: { limits: { pending: PENDING } }, routes: addRoutes })
        const clients = await Promise.all(Array.from({ length: ATTACKERS }, async () => await RawClient.open(t, started.port)))
        for (const client of clients) client.send(BEFORE[before] + requestText({ path: '/chat', headers }))
        await assertVictimGetsIn(t, started.port)
        await within(AT_ONCE, 'the end of all', Promise.all(clients.map(async ({ ended }) => await ended)))
        await untilIdle(started)
        await assertVictimGetsIn(t, started.port)
        assertNoAlarm(t, started)
      })
    }
  }
})

void t.test('an upgrade that is pipelined behind a waiting dry run ends the connection of both', { buffered: true }, async (t) => {
  const held = holder()
  const started = await start(t, { plugin: { verify: held.verify }, routes: addRoutes })
  const client = await RawClient.open(t, started.port)
  client.send(plainText({ path: '/chat?token=held' }) + requestText({ path: '/chat?token=good' }))
  await within(AT_ONCE, 'the end of the connection', client.ended)
  client.socket.destroy()
  await untilIdle(started)
  t.ok(held.waiting.every(({ signal }) => signal.aborted))
  t.equal(statsOf(started.app).accepted, 0)
  await assertVictimGetsIn(t, started.port, { authorization: 'Bearer good' })
})

void t.test('the server accepts an upgrade on a connection whose earlier requests are answered', { buffered: true }, async (t) => {
  const { port } = await start(t, { routes: addRoutes })
  const client = await RawClient.open(t, port)
  for (const text of [BEFORE['a GET that is answered at once'], BEFORE['a POST'], BEFORE['a dry run that is refused'], BEFORE['a GET that is answered soon']]) {
    await client.send(text ?? '').response()
  }
  const { status } = await client.upgrade({ path: '/chat', headers: bearer }).response()
  t.equal(status, 101)
})

/* Dry runs and requests for tickets. */

interface Held {
  readonly signal: AbortSignal
  readonly finish: () => void
}

/** A verifier that holds all tokens but the one that is `good`. */
function holder (): { readonly waiting: Held[], readonly verify: NonNullable<fastifyWsAuth.WsAuthOptions['verify']> } {
  const waiting: Held[] = []
  const verify: NonNullable<fastifyWsAuth.WsAuthOptions['verify']> = async (token, _request, { signal }) =>
    token === 'good' ? { sub: 'victim' } : await new Promise((resolve) => { waiting.push({ signal, finish: () => resolve({ sub: 'ann' }) }) })
  return { waiting, verify }
}

const WAITING: Record<string, PlainRequest> = {
  'a dry run': { path: '/chat', headers: { authorization: 'Bearer held' } },
  'a dry run by cookie': { path: '/chat', headers: { cookie: 'token=held' } },
  'a request for a ticket': { method: 'POST', path: '/ws-ticket', headers: { authorization: 'Bearer held' } },
  'a request for a ticket with a body': { method: 'POST', path: '/ws-ticket', headers: { authorization: 'Bearer held', ...json }, body: '{"path":"/chat"}' }
}

for (const protocol of PROTOCOLS) {
  void t.test(`no more than limits.pending plain requests wait over ${protocol.name}`, { buffered: true }, async (t) => {
    const { waiting, verify } = holder()
    const started = await start(t, { server: protocol.server, plugin: { verify, tickets: true, limits: { pending: 10 } }, routes: addRoutes })
    const { app, port } = started
    const kinds = Object.values(WAITING)
    const sent = Array.from({ length: 60 }, (_, i) => request(protocol, port, kinds[i % kinds.length] as PlainRequest))
    const refused: string[] = []
    const answers = sent.map(async ({ answer }) => await answer.then(({ status, body }) => {
      refused.push(`${status} ${(JSON.parse(body) as { code: string }).code}`)
    }, () => {}))
    await until(() => refused.length + waiting.length >= 60, 'all requests', 10_000)
    t.equal(waiting.length, 10, 'ten are verified')
    t.strictSame(refused, Array(50).fill('503 WS_AUTH_BUSY'))
    t.equal(statsOf(app).pending, 10)
    for (const { abort } of sent) abort()
    await Promise.all(answers)
    await untilIdle(started, 'the end of all verifications')
    t.ok(waiting.every(({ signal }) => signal.aborted), 'each signal says so')
    const { status } = await request(protocol, port, { path: '/chat', headers: { authorization: 'Bearer good' } }).answer
    t.equal(status, 426)
    for (const { finish } of waiting) finish()
    t.equal(statsOf(app).pending, 0)
  })
}

void t.test('a plain request waits as long as its client stays', { buffered: true }, async (t) => {
  const LEAVING: Record<string, (client: RawClient) => void> = {
    'ends its half of the connection': ({ socket }) => { socket.end() },
    'resets the connection': ({ socket }) => { socket.resetAndDestroy() },
    'closes the connection': ({ socket }) => { socket.destroy() }
  }
  for (const [what, { method, path, headers, body = '' }] of Object.entries(WAITING)) {
    const text = plainText({ method, path, headers: { ...headers, ...body === '' ? {} : { 'content-length': String(body.length) } }, body })
    t.test(`${what} gets its answer if the client stays, whatever else the client sends`, async (t) => {
      const { waiting, verify } = holder()
      const started = await start(t, { plugin: { verify, tickets: true }, routes: addRoutes })
      const client = (await RawClient.open(t, started.port)).send(text)
      await until(() => waiting.length === 1, 'the verification')
      t.equal(statsOf(started.app).pending, 1)
      client.send(plainText({ path: '/fast' }))
      // Another connection comes and goes meanwhile.
      await assertVictimGetsIn(t, started.port, { authorization: 'Bearer good' })
      t.notOk(waiting[0]?.signal.aborted)
      waiting[0]?.finish()
      t.equal((await client.response()).status, method === 'POST' ? 200 : 426)
      t.equal(statsOf(started.app).pending, 0)
      t.equal((await client.response()).status, 200)
    })
    for (const [how, leave] of Object.entries(LEAVING)) {
      t.test(`${what} ends if its client ${how}`, async (t) => {
        const { waiting, verify } = holder()
        const started = await start(t, { plugin: { verify, tickets: true }, routes: addRoutes })
        const client = (await RawClient.open(t, started.port)).send(text)
        await until(() => waiting.length === 1, 'the verification')
        t.equal(statsOf(started.app).pending, 1)
        leave(client)
        await until(() => waiting[0]?.signal.aborted === true, 'the end of the verification', AT_ONCE)
        t.equal(statsOf(started.app).pending, 0)
        waiting[0]?.finish()
        await assertVictimGetsIn(t, started.port, { authorization: 'Bearer good' })
        t.equal(statsOf(started.app).refused.WS_AUTH_UNAVAILABLE ?? 0, 0)
      })
    }
  }
})

void t.test('all dry runs that are pipelined on one connection end if their client leaves', { buffered: true }, async (t) => {
  const COUNT = 6
  const LEAVING: Record<string, (client: RawClient) => void> = {
    'ends its half of the connection': ({ socket }) => { socket.end() },
    'resets the connection': ({ socket }) => { socket.resetAndDestroy() },
    'closes the connection': ({ socket }) => { socket.destroy() }
  }
  for (const [how, leave] of Object.entries(LEAVING)) {
    for (const isOneAnswered of [false, true]) {
      t.test(`the dry runs of a client ${isOneAnswered ? 'with one answer ' : ''}that ${how} end`, async (t) => {
        const { waiting, verify } = holder()
        const started = await start(t, { plugin: { verify, tickets: true }, routes: addRoutes })
        const { app, port } = started
        const client = await RawClient.open(t, port)
        const dryRun = plainText({ path: '/chat', headers: { authorization: 'Bearer held' } })
        // Node.js reads on only for so many: all of them are in one chunk.
        client.send(dryRun.repeat(COUNT - 1) + plainText({ method: 'POST', path: '/ws-ticket', headers: { authorization: 'Bearer held' } }))
        await until(() => waiting.length === COUNT, 'all are verified')
        t.equal(statsOf(app).pending, COUNT)
        if (isOneAnswered) {
          waiting[0]?.finish()
          t.equal((await client.response()).status, 426)
        }
        const left = isOneAnswered ? COUNT - 1 : COUNT
        t.equal(statsOf(app).pending, left)
        t.ok(waiting.slice(-left).every(({ signal }) => !signal.aborted), 'none has ended')
        leave(client)
        await untilIdle(started, 'the end of all')
        t.ok(waiting.slice(-left).every(({ signal }) => signal.aborted), 'each signal says so')
        for (const { finish } of waiting) finish()
        await assertVictimGetsIn(t, port, { authorization: 'Bearer good' })
        t.equal(statsOf(app).pending, 0)
        assertNoAlarm(t, started)
      })
    }
  }
})

void t.test('a dry run counts as pending whatever it waits for, and ends with its client', { buffered: true }, async (t) => {
  let waiting = 0
  const never = async (): Promise<never> => { waiting++; return await new Promise(() => {}) }
  const KINDS: Record<string, fastifyWsAuth.WsAuthOptions> = {
    'the secret': { jwt: { secret: never } },
    'the function for origins': { origin: never },
    'the function of the route': {}
  }
  for (const [what, plugin] of Object.entries(KINDS)) {
    t.test(`a dry run that waits for ${what} counts as pending, and ends with its client`, async (t) => {
      waiting = 0
      const wsAuth = what === 'the function of the route' ? { authorize: never } : true
      const started = await start(t, { plugin, routes: (app) => { app.get('/chat', { websocket: true, wsAuth }, noop) } })
      const client = (await RawClient.open(t, started.port)).send(plainText({ path: '/chat', headers: { ...bearer, origin: 'https://a.example' } }))
      await until(() => waiting === 1, 'what is waited for')
      t.equal(statsOf(started.app).pending, 1)
      client.socket.destroy()
      await untilIdle(started)
    })
  }
})

void t.test('upgrades, first messages, dry runs and requests for tickets share limits.pending', { buffered: true }, async (t) => {
  const { waiting, verify } = holder()
  const { app, port } = await start(t, { plugin: { verify, tickets: true, limits: { pending: 4 } }, routes: addRoutes })
  const held = { authorization: 'Bearer held' }
  const KINDS: Array<[what: string, text: string]> = [
    ['an upgrade', requestText({ path: '/chat', headers: held })],
    ['a first message', requestText({ path: '/first' })],
    ['a dry run', plainText({ path: '/chat', headers: held })],
    ['a request for a ticket', plainText({ method: 'POST', path: '/ws-ticket', headers: held })]
  ]
  const clients: RawClient[] = []
  for (const [what, text] of KINDS) {
    clients.push((await RawClient.open(t, port)).send(text))
    await until(() => statsOf(app).pending === clients.length, `${what} that waits`)
  }
  t.equal((await clients[1]?.response())?.status, 101)
  for (const [what, text] of KINDS) t.match(await (await RawClient.open(t, port)).send(text).response(), { status: 503, body: 'WS_AUTH_BUSY' }, `${what} more`)
  t.equal(waiting.length, 3)
  for (const [i, client] of clients.entries()) {
    client.socket.destroy()
    await until(() => statsOf(app).pending === 3, `the end of ${KINDS[i]?.[0]}`, AT_ONCE)
    const next = (await RawClient.open(t, port)).send(KINDS[i]?.[1] ?? '')
    await until(() => statsOf(app).pending === 4, `room for another: ${KINDS[i]?.[0]}`)
    t.teardown(() => next.socket.destroy())
  }
})

void t.test('a refused dry run takes no place, nor does one by inject()', { buffered: true }, async (t) => {
  const { app } = await prepare(t, { plugin: { tickets: true, limits: { pending: 1 } }, routes: addRoutes })
  for (let i = 0; i < 50; i++) {
    t.equal((await app.inject('/chat')).statusCode, 401)
    t.equal((await app.inject({ url: '/chat', headers: bearer })).statusCode, 426)
    t.equal((await app.inject({ method: 'POST', url: '/ws-ticket', headers: bearer })).statusCode, 200)
  }
  t.equal(statsOf(app).pending, 0)
})

/* Sockets that are accepted to be closed. */

for (const [rejectWith, headers] of [['close', {}], ['auto', { origin: 'https://page.example' }]] as const) {
  void t.test(`the server accepts no more than limits.pending sockets in order to close them, with rejectWith '${rejectWith}'`, { buffered: true }, async (t) => {
    const { app, port } = await start(t, { plugin: { rejectWith, limits: { pending: 10 } }, routes: addRoutes })
    // None of them answers the close frame.
    const clients = await Promise.all(Array.from({ length: 40 }, async () => await upgrade(t, port, { path: '/chat', headers })))
    const accepted = clients.filter(({ answer }) => answer.status === 101)
    t.equal(accepted.length, 10)
    for (const client of accepted) t.strictSame(await client.close(), { code: 3000, reason: 'token_missing' })
    for (const { answer } of clients.filter(({ answer }) => answer.status !== 101)) t.match(answer, { status: 401, body: 'WS_AUTH_TOKEN_MISSING' })
    t.equal(statsOf(app).refused.WS_AUTH_TOKEN_MISSING, 40, 'each refusal is counted')
    await assertVictimGetsIn(t, port)

    for (const { socket } of accepted.slice(0, 3)) socket.destroy()
    accepted[3]?.send(clientFrame(8, Buffer.from([0x0B, 0xB8])))
    await accepted[3]?.ended
    let more = 0
    const deadline = Date.now() + AT_ONCE
    while (more < 4 && Date.now() < deadline) {
      const { answer } = await upgrade(t, port, { path: '/chat', headers })
      if (answer.status === 101) more++
    }
    t.equal(more, 4, 'each socket that is gone makes room for one')
    await within(9000, 'the end of those that ignore the close frame', Promise.all(accepted.map(async ({ ended }) => await ended)))
    t.equal(statsOf(app).pending, 0)
  })
}

void t.test('each client that answers the close frame gets its own close code, one after the other', { buffered: true }, async (t) => {
  const { port } = await start(t, { plugin: { rejectWith: 'close', limits: { pending: 1 } }, routes: addRoutes })
  for (let i = 0; i < 20; i++) {
    const client = await upgrade(t, port, { path: '/chat' })
    t.equal(client.answer.status, 101)
    t.strictSame(await client.close(), { code: 3000, reason: 'token_missing' })
    client.send(clientFrame(8, Buffer.from([0x0B, 0xB8])))
    await client.ended
    client.socket.destroy()
  }
})

/* Scopes that the plugin does not cover. */

void t.test('upgrades of routes in a sibling or parent scope hold no place', { buffered: true }, async (t) => {
  const log: string[] = []
  const run: string[] = []
  const app = Fastify({ logger: { level: 'trace', stream: { write: (line: string) => { log.push(line) } } } })
  t.teardown(() => app.close())
  const addUncovered = (scope: FastifyInstance, name: string): void => {
    scope.get(`/${name}`, async ({ url }) => { run.push(url); return name })
    scope.get(`/${name}-sync`, ({ url }, reply) => { run.push(url); void reply.send(name) })
    scope.get(`/${name}-stuck`, ({ url }) => { run.push(url) })
    scope.get(`/${name}-ws`, { websocket: true }, () => { run.push(`/${name}-ws`) })
  }
  addUncovered(app, 'above')
  let inner: FastifyInstance | undefined
  await app.register(async (scope) => {
    inner = scope
    await scope.register(fastifyWsAuth, { jwt: { secret: 'thirty-two bytes of test secret!' }, limits: { pending: PENDING } })
    scope.get('/chat', { websocket: true }, noop)
  })
  await app.register(async (scope) => addUncovered(scope, 'beside'))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const pending = (): number | undefined => inner?.wsAuth.stats().pending

  for (const path of ['/above', '/above-sync', '/above-stuck', '/above-ws', '/beside', '/beside-sync', '/beside-stuck', '/beside-ws', '/nowhere']) {
    const clients = await Promise.all(Array.from({ length: ATTACKERS }, async () => await RawClient.open(t, port)))
    for (const client of clients) client.upgrade({ path })
    await assertVictimGetsIn(t, port)
    const outcomes = await Promise.all(clients.map(async (client) => await client.response().then(({ status, body }) => `${status} ${body}`, String)))
    const expected = path === '/nowhere' ? /^404 / : /^(?:404 .*WS_AUTH_ROUTE_NOT_WEBSOCKET|500 .*WS_AUTH_ROUTE_UNPROTECTED)/
    t.strictSame(outcomes.filter((outcome) => !expected.test(outcome)), [], `all are refused: ${path}`)
    await t.resolves(within(AT_ONCE, path, Promise.all(clients.map(async ({ ended }) => await ended))), `all sockets are ended: ${path}`)
    await until(() => pending() === 0, `nothing that waits: ${path}`, AT_ONCE)
    await assertVictimGetsIn(t, port)
    for (const { socket } of clients) socket.destroy()
  }
  t.strictSame(run, [], 'no handler ran')
  t.equal((await app.inject('/above')).statusCode, 200)
})

void t.test('pending requests cause no uncaught error', { buffered: true }, async (t) => {
  t.strictSame(uncaughtErrors(), [])
})
