/*
 * The checks of a handshake, in their order and one by one: who is refused by which, in which words, and what was not asked any more.
 */
import t from 'tap'
import type { FastifyRequest } from 'fastify'
import type { Claims } from '../../lib/token/claims'
import type { VerifyToken } from '../../lib/token/verifier'
import { ClaimsSchema } from '../../lib/authentication/claims-schema'
import { TokenChecksByRoute } from '../../lib/authentication/token-checks'
import type { TakenCredentials } from '../../lib/credentials/found'
import type { WsAuthError } from '../../lib/base/errors'
import { WsAuthError as Refusal } from '../../lib/base/errors'
import { NOTHING_SENT, runHandshake } from '../../lib/handshake/checks'
import type { HandshakeContext } from '../../lib/handshake/checks'
import { Handshake } from '../../lib/handshake/handshake'
import type { HandshakePurpose } from '../../lib/handshake/handshake'
import { readPluginOptions } from '../../lib/options/read-plugin-options'
import { readRouteOptions } from '../../lib/options/read-route-options'

const OPTIONS = readPluginOptions({ jwt: { secret: 'thirty-two bytes of test secret!' }, tickets: true, origin: 'any', token: { cookie: 'token' } })
const OPENING = { host: 'a.test', connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' }
const NOTHING: TakenCredentials = { query: [], lookalikes: [], param: null, subprotocol: [], hasValidProtocols: true }
const RULES = { required: [], clockTolerance: 0, checkExpiry: true, checkNotBefore: true, maxAge: null }

interface Asked {
  headers?: Record<string, string>
  /** The rest of what Fastify knows of the request. */
  request?: object
  /** The `wsAuth` of the route, and what is changed of it. */
  wsAuth?: unknown
  route?: object
  purpose?: HandshakePurpose
  /** Tokens and tickets of the query. */
  query?: Record<string, string>
  taken?: Partial<TakenCredentials>
  options?: object
  services?: object
  /** Who a ticket admits. */
  ticketOf?: (ticket: string, use: object) => unknown
  verify?: (token: string) => unknown
  refusalOf?: (claims: Claims | null) => WsAuthError | null
  refusalOfPending?: (more: number) => WsAuthError | null
}

/** A handshake, and what it is made with. */
function handshakeOf (asked: Asked): [Handshake, HandshakeContext] {
  const { headers = {}, request = {}, wsAuth, route = {}, purpose = 'connection', query = {}, taken = {}, options = {}, services = {} } = asked
  const raw = { method: 'GET', httpVersion: '1.1', httpVersionMajor: 1, headers: { ...OPENING, ...headers } }
  const server = { parseCookie: (header: string) => Object.fromEntries(header.split('; ').map((pair) => pair.split('='))) }
  const fastifyRequest = { raw, server, get headers () { return raw.headers }, originalUrl: '/chat', host: 'a.test', protocol: 'http', ...request } as unknown as FastifyRequest
  const routeOptions = { ...readRouteOptions(wsAuth, OPTIONS), ...route }
  const found = Object.entries(query).map(([name, token]) => ({ name, token }))
  const made = {
    options: { ...OPTIONS, roles: () => [], ...options },
    checks: new TokenChecksByRoute({
      verifier: { rules: RULES, needsRequest: true, verify: (asked.verify ?? ((token: string) => ({ claims: { sub: token }, user: token }))) as VerifyToken },
      claimsSchema: new ClaimsSchema(undefined)
    }),
    revocation: { refusalOf: asked.refusalOf ?? (() => null), warnOfLongLife: () => {}, warnOfNoSubject: () => {} },
    limits: { refusalOfPending: asked.refusalOfPending ?? (() => null), refusalOfConnections: () => null, users: null },
    tickets: { read: asked.ticketOf ?? ((ticket: string) => ({ claims: { sub: ticket }, user: `user ${ticket}` })) },
    names: { queryStart: /[?#]/ },
    ...services
  }
  return [new Handshake(fastifyRequest, routeOptions, { ...NOTHING, query: found, ...taken }, purpose), made as unknown as HandshakeContext]
}

/** Who was accepted and by what, or the code and the cause of the refusal. */
async function outcomeOf (asked: Asked): Promise<string> {
  const [handshake, services] = handshakeOf(asked)
  const refusal = await runHandshake(handshake, services)
  if (refusal !== null) return refusal.cause === undefined ? refusal.code : `${refusal.code}: ${String(refusal.cause)}`
  const { source, sub, user, ticketClaims } = handshake
  return `${String(source)} ${String(sub)} as ${String(user)}${ticketClaims === null ? '' : ` with the ticket of ${String(ticketClaims.sub)}`}`
}

const bearer = { authorization: 'Bearer ann' }

t.test('the handshake checks the opening of a connection, and not that of a dry run or a ticket request', async (t) => {
  for (const headers of [{ 'sec-websocket-version': '8' }, { upgrade: 'h2c' }] as Array<Record<string, string>>) {
    t.match(await outcomeOf({ headers: { ...bearer, ...headers } }), /^WS_AUTH_HANDSHAKE_INVALID/)
    for (const purpose of ['dry run', 'ticket'] as const) t.equal(await outcomeOf({ headers: { ...bearer, ...headers }, purpose }), 'header ann as ann')
  }
  t.match(await outcomeOf({ headers: bearer, taken: { hasValidProtocols: false } }), /^WS_AUTH_HANDSHAKE_INVALID/)
  const extensions = { ...bearer, 'sec-websocket-extensions': ';' }
  t.equal(await outcomeOf({ headers: extensions }), 'header ann as ann', 'ws does not read them')
  t.match(await outcomeOf({ headers: extensions, options: { websocket: { options: { perMessageDeflate: true } } } }), /^WS_AUTH_HANDSHAKE_INVALID/)
})

t.test('a connection counts as pending, and a dry run or a ticket request needs room for one more', async (t) => {
  const asked: number[] = []
  const refusalOfPending = (more: number): WsAuthError | null => { asked.push(more); return more === 1 ? new Refusal('WS_AUTH_LIMIT', { cause: 'full' }) : null }
  t.equal(await outcomeOf({ headers: bearer, refusalOfPending }), 'header ann as ann')
  for (const purpose of ['dry run', 'ticket'] as const) t.equal(await outcomeOf({ headers: bearer, refusalOfPending, purpose }), 'WS_AUTH_LIMIT: full')
  t.strictSame(asked, [0, 1, 1])
})

t.test('the handshake reports the first refusal, and does not run later checks', async (t) => {
  const never = (): never => { throw new Error('must not be asked') }
  t.match(await outcomeOf({ headers: { upgrade: 'h2c' }, refusalOfPending: never, verify: never }), /^WS_AUTH_HANDSHAKE_INVALID/)
  t.equal(await outcomeOf({ headers: { ...bearer, origin: 'https://b.test' }, route: { origin: ['https://a.test'] }, query: { ticket: 'x' }, verify: never, ticketOf: never }), 'WS_AUTH_TOKEN_AMBIGUOUS: one in ticket, another in header')
  t.match(await outcomeOf({ headers: { origin: 'https://b.test' }, route: { origin: ['https://a.test'] }, query: { ticket: 'x' }, ticketOf: never }), /^WS_AUTH_ORIGIN_FORBIDDEN/)
  t.match(await outcomeOf({ headers: bearer, verify: () => ({ claims: { sub: 'ann' }, user: null }), wsAuth: { roles: ['a'] } }), /^WS_AUTH_TOKEN_INVALID: there is no such user/)
  t.match(await outcomeOf({ headers: bearer, wsAuth: { roles: ['a'] } }), /^WS_AUTH_FORBIDDEN/)
  t.equal(await outcomeOf({ headers: bearer, refusalOf: (claims) => claims?.sub === 'ann' ? new Refusal('WS_AUTH_TOKEN_REVOKED') : null, wsAuth: { roles: ['a'] } }), 'WS_AUTH_TOKEN_REVOKED')
  t.equal(await outcomeOf({ headers: bearer, verify: () => ({ claims: { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }, user: {} }) }), 'WS_AUTH_TOKEN_INVALID: it is a logout token')
})

t.test('the handshake finishes synchronously if no check is asynchronous', async (t) => {
  const [handshake, services] = handshakeOf({ headers: bearer })
  t.equal(runHandshake(handshake, services), null)
  const [later, others] = handshakeOf({ headers: bearer, verify: async () => ({ claims: {}, user: {} }) })
  t.ok(runHandshake(later, others) instanceof Promise)
})

t.test('a client without a token is refused, or is anonymous on an optional route, or may send a first message', async (t) => {
  t.match(await outcomeOf({}), /^WS_AUTH_TOKEN_MISSING: no token in header Authorization: Bearer, subprotocol bearer, query token, cookie token$/)
  t.equal(await outcomeOf({ wsAuth: 'optional' }), 'null null as null')
  const message = { token: { message: true } }
  t.equal(await outcomeOf({ wsAuth: message }), 'null null as null')
  t.ok(handshakeOf({ wsAuth: message })[0].awaitsMessage)
  t.notOk(handshakeOf({})[0].awaitsMessage)
  t.notOk(handshakeOf({ wsAuth: message, route: { access: 'optional' } })[0].awaitsMessage, 'on an optional route who brings none is anonymous')
  const [handshake, services] = handshakeOf({ wsAuth: message, headers: bearer })
  t.equal(runHandshake(handshake, services), null)
  t.notOk(handshake.awaitsMessage)
})

t.test('a dry run may use the Authorization header even if a handshake of the route may not', async (t) => {
  const own = { token: { header: 'x-token' } }
  t.equal(await outcomeOf({ headers: bearer, wsAuth: own, purpose: 'dry run' }), 'header ann as ann')
  for (const purpose of ['connection', 'ticket'] as const) t.match(await outcomeOf({ headers: bearer, wsAuth: own, purpose }), /^WS_AUTH_TOKEN_MISSING/)
})

const refusedOrigin = 'WS_AUTH_ORIGIN_FORBIDDEN: its Origin is'

t.test('the handshake compares the Origin with the host if a cookie authenticates or a first message is awaited, in the scheme of the request', async (t) => {
  const sameHost = { origin: 'same-host' }
  const cookie = { cookie: 'token=ann' }
  const evil = { origin: 'https://b.test' }
  t.equal(await outcomeOf({ route: sameHost, headers: { ...cookie, ...evil } }), `${refusedOrigin} https://b.test, and the request came to a.test`)
  t.equal(await outcomeOf({ route: sameHost, headers: { ...cookie, ...evil }, request: { protocol: 'https' } }), `${refusedOrigin} https://b.test, and the request came to https://a.test`)
  t.equal(await outcomeOf({ route: sameHost, headers: { ...cookie, origin: 'http://a.test' }, request: { protocol: 'https' } }), `${refusedOrigin} http://a.test, and the request came to https://a.test`)
  for (const protocol of ['http', 'https']) t.equal(await outcomeOf({ route: sameHost, headers: { ...cookie, origin: 'https://a.test' }, request: { protocol } }), 'cookie ann as ann')
  t.equal(await outcomeOf({ route: sameHost, headers: { ...cookie, origin: 'http://a.test' } }), 'cookie ann as ann')
  t.equal(await outcomeOf({ route: sameHost, headers: cookie }), 'cookie ann as ann', 'who sends no Origin is no browser')
  t.equal(await outcomeOf({ route: sameHost, headers: { ...bearer, ...evil } }), 'header ann as ann', 'no page can send that by itself')
  t.match(await outcomeOf({ route: sameHost, headers: evil }), /^WS_AUTH_TOKEN_MISSING/)
  t.equal(await outcomeOf({ route: sameHost, headers: evil, query: { ticket: 'x' } }), 'ticket x as user x')
  t.match(await outcomeOf({ route: sameHost, wsAuth: { token: { message: true } }, headers: evil }), /^WS_AUTH_ORIGIN_FORBIDDEN/)
  t.equal(await outcomeOf({ route: { origin: 'any' }, headers: { ...cookie, ...evil } }), 'cookie ann as ann')
})

t.test('a list of origins applies exactly to each handshake with an Origin', async (t) => {
  const route = { origin: ['https://a.test', 'https://c.test'] }
  t.equal(await outcomeOf({ route, headers: { ...bearer, origin: 'https://c.test' } }), 'header ann as ann')
  t.equal(await outcomeOf({ route, headers: bearer }), 'header ann as ann')
  for (const origin of ['https://b.test', 'https://a.test.', 'null', '', 'https://a.test, https://c.test']) {
    t.equal(await outcomeOf({ route, headers: { ...bearer, origin } }), `${refusedOrigin} ${origin}, and the "origin" option has https://a.test, https://c.test`)
  }
})

t.test('a function of origins admits by true only', async (t) => {
  const headers = { ...bearer, origin: 'https://b.test' }
  const asked: unknown[][] = []
  const answering = (answer: unknown) => (...args: unknown[]) => { asked.push(args); return answer }
  for (const answer of [true, Promise.resolve(true)]) t.equal(await outcomeOf({ route: { origin: answering(answer) }, headers }), 'header ann as ann')
  for (const answer of [false, undefined, null, 1, 'true', {}, Promise.resolve(false), Promise.resolve(1)]) {
    t.equal(await outcomeOf({ route: { origin: answering(answer) }, headers }), `${refusedOrigin} https://b.test, and the "origin" function did not return true`)
  }
  const [origin, request] = asked[0] ?? []
  t.equal(origin, 'https://b.test')
  t.equal((request as FastifyRequest).originalUrl, '/chat')
  t.match(await outcomeOf({ route: { origin: () => { throw new Error('the database is down') } }, headers }), /^WS_AUTH_UNAVAILABLE: Error: the database is down/)
})

t.test('the log has no token, and at most the first 200 characters of an Origin', async (t) => {
  const token = 'a-token-of-some-length'
  const route = { origin: ['https://a.test'] }
  t.equal(await outcomeOf({ route, headers: { authorization: `Bearer ${token}`, origin: `https://b.test/?token=${token}` } }), `${refusedOrigin} https://b.test/?token=[token], and the "origin" option has https://a.test`)
  t.equal(await outcomeOf({ route, headers: { ...bearer, origin: 'x'.repeat(201) } }), `${refusedOrigin} ${'x'.repeat(200)}, and the "origin" option has https://a.test`)
  t.equal(await outcomeOf({ route: { origin: 'same-host' }, headers: { cookie: 'token=ann', origin: 'x' }, request: { host: 'h'.repeat(300) } }), `${refusedOrigin} x, and ${`the request came to ${'h'.repeat(300)}`.slice(0, 200)}`)
})

t.test('a ticket authenticates, its binding is checked, and only a connection spends it', async (t) => {
  const asked: unknown[][] = []
  const ticketOf = (...args: unknown[]): unknown => { asked.push(args); return { claims: { sub: 'ann', exp: 7 }, user: 'Ann' } }
  const url = { originalUrl: '/chat?a=1#b' }
  const headers = { origin: 'https://b.test' }
  t.equal(await outcomeOf({ query: { ticket: 'x' }, ticketOf, request: url, headers }), 'ticket ann as Ann')
  t.equal(await outcomeOf({ query: { ticket: 'x' }, ticketOf, request: url, purpose: 'dry run' }), 'ticket ann as Ann')
  t.equal(await outcomeOf({ query: { ticket: 'x' }, ticketOf: async (...args) => ticketOf(...args) }), 'ticket ann as Ann')
  t.strictSame(asked, [
    ['x', { path: '/chat', origin: 'https://b.test', isSpent: true, needsBinding: false }],
    ['x', { path: '/chat', origin: undefined, isSpent: false, needsBinding: false }],
    ['x', { path: '/chat', origin: undefined, isSpent: true, needsBinding: false }]
  ])
  t.equal(await outcomeOf({ query: { ticket: 'x' }, ticketOf, request: { originalUrl: '/chat;a=1' }, services: { names: { queryStart: /[?#;]/ } } }), 'ticket ann as Ann')
  t.match(asked.at(-1), ['x', { path: '/chat' }])
  const [handshake, services] = handshakeOf({ query: { ticket: 'x' }, ticketOf })
  await runHandshake(handshake, services)
  t.equal(handshake.expiresAt, 7000)
  t.equal(await outcomeOf({ query: { ticket: 'x' }, headers: { cookie: 'token=bob' } }), 'ticket x as user x', 'beside a cookie the ticket counts')
})

t.test('an outage of the backplane refuses a handshake before its ticket is spent', async (t) => {
  const never = (): never => { throw new Error('must not be asked') }
  const refusalOf = (claims: Claims | null): WsAuthError | null => claims === null ? new Refusal('WS_AUTH_UNAVAILABLE', { cause: 'outage' }) : null
  t.equal(await outcomeOf({ query: { ticket: 'x' }, ticketOf: never, refusalOf }), 'WS_AUTH_UNAVAILABLE: outage')
})

t.test('a ticket request cannot use a ticket, and without tickets the parameter belongs to the app', async (t) => {
  const never = (): never => { throw new Error('must not be asked') }
  t.equal(await outcomeOf({ query: { ticket: 'x' }, headers: bearer, purpose: 'ticket', ticketOf: never }), 'header ann as ann')
  t.match(await outcomeOf({ query: { ticket: 'x' }, purpose: 'ticket', ticketOf: never }), /^WS_AUTH_TOKEN_MISSING/)
  t.equal(await outcomeOf({ query: { ticket: 'x' }, headers: bearer, route: { tickets: { query: null, require: false } }, ticketOf: never }), 'header ann as ann')
})

t.test('a required ticket admits, and the token of the same user authenticates', async (t) => {
  const wsAuth = { tickets: { require: true } }
  const missing = 'WS_AUTH_TICKET_INVALID'
  t.equal(await outcomeOf({ wsAuth, query: { ticket: 'ann' }, headers: bearer }), 'header ann as ann with the ticket of ann')
  t.equal(await outcomeOf({ wsAuth, query: { ticket: 'ann' }, headers: { cookie: 'token=ann' } }), 'cookie ann as ann with the ticket of ann')
  t.equal(await outcomeOf({ wsAuth, query: { ticket: 'bob' }, headers: bearer }), 'WS_AUTH_TOKEN_INVALID: its subject is not that of the ticket')
  t.equal(await outcomeOf({ wsAuth, headers: bearer }), `${missing}: there is none`)
  t.equal(await outcomeOf({ wsAuth }), `${missing}: ${NOTHING_SENT}`)
  t.match(await outcomeOf({ wsAuth, query: { ticket: 'ann' } }), /^WS_AUTH_TOKEN_MISSING/)
  t.equal(await outcomeOf({ wsAuth, headers: bearer, purpose: 'ticket' }), 'header ann as ann', 'who asks for one has none')
  t.equal(await outcomeOf({ wsAuth, headers: bearer, purpose: 'dry run' }), `${missing}: there is none`)
  t.equal(await outcomeOf({ wsAuth, route: { access: 'optional' } }), 'null null as null', 'an anonymous user needs none')
  t.equal(await outcomeOf({ wsAuth, route: { access: 'optional' }, headers: bearer }), `${missing}: there is none`)
  t.equal(await outcomeOf({ wsAuth: { ...wsAuth, token: { message: true } }, query: { ticket: 'ann' } }), 'null null as null with the ticket of ann')
  t.equal(await outcomeOf({ wsAuth: { ...wsAuth, token: { message: true } } }), `${missing}: ${NOTHING_SENT}`)
})
