/*
 * Tickets: who gets one, what it is good for, how often, how long, for whom, and what is left of it. Many instances are in
 * tickets-redis.test.ts.
 */
import { once } from 'node:events'
import { inspect } from 'node:util'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { Backplane, BackplaneLink, BackplaneMember } from '../../lib/backplane/contract'
import type { Claims } from '../../lib/token/claims'
import fastifyWsAuth from '../../lib/index'
import { memoryBackplane } from '../../lib/backplane/memory'
import { Tickets } from '../../lib/authentication/tickets'
import { prepare, SECRET, sign, start, until } from '../helpers/app'
import type { AppSettings, StartedApp } from '../helpers/app'
import { onDecision } from '../helpers/decisions'
import { mint, secret } from '../helpers/keys'
import { eventually, moveClock, MovedClock, setClock } from '../helpers/moved-clock'
import { clientFrame, RawClient, upgrade } from '../helpers/raw-client'
import type { RequestSettings } from '../helpers/raw-client'

type Options = fastifyWsAuth.WsAuthOptions

const ANN = { sub: 'ann', roles: ['member'] }
const TICKET = /^[\w-]{43}$/
const TTL = 30_000
const never = async (): Promise<never> => await new Promise(() => {})

function bearer (claims: Record<string, unknown> = ANN): { authorization: string } {
  return { authorization: `Bearer ${sign(claims)}` }
}

/** Seconds since the epoch, as claims have it. */
function seconds (offset = 0): number {
  return Math.floor(Date.now() / 1000) + offset
}

interface Chat extends StartedApp {
  /** The requests that got as far as a handler. */
  readonly opened: FastifyRequest[]
  /** A ticket of these claims. */
  ticket: (claims?: object, binding?: fastifyWsAuth.TicketBinding) => Promise<string>
}

type ChatSettings = AppSettings & { wsAuth?: fastifyWsAuth.RouteWsAuth }

function addChat (app: FastifyInstance, opened: FastifyRequest[], wsAuth: fastifyWsAuth.RouteWsAuth = true): void {
  const handler = (_socket: unknown, request: FastifyRequest): void => { opened.push(request) }
  app.get('/chat', { websocket: true, wsAuth }, handler)
  app.get('/other', { websocket: true }, handler)
  app.get('/optional', { websocket: true, wsAuth: 'optional' }, handler)
  app.get('/public', { websocket: true, wsAuth: false }, handler)
  app.get('/plain', async () => 'plain')
}

async function startChat (t: Test, plugin: Options = {}, { wsAuth, ...settings }: ChatSettings = {}): Promise<Chat> {
  const opened: FastifyRequest[] = []
  const started = await start(t, {
    ...settings,
    plugin: { tickets: true, ...plugin },
    routes: async (app) => { await settings.routes?.(app); addChat(app, opened, wsAuth) }
  })
  return { ...started, opened, ticket: async (claims = ANN, binding) => (await started.app.wsAuth.issueTicket(claims, binding)).ticket }
}

/** A chat whose clock is moved, also by which its tickets are kept. */
async function startTimedChat (t: Test, plugin: Options = {}): Promise<Chat & { clock: MovedClock }> {
  let clock: MovedClock | null = null
  const chat = await startChat(t, plugin, { before: () => { clock = moveClock(t) } })
  return { ...chat, clock: clock as unknown as MovedClock }
}

/** The body of a refusal, in short. */
function codeIn (body: string): string {
  return body === '' ? '' : String((JSON.parse(body) as { code?: string }).code)
}

/** How a handshake was answered: `101`, or the status and the code. */
async function handshake (t: Test, port: number, path: string, settings: RequestSettings = {}): Promise<string> {
  const { status, body } = (await upgrade(t, port, { ...settings, path })).answer
  return status === 101 ? '101' : `${status} ${codeIn(body)}`
}

async function dryRun (app: FastifyInstance, url: string, headers: Record<string, string> = {}): Promise<string> {
  const { statusCode, body } = await app.inject({ url, headers })
  return statusCode === 426 ? '426' : `${statusCode} ${codeIn(body)}`
}

async function ask (app: FastifyInstance, headers: Record<string, string> = bearer(), payload?: object | string, url = '/ws-ticket'): Promise<{ status: number, code: string, ticket: string, expiresIn: number, headers: Record<string, unknown> }> {
  const response = await app.inject({ method: 'POST', url, headers, ...(payload === undefined ? {} : { payload }) })
  const { code, ticket, expiresIn } = response.json()
  return { status: response.statusCode, code, ticket, expiresIn, headers: response.headers }
}

/** The close frame that a client gets next. */
async function closeOf (client: RawClient): Promise<string> {
  for (;;) {
    const { opcode, payload } = await client.frame()
    if (opcode === 8) return `${payload.readUInt16BE(0)} ${payload.subarray(2).toString()}`
  }
}

function authFrame (token: string): Buffer {
  return clientFrame(1, JSON.stringify({ type: 'auth', token }))
}

/** A backplane that keeps its contract but for this. */
function backplaneWith (over: Partial<BackplaneLink>): Backplane {
  const memory = memoryBackplane()
  return { join: (member) => ({ ...memory.join(member), ...over }) }
}

/** An instance that has nothing but its link. */
function nobody (): BackplaneMember {
  return { id: 'nobody', log: Fastify().log, apply: () => 0, revocations: () => [], onOutage: () => {} }
}

const RULES = { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null }

const MALFORMED: Record<string, RequestSettings> = {
  'a short key': { headers: { 'sec-websocket-key': 'c2hvcnQ=' } },
  'no key': { headers: { 'sec-websocket-key': undefined } },
  'another version': { headers: { 'sec-websocket-version': '8' } },
  'no version': { headers: { 'sec-websocket-version': undefined } },
  'HTTP/1.0': { version: '1.0' },
  'no Host': { headers: { host: undefined } },
  'two Hosts': { headers: { host: ['localhost', 'elsewhere'] } },
  'a body': { headers: { 'content-length': '3' }, body: 'abc' },
  'an empty subprotocol': { headers: { 'sec-websocket-protocol': 'a,,b' } },
  'a subprotocol twice': { headers: { 'sec-websocket-protocol': 'a, a' } },
  'two protocols': { headers: { upgrade: 'websocket, h2c' } }
}

t.test('of 100 handshakes with one ticket exactly one is accepted, over real sockets', async (t) => {
  const { app, port, opened, ticket } = await startChat(t)
  for (let round = 0; round < 5; round++) {
    const path = `/chat?ticket=${await ticket()}`
    const outcomes = await Promise.all(Array.from({ length: 100 }, async () => await handshake(t, port, path)))
    t.equal(outcomes.filter((outcome) => outcome === '101').length, 1)
    t.equal(outcomes.filter((outcome) => outcome === '401 WS_AUTH_TICKET_INVALID').length, 99)
  }
  t.equal(opened.length, 5)
  t.equal(app.wsAuth.stats().accepted, 5)
  t.equal(app.wsAuth.stats().refused.WS_AUTH_TICKET_INVALID, 5 * 99)
})

t.test('of 100 handshakes with one ticket exactly one is accepted, over injectWS, also where the store takes its time', async (t) => {
  const late = memoryBackplane().join(nobody())
  const backplane = backplaneWith({
    put: late.put,
    take: async (name) => {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 5))
      return await late.take(name)
    }
  })
  for (const plugin of [{}, { backplane }]) {
    const { app, ticket } = await startChat(t, plugin, { server: { logger: false } })
    for (let round = 0; round < 5; round++) {
      const path = `/chat?ticket=${await ticket()}`
      const outcomes = await Promise.allSettled(Array.from({ length: 100 }, async () => await app.injectWS(path)))
      t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
    }
    t.equal(app.wsAuth.stats().accepted, 5)
  }
})

t.test('of 100 uses of one ticket exactly one has it, 1,000 times', async (t) => {
  const tickets = new Tickets(memoryBackplane().join(nobody()), TTL, RULES)
  const use = { path: '/', origin: undefined, isSpent: true }
  let wins = 0
  let wrong = 0
  for (let round = 0; round < 1000; round++) {
    const claims: Claims = { sub: `user ${round}` }
    const { ticket } = await tickets.issue({ claims, user: claims }, {})
    const outcomes = await Promise.allSettled(Array.from({ length: 100 }, async () => await tickets.read(ticket, use)))
    const won = outcomes.filter((outcome) => outcome.status === 'fulfilled')
    if (won.length === 1 && won[0]?.value.claims.sub === claims.sub) wins++
    wrong += outcomes.filter((outcome) => outcome.status === 'rejected' && outcome.reason?.code !== 'WS_AUTH_TICKET_INVALID').length
  }
  t.equal(wins, 1000)
  t.equal(wrong, 0)
})

t.test('no two tickets are alike', async (t) => {
  const { ticket } = await startChat(t)
  const all = await Promise.all(Array.from({ length: 1000 }, async () => await ticket()))
  t.equal(new Set(all).size, 1000)
  t.ok(all.every((one) => TICKET.test(one)))
})

t.test('dry runs do not spend a ticket, also beside the handshake that does', async (t) => {
  const { app, port, ticket } = await startChat(t)
  const path = `/chat?ticket=${await ticket()}`
  for (let i = 0; i < 5; i++) t.equal(await dryRun(app, path), '426')
  const [accepted, ...answers] = await Promise.all([handshake(t, port, path), ...Array.from({ length: 20 }, async () => await dryRun(app, path))])
  t.equal(accepted, '101')
  t.ok(answers.every((answer) => answer === '426' || answer === '401 WS_AUTH_TICKET_INVALID'))
  t.equal(await dryRun(app, path), '401 WS_AUTH_TICKET_INVALID')
  t.equal(app.wsAuth.connections.size, 1)
})

t.test('a malformed handshake does not spend a ticket', async (t) => {
  const { port, ticket } = await startChat(t)
  for (const [what, settings] of Object.entries(MALFORMED)) {
    const path = `/chat?ticket=${await ticket()}`
    const { answer } = await upgrade(t, port, { ...settings, path })
    t.equal(answer.status, 400, what)
    t.equal(await handshake(t, port, path), '101', `${what}: it is good still`)
  }
  const path = `/chat?ticket=${await ticket()}`
  t.equal(await handshake(t, port, path, { method: 'POST' }), '404 undefined', 'POST')
  t.equal(await handshake(t, port, `/nowhere?${path.split('?')[1]}`), '404 undefined', 'no such route')
  t.equal(await handshake(t, port, `/plain?${path.split('?')[1]}`), '404 WS_AUTH_ROUTE_NOT_WEBSOCKET', 'no websocket')
  t.equal(await handshake(t, port, `/public?${path.split('?')[1]}`), '101', 'a public route, where it is nothing')
  t.equal(await handshake(t, port, path), '101', 'it is good still')
})

t.test('a ticket that is bound is good for what it is bound to, and spent by anything else', async (t) => {
  const { app, port, ticket } = await startChat(t)
  const origin = 'https://example.com'
  const bindings: Array<[fastifyWsAuth.TicketBinding, string, Record<string, string>, string]> = [
    [{ path: '/chat' }, '/chat', {}, '101'],
    [{ path: '/chat' }, '/other', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{ path: '/chat' }, '/CHAT', {}, '404 undefined'],
    [{ path: '/chat/' }, '/chat', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{ path: '/ch%61t' }, '/chat', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{ path: '/chat' }, '/ch%61t', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{ origin }, '/chat', { origin }, '101'],
    [{ origin }, '/chat', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{ origin }, '/chat', { origin: 'https://example.com:8443' }, '401 WS_AUTH_TICKET_INVALID'],
    [{ origin }, '/chat', { origin: 'http://example.com' }, '401 WS_AUTH_TICKET_INVALID'],
    [{ origin }, '/chat', { origin: 'https://example.com.' }, '401 WS_AUTH_TICKET_INVALID'],
    [{ origin }, '/chat', { origin: 'null' }, '401 WS_AUTH_TICKET_INVALID'],
    [{ path: '/chat', origin }, '/chat', { origin }, '101'],
    [{ path: '/chat', origin }, '/other', { origin }, '401 WS_AUTH_TICKET_INVALID'],
    [{ path: '/chat', origin }, '/chat', {}, '401 WS_AUTH_TICKET_INVALID'],
    [{}, '/chat', { origin }, '101']
  ]
  for (const [binding, path, headers, expected] of bindings) {
    const one = await ticket(ANN, binding)
    const what = inspect([binding, path, headers])
    if (expected.startsWith('404')) t.equal(await handshake(t, port, `${path}?ticket=${one}`, { headers }), expected, what)
    else {
      t.equal(await dryRun(app, `${path}?ticket=${one}`, headers), expected.replace('101', '426'), `${what}: dry run`)
      t.equal(await handshake(t, port, `${path}?a=b&ticket=${one}`, { headers }), expected, what)
      const right = { path: binding.path ?? '/chat', headers: { origin: binding.origin } }
      t.equal(await handshake(t, port, `${right.path.replace('%61', 'a').replace(/\/$/, '')}?ticket=${one}`, right), '401 WS_AUTH_TICKET_INVALID', `${what}: spent`)
    }
  }
  const both = await ticket(ANN, { origin })
  t.equal(await handshake(t, port, `/chat?ticket=${both}`, { headers: { origin: [origin, origin] } }), '401 WS_AUTH_TICKET_INVALID', 'an Origin twice')
  t.equal(await handshake(t, port, `/chat#a&ticket=${await ticket(ANN, { path: '/chat' })}`), '101', 'what looks like a fragment is not of the path')
  t.equal(await handshake(t, port, `/chat#/other&ticket=${await ticket(ANN, { path: '/other' })}`), '401 WS_AUTH_TICKET_INVALID')
})

t.test('a handshake that is refused before its ticket is looked at leaves it', async (t) => {
  const { port, ticket } = await startChat(t, { origin: ['https://example.com'] })
  const path = `/chat?ticket=${await ticket()}`
  t.equal(await handshake(t, port, path, { headers: { origin: 'https://evil.example' } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
  t.equal(await handshake(t, port, path, { headers: bearer() }), '400 WS_AUTH_TOKEN_AMBIGUOUS')
  t.equal(await handshake(t, port, path, { headers: { origin: 'https://example.com' } }), '101')
})

t.test('what is no ticket is refused', async (t) => {
  const { app, port, ticket } = await startChat(t)
  const good = await ticket()
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const twins = [...alphabet].map((character) => good.slice(0, -1) + character).filter((twin) => twin !== good)
  t.ok(twins.some((twin) => Buffer.from(twin, 'base64url').equals(Buffer.from(good, 'base64url'))), 'some are of the same bytes')
  const wrong = [...twins, `${good}=`, `${good}A`, good.slice(1), `%20${good}`, `${good}%0A`, `${good}%00`, 'a'.repeat(10_000), '..%2F', sign(ANN), '%FF', '__proto__']
  for (const one of wrong) t.equal(await dryRun(app, `/chat?ticket=${one}`), '401 WS_AUTH_TICKET_INVALID', one.slice(0, 60))
  for (const one of wrong.slice(-10)) t.equal(await handshake(t, port, `/chat?ticket=${one}`), '401 WS_AUTH_TICKET_INVALID', one.slice(0, 60))
  t.equal(await handshake(t, port, '/chat?ticket='), '401 WS_AUTH_TOKEN_MISSING', 'an empty one is none')
  t.equal(await handshake(t, port, '/chat?ticket'), '401 WS_AUTH_TOKEN_MISSING')
  t.equal(await handshake(t, port, `/chat?ticket=${good}&ticket=${good}`), '400 WS_AUTH_TOKEN_AMBIGUOUS')
  t.equal(await handshake(t, port, `/chat?ticket=&ticket=${good}`), '400 WS_AUTH_TOKEN_AMBIGUOUS')
  t.equal(await handshake(t, port, `/chat?Ticket=${good}`), '401 WS_AUTH_TOKEN_MISSING', 'another name')
  t.equal(await handshake(t, port, `/chat?ticket=${good}`, { headers: { authorization: undefined } }), '101', 'and the ticket is good still')
})

t.test('a ticket is good until its ttl, and not after', async (t) => {
  const { port, app, ticket, clock } = await startTimedChat(t, { tickets: { ttl: 5000 } })
  const [early, late] = [await ticket(), await ticket()]
  clock.advance(4900)
  t.equal(await handshake(t, port, `/chat?ticket=${early}`), '101')
  clock.advance(100)
  t.equal(await handshake(t, port, `/chat?ticket=${late}`), '401 WS_AUTH_TICKET_INVALID')
  clock.set(-3_600_000)
  t.equal(await handshake(t, port, `/chat?ticket=${late}`), '401 WS_AUTH_TICKET_INVALID', 'also where the wall clock is set back')
  t.equal(app.wsAuth.stats().accepted, 1)
})

t.test('a ticket beside an explicit token is ambiguous, and is not spent', async (t) => {
  const { port, ticket } = await startChat(t, {}, { routes: (app) => { app.get('/device/:token', { websocket: true, wsAuth: { token: { param: true } } }, () => {}) } })
  const token = sign(ANN)
  const one = await ticket()
  const sources: Array<[string, RequestSettings]> = [
    [`/chat?ticket=${one}`, { headers: bearer() }],
    [`/chat?ticket=${one}`, { headers: { authorization: 'Bearer not-a-token' } }],
    [`/chat?ticket=${one}&token=${token}`, {}],
    [`/chat?ticket=${one}`, { headers: { 'sec-websocket-protocol': `bearer, ${token}` } }],
    [`/chat?ticket=${one}`, { headers: { 'sec-websocket-protocol': `chat, base64url.bearer.${Buffer.from(token).toString('base64url')}` } }],
    [`/device/${token}?ticket=${one}`, {}]
  ]
  for (const [path, settings] of sources) t.equal(await handshake(t, port, path, settings), '400 WS_AUTH_TOKEN_AMBIGUOUS', inspect([path.slice(0, 30), settings]))
  t.equal(await handshake(t, port, `/chat?ticket=${one}`), '101')
})

t.test('beside a cookie the ticket counts, whatever the cookie is', async (t) => {
  const { port, opened, ticket } = await startChat(t, { cookie: { secret: SECRET }, token: { cookie: { name: 'token', signed: true } } })
  for (const cookie of [`token=${sign({ sub: 'bea' })}`, 'token=x', 'token=x; token=y', 'token=']) {
    const one = await ticket()
    t.equal(await handshake(t, port, `/chat?ticket=${one}`, { headers: { cookie, origin: 'https://elsewhere.example' } }), '101', cookie.slice(0, 20))
    t.equal(opened.at(-1)?.wsAuth?.sub, 'ann')
    t.equal(opened.at(-1)?.wsAuth?.source, 'ticket')
    t.equal(await handshake(t, port, `/chat?ticket=${one}`, { headers: { cookie } }), '401 WS_AUTH_TICKET_INVALID', 'no way back to the cookie')
  }
})

t.test('on an optional route a ticket is a user, none is nobody, and a bad one is refused', async (t) => {
  const { port, opened, ticket } = await startChat(t)
  const one = await ticket()
  t.equal(await handshake(t, port, `/optional?ticket=${one}`), '101')
  t.match(opened.at(-1)?.user, { sub: 'ann' })
  t.equal(await handshake(t, port, '/optional'), '101')
  t.equal(opened.at(-1)?.user, null)
  t.equal(opened.at(-1)?.wsAuth?.source, null)
  t.equal(await handshake(t, port, `/optional?ticket=${one}`), '401 WS_AUTH_TICKET_INVALID')
})

t.test('without tickets the parameter is the app\'s, there is no route, and none is issued', async (t) => {
  const { app, port, opened } = await startChat(t, { tickets: false })
  t.equal(await handshake(t, port, '/chat?ticket=mine', { headers: bearer() }), '101')
  t.same(opened[0]?.query, { ticket: 'mine' })
  t.equal((await app.inject({ method: 'POST', url: '/ws-ticket', headers: bearer() })).statusCode, 404)
  await t.rejects(app.wsAuth.issueTicket(ANN), { message: '"tickets" option must be on for issueTicket' })
})

t.test('require: the ticket admits and the token authenticates', async (t) => {
  for (const [where, plugin, wsAuth] of [
    ['of the plugin', { tickets: { require: true } }, true],
    ['of the route', { tickets: true }, { tickets: { require: true } }]
  ] as Array<[string, Options, fastifyWsAuth.RouteWsAuth]>) {
    await t.test(`by the option ${where}`, async (t) => {
      const { app, port, opened, ticket } = await startChat(t, plugin, { wsAuth })
      const path = async (claims?: object): Promise<string> => `/chat?ticket=${await ticket(claims)}`
      t.equal(await handshake(t, port, await path(), { headers: bearer() }), '101')
      t.equal(opened.at(-1)?.wsAuth?.source, 'header')
      t.equal(await handshake(t, port, '/chat', { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID', 'no ticket')
      t.equal(await handshake(t, port, '/chat?ticket=', { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID', 'an empty one')
      t.equal(await handshake(t, port, '/chat?ticket=x', { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID', 'a bad one')
      t.equal(await handshake(t, port, '/chat'), '401 WS_AUTH_TICKET_INVALID', 'neither')
      t.equal(await handshake(t, port, await path()), '401 WS_AUTH_TOKEN_MISSING', 'no token')
      t.equal(await handshake(t, port, await path({ sub: 'bea' }), { headers: bearer() }), '401 WS_AUTH_TOKEN_INVALID', 'another sub')
      t.equal(await handshake(t, port, await path({}), { headers: bearer() }), '401 WS_AUTH_TOKEN_INVALID', 'a ticket without a sub')
      t.equal(await handshake(t, port, await path(), { headers: bearer({ roles: [] }) }), '401 WS_AUTH_TOKEN_INVALID', 'a token without a sub')
      t.equal(await handshake(t, port, await path({}), { headers: bearer({ name: 'ann' }) }), '401 WS_AUTH_TOKEN_INVALID', 'both without')
      const spent = await path()
      t.equal(await handshake(t, port, spent, { headers: { authorization: 'Bearer x' } }), '401 WS_AUTH_TOKEN_INVALID', 'a bad token')
      t.equal(await handshake(t, port, spent, { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID', 'which spends it')
      const both = await path()
      t.equal(await dryRun(app, both, bearer()), '426')
      t.equal(await dryRun(app, both, bearer({ sub: 'bea' })), '401 WS_AUTH_TOKEN_INVALID')
      t.equal(await dryRun(app, '/chat', bearer()), '401 WS_AUTH_TICKET_INVALID')
      t.equal(await handshake(t, port, both, { headers: { cookie: `token=${sign(ANN)}` } }), '101', 'by cookie')
      t.equal(await handshake(t, port, await path(), { headers: { cookie: `token=${sign(ANN)}`, origin: 'https://evil.example' } }), '403 WS_AUTH_ORIGIN_FORBIDDEN')
      t.equal((await ask(app)).status, 200, 'whoever asks for a ticket has none yet')
    })
  }
})

t.test('a route may do without the ticket that the plugin requires', async (t) => {
  const { port, ticket } = await startChat(t, { tickets: { require: true } }, { wsAuth: { tickets: { require: false } } })
  t.equal(await handshake(t, port, '/chat', { headers: bearer() }), '101')
  t.equal(await handshake(t, port, `/chat?ticket=${await ticket()}`), '101')
  t.equal(await handshake(t, port, '/other', { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID')
})

t.test('require on an optional route is asked of who brings a token', async (t) => {
  const { port, opened, ticket } = await startChat(t, { tickets: { require: true } })
  t.equal(await handshake(t, port, '/optional'), '101')
  t.equal(opened.at(-1)?.user, null)
  t.equal(await handshake(t, port, '/optional', { headers: bearer() }), '401 WS_AUTH_TICKET_INVALID')
  t.equal(await handshake(t, port, `/optional?ticket=${await ticket()}`, { headers: bearer() }), '101')
  t.match(opened.at(-1)?.user, { sub: 'ann' })
  t.equal(await handshake(t, port, `/optional?ticket=${await ticket()}`), '101')
  t.equal(opened.at(-1)?.user, null, 'a ticket alone admits nobody in particular')
  t.equal(await handshake(t, port, '/optional?ticket=x'), '401 WS_AUTH_TICKET_INVALID')
})

t.test('require with the first message', async (t) => {
  const { app, port, opened, ticket } = await startChat(t, { tickets: { require: true }, token: { message: true } })
  const open = async (claims?: object): ReturnType<typeof upgrade> => await upgrade(t, port, { path: `/chat?ticket=${await ticket(claims)}` })

  await t.test('the same sub is accepted', async (t) => {
    const client = await open()
    t.equal(client.answer.status, 101)
    t.equal(app.wsAuth.connections.size, 0, 'nobody yet')
    t.match(String((await client.send(authFrame(sign(ANN))).frame()).payload), /auth\.ok/)
    await until(() => opened.length === 1, 'the handler is run')
    t.equal(opened[0]?.wsAuth?.source, 'message')
  })

  for (const [what, claims, token] of [
    ['another sub', ANN, { sub: 'bea' }],
    ['a token without one', ANN, {}],
    ['a ticket without one', {}, ANN],
    ['both without', {}, { name: 'ann' }]
  ] as Array<[string, object, Record<string, unknown>]>) {
    await t.test(`${what} is not`, async (t) => {
      const before = opened.length
      const client = await open(claims)
      t.equal(client.answer.status, 101)
      t.equal(await closeOf(client.send(authFrame(sign(token)))), '3000 token_invalid')
      t.equal(opened.length, before)
    })
  }

  await t.test('nobody without a ticket holds a socket', async (t) => {
    const { refused } = app.wsAuth.stats()
    t.equal(await handshake(t, port, '/chat'), '401 WS_AUTH_TICKET_INVALID')
    t.equal(await handshake(t, port, '/chat?ticket=x'), '401 WS_AUTH_TICKET_INVALID')
    t.equal(app.wsAuth.stats().refused.WS_AUTH_TICKET_INVALID, (refused.WS_AUTH_TICKET_INVALID ?? 0) + 2)
  })

  await t.test('a ticket that is revoked between the handshake and the first message stops it', async (t) => {
    const client = await open({ ...ANN, jti: 'of the ticket' })
    t.equal(client.answer.status, 101)
    await app.wsAuth.revoke({ jti: 'of the ticket' })
    const before = opened.length
    t.equal(await closeOf(client.send(authFrame(sign(ANN)))), '3000 token_revoked')
    t.equal(opened.length, before)
  })

  await t.test('a ticket admits one that waits, not two', async (t) => {
    const path = `/chat?ticket=${await ticket()}`
    const outcomes = await Promise.all(Array.from({ length: 20 }, async () => await handshake(t, port, path)))
    t.equal(outcomes.filter((outcome) => outcome === '101').length, 1)
  })
})

t.test('what is revoked behind a ticket is refused by its own code', async (t) => {
  const { app, port, ticket } = await startChat(t)
  const matches: Array<[fastifyWsAuth.RevokeMatch, object]> = [
    [{ jti: 'one' }, { sub: 'a', jti: 'one' }],
    [{ sid: 'two' }, { sub: 'b', sid: 'two' }],
    [{ sub: 'c' }, { sub: 'c' }]
  ]
  for (const [match, claims] of matches) {
    const path = `/chat?ticket=${await ticket(claims)}`
    const open = await upgrade(t, port, { path: `/chat?ticket=${await ticket(claims)}` })
    t.equal(open.answer.status, 101)
    t.match(await app.wsAuth.revoke(match), { closed: 1 })
    t.equal(await closeOf(open), '3000 token_revoked', 'and closes who came in by one')
    t.equal(await dryRun(app, path), '401 WS_AUTH_TOKEN_REVOKED', inspect(match))
    t.equal(await handshake(t, port, path), '401 WS_AUTH_TOKEN_REVOKED', inspect(match))
  }
})

t.test('a ticket of before a logout does not survive it, one of after does', async (t) => {
  const { app, port, ticket } = await startChat(t)
  const before = await ticket({ ...ANN, iat: seconds(-10) })
  await app.wsAuth.revoke({ sub: 'ann', beforeAt: Date.now() - 5000 })
  t.equal(await handshake(t, port, `/chat?ticket=${before}`), '401 WS_AUTH_TOKEN_REVOKED')
  t.equal(await handshake(t, port, `/chat?ticket=${await ticket()}`), '101', 'without an iat it was issued now')
})

t.test('what expires behind a ticket', async (t) => {
  const { app, port, ticket, clock } = await startTimedChat(t)
  const short = { ...ANN, exp: seconds(5) }
  const [early, late] = [await ticket(short), (await ask(app, bearer(short))).ticket]
  const open = await upgrade(t, port, { path: `/chat?ticket=${early}` })
  t.equal(open.answer.status, 101)
  t.equal([...app.wsAuth.connections][0]?.expiresAt, short.exp * 1000)
  await clock.pass(7000)
  await eventually(clock, () => app.wsAuth.connections.size === 0, 'the connection ends')
  t.equal(await closeOf(open), '3000 token_expired', 'closes who came in by it')
  t.equal(await handshake(t, port, `/chat?ticket=${late}`), '401 WS_AUTH_TOKEN_EXPIRED', 'is refused by its own code')
  t.same(app.wsAuth.stats().closed.token_expired, 1)
})

t.test('the clock tolerance of the verifier is that of tickets', async (t) => {
  const { port, ticket } = await startChat(t, { jwt: { secret: SECRET, verify: { clockTolerance: 60_000 } } })
  t.equal(await handshake(t, port, `/chat?ticket=${await ticket({ ...ANN, exp: seconds(-30) })}`), '101')
  await t.rejects(ticket({ ...ANN, exp: seconds(-90) }), { code: 'WS_AUTH_TOKEN_EXPIRED' })
})

t.test('the ticket of a URL leaves no trace', async (t) => {
  const seen: string[] = []
  const look = (where: string, request: FastifyRequest): void => {
    const { url, originalUrl, query, params, headers, raw } = request
    seen.push(inspect({ where, url, originalUrl, query, params, headers, rawUrl: raw.url, rawHeaders: raw.rawHeaders }, { depth: 5, maxStringLength: null }))
  }
  const { app, port, log, ticket } = await startChat(t, { tickets: { query: 'key' } }, {
    wsAuth: { authorize: (_user, request) => { look('authorize', request); return request.headers['x-no'] === undefined } },
    before: (app) => {
      app.addHook('onRequest', async (request) => { look('onRequest', request) })
      app.addHook('preParsing', async (request) => { look('preParsing', request) })
      app.addHook('onError', async (request, _reply, error) => { look('onError', request); seen.push(inspect(error, { depth: 9, showHidden: true })) })
      app.addHook('onResponse', async (request) => { look('onResponse', request) })
    },
    routes: (app) => {
      app.addHook('preValidation', async (request) => { look('preValidation', request) })
      app.addHook('preHandler', async (request) => { look('preHandler', request) })
      app.get('/both', { websocket: true, wsAuth: { tickets: { require: true } } }, (_socket, request) => { look('handler', request) })
    }
  })
  const events: string[] = []
  onDecision(t, (event) => { events.push(inspect(event)) })
  const tickets: string[] = []
  const attempts: Array<[string, RequestSettings]> = [
    ['/chat?key=T', {}], ['/chat?a=1&key=T&b=2', {}], ['/chat?k%65y=T', {}], ['/chat?key=T', { headers: { 'x-no': '1' } }],
    ['/chat?key=T&key=T', {}], ['/chat?key=T&token=x', {}], ['/chat?key=T', { headers: { 'sec-websocket-key': 'x' } }], ['/nowhere?key=T', {}],
    ['/both?key=T', { headers: bearer() }], ['/both?key=T', { headers: bearer({ sub: 'bea' }) }], ['/both?key=T', {}], ['/both?key=T&token=x', {}],
    ['/plain?key=T', {}], ['/public?key=T', {}], ['/optional?key=T', {}], ['/chat#key=T', {}], ['/%zz?key=T', {}], [`/${'a'.repeat(200)}?key=T`, {}]
  ]
  for (const [path, settings] of attempts) {
    const one = await ticket()
    tickets.push(one)
    for (let i = 0; i < 2; i++) {
      const { answer } = await upgrade(t, port, { ...settings, path: path.replaceAll('T', one) })
      seen.push(answer.text)
    }
  }
  t.ok(app.wsAuth.stats().accepted >= 4)
  t.ok(seen.length > 50 && log.length > 20 && events.length > 10, 'there was something to look at')
  const all = [...seen, ...log, ...events, inspect(app.wsAuth.connections, { depth: 3, showHidden: true })].join('\n')
  for (const [i, one] of tickets.entries()) t.notOk(all.includes(one), String(attempts[i]?.[0]))
})

t.test('a dry run shows the ticket to nobody behind it', async (t) => {
  const seen: string[] = []
  const { app, ticket } = await startChat(t, {}, {
    routes: (app) => app.addHook('preHandler', async (request) => { seen.push(inspect([request.query, request.headers, request.body])) })
  })
  const one = await ticket()
  t.equal(await dryRun(app, `/chat?ticket=${one}&a=b`), '426')
  t.match(seen, [/a: 'b'/])
  t.notOk(seen.join().includes(one))
})

t.test('the name of the parameter', async (t) => {
  await t.test('is the one that was given', async (t) => {
    const { port, opened, ticket } = await startChat(t, { tickets: { query: 'key' } })
    const one = await ticket()
    t.equal(await handshake(t, port, `/chat?ticket=${one}`), '401 WS_AUTH_TOKEN_MISSING')
    t.equal(await handshake(t, port, `/chat?key=${one}&ticket=mine`), '101')
    t.same(opened[0]?.query, { ticket: 'mine' })
  })
  for (const [what, plugin, wsAuth] of [
    ['the plugin\'s', { tickets: { query: 'token' } }, true],
    ['the plugin\'s other', { tickets: true, token: { query: 'ticket' } }, true],
    ['a route\'s', { tickets: true }, { token: { query: 'ticket' } }]
  ] as Array<[string, Options, fastifyWsAuth.RouteWsAuth]>) {
    await t.test(`cannot be ${what} token.query`, async (t) => {
      await t.rejects(startChat(t, plugin, { wsAuth }), { name: 'TypeError', message: /token\.query" option must be another name than tickets\.query/ })
    })
  }
  await t.test('can be that of no token', async (t) => {
    const { port, ticket } = await startChat(t, { tickets: { query: 'token' }, token: { query: false } })
    t.equal(await handshake(t, port, `/chat?token=${await ticket()}`), '101')
  })
})

t.test('POST /ws-ticket', async (t) => {
  await t.test('takes a token from each source that a handshake has', async (t) => {
    const signed = { cookie: { secret: SECRET }, token: { cookie: { name: 'login', signed: true } } }
    for (const [what, plugin, headersOf, query] of [
      ['header', {}, () => bearer(), ''],
      ['header by name', { token: { header: 'x-token' } }, () => ({ 'x-token': sign(ANN) }), ''],
      ['cookie', {}, () => ({ cookie: `a=b; token=${sign(ANN)}` }), ''],
      ['signed cookie', signed, (app) => ({ cookie: `login=${encodeURIComponent(app.signCookie(sign(ANN)))}` }), ''],
      ['query', {}, () => ({}), `?token=${sign(ANN)}`],
      ['header, where first messages are taken too', { token: { message: true } }, () => bearer(), '']
    ] as Array<[string, Options, (app: FastifyInstance) => Record<string, string>, string]>) {
      const { app, port, opened } = await startChat(t, plugin)
      const answer = await ask(app, headersOf(app), undefined, `/ws-ticket${query}`)
      t.match(answer, { status: 200, expiresIn: TTL, headers: { 'cache-control': 'no-store' } }, what)
      t.match(answer.ticket, TICKET)
      t.equal(await handshake(t, port, `/chat?ticket=${answer.ticket}`), '101', what)
      t.match(opened[0]?.user, ANN)
    }
  })

  await t.test('refuses as a handshake does', async (t) => {
    const { app, log } = await startChat(t, { origin: 'same-host' })
    const events: string[] = []
    onDecision(t, ({ event, code, route }) => { events.push(`${event} ${code} ${route}`) })
    const cookie = `token=${sign(ANN)}`
    await app.wsAuth.revoke({ jti: 'gone' })
    const refusals: Array<[string, Record<string, string>, number, string, string | undefined]> = [
      ['nothing', {}, 401, 'WS_AUTH_TOKEN_MISSING', 'Bearer realm="websocket"'],
      ['a bad token', { authorization: 'Bearer x' }, 401, 'WS_AUTH_TOKEN_INVALID', 'Bearer error="invalid_token"'],
      ['an old one', bearer({ ...ANN, exp: seconds(-1) }), 401, 'WS_AUTH_TOKEN_EXPIRED', 'Bearer error="invalid_token"'],
      ['a revoked one', bearer({ ...ANN, jti: 'gone' }), 401, 'WS_AUTH_TOKEN_REVOKED', 'Bearer error="invalid_token"'],
      ['a cookie from another site', { cookie, origin: 'https://evil.example' }, 403, 'WS_AUTH_ORIGIN_FORBIDDEN', undefined],
      ['a cookie from a page without an origin', { cookie, origin: 'null' }, 403, 'WS_AUTH_ORIGIN_FORBIDDEN', undefined],
      ['two cookies', { cookie: `${cookie}; ${cookie}` }, 400, 'WS_AUTH_TOKEN_AMBIGUOUS', 'Bearer error="invalid_request"']
    ]
    for (const [what, headers, status, code, challenge] of refusals) {
      events.length = 0
      log.length = 0
      const before = app.wsAuth.stats().refused[code as fastifyWsAuth.WsAuthErrorCode] ?? 0
      const answer = await ask(app, headers)
      t.equal(`${answer.status} ${answer.code}`, `${status} ${code}`, what)
      t.equal(answer.headers['www-authenticate'], challenge, what)
      t.equal(answer.ticket, undefined)
      t.same(events, [`refused ${code} /ws-ticket`], `${what}: told once`)
      t.equal(log.filter((line) => line.includes('"event":"refused"')).length, 1, `${what}: logged once`)
      t.equal(app.wsAuth.stats().refused[code as fastifyWsAuth.WsAuthErrorCode], before + 1, `${what}: counted once`)
    }
    t.match(await ask(app, { cookie, host: 'chat.example', origin: 'https://chat.example' }), { status: 200 }, 'a cookie from the same host')
    t.match(await ask(app, { cookie }), { status: 200 }, 'no browser')
    t.match(await ask(app, { ...bearer(), origin: 'https://evil.example' }), { status: 200 }, 'what a page has to send itself')
    t.match(await ask(app, bearer(), undefined, `/ws-ticket?token=${sign(ANN)}`), { status: 400, code: 'WS_AUTH_TOKEN_AMBIGUOUS' })
    t.equal(app.wsAuth.stats().pending, 0)
  })

  await t.test('asks a list of origins of every request that has one', async (t) => {
    const { app } = await startChat(t, { origin: ['https://example.com'] })
    t.match(await ask(app, { ...bearer(), origin: 'https://evil.example' }), { status: 403, code: 'WS_AUTH_ORIGIN_FORBIDDEN' })
    t.match(await ask(app, { ...bearer(), origin: 'https://example.com' }), { status: 200 })
  })

  await t.test('refuses through the error handler of the app', async (t) => {
    const { app } = await startChat(t, {}, {
      before: (app) => app.setErrorHandler(async (error: { code?: string, statusCode?: number }, _request, reply) => {
        return await reply.code(error.statusCode ?? 500).send({ code: `mine ${error.code}` })
      })
    })
    t.match(await ask(app, {}), { status: 401, code: 'mine WS_AUTH_TOKEN_MISSING', headers: { 'www-authenticate': 'Bearer realm="websocket"' } })
  })

  await t.test('tells of each ticket once, and without it', async (t) => {
    const { app, log } = await startChat(t)
    const events: fastifyWsAuth.WsAuthEvent[] = []
    onDecision(t, (event) => { events.push(event) })
    const { ticket } = await ask(app)
    t.match(events, [{ event: 'ticket_issued', source: 'header', sub: 'ann', route: '/ws-ticket', code: null, dryRun: false }])
    t.equal(events.length, 1)
    t.equal(log.filter((line) => line.includes('"event":"ticket_issued"')).length, 1)
    t.notOk(log.join('').includes(ticket) || inspect(events).includes(ticket))
    t.match(app.wsAuth.stats(), { accepted: 0, pending: 0, connections: 0 })
  })

  await t.test('takes a binding in its body, and nothing else', async (t) => {
    const { app, port } = await startChat(t)
    const wrong: Array<object | string> = [
      { path: 'chat' }, { path: '/chat?a=b' }, { path: '/chat#a' }, { path: '' }, { path: 1 }, { path: null }, { path: ['/chat'] },
      { origin: 'example.com' }, { origin: 'https://example.com/' }, { origin: 'https://Example.com' }, { origin: '*' }, { origin: 'null' }, { origin: null }, { origin: 1 },
      { ttl: 1 }, { path: '/chat', sub: 'bea' }, ['/chat'], []
    ]
    for (const body of wrong) t.equal((await ask(app, bearer(), body)).status, 400, inspect(body))
    const json = { ...bearer(), 'content-type': 'application/json' }
    for (const body of ['"/chat"', '1', 'true', '{"path":', '{"__proto__":{"path":"/chat"}}']) t.equal((await ask(app, json, body)).status, 400, body)
    t.equal((await ask(app, { ...bearer(), 'content-type': 'text/plain' }, 'path=/chat')).status, 400, 'a text')
    t.equal((await ask(app, { ...bearer(), 'content-type': 'application/x-www-form-urlencoded' }, 'path=/chat')).status, 415, 'a form')
    t.equal((await ask(app, bearer(), { path: `/${'a'.repeat(20_000)}` })).status, 413, 'a long one')
    t.equal((await ask(app, {}, { path: 'chat' })).status, 401, 'who nobody knows learns nothing')

    const { ticket } = await ask(app, bearer(), { path: '/chat', origin: 'https://example.com' })
    t.equal(await handshake(t, port, `/chat?ticket=${ticket}`), '401 WS_AUTH_TICKET_INVALID')
    const { ticket: other } = await ask(app, bearer(), { path: '/chat' })
    t.equal(await handshake(t, port, `/other?ticket=${other}`), '401 WS_AUTH_TICKET_INVALID')
    const { ticket: good } = await ask(app, bearer(), { path: '/chat', origin: 'https://example.com' })
    t.equal(await handshake(t, port, `/chat?ticket=${good}`, { headers: { origin: 'https://example.com' } }), '101')
    t.equal((await ask(app, bearer(), {})).status, 200, 'an empty one binds to nothing')
  })

  await t.test('answers 503 when the verifier does not, whatever rejectWith says', async (t) => {
    for (const rejectWith of ['http', 'close', 'auto'] as const) {
      const { app } = await startChat(t, { verify: never, handshakeTimeout: 50, rejectWith })
      const answer = await ask(app, { authorization: 'Bearer x', origin: 'https://example.com' })
      t.match(answer, { status: 503, code: 'WS_AUTH_UNAVAILABLE' }, rejectWith)
      t.equal(app.wsAuth.stats().refused.WS_AUTH_UNAVAILABLE, 1)
    }
  })

  await t.test('answers with a status where handshakes are closed', async (t) => {
    const { app, port } = await startChat(t, { rejectWith: 'close' })
    t.match(await ask(app, {}), { status: 401, code: 'WS_AUTH_TOKEN_MISSING' })
    const { ticket } = await ask(app)
    t.equal(await handshake(t, port, `/chat?ticket=${ticket}`), '101')
    const client = await upgrade(t, port, { path: `/chat?ticket=${ticket}` })
    t.equal(await closeOf(client), '3000 ticket_invalid')
  })

  await t.test('is where it was put', async (t) => {
    const elsewhere = await startChat(t, { tickets: { path: '/api/ticket' } })
    t.equal((await ask(elsewhere.app, bearer(), undefined, '/api/ticket')).status, 200)
    t.equal((await ask(elsewhere.app)).status, 404)

    const nowhere = await startChat(t, { tickets: { path: false } })
    t.equal((await ask(nowhere.app)).status, 404)
    t.equal(await handshake(t, nowhere.port, `/chat?ticket=${await nowhere.ticket()}`), '101')

    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(async (scope) => {
      await scope.register(fastifyWsAuth, { jwt: { secret: SECRET }, tickets: true })
      addChat(scope, [])
    }, { prefix: '/api' })
    t.equal((await ask(app)).status, 404)
    const { ticket } = await ask(app, bearer(), undefined, '/api/ws-ticket')
    t.equal(await dryRun(app, `/api/chat?ticket=${ticket}`), '426')
  })

  await t.test('is no websocket, and nothing but POST', async (t) => {
    const { app, port } = await startChat(t)
    t.equal(await handshake(t, port, '/ws-ticket', { method: 'POST', headers: bearer() }), '404 WS_AUTH_ROUTE_NOT_WEBSOCKET')
    for (const method of ['GET', 'PUT', 'DELETE', 'HEAD'] as const) t.equal((await app.inject({ method, url: '/ws-ticket', headers: bearer() })).statusCode, 404, method)
  })

  await t.test('asks whether there is room for one more, as a dry run does', async (t) => {
    const { app, port } = await startChat(t, { limits: { pending: 1 }, token: { message: true } })
    t.equal((await ask(app)).status, 200)
    t.equal((await upgrade(t, port, { path: '/chat' })).answer.status, 101)
    await until(() => app.wsAuth.stats().pending === 1, 'one waits for its first message')
    t.match(await ask(app), { status: 429, code: 'WS_AUTH_LIMIT' })
  })

  await t.test('keeps the claims, of which the user is made again: it need be no JSON', async (t) => {
    const { app, port, opened } = await startChat(t, { user: ({ sub }) => ({ sub, id: 1n }) as never })
    t.equal(await handshake(t, port, `/chat?ticket=${(await ask(app)).ticket}`), '101')
    t.same(opened[0]?.user, { sub: 'ann', id: 1n })
  })

  await t.test('is for a token that is good still when the ticket is made', async (t) => {
    const { app } = await startChat(t, {}, { routes: (app) => app.addHook('preHandler', async () => { setClock(t, 60_000) }) })
    const answer = await ask(app, bearer({ ...ANN, exp: seconds(30) }))
    t.match(answer, { status: 401, code: 'WS_AUTH_TOKEN_EXPIRED', headers: { 'www-authenticate': 'Bearer error="invalid_token"' } })
    t.same(app.wsAuth.stats().refused, { ...app.wsAuth.stats().refused, WS_AUTH_TOKEN_EXPIRED: 1 })
  })

  await t.test('asks the claims and the user, and takes no slot', async (t) => {
    const claims = { type: 'object', required: ['tenant'] }
    const { app, port } = await startChat(t, { claims, limits: { perUser: 1 }, user: async ({ sub, tenant }) => sub === 'gone' ? null as never : { sub, tenant } as never })
    t.match(await ask(app, bearer(ANN)), { status: 401, code: 'WS_AUTH_TOKEN_INVALID' })
    t.match(await ask(app, bearer({ sub: 'gone', tenant: 1 })), { status: 401, code: 'WS_AUTH_TOKEN_INVALID' })
    const tickets = await Promise.all([1, 2, 3].map(async () => (await ask(app, bearer({ sub: 'ann', tenant: 1 }))).ticket))
    t.ok(tickets.every((ticket) => TICKET.test(ticket)))
    t.equal(await handshake(t, port, `/chat?ticket=${tickets[0]}`), '101')
    t.equal(await handshake(t, port, `/chat?ticket=${tickets[1]}`), '429 WS_AUTH_LIMIT')
    t.match(await ask(app, bearer({ sub: 'ann', tenant: 1 })), { status: 200 })
  })
})

t.test('with a ticket a route asks what it asks of a token', async (t) => {
  const { port, opened, ticket } = await startChat(t, {
    claims: { type: 'object', properties: { level: { type: 'integer', default: 7 } } },
    user: ({ sub, level }) => ({ name: sub, level }) as never
  }, {
    wsAuth: { roles: ['member'], scopes: ['read'], authorize: (user) => (user as { name?: string }).name !== 'eve' }
  })
  const at = async (claims: object): Promise<string> => await handshake(t, port, `/chat?ticket=${await ticket(claims)}`)
  t.equal(await at({ sub: 'ann', roles: ['member'], scope: 'read write', level: 1 }), '101')
  t.same(opened[0]?.user, { name: 'ann', level: 1 })
  t.equal(await at({ sub: 'ann', roles: ['guest'], scope: 'read' }), '403 WS_AUTH_FORBIDDEN')
  t.equal(await at({ sub: 'ann', roles: ['member'], scope: 'write' }), '403 WS_AUTH_FORBIDDEN')
  t.equal(await at({ sub: 'eve', roles: ['member'], scope: 'read' }), '403 WS_AUTH_FORBIDDEN')
  t.equal(await at({ sub: 'ann', roles: ['member'], scope: 'read', level: 'high' }), '401 WS_AUTH_TOKEN_INVALID')
})

t.test('formatUser', async (t) => {
  const formatUser = (payload: string | object): object => ({ name: (payload as Claims).sub, tags: ['one'] })
  await t.test('makes the user of a ticket as of a token', async (t) => {
    const { app, port, opened, ticket } = await startChat(t, { jwt: { secret: SECRET, formatUser } })
    for (const one of [await ticket(), (await ask(app)).ticket]) {
      t.equal(await handshake(t, port, `/chat?ticket=${one}`), '101')
      const { user, wsAuth } = opened.at(-1) as FastifyRequest
      t.same(user, { name: 'ann', tags: ['one'] })
      t.match(wsAuth?.claims, ANN)
      t.ok(Object.isFrozen(user) && Object.isFrozen((user as { tags?: object }).tags))
    }
  })
  for (const none of [null, undefined]) {
    await t.test(`that knows of no such user (${none}) admits nobody`, async (t) => {
      const { app, port, ticket } = await startChat(t, { jwt: { secret: SECRET, formatUser: () => none as never } })
      t.equal(await handshake(t, port, '/chat', { headers: bearer() }), '401 WS_AUTH_TOKEN_INVALID')
      t.match(await ask(app), { status: 401, code: 'WS_AUTH_TOKEN_INVALID' })
      t.equal(await handshake(t, port, `/chat?ticket=${await ticket()}`), '401 WS_AUTH_TOKEN_INVALID')
    })
  }
})

t.test('claims are frozen, and each connection\'s own', async (t) => {
  const { port, opened, ticket } = await startChat(t)
  const claims = { sub: 'ann', roles: ['member'], nested: { list: [1] } }
  const [one, other] = [await ticket(claims), await ticket(claims)]
  claims.roles.push('admin')
  for (const each of [one, other]) t.equal(await handshake(t, port, `/chat?ticket=${each}`), '101')
  const [first, second] = opened.map(({ wsAuth }) => wsAuth?.claims) as [Claims, Claims]
  t.same(first.roles, ['member'], 'what becomes of what was given is nobody\'s')
  t.not(first.nested, second.nested)
  t.ok([first, first.roles, first.nested, (first.nested as { list: object }).list].every(Object.isFrozen))
  t.equal(Object.isFrozen(claims), false)
})

function nested (depth: number): object {
  return JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as object
}

/** Newer versions of V8 (Node.js 26) do not recurse where they write JSON. */
function writesAnyDepth (): boolean {
  try {
    return JSON.stringify(nested(200_000)).length > 0
  } catch {
    return false
  }
}

t.test('issueTicket', async (t) => {
  const { app, port, opened, ticket } = await startChat(t, {}, { wsAuth: { roles: ['member'] } })
  const issue = app.wsAuth.issueTicket as (claims: unknown, options?: unknown) => Promise<{ ticket: string, expiresIn: number }>

  await t.test('resolves to a ticket and how long it is good', async (t) => {
    const answer = await issue(ANN)
    t.same(Object.keys(answer), ['ticket', 'expiresIn'])
    t.match(answer, { ticket: TICKET, expiresIn: TTL })
  })

  await t.test('says since when, where the claims do not', async (t) => {
    const before = seconds()
    await handshake(t, port, `/chat?ticket=${await ticket()}`)
    await handshake(t, port, `/chat?ticket=${await ticket({ ...ANN, iat: 1 })}`)
    const [iat, given] = opened.slice(-2).map(({ wsAuth }) => wsAuth?.claims?.iat)
    t.ok(Number.isInteger(iat) && Number(iat) >= before && Number(iat) <= seconds())
    t.equal(given, 1)
  })

  await t.test('throws a TypeError for what is no claims or no binding', async (t) => {
    const circular: Record<string, unknown> = { ...ANN }
    circular.self = circular
    for (const claims of [undefined, null, 'ann', 1, [], [ANN], () => ANN, circular, { ...ANN, big: 1n }]) {
      await t.rejects(issue(claims), { name: 'TypeError' }, inspect(claims))
    }
    for (const options of [null, 1, '/chat', [], { path: 'chat' }, { path: '/chat?' }, { path: null }, { origin: 'https://example.com/' }, { origin: 'null' }, { ttl: 1 }, { paths: ['/chat'] }]) {
      await t.rejects(issue(ANN, options), { name: 'TypeError' }, inspect(options))
    }
    t.match(await issue(ANN, { path: undefined, origin: undefined }), { ticket: TICKET })
  })

  await t.test('an exp in milliseconds would be one that never comes: it is a TypeError', async (t) => {
    await t.rejects(issue({ ...ANN, exp: Date.now() + 60_000 }), { name: 'TypeError', message: '"claims.exp" must be in seconds since the epoch, not in milliseconds' })
  })

  await t.test('refuses claims that no token may have', async (t) => {
    for (const [claims, code] of [
      [{ exp: seconds(-1) }, 'WS_AUTH_TOKEN_EXPIRED'],
      [{ exp: 0 }, 'WS_AUTH_TOKEN_EXPIRED'],
      [{ exp: '9999999999' }, 'WS_AUTH_TOKEN_INVALID'],
      [{ exp: Infinity }, 'WS_AUTH_TOKEN_INVALID'],
      [{ exp: NaN }, 'WS_AUTH_TOKEN_INVALID'],
      [{ exp: null }, 'WS_AUTH_TOKEN_INVALID'],
      [{ exp: new Date(Date.now() + 60_000) }, 'WS_AUTH_TOKEN_INVALID'],
      [{ sub: 1 }, 'WS_AUTH_TOKEN_INVALID'],
      [{ sub: ['ann'] }, 'WS_AUTH_TOKEN_INVALID'],
      [{ nbf: seconds(3600) }, 'WS_AUTH_TOKEN_INVALID'],
      [{ iat: seconds(3600) }, 'WS_AUTH_TOKEN_INVALID'],
      [{ iat: 'now' }, 'WS_AUTH_TOKEN_INVALID']
    ] as Array<[object, string]>) {
      await t.rejects(issue({ ...ANN, ...claims }), { name: 'WsAuthError', code }, inspect(claims))
    }
  })

  await t.test('takes names of prototypes for what they are', async (t) => {
    const admin = JSON.parse('{"sub":"ann","__proto__":{"roles":["member"]},"constructor":{"prototype":{"roles":["member"]}}}')
    t.equal(await handshake(t, port, `/chat?ticket=${await ticket(admin)}`), '403 WS_AUTH_FORBIDDEN')
    t.equal(({} as { roles?: unknown }).roles, undefined)
    t.equal(await handshake(t, port, `/chat?ticket=${await ticket({ ...admin, roles: ['member'] })}`), '101')
    t.ok(Object.hasOwn(opened.at(-1)?.wsAuth?.claims as object, '__proto__'))
    t.equal(Object.getPrototypeOf(opened.at(-1)?.wsAuth?.claims), Object.prototype)
  })

  await t.test('takes claims to any depth, or refuses them by name', async (t) => {
    t.equal(await handshake(t, port, `/chat?ticket=${await ticket({ ...ANN, nested: nested(2500) })}`), '101')
    const deep = { ...ANN, nested: nested(200_000) }
    if (writesAnyDepth()) t.equal(await handshake(t, port, `/chat?ticket=${await ticket(deep)}`), '101')
    else await t.rejects(issue(deep), { name: 'TypeError', message: '"claims" must be data that JSON can hold' })
  })

  await t.test('takes what JSON takes of the rest', async (t) => {
    const at = new Date(0)
    t.equal(await handshake(t, port, `/chat?ticket=${await ticket({ ...ANN, at, none: undefined, text: '\u2028"\\\ud800' })}`), '101')
    t.match(opened.at(-1)?.wsAuth?.claims, { at: '1970-01-01T00:00:00.000Z', text: '\u2028"\\\ud800' })
  })
})

t.test('claims of a verifier that cannot be kept are no fault of who asks', async (t) => {
  const { app, port, log } = await startChat(t, { verify: () => ({ sub: 'ann', big: 1n }) })
  t.equal(await handshake(t, port, '/chat', { headers: { authorization: 'Bearer x' } }), '101')
  const response = await app.inject({ method: 'POST', url: '/ws-ticket', headers: { authorization: 'Bearer x' } })
  t.equal(response.statusCode, 503)
  t.equal(response.json().code, 'WS_AUTH_UNAVAILABLE')
  t.notMatch(response.body, /BigInt/)
  t.match(log.join(''), /BigInt/)
  t.equal(app.wsAuth.stats().refused.WS_AUTH_UNAVAILABLE, 1)
})

t.test('a token that is nested deep gets a ticket, or is refused by name', async (t) => {
  const { app, port } = await startChat(t, { jwt: { secret }, maxTokenBytes: 1_000_000 })
  const refused = writesAnyDepth() ? [200, undefined] as const : [503, 'WS_AUTH_UNAVAILABLE'] as const
  for (const [depth, status, code] of [[2900, 200, undefined], [200_000, ...refused]] as const) {
    const headers = { authorization: `Bearer ${mint(`{"sub":"ann","nested":${'['.repeat(depth)}${']'.repeat(depth)}}`)}` }
    const answer = await ask(app, headers)
    t.match([answer.status, answer.code], [status, code], String(depth))
    if (status === 200) t.equal(await handshake(t, port, `/chat?ticket=${answer.ticket}`), '101')
    else t.equal(await dryRun(app, '/chat', headers), '426', 'a handshake has no need to write it')
  }
})

t.test('when the backplane', async (t) => {
  const broken = async (): Promise<never> => { throw new Error('the wire is cut') }
  const thrown = (): never => { throw new Error('the wire is cut') }
  for (const [what, fail] of [['rejects', broken], ['throws', thrown]] as const) {
    await t.test(`${what}, it is 503 and said in the log alone`, async (t) => {
      const events: string[] = []
      const { app, port, log } = await startChat(t, { backplane: backplaneWith({ put: fail, take: fail, get: fail }) })
      onDecision(t, ({ event, code }) => { events.push(`${event} ${code}`) })
      await t.rejects(app.wsAuth.issueTicket(ANN), { name: 'WsAuthError', code: 'WS_AUTH_UNAVAILABLE', cause: { message: 'the wire is cut' } })
      t.match(await ask(app), { status: 503, code: 'WS_AUTH_UNAVAILABLE' })
      t.same(events, ['refused WS_AUTH_UNAVAILABLE'])
      const path = `/chat?ticket=${'a'.repeat(43)}`
      t.equal(await handshake(t, port, path), '503 WS_AUTH_UNAVAILABLE')
      t.equal(await dryRun(app, path), '503 WS_AUTH_UNAVAILABLE')
      t.equal(app.wsAuth.stats().refused.WS_AUTH_UNAVAILABLE, 2)
      t.equal(log.filter((line) => line.includes('"event":"refused"') && line.includes('the wire is cut')).length, 3)
      t.equal(await handshake(t, port, '/chat', { headers: bearer() }), '101', 'tokens need none of it')
    })
  }

  await t.test('never answers to who spends a ticket, it is 503 at handshakeTimeout', async (t) => {
    const { app, port } = await startChat(t, { handshakeTimeout: 50, backplane: backplaneWith({ take: never, get: never }) })
    const path = `/chat?ticket=${'a'.repeat(43)}`
    t.equal(await handshake(t, port, path), '503 WS_AUTH_UNAVAILABLE')
    t.equal(await dryRun(app, path), '503 WS_AUTH_UNAVAILABLE')
    t.equal(app.wsAuth.stats().pending, 0)
  })

  await t.test('never answers to who asks for a ticket, it is 503 after 5 s', async (t) => {
    const { app, clock } = await startTimedChat(t, { backplane: backplaneWith({ put: never }) })
    const answers: string[] = []
    app.wsAuth.issueTicket(ANN).catch((error: { code: string }) => answers.push(error.code))
    void ask(app).then(({ status, code }) => answers.push(`${status} ${code}`))
    await clock.pass(4900, 500)
    t.same(answers, [])
    await clock.pass(1000)
    await eventually(clock, () => answers.length === 2, 'both are answered')
    t.same(answers.sort(), ['503 WS_AUTH_UNAVAILABLE', 'WS_AUTH_UNAVAILABLE'])
  })

  await t.test('cannot say what was revoked, a ticket is 503', async (t) => {
    const { app, port } = await startChat(t, { backplane: backplaneWith({ isCurrent: false }) })
    t.match(await ask(app), { status: 503, code: 'WS_AUTH_UNAVAILABLE' })
    const { ticket } = await app.wsAuth.issueTicket(ANN)
    t.equal(await dryRun(app, `/chat?ticket=${ticket}`), '503 WS_AUTH_UNAVAILABLE')
    t.equal(await handshake(t, port, `/chat?ticket=${ticket}`), '503 WS_AUTH_UNAVAILABLE')
  })
})

t.test('injectWS takes a ticket', async (t) => {
  const opened: FastifyRequest[] = []
  const { app } = await prepare(t, { plugin: { tickets: true }, routes: (app) => addChat(app, opened) })
  const { ticket } = await ask(app)
  const socket = await app.injectWS(`/chat?ticket=${ticket}`)
  t.equal(opened[0]?.wsAuth?.source, 'ticket')
  t.equal(opened[0]?.url, '/chat')
  const closed = once(socket, 'close')
  await app.wsAuth.disconnect({ sub: 'ann' })
  const [code, reason] = await closed as [number, Buffer]
  t.equal(`${code} ${reason}`, '3003 disconnected')
  await t.rejects(app.injectWS(`/chat?ticket=${ticket}`), { message: /401/ })
})

t.test('limits.perUser counts who came by a ticket, and a ticket that was refused for it is spent', async (t) => {
  const { app, port, ticket } = await startChat(t, { limits: { perUser: 1 } })
  const [one, two, three] = [await ticket(), await ticket(), await ticket()]
  t.equal(await dryRun(app, `/chat?ticket=${two}`), '426')
  t.equal(await handshake(t, port, `/chat?ticket=${one}`), '101')
  t.equal(await dryRun(app, `/chat?ticket=${two}`), '429 WS_AUTH_LIMIT')
  t.equal(await handshake(t, port, `/chat?ticket=${two}`), '429 WS_AUTH_LIMIT')
  await app.wsAuth.disconnect({ sub: 'ann' })
  t.equal(await handshake(t, port, `/chat?ticket=${two}`), '401 WS_AUTH_TICKET_INVALID')
  t.equal(await handshake(t, port, `/chat?ticket=${three}`), '101')
})

t.test('a client that leaves while its ticket is taken leaves nothing behind', async (t) => {
  const memory = memoryBackplane().join(nobody())
  let release = (): void => {}
  const released = new Promise<void>((resolve) => { release = resolve })
  const { app, port, ticket, opened } = await startChat(t, {
    limits: { perUser: 1 },
    backplane: backplaneWith({ put: memory.put, take: async (name) => { await released; return await memory.take(name) } })
  })
  const client = await RawClient.open(t, port)
  client.upgrade({ path: `/chat?ticket=${await ticket()}` })
  await until(() => app.wsAuth.stats().pending === 1, 'it is pending')
  client.socket.destroy()
  await until(() => app.wsAuth.stats().pending === 0, 'it is gone')
  release()
  t.equal(await handshake(t, port, `/chat?ticket=${await ticket()}`), '101', 'the slot is free')
  t.equal(opened.length, 1)
})

t.test('a connection that came by a ticket can be renewed by a token of the same user', async (t) => {
  const { port, opened, ticket } = await startChat(t)
  t.equal(await handshake(t, port, `/chat?ticket=${await ticket({ ...ANN, iat: seconds(-60), exp: seconds(60) })}`), '101')
  const connection = opened[0]?.wsAuth as fastifyWsAuth.Connection
  await t.rejects(connection.renew(sign({ sub: 'bea', iat: seconds(), exp: seconds(600) })), { code: 'WS_AUTH_TOKEN_INVALID' })
  const exp = seconds(600)
  await connection.renew(sign({ sub: 'ann', iat: seconds(), exp }))
  t.equal(connection.expiresAt, exp * 1000)
  t.equal(connection.source, 'ticket')
})

t.test('several apps with one memory share their tickets, and one of them has it', async (t) => {
  const backplane = memoryBackplane()
  const apps = await Promise.all([1, 2, 3].map(async () => await startChat(t, { backplane })))
  const path = `/chat?ticket=${await (apps[0] as Chat).ticket()}`
  const outcomes = await Promise.all(Array.from({ length: 30 }, async (_, i) => await handshake(t, (apps[i % 3] as Chat).port, path)))
  t.equal(outcomes.filter((outcome) => outcome === '101').length, 1)
})
